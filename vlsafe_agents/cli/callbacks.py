"""What happens beside training: progress, checkpoints, counting collisions, the log on disk."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import CSVOutputFormat

from vlsafe_agents.common.progress import ProgressReport

CHECKPOINT = "checkpoint.zip"
STATE = "checkpoint.json"


@dataclass
class TrainingState:
    """What a checkpoint knows beside the model."""

    timesteps: int = 0
    collisions_caused: int = 0
    wall_s: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> TrainingState | None:
        """The state of the checkpoint in a folder; None where there is none."""
        if not ((folder / CHECKPOINT).exists() and (folder / STATE).exists()):
            return None
        return cls(**json.loads((folder / STATE).read_text()))


class Watch(BaseCallback):
    """Shows progress, counts collisions and saves a checkpoint every ``every`` [s]."""

    def __init__(self, folder: Path, title: str, total: int, state: TrainingState, every: float):
        super().__init__()
        self._folder, self._state, self._every = folder, state, every
        self._report = ProgressReport(title, total)
        self._before = state.wall_s
        self._costs: deque[float] = deque(maxlen=100)  # of finished episodes
        self._running: Any = 0.0

    def _on_training_start(self) -> None:
        self._begin = self._saved = time.monotonic()
        self._report.__enter__()
        self._report.update(self.num_timesteps)

    def _on_step(self) -> bool:
        dones = self.locals.get("dones")
        if dones is not None:  # an algorithm that drives
            self._count(np.asarray(dones), self.locals["infos"])
        now = time.monotonic()
        self._state.wall_s = self._before + now - self._begin
        self._state.timesteps = self.num_timesteps
        self._report.update(self.num_timesteps, self._note())
        if now - self._saved >= self._every:
            self._saved = now
            self._save()
        return True

    def _count(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        self._running = self._running + np.array([info.get("cost", 0.0) for info in infos])
        self._costs.extend(self._running[dones])
        self._running = np.where(dones, 0.0, self._running)
        self._state.collisions_caused += sum(
            bool(done and info.get("collision", False))
            for done, info in zip(dones, infos, strict=True)
        )

    def _note(self) -> str:
        episodes = self.model.ep_info_buffer
        if not self._costs or not episodes:
            return ""
        reward = np.mean([episode["r"] for episode in episodes])
        collisions = self._state.collisions_caused
        return f"return {reward:.1f}, cost {np.mean(self._costs):.1f}, {collisions} collisions"

    def _save(self) -> None:
        """Both files appear by renaming; the state is older than the model if killed between."""
        temporary = self._folder / ".checkpoint.zip"
        self.model.save(temporary)
        os.replace(temporary, self._folder / CHECKPOINT)
        note = self._folder / ".checkpoint.json"
        note.write_text(json.dumps(asdict(self._state)))
        os.replace(note, self._folder / STATE)

    def _on_training_end(self) -> None:
        self._report.__exit__(None, None, None)


class ContinuedCSV(CSVOutputFormat):
    """SB3's ``progress.csv``, which keeps the rows from before a resumed checkpoint."""

    def __init__(self, filename: str, timesteps: int) -> None:
        rows: list[dict[str, str]] = []
        if timesteps > 0 and Path(filename).exists():
            with open(filename, newline="") as file:
                rows = [r for r in csv.DictReader(file) if _row_step(r) <= timesteps]
        super().__init__(filename)
        if rows:
            self.keys = list(rows[0])
            lines = [self.keys, *([row[key] for key in self.keys] for row in rows)]
            self.file.writelines(",".join(line) + "\n" for line in lines)
            self.file.flush()


def _row_step(row: dict[str, str]) -> float:
    try:
        return float(row.get("time/total_timesteps") or "inf")
    except ValueError:  # a line that was cut off
        return float("inf")
