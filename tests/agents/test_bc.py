from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from toy_envs import CountingEnv, SpeedLimitEnv, observation_space

from vlsafe_agents.bc import BC
from vlsafe_agents.bc.validation import EarlyStopping
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode

SETTINGS: dict[str, Any] = {"seed": 0, "device": "cpu", "batch_size": 64}


def picture(action: int) -> np.ndarray:
    """A red left half for action 0, a green upper half for action 2; (64, 64, 3)."""
    image = np.zeros((64, 64, 3), np.uint8)
    if action == 0:
        image[:, :32, 0] = 255
    else:
        image[:32, :, 1] = 255
    return image


def dataset(
    actions: str = "discrete", episodes: int = 8, noise: float = 0.0, observation: str = "multi"
) -> EpisodeDataset:
    """The expert's action is the sign of the first feature; `picture` shows it."""
    rng = np.random.default_rng(0)
    built = []
    for _ in range(episodes):
        vector = rng.normal(size=(21, 3)).astype(np.float32)
        right = vector[:, 0] > 0
        image = np.where(right[:, None, None, None], picture(2), picture(0))
        labels = np.where(rng.random(20) < noise, rng.integers(0, 3, 20), 2 * right[:-1])
        action = labels if actions == "discrete" else (labels[:, None] - 1.0).astype(np.float32)
        obs = {"vector": vector, "image": image}
        if observation != "multi":
            obs = {observation: obs[observation]}
        built.append(
            Episode(
                obs=obs, action=action, reward=np.zeros(20), env_cost=np.zeros(21), terminated=False
            )
        )
    space = observation_space("multi")
    assert isinstance(space, spaces.Dict)
    if observation != "multi":
        space = spaces.Dict({observation: space[observation]})
    action_space = (
        spaces.Discrete(3) if actions == "discrete" else spaces.Box(-1, 1, (1,), np.float32)
    )
    return EpisodeDataset.from_arrays(built, space, action_space)


def test_bc_recovers_a_discrete_expert_on_new_observations():
    model = BC("MlpPolicy", CountingEnv(), dataset(), **SETTINGS).learn(200)
    vector = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    actions, _ = model.predict(vector, deterministic=True)
    assert np.mean(actions == 2 * (vector[:, 0] > 0)) > 0.93  # a constant action scores 0.5


def test_bc_recovers_a_continuous_expert():
    env = SpeedLimitEnv(continuous=True)
    model = BC("MlpPolicy", env, dataset("continuous"), **SETTINGS).learn(200)
    actions, _ = model.predict(
        np.array([[2.0, 0, 0], [-2.0, 0, 0]], np.float32), deterministic=True
    )
    assert actions[0, 0] > 0.8
    assert actions[1, 0] < -0.8


@pytest.mark.parametrize(
    ("policy", "observation"), [("CnnPolicy", "image"), ("MultiInputPolicy", "multi")]
)
def test_bc_learns_from_images_stored_channels_last(policy, observation):
    env = CountingEnv(observation=observation)
    settings = {**SETTINGS, "batch_size": 16, "learning_rate": 3e-4}
    model = BC(policy, env, dataset(), **settings).learn(30)
    for action in (0, 2):
        seen = {"image": picture(action), "vector": np.array([action - 1.0, 0, 0], np.float32)}
        shown = seen if observation == "multi" else seen["image"]
        assert model.predict(shown, deterministic=True)[0] == action


def test_learning_never_touches_the_environment():
    env = CountingEnv()
    model = BC("MlpPolicy", env, dataset(), **SETTINGS)
    env.reset = env.step = None  # type: ignore[assignment,method-assign]
    model.learn(20)
    assert env.steps_taken == 0
    assert model.num_timesteps == 20


def test_one_timestep_is_one_gradient_update():
    vectors = dataset().select(observation_space("vector"))
    model = BC("MlpPolicy", None, vectors, **SETTINGS)
    model.learn(7).learn(5, reset_num_timesteps=False)
    assert (model.num_timesteps, model._n_updates) == (12, 12)


def test_saving_and_loading_keeps_predictions_and_leaves_the_data_out(tmp_path):
    model = BC("CnnPolicy", CountingEnv(observation="image"), dataset(episodes=40), **SETTINGS)
    small = BC("CnnPolicy", CountingEnv(observation="image"), dataset(episodes=1), **SETTINGS)
    model.save(tmp_path / "many.zip")
    small.save(tmp_path / "few.zip")
    sizes = [(tmp_path / name).stat().st_size for name in ("many.zip", "few.zip")]
    assert abs(sizes[0] - sizes[1]) < 10_000  # 40 episodes of images are 10 MB
    loaded = BC.load(tmp_path / "many.zip", device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    for deterministic in (True, False):
        th.manual_seed(0)
        expected = model.predict(images, deterministic=deterministic)[0]
        th.manual_seed(0)
        assert np.array_equal(expected, loaded.predict(images, deterministic=deterministic)[0])
    with pytest.raises(ValueError, match="no data set"):
        loaded.learn(1)
    loaded.set_dataset(dataset())
    loaded.learn(1)


def test_the_same_seed_gives_the_same_training():
    def weights() -> list[th.Tensor]:
        model = BC("MlpPolicy", CountingEnv(), dataset(), **SETTINGS).learn(20)
        return list(model.policy.parameters())

    assert all(th.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


class Watch(BaseCallback):
    """Keeps every value the learner records under one key."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.values = key, []  # type: ignore[var-annotated]

    def _on_step(self) -> bool:
        if self.key in self.logger.name_to_value:
            self.values.append(float(self.logger.name_to_value[self.key]))
        return True


def test_early_stopping_ends_overfitting_and_keeps_the_best_parameters():
    watch = Watch("validation/best_loss")
    model = BC(
        "MlpPolicy", CountingEnv(), dataset(noise=0.6, episodes=6), validation_share=0.5,
        validation_interval=20, patience=3, learning_rate=1e-2, ent_coef=0.0, **SETTINGS,
    )  # fmt: skip
    model.learn(5000, watch, log_interval=10**9)
    assert model.num_timesteps < 2000
    held_out = model._validation_data
    assert held_out is not None
    batch = held_out.sample_transitions(held_out.num_steps, np.random.default_rng(0))
    with th.no_grad():
        loss = float(model._loss_terms(batch)["neglogp"])
    assert loss == pytest.approx(min(watch.values), abs=1e-5)


def test_early_stopping_counts_checks_since_the_best():
    stopping, module = EarlyStopping(patience=2), th.nn.Linear(1, 1)
    over = []
    for loss in (3.0, 2.0, 2.5, 1.0, 1.5, 1.0):
        stopping.check(loss, module)
        over.append(stopping.over)
    assert over == [False, False, False, False, False, True]


def test_held_out_episodes_are_never_trained_on():
    model = BC("MlpPolicy", CountingEnv(), dataset(), validation_share=0.25, **SETTINGS)
    assert model._training_data is not None
    assert model._validation_data is not None
    assert model._training_data.num_steps == 6 * 20
    assert not set(model._training_data.episode_ids) & set(model._validation_data.episode_ids)


def test_stock_callbacks_and_evaluate_policy_work(tmp_path):
    model = BC("MlpPolicy", CountingEnv(), dataset(), **SETTINGS)
    model.learn(20, CheckpointCallback(10, str(tmp_path)))
    assert len(list(tmp_path.glob("*.zip"))) == 2
    assert evaluate_policy(model, Monitor(CountingEnv(5)), n_eval_episodes=1)[0] == 15.0


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="actions"):
        BC("MlpPolicy", SpeedLimitEnv(continuous=True), dataset())
    with pytest.raises(ValueError, match="environment shows"):
        BC("CnnPolicy", CountingEnv(observation="image"), dataset(observation="vector"))
    with pytest.raises(ValueError, match="no data set"):
        BC("MlpPolicy", CountingEnv()).learn(1)
    with pytest.raises(ValueError, match="validation_share"):
        BC("MlpPolicy", CountingEnv(), dataset(), patience=2)
