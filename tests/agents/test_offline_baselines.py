"""BC-Safe, IQL, CQL and CPQ: where they end on a solved task, and their losses in NumPy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from numpy_weights import close, numbers, randomise
from offline_references import conservative_q, implicit_policy, implicit_q, penalised_policy
from test_bc import dataset as pictures
from test_vehicle_rows import Approach
from test_vehicle_rows import drives as vehicle_drives
from toy_envs import CountingEnv, SpeedLimitEnv
from two_lanes import STEPS, TwoLanes, drive, record, value

from vlsafe_agents import BC, CPQ, CQL, IQL
from vlsafe_agents.common.vehicle_policies import VehiclesExtractor
from vlsafe_agents.cpq.losses import greedy, penalised, unsupported
from vlsafe_agents.cql.cql import conservative_penalty
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.data.mixture import MixedDataset
from vlsafe_agents.iql.losses import advantage_weight, expectile_loss

LEARNERS = (IQL, CQL, CPQ)
SMALL: dict[str, Any] = {"seed": 0, "device": "cpu", "batch_size": 32}
TABULAR: dict[str, Any] = {
    "gamma": 1.0,
    "learning_rate": 3e-3,
    "tau": 0.05,
    "seed": 0,
    "device": "cpu",
    "policy_kwargs": {"net_arch": [64]},
}
STATES = np.zeros((STEPS, 2, 2 * (STEPS + 1)), np.float32)
for _k, _lane in np.ndindex(STEPS, 2):
    STATES[_k, _lane, 2 * _k + _lane] = 1.0
SEEN = STATES.reshape(-1, STATES.shape[-1])


@pytest.fixture(scope="module")
def coin() -> EpisodeDataset:
    return record(600)


# --- where they end -------------------------------------------------------------------------------


def test_bc_safe_imitates_the_episodes_within_the_limit(coin: EpisodeDataset) -> None:
    kept = [e for e in coin.episodes if e.env_cost is not None and e.env_cost[1:].sum() < 2.55]
    assert 100 < len(kept) < 500
    taken = np.zeros((STEPS, 2, 2))  # how often, by cell, lane and action
    for episode in kept:
        for row, action in zip(episode.obs["vector"][:-1], episode.action, strict=True):
            taken[(*divmod(int(row.argmax()), 2), action)] += 1
    agent = BC("MlpPolicy", TwoLanes(), coin, learning_rate=3e-3, ent_coef=0.0, cost_limit=2.5,
               seed=0, device="cpu").learn(300)  # fmt: skip
    assert agent._training_data is not None
    assert agent._training_data.num_steps == taken.sum()
    fast = np.exp(log_chances(agent)[..., 1])
    often = taken.sum(-1) > 30
    share = taken[..., 1] / np.maximum(taken.sum(-1), 1)
    assert np.abs(fast - share)[often].max() < 0.08


def test_iql_ends_at_the_expectiles(coin: EpisodeDataset) -> None:
    agent = IQL("MlpPolicy", TwoLanes(), coin, expectile=0.7, beta=1.0, **TABULAR).learn(500)
    with th.no_grad():
        q = agent.policy.critics["reward"].of_all(th.as_tensor(SEEN)).mean(0)
    error = np.abs(q.numpy().reshape(STEPS, 2, 2) - implicit_q(0.7))[1:].max()
    fast, expected = np.exp(log_chances(agent)[..., 1]), implicit_policy(0.7, beta=1.0)
    print(f"IQL: largest error of Q {error:.2f}, of the policy {np.abs(fast - expected).max():.3f}")
    assert error < 0.35  # of values up to 9
    assert np.abs(fast - expected)[1:].max() < 0.08
    assert drive(agent, 300) == pytest.approx(value(expected), abs=0.35)


def test_cql_ends_where_its_two_losses_balance(coin: EpisodeDataset) -> None:
    agent = CQL("MlpPolicy", TwoLanes(), coin, alpha=1.0, **TABULAR).learn(500)
    with th.no_grad():
        q = agent.policy.q_net(th.as_tensor(SEEN)).numpy().reshape(STEPS, 2, 2)
    error = np.abs(q - conservative_q(1.0))[1:].max()
    print(f"CQL: largest error of Q {error:.2f}")
    assert error < 0.35
    assert drive(agent, 300) == pytest.approx((9.75, 5.44), abs=0.25)  # the best without a limit


@pytest.mark.parametrize("limit", [2.81, pytest.param(3.7, marks=pytest.mark.slow)])
def test_cpq_keeps_the_limit_from_every_state(limit: float, coin: EpisodeDataset) -> None:
    fast, q, cost_q = penalised_policy(limit)
    agent = CPQ("MlpPolicy", TwoLanes(), coin, cost_limit=limit, **TABULAR).learn(600)
    found = agent.predict(SEEN)[0].reshape(STEPS, 2)
    assert np.array_equal(found[1:], fast[1:])
    with th.no_grad():
        learned = [
            agent.policy.critics[name].of_all(th.as_tensor(SEEN)).mean(0).numpy()
            for name in ("reward", "cost")
        ]
    for mine, exact in zip(learned, (q, cost_q), strict=True):
        assert np.abs(mine.reshape(STEPS, 2, 2) - exact)[1:].max() < 0.3
    earned, paid = drive(agent, 300)
    print(f"CPQ, limit {limit}: return {earned:.2f}, cost {paid:.2f}; exact {value(fast)}")
    assert (earned, paid) == pytest.approx(value(fast), abs=0.2)


def log_chances(agent: Any) -> np.ndarray:
    with th.no_grad():
        logits = agent.policy.get_distribution(th.as_tensor(SEEN)).distribution.logits
    return logits.numpy().reshape(STEPS, 2, 2)


def bandit(space: Any, taken: Any, rewards: Any, costs: Any) -> EpisodeDataset:
    """Episodes of one step, with these actions."""
    blank = np.ones((2, 3), np.float32)
    episodes = [
        Episode(
            {"vector": blank},
            np.array([a], np.float32 if isinstance(space, spaces.Box) else np.int64),
            np.array([r]),
            np.array([0.0, c]),
            terminated=True,
        )
        for a, r, c in zip(taken, rewards, costs, strict=True)
    ]
    seen = spaces.Dict({"vector": spaces.Box(-np.inf, np.inf, (3,), np.float32)})
    return EpisodeDataset.from_arrays(episodes, seen, space)


def test_cpq_takes_no_action_that_nobody_took() -> None:
    """Critics know nothing of action 2 but what the push says."""
    data = bandit(spaces.Discrete(3), [0, 1] * 40, [0.2, 0.6] * 40, [0.0, 0.5] * 40)
    seen = np.ones((1, 3), np.float32)
    agent = CPQ("MultiInputPolicy", None, data, cost_limit=1.0, learning_rate=3e-3,
                alpha_learning_rate=0.03, policy_kwargs={"net_arch": [32]},
                **SMALL).learn(150)  # fmt: skip
    with th.no_grad():
        obs = agent.policy.obs_to_tensor({"vector": seen})[0]
        cost_q = agent.policy.critics["cost"].of_all(obs).mean(0)[0]
    assert cost_q[2] > 1.0
    assert cost_q[:2].tolist() == pytest.approx([0.0, 0.5], abs=0.2)
    assert agent.predict({"vector": seen})[0] == 1


@pytest.mark.slow  # 15 s of one core
def test_cpq_finds_the_speed_below_the_limit_of_a_box() -> None:
    """Reward is the speed in [0, 1], cost 1 above 0.5: the best that never pays is 0.5."""
    speeds = np.random.default_rng(0).uniform(0, 1, 4_000)
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    data = bandit(space, 2 * speeds[:, None] - 1, speeds, speeds > 0.5)
    small: dict[str, Any] = {"learning_rate": 3e-3, "policy_kwargs": {"net_arch": [32]}, "seed": 0,
                             "device": "cpu"}  # fmt: skip
    agent = CPQ("MultiInputPolicy", None, data, cost_limit=0.3, **small).learn(1_500)
    seen = {"vector": np.ones(3, np.float32)}
    speed = (agent.predict(seen, deterministic=True)[0][0] + 1) / 2
    print(f"CPQ on a Box: speed {speed:.2f}")
    assert 0.4 < speed < 0.53
    blind = IQL("MultiInputPolicy", None, data, beta=20.0, **small).learn(500)
    assert blind.predict(seen, deterministic=True)[0][0] > 0.8


# --- losses ---------------------------------------------------------------------------------------


def test_the_expectile_loss_and_whom_it_favours() -> None:
    u = [-2.0, -0.5, 0.0, 1.0, 3.0]
    expected = sum((0.2 if x < 0 else 0.8) * x * x for x in u) / 5
    assert expectile_loss(th.tensor(u), 0.8).item() == pytest.approx(expected)
    values = th.tensor([1.0, 5.0])  # the minimiser of two values is a mixture of them
    grid = th.linspace(0, 6, 601)
    losses = th.stack([expectile_loss(values - x, 0.8) for x in grid])
    assert grid[losses.argmin()].item() == pytest.approx(0.8 * 5 + 0.2 * 1, abs=0.011)
    weights = advantage_weight(th.tensor([-1.0, 0.0, 2.0]), 3.0, 100.0)
    assert weights.tolist() == pytest.approx([math.exp(-3), 1.0, 100.0])


def test_the_conservative_penalty_is_written_out() -> None:
    q, taken = [[1.0, 2.0, -1.0], [0.0, 0.0, 3.0]], [0, 2]
    expected = [math.log(sum(map(math.exp, row))) - row[a] for row, a in zip(q, taken, strict=True)]
    found = conservative_penalty(th.tensor(q), th.tensor(taken))
    assert found.item() == pytest.approx(sum(expected) / 2)


def test_cpqs_operators_are_written_out() -> None:
    q = th.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [-1.0, -2.0, -3.0]])
    cost = th.tensor([[0.1, 0.9, 0.5], [0.8, 0.9, 0.7], [0.1, 0.6, 0.2]])
    assert penalised(q, cost, 0.5).tolist() == [[1, 0, 2], [0, 0, 0], [-1, 0, -3]]
    assert greedy(q, cost, 0.5).tolist() == [2, 2, 0]  # nothing keeps it in the second: the least
    log_density = th.tensor([0.7, 0.2, 0.06]).log()
    assert unsupported(log_density, log_density.max(), 0.1).tolist() == [False, False, True]


def test_iqls_loss_from_its_networks_on(coin: EpisodeDataset) -> None:
    agent = IQL("MlpPolicy", TwoLanes(), coin, gamma=0.9, **SMALL)
    randomise(agent.policy, 0.3)
    policy, batch = agent.policy, coin.sample_transitions(16, np.random.default_rng(0))
    with th.no_grad():
        obs, after = (th.as_tensor(o["vector"]) for o in (batch.obs, batch.next_obs))
        value, next_value = (numbers(policy.predict_values(o))[:, 0] for o in (obs, after))
        fast, slow = (
            numbers(c["reward"].of_all(obs)) for c in (policy.critics, policy.slow_critics)
        )
        chance = numbers(policy.get_distribution(obs).distribution.probs)
    total = 0.0
    for i, action in enumerate(batch.action):
        target = batch.reward[i] + 0.9 * (not batch.terminated[i]) * next_value[i]
        total += sum((fast[j, i, action] - target) ** 2 for j in range(2))
        advantage = min(slow[0, i, action], slow[1, i, action]) - value[i]
        total += (0.7 if advantage > 0 else 0.3) * advantage**2
        total -= min(math.exp(3 * advantage), 100.0) * math.log(chance[i, action])
    assert batch.terminated.any()
    loss, _ = agent._losses(batch)
    close(loss, total / 16)
    loss.backward()
    assert all(p.grad is None for p in policy.slow_critics.parameters())


def test_cqls_loss_from_its_networks_on(coin: EpisodeDataset) -> None:
    agent = CQL("MlpPolicy", TwoLanes(), coin, gamma=0.9, alpha=0.7, **SMALL)
    for net in (agent.policy.q_net, agent.policy.q_net_target):
        randomise(net, 0.3)
    batch = coin.sample_transitions(16, np.random.default_rng(0))
    with th.no_grad():
        obs, after = (th.as_tensor(o["vector"]) for o in (batch.obs, batch.next_obs))
        q, ahead = (numbers(agent.policy.q_net(o)) for o in (obs, after))
        slow = numbers(agent.policy.q_net_target(after))
    total = 0.0
    for i, action in enumerate(batch.action):
        best = slow[i, ahead[i].argmax()]  # chosen by the fast one, valued by the slow one
        target = batch.reward[i] + 0.9 * (not batch.terminated[i]) * best
        total += 0.5 * (q[i, action] - target) ** 2
        total += 0.7 * (math.log(sum(np.exp(q[i]))) - q[i, action])
    close(agent._losses(batch)[0], total / 16)


def test_cpqs_loss_from_its_networks_on(coin: EpisodeDataset) -> None:
    agent = CPQ("MlpPolicy", TwoLanes(), coin, gamma=0.9, cost_limit=0.2, support=0.5,
                policy_kwargs={"net_arch": [8]}, **SMALL)  # fmt: skip
    randomise(agent.policy, 0.6)
    threshold, agent.alpha = 0.2 * (1 - 0.9**10) / (0.1 * 10), 0.6
    assert float(agent.policy.threshold) == pytest.approx(threshold)
    policy, batch = agent.policy, coin.sample_transitions(16, np.random.default_rng(0))
    with th.no_grad():
        obs, after = (th.as_tensor(o["vector"]) for o in (batch.obs, batch.next_obs))
        now = {n: numbers(policy.critics[n].of_all(obs)) for n in ("reward", "cost")}
        ahead = {n: numbers(policy.critics[n].of_all(after)) for n in ("reward", "cost")}
        slow = {n: numbers(policy.slow_critics[n].of_all(after)) for n in ("reward", "cost")}
        chance = numbers(policy.get_distribution(obs).distribution.probs)
    total, foreign = 0.0, []
    for i, action in enumerate(batch.action):
        best, paid = ahead["reward"][:, i].min(0), ahead["cost"][0, i]
        kept = [a for a in range(2) if paid[a] <= threshold]
        chosen = max(kept, key=lambda a: best[a]) if kept else int(paid.argmin())
        alive = 0.9 * (not batch.terminated[i])
        cost_ahead = slow["cost"][0, i, chosen]
        worth = slow["reward"][:, i, chosen].min() if cost_ahead <= threshold else 0.0
        for j in range(2):
            total += (now["reward"][j, i, action] - batch.reward[i] - alive * worth) ** 2
        total += (now["cost"][0, i, action] - batch.cost[i] - alive * cost_ahead) ** 2
        total -= math.log(chance[i, action])
        foreign += [now["cost"][0, i, a] for a in range(2) if chance[i, a] < 0.5 * chance[i].max()]
    assert 0 < len(foreign) < 16
    assert 0 < (slow["cost"][0] <= threshold).sum() < 32, "some actions keep it"
    close(agent._losses(batch)[0], total / 16 - 0.6 * np.mean(foreign))
    expected = np.clip(0.6 + 1e-3 * (1.5 * threshold - np.mean(foreign)), 0, 1)
    assert agent.alpha == pytest.approx(expected, rel=1e-4)


# --- as SB3's -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize(
    ("policy", "observation"), [("CnnPolicy", "image"), ("MultiInputPolicy", "multi")]
)
def test_they_see_images_and_several_observations(
    kind: Any, policy: str, observation: str, tmp_path: Any
) -> None:
    env = CountingEnv(observation=observation)
    frames = 2 if observation == "image" else 1
    agent = kind(policy, env, pictures(), frame_stack=frames, **SMALL | {"batch_size": 4}).learn(2)
    agent.save(tmp_path / "a.zip")
    again = kind.load(tmp_path / "a.zip", device="cpu")
    seen = env.reset()[0]
    assert agent.predict(seen, deterministic=True)[0] == again.predict(seen, deterministic=True)[0]
    assert again.frame_stack == frames


@pytest.mark.parametrize("kind", LEARNERS)
def test_they_see_sets_of_vehicles(kind: Any) -> None:
    agent = kind("MultiInputPolicy", Approach(), vehicle_drives(10), **SMALL).learn(5)
    assert any(isinstance(part, VehiclesExtractor) for part in agent.policy.modules())
    observation = Approach().reset(seed=1)[0]
    swapped = {**observation, "vehicles": observation["vehicles"][::-1].copy()}
    expected = agent.predict(observation, deterministic=True)[0]
    assert agent.predict(swapped, deterministic=True)[0] == expected


@pytest.mark.parametrize("kind", [IQL, CPQ])
def test_a_box_is_driven_within_its_bounds(kind: Any) -> None:
    agent = kind("MlpPolicy", SpeedLimitEnv(continuous=True), pictures("continuous"), **SMALL)
    agent.learn(5)
    seen = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for deterministic in (True, False):
        actions = agent.predict(seen, deterministic=deterministic)[0]
        assert actions.shape == (50, 1)
        assert (np.abs(actions) <= 1.0).all()


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([3, 2], start=[1, 5]), spaces.MultiBinary(3)], ids=str
)
def test_iql_and_bc_learn_several_choices_at_once(space: Any) -> None:
    """The best recorded choice is the largest; BC copies them all."""
    space.seed(0)
    taken = np.array([space.sample() for _ in range(200)])
    data = bandit(space, taken, taken.sum(1).astype(float), np.zeros(200))
    seen = {"vector": np.ones(3, np.float32)}
    small: dict[str, Any] = {**SMALL, "policy_kwargs": {"net_arch": [32]}}
    agent = IQL("MultiInputPolicy", None, data, beta=10.0, learning_rate=5e-3, **small).learn(120)
    best = agent.predict(seen, deterministic=True)[0]
    assert space.contains(best)
    assert best.sum() == taken.sum(1).max()
    BC("MultiInputPolicy", None, data, **SMALL).learn(2)


def test_what_they_cannot_learn_is_refused(coin: EpisodeDataset) -> None:
    several = gym.spaces.MultiDiscrete([3, 2])
    data = bandit(several, [[0, 1]], [0.0], [0.0])
    for kind in (CQL, CPQ):
        with pytest.raises(ValueError, match=f"{kind.__name__} learns actions of Discrete"):
            kind("MultiInputPolicy", None, data, **SMALL)
    endless = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    with pytest.raises(ValueError, match="CPQ needs a Box with finite bounds"):
        CPQ("MultiInputPolicy", None, bandit(endless, [[0.0]], [0.0], [0.0]), **SMALL)
    free = EpisodeDataset.from_arrays(
        [replace(episode, env_cost=None) for episode in coin.episodes[:4]],
        coin.observation_space,
        coin.action_space,
    )
    for make in (lambda: CPQ("MlpPolicy", TwoLanes(), free, **SMALL),
                 lambda: BC("MlpPolicy", TwoLanes(), free, cost_limit=1.0, **SMALL)):  # fmt: skip
        with pytest.raises(ValueError, match="needs costs, and the data set has none"):
            make()
    costly = coin.where(coin.episode_costs > 1.0)
    with pytest.raises(
        ValueError, match=r"none of \d+ recorded drives keeps the cost limit 0.5: the least"
    ):
        BC("MlpPolicy", TwoLanes(), costly, cost_limit=0.5, **SMALL)
    for kind, wrong in ((IQL, "expectile"), (CQL, "tau"), (CPQ, "support")):
        with pytest.raises(ValueError, match=wrong):
            kind("MlpPolicy", TwoLanes(), coin, **{wrong: 1.5}, **SMALL)


def test_episodes_are_chosen_by_their_cost(coin: EpisodeDataset) -> None:
    costs = [float(e.env_cost[1:].sum()) for e in coin.episodes if e.env_cost is not None]
    assert coin.episode_costs == pytest.approx(costs)
    one, other = coin.split(0.3, seed=1)
    assert one.episode_costs == pytest.approx(np.array(costs)[one.episode_ids])
    mix = MixedDataset([one, other], [0.5, 0.5])
    kept = mix.where(mix.episode_costs < 2.05)  # they are multiples of 0.1
    assert (kept.episode_costs < 2.05).all()
    assert kept.num_episodes == (np.array(costs) < 2.05).sum()
    alone = mix.where(np.arange(600) < one.num_episodes)
    assert [part.num_episodes for part in alone.parts] == [one.num_episodes]
    for wrong in (np.zeros(600, bool), np.ones(3, bool)):
        for data in (coin, mix):
            with pytest.raises(ValueError, match="cannot choose among 600 episodes"):
                data.where(wrong)
