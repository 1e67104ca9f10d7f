"""Starts of dreams stand for rows of the data, however they were drawn."""

from __future__ import annotations

import pytest
import torch
from test_actor_critic import build
from tiny_batch import batch_of

from vlsafe_agents.common.returns import episode_cost
from vlsafe_agents.vlsafe.batch import TensorBatch
from vlsafe_agents.vlsafe.imagination import Starts, choose_starts, dream_metrics, state_weight
from vlsafe_agents.vlsafe.rssm import RSSMState


def short_episodes(length: int = 48, every: int = 6) -> TensorBatch:
    """One sequence of episodes of six rows, each of which ends in a terminal state."""
    return batch_of(
        is_first=[float(t % every == 0) for t in range(length)],
        is_terminal=[float(t % every == every - 1) for t in range(length)],
    )


def numbered(batch: TensorBatch) -> RSSMState:
    """A state for each row, whose number it holds."""
    rows = torch.arange(batch.reward.numel()).float().view(*batch.reward.shape, 1)
    return RSSMState(rows, torch.zeros(*rows.shape, 1))


def draw(batch: TensorBatch, count: int, explore: float = 0.5) -> Starts:
    return choose_starts(numbered(batch), batch, count, explore)


@pytest.mark.parametrize("count", [7, 16, 32])
@pytest.mark.parametrize("which", ["rows", "own_rows"])
def test_the_weighted_average_over_starts_is_the_average_over_rows(count: int, which: str) -> None:
    """First states are 20% of the rows that may be chosen, and up to half of the starts."""
    torch.manual_seed(0)
    batch = short_episodes()
    usable = ~batch.is_terminal
    value = torch.where(batch.is_first, 10.0, torch.arange(48.0).sin())
    expected = value[usable].mean()
    sums, plain = [], []
    for _ in range(1000):
        starts = draw(batch, count)
        x = value.flatten()[starts.state.deter[:, 0].long()]
        sums.append((getattr(starts, which) * x).mean())
        plain.append(x.mean())
    found, error = torch.stack(sums), torch.stack(sums).std() / 1000**0.5
    assert found.mean() == pytest.approx(float(expected), abs=4 * float(error))
    if count < 32:
        assert torch.stack(plain).mean() > expected + 4 * error, "what weights correct"


def test_weights_average_to_one_and_are_one_where_every_row_is_a_start() -> None:
    batch = short_episodes()
    assert draw(batch, 16).rows.mean() == pytest.approx(1.0)
    assert draw(batch, 1000).rows.tolist() == pytest.approx([1.0] * 40)


def test_first_states_are_drawn_often_but_leave_room_for_others() -> None:
    batch = short_episodes(every=2)._replace(is_terminal=torch.zeros(1, 48, dtype=torch.bool))
    starts = draw(batch, 16)
    assert starts.first.sum() == 8
    assert draw(short_episodes(), 16).first.sum() == 8, "all of them, where they are few"
    assert draw(batch, 48).first.sum() == 24


def test_dreams_that_explore_stand_for_nothing_that_the_actor_does() -> None:
    starts = draw(short_episodes(), 32)
    assert starts.explored.any()
    assert (starts.own_rows[starts.explored] == 0).all()
    assert (starts.own_rows[~starts.explored] > 0).all()


# --- where averages over starts are taken ---------------------------------------------------------


def test_the_constraint_on_all_states_is_an_average_over_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {"multiplier": {"constraint_states": "data"}}
    model, actor_critic, batch = build(config, update="lagrangian")
    read: list[float] = []
    monkeypatch.setattr(actor_critic.multiplier, "update", read.append)
    dream = actor_critic.dream(model, model.observe(batch), batch)
    cost = torch.where(dream.first, 5.0, 1.0)
    dream = dream._replace(cost_return=cost[:, None].expand_as(dream.cost_return))
    actor_critic.update_multiplier(dream)
    weight = dream.own_rows
    gamma = actor_critic.config.imagination.gamma
    expected = float((weight * cost).sum() / weight.sum())
    assert read == [pytest.approx(episode_cost(expected, gamma, 20.0))]


def test_critics_and_actor_count_a_start_as_the_rows_that_it_stands_for() -> None:
    """Nothing is learned from dreams that stand for no row."""
    model, actor_critic, batch = build()
    dream = actor_critic.dream(model, model.observe(batch), batch)
    count = len(dream.rows)
    alone = torch.zeros(count)
    alone[0] = count
    for rows in (alone, torch.ones(count)):
        spoiled = dream._replace(
            rows=rows,
            reward_return=torch.where((rows == 0)[:, None], 1e3, dream.reward_return),
        )
        loss = actor_critic._imagined_critic_loss(spoiled)
        clean = actor_critic._imagined_critic_loss(dream._replace(rows=rows))
        torch.testing.assert_close(loss, clean)
    weight = state_weight(dream._replace(rows=alone, own_rows=alone), 0.5, True)
    assert (weight[1:] == 0).all()
    assert weight.sum() == pytest.approx(1.0)


def test_metrics_of_dreams_are_averages_over_rows() -> None:
    model, actor_critic, batch = build()
    dream = actor_critic.dream(model, model.observe(batch), batch)
    reward = torch.where(dream.first, 5.0, 1.0)[:, None].expand_as(dream.imagined.reward)
    ones = torch.ones_like(reward)
    dream = dream._replace(imagined=dream.imagined._replace(reward=reward, cont=ones))
    found = dream_metrics(dream, 1.0)["imagined/return"]
    weight = dream.own_rows
    assert found == pytest.approx(float((weight * reward.sum(-1)).sum() / weight.sum()))


def test_dreams_are_described_even_if_all_of_them_explore() -> None:
    model, actor_critic, batch = build({"imagination": {"explore": 1.0}})
    batch = batch._replace(is_first=torch.zeros_like(batch.is_first))
    dream = actor_critic.dream(model, model.observe(batch), batch)
    assert dream.explored.all()
    assert torch.isfinite(torch.tensor(list(dream_metrics(dream, 0.9).values()))).all()
