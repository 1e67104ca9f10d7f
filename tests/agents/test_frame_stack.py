"""Frames are stacked alike in training, in data and in `predict`: as by SB3's VecFrameStack."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from toy_envs import CountingEnv, observation_space

from vlsafe_agents import BC, PPO, PPOLag
from vlsafe_agents.algorithms import ALGORITHMS
from vlsafe_agents.common.frame_stack import push_frames, single_space, stacked_space
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.evaluation import evaluate
from vlsafe_agents.evaluation.roles import role_of
from vlsafe_agents.training import EnvName, TrainSettings, load_agent, train

KINDS = ("vector", "image", "multi")
POLICIES = {"vector": "MlpPolicy", "image": "CnnPolicy", "multi": "MultiInputPolicy"}
ONLINE: dict[str, Any] = {"n_steps": 10, "batch_size": 10, "n_epochs": 1, "device": "cpu"}


class RandomEnv(CountingEnv):
    """Random observations; the e-th episode has e + 1 steps."""

    def __init__(self, observation: str = "vector") -> None:
        super().__init__(observation=observation)
        self.length = 1
        self._rng = np.random.default_rng(0)

    def reset(self, **kwargs: Any) -> Any:
        self.length += 1
        return self._look(), super().reset(**kwargs)[1]

    def step(self, action: Any) -> Any:
        _, *rest = super().step(action)
        return self._look(), *rest

    def _look(self) -> Any:
        parts = {
            "image": self._rng.integers(1, 256, (64, 64, 3), np.uint8),
            "vector": self._rng.normal(size=3).astype(np.float32),
        }
        kind = "multi" if isinstance(self.observation_space, spaces.Dict) else "image"
        if kind == "image" and self.observation_space.shape == (3,):
            kind = "vector"
        return parts if kind == "multi" else parts[kind]


def recorded(observation: str, episodes: int = 4) -> tuple[EpisodeDataset, list[Any]]:
    """Episodes of a RandomEnv, and what SB3's VecFrameStack(3) shows at each of their steps."""
    env = RandomEnv(observation)
    stack = VecFrameStack(DummyVecEnv([lambda: RandomEnv(observation)]), 3)
    built, shown = [], []
    seen = stack.reset()
    for _ in range(episodes):
        rows = [env.reset()[0]]
        done = False
        while not done:
            shown.append(_first(seen))
            seen, _, dones, infos = stack.step(np.array([0]))
            last, _, _, done, _ = env.step(0)
            rows.append(last)
            assert bool(dones[0]) == done
        shown.append(infos[0]["terminal_observation"])
        names = {"multi": ("image", "vector")}.get(observation, (observation,))
        obs = {n: np.stack([row[n] if len(names) > 1 else row for row in rows]) for n in names}
        steps = len(rows) - 1
        built.append(
            Episode(
                obs=obs, action=np.zeros(steps, int), reward=np.zeros(steps),
                env_cost=np.zeros(steps + 1), terminated=False,
            )
        )  # fmt: skip
    space = observation_space(observation)
    if observation != "multi":
        space = spaces.Dict({observation: space})
    return EpisodeDataset.from_arrays(built, space, spaces.Discrete(3)), shown


def _first(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: part[0].copy() for name, part in observation.items()}
    return observation[0].copy()


def _part(observation: Any, name: str) -> Any:
    return observation[name] if isinstance(observation, dict) else observation


@pytest.mark.parametrize("observation", KINDS)
def test_recorded_steps_are_stacked_as_vec_frame_stack_does(observation: str) -> None:
    data, shown = recorded(observation)
    rows = [t for t in range(len(shown)) if data._stream.has_action(np.array(t))]
    rng = np.random.default_rng(1)
    drawn = data._stream.acting_rows(np.random.default_rng(1).integers(0, len(rows), 200))
    batch = data.sample_transitions(200, rng, frame_stack=3)
    assert set(drawn) == set(rows)
    for name in batch.obs:
        for index, row in enumerate(drawn):
            assert np.array_equal(batch.obs[name][index], _part(shown[row], name))
            assert np.array_equal(batch.next_obs[name][index], _part(shown[row + 1], name))


@pytest.mark.parametrize("observation", KINDS)
def test_predict_stacks_what_it_is_shown_as_vec_frame_stack_does(observation: str) -> None:
    single = observation_space(observation)
    stack = VecFrameStack(DummyVecEnv([lambda: RandomEnv(observation)] * 2), 3)
    plain = DummyVecEnv([lambda: RandomEnv(observation)] * 2)
    seen, raw = stack.reset(), plain.reset()
    state, starts = None, np.ones(2, bool)
    for _ in range(12):
        pushed = push_frames(raw, state, starts, stacked_space(single, 3), 3)
        assert pushed is not None
        mine, state = pushed
        for name in raw if isinstance(raw, dict) else [""]:
            assert np.array_equal(_part(mine, name), _part(seen, name))
        seen = stack.step(np.zeros(2, int))[0]
        raw, _, starts, _ = plain.step(np.zeros(2, int))


def test_spaces_are_stacked_and_taken_apart_again() -> None:
    uneven = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 5.0], np.float32))
    image = spaces.Box(0, 255, (3, 64, 64), np.uint8)
    for space in (uneven, image, observation_space("multi")):
        stacked = stacked_space(space, 4)
        assert single_space(stacked, 4) == space
        vec = DummyVecEnv([lambda s=space: Shown(s)])
        assert stacked == VecFrameStack(vec, 4).observation_space
    assert stacked_space(image, 4).shape == (12, 64, 64)
    with pytest.raises(ValueError, match="frame_stack=2 needs a Box"):
        stacked_space(spaces.Discrete(3), 2)
    with pytest.raises(ValueError, match="stack fewer"):
        stacked_space(image, 30)


class Shown(gym.Env[Any, Any]):
    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)


def make(kind: str, observation: str, frames: int = 3, env: Any = None) -> Any:
    env = CountingEnv(observation=observation) if env is None else env
    if kind == "bc":
        data = recorded(observation)[0]
        return BC(POLICIES[observation], env, data, batch_size=8, device="cpu", frame_stack=frames)
    agent = {"ppo": PPO, "ppo_lag": PPOLag}[kind]
    return agent(POLICIES[observation], env, frame_stack=frames, seed=0, **ONLINE)


@pytest.mark.parametrize("observation", KINDS)
@pytest.mark.parametrize("kind", ["bc", "ppo", "ppo_lag"])
def test_agents_learn_from_stacks_and_are_saved_with_them(
    kind: str, observation: str, tmp_path: Any
) -> None:
    agent = make(kind, observation).learn(10)
    shape = {"vector": (9,), "image": (9, 64, 64)}
    for name in ("vector", "image") if observation == "multi" else (observation,):
        space = agent.observation_space
        space = space[name] if observation == "multi" else space
        assert space.shape == shape[name]
    agent.save(tmp_path / "a.zip")
    env = RandomEnv(observation)
    again = type(agent).load(tmp_path / "a.zip", env=CountingEnv(observation=observation))
    assert again.frame_stack == 3
    expected, found, seen = [], [], env.reset()[0]
    states: list[Any] = [None, None]
    for step in range(5):
        start = np.array([step == 3])
        for agents, out, n in ((agent, expected, 0), (again, found, 1)):
            action, states[n] = agents.predict(seen, states[n], start, deterministic=True)
            out.append(action)
        seen = env.step(0)[0]
    assert np.array_equal(expected, found)
    if kind == "bc":
        again.set_dataset(recorded(observation)[0])
    again.learn(10, reset_num_timesteps=False)
    with pytest.raises(ValueError, match="frame_stack is 3 in the file"):
        type(agent).load(tmp_path / "a.zip", frame_stack=2)


def test_the_number_of_frames_is_checked() -> None:
    for kind in ("bc", "ppo", "ppo_lag"):
        with pytest.raises(ValueError, match="frame_stack"):
            make(kind, "vector", 0)


def test_another_environment_is_stacked_too_and_an_agents_own_not_twice() -> None:
    agent, other = make("ppo_lag", "image"), make("ppo", "image")
    agent.set_env(CountingEnv(observation="image"))
    agent.learn(10)
    agent.set_env(other.get_env())
    assert agent.get_env().observation_space.shape == (9, 64, 64)
    cloner = make("bc", "image")
    cloner.set_env(CountingEnv(observation="image"))
    cloner.learn(2)


def test_a_stack_that_the_agent_does_not_know_of_is_still_refused() -> None:
    data = recorded("vector")[0]
    data.metadata["env_id"] = "Toy-v0"
    env = VecFrameStack(DummyVecEnv([CountingEnv]), 3)
    with pytest.raises(ValueError, match="VecFrameStack"):
        BC("MlpPolicy", env, data, device="cpu")


class Recall(gym.Env[Any, Any]):
    """The first observation says which action pays at the second, which says nothing."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.right, self.step_number = int(self.np_random.integers(2)), 0
        return np.array([2.0 * self.right - 1.0], np.float32), {}

    def step(self, action: Any) -> Any:
        self.step_number += 1
        reward = float(self.step_number == 2 and int(action) == self.right)
        info = {"cost": 0.0}
        return np.zeros(1, np.float32), reward, False, self.step_number == 2, info


def recall_data() -> EpisodeDataset:
    episodes = [
        Episode(
            obs={"vector": np.array([[2.0 * right - 1.0], [0.0], [0.0]], np.float32)},
            action=np.array([0, right]), reward=np.zeros(2), env_cost=np.zeros(3), terminated=False,
        )
        for right in (0, 1)
    ]  # fmt: skip
    env = Recall()
    space = spaces.Dict({"vector": env.observation_space})
    return EpisodeDataset.from_arrays(episodes, space, env.action_space)


def test_two_frames_recall_what_one_frame_cannot() -> None:
    earned = {}
    for frames in (1, 2):
        agent = BC(
            "MlpPolicy", Recall(), recall_data(), frame_stack=frames, seed=0, device="cpu",
            batch_size=16, learning_rate=1e-2,
        ).learn(100)  # fmt: skip
        result = evaluate(agent, Recall, range(40))
        earned[frames] = result.summary["return"]["mean"]
        assert evaluate_policy(agent, Monitor(Recall()), 40)[0] > (0.2 if frames == 1 else 0.99)
        assert evaluate_policy(agent, agent.get_env(), 40)[0] > (0.2 if frames == 1 else 0.99)
        together = evaluate(
            agent, Recall, range(40), num_envs=4,
            make_vec_env=lambda n: gym.vector.SyncVectorEnv(
                [Recall] * n, autoreset_mode=gym.vector.AutoresetMode.DISABLED
            ),
        )  # fmt: skip
        assert together.records == result.records
    assert earned[1] < 0.8
    assert earned[2] == 1.0


def test_a_training_run_keeps_the_number_of_frames(tmp_path: Any) -> None:
    settings = TrainSettings(
        algo="bc", env=EnvName("Recall-v0"), observation="vector", steps=60, frame_stack=2,
        config={"learning_rate": 1e-2, "batch_size": 16},
    )  # fmt: skip
    train(settings, tmp_path / "bc", Recall, recall_data())
    assert json.loads((tmp_path / "bc" / "settings.json").read_text())["frame_stack"] == 2
    agent, found, _ = load_agent(tmp_path / "bc")
    assert found.frame_stack == agent.frame_stack == 2
    assert evaluate(agent, Recall, range(20)).summary["return"]["mean"] == 1.0


def test_settings_know_which_algorithms_stack_frames() -> None:
    reads = {name for name, row in ALGORITHMS.items() if "frame_stack" in row.reads}
    offline = {"bc", "bc_safe", "iql", "cql", "cpq", "coptidice"}
    driving = {"ppo", "ppo_lag", "trpo_lag", "sac_lag", "trpo", "dqn", "qrdqn", "sac"}
    assert reads == offline | driving
    with pytest.raises(ValueError, match="--frame-stack"):
        TrainSettings(algo="vlsafe", env=EnvName("x"), frame_stack=2)
    with pytest.raises(ValueError, match="--frame-stack"):
        TrainSettings(algo="bc", env=EnvName("x"), frame_stack=0)
    with pytest.raises(ValueError, match="no setting 'frame_stack'"):
        TrainSettings(algo="ppo", env=EnvName("x"), config={"frame_stack": 3}).check()


def test_reports_tell_apart_agents_by_their_frames() -> None:
    labels = [
        role_of("agent", "a", {"algo": algo, "frame_stack": frames}).label
        for algo in ("bc", "ppo_lag", "ppo")
        for frames in (None, 1, 4)
    ]
    plain = ["Behaviour cloning", "PPO-Lag", "PPO"]
    assert labels == [text for name in plain for text in (name, name, f"{name}, 4 frames")]


def test_a_stack_of_one_changes_nothing() -> None:
    def weights(**more: Any) -> list[th.Tensor]:
        agent = PPO("MlpPolicy", CountingEnv(), seed=0, **ONLINE, **more).learn(20)
        return list(agent.policy.parameters())

    assert all(th.equal(a, b) for a, b in zip(weights(), weights(frame_stack=1), strict=True))


@pytest.mark.parametrize("observation", KINDS)
def test_a_run_that_goes_on_equals_one_that_was_not_stopped(
    observation: str, tmp_path: Any
) -> None:
    def env() -> Any:
        return CountingEnv(length=7, observation=observation)

    agent = make("ppo", observation, env=env()).learn(10)
    agent.save(tmp_path / "a.zip")  # within an episode, with frames in the stack
    again = PPO.load(tmp_path / "a.zip", env=env(), device="cpu")
    for one in (agent, again):
        one.learn(10, reset_num_timesteps=False)
    for a, b in zip(agent.policy.parameters(), again.policy.parameters(), strict=True):
        assert th.equal(a, b)
