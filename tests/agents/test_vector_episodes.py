"""Episodes driven side by side are those that would be driven one by one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import PPO
from toy_envs import CountingEnv, Driver, NoisyEnv, SpeedLimitEnv

import vlsafe_envs  # noqa: F401 - registers the ids
from vlsafe_agents.common.vector_episodes import VectorStep, drive_episodes, pick, pick_info
from vlsafe_agents.evaluation import evaluate
from vlsafe_envs.drivers import make_driver


class CountingLonger(CountingEnv):
    """Lasts as many steps as its seed's last digit says, and two more."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.length = 2 + (seed or 0) % 10
        return super().reset(seed=seed)


class Log:
    """Keeps everything that it is told of an episode."""

    def __init__(self, slot: int, seed: int, observation: Any, info: dict[str, Any]) -> None:
        self.slot, self.seed = slot, seed
        self.observations, self.infos = [observation], [info]
        self.actions: list[Any] = []
        self.ends: list[tuple[bool, bool]] = []


class Logs:
    """A log of each episode."""

    def __init__(self) -> None:
        self.running: dict[int, Log] = {}

    def begin(self, tasks: Mapping[int, int], observations: Any, infos: dict[str, Any]) -> None:
        for slot, seed in tasks.items():
            seen = pick(observations, slot), pick_info(infos, slot)
            self.running[slot] = Log(slot, seed, *seen)

    def add(self, step: VectorStep, slots: Sequence[int]) -> None:
        assert set(slots) == set(self.running)
        for slot in slots:
            log = self.running[slot]
            assert step.rewards[slot] == len(log.infos)  # CountingEnv's reward is the step's number
            log.actions.append(step.actions[slot])
            log.observations.append(pick(step.observations, slot))
            log.infos.append(pick_info(step.infos, slot))
            log.ends.append((bool(step.terminated[slot]), bool(step.truncated[slot])))

    def end(self, slot: int) -> Log:
        return self.running.pop(slot)


def test_every_task_is_one_whole_episode_whatever_runs_beside_it() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for seed in (13, 20, 31, 44, 52, 68, 71):
            drawn.append(seed)
            yield seed

    env = SyncVectorEnv([lambda: CountingLonger(1, ends="terminated")] * 3)
    acts: list[list[int]] = []

    def act(observations: Any, slots: list[int]) -> Any:
        acts.append(slots)
        return np.arange(3) % 3

    finished = []
    for log in drive_episodes(env, tasks(), int, act, Logs()):
        seed = log.seed
        finished.append(seed)
        assert len(drawn) <= len(finished) + 2  # no task is drawn before a place is free
        steps = 2 + seed % 10
        assert log.ends == [(False, False)] * (steps - 1) + [(True, False)]
        assert [info["cost"] for info in log.infos] == [10.0 * t for t in range(steps + 1)]
        assert all(type(info["cost"]) is float for info in log.infos)
        assert [float(o.flat[0]) for o in log.observations] == list(range(steps + 1))
        assert log.actions == [log.slot % 3] * steps
    assert sorted(finished) == [13, 20, 31, 44, 52, 68, 71]
    assert finished[0] == 20  # the shortest of the first three
    assert len(acts[-1]) == 1  # the others idle in the end


def test_an_info_is_picked_as_a_single_environment_would_tell_it() -> None:
    env = gym.make_vec("VLSafe-Merge-v0", num_envs=2, scorer=None, scene_in_info=True)
    single = gym.make("VLSafe-Merge-v0", scorer=None, scene_in_info=True)
    infos, expected = env.reset(seed=[4, 8])[1], single.reset(seed=8)[1]
    info = pick_info(infos, 1)
    assert info.keys() == expected.keys()
    assert np.array_equal(info.pop("scene"), expected.pop("scene"))
    assert info == expected
    assert {name: type(value) for name, value in info.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_models_episodes_are_the_same_side_by_side(deterministic: bool) -> None:
    model = PPO("MlpPolicy", SpeedLimitEnv(), n_steps=8, batch_size=8, seed=1, device="cpu")
    make_vec_env = lambda n: SyncVectorEnv([lambda: NoisyEnv(horizon=6)] * n)  # noqa: E731
    make_env = functools.partial(NoisyEnv, horizon=6)
    before = torch.get_rng_state()
    options: dict[str, Any] = {"seeds": [3, 9, 1, 7, 5], "deterministic": deterministic}
    alone = evaluate(model, make_env, **options)
    heard: list[int] = []
    beside = evaluate(
        model,
        make_env,
        **options,
        make_vec_env=make_vec_env,
        num_envs=2,
        progress=lambda record: heard.append(record.seed),
    )
    assert beside.records == alone.records
    assert beside.summary == alone.summary
    assert sorted(heard) == [1, 3, 5, 7, 9]
    assert torch.equal(torch.get_rng_state(), before)  # the caller's


@pytest.mark.parametrize("env_id", ["VLSafe-Highway-v0", "VLSafe-Intersection-v0"])
def test_a_drivers_episodes_are_the_same_side_by_side(env_id: str) -> None:
    options = {"observation": "vector", "scorer": "oracle", "duration": 12}
    driver = functools.partial(make_driver, "noisy")
    make_env = functools.partial(gym.make, env_id, **options)
    alone = evaluate(driver, make_env, range(7))
    beside = evaluate(
        driver,
        make_env,
        range(7),
        make_vec_env=lambda n: gym.make_vec(env_id, num_envs=n, **options),
        num_envs=4,
    )
    assert beside.records == alone.records


def test_what_cannot_drive_side_by_side_is_refused() -> None:
    make_vec_env = lambda n: SyncVectorEnv([CountingEnv] * n)  # noqa: E731
    with pytest.raises(ValueError, match="bound to one environment"):
        evaluate(Driver(0), CountingEnv, [1], make_vec_env=make_vec_env)
    with pytest.raises(ValueError, match="n_workers=2, num_envs=1"):
        evaluate(Driver, CountingEnv, [1], make_vec_env=make_vec_env, n_workers=2)


class Memory:
    """Its action is the number of observations seen in the episode; its state counts rows last."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: Any = 0
    ) -> Any:
        self.calls.append(len(observation))
        seen = np.zeros((1, len(observation)), int) if state is None else state[0]
        seen = np.where(episode_start, 0, seen) + 1
        return seen[0] % 3, (seen,)


@pytest.mark.parametrize("num_envs", [1, 3, 16, 20])
def test_a_model_is_asked_once_for_all_episodes(num_envs: int) -> None:
    class PaysTheAction(CountingLonger):
        def step(self, action: Any) -> Any:
            observation, _, *rest = super().step(action)
            return observation, float(action), *rest

    make_env = lambda: PaysTheAction(1, ends="terminated")  # noqa: E731
    model, seeds = Memory(), range(20)
    steps = [2 + seed % 10 for seed in seeds]
    found = evaluate(
        model,
        make_env,
        seeds,
        make_vec_env=lambda n: SyncVectorEnv([make_env] * n),
        num_envs=num_envs,
    )
    assert [record.steps for record in found.records] == steps
    # its memory is the episode's own
    owed = [sum(k % 3 for k in range(1, count + 1)) for count in steps]
    assert [record.episode_return for record in found.records] == owed
    assert set(model.calls) == {16}  # the same number of rows, however many are driven
    if num_envs == 1:
        assert len(model.calls) == sum(steps)
    if num_envs == 16:  # four episodes begin where others have ended
        assert len(model.calls) < 2 * max(steps)
    if num_envs == 20:  # two calls a step, one where the last four are over
        assert len(model.calls) == max(steps[:16]) + max(steps[16:])


def test_a_model_that_takes_no_batch_is_refused() -> None:
    class One:
        def predict(self, observation: Any, **_: Any) -> Any:
            return np.zeros(1, int), None

    with pytest.raises(ValueError, match=r"One\.predict\(\) gave 1 actions for 16 observations"):
        evaluate(One(), CountingEnv, [1])
