"""One way to ask SB3 models and rule-based drivers for their next action."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np

from vlsafe_agents.data.driving import Driver

ROWS = 16  # observations in every call of a model that does not sample


class Model(Protocol):
    """What is used of an SB3 algorithm."""

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]: ...


DriverFactory = Callable[[gym.Env[Any, Any], np.random.Generator], Driver]
Agent = Model | Driver | DriverFactory


class Pilot(Protocol):
    """An agent in one episode."""

    sees_observations: bool  # or else its action does not depend on them

    def act(self, observation: Any) -> Any: ...


def start_episode(
    agent: Agent, env: gym.Env[Any, Any], seed: int, deterministic: bool = True
) -> Pilot:
    """Get `agent` ready for the episode that `env.reset(seed=seed)` has just begun.

    All randomness of the agent is drawn from `seed`, so an episode does not depend on those before
    it, nor on the worker process that runs it.

    Raises:
        TypeError: if `agent` is neither a model, nor a driver, nor a factory of drivers
    """
    if hasattr(agent, "predict"):
        if deterministic:
            return _OneOfMany(ModelRows(cast(Model, agent)))
        import torch as th  # slow to import, and drivers do without

        th.manual_seed(seed)  # SB3's policies sample from torch's global generator
        return SamplingPilot(cast(Model, agent))
    if hasattr(agent, "act") and hasattr(agent, "reset"):
        return DriverPilot(agent)
    if callable(agent):
        return DriverPilot(agent(env, np.random.default_rng(seed)))
    raise TypeError(
        f"Cannot evaluate a {type(agent).__name__}: it has neither predict() (an SB3 model) nor "
        "reset() and act() (a driver), and is no function (env, rng) -> driver."
    )


class ModelRows:
    """A model that does not sample, in up to `ROWS` episodes, in calls of exactly `ROWS`.

    In its last bits, what a model says of an observation depends on how many there are in the call,
    and not on the others nor on its place among them. So an episode is the same driven alone or
    beside others. Rows without an episode get a copy of another's observation.

    Recurrent states are passed on as they are, whichever of their axes counts the rows, as
    `evaluate_policy` does.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._state: tuple[np.ndarray, ...] | None = None
        self._starts = np.ones(ROWS, dtype=bool)

    def begin(self, row: int) -> None:
        """An episode begins in `row`: what was before it is forgotten."""
        self._starts[row] = True

    def act(self, observations: Mapping[int, Any]) -> dict[int, Any]:
        """Actions by row, for the observations of some rows.

        Raises:
            ValueError: if the model gives another number of actions than it got observations
        """
        spare = next(iter(observations.values()))
        batch = stacked([observations.get(row, spare) for row in range(ROWS)])
        actions, self._state = self._model.predict(
            batch, state=self._state, episode_start=self._starts.copy(), deterministic=True
        )
        if len(actions) != ROWS:
            raise ValueError(
                f"{type(self._model).__name__}.predict() gave {len(actions)} actions for {ROWS} "
                "observations; it must take a batch, as SB3's models do"
            )
        self._starts[list(observations)] = False
        return {row: actions[row] for row in observations}


class _OneOfMany:
    """Row 0 of a model's rows, in an episode that is driven alone."""

    sees_observations = True

    def __init__(self, rows: ModelRows) -> None:
        self._rows = rows

    def act(self, observation: Any) -> Any:
        return self._rows.act({0: observation})[0]


class SamplingPilot:
    """A model that samples, from torch's global generator, one observation at a time.

    Threads its recurrent state through the episode.
    """

    sees_observations = True

    def __init__(self, model: Model) -> None:
        self._model = model
        self._state: tuple[np.ndarray, ...] | None = None
        self._episode_start = np.ones(1, dtype=bool)

    def act(self, observation: Any) -> Any:
        """A sample of the model's actions for one observation."""
        actions, self._state = self._model.predict(
            stacked([observation]),
            state=self._state,
            episode_start=self._episode_start,
            deterministic=False,
        )
        self._episode_start = np.zeros(1, dtype=bool)
        return actions[0]


class DriverPilot:
    """A driver looks at its environment by itself and ignores the observation."""

    sees_observations = False

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        driver.reset()

    def act(self, observation: Any) -> Any:
        """The driver's next action."""
        return self._driver.act()


def stacked(observations: Sequence[Any]) -> Any:
    """One batch of observations, arrays or dicts of arrays."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: np.stack([one[name] for one in observations]) for name in first}
    return np.stack(observations)
