"""What happens while an agent trains: progress, checkpoints, counts, the log on disk."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import CSVOutputFormat

from vlsafe_agents.common.checked_steps import count_collisions
from vlsafe_agents.common.devices import any_of_team
from vlsafe_agents.common.driving import DrivingAlgorithm
from vlsafe_agents.common.progress import ProgressReport
from wrappers.files import read_json

CHECKPOINT = "checkpoint.zip"
COUNTS = "counts.json"
_OLD_STATE = "checkpoint.json"  # of versions up to November 2026
_WIDTH = 120  # [bytes] of the counts: one block, so that they are written whole


class Counts:
    """Steps driven, collisions and seconds of all attempts at one training.  A context manager.

    They are part of what is claimed of an agent, so a kill must not take any back: every step is
    written to disk's cache at once, checkpoint or not.

    Args:
        folder: of the agent.
        timesteps: what the checkpoint knows of; counted where there is no file of counts.
    """

    def __init__(self, folder: Path, timesteps: int) -> None:
        self._path = folder / COUNTS
        known: dict[str, Any] = {}
        if self._path.exists() and self._path.stat().st_size:  # empty: killed before it counted
            known = read_json(self._path, remedy="remove it to count from the checkpoint on")
        elif (folder / _OLD_STATE).exists():
            old = read_json(folder / _OLD_STATE)
            known = {"collisions": old["collisions_caused"], "seconds": old["wall_s"]}
        self.env_steps: int = known.get("env_steps", timesteps)
        self.collisions: int | None = known.get("collisions")  # None: none was reported yet
        self.seconds: float = known.get("seconds", 0.0)

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        self._write()
        return self

    def add(self, steps: int, collisions: int | None, seconds: float) -> None:
        """What has just been driven; None where the environments report no collisions."""
        self.env_steps += steps
        if collisions is not None:
            self.collisions = (self.collisions or 0) + collisions
        self.seconds += seconds
        self._write()

    def _write(self) -> None:
        facts = {
            "env_steps": self.env_steps,
            "collisions": self.collisions,
            "seconds": round(self.seconds, 2),
        }
        os.pwrite(self._file, json.dumps(facts).ljust(_WIDTH).encode() + b"\n", 0)

    def __exit__(self, *_: object) -> None:
        os.fsync(self._file)
        os.close(self._file)


@contextmanager
def stop_requests(quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """Tell whether Ctrl-C or SIGTERM has asked to stop; a second one stops at once.

    Args:
        quiet: print nothing then.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt("stopped at once; the same command goes on from the last save")
        asked = True
        if not quiet:
            print(
                "stopping after this update, to save it (once more stops at once)",
                file=sys.stderr,
                flush=True,
            )

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch(BaseCallback):
    """Shows progress, counts what is driven and saves a checkpoint every ``every`` [s].

    An agent that learns from rollouts is saved before one: what it has driven since would be
    counted as learned from, and is not.  Others can be saved after every step.

    Args:
        folder: of the agent.
        total: steps in all.
        counts: grow with every step.
        requested: whether to stop.
    """

    model: Any  # an algorithm with SavedAgent in front

    def __init__(
        self,
        folder: Path,
        total: int,
        counts: Counts,
        offline: bool,
        every: float,
        requested: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._folder, self._counts, self._every, self._offline = folder, counts, every, offline
        self._requested, self.stopped_early = requested, False
        self._report = ProgressReport(f"train {folder.name}", total)
        self._costs: deque[float] = deque(maxlen=100)  # of finished episodes
        self._running: Any = 0.0

    def _init_callback(self) -> None:
        self._by_rollouts = isinstance(self.model, DrivingAlgorithm)

    def _on_training_start(self) -> None:
        self._last = self._saved = time.monotonic()
        self._complete = self.num_timesteps  # learned from
        self._report.__enter__()
        self._report.update(self.num_timesteps)

    def _on_rollout_start(self) -> None:
        if self._by_rollouts:
            self._complete = self.model.num_timesteps
            self._save_if_due()

    def _on_step(self) -> bool:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        if self._offline:
            self._counts.add(0, None, passed)
        else:
            dones, infos = np.asarray(self.locals["dones"]), self.locals["infos"]
            self._counts.add(len(dones), self._collisions(dones, infos), passed)
        self._report.update(self.num_timesteps, self._note())
        if not self._by_rollouts:
            self._complete = self.num_timesteps
        if any_of_team(self._requested()):
            self.stopped_early = True
            return False
        if not self._by_rollouts:
            self._save_if_due()
        return True

    def _collisions(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> int | None:
        """How many episodes ended in one; takes down their costs, too."""
        if any("cost" in info for info in infos):
            self._running = self._running + np.array([info.get("cost", 0.0) for info in infos])
            self._costs.extend(self._running[dones])
            self._running = np.where(dones, 0.0, self._running)
        return count_collisions(dones, infos)

    def _note(self) -> str:
        episodes = self.model.ep_info_buffer
        if self._offline or not episodes:
            return ""
        parts = [f"return {np.mean([episode['r'] for episode in episodes]):.1f}"]
        if self._costs:
            parts.append(f"cost {np.mean(self._costs):.1f}")
        if self._counts.collisions is not None:
            parts.append(f"{self._counts.collisions} collisions")
        return ", ".join(parts)

    def _on_training_end(self) -> None:
        self._counts.add(0, None, time.monotonic() - self._last)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved < self._every:
            return
        try:
            self.save()
        except OSError as error:  # a full disk should not end what may fit again by the end
            self._saved = time.monotonic()
            warnings.warn(
                f"no checkpoint was written ({error}); training goes on, and tries again",
                stacklevel=2,
            )

    def save(self) -> int:
        """Write a checkpoint of what has been learned from; returns its timesteps."""
        now = self.model.num_timesteps
        self.model.num_timesteps = self._complete
        try:
            self.model.save_checkpoint(self._folder / CHECKPOINT)
        finally:
            self.model.num_timesteps = now
        self._saved = time.monotonic()
        return self._complete

    def close(self) -> None:
        """End the progress report."""
        kind = KeyboardInterrupt if self.stopped_early else sys.exc_info()[0]
        self._report.__exit__(kind, None, None)


class Follow(BaseCallback):
    """Of a process in a team that does not write: stops when any of them was asked to.

    Args:
        requested: whether this one was.
    """

    def __init__(self, requested: Callable[[], bool]) -> None:
        super().__init__()
        self._requested, self.stopped_early = requested, False

    def _on_step(self) -> bool:
        self.stopped_early = any_of_team(self._requested())
        return not self.stopped_early


class ContinuedCSV(CSVOutputFormat):
    """SB3's ``progress.csv``, which keeps the rows from before a resumed checkpoint."""

    def __init__(self, filename: str, timesteps: int) -> None:
        rows: list[dict[str, str]] = []
        if timesteps > 0 and Path(filename).exists():
            rows = [row for row in _whole_rows(Path(filename)) if _row_step(row) <= timesteps]
        super().__init__(filename)
        if rows:
            self.keys = list(rows[0])
            lines = [self.keys, *([row[key] for key in self.keys] for row in rows)]
            self.file.writelines(",".join(line) + "\n" for line in lines)
            self.file.flush()


def _whole_rows(path: Path) -> list[dict[str, str]]:
    """The rows that have all columns; none of a file that is no table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError):
        return []
    return [row for row in rows if None not in row and None not in row.values()]


def _row_step(row: dict[str, str]) -> float:
    try:
        return float(row.get("time/total_timesteps") or "inf")
    except ValueError:  # a line that was cut off
        return float("inf")
