"""Toy drives for audits: a counter tells the danger, a picture shows it, truth is known.

Drives with an odd seed crash at their end; danger is there in the three frames up to it.  The
scene holds the danger from 0 to 200; the picture shows it in its top left corner, and a colour
that no two frames share in the middle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from toy_drives import CountingDriver
from toy_envs import CountingEnv

from vlsafe_agents.audit import NamedScorer, Source
from vlsafe_agents.data.collect import CollectConfig, collect


class CrashEnv(CountingEnv):
    """4 to 9 steps; with an odd seed the last one crashes, with an even one time is up."""

    def __init__(self) -> None:
        super().__init__(observation="multi")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        self.length, self.crash = 4 + seed % 6, seed % 2 == 1
        self.ends = "terminated" if self.crash else "truncated"
        return super().reset(seed=seed)

    def _info(self) -> dict[str, Any]:
        left = self.length - self.time
        danger = self.crash and left <= 2
        scene = np.zeros((48, 7), np.float32)
        scene[0, 0] = 200 - 50 * left if danger else self.np_random.integers(0, 10)
        scene[0, 2:5] = self.np_random.integers(0, 256, 3)
        info = super()._info()
        del info["safety_score"]
        return info | {
            "scene": scene,
            "time_to_collision": float(left) if danger else np.inf,
            "headway": 2.0,
            "collision": self.crash and left == 0,
            "off_road": False,
        }


class ToyEyes:
    """Draws danger into one corner of an 8 by 8 picture."""

    identity = {"name": "toy eyes"}  # noqa: RUF012

    def frames(self, scenes: Any) -> Any:
        frames = np.zeros((len(scenes), 8, 8, 3), np.uint8)
        frames[:, 0, 0] = scenes[:, 0, 0].astype(np.uint8)[:, None]
        frames[:, 4, 4] = scenes[:, 0, 2:5].astype(np.uint8)
        return frames


def without_others(scenes: Any) -> Any:
    safe = scenes.copy()
    safe[:, 0, 0] = 0.0
    return safe


class Watcher:
    """p falls with the danger in either top corner, or with ``left`` only in the left one."""

    def __init__(self, name: str = "watcher", left: bool = False, turned: bool = False) -> None:
        self.identity = {"name": name}
        self.left, self.turned = left, turned
        self.seen = 0

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        assert infos is None
        self.seen += len(frames)
        corners = frames[:, 0, [0, -1], 0]
        danger = (corners[:, 0] if self.left else corners.max(1)) / 255.0
        return (danger if self.turned else 1.0 - danger).astype(np.float32)


class Reader(Watcher):
    """A dual encoder in miniature: with the prompts exchanged it says the opposite."""

    def __init__(self, prompts: tuple[str, str] = ("safe", "unsafe")) -> None:
        super().__init__("reader", turned=prompts[0] == "unsafe")

    def image_features(self, frames: Any) -> Any:
        return frames

    def score(self, features: Any) -> Any:
        return super().__call__(features)


class Forgetful(Watcher):
    """Has no label for every frame whose danger is a multiple of three."""

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        scores = super().__call__(frames)
        scores[frames[:, 0, 0, 0] % 3 == 0] = np.nan
        return scores


def make_source(folder: Path, episodes: int = 40, seed: int = 0, density: float = 1.0) -> Source:
    """A collected data set, ready to be audited on."""
    mix = {"expert": 0.5, "random": 0.5}
    config = CollectConfig(
        "Toy-v0", mix=mix, episodes=episodes, seed=seed, dataset_id="vlsafe/toy-v0"
    )
    collect(config, folder, CrashEnv, CountingDriver, progress=False)
    return Source(folder, "toy", density, 1.0, ToyEyes(), without_others)


def candidate(scorer: Any, **more: Any) -> NamedScorer:
    """A scorer under its own name."""
    return NamedScorer(scorer.identity["name"], scorer, **more)
