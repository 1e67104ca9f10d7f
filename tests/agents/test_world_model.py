"""The world model: losses, heads, dreaming and, above all, what belongs to which time step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.data.dataset import SequenceBatch
from vlsafe_agents.vlsafe.batch import TensorBatch, observation_spaces, to_tensors
from vlsafe_agents.vlsafe.config import LossScales, RSSMConfig
from vlsafe_agents.vlsafe.networks import depth_to_space, sigmoid_squared_error, space_to_depth
from vlsafe_agents.vlsafe.presets import PRESETS
from vlsafe_agents.vlsafe.world_model import WorldModel

torch.set_num_threads(1)
IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)
VECTOR = spaces.Box(-1, 1, (6,), np.float32)
MULTI = spaces.Dict({"image": IMAGE, "vector": VECTOR})
ACTIONS = spaces.Discrete(4)
DEBUG = PRESETS["debug"].world_model
B, T = 4, 8


def random_sequences(seed: int = 0) -> SequenceBatch:
    rng = np.random.default_rng(seed)
    is_first = np.zeros((B, T), bool)
    is_first[:, 0] = True
    is_first[1, 5] = True
    is_terminal = np.zeros((B, T), bool)
    is_terminal[1, 4] = True
    return SequenceBatch(
        obs={
            "image": rng.integers(0, 256, (B, T, 64, 64, 3)).astype(np.uint8),
            "vector": rng.uniform(-1, 1, (B, T, 6)).astype(np.float32),
        },
        action=rng.integers(0, 4, (B, T)),
        next_action=rng.integers(0, 4, (B, T)),
        reward=rng.uniform(0, 1, (B, T)).astype(np.float32),
        cost=rng.integers(0, 2, (B, T)).astype(np.float32),
        safety_score=rng.uniform(0, 1, (B, T)).astype(np.float32),
        is_first=is_first,
        is_terminal=is_terminal,
        has_action=~is_terminal,
        weight=np.ones((B, T), np.float32),
    )


def fit_once(model: WorldModel, optimiser: LaProp, batch: TensorBatch) -> dict[str, float]:
    loss, _, metrics = model.loss(batch)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return metrics


def fit(model: WorldModel, batch: TensorBatch, steps: int) -> list[dict[str, float]]:
    optimiser = LaProp(model.parameters(), lr=5e-3, warmup=10)
    return [fit_once(model, optimiser, batch) for _ in range(steps)]


@pytest.mark.parametrize("space", [IMAGE, VECTOR, MULTI], ids=["image", "vector", "multi"])
def test_overfitting_one_batch_lowers_every_reconstruction(space: spaces.Space[Any]) -> None:
    torch.manual_seed(0)
    model = WorldModel(space, ACTIONS, DEBUG)
    history = fit(model, to_tensors(random_sequences()), steps=40)
    keys = {"image", "vector"} if space is MULTI else {"image" if space is IMAGE else "vector"}
    either = ("train/image_loss", "train/vector_loss")
    assert {k for k in history[0] if k in either} == {f"train/{k}_loss" for k in keys}
    for name in ("model", *keys, "reward", "cost", "cont"):
        assert history[-1][f"train/{name}_loss"] < 0.97 * history[0][f"train/{name}_loss"], name


def test_losses_must_match_the_loss_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    model = WorldModel(VECTOR, ACTIONS, DEBUG)
    assert set(model.scales()) == {f.name for f in dataclasses.fields(LossScales)} - {
        "image",
        "vehicles",
        "disagreement",
    }
    monkeypatch.setattr(model, "scales", lambda: {"vector": 1.0})
    with pytest.raises(AssertionError, match="safety_score"):
        model.loss(to_tensors(random_sequences()))


def test_a_scale_of_zero_switches_a_loss_off() -> None:
    config = dataclasses.replace(DEBUG, scales=LossScales(cost=0.0))
    model = WorldModel(VECTOR, ACTIONS, config)
    model.loss(to_tensors(random_sequences()))[0].backward()
    for parameter in model.cost_head.parameters():
        assert parameter.grad is None or parameter.grad.abs().sum() == 0


def test_heads_stay_in_their_ranges_and_rewards_start_at_exactly_zero() -> None:
    model = WorldModel(VECTOR, ACTIONS, DEBUG)
    heads = model.heads(torch.randn(5, 3, model.feat_size) * 10)
    assert all(x.shape == (5, 3) for x in heads)
    assert (heads.reward == 0).all()
    assert (heads.cost == 0).all()
    for probability in (heads.cont, heads.safety_score):
        assert ((probability >= 0) & (probability <= 1)).all()


def test_posterior_states_carry_no_gradient_and_have_batch_and_time_axes() -> None:
    model = WorldModel(MULTI, ACTIONS, DEBUG)
    _, posterior, _ = model.loss(to_tensors(random_sequences()))
    assert posterior.deter.shape == (B, T, 32)
    assert posterior.stoch.shape == (B, T, 4, 4)
    assert not posterior.deter.requires_grad
    assert not posterior.stoch.requires_grad
    assert model.feat(posterior).shape == (B, T, model.feat_size)


# --- alignment ----------------------------------------------------------------------------------


def counting_batch(shift: int, seed: int = 0) -> TensorBatch:
    """Episodes in which ``o_t`` shows a running sum of actions, and reward and p follow from it.

    The action that led to ``o_t`` is added to what ``o_{t-1}`` showed: with it the next observation
    is certain, without it it is a coin toss.  ``shift`` delays the actions.
    """
    rng = np.random.default_rng(seed)
    shape = (16, 8)
    action = rng.integers(0, 2, shape)
    action[:, 0] = 0
    count = np.cumsum(action, 1) % 4
    is_first = np.zeros(shape, bool)
    is_first[:, 0] = True
    given = np.roll(action, shift, 1)
    return to_tensors(
        SequenceBatch(
            obs={"vector": np.eye(4, dtype=np.float32)[count] * 3},
            action=given,
            next_action=np.roll(given, -1, 1),
            reward=(count == 2).astype(np.float32),
            cost=(count == 3).astype(np.float32),
            safety_score=(count / 3).astype(np.float32),
            is_first=is_first,
            is_terminal=np.zeros(shape, bool),
            has_action=np.ones(shape, bool),
            weight=np.ones(shape, np.float32),
        )
    )


def dream_error(shift: int) -> tuple[float, float, float]:
    """Errors of a model fitted to counting data, dreaming on from 4 observations of other data."""
    torch.manual_seed(0)
    config = dataclasses.replace(
        DEBUG, rssm=RSSMConfig(deter=32, hidden=32, stoch=4, classes=4, blocks=2, free_nats=0.1)
    )
    model = WorldModel(spaces.Box(-3, 3, (4,), np.float32), spaces.Discrete(2), config)
    optimiser = LaProp(model.parameters(), lr=5e-3, warmup=10)
    for seed in range(130):
        fit_once(model, optimiser, counting_batch(shift, seed))
    out = model.open_loop(counting_batch(shift, seed=1000), context=4)
    later = slice(4, 8)
    truth = out["vector_truth"].argmax(-1) == out["vector_dream"].argmax(-1)
    reward = np.abs(out["reward_true"] - out["reward_predicted"])[:, later].mean()
    score = np.abs(out["safety_score_true"] - out["safety_score_predicted"])[:, later].mean()
    return float(1 - truth[:, later].mean()), float(reward), float(score)


def test_the_action_of_index_t_is_the_one_that_led_to_observation_t() -> None:
    wrong, reward, score = dream_error(shift=0)
    assert wrong < 0.15
    assert reward < 0.15
    assert score < 0.15


def test_shifted_actions_fail_the_alignment_check() -> None:
    wrong, reward, score = dream_error(shift=1)
    assert wrong > 0.2
    assert reward > 0.15
    assert score > 0.15


def test_terminal_observations_and_only_those_lower_the_continue_head() -> None:
    torch.manual_seed(0)
    model = WorldModel(VECTOR, ACTIONS, DEBUG)
    batch = to_tensors(random_sequences())
    fit(model, batch, steps=110)
    _, posterior, _ = model.loss(batch)
    cont = model.heads(model.feat(posterior)).cont
    assert cont[1, 4] < 0.5  # the one terminal observation
    assert cont[~batch.is_terminal].min() > 0.5


# --- acting and dreaming --------------------------------------------------------------------------


def test_observe_step_resets_at_is_first_and_is_repeatable_in_deterministic_mode() -> None:
    model = WorldModel(MULTI, ACTIONS, DEBUG)
    batch = to_tensors(random_sequences())
    obs = {key: value[:, 0] for key, value in batch.obs.items()}
    used = model.rssm.obs_step(
        model.initial(B),
        torch.ones(B, 4),
        torch.randn(B, model.observation.embed_size),
        ~torch.ones(B, dtype=torch.bool),
    )
    first = torch.ones(B, dtype=torch.bool)
    a = model.observe_step(used, torch.ones(B, 4), obs, first, deterministic=True)
    b = model.observe_step(model.initial(B), torch.zeros(B, 4), obs, first, deterministic=True)
    torch.testing.assert_close(a.deter, b.deter)
    torch.testing.assert_close(a.stoch, b.stoch)
    assert not a.deter.requires_grad


@pytest.mark.parametrize("ensemble", [0, 3])
def test_imagined_shapes_follow_the_contract(ensemble: int) -> None:
    model = WorldModel(VECTOR, ACTIONS, dataclasses.replace(DEBUG, ensemble=ensemble))

    def policy(feat: Tensor) -> Tensor:
        return model.action_vector(torch.zeros(len(feat)))

    _, posterior, metrics = model.loss(to_tensors(random_sequences()))
    dream = model.imagine(posterior.flatten(), policy, horizon=5)
    n = B * T
    assert dream.feat.shape == (n, 6, model.feat_size)
    assert dream.action.shape == (n, 5, 4)
    assert dream.reward.shape == dream.cost.shape == dream.cont.shape == (n, 5)
    assert dream.safety_score.shape == (n, 6)
    assert not dream.feat.requires_grad
    # Entry j belongs to state j + 1.
    torch.testing.assert_close(dream.cont[:, 2], model.heads(dream.feat[:, 3]).cont)
    assert ("train/disagreement_loss" in metrics) == (ensemble > 0)
    if ensemble:
        assert dream.disagreement is not None
        assert dream.disagreement.shape == (n, 5)
        assert (dream.disagreement > 0).all()
    else:
        assert dream.disagreement is None


def test_the_ensemble_leaves_no_gradient_in_the_model_and_agrees_where_it_was_trained() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(DEBUG, ensemble=3)
    model = WorldModel(spaces.Box(-3, 3, (4,), np.float32), spaces.Discrete(2), config)
    batch = counting_batch(0)
    action = model.action_vector(batch.action)
    _, posterior, _ = model.loss(batch)
    assert model.ensemble is not None
    feat = model.feat(posterior).requires_grad_()
    loss = model.ensemble.loss(feat, action, posterior, batch.is_first)
    assert loss.shape == batch.reward.shape
    assert (loss[:, 0] == 0).all()
    loss.sum().backward()
    assert feat.grad is None
    optimiser = LaProp(model.ensemble.parameters(), lr=5e-3, warmup=0)
    for _ in range(60):
        optimiser.zero_grad()
        model.ensemble.loss(feat, action, posterior, batch.is_first).mean().backward()
        optimiser.step()
    familiar = model.ensemble.disagreement(feat.detach()[:, :-1], action[:, 1:])
    strange = model.ensemble.disagreement(torch.randn_like(feat)[:, :-1] * 3, action[:, 1:])
    assert strange.mean() > 2 * familiar.mean()


def test_open_loop_begins_with_reconstructions_and_refuses_mixed_episodes() -> None:
    model = WorldModel(MULTI, ACTIONS, DEBUG)
    batch = to_tensors(random_sequences())
    with pytest.raises(ValueError, match="later is_first"):
        model.open_loop(batch)
    one = TensorBatch(
        {k: v[:1] for k, v in batch.obs.items()},
        *(None if x is None else x[:1] for x in batch[1:]),  # type: ignore[arg-type]
    )
    out = model.open_loop(one, context=5)
    assert out["image_truth"].shape == out["image_dream"].shape == (1, T, 64, 64, 3)
    assert out["image_dream"].dtype == np.uint8
    assert out["vector_dream"].shape == (1, T, 6)
    assert out["safety_score_predicted"].shape == out["cost_true"].shape == (1, T)
    with pytest.raises(ValueError, match="got 8"):
        model.open_loop(one, context=T)


def test_action_vectors_are_one_hot_or_clipped() -> None:
    model = WorldModel(VECTOR, spaces.Discrete(3), DEBUG)
    assert model.action_vector(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    box = WorldModel(VECTOR, spaces.Box(-1, 1, (2,), np.float32), DEBUG)
    assert box.action_size == 2
    assert box.action_vector(torch.tensor([[3.0, -0.5]])).tolist() == [[1.0, -0.5]]


# --- images ---------------------------------------------------------------------------------------


def test_depth_to_space_inverts_space_to_depth_and_patches_are_squares() -> None:
    x = torch.arange(2 * 8 * 8 * 3).view(2, 8, 8, 3)
    patches = space_to_depth(x, 4)
    assert torch.equal(depth_to_space(patches, 4), x)
    assert torch.equal(patches[1, 0, 1].view(4, 4, 3), x[1, 0:4, 4:8])


def test_image_loss_and_its_gradient_equal_plain_autograd() -> None:
    logits = torch.randn(3, 4, 4, 6, dtype=torch.float64, requires_grad=True)
    target, weight = torch.rand(2, 3, 4, 4, 6, dtype=torch.float64)
    scale = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for w in (None, weight):
        fast = sigmoid_squared_error(logits, target, w)
        slow = ((torch.sigmoid(logits) - target) ** 2 * (1 if w is None else w)).sum((1, 2, 3))
        torch.testing.assert_close(fast, slow)
        a = torch.autograd.grad((fast * scale).sum(), [logits])[0]
        torch.testing.assert_close(a, torch.autograd.grad((slow * scale).sum(), [logits])[0])


def test_decoding_a_share_of_the_frames_keeps_the_expected_loss() -> None:
    image = dataclasses.replace(DEBUG.image, decoded_share=0.25)
    model = WorldModel(IMAGE, ACTIONS, dataclasses.replace(DEBUG, image=image))
    inputs = model.observation.prepare(to_tensors(random_sequences()).obs)
    feat = torch.randn(B * T, model.feat_size)
    parts = torch.stack([model.observation.losses(feat, inputs)["image"] for _ in range(200)])
    assert ((parts > 0).sum(1) == B * T // 4).all()
    full = WorldModel(IMAGE, ACTIONS, DEBUG)
    full.load_state_dict(model.state_dict())
    whole = full.observation.losses(feat, inputs)["image"]
    assert parts.mean().item() == pytest.approx(whole.mean().item(), rel=0.01)


def test_coloured_pixels_count_more_than_grey_ones() -> None:
    image = dataclasses.replace(DEBUG.image, colour_weight=4.0)
    model = WorldModel(IMAGE, ACTIONS, dataclasses.replace(DEBUG, image=image))
    frames = torch.full((2, 64, 64, 3), 80, dtype=torch.uint8)
    frames[0, 10, 20] = torch.tensor([0, 255, 0], dtype=torch.uint8)
    inputs = model.observation.prepare({"image": frames})
    feat = torch.zeros(2, model.feat_size)
    weighted = model.observation.losses(feat, inputs)["image"]
    plain_model = WorldModel(IMAGE, ACTIONS, DEBUG)
    plain_model.load_state_dict(model.state_dict())
    plain = plain_model.observation.losses(feat, inputs)["image"]
    predicted = model.observation.decode(feat)["image"][0, 10, 20]
    error = (predicted - torch.tensor([0.0, 1.0, 0.0])).square().sum()
    expected = plain + torch.stack([8 * error, torch.tensor(0.0)])
    torch.testing.assert_close(weighted, expected, rtol=1e-4, atol=0)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reward", "cost"])
def test_values_that_are_not_finite_are_refused_with_their_place(name: str) -> None:
    sequences = random_sequences()
    getattr(sequences, name)[2, 3] = np.nan
    with pytest.raises(ValueError, match=rf"time\): {name} holds nan at entry \(2, 3\)"):
        to_tensors(sequences)


@pytest.mark.parametrize("score", [1.5, np.inf])
def test_a_safety_score_outside_0_and_1_is_refused(score: float) -> None:
    sequences = random_sequences()
    sequences.safety_score[0, 0] = score
    with pytest.raises(ValueError, match=r"safety_score holds (1\.5|inf)"):
        to_tensors(sequences)


def test_frames_without_a_label_leave_the_safety_score_alone() -> None:
    model, sequences = WorldModel(MULTI, ACTIONS, DEBUG), random_sequences()
    half = sequences.safety_score.copy()
    half[:, ::2] = np.nan
    losses = []
    for scores in (half, np.where(np.isnan(half), 0.3, half)):
        torch.manual_seed(0)
        batch = to_tensors(dataclasses.replace(sequences, safety_score=scores))
        posterior = model.observe(batch)
        losses.append(model._head_losses(model.feat(posterior), batch)["safety_score"])
    assert (losses[0][:, ::2] == 0).all()
    assert torch.equal(losses[0][:, 1::2], losses[1][:, 1::2])


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Dict({"picture": IMAGE, "lane": spaces.Text(3)}),
        spaces.Box(-1, 1, (4, 4, 4), np.float32),
    ],
)
def test_observation_spaces_without_an_encoder_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        observation_spaces(space)


def test_images_whose_sides_the_strides_do_not_divide_are_padded() -> None:
    with pytest.warns(UserWarning, match="padded from 60 x 60 to 64 x 64"):
        WorldModel(spaces.Box(0, 255, (60, 60, 3), np.uint8), ACTIONS, DEBUG)
