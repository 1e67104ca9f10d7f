"""Signals are those of the state and the decision that they are said to be of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import speed_limit
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from tiny_agents import make

from vlsafe_agents import VLSafe
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.data.episode import Branch
from vlsafe_agents.foresight import CHANCES
from vlsafe_agents.foresight.drives import decisions_apart, drive, replay, seconds_of
from vlsafe_agents.foresight.signals import (
    InverseTime,
    Moment,
    RiskSignal,
    WorldModelSignals,
    crash_chance,
    inverse_time,
    signals_of,
)
from vlsafe_agents.risk.model import Estimate
from vlsafe_agents.vlsafe.rssm import RSSMState

SPACE = spaces.Box(0.0, 100.0, (1,), np.float32)


class Countdown(gym.Env[Any, Any]):
    """The seed says how long a drive lasts, and how it ends: 0 crash, 1 arrival, 2 time limit."""

    metadata: ClassVar[dict[str, Any]] = {"render_fps": 4}
    observation_space, action_space = SPACE, spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.seed = 0 if seed is None else seed
        self.left, self.time = 3 + self.seed % 7, 0
        return self._observe(), self._info(0.0)

    def step(self, action: Any) -> Any:
        self.left, self.time = self.left - 1, self.time + 1
        over, how = self.left == 0, self.seed % 3
        cost = 1.0 if self.left == 2 or (over and how == 0) else 0.0  # also in mid-drive
        return self._observe(), 0.0, over and how < 2, over and how == 2, self._info(cost)

    def sensed(self) -> Any:
        """What a risk model sees."""
        return {"x": self._observe()[0]}

    def _observe(self) -> Any:
        return np.array([10 * self.seed + self.time], np.float32)

    def _info(self, cost: float) -> dict[str, Any]:
        return {"cost": cost, "time_to_collision": float(self.left) if self.left < 5 else np.inf}


class Still:
    """A model without a memory."""

    observation_space = SPACE

    def predict(self, observation: Any, **more: Any) -> Any:
        return np.ones(len(observation), np.int64), None


class SeesAll:
    """A risk model that gives back what it sees."""

    judge = ""

    def estimate(self, obs: Any, actions: Any) -> Estimate:
        assert actions.tolist() == [[1]] * len(obs["x"])  # what `Still` does
        risk = obs["x"].astype(np.float32)[:, None, None] / 100  # (N, 1, 1)
        return Estimate(risk, risk)


def sense(envs: Any) -> Any:
    """What the risk model sees in every environment."""
    return envs.call("sensed")


def countdowns(count: int) -> SyncVectorEnv:
    return SyncVectorEnv([Countdown] * count)


@pytest.fixture(scope="module")
def agent() -> VLSafe:
    """An agent whose critic and heads say something."""
    found = make(speed_limit.record(20))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.policy.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    return found


@pytest.fixture
def roads() -> Iterator[Any]:
    env = SyncVectorEnv([speed_limit.SpeedLimit] * 4)
    yield env
    env.close()


@pytest.mark.parametrize(("count", "every"), [(1, 1), (4, 1), (5, 2), (16, 3)])
def test_values_belong_to_their_drive_and_their_decision(count: int, every: int) -> None:
    signals = [RiskSignal(SeesAll()), InverseTime()]  # type: ignore[arg-type]
    seeds = list(range(9))
    done: list[int] = []
    envs = countdowns(count)
    found = drive(Still(), envs, seeds, signals, every, done.append, sense=sense)
    assert done == list(range(1, 10))
    for seed, one in zip(seeds, found, strict=True):
        length = 3 + seed % 7
        steps = list(range(0, length, every))
        assert (one.decisions, one.step.tolist()) == (length, steps)
        assert one.ended == (seed % 3 < 2)
        assert one.crashed == (seed % 3 == 0)
        seen = [10 * seed + step for step in steps]
        np.testing.assert_allclose(one.signals["risk"], np.array(seen) / 100, rtol=1e-6)
        times = [length - step for step in steps]
        wanted = [1 / time if time < 5 else 0.0 for time in times]
        assert one.signals["1 / TTC"].tolist() == wanted


def test_more_environments_than_a_model_is_asked_of_are_refused() -> None:
    with pytest.raises(ValueError, match="17 environments side by side; at most 16"):
        drive(Still(), countdowns(17), [1], [], 1)


def test_seconds_are_those_that_the_environment_says() -> None:
    assert seconds_of(Countdown.metadata, "x") == 0.25
    for wrong in (None, 0, -1, "4", True):
        with pytest.raises(ValueError, match="Tiny-v0 does not say how many decisions"):
            seconds_of({"render_fps": wrong}, "Tiny-v0")
    assert [decisions_apart(seconds) for seconds in (1.0, 0.5, 0.25, 0.1, 0.02)] == [1, 1, 2, 5, 25]


def test_what_is_not_reported_is_not_known() -> None:
    infos = [{"time_to_collision": 2.0}, {}, {"time_to_collision": 0.0}]
    found = InverseTime().values(Moment(None, infos, np.zeros(3)))["1 / TTC"]
    np.testing.assert_array_equal(found, [0.5, np.nan, 100.0])
    np.testing.assert_array_equal(inverse_time(np.array([np.inf, 1e3, 4.0])), [0.0, 0.0, 0.25])


@pytest.mark.parametrize(("judge", "name"), [("", "risk"), ("bundled", "danger")])
def test_a_risk_is_the_least_over_the_ways_to_drive_on(judge: str, name: str) -> None:
    class Model:
        def __init__(self) -> None:
            self.judge = judge

        def estimate(self, obs: Any, actions: Any) -> Estimate:
            assert actions.tolist() == [[2], [0]]
            risk = np.stack([obs["x"], 1 - obs["x"]], -1)[:, None]  # (N, 1, T)
            return Estimate(risk.astype(np.float32), risk)

    signal = RiskSignal(Model())  # type: ignore[arg-type]
    action = np.array([2, 0])
    found = signal.values(Moment(None, [{}, {}], action, {"x": np.array([0.25, 0.75])}))
    assert {key: values.tolist() for key, values in found.items()} == {name: [0.25, 0.25]}
    assert (name in CHANCES) == (judge == "")  # what a judge sees is no chance of a crash
    with pytest.raises(ValueError, match="needs to see something"):
        signal.values(Moment(None, [{}, {}], action))


# --- of a world model -----------------------------------------------------------------------------


def test_the_chance_of_a_crash_is_that_of_simulated_ends() -> None:
    """Where what ends has a cost or not for good, against a hundred thousand lives."""
    rng = np.random.default_rng(0)
    cont = torch.tensor(rng.random((4, 6)), dtype=torch.float64)
    costly = torch.tensor(rng.integers(0, 2, (4, 6)), dtype=torch.float64)
    found = crash_chance(cont, costly)
    ends = rng.random((100_000, 4, 6)) >= cont.numpy()
    first = ends.argmax(-1)  # (lives, 4)
    crashed = (
        ends.any(-1) & (np.take_along_axis(costly.numpy()[None], first[..., None], -1) > 0)[..., 0]
    )
    np.testing.assert_allclose(found, crashed.mean(0), atol=0.006)
    both = torch.full((1, 3), 0.25)
    closed = 0.75 * (1 + 0.25 + 0.0625)
    assert crash_chance(both, torch.full((1, 3), 0.9)).item() == pytest.approx(closed)
    assert crash_chance(both, torch.zeros(1, 3)).item() == 0.0  # all arrive


def test_the_chance_of_a_cost_takes_the_losses_weight_back(agent: VLSafe) -> None:
    """A head fitted to a cost of 10 in a tenth of all rows, weighted as in the loss, says 0.1."""
    world_model = agent.policy.world_model
    weight = world_model.config.cost_positive_weight
    share = weight * 0.1 / (weight * 0.1 + 0.9)
    probs = torch.zeros(len(world_model.bins))
    middle = len(probs) // 2
    probs[middle] = 1 - share
    probs[middle + 3] = share
    feat = torch.zeros(2, world_model.feat_size)

    class Head(torch.nn.Module):
        def forward(self, feat: torch.Tensor) -> torch.Tensor:
            return probs.log().expand(len(feat), -1)

    head, world_model.cost_head = world_model.cost_head, Head()  # type: ignore[assignment]
    try:
        found = world_model.cost_chance(feat)
    finally:
        world_model.cost_head = head
    np.testing.assert_allclose(found, [0.1, 0.1], rtol=1e-5)


def test_signals_are_what_heads_critic_and_dreams_say(agent: VLSafe, roads: Any) -> None:
    """Asked again in the state that ``predict`` returns, for the action that it chose."""
    policy = agent.policy
    observation, _ = roads.reset(seed=[1, 2, 3, 4])
    _, state = policy.predict(observation, deterministic=True)
    horizon, copies = 3, 2
    torch.manual_seed(5)
    moment = Moment(state, [{}] * 4, np.zeros(4))
    said = WorldModelSignals(policy, horizon, copies).values(moment)
    deter, stoch, action = (torch.as_tensor(x) for x in state)
    world_model, actor_critic = policy.world_model, policy.actor_critic
    feat = world_model.feat(RSSMState(deter, stoch))
    heads = world_model.heads(feat)
    np.testing.assert_allclose(said["1 - p"], 1 - heads.safety_score.detach(), rtol=1e-6)
    np.testing.assert_allclose(said["predicted cost"], heads.cost.detach(), rtol=1e-6)
    every = actor_critic.cost_critic.slow_all(feat)
    chosen = every[torch.arange(4), action.argmax(-1)]
    np.testing.assert_allclose(said["Q_c"], chosen.detach(), rtol=1e-5)
    torch.manual_seed(5)
    start = RSSMState(deter.repeat_interleave(copies, 0), stoch.repeat_interleave(copies, 0))
    alive, chance = torch.ones(4 * copies), torch.zeros(4 * copies)
    now, taken = start, action.repeat_interleave(copies, 0)
    for _ in range(horizon):
        now = world_model.rssm.img_step(now, taken)
        feat = world_model.feat(now)
        cont, costly = world_model.heads(feat).cont, world_model.cost_chance(feat)
        chance = chance + alive * torch.minimum(1 - cont, costly)
        alive, taken = alive * cont, actor_critic.actor.mode(feat)
    np.testing.assert_allclose(said["dream"], chance.view(4, copies).mean(1).detach(), rtol=1e-4)
    assert ((said["dream"] >= 0) & (said["dream"] <= 1)).all()


def test_on_policy_values_are_those_of_the_same_drives_replayed(agent: VLSafe, roads: Any) -> None:
    """A drive that the agent made itself is judged alike while driven and from its record."""
    signals = signals_of(agent, copies=1)
    driven = drive(agent, roads, list(range(6)), signals, 2)
    env, episodes = speed_limit.SpeedLimit(), []
    for seed in range(6):
        obs, info = env.reset(seed=seed)
        state: Any = None
        rows: dict[str, list[Any]] = {"obs": [obs], "cost": [0.0], "action": []}
        over = False
        while not over:
            action, state = agent.predict(obs[None], state, deterministic=True)
            obs, _, terminated, truncated, info = env.step(action[0])
            rows["obs"].append(obs)
            rows["cost"].append(info["cost"])
            rows["action"].append(action[0])
            over = terminated or truncated
        episodes.append(
            Episode(
                obs={"vector": np.stack(rows["obs"])},
                action=np.array(rows["action"]),
                reward=np.zeros(len(rows["action"]), np.float32),
                env_cost=np.array(rows["cost"], np.float32),
                terminated=terminated,
            )
        )
    dataset = EpisodeDataset.from_arrays(episodes, env.observation_space, env.action_space)
    replayed = replay(agent, dataset, signals, 2)

    for one, other in zip(replayed, driven, strict=True):
        assert one.step.tolist() == other.step.tolist()
        facts = [(x.decisions, x.ended, x.crashed) for x in (one, other)]
        assert facts[0] == facts[1]
        for name in ("1 - p", "predicted cost", "Q_c"):
            np.testing.assert_allclose(one.signals[name], other.signals[name], rtol=1e-3)


def recorded(branch: Branch | None = None, times: bool = True, cost: bool = True) -> Episode:
    """Four decisions that end in a crash."""
    return Episode(
        obs={"vector": np.tile(np.linspace(-1, 1, 5, dtype=np.float32)[:, None], 4)},
        action=np.array([0, 1, 2, 1]),
        reward=np.zeros(4, np.float32),
        env_cost=np.array([0, 0, 1, 0, 1], np.float32) if cost else None,
        terminated=True,
        infos={"time_to_collision": np.array([4, 3, 2, 1, 0], np.float32)} if times else {},
        branch=branch,
    )


def data(*episodes: Episode) -> EpisodeDataset:
    env = speed_limit.SpeedLimit()
    return EpisodeDataset.from_arrays(episodes, env.observation_space, env.action_space)


def test_a_record_is_asked_of_the_actions_in_it(agent: VLSafe) -> None:
    critic = agent.policy.actor_critic.cost_critic
    said, critic.slow_all = critic.slow_all, lambda feat: torch.arange(3.0).expand(len(feat), 3)  # type: ignore[method-assign]
    try:
        branch = Branch(0, 1, "go", "evenly")
        found = replay(agent, data(recorded(branch), recorded(), recorded()), signals_of(agent), 1)
    finally:
        critic.slow_all = said  # type: ignore[method-assign]
    assert len(found) == 2  # without the branch
    for one in found:
        assert (one.decisions, one.ended, one.crashed) == (4, True, True)
        assert one.signals["Q_c"].tolist() == [0, 1, 2, 1]
        assert one.signals["1 / TTC"].tolist() == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])
    assert len(replay(agent, data(recorded(), recorded()), signals_of(agent), 1, most=1)) == 1


def test_records_without_times_or_costs(agent: VLSafe) -> None:
    (found,) = replay(agent, data(recorded(times=False)), signals_of(agent), 1)
    assert np.isnan(found.signals["1 / TTC"]).all()
    with pytest.raises(ValueError, match="no costs by simulator truth"):
        replay(agent, data(recorded(cost=False)), signals_of(agent), 1)


def test_the_same_seed_gives_the_same_dreams(agent: VLSafe, roads: Any) -> None:
    signals, state = signals_of(agent, copies=2), torch.random.get_rng_state()
    first, second = (drive(agent, roads, [1, 2], signals, 1, seed=3) for _ in range(2))
    assert first[0].signals["dream"].tolist() == second[0].signals["dream"].tolist()
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's is left alone
