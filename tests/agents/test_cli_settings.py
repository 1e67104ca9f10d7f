"""``vlsafe train --settings``: what a run used is a file that runs it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vlsafe_agents.cli import main as cli
from vlsafe_agents.evaluation import read_evaluation
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.training import TrainSettings, load_agent
from vlsafe_agents.training.hyperparameters import is_by_environment, read_hyperparameters
from vlsafe_agents.training.settings import EnvName, read_settings_file
from wrappers.files import read_yaml

HYPERPARAMETERS = Path(__file__).parents[2] / "examples" / "hyperparameters"
QUICK = ("--config", "n_steps=8", "--config", "n_epochs=1", "--config", "batch_size=16")
FIRST = ("--algo", "ppo_lag", "--scorer", "none", "--cost", "env", "--envs", "2", "--steps", "16")
WORLD = ("--observation", "vector", "--env-arg", "duration=4", "--env-arg", "vehicles=3")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


def settings_of(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "settings.json").read_text(encoding="utf-8")))


def test_a_runs_settings_run_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    assert run("train", "--out", str(first), *FIRST, *WORLD, *QUICK, "--seed", "3") == 0
    file = first / "settings.json"
    assert run("train", "--out", str(again), "--settings", str(file)) == 0
    assert settings_of(again) == settings_of(first)
    one, two = (load_agent(folder)[0].policy.state_dict() for folder in (first, again))
    assert all(torch.equal(one[name], two[name]) for name in one)

    changed = ("--seed", "4", "--config", "n_epochs=2")
    assert run("train", "--out", str(other), "--settings", str(file), *changed) == 0
    settings = {**settings_of(first), "seed": 4}
    settings["config"] = {**settings["config"], "n_epochs": 2}  # type: ignore[dict-item]
    assert settings_of(other) == settings

    assert run("train", "--out", str(tmp_path / "x"), "--settings", str(file), *WORLD[2:]) == 2
    assert "--settings names its environment" in capsys.readouterr().err
    file.write_text(json.dumps({**settings_of(first), "sped": 3}), encoding="utf-8")
    assert run("train", "--out", str(tmp_path / "x"), "--settings", str(file)) == 2
    said = capsys.readouterr().err
    assert f"{file} holds no settings of `vlsafe train`" in said
    assert "sped" in said


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(algo="bc", env=EnvName("CartPole-v1"), observation="vector", steps=3),
        TrainSettings(env=EnvName("CartPole-v1"), safety="none"),
        TrainSettings(env=EnvName("CartPole-v1"), update="lagrangian", cost_limit="0.5:2"),
        TrainSettings(env=EnvName("CartPole-v1"), online=True, config={"online.train_ratio": 2.0}),
    ],
    ids=lambda settings: f"{settings.algo}-{settings.update}",
)
def test_what_was_given_makes_the_same_settings(settings: TrainSettings, tmp_path: Path) -> None:
    assert TrainSettings(env=settings.env, **settings.given()) == settings
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(settings.to_json()), encoding="utf-8")
    assert TrainSettings(env=settings.env, **read_settings_file(file).given()) == settings


def test_a_file_has_settings_by_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ppo.yaml"
    file.write_text(
        "VLSafe-Highway-v0: {algo: ppo, observation: vector, steps: 16, envs: 2,\n"
        "  config: {n_steps: 8, n_epochs: 1, batch_size: 16, learning_rate: 5e-4}}\n"
        "VLSafe-Merge-v0: {algo: bc, stesp: 3}\nVLSafe-Roundabout-v0: 3\n"
    )
    train = ("train", "--settings", str(file))
    changed = ("--seed", "2", "--config", "n_epochs=2")
    assert run(*train, *WORLD[2:], *changed, "--out", str(tmp_path / "a")) == 0
    found = settings_of(tmp_path / "a")
    assert (found["algo"], found["steps"], found["seed"]) == ("ppo", 16, 2)
    config = {"n_steps": 8, "n_epochs": 2, "batch_size": 16, "learning_rate": 5e-4}
    assert found["config"] == config
    capsys.readouterr()
    for env, said in (
        ("VLSafe-Merge-v0", "unknown setting 'stesp'"),
        ("VLSafe-Roundabout-v0", "is 3; expected settings by name"),
        ("VLSafe-LeftTurn-v0", "has no settings for 'VLSafe-LeftTurn-v0'"),
    ):
        assert run(*train, "--env", env, "--out", str(tmp_path / "b")) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("file", sorted(HYPERPARAMETERS.glob("*.yaml")), ids=lambda file: file.stem)
def test_our_files_hold_settings_that_algorithms_take(file: Path) -> None:
    assert is_by_environment(file)
    for env_id in read_yaml(file):
        found = read_hyperparameters(file, env_id)
        if file.stem == "gated":
            found["world_model"] = "there"
        TrainSettings(env=EnvName(env_id), **found).check()


def test_actions_may_be_sampled_in_evaluations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, others = tmp_path / "agent", tmp_path / "others"
    assert run("train", "--out", str(agent), *FIRST, *WORLD, *QUICK) == 0
    drive = ("evaluate", str(agent), "--episodes", "3", "--scorer", "none")
    assert run(*drive, "--no-record") == 0
    assert run(*drive, "--stochastic") == 0
    assert run(*drive, "--stochastic", "--envs", "1", "--no-record", "--out", str(others)) == 0
    greedy, sampled, again = (
        read_evaluation(file)
        for file in (
            agent / "evaluation.json",
            agent / "evaluation_stochastic.json",
            others / "evaluation_stochastic.json",
        )
    )
    assert (greedy.conditions, sampled.conditions) == ("", "stochastic")
    assert sampled.records == again.records  # each episode has its own random numbers
    assert sampled.records != greedy.records
    assert {file.stem for file in (agent / "episodes_stochastic").iterdir()} == {
        "best_0",
        "worst_0",
    }
    report = read_run_folder(tmp_path)
    assert [condition.title for condition in report.elsewhere] == ["stochastic"]
    lines = [line for line in commands(report).splitlines() if "--stochastic" in line]
    assert [line.split(" --scorer")[0] for line in lines][:1] == [
        f"vlsafe evaluate {agent} --stochastic --episodes 3 --first-seed 3000000000"
    ]
    assert run("evaluate", "expert", "--stochastic", "--out", str(tmp_path / "expert")) == 2
    assert "expert has no policy to sample from" in capsys.readouterr().err
