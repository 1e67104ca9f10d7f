"""Report, comparison and terminal say what was written down, and call the rest not known."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from odd_run import ODD, make_odd_run
from report_run import SETTINGS, add_agent, make_run, settings
from test_report import Page

from vlsafe_agents.cli import main as cli
from vlsafe_agents.report import write_report
from vlsafe_agents.report.agent_run import AgentRun
from vlsafe_agents.report.commands import commands, scorer_of
from vlsafe_agents.report.headline import headline
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.report.tables import learning_table, results_table


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_odd_run(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def page(odd: Path) -> Page:
    return Page(write_report(odd, odd / "report.html").read_text(encoding="utf-8"))


def agents_of(root: Path) -> dict[str, AgentRun]:
    return {agent.name: agent for agent in read_run_folder(root).agents}


def test_labels_come_from_settings_never_from_names(odd: Path) -> None:
    found = {name: agent.role.label for name, agent in agents_of(odd).items()}
    assert found == ODD | {"vlsafe_gated": "", "foreign_expert": ""}


def test_every_row_carries_its_folder_and_a_colour_of_its_own(odd: Path, page: Page) -> None:
    agents = list(agents_of(odd).values())
    _, rows = results_table(agents)
    assert {row.name for row in rows} == {*ODD, "vlsafe_gated", "foreign_expert"} - {"model"}
    assert len({agent.colour for agent in agents}) == len(agents)
    for row in rows:
        assert f"{row.label} {row.name}" in page.text
    learnt = {row.name for row in learning_table(agents)[1]}
    assert learnt == set(ODD) - {"zoo"}  # of the stock and the foreign one nothing is known


def test_the_headline_credits_those_whose_settings_say_so(page: Page) -> None:
    lead = page.text.split("Results Learning")[0]
    for title in ("VLSafe gated (my-ppo)", "VLSafe gated (gated $1$ <b>)", "PPO-Lag (subcase)"):
        assert f"{title} collided in" in lead
    assert "PPO-Lag (subcase) caused 412 collisions while it learned." in lead
    for stranger in ("investigated", "expert-blind", "vlsafe_gated", "ppo_lag", "p half"):
        assert stranger not in lead
    assert "safely" not in lead


def row_of(page: Page, section: str, name: str) -> str:
    """The text of a section's table from an agent's row on."""
    text = page.text[page.text.index(section) :]
    return text[text.index(name) :][:200]


def test_what_nobody_wrote_down_is_not_known_on_the_page(page: Page) -> None:
    foreign = row_of(page, "How they drive", "algorithm not known foreign_expert")
    assert foreign.removeprefix("algorithm not known foreign_expert ").startswith("not known 9.0")
    assert "0%" not in foreign[: foreign.index("m/s") if "m/s" in foreign else 120]
    assert "caution: not all agents drove the same environment" in page.text


def test_shared_costs_are_in_every_row_that_used_them(odd: Path) -> None:
    rows = {row.name: row.cells[-2:] for row in learning_table(list(agents_of(odd).values()))[1]}
    for name in ("my-ppo", "gated $1$ <b>"):
        steps, time = rows[name]
        assert (steps.text, steps.interval) == ("14\u2009000", "8\u2009000 + 6\u2009000 shared")
        assert (time.text, time.interval) == ("29 min", "9 min + 20 min shared")
    steps, time = rows["_hidden"]  # whose model's folder is gone
    assert (steps.text, time.text) == ("not known", "not known")
    assert steps.interval == "8\u2009000 + not known shared"
    assert [cell.text for cell in rows["ppo_lag"]] == ["8\u2009000", "9 min"]
    assert [cell.text for cell in rows["model"]] == ["6\u2009000", "20 min"]


def collisions_of(agents: list[AgentRun]) -> dict[str, str]:
    """The cell of collisions in the report's table, with its interval, by folder."""
    columns, rows = results_table(agents)
    place = [column.metric for column in columns].index("collision_rate")
    cells = {row.name: row.cells[place] for row in rows}
    return {name: f"{cell.text} ({cell.interval})" for name, cell in cells.items()}


def compared(*files: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The cells of ``vlsafe compare --markdown`` by what its rows begin with."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "--markdown", *map(str, files)])
    assert not stop.value.code
    lines = capsys.readouterr().out.strip().splitlines()[2:]
    return {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in lines)}


def test_compare_says_the_same_of_the_same_files(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("investigated", "subcase", "my-ppo", "gated $1$ <b>", "vlsafe_gated", "zoo")
    rows = compared(*(odd / name / "evaluation.json" for name in names), capsys=capsys)
    assert list(rows) == [
        "investigated (PPO)",
        "subcase (PPO-Lag)",
        "my-ppo (VLSafe gated)",
        "gated $1$ <b> (VLSafe gated)",
        "vlsafe_gated",
        "zoo (Expert (rule-based))",
    ]
    table = collisions_of(list(agents_of(odd).values()))
    for shown, name in zip(rows.values(), names, strict=True):
        assert shown[0] == table[name]
    assert [cells[-1] for cells in rows.values()] == ["7", "412", "0", "0", "not known", "-"]
    foreign = compared(odd / "foreign_expert" / "evaluation.json", capsys=capsys)
    assert foreign["foreign_expert"][0] == "not known"


def test_one_interval_wherever_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate in (0.0, 0.04, 1.0):
        folder = add_agent(tmp_path, f"agent {rate}", rate, trained=SETTINGS["bc"])
        agent = agents_of(tmp_path)[folder.name]
        cells = compared(folder / "evaluation.json", capsys=capsys)
        stored = json.loads((folder / "evaluation.json").read_text())["summary"]
        shown = cells[f"{folder.name} (Behaviour cloning)"][0]
        assert shown == collisions_of([agent])[folder.name]
        assert stored == agent.evaluation.summary  # type: ignore[union-attr]
    assert shown == "100% (96% to 100%)"


def test_files_of_before_kinds_were_written_down_are_not_guessed_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = {"env_steps": 0, "collisions_caused": 0, "gradient_steps": 0, "wall_s": 0.0}
    for name, trained in (("expert", None), ("vlsafe", None), ("old", SETTINGS["ppo_lag"])):
        folder = add_agent(tmp_path, name, 0.1, trained=trained, training=none)
        facts = json.loads((folder / "evaluation.json").read_text())
        for key in ("kind", "settings", "options"):
            del facts[key]
        (folder / "evaluation.json").write_text(json.dumps(facts))
    found = agents_of(tmp_path)
    assert {name: a.title for name, a in found.items()} == {
        "expert": "expert",
        "vlsafe": "vlsafe",
        "old": "PPO-Lag (old)",  # by its settings.json
    }
    assert not any(
        cell.marked for row in results_table(list(found.values()))[1] for cell in row.cells
    )
    files = [tmp_path / name / "evaluation.json" for name in found]
    assert {cells[-1] for cells in compared(*files, capsys=capsys).values()} == {"not known"}


def test_a_driver_evaluated_beside_an_agent_is_not_that_agent(tmp_path: Path) -> None:
    add_agent(tmp_path, "vlsafe", 0.1, kind="driver", agent="timid")
    (tmp_path / "vlsafe" / "settings.json").write_text(json.dumps(SETTINGS["vlsafe-gated"]))
    (agent,) = agents_of(tmp_path).values()
    assert agent.title == "Driver timid (vlsafe)"
    assert learning_table([agent])[1] == []


def test_steps_that_kills_took_back_are_shown(tmp_path: Path) -> None:
    folder = add_agent(tmp_path, "a", 0.1, trained=settings("ppo_lag"))
    noted = {"env_steps": 7000, "env_steps_lost": 856, "collisions_caused": 283}
    (folder / "training.json").write_text(json.dumps(noted))
    (row,) = learning_table(list(agents_of(tmp_path).values()))[1]
    assert (row.cells[0].text, row.cells[0].interval) == ("7\u2009000", "856 lost to kills")
    assert [cell.text for cell in row.cells[1:]] == ["283", *["not known"] * 4]


def test_a_world_model_that_names_itself_ends_the_count(tmp_path: Path) -> None:
    folder = add_agent(tmp_path, "a", 0.1, trained=settings("vlsafe", tmp_path / "a"))
    (folder / "training.json").write_text(json.dumps({"gradient_steps": 5}))
    assert agents_of(tmp_path)["a"].training("world_model_gradient_steps") is None


def test_recorded_shared_costs_outlive_the_models_folder(tmp_path: Path) -> None:
    folder = add_agent(tmp_path, "a", 0.1, trained=settings("vlsafe", tmp_path / "gone"))
    noted = {"gradient_steps": 5, "world_model_gradient_steps": 7, "world_model_wall_s": 2.0}
    (folder / "training.json").write_text(json.dumps(noted))
    (row,) = learning_table(list(agents_of(tmp_path).values()))[1]
    assert row.cells[-2].text == "12"


# --- doing it again -------------------------------------------------------------------------------


def lines_of(root: Path) -> list[str]:
    return commands(read_run_folder(root)).splitlines()


def test_every_agent_is_trained_again_by_its_own_settings(tmp_path: Path) -> None:
    root = make_run(tmp_path / "a [run]", detailed=())
    model = add_agent(root, "zz model", 0.1, trained=settings("vlsafe", update="gated", **PRESET))
    add_agent(root, "aa", 0.1, trained=settings("vlsafe", model, update="gated", **PRESET))
    trained = [shlex.split(line) for line in lines_of(root) if line.startswith("vlsafe train")]
    assert Path(trained[0][-1]).name == "zz model"  # whom another needs
    by_name = {Path(parts[-1]).name: " ".join(parts) for parts in trained}
    assert by_name["aa"].endswith(
        f"--world-model {model} --preset cpu --update gated --out {root}/aa"
    )
    assert "--algo vlsafe --data runs/mine/data" in by_name["cost-blind"]
    assert "--safety none" in by_name["cost-blind"]
    assert "--update" not in by_name["cost-blind"]  # which would have no effect
    assert "--update lagrangian" in by_name["vlsafe-lagrangian"]
    lag = by_name["ppo_lag"]
    assert "--env VLSafe-Highway-v0 --env-arg density=1.5 --observation image --steps 8000" in lag
    assert "--seed 3 --cost vlm --cost-limit 0.5 --scorer bundled --envs 8" in lag
    assert "cost" not in by_name["bc"].removesuffix("bc")  # which reads none
    assert "expert" not in by_name


PRESET = {"preset": "cpu"}


SMALL = {"config": {"batch_size": 7, "learning_rate": 0.25}}
TRAINED = {
    **SETTINGS,
    "no update": settings("vlsafe", preset="cpu", update="none", safety="score")
    | {"cost_limit": 1.0},
    "constant": settings("vlsafe", preset="route", update="gated", safety=0.5),
    "deep": SETTINGS["vlsafe-gated"] | {"config": {"imagination.horizon": 7}},
    "ppo": settings("ppo") | SMALL | {"envs": 3, "seed": 0, "device": "cpu"},
    "cloned": SETTINGS["bc"] | SMALL,
    "truth": settings("ppo_lag", preset="route")
    | {"cost": "env", "scorer": "none", "reward_scale": 0.5, "data": "some data", **SMALL},
}


@pytest.mark.parametrize("name", TRAINED)
def test_the_command_line_reads_the_commands_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed is what was recorded, whatever the options' defaults are."""
    from vlsafe_agents.cli import train
    from vlsafe_agents.training import run

    add_agent(tmp_path, name, 0.1, trained=TRAINED[name])
    (line,) = [line for line in lines_of(tmp_path) if line.startswith("vlsafe train")]
    seen: list[Any] = []
    monkeypatch.setattr(train, "read_data_metadata", lambda data: None)

    def note(settings: Any, *_: Any, **__: Any) -> dict[str, Any]:
        seen.append(settings)
        return {}

    monkeypatch.setattr(run, "train", note)
    with pytest.raises(SystemExit) as stop:
        cli.main(shlex.split(line)[1:])
    assert not stop.value.code
    again, recorded = json.loads(json.dumps(seen[0].to_json())), dict(TRAINED[name])
    if recorded["algo"] in ("vlsafe", "bc"):  # whose environment the data set names
        assert "--env" not in line
        again.pop("env")
        recorded.pop("env")
    assert again == recorded


def test_evaluations_are_repeated_as_they_were_made(tmp_path: Path) -> None:
    root = make_run(tmp_path, detailed=())
    made = {"data": None, "density": 2.0, "env_args": {"maps": "test"}, "scorer": None}
    add_agent(root, "timid", 0.1, options=made | {"judge_all": False})
    lines = lines_of(root)
    often = "--episodes 100 --first-seed 10000"
    assert (
        f"vlsafe evaluate {root}/bc --env-arg density=1.5 {often} --scorer bundled" in lines
    )  # as the fixture says
    assert (
        "vlsafe evaluate timid --env VLSafe-Highway-v0 --density 2 --env-arg maps=test "
        f"{often} --scorer none --judge-recorded --out {root}/timid"
    ) in lines
    add_agent(root, "odd seeds", 0.1, trained=SETTINGS["bc"], seeds=[*range(99), 5])
    assert f"# '{root}/odd seeds' was evaluated on seeds that are no range" in lines_of(root)


def test_what_is_not_recorded_is_said_and_not_made_up(odd: Path) -> None:
    lines = lines_of(odd)
    for name in ("vlsafe_gated", "foreign_expert"):
        assert f"# how {odd}/{name} was trained is not known" in lines
        assert f"# by which command {odd}/{name} was evaluated is not known" in lines
    assert f"# how '{odd}/[red]bc' was trained is not known" in lines  # no algorithm of ours
    assert not any(line.startswith(("vlsafe collect", "vlsafe label")) for line in lines)
    assert lines[-1] == f"vlsafe report {odd}"


def test_a_label_command_does_not_outlive_its_labels() -> None:
    noted = {"labelled_with": {"scorer": "oracle", "labels_sha256": "a"}}
    assert scorer_of(noted | {"labelling": {"labels_sha256": "a"}}) == "oracle"
    for odd in ({"labels_sha256": "b"}, {}, None, 3):
        assert scorer_of(noted | {"labelling": odd}) is None
    assert scorer_of({"labelling": {}}) is None
    assert scorer_of({"labelled_with": 3, "labelling": {}}) is None


# --- charts ---------------------------------------------------------------------------------------


def test_names_that_charts_would_read_as_formulas_are_shown(odd: Path) -> None:
    report = (odd / "report.html").read_text(encoding="utf-8")
    (chart,) = re.findall(r"<svg(?:(?!</svg>).)*tradeoff.*?</svg>", report, flags=re.DOTALL)[:1]
    shown = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", chart)]
    assert "VLSafe gated (gated $1$ <b>)" in shown
    assert "VLSafe Lagrangian (_hidden)" in shown


def test_names_that_differ_in_signs_only_have_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("a b", "a-b", "a_b"):
        folder = add_agent(tmp_path, name, 0.1, trained=SETTINGS["bc"])
        (folder / "progress.csv").write_text("time/total_timesteps,train/x_loss\n1,2\n2,1\n")
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert len(page.ids) == len(set(page.ids))


def test_drives_in_different_environments_are_not_compared(tmp_path: Path) -> None:
    add_agent(tmp_path, "expert", 0.0)
    add_agent(tmp_path, "a", 0.01, trained=SETTINGS["vlsafe-gated"], env_kwargs={"density": 0.5})
    add_agent(tmp_path, "b", 0.6, trained=SETTINGS["ppo_lag"])
    add_agent(tmp_path, "c", 0.1, trained=SETTINGS["bc"])
    found = list(agents_of(tmp_path).values())
    sentences = " ".join(headline(found))
    assert "different environments, so this is no comparison" in sentences
    assert "Fewer" not in sentences
    rows = results_table(found)[1]
    assert [row.name for row in rows if any(cell.marked for cell in row.cells)] == ["c"]
