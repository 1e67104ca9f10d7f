"""One policy for a range of cost limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speed_limit import SpeedLimit, record
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from test_actor_critic import build
from tiny_agents import make, weights

from vlsafe_agents import VLSafe
from vlsafe_agents.common.lagrange import LagrangeMultiplier, MultiplierGrid, PIDLagrange
from vlsafe_agents.common.returns import episode_cost
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe.critics import Scale
from vlsafe_agents.vlsafe.limits import (
    LimitRange,
    OneLimit,
    evenly_spread,
    excess_at_knots,
    interpolation_weights,
)
from vlsafe_agents.vlsafe.policies import VLSafePolicy

RANGE = (0.5, 2.5)
KNOTS = torch.linspace(*RANGE, 5)


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(12)


@pytest.fixture(scope="module")
def trained(dataset: EpisodeDataset) -> VLSafe:
    return make(dataset, cost_limit=RANGE, update="lagrangian").learn(12)


# --- mathematics ----------------------------------------------------------------------------------


def test_weights_interpolate_as_numpy_does() -> None:
    limit = torch.tensor([[0.5, 0.61, 1.0], [2.4999, 2.5, 1.75]])
    weight = interpolation_weights(limit, KNOTS)
    assert weight.shape == (2, 3, 5)
    torch.testing.assert_close(weight.sum(-1), torch.ones(2, 3))
    assert ((weight > 1e-6).sum(-1) <= 2).all()
    values = np.array([3.0, -1.0, 4.0, 1.0, -5.0])
    found = (weight * torch.tensor(values)).sum(-1)
    np.testing.assert_allclose(found, np.interp(limit, KNOTS, values), atol=1e-5)
    beyond = interpolation_weights(torch.tensor([0.0, 9.0]), KNOTS)
    assert beyond.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_excess_is_the_weighted_mean_around_each_knot() -> None:
    rng = np.random.default_rng(0)
    cost, weight = rng.random(40) * 4, rng.random(40)
    limit = 0.5 + rng.random(40) * 0.9  # nothing near the last two knots
    tensors = (torch.tensor(x, dtype=torch.float32) for x in (cost, limit, weight))
    found = excess_at_knots(*tensors, KNOTS)
    for k, knot in enumerate(KNOTS.tolist()):
        near = [max(0.0, 1.0 - abs(x - knot) / 0.5) * u for x, u in zip(limit, weight, strict=True)]
        if sum(near) == 0.0:
            assert found[k] is None
            continue
        above = sum(w * (j - x) for w, j, x in zip(near, cost, limit, strict=True))
        assert found[k] == pytest.approx(above / sum(near), rel=1e-4)
    assert found[-1] is None


def test_the_excess_is_the_slope_of_the_mean_dual() -> None:
    """``d/d lambda_k of mean_i lambda(l_i) (J_i - l_i)`` in units of the weight at the knot."""
    limit, cost = torch.rand(30) * 2 + 0.5, torch.rand(30) * 4
    price = torch.rand(5, requires_grad=True)
    near = interpolation_weights(limit, KNOTS)
    ((near * price).sum(-1) * (cost - limit)).sum().backward()
    assert price.grad is not None
    found = excess_at_knots(cost, limit, torch.ones(30), KNOTS)
    np.testing.assert_allclose(found, price.grad / near.sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [4, 16, 100])
def test_few_limits_cover_the_range(count: int) -> None:
    torch.manual_seed(0)
    for _ in range(20):
        drawn = evenly_spread(count).sort().values
        gaps = torch.cat([drawn[1:] - drawn[:-1], drawn[:1] + 1 - drawn[-1:]])
        assert gaps.max() < 2.7 / count  # of independent ones: log(count) / count and more
    assert torch.cat([evenly_spread(3) for _ in range(2_000)]).mean() == pytest.approx(
        0.5, abs=0.02
    )


def test_each_limit_has_a_multiplier_of_its_own() -> None:
    grid = MultiplierGrid((1.0, 2.0), lambda limit: LagrangeMultiplier(limit, 0.5, 0.1))
    grid.update([2.0, None])
    assert grid.values == pytest.approx([0.7, 0.5])
    assert grid.value == pytest.approx(0.6)
    grid.update([-20.0, 1.0])
    assert grid.values == pytest.approx([0.0, 0.6])
    with pytest.raises(ValueError, match="argument 3 is shorter"):
        grid.update([1.0])
    pid = MultiplierGrid((1.0, 2.0), PIDLagrange)
    pid.update([2.0, -1.0])
    alone = PIDLagrange(1.0)
    alone.update(3.0)
    assert pid.values == pytest.approx([alone.value, 0.0])
    again = MultiplierGrid((1.0, 2.0), PIDLagrange)
    again.load_state_dict(pid.state_dict())
    assert again.state_dict() == pid.state_dict()
    with pytest.raises(ValueError, match="needs the keys"):
        again.load_state_dict({"value": 1.0})


def test_an_episode_says_in_expectation_what_dreams_say() -> None:
    """Steps by single episodes under evenly drawn limits add up to the weighted means."""
    limits, limit = LimitRange(*RANGE, 5), torch.linspace(*RANGE, 2_001)
    cost = 1.0 + limit.square()
    step = 1e-3
    grid = limits.multiplier(lambda knot: LagrangeMultiplier(knot, 50.0, step, 1e6))
    for one, paid in zip(limit.tolist(), cost.tolist(), strict=True):
        limits.see_episode(grid, paid, one)
    mean = excess_at_knots(cost, limit, torch.ones_like(limit), KNOTS)
    moved = [(value - 50.0) / (step * len(limit)) for value in grid.values]
    assert moved == pytest.approx(mean, rel=0.01)


def test_statistics_are_of_each_limit() -> None:
    limits, limit = LimitRange(*RANGE, 5), torch.tensor([0.5, 2.5])
    scale, weight = limits.statistic(Scale), torch.ones(2)
    advantage, probs = torch.tensor([[3.0, -3.0], [1.0, -1.0]]), torch.full((2, 2), 0.5)
    limits.update(scale, limit, weight, advantage, probs)
    found = limits.value(scale, torch.tensor([0.5, 0.75, 1.0, 2.5]))
    assert found.shape == (4, 1)
    assert found.flatten().tolist() == pytest.approx([3.0, 2.0, 1.0, 1.0])  # 1: nothing was seen
    one = OneLimit(1.0)
    single = one.statistic(Scale)
    one.update(single, None, weight, advantage, probs)
    assert one.value(single, None) == pytest.approx(5.0**0.5)


# --- actor and critics ----------------------------------------------------------------------------


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("update", ["gated", "lagrangian"])
def test_an_actor_begins_as_the_prior_and_learns_each_limit(update: str, continuous: bool) -> None:
    model, heads, batch = build(continuous=continuous, update=update, cost_limit=RANGE)
    posterior = model.observe(batch)
    feat = model.feat(posterior)
    heads.start_from_behaviour()
    action = model.action_vector(batch.next_action)
    for limit in (0.5, 1.3, 2.5):
        seen = heads.limits.seen(feat, torch.full((len(feat),), limit))
        torch.testing.assert_close(
            heads.actor.log_prob(seen, action), heads.behaviour.log_prob(feat, action)
        )
    dream = heads.dream(model, posterior, batch)
    assert dream.limit is not None
    assert dream.limit.min() >= 0.5
    assert dream.limit.max() <= 2.5
    choices = heads.choices(dream)
    heads.update_scales(choices)
    heads.update_least_cost(choices)
    heads.update_multiplier(dream)
    first, *_, last = heads.reward_critic.net["baseline"]  # type: ignore[misc]
    torch.nn.init.ones_(last.weight)  # they begin as zeros, which pass no gradient on
    loss = heads.critic_loss(dream, feat.detach(), batch, model)
    loss = loss + heads.actor_loss(choices)[0]
    loss.backward()
    assert (first.weight.grad[:, -5:].abs().sum(0) > 0).all()
    assert all(p.grad is None for p in heads.behaviour.parameters())


def test_a_price_and_a_bound_follow_the_limit() -> None:
    _, heads, _ = build(update="lagrangian", cost_limit=RANGE)
    grid = heads.multiplier
    assert isinstance(grid, MultiplierGrid)
    grid.update([10.0, 8.0, 6.0, 4.0, 2.0])  # at a learning rate of 0.1
    price = heads._price(torch.tensor([0.5, 0.75, 2.5]))
    torch.testing.assert_close(price, torch.tensor([[1.0], [0.9], [0.2]]))
    assert heads.price == pytest.approx(0.6)
    names = heads.limits.prices(grid)
    assert names["train/limit_0.5_lagrange_multiplier"] == pytest.approx(1.0)


def test_the_multiplier_of_a_limit_sees_the_dreams_under_it() -> None:
    model, heads, batch = build(update="lagrangian", cost_limit=RANGE)
    dream = heads.dream(model, model.observe(batch), batch)
    count = len(dream.rows)
    dream.first[:] = True
    limit = torch.where(torch.arange(count) % 2 == 0, 0.5, 2.5)
    cost = torch.where(limit == 0.5, 4.5, 0.5)[:, None]
    conversion = heads._conversion()
    returns = cost / episode_cost(1.0, *conversion)  # discounted costs of such episodes
    rows = torch.ones(count)
    heads.update_multiplier(
        dream._replace(limit=limit, cost_return=returns, rows=rows, own_rows=rows)
    )
    assert isinstance(heads.multiplier, MultiplierGrid)
    assert heads.multiplier.values == pytest.approx([0.4, 0.0, 0.0, 0.0, 0.0])


def test_feasible_is_what_keeps_the_limit_asked_for() -> None:
    config = {"improvement": {"feasible_quantile": 0.0}}
    model, heads, batch = build(config, cost_limit=RANGE)
    heads.episode_steps = 1.0
    choices = heads.choices(heads.dream(model, model.observe(batch), batch))
    q_cost = torch.tensor([0.4, 1.0, 2.0]).expand_as(choices.candidates.q_cost)
    candidates = choices.candidates._replace(q_cost=q_cost)
    limit = torch.full(q_cost.shape[:-1], 0.5)
    limit[0] = 1.5
    feasible = heads._feasible(candidates, limit)
    assert feasible[0].all(0).tolist() == [True, True, False]
    assert feasible[1:].flatten(0, -2).any(0).tolist() == [True, False, False]


# --- the agent ------------------------------------------------------------------------------------


def test_predict_takes_a_limit(trained: VLSafe, dataset: EpisodeDataset) -> None:
    obs = SpeedLimit().reset(seed=0)[0]
    with torch.no_grad():  # an actor that goes by the limit alone
        last = trained.policy.actor_critic.actor.net[0]
        before = last.weight.clone()
        last.weight[:, -5:] = 50.0 * torch.randn(len(before), 5)
    many = np.stack([obs] * 40)
    torch.manual_seed(0)
    low = trained.predict(many, cost_limit=0.5)[0]
    torch.manual_seed(0)
    assert np.array_equal(trained.predict(many)[0], low)
    torch.manual_seed(0)
    assert not np.array_equal(trained.predict(many, cost_limit=2.5)[0], low)
    torch.manual_seed(0)
    trained.policy.acting_limit = 2.5
    high = trained.predict(many)[0]
    torch.manual_seed(0)
    each = trained.predict(many, cost_limit=np.where(np.arange(40) < 20, 0.5, 2.5))[0]
    assert np.array_equal(each, np.concatenate([low[:20], high[20:]]))
    with torch.no_grad():
        last.weight.copy_(before)
    trained.policy.acting_limit = 0.5
    evaluate_policy(trained, make_vec_env(SpeedLimit), 2, warn=False)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (3.0, r"cost_limit .* 3.* in \[0.5, 2.5\]; these are the limits that the agent was"),
        (np.nan, "cost_limit"),
        ([0.5, 1.0], r"shape \(2,\) for 1 observations"),
        ("much", r"cost_limit is 'much'; expected a number in \[0.5, 2.5\]"),
    ],
)
def test_limits_that_it_does_not_know_are_refused(
    trained: VLSafe, limit: Any, message: str
) -> None:
    obs = SpeedLimit().reset(seed=0)[0]
    with pytest.raises(ValueError, match=message):
        trained.predict(obs, cost_limit=limit)
    with pytest.raises(ValueError, match="limit"):
        trained.policy.acting_limit = limit


def test_an_agent_for_one_limit_takes_none(dataset: EpisodeDataset) -> None:
    agent = make(dataset)
    with pytest.raises(ValueError, match=r"trained for the one limit 1.*cost_limit=\(low, high\)"):
        agent.predict(SpeedLimit().reset(seed=0)[0], cost_limit=1.0)
    assert agent.policy.acting_limit == 1.0
    with pytest.raises(ValueError, match="one limit"):
        agent.policy.acting_limit = 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cost_limit": (2.0, 1.0)}, "low is less"),
        ({"cost_limit": (1.0, 1.0)}, "low is less"),
        ({"cost_limit": (1.0, 2.0, 3.0)}, "give a number, or a range"),
        ({"cost_limit": (-1.0, 2.0)}, "at least 0"),
        ({"cost_limit": (0.0, np.inf)}, "finite"),
        ({"cost_limit": RANGE, "safety": None}, "blind to cost"),
        ({"cost_limit": RANGE, "update": "none"}, "blind to cost"),
        ({"cost_limit": RANGE, "safety": "reachability"}, "one policy"),
        ({"cost_limit": RANGE, "config": {"limit_knots": 1}}, "limit_knots"),
    ],
)
def test_ranges_that_are_none_are_refused(
    dataset: EpisodeDataset, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(dataset, **given)


def test_files_keep_range_and_limit(
    trained: VLSafe, dataset: EpisodeDataset, tmp_path: Path
) -> None:
    trained.policy.acting_limit = 1.0
    trained.save(tmp_path / "a.zip")
    again = VLSafe.load(tmp_path / "a.zip", device="cpu", dataset=dataset)
    assert again.cost_limit == RANGE
    assert again.policy.acting_limit == 1.0
    assert torch.equal(weights(again), weights(trained))
    assert again.policy.actor_critic.multiplier.values == (
        trained.policy.actor_critic.multiplier.values
    )
    again.learn(3)
    trained.policy.save(str(tmp_path / "p.pth"))
    policy = VLSafePolicy.load(str(tmp_path / "p.pth"), "cpu")
    assert (policy.acting_limit, policy.actor_critic.cost_limit) == (1.0, RANGE)
    trained.policy.acting_limit = 0.5
    for other in (1.0, (0.5, 3.0)):
        with pytest.raises(ValueError, match="cannot be changed on loading"):
            VLSafe.load(tmp_path / "a.zip", device="cpu", cost_limit=other)
    make(dataset).save(tmp_path / "b.zip")
    with pytest.raises(ValueError, match="cannot be changed on loading"):
        VLSafe.load(tmp_path / "b.zip", device="cpu", cost_limit=RANGE)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("update", ["gated", "lagrangian"])
def test_it_learns_offline_and_online(update: str, continuous: bool) -> None:
    data = record(10, continuous=continuous)
    agent = make(data, SpeedLimit(continuous), cost_limit=RANGE, update=update).learn(10)
    before = weights(agent)
    agent.learn(40, online=True)
    assert agent.collector._limits is not None
    assert (agent.collector._limits >= 0.5).all()
    assert (agent.collector._limits <= 2.5).all()
    assert agent.collector._limit == 1.5
    assert not torch.equal(before, weights(agent))


def test_driven_episodes_move_the_multipliers_of_their_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[float, float]] = []
    env = make_vec_env(SpeedLimit, n_envs=3, seed=0)
    agent = make(None, env, cost_limit=RANGE, update="lagrangian", learning_starts=30)
    limits = agent.policy.actor_critic.limits
    see = limits.see_episode
    monkeypatch.setattr(
        limits,
        "see_episode",
        lambda grid, cost, limit: told.append((cost, limit)) or see(grid, cost, limit),
    )
    agent.learn(240)
    assert len(told) >= 3
    assert len({limit for _, limit in told}) == len(told)
    assert all(0.5 <= limit <= 2.5 for _, limit in told)
