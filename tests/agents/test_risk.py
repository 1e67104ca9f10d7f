"""Risk models: outcomes of branches, the chances that are learnt from them, and the shield."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ledge import BRANCHER, BRANCHING, GO, SMALL, STAY, Ledge, drive, ledge_outcomes

from vlsafe_agents.risk import (
    Outcomes,
    RiskConfig,
    RiskModel,
    SafetyShield,
    ShieldedPolicy,
    best_actions,
    branch_outcomes,
    decide,
)
from vlsafe_agents.risk.examination import predicted
from vlsafe_agents.risk.model import Estimate
from vlsafe_agents.risk.network import RiskNet, event_loss
from vlsafe_agents.risk.training import CHUNK, TrainingConfig, train


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return ledge_outcomes()


@pytest.fixture(scope="module")
def model(outcomes: Outcomes) -> RiskModel:
    return RiskModel(Ledge.observation_space, Ledge.action_space, ("go", "stay"), SMALL).fit(
        outcomes
    )


def at(place: float) -> dict[str, np.ndarray]:
    return {"place": np.array([[place]], np.float32)}


# --- outcomes -------------------------------------------------------------------------------------


def test_outcomes_are_what_the_simulator_does(outcomes: Outcomes) -> None:
    place = outcomes.obs["place"][outcomes.state, 0]
    goes = np.where(outcomes.tail == 0, 3, 0) + (outcomes.action == GO)  # steps within 4 s
    steps_to_fall = 5 - place - (outcomes.action == STAY) * -1  # a first step that stays costs one
    falls = place + goes >= 5
    np.testing.assert_array_equal(np.isfinite(outcomes.event_time), falls)
    np.testing.assert_allclose(outcomes.event_time[falls], steps_to_fall[falls])
    assert outcomes.known(4.0).sum() < len(outcomes)  # the time limit cuts some
    assert outcomes.known(4.0)[falls].all()
    assert outcomes.events == falls.sum()
    assert outcomes.drives > 0
    assert outcomes.drive_steps > outcomes.num_states // 2


def test_a_branch_leaves_the_drive_as_it_was(outcomes: Outcomes) -> None:
    """The drives' own steps: the same states come without branches."""
    again = ledge_outcomes(horizon=1.0, tails=("stay",))
    np.testing.assert_array_equal(again.obs["place"], outcomes.obs["place"])
    assert again.simulated < outcomes.simulated / 2


def test_each_plan_is_tried_once_in_a_state(outcomes: Outcomes) -> None:
    rows = np.stack((outcomes.state, outcomes.action, outcomes.tail), 1)
    assert len(np.unique(rows, axis=0)) == len(rows) == 4 * outcomes.num_states
    own = outcomes.own
    np.testing.assert_array_equal(outcomes.action[own] == GO, outcomes.tail[own] == 0)


def test_outcomes_survive_a_file_and_are_joined(outcomes: Outcomes, tmp_path: Path) -> None:
    outcomes.save(tmp_path / "o.npz")
    read = Outcomes.load(tmp_path / "o.npz")
    joined = Outcomes.joined([outcomes, read])
    assert joined.num_states == 2 * outcomes.num_states
    assert joined.simulated == 2 * outcomes.simulated
    second = joined.select(np.arange(len(outcomes), len(joined)))
    np.testing.assert_array_equal(
        joined.obs["place"][second.state], outcomes.obs["place"][outcomes.state]
    )
    np.testing.assert_array_equal(second.event_time, outcomes.event_time)


def test_a_file_that_holds_no_outcomes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"has no state, action.*collect them again"):
        Outcomes.load(tmp_path / "o.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward": np.zeros(3)}, "reward has 3 rows"),
        ({"event_time": "nan"}, "event_time holds what is no time"),
        ({"state": "beyond"}, "state"),
    ],
)
def test_impossible_outcomes_are_refused(
    outcomes: Outcomes, changes: dict[str, Any], words: str
) -> None:
    if changes.get("event_time") == "nan":
        changes = {"event_time": np.full(len(outcomes), np.nan, np.float32)}
    if isinstance(changes.get("state"), str):
        changes = {"state": outcomes.state + outcomes.num_states}
    with pytest.raises(ValueError, match=words):
        Outcomes(**{**vars(outcomes), **changes})


# --- the model ------------------------------------------------------------------------------------


def test_chances_are_joined_as_independent_ones() -> None:
    """log(1 - P) of three vehicles against the product, and an empty row adds nothing."""
    torch.manual_seed(0)
    net = RiskNet(2, 4, 3, 3, units=16, layers=1)
    for layer in (net.vehicle, net.rest):
        torch.nn.init.normal_(layer[-1].weight)  # type: ignore[index,union-attr,arg-type]
    features, choice = torch.randn(5, 2), torch.randn(5, 3)
    rows = torch.randn(5, 3, 4)
    rows[..., 0] = torch.tensor([1.0, 1.0, 0.0])
    with torch.no_grad():
        joint = net.log_safe(features, rows, choice)
        alone = [net.log_safe(features, rows[:, [k]], choice) for k in range(3)]
        nobody = net.log_safe(features, torch.zeros(5, 3, 4), choice)
    safe = [torch.exp(one) for one in (joint, nobody, *alone)]
    torch.testing.assert_close(safe[0], safe[2] * safe[3] / safe[1])
    torch.testing.assert_close(safe[4], safe[1])
    assert (safe[0] < safe[1]).all()


def test_the_loss_is_cross_entropy_and_finite_at_the_ends() -> None:
    log_safe = torch.tensor([-1e-9, -0.5, -40.0], requires_grad=True)
    loss = event_loss(log_safe, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(loss[1:].detach(), torch.tensor([0.5, 40.0]))
    assert loss[0].item() == pytest.approx(-np.log(1e-6), rel=1e-3)
    loss.sum().backward()
    assert torch.isfinite(log_safe.grad).all()  # type: ignore[union-attr]


def test_the_loss_of_a_chance_is_least_at_that_chance() -> None:
    risk = torch.linspace(0.01, 0.99, 99)
    loss = event_loss(torch.log1p(-risk), torch.full((99,), 0.3))
    assert risk[loss.argmin()].item() == pytest.approx(0.3)
    expected = -(0.3 * risk.log() + 0.7 * (1 - risk).log())
    torch.testing.assert_close(loss, expected)


def test_known_chances_are_learnt(model: RiskModel) -> None:
    """Falls are certain or impossible; the beginnings and rewards are those of the tails."""
    places = {"place": np.arange(5, dtype=np.float32)[:, None]}
    estimate = model.estimate(places, np.tile([[STAY, GO]], (5, 1)))  # (5, 2, 2)
    place, action, tail = np.indices((5, 2, 2))
    falls = place + action + np.where(tail == 0, 3, 0) >= 5
    assert estimate.risk[falls].min() > 0.9
    assert estimate.risk[~falls].max() < 0.1
    assert model.beginnings(places).tolist() == [[GO, STAY]] * 5
    assert estimate.reward[0, GO, 0] == pytest.approx(4.0, abs=0.7)
    assert estimate.reward[0, STAY, 1] == pytest.approx(0.0, abs=0.7)


def test_hidden_chances_become_probabilities() -> None:
    """Gusts show in nothing: one step on from place 0 ends badly with chance 0.2."""
    outcomes = ledge_outcomes(600, gust=0.2)
    model = RiskModel(Ledge.observation_space, Ledge.action_space, ("go", "stay"), SMALL)
    risk = model.fit(outcomes).estimate(at(0), np.array([[GO]])).risk[0, 0]
    assert risk[1] == pytest.approx(0.2, abs=0.08)
    assert risk[0] == pytest.approx(1 - 0.8**4, abs=0.12)


def test_a_model_is_the_same_by_seed_and_after_a_file(
    model: RiskModel, outcomes: Outcomes, tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    again = RiskModel(Ledge.observation_space, Ledge.action_space, ("go", "stay"), SMALL)
    again.fit(outcomes).save(tmp_path / "risk.zip")
    assert torch.equal(state, torch.get_rng_state())
    read = RiskModel.load(tmp_path / "risk.zip")
    for one in (again, read):
        np.testing.assert_array_equal(
            one.estimate(at(1), np.array([[GO]])).risk, model.estimate(at(1), np.array([[GO]])).risk
        )
    assert read.facts == model.facts
    assert read.facts["branch_steps"] == outcomes.simulated


def test_what_a_model_cannot_learn_from_is_refused(outcomes: Outcomes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Dict of vectors"):
        RiskModel(spaces.Box(0, 255, (8, 8, 3), np.uint8), Ledge.action_space, ("go",))
    model = RiskModel(Ledge.observation_space, Ledge.action_space, ("stay",), SMALL)
    with pytest.raises(ValueError, match="tails"):
        model.fit(outcomes)
    far = RiskConfig(horizon=100.0)
    calm = outcomes.select(~np.isfinite(outcomes.event_time))
    with pytest.raises(ValueError, match="lower the horizon"):
        RiskModel(Ledge.observation_space, Ledge.action_space, ("go", "stay"), far).fit(calm)
    with pytest.raises(ValueError, match="sees \\['place'\\]"):
        model.estimate({"vector": np.zeros((1, 3))}, np.array([[GO]]))
    with pytest.raises(ValueError, match="finite"):
        model.estimate(at(np.nan), np.array([[GO]]))


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiBinary(2)])
def test_other_actions(space: spaces.Space[Any]) -> None:
    """Where tails begin with known actions, they are learnt."""
    rng, count = np.random.default_rng(0), 300
    whole = isinstance(space, spaces.MultiBinary)
    actions = rng.integers(0, 2, (count, 2)) if whole else rng.uniform(-1, 1, (count, 2))
    own = rng.random(count) < 0.5
    actions[own] = [1, 0]
    event = actions[:, 1] > 0.5
    outcomes = Outcomes(
        obs={"place": rng.uniform(0, 10, (count, 1)).astype(np.float32)},
        state=np.arange(count),
        action=actions.astype(np.int64 if whole else np.float32),
        tail=np.zeros(count, np.int64),
        own=own,
        event_time=np.where(event, 1.0, np.inf).astype(np.float32),
        seconds=np.full(count, np.inf, np.float32),
        reward=np.zeros(count, np.float32),
        tails=("stay",),
        drive=np.arange(count),
        simulated=count,
    )
    model = RiskModel(Ledge.observation_space, space, ("stay",), SMALL).fit(outcomes)
    begun = model.beginnings(at(3))
    assert begun.shape == (1, 1, 2)
    np.testing.assert_allclose(begun[0, 0], [1, 0], atol=0.15)
    risk = model.estimate(at(3), np.array([[[1, 1], [1, 0]]], begun.dtype)).risk[0, :, 0]
    assert risk[0] > 0.8 > 0.2 > risk[1]


# --- the shield -----------------------------------------------------------------------------------


def test_an_action_passes_while_one_could_still_stop(model: RiskModel) -> None:
    """From place 3 one may go once more, then stay; from 4 one may not."""
    decision = decide(model, {"place": np.array([[3.0], [4.0]])}, np.array([GO, GO]), 0.5)
    assert decision.action.tolist() == [GO, STAY]
    assert decision.replaced.tolist() == [False, True]
    assert decision.risk[1] > 0.9 > 0.1 > decision.taken_risk[1]
    assert decision.reward_change[1] < 0 == decision.reward_change[0]


def test_nobody_waits_for_later_where_going_may_be_taken_back() -> None:
    """Of two tails the first leads ahead; waiting and going on then would earn as much."""

    class Told:
        action_space, tails = Ledge.action_space, ("go", "stay")

        def look(self, obs: Any) -> Any:
            return obs

        def beginnings(self, obs: Any) -> Any:
            return np.array([[GO, STAY]])

        def estimate(self, obs: Any, actions: Any) -> Estimate:
            risk = {GO: [0.5, 0.01], STAY: [0.02, 0.0]}
            reward = {GO: [3.0, 1.0], STAY: [4.0, 0.0]}
            tables = ([[table[int(a)] for a in row] for row in actions] for table in (risk, reward))
            return Estimate(*(np.array(table, np.float32) for table in tables))

    told: Any = Told()
    assert best_actions(told, at(0), 0.05).tolist() == [GO]
    assert best_actions(told, at(0), 0.005).tolist() == [STAY]


def test_a_shielded_environment_comes_to_no_harm_and_logs_what_it_changed(
    model: RiskModel, tmp_path: Path
) -> None:
    env = SafetyShield(Ledge(), model, 0.5, log=tmp_path / "log.jsonl")
    env.reset(seed=0)
    for _ in range(12):
        _, _, terminated, truncated, info = env.step(GO)
        assert not terminated
    assert truncated
    assert info["shield_replaced"]
    assert info["shield_risk"] > 0.5
    assert info["cost"] == 0
    assert env.unwrapped.place == 4  # type: ignore[attr-defined]
    assert (env.steps, env.replaced) == (12, 8)
    env.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert lines[0]["step"] == 4
    assert lines[0]["proposed"] == GO
    assert lines[0]["taken"] == STAY
    assert lines[0]["reward_change"] < 0


def test_what_the_model_sees_may_come_from_elsewhere(model: RiskModel) -> None:
    class Hidden(gym.ObservationWrapper[Any, Any, Any]):
        observation_space = spaces.Box(0, 1, (3,), np.float32)

        def observation(self, observation: Any) -> Any:
            return np.zeros(3, np.float32)

    blind = SafetyShield(Hidden(Ledge()), model)
    blind.reset(seed=0)
    with pytest.raises(ValueError, match="give the shield a `sense`"):
        blind.step(GO)
    seeing = SafetyShield(Hidden(Ledge()), model, 0.5, sense=lambda env: env.unwrapped.see())  # type: ignore[attr-defined]
    seeing.reset(seed=0)
    assert not any(seeing.step(GO)[2] for _ in range(12))


def test_a_shielded_policy_acts_alone_and_in_batches(model: RiskModel) -> None:
    class Goes:
        observation_space, action_space = Ledge.observation_space, Ledge.action_space

        def predict(self, observation: Any, *_: Any) -> Any:
            single = np.ndim(observation["place"]) == 1
            return (np.int64(GO) if single else np.full(len(observation["place"]), GO)), None

    for policy in (Goes(), None):  # None: what earns most without danger, which is to go
        shielded = ShieldedPolicy(policy, model, 0.5)
        assert shielded.predict({"place": np.array([0.0], np.float32)})[0] == GO
        batch = {"place": np.array([[0.0], [4.0]], np.float32)}
        assert shielded.predict(batch)[0].tolist() == [GO, STAY]
    with pytest.raises(ValueError, match="SafetyShield"):
        shielded.predict(np.zeros(3))


def test_a_model_may_begin_with_anothers_weights(model: RiskModel, outcomes: Outcomes) -> None:
    names, few = ("go", "stay"), replace(SMALL, updates=20)
    fresh = RiskModel(Ledge.observation_space, Ledge.action_space, names, few, seed=5)
    begun = RiskModel(Ledge.observation_space, Ledge.action_space, names, few, seed=5)
    begun.begin_with(model)
    actions = np.array([[GO, STAY]])
    expected = model.estimate(at(3), actions).risk
    np.testing.assert_array_equal(begun.estimate(at(3), actions).risk, expected)
    horizon = SMALL.horizon
    known = outcomes.select(outcomes.known(horizon))
    truth = known.event_time <= horizon
    errors = [np.abs(predicted(m.fit(outcomes), known) - truth).mean() for m in (fresh, begun)]
    assert errors[1] < errors[0] / 2  # 20 updates say little without a beginning
    other = RiskModel(Ledge.observation_space, Ledge.action_space, ("go",), SMALL)
    with pytest.raises(ValueError, match="cannot be the beginning"):
        other.begin_with(model)


def test_a_model_may_be_told_how_its_tails_begin(model: RiskModel, tmp_path: Path) -> None:
    told = RiskModel(model.observation_space, model.action_space, model.tails, SMALL, told=True)
    told.begin_with(model).save(tmp_path / "told.zip")
    told = RiskModel.load(tmp_path / "told.zip")
    begun = np.array([[STAY, GO], [GO, STAY]])  # the first is told the other way round
    shown = {"place": np.array([[4.0], [4.0]], np.float32), "beginnings": begun}
    np.testing.assert_array_equal(told.beginnings(shown), begun)
    with pytest.raises(ValueError, match="told how go, stay begin"):
        told.beginnings(at(4))
    with pytest.raises(ValueError, match="vehicles_and_beginnings"):
        ShieldedPolicy(None, told).predict(at(4))
    shield = ShieldedPolicy(None, told, 0.5)
    assert shield.predict({"place": np.array([0.0], np.float32), "beginnings": begun[0]})[0] == STAY
    assert shield.predict({**at(0), "beginnings": begun[1:]})[0].tolist() == [GO]
    assert model.beginnings(shown)[0].tolist() == [GO, STAY]  # it does not listen


def test_a_shield_of_other_actions_is_refused(model: RiskModel) -> None:
    with pytest.raises(ValueError, match="vlsafe train-risk"):
        SafetyShield(
            gym.make("CartPole-v1"), RiskModel(Ledge.observation_space, spaces.Discrete(9), ("go",))
        )
    with pytest.raises(ValueError, match="threshold"):
        SafetyShield(Ledge(), model, 1.5)


# --- from nothing ---------------------------------------------------------------------------------


def test_training_goes_on_from_what_is_there(tmp_path: Path) -> None:
    config = TrainingConfig(states=CHUNK + 50, rounds=1, round_states=60, model=SMALL)
    heard: list[str] = []

    def hear(part: str, done: int, total: int) -> None:
        heard.append(part)
        assert 0 <= done <= total

    first = train(Ledge(), tmp_path, drive, BRANCHER, BRANCHING, config, progress=hear)
    files = sorted(path.name for path in (tmp_path / "outcomes").iterdir())
    assert files == ["0_0000_500.npz", "0_0001_50.npz", "1_0000_60.npz"]
    assert first.facts["states"] == CHUNK + 110
    times = {name: (tmp_path / "outcomes" / name).stat().st_mtime_ns for name in files}
    (tmp_path / "outcomes" / files[1]).unlink()
    (tmp_path / "risk.zip").unlink()
    again = train(Ledge(), tmp_path, drive, BRANCHER, BRANCHING, config)
    for key, value in first.net.state_dict().items():
        torch.testing.assert_close(again.net.state_dict()[key], value, rtol=0, atol=0)
    kept = {name: (tmp_path / "outcomes" / name).stat().st_mtime_ns for name in files}
    assert {name for name in files if kept[name] == times[name]} == {files[0], files[2]}
    assert {"round 0 of 1: driving", "round 1 of 1: learning"} <= set(heard)
    assert RiskModel.load(tmp_path / "risk.zip").facts == first.facts


def test_a_slow_simulator_loses_less_to_a_kill_and_half_may_drive_behind_another_shield(
    model: RiskModel, tmp_path: Path
) -> None:
    config = TrainingConfig(states=50, rounds=0, model=replace(SMALL, updates=1, threshold=0.05))
    asked: list[Any] = []

    def mixed(env: Any, rng: np.random.Generator) -> Any:
        asked.append(env)
        return drive(env, rng)

    train(Ledge(), tmp_path, mixed, BRANCHER, BRANCHING, config, chunk=20, start=model)
    files = sorted(tmp_path.glob("outcomes/*"))
    assert [file.name for file in files] == ["0_0000_20.npz", "0_0001_20.npz", "0_0002_10.npz"]
    driven = Outcomes.joined([Outcomes.load(file) for file in files]).drives
    assert 0.2 < len(asked) / driven < 0.8


def test_branches_leave_where_somebody_says_that_it_is_urgent(tmp_path: Path) -> None:
    def near(env: Any, info: Any) -> float:
        return float(env.place >= 3)

    watched = replace(BRANCHER, urgency=near)
    rare = replace(BRANCHING, every=2.0)
    found = branch_outcomes(Ledge(), range(10_000), drive, rare, watched, 200)
    evenly = branch_outcomes(Ledge(), range(10_000), drive, rare, BRANCHER, 200)
    shares = [(part.obs["place"] >= 3).mean() for part in (found, evenly)]
    assert shares[0] > 0.8 > 0.5 > shares[1]
