"""Running malformed inputs and saying what is wrong with what happens."""

from __future__ import annotations

import contextlib
import hashlib
import io
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym

SECONDS = 20  # a case that takes longer hangs
CLEAR = (ValueError, TypeError, KeyError, OSError, RuntimeError, ImportError, gym.error.Error)
# Python's own words, which name no argument.
UNCLEAR = (
    "not supported between",
    "object has no attribute",
    "object is not",
    "unexpected keyword",
)
UNCLEAR += (
    "must be real number",
    "could not convert",
    "cannot unpack",
    "out of bounds",
    "not callable",
)


@dataclass(frozen=True)
class Case:
    """One malformed input.

    ``run`` gets the folder of its own; the message must hold one of ``words``.
    """

    group: str
    name: str
    run: Callable[[Path], Any]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What happened to a case; ``fault`` is empty where all is well."""

    case: Case
    fault: str
    said: str
    seconds: float


class Hangs(BaseException):
    """The time is over."""


def outcome_of(case: Case, folder: Path) -> Outcome:
    """Run a case and say what is wrong with what happened."""
    before, begin = digests(folder), time.monotonic()
    fault, said = "", ""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            with time_limit(), silenced():
                case.run(folder)
            fault = "accepted in silence"
        except CLEAR as error:
            said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
            fault = unclear(said, case.words)
        except Hangs:
            fault = f"took more than {SECONDS} s"
        except BaseException as error:
            fault = f"ended in a {type(error).__name__}"
            said = str(error)
    changed = [name for name, digest in before.items() if digests(folder).get(name) != digest]
    if changed:
        fault = f"changed {', '.join(changed)}"
    return Outcome(case, fault, said, time.monotonic() - begin)


def unclear(said: str, words: tuple[str, ...]) -> str:
    """What is wrong with a message; empty if nothing is."""
    if not any(word in said for word in words):
        return f"names none of {', '.join(words)}"
    found = [word for word in UNCLEAR if word in said]
    return f"is Python's own ({found[0]})" if found else ""


def digests(folder: Path) -> dict[str, str]:
    """Contents of all files below, but for locks, logs and caches."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".log") and "cache" not in path.parts
    }


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def command(*arguments: str) -> Callable[[Path], None]:
    """A command line, ``{}`` standing for the case's folder; raises what it said."""

    def run(folder: Path) -> None:
        from vlsafe_agents.cli.main import main

        said = io.StringIO()
        code: Any = 0
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            try:
                main([argument.replace("{}", str(folder)) for argument in arguments])
            except SystemExit as stop:
                code = stop.code
        text = said.getvalue()
        if code == 2 and "Traceback" not in text:
            raise ValueError(text)
        if code:
            raise AssertionError(f"exit code {code}: {text}")

    return run


def table(outcomes: list[Outcome]) -> str:
    """Markdown: cases and faults by group."""
    groups = Counter(outcome.case.group for outcome in outcomes)
    lines = [
        "| group | inputs | clear error, nothing lost | faults | longest [s] |",
        "|---|---|---|---|---|",
    ]
    for group, count in groups.items():
        own = [outcome for outcome in outcomes if outcome.case.group == group]
        faults = sum(bool(outcome.fault) for outcome in own)
        longest = max(outcome.seconds for outcome in own)
        lines.append(f"| {group} | {count} | {count - faults} | {faults} | {longest:.1f} |")
    faults = sum(bool(outcome.fault) for outcome in outcomes)
    lines.append(f"| all | {len(outcomes)} | {len(outcomes) - faults} | {faults} | |")
    return "\n".join(lines)
