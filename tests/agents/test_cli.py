import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlsafe_agents.algorithm_arguments import rollout_length
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.environments import EnvChoice, choose_env, parse_mix, parse_pairs
from vlsafe_agents.cli.train import make_env
from vlsafe_agents.common.typed_config import unflatten
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.training import TrainSettings, load_agent, read_settings, train
from vlsafe_agents.training.checkpoints import ContinuedCSV
from vlsafe_agents.training.run import _vectorised

COMMANDS = (
    "collect",
    "label",
    "train",
    "train-clip",
    "train-risk",
    "evaluate",
    "compare",
    "report",
    "demo",
)


def run(*arguments: str) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom vlsafe_agents.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'stable_baselines3', 'transformers', 'highway_env', 'h5py', 'minari'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "LOADED []" in answer.stdout
    for command in COMMANDS:
        assert command in answer.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "--" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "--out", "{}", "--env", "Atari"), "unknown environment 'Atari'"),
        (("collect", "--out", "{}", "--mix", "expert=0.5"), "add up to 1"),
        (("collect", "--out", "{}", "--mix", "racer=1"), "unknown driver 'racer'"),
        (("collect", "--out", "{}", "--env-arg", "nonsense"), "not of the form key=value"),
        (("collect", "--out", "{}", "--env-arg", "colour=3"), "unknown option 'colour'"),
        (("collect", "--out", "{}", "--density", "-1"), "density"),
        (("label", "{}"), "vlsafe collect"),
        (("train", "--out", "{}/a", "--algo", "a2c"), "unknown algorithm 'a2c'"),
        (("train", "--out", "{}/a", "--algo", "bc"), "give --data"),
        (
            ("train", "--out", "{}/a", "--algo", "ppo", "--preset", "cpu"),
            "ppo does not read --preset",
        ),
        (("train", "--out", "{}/a", "--algo", "ppo_lag", "--preset", "cpu"), "'cpu'; choose one"),
        (("train", "--out", "{}/a", "--algo", "ppo", "--reward-scale", "0"), "positive number"),
        (("train", "--out", "{}/a", "--observation", "sound"), "unknown observation 'sound'"),
        (("train", "--out", "{}/a", "--data", "{}/none"), "no Minari id|no data set"),
        (("evaluate", "{}/nobody"), "no driver of that name"),
        (("evaluate", "expert"), "give --out"),
        (("evaluate", "{}"), "no model.zip"),
        (("evaluate", "{}", "--env-arg", "scorer=none"), "leave it out"),
        (("report", "{}/nothing"), "no run folder"),
    ],
)
def test_mistakes_end_in_one_sentence_that_names_them(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    import re

    assert run(*[argument.format(tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error


def test_pairs_are_parsed_as_json_or_text() -> None:
    pairs = parse_pairs(["a=1", "b=x", "c=[1, 2]", "d.e=true", "f=None"], "--config")
    assert pairs == {"a": 1, "b": "x", "c": [1, 2], "d.e": True, "f": None}
    assert unflatten(pairs)["d"] == {"e": True}
    with pytest.raises(ValueError, match="given twice"):
        parse_pairs(["a=1", "a=2"], "--config")
    assert parse_mix("expert=0.5, random=0.5") == {"expert": 0.5, "random": 0.5}


def test_an_agent_drives_where_its_data_were_collected() -> None:
    metadata = {"env_id": "VLSafe-Merge-v0", "env_kwargs": {"density": 1.5}}
    choice = choose_env(None, [], None, metadata)
    assert choice == EnvChoice("VLSafe-Merge-v0", {"density": 1.5})
    assert choice.with_kwargs({"density": 2.0}).kwargs == {"density": 2.0}
    assert choose_env("VLSafe-Highway-v0", [], None, metadata).kwargs == {}


def test_the_log_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    path = str(tmp_path / "progress.csv")
    for kept, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = ContinuedCSV(path, kept)
        for step in steps:
            values: dict[str, Any] = {"time/total_timesteps": step, "loss": step / 2}
            log.write(values, dict.fromkeys(values, ()))
        log.close()
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["time/total_timesteps"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == [0.5, 1.0, 1.5, 2.0]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a tiny labelled data set."""
    folder = tmp_path_factory.mktemp("run")
    data = str(folder / "data")
    few = ("--env-arg", "duration=8", "--env-arg", "vehicles=5", "--workers", "1")
    assert run("collect", "--out", data, "--episodes", "6", *few) == 0
    assert run("label", data, "--scorer", "oracle") == 0
    return folder


def test_a_data_set_is_collected_labelled_learnt_from_and_reported(labelled: Path) -> None:
    data = ("--data", str(labelled / "data"), "--observation", "vector")
    agent = labelled / "bc"
    assert run("train", "--algo", "bc", "--out", str(agent), "--steps", "5", *data) == 0
    settings = read_settings(agent)
    assert settings.env.kwargs == {"duration": 8, "vehicles": 5}
    facts = json.loads((agent / "training.json").read_text())
    assert facts["gradient_steps"] == 5
    assert facts["env_steps"] == facts["collisions_caused"] == 0
    assert facts["dataset_steps"] > 0
    assert run("evaluate", str(agent), "--episodes", "2", "--scorer", "oracle") == 0
    other = ("--episodes", "1", "--scorer", "none", "--no-record", "--env-arg", "vehicles=7")
    assert run("evaluate", str(agent), *other, "--density", "0.7") == 0
    elsewhere = json.loads((agent / "evaluation_density_0.7_vehicles_7.json").read_text())
    assert elsewhere["env_kwargs"] | {"density": 0.7, "vehicles": 7} == elsewhere["env_kwargs"]
    evaluation = json.loads((agent / "evaluation.json").read_text())
    assert len(evaluation["episodes"]) == 2
    assert evaluation["episodes"][0]["vlm_cost"] is not None
    assert {path.stem for path in (agent / "episodes").iterdir()} == {"best_0", "worst_0"}
    expert = ("evaluate", "expert", "--data", data[1], "--out", str(labelled / "expert"))
    assert run(*expert, "--episodes", "1", "--scorer", "none", "--no-record") == 0
    assert run("report", str(labelled)) == 0
    assert "Behaviour cloning" in (labelled / "report.html").read_text()
    often = "--first-seed 3000000000 --scorer none"
    lines = commands(read_run_folder(labelled)).splitlines()
    assert [line.split(" --out ")[0] for line in lines] == [
        "vlsafe collect --env VLSafe-Highway-v0 --env-arg duration=8 --env-arg vehicles=5 "
        "--episodes 6 --mix expert=0.5,noisy=0.25,aggressive=0.15,random=0.1 --seed 0",
        f"vlsafe label {labelled}/data --scorer oracle",
        f"vlsafe train --algo bc --data {labelled}/data --observation vector --steps 5 --seed 0",
        f"vlsafe evaluate expert --data {labelled}/data --episodes 1 {often}",
        f"vlsafe evaluate {agent} --episodes 2 --first-seed 3000000000 --scorer oracle",
        f"vlsafe evaluate {agent} --density 0.7 --env-arg vehicles=7 --episodes 1 {often}",
        f"vlsafe report {labelled}",
    ]


def test_a_shared_models_costs_are_written_down_with_its_policies(labelled: Path) -> None:
    small = ("--preset", "debug", "--data", str(labelled / "data"), "--observation", "vector")
    model = ("--out", str(labelled / "model"), "--steps", "3", "--config", "model_warmup=1.0")
    assert run("train", *model, *small) == 0
    shares = ("--world-model", str(labelled / "model"), "--steps", "2")
    assert run("train", "--out", str(labelled / "policy"), *shares, *small) == 0
    found = {
        name: json.loads((labelled / name / "training.json").read_text())
        for name in ("model", "policy")
    }
    assert found["model"]["world_model_gradient_steps"] == 0
    assert found["policy"]["gradient_steps"] == 2
    assert found["policy"]["world_model_gradient_steps"] == 3
    assert found["policy"]["world_model_wall_s"] == found["model"]["wall_s"]


def test_vlsafe_leaves_model_log_and_open_loop_strip(labelled: Path) -> None:
    agent = labelled / "vlsafe_gated"
    options = ("--preset", "debug", "--steps", "3", "--data", str(labelled / "data"))
    more = ("--config", "imagination.horizon=3")
    assert run("train", "--out", str(agent), *options, *more) == 0
    assert (agent / "model.zip").exists()
    assert "open_loop" in json.loads((agent / "training.json").read_text())
    assert run("train", "--out", str(agent), *options, *more) == 0  # finished: nothing to do
    assert run("train", "--out", str(agent), *options) == 2  # other settings
    wrong = ("train", "--out", str(labelled / "x"), *options, "--config", "imagination.hurry=1")
    assert run(*wrong) == 2


def test_ppo_lag_counts_the_collisions_that_it_causes(labelled: Path) -> None:
    agent = labelled / "ppo_lag"
    options = ("--scorer", "oracle", "--envs", "2", "--observation", "vector", "--steps", "64")
    small = ("--config", "n_steps=32", "--config", "n_epochs=1", "--config", "batch_size=32")
    arguments = ("train", "--algo", "ppo_lag", "--out", str(agent), *options, *small)
    crowded = ("--env-arg", "duration=8", "--density", "2")
    assert run(*arguments, *crowded) == 0
    facts = json.loads((agent / "training.json").read_text())
    assert facts["env_steps"] == 64
    assert facts["collisions_caused"] > 0  # untrained, at twice the density
    assert run(*arguments, *crowded, "--overwrite", "--config", "speed=3") == 2
    assert (agent / "model.zip").exists()  # a mistake removes nothing


def test_online_agents_may_learn_from_rewards_of_another_size() -> None:
    env = EnvChoice(kwargs={"duration": 8})
    raw = TrainSettings(algo="ppo", steps=8, env=env, envs=2, observation="vector")
    scaled = dataclasses.replace(raw, reward_scale=0.01)
    rewards, returns = [], []
    for settings in (raw, scaled):
        vec_env = _vectorised(settings, lambda of=settings: make_env(of))
        vec_env.reset()
        stepped = [vec_env.step(np.array([1, 1]))[1:] for _ in range(8)]
        rewards.append(np.array([reward for reward, _, _ in stepped]))
        returns.append([info["episode"]["r"] for info in stepped[-1][-1]])
        vec_env.close()
    np.testing.assert_allclose(rewards[1], 0.01 * rewards[0], rtol=1e-6)
    assert rewards[0].sum(0) == pytest.approx(returns[0], abs=1e-4)
    assert returns[0] == returns[1]  # logs stay comparable
    for settings, scale in ((raw, 0.0), (raw, float("nan"))):
        with pytest.raises(ValueError, match="--reward-scale must be a positive number"):
            dataclasses.replace(settings, reward_scale=scale)


def test_a_killed_training_goes_on_from_its_checkpoint(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlsafe_agents.bc import BC

    class Killed(Exception):
        """Stands for the process's end: nothing after it is run."""

    env, data = EnvChoice(kwargs={"duration": 8}), str(labelled / "data")
    settings = TrainSettings(algo="bc", steps=12, env=env, data=data, observation="vector")
    updates: list[int] = []
    update = BC.train

    def count(self: BC) -> None:
        if len(updates) == 7:
            updates.append(-1)
            raise Killed
        updates.append(self.num_timesteps)
        update(self)

    monkeypatch.setattr(BC, "train", count)
    out = labelled / "resumed"
    with pytest.raises(Killed):
        train(settings, out, lambda: make_env(settings), checkpoint_seconds=0.0)
    assert not (out / "model.zip").exists()
    facts = train(settings, out, lambda: make_env(settings))
    assert updates == [*range(7), -1, *range(7, 12)]
    assert facts["gradient_steps"] == 12
    assert not (out / "checkpoint.zip").exists()
    model, again, _ = load_agent(out, env=EnvChoice)
    assert again == settings
    shape = model.observation_space.shape
    assert model.action_space.contains(int(model.predict(np.zeros(shape, np.float32))[0]))


@pytest.mark.parametrize("steps", [1, 240, 1_000, 30_017, 120_012])
def test_whole_rollouts_drive_as_many_steps_as_asked_or_hardly_more(steps: int) -> None:
    length = rollout_length(steps, envs=8)
    rollout = 8 * length
    driven = -(-steps // rollout) * rollout
    assert steps <= driven <= steps + max(0.01 * steps, 16)
