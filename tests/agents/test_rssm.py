"""The recurrent model: one call equals step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vlsafe_agents.common.distributions import sample_one_hot
from vlsafe_agents.vlsafe.config import RSSMConfig
from vlsafe_agents.vlsafe.rssm import RSSM, RSSMState

torch.set_num_threads(1)
BATCH, TIME, ACTIONS, EMBED = 3, 6, 4, 7
CONFIG = RSSMConfig(deter=12, hidden=8, stoch=3, classes=5, blocks=2, prior_layers=2)


@pytest.fixture
def rssm() -> RSSM:
    torch.manual_seed(0)
    model = RSSM(ACTIONS, EMBED, CONFIG)
    for parameter in model.parameters():  # no zeros or ones that could hide a missing term
        torch.nn.init.normal_(parameter, 0.3, 0.5)
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    embed = torch.randn(BATCH, TIME, EMBED, generator=generator)
    action = torch.randn(BATCH, TIME, ACTIONS, generator=generator) * 2
    is_first = torch.zeros(BATCH, TIME, dtype=torch.bool)
    is_first[:, 0] = torch.tensor([True, False, True])
    is_first[1, 3] = True
    return embed, action, is_first


def step_by_step(
    rssm: RSSM, embed: Tensor, action: Tensor, is_first: Tensor, seed: int
) -> RSSMState:
    """`observe` from `obs_step`'s parts, with the random numbers that `observe` draws."""
    torch.manual_seed(seed)
    uniform = torch.rand(TIME, BATCH, CONFIG.stoch, 1)
    state, states = rssm.initial(BATCH), []
    for t in range(TIME):
        step = rssm.obs_step(state, action[:, t], embed[:, t], is_first[:, t])
        assert step.logits is not None
        stoch = sample_one_hot(step.logits, uniform[t], CONFIG.unimix)
        state = RSSMState(step.deter, stoch, step.logits)
        states.append(state)
    return RSSMState(*(torch.stack(parts, 1) for parts in zip(*states, strict=True)))


def test_observe_in_one_call_equals_step_by_step(rssm: RSSM) -> None:
    arguments = inputs()
    torch.manual_seed(5)
    together = rssm.observe(*arguments)
    single = step_by_step(rssm, *arguments, seed=5)
    for a, b in zip(together, single, strict=True):
        assert a is not None
        assert b is not None
        torch.testing.assert_close(a, b)


def test_start_state_is_used_and_gets_its_gradient(rssm: RSSM) -> None:
    embed, action, is_first = inputs()
    is_first[:, 0] = torch.tensor([True, False, False])
    start = RSSMState(
        torch.randn(BATCH, CONFIG.deter, requires_grad=True),
        torch.rand(BATCH, CONFIG.stoch, CONFIG.classes),
    )
    state = rssm.obs_step(start, action[:, 0], embed[:, 0], is_first[:, 0])
    (gradient,) = torch.autograd.grad(state.deter.sum(), [start.deter])
    assert (gradient[0] == 0).all()  # a new episode forgets
    assert (gradient[1:].abs().sum(1) > 0).all()


def test_is_first_in_the_middle_equals_a_fresh_state(rssm: RSSM) -> None:
    embed, action, is_first = inputs()
    is_first[:, 3] = True
    torch.manual_seed(3)
    whole = rssm.observe(embed, action, is_first)
    torch.manual_seed(3)
    torch.rand(3, BATCH, CONFIG.stoch, 1)  # the random numbers of the first three steps
    changed = action[:, 3:].clone()
    changed[:, 0] = 99.0  # what led to a first observation must not matter
    fresh = rssm.observe(embed[:, 3:], changed, is_first[:, 3:])
    torch.testing.assert_close(whole.deter[:, 3:], fresh.deter)
    torch.testing.assert_close(whole.stoch[:, 3:], fresh.stoch)


def test_latents_are_one_hot_and_the_mode_is_repeatable(rssm: RSSM) -> None:
    embed, action, is_first = inputs()
    step = (rssm.initial(BATCH), action[:, 0], embed[:, 0], is_first[:, 0])
    first = rssm.obs_step(*step, deterministic=True)
    again = rssm.obs_step(*step, deterministic=True)
    torch.testing.assert_close(first.stoch, again.stoch, rtol=0, atol=0)
    assert first.logits is not None
    assert (first.stoch.argmax(-1) == first.logits.argmax(-1)).all()
    assert (first.stoch.sum(-1) == 1).all()
    assert set(first.stoch.unique().tolist()) == {0.0, 1.0}


def test_imagine_returns_a_state_more_than_actions(rssm: RSSM) -> None:
    start = rssm.initial(5)
    seen: list[Tensor] = []

    def policy(feat: Tensor) -> Tensor:
        seen.append(feat)
        return torch.ones(len(feat), ACTIONS) * len(seen)

    feat, action = rssm.imagine(start, policy, horizon=4)
    assert feat.shape == (5, 5, CONFIG.deter + CONFIG.stoch * CONFIG.classes)
    assert action.shape == (5, 4, ACTIONS)
    assert action[0, :, 0].tolist() == [1, 2, 3, 4]
    for j, x in enumerate(seen):  # action j is chosen in state j
        torch.testing.assert_close(x, feat[:, j])


def test_free_bits_remove_the_gradient_of_a_small_kl(rssm: RSSM) -> None:
    logits = rssm.prior(torch.zeros(BATCH, TIME, CONFIG.deter)).detach().requires_grad_()
    deter = torch.zeros(BATCH, TIME, CONFIG.deter)
    dyn, rep, kl = rssm.kl_losses(RSSMState(deter, torch.zeros_like(logits), logits))
    assert kl.abs().max() < 1e-5
    assert (dyn == CONFIG.free_nats).all()
    (gradient,) = torch.autograd.grad(rep.sum(), [logits])
    assert (gradient == 0).all()


def test_dynamics_loss_trains_the_prior_only_and_representation_loss_the_posterior_only(
    rssm: RSSM,
) -> None:
    embed, action, is_first = inputs()
    state = rssm.observe(embed, action, is_first)
    dyn, rep, _ = rssm.kl_losses(RSSMState(state.deter.detach(), state.stoch, state.logits))
    prior, posterior = rssm.prior_net[0].weight, rssm.logits.weight
    assert isinstance(prior, Tensor)
    for loss, used, unused in ((dyn, prior, posterior), (rep, posterior, prior)):
        a, b = torch.autograd.grad(loss.sum(), [used, unused], allow_unused=True, retain_graph=True)
        assert a.abs().sum() > 0
        assert b is None or b.abs().sum() == 0
