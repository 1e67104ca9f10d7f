"""What is kept of a suite's folder so that its tables can be made again: small, without agents."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from vlsafe_agents.bench.record import RESULTS, SUITE_FILE, Line, read_results
from vlsafe_agents.evaluation.stored import StoredEvaluation, evaluation_of
from wrappers.files import read_json, reading, replacing, write_json, write_text

DRIVES = "evaluations.jsonl.gz"  # of each evaluation every drive's record
_DIGITS = 7  # of numbers of single drives; single precision has as many
_REMEDY = "make it again with `vlsafe report --keep`"


def keep_suite(out: Path, folder: Path) -> None:
    """Copy what tables, intervals and charts are made of into a folder, some 20 bytes a drive.

    Numbers of single drives keep seven digits.  Paths of the suite's folder become ``runs/NAME``,
    which is where the commands would make it again.

    Args:
        out: folder of ``vlsafe bench``.
        folder: where to; files that are there are replaced.

    Raises:
        FileNotFoundError: for a folder without results.
        ValueError: for damaged files.
    """
    facts = read_json(out / SUITE_FILE, dict, "give a folder of `vlsafe bench`")
    shown = f"runs/{facts['name']}"
    named = sorted({str(out.resolve()), str(out)}, key=len, reverse=True)

    def moved(value: Any) -> Any:
        text = json.dumps(value, allow_nan=False)
        for name in named:
            text = text.replace(json.dumps(name)[1:-1], shown)
        return json.loads(text)

    evaluations, lines = [], read_results(out)
    for line in lines:
        if line.get("status") == "done" and "evaluation" in line:
            content = read_json(out / line["evaluation"], dict)
            evaluation_of(content, str(out / line["evaluation"]))  # refuses what cannot be read
            kept = {**moved(content), "path": line["evaluation"]}
            kept.pop("summary", None)  # computed from the episodes
            evaluations.append(json.dumps(_shortened(kept), separators=(",", ":")) + "\n")
    write_json(folder / SUITE_FILE, moved(facts))
    write_text(folder / RESULTS, "".join(json.dumps(moved(line)) + "\n" for line in lines))
    with replacing(folder / DRIVES) as temporary:
        temporary.write_bytes(gzip.compress("".join(evaluations).encode(), 9, mtime=0))
    if (out / "suite.yaml").is_file():
        shutil.copyfile(out / "suite.yaml", folder / "suite.yaml")


def kept_evaluations(folder: Path) -> dict[str, StoredEvaluation]:
    """The evaluations that :func:`keep_suite` has put into a folder, by their paths; or none.

    Raises:
        ValueError: for a damaged file.
    """
    path = folder / DRIVES
    if not path.is_file():
        return {}
    return reading(path, "evaluations of `vlsafe report --keep`", _evaluations, _REMEDY)


def _evaluations(path: Path) -> dict[str, StoredEvaluation]:
    found = {}
    for text in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines():
        content: Line = json.loads(text)
        place = str(content.pop("path"))
        found[place] = evaluation_of(content, f"{path}, {place}")
    return found


def _shortened(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _shortened(part) for key, part in value.items()}
    return [_shortened(part) for part in value] if isinstance(value, list) else value
