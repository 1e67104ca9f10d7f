"""Other people's environments, policies, data and agents on the command line."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from minari_sets import write as write_minari
from other_worlds import Line
from stable_baselines3 import PPO
from test_others_flat import flat
from test_others_flat import write as write_flat

from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.environments import choose_env
from vlsafe_agents.cli.other_envs import OtherEnv, make_other
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.evaluation.stored import read_evaluation

WORLD = ("--env", "other_worlds:make", "--cost-key", "crash")
SIX = ("--env", "other_worlds:make_six", "--wrapper", "wrappers.costs:CostFromTuple")


def run(*arguments: str) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


def costs_of(env: Any) -> list[float]:
    _, info = env.reset(seed=0)
    env.unwrapped.place = 0.0
    found = [info["cost"]]
    for action in (0.9, 0.9):
        found.append(env.step(np.array([action], np.float32))[4]["cost"])
    return found


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("other_worlds:make", {"cost_key": "crash"}),
        ("other_worlds:make", {"key": "hit", "cost_key": "hit"}),
        ("other_worlds:Line", {"key": "cost"}),
        ("other_worlds:make_six", {"wrapper": ["wrappers.costs:CostFromTuple"]}),
        ("other_worlds:make", {"cost_function": "other_worlds:far"}),
    ],
)
def test_an_environment_is_made_of_its_name(env_id: str, kwargs: dict[str, Any]) -> None:
    assert costs_of(make_other(env_id, kwargs)) == [0.0, 0.0, 1.0]


def test_ids_of_gymnasium_are_environments_and_ours_stay_ours() -> None:
    choice = choose_env("CartPole-v1", ["max_episode_steps=9"])
    assert isinstance(choice, OtherEnv)
    env = choice.factory(observation="image", scorer=None)()
    assert env.spec.max_episode_steps == 9
    with pytest.raises(ValueError, match="--cost-key is for environments that are not ours"):
        choose_env("VLSafe-Merge-v0", [], own={"cost_key": "x"})


@pytest.mark.parametrize(
    ("env_id", "kwargs", "said"),
    [
        ("no_such_module:make", {}, "no_such_module cannot be imported"),
        ("other_worlds:nothing", {}, "other_worlds has no nothing"),
        ("other_worlds:no_env", {}, "gives a int, no Gymnasium environment"),
        ("NoSuchEnv-v0", {}, "write package:Id-v0"),
        ("CartPole-v1", {"colour": 3}, "cannot be made with"),
        ("other_worlds:make", {"wrapper": "wrappers.costs"}, "not of the form module:name"),
    ],
)
def test_names_of_nothing_are_told_with_a_remedy(
    env_id: str, kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        make_other(env_id, kwargs)


def test_a_file_names_no_environment_of_others_unless_imports_are_allowed() -> None:
    metadata = {"env_id": "other_worlds:make", "env_kwargs": {}}
    with pytest.raises(ValueError, match="say --allow-import"):
        choose_env(None, [], metadata=metadata)
    found = choose_env(None, [], metadata=metadata, allow_import=True)
    assert found == OtherEnv("other_worlds:make")


@pytest.mark.parametrize("options", [WORLD, SIX], ids=["key", "six"])
def test_one_collects_trains_and_evaluates_elsewhere(
    tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    mix = "other_worlds:noisy=0.5,other_worlds:homewards=0.25,random=0.25"
    collect = ("collect", "--out", str(tmp_path / "data"), *options, "--workers", "1")
    assert run(*collect, "--mix", mix, "--episodes", "8") == 0
    data = EpisodeDataset.from_minari(tmp_path / "data")
    assert (data.num_episodes, data.cost_mode) == (8, "env")
    assert {e.driver for e in data.episodes} == {
        "other_worlds:noisy", "other_worlds:homewards", "random",
    }  # fmt: skip
    home = next(e for e in data.episodes if e.driver == "other_worlds:homewards")
    np.testing.assert_allclose(home.obs["vector"][1:, 0], 0, atol=1e-6)
    out = str(tmp_path / "bc")
    train = ("train", "--algo", "bc", "--data", str(tmp_path / "data"), "--out", out)
    assert run(*train, "--steps", "4") == 2
    assert "--allow-import" in capsys.readouterr().err
    assert run(*train, "--steps", "4", *options) == 0
    assert run("evaluate", out, "--episodes", "2") == 2
    assert "--allow-import" in capsys.readouterr().err
    assert run("evaluate", out, "--episodes", "2", "--allow-import") == 0
    found = read_evaluation(Path(out) / "evaluation.json")
    assert found.env_id == options[1]
    assert len(found.records) == 2
    # a saved agent collects, too
    more = ("--policy", out, "--episodes", "2", "--out", str(tmp_path / "more"))
    assert run("collect", *more, *options, "--workers", "1") == 0
    assert EpisodeDataset.from_minari(tmp_path / "more").episodes[0].driver == out


def test_ones_own_policy_drives_on_our_roads(tmp_path: Path) -> None:
    options = ("--policy", "other_worlds:cruise", "--episodes", "1", "--env-arg", "duration=4")
    assert run("collect", "--out", str(tmp_path), *options, "--workers", "1") == 0
    data = EpisodeDataset.from_minari(tmp_path)
    assert set(data.episodes[0].action.tolist()) == {1}


def test_a_policy_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect = ("collect", "--out", str(tmp_path / "x"), *WORLD)
    for policy, said in (("other_worlds:nobody", "has no nobody"), ("expert", "unknown driver")):
        assert run(*collect, "--policy", policy) == 2
        assert said in capsys.readouterr().err
    assert run(*collect, "--policy", "other_worlds:noisy", "--mix", "random=1") == 2
    assert "either --mix or --policy" in capsys.readouterr().err


@pytest.mark.parametrize("algo", ["bc", "vlsafe"])
@pytest.mark.parametrize("kind", ["minari", "dsrl"])
def test_one_trains_on_other_peoples_data_without_their_environment(
    tmp_path: Path, algo: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "minari":
        space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        path, _ = write_minari(tmp_path, space, action_space, infos=lambda c: {"crash": c})
        options = ("--cost-key", "crash")
    else:
        arrays = flat()
        path, options = write_flat(tmp_path / "SafetyLine.hdf5", arrays), ()
    preset = () if algo == "bc" else ("--preset", "debug")
    out = tmp_path / "agent"
    train = ("train", "--algo", algo, "--data", str(path), "--out", str(out), *preset, *options)
    assert run(*train, "--steps", "4") == 0
    stored = json.loads((out / "settings.json").read_text())
    assert stored["env"]["env_id"] == "not-named"
    if algo == "vlsafe":
        assert stored["options"]["update"] == "lagrangian"
    assert run("evaluate", str(out), "--episodes", "1") == 2
    assert "name one with --env" in capsys.readouterr().err
    if kind == "minari":
        assert run("evaluate", str(out), "--episodes", "1", *WORLD) == 0


# --- agents of Stable-Baselines3 ------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stock") / "line.zip"
    PPO("MlpPolicy", Line(), n_steps=8, batch_size=8, seed=0, device="cpu").save(path)
    return path


def test_stock_agents_are_evaluated_and_compared(
    tmp_path: Path, stock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sb3_contrib")
    from sb3_contrib import RecurrentPPO

    recurrent = tmp_path / "recurrent.zip"
    RecurrentPPO("MlpLstmPolicy", Line(), n_steps=8, batch_size=8, device="cpu").save(recurrent)
    files = []
    for algo, path in (("ppo", stock), ("recurrent_ppo", recurrent)):
        out = tmp_path / "run" / algo
        evaluate = ("evaluate", str(path), "--algo", algo, *WORLD, "--out", str(out))
        assert run(*evaluate, "--episodes", "3") == 2
        assert "--allow-pickle" in capsys.readouterr().err
        assert run(*evaluate, "--episodes", "3", "--allow-pickle") == 0
        files.append(str(out / "evaluation.json"))
    found = read_evaluation(Path(files[0]))
    assert found.settings is not None
    assert found.settings["algo"] == "stable_baselines3:PPO"
    assert len(found.settings["sha256"]) == 64
    capsys.readouterr()
    assert run("compare", *files) == 0
    shown = capsys.readouterr().out
    assert "PPO (stable_baselines3)" in shown
    assert "RecurrentPPO (sb3_contrib)" in shown


def test_a_stock_agent_on_our_roads_sees_what_it_was_trained_on(tmp_path: Path) -> None:
    import vlsafe_envs  # noqa: F401

    env = gym.make("VLSafe-Highway-v0", observation="vector", scorer=None)
    path = tmp_path / "road.zip"
    PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu").save(path)
    out = tmp_path / "run" / "ppo"
    evaluate = ("evaluate", str(path), "--algo", "ppo", "--out", str(out), "--allow-pickle")
    road = ("--env", "VLSafe-Highway-v0", "--env-arg", "duration=4", "--scorer", "none")
    assert run(*evaluate, *road, "--episodes", "2", "--no-record") == 0
    assert len(read_evaluation(out / "evaluation.json").records) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "does not say which algorithm"),
        (("--algo", "dreamer"), "unknown --algo 'dreamer'"),
        (("--algo", "sac", "--allow-pickle"), "cannot be loaded by stable_baselines3:SAC"),
        (("--algo", "bc"), "allow_pickle|--allow-pickle"),
    ],
)
def test_agents_of_nobody_are_refused(
    tmp_path: Path, stock: Path, options: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "x" / "y")
    assert run("evaluate", str(stock), *options, *WORLD, "--out", out) == 2
    assert re.search(said, " ".join(capsys.readouterr().err.split()))
    assert not os.path.exists(tmp_path / "x")


def test_the_report_repeats_the_commands_of_other_worlds(
    tmp_path: Path, stock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vlsafe_agents.report.commands import commands
    from vlsafe_agents.report.run_folder import read_run_folder

    folder = tmp_path / "run"
    own = ("train", "--algo", "ppo", *WORLD, "--steps", "8", "--envs", "1")
    assert run(*own, "--config", "batch_size=4", "--out", str(folder / "own")) == 0
    assert run("evaluate", str(folder / "own"), "--episodes", "2", "--allow-import") == 0
    evaluate = ("evaluate", str(stock), "--algo", "ppo", *WORLD, "--out", str(folder / "stock"))
    assert run(*evaluate, "--episodes", "2", "--allow-pickle") == 0
    assert run("report", str(folder)) == 0
    shown = commands(read_run_folder(folder)).splitlines()
    world = "--env other_worlds:make --cost-key crash"
    assert any(f"vlsafe train --algo ppo {world}" in line for line in shown)
    assert any(f"evaluate {folder / 'own'} --allow-import" in line for line in shown)
    assert any(f"evaluate {stock} --algo ppo --allow-pickle {world}" in line for line in shown)
