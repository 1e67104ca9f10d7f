"""SB3's off-policy algorithms: environments are checked, and checkpoints hold the replay."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv

from vlsafe_agents.common.border import Array
from vlsafe_agents.common.checked_steps import CheckedSteps
from vlsafe_agents.common.driving import DrivingAlgorithm
from vlsafe_agents.data.replay_folder import ReplayFolder


class KeptReplay(ReplayBuffer):
    """Mixin, to be named before SB3's replay buffers: what a `ReplayFolder` asks of a replay.

    A row is a step of all environments, and the buffer a ring of them.
    """

    row_arrays: ClassVar[tuple[str, ...]] = (
        "observations",
        "next_observations",
        "actions",
        "rewards",
        "dones",
        "timeouts",
    )
    _rows = 0  # that were ever added

    def add(self, *args: Any, **kwargs: Any) -> None:
        """SB3's."""
        super().add(*args, **kwargs)
        self._rows += 1

    @property
    def rows_added(self) -> Array:
        """How many rows were ever added, (1,)."""
        return np.array([self._rows], np.int64)

    @property
    def capacity(self) -> int:
        """Most rows."""
        return self.buffer_size

    @property
    def row_bytes(self) -> int:
        """Memory that a row takes for each environment [bytes]."""
        return sum(array[0, 0].nbytes for _, array in self._named())

    def cut(self, begin: Array, end: Array) -> dict[str, Array]:
        """Copies of rows, as :attr:`rows_added` counts them, by name."""
        places = np.arange(int(begin[0]), int(end[0])) % self.buffer_size
        return {name: array[places] for name, array in self._named()}

    def restore(
        self, end: Array, pieces: Iterable[tuple[Array, Array, Mapping[str, Array]]]
    ) -> None:
        """Be the replay that had ``end`` rows, of rows that :meth:`cut` gave.

        Raises:
            ValueError: for rows of another environment.
        """
        for begin, until, rows in pieces:
            places = np.arange(int(begin[0]), int(until[0])) % self.buffer_size
            for name, array in self._named():
                if name not in rows or rows[name].shape[1:] != array.shape[1:]:
                    raise ValueError(f"a part of the replay has other {name}; train anew")
                array[places] = rows[name]
        self._rows = int(end[0])
        self.pos, self.full = self._rows % self.buffer_size, self._rows >= self.buffer_size

    def _named(self) -> Iterator[tuple[str, Array]]:
        for name in self.row_arrays:
            array = getattr(self, name)
            if isinstance(array, dict):
                yield from ((f"{name}/{key}", part) for key, part in array.items())
            else:
                yield name, array


class DrivesOffPolicy(DrivingAlgorithm, OffPolicyAlgorithm):
    """Mixin, to be named before SB3's off-policy class, whose buffer is a :class:`KeptReplay`.

    A checkpoint has its replay beside it (:class:`~vlsafe_agents.data.replay_folder.ReplayFolder`),
    and training goes on from it exactly where updates follow every step of the environments
    (`train_freq=1`). A file of `save` has no replay, which a warning says when learning goes on.
    """

    replay_buffer: KeptReplay | None
    _replay_folder: ReplayFolder | None = None

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        """SB3's preparations.

        Raises:
            ValueError: also for `VecNormalize`, whose statistics a replay would outlive
        """
        if self._vec_normalize_env is not None:
            raise ValueError(
                f"{type(self).__name__} takes observations and rewards as they are; leave "
                "VecNormalize out"
            )
        return super()._setup_learn(*args, **kwargs)

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: ReplayBuffer,
        action_noise: Any = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """SB3's, with each step checked."""
        steps = self._begin_rollout(env)
        rollout = super().collect_rollouts(
            steps, callback, train_freq, replay_buffer, action_noise, learning_starts, log_interval
        )
        if rollout.continue_training:
            self._rollout_began = None  # it is in the replay
        return rollout

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._last_episode_starts = dones

    def _checked_steps(self) -> CheckedSteps:
        assert self._steps is not None
        return self._steps

    # --- what learning is in the middle of --------------------------------------------------------

    def _running(self) -> dict[str, Any]:
        rows = 0 if self.replay_buffer is None else int(self.replay_buffer.rows_added[0])
        return {**super()._running(), "replay_rows": rows}

    def _cannot_return(self, running: dict[str, Any]) -> str:
        rows = 0 if self.replay_buffer is None else int(self.replay_buffer.rows_added[0])
        return "" if rows == running["replay_rows"] else "its replay is not here"

    def save_checkpoint(self, path: Path) -> None:
        """As of the base class; the replay stands beside the file, and grows with each save."""
        folder = path.with_suffix(".replay")
        if self._replay_folder is None or self._replay_folder.path != folder:
            self._replay_folder = ReplayFolder(folder)
        replay: Any = self.replay_buffer
        self._replay_folder.save(replay)
        super().save_checkpoint(path)
        self._replay_folder.forget(replay)

    @classmethod
    def load_checkpoint(cls, path: Path, env: GymEnv, device: th.device | str) -> Self:
        """As of the base class, with the replay."""
        agent = super().load_checkpoint(path, env, device)
        rows = int((agent._left_off or {}).get("replay_rows", 0))
        if rows:
            replay: Any = agent.replay_buffer
            agent._replay_folder = ReplayFolder(path.with_suffix(".replay"))
            agent._replay_folder.load(replay, np.array([rows], np.int64))
        return agent

    def remove_checkpoint(self, path: Path) -> None:
        """As of the base class."""
        super().remove_checkpoint(path)
        shutil.rmtree(path.with_suffix(".replay"), ignore_errors=True)
