"""Labelling a data set: speed beside the bare forward pass, the second time, and after kills.

    python benchmarks/labelling.py --frames 5000
    python benchmarks/labelling.py --data runs/mine/data --frames 100000 --kills 20

Works on copies of the first episodes of a data set (by default a freshly collected one) with the
bundled scorer.  ``share`` is frames a second of labelling, reading, drawing, hashing and writing
included, over frames a second of the model alone on prepared pixels, measured before and after in
the same process with as many threads.  ``commands`` are whole commands, start-up included.  After
the kills (``kill -9`` at random moments) the labels are compared byte by byte with those of a run
that nobody disturbed.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from vlsafe_agents.data.storage import MAIN_FILE, METADATA_FILE, read_metadata, resolve_dataset
from vlsafe_agents.labelling import LabelSummary, label
from vlsafe_envs import SceneRenderer
from vlsafe_envs.threads import limit_threads
from wrappers import make_scorer
from wrappers.score_cache import ScoreCache

BATCH = 64
BARE_BATCHES = 32  # different ones, in memory
COMMAND = [sys.executable, "-m", "vlsafe_agents.cli.main"]


def first_episodes(source: Path, target: Path, frames: int) -> int:
    """Copy episodes until there are enough frames, without labels; how many frames there are."""
    data_path = resolve_dataset(source)
    metadata = read_metadata(data_path)
    (target / "data").mkdir(parents=True)
    copied = episodes = 0
    with (
        h5py.File(data_path / MAIN_FILE, "r") as old,
        h5py.File(target / "data" / MAIN_FILE, "w") as new,
    ):
        while copied < frames and episodes < metadata["total_episodes"]:
            name = f"episode_{episodes}"
            old.copy(name, new)
            new[name]["infos"].pop("safety_score", None)
            copied += len(new[name]["rewards"]) + 1
            episodes += 1
    for key in ("scorer", "labelling", "content_hash"):
        metadata.pop(key, None)
    metadata |= {"total_episodes": episodes, "total_steps": copied - episodes}
    (target / "data" / METADATA_FILE).write_text(json.dumps(metadata))
    return copied


class Setup:
    """A data set in a scratch folder, and the scorer."""

    def __init__(self, scratch: Path, source: Path, frames: int) -> None:
        self.scratch = scratch
        self.original = scratch / "original"
        self.frames = first_episodes(source, self.original, frames)
        metadata = read_metadata(self.original / "data")
        self.make_drawing = partial(SceneRenderer, metadata["env_id"], **metadata["env_kwargs"])
        self.scorer: Any = make_scorer("bundled")
        self.pixels = self._pixels()

    def _pixels(self) -> list[torch.Tensor]:
        """Prepared batches of the data set's own frames."""
        drawing, wanted, scenes = self.make_drawing(), BATCH * BARE_BATCHES, []
        with h5py.File(self.original / "data" / MAIN_FILE, "r") as file:
            for number in range(len(file)):
                scenes.append(file[f"episode_{number}/infos/scene"][()])
                if sum(map(len, scenes)) >= wanted:
                    break
        frames = drawing.frames(np.concatenate(scenes)[:wanted])
        batches = [frames[k : k + BATCH] for k in range(0, len(frames) - BATCH + 1, BATCH)]
        return [self.scorer.preprocess(batch) for batch in batches]

    def copy(self, name: str) -> Path:
        """A fresh copy of the unlabelled data."""
        target = self.scratch / name
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.original, target))

    def bare(self) -> float:
        """Frames a second of the model alone."""
        with torch.inference_mode():
            self.scorer.model.get_image_features(self.pixels[0])
            began = time.perf_counter()
            for pixels in self.pixels:
                self.scorer.model.get_image_features(pixels)
        return BATCH * len(self.pixels) / (time.perf_counter() - began)

    def label(self, data: Path, cache: Path) -> tuple[LabelSummary, float]:
        """Label in this process; the summary, and the seconds."""
        store = ScoreCache(cache)
        began = time.perf_counter()
        summary = label(data, lambda: self.scorer, self.make_drawing, store, BATCH, progress=False)
        seconds = time.perf_counter() - began
        store.close()
        return summary, seconds


def labels(data: Path) -> bytes:
    """All labels of a data set."""
    with h5py.File(data / "data" / MAIN_FILE, "r") as file:
        scores = [file[f"episode_{k}/infos/safety_score"][()] for k in range(len(file))]
    return np.concatenate(scores).tobytes()


def measure_speed(setup: Setup, repeats: int) -> dict[str, Any]:
    """Labelling with an empty cache, between two looks at the bare model."""
    rows = []
    for repeat in range(repeats):
        before = setup.bare()
        cache = setup.scratch / f"cache{repeat}"
        summary, seconds = setup.label(setup.copy("speed"), cache)
        rate, bare = setup.frames / seconds, (before + setup.bare()) / 2
        assert summary.counts is not None
        first = summary.counts.scored
        again, again_seconds = setup.label(setup.copy("again"), cache)
        assert again.counts is not None
        assert labels(setup.scratch / "speed") == labels(setup.scratch / "again")
        _, idle_seconds = setup.label(setup.scratch / "again", cache)
        rows.append(
            {
                "bare": round(bare, 1),
                "labelling": round(rate, 1),
                "share": round(rate / bare, 3),
                "scored": [first, again.counts.scored],
                "seconds": [round(s, 3) for s in (seconds, again_seconds, idle_seconds)],
                "times_faster": round(seconds / again_seconds, 1),
            }
        )
        print(f"run {repeat}: {rows[-1]}", flush=True)
    middle = {key: statistics.median(row[key] for row in rows) for key in ("share", "times_faster")}
    return {**middle, "runs": rows}


def command(data: Path, cache: Path, *more: str) -> float:
    """Seconds of a whole ``vlsafe label``."""
    began = time.perf_counter()
    subprocess.run([*COMMAND, "label", str(data), *more], check=True, **quiet(cache))
    return round(time.perf_counter() - began, 2)


def quiet(cache: Path) -> dict[str, Any]:
    """Arguments of a subprocess with its own cache and no output."""
    environment = {**os.environ, "VLSAFE_CACHE": str(cache)}
    return {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def measure_commands(setup: Setup) -> dict[str, Any]:
    """The same command twice, and on a copy of the data."""
    cache, data = setup.scratch / "commands", setup.copy("command")
    seconds = {"first": command(data, cache), "second": command(data, cache)}
    seconds["copy of the data"] = command(setup.copy("command"), cache)
    seconds["times_faster"] = round(seconds["first"] / seconds["second"], 1)
    print(f"commands: {seconds}", flush=True)
    return seconds


def measure_kills(setup: Setup, kills: int, expected: bytes) -> dict[str, Any]:
    """Kill a command at random moments, each time it has scored a random number of frames."""
    cache, data = setup.scratch / "killed", setup.copy("killed")
    dice = random.Random(0)
    scores = ScoreCache(cache / "scores")
    known, left = [0], kills
    while True:
        process = subprocess.Popen([*COMMAND, "label", str(data)], **quiet(cache))
        share = dice.uniform(0.3, 1.2) * (setup.frames - known[-1]) / (left + 1)
        aim = known[-1] + max(share, 1.0)
        while process.poll() is None and (left == 0 or len(scores) < aim):
            time.sleep(0.02)
        time.sleep(0.1 * dice.random())
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        left -= 1
        known.append(len(scores))
    same = process.returncode == 0 and labels(data) == expected
    report = {"kills": kills - left, "known_after": known[1:], "byte_identical": same}
    print(f"kills: {report}", flush=True)
    return report


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a data set; default: collect one")
    parser.add_argument("--frames", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="of the model")
    parser.add_argument("--scratch", type=Path, help="where copies and caches go")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    limit_threads(max(1, (os.cpu_count() or 1) - arguments.threads))  # as the command does
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        scratch, source = Path(name), arguments.data
        if source is None:
            source = scratch / "collected"
            steps = ["--steps", str(arguments.frames), "--out", str(source)]
            subprocess.run([*COMMAND, "collect", *steps], check=True)
        setup = Setup(scratch, source, arguments.frames)
        report: dict[str, Any] = {
            "benchmark": "labelling",
            "frames": setup.frames,
            "cores": os.cpu_count(),
            "threads": arguments.threads,
            "speed": measure_speed(setup, arguments.repeats),
            "commands": measure_commands(setup),
        }
        if arguments.kills:
            report["kills"] = measure_kills(setup, arguments.kills, labels(scratch / "speed"))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
