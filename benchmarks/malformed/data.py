"""Recorded drives and steps of environments with values that make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.malformed.constructors import Road, drives, episode
from benchmarks.malformed.runner import Case

NAN, INF = float("nan"), float("inf")


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _episodes()
    yield from _spaces()
    yield from _views()
    yield from _online()


def _case(name: str, run: Any, *words: str) -> Case:
    return Case("data", name, lambda folder: run(), words)


def _load(**changes: Any) -> None:
    from vlsafe_agents.data import EpisodeDataset

    space = gym.spaces.Dict(vector=Road.observation_space)
    EpisodeDataset.from_arrays([episode(), episode(**changes)], space, Road.action_space)


def _with(length: int, where: int, value: float) -> Any:
    array = np.zeros(length)
    array[where] = value
    return array


def _episodes() -> Iterator[Case]:
    for value in (NAN, INF, -INF, 1e300):
        yield _case(f"reward {value}", partial(_load, reward=_with(6, 2, value)), "reward")
    for value in (NAN, INF, -1.0):
        yield _case(f"env_cost {value}", partial(_load, env_cost=_with(7, 3, value)), "env_cost")
    for value in (INF, -0.1, 1.1):
        run = partial(_load, safety_score=_with(7, 3, value))
        yield _case(f"safety_score {value}", run, "safety_score")
    for value in (NAN, INF):
        vector = np.zeros((7, 4), np.float32)
        vector[5, 1] = value
        yield _case(f"observation {value}", partial(_load, obs={"vector": vector}), "vector")
    for action in (
        _with(6, 1, 0.5),
        np.array(6 * ["x"]),
        np.full(6, -1),
        np.full(6, 3),
        np.zeros((6, 2)),
    ):
        yield _case(f"actions {action.tolist()}", partial(_load, action=action), "action")
    for terminated in ("yes", NAN, 2, None, np.array([True, False])):
        yield _case(
            f"terminated {terminated!r}", partial(_load, terminated=terminated), "terminated"
        )
    wrong = {"reward": np.ones(5), "env_cost": np.zeros(6), "safety_score": np.ones(9), "obs": {}}
    for name, value in wrong.items():
        yield _case(
            f"{name} of another length", partial(_load, **{name: value}), name, "observation"
        )
    names = np.array(7 * ["x"])
    for name in ("env_cost", "safety_score", "reward"):
        yield _case(
            f"{name} of text",
            partial(_load, **{name: names[:6] if name == "reward" else names}),
            name,
        )
    run = partial(_load, obs={"sound": np.zeros((7, 4), np.float32)})
    yield _case("observations of another name", run, "sound", "vector")
    run = partial(_load, obs={"vector": np.zeros((7, 4), np.float64)})
    yield _case("observations of another type", run, "vector")
    yield _case("no steps", partial(_load, action=np.zeros(0, np.int64)), "step")


def _spaces() -> Iterator[Case]:
    from vlsafe_agents.data import EpisodeDataset

    vector = gym.spaces.Dict(vector=Road.observation_space)
    for action_space in (gym.spaces.MultiBinary(3), gym.spaces.Text(3), 3, gym.spaces.Discrete(1)):
        run = partial(
            EpisodeDataset.from_arrays, [episode(action=np.ones(6, np.int64))], vector, action_space
        )
        yield _case(f"action space {action_space}", run, "action")
    for space in (
        gym.spaces.Box(-1, 1, (3,)),
        gym.spaces.Dict(image=gym.spaces.Box(0, 1, (2,))),
        None,
    ):
        run = partial(EpisodeDataset.from_arrays, [episode()], space, Road.action_space)
        yield _case(f"observation space {space}", run, "vector", "image", "observation")
    yield _case(
        "no episodes",
        partial(EpisodeDataset.from_arrays, [], vector, Road.action_space),
        "episodes",
    )
    run = partial(EpisodeDataset.from_arrays, [{"reward": 1}], vector, Road.action_space)
    yield _case("episodes that are dictionaries", run, "Episode", "episode")
    for cost in ("VLM", "", None, 3):
        run = partial(EpisodeDataset.from_arrays, [episode()], vector, Road.action_space, cost=cost)
        yield _case(f"cost={cost!r}", run, "cost")


def _views() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for size, length in ((0, 3), (-1, 3), (2, 0), (2, 10_000), (2.5, 3), (2, NAN)):
        run = partial(drives().sample, size, length, rng)
        yield _case(f"sample({size}, {length})", run, "batch_size", "length", "rows")
    for share in (-0.1, 1.1, NAN, "x"):
        yield _case(
            f"sample(unsafe_ends={share!r})",
            partial(drives().sample, 2, 3, rng, share),
            "unsafe_ends",
        )
        yield _case(f"split({share!r})", partial(drives().split, share), "share")


class Odd(Road):
    """Returns what it is told to."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def reset(self, **arguments: Any) -> Any:
        found = super().reset(**arguments)
        return self.changes.get("reset", found)

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        c = self.changes
        if "step" in c:
            return c["step"]
        found = c.get("obs", obs), c.get("reward", reward), terminated, truncated
        return *found, c.get("info", info)


def _online() -> Iterator[Case]:
    from vlsafe_agents import PPOLag

    def learn(**changes: Any) -> None:
        PPOLag(
            "MlpPolicy", Odd(**changes), n_steps=8, batch_size=8, n_epochs=1, device="cpu"
        ).learn(8)

    for cost in (NAN, INF, -1, "much", None, np.array([0.1, 0.2]), [], {"a": 1}):
        yield _case(f"info['cost'] = {cost!r}", partial(learn, info={"cost": cost}), "cost")
    yield _case("no info['cost']", partial(learn, info={}), "cost")
    for reward in (NAN, INF):
        yield _case(f"reward = {reward!r} while driving", partial(learn, reward=reward), "reward")
    for value in (NAN, INF):
        obs = np.full(4, value, np.float32)
        yield _case(
            f"observation {value} while driving", partial(learn, obs=obs), "observation", "obs"
        )
    six = (np.zeros(4, np.float32), 1.0, 0.5, False, False, {})
    yield _case(
        "a step of six values (Safety-Gymnasium)", partial(learn, step=six), "six", "6", "cost"
    )
