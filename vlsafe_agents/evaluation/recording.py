"""Recording chosen episodes as .npz files, for videos and strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.evaluation.metrics import EpisodeRecord
from wrappers.files import read_npz, write_npz

_SIGNALS = ("speed", "time_to_collision", "safety_score", "cost", "env_cost", "collision")


@dataclass(frozen=True)
class Recording:
    """What to record.

    Args:
        folder: where the files go (created if missing)
        best: number of best episodes
        worst: number of worst episodes
    """

    folder: Path
    best: int = 1
    worst: int = 1

    def __post_init__(self) -> None:
        if min(self.best, self.worst) < 0:
            raise ValueError(
                f"best={self.best}, worst={self.worst}: the episodes to record must be at least 0"
            )

    def choose(self, records: Sequence[EpisodeRecord]) -> dict[str, EpisodeRecord]:
        """File stem to episode: "best_0", ..., "worst_0", ...

        Order: without a collision before with one, on the road before off it, then by return.
        What is not reported does not decide.
        """
        ranked = sorted(
            records, key=lambda r: (bool(r.collision), bool(r.off_road), -r.episode_return)
        )
        best = {f"best_{i}": record for i, record in enumerate(ranked[: self.best])}
        worst = {f"worst_{i}": record for i, record in enumerate(ranked[::-1][: self.worst])}
        return best | worst


class EpisodeTrace:
    """Frames and signals of one episode; T steps give T + 1 entries.

    Entry t belongs to the arrival at observation t, entry 0 to the reset: its reward is 0 and its
    action a zero. Signals that the environment does not report are NaN.
    """

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []
        self._actions: list[Any] = []
        self._rewards: list[float] = []
        self._signals: dict[str, list[float]] = {name: [] for name in _SIGNALS}
        self._fps = np.nan

    def add(
        self, env: gym.Env[Any, Any], action: Any, reward: float, info: Mapping[str, Any]
    ) -> None:
        """Take down the step that has just been made (`action` is None for the reset)."""
        self._frames.append(safety_frame(env))
        self._fps = float(env.metadata.get("render_fps") or np.nan)
        self._actions.append(action)
        self._rewards.append(reward)
        for name, values in self._signals.items():
            value = np.asarray(np.nan if info.get(name) is None else info[name], np.float64)
            if value.size != 1:
                raise ValueError(f"info[{name!r}] holds {value.size} numbers; expected one")
            values.append(value.item())

    def save(self, path: Path, record: EpisodeRecord) -> None:
        """Write one compressed .npz file; `load_recording` reads it."""
        actions = [np.zeros_like(self._actions[1]), *self._actions[1:]]
        arrays: dict[str, Any] = {
            "frames": np.stack(self._frames),  # (T + 1, H, W, 3) uint8
            "action": np.stack([np.asarray(action) for action in actions]),
            "reward": np.array(self._rewards, dtype=np.float32),
            **{name: np.array(v, dtype=np.float32) for name, v in self._signals.items()},
            "fps": np.array(self._fps),
            "seed": np.array(record.seed),
            "episode_return": np.array(record.episode_return),
        }
        write_npz(path, arrays)


def load_recording(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a recorded episode, T steps.

    Returns:
        `frames` (T+1, H, W, 3) uint8; `action`, `reward`, `speed` [m/s], `time_to_collision` [s,
        inf where nothing is ahead], `safety_score`, `cost`, `env_cost`, `collision` (0 or 1), each
        (T+1, ...), index t = on arriving at observation t; scalars `seed`, `episode_return`, `fps`
        (steps a second, NaN where the environment does not say)

    Raises:
        FileNotFoundError: where there is no file
        ValueError: for a file that is damaged, no .npz, or larger than any recording
    """
    return read_npz(Path(path), "a recorded episode (.npz)")


def safety_frame(env: gym.Env[Any, Any]) -> np.ndarray:
    """The frame that a scorer would see: `env.safety_frame()` where there is one, else `render()`.

    Returns:
        (H, W, 3) uint8

    Raises:
        ValueError: if the environment can show neither
    """
    require_frames(env)
    if env.has_wrapper_attr("safety_frame"):
        frame = env.get_wrapper_attr("safety_frame")()
    else:
        frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"the environment shows {type(frame).__name__}, not a frame (H, W, 3)")
    return frame


def require_frames(env: gym.Env[Any, Any]) -> None:
    """Raise ``ValueError`` for an environment that shows no frames."""
    if not env.has_wrapper_attr("safety_frame") and env.render_mode != "rgb_array":
        raise ValueError(
            "Recording needs frames: offer safety_frame(), or make the environment with "
            "render_mode='rgb_array'."
        )
