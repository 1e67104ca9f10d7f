"""Drivers for ``vlsafe collect`` that act on what they see: functions, and saved agents."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.data.rows import bare_name
from vlsafe_agents.evaluation.agents import stacked
from vlsafe_agents.pretrained.sources import PREFIX, named_folder
from wrappers.named_function import load_named

RANDOM = "random"


class Watched(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the last observation for a driver, and gives one without a name its name."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.last_observation: Any = None
        if not isinstance(env.observation_space, gym.spaces.Dict):
            space = env.observation_space
            self.observation_space = gym.spaces.Dict({bare_name(space): space})

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return self._named(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(action)
        return self._named(observation), *rest

    def save_layer(self) -> Any:
        """What this wrapper keeps; see ``vlsafe_envs.snapshots``."""
        return self.last_observation

    def restore_layer(self, state: Any) -> None:
        """Inverse of :meth:`save_layer`."""
        self.last_observation = state

    def _named(self, observation: Any) -> Any:
        self.last_observation = observation
        if isinstance(self.env.observation_space, gym.spaces.Dict):
            return observation
        return {bare_name(self.env.observation_space): np.asarray(observation)}


class ShownVehicles(Watched):
    """Returns the set of vehicles, and keeps all that the environment shows for a driver.

    Counts steps, and events: terminal ones with a cost; also those that are taken back.

    Args:
        image: whether the picture is returned as well.
        ways: whether the ways that they may take are.
    """

    def __init__(self, env: gym.Env[Any, Any], image: bool = False, ways: bool = False) -> None:
        from vlsafe_envs.observations import PARTS, observation_space

        super().__init__(env)
        self.steps, self.events = 0, 0
        known, sets = observation_space("ways"), "ways" if ways else "vehicles"
        shown: Any = gym.spaces.Dict({**known, **env.observation_space})  # type: ignore[dict-item]
        self._names, self._ways = PARTS[sets] + (PARTS["image"] if image else ()), ways
        self._seen = True
        self.observation_space = gym.spaces.Dict({name: shown[name] for name in self._names})

    def begin(self) -> Any:
        """The action with which each tail would begin now, ``(T, *shape)``."""
        from vlsafe_envs.drivers.macros import tail_beginnings

        return tail_beginnings(self)

    def step(self, action: Any) -> Any:
        """As the environment."""
        observation, reward, terminated, truncated, info = super().step(action)
        self.steps += 1
        self.events += bool(terminated and info["cost"] > 0)
        return observation, reward, terminated, truncated, info

    def branches(
        self, env: gym.Env[Any, Any], plans: Iterable[Any], read: Callable[..., Any]
    ) -> Iterator[Any]:
        """As ``vlsafe_envs.snapshots.branches``, where nobody asks what branches see.

        Ways are left out of what is shown on them.
        """
        from vlsafe_envs.snapshots import branches

        self._seen = False
        try:
            yield from branches(env, plans, read)
        finally:
            self._seen = True

    def _named(self, observation: Any) -> Any:
        if not self._seen:
            return observation
        if self._ways:
            observation = {**observation, **self.env.unwrapped.observe("ways")}  # type: ignore[attr-defined]
        self.last_observation = observation
        return {name: observation[name] for name in self._names}


class ShownBeginnings(gym.ObservationWrapper[Any, Any, Any]):
    """Shows the vehicles, and how tails begin, to a risk model that drives by itself."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        from vlsafe_envs.env import driving_env

        shown: Any = env.observation_space
        scenario = driving_env(env, "beginnings of tails").scenario
        tails = scenario.row.tails(scenario.traffic.action)
        begun = gym.spaces.Tuple([env.action_space] * len(tails))
        self.observation_space = gym.spaces.Dict({**shown.spaces, "beginnings": begun})

    def observation(self, observation: Any) -> Any:
        """With the beginnings beside it."""
        from vlsafe_envs.drivers.macros import tail_beginnings

        return {**observation, "beginnings": tail_beginnings(self.env)}


class ShownAll:
    """An agent that finds its own in an observation of everything, in batches."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.observation_space, self.action_space = model.observation_space, model.action_space

    def predict(
        self, observation: Any, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Any, Any]:
        """As of the agent."""
        rows = [
            seen_by(self.observation_space, {name: part[k] for name, part in observation.items()})
            for k in range(len(episode_start))
        ]
        actions, state = self._model.predict(stacked(rows), state, episode_start, deterministic)
        return actions, state


def agent_shown_all(folder: Path) -> tuple[ShownAll, str]:
    """A trained agent, and what an environment shows in which it and a risk model find their own.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for damaged files.
    """
    from vlsafe_agents.training import load_agent

    model, settings, _ = load_agent(folder)
    return ShownAll(model), "vehicles" if settings.observation == "vehicles" else "all"


def make_watched(make_env: Any) -> Watched:
    """An environment whose drivers see what it shows."""
    return Watched(make_env())


def is_policy(name: str) -> bool:
    """Whether a driver is ``module:function``, a trained agent's folder, or ``pretrained:NAME``."""
    from vlsafe_agents.training.settings import SETTINGS_FILE

    return ":" in name or (Path(name) / SETTINGS_FILE).is_file()


def _is_function(name: str) -> bool:
    return ":" in name and not name.startswith(PREFIX)


def check_policy(name: str) -> None:
    """Load what a policy's name says.

    Raises:
        ValueError: where there is no such function, or the agent cannot be read.
    """
    function = load_named(name, "the policy") if _is_function(name) else _agent(name)
    if _is_function(name) and not callable(function):
        raise ValueError(f"the policy {name!r} is {function!r}, no function of an observation")


def make_policy_driver(others: Any, name: str, env: Any, rng: np.random.Generator) -> Any:
    """The driver of a name in a :class:`Watched` environment.

    Args:
        others: makes the drivers that are no policies; None: in environments that are not ours,
            where there is only ``random``.
    """
    if is_policy(name):
        return _Policy(name, env, rng)
    if others is not None:
        return others(name, env.env, rng)
    if name == RANDOM:
        return _Random(env, rng)
    raise ValueError(f"there is no driver {name!r} in an environment that is not ours")


def driver_maker(others: Any) -> Any:
    """A picklable ``make_driver(name, env, rng)``; see :func:`make_policy_driver`."""
    return partial(make_policy_driver, others)


def seen_by(space: gym.Space[Any], observation: Any) -> Any:
    """What an agent with this observation space sees of an observation.

    Raises:
        ValueError: where nothing in it is of the kind.
    """
    if not isinstance(observation, Mapping):
        return observation
    if isinstance(space, gym.spaces.Dict):
        missing = [name for name in space.spaces if name not in observation]
        if missing:
            raise ValueError(f"the agent sees {missing}, the environment shows {list(observation)}")
        return {name: observation[name] for name in space.spaces}
    shape = tuple(space.shape or ())
    for part in observation.values():
        turned = (*part.shape[2:], *part.shape[:2]) if part.ndim == 3 else part.shape
        if shape in (part.shape, turned) and part.dtype == space.dtype:
            return part
    raise ValueError(f"the agent sees {space}, the environment shows {list(observation)}")


@lru_cache(maxsize=8)
def _agent(folder: str) -> Any:
    from vlsafe_agents.training import load_agent

    return load_agent(named_folder(folder) or folder)[0]


class _Policy:
    """Acts by a function of the observation, or as a saved agent does at its best."""

    def __init__(self, name: str, env: Any, rng: np.random.Generator) -> None:
        self._name, self._env, self._rng = name, env, rng
        self._model = None if _is_function(name) else _agent(name)
        self._function = None if self._model is not None else load_named(name, "the policy")
        self._takes_rng = self._function is not None and _takes_two(self._function)

    def reset(self) -> None:
        """Forget the last episode."""
        if self._model is not None:
            from vlsafe_agents.evaluation.agents import start_episode

            self._pilot = start_episode(self._model, self._env, seed=0)

    def act(self) -> Any:
        """The action for what the environment shows now."""
        observation = self._env.last_observation
        if self._model is not None:
            return self._pilot.act(seen_by(self._model.observation_space, observation))
        assert self._function is not None
        if self._takes_rng:
            return self._function(observation, self._rng)
        return self._function(observation)


class _Random:
    """Samples the action space."""

    def __init__(self, env: Any, rng: np.random.Generator) -> None:
        self._space = copy.deepcopy(env.action_space)
        self._space.seed(int(rng.integers(2**31)))

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self) -> Any:
        """Any action."""
        return self._space.sample()


def _takes_two(function: Any) -> bool:
    """Whether a policy also wants the episode's random generator."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    return len(needed) == 2
