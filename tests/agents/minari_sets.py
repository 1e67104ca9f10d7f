"""Minari data sets as other people write them, with Minari itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

LENGTHS = (5, 9, 7)


def drive(space: spaces.Space[Any], action_space: spaces.Space[Any], steps: int, seed: int) -> Any:
    """Observations, actions and costs drawn at random from the spaces."""
    rng = np.random.default_rng(seed)

    def sample(part: spaces.Space[Any]) -> Any:
        if isinstance(part, spaces.Dict):
            return {name: sample(inner) for name, inner in part.spaces.items()}
        shape = (steps + 1, *(part.shape or ()))
        if part.dtype == np.uint8:
            # smooth, so that JPEG changes little
            ramp = np.linspace(0, 200, part.shape[0])[:, None, None] if len(part.shape) == 3 else 0
            return (np.zeros(shape) + ramp + rng.integers(0, 50)).astype(np.uint8)
        return rng.normal(size=shape).astype(part.dtype)

    actions = rng.uniform(-1, 1, (steps, *action_space.shape)).astype(np.float32)
    if isinstance(action_space, spaces.Discrete):
        actions = rng.integers(action_space.n, size=steps)
    return sample(space), actions, rng.integers(0, 2, steps + 1).astype(float)


def write(
    folder: Path,
    space: spaces.Space[Any],
    action_space: spaces.Space[Any] | None = None,
    infos: Any = lambda costs: {"cost": costs},
    jpeg: bool = True,
    lengths: tuple[int, ...] = LENGTHS,
) -> tuple[Path, list[Any]]:
    """Folder and contents ``(observations, actions, costs)`` of a set of random episodes.

    Args:
        infos: of an episode with these costs ``(T + 1,)``; None for none.
    """
    action_space = action_space or spaces.Box(-1.0, 1.0, (2,), np.float32)
    episodes = [drive(space, action_space, steps, seed) for seed, steps in enumerate(lengths)]
    buffers = [
        EpisodeBuffer(
            observations=observations,
            actions=actions,
            rewards=list(np.arange(len(actions), dtype=float)),
            terminations=[False] * len(actions),
            truncations=[*[False] * (len(actions) - 1), True],
            infos=None if infos is None else infos(costs),
        )
        for observations, actions, costs in episodes
    ]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        warnings.simplefilter("ignore")  # Minari wants an author
        minari.create_dataset_from_buffers(
            "others/made-v0",
            buffers,
            observation_space=space,
            action_space=action_space,
            jpeg_encoding=jpeg,
        )
    return folder / "others" / "made-v0", episodes
