"""SB3's off-policy algorithms: environments are checked, and checkpoints hold the replay."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv

from vlsafe_agents.common.border import Array
from vlsafe_agents.common.checked_steps import CheckedSteps
from vlsafe_agents.common.driving import DrivingAlgorithm
from vlsafe_agents.data.replay_folder import ReplayFolder
from wrappers.checks import one_number, whole_number

# SB3's arguments that stand against a replay that checkpoints hold
REFUSED = (
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "optimize_memory_usage",
    "n_steps",
    "action_noise",
)
_WHOLE = {
    "buffer_size": 1,
    "learning_starts": 0,
    "batch_size": 1,
    "train_freq": 1,
    "gradient_steps": -1,
    "target_update_interval": 1,
    "cost_window": 1,
    "multiplier_interval": 1,
    "frame_stack": 1,
}  # least values
_RANGES: dict[str, tuple[float, float | None]] = {
    "learning_rate": (0.0, None),
    "tau": (0.0, 1.0),
    "gamma": (0.0, 1.0),
    "cost_gamma": (0.0, 1.0),
    "exploration_fraction": (0.0, 1.0),
    "exploration_initial_eps": (0.0, 1.0),
    "exploration_final_eps": (0.0, 1.0),
    "max_grad_norm": (0.0, None),
}


def check_off_policy(where: str, given: Mapping[str, Any]) -> None:
    """Check what SB3 takes without a word; schedules and None are left alone.

    Raises:
        ValueError: naming the argument and what it may be.
    """
    refused = [name for name in REFUSED if name in given]
    if refused:
        raise ValueError(
            f"{where} brings its own replay buffer and exploration; leave {', '.join(refused)} out."
        )
    for name, value in given.items():
        if name in _WHOLE:
            whole_number(value, name, where, low=_WHOLE[name])
        elif name in _RANGES and value is not None and not callable(value):
            one_number(value, name, where, *_RANGES[name])


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


class KeptDictReplay(KeptReplay, DictReplayBuffer):
    """The same for Dict observations."""


class DrivesOffPolicy(DrivingAlgorithm, OffPolicyAlgorithm):
    """Mixin, to be named before SB3's off-policy class, whose buffer is a :class:`KeptReplay`.

    A checkpoint has its replay beside it (:class:`~vlsafe_agents.data.replay_folder.ReplayFolder`),
    and training goes on from it exactly where updates follow every step of the environments
    (`train_freq=1`). A file of `save` has no replay, which a warning says when learning goes on.
    """

    replay_buffer: KeptReplay | None
    _buffers: ClassVar[tuple[type[ReplayBuffer], type[ReplayBuffer]]] = (KeptReplay, KeptDictReplay)
    _replay_folder: ReplayFolder | None = None
    _unread_settings: ClassVar[frozenset[str]] = frozenset(REFUSED)

    def _setup_model(self) -> None:
        self.replay_buffer_class = self._buffers[isinstance(self.observation_space, spaces.Dict)]
        super()._setup_model()

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

    def _setting(self, name: str) -> Any:
        return self.train_freq.frequency if name == "train_freq" else super()._setting(name)  # type: ignore[union-attr]

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


class DrivesSAC(DrivesOffPolicy, SAC):
    """SB3's SAC so; its file holds the entropy's weight."""

    def _state(self) -> dict[str, Any]:
        log_ent_coef = None if self.log_ent_coef is None else self.log_ent_coef.item()
        return {**super()._state(), "log_ent_coef": log_ent_coef}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        if self.log_ent_coef is not None:
            self.log_ent_coef.data.fill_(one_number(state["log_ent_coef"], "log_ent_coef"))
