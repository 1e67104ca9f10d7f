"""An agent for a range of cost limits on the command line, in tables and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_run import SETTINGS, add_agent, evaluation
from test_report import Page
from test_report_charts import check_layout

from vlsafe_agents.cli import main as cli
from vlsafe_agents.evaluation import compare, read_evaluation
from vlsafe_agents.report import frontier, write_report
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.training import TrainSettings
from vlsafe_agents.training.settings import EnvName

RANGE = SETTINGS["vlsafe-gated"] | {"cost_limit": "0.5:4"}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits") / "data"
    few = ("--env-arg", "duration=8", "--env-arg", "vehicles=5", "--workers", "1")
    assert run("collect", "--out", str(folder), "--episodes", "6", *few) == 0
    assert run("label", str(folder), "--scorer", "oracle") == 0
    return folder


def of(algo: str, **given: Any) -> TrainSettings:
    return TrainSettings(algo=algo, env=EnvName("VLSafe-Highway-v0"), **given)


# --- settings -------------------------------------------------------------------------------------


def test_settings_know_a_number_and_a_range() -> None:
    for given, kept, limits in ((0.3, 0.3, 0.3), ("0.3", 0.3, 0.3), ("0.5:2", "0.5:2", (0.5, 2.0))):
        settings = of("vlsafe", cost_limit=given)
        assert settings.cost_limit == kept
        assert settings.limits() == settings.arguments()["cost_limit"] == limits
        assert TrainSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert of("vlsafe", update="none").limits() is None


@pytest.mark.parametrize(
    ("algo", "limit", "message"),
    [
        ("vlsafe", "much", "--cost-limit 'much': give a number, or a range such as 0.5:2"),
        ("vlsafe", "1:2:3", "give a number, or a range"),
        ("vlsafe", "-1:2", "--cost-limit is -1"),
        ("vlsafe", -1.0, "--cost-limit is -1"),
        ("vlsafe", "2:1", "low is less"),
        ("ppo_lag", "0.5:2", "ppo_lag learns for one limit"),
    ],
)
def test_limits_that_are_none_are_refused(algo: str, limit: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(algo, cost_limit=limit).check()


# --- the commands ---------------------------------------------------------------------------------


def test_one_agent_is_evaluated_under_several_limits(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, data = str(tmp_path / "any"), str(labelled)
    few = ("--preset", "debug", "--steps", "6", "--observation", "vector")
    update = ("--update", "lagrangian", "--cost-limit")
    for name, limit in (("any", "0.5:4"), ("one", "2")):
        out = str(tmp_path / name)
        assert run("train", "--data", data, "--out", out, *few, *update, limit) == 0
    drives = ("--episodes", "2", "--scorer", "none")
    assert run("evaluate", agent, *drives) == 0
    for limit in ("2", "4"):
        assert run("evaluate", agent, *drives, "--cost-limit", limit) == 0
    assert "under the limit 4" in capsys.readouterr().out
    found = {file.name: read_evaluation(file) for file in Path(agent).glob("evaluation*.json")}
    assert {name: entry.cost_limit for name, entry in found.items()} == {
        "evaluation.json": 0.5,
        "evaluation_limit_2.json": 2.0,
        "evaluation_limit_4.json": 4.0,
    }
    assert run("evaluate", str(tmp_path / "one"), *drives) == 0
    for folder, limit, message in (
        ("any", "9", "in [0.5, 4]"),
        ("one", "2", "was not trained for a range of limits"),
    ):
        assert run("evaluate", str(tmp_path / folder), *drives, "--cost-limit", limit) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    files = sorted(tmp_path.glob("*/evaluation*.json"))
    names = [algorithm.name for algorithm in compare(files).algorithms]
    assert names == ["any, limit 0.5", "any, limit 2", "any, limit 4", "one"]
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Return and cost by limit" in page.text
    lines = commands(read_run_folder(tmp_path)).splitlines()
    lines = [line for line in lines if line.startswith("vlsafe evaluate") and "limit" in line]
    assert [line.partition("--cost-limit ")[2].split()[0] for line in lines] == ["2", "4"]


def test_drivers_keep_no_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a")
    given = ("--env", "VLSafe-Highway-v0", "--episodes", "1", "--cost-limit", "1")
    assert run("evaluate", "expert", "--out", out, *given) == 2
    assert "keeps none" in capsys.readouterr().err


# --- the report -----------------------------------------------------------------------------------


def many_limits(root: Path) -> None:
    """An agent for a range under three limits, one for a single limit, one that is blind."""
    folder = add_agent(root, "any", 0.1, 20.0, 0, RANGE, options={"cost_limit": 0.5})
    for limit in (2.0, 4.0):
        content = evaluation("any", 0.1 * limit, 20.0, 0, RANGE)
        content |= {"options": {"cost_limit": limit}}
        (folder / f"evaluation_limit_{limit:g}.json").write_text(json.dumps(content))
    add_agent(root, "one", 0.2, 21.0, 0, SETTINGS["vlsafe-lagrangian"] | {"cost_limit": 2.0})
    add_agent(root, "blind", 0.4, 25.0, 0, SETTINGS["cost-blind"])


def test_the_frontier_has_every_limit_of_the_agent_and_the_others_own(tmp_path: Path) -> None:
    many_limits(tmp_path)
    read = read_run_folder(tmp_path)
    assert not read.elsewhere
    points = frontier.points(read.agents)
    assert [(p.agent.name, p.limit) for p in points] == [
        ("any", 0.5), ("any", 2.0), ("any", 4.0), ("one", 2.0),
    ]  # fmt: skip
    found = frontier.shown(read.agents)
    assert found is not None
    assert [row[1][0] for row in found.rows] == ["0.5", "2", "4", "2"]
    assert all("to" in cell for _, cells in found.rows for cell in cells[1:])


def test_without_a_range_there_is_no_frontier(tmp_path: Path) -> None:
    add_agent(tmp_path, "one", 0.2, 21.0, 0, SETTINGS["vlsafe-gated"])
    assert frontier.shown(read_run_folder(tmp_path).agents) is None


def test_the_chart_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many_limits(tmp_path)
    drawn: list[Any] = []
    monkeypatch.setattr(frontier, "svg", lambda figure, name: drawn.append(figure) or "<svg/>")
    frontier.chart(frontier.points(read_run_folder(tmp_path).agents))
    check_layout(drawn[0])


def test_other_drives_do_not_stand_in_the_frontier(tmp_path: Path) -> None:
    many_limits(tmp_path)
    path = tmp_path / "any" / "evaluation_limit_4.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"env_kwargs": {"density": 3.0}}))
    points = frontier.points(read_run_folder(tmp_path).agents)
    assert [p.limit for p in points] == [0.5, 2.0, 2.0]
