"""`vlsafe train` as a run: options, kills, Ctrl-C, two at once, damaged files; nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.algorithms import ALGORITHMS
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.environments import EnvChoice
from vlsafe_agents.cli.train import make_env
from vlsafe_agents.training import TrainSettings, read_settings, train
from vlsafe_agents.training.checkpoints import ContinuedCSV, Counts
from wrappers.files import one_writer

SMALL_PPO = ("--config", "n_epochs=1", "--config", "batch_size=32", "--config", "n_steps=16")
DRIVE = ("--envs", "4", "--observation", "vector", "--env-arg", "duration=8", "--density", "2")
CODE = "import sys; from vlsafe_agents.cli.main import main; main(sys.argv[1:])"
ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("data"))
    few = ("--env-arg", "duration=8", "--env-arg", "vehicles=5", "--workers", "1")
    assert run("collect", "--out", folder, "--episodes", "6", *few) == 0
    assert run("label", folder, "--scorer", "oracle") == 0
    return folder


def made(algo: str, **given: Any) -> TrainSettings:
    """Settings of few steps."""
    return TrainSettings(**{"algo": algo, "steps": 8, "env": EnvChoice(), **given})


def run_training(settings: TrainSettings, out: Path, overwrite: bool = False) -> dict[str, Any]:
    return train(settings, out, lambda: make_env(settings), overwrite=overwrite)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- options --------------------------------------------------------------------------------------

GIVEN = {
    "data": "d",
    "world_model": "w",
    "cost": "env",
    "cost_limit": 0.3,
    "scorer": "oracle",
    "envs": 2,
    "frame_stack": 4,
    "reward_scale": 0.1,
    "preset": "route",
    "update": "gated",
    "safety": "0.5",
}


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("name", GIVEN)
def test_an_option_has_an_effect_or_is_an_error(algo: str, name: str) -> None:
    base = {"data": "d"}
    without = made(algo, **base).to_json()
    if name in ALGORITHMS[algo].read_by(online=False):
        value = {"data": "other", "update": "lagrangian"}.get(name, GIVEN[name])
        given = made(algo, **base | {name: value}).to_json()
        assert given != without
        return
    with pytest.raises(ValueError, match=f"{algo} does not read --{name.replace('_', '-')}"):
        made(algo, **base, **{name: GIVEN[name]})


@pytest.mark.parametrize("name", ["scorer", "envs", "reward_scale", "start_from"])
def test_options_of_driving_have_an_effect_while_vlsafe_drives(name: str) -> None:
    given = {**GIVEN, "start_from": "other"}
    without = made("vlsafe", online=True).to_json()
    assert made("vlsafe", online=True, **{name: given[name]}).to_json() != without
    with pytest.raises(ValueError, match=f"not read --{name.replace('_', '-')} without --online"):
        made("vlsafe", data="d", **{name: given[name]})
    with pytest.raises(ValueError, match="does not read --world-model with --online"):
        made("vlsafe", online=True, world_model="w")


def test_settings_of_an_agent_that_drives_come_back() -> None:
    settings = made("vlsafe", online=True, envs=3, update="lagrangian", start_from="other")
    stored = settings.to_json()
    assert TrainSettings.from_json(stored).to_json() == stored
    assert not {"online", "start_from"} & set(made("vlsafe", data="d").to_json())


def test_a_presets_cost_limit_holds_unless_another_is_given() -> None:
    for given, expected in (({}, 0.5), ({"preset": "route"}, 1.0), ({"cost_limit": 0.2}, 0.2)):
        settings = made("ppo_lag", **given)
        assert settings.cost_limit == settings.arguments()["cost_limit"] == expected


@pytest.mark.parametrize(
    ("other", "option"),
    [
        ({"safety": "none"}, "update"),
        ({"safety": "none"}, "cost_limit"),
        ({"update": "none"}, "cost_limit"),
        ({"update": "none"}, "safety"),
        ({"update": "lagrangian"}, "safety"),
    ],
)
def test_options_that_others_switch_off_are_errors(other: dict[str, str], option: str) -> None:
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} has no effect with"):
        made("vlsafe", data="d", **other, **{option: GIVEN[option]})


@pytest.mark.parametrize(
    "wrong",
    [
        ("--cost", "vim"),
        ("--update", "guarded"),
        ("--safety", "scores"),
        ("--safety", "1.5"),
        ("--safety", "nan"),
        ("--cost-limit", "nan"),
        ("--config", "imagination.horizon=0"),
        ("--config", "imagination.horizon=many"),
        ("--config", "nonsense=1"),
        ("--preset", "13M"),
        ("--world-model", "nowhere"),
        ("--algo", "td3"),
        ("--device", "abacus"),
        ("--steps", "0"),
        ("--seed", "-1"),
        ("--observation", "sound"),
        ("--scorer", "bundled"),
        ("--envs", "4"),
        ("--data", "nowhere"),
    ],
)
def test_a_wrong_option_leaves_no_folder_behind(
    wrong: tuple[str, str], data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--data": data, "--preset": "debug", "--steps": "2", "--observation": "vector"}
    options |= dict([wrong])
    assert run("train", "--out", str(tmp_path / "a"), *sum(options.items(), ())) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert everything(tmp_path) == []


def test_data_that_do_not_fit_leave_no_folder_behind(tmp_path: Path) -> None:
    few = ("--env-arg", "duration=4", "--env-arg", "vehicles=2", "--workers", "1")
    assert run("collect", "--out", str(tmp_path / "data"), "--episodes", "2", *few) == 0
    command = ("train", "--preset", "debug", "--steps", "1", "--data", str(tmp_path / "data"))
    assert run(*command, "--out", str(tmp_path / "a")) == 2  # not labelled
    assert not (tmp_path / "a").exists()


# --- settings -------------------------------------------------------------------------------------


def test_settings_of_november_2026_are_still_read(tmp_path: Path) -> None:
    """They noted down what the algorithm does not read, too."""
    old = {
        "algo": "bc",
        "steps": 5,
        "env": {"env_id": "VLSafe-Highway-v0", "kwargs": {"duration": 8}},
        "observation": "vector",
        "data": "d",
        "world_model": None,
        "cost": "either",
        "scorer": "bundled",
        "cost_limit": 1.0,
        "envs": 8,
        "reward_scale": 1.0,
        "seed": 0,
        "device": "auto",
        "options": {},
        "config": {},
    }
    env = EnvChoice(kwargs={"duration": 8})
    new = made("bc", steps=5, env=env, data="d", observation="vector")
    assert TrainSettings.from_json(old, EnvChoice) == new
    unscored = TrainSettings.from_json({**old, "algo": "ppo_lag", "cost": "env", "scorer": None})
    assert unscored.scorer == "none"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: {},
        lambda s: {**s, "colour": "red"},
        lambda s: {**s, "algo": "td3"},
        lambda s: {**s, "algo": ["bc"]},
        lambda s: {**s, "steps": "many"},
        lambda s: {**s, "env": "VLSafe-Highway-v0"},
        lambda s: {**s, "env": {"env_id": "antigravity:Fly-v0", "kwargs": {}}},
        lambda s: {**s, "env": {"env_id": "CartPole-v1", "kwargs": {}}},
        lambda s: {**s, "env": {"env_id": 5, "kwargs": {}}},
    ],
)
def test_foreign_settings_are_named_and_import_nothing(spoil: Any, tmp_path: Path) -> None:
    good = made("bc", data="d").to_json()
    (tmp_path / "settings.json").write_text(json.dumps(spoil(good)))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "settings.json"))):
        read_settings(tmp_path, EnvChoice)
    assert "antigravity" not in sys.modules


def test_an_empty_settings_file_is_mended_unless_something_was_trained(
    data: str, tmp_path: Path
) -> None:
    settings = cloning(data)
    out = tmp_path / "a"
    out.mkdir()
    (out / "settings.json").touch()  # killed while it was written
    run_training(settings, out)
    assert read_settings(out, EnvChoice) == settings
    (out / "settings.json").write_text("")
    with pytest.raises(ValueError, match=r"settings\.json is empty.*vlsafe train"):
        run_training(settings, out)
    assert (out / "model.zip").exists()


def cloning(data: str) -> TrainSettings:
    env = EnvChoice(kwargs={"duration": 8, "vehicles": 5})
    return made("bc", steps=3, env=env, data=data, observation="vector")


def test_what_is_trained_already_is_said_and_not_written_again(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = cloning(data)
    run_training(settings, tmp_path / "a")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    capsys.readouterr()
    run_training(settings, tmp_path / "a")
    assert "trained already" in capsys.readouterr().err
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}


def test_overwriting_removes_agents_and_no_other_folders(data: str, tmp_path: Path) -> None:
    settings = cloning(data)
    (tmp_path / "thesis.tex").write_text("three years")
    with pytest.raises(FileExistsError, match="holds no agent"):
        run_training(settings, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_in_which_somebody_trains_is_left_alone(data: str, tmp_path: Path) -> None:
    out = tmp_path / "a"
    with one_writer(out, "vlsafe train"):
        command = ("train", "--algo", "bc", "--data", data, "--out", str(out), "--overwrite")
        assert run(*command) == 2
        assert not out.exists()


# --- kills ----------------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VLSAFE_CHECKPOINT_SECONDS": "0.2"},
        cwd=ROOT,
    )


def wait_for(path: Path, process: subprocess.Popen[str], least: int = 0) -> None:
    for _ in range(600):
        if path.exists() and path.stat().st_size > least:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_kills_take_back_no_step_and_no_crash(tmp_path: Path) -> None:
    """What was driven stays counted, and what was not learned from is not counted as learned."""
    out = tmp_path / "ppo_lag"
    command = ("train", "--algo", "ppo_lag", "--cost", "env", "--out", str(out), *DRIVE, *SMALL_PPO)
    command = (*command, "--steps", "40000")
    seen: list[dict[str, int]] = []
    for attempt in range(3):
        process = start(*command)
        wait_for(out / "checkpoint.zip", process)
        before = (out / "checkpoint.zip").stat().st_mtime_ns
        while (out / "checkpoint.zip").stat().st_mtime_ns == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.1 * attempt)
        process.kill()
        process.communicate()
        seen.append(json.loads((out / "counts.json").read_text()))
    for name in ("env_steps", "collisions"):
        counted = [counts[name] for counts in seen]
        assert counted == sorted(set(counted)), "counts only grow"
    from vlsafe_agents import PPOLag

    model = PPOLag.load(out / "checkpoint.zip", device="cpu")
    assert model.num_timesteps % 64 == 0, "whole rollouts of 4 times 16 steps"
    assert model._n_updates == model.num_timesteps // 64, "all of them learned from"
    assert seen[-1]["env_steps"] >= model.num_timesteps
    assert seen[-1]["collisions"] >= model.collisions_caused > 0


def test_facts_tell_lost_steps_from_those_learned_from(tmp_path: Path) -> None:
    config = {"n_steps": 16, "batch_size": 32, "n_epochs": 1}
    env = EnvChoice(kwargs={"duration": 8})
    settings = made("ppo", steps=64, env=env, envs=4, observation="vector", config=config)
    out = tmp_path / "a"
    out.mkdir()
    with Counts(out, 0) as counts:  # as a killed attempt has left it
        counts.add(40, 3, 1.5)
    facts = run_training(settings, out)
    assert facts["env_steps"] == 104
    assert facts["env_steps_lost"] == 40
    assert facts["collisions_caused"] >= 3
    assert facts["wall_s"] >= 1.5


def test_collisions_that_nobody_reports_are_not_known_and_not_zero(tmp_path: Path) -> None:
    with Counts(tmp_path, 0) as counts:
        counts.add(4, None, 0.1)
    with Counts(tmp_path, 0) as again:
        assert again.env_steps == 4
        assert again.collisions is None
        again.add(4, 0, 0.1)
        assert again.collisions == 0


def test_an_odd_counts_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text("{")
    with pytest.raises(ValueError, match=r"counts\.json"):
        Counts(tmp_path, 0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_saves_and_says_what_comes_next(
    sent: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "ppo"
    command = ("train", "--algo", "ppo", "--out", str(out), *DRIVE, *SMALL_PPO)
    process = start(*command, "--steps", "40000")
    wait_for(out / "checkpoint.zip", process)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    match = re.search(r"saved after ([\d,]+) of 40,000 steps; the same command goes on", said)
    assert match, said
    assert "done in" not in said
    from vlsafe_agents.stock import PPO

    done = int(match[1].replace(",", ""))
    assert PPO.load(out / "checkpoint.zip", device="cpu").num_timesteps == done > 0
    assert done % 64 == 0


def test_a_log_that_was_cut_off_or_is_no_table_costs_no_training(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    for content in (b"\0\0\0", b"\xff\xfe", b"a,time/total_timesteps\n1,2\n3", b"", b'"'):
        path.write_bytes(content)
        log = ContinuedCSV(str(path), 10)
        log.write({"time/total_timesteps": 11}, {"time/total_timesteps": ()})
        log.close()
        assert path.read_text().splitlines()[-1].endswith("11")
