"""Drives all environments to make the frames and facts that the bundled CLIP learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from vlsafe_agents.common.progress import ProgressReport
from vlsafe_envs.experts import make_driver
from wrappers.clip_loading import resize
from wrappers.clip_training import Facts, TrainingSet
from wrappers.clip_training.facts import SCENARIOS, facts_of_scene, time_to_events

INFO_FACTS = ("time_to_collision", "headway", "collision", "off_road")
# Meta-actions keep to the lanes; frames off the road come from the grid of raw controls.
DRIVES = (
    ("expert", "meta", 0.2),
    ("noisy", "meta", 0.2),
    ("aggressive", "meta", 0.25),
    ("random", "meta", 0.1),
    ("noisy", "grid", 0.1),
    ("random", "grid", 0.15),
)


@dataclass(frozen=True)
class Split:
    """Which drives to record."""

    name: str
    frames: int  # in all
    densities: tuple[float, ...]
    first_seed: int
    keep_safe: float  # share of quiet frames that is kept


@dataclass
class _Episode:
    frames: list[npt.NDArray[np.uint8]]
    infos: list[dict[str, Any]]
    small: list[npt.NDArray[np.uint8]]


def make_set(split: Split, folder: Path, side: int) -> TrainingSet:
    """Record ``split`` under ``folder``, one part for each scenario and density.

    Frames are resized to ``side``, which the model's own preprocessing does first anyway.
    Parts that are already there are kept, so a run that was killed goes on with the next part.
    """
    cells = [(scenario, density) for scenario in SCENARIOS for density in split.densities]
    share = max(split.frames // len(cells), 1)
    title = f"drive {split.name}"
    with ProgressReport(title, share * len(cells), unit="frames") as progress:
        parts = []
        for index, (scenario, density) in enumerate(cells):
            part = folder / split.name / f"{scenario}-{density:g}-{share}"
            if not (part / "facts.npz").is_file():
                seed = split.first_seed + 10_000 * index
                _record(scenario, density, share, seed, split.keep_safe, side).save(part)
            parts.append(TrainingSet.load(part))
            progress.update(share * (index + 1), f"{scenario}, density {density:g}")
    return TrainingSet(
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.small_frames for part in parts]),
        Facts.concatenate([part.facts for part in parts]),
    )


def _record(
    scenario: str,
    density: float,
    count: int,
    seed: int,
    keep_safe: float,
    side: int,
) -> TrainingSet:
    """``count`` frames of one scenario at one density."""
    rng = np.random.default_rng(seed)
    frames, small, facts, total = [], [], [], 0
    for episode in _episodes(scenario, density, seed, rng):
        found = _episode_facts(episode, scenario)
        quiet = (found.time_to_collision > 4) & (found.time_to_event > 3) & (found.headway > 0.8)
        keep = np.flatnonzero(~quiet | (rng.random(len(quiet)) < keep_safe))[: count - total]
        if not len(keep):
            continue
        pixels = torch.from_numpy(np.stack([episode.frames[i] for i in keep])).permute(0, 3, 1, 2)
        frames.append(resize(pixels, side, side).permute(0, 2, 3, 1).numpy())  # (n, S, S, 3)
        small.append(np.stack([episode.small[i] for i in keep]))
        facts.append(found.select(keep))
        total += len(keep)
        if total >= count:
            break
    return TrainingSet(np.concatenate(frames), np.concatenate(small), Facts.concatenate(facts))


def _episodes(
    scenario: str, density: float, seed: int, rng: np.random.Generator
) -> Iterator[_Episode]:
    envs = {action: _make_env(scenario, density, action) for action in ("meta", "grid")}
    chances = np.array([chance for *_, chance in DRIVES])
    while True:
        name, action, _ = DRIVES[int(rng.choice(len(DRIVES), p=chances))]
        yield _drive(envs[action], name, seed)
        seed += 1


def _make_env(scenario: str, density: float, action: str) -> gym.Env[Any, Any]:
    return gym.make(
        f"vlsafe_envs:VLSafe-{scenario.capitalize()}-v0",
        observation="image",
        action=action,
        density=density,
        scorer=None,
        scene_in_info=True,
    )


def _drive(env: gym.Env[Any, Any], driver_name: str, seed: int) -> _Episode:
    driver = make_driver(driver_name, env, np.random.default_rng([seed, 1]))
    image, info = env.reset(seed=seed)
    driver.reset()
    safety_frame = env.get_wrapper_attr("safety_frame")
    episode = _Episode([safety_frame().copy()], [info], [image.copy()])
    over = False
    while not over:
        image, _, terminated, truncated, info = env.step(driver.act())
        episode.frames.append(safety_frame().copy())
        episode.small.append(image.copy())
        episode.infos.append(info)
        over = terminated or truncated
    return episode


def _episode_facts(episode: _Episode, scenario: str) -> Facts:
    columns: dict[str, list[float]] = {}
    for info in episode.infos:
        row = facts_of_scene(info["scene"]) | {key: float(info[key]) for key in INFO_FACTS}
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    arrays = {key: np.array(values) for key, values in columns.items()}
    last = np.zeros(len(episode.infos), bool)
    last[-1] = True
    event = (arrays["collision"] > 0) | (arrays["off_road"] > 0)
    return Facts(
        scenario=np.full(len(last), float(SCENARIOS.index(scenario))),
        time_to_event=time_to_events(event, last, step=1.0),  # one decision a second by default
        **arrays,
    )
