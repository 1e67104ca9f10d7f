"""Core, KL, two-hot codes and lambda-returns beside slow NumPy ports of DreamerV3's.

Same weights, random (seed 0); agreement to 1e-4 of a value plus 1e-5, float32 against float64.
What other tests hold is in docs/algorithms.md, "What is checked against what".
"""

from __future__ import annotations

import numpy as np
import numpy_references as ref
import pytest
import torch
from numpy_weights import close, layer, layers, numbers, randomise
from torch import nn

from vlsafe_agents.common.distributions import (
    symexp_bins,
    twohot,
    twohot_loss,
    twohot_mean,
    unimix_probs,
)
from vlsafe_agents.common.returns import lambda_return
from vlsafe_agents.vlsafe.config import RSSMConfig
from vlsafe_agents.vlsafe.rssm import RSSM, RSSMState

ACTIONS, EMBED = 4, 7
CONFIG = RSSMConfig(deter=12, hidden=8, stoch=3, classes=5, blocks=3, prior_layers=2)


# --- recurrent state-space model ----------------------------------------------------------------


def core_of(rssm: RSSM) -> ref.Core:
    """The same weights in the releases' layout.

    There each block reads its share of ``deter`` and a copy of the three inputs, and its gates come
    in the order reset, candidate, update; here the inputs' weights are one dense matrix, the
    action's is a layer of its own, and the order is reset, update, candidate.
    """
    own = numbers(rssm.deter_core.weight)  # (G, D / G, D / G)
    groups, size, _ = own.shape
    dense = numbers(rssm.hidden_core)  # (D, 2 H)
    driven: nn.Linear = rssm.action_in[2]  # type: ignore[assignment]
    hidden = []
    for g in range(groups):
        rows = slice(g * size, (g + 1) * size)
        action = numbers(driven.weight)[rows].T  # (H, D / G)
        hidden.append(np.concatenate([own[g], dense[rows].T, action]))
    order = np.concatenate([np.arange(size) + part * size for part in (0, 2, 1)])
    return ref.Core(
        layer(rssm.deter_in, rssm.deter_norm),
        layer(rssm.stoch_in, rssm.stoch_norm),
        layer(rssm.action_in[0], rssm.action_in[1]),  # type: ignore[arg-type]
        np.stack(hidden),
        numbers(driven.bias),
        numbers(rssm.core_norm.weight),
        numbers(rssm.gates.weight)[:, :, order],
        numbers(rssm.gates_bias).reshape(groups, -1)[:, order],
    )


@pytest.fixture
def rssm() -> RSSM:
    torch.manual_seed(0)
    model = RSSM(ACTIONS, EMBED, CONFIG)
    randomise(model, 0.5)
    return model


def latent_inputs(count: int) -> tuple[RSSMState, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(CONFIG.classes, (count, CONFIG.stoch), generator=generator)
    stoch = nn.functional.one_hot(index, CONFIG.classes).float()
    deter = torch.randn(count, CONFIG.deter, generator=generator)
    action = 2 * torch.randn(count, ACTIONS, generator=generator)  # some beyond 1
    return RSSMState(deter, stoch), action, torch.randn(count, EMBED, generator=generator)


def test_the_recurrent_step_and_its_logits_equal_dreamers(rssm: RSSM) -> None:
    state, action, embed = latent_inputs(6)
    first = torch.tensor([False, True, False, False, True, False])
    seen = rssm.obs_step(state, action, embed, first, deterministic=True)
    dreamt = rssm.img_step(state, action)
    core, obs = core_of(rssm), rssm.embed_in
    kernel = np.concatenate([numbers(rssm.deter_posterior.weight).T, numbers(obs.weight).T])
    posterior = [
        (kernel, numbers(obs.bias), numbers(rssm.posterior_norm.weight)),
        layer(rssm.logits),
    ]
    for n in range(6):
        parts = [numbers(x[n]) for x in (state.deter, state.stoch, action)]
        deter = ref.core_step(core, *parts)
        close(dreamt.deter[n], deter)
        prior = ref.network(deter, layers(rssm.prior_net)).reshape(3, 5)
        close(dreamt.logits[n], prior)
        if first[n]:
            deter = ref.core_step(core, *[0 * x for x in parts])
        logits = ref.network(np.concatenate([deter, numbers(embed[n])]), posterior).reshape(3, 5)
        close(seen.deter[n], deter)
        close(seen.logits[n], logits)
        assert (numbers(seen.stoch[n]).argmax(-1) == logits.argmax(-1)).all()


def test_unimix_and_the_kl_with_free_nats_equal_dreamers(rssm: RSSM) -> None:
    generator = torch.Generator().manual_seed(0)
    deter = torch.randn(2, 4, CONFIG.deter, generator=generator)
    spread = torch.tensor([0.0, 0.1, 1.0, 20.0])[:, None, None]  # below and far above a nat
    prior = rssm.prior(deter)
    logits = prior + spread * torch.randn(2, 4, 3, 5, generator=generator)
    mixed = unimix_probs(logits, CONFIG.unimix)
    close(mixed, ref.unimix(numbers(logits), 0.01))
    dyn, rep, kl = rssm.kl_losses(RSSMState(deter, torch.zeros(2, 4, 3, 5), logits))
    expected = np.empty((2, 4))
    for b, t in np.ndindex(2, 4):
        expected[b, t] = ref.categorical_kl(numbers(logits[b, t]), numbers(prior[b, t]), 0.01)
    assert (expected < 1).any()
    assert (expected > 1).any()
    close(kl, expected)
    for loss in (dyn, rep):
        close(loss, np.maximum(expected, 1.0))


# --- two-hot and lambda-returns -----------------------------------------------------------------


@pytest.mark.parametrize(("count", "limit"), [(255, 20.0), (31, 10.0)])
def test_twohot_codes_means_and_losses_equal_dreamers(count: int, limit: float) -> None:
    bins = symexp_bins(count, limit)
    np.testing.assert_allclose(numbers(bins), ref.symexp_bins(count, limit), rtol=1e-5, atol=0)
    slow_bins = numbers(bins)
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(9, count, generator=generator)
    targets = torch.tensor([-1e9, -300.0, -1.0, 0.0, 1e-3, 0.5, float(bins[-3]), 7e3, 1e9])
    for n, target in enumerate(targets):
        code = ref.twohot_code(float(target), slow_bins)
        close(twohot(target, bins), code)
        loss = ref.twohot_nll(numbers(logits[n]), float(target), slow_bins)
        close(twohot_loss(logits[n], target, bins), loss)
    middle = logits - 0.1 * torch.linspace(-10, 10, count).square()  # at sizes that rewards have
    mean = ref.twohot_mean(numbers(middle), slow_bins)
    scale = float(np.abs(ref.softmax(numbers(middle)) * slow_bins).sum(-1).max())
    np.testing.assert_allclose(numbers(twohot_mean(middle, bins)), mean, rtol=0, atol=1e-6 * scale)


def test_lambda_returns_equal_dreamers_within_an_episode() -> None:
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 12))
    term = (rng.random(12) < 0.2).astype(float)
    chance = rng.random(12)  # of an end: what a continuation head predicts
    for end in (term, chance):
        slow = ref.dreamer_lambda_return(np.zeros(12), end, reward, value, 1 - 1 / 333, 0.95)
        parts = (torch.tensor(x)[None] for x in (reward[1:], value, 1 - end[1:]))
        np.testing.assert_allclose(lambda_return(*parts, 1 - 1 / 333, 0.95)[0].numpy(), slow)
