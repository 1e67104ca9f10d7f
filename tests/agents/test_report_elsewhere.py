"""The report on drives in other environments than trained in: denser traffic, held-out maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from report_run import SETTINGS, evaluation, make_run, write_episode
from test_report import Page

from vlsafe_agents.report import write_report
from vlsafe_agents.report.run_folder import read_run_folder


def drive(
    run: Path, name: str, rate: float, suffix: str = "_density_2", density: float = 2.0
) -> Path:
    """Leave the evaluation of an agent in traffic of another density."""
    facts = evaluation(name, rate, 20.5, 0, SETTINGS.get(name))
    facts |= {"env_kwargs": {"density": density}}
    path = run / name / f"evaluation{suffix}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts))
    return path


def page_of(run: Path) -> Page:
    return Page(write_report(run, run / "report.html").read_text(encoding="utf-8"))


def test_drives_elsewhere_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    run = make_run(tmp_path, detailed=())
    headline = page_of(run).text.split("Results Learning")[0]
    for name, rate in (("expert", 0.04), ("ppo_lag", 0.13), ("vlsafe-gated", 0.29)):
        drive(run, name, rate)
    page = page_of(run)
    assert headline == page.text.split("Results Learning")[0]  # that is about where they trained
    assert page.tags.count("table") == 1 + 1 + 2 + 1  # results, learning, scorer, elsewhere
    title, text = "Elsewhere than trained: density=2.0", page.text
    assert text.count(title) == 1
    table = text[text.index(title) :].split("What learning cost")[0]
    assert "29% 20% to 39%" in table
    assert "20.5" in table  # the speed beside the collisions, as everywhere
    assert "Behaviour cloning" not in table  # which did not drive there
    assert "caution" not in text


def test_run_that_was_only_evaluated_elsewhere_is_reported_there(tmp_path: Path) -> None:
    for name, rate in (("expert", 0.0), ("vlsafe-gated", 0.03), ("ppo_lag", 0.4)):
        drive(tmp_path, name, rate)
    drive(tmp_path, "ppo_lag", 0.1, suffix="_density_0.5", density=0.5)
    write_episode(
        tmp_path / "ppo_lag" / "episodes_density_2" / "best_0.npz",
        np.random.default_rng(0),
        steps=4,
        size=32,
        crash=False,
    )
    run = read_run_folder(tmp_path)
    assert [agent.mean("collision_rate") for agent in run.agents] == [0.0, 0.4, 0.03]
    assert [condition.title for condition in run.elsewhere] == ["density=0.5"]
    page = page_of(tmp_path)
    assert "VLSafe gated (vlsafe-gated) collided in 3% of 100 episodes" in page.text
    assert page.tags.count("video") == 1


def test_who_drove_elsewhere_only_is_not_called_unevaluated(tmp_path: Path) -> None:
    run = make_run(tmp_path, detailed=())
    drive(run, "cloned", 0.2)
    (run / "idle").mkdir()
    (run / "idle" / "progress.csv").write_text("")
    text = page_of(run).text
    assert "cloned/evaluation.json is missing: this agent has only been evaluated elsewhere" in text
    assert "idle/evaluation.json is missing: this agent has not been evaluated" in text


def test_agents_of_different_settings_are_not_compared_in_silence(tmp_path: Path) -> None:
    run = make_run(tmp_path, detailed=())
    drive(run, "expert", 0.0)
    assert "caution" not in page_of(run).text
    drive(run, "vlsafe-gated", 0.1, density=1.9)
    text = page_of(run).text
    assert text.count("caution: not all agents drove the same environment and seeds") == 1
    assert text.index("caution") > text.index("Elsewhere than trained")


def test_broken_evaluation_elsewhere_becomes_a_note(tmp_path: Path) -> None:
    run = make_run(tmp_path, detailed=())
    drive(run, "expert", 0.0).write_text("[]")
    drive(run, "ppo_lag", 0.0).write_text("{")
    text = page_of(run).text
    assert "expert/evaluation_density_2.json holds no JSON object" in text
    assert "ppo_lag/evaluation_density_2.json is no JSON file" in text
    assert "Elsewhere than trained" not in text
