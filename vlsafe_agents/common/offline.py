"""What SB3 algorithms that learn from a data set share: that touches no environment."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, ClassVar

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import configure_logger

from vlsafe_agents.common.origin import check_environment, origin_of, stored_origin
from vlsafe_agents.common.running import warn_not_exact
from vlsafe_agents.common.saved_agent import SavedAgent
from vlsafe_agents.data.accepted import check_dataset
from vlsafe_agents.data.dataset import EpisodeDataset
from wrappers.checks import whole_number


class OfflineAlgorithm(SavedAgent):
    """An SB3 algorithm that learns from a data set: its timestep is one gradient update then."""

    # Of SB3's base class, fixed by the algorithm or without a meaning here.
    _unread_settings: ClassVar[frozenset[str]] = frozenset(
        (
            "support_multi_env",
            "monitor_wrapper",
            "supported_action_spaces",
            "use_sde",
            "sde_sample_freq",
        )
    )
    data_origin: dict[str, Any] | None = None  # of the data that were learnt from
    _speed = "updates_per_second"  # what the log calls timesteps per second
    _data_size: tuple[int, int] = (0, 0)  # their steps and episodes

    def _accept_data(self, dataset: Any) -> EpisodeDataset:
        """Check what was given as a data set, and the environment against where it comes from.

        Raises:
            TypeError: if it is no data set
            ValueError: if the environment's observations are changed on their way, or where all
                episodes branch from others
        """
        dataset = check_dataset(dataset)
        if dataset.num_branches == dataset.num_episodes:
            raise ValueError(
                "all episodes branch from recorded ones and take actions that no driver chose; "
                "give the recorded drives, or both: MixedDataset([drives, branches], [0.75, 0.25])"
            )
        origin = origin_of(dataset.metadata)
        if self.env is not None:
            check_environment(self.env, origin)
        self.data_origin = origin
        self._data_size = (dataset.num_steps, dataset.num_episodes)
        return dataset

    def _take_spaces(self, dataset: Any) -> None:
        """Take a data set's spaces, where there is no environment.

        Raises:
            TypeError: if it is no data set
        """
        dataset = check_dataset(dataset)
        self.observation_space = dataset.observation_space
        self.action_space, self.n_envs = dataset.action_space, 1

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """SB3's `set_env`.

        Raises:
            ValueError: also if the environment's observations are changed on their way
        """
        wrapped = self._wrap_env(env, self.verbose)
        if self.data_origin is not None:
            check_environment(wrapped, self.data_origin)
        super().set_env(wrapped, force_reset)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "data_origin": self.data_origin}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self.data_origin = stored_origin(state.get("data_origin"))
        if self.env is not None and self.data_origin is not None:
            check_environment(self.env, self.data_origin)

    def _running(self) -> dict[str, Any]:
        return {**super()._running(), "data_size": list(self._data_size)}

    def _go_on(self, running: dict[str, Any]) -> None:
        super()._go_on(running)
        before, now = running["data_size"], list(self._data_size)
        if before != now:
            warn_not_exact(
                f"the data set has {now[0]:,} steps in {now[1]:,} episodes, and had {before[0]:,} "
                f"in {before[1]:,}"
            )

    def dump_logs(self) -> None:
        """Write one row of the log: means since the last one."""
        seconds = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
        done = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record(f"time/{self._speed}", done / seconds)
        self.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """SB3's preparations without its reset of the environment (there may be none).

        Raises:
            ValueError: unless ``total_timesteps`` is a whole number of at least 0.
        """
        total_timesteps = whole_number(total_timesteps, "total_timesteps", "learn")
        goes_on = self._begin(reset_num_timesteps)
        self.start_time = time.time_ns()
        if self.ep_info_buffer is None or reset_num_timesteps:
            self.ep_info_buffer = deque(maxlen=self._stats_window_size)
            self.ep_success_buffer = deque(maxlen=self._stats_window_size)
        if reset_num_timesteps:
            self.num_timesteps = 0
        else:
            total_timesteps += self.num_timesteps
        self._total_timesteps = total_timesteps
        self._num_timesteps_at_start = self.num_timesteps
        if not self._custom_logger:
            self._logger = configure_logger(
                self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps
            )
        prepared = self._init_callback(callback, progress_bar)
        self._take_up(goes_on)
        return total_timesteps, prepared
