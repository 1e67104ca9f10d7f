"""Sequences that begin in mid-episode begin with a state that remembers what came before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from speed_limit import record
from test_actor_critic import build
from tiny_agents import make, weights

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.vlsafe.batch import TensorBatch, to_tensors
from vlsafe_agents.vlsafe.rssm import RSSMState


def rows_of(dataset: EpisodeDataset, context: int, seed: int = 0) -> TensorBatch:
    return to_tensors(dataset.sample(4, 6, np.random.default_rng(seed), context=context))


# --- rows -----------------------------------------------------------------------------------------


def test_context_changes_nothing_of_the_sequences_and_comes_right_before_them() -> None:
    dataset = record(10)
    without = dataset.sample(64, 6, np.random.default_rng(0))
    whole = dataset.sample(64, 6, np.random.default_rng(0), context=3)
    for name, x in vars(whole.cut(slice(3, None))).items():
        if name != "obs":
            assert np.array_equal(x, getattr(without, name)), name
    shifted = whole.cut(slice(1, None))
    inner = ~shifted.is_first  # (B, K + T - 1)
    before = whole.next_action[:, :-1]
    assert np.array_equal(shifted.action[inner], before[inner])


def test_rows_before_the_first_of_all_are_forgotten_at_once() -> None:
    """The stream has no rows there; whatever stands there, an episode begins after it."""
    dataset = record(2)
    batch = dataset.sample(200, dataset.num_steps, np.random.default_rng(0), context=4)
    at_start = batch.is_first[:, 4]
    assert at_start.any()
    assert np.isfinite(batch.reward).all()


def test_the_weight_of_a_sequence_is_that_of_its_context_too() -> None:
    batch = record(10).sample(32, 6, np.random.default_rng(0), unsafe_ends=0.5, context=3)
    assert batch.weight.shape == (32, 9)
    assert (batch.weight == batch.weight[:, :1]).all()


# --- states ---------------------------------------------------------------------------------------


def test_a_state_burnt_in_from_an_episodes_start_is_the_one_observed_from_there() -> None:
    model, _, _ = build()
    whole = to_tensors(record(10).episode_batch(0))
    context, rest = whole.cut(slice(5)), whole.cut(slice(5, 12))
    torch.manual_seed(3)
    expected = model.observe(whole.cut(slice(12)))
    torch.manual_seed(3)
    start = model.burn_in(context, None)
    found = model.observe(rest, start=start)
    assert torch.equal(found.deter, expected.deter[:, 5:])
    assert torch.equal(found.stoch, expected.stoch[:, 5:])
    torch.manual_seed(3)
    assert not torch.allclose(model.observe(rest).deter, found.deter), "what burning in mends"


def test_an_episode_that_begins_where_the_sequence_does_forgets_the_context() -> None:
    model, _, _ = build()
    whole = to_tensors(record(10).episode_batch(0))
    rest = whole.cut(slice(0, 6))
    start = model.burn_in(whole.cut(slice(6, 9)), None)
    torch.manual_seed(3)
    found = model.observe(rest, start=start)
    torch.manual_seed(3)
    assert torch.equal(found.deter, model.observe(rest).deter)


def test_another_sequences_actions_are_also_those_of_its_context() -> None:
    model, _, _ = build()
    whole = rows_of(record(10), context=3)
    context, batch = whole.cut(slice(3)), whole.cut(slice(3, None))
    torch.manual_seed(0)
    action, before = model.foreign_actions(batch, 1.0, context)  # type: ignore[misc]
    assert before is not None
    recorded = model.action_vector(whole.action)
    for one in torch.cat([before, action], 1):
        assert any(torch.equal(one, other) for other in recorded)
    assert model.foreign_actions(batch, 0.0, context) is None


# --- losses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("forget", [0.0, 1.0])
def test_nothing_is_learned_from_the_context(forget: float) -> None:
    """Its rewards, costs, scores and ends count for nothing, its observations for the state."""
    model, _, _ = build()
    whole = rows_of(record(10), context=3)
    context, batch = whole.cut(slice(3)), whole.cut(slice(3, None))
    spoiled = context._replace(
        reward=context.reward + 100.0,
        cost=context.cost + 100.0,
        safety_score=1.0 - context.safety_score,
        is_terminal=~context.is_terminal,
        next_action=(context.next_action + 1) % 3,
    )
    other = context._replace(obs={key: x + 1.0 for key, x in context.obs.items()})
    found = []
    for before in (context, spoiled, other, None):
        torch.manual_seed(1)
        foreign = model.foreign_actions(batch, forget, before)
        loss, posterior, _ = model.loss(batch, lambda feat: feat.mean(), foreign, before)
        assert posterior.deter.shape[:2] == batch.reward.shape
        found.append(loss.item())
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_no_gradient_flows_into_the_context() -> None:
    model, _, _ = build()
    start = model.burn_in(rows_of(record(10), context=0).cut(slice(3)), None)
    assert isinstance(start, RSSMState)
    assert not start.deter.requires_grad
    assert not start.stoch.requires_grad


@pytest.mark.parametrize("forget", [0.0, 1.0])
def test_an_agent_learns_with_and_without_context(forget: float) -> None:
    """All three phases, with different results."""
    found = []
    for rows in (0, 3):
        config = {"train": {"burn_in": rows}, "forget_actions": forget, "model_every": 2}
        agent = make(record(10), config=config).learn(20)
        found.append(weights(agent))
        assert torch.isfinite(found[-1]).all()
    assert not torch.equal(*found)
