"""Gymnasium's own vector environments, which check what they are given before any of them moves.

Gymnasium's hand each environment its part; a fault then shows in the middle of a step, in a worker
process as a printed traceback, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from vlsafe_envs.actions import check_actions
from vlsafe_envs.checks import check_autoreset, check_num_envs, check_seeds, reset_mask

if TYPE_CHECKING:
    Base = gym.vector.VectorEnv[Any, Any, Any]
else:
    Base = object

MakeEnv = Callable[[], gym.Env[Any, Any]]


class _Checked(Base):
    """``num_envs`` environments that ``make_env`` builds.

    Raises:
        ValueError: for fewer environments than one and an unknown mode.
    """

    def __init__(
        self, make_env: MakeEnv, num_envs: int, autoreset_mode: Any, **options: Any
    ) -> None:
        check_num_envs(num_envs)
        mode = check_autoreset(autoreset_mode)
        makers = [make_env] * num_envs
        super().__init__(makers, autoreset_mode=mode, **options)  # type: ignore[call-arg]

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes everywhere, or where ``options["reset_mask"]`` ``(N,)`` says.

        Raises:
            ValueError: for bad seeds, other options and another mask.
        """
        seeds = check_seeds(seed, self.num_envs)
        chosen = {"reset_mask": reset_mask(options, self.num_envs)} if options else None
        return super().reset(seed=seeds, options=chosen)  # type: ignore[arg-type]

    def step(self, actions: Any) -> Any:
        """One decision in every environment.

        Raises:
            ValueError: for bad actions.
        """
        checked = check_actions(actions, self.single_action_space, self.num_envs)
        return super().step(checked)


class CheckedSyncVectorEnv(_Checked, SyncVectorEnv):
    """``SyncVectorEnv`` of environments in this process."""

    def step(self, actions: Any) -> Any:
        """As Gymnasium's; raises like :class:`~vlsafe_envs.batch.gymnasium.VectorDrivingEnv`'s."""
        if self.autoreset_mode == AutoresetMode.DISABLED and self._autoreset_envs.any():
            done = self._autoreset_envs.nonzero()[0].tolist()
            raise RuntimeError(f"episodes of environments {done} are over: reset them")
        return super().step(actions)


class CheckedAsyncVectorEnv(_Checked, AsyncVectorEnv):
    """``AsyncVectorEnv`` of environments in fresh processes."""

    def __init__(self, make_env: MakeEnv, num_envs: int, autoreset_mode: Any) -> None:
        super().__init__(make_env, num_envs, autoreset_mode, context="spawn")
