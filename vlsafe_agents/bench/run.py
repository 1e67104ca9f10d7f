"""Running the cells of a suite: each after those that it needs, and none that is done."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vlsafe_agents.bench.cells import Cell
from vlsafe_agents.bench.engines import Engine, Job, Outcome
from vlsafe_agents.bench.record import Found, Line, Records
from vlsafe_agents.common.progress import duration

HEARTBEAT = 30.0  # [s] between two lines of progress
_WRITTEN = 15.0  # [s] between two results.jsonl

CommandOf = Callable[[Cell], list[str]]  # with the program in front
Say = Callable[[str], None]


@dataclass
class Progress:
    """What has become of each cell of a run."""

    status: dict[str, Found]
    seconds: dict[str, float] = field(default_factory=dict)  # that cells took, also before
    begun: dict[str, float] = field(default_factory=dict)  # when those began that run now

    def count(self, status: str) -> int:
        """How many cells stand there."""
        return sum(found.status == status for found in self.status.values())


class Runner:
    """Runs cells and keeps their records.

    Args:
        cells: in an order in which they can be run.
        out: the suite's folder.
        engine: runs the commands.
        slots: cores, for the remaining time.
        command: the command of a cell.
        remake: the command that runs a cell as part of its suite.
        say: prints a line.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        engine: Engine,
        slots: int,
        command: CommandOf,
        remake: Callable[[Cell], str],
        say: Say,
    ) -> None:
        self._cells, self._out, self._engine, self._slots = list(cells), out, engine, slots
        self._command, self._remake, self._say = command, remake, say
        self._records = Records(out)
        self._by_name = {cell.name: cell for cell in self._cells}
        self.progress = Progress(self._records.status(self._cells))
        for cell in self._cells:
            line = self._records.read(cell)
            if line and line.get("status") == "done" and line.get("wall_s"):
                self.progress.seconds[cell.name] = float(line["wall_s"])
        self._told = self._written = 0.0

    def run(self) -> Progress:
        """Run all that is not done; a cell that fails only stops those that need it.

        Raises:
            KeyboardInterrupt: with what runs stopped, to go on later.
        """
        waiting = [c for c in self._cells if self.progress.status[c.name].status != "done"]
        done = len(self._cells) - len(waiting)
        self._say(f"{len(self._cells)} cells: {done} done before, {len(waiting)} to do")
        try:
            while waiting or self.progress.begun:
                waiting = self._start_what_can(waiting)
                if self.progress.begun:
                    for name, outcome in self._engine.ended():
                        self._ended(self._by_name[name], outcome)
                self._heartbeat()
        finally:
            self._engine.close()
            self._records.write_results(self._cells)
        return self.progress

    def _start_what_can(self, waiting: list[Cell]) -> list[Cell]:
        """Start cells that have room and what they need; returns those that still wait."""
        left = []
        for cell in waiting:
            needs = [self.progress.status[name].status for name in cell.after]
            if "failed" in needs or "blocked" in needs:
                self._block(cell)
            elif set(needs) <= {"done"} and self._engine.fits(job := self._job(cell)):
                self._start(cell, job)
            else:
                left.append(cell)
        return left

    def _job(self, cell: Cell) -> Job:
        path = self._records.path(cell)
        return Job(
            cell.name, self._command(cell), str(self._records.log(cell)), str(path), cell.slots,
            cell.gpus,
        )  # fmt: skip

    def _line(self, cell: Cell) -> Line:
        command = shlex.join(shown(self._command(cell)))
        return self._records.line(cell, command, self._remake(cell))

    def _start(self, cell: Cell, job: Job) -> None:
        before, found = self._records.read(cell) or {}, self.progress.status[cell.name]
        same = before.get("digest") == cell.digest
        if found.status == "changed":
            self._say(f"{cell.name}: made again, as it has changed ({found.why})")
            self._records.clear(cell)
        attempts = int(before.get("attempts") or 0) + 1 if same else 1
        line = self._line(cell) | {"status": "running", "attempts": attempts}
        self._records.write(cell, line)
        self.progress.status[cell.name] = Found("running")
        self.progress.begun[cell.name] = time.monotonic()
        self._say(f"{cell.name}: {line['command']}")
        self._engine.start(job)

    def _ended(self, cell: Cell, outcome: Outcome) -> None:
        begun = self.progress.begun.pop(cell.name)
        line = self._records.read(cell) or self._line(cell)
        line |= {
            "wall_s": outcome.wall_s,
            "cpu_s": outcome.cpu_s,
            "peak_memory_mb": outcome.peak_memory_mb,
        }
        error = self._error(cell, outcome)
        if not error:
            try:
                line |= self._records.results(cell)
            except (OSError, ValueError, KeyError) as fault:
                error = f"its results cannot be read: {fault}"
        took = duration(time.monotonic() - begun)
        if error:
            self.progress.status[cell.name] = Found("failed", error)
            self._say(f"{cell.name}: FAILED after {took}: {error}; see {self._records.log(cell)}")
            line |= {"status": "failed", "error": error}
        else:
            self.progress.status[cell.name] = Found("done")
            self.progress.seconds[cell.name] = outcome.wall_s or time.monotonic() - begun
            self._say(f"{cell.name}: done in {took}")
            line |= {"status": "done"}
        self._records.write(cell, line)
        self._tell()
        if time.monotonic() - self._written > _WRITTEN:
            self._records.write_results(self._cells)
            self._written = time.monotonic()

    def _error(self, cell: Cell, outcome: Outcome) -> str:
        """Why a cell has failed; empty where it has not."""
        if outcome.error:
            return outcome.error
        if outcome.code < 0:
            return f"killed by signal {-outcome.code}; of 9, too little memory is a usual reason"
        if outcome.code != 0:
            return last_words(self._records.log(cell)) or f"exit code {outcome.code}"
        if next((self._out / cell.folder).glob(cell.product), None) is None:
            return f"it has left no {cell.product} in {cell.folder}"
        return ""

    def _block(self, cell: Cell) -> None:
        broken = next(
            n for n in cell.after if self.progress.status[n].status in ("failed", "blocked")
        )
        self.progress.status[cell.name] = Found("blocked", f"{broken} has failed")
        line = self._line(cell) | {"status": "blocked", "error": f"{broken} has failed"}
        self._records.write(cell, line)

    # --- progress ---------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        """Now and then, how far the running cells are by their own words."""
        if time.monotonic() - self._told < HEARTBEAT:
            return
        self._tell()
        for name in self.progress.begun:
            if words := last_line(self._records.log(self._by_name[name])):
                self._say(f"  {name} | {words}")

    def _tell(self) -> None:
        self._told = time.monotonic()
        ended = sum(self.progress.count(status) for status in ("done", "failed", "blocked"))
        failed = self.progress.count("failed")
        left = self.remaining()
        self._say(
            f"{ended} of {len(self._cells)} cells ended"
            + (f", {failed} of them failed" if failed else "")
            + (f", {len(self.progress.begun)} running" if self.progress.begun else "")
            + (f", about {duration(left)} left" if left is not None else "")
        )

    def remaining(self) -> float | None:
        """Seconds that are left, by what cells of the same kind took; None: nothing is known."""
        known = {self._by_name[name]: s for name, s in self.progress.seconds.items()}
        now = time.monotonic()
        left: list[tuple[Cell, float]] = []
        for cell in self._cells:
            if self.progress.status[cell.name].status in ("done", "failed", "blocked"):
                continue
            expected = expected_seconds(cell, known)
            if expected is None:
                return None
            if cell.name in self.progress.begun:
                passed = now - self.progress.begun[cell.name]
                expected = max(expected - passed, 0.1 * expected)
            left.append((cell, expected))
        return makespan(left, self._slots)


def expected_seconds(cell: Cell, known: Mapping[Cell, float]) -> float | None:
    """What a cell may take: the mean of its row's, else of its command's, else of all cells."""
    alike: list[Callable[[Cell], bool]] = [
        lambda other: (other.command, other.row) == (cell.command, cell.row),
        lambda other: other.command == cell.command,
        lambda other: True,
    ]
    for test in alike:
        found = [seconds for other, seconds in known.items() if test(other)]
        if found:
            return sum(found) / len(found)
    return None


class Work(Protocol):
    """What takes time: a cell, or whatever else waits for others."""

    @property
    def name(self) -> str: ...

    @property
    def after(self) -> Sequence[str]: ...

    @property
    def slots(self) -> int: ...


def makespan(left: Sequence[tuple[Work, float]], slots: int) -> float:
    """How long work takes on so many cores, each begun when it can be, in their order."""
    free = [0.0] * slots  # when each core is free
    ends: dict[str, float] = {}
    for cell, seconds in left:
        size = min(cell.slots, slots)
        free.sort()
        begin = max([free[size - 1], *(ends.get(name, 0.0) for name in cell.after)])
        ends[cell.name] = begin + seconds
        free[:size] = [begin + seconds] * size
    return max(ends.values(), default=0.0)


def shown(command: Sequence[str]) -> list[str]:
    """A command as it is typed: ``vlsafe`` for the interpreter and its module."""
    place = next((i for i, word in enumerate(command) if word == "vlsafe_agents.cli.main"), None)
    return list(command) if place is None else ["vlsafe", *command[place + 1 :]]


def last_line(log: Path) -> str:
    """The last line of a log that says something; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4096, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def last_words(log: Path) -> str:
    """Why a command has failed, by the end of its log: what ``vlsafe`` said, or the last line."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()[-200:]
    except OSError:
        return ""
    said = [line.removeprefix("vlsafe: ") for line in lines if line.startswith("vlsafe: ")]
    return said[-1] if said else last_line(log)
