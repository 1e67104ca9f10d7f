"""A detector from nothing: pictures of drives, of which the simulator knows what they show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.common.border import Array
from vlsafe_agents.common.progress import PartProgress
from vlsafe_agents.common.seeds import chunk_seeds
from vlsafe_agents.data.driving import Drive
from vlsafe_agents.detection.detector import IMAGE, Detector, DetectorConfig
from vlsafe_agents.detection.grid import View
from wrappers.checks import whole_number
from wrappers.files import read_npz, write_npz

DETECTOR_FILE = "detector.zip"  # in the folder of a training
PICTURES = "pictures"  # folder of what drives showed
CHUNK = 4000  # pictures a file: what a kill can lose
_OBS = "obs."  # before the names of observations in a file
_COUNTS = ("drives", "steps", "events")
_STREAM = 6  # of a seed, apart from those of outcomes


@dataclass(frozen=True)
class DetectionConfig:
    """How a detector comes about.

    Args:
        view: where its pictures show what.
        distances: as of :class:`Detector`.
        pictures: that it learns from.
        every: so many decisions of a drive there is a picture.
        detector: of the network and its updates.

    Raises:
        ValueError: for numbers out of range.
    """

    view: View
    distances: int
    pictures: int = 12_000
    every: int = 1
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        whole_number(self.distances, "distances", "detection", low=0)
        whole_number(self.pictures, "pictures", "detection", low=1)
        whole_number(self.every, "every", "detection", low=1)


@dataclass(frozen=True)
class Pictures:
    """N observations of drives, and what these cost."""

    obs: dict[str, Array]  # each (N, ...)
    drives: int
    steps: int
    events: int  # drives that ended with a cost

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file."""
        counts = {name: np.asarray(getattr(self, name)) for name in _COUNTS}
        write_npz(path, {f"{_OBS}{name}": part for name, part in self.obs.items()} | counts)

    @classmethod
    def load(cls, path: Path) -> Pictures:
        """Inverse of :meth:`save`; nothing in the file is run.

        Raises:
            ValueError: for a file that holds something else.
        """
        remedy = "remove it, and the same command collects them again"
        arrays = read_npz(path, "pictures (.npz)", remedy)
        obs = {k.removeprefix(_OBS): x for k, x in arrays.items() if k.startswith(_OBS)}
        missing = [name for name in _COUNTS if name not in arrays]
        if missing or not obs:
            raise ValueError(f"{path} holds no pictures of drives; {remedy}")
        return cls(obs, *(int(arrays[name]) for name in _COUNTS))


def train_detector(
    env: gym.Env[Any, Any],
    folder: Path,
    drive: Drive,
    config: DetectionConfig,
    seed: int,
    progress: PartProgress = lambda part, done, total: None,
) -> Detector:
    """Drive, and learn to find what the pictures show; what is in ``folder`` is not done again.

    Args:
        env: shows dictionaries with a picture, vectors and a set of vehicles.
        drive: makes the drivers.
        seed: decides all episodes, first weights and batches.

    Returns:
        The detector, which is also in ``folder``.
    """
    file = folder / DETECTOR_FILE
    if file.exists():
        return Detector.load(file)
    parts = _pictures(env, folder / PICTURES, drive, config, seed, progress)
    shown = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
    image = shown.pop(IMAGE)
    detector = Detector(
        image, gym.spaces.Dict(shown), config.view, config.distances, config.detector, seed
    )
    obs = {name: np.concatenate([part.obs[name] for part in parts]) for name in parts[0].obs}
    total = config.detector.updates
    detector.fit(obs, lambda done, loss: progress("detector: learning", done, total))
    detector.facts = {
        "states": len(obs[IMAGE]),
        **dict.fromkeys(("branches", "branch_steps", "branch_events"), 0),
        "drives": sum(part.drives for part in parts),
        "drive_steps": sum(part.steps for part in parts),
        "drive_events": sum(part.events for part in parts),
    }
    detector.save(file)
    return detector


def _pictures(
    env: gym.Env[Any, Any],
    folder: Path,
    drive: Drive,
    config: DetectionConfig,
    seed: int,
    progress: PartProgress,
) -> list[Pictures]:
    """Pictures, from files as far as they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for chunk, done in enumerate(range(0, config.pictures, CHUNK)):
        count = min(CHUNK, config.pictures - done)
        file = folder / f"{chunk:04d}_{count}.npz"
        if not file.exists():
            seeds = chunk_seeds(seed, _STREAM, chunk)

            def hear(more: int, before: int = done) -> None:
                progress("detector: driving", before + more, config.pictures)

            collect_pictures(env, seeds, drive, count, config.every, hear).save(file)
        found.append(Pictures.load(file))
    return found


def collect_pictures(
    env: gym.Env[Any, Any],
    seeds: range,
    drive: Drive,
    count: int,
    every: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Pictures:
    """``count`` observations of drives with these seeds.

    Args:
        every: so many decisions there is one, from the first on.

    Raises:
        ValueError: where the seeds are used up before.
    """
    found: list[Any] = []
    steps, events = 0, 0
    for drives, seed in enumerate(seeds, 1):
        observation, _ = env.reset(seed=seed)
        driver = drive(env, np.random.default_rng([seed, 1]))
        driver.reset()
        over, step = False, 0
        while not over and len(found) < count:
            if step % every == 0:
                found.append({name: np.array(part) for name, part in observation.items()})
            observation, _, terminated, truncated, info = env.step(driver.act())
            over, step = terminated or truncated, step + 1
            events += bool(terminated and info["cost"] > 0)
        steps += step
        progress(len(found))
        if len(found) >= count:
            obs = {name: np.stack([seen[name] for seen in found]) for name in found[0]}
            return Pictures(obs, drives, steps, events)
    raise ValueError(f"{len(found)} pictures from all seeds, {count} were asked for; give more")
