"""`VLSafe` keeps Stable-Baselines3's contract; on a data set it never touches the environment."""

from __future__ import annotations

import copy
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from speed_limit import SpeedLimit, record
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage
from tiny_agents import IMAGE, MULTI, VECTOR, Still, make, weights

from vlsafe_agents import VLSafe
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode


class Untouchable(SpeedLimit):
    """Has spaces, and fails when it is used."""

    def reset(self, **kwargs: Any) -> Any:
        raise AssertionError("learn() reset the environment")

    def step(self, action: Any) -> Any:
        raise AssertionError("learn() stepped the environment")


def noise_episodes(count: int = 4, steps: int = 6) -> EpisodeDataset:
    """Meaningless drives with images and vectors."""
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            obs={
                "image": rng.integers(0, 255, (steps + 1, 64, 64, 3), np.uint8),
                "vector": rng.normal(size=(steps + 1, 4)).astype(np.float32),
            },
            action=rng.integers(0, 3, steps),
            reward=rng.random(steps).astype(np.float32),
            env_cost=rng.random(steps + 1).astype(np.float32),
            safety_score=rng.random(steps + 1).astype(np.float32),
            terminated=True,
        )
        for _ in range(count)
    ]
    return EpisodeDataset.from_arrays(episodes, MULTI, spaces.Discrete(3))


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    return record(30)


@pytest.fixture(scope="module")
def trained(dataset: EpisodeDataset) -> VLSafe:
    agent = make(dataset)
    return agent.learn(6)


# --- learning -----------------------------------------------------------------------------------


def test_learning_never_steps_or_resets_the_environment(dataset: EpisodeDataset) -> None:
    agent = make(dataset, Untouchable())
    before = weights(agent).clone()
    agent.learn(4)
    assert agent.num_timesteps == 4
    assert not torch.equal(before, weights(agent))


def test_one_timestep_is_one_gradient_update(dataset: EpisodeDataset) -> None:
    agent = make(dataset).learn(3)
    agent.learn(2, reset_num_timesteps=False)
    assert agent.num_timesteps == agent._n_updates == 5


@pytest.mark.parametrize("update", ["gated", "lagrangian", "none"])
def test_same_seed_gives_the_same_training(dataset: EpisodeDataset, update: str) -> None:
    first, second = (make(dataset, update=update).learn(4) for _ in range(2))
    assert torch.equal(weights(first), weights(second))


def test_another_seed_gives_another_training(dataset: EpisodeDataset, trained: VLSafe) -> None:
    assert not torch.equal(weights(make(dataset, seed=1).learn(6)), weights(trained))


def copies(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().clone().flatten() for p in module.parameters()])


def test_warm_up_trains_world_model_and_prior_but_no_critic(dataset: EpisodeDataset) -> None:
    agent = make(dataset, config={"model_warmup": 1.0})
    actor_critic = agent.policy.actor_critic
    critic, prior = copies(actor_critic.reward_critic), copies(actor_critic.behaviour)
    agent.learn(3)
    assert torch.equal(critic, copies(actor_critic.reward_critic))
    assert not torch.equal(prior, copies(actor_critic.behaviour))


def test_the_prior_shapes_the_features_unless_shaping_is_off(dataset: EpisodeDataset) -> None:
    """The first update's model differs by shaping alone: same seed, same batch."""
    with_prior, also_with, without, without_cloned = (
        copies(make(dataset, config={"model_warmup": 1.0} | more).learn(3).policy.world_model)
        for more in ({}, {"shaping": 200.0}, {"shaping": 0.0}, {"shaping": 0.0})
    )
    assert torch.equal(with_prior, also_with)
    assert torch.equal(without, without_cloned)
    assert not torch.equal(with_prior, without)


def test_the_model_rests_after_its_warm_up(dataset: EpisodeDataset) -> None:
    agent = make(dataset, config={"model_warmup": 0.5})
    seen = [copies(agent.policy.world_model)]
    agent.learn(4, callback=lambda *_: seen.append(copies(agent.policy.world_model)) is None)
    changed = [not torch.equal(before, after) for before, after in itertools.pairwise(seen)]
    assert changed == [True, True, False, False]


def test_the_model_can_be_updated_less_often_than_the_policy(dataset: EpisodeDataset) -> None:
    agent = make(dataset, config={"model_warmup": 0.0, "model_every": 100}).learn(1)
    model, actor = copies(agent.policy.world_model), copies(agent.policy.actor_critic.actor)
    agent.learn(3, reset_num_timesteps=False)
    assert torch.equal(model, copies(agent.policy.world_model))
    assert not torch.equal(actor, copies(agent.policy.actor_critic.actor))


def test_a_shared_world_model_stays_as_it_is_while_the_policy_learns(
    dataset: EpisodeDataset, trained: VLSafe
) -> None:
    agent = make(dataset, config={"critic_warmup": 0.0})
    agent.adopt_world_model(trained)
    model, actor = copies(agent.policy.world_model), copies(agent.policy.actor_critic.actor)
    assert torch.equal(model, copies(trained.policy.world_model))
    agent.learn(4)
    assert torch.equal(model, copies(agent.policy.world_model))
    assert not torch.equal(actor, copies(agent.policy.actor_critic.actor))


def test_a_world_model_of_another_size_is_refused(dataset: EpisodeDataset, trained: VLSafe) -> None:
    other = make(dataset, config={"world_model": {"rssm": {"deter": 64}}})
    with pytest.raises(ValueError, match="other sizes"):
        other.adopt_world_model(trained)


def test_the_actor_rests_until_the_critics_have_warmed_up(dataset: EpisodeDataset) -> None:
    for share, trains in ((1.0, False), (0.0, True)):
        agent = make(dataset, config={"model_warmup": 0.5, "critic_warmup": share}).learn(6)
        actor, critic = agent.policy.actor_critic.actor, agent.policy.actor_critic.cost_critic.net
        assert all((p.grad is not None) == trains for p in actor.parameters())
        assert all(p.grad is not None for p in critic.parameters())


def test_threads_are_put_back_after_learning(dataset: EpisodeDataset) -> None:
    seen: list[int] = []
    torch.set_num_threads(2)
    try:
        make(dataset).learn(
            1, callback=lambda *_: bool(seen.append(torch.get_num_threads())) or True
        )
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_log_shows_imagined_and_recorded_figures_side_by_side(
    dataset: EpisodeDataset, tmp_path: Path
) -> None:
    agent = make(dataset, update="lagrangian", config={"model_warmup": 0.0, "model_every": 1})
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(4, log_interval=4)
    header = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    assert {
        "train/model_loss",
        "train/actor_entropy",
        "train/lagrange_multiplier",
        "imagined/return",
        "imagined/cost_return",
        "imagined/safety_score",
        "data/return",
        "data/cost",
        "support/kl_to_behaviour",
    } <= set(header)


# --- callbacks and evaluation -------------------------------------------------------------------


def test_stock_callbacks_and_progress_bar_work(dataset: EpisodeDataset, tmp_path: Path) -> None:
    callbacks = [
        EvalCallback(
            Monitor(SpeedLimit()),
            n_eval_episodes=1,
            eval_freq=2,
            best_model_save_path=str(tmp_path),
            verbose=0,
        ),
        CheckpointCallback(2, str(tmp_path), "step"),
    ]
    make(dataset).learn(4, callback=callbacks, progress_bar=True)
    assert {p.name for p in tmp_path.glob("*.zip")} == {
        "best_model.zip",
        "step_2_steps.zip",
        "step_4_steps.zip",
    }


def test_labels_that_failed_an_audit_are_warned_of(dataset: EpisodeDataset) -> None:
    scorer = {"name": "random"}
    found = {"scorer": scorer, "date": "2026-11-25", "sentence": "It saw nothing."}
    agent = make(None)
    for verdict, passed in (("no better than chance", False), ("good", True)):
        audited = copy.copy(dataset)
        entry = found | {"verdict": verdict, "passed": passed}
        audited.metadata = {"scorer": scorer, "audits": [entry]}
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            agent.set_dataset(audited)
        assert any("failed an audit" in str(warning.message) for warning in seen) != passed


def test_a_callback_can_stop_learning(dataset: EpisodeDataset) -> None:
    agent = make(dataset)
    agent.learn(10, callback=lambda *_: agent.num_timesteps < 2)
    assert agent.num_timesteps == 2


def test_evaluate_policy_threads_the_state(trained: VLSafe) -> None:
    env = DummyVecEnv([lambda: Monitor(SpeedLimit()) for _ in range(2)])
    mean, _ = evaluate_policy(trained, env, n_eval_episodes=3)
    assert 0.0 <= mean <= 20.0


def test_state_matters_and_an_episode_start_forgets_it(trained: VLSafe) -> None:
    obs = np.array([[0.3, -1.0, 1.0, 0.5]], np.float32)
    _, state = trained.predict(obs, deterministic=True)
    _, later = trained.predict(obs, state, np.array([False]), deterministic=True)
    _, again = trained.predict(obs, later, np.array([True]), deterministic=True)
    assert state is not None
    assert later is not None
    assert again is not None
    assert not np.allclose(later[0], state[0])
    for fresh, reset in zip(state, again, strict=True):
        np.testing.assert_allclose(fresh, reset, atol=1e-6)


def test_a_batch_gives_the_same_actions_as_single_observations(trained: VLSafe) -> None:
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    actions, state = trained.predict(obs, deterministic=True)
    assert actions.shape == (5,)
    assert state is not None
    assert [len(x) for x in state] == [5, 5, 5]
    single = [trained.predict(o, deterministic=True)[0] for o in obs]
    assert single == actions.tolist()


def test_predict_names_what_does_not_fit(trained: VLSafe) -> None:
    with pytest.raises(ValueError, match=r"vector has shape \(5,\)"):
        trained.predict(np.zeros(5, np.float32))
    _, state = trained.predict(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="3 observations but a state of 2"):
        trained.predict(np.zeros((3, 4), np.float32), state)
    with pytest.raises(ValueError, match="with infos"):
        trained.predict((np.zeros(4), {}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "space"), [("CnnPolicy", IMAGE), ("MlpPolicy", VECTOR), ("MultiInputPolicy", MULTI)]
)
def test_every_kind_of_observation_learns_and_acts(policy: str, space: spaces.Space[Any]) -> None:
    env = Still(space)
    config = {"model_warmup": 0.5, "train": {"batch_size": 2, "sequence_length": 5}}
    agent = VLSafe(policy, env, noise_episodes(), preset="debug", seed=0, config=config)
    agent.learn(2)
    mean, _ = evaluate_policy(agent, Monitor(env), n_eval_episodes=1)
    assert mean == 3.0


def test_channels_first_images_are_understood() -> None:
    env = Still(IMAGE)
    agent = VLSafe("CnnPolicy", env, preset="debug", seed=0)
    vec_env = DummyVecEnv([lambda: env])
    transposed = VecTransposeImage(vec_env)
    image = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    first = agent.predict(image, deterministic=True)[1]
    second = agent.predict(transposed.transpose_observations(image), deterministic=True)[1]
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first[0], second[0])


def test_continuous_actions_stay_within_their_bounds() -> None:
    agent = make(record(20, continuous=True), SpeedLimit(continuous=True)).learn(4)
    for deterministic in (True, False):
        actions, _ = agent.predict(np.zeros((50, 4), np.float32), deterministic=deterministic)
        assert actions.shape == (50, 1)
        assert agent.action_space.contains(actions[0])
        assert np.abs(actions).max() <= 1.0


# --- errors -------------------------------------------------------------------------------------


def test_unknown_names_are_refused_with_the_known_ones(dataset: EpisodeDataset) -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'huge'.*12M"):
        make(dataset, preset="huge")
    with pytest.raises(ValueError, match=r"unknown update 'ppo'.*gated"):
        make(dataset, update="ppo")
    with pytest.raises(ValueError, match="safety must be"):
        make(dataset, safety="clip")
    with pytest.raises(ValueError, match=r"ImaginationConfig has no setting 'horizons'"):
        make(dataset, config={"imagination": {"horizons": 3}})
    with pytest.raises(ValueError, match=r"imagination.gamma is 1.5; .*0.001, 1"):
        make(dataset, config={"imagination": {"gamma": 1.5}})
    with pytest.raises(ValueError, match=r"safety is 1\.5"):
        make(dataset, safety=1.5)


def test_a_missing_environment_or_data_set_is_named(dataset: EpisodeDataset) -> None:
    with pytest.raises(ValueError, match="needs an environment"):
        VLSafe("MlpPolicy", None, preset="debug")
    with pytest.raises(ValueError, match="call set_dataset first"):
        make(None).learn(1, online=False)


def test_data_that_do_not_fit_the_environment_are_refused(dataset: EpisodeDataset) -> None:
    with pytest.raises(ValueError, match=r"actions are Discrete\(3\)"):
        make(dataset, SpeedLimit(continuous=True))
    with pytest.raises(ValueError, match=r"(?i)observation"):
        VLSafe("CnnPolicy", Still(IMAGE), dataset, preset="debug")


def test_a_reward_that_is_not_a_number_stops_training(dataset: EpisodeDataset) -> None:
    broken = record(5)
    broken._flat.reward[:] = np.nan
    with pytest.raises(ValueError, match="reward holds nan"):
        make(broken).learn(1)
