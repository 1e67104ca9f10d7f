"""`VLSafe.learn` without recorded drives: it drives, and learns from what it drove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from speed_limit import SpeedLimit, record
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize
from tiny_agents import weights
from toy_envs import CountingEnv

from vlsafe_agents import VLSafe

UPDATES: dict[str, dict[str, Any]] = {
    "gated": {},
    "lagrangian": {"update": "lagrangian"},
    "none": {"safety": None},
}


def make(env: Any = None, **kwargs: Any) -> VLSafe:
    env = SpeedLimit() if env is None else env
    kwargs = {"preset": "debug", "seed": 0, "device": "cpu"} | kwargs
    return VLSafe("MlpPolicy", env, **kwargs)


class Stripped(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose info lacks some entries, of its steps only or of its resets too."""

    def __init__(self, env: gym.Env[Any, Any], *names: str, resets: bool = True) -> None:
        super().__init__(env)
        self.names, self.resets = names, resets

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return observation, self._strip(info) if self.resets else info

    def step(self, action: Any) -> Any:
        *others, info = self.env.step(action)
        return *others, self._strip(info)

    def _strip(self, info: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in info.items() if name not in self.names}


# --- driving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", UPDATES)
def test_without_a_data_set_it_drives_and_learns(update: str) -> None:
    agent = make(**UPDATES[update])
    before = weights(agent).clone()
    agent.learn(120)
    assert agent.num_timesteps == 120
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.num_steps == 120
    assert agent._n_updates == (120 - 60) // 4  # 64 rows are 60 steps; 4 steps for an update
    assert not torch.equal(before, weights(agent))


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_the_replay_holds_what_the_environments_said(n_envs: int, ends: str) -> None:
    env = DummyVecEnv([lambda: CountingEnv(length=5, ends=ends)] * n_envs)
    agent = make(env, learning_starts=1000)
    agent.learn(12 * n_envs)
    assert agent.replay_buffer is not None
    episodes = agent.replay_buffer.episodes()
    assert [e.num_steps for e in episodes] == [5, 5, 2] * n_envs
    for episode in episodes:
        time = np.arange(episode.num_steps + 1)
        assert (episode.obs["vector"] == time[:, None]).all()
        assert (episode.reward == time[1:]).all()
        assert (episode.env_cost == [0.0, *(10.0 * time[1:])]).all()  # that of the last step too
        assert episode.safety_score == pytest.approx(1 / (1 + time))
        assert episode.terminated == (ends == "terminated" and episode.num_steps == 5)
    assert agent.collector.cost_caused == n_envs * (2 * 150.0 + 30.0)


def test_environments_in_other_processes_are_read_alike() -> None:
    replays = []
    for kind in (DummyVecEnv, SubprocVecEnv):
        env = kind([SpeedLimit, SpeedLimit])
        agent = make(env, learning_starts=1000)
        agent.learn(60)
        assert agent.replay_buffer is not None
        replays.append(agent.replay_buffer.state_dict())
        env.close()
    for name, array in replays[0].items():
        np.testing.assert_array_equal(array, replays[1][name], err_msg=name)


def test_the_first_actions_are_random_and_the_next_are_the_actors() -> None:
    agent = make(learning_starts=64)
    agent.policy.predict = unusable  # type: ignore[assignment]
    agent.learn(60)
    agent = make(learning_starts=64)
    agent.policy.predict = unusable  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="acts by itself"):
        agent.learn(80)


def unusable(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("acts by itself")


@pytest.mark.parametrize(
    ("words", "per_step"),
    [
        ({"train_freq": 4}, 1 / 4),
        ({"train_freq": 2, "gradient_steps": 3}, 3 / 2),
        ({"train_freq": 2, "gradient_steps": -1}, 2),
        ({"config": {"online": {"train_ratio": 16.0}}}, 2 * 16 / 32),
    ],
)
def test_how_often_it_learns(words: dict[str, Any], per_step: float) -> None:
    """A step is one of both environments."""
    agent = make(DummyVecEnv([SpeedLimit] * 2), learning_starts=20, **words)
    agent.learn(40)
    if words.get("gradient_steps") == -1:
        per_step = 2 / 2  # as many as were driven, in every second step
    learning = 20 - 9  # two rows of reset, two of each step: 20 after 9 steps
    assert agent._n_updates == int((learning + 1) * per_step)


def test_a_seed_repeats_a_run() -> None:
    first, second = (make(seed=3).learn(100) for _ in range(2))
    assert torch.equal(weights(first), weights(second))


def test_it_goes_on_where_it_was() -> None:
    agent = make().learn(90)
    assert agent.replay_buffer is not None
    agent.learn(30, reset_num_timesteps=False)
    assert agent.num_timesteps == 120
    lengths = [e.num_steps for e in agent.replay_buffer.episodes()]
    assert sum(lengths) == 120
    updates = agent._n_updates
    agent.learn(30)
    assert agent.num_timesteps == 30
    assert agent.replay_buffer.num_steps == 150
    assert agent._n_updates > updates  # there is no second random phase


# --- what is needed of the environment ------------------------------------------------------------


@pytest.mark.parametrize("resets", [False, True])
def test_the_gate_needs_scores_of_every_frame(resets: bool) -> None:
    env = Stripped(SpeedLimit(), "safety_score", resets=resets)
    message = r"info\[.*safety_score.*wrappers.VLMCost.*lagrangian.*safety=None"
    with pytest.raises(KeyError, match=message):
        make(env).learn(5)
    make(env, update="lagrangian").learn(70)
    make(env, safety=0.5).learn(70)


def test_a_limit_needs_costs() -> None:
    env = Stripped(SpeedLimit(), "cost")
    for update in ("gated", "lagrangian"):
        with pytest.raises(KeyError, match=r"info\[.*cost.*needs one at every step.*safety=None"):
            make(env, update=update).learn(5)
    make(env, safety=None).learn(70)


def test_normalised_observations_are_refused() -> None:
    env = VecNormalize(DummyVecEnv([SpeedLimit]))
    with pytest.raises(ValueError, match="take it off"):
        make(env).learn(5)


class Spoilt(SpeedLimit):
    def step(self, action: Any) -> Any:
        observation, *others = super().step(action)
        return observation * np.nan if self.time == 7 else observation, *others


def test_what_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="step 7 of its episode"):
        make(Spoilt()).learn(20)


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3, start=2),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(-1, 1, (2,), np.float32),
    ],
)
def test_actions_reach_the_environment_as_its_own(action_space: Any) -> None:
    class Checks(SpeedLimit):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = action_space

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(action), action
            return super().step(1)

    agent = make(Checks(), learning_starts=20)
    agent.learn(60)
    assert agent._n_updates


# --- costs ----------------------------------------------------------------------------------------


class Rows(BaseCallback):
    """What the log holds at the end."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.model.collector.record(self.logger)  # type: ignore[attr-defined]
        self.values = dict(self.logger.name_to_value)


def test_costs_and_collisions_are_counted_while_learning() -> None:
    env = DummyVecEnv([lambda: Monitor(CountingEnv(5, "terminated", crash=True))] * 2)
    agent, rows = make(env, learning_starts=20), Rows()
    agent.learn(40, rows, log_interval=0)
    assert rows.values["rollout/ep_cost_mean"] == 150.0
    assert rows.values["rollout/cost_caused"] == agent.collector.cost_caused == 2 * 4 * 150.0
    assert rows.values["rollout/collisions_caused"] == agent.collector.collisions_caused == 8
    assert rows.values["rollout/ep_rew_mean"] == 15.0
    assert rows.values["rollout/ep_len_mean"] == 5.0
    assert rows.values["rollout/exploring"] == 1.0


def test_the_multiplier_follows_the_cost_of_real_episodes() -> None:
    env = DummyVecEnv([lambda: CountingEnv(5)])  # 150 an episode
    config = {"multiplier": {"plain": {"learning_rate": 1e-3}}}
    agent = make(env, update="lagrangian", cost_limit=100.0, learning_starts=22, config=config)
    agent.learn(50)
    learnt = 50 // 5 - 4  # episodes that ended after the first update
    assert agent.policy.actor_critic.price == pytest.approx(learnt * 50.0 * 1e-3)
    assert agent.policy.actor_critic.episode_steps == 5.0


def test_exploring_stops_while_it_costs_too_much() -> None:
    costly = DummyVecEnv([lambda: CountingEnv(5)])
    config = {"online": {"explore_cost_limit": 149.0, "explore_episodes": 2}}
    agent = make(costly, learning_starts=8, config=config)
    agent.learn(25)
    assert not agent.collector.explores
    agent = make(costly, learning_starts=8, config={"online": {"explore_cost_limit": 150.0}})
    agent.learn(25)
    assert agent.collector.explores


# --- recorded drives first ------------------------------------------------------------------------


def test_after_recorded_drives_it_goes_on_in_the_environment() -> None:
    data = record(20)
    agent = make(dataset=data)
    agent.learn(6)
    assert agent.replay_buffer is None
    agent.learn(60, online=True)
    assert agent.num_timesteps == 60
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.num_steps == 60
    assert agent._n_updates > 6
    assert agent.collector._limit == agent.cost_limit  # exploring has a bound
    batch = agent._source().sample(4, 8, np.random.default_rng(0))
    assert batch.reward.shape == (4, 8)
    agent.learn(4)  # on the data set alone
    assert agent.num_timesteps == 4
    assert agent.replay_buffer.num_steps == 60


def test_recorded_drives_keep_their_share_of_every_batch() -> None:
    data = record(20)
    for share, recorded in ((0.0, 0), (0.25, 2), (1.0, 8)):
        agent = make(dataset=data, config={"online": {"data_share": share}})
        agent.learn(2)
        agent.learn(30, online=True)
        assert agent.replay_buffer is not None
        for array in agent.replay_buffer._rows.values():
            array[:] = 0  # what was driven shows
        batch = agent._source().sample(8, 4, np.random.default_rng(0))
        assert (batch.obs["vector"] != 0).any((1, 2)).sum() == recorded


def test_a_trained_agent_without_its_data_does_not_drive_unasked(tmp_path: Path) -> None:
    agent = make(dataset=record(20))
    agent.learn(4)
    agent.save(tmp_path / "agent")
    loaded = VLSafe.load(tmp_path / "agent", env=SpeedLimit())
    with pytest.raises(ValueError, match=r"call set_dataset first, or learn\(n, online=True\)"):
        loaded.learn(4)
    loaded.learn(30, online=True)
    assert loaded.num_timesteps == 30
    loaded.set_dataset(record(20))
    with pytest.raises(ValueError, match="counted steps so far and would count updates"):
        loaded.learn(4, reset_num_timesteps=False, online=False)


def test_to_drive_it_needs_an_environment(tmp_path: Path) -> None:
    make().save(tmp_path / "agent")
    with pytest.raises(ValueError, match="call set_env first"):
        VLSafe.load(tmp_path / "agent").learn(4)


# --- Stable-Baselines3 ----------------------------------------------------------------------------


def test_callbacks_and_checkpoints_work(tmp_path: Path) -> None:
    agent = make(learning_starts=20)
    stop = StopTrainingOnRewardThreshold(reward_threshold=-1.0)
    evaluate = EvalCallback(
        Monitor(SpeedLimit()), callback_on_new_best=stop, n_eval_episodes=1, eval_freq=40, verbose=0
    )
    checkpoints = CheckpointCallback(25, str(tmp_path), save_replay_buffer=True)
    agent.learn(100, [checkpoints, evaluate])
    assert agent.num_timesteps == 40  # any reward is enough
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == ["rl_model_25_steps.zip", "rl_model_replay_buffer_25_steps.pkl"]


def test_a_saved_agent_goes_on_with_its_replay(tmp_path: Path) -> None:
    agent = make(update="lagrangian").learn(90)
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay.npz")
    loaded = VLSafe.load(tmp_path / "agent", env=SpeedLimit())
    assert loaded.replay_buffer is None
    loaded.load_replay_buffer(tmp_path / "replay.npz")
    assert loaded.replay_buffer is not None
    assert loaded.replay_buffer.num_steps == 90
    assert loaded.collector.state() == agent.collector.state()
    assert loaded.policy.actor_critic.price == agent.policy.actor_critic.price
    before = loaded._n_updates
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 110
    assert loaded._n_updates == before + 5
    assert loaded.replay_buffer.num_steps == 110


def test_a_foreign_replay_is_refused(tmp_path: Path) -> None:
    agent = make(DummyVecEnv([SpeedLimit] * 2), learning_starts=1000)
    agent.learn(20)
    agent.save_replay_buffer(tmp_path / "replay.npz")
    other = make(CountingEnv())
    with pytest.raises(ValueError, match="in the stored replay, but"):
        other.load_replay_buffer(tmp_path / "replay.npz")
    with pytest.raises(FileNotFoundError):
        other.load_replay_buffer(tmp_path / "nothing.npz")
    alone = make()
    alone.load_replay_buffer(tmp_path / "replay.npz")
    with pytest.raises(ValueError, match=r"agent.replay_buffer = None"):
        alone.learn(20)


def test_progress_is_shown_at_any_verbosity(capsys: pytest.CaptureFixture[str]) -> None:
    make(verbose=1).learn(20)
    assert "VLSafe: started, 20 steps in all" in capsys.readouterr().err
    make(dataset=record(20), verbose=1).learn(2)
    assert "VLSafe: started, 2 updates in all" in capsys.readouterr().err
    make().learn(20)
    assert not capsys.readouterr().err


def test_words_of_sb3_become_settings(tmp_path: Path) -> None:
    agent = make(
        learning_rate=2e-3,
        gamma=0.9,
        batch_size=3,
        buffer_size=500,
        learning_starts=7,
        policy_kwargs={"net_arch": [24, 24, 24]},
        stats_window_size=5,
    )
    config = agent.config
    assert config.train.learning_rate == config.network.learning_rate == 2e-3
    assert agent.learning_rate == 2e-3
    assert config.imagination.gamma == 0.9
    assert config.train.batch_size == 3
    assert (config.online.buffer_size, config.online.learning_starts) == (500, 7)
    assert (config.network.units, config.network.layers) == (24, 3)
    agent.save(tmp_path / "agent")
    loaded = VLSafe.load(tmp_path / "agent", gamma=0.8)
    assert loaded.config.imagination.gamma == 0.8
    assert loaded.config.train.learning_rate == 2e-3
    assert loaded._stats_window_size == 5


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"gae_lambda": 0.9}, TypeError, "lambda_"),
        ({"n_steps": 128}, TypeError, "train_freq"),
        ({"ent_coef": 0.1}, TypeError, "improvement.beta"),
        ({"nonsense": 1}, TypeError, "it is unknown"),
        ({"learning_rate": lambda left: left}, ValueError, "must be a number"),
        ({"gamma": 0.9, "config": {"imagination": {"gamma": 0.8}}}, ValueError, "give one of them"),
        ({"train_freq": (1, "episode")}, ValueError, "do not wait for the end of an episode"),
        ({"train_freq": 0}, ValueError, "train_freq"),
        ({"gradient_steps": -2}, ValueError, "gradient_steps"),
        ({"policy_kwargs": {"net_arch": [64, 32]}}, ValueError, "one width"),
        ({"policy_kwargs": {"net_arch": [{"vf": [8]}]}}, ValueError, "one width"),
        ({"policy_kwargs": {"net_arch": []}}, ValueError, "one width"),
        ({"policy_kwargs": {"activation_fn": torch.nn.Tanh}}, ValueError, "may hold net_arch"),
        ({"buffer_size": 0}, ValueError, "buffer_size"),
    ],
)
def test_words_without_a_meaning_say_what_to_write(
    words: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**words)
