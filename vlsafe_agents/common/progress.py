"""Progress with a remaining time: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")

# Hears how far a part of the work is: its name, what is done, what there is in all.
PartProgress = Callable[[str, int, int], None]


class ProgressReport:
    """Shows how much of a known total is done.  Use as a context manager.

    On a terminal it draws rich's bar; elsewhere it prints a line at the start, one after 2 s and
    then one every ``every`` [s], so that a log stays readable.  ``enabled=False`` shows nothing,
    and ``ProgressReport.quiet = True`` (``vlsafe --quiet``) nothing of any in this process.
    """

    quiet: ClassVar[bool] = False

    def __init__(
        self, title: str, total: float, unit: str = "steps", enabled: bool = True, every: float = 10
    ) -> None:
        self._title, self._total, self._unit, self._every = title, total, unit, every
        self._enabled = enabled and not self.quiet
        self._first_line = min(every, 2.0)  # [s]: the remaining time is wanted early
        self._bar: Any = None
        self._task: Any = None
        self._begin = self._entered = self._last_line = time.monotonic()
        self._start: float | None = None  # amount done before this run (a resumed one)

    def __enter__(self) -> ProgressReport:
        self._entered = self._last_line = time.monotonic()
        if self._enabled and sys.stderr.isatty():
            self._bar = _rich_bar()
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, note="")
        elif self._enabled:
            line = f"{self._title}: started, {self._total:,.0f} {self._unit} in all"
            print(line, file=sys.stderr, flush=True)
        return self

    def update(self, done: float, note: str = "") -> None:
        """Say that ``done`` of the total is done; ``note`` is shown beside it."""
        if self._start is None:
            self._start, self._begin = done, time.monotonic()
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=min(done, self._total), note=note)
        elif self._is_due():
            self._last_line = time.monotonic()
            print(self._line(done, note), file=sys.stderr, flush=True)

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._last_line
        return waited >= (self._first_line if self._last_line == self._entered else self._every)

    def _line(self, done: float, note: str) -> str:
        elapsed = time.monotonic() - self._begin
        gained = done - (self._start or 0.0)
        left = "?"
        if gained > 0 and elapsed > 0:
            left = duration(max(self._total - done, 0) / gained * elapsed)
        share = min(done / self._total, 1.0) if self._total else 1.0
        text = f"{self._title}: {share:4.0%}  {done:,.0f}/{self._total:,.0f} {self._unit}"
        return f"{text}, {left} left" + (f"  ({note})" if note else "")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._enabled and kind is None:
            took = duration(time.monotonic() - self._begin)
            print(f"{self._title}: done in {took}", file=sys.stderr, flush=True)


def shown(items: Iterable[T], title: str, total: int, unit: str, enabled: bool) -> Iterator[T]:
    """The items, with a :class:`ProgressReport` of how many have been taken."""
    with ProgressReport(title, total, unit, enabled) as report:
        for done, item in enumerate(items):
            report.update(done)
            yield item


def duration(seconds: float) -> str:
    """``"1:02:03"`` or ``"2:03"`` for a number of seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
