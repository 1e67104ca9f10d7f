"""The demo's runner: order, cores, output and failures of its stages."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.bench.engines import Job
from vlsafe_agents.cli import stages as runner
from vlsafe_agents.cli.demo import demo_stages, scorer_figures
from vlsafe_agents.cli.stages import Stage, StageError, run_stages
from vlsafe_agents.report.tables import scorer_bands, scorer_table
from wrappers.clip_loading import bundled_folder


@pytest.fixture(autouse=True)
def _plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run ``python -c CODE`` here instead of ``vlsafe ...``."""

    def job(name: str, command: list[str], *others: Any) -> Job:
        return Job(name, [sys.executable, "-c", *command[3:]], *others)

    monkeypatch.setattr(runner, "Job", job)


def writes(path: Path, wait: float = 0.0) -> str:
    stamp = f"open({str(path)!r}, 'a').write(f'{{time.monotonic()}} ')"
    return f"import time; {stamp}; time.sleep({wait}); {stamp}; print('written')"


def times(path: Path) -> tuple[float, float]:
    begin, end = map(float, path.read_text().split())
    return begin, end


def test_a_stage_waits_for_what_it_needs_and_shares_the_cores(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    chain = [
        Stage("a", (writes(a, 0.6),)),
        Stage("b", (writes(b, 0.6),)),
        Stage("c", (writes(c),), after=("a", "b")),
    ]
    run_stages(chain, tmp_path / "logs", slots=2)
    assert times(b)[0] < times(a)[1]  # side by side
    assert times(c)[0] >= max(times(a)[1], times(b)[1])
    assert (tmp_path / "logs" / "c.log").read_text() == "written\n"


def test_one_core_runs_one_stage_at_a_time(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    stages = [Stage("a", (writes(a, 0.3),)), Stage("b", (writes(b, 0.3),), slots=2)]
    run_stages(stages, tmp_path / "logs", slots=1)
    assert times(b)[0] >= times(a)[1]


def test_a_failure_names_the_log_and_stops_the_others(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    stages = [
        Stage("slow", (writes(slow, 30.0),)),
        Stage("bad", ("print('why'); raise SystemExit(3)",)),
    ]
    begin = time.monotonic()
    with pytest.raises(StageError, match=r"'bad' failed \(3\).*bad\.log"):
        run_stages(stages, tmp_path / "logs", slots=2)
    assert time.monotonic() - begin < 20
    assert (tmp_path / "logs" / "bad.log").read_text() == "why\n"


def test_what_stages_print_is_passed_on_as_it_comes_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say = "import sys, time; print('one', flush=True); time.sleep(0.5); print('two')"
    for _ in range(2):  # an earlier run's log is there the second time
        run_stages([Stage("talk", (say,))], tmp_path / "logs", slots=1)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  talk |")]
    assert told == ["  talk | one", "  talk | two"] * 2
    assert (tmp_path / "logs" / "talk.log").read_text() == "one\ntwo\n" * 2


def test_a_stage_that_waits_for_a_later_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="waits for"):
        run_stages([Stage("a", (), after=("b",)), Stage("b", ())], tmp_path, slots=1)


def test_the_report_shows_the_bundled_scorers_figures_as_numbers() -> None:
    evaluation = json.loads((bundled_folder() / "evaluation.json").read_text())
    figures = scorer_figures(evaluation)
    titles, rows = scorer_table(figures)
    assert titles == ["collision or off-road within 2 s", "time to collision under 2 s"]
    shown = dict(rows)
    own = evaluation["tables"]["all, 224 px"]["this model"]
    assert shown["this model: all, 224 px"] == [f"{own[title]:.3f}" for title in titles]
    assert {"shuffled: all, 224 px", "random weights: all, 224 px"} <= set(shown)
    ((name, bands, _),) = scorer_bands(figures)
    assert name == "mean p by time to collision"
    assert bands[0] == "0 to 1 s"


def test_the_demo_evaluates_every_agent_it_trains_and_reports_last(tmp_path: Path) -> None:
    stages = demo_stages(tmp_path, 1.0, "multi", 2)
    trained = {s.name.removeprefix("train ") for s in stages if s.name.startswith("train ")}
    evaluated = {s.name.removeprefix("evaluate ") for s in stages if s.name.startswith("evaluate ")}
    agents = {"bc", "ppo_lag", "vlsafe_gated", "vlsafe_lagrangian", "cost_blind"}
    assert trained == agents | {"world_model"}
    assert evaluated == agents | {"expert"}
    assert stages[-1].name == "report"
    assert set(stages[-1].after) == {f"evaluate {name}" for name in evaluated}
