"""docs/results.md is what `make results` makes of the raw results that are committed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlsafe_agents.bench.page import write_results_page

ROOT = Path(__file__).resolve().parent.parent
MOST = 1_500_000  # [bytes] of a suite


def test_the_page_is_what_the_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    suites = sorted(Path("benchmarks/results").iterdir())
    made = write_results_page(suites, Path("docs/results.md")).read_text("utf-8")
    kept = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert made == kept, "run `make results` and commit what it writes"
    shown = set(re.findall(r"!\[[^]]*\]\((results/[^)]+)\)", kept))
    assert shown
    assert shown == {f"results/{p.name}" for p in (ROOT / "docs" / "results").iterdir()}
    assert all(f"## {suite.name}\n" in kept for suite in suites)


@pytest.mark.parametrize("suite", sorted((ROOT / "benchmarks/results").iterdir()), ids=str)
def test_what_is_kept_is_small_and_names_no_machine_of_ours(suite: Path) -> None:
    assert sum(file.stat().st_size for file in suite.iterdir()) < MOST
    assert "/home/" not in (suite / "results.jsonl").read_text("utf-8")
