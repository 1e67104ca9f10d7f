"""Sets of vehicles: their order and their empty rows mean nothing, and they can be learned from."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents import PPO, RecurrentPPOLag, VLSafe
from vlsafe_agents.bc import BC
from vlsafe_agents.common.frame_stack import stacked_space
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.common.vehicle_policies import VehicleFeatures, VehiclesExtractor
from vlsafe_agents.common.vehicle_rows import is_vehicle_set, pooled, scaled_rows
from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.ppo_lag import PPOLag
from vlsafe_agents.vlsafe.batch import to_tensors
from vlsafe_agents.vlsafe.config import HeadConfig, RSSMConfig, WorldModelConfig
from vlsafe_agents.vlsafe.networks import SetEncoder, set_loss
from vlsafe_agents.vlsafe.observation_layout import shown_rows
from vlsafe_agents.vlsafe.presets import PRESETS
from vlsafe_agents.vlsafe.world_model import WorldModel

torch.set_num_threads(1)
M, F = 6, 5  # rows; present, two of place, two more
LOW, HIGH = np.float32([0, -100, -100, -9, -9]), np.float32([1, 100, 100, 9, 9])
SET = spaces.Box(np.tile(LOW, (M, 1)), np.tile(HIGH, (M, 1)), dtype=np.float32)
EGO = spaces.Box(-1, 1, (2,), np.float32)
SPACE = spaces.Dict({"ego": EGO, "vehicles": SET})
DEBUG = PRESETS["debug"].world_model
SMALL = WorldModelConfig(
    rssm=RSSMConfig(deter=64, hidden=64, stoch=16, classes=8, blocks=2),
    heads=HeadConfig(units=64, bins=15),
)


def some_rows(count: int, rng: np.random.Generator) -> np.ndarray:
    """Sets ``(count, M, F)`` of none to all M vehicles, nearest first as environments have them."""
    rows = rng.uniform(LOW, HIGH, (count, M, F)).astype(np.float32)
    rows[..., 0] = np.arange(M) < rng.integers(0, M + 1, (count, 1))
    rows[rows[..., 0] == 0] = 0.0
    distance = np.where(rows[..., 0] > 0, np.hypot(rows[..., 1], rows[..., 2]), np.inf)
    order = np.argsort(distance, 1, kind="stable")
    return np.take_along_axis(rows, order[..., None], 1)


def shuffled(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.permutation(one) for one in rows])


def littered(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With numbers in the empty rows."""
    noise = rng.uniform(LOW, HIGH, rows.shape).astype(np.float32)
    noise[..., 0] = 0.0
    return np.where(rows[..., :1] > 0, rows, noise)


def tensors(rows: np.ndarray) -> Tensor:
    return torch.as_tensor(rows)


@pytest.mark.parametrize("change", [shuffled, littered])
@pytest.mark.parametrize("kind", ["encoder", "policy", "model", "loss"])
def test_order_and_empty_rows_change_nothing(kind: str, change: Any) -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    rows = some_rows(32, rng)
    other = change(rows, rng)
    assert not np.array_equal(rows, other)
    model = WorldModel(SPACE, spaces.Discrete(2), DEBUG)
    encoder, policy = SetEncoder(F, 16, 2), VehicleFeatures(F)
    ego = torch.zeros(32, 2)

    def seen(shown: np.ndarray) -> Tensor:
        if kind == "encoder":
            return encoder(scaled_rows(tensors(shown)))
        if kind == "policy":
            return policy(tensors(shown))
        inputs = model.observation.prepare({"ego": ego, "vehicles": tensors(shown)})
        if kind == "model":
            return model.observation.embed(inputs)
        feat = torch.linspace(-1, 1, 32 * model.feat_size).view(32, -1)
        return model.observation.losses(feat, inputs)["vehicles"]

    torch.testing.assert_close(seen(other), seen(rows), rtol=0, atol=1e-6)


def test_a_vehicle_more_changes_what_is_seen() -> None:
    torch.manual_seed(0)
    rows = np.zeros((1, M, F), np.float32)
    rows[0, 0] = 1, 10, 0, 0, 0
    two = rows.copy()
    two[0, 1] = rows[0, 0]  # the same once more: only the mean tells
    policy, encoder = VehicleFeatures(F), SetEncoder(F, 16, 2)
    for net in (policy, lambda x: encoder(scaled_rows(x))):
        nobody, one, both = (net(tensors(x)) for x in (rows * 0, rows, two))
        assert not torch.allclose(nobody, one)
        assert not torch.allclose(one, both)


def test_pooling_equals_a_loop_over_the_vehicles() -> None:
    rng = np.random.default_rng(1)
    encoded, present = rng.normal(size=(20, M, 3)), rng.random((20, M)) < 0.5
    present[0] = False
    expected = np.zeros((20, 6))
    for n in range(20):
        there = encoded[n][present[n]]
        if len(there):
            expected[n] = np.concatenate((there.max(0), there.sum(0) / M))
    found = pooled(torch.as_tensor(encoded), torch.as_tensor(present))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_the_loss_is_zero_for_the_truth_and_counts_only_those_who_are_there() -> None:
    rng = np.random.default_rng(2)
    rows = scaled_rows(tensors(some_rows(10, rng)))
    truth = rows.clone()
    truth[..., 0] = (rows[..., 0] - 0.5) * 200.0  # certain
    assert set_loss(truth, rows).abs().max() < 1e-6
    wrong = truth.clone()
    wrong[..., 1:][rows[..., 0] == 0] += 7.0
    assert set_loss(wrong, rows).abs().max() < 1e-6
    wrong[..., 1][rows[..., 0] == 1] += 2.0
    torch.testing.assert_close(set_loss(wrong, rows), 4.0 * rows[..., 0].sum(-1))


def test_what_is_decoded_comes_back_in_its_own_units() -> None:
    rows = some_rows(10, np.random.default_rng(3))
    scaled = scaled_rows(tensors(rows))
    scaled[..., 0] = (scaled[..., 0] - 0.5) * 200.0
    np.testing.assert_allclose(shown_rows(scaled).numpy(), rows, atol=1e-3)


def crossing_batch(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Whether any vehicle is within 25 m on both axes, whatever its row: to be found out."""
    rows = shuffled(some_rows(count, rng) * np.float32([1, 0.5, 0.5, 1, 1]), rng)
    near = (rows[..., 0] > 0) & (np.abs(rows[..., 1:3]) < 25).all(-1)
    return {"rows": rows, "near": near.any(1)}


def test_who_is_near_is_learned_from_sets_in_any_order() -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = torch.nn.Sequential(VehicleFeatures(F), torch.nn.Linear(128, 1))
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(300):
        batch = crossing_batch(rng, 128)
        logit = net(tensors(batch["rows"])).squeeze(-1)
        wanted = tensors(batch["near"]).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    test = crossing_batch(rng, 1000)
    found = net(tensors(test["rows"])).squeeze(-1) > 0
    assert 0.3 < test["near"].mean() < 0.7
    assert (found.numpy() == test["near"]).mean() > 0.9


class Approach(gym.Env[Any, Any]):
    """Up to M vehicles drive past, 10 m a step; standing (0) while one is near costs nothing."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = SPACE, spaces.Discrete(2)

    def _see(self) -> dict[str, np.ndarray]:
        rows = np.zeros((M, F), np.float32)
        here = self._places[np.abs(self._places) <= 100]
        rows[: len(here), 0] = 1.0
        rows[: len(here), 2] = here
        rows[: len(here), 3] = 1.0
        order = np.argsort(np.where(rows[:, 0] > 0, np.abs(rows[:, 2]), np.inf), kind="stable")
        return {"ego": np.zeros(2, np.float32), "vehicles": rows[order]}

    def _info(self, cost: float) -> dict[str, float]:
        return {"cost": cost, "env_cost": cost}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._time = 0
        self._places = self.np_random.uniform(-150, 40, self.np_random.integers(1, M + 1))
        return self._see(), self._info(0.0)

    def step(self, action: Any) -> Any:
        self._places = self._places + 10.0
        near = bool((np.abs(self._places) < 15).any())
        self._time += 1
        cost, reward = float(near and action), float(action)
        return self._see(), reward, False, self._time == 12, self._info(cost)


def drives(count: int = 12, first: int = 0) -> EpisodeDataset:
    """Episodes of a driver that goes when nobody will be near."""
    env, episodes = Approach(), []
    for seed in range(first, first + count):
        seen = [env.reset(seed=seed)[0]]
        actions, rewards, costs, truncated = [], [], [0.0], False
        while not truncated:
            near = (np.abs(seen[-1]["vehicles"][:, 2] + 10.0) < 15) & (
                seen[-1]["vehicles"][:, 0] > 0
            )
            actions.append(int(not near.any()))
            observation, reward, _, truncated, info = env.step(actions[-1])
            seen.append(observation)
            rewards.append(reward)
            costs.append(info["cost"])
        episodes.append(
            Episode(
                obs={name: np.stack([one[name] for one in seen]) for name in SPACE},
                action=np.array(actions),
                reward=np.array(rewards),
                env_cost=np.array(costs),
                terminated=False,
                safety_score=np.linspace(0, 1, len(seen)),
            )
        )
    return EpisodeDataset.from_arrays(episodes, SPACE, spaces.Discrete(2))


def test_the_world_model_learns_where_vehicles_will_be() -> None:
    """After eight steps it dreams five: nearer to the truth than where the nearest was before."""
    torch.manual_seed(0)
    data, rng, losses = drives(60), np.random.default_rng(0), []
    model = WorldModel(SPACE, spaces.Discrete(2), SMALL)
    optimiser = LaProp(model.parameters(), lr=4e-3, warmup=10)
    for _ in range(100):
        loss, _, metrics = model.loss(to_tensors(data.sample(16, 13, rng)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(metrics["train/vehicles_loss"])
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
    dreamt, stayed = [], []
    held_out = drives(15, first=60)
    for number in range(15):
        arrays = model.open_loop(to_tensors(held_out.episode_batch(number)), 8)
        truth, dream = (arrays[f"vehicles_{kind}"][0, :, 0] for kind in ("truth", "dream"))
        for t in range(8, 13):  # truth, dream (13, F), of the nearest
            if truth[t, 0] and truth[7, 0]:
                dreamt.append(np.hypot(*(dream[t] - truth[t])[1:3]))
                stayed.append(np.hypot(*(truth[7] - truth[t])[1:3]))
    assert np.median(dreamt) < 0.7 * np.median(stayed)


def test_only_models_that_see_a_set_have_its_loss() -> None:
    assert "vehicles" in WorldModel(SPACE, spaces.Discrete(2), DEBUG).scales()
    assert "vehicles" not in WorldModel(EGO, spaces.Discrete(2), DEBUG).scales()


def test_behaviour_cloning_imitates_who_looks_at_the_set() -> None:
    env = Approach()
    agent = BC("MultiInputPolicy", env, drives(60), seed=0).learn(400)
    assert isinstance(agent.policy.features_extractor, VehiclesExtractor)
    right = total = 0
    for episode in drives(20, first=60).episodes:
        observation = {name: array[:-1] for name, array in episode.obs.items()}
        found = agent.predict(observation, deterministic=True)[0]
        right, total = right + int((found == episode.action).sum()), total + len(found)
    assert right / total > 0.9


@pytest.mark.parametrize("kind", [PPO, PPOLag, RecurrentPPOLag])
def test_algorithms_that_drive_see_sets_and_are_saved_with_them(kind: Any, tmp_path: Any) -> None:
    agent = kind("MultiInputPolicy", Approach(), n_steps=24, batch_size=24, n_epochs=1, seed=0)
    agent.learn(48)
    assert isinstance(agent.policy.features_extractor, VehiclesExtractor)
    agent.save(tmp_path / "agent.zip")
    loaded = kind.load(tmp_path / "agent.zip")
    observation = Approach().reset(seed=1)[0]
    swapped = {**observation, "vehicles": observation["vehicles"][::-1].copy()}
    expected = agent.predict(observation, deterministic=True)[0]
    for seen in (observation, swapped):
        assert loaded.predict(seen, deterministic=True)[0] == expected


def test_vlsafe_learns_from_sets_drives_with_them_and_is_saved(tmp_path: Any) -> None:
    agent = VLSafe("MultiInputPolicy", Approach(), drives(), preset="debug", seed=0).learn(20)
    agent.save(tmp_path / "agent.zip")
    loaded = VLSafe.load(tmp_path / "agent.zip")
    observation = Approach().reset(seed=1)[0]
    swapped = {**observation, "vehicles": observation["vehicles"][::-1].copy()}
    expected, state = agent.predict(observation, deterministic=True)
    for seen in (observation, swapped):
        action, other = loaded.predict(seen, deterministic=True)
        assert action == expected
        np.testing.assert_allclose(other[0], state[0], atol=1e-6)


def test_only_marked_rows_under_that_name_are_a_set() -> None:
    assert is_vehicle_set("vehicles", SET)
    assert not is_vehicle_set("kinematics", SET)
    unmarked = spaces.Box(-1, 1, (M, F), np.float32)
    flat, image = spaces.Box(0, 1, (M,), np.float32), spaces.Box(0, 1, (M, F), np.uint8)
    assert not any(is_vehicle_set("vehicles", space) for space in (unmarked, flat, image))
    model = WorldModel(spaces.Dict({"vehicles": unmarked}), spaces.Discrete(2), DEBUG)
    assert "vector" in model.scales()  # as before there were sets
    assert "vehicles" not in model.scales()


def test_frames_of_sets_are_not_stacked() -> None:
    with pytest.raises(ValueError, match="frame_stack=4: the rows of observation 'vehicles'"):
        stacked_space(SPACE, 4)
