"""`vlsafe train` of VLSafe without recorded drives, with them in the mix, and from an agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_cli_others import WORLD, run

from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.training import load_agent

TINY = ("--preset", "debug", "--config", "train.batch_size=2", "--envs", "2")
TINY += ("--config", "online.learning_starts=24")


def stored(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / name).read_text()))


def test_without_data_it_learns_by_driving_and_goes_on_from_an_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a line at each update, however fast the machine is
    monkeypatch.setattr("vlsafe_agents.common.progress.ProgressReport._is_due", lambda _: True)
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("train", "--out", str(first), *WORLD, *TINY, "--steps", "124") == 0
    told = capsys.readouterr()
    assert "no safety_score while it drives, without --scorer: --update lagrangian" in told.out
    assert "124 steps in all" in told.err
    assert " left  (return" in told.err
    facts, settings = stored(first, "training.json"), stored(first, "settings.json")
    assert (facts["env_steps"], facts["env_steps_lost"]) == (124, 0)
    assert facts["gradient_steps"] == 62 - 9  # the first 24 rows take ten steps of both
    assert facts["collisions_caused"] is None  # this world reports none
    assert (facts["dataset_steps"], facts["wall_s"] > 0) == (0, True)
    assert settings["online"] is True
    assert settings["envs"] == 2
    assert settings["options"]["update"] == "lagrangian"
    files = {path.name for path in first.iterdir()}
    assert files == {"settings.json", "model.zip", "training.json", "progress.csv", "tensorboard"}
    assert "rollout/ep_cost_mean" in (first / "progress.csv").read_text()
    # with recorded drives in the mix, from there
    data = tmp_path / "data"
    collect = ("collect", "--out", str(data), *WORLD, "--policy", "other_worlds:noisy")
    assert run(*collect, "--episodes", "4", "--workers", "1") == 0
    more = ("--data", str(data), "--online", "--start-from", str(first), "--cost-limit", "0.2")
    assert run("train", "--out", str(second), *more, "--allow-import", "--envs", "1") == 0
    settings, facts = stored(second, "settings.json"), stored(second, "training.json")
    assert settings["start_from"] == str(first)
    assert settings["env"] == stored(first, "settings.json")["env"]
    assert settings["options"] == stored(first, "settings.json")["options"]
    assert settings["steps"] == EpisodeDataset.from_minari(data).num_steps == facts["env_steps"]
    assert facts["gradient_steps"] == (settings["steps"] - 5) * 8 // 16  # from 8 rows on
    assert facts["world_model_gradient_steps"] == stored(first, "training.json")["gradient_steps"]
    model = load_agent(second)[0]
    assert model.cost_limit == 0.2
    assert model.policy.actor_critic.multiplier.cost_limit == 0.2
    assert run("evaluate", str(second), "--episodes", "1", "--allow-import") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--world-model", "w"), "vlsafe does not read --world-model with --online"),
        (("--algo", "ppo", "--online"), "ppo does not read --online"),
        (("--algo", "bc"), "bc learns from recorded drives: give --data"),
        (("--start-from", "nowhere"), "nowhere/settings.json does not exist"),
        (("--frame-stack", "2"), "vlsafe does not read --frame-stack"),
    ],
)
def test_what_does_not_apply_is_an_error(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = () if "--start-from" in options else WORLD
    assert run("train", "--out", str(tmp_path / "a"), *env, *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_without_costs_the_remedy_is_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", "--out", str(tmp_path / "a"), "--env", "CartPole-v1", *TINY)
    assert run(*train, "--steps", "4") == 2
    assert "--safety none" in capsys.readouterr().err
    assert run(*train, "--steps", "40", "--safety", "none") == 0
    assert stored(tmp_path / "a", "training.json")["env_steps"] == 40
