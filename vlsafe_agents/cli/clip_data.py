"""Drives all environments to make the frames and facts that the bundled CLIP learns from."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.data.pool import run_tasks
from vlsafe_envs import Scene, SceneRenderer
from vlsafe_envs.costs import headway, time_to_collision
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.observations import IMAGE_SIZE
from vlsafe_envs.registry import ROWS, Row, row_of
from vlsafe_envs.render.frames import FRAME_SIZE
from vlsafe_envs.simulators.metadrive.missing import require_metadrive
from wrappers.clip_loading import resize
from wrappers.clip_training import Facts, TrainingSet
from wrappers.clip_training.facts import RoadWords, facts_of_scene, time_to_events
from wrappers.files import replacing

Pictures = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]  # a frame and an image
INFO_FACTS = ("time_to_collision", "headway", "collision", "off_road")
LEAST_STEP = 0.2  # [s] between two frames of a drive
TOP_SPEED = 32.0  # [m/s], of varied scenes
QUIET_TIME, QUIET_EVENT, QUIET_HEADWAY = 4.0, 3.0, 0.8  # [s], a frame above all three is quiet


@dataclass(frozen=True)
class Road:
    """Where and how drives are recorded."""

    env_id: str
    kinds: dict[str, dict[str, Any]]  # options of the environments, by a name
    drives: tuple[tuple[str, str, float], ...]  # driver, kind, how often
    redrawn: bool = True  # whether scenes can be drawn without the environment
    share: float = 1.0  # of the frames that other roads have: MetaDrive is slow


# Meta-actions keep to the lanes; frames off the road come from the grid of raw controls.
_LANE_KINDS: dict[str, dict[str, Any]] = {"meta": {"action": "meta"}, "grid": {"action": "grid"}}
_LANE_DRIVES = (
    ("expert", "meta", 0.2),
    ("noisy", "meta", 0.2),
    ("aggressive", "meta", 0.25),
    ("random", "meta", 0.1),
    ("noisy", "grid", 0.1),
    ("random", "grid", 0.15),
)
_ROUTE_KINDS: dict[str, dict[str, Any]] = {"plain": {}}
_ROUTE_DRIVERS = {"expert": 0.3, "noisy": 0.3, "aggressive": 0.3, "random": 0.1}
_ROUTE_DRIVES = tuple((driver, "plain", chance) for driver, chance in _ROUTE_DRIVERS.items())
_TURN_KINDS: dict[str, dict[str, Any]] = {
    traffic: {"traffic": traffic} for traffic in ("medium", "hard")
}
_TURN_DRIVES = tuple(
    (driver, kind, chance / len(_TURN_KINDS))
    for driver, chance in _ROUTE_DRIVERS.items()
    for kind in _TURN_KINDS
)


def _road(row: Row) -> Road:
    kinds, drives = _ROUTE_KINDS, _ROUTE_DRIVES
    if row.task == "cruise":
        kinds, drives = _LANE_KINDS, _LANE_DRIVES
    elif "traffic" in row.own_options:
        kinds, drives = _TURN_KINDS, _TURN_DRIVES
    share = 0.5 if row.one_per_process else 1.0
    return Road(row.env_id, kinds, drives, redrawn=row.fixed_road, share=share)


ROADS = {row.name: _road(row) for row in ROWS if row.captions}
SCENARIOS = tuple(ROADS)
ROAD_WORDS = tuple(RoadWords(row.name, row.captions, row.crossing) for row in ROWS if row.captions)


@dataclass(frozen=True)
class Split:
    """Which drives to record."""

    name: str
    frames: int  # in all
    densities: tuple[float, ...]
    first_seed: int
    keep_safe: float  # share of quiet frames that is kept
    varied: float = 0.0  # share of recorded scenes of which a variant is kept too


@dataclass
class _Scenes:
    """Packed scenes with their facts, and with what they looked like if that was kept."""

    scenes: list[npt.NDArray[np.float32]]
    facts: Facts
    frames: list[Pictures] | None = None

    def select(self, index: npt.NDArray[np.int64]) -> _Scenes:
        frames = None if self.frames is None else [self.frames[i] for i in index]
        return _Scenes([self.scenes[i] for i in index], self.facts.select(index), frames)


def make_set(split: Split, folder: Path, side: int, processes: int = 1) -> TrainingSet:
    """Record ``split`` under ``folder``, one part for each scenario and density.

    Frames are resized to ``side``, which the model's own preprocessing does first anyway.
    Parts that are already there are kept, so a run that was killed goes on with the next part;
    damaged ones are recorded again.

    Raises:
        ImportError: where parts on MetaDrive are still to be recorded and it is missing
    """
    cells = [(scenario, density) for scenario in SCENARIOS for density in split.densities]
    whole = split.frames / sum(ROADS[scenario].share for scenario, _ in cells)
    counts = [max(int(whole * ROADS[scenario].share), 1) for scenario, _ in cells]
    parts = [
        folder / split.name / f"{scenario}-{density:g}-{count}"
        for (scenario, density), count in zip(cells, counts, strict=True)
    ]
    jobs = [
        (*cell, counts[index], split.first_seed + 10_000 * index, split, side, parts[index])
        for index, cell in enumerate(cells)
        if _load(parts[index]) is None
    ]
    if any(row_of(ROADS[job[0]].env_id).one_per_process for job in jobs):
        require_metadrive()  # now, not after hours on the other roads
    size = dict(zip(parts, counts, strict=True))
    with ProgressReport(f"drive {split.name}", sum(counts), unit="frames") as progress:
        done = sum(counts) - sum(size[job[-1]] for job in jobs)
        progress.update(done, "")
        for part in _record_all(jobs, processes):
            done += size[part]
            progress.update(done, part.name)
    loaded = [TrainingSet.load(part) for part in parts]
    return TrainingSet(
        _joined([part.frames for part in loaded], folder / f"{split.name}-frames.npy"),
        _joined([part.small_frames for part in loaded], folder / f"{split.name}-small.npy"),
        np.concatenate([part.scenes for part in loaded]),
        Facts.concatenate([part.facts for part in loaded]),
    )


def _load(part: Path) -> TrainingSet | None:
    """A part that was recorded; ``None`` where there is none, or a damaged one."""
    if not (part / "facts.npz").exists():
        return None
    try:
        return TrainingSet.load(part)
    except (OSError, ValueError) as error:
        warnings.warn(f"{error}: it is recorded again", stacklevel=2)
        return None


def _joined(parts: list[npt.NDArray[np.uint8]], path: Path) -> npt.NDArray[np.uint8]:
    """All rows in one mapped file: frames may take more room than the memory has.

    Without room on the disk they are held in memory.
    """
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    try:
        with replacing(path) as temporary:
            out = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            with temporary.open("r+b") as file:  # writing to a mapped hole would kill the process
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            np.concatenate(parts, out=out)
            out.flush()
    except OSError as error:
        warnings.warn(f"no room for {path} ({error}); its frames are held in memory", stacklevel=2)
        return np.concatenate(parts)
    return np.load(path, mmap_mode="r")


def _record_all(jobs: list[tuple[Any, ...]], processes: int) -> Iterator[Path]:
    """Record every job; yields the folders as they are finished."""
    for _, folder in run_tasks(_make_recorder, iter(jobs), processes):
        yield folder


def _make_recorder() -> Callable[[tuple[Any, ...]], Path]:
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the processes share the cores already
    return lambda job: _record(*job)


def _record(
    scenario: str,
    density: float,
    count: int,
    seed: int,
    split: Split,
    side: int,
    folder: Path,
) -> Path:
    """Save ``count`` frames of one scenario at one density in ``folder``."""
    rng = np.random.default_rng(seed)
    parts: list[_Scenes] = []
    total = 0
    varied = split.varied if ROADS[scenario].redrawn else 0.0
    for drive in _episodes(scenario, density, seed, rng):
        for found in (drive, _varied(drive, varied, rng)):
            kept = found.select(_worth(found.facts, split.keep_safe, rng)[: count - total])
            parts.append(kept)
            total += len(kept.scenes)
        if total >= count:
            break
    scenes = [scene for part in parts for scene in part.scenes]
    frames = np.empty((count, side, side, 3), np.uint8)
    small = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    seen = (pictures for part in parts for pictures in _seen(part, scenario))
    for index, (large, image) in enumerate(seen):
        frames[index], small[index] = _shrunk(large, side), image
    facts = Facts.concatenate([part.facts for part in parts])
    TrainingSet(frames, small, np.stack(scenes), facts).save(folder)
    return folder


def _seen(drive: _Scenes, scenario: str) -> Iterator[Pictures]:
    """What scenes look like, large and small."""
    if drive.frames is not None:
        yield from drive.frames
        return
    for scene in drive.scenes:
        yield _renderer(scenario).frame(scene), _renderer(scenario).image(scene)


@functools.cache
def _renderer(scenario: str) -> SceneRenderer:
    return SceneRenderer(ROADS[scenario].env_id)


def _shrunk(frame: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
    shrunk: npt.NDArray[np.uint8] = resize(pixels, side, side)[0].permute(1, 2, 0).numpy()
    return shrunk


def _worth(facts: Facts, keep_quiet: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices of the frames to keep: all that are not quiet, and some of the others."""
    quiet = (
        (facts.time_to_collision > QUIET_TIME)
        & (facts.time_to_event > QUIET_EVENT)
        & (facts.headway > QUIET_HEADWAY)
    )
    return np.flatnonzero(~quiet | (rng.random(len(quiet)) < keep_quiet))


def _varied(drive: _Scenes, share: float, rng: np.random.Generator) -> _Scenes:
    """Scenes with the same places and other speeds: danger and safety at equal distances.

    Nobody drove them, so nothing is known of what comes after: no event is foretold.
    """
    calm = (drive.facts.collision == 0) & (drive.facts.off_road == 0)
    chosen = drive.select(np.flatnonzero(calm & (rng.random(len(calm)) < share)))
    scenes, rows = [], []
    for packed in chosen.scenes:
        scene = packed.copy()
        vehicles = np.flatnonzero(scene[:, 6] == 1)
        factor = np.where(rng.random(len(vehicles)) < 0.7, rng.uniform(0.2, 1.8, len(vehicles)), 1)
        scene[vehicles, 3] = np.clip(scene[vehicles, 3] * factor, 0.0, TOP_SPEED)
        scenes.append(scene)
        plain = Scene.unpack(scene)
        rows.append(
            facts_of_scene(scene)
            | {"time_to_collision": time_to_collision(plain), "headway": headway(plain)}
        )
    columns = {key: np.array([row[key] for row in rows]) for key in (rows[0] if rows else {})}
    unknown = np.full(len(rows), np.inf)
    return _Scenes(scenes, dataclasses.replace(chosen.facts, time_to_event=unknown, **columns))


def _episodes(
    scenario: str, density: float, seed: int, rng: np.random.Generator
) -> Iterator[_Scenes]:
    road = ROADS[scenario]
    envs = {kind: _make_env(scenario, density, kind) for kind in road.kinds}
    chances = np.array([chance for *_, chance in road.drives])
    while True:
        name, kind, _ = road.drives[int(rng.choice(len(road.drives), p=chances))]
        yield _drive(envs[kind], name, scenario, seed)
        seed += 1


def _make_env(scenario: str, density: float, kind: str) -> gym.Env[Any, Any]:
    road = ROADS[scenario]
    return gym.make(
        f"vlsafe_envs:{road.env_id}",
        observation="vector",
        density=density,
        scorer=None,
        scene_in_info=True,
        **road.kinds[kind],
    )


def _drive(env: gym.Env[Any, Any], driver_name: str, scenario: str, seed: int) -> _Scenes:
    driver = make_driver(driver_name, env, np.random.default_rng([seed, 1]))
    _, info = env.reset(seed=seed)
    driver.reset()
    infos, pictures, over = [info], [_look(env, scenario)], False
    while not over:
        _, _, terminated, truncated, info = env.step(driver.act())
        infos.append(info)
        pictures.append(_look(env, scenario))
        over = terminated or truncated
    seconds = 1.0 / env.get_wrapper_attr("scenario").traffic.policy_frequency
    facts = _episode_facts(infos, scenario, seconds)
    kept = None if ROADS[scenario].redrawn else [picture for picture in pictures if picture]
    drive = _Scenes([info["scene"] for info in infos], facts, kept)
    stride = max(round(LEAST_STEP / seconds), 1)
    return drive.select(np.arange(len(infos) - 1, -1, -stride)[::-1])  # the last one always


def _look(env: gym.Env[Any, Any], scenario: str) -> Pictures | None:
    """The scorer's frame and the agent's image now, where they cannot be drawn later."""
    if ROADS[scenario].redrawn:
        return None
    look = env.get_wrapper_attr("safety_frame")
    return look(FRAME_SIZE).copy(), look(IMAGE_SIZE).copy()


def _episode_facts(infos: list[dict[str, Any]], scenario: str, seconds: float) -> Facts:
    """Facts of one episode with ``seconds`` from one decision to the next."""
    columns: dict[str, list[float]] = {}
    for info in infos:
        row = facts_of_scene(info["scene"]) | {key: float(info[key]) for key in INFO_FACTS}
        # The paper's unsafe prompt says it in one breath: off its trajectory, off the road.
        row["off_road"] = max(row["off_road"], float(info.get("off_route", False)))
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    arrays = {key: np.array(values) for key, values in columns.items()}
    last = np.zeros(len(infos), bool)
    last[-1] = True
    event = (arrays["collision"] > 0) | (arrays["off_road"] > 0)
    return Facts(
        scenario=np.full(len(last), float(SCENARIOS.index(scenario))),
        time_to_event=time_to_events(event, last, seconds),
        **arrays,
    )
