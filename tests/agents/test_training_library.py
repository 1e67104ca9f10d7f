"""Training from Python as the command line does it: checkpoints, resuming, one row an algorithm."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from speed_limit import SpeedLimit, record
from stable_baselines3.common.env_util import make_vec_env

import vlsafe_agents
from vlsafe_agents.algorithms import ALGORITHMS, find_algorithm
from vlsafe_agents.evaluation.roles import KEYS, role_of
from vlsafe_agents.training import EnvName, TrainSettings, load_agent, train

ROOT = Path(__file__).parents[2]
HERE = EnvName("SpeedLimit-v0")
SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}


def settings_of(algo: str, **given: Any) -> TrainSettings:
    return TrainSettings(**{"algo": algo, "env": HERE, "observation": "vector", **given})


class Killed(Exception):
    """Stands for the end of the process."""


class Deadly(SpeedLimit):
    """Ends the process after so many steps of all of its kind."""

    left = 0

    def step(self, action: Any) -> Any:
        Deadly.left -= 1
        if Deadly.left == 0:
            raise Killed
        return super().step(action)


def test_a_driving_agent_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    settings = settings_of("ppo_lag", steps=96, envs=2, cost="env", config=SMALL)
    Deadly.left = 70
    with pytest.raises(Killed):
        train(settings, tmp_path / "a", Deadly, checkpoint_seconds=0.0)
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"settings.json", "checkpoint.zip", "counts.json", "progress.csv"} <= files
    facts = train(settings, tmp_path / "a", SpeedLimit)
    assert facts["env_steps"] - facts["env_steps_lost"] == 96
    assert 0 < facts["env_steps_lost"] < 16 + 2  # what came after the last whole rollout
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert files == {"settings.json", "model.zip", "training.json", "progress.csv", "tensorboard"}
    model, again, stored = load_agent(tmp_path / "a")
    assert (again, stored) == (settings, facts)
    assert model.num_timesteps == 96
    assert train(settings, tmp_path / "a", SpeedLimit) == facts  # finished


def test_an_agent_learns_from_data_in_memory(tmp_path: Path) -> None:
    drives = record(8)
    settings = settings_of("vlsafe", steps=3, preset="debug", cost="env")
    facts = train(settings, tmp_path / "a", SpeedLimit, drives)
    assert facts["gradient_steps"] == 3
    assert facts["env_steps"] == 0
    assert 0 < facts["dataset_steps"] < drives.num_steps, "an episode is held out"
    assert "open_loop" in facts
    with pytest.raises(ValueError, match="learns from recorded drives"):
        train(settings, tmp_path / "b", SpeedLimit)
    assert not (tmp_path / "b").exists()
    with pytest.raises(FileExistsError, match="another steps"):
        train(settings_of("vlsafe", steps=4, preset="debug"), tmp_path / "a", SpeedLimit, drives)


def test_environments_side_by_side_are_seeded_and_scaled(tmp_path: Path) -> None:
    made: list[gym.Env[Any, Any]] = []

    def make() -> gym.Env[Any, Any]:
        made.append(SpeedLimit())
        return made[-1]

    settings = settings_of("ppo", steps=48, envs=3, seed=5, reward_scale=0.5, config=SMALL)
    train(settings, tmp_path / "a", make)
    assert len(made) == 3
    assert len({env.np_random_seed for env in made}) == 3
    train(settings, tmp_path / "b", lambda: make_vec_env(SpeedLimit, 3))
    for name in "ab":
        model = load_agent(tmp_path / name)[0]
        assert model.predict(np.zeros(4, np.float32))[0].shape == ()


# --- one row an algorithm -------------------------------------------------------------------------


def test_no_file_but_the_registry_asks_for_an_algorithm_by_name() -> None:
    """A new algorithm is its folder and a row."""
    asks = re.compile(r"\balgo(rithm)?\b(\"\))?\s*(==|!=|(not )?in [\"'(])")
    for path in sorted(ROOT.glob("vlsafe_agents/**/*.py")):
        if path.name != "algorithms.py":
            found = asks.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found and found[0]}"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_row_fits_its_class(name: str) -> None:
    row = ALGORITHMS[name]
    kind = row.load_class()
    assert kind.__name__ == row.class_name
    assert getattr(vlsafe_agents, row.class_name) is kind
    assert hasattr(kind, "set_dataset") is row.offline
    for preset in row.presets or (None,):
        settings_of(name, preset=preset).check()
    assert ("preset" in row.reads) is bool(row.presets)
    assert ("cost_limit" in row.reads) is (row.cost_limit is not None)
    if row.examine is not None:
        module, _, function = row.examine.partition(":")
        assert callable(getattr(import_module(module), function))
    for role in row.roles or (name,):
        assert role in KEYS
    assert role_of("agent", None, settings_of(name).to_json()).label.startswith(row.label)


def test_rows_name_all_presets_of_their_folders() -> None:
    from vlsafe_agents.ppo_lag import PRESETS
    from vlsafe_agents.vlsafe.presets import PRESETS as MODELS

    assert set(ALGORITHMS["ppo_lag"].presets) == set(PRESETS)
    assert set(ALGORITHMS["vlsafe"].presets) == set(MODELS)


def test_an_unknown_algorithm_is_named_with_those_that_there_are() -> None:
    for wrong in ("a2c", "", None, ["bc"]):
        with pytest.raises(ValueError, match=r"unknown algorithm .*vlsafe"):
            find_algorithm(wrong)
