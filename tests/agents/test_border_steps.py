"""What an environment reports while PPO-Lag drives is checked, named by environment and step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from vlsafe_agents import PPOLag
from vlsafe_agents.stock import PPO

ZEROS, NAN = np.zeros(3, np.float32), np.array([0, np.nan, 0], np.float32)
BAD_STEP = 4
SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 8, "n_epochs": 1, "device": "cpu"}


class FaultyEnv(gym.Env[Any, Any]):
    """Episodes of five steps; step 4 of the first one has some values replaced.

    Args:
        shape: "six", "four" or "text": what step returns from the beginning
    """

    action_space = spaces.Discrete(2)

    def __init__(self, shape: str = "", first: Any = None, named: bool = False, **bad: Any) -> None:
        box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = spaces.Dict({"vector": box}) if named else box
        self.shape, self.first, self.named, self.bad = shape, first, named, bad
        self.total = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return (self._seen(ZEROS), {}) if self.first is None else self.first

    def step(self, action: Any) -> Any:
        self.time += 1
        self.total += 1
        values: dict[str, Any] = {
            "observation": self._seen(ZEROS),
            "reward": 1.0,
            "terminated": False,
            "truncated": self.time == 5,
            "info": {"cost": 0.0},
        }
        if self.total == BAD_STEP:
            values |= self.bad
        observation, reward, terminated, truncated, info = values.values()
        if self.shape == "six":
            return observation, reward, 0.0, terminated, truncated, info
        if self.shape == "four":
            return observation, reward, terminated, info
        if self.shape == "text":
            return "done"
        return observation, reward, terminated, truncated, info

    def _seen(self, values: np.ndarray) -> Any:
        return {"vector": values} if self.named else values


STEP = "step 4 of its episode: "
FIRST = "step 1 of its episode: "
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "observation nan": ({"observation": NAN}, STEP + "the observation holds nan at entry 1"),
    "observation inf": ({"observation": ZEROS + np.inf}, STEP + "the observation holds inf"),
    "last observation": (
        {"observation": NAN, "terminated": True},
        STEP + "the observation holds nan at entry 1",
    ),
    "first observation": ({"first": (NAN, {})}, "reset: the observation holds nan at entry 1"),
    "observation long": ({"observation": np.zeros(4)}, STEP + ".*shape.*4"),
    "observation text": ({"observation": "x"}, STEP),
    "reward nan": ({"reward": np.nan}, STEP + "the reward is nan; expected a finite number"),
    "reward inf": ({"reward": -np.inf}, STEP + "the reward is -inf"),
    "reward float64": ({"reward": 1e39}, STEP + "the reward is (1e.39|inf)"),
    "reward none": ({"reward": None}, STEP + "the reward is"),
    "reward text": ({"reward": "much"}, STEP),
    "reward two": ({"reward": np.zeros(2)}, STEP),
    "info none": ({"info": None}, STEP),
    "info list": ({"info": []}, STEP),
    "no cost": ({"info": {}}, STEP + r"there is no info\['cost'\]; PPOLag needs one"),
    "cost nan": ({"info": {"cost": np.nan}}, STEP + r"info\['cost'\] is nan"),
    "cost inf": ({"info": {"cost": np.inf}}, STEP + r"info\['cost'\] is inf"),
    "cost negative": ({"info": {"cost": -1}}, STEP + r"info\['cost'\] is -1; .*at least 0"),
    "cost float64": ({"info": {"cost": 1e39}}, STEP + r"info\['cost'\] is 1e.39; .*float32"),
    "cost text": ({"info": {"cost": "much"}}, STEP + r"info\['cost'\] is 'much'"),
    "cost none": ({"info": {"cost": None}}, STEP + r"info\['cost'\] is None"),
    "cost two": ({"info": {"cost": np.zeros(2)}}, STEP + r"info\['cost'\] holds 2 numbers .*sum"),
    "cost dict": ({"info": {"cost": {"lane": 1.0}}}, STEP + r"info\['cost'\] is \{'lane': 1"),
    "collision text": (
        {"info": {"cost": 0.0, "collision": "no"}, "terminated": True},
        r"info\['collision'\] is 'no'; expected True or False",
    ),
    "six values": ({"shape": "six"}, FIRST + ".*SafetyGymnasium2Gymnasium"),
    "four values": ({"shape": "four"}, FIRST + r".*\(observation, reward, terminated, truncated"),
    "reset alone": ({"first": ZEROS}, "reset"),
}
ONLY_ALONE: dict[str, tuple[dict[str, Any], str]] = {  # SB3's vector environment has lost these
    "observation of one": ({"observation": np.zeros(1)}, STEP + r".*\(1,\), but \(3,\)"),
    "observation number": ({"observation": 0.0}, STEP + r".*shape \(\), but \(3,\)"),
    "observation part": ({"named": True, "observation": {"a": ZEROS}}, STEP + ".*a dict with"),
    "observation bare": ({"named": True, "observation": ZEROS}, STEP + ".*is a ndarray; expected"),
    "terminated text": ({"terminated": "False"}, STEP + "terminated is 'False'; expected True"),
    "terminated nan": ({"terminated": np.nan}, STEP + "terminated is nan"),
    "terminated none": ({"terminated": None}, STEP + "terminated is None"),
    "truncated text": ({"truncated": "no"}, STEP + "truncated is 'no'"),
    "truncated two": ({"truncated": np.zeros(2, bool)}, STEP + "truncated is array"),
    "info at reset": ({"first": (ZEROS, None)}, "reset: info is None"),
    "text": ({"shape": "text"}, FIRST + "step returned one str, values"),
}


def learn(env: Any, named: bool = False) -> PPOLag:
    policy = "MultiInputPolicy" if named else "MlpPolicy"
    return PPOLag(policy, env, **SMALL).learn(32)


@pytest.mark.parametrize("case", [*FAULTS, *ONLY_ALONE])
def test_faults_of_one_environment_are_named(case: str) -> None:
    bad, said = (FAULTS | ONLY_ALONE)[case]
    with pytest.raises((ValueError, KeyError), match=f"environment 0(, |: ).*{said}"):
        learn(FaultyEnv(**bad), bad.get("named", False))


@pytest.mark.parametrize("case", FAULTS)
def test_faults_of_the_second_of_two_environments_are_named(case: str) -> None:
    bad, said = FAULTS[case]
    env = DummyVecEnv([FaultyEnv, lambda: FaultyEnv(**bad)])
    with pytest.raises((ValueError, KeyError), match=f"environment 1(, |: ).*{said}"):
        learn(env)


class CostInInfo(gym.Wrapper[Any, Any, Any, Any]):
    """As docs/your_data.md says it."""

    def step(self, action: Any) -> Any:
        observation, reward, cost, terminated, truncated, info = self.env.step(action)  # type: ignore[misc]
        return observation, reward, terminated, truncated, {**info, "cost": cost}


def test_what_the_error_advises_helps() -> None:
    learn(CostInInfo(FaultyEnv(shape="six")))


def test_steps_are_those_of_the_present_episode() -> None:
    """The fault comes in the ninth step of all, the fourth of the second episode."""

    class Late(FaultyEnv):
        def step(self, action: Any) -> Any:
            observation, _, terminated, truncated, info = super().step(action)
            reward = np.nan if self.total == 9 else 1.0
            return observation, reward, terminated, truncated, info

    for env in (Late(), DummyVecEnv([Late])):
        with pytest.raises(ValueError, match="environment 0, step 4 of its episode: the reward"):
            learn(env)


@pytest.mark.parametrize("cost", [np.array([0.5]), np.array(0.5), np.float32(0.5), 1, True])
def test_one_cost_in_any_clothing_is_a_number(cost: Any) -> None:
    class Costly(FaultyEnv):
        def step(self, action: Any) -> Any:
            *rest, _ = super().step(action)
            return *rest, {"cost": cost}

    costs = learn(Costly()).rollout_buffer.costs  # time-outs have a critic's value added
    assert np.median(costs) == float(np.asarray(cost).reshape(-1)[0])


def test_an_environments_own_error_is_left_alone() -> None:
    class Broken(FaultyEnv):
        def step(self, action: Any) -> Any:
            raise ValueError("my own mistake")

    for env in (Broken(), DummyVecEnv([Broken])):
        with pytest.raises(ValueError, match=r"^my own mistake$"):
            learn(env)


def test_a_process_that_dies_is_named() -> None:
    env = SubprocVecEnv([six_values], "fork")
    with pytest.raises(RuntimeError, match="environment's process ended at step 1"):
        learn(env)
    env.waiting = False  # SB3's close would wait for an answer
    for process in env.processes:
        process.join()


def six_values() -> gym.Env[Any, Any]:
    return FaultyEnv(shape="six")


def test_the_environment_of_the_model_stays_the_users() -> None:
    env = VecNormalize(DummyVecEnv([FaultyEnv]))
    model = learn(env)
    assert model.get_env() is env
    assert model.get_vec_normalize_env() is env
    model.learn(16, reset_num_timesteps=False)


def test_ppo_checks_the_same_but_for_costs() -> None:
    env = DummyVecEnv([FaultyEnv, lambda: FaultyEnv(reward=np.nan)])
    with pytest.raises(ValueError, match="environment 1, step 4 of its episode: the reward is nan"):
        PPO("MlpPolicy", env, **SMALL).learn(32)
    with pytest.raises(ValueError, match="environment 0, step 4 of its episode: terminated is"):
        PPO("MlpPolicy", FaultyEnv(terminated="no"), **SMALL).learn(32)
    with pytest.raises(ValueError, match="environment 0, reset: the observation holds nan"):
        PPO("MlpPolicy", DummyVecEnv([lambda: FaultyEnv(first=(NAN, {}))]), **SMALL).learn(32)
    PPO("MlpPolicy", FaultyEnv(info={}), **SMALL).learn(32)


def test_a_registered_environment_is_named_by_its_id() -> None:
    gym.register("Faulty-v0", FaultyEnv)
    try:
        env = gym.make("Faulty-v0", disable_env_checker=True, info={"cost": -2.0})
        with pytest.raises(ValueError, match=r"environment 0 \(Faulty-v0\), step 4"):
            learn(env)
    finally:
        del gym.registry["Faulty-v0"]


@pytest.mark.parametrize("start", [-1, 1])
def test_actions_sent_and_predicted_are_the_spaces_own(start: int) -> None:
    class Picky(FaultyEnv):
        action_space = spaces.Discrete(2, start=start)

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(action), action
            return super().step(action)

    for kind in (PPOLag, PPO):
        model = kind("MlpPolicy", Picky(), **SMALL).learn(32)
        actions = {int(model.predict(ZEROS)[0]) for _ in range(40)}
        assert actions == {start, start + 1}
