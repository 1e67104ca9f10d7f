"""Risk models that see which ways vehicles may take, and that learn beside another road."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from ledge import BRANCHER, BRANCHING, GO, SMALL, STAY, Ledge, drive, ledge_outcomes

import vlsafe_envs
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.policies import ShownVehicles
from vlsafe_agents.common.vehicle_rows import row_parts
from vlsafe_agents.report.commands import commands
from vlsafe_agents.report.run_folder import read_run_folder
from vlsafe_agents.risk import Outcomes, RiskModel, SafetyShield
from vlsafe_agents.risk.examination import predicted
from vlsafe_agents.risk.run_folder import read_risk
from vlsafe_agents.risk.training import TrainingConfig, train
from vlsafe_envs.snapshots import branches

ROWS, WAYS = 4, 3
SPACE = spaces.Dict(
    {
        "ego": spaces.Box(-1.0, 1.0, (2,), np.float32),
        "vehicles": spaces.Box(
            np.tile(np.array([0, -9, -9], np.float32), (ROWS, 1)),
            np.tile(np.array([1, 9, 9], np.float32), (ROWS, 1)),
        ),
        "ways": spaces.Box(-10.0, 60.0, (ROWS, WAYS), np.float32),
    }
)


def seen(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Vehicles anywhere; what their ways say has nothing to do with where they are."""
    rng = np.random.default_rng(seed)
    vehicles = rng.uniform(-9.0, 9.0, (count, ROWS, 3)).astype(np.float32)
    vehicles[..., 0] = rng.random((count, ROWS)) < 0.5
    there = vehicles[..., :1] > 0.5
    ways = rng.uniform(-5.0, 20.0, (count, ROWS, WAYS)).astype(np.float32)
    ego = rng.uniform(-1.0, 1.0, (count, 2)).astype(np.float32)
    return {"ego": ego, "vehicles": vehicles * there, "ways": ways * there}


def outcomes_of(obs: dict[str, np.ndarray]) -> Outcomes:
    """Going ends badly where some vehicle's first way comes nearer than 0 m; staying never does."""
    near = ((obs["ways"][..., 0] < 0) & (obs["vehicles"][..., 0] > 0.5)).any(1)
    count = len(near)
    state, action = np.repeat(np.arange(count), 2), np.tile([STAY, GO], count)
    event = near[state] & (action == GO)
    return Outcomes(
        obs=obs,
        state=state,
        action=action,
        tail=np.zeros(2 * count, np.int64),
        own=action == GO,
        event_time=np.where(event, 1.0, np.inf).astype(np.float32),
        seconds=np.full(2 * count, 4.0, np.float32),
        reward=(action == GO).astype(np.float32),
        tails=("go",),
        drive=np.arange(count),
        simulated=8 * count,
        drives=count,
    )


def test_ways_stand_beside_the_rows_that_they_are_of(tmp_path: Path) -> None:
    model = RiskModel(SPACE, spaces.Discrete(2), ("go",), replace(SMALL, updates=300))
    model.fit(outcomes_of(seen(400))).save(tmp_path / "risk.zip")
    model, new = RiskModel.load(tmp_path / "risk.zip"), outcomes_of(seen(200, 1))
    risk = predicted(model, new)
    bad = np.isfinite(new.event_time)
    assert risk[bad].mean() > 0.8
    assert risk[~bad].mean() < 0.1
    order = [2, 0, 3, 1]  # rows in another order say the same, if their ways come with them
    moved = {**new.obs, **{name: new.obs[name][:, order] for name in ("vehicles", "ways")}}
    actions = np.tile([STAY, GO], (200, 1))
    expected = model.estimate(new.obs, actions).risk
    np.testing.assert_allclose(model.estimate(moved, actions).risk, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"sees \['ways'\].*observation=\"ways\""):
        model.estimate({name: new.obs[name] for name in ("ego", "vehicles")}, actions)


def test_ways_of_other_rows_are_no_part_of_a_set() -> None:
    assert row_parts(SPACE.spaces) == ["vehicles", "ways"]
    other = {**SPACE.spaces, "ways": spaces.Box(-1.0, 1.0, (ROWS + 1, WAYS), np.float32)}
    assert row_parts(other) == ["vehicles"]
    assert row_parts({"ways": SPACE["ways"]}) == []
    with pytest.raises(ValueError, match="a risk model sees"):
        RiskModel(spaces.Dict(other), spaces.Discrete(2), ("go",))


def test_half_of_what_is_learnt_is_of_the_other_road() -> None:
    """Here 10 states without a crash, there 400 with: alone, nothing is learnt of crashes."""
    few, many = outcomes_of(seen(10, 2)), outcomes_of(seen(400))
    calm = few.select(~np.isfinite(few.event_time))
    new = outcomes_of(seen(200, 3))
    bad = np.isfinite(new.event_time)
    settings = (SPACE, spaces.Discrete(2), ("go",), replace(SMALL, updates=200))
    alone, both = RiskModel(*settings).fit(calm), RiskModel(*settings).fit(calm, beside=many)
    assert predicted(alone, new)[bad].mean() < 0.1
    assert predicted(both, new)[bad].mean() > 0.6
    assert both.facts == calm.counts  # what the other road cost is told apart
    unknown = replace(many, seconds=np.ones(len(many), np.float32)).select(
        ~np.isfinite(many.event_time)
    )
    with pytest.raises(ValueError, match=r"no outcome says what comes within 4.0 s"):
        RiskModel(*settings).fit(calm, beside=unknown)


def test_outcomes_of_other_tails_are_refused_before_anybody_drives(tmp_path: Path) -> None:
    config = TrainingConfig(states=10, rounds=0, model=SMALL)
    beside = ledge_outcomes(horizon=1.0, tails=("stay",))
    with pytest.raises(ValueError, match=r"cannot be learnt from beside those of \('go', 'stay'\)"):
        train(Ledge(), tmp_path, drive, BRANCHER, BRANCHING, config, beside=beside)
    assert not list(tmp_path.iterdir())


# --- the command ----------------------------------------------------------------------------------

FEW = (
    *("--states", "8", "--rounds", "0", "--held-out", "4"),
    *("--updates", "5", "--horizon", "2", "--env-arg", "duration=8", "--random-actions", "0"),
)
SEES = ("--observation", "ways")


def vlsafe(*arguments: str) -> int:
    """Exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


def test_a_road_is_learnt_beside_another_and_its_shield_sees_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four, left = tmp_path / "four", tmp_path / "run" / "left"
    assert vlsafe("train-risk", "--env", "VLSafe-FourLane-v0", *FEW, *SEES, "--out", str(four)) == 0
    turn = ("train-risk", "--env", "VLSafe-LeftTurn-v0", *FEW, "--beside", str(four))
    assert vlsafe(*turn, "--out", str(tmp_path / "other")) == 2
    assert "cannot be learnt from beside" in capsys.readouterr().err
    assert vlsafe(*turn, *SEES, "--out", str(left)) == 0
    capsys.readouterr()
    run, other = read_risk(left), json.loads((four / "training.json").read_text())
    assert run.observation == "ways"
    assert run.settings["beside"]["folders"] == [str(four)]
    simulated: Any = run.facts["simulated"]
    assert simulated["learnt beside"] == other["simulated"]["learnt from"]
    steps = sum(part["drive_steps"] + part["branch_steps"] for part in simulated.values())
    assert run.facts["env_steps"] == steps
    assert vlsafe("evaluate", str(left), "--episodes", "1", "--scorer", "none", "--no-record") == 0
    drives = ("evaluate", "expert", "--env", "VLSafe-LeftTurn-v0", "--shield", str(left))
    short = ("--episodes", "1", "--scorer", "none", "--no-record", "--out", str(tmp_path / "e"))
    assert vlsafe(*drives, *short) == 0
    shown = commands(read_run_folder(left.parent))
    assert f"--beside {four}" in shown
    assert "--observation ways" in shown
    env = gym.make("VLSafe-LeftTurn-v0", scorer=None, observation="image")
    told = []
    for sense in (vlsafe_envs.ways_seen, None):  # None: the shield asks the environment itself
        shield = SafetyShield(env, run.model, sense=sense)
        shield.reset(seed=0)
        told.append(shield.step(0)[4]["shield_risk"])
    assert 0.0 <= told[0] <= 1.0
    assert told[1] == told[0]


def test_ways_are_not_looked_at_on_branches_and_are_there_again_afterwards() -> None:
    made = gym.make("VLSafe-LeftTurn-v0", scorer=None, observation="vehicles", traffic="hard")
    env = ShownVehicles(made, ways=True)
    env.reset(seed=4)
    before = env.step(0)[0]

    def ahead(there: Any, action: int) -> tuple[list[str], float]:
        seen, reward, *_ = there.step(action)
        return sorted(seen), float(reward)

    actions = (0, 7, 14)
    looked, unseen = list(branches(env, actions, ahead)), list(env.branches(env, actions, ahead))
    assert [names for names, _ in looked] == [["ego", "vehicles", "ways"]] * 3
    assert [names for names, _ in unseen] == [["ego", "vehicles"]] * 3
    assert [reward for _, reward in unseen] == [reward for _, reward in looked]
    np.testing.assert_array_equal(env.last_observation["ways"], before["ways"])
    assert "ways" in env.step(0)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--env", "VLSafe-Highway-v0", *SEES), "does not know which ways vehicles may take"),
        (("--env", "VLSafe-LeftTurn-v0", "--beside", "nowhere"), "--beside nowhere: no outcomes"),
    ],
)
def test_mistakes_are_named(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vlsafe("train-risk", *options, "--out", str(tmp_path / "risk")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "risk").exists()
