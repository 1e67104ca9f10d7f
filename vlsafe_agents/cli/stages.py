"""Running several command lines, in order of need and side by side, with their progress."""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vlsafe_agents.cli.tables import say
from vlsafe_agents.common.progress import duration


@dataclass(frozen=True)
class Stage:
    """One command of a chain."""

    name: str
    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()  # names of the stages whose results it needs
    minutes: float = 1.0  # about how long it takes, for the remaining time
    slots: int = 1  # processor cores it uses


class StageError(RuntimeError):
    """A stage ended with an exit code other than 0."""


def run_stages(stages: Sequence[Stage], logs: Path, slots: int) -> None:
    """Run every stage as a process of its own, at most ``slots`` cores at once.

    What the processes print appears line by line behind the stage's name, and in
    ``logs/<stage>.log``.

    Raises:
        StageError: when a stage fails; the others are stopped first.
        ValueError: when a stage waits for one that does not exist or comes later.
    """
    _check_order(stages)
    logs.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    waiting, running, done = list(stages), dict[Stage, _Process](), set[str]()
    try:
        while waiting or running:
            for stage in [s for s in waiting if done.issuperset(s.after)]:
                used = sum(other.slots for other in running)
                if running and used + stage.slots > slots:
                    continue
                left = _minutes_left([*waiting, *running], slots)
                _say(f"{stage.name}: {shlex.join(('vlsafe', *stage.arguments))}")
                _say(f"{len(done)} of {len(stages)} stages done, about {left:.0f} min left")
                running[stage] = _Process(stage, logs / f"{stage.name.replace(' ', '_')}.log")
                waiting.remove(stage)
            time.sleep(0.2)
            for stage, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[stage]
                if code != 0:
                    raise StageError(f"stage {stage.name!r} failed ({code}); see {process.log}")
                done.add(stage.name)
                _say(f"{stage.name}: done in {duration(time.monotonic() - process.begin)}")
    finally:
        for process in running.values():
            process.stop()
    _say(f"all {len(stages)} stages done in {duration(time.monotonic() - begin)}")


class _Process:
    """A running stage; a thread passes its output on."""

    def __init__(self, stage: Stage, log: Path) -> None:
        self.log, self.begin = log, time.monotonic()
        command = [sys.executable, "-m", "vlsafe_agents.cli.main", *stage.arguments]
        self._popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert self._popen.stdout is not None
        self._thread = threading.Thread(
            target=_pass_on, args=(self._popen.stdout, stage.name, log), daemon=True
        )
        self._thread.start()

    def poll(self) -> int | None:
        """The exit code, once the process has ended and all it printed is shown."""
        code = self._popen.poll()
        if code is not None:
            self._thread.join(timeout=10)
        return code

    def stop(self) -> None:
        """End the process; its work so far is kept by its own checkpoints."""
        self._popen.terminate()
        try:
            self._popen.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._popen.kill()


def _pass_on(stream: IO[str], name: str, log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        for line in stream:
            file.write(line)
            file.flush()
            say(f"  {name} | {line.rstrip()}")


def _minutes_left(stages: Sequence[Stage], slots: int) -> float:
    return sum(stage.minutes * min(stage.slots, slots) for stage in stages) / slots


def _check_order(stages: Sequence[Stage]) -> None:
    seen: set[str] = set()
    for stage in stages:
        missing = set(stage.after) - seen
        if missing:
            raise ValueError(f"stage {stage.name!r} waits for {sorted(missing)}, not before it")
        seen.add(stage.name)


def _say(text: str) -> None:
    say(f"[demo] {text}")
