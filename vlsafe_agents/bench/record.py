"""What is known of a cell: one JSON file each, which are the lines of ``results.jsonl``."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from vlsafe_agents.bench.cells import Cell
from vlsafe_agents.common.typed_config import changed_keys, flatten
from vlsafe_agents.common.version import machine, versions
from vlsafe_agents.training.facts import TRAINING_FILE, figures
from wrappers.files import read_json, read_text, write_json, write_text

RESULTS = "results.jsonl"
SUITE_FILE = "suite.json"  # what was run
_REMEDY = "remove the file to run the cell again"
_SOURCE = Path(__file__).resolve().parents[2]

Status = Literal["to do", "done", "changed", "failed", "interrupted", "running", "blocked"]
Line = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What is there of a cell before a run."""

    status: Status
    why: str = ""  # what has changed, or the error


class Records:
    """The files of a suite's folder.

    Args:
        out: the suite's folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def path(self, cell: Cell) -> Path:
        """Where a cell's record lies."""
        return self._out / "cells" / f"{cell.name.replace(' ', '/')}.json"

    def log(self, cell: Cell) -> Path:
        """Where a cell's output lies."""
        return self._out / "logs" / f"{cell.name.replace(' ', '/')}.log"

    def read(self, cell: Cell) -> Line | None:
        """The record; None where the cell was never begun."""
        path = self.path(cell)
        return read_json(path, dict, _REMEDY) if path.exists() else None

    def write(self, cell: Cell, line: Mapping[str, Any]) -> None:
        """Keep a record, whole or not at all."""
        write_json(self.path(cell), dict(line))

    def status(self, cells: Sequence[Cell]) -> dict[str, Found]:
        """What is there of each cell; cells come after those that they need."""
        found: dict[str, Found] = {}
        for cell in cells:
            one = self._status(cell)
            # what was added to a folder that is made again is lost
            if cell.works_in_place and one.status == "done":
                again = [n for n in cell.after if found[n].status != "done"]
                one = Found("to do", f"{again[0]} is run again") if again else one
            found[cell.name] = one
        return found

    def _status(self, cell: Cell) -> Found:
        line = self.read(cell)
        if line is None:
            return Found("to do")
        if line.get("digest") != cell.digest:
            before = flatten(line.get("definition") or {})
            changed = changed_keys(before, flatten(cell.definition))
            return Found("changed", ", ".join(changed) or "what it needs")
        if line.get("status") == "done":
            there = next((self._out / cell.folder).glob(cell.product), None)
            return Found("done") if there else Found("to do", "its files are gone")
        if line.get("status") == "failed":
            return Found("failed", str(line.get("error")))
        return Found("interrupted")

    def clear(self, cell: Cell) -> None:
        """Remove what a cell of another definition has made."""
        if not cell.works_in_place:
            shutil.rmtree(self._out / cell.folder, ignore_errors=True)
        self.log(cell).unlink(missing_ok=True)

    def line(self, cell: Cell, command: str, remake: str) -> Line:
        """What is known of a cell before it has run.

        Args:
            command: that the cell is, to be typed.
            remake: that runs the cell and what it needs as part of its suite.
        """
        return {
            "cell": cell.name,
            "status": "to do",
            "environment": cell.environment,
            "condition": cell.condition,
            "algorithm": cell.row,
            "seed": cell.seed,
            "digest": cell.digest,
            "definition": cell.definition,
            "needs": list(cell.after),
            "command": command,
            "remake": remake,
            "versions": dict(versions()),
            "commit": source_commit(),
            "machine": machine(),
        }

    def results(self, cell: Cell) -> Line:
        """Figures that a finished cell has left in its folder, and where they lie."""
        folder = self._out / cell.folder
        found: Line = {}
        if cell.command == "evaluate":
            path = next(folder.glob(cell.product))
            facts = read_json(path)
            found["evaluation"] = str(path.relative_to(self._out))  # with every drive's record
            found["metrics"] = facts["summary"]
            found["evaluation_seeds"] = [min(facts["seeds"]), max(facts["seeds"])]
        if (folder / TRAINING_FILE).is_file():
            found["training"] = figures(read_json(folder / TRAINING_FILE))
        return found

    def write_results(self, cells: Sequence[Cell]) -> None:
        """``results.jsonl``: the lines of all cells that were begun, in the suite's order."""
        lines = [line for cell in cells if (line := self.read(cell)) is not None]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        write_text(self._out / RESULTS, text)


def read_results(out: Path) -> list[Line]:
    """The lines of ``results.jsonl``.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for a line that is no JSON object.
    """
    path = out / RESULTS
    found = []
    for number, text in enumerate(read_text(path, "run `vlsafe bench` first").splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is no JSON ({error})") from None
        if not isinstance(line, dict):
            raise ValueError(f"{path}, line {number} holds no JSON object")
        found.append(line)
    return found


@lru_cache(maxsize=1)
def source_commit() -> str | None:
    """The commit of the source that runs, "+" behind it where files were changed; None: unknown."""
    git = ["git", "-C", str(_SOURCE)]
    try:
        if not (_SOURCE / ".git").exists():
            return None
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True
        )
    except OSError:
        return None
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
