"""Wrappers that put a cost where this project looks for it, ``info["cost"]``, or another reward.

They work with any Gymnasium environment.  A reset costs 0 where the environment says nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

import gymnasium as gym

from wrappers.checks import one_cost, one_number, reset_values, step_values

StepFunction = Callable[[Any, Any, Any, Mapping[str, Any]], SupportsFloat]


class _Costs(gym.Wrapper[Any, Any, Any, Any]):
    """What the wrappers share: names of steps, and the cost of a reset."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        spec = getattr(env, "spec", None)
        self._name = type(getattr(env, "unwrapped", env)).__name__ if spec is None else spec.id
        self._step = 0

    @property
    def _where(self) -> str:
        return f"{self._name}, " + (f"step {self._step}" if self._step else "reset")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._step = 0
        result = self.env.reset(seed=seed, options=options)
        observation, info = reset_values(result, self._where)
        return observation, self._of_reset(observation, info)

    def _of_reset(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        return {"cost": 0.0, **info}


class CostFromTuple(_Costs):
    """Safety-Gymnasium's step, ``(observation, reward, cost, terminated, truncated, info)``.

    The cost goes into ``info["cost"]`` and the step becomes Gymnasium's.

    Raises:
        ValueError: for steps of another length, and costs that are negative or no numbers.
    """

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self._step += 1
        result: Any = self.env.step(action)
        if not isinstance(result, tuple | list) or len(result) != 6:
            count = len(result) if isinstance(result, tuple | list) else type(result).__name__
            raise ValueError(
                f"{self._where}: step returned {count} values, not Safety-Gymnasium's six "
                "(observation, reward, cost, terminated, truncated, info); leave CostFromTuple out "
                "where the cost is in info"
            )
        observation, reward, cost, terminated, truncated, info = result
        five = (observation, reward, terminated, truncated, info)
        observation, reward, terminated, truncated, info = step_values(five, self._where)
        paid = one_cost(cost, "the cost", self._where)
        return observation, reward, terminated, truncated, {**info, "cost": paid}


class CostFromInfo(_Costs):
    """Copies an info of any name to ``info["cost"]``.

    Args:
        key: its name, such as "crash_cost"; "terms/crash" for one within a dictionary.

    Raises:
        ValueError: for steps without it, naming the infos that there are, and for costs that are
            negative or no numbers.
    """

    def __init__(self, env: Any, key: str = "cost") -> None:
        super().__init__(env)
        if not isinstance(key, str) or not key:
            raise ValueError(f"cost_key is {key!r}; give the name of an entry of info")
        self._key = key

    def _of_reset(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        found = _find(info, self._key)
        name = f"info[{self._key!r}]"
        return {**info, "cost": 0.0 if found is None else one_cost(found, name, self._where)}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        self._step += 1
        observation, reward, terminated, truncated, info = step_values(
            self.env.step(action), self._where
        )
        found = _find(info, self._key)
        if found is None:
            raise ValueError(
                f"{self._where}: there is no info[{self._key!r}]; there are {sorted(info)}: name "
                "one of them as cost_key, or make the cost with CostFunction"
            )
        cost = one_cost(found, f"info[{self._key!r}]", self._where)
        return observation, reward, terminated, truncated, {**info, "cost": cost}


class _OfStep(_Costs):
    """Calls a function of each step."""

    def __init__(self, env: Any, function: StepFunction) -> None:
        super().__init__(env)
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__} needs a function of (observation, action, "
                f"next_observation, info), not {function!r}"
            )
        self._function = function
        self._before: Any = None

    def _of_reset(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        self._before = observation
        return super()._of_reset(observation, info)

    def _ask(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any], Any]:
        """The environment's step, and the function's answer."""
        self._step += 1
        step = step_values(self.env.step(action), self._where)
        said = self._function(self._before, action, step[0], step[4])
        self._before = step[0]
        return *step, said

    @property
    def _asked(self) -> str:
        return f"what {getattr(self._function, '__name__', 'the function')}() returned"


class CostFunction(_OfStep):
    """Makes ``info["cost"]`` with ``function(observation, action, next_observation, info)``.

    Raises:
        TypeError: for what is no function.
        ValueError: for costs that are negative or no numbers.
    """

    def _of_reset(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        return {**super()._of_reset(observation, info), "cost": 0.0}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info, said = self._ask(action)
        cost = one_cost(said, self._asked, self._where)
        return observation, reward, terminated, truncated, {**info, "cost": cost}


class RewardFunction(_OfStep):
    """Replaces the reward by ``function(observation, action, next_observation, info)``.

    The environment's own is kept in ``info["env_reward"]``.

    Raises:
        TypeError: for what is no function.
        ValueError: for rewards that are no finite numbers.
    """

    def _of_reset(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        self._before = observation
        return info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, own, terminated, truncated, info, said = self._ask(action)
        reward = one_number(said, self._asked, self._where)
        return observation, reward, terminated, truncated, {**info, "env_reward": own}


def _find(info: Mapping[str, Any], key: str) -> Any:
    """The entry of a name, or of a path through dictionaries; None where there is none."""
    if key in info:
        return info[key]
    found: Any = info
    for part in key.split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
