"""A way back into the middle of an episode, for any environment that its random state decides.

An episode follows from the random state in which it began and from the actions since.  Both are
kept while it runs; another process sets the same state, resets, takes the same actions again and
compares what it then sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from wrappers.random_states import generator_state, set_generator_state, space_generators

LONGEST = 100_000  # actions that are kept of an episode


class EpisodeTrace:
    """How one environment came to where it is.

    Args:
        env: the environment itself, for its ``np_random`` and the generators of its spaces.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self._env = env
        self._start: dict[str, Any] = {}
        self._actions: list[npt.NDArray[Any]] = []
        self._rewards = 0.0
        self._fault = "no episode has begun"

    def begin(self, seed: int | None = None, **others: Any) -> None:
        """An episode is about to begin, with these arguments of ``reset``."""
        states = [generator_state(one) for one in self._generators()]
        self._start = {"seed": None if seed is None else int(seed), "random": states}
        self._actions, self._rewards = [], 0.0
        given = [name for name, value in others.items() if value]
        self._fault = f"the episode began with {', '.join(given)} of reset" if given else ""

    def add(self, action: Any, reward: Any) -> None:
        """A step was taken."""
        if len(self._actions) < LONGEST:
            self._actions.append(np.array(action))
        else:
            self._fault = f"the episode has more than {LONGEST:,} steps"
        if isinstance(reward, int | float | np.number):
            self._rewards += float(reward)

    def state(self, observation: Any) -> dict[str, Any]:
        """What :func:`return_to` needs; plain data and one array.

        Args:
            observation: the latest.
        """
        if self._fault:
            return {"fault": self._fault}
        actions = np.stack(self._actions) if self._actions else np.zeros(0)
        return {"fault": "", **self._start, "actions": actions, **self._arrived(observation)}

    def save(self) -> tuple[Any, ...]:
        """All of it, for :meth:`restore`; nothing in it changes later."""
        return dict(self._start), list(self._actions), self._rewards, self._fault

    def restore(self, state: tuple[Any, ...]) -> None:
        """Inverse of :meth:`save`, here or in another environment's trace."""
        start, actions, self._rewards, self._fault = state
        self._start, self._actions = dict(start), list(actions)

    def prepare(self, state: Mapping[str, Any]) -> None:
        """Set the random states in which an episode began.

        Raises:
            ValueError: for states of other generators.
        """
        generators = self._generators()
        if len(generators) != len(state["random"]):
            raise ValueError("the environment's spaces have other parts")
        for one, was in zip(generators, state["random"], strict=True):
            set_generator_state(one, was)

    def compare(self, state: Mapping[str, Any], observation: Any) -> str:
        """What differs from a recorded state; empty if nothing does."""
        arrived = self._arrived(observation)
        differ = [name for name, value in arrived.items() if value != state[name]]
        named = {"observation": "observation", "rewards": "sum of rewards", "now": "random state"}
        return f"after the same actions its {named[differ[0]]} differs" if differ else ""

    def _arrived(self, observation: Any) -> dict[str, Any]:
        return {
            "observation": fingerprint(observation),
            "rewards": self._rewards,
            "now": generator_state(self._env.np_random),
        }

    def _generators(self) -> list[np.random.Generator]:
        """The environment's own, and those of its spaces, which some environments sample from."""
        found = [getattr(self._env, f"{name}_space", None) for name in ("observation", "action")]
        spaces = [space for space in found if isinstance(space, gym.Space)]
        of_spaces = (one for space in spaces for one in space_generators(space))
        return [self._env.np_random, *of_spaces]


def return_to(
    state: Mapping[str, Any],
    trace: EpisodeTrace,
    reset: Callable[[int | None], Any],
    step: Callable[[Any], tuple[Any, bool]],
) -> str:
    """Bring an environment into the middle of a recorded episode.

    Args:
        state: of :meth:`EpisodeTrace.state`.
        trace: of the environment, which ``reset`` and ``step`` keep.
        reset: takes a seed, or None; returns the observation.
        step: takes an action; returns the observation, and whether the episode is over.

    Returns:
        What stands against it, or went wrong; empty if the environment is where it was.
    """
    if state["fault"]:
        return str(state["fault"])
    try:
        trace.prepare(state)
        observation = reset(state["seed"])
        for action in state["actions"]:
            observation, over = step(action)
            if over:
                return "after the same actions its episode is over"
        return trace.compare(state, observation)
    except Exception as error:  # it may be anybody's environment
        return f"it could not be driven to there ({error!r})"


class TracedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that another process can bring to where it is now.

    To be put around all others; attributes are read and set as of ``env``.  Environments that
    Stable-Baselines3 steps in this process are traced by our agents; those of a ``SubprocVecEnv``
    are made so: ``SubprocVecEnv([lambda: TracedEnv(make())] * 8)``.

    What the environment keeps from one episode to the next, and randomness other than its
    ``np_random`` and its spaces', does not come back: the comparison of observation, rewards and
    random state then fails, if it shows there.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._trace = EpisodeTrace(env.unwrapped)
        self._latest: Any = None

    def reset(self, **kwargs: Any) -> Any:
        """As of the environment."""
        self._trace.begin(**kwargs)
        values = self.env.reset(**kwargs)
        self._latest = values[0] if isinstance(values, tuple | list) else None
        return values

    def step(self, action: Any) -> Any:
        """As of the environment, right or wrong."""
        values = self.env.step(action)
        if isinstance(values, tuple | list) and len(values) == 5:
            self._latest = values[0]
            self._trace.add(action, values[1])
        return values

    def save_layer(self) -> dict[str, Any]:
        """What this wrapper keeps of an episode, without the environment inside."""
        return {"trace": self._trace.save(), "latest": self._latest}

    def restore_layer(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`save_layer`."""
        self._trace.restore(state["trace"])
        self._latest = state["latest"]

    def running_episode(self) -> dict[str, Any]:
        """How the environment came to where it is."""
        return self._trace.state(self._latest)

    def return_to_episode(self, state: Mapping[str, Any]) -> str:
        """Go where an environment like this one was; what went wrong, empty if nothing did."""

        def step(action: Any) -> tuple[Any, bool]:
            observation, _, terminated, truncated, _ = self.step(action)
            return observation, bool(terminated or truncated)

        return return_to(state, self._trace, lambda seed: self.reset(seed=seed)[0], step)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name == "env" or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            setattr(self.env, name, value)


def fingerprint(observation: Any) -> str:
    """A digest of arrays, and of dictionaries and sequences of them: equal if all bits are."""
    digest = hashlib.sha256()
    _take_in(digest, observation)
    return digest.hexdigest()


def _take_in(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            digest.update(f"{name}:".encode())
            _take_in(digest, value[name])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            _take_in(digest, part)
    else:
        array = np.asarray(value)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
