import csv
import json
import zipfile
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnvWrapper
from toy_envs import CountingEnv, SpeedLimitEnv

from vlsafe_agents.ppo_lag import PRESETS, PPOLag, preset
from vlsafe_agents.ppo_lag.buffers import CostRolloutBufferSamples, generalised_advantage

DISCRETE: dict[str, Any] = {
    "n_steps": 40,
    "batch_size": 80,
    "n_epochs": 5,
    "learning_rate": 3e-3,
    "gamma": 0.9,
    "seed": 0,
    "device": "cpu",
    "policy_kwargs": {"net_arch": [16]},
}
# A wide Gaussian that moves fast ends beyond the action's bound, where every sample costs the same
# and no gradient leads back; hence narrow and slower.
CONTINUOUS = {
    **DISCRETE,
    "learning_rate": 2e-3,
    "policy_kwargs": {"net_arch": [16], "log_std_init": -1.0},
}
LEARNING = {False: DISCRETE, True: CONTINUOUS}
MULTIPLIER = {
    "plain": {"initial": 1.0, "learning_rate": 0.02},
    "pid": {"kp": 0.2, "ki": 0.05, "kd": 0.1},
}
EPISODES = 32  # end in a rollout: enough to know the mean, which a longer window would make late
SMALL: dict[str, Any] = {"n_steps": 10, "batch_size": 10, "n_epochs": 2, "seed": 0, "device": "cpu"}


class LookAtRollout(BaseCallback):
    """Keeps a copy of the first rollout's buffer columns and the critics' view at that time."""

    def _on_rollout_end(self) -> None:
        if not hasattr(self, "costs"):
            buffer = self.model.rollout_buffer
            self.costs, self.rewards = buffer.costs.copy(), buffer.rewards.copy()
            self.observations = buffer.observations.copy()
            terminal = th.full((1, 3), 5.0)
            with th.no_grad():
                self.terminal_value = float(self.model.policy.predict_values(terminal))
                self.terminal_cost = float(self.model.policy.predict_cost_values(terminal))

    def _on_step(self) -> bool:
        return True


def mean_cost_and_return(model: Any, continuous: bool) -> tuple[float, float]:
    env = SpeedLimitEnv(continuous)
    costs, returns = [], []
    th.manual_seed(0)
    for _ in range(30):
        obs, _ = env.reset()
        costs.append(0.0)
        returns.append(0.0)
        done = False
        while not done:
            obs, reward, _, done, info = env.step(model.predict(obs)[0])
            costs[-1] += info["cost"]
            returns[-1] += reward
    return float(np.mean(costs)), float(np.mean(returns))


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_ppo_breaks_the_limit(continuous):
    env = make_vec_env(lambda: SpeedLimitEnv(continuous), n_envs=8)
    model = PPO("MlpPolicy", env, **LEARNING[continuous]).learn(2560)
    cost, earned = mean_cost_and_return(model, continuous)
    assert cost > 9.0
    assert earned > 7.0


@pytest.mark.parametrize(
    ("continuous", "lagrange"),
    [
        pytest.param(False, "pid", id="discrete-pid"),
        pytest.param(True, "plain", id="continuous-plain"),
        pytest.param(False, "plain", id="discrete-plain", marks=pytest.mark.slow),
        pytest.param(True, "pid", id="continuous-pid", marks=pytest.mark.slow),
    ],
)
def test_ppo_lag_keeps_the_limit_that_ppo_breaks(continuous, lagrange):
    env = make_vec_env(lambda: SpeedLimitEnv(continuous), n_envs=8)
    model = PPOLag(
        "MlpPolicy", env, cost_limit=3.0, lagrange=lagrange, lagrange_kwargs=MULTIPLIER[lagrange],
        cost_window=EPISODES, **LEARNING[continuous],
    ).learn(6400)  # fmt: skip
    # Known: without any cost the best return is 5, at the limit 5 + 0.5 * 3 = 6.5; standing still,
    # the cheap way to be safe, returns 0. Costs scatter by about 0.3 over 30 episodes.
    cost, earned = mean_cost_and_return(model, continuous)
    assert cost < 3.3
    assert 3.0 < earned < 7.0


def test_the_limit_changes_behaviour():
    env = make_vec_env(SpeedLimitEnv, n_envs=8)
    costs = [
        mean_cost_and_return(
            PPOLag(
                "MlpPolicy", env, cost_limit=limit, lagrange="pid",
                lagrange_kwargs=MULTIPLIER["pid"], cost_window=EPISODES, **LEARNING[False],
            ).learn(3200),
            continuous=False,
        )[0]
        for limit in (1.0, 20.0)
    ]  # fmt: skip
    assert costs[0] < 3.0
    assert costs[1] > 8.0


def test_the_multiplier_follows_the_episode_cost_by_hand():
    # Every episode costs 10 + 20 + 30 + 40 + 50 = 150, so lambda rises by 0.01 * (150 - 140).
    model = PPOLag(
        "MlpPolicy",
        CountingEnv(length=5),
        cost_limit=140.0,
        lagrange_kwargs={"learning_rate": 0.01},
        **SMALL,
    )
    assert model.lagrange_multiplier == 0.0
    for rollout in (1, 2, 3):
        model.learn(10, reset_num_timesteps=False)
        assert model.lagrange_multiplier == pytest.approx(0.1 * rollout)


def test_the_multiplier_rests_while_no_episode_ends():
    model = PPOLag("MlpPolicy", CountingEnv(length=15), cost_limit=0.0, **SMALL)
    model.learn(10)
    assert model.lagrange_multiplier == 0.0
    model.learn(10, reset_num_timesteps=False)  # the sum goes on over the rollouts' border
    assert model.lagrange_multiplier == pytest.approx(0.05 * 10.0 * sum(range(1, 16)))


class PricierEnv(CountingEnv):
    """Episodes of two steps; the e-th one costs e."""

    episodes = 0

    def __init__(self) -> None:
        super().__init__(length=2)

    def reset(self, **kwargs: Any) -> Any:
        self.episodes += 1
        return super().reset(**kwargs)

    def _info(self) -> dict[str, Any]:
        return {"cost": float(self.episodes) * (self.time == 2)}


def test_the_multiplier_takes_the_mean_of_the_last_episodes_not_of_the_last_rollout():
    # 5 episodes a rollout, costs 1, 2, 3, ...; the last 7 of 5, 10 and 15 cost 3, 7 and 12 in mean.
    model = PPOLag(
        "MlpPolicy", PricierEnv(), cost_limit=0.0, cost_window=7,
        lagrange_kwargs={"learning_rate": 1.0}, **SMALL,
    )  # fmt: skip
    seen = []
    for _ in range(3):
        model.learn(10, reset_num_timesteps=False)
        seen.append(model.lagrange_multiplier)
    assert np.diff([0.0, *seen]).tolist() == pytest.approx([3.0, 7.0, 12.0])


def test_the_window_is_of_100_episodes_and_no_fewer_than_one():
    assert PPOLag("MlpPolicy", CountingEnv(), **SMALL).cost_window == 100
    with pytest.raises(ValueError, match="cost_window"):
        PPOLag("MlpPolicy", CountingEnv(), cost_window=0, **SMALL)


def test_the_window_goes_on_after_loading_and_starts_afresh_with_a_fresh_learn(tmp_path):
    def make() -> PPOLag:
        return PPOLag(
            "MlpPolicy", PricierEnv(), cost_limit=0.0, cost_window=7,
            lagrange_kwargs={"learning_rate": 1.0}, **SMALL,
        )  # fmt: skip

    model = make().learn(10)
    model.save(tmp_path / "a.zip")
    env = PricierEnv()
    env.episodes = 5
    again = PPOLag.load(tmp_path / "a.zip", env=env, device="cpu")
    again.learn(10, reset_num_timesteps=False)
    assert again.lagrange_multiplier == pytest.approx(3.0 + 7.0)  # 4 to 10, not 6 to 10
    again.learn(10)  # resets: episodes 12 to 16
    assert again.lagrange_multiplier == pytest.approx(10.0 + 14.0)


def test_agents_saved_before_there_was_a_window_are_read(tmp_path):
    model = PPOLag("MlpPolicy", CountingEnv(), **SMALL).learn(10)
    model.save(tmp_path / "new.zip")
    with (
        zipfile.ZipFile(tmp_path / "new.zip") as new,
        zipfile.ZipFile(tmp_path / "old.zip", "w") as old,
    ):
        for name in new.namelist():
            content = new.read(name)
            if name == "data":
                data = json.loads(content)
                del data["arguments"]["cost_window"], data["state"]["episode_costs"]
                content = json.dumps(data).encode()
            old.writestr(name, content)
    again = PPOLag.load(tmp_path / "old.zip", env=CountingEnv(), device="cpu")
    assert again.cost_window == 100
    again.learn(10, reset_num_timesteps=False)
    assert again.lagrange_multiplier > model.lagrange_multiplier


def test_cost_is_kept_on_the_terminal_step_and_belongs_to_the_right_observation():
    look = LookAtRollout()
    PPOLag("MlpPolicy", CountingEnv(length=5, ends="terminated"), **SMALL).learn(10, look)
    assert look.observations[:, 0, 0].tolist() == [0, 1, 2, 3, 4] * 2
    assert look.costs[:, 0].tolist() == [10, 20, 30, 40, 50] * 2
    assert look.rewards[:, 0].tolist() == [1, 2, 3, 4, 5] * 2


def test_a_time_out_bootstraps_cost_as_it_does_reward():
    look = LookAtRollout()
    model = PPOLag("MlpPolicy", CountingEnv(length=5), cost_gamma=0.5, gamma=0.9, **SMALL)
    model.learn(10, look)
    assert abs(look.terminal_cost) > 1e-4
    assert look.costs[4, 0] == pytest.approx(50.0 + 0.5 * look.terminal_cost)
    assert look.rewards[4, 0] == pytest.approx(5.0 + 0.9 * look.terminal_value)
    assert look.costs[3, 0] == 40.0


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_generalised_advantage_agrees_with_the_sum_of_discounted_errors(gamma, gae_lambda):
    rng = np.random.default_rng(0)
    steps, n_envs = 12, 3
    signals, values = rng.normal(size=(2, steps, n_envs))
    starts = (rng.random((steps, n_envs)) < 0.3).astype(float)
    last_values, last_dones = rng.normal(size=n_envs), np.array([True, False, False])
    fast = generalised_advantage(
        signals, values, starts, last_values, last_dones, gamma, gae_lambda
    )
    for env in range(n_envs):
        ends = [*(starts[1:, env] == 1.0), last_dones[env]]
        following = [*values[1:, env], last_values[env]]
        for start in range(steps):
            total, weight = 0.0, 1.0
            for step in range(start, steps):
                future = 0.0 if ends[step] else gamma * following[step]
                total += weight * (signals[step, env] + future - values[step, env])
                weight *= gamma * gae_lambda
                if ends[step]:
                    break
            assert fast[start, env] == pytest.approx(total)


@pytest.mark.parametrize("price", [0.0, 3.0])
def test_the_mixed_advantage_is_the_lagrangian_over_one_plus_lambda(price):
    model = PPOLag(
        "MlpPolicy", SpeedLimitEnv(), lagrange_kwargs={"initial": price},
        normalize_advantage=False, **SMALL,
    )  # fmt: skip
    empty = th.zeros(2)
    batch = CostRolloutBufferSamples(
        empty, empty, empty, empty, th.tensor([8.0, -4.0]), empty, empty, th.tensor([0.0, 4.0]),
        empty,
    )  # fmt: skip
    expected = {0.0: [8.0, -4.0], 3.0: [2.0, -4.0]}[price]
    assert model._mixed_advantage(batch).tolist() == expected


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("policy", "observation"), [("CnnPolicy", "image"), ("MultiInputPolicy", "multi")]
)
def test_images_and_dicts_train_the_cost_critic(policy, observation, shared):
    model = PPOLag(
        policy, CountingEnv(observation=observation), normalize_advantage=True,
        policy_kwargs={"share_features_extractor": shared}, **SMALL,
    )  # fmt: skip
    before = model.policy.cost_value_net.weight.detach().clone()
    model.learn(10)
    assert not th.equal(before, model.policy.cost_value_net.weight)
    same = model.policy.cost_features_extractor is model.policy.features_extractor
    assert same == shared


def test_saving_and_loading_keeps_predictions_and_the_multiplier(tmp_path):
    env = SpeedLimitEnv(continuous=True)
    model = PPOLag("MlpPolicy", env, cost_limit=1.0, lagrange="pid", **SMALL).learn(60)
    model.save(tmp_path / "model")
    loaded = PPOLag.load(tmp_path / "model", env=env, device="cpu")
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    assert np.array_equal(
        model.predict(observations, deterministic=True)[0],
        loaded.predict(observations, deterministic=True)[0],
    )
    assert loaded.lagrange_multiplier == model.lagrange_multiplier > 0.0
    assert loaded.multiplier.state_dict() == model.multiplier.state_dict()
    loaded.learn(20)
    stricter = PPOLag.load(tmp_path / "model", device="cpu", cost_limit=0.25)
    assert stricter.multiplier.cost_limit == 0.25


def test_the_same_seed_gives_the_same_training():
    def weights() -> list[th.Tensor]:
        model = PPOLag("MlpPolicy", SpeedLimitEnv(), lagrange="pid", **SMALL).learn(40)
        return list(model.policy.parameters())

    assert all(th.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


def test_collisions_that_learning_caused_are_counted_and_logged(tmp_path):
    env = make_vec_env(lambda: CountingEnv(length=5, ends="terminated", crash=True), n_envs=2)
    model = PPOLag("MlpPolicy", env, cost_limit=0.0, **SMALL)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(60)
    assert model.collisions_caused == 3 * 2 * 2
    with open(tmp_path / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rollout/collisions"]) for row in rows] == [4.0, 4.0, 4.0]
    assert float(rows[-1]["rollout/ep_cost_mean"]) == 150.0
    assert float(rows[-1]["train/lagrange_multiplier"]) > 0.0
    assert float(rows[-1]["train/cost_value_loss"]) > 0.0


def test_stock_callbacks_and_evaluate_policy_work(tmp_path):
    callbacks = [
        CheckpointCallback(10, str(tmp_path)),
        EvalCallback(Monitor(SpeedLimitEnv()), eval_freq=10, n_eval_episodes=1, verbose=0),
    ]
    model = PPOLag("MlpPolicy", SpeedLimitEnv(), **SMALL).learn(20, callbacks)
    assert len(list(tmp_path.glob("*.zip"))) == 2
    assert 0.0 <= evaluate_policy(model, model.get_env(), n_eval_episodes=1)[0] <= 10.0


class CostlessEnv(SpeedLimitEnv):
    cost: float | None = None

    def _info(self, speed: float) -> dict[str, Any]:
        return {} if self.cost is None else {"cost": self.cost}


def test_an_environment_without_cost_is_named():
    gym.register("Toy-Costless-v0", entry_point=CostlessEnv)
    try:
        with pytest.raises(KeyError, match="Toy-Costless-v0"):
            PPOLag("MlpPolicy", gym.make("Toy-Costless-v0"), **SMALL).learn(10)
    finally:
        del gym.registry["Toy-Costless-v0"]


@pytest.mark.parametrize("cost", [-1.0, np.nan, np.inf])
def test_impossible_costs_are_refused(cost):
    env = CostlessEnv()
    env.cost = cost
    with pytest.raises(ValueError, match=r"environment 0, step 1 .*finite number of at least 0"):
        PPOLag("MlpPolicy", env, **SMALL).learn(10)


class WithoutInfos(VecEnvWrapper):
    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observation, reward, done, _ = self.venv.step_wait()
        return observation, reward, done, []


def test_a_vector_environment_without_infos_is_refused():
    env = WithoutInfos(make_vec_env(SpeedLimitEnv, n_envs=2))
    with pytest.raises(ValueError, match="returned 0 infos for 2 environments"):
        PPOLag("MlpPolicy", env, **SMALL).learn(10)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="'pdi'"):
        PPOLag("MlpPolicy", SpeedLimitEnv(), lagrange="pdi")
    with pytest.raises(ValueError, match="gain"):
        PPOLag("MlpPolicy", SpeedLimitEnv(), lagrange_kwargs={"gain": 1.0})
    with pytest.raises(ValueError, match="no cost critic"):
        PPOLag(ActorCriticPolicy, SpeedLimitEnv())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="n_stepz"):
        PPOLag("MlpPolicy", SpeedLimitEnv(), n_stepz=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_accepted_and_copied(name):
    settings = preset(name, n_steps=256, cost_limit=2.0)
    model = PPOLag("MlpPolicy", SpeedLimitEnv(), device="cpu", **settings)
    assert (model.n_steps, model.multiplier.cost_limit) == (256, 2.0)
    settings["lagrange_kwargs"]["maximum"] = -1.0
    assert PRESETS[name]["lagrange_kwargs"]["maximum"] > 0.0
    with pytest.raises(ValueError, match="nowhere"):
        preset("nowhere")


def test_collisions_that_nobody_reports_are_not_known(tmp_path):
    class Silent(SpeedLimitEnv):
        def step(self, action):
            *rest, info = super().step(action)
            info.pop("collision", None)
            return *rest, info

    model = PPOLag("MlpPolicy", Silent(), **SMALL).learn(20)
    assert model.collisions_caused is None
    model.save(tmp_path / "a.zip")
    assert PPOLag.load(tmp_path / "a.zip").collisions_caused is None


def test_a_crash_in_a_rollout_that_a_callback_ends_is_counted():
    class Crash(CountingEnv):
        def step(self, action):
            *rest, info = super().step(action)
            return *rest, {**info, "collision": True}

    model = PPOLag("MlpPolicy", Crash(), **SMALL)
    model.learn(100, callback=lambda scope, _: not scope["dones"].any())
    assert model.collisions_caused == 1
