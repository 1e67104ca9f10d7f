"""Opening and drawing from large data sets: seconds, memory, and what a learner loses by the disk.

    python benchmarks/large_data.py make FOLDER --steps 1000000
    python benchmarks/large_data.py repeat SOURCE FOLDER --times 100
    python benchmarks/large_data.py open FOLDER FOLDER ...
    python benchmarks/large_data.py learn FOLDER --memory 2

``make`` writes a data set in vlsafe's own layout: episodes of 40 steps with vectors, costs and
safety scores, drawn at random, and with ``--image SIZE`` also road-like images.  ``repeat`` makes
of it one of many times the episodes: in the data file they are links to the same arrays, in
``cache/``, which is written here without reading them all, every row is there.  ``open`` opens
each in two processes one after the other (the first writes ``cache/`` where there is none), and
prints a table: seconds of clock and processor, resident memory without what is mapped, and the time
of a ``sample``.  ``learn`` compares updates of a learner that reads from disk with updates of one
that holds a small part of the same data in memory, in turns in one process.  Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.data.columns import write_flat
from vlsafe_agents.data.index import Steps, is_large
from vlsafe_agents.data.layout import MAIN_FILE, episode_name
from vlsafe_agents.data.shards import write_array
from vlsafe_agents.data.storage import update_metadata

GIGA = 1e9
STEPS = 40  # of an episode


def spaces_of(vector: int, image: int) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Observation and action space; sizes of 0 leave the observation out."""
    parts: dict[str, gym.Space[Any]] = {}
    if vector:
        parts["vector"] = gym.spaces.Box(-np.inf, np.inf, (vector,), np.float32)
    if image:
        parts["image"] = gym.spaces.Box(0, 255, (image, image, 3), np.uint8)
    return gym.spaces.Dict(parts), gym.spaces.Discrete(5)


def make(folder: Path, steps: int, vector: int, image: int) -> None:
    """Write a data set of so many steps."""
    from minari.dataset.minari_storage import MinariStorage

    observation_space, action_space = spaces_of(vector, image)
    episodes = math.ceil(steps / STEPS)
    (folder / "data").parent.mkdir(parents=True, exist_ok=True)
    storage = MinariStorage.new(
        folder / "data",
        observation_space=observation_space,
        action_space=action_space,
        jpeg_encoding=False,
    )
    rng, began = np.random.default_rng(0), time.perf_counter()
    with h5py.File(folder / "data" / MAIN_FILE, "w", libver="latest", track_order=True) as file:
        for number in range(episodes):
            group = file.create_group(episode_name(number))
            for name, array in episode_arrays(rng, vector, image).items():
                write_array(group, name, array)
            group.attrs.update({"id": number, "seed": number, "driver": "random"})
    storage.update_metadata(
        {
            "dataset_id": "benchmark/large-v0",
            "dataset_size": 1.0,
            "total_episodes": episodes,
            "total_steps": episodes * STEPS,
        }
    )
    size = (folder / "data" / MAIN_FILE).stat().st_size / GIGA
    print(
        f"{folder}: {episodes * STEPS:,} steps, {size:.2f} GB, {time.perf_counter() - began:.0f} s"
    )


def episode_arrays(rng: np.random.Generator, vector: int, image: int) -> dict[str, Any]:
    """The arrays of one episode under their names within its group."""
    ends = np.zeros(STEPS, bool)
    ends[-1] = rng.random() < 0.2
    cost = np.zeros(STEPS + 1, np.float32)
    cost[-1] = ends[-1]
    arrays: dict[str, Any] = {
        "actions": rng.integers(5, size=STEPS),
        "rewards": rng.random(STEPS),
        "terminations": ends,
        "truncations": ~ends & (np.arange(STEPS) == STEPS - 1),
        "infos/env_cost": cost,
        "infos/safety_score": rng.random(STEPS + 1, np.float32),
    }
    if vector:
        arrays["observations/vector"] = rng.standard_normal((STEPS + 1, vector), np.float32)
    if image:
        frames = np.zeros((STEPS + 1, image, image, 3), np.uint8)
        frames[:, image // 3 : 2 * image // 3] = 100  # a road
        for frame, place in zip(frames, rng.integers(image - 6, size=(STEPS + 1, 2)), strict=True):
            frame[place[0] : place[0] + 4, place[1] : place[1] + 6] = rng.integers(256, size=3)
        arrays["observations/image"] = frames
    return arrays


def repeat(source: Path, folder: Path, times: int) -> None:
    """Write the episodes of a data set so many times, with index and flat files."""
    from vlsafe_agents.data.index import index_path, write_index
    from vlsafe_agents.data.reading import content_of, read_flat_rows
    from vlsafe_agents.data.storage import read_metadata

    rows, *_ = read_flat_rows(source)
    shutil.copytree(source / "data", folder / "data")
    episodes, total = len(rows.seeds), int(rows.starts[-1])
    with h5py.File(folder / "data" / MAIN_FILE, "r+") as file:
        for number in range(episodes, episodes * times):
            old, new = episode_name(number % episodes), episode_name(number)
            file.id.links.create_hard(new.encode(), file.id, old.encode())
    update_metadata(
        folder / "data",
        {"total_episodes": episodes * times, "total_steps": (total - episodes) * times},
    )
    metadata = read_metadata(folder / "data")
    assert is_large(metadata)
    names = ("next_action", "reward", "env_cost", "safety_score", "is_terminal")
    columns = {name: np.concatenate([getattr(rows, name)] * times) for name in names}
    starts = (rows.starts[:-1] + total * np.arange(times)[:, None]).reshape(-1)
    steps = Steps(
        starts=np.append(starts, total * times),
        seeds=rows.seeds * times,
        drivers=rows.drivers * times,
        **columns,
    )
    write_index(index_path(folder / "data", metadata, None), steps)
    for name, array in rows.obs.items():
        content = f"{name} {content_of(folder / 'data', metadata)}"
        stamp = hashlib.sha256(content.encode()).hexdigest()[:16]
        shape = (total * times, *array.shape[1:])
        path = folder / "cache" / f"{name}-{stamp}.npy"
        write_flat(path, shape, array.dtype, (array for _ in range(times)))
    print(f"{folder}: {metadata['total_steps']:,} steps in {episodes * times:,} episodes")


def memory() -> dict[str, float]:
    """Memory of this process [MB]: what is its own, and pages of mapped files that are resident."""
    kinds = dict.fromkeys(("Rss", "Anonymous"), 0.0)
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in kinds:
            kinds[name] = int(rest.split()[0]) / 1e3
    return {"own": kinds["Anonymous"], "mapped": kinds["Rss"] - kinds["Anonymous"]}


def look(folder: Path, batch: tuple[int, int]) -> dict[str, Any]:
    """What opening takes in this process, and a sample of ``batch`` sequences of rows."""
    import minari  # noqa: F401 - imports are not what is measured
    import torch  # noqa: F401

    import vlsafe_agents.data.reading  # noqa: F401

    before, clock, processor = memory(), time.perf_counter(), time.process_time()
    data = EpisodeDataset.from_minari(folder)
    train, _ = data.split(0.02)
    opened = time.perf_counter() - clock, time.process_time() - processor
    after, rng, times = memory(), np.random.default_rng(0), []
    for _ in range(50):
        begin = time.process_time()
        train.sample(*batch, rng)
        times.append(time.process_time() - begin)
    return {
        "steps": data.num_steps,
        "open_s": opened[0],
        "open_cpu_s": opened[1],
        "own_mb": after["own"] - before["own"],
        "with_imports_mb": memory()["own"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "sample_ms": 1e3 * float(np.median(times)),
    }


def show(folders: list[Path], batch: tuple[int, int]) -> None:
    """The table."""
    print("steps | opening | s | cpu s | data MB | process MB | peak RSS MB | sample ms")
    reports = []
    for folder in folders:
        for again in ("first", "again"):
            options = ["--batch", str(batch[0]), "--length", str(batch[1])]
            command = [sys.executable, __file__, "look", str(folder), *options]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            r = json.loads(done.stdout.splitlines()[-1])
            reports.append({"opening": again, **r})
            print(
                f"{r['steps']:,} | {again} | {r['open_s']:.2f} | {r['open_cpu_s']:.2f} | "
                f"{r['own_mb']:.0f} | {r['with_imports_mb']:.0f} | {r['peak_mb']:.0f} | "
                f"{r['sample_ms']:.2f}",
                flush=True,
            )
    print(json.dumps({"benchmark": "large_data", "batch": batch, "rows": reports}))


def learn(folder: Path, gigabytes: float, updates: int, preset: str) -> None:
    """Updates from disk beside updates from memory."""
    from vlsafe_agents.vlsafe import VLSafe

    if gigabytes:
        limit = int(gigabytes * GIGA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # mapped files do not count
    disk = EpisodeDataset.from_minari(folder)
    few = [disk.episode(n) for n in range(0, disk.num_episodes, max(1, disk.num_episodes // 50))]
    spaces = disk.observation_space, disk.action_space
    held = EpisodeDataset.from_arrays(few, *spaces, cost=disk.cost_mode)
    agents = {}
    for name, data in (("disk", disk), ("memory", held)):
        agents[name] = VLSafe("MultiInputPolicy", None, data, preset, seed=0, device="cpu")
        agents[name].learn(4)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in agents}
    for _ in range(updates):
        for name, agent in agents.items():
            clock, processor = time.perf_counter(), time.process_time()
            agent.train()
            passed = time.perf_counter() - clock, time.process_time() - processor
            times[name].append(passed)
    medians = {name: np.median(passed, 0).tolist() for name, passed in times.items()}
    files = sum(f.stat().st_size for f in (folder / "cache").rglob("*.npy")) / GIGA
    ratio = [a / b for a, b in zip(medians["disk"], medians["memory"], strict=True)]
    own, limit = memory()["own"] / 1e3, gigabytes or "none"
    print(f"{files:.1f} GB of files, {own:.2f} GB of memory (limit {limit} GB)")
    print("source | clock ms | cpu ms")
    for name, (clock, processor) in medians.items():
        print(f"{name} | {1e3 * clock:.0f} | {1e3 * processor:.0f}")
    print(f"disk / memory | {ratio[0]:.3f} | {ratio[1]:.3f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, folders in (("make", 1), ("repeat", 2), ("open", "+"), ("look", 1), ("learn", 1)):
        command = commands.add_parser(name)
        command.add_argument("folders", type=Path, nargs=folders)
        if name == "repeat":
            command.add_argument("--times", type=int, default=10)
        if name == "make":
            command.add_argument("--steps", type=int, default=100_000)
            command.add_argument("--vector", type=int, default=25, help="numbers a row; 0: none")
            command.add_argument("--image", type=int, default=0, help="pixels a side; 0: none")
        if name in ("open", "look"):
            command.add_argument("--batch", type=int, default=16)
            command.add_argument("--length", type=int, default=64)
        if name == "learn":
            command.add_argument("--memory", type=float, default=0.0, help="limit [GB]; 0: none")
            command.add_argument("--updates", type=int, default=30)
            command.add_argument("--preset", default="cpu")
    given = parser.parse_args()
    folder = given.folders[0]
    if given.command == "make":
        make(folder, given.steps, given.vector, given.image)
    elif given.command == "repeat":
        repeat(*given.folders, given.times)
    elif given.command == "open":
        show(given.folders, (given.batch, given.length))
    elif given.command == "look":
        print(json.dumps(look(folder, (given.batch, given.length))))
    else:
        learn(folder, given.memory, given.updates, given.preset)


if __name__ == "__main__":
    main()
