"""COptiDICE: where it ends on a solved task, and its losses in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch as th
import two_lanes
from numpy_weights import numbers
from offline_references import corrected_occupancy
from speed_limit import SpeedLimit
from speed_limit import record as record_speeds
from test_offline_baselines import log_chances
from test_vehicle_rows import drives as vehicle_drives
from two_lanes import TwoLanes, drive, optimum, record, value

from vlsafe_agents import COptiDICE
from vlsafe_agents.common.vehicle_policies import VehiclesExtractor
from vlsafe_agents.coptidice.losses import best_ratio, dual_loss, soft_chi, tilted
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.mixture import MixedDataset

LIMIT = 2.0
SMALL: dict[str, Any] = {"seed": 0, "device": "cpu", "batch_size": 16}


@pytest.fixture(scope="module")
def sure() -> Iterator[EpisodeDataset]:
    """Drives on lanes where a change always succeeds: the estimate of e is exact there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_lanes, "CHANGE", 1.0)
        yield record(600)


# --- where it ends --------------------------------------------------------------------------------


def test_with_a_small_alpha_the_reference_is_the_linear_programs(sure: EpisodeDataset) -> None:
    known, found = optimum(LIMIT), corrected_occupancy(LIMIT, alpha=0.002)
    assert found.earned == pytest.approx(known.earned, abs=0.05)
    assert found.paid == pytest.approx(LIMIT, abs=1e-3)


def test_it_ends_at_the_constrained_optimum(sure: EpisodeDataset) -> None:
    expected = corrected_occupancy(LIMIT, alpha=0.05)
    agent = COptiDICE(
        "MlpPolicy", TwoLanes(), sure, cost_limit=LIMIT, gamma=1.0, alpha=0.05, cost_bound=0.0,
        learning_rate=3e-3, multiplier_learning_rate=0.3, seed=0, device="cpu",
        policy_kwargs={"net_arch": [64]},
    ).learn(800)  # fmt: skip
    fast = np.exp(log_chances(agent)[..., 1])
    earned, paid = value(fast)
    print(f"COptiDICE: return {earned:.2f}, cost {paid:.2f}, multiplier "
          f"{agent.multiplier.value:.2f}; exact {expected.earned:.2f}, {expected.paid:.2f}, "
          f"linear program {optimum(LIMIT).earned:.2f}")  # fmt: skip
    assert paid == pytest.approx(LIMIT, abs=0.25)
    assert earned == pytest.approx(expected.earned, abs=0.35)
    assert drive(agent, 200) == pytest.approx((earned, paid), abs=0.3)


@pytest.mark.slow  # 4 s of one core
def test_the_bound_keeps_the_cost_lower(sure: EpisodeDataset) -> None:
    paid = []
    for bound in (0.0, 0.05):
        agent = COptiDICE(
            "MlpPolicy", TwoLanes(), sure, cost_limit=LIMIT, gamma=1.0, alpha=0.2, cost_bound=bound,
            learning_rate=3e-3, multiplier_learning_rate=0.3, seed=0, device="cpu",
            policy_kwargs={"net_arch": [32]},
        ).learn(400)  # fmt: skip
        paid.append(value(np.exp(log_chances(agent)[..., 1]))[1])
    print(f"COptiDICE: cost {paid[0]:.2f} without a bound, {paid[1]:.2f} with one")
    assert paid[1] < paid[0] - 0.1


# --- losses ---------------------------------------------------------------------------------------


def test_the_ratio_is_the_best_of_all() -> None:
    e = np.array([-2.0, -0.3, 0.0, 0.2, 1.5])
    found = numbers(best_ratio(th.as_tensor(e), 0.5))
    grid = np.linspace(0.0, 6.0, 60_001)
    f = np.where(
        grid < 1, grid * np.log(np.maximum(grid, 1e-300)) - grid + 1, 0.5 * (grid - 1) ** 2
    )
    best = grid[(grid * e[:, None] - 0.5 * f).argmax(-1)]
    np.testing.assert_allclose(found, best, atol=1e-3)
    np.testing.assert_allclose(numbers(soft_chi(th.as_tensor(grid))), f, atol=1e-12)


def test_the_dual_is_written_out_and_its_gradient_is_that_of_the_envelope() -> None:
    e = th.tensor([-0.5, 0.0, 1.0], dtype=th.float64, requires_grad=True)
    start = th.tensor([2.0, 4.0], dtype=th.float64)
    ratio = best_ratio(e.detach(), 0.5)
    loss = dual_loss(start, 0.1, e, ratio, 0.5)
    w = [np.exp(-1.0), 1.0, 3.0]
    f = [w[0] * np.log(w[0]) - w[0] + 1, 0.0, 2.0]
    expected = (
        0.3 + sum(a * b - 0.5 * c for a, b, c in zip(w, (-0.5, 0.0, 1.0), f, strict=True)) / 3
    )
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    through = e.detach().clone().requires_grad_()
    dual_loss(start, 0.1, through, best_ratio(through, 0.5), 0.5).backward()
    np.testing.assert_allclose(numbers(e.grad), numbers(through.grad))


def test_the_worst_resampling_weighs_by_the_exponential() -> None:
    weights, divergence = tilted(th.tensor([0.0, 1.0, 2.0]), 0.5)
    raw = np.exp(np.array([0.0, 2.0, 4.0]))
    expected = 3 * raw / raw.sum()
    np.testing.assert_allclose(numbers(weights), expected, rtol=1e-5)
    assert divergence.item() == pytest.approx((expected * np.log(expected)).mean(), rel=1e-5)


# --- data and files -------------------------------------------------------------------------------


def test_first_observations_and_lengths_are_those_of_the_episodes() -> None:
    data = record_speeds(12)
    rng = np.random.default_rng(0)
    firsts = np.stack([episode.obs["vector"][0] for episode in data.episodes])
    for dataset in (data, MixedDataset([data, data])):
        [found] = dataset.sample_starts(50, rng).values()
        assert all((firsts == row).all(-1).any() for row in found)
    [stacked] = data.sample_starts(20, rng, frame_stack=2).values()
    assert not stacked.reshape(20, 2, -1)[:, 0].any(), "zeros from before the episode"
    steps = [episode.action.shape[0] for episode in data.episodes]
    ends = [episode.terminated for episode in data.episodes]
    expected = np.mean(
        [(1 - 0.9**t) / 0.1 if end else 10.0 for t, end in zip(steps, ends, strict=True)]
    )
    assert data.mean_discounted_steps(0.9) == pytest.approx(expected)


def test_the_limit_of_a_step_and_the_share_of_a_start() -> None:
    data = record(20)
    agent = COptiDICE("MlpPolicy", TwoLanes(), data, cost_limit=1.5, gamma=1.0, **SMALL)
    assert agent.multiplier.cost_limit == pytest.approx(0.15)
    assert agent._share == pytest.approx(0.1)


def test_a_file_holds_multiplier_and_temperature(tmp_path: Any) -> None:
    data, kwargs = record_speeds(12), {**SMALL, "policy_kwargs": {"net_arch": [16]}}
    agent = COptiDICE("MlpPolicy", SpeedLimit(), data, cost_limit=0.1, **kwargs).learn(5)
    agent.save(tmp_path / "a.zip")
    again = COptiDICE.load(tmp_path / "a.zip", device="cpu")
    assert again.multiplier.value == agent.multiplier.value > 0.0
    assert again.temperature == agent.temperature != 1.0
    seen = np.zeros(4, np.float32)
    assert again.predict(seen, deterministic=True) == agent.predict(seen, deterministic=True)


def test_it_sees_a_set_of_vehicles() -> None:
    cars = COptiDICE("MultiInputPolicy", None, vehicle_drives(4), **SMALL).learn(2)
    found = [part for part in cars.policy.modules() if isinstance(part, VehiclesExtractor)]
    assert len(found) == 3  # of the actor, nu and chi


def test_what_it_is_given_is_checked() -> None:
    for wrong in ({"alpha": 0.0}, {"cost_bound": -1.0}, {"gamma": 1.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            COptiDICE("MlpPolicy", TwoLanes(), **wrong)
    with pytest.raises(ValueError, match="gamma below 1"):
        COptiDICE("MlpPolicy", SpeedLimit(), record_speeds(12), gamma=1.0)
