"""``vlsafe train-risk``, and whatever is evaluated behind its shield."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

import vlsafe_envs
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.environments import EnvChoice
from vlsafe_agents.cli.shielding import Shield
from vlsafe_agents.cli.subjects import Subject
from vlsafe_agents.common.agent_file import read_agent
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.evaluation import evaluate, read_evaluation
from vlsafe_agents.foresight import read_foresight
from vlsafe_agents.foresight.drives import replay
from vlsafe_agents.foresight.signals import RiskSignal
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.report.tables import results_table
from vlsafe_agents.risk import Outcomes, RiskModel, SafetyShield, ShieldedPolicy, training
from vlsafe_agents.risk.examination import examine
from vlsafe_agents.risk.model import RiskConfig
from vlsafe_agents.risk.run_folder import RiskRun
from vlsafe_agents.training import load_agent
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.macros import tail_names

ENV = "VLSafe-Highway-v0"
HERE = ("--env", ENV, "--env-arg", "duration=6", "--env-arg", "vehicles=10")
FEW = (
    *("--states", "6", "--rounds", "1", "--round-states", "4", "--held-out", "8"),
    *("--updates", "5", "--horizon", "2"),
)
SHORT = ("--episodes", "3", "--scorer", "none")


def vlsafe(*arguments: str) -> int:
    """Exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a risk model in ``risk``."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "CHUNK", 3)
        assert vlsafe("train-risk", *HERE, *FEW, "--out", str(folder / "risk")) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def sees_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an agent that has learned next to nothing."""
    folder = tmp_path_factory.mktemp("images")
    data, agent = str(folder / "data"), folder / "bc"
    assert vlsafe("collect", *HERE, "--episodes", "2", "--workers", "1", "--out", data) == 0
    learn = ("train", "--algo", "bc", "--steps", "3", "--data", data, "--out", str(agent))
    assert vlsafe(*learn) == 0
    return agent


# --- training -------------------------------------------------------------------------------------


def test_everything_that_was_simulated_is_counted(trained: Path) -> None:
    facts = json.loads((trained / "risk" / "training.json").read_text())
    files = [*(trained / "risk").glob("outcomes/*.npz"), *(trained / "risk").glob("held_out/*.npz")]
    parts = [Outcomes.load(file) for file in files]
    assert sorted(part.num_states for part in parts) == [1, 1, 1, 3, 3, 3, 3, 3]
    assert facts["env_steps_lost"] == 0
    assert facts["env_steps"] == sum(part.simulated + part.drive_steps for part in parts)
    assert facts["collisions_caused"] == sum(part.events + part.drive_events for part in parts)
    learnt = facts["simulated"]["learnt from"]
    assert learnt == RiskModel.load(trained / "risk").facts
    assert learnt["states"] == 10
    assert set(facts["held_out"]) == {"mixed drives", "behind the shield"}
    seen = Outcomes.joined(parts)
    assert seen.drive.max() == seen.drives - 1  # of joined tables, each drive has its own number


def test_risk_is_learnt_from_a_judge_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run" / "risk"
    judge = ("--events", "judge", "--scorer", "distilled")
    assert vlsafe("train-risk", *HERE, *FEW, *judge, "--out", str(out)) == 0
    shown = capsys.readouterr().out
    for words in ("AUROC of the judge itself", "before the crash shows", "crashes after"):
        assert words in shown
    parts = [Outcomes.load(file) for file in out.glob("outcomes/*.npz")]
    whose = {part.judge for part in parts}
    assert len(whose) == 1
    assert json.loads(whose.pop())["name"] == "distilled"
    model, facts = RiskModel.load(out), json.loads((out / "training.json").read_text())
    assert model.judge == parts[0].judge
    assert model.config.threshold == 0.2
    assert facts["simulated"]["learnt from"]["branch_events"] == sum(p.events for p in parts)
    assert set(facts["judgement"]) == {"mixed drives", "behind the shield"}
    assert vlsafe("train-risk", *HERE, *FEW, "--out", str(out)) == 2
    assert "something of another model, judge" in capsys.readouterr().err
    assert vlsafe("evaluate", str(out), *SHORT, "--no-record") == 0
    assert "--events judge --scorer distilled" in commands(read_run_folder(out.parent))


class Killed(BaseException):
    """As sudden as a signal."""


@pytest.mark.parametrize("end", [Killed, KeyboardInterrupt])
def test_the_same_command_goes_on_where_it_was_ended(
    trained: Path,
    tmp_path: Path,
    end: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, save, saved = tmp_path / "risk", Outcomes.save, []

    def save_two(outcomes: Outcomes, path: Path) -> None:
        if len(saved) == 2:
            raise end
        saved.append(path)
        save(outcomes, path)

    monkeypatch.setattr(training, "CHUNK", 3)
    command = ("train-risk", *HERE, *FEW, "--out", str(out))
    with monkeypatch.context() as ended:
        ended.setattr(Outcomes, "save", save_two)
        if end is Killed:
            with pytest.raises(Killed):
                cli.main(command)
        else:
            assert vlsafe(*command) == 130
            assert "the same command goes on from there" in capsys.readouterr().err
    before = [path.stat().st_mtime_ns for path in saved]
    assert vlsafe(*command) == 0
    assert [path.stat().st_mtime_ns for path in saved] == before
    found, whole = (read_agent(folder / "risk.zip") for folder in (out, trained / "risk"))
    assert found[0] == whole[0]
    for name, value in found[1]["policy"].items():
        np.testing.assert_array_equal(value, whole[1]["policy"][name])
    facts, usual = (json.loads((f / "training.json").read_text()) for f in (out, trained / "risk"))
    lost = Outcomes.load(out / "outcomes" / "1_0000_3.npz")  # the third, which was not saved
    assert facts["env_steps_lost"] == lost.simulated + lost.drive_steps
    assert facts["env_steps"] == usual["env_steps"] + facts["env_steps_lost"]
    caused = usual["collisions_caused"] + lost.events + lost.drive_events
    assert facts["collisions_caused"] == caused
    assert facts["wall_s"] is None  # of the first attempt it is not known


def test_a_finished_training_is_shown_and_no_other_takes_its_place(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outcomes, "save", lambda *_: pytest.fail("driven again"))
    command = ("train-risk", *HERE, *FEW, "--out", str(run / "risk"))
    assert vlsafe(*command) == 0
    shown = capsys.readouterr().out
    assert "is trained already" in shown
    for word in ("learnt from", "held out, mixed drives", "cross-entropy", "AUROC", "called safe"):
        assert word in shown
    of_file = ("train-risk", "--settings", str(run / "risk" / "train-risk.yaml"))
    assert vlsafe(*of_file, "--out", str(run / "risk")) == 0
    assert "is trained already" in capsys.readouterr().out
    assert vlsafe(*command, "--horizon", "3", "--seed", "1") == 2
    assert "something of another horizon, seed, model; choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--env", "CartPole-v1"), "CartPole-v1 is not ours"),
        ((*HERE, "--mix", "racer=0.5"), "unknown driver 'racer'; VLSafe-Highway-v0 has expert"),
        ((*HERE, "--mix", "expert=0.7, noisy=0.7"), "add up to 1.4"),
        ((*HERE, "--mix", "expert=-1"), "--mix: expert is -1"),
        ((*HERE, "--scorer", "bundled"), "--scorer bundled is a judge"),
        ((*HERE, "--events", "judge", "--scorer", "oracle"), "reads the simulator's truth"),
        ((*HERE, "--policy", "nowhere"), "no model.zip in nowhere"),
        ((*HERE, "--start", "nowhere"), "--start nowhere: no risk.zip there"),
        (("--env", "VLSafe-MetaDrive-v0"), "say --env-arg crash_terminal=true"),
    ],
)
def test_mistakes_are_named(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vlsafe("train-risk", *FEW, *options, "--out", str(tmp_path / "risk")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "risk").exists()


def test_a_training_may_begin_with_another_risk_model(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--states", "2", "--rounds", "0", "--held-out", "2", "--updates", "1", "--horizon", "2")
    start, out = trained / "risk", tmp_path / "risk"
    assert vlsafe("train-risk", *HERE, *few, "--start", str(start), "--out", str(out)) == 0
    stated = json.loads((out / "settings.json").read_text())["start"]
    assert stated["model"] == str(start)
    assert len(stated["sha256"]) == 64
    old, new = (list(RiskModel.load(folder).net.parameters()) for folder in (start, out))
    moved = max(float((a - b).abs().max().detach()) for a, b in zip(old, new, strict=True))
    assert 0 < moved < 0.01  # by one update
    left = ("--start", "VLSafe-LeftTurn-v0", "--out", str(tmp_path / "left"))
    assert vlsafe("train-risk", *HERE, *few, *left) == 2
    assert "cannot be the beginning" in capsys.readouterr().err
    assert not (tmp_path / "left" / "outcomes").exists()  # before anybody drives


# --- examination ----------------------------------------------------------------------------------


class Told:
    """In place of a model: the risk of each branch is what is observed, plus the tail's number."""

    config = RiskConfig(horizon=2.0)

    def estimate(self, obs: Any, actions: Any) -> Any:
        base = obs["x"][:, None, None] + np.zeros((1, actions.shape[1], 2))
        base[..., 1] += 0.1
        return type("Estimate", (), {"risk": base})


def test_a_model_is_held_against_what_came_of_it() -> None:
    state = np.repeat(np.arange(4), 2)  # tails 0 and 1 in each
    event = np.array([0, 0, 0, 1, 1, 1, 1, 1], bool)
    outcomes = Outcomes(
        obs={"x": np.array([0.01, 0.02, 0.03, 0.8])},
        state=state,
        action=np.zeros(8, np.int64),
        tail=np.tile([0, 1], 4),
        own=np.zeros(8, bool),
        event_time=np.where(event, 1.0, np.inf).astype(np.float32),
        seconds=np.array([np.inf] * 7 + [1.0], np.float32),
        reward=np.zeros(8, np.float32),
        tails=("go", "hold"),
        drive=np.array([0, 0, 1, 2]),
        simulated=16,
        drives=3,
    )
    found = examine(Told(), outcomes)  # type: ignore[arg-type]
    assert (found.states, found.drives, found.branches, found.events) == (4, 3, 8, 5)
    assert (found.safe_actions, found.actions, found.events_after_safe) == (3, 4, 1)
    assert found.event_rate.value == pytest.approx(1 / 3)  # by the less risky tail of the two
    risk = np.array([0.01, 0.11, 0.02, 0.12, 0.03, 0.13, 0.8, 0.9])
    loss = -np.where(event, np.log(risk), np.log(1 - risk)).mean()
    assert found.cross_entropy.value == pytest.approx(loss)
    assert found.cross_entropy.low < loss < found.cross_entropy.high
    pairs = [(a > b) for a in risk[event] for b in risk[~event]]
    assert found.auroc.value == pytest.approx(np.mean(pairs))
    one = examine(Told(), outcomes.select(np.arange(4)))  # type: ignore[arg-type]
    assert np.isnan([one.cross_entropy.low, one.auroc.high]).all()  # one drive has no spread
    assert one.to_json()["auroc"]["low"] is None


# --- evaluation -----------------------------------------------------------------------------------


def test_shielded_drives_stand_beside_those_without(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    driven = ("evaluate", "aggressive", *HERE, *SHORT, "--out", "fast", "--no-record")
    shielded = ("--shield", "risk", "--shield-threshold", "0.001")
    assert vlsafe(*driven) == 0
    assert vlsafe(*driven, *shielded) == 0
    assert "aggressive, shielded by risk (threshold 0.001)" in capsys.readouterr().out.replace(
        "\n", " "
    ).replace("  ", " ")
    plain = read_evaluation(run / "fast" / "evaluation.json")
    found = read_evaluation(run / "fast" / "evaluation_shield-risk-0.001.json")
    assert plain.shielded is None
    assert found.shielded is not None
    assert (found.shielded["model"], found.shielded["threshold"]) == ("risk", 0.001)
    assert re.fullmatch("[0-9a-f]{64}", found.shielded["sha256"])
    assert [record.replaced for record in plain.records] == [None] * 3
    assert sum(record.replaced or 0 for record in found.records) > 0
    facts = json.loads((run / "risk" / "training.json").read_text())
    assert found.training["collisions_caused"] == facts["collisions_caused"]
    assert vlsafe("evaluate", "risk", *SHORT, "--no-record") == 0
    capsys.readouterr()
    files = (
        "fast/evaluation.json",
        "fast/evaluation_shield-risk-0.001.json",
        "risk/evaluation.json",
    )
    assert vlsafe("compare", *files, "--markdown") == 0
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert "Standing" in first
    assert "Replaced" in first
    names = [row.split("|")[1].strip() for row in rows]
    assert names == [
        "fast (Driver aggressive)",
        "fast, shield risk 0.001 (Driver aggressive)",
        "risk (Risk planner)",
    ]
    assert rows[1].split("|")[-2].strip() == str(facts["collisions_caused"])
    assert rows[0].split("|")[-2].strip() == "-"
    report = read_run_folder(run)
    columns, rows_of_page = results_table(report.agents)
    place = [column.metric for column in columns].index("replaced")
    told = {row.name: row.cells[place].text for row in rows_of_page}
    assert set(told) == {"fast", "fast, shield risk 0.001", "risk"}
    assert told["fast, shield risk 0.001"].endswith("%")
    assert not told["fast"].endswith("%")
    lines = commands(report)
    assert "--shield risk --shield-threshold 0.001 --episodes 3" in lines
    assert f"vlsafe train-risk --env {ENV} --env-arg duration=6" in lines


def test_no_figures_of_another_shield_are_written_over(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(run / "x"), "--no-record", "--shield", str(run / "risk"))
    assert vlsafe("evaluate", "expert", *HERE, *SHORT, *out) == 0
    (run / "other").mkdir()
    shutil.move(run / "risk", run / "other" / "risk")
    moved = (*out[:-1], str(run / "other" / "risk"))
    assert vlsafe("evaluate", "expert", *HERE, *SHORT, *moved) == 2
    assert "holds drives with another shield" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("expert", "--env", "VLSafe-Merge-v0", "--out", "{}/x", "--shield", "{}/risk"),
            "not of V",
        ),
        (("expert", *HERE, "--out", "{}/x", "--shield", "{}/none"), "train a risk model with"),
        (("expert", *HERE, "--out", "{}/x", "--shield-threshold", "0.1"), "--shield"),
        (
            ("expert", *HERE, "--out", "{}/x", "--shield", "{}/risk", "--shield-threshold", "2"),
            "--shield-threshold is 2",
        ),
        (("{}/risk", "--shield", "{}/risk"), "drives behind itself"),
        (("{}/risk", *HERE), "knows its environment"),
    ],
)
def test_shields_that_do_not_fit_are_refused(
    trained: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [argument.replace("{}", str(trained)) for argument in arguments]
    assert vlsafe("evaluate", *named, *SHORT) == 2
    assert message in capsys.readouterr().err
    assert not (trained / "x").exists()


def test_agents_that_see_images_are_shielded_alone_and_side_by_side(
    run: Path, sees_images: Path
) -> None:
    out = run / "bc"
    shield = ("--shield", str(run / "risk"), "--shield-threshold", "0.002", "--out", str(out))
    file, found = out / "evaluation_shield-risk-0.002.json", []
    for envs in ("1", "3"):
        assert vlsafe("evaluate", str(sees_images), *shield, *SHORT, "--envs", envs) == 0
        found.append(read_evaluation(file).records)
    assert found[0] == found[1]
    assert (out / "episodes_shield-risk-0.002" / "best_0.npz").exists()
    caused = json.loads((run / "risk" / "training.json").read_text())["collisions_caused"]
    assert read_evaluation(file).training["collisions_caused"] == caused  # its own are none


def test_agents_of_stable_baselines3_are_shielded(run: Path) -> None:
    env = gym.make(ENV, observation="vector", scorer=None, duration=6, vehicles=10)
    PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu").save(run / "stock.zip")
    who = ("evaluate", str(run / "stock.zip"), "--algo", "ppo", "--allow-pickle", *HERE)
    shield = ("--shield", str(run / "risk"), "--out", str(run / "stock"), "--no-record")
    assert vlsafe(*who, *shield, *SHORT) == 0
    found = read_evaluation(run / "stock" / "evaluation_shield-risk-0.05.json")
    assert all(record.replaced is not None for record in found.records)
    assert found.training.get("env_steps") is None  # of the agent it is not known


@pytest.mark.parametrize("env_id", [ENV, "VLSafe-LeftTurn-v0"])
def test_side_by_side_and_one_by_one_the_shield_decides_the_same(env_id: str) -> None:
    choice = EnvChoice(env_id, {"duration": 3})
    env = choice.factory(observation="vehicles", scorer=None)()
    model = RiskModel(env.observation_space, env.action_space, tail_names(env_id))
    torch.manual_seed(0)
    for weights in model.net.parameters():
        torch.nn.init.normal_(weights, std=0.3)  # any opinion will do
    watched = SafetyShield(env, model, threshold=1.0)
    watched.reset(seed=0)
    driver, risks, over = make_driver("inattentive", watched, np.random.default_rng(0)), [], False
    driver.reset()
    while not over:
        *_, terminated, truncated, info = watched.step(driver.act())
        risks.append(info["shield_risk"])
        over = terminated or truncated
    shield = Shield(Path("any"), RiskRun(model, {}, {}), float(np.median(risks)), "")
    inattentive = partial(make_driver, "inattentive")
    subject = Subject(
        inattentive, "any", "driver", choice, "vector", Path(), training={}, shield=shield
    )
    alone, together = subject.factory(choice, None), subject.vector_factory(choice, None)
    first = evaluate(inattentive, alone, range(5)).records
    several = evaluate(inattentive, alone, range(5), make_vec_env=together, num_envs=3)
    assert several.records == first
    steps, replaced = (sum(getattr(r, name) for r in first) for name in ("steps", "replaced"))
    assert 0 < replaced < steps


def test_a_risk_model_drives_with_another_threshold_into_another_file(run: Path) -> None:
    driven = ("evaluate", str(run / "risk"), *SHORT, "--no-record", "--shield-threshold", "0.3")
    assert vlsafe(*driven) == 0
    found = read_evaluation(run / "risk" / "evaluation_threshold_0.3.json")
    assert found.settings is not None
    assert found.settings["threshold"] == 0.3
    assert not (run / "risk" / "evaluation.json").exists()


def test_an_agent_that_sees_images_drives_in_the_rounds(sees_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "risk"
    assert vlsafe("train-risk", *HERE, *FEW, "--policy", str(sees_images), "--out", str(out)) == 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["policy"]["folder"] == str(sees_images)
    assert set(RiskModel.load(out).observation_space.spaces) == {"ego", "vehicles"}


# --- from Python ----------------------------------------------------------------------------------


def test_a_shield_from_a_folder_around_an_environment_of_vectors(trained: Path) -> None:
    env = gym.make(ENV, observation="vector", scorer=None, duration=6, vehicles=10)
    shield = SafetyShield(env, trained / "risk", threshold=0.0, sense=vlsafe_envs.vehicles_seen)
    observation, _ = shield.reset(seed=0)
    assert isinstance(env.observation_space, spaces.Box)
    assert observation.shape == env.observation_space.shape
    *_, info = shield.step(1)
    assert 0 <= info["shield_risk"] <= 1


# --- what it foresees -----------------------------------------------------------------------------


def _names(path: Path) -> list[str]:
    return [signal.name for signal in read_foresight(path).traffics[1].measured.signals]


def test_a_risk_model_is_asked_in_its_own_drives_and_in_an_agents(
    run: Path, sees_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--episodes", "2", "--dreams", "1")
    assert vlsafe("foresight", str(run / "risk"), *few) == 0
    assert _names(run / "risk" / "foresight.json") == ["risk", "1 / TTC"]
    line = f"vlsafe foresight {run / 'risk'} --episodes 2"
    assert line in commands(read_run_folder(run))
    agent, out = str(sees_images), tmp_path / "x.json"
    asked = ("foresight", agent, "--risk", str(run / "risk"), *few, "--out", str(out))
    assert vlsafe(*asked) == 0
    assert _names(out) == ["risk", "1 / TTC"]
    assert read_foresight(out).options["risk"] == str(run / "risk")
    assert vlsafe("foresight", str(run / "risk"), "--risk", str(run / "risk"), *few) == 2
    assert "which is asked itself" in capsys.readouterr().err


def test_recorded_drives_are_judged_by_a_risk_model(trained: Path, tmp_path: Path) -> None:
    data, agent, out = str(tmp_path / "data"), str(tmp_path / "bc"), tmp_path / "x.json"
    seen = ("--episodes", "3", "--workers", "1", "--observation", "all", "--mix", "random=1")
    assert vlsafe("collect", *HERE, *seen, "--out", data) == 0
    learn = ("train", "--algo", "bc", "--steps", "3", "--data", data, "--observation", "vector")
    assert vlsafe(*learn, "--out", agent) == 0
    asked = ("foresight", agent, "--risk", str(trained / "risk"), "--data", data)
    few = ("--episodes", "2", "--density", "1.0")
    assert vlsafe(*asked, *few, "--out", str(out)) == 0
    dataset = EpisodeDataset.from_minari(data, cost="env")
    model, first = RiskModel.load(trained / "risk"), dataset.episode(0)
    assert first.num_steps <= 6
    said = model.estimate(
        {name: first.obs[name][:-1] for name in model.observation_space.spaces},
        first.action[:, None],
    )
    (found, _) = replay(
        load_agent(Path(agent))[0],
        dataset.select(dataset.observation_space["vector"]),  # type: ignore[index]
        [RiskSignal(model)],
        1,
        most=2,
        sensed=dataset.select(model.observation_space),
    )
    np.testing.assert_allclose(found.signals["risk"], said.risk[:, 0].min(-1), rtol=1e-5)


# --- from pictures --------------------------------------------------------------------------------

SEES = ("--observation", "image", "--pictures", "40", "--detector-updates", "5")
DENSER = ("--picture-density", "1.3:2")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a risk model in ``risk`` that sees pictures."""
    folder = tmp_path_factory.mktemp("seeing")
    out = ("--out", str(folder / "risk"))
    assert vlsafe("train-risk", *HERE, *FEW, *SEES, *DENSER, *out) == 0
    return folder


def test_a_risk_model_of_pictures_is_told_nothing_else(seeing: Path) -> None:
    model = RiskModel.load(seeing / "risk")
    assert set(model.observation_space.spaces) == {"image"}
    outcomes = Outcomes.load(seeing / "risk" / "outcomes" / "0_0000_6.npz")
    assert set(outcomes.obs) == {"ego", "image", "vehicles"}
    only = {"image": outcomes.obs["image"]}
    lying = {**only, "ego": np.ones((6, 16)), "vehicles": np.ones((6, 16, 14))}
    actions = np.zeros((6, 1), np.int64)
    np.testing.assert_array_equal(
        model.estimate(only, actions).risk, model.estimate(lying, actions).risk
    )
    facts = json.loads((seeing / "risk" / "training.json").read_text())
    pictures = facts["simulated"]["pictures"]
    assert pictures["states"] == 40
    assert set(facts["detector"]) == {"mixed drives", "behind the shield"}
    learnt = [part for name, part in facts["simulated"].items() if name != "pictures"]
    driven = sum(part["drive_steps"] + part["branch_steps"] for part in learnt)
    assert facts["env_steps"] == driven + pictures["drive_steps"]
    assert facts["gradient_steps"] == 2 * 5 + 5
    (line,) = (x for x in commands(read_run_folder(seeing)).splitlines() if "train-risk" in x)
    assert "--observation image" in line
    assert "--pictures 40 --picture-density 1.3:2 --detector-updates 5" in line


def test_a_training_from_pictures_goes_on_after_a_kill(
    seeing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "risk"
    command = ("train-risk", *HERE, *FEW, *SEES, *DENSER, "--out", str(out))
    with monkeypatch.context() as ended:
        ended.setattr(Outcomes, "save", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            cli.main(command)
    stamp = (out / "detector.zip").stat().st_mtime_ns
    assert vlsafe(*command) == 0
    assert (out / "detector.zip").stat().st_mtime_ns == stamp
    found, whole = (read_agent(folder / "risk.zip") for folder in (out, seeing / "risk"))
    assert found[0] == whole[0]
    for part in ("policy", "detector"):
        for name, value in found[1][part].items():
            np.testing.assert_array_equal(value, whole[1][part][name])


def test_it_drives_and_shields_by_pictures_alone(
    seeing: Path, sees_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlsafe_envs.env.vehicle_set", lambda *_: pytest.fail("it was told"))
    risk = str(seeing / "risk")
    assert vlsafe("evaluate", risk, *SHORT, "--no-record") == 0
    assert read_evaluation(seeing / "risk" / "evaluation.json").settings is not None
    for envs in ("1", "3"):
        out = ("--out", str(seeing / f"bc{envs}"), "--no-record", "--envs", envs)
        assert vlsafe("evaluate", str(sees_images), "--shield", risk, *SHORT, *out) == 0
    alone, together = (
        read_evaluation(seeing / f"bc{envs}" / "evaluation_shield-risk-0.05.json").records
        for envs in (1, 3)
    )
    assert alone == together


def test_an_image_without_a_name_is_what_it_looks_at(seeing: Path) -> None:
    env = gym.make(ENV, observation="image", scorer=None, duration=6, vehicles=10)
    shield = SafetyShield(env, seeing / "risk")
    observation, _ = shield.reset(seed=0)
    *_, info = shield.step(1)
    assert 0 <= info["shield_risk"] <= 1
    planner = ShieldedPolicy(None, shield.model)
    assert planner.predict(observation)[0] == planner.predict({"image": observation})[0]


def test_another_observation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path / "risk"))
    assert vlsafe("train-risk", *HERE, *FEW, "--observation", "vector", *out) == 2
    assert "sees vehicles, ways or image" in capsys.readouterr().err
