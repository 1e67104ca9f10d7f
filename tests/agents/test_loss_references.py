"""The losses of critics and actor beside slow NumPy ports, from the weights on.

Weights, batch and dreams are random (seed 0); agreement to 1e-4 of a value plus 1e-5, float32
against float64.  Taken from the code, as other tests hold them: the features of dreams, rewards
and costs that the model predicts there, the gate's p and the bound on Q_c of feasible actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy_references as ref
import pytest
import torch
from numpy_references import Array
from numpy_weights import close, layers, numbers, randomise
from speed_limit import SpeedLimit, record

from vlsafe_agents.vlsafe.actor_critic import ActorCritic, Choices
from vlsafe_agents.vlsafe.batch import TensorBatch, to_tensors
from vlsafe_agents.vlsafe.critics import Critic
from vlsafe_agents.vlsafe.imagination import Dream
from vlsafe_agents.vlsafe.policy_heads import UNIMIX, CategoricalHead
from vlsafe_agents.vlsafe.presets import make_config
from vlsafe_agents.vlsafe.world_model import WorldModel


class Setting(NamedTuple):
    model: WorldModel
    actor_critic: ActorCritic
    batch: TensorBatch
    feat: torch.Tensor  # (B, T, F)
    dream: Dream


def setting(config: dict[str, Any], update: str = "gated", limit: float = 1.0) -> Setting:
    """Random weights, and critics that differ more between actions than between states."""
    torch.manual_seed(0)
    env, settings = SpeedLimit(), make_config("debug", {"network": {"bin_limit": 2.0}, **config})
    model = WorldModel(env.observation_space, env.action_space, settings.world_model)
    actor_critic = ActorCritic(
        model.feat_size, env.action_space, settings, update=update, gate=None, cost_limit=limit
    )
    actor_critic.episode_steps = 20.0
    for module in (model, actor_critic):
        randomise(module, 0.4)
    batch = to_tensors(record(10).sample(4, 12, np.random.default_rng(4)))
    batch = batch._replace(weight=batch.weight * torch.tensor([1.0, 0.5, 2.0, 1.0])[:, None])
    posterior = model.observe(batch)
    dream = actor_critic.dream(model, posterior, batch)
    return Setting(model, actor_critic, batch, model.feat(posterior).detach(), dream)


def policy_probs(head: CategoricalHead, feat: Array) -> Array:
    return ref.unimix(ref.network(feat, layers(head.net)), UNIMIX)


def slow_q(critic: Critic, feat: Array) -> Array:
    """``Q_slow`` ``(A,)`` of every action in one state."""
    baseline = ref.network(feat, layers(critic.slow_net["baseline"]))
    return ref.twohot_mean(baseline, numbers(critic.bins)) + ref.network(
        feat, layers(critic.slow_net["advantage"])
    )


def one_loss(critic: Critic, feat: Array, action: Array, target: float) -> float:
    """Two-hot loss of the baseline, half the squared error of the advantage of what is left."""
    logits, bins = ref.network(feat, layers(critic.net["baseline"])), numbers(critic.bins)
    advantage = float((ref.network(feat, layers(critic.net["advantage"])) * action).sum())
    rest = target - float(ref.twohot_mean(logits, bins))
    return ref.twohot_nll(logits, target, bins) + 0.5 * (advantage - rest) ** 2


def imagined_loss(s: Setting) -> float:
    """Mean over dreams and steps, weighted by rows and by the chance to be there."""
    config, actor = s.actor_critic.config.imagination, s.actor_critic.actor
    imagined, total = s.dream.imagined, 0.0
    feat, action, cont = (numbers(x) for x in (imagined.feat, imagined.action, imagined.cont))
    count, steps = cont.shape
    for critic, signal in (
        (s.actor_critic.reward_critic, numbers(imagined.reward)),
        (s.actor_critic.cost_critic, numbers(imagined.cost)),
    ):
        for n in range(count):
            value = np.array([policy_probs(actor, f) @ slow_q(critic, f) for f in feat[n]])
            term, reward = (np.concatenate([[0.0], x[n]]) for x in (1 - cont, signal))
            returns = ref.dreamer_lambda_return(
                0 * term, term, reward, value, config.gamma, config.lambda_
            )
            for j in range(steps):
                weight = float(s.dream.rows[n]) * np.prod(cont[n, :j])
                total += weight * one_loss(critic, feat[n, j], action[n, j], returns[j])
    return float(total / (count * steps))


def anchor_loss(s: Setting) -> float:
    """Mean over recorded steps, of Retrace targets that end with the record of an episode."""
    config, batch, a = s.actor_critic.config.imagination, s.batch, s.actor_critic
    feat, action = numbers(s.feat), numbers(s.model.action_vector(batch.next_action))
    valid = numbers(batch.has_action)[:, :-1] * (1 - numbers(batch.is_first)[:, 1:])
    total = 0.0
    for b, critic in [(b, c) for b in range(len(feat)) for c in (a.reward_critic, a.cost_critic)]:
        signal = numbers(batch.reward if critic is a.reward_critic else batch.cost)[b, 1:]
        discount = config.gamma * (1 - numbers(batch.is_terminal)[b, 1:])
        policy = np.array([policy_probs(a.actor, f) for f in feat[b]])
        ratio = ((policy / [policy_probs(a.behaviour, f) for f in feat[b]]) * action[b]).sum(-1)
        every = np.array([slow_q(critic, f) for f in feat[b]])
        value, q = (policy * every).sum(-1)[1:], (action[b] * every).sum(-1)[1:]
        trace = config.lambda_ * np.minimum(ratio[1:], 1.0)
        trace[:-1] *= valid[b, 1:]
        targets = ref.retrace(signal, discount, value, q, trace)
        for t in np.flatnonzero(valid[b]):
            total += one_loss(critic, feat[b, t], action[b, t], targets[t])
    return float(total / valid.sum())


@pytest.mark.parametrize(("imagined", "anchor"), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.3)])
def test_the_critics_loss_equals_the_port(imagined: float, anchor: float) -> None:
    s = setting({"research": {"imagined": imagined, "anchor": anchor}})
    borders, ends = s.batch.is_first[:, 1:], s.batch.is_terminal[:, :-1]
    assert (borders & ends).any()  # both kinds of borders within sequences
    assert (borders & ~ends).any()
    loss = s.actor_critic.critic_loss(s.dream, s.feat, s.batch, s.model)
    expected = imagined * (imagined_loss(s) if imagined else 0.0)
    expected += anchor * (anchor_loss(s) if anchor else 0.0)
    close(loss, expected)


class Compared(NamedTuple):
    """One state of a dream as the port sees it."""

    prior: Array  # (A,) within the support
    policy: Array
    adv_reward: Array
    adv_cost: Array
    q_cost: Array
    weight: float


def compared(s: Setting) -> list[Compared]:
    """Advantages under the prior in all dreamt states but the last, dream after dream."""
    a, dream, states = s.actor_critic, s.dream, []
    feat, cont = numbers(dream.imagined.feat), numbers(dream.imagined.cont)
    reach = np.concatenate([np.ones((len(cont), 1)), np.cumprod(cont, 1)[:, :-1]], 1)
    # a gate that looks ahead is the actor's only where its dream does not explore
    rows = numbers(dream.own_rows if a.gate.looks_ahead else dream.rows)
    recorded = rows * reach[:, 0]
    imagined = numbers(dream.rows)[:, None] * reach[:, 1:]
    weight = 0.5 * np.concatenate(
        [(recorded / recorded.sum())[:, None], imagined / imagined.sum()], 1
    )
    for n, j in np.ndindex(*cont.shape):
        f = feat[n, j]
        prior = ref.support(policy_probs(a.behaviour, f), a.config.improvement.support_threshold)
        q_reward, q_cost = slow_q(a.reward_critic, f), slow_q(a.cost_critic, f)
        advantages = q_reward - prior @ q_reward, q_cost - prior @ q_cost
        policy = policy_probs(a.actor, f)
        states.append(Compared(prior, policy, *advantages, q_cost, float(weight[n, j])))
    return states


def spread(states: list[Compared], advantages: list[Array]) -> float:
    """Root mean square of an advantage under the prior, over weighted states; at least 0.01."""
    square = sum(s.weight * (s.prior @ x**2) for s, x in zip(states, advantages, strict=True))
    return max(float(np.sqrt(square / sum(s.weight for s in states))), 1e-2)


def feasible_limit(a: ActorCritic) -> float:
    """Bound on Q_c; episodes of 20 steps."""
    gamma = a.config.imagination.gamma
    discounted = a.cost_limit * (1 - gamma**20) / ((1 - gamma) * 20)
    return max(discounted, float(a.least_cost.value))


def targets(s: Setting, states: list[Compared], choices: Choices) -> list[Array]:
    """pi* of each state by the port."""
    a, settings = s.actor_critic, s.actor_critic.config.improvement
    if a.update != "gated":
        price = a.price
        mixed = [(x.adv_reward - price * x.adv_cost) / (1 + price) for x in states]
        scale = spread(states, mixed)
        return [
            ref.exponential_policy(x.prior, m / scale, settings.beta)
            for x, m in zip(states, mixed, strict=True)
        ]
    scales = (
        spread(states, [x.adv_reward for x in states]),
        spread(states, [x.adv_cost for x in states]),
    )
    limit, research = feasible_limit(a), a.config.research
    return [
        ref.gated_policy(
            x.prior, x.adv_reward / scales[0], x.adv_cost / scales[1], p,
            (settings.beta_reward, settings.beta_cost), research.normalise_gate,
            x.q_cost <= limit if research.feasible_only else None,
        )
        for x, p in zip(states, numbers(choices.gate).flatten(), strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("update", "research", "lookahead", "limit"),
    [
        ("gated", {}, 3, 0.0),
        ("gated", {}, 0, 0.1),
        ("gated", {"normalise_gate": False}, 3, 0.1),
        ("gated", {"feasible_only": False}, 3, 0.1),
        ("gated", {"normalise_gate": False, "feasible_only": False}, 0, 0.0),  # as printed
        ("lagrangian", {}, 3, 1.0),
        ("none", {}, 3, 1.0),
    ],
)
def test_the_actors_loss_equals_the_port(
    update: str, research: dict[str, bool], lookahead: int, limit: float
) -> None:
    improvement = {
        "gate_lookahead": lookahead,
        "beta_reward": 1.0,
        "beta_cost": 2.0,
        "feasible_quantile": 0.5,
    }
    s = setting({"research": research, "improvement": improvement}, update, limit)
    a = s.actor_critic
    if a.multiplier is not None:
        a.multiplier.update(8.0)
        assert a.price == pytest.approx(0.7)
    choices = a.choices(s.dream)
    a.update_scales(choices)
    a.update_least_cost(choices)
    states = compared(s)
    wanted = targets(s, states, choices)
    loss, _ = a.actor_loss(choices)
    expected = -sum(
        x.weight * float(w @ np.log(x.policy)) for x, w in zip(states, wanted, strict=True)
    ) / sum(x.weight for x in states)
    close(loss, expected)
    if update == "gated" and not research:  # states with some and without feasible actions
        feasible = [x.q_cost[x.prior > 0] <= feasible_limit(a) for x in states]
        assert any(f.any() and not f.all() for f in feasible)
        assert any(not f.any() for f in feasible)
        assert any((x.prior == 0).any() for x in states)  # and actions out of the support
