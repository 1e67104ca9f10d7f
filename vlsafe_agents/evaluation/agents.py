"""One way to ask SB3 models and rule-based drivers for their next action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np

from vlsafe_agents.data.driving import Driver


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
        if not deterministic:
            import torch as th  # slow to import, and drivers do without

            th.manual_seed(seed)  # SB3's policies sample from torch's global generator
        return ModelPilot(cast(Model, agent), deterministic)
    if hasattr(agent, "act") and hasattr(agent, "reset"):
        return DriverPilot(agent)
    if callable(agent):
        return DriverPilot(agent(env, np.random.default_rng(seed)))
    raise TypeError(
        f"Cannot evaluate a {type(agent).__name__}: it has neither predict() (an SB3 model) nor "
        "reset() and act() (a driver), and is no function (env, rng) -> driver."
    )


class ModelPilot:
    """Threads the recurrent state of an SB3 model through an episode, as `evaluate_policy` does."""

    sees_observations = True

    def __init__(self, model: Model, deterministic: bool) -> None:
        self._model = model
        self._deterministic = deterministic
        self._state: tuple[np.ndarray, ...] | None = None
        self._episode_start = np.ones(1, dtype=bool)

    def act(self, observation: Any) -> Any:
        """The model's action for one unbatched observation."""
        actions, self._state = self._model.predict(
            _batch_of_one(observation),
            state=self._state,
            episode_start=self._episode_start,
            deterministic=self._deterministic,
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


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.asarray(value)[None] for key, value in observation.items()}
    return np.asarray(observation)[None]
