"""The quick half of `python -m benchmarks.malformed`: a clear error, nothing lost, no silence."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.malformed import constructors, data, environments
from benchmarks.malformed.runner import Case, outcome_of


@pytest.mark.parametrize("part", [constructors, data, environments], ids=lambda m: m.__name__[21:])
def test_malformed_input_ends_in_a_clear_error(part: ModuleType, tmp_path: Path) -> None:
    outcomes = [outcome_of(case, tmp_path) for case in part.cases()]
    assert len(outcomes) > 50
    assert not [(o.case.name, o.fault, o.said) for o in outcomes if o.fault]


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (lambda folder: None, "accepted in silence"),
        (lambda folder: 1 / 0, "ended in a ZeroDivisionError"),
        (lambda folder: int("x"), "names none of"),
        (lambda folder: sorted([1, "a"]), "Python's own"),
        (lambda folder: (folder / "kept").write_text(""), "changed kept"),
    ],
)
def test_the_check_sees_what_is_wrong(run: object, fault: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("something")
    words = ("not supported",) if "own" in fault else ("a clear word",)
    assert fault in outcome_of(Case("g", "n", run, words), tmp_path).fault  # type: ignore[arg-type]
