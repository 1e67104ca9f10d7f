"""The losses of actor, critics and prior, and what they must not touch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from speed_limit import SpeedLimit, record
from tiny_batch import batch_of

from vlsafe_agents.common.returns import episode_cost, retrace_return
from vlsafe_agents.vlsafe.actor_critic import ActorCritic
from vlsafe_agents.vlsafe.batch import TensorBatch, recorded_steps, to_tensors
from vlsafe_agents.vlsafe.critics import Critic, Scale
from vlsafe_agents.vlsafe.policy_heads import CategoricalHead
from vlsafe_agents.vlsafe.presets import make_config
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import WorldModel

VARIANTS = [
    ({}, "gated"),
    ({"research": {"normalise_gate": False, "feasible_only": False}}, "gated"),
    ({}, "lagrangian"),
    ({}, "none"),
]


def build(
    config: dict[str, Any] | None = None, continuous: bool = False, **kwargs: Any
) -> tuple[WorldModel, ActorCritic, TensorBatch]:
    torch.manual_seed(0)
    env = SpeedLimit(continuous)
    settings = make_config("debug", config)
    model = WorldModel(env.observation_space, env.action_space, settings.world_model)
    arguments: dict[str, Any] = {"update": "gated", "gate": None, "cost_limit": 1.0} | kwargs
    actor_critic = ActorCritic(model.feat_size, env.action_space, settings, **arguments)
    actor_critic.episode_steps = 20.0
    data = record(10, continuous=continuous)
    return model, actor_critic, to_tensors(data.sample(4, 12, np.random.default_rng(0)))


def policy_loss(
    model: WorldModel, actor_critic: ActorCritic, posterior: RSSMState, batch: TensorBatch
) -> torch.Tensor:
    """The sum of all losses of actor, critics and prior."""
    feat = model.feat(posterior)
    dream = actor_critic.dream(model, posterior, batch)
    return (
        actor_critic.critic_loss(dream, feat, batch, model)
        + actor_critic.behaviour_loss(feat, batch, model)
        + actor_critic.actor_loss(actor_critic.choices(dream))[0]
    )


# --- what changes -------------------------------------------------------------------------------


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("config", "update"), VARIANTS)
def test_losses_compute_and_change_nothing(
    config: dict[str, Any], update: str, continuous: bool
) -> None:
    standardised = {"heads": {"standardise": True}}
    model, actor_critic, batch = build(
        {"world_model": standardised, **config}, continuous, update=update
    )
    model.train()
    model.observation.learn_scales(batch.obs)
    before = copy.deepcopy((model.state_dict(), actor_critic.state_dict()))
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        model_loss, posterior, _ = model.loss(batch)
        loss = policy_loss(model, actor_critic, posterior, batch)
        losses.append((model_loss.item(), loss.item()))
    assert losses[0] == losses[1]
    after = (model.state_dict(), actor_critic.state_dict())
    for one, other in zip(before, after, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert same(one[name], other[name]), name


def same(one: Any, other: Any) -> bool:
    """Whether two entries of a ``state_dict`` are equal: tensors, or names of tensors."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("update", ["gated", "lagrangian", "none"])
def test_scales_and_multiplier_change_when_they_are_told_to(update: str) -> None:
    model, actor_critic, batch = build(update=update, cost_limit=0.0)
    with torch.no_grad():
        actor_critic.reward_critic.slow_net["advantage"][-1].bias.normal_()  # type: ignore[index]
    dream = actor_critic.dream(model, model.observe(batch), batch)
    own = ("reward_scale", "cost_scale") if update == "gated" else ("scale",)
    actor_critic.update_scales(actor_critic.choices(dream))
    for name in ("reward_scale", "cost_scale", "scale"):
        assert (getattr(actor_critic, name).weight > 0) == (name in own)
    costly = dream._replace(cost_return=torch.ones_like(dream.cost_return))
    actor_critic.update_multiplier(costly)
    assert (actor_critic.price > 0) == (update == "lagrangian")


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("config", "update"), VARIANTS)
def test_no_gradient_reaches_the_world_model_or_the_slow_critics(
    config: dict[str, Any], update: str, continuous: bool
) -> None:
    model, actor_critic, batch = build(config, continuous, update=update)
    _, posterior, _ = model.loss(batch)
    policy_loss(model, actor_critic, posterior, batch).backward()
    assert all(p.grad is None for p in model.parameters())
    for critic in (actor_critic.reward_critic, actor_critic.cost_critic):
        assert all(p.grad is None for p in critic.slow_net.parameters())
    reached = (actor_critic.actor, actor_critic.behaviour, actor_critic.cost_critic.net)
    for module in reached:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_world_models_loss_reaches_no_part_of_the_actor_critic() -> None:
    model, actor_critic, batch = build()
    model.loss(batch)[0].backward()
    assert all(p.grad is None for p in actor_critic.parameters())


@pytest.mark.parametrize("part", ["actor", "behaviour"])
def test_policy_losses_leave_the_critics_alone(part: str) -> None:
    model, actor_critic, batch = build()
    _, posterior, _ = model.loss(batch)
    if part == "actor":
        dream = actor_critic.dream(model, posterior, batch)
        loss, _ = actor_critic.actor_loss(actor_critic.choices(dream))
    else:
        loss = actor_critic.behaviour_loss(model.feat(posterior), batch, model)
    loss.backward()
    touched = {
        name.split(".")[0] for name, p in actor_critic.named_parameters() if p.grad is not None
    }
    assert touched == {part}


# --- imagination --------------------------------------------------------------------------------


def test_dreams_begin_at_every_first_state_and_at_no_terminal_one() -> None:
    model, actor_critic, batch = build({"imagination": {"starts": 24, "explore": 1.0}})
    batch = batch._replace(is_terminal=torch.zeros_like(batch.is_terminal))
    batch.is_terminal[:, ::3] = True
    batch.is_first[:] = False
    batch.is_first[:, 1] = True
    _, posterior, _ = model.loss(batch)
    dream = actor_critic.dream(model, posterior, batch)
    assert dream.first.sum() == 4
    assert not (dream.first & dream.explored).any()  # the constraint is read there: on-policy
    feat = model.feat(posterior)
    terminal = feat[batch.is_terminal]
    starts = dream.imagined.feat[:, 0]
    assert torch.cdist(starts, terminal).min() > 0


def test_only_the_first_imagined_action_explores() -> None:
    """With an actor that always brakes, other actions may appear in the first column only."""
    config = {
        "imagination": {"starts": 40, "explore": 1.0},
        "improvement": {"support_threshold": 0},
    }
    model, actor_critic, batch = build(config)
    batch.is_first[:] = False
    head = actor_critic.actor.net[-1]
    with torch.no_grad():
        head.bias[:] = torch.tensor([50.0, 0.0, 0.0])
    _, posterior, _ = model.loss(batch)
    action = actor_critic.dream(model, posterior, batch).imagined.action.argmax(-1)  # (N, H)
    assert action[:, 0].unique().tolist() == [0, 1, 2]
    assert (action[:, 1:] == 0).float().mean() > 0.97  # 1% of the uniform distribution remains


def test_disagreement_lowers_the_reward_and_raises_the_cost() -> None:
    config = {"world_model": {"ensemble": 2}, "imagination": {"starts": 16}}
    returns = []
    for penalty in (0.0, 10.0):
        config["research"] = {"disagreement_penalty": penalty}
        model, actor_critic, batch = build(config)
        _, posterior, _ = model.loss(batch)
        torch.manual_seed(1)
        dream = actor_critic.dream(model, posterior, batch)
        returns.append((dream.reward_return.mean(), dream.cost_return.mean()))
    assert returns[1][0] < returns[0][0]
    assert returns[1][1] > returns[0][1]


# --- critics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_action", [True, False])
def test_critics_learn_the_mean_of_rare_targets(per_action: bool) -> None:
    """A cost of 10 in one case of five is 2 on average; a median or a mode would be 0."""
    torch.manual_seed(0)
    critic = Critic(3, 2, 16, 1, per_action, bins=31, bin_limit=10.0)
    optimizer = torch.optim.Adam(critic.net.parameters(), 0.02)
    feat = torch.ones(50, 3)
    action = torch.tensor([[0.0, 1.0]]).expand(50, 2)
    target = torch.zeros(50)
    target[::5] = 10.0
    for _ in range(150):
        loss = critic.loss(feat, action, target, None if per_action else action[None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    critic.follow(1.0)
    found = critic.slow_all(feat)[:, 1] if per_action else critic.slow_baseline(feat)
    torch.testing.assert_close(found, torch.full((50,), 2.0), atol=0.1, rtol=0)


def test_slow_critic_follows_at_its_rate() -> None:
    critic = Critic(3, 2, 8, 1, True, bins=15, bin_limit=5.0)
    slow = [p.clone() for p in critic.slow_net.parameters()]
    with torch.no_grad():
        for p in critic.net.parameters():
            p += 1.0
    critic.follow(0.25)
    for before, after, fast in zip(
        slow, critic.slow_net.parameters(), critic.net.parameters(), strict=True
    ):
        torch.testing.assert_close(after, before + 0.25 * (fast - before))


def test_value_of_a_state_is_the_policys_mean_over_actions() -> None:
    torch.manual_seed(0)
    critic = Critic(3, 4, 8, 1, True, bins=15, bin_limit=5.0)
    policy = CategoricalHead(3, 8, 1, 4)
    with torch.no_grad():
        policy.net[-1].bias[:] = torch.tensor([0.0, 1.0, 2.0, -1.0])
        for p in critic.slow_net.parameters():
            p.normal_()
    feat = torch.randn(6, 3)
    expected = (policy.log_probs(feat).exp() * critic.slow_all(feat)).sum(-1)
    value, _ = policy.value_and_q(feat, torch.zeros(6, 4), critic)
    torch.testing.assert_close(value, expected)


def test_recorded_steps_never_cross_the_border_of_an_episode() -> None:
    batch = batch_of(is_first=[1, 0, 0, 1, 0], has_action=[1, 1, 0, 1, 1])
    assert recorded_steps(batch).tolist() == [[True, True, False, True]]


def anchor_targets(ratio: float) -> dict[str, torch.Tensor]:
    """Targets with V = 100 and Q = 90 everywhere and ``pi / pi_b = ratio``, at the valid steps."""
    model, actor_critic, _ = build({"imagination": {"lambda_": 1.0}})
    batch = batch_of(
        reward=[0, 1, 2, 0, 4],
        cost=[0, 0, 10, 0, 1],
        is_first=[1, 0, 0, 1, 0],
        is_terminal=[0, 0, 1, 0, 0],
        has_action=[1, 1, 0, 1, 1],
    )
    feat = torch.randn(1, 5, model.feat_size)
    seen: dict[str, torch.Tensor] = {}

    def fixed(feat: torch.Tensor, action: torch.Tensor, critic: Any) -> Any:
        return torch.full(feat.shape[:-1], 100.0), torch.full(feat.shape[:-1], 90.0)

    def spy(name: str, critic: Critic) -> None:
        def loss(
            feat: torch.Tensor, action: torch.Tensor, target: torch.Tensor, others: Any
        ) -> torch.Tensor:
            seen[name] = target[recorded_steps(batch)]
            return target * 0

        critic.loss = loss  # type: ignore[method-assign]

    spy("reward", actor_critic.reward_critic)
    spy("cost", actor_critic.cost_critic)
    actor_critic.actor.value_and_q = fixed  # type: ignore[method-assign]
    actor_critic.actor.log_prob = lambda *_: torch.full((1, 5), ratio).log()  # type: ignore[method-assign]
    actor_critic.behaviour.log_prob = lambda *_: torch.zeros(1, 5)  # type: ignore[method-assign]
    actor_critic._anchor_loss(feat, batch, model)
    return seen


def test_anchor_targets_are_one_step_returns_where_the_policy_disagrees_with_the_record() -> None:
    seen = anchor_targets(ratio=0.0)
    assert seen["reward"].tolist() == pytest.approx([1 + 97.0, 2.0, 4 + 97.0])
    assert seen["cost"].tolist() == pytest.approx([97.0, 10.0, 1 + 97.0])


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_anchor_targets_follow_the_record_where_the_policy_agrees_but_cross_no_border(
    ratio: float,
) -> None:
    seen = anchor_targets(ratio)
    step = 0.97 * (100 - 90)
    assert seen["reward"].tolist() == pytest.approx([1 + step + 0.97 * 2.0, 2.0, 4 + 97.0])
    assert seen["cost"].tolist() == pytest.approx([step + 0.97 * 10.0, 10.0, 1 + 97.0])


def test_retrace_equals_its_definition_as_a_sum() -> None:
    """``Q + sum_k (prod discounts and traces) * temporal difference_k``, one step at a time."""
    torch.manual_seed(0)
    signal, value, q, trace = torch.rand(4, 1, 6)
    discount = torch.full((1, 6), 0.9)
    discount[0, 3] = 0.0
    found = retrace_return(signal, discount, value, q, trace)
    own_q = torch.cat([torch.zeros(1, 1), q[:, :-1]], 1)  # of the step that leads to column t
    for t in range(6):
        total, weight = own_q[0, t].clone(), 1.0
        for k in range(t, 6):
            if k > t:
                weight *= float(discount[0, k - 1] * trace[0, k - 1])
            total += weight * (signal[0, k] + discount[0, k] * value[0, k] - own_q[0, k])
        torch.testing.assert_close(found[0, t], total)


# --- unevenly drawn sequences -------------------------------------------------------------------


def test_the_prior_is_fitted_to_what_the_data_hold_whatever_was_drawn() -> None:
    model, actor_critic, batch = build()
    feat = model.feat(model.observe(batch))
    weight = torch.zeros_like(batch.weight)
    weight[0] = 2.0
    alone = TensorBatch(
        {key: value[:1] for key, value in batch.obs.items()},
        *(None if x is None else x[:1] for x in batch[1:]),  # type: ignore[arg-type]
    )
    torch.testing.assert_close(
        actor_critic.behaviour_loss(feat, batch._replace(weight=weight), model),
        actor_critic.behaviour_loss(feat[:1], alone, model),
    )


@pytest.mark.parametrize("states", ["first", "data"])
def test_the_constraint_is_read_as_often_as_the_data_hold_a_state(
    states: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"multiplier": {"constraint_states": states}}
    model, actor_critic, batch = build(config, update="lagrangian")
    read: list[float] = []
    monkeypatch.setattr(actor_critic.multiplier, "update", read.append)
    dream = actor_critic.dream(model, model.observe(batch), batch)
    own = dream.first if states == "first" else ~dream.explored
    costs = torch.where(own, torch.arange(len(own)).float(), 1e6)
    weight = torch.zeros_like(costs)
    last = int(own.nonzero()[-1])
    weight[last] = 0.25
    dream = dream._replace(cost_return=costs[:, None], start_weight=weight)
    actor_critic.update_multiplier(dream)
    gamma = actor_critic.config.imagination.gamma
    assert read == [pytest.approx(episode_cost(float(last), gamma, 20.0))]


# --- the improved policy in place ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "update", "limit", "best"),
    [
        (1.0, "gated", 2.5, 2),
        (1.0, "gated", 1.5, 1),
        (0.0, "gated", 1.0, 0),
        (None, "none", 1.0, 2),
        (None, "gated", 1.5, 1),
    ],
)
def test_the_actor_moves_to_the_better_action_within_the_support(
    gate: float | None, update: str, limit: float, best: int
) -> None:
    """Action 2 has the reward, action 0 the low cost; the gate decides which of them is taken.

    Where everything looks safe but action 2 costs more than the limit, action 1 is the best.
    """
    config = {"network": {"learning_rate": 1e-2}, "improvement": {"support_threshold": 0.0}}
    model, actor_critic, batch = build(config, update=update, gate=gate, cost_limit=limit)
    actor_critic.episode_steps = 1.0  # a discounted cost is then an episode's cost
    with torch.no_grad():
        model.safety_score_head[-1].bias.fill_(10.0)
    _, posterior, _ = model.loss(batch)
    q_reward, q_cost = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, 2.0])
    for critic, q in ((actor_critic.reward_critic, q_reward), (actor_critic.cost_critic, q_cost)):
        critic.slow_all = lambda feat, q=q: q.expand(*feat.shape[:-1], 3)  # type: ignore[misc, method-assign]
    optimizer = torch.optim.Adam(actor_critic.actor.parameters(), 0.02)
    for _ in range(40):
        dream = actor_critic.dream(model, posterior, batch)
        choices = actor_critic.choices(dream)
        actor_critic.update_scales(choices)
        loss, _ = actor_critic.actor_loss(choices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    probs = actor_critic.actor.log_probs(dream.imagined.feat).exp()
    assert (probs.argmax(-1) == best).all()


def test_multiplier_rises_above_the_limit_and_falls_below_it() -> None:
    config = {"multiplier": {"plain": {"learning_rate": 0.1, "initial": 1.0}}}
    model, actor_critic, batch = build(config, update="lagrangian", cost_limit=5.0)
    _, posterior, _ = model.loss(batch)
    dream = actor_critic.dream(model, posterior, batch)
    dream.first[:] = True
    actor_critic.episode_steps = 1.0  # then a discounted cost is an episode's cost
    for cost, expected in ((7.0, 1.2), (4.0, 1.1)):
        actor_critic.update_multiplier(
            dream._replace(cost_return=torch.full_like(dream.cost_return, cost))
        )
        assert actor_critic.price == pytest.approx(expected)


def test_a_batch_without_first_states_leaves_the_multiplier_alone() -> None:
    model, actor_critic, batch = build(update="lagrangian", cost_limit=0.0)
    batch.is_first[:] = False
    _, posterior, _ = model.loss(batch)
    actor_critic.update_multiplier(actor_critic.dream(model, posterior, batch))
    assert actor_critic.price == 0.0


# --- scales --------------------------------------------------------------------------------------


def test_scale_is_the_root_mean_square_from_the_first_update_on() -> None:
    scale = Scale(decay=0.9, floor=0.1)
    assert scale.value == 1.0
    probs, weight = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([0.3, 0.0])
    scale.update(torch.tensor([[2.0, -2.0], [9.0, 9.0]]), probs, weight)
    assert scale.value == pytest.approx(2.0)
    for _ in range(200):
        scale.update(torch.tensor([[1e-3, -1e-3]]), probs[:1], weight[:1])
    assert scale.value == pytest.approx(0.1)
