"""What SB3 algorithms that drive share: checked environments, and going on in mid-episode."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from vlsafe_agents.common.checked_steps import CheckedSteps, ChecksEnvironment
from vlsafe_agents.common.episodes import return_to_episodes, running_episodes, traced
from vlsafe_agents.common.running import reading_running, to_arrays, warn_not_exact
from vlsafe_agents.common.saved_agent import SavedAgent
from vlsafe_agents.common.seeds import derived_seed


class EpisodesGoOn(SavedAgent):
    """Mixin: an agent's file says which episodes its environments are in, and the way back there.

    :meth:`_return_to_episodes` has to be called before learning goes on; environments are to be
    wrapped by :func:`~vlsafe_agents.common.episodes.traced`.
    """

    def _running(self) -> dict[str, Any]:
        driving = None
        if self.env is not None and self._last_obs is not None:
            driving = {
                **running_episodes(self.env),
                "last_obs": _laid_out(self._last_obs),
                "episode_starts": np.array(self._last_episode_starts),
            }
        return {
            **super()._running(),
            "driving": driving,
            "num_timesteps": self.num_timesteps,
            "ep_info": [dict(one) for one in self.ep_info_buffer or ()],
            "ep_success": list(self.ep_success_buffer or ()),
        }

    def _return_to_episodes(self) -> None:
        """Bring the environments to where those of a loaded agent were, if that can be."""
        running = self._left_off
        if not running or running["driving"] is None:
            return
        driving, fault = running["driving"], self._cannot_return(running)
        assert self.env is not None
        if "random" in running:  # not where another seed was asked for
            fault = fault or return_to_episodes(self.env, driving)
            if not fault:
                self._last_obs = _as_laid_out(to_arrays(driving["last_obs"]))
                self._last_episode_starts = to_arrays(driving["episode_starts"])
                self._take_steps([len(one["actions"]) for one in driving["episodes"]])
                return
            warn_not_exact(f"new episodes begin, because {fault}")
            if self.seed is not None:
                self.env.seed(derived_seed(self.seed, self.num_timesteps))
        running["new_episodes"] = True

    def _cannot_return(self, running: dict[str, Any]) -> str:
        """What of the agent's own stands against it; empty if nothing does."""
        return ""

    def _take_steps(self, steps: list[int]) -> None:
        """The environments are in the midst of episodes of so many steps."""
        raise NotImplementedError

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        self.num_timesteps = self._num_timesteps_at_start = int(running["num_timesteps"])
        window = self._stats_window_size
        self.ep_info_buffer = deque(running["ep_info"], maxlen=window)
        self.ep_success_buffer = deque(running["ep_success"], maxlen=window)


class DrivingAlgorithm(EpisodesGoOn, ChecksEnvironment):
    """Mixin, to be named before SB3's on-policy class.

    ``collect_rollouts`` calls :meth:`_begin_rollout` first.  A rollout that has not been learned
    from is driven again: an agent that is saved in the middle of one goes on from its beginning,
    where ``num_timesteps`` is set back to.
    """

    _rollout_began: dict[str, Any] | None = None  # what was running then

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """SB3's wrapping, around environments that are checked and traced."""
        return traced(ChecksEnvironment._wrap_env(env, verbose, monitor_wrapper))

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """SB3's ``set_env``."""
        super().set_env(env, force_reset)
        self._rollout_began = None

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[int, BaseCallback]:
        goes_on = self._begin(reset_num_timesteps)
        self._rollout_began = None
        if goes_on and not reset_num_timesteps:
            with reading_running():
                self._return_to_episodes()
        begins = reset_num_timesteps or self._last_obs is None  # SB3 resets the environments then
        prepared = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, *args, **kwargs
        )
        if begins:
            self._begin_episodes(reset_num_timesteps)
        self._take_up(goes_on)
        return prepared

    def _begin_episodes(self, afresh: bool) -> None:
        """The environments were reset: what is counted of running episodes begins, too.

        Args:
            afresh: also what is known of those before.
        """

    def _begin_rollout(self, env: VecEnv) -> CheckedSteps:
        self._rollout_began = {**self._running(), "updates": self._n_updates}
        return super()._begin_rollout(env)

    # --- what learning is in the middle of --------------------------------------------------------

    def _resume_point(self) -> dict[str, Any]:
        began = self._rollout_began
        if began is not None and began["updates"] == self._n_updates:
            return began  # that rollout has not been learned from
        return super()._resume_point()

    def _take_steps(self, steps: list[int]) -> None:
        assert self.env is not None
        self._steps = CheckedSteps(self.env)
        self._steps.go_on(steps)


class DrivesOnPolicy(DrivingAlgorithm, OnPolicyAlgorithm):
    """Mixin, to be named before SB3's on-policy class, whose rollouts stay as they are."""

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """SB3's, with each step checked."""
        steps = self._begin_rollout(env)
        return super().collect_rollouts(steps, callback, rollout_buffer, n_rollout_steps)


def _laid_out(observation: Any) -> Any:
    """Copies of arrays with the order of their axes in memory.

    Images turned channels-first are still channels-last there, and PyTorch's sums depend on that.
    """
    if isinstance(observation, dict):
        return {"parts": {name: _laid_out(part) for name, part in observation.items()}}
    axes = np.argsort([-stride for stride in observation.strides], kind="stable")
    return {"axes": axes.tolist(), "values": np.array(observation.transpose(axes), order="C")}


def _as_laid_out(stored: Any) -> Any:
    """Inverse of :func:`_laid_out`."""
    if "parts" in stored:
        return {name: _as_laid_out(part) for name, part in stored["parts"].items()}
    return stored["values"].transpose(np.argsort(stored["axes"]))
