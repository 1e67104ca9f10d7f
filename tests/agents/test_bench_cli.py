"""``vlsafe bench`` with real commands: what it does, does not do again, refuses and says."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlsafe_agents.bench.record import read_results
from vlsafe_agents.bench.summary import read_suite_results
from vlsafe_agents.cli import main as cli

TINY = Path(__file__).resolve().parents[2] / "benchmarks" / "suites" / "tiny.yaml"
SUITE = """
name: mine
evaluation: {{episodes: {episodes}, scorer: none}}
environments:
  road: {{env: VLSafe-Highway-v0}}
algorithms:
  expert: {{driver: expert}}
  lost: {{command: "python -c 'print(1 / 0)'", algo: dqn}}
"""


def bench(*words: object) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", *map(str, words)])
    return int(stop.value.code or 0)


def test_a_suite_runs_once_and_tells_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, out = tmp_path / "suite.yaml", tmp_path / "out"
    suite.write_text(SUITE.format(episodes=2))
    assert bench(suite, "--out", out, "--dry-run") == 0
    assert "3 cells, 0 done" in capsys.readouterr().out
    assert not out.exists()
    assert bench(suite, "--out", out, "--workers", 2) == 1
    told = capsys.readouterr().out
    assert "train road/seed0/lost: ZeroDivisionError" in told
    assert "2 of 3 cells failed" in told
    assert "Expert (rule-based)" in told
    expert, lost, blocked = read_results(out)
    found = [line["status"] for line in (expert, lost, blocked)]
    assert found == ["done", "failed", "blocked"]
    assert expert["metrics"]["collision_rate"]["mean"] is not None
    assert expert["remake"].endswith("--only 'evaluate road/same/expert'")
    assert "lost failed" in (out / "report.html").read_text("utf-8")
    (task,) = read_suite_results(out).tasks
    assert len(task.evaluation.records) == 2
    # what is done is left alone
    assert bench(suite, "--out", out, "--only", "*/expert") == 0
    assert "1 done before, 0 to do" in capsys.readouterr().out
    suite.write_text(SUITE.format(episodes=3))
    assert bench(suite, "--out", out, "--dry-run") == 0
    assert "changed (options.episodes)" in capsys.readouterr().out
    # another suite, or anything else, is not written over
    suite.write_text(SUITE.format(episodes=2).replace("mine", "other"))
    assert bench(suite, "--out", out) == 2
    assert "holds the suite 'mine', not 'other'" in capsys.readouterr().err
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").touch()
    assert bench(suite, "--out", tmp_path / "else") == 2
    assert "holds something else" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tiny_suite_runs_whole(tmp_path: Path) -> None:
    assert bench(TINY, "--out", tmp_path / "tiny") == 0
    lines = read_results(tmp_path / "tiny")
    assert len(lines) == 24
    assert {line["status"] for line in lines} == {"done"}
    print(f"processor time {sum(line['cpu_s'] for line in lines):.0f} s")
