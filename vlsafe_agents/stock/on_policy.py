"""PPO, TRPO and RecurrentPPO as they are, but for checks and files without pickles."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from sb3_contrib import TRPO as StockTRPO
from sb3_contrib import RecurrentPPO as StockRecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentMultiInputActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO as StockPPO
from stable_baselines3.common.policies import BasePolicy

from vlsafe_agents.common.driving import DrivesOnPolicy
from vlsafe_agents.common.running import to_arrays
from vlsafe_agents.common.stock_arguments import TakesStockArguments, check_arguments
from vlsafe_agents.common.vehicle_policies import MultiInputPolicy, SeesVehicles


class PPO(TakesStockArguments, DrivesOnPolicy, StockPPO):
    """Stable-Baselines3's PPO; takes its arguments.

    Args:
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`

    Raises:
        ValueError: for an argument out of range; while learning, if what the environment reports is
            not finite or not of Gymnasium's form.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **StockPPO.policy_aliases,
        "MultiInputPolicy": MultiInputPolicy,
    }
    _stock = StockPPO


class TRPO(TakesStockArguments, DrivesOnPolicy, StockTRPO):
    """sb3-contrib's TRPO (Schulman et al. 2015, arXiv 1502.05477); takes its arguments.

    Args:
        frame_stack: observations that the policy sees at once, see
            :class:`~vlsafe_agents.common.frame_stack.StacksFrames`

    Raises:
        ValueError: for an argument out of range; while learning, if what the environment reports is
            not finite or not of Gymnasium's form.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **StockTRPO.policy_aliases,
        "MultiInputPolicy": MultiInputPolicy,
    }
    _stock = StockTRPO


class MultiInputLstmPolicy(SeesVehicles, RecurrentMultiInputActorCriticPolicy):
    """sb3-contrib's for Dict observations; as it is where there is no set of vehicles."""


class RecurrentPPO(DrivesOnPolicy, StockRecurrentPPO):
    """sb3-contrib's PPO with LSTM policies; takes its arguments.

    Policies go by their names with and without "Lstm".  Pass on what ``predict`` returns.

    Raises:
        ValueError: for an argument out of range, or `MultiBinary` actions, which sb3-contrib's
            losses do not take; while learning, if what the environment reports is
            not finite or not of Gymnasium's form.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": StockRecurrentPPO.policy_aliases["MlpLstmPolicy"],
        "CnnPolicy": StockRecurrentPPO.policy_aliases["CnnLstmPolicy"],
        "MultiInputPolicy": MultiInputLstmPolicy,
        **StockRecurrentPPO.policy_aliases,
        "MultiInputLstmPolicy": MultiInputLstmPolicy,
    }

    _last_lstm_states: RNNStates | None  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = inspect.signature(StockRecurrentPPO.__init__).bind(self, *args, **kwargs)
        check_arguments("RecurrentPPO", given.arguments)
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        if isinstance(self.action_space, spaces.MultiBinary):
            raise ValueError(
                f"RecurrentPPO does not learn {self.action_space} actions; take RecurrentPPOLag "
                'with lagrange_kwargs={"maximum": 0.0}, or PPO'
            )
        super()._setup_model()

    def _running(self) -> dict[str, Any]:
        if self._last_lstm_states is None:  # no networks yet
            return super()._running()
        states = [[x.cpu().numpy().copy() for x in part] for part in self._last_lstm_states]
        return {**super()._running(), "lstm_states": states}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        pi, vf = to_arrays(running["lstm_states"])  # of new episodes they are set to 0
        both = (tuple(th.as_tensor(x, device=self.device) for x in part) for part in (pi, vf))
        self._last_lstm_states = RNNStates(*both)
