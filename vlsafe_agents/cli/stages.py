"""Running several command lines, in order of need and side by side, with their progress."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlsafe_agents.bench.engines import Job, Processes
from vlsafe_agents.bench.run import makespan
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
    ``logs/<stage>.log``.  They end with whoever has started them, also when that is killed.

    Raises:
        StageError: when a stage fails; the others are stopped first.
        ValueError: when a stage waits for one that does not exist or comes later.
    """
    _check_order(stages)
    begin = time.monotonic()
    waiting, running, done = list(stages), dict[str, _Running](), set[str]()
    engine = Processes(slots)
    try:
        while waiting or running:
            for stage in [s for s in waiting if done.issuperset(s.after)]:
                log = logs / f"{stage.name.replace(' ', '_')}.log"
                command = [sys.executable, "-m", "vlsafe_agents.cli.main", *stage.arguments]
                job = Job(stage.name, command, str(log), str(log), stage.slots)
                if not engine.fits(job):
                    continue
                ahead = [*(one.stage for one in running.values()), *waiting]
                left = makespan([(stage, stage.minutes) for stage in ahead], slots)
                _say(f"{stage.name}: {shlex.join(('vlsafe', *stage.arguments))}")
                _say(f"{len(done)} of {len(stages)} stages done, about {left:.0f} min left")
                running[stage.name] = _Running(stage, log)
                engine.start(job)
                waiting.remove(stage)
            ended = engine.ended()  # looked for before the logs, which then hold all that they said
            for one in running.values():
                one.pass_on()
            for name, outcome in ended:
                one = running.pop(name)
                if outcome.code != 0:
                    raise StageError(f"stage {name!r} failed ({outcome.code}); see {one.log}")
                done.add(name)
                _say(f"{name}: done in {duration(time.monotonic() - one.begin)}")
    finally:
        engine.close()
    _say(f"all {len(stages)} stages done in {duration(time.monotonic() - begin)}")


class _Running:
    """A running stage, and how much of its log has been passed on."""

    def __init__(self, stage: Stage, log: Path) -> None:
        self.stage, self.log, self.begin = stage, log, time.monotonic()
        self._told = log.stat().st_size if log.exists() else 0  # what an earlier run has said

    def pass_on(self) -> None:
        """Say the whole lines that have come since."""
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self._told)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._told += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            say(f"  {self.stage.name} | {line.rstrip()}")


def _check_order(stages: Sequence[Stage]) -> None:
    seen: set[str] = set()
    for stage in stages:
        missing = set(stage.after) - seen
        if missing:
            raise ValueError(f"stage {stage.name!r} waits for {sorted(missing)}, not before it")
        seen.add(stage.name)


def _say(text: str) -> None:
    say(f"[demo] {text}")
