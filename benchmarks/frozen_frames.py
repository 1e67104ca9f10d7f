"""Makes the frames of the hazard exam: ``vlsafe_agents/audit/frozen_frames.zip``.

    python -m benchmarks.frozen_frames                 # some minutes; needs the extra metadrive
    python -m benchmarks.frozen_frames --out frames.zip --frames 10

Of every id as many frames, each of a drive of its own: half of them are drawn at random among the
frames from which a collision or departure from the road follows within 2 s, half among the others.
At these densities the bundled scorer was not trained; the maps are those of MetaDrive's test.  The
seeds belong to nobody who learns: data sets have seeds below 2**31, evaluations begin at
3,000,000,000.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.audit.drives import TRUTH_COLUMNS, questions, truth_of
from vlsafe_agents.audit.frozen import BUNDLED_FRAMES, HORIZON, TRUTH, FrozenFrames, write_frozen
from vlsafe_agents.cli.scorers import scenes_without_others
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_envs import SceneRenderer
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.registry import ROWS, Row
from vlsafe_envs.render.frames import FRAME_SIZES

FIRST_SEED = 4_100_000_000
DENSITIES = (0.75, 1.25, 1.75)
DRIVERS = {"expert": 0.25, "noisy": 0.3, "aggressive": 0.3, "random": 0.15}
Entry = tuple[dict[str, str], dict[int, Any], dict[int, Any]]  # facts; frames and erased by size


def entries(row: Row, number: int, wanted: int) -> Iterator[tuple[bool, Entry]]:
    """Frames of one id, each with whether an event follows, ``wanted // 2`` of both kinds."""
    kinds = ["meta", "grid"] if row.task == "cruise" else []  # off a lane by the grid alone
    choices = [{"density": density} for density in DENSITIES]
    choices = [one | {"action": kind} for one in choices for kind in kinds] or choices
    if "traffic" in row.own_options:
        choices = [one | {"traffic": level} for one in choices for level in ("medium", "hard")]
    if row.one_per_process:
        choices = [one | {"maps": "test"} for one in choices]
    shares = [len(part) for part in np.array_split(np.arange(wanted // 2), len(choices))]
    for block, (options, share) in enumerate(zip(choices, shares, strict=True)):
        seed = FIRST_SEED + 1_000_000 * number + 10_000 * block
        env = gym.make(row.env_id, observation="vector", scorer=None, scene_in_info=True, **options)
        yield from of_one_kind(env, row, options, share, seed)
        env.close()


def of_one_kind(
    env: Any, row: Row, options: dict[str, Any], share: int, first_seed: int
) -> Iterator[tuple[bool, Entry]]:
    """As :func:`entries`, of one environment, ``share`` of both kinds."""
    left = {True: share, False: share}
    for seed in count(first_seed):
        if not any(left.values()):
            return
        rng = np.random.default_rng(seed)
        driver = str(rng.choice(list(DRIVERS), p=list(DRIVERS.values())))
        infos, pictures, seconds = drive_once(env, row, driver, seed)
        found = choose(infos, seconds, left, rng)
        if found is not None:
            kind, place, truth = found
            left[kind] -= 1
            words = {"road": row.name, "driver": driver, "density": f"{options['density']:g}"}
            facts = words | {"seed": str(seed)} | truth
            yield kind, drawn(row, options, facts, infos[place]["scene"], pictures[place])


def drive_once(
    env: Any, row: Row, driver_name: str, seed: int
) -> tuple[list[dict[str, Any]], list[Any], float]:
    """Infos of a whole drive, pictures where they cannot be drawn later, and the step [s]."""
    _, info = env.reset(seed=seed)
    driver = make_driver(driver_name, env, np.random.default_rng([seed, 1]))
    driver.reset()

    def look() -> Any:
        if row.fixed_road:
            return None
        show = env.get_wrapper_attr("safety_frame")
        return {size: show(size).copy() for size in FRAME_SIZES}

    infos, pictures, over = [info], [look()], False
    while not over:
        _, _, terminated, truncated, info = env.step(driver.act())
        infos.append(info | {"cut": truncated and not terminated})
        pictures.append(look())
        over = terminated or truncated
    seconds = 1.0 / env.get_wrapper_attr("scenario").traffic.policy_frequency
    return infos, pictures, seconds


def choose(
    infos: list[dict[str, Any]], seconds: float, left: dict[bool, int], rng: np.random.Generator
) -> tuple[bool, int, dict[str, str]] | None:
    """A frame of a kind that is still needed: its kind, place and truth as text."""
    length = len(infos)
    truth = truth_of(
        episode=np.zeros(length, np.int64),
        time=np.arange(length) * seconds,
        truncated=np.array([info.get("cut", False) for info in infos]),
        columns={name: np.array([float(info[name]) for info in infos]) for name in TRUTH_COLUMNS},
    )
    event = questions(truth, HORIZON, HORIZON)["event"]
    kinds = [
        (kind, np.flatnonzero(event.known & (event.positive == kind)))
        for kind, open_places in left.items()
        if open_places
    ]
    kinds = [(kind, rows) for kind, rows in kinds if len(rows)]
    if not kinds:
        return None
    kind, rows = kinds[int(rng.integers(len(kinds)))]
    place = int(rng.choice(rows))
    return kind, place, {name: f"{float(getattr(truth, name)[place]):.9g}" for name in TRUTH}


def drawn(
    row: Row, options: dict[str, Any], facts: dict[str, str], scene: Any, pictures: Any
) -> Entry:
    """A frame as scorers see it, and without other vehicles.

    The second where a vehicle is the danger and the road can be drawn again.
    """
    near = float(facts["time_to_collision"]) < HORIZON
    facts["erasable"] = str(int(row.fixed_road and near))
    nothing = {size: np.zeros((size, size, 3), np.uint8) for size in FRAME_SIZES}
    if not row.fixed_road:
        return facts, pictures, nothing
    renderer = SceneRenderer(row.env_id, **options)
    shown = {size: renderer.at_size(size) for size in FRAME_SIZES}
    alone = scenes_without_others(scene[None])[0]
    erased = {size: draw.frame(alone) for size, draw in shown.items()} if near else nothing
    return facts, {size: draw.frame(scene) for size, draw in shown.items()}, erased


def make(wanted: int, only: list[str]) -> FrozenFrames:
    """All frames, roads and kinds in turns, so that the first ones are of all sorts, too."""
    rows = [row for row in ROWS if not only or row.name in only]
    found: list[list[Entry]] = []
    with ProgressReport("drive", wanted * len(rows), "frames") as progress:
        for number, row in enumerate(rows):
            kinds: dict[bool, list[Entry]] = {True: [], False: []}
            for kind, entry in entries(row, number, wanted):
                kinds[kind].append(entry)
                done = sum(map(len, found)) + sum(map(len, kinds.values()))
                progress.update(done, row.name)
            found.append([one for pair in zip(*kinds.values(), strict=True) for one in pair])
    mixed = [entry for turn in zip(*found, strict=True) for entry in turn]
    facts, pictures, erased = zip(*mixed, strict=True)

    def stacked(shown: Sequence[dict[int, Any]]) -> dict[int, Any]:
        return {size: np.stack([one[size] for one in shown]) for size in FRAME_SIZES}

    return FrozenFrames(facts, stacked(pictures), stacked(erased))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=BUNDLED_FRAMES)
    parser.add_argument("--frames", type=int, default=26, help="of each id; an even number")
    parser.add_argument("--only", nargs="*", default=[], help="roads; all where none is named")
    arguments = parser.parse_args()
    frames = make(arguments.frames, arguments.only)
    write_frozen(arguments.out, frames)
    megabytes = arguments.out.stat().st_size / 1e6
    print(f"{len(frames)} frames, {megabytes:.2f} MB in {arguments.out}; sha256 {frames.sha256}")


if __name__ == "__main__":
    main()
