"""DQN, QR-DQN and SAC as they are, but for files without pickles, checks, and replays that last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium import spaces
from sb3_contrib import QRDQN as StockQRDQN
from sb3_contrib.qrdqn.policies import MultiInputPolicy as StockQRDQNMultiInput
from stable_baselines3 import DQN as StockDQN
from stable_baselines3 import SAC as StockSAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import MultiInputPolicy as StockDQNMultiInput
from stable_baselines3.sac.policies import MultiInputPolicy as StockSACMultiInput

from vlsafe_agents.common.off_policy import DrivesOffPolicy, DrivesSAC, check_off_policy
from vlsafe_agents.common.stock_arguments import TakesStockArguments
from vlsafe_agents.common.vehicle_policies import SeesVehicles
from wrappers.checks import one_number


class _LearnsFromReplay(TakesStockArguments, DrivesOffPolicy):
    """What the three share: arguments, and the kind of actions that they learn."""

    _actions: ClassVar[type[spaces.Space[Any]]]

    def _check_arguments(self, given: Mapping[str, Any]) -> None:
        name = self._stock.__name__
        check_off_policy(name, given)
        space = getattr(given["env"], "action_space", None)  # an id has none yet
        if space is not None and not isinstance(space, self._actions):
            raise ValueError(
                f"{name} learns {self._actions.__name__} actions, not {space}; make the "
                "environment with such ones, or take PPO or TRPO"
            )
        if isinstance(space, spaces.Discrete) and space.start != 0:
            raise ValueError(
                f"{name} counts actions from 0, not from {space.start} as {space}; take PPO or "
                "TRPO, or map the actions"
            )


class _Greedy(_LearnsFromReplay):
    """What DQN and QR-DQN share: when the target network follows, and how much is explored."""

    _actions = spaces.Discrete
    _n_calls: int
    exploration_rate: float

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "exploration_rate": float(self.exploration_rate)}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        rate = one_number(state["exploration_rate"], "exploration_rate", low=0.0, high=1.0)
        self.exploration_rate = rate

    def _running(self) -> dict[str, Any]:
        own = {"calls": self._n_calls, "exploration_rate": float(self.exploration_rate)}
        return {**super()._running(), **own}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self._n_calls = int(running["calls"])
        self.exploration_rate = float(running["exploration_rate"])


class DQNMultiInputPolicy(SeesVehicles, StockDQNMultiInput):
    """SB3's for Dict observations; as it is where there is no set of vehicles."""


class QRDQNMultiInputPolicy(SeesVehicles, StockQRDQNMultiInput):
    """sb3-contrib's for Dict observations; as it is where there is no set of vehicles."""


class SACMultiInputPolicy(SeesVehicles, StockSACMultiInput):
    """SB3's for Dict observations; as it is where there is no set of vehicles."""


class DQN(_Greedy, StockDQN):
    """Stable-Baselines3's DQN (Mnih et al. 2015), for `Discrete` actions from 0; its arguments.

    Args:
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`

    Raises:
        ValueError: for an argument that is out of range or refused (those of the replay's kind,
            `n_steps`), or other actions; while learning, if what the environment reports is not
            finite or not of Gymnasium's form.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **StockDQN.policy_aliases,
        "MultiInputPolicy": DQNMultiInputPolicy,
    }
    _stock = StockDQN


class QRDQN(_Greedy, StockQRDQN):
    """sb3-contrib's QR-DQN (Dabney et al. 2018, arXiv 1710.10044); arguments as :class:`DQN`.

    Raises:
        ValueError: as :class:`DQN`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **StockQRDQN.policy_aliases,
        "MultiInputPolicy": QRDQNMultiInputPolicy,
    }
    _stock = StockQRDQN


class SAC(_LearnsFromReplay, DrivesSAC):
    """Stable-Baselines3's SAC (Haarnoja et al. 2018), for `Box` actions; takes its arguments.

    Args:
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`

    Raises:
        ValueError: as :class:`DQN`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **StockSAC.policy_aliases,
        "MultiInputPolicy": SACMultiInputPolicy,
    }
    _stock = StockSAC
    _actions = spaces.Box
