"""What all drivers share: random ones, lapses of attention, and spells of random actions."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from vlsafe_envs.actions import IDLE, SLOWER

TIMID_SHARE = 0.6  # of the expert's cruise speed
BURST_RATE = 0.1  # [1/s], with which a disturbed driver's spell starts
BURST_SECONDS = (0.5, 3.0)  # [s]
LAPSE_RATE = 0.2  # [1/s], with which the inattentive driver of a route stops looking
LAPSE_SECONDS = (1.0, 4.0)  # [s]


class Driver(Protocol):
    """Chooses actions for the environment that it was made for."""

    def act(self) -> Any:
        """An action for the present state of the environment."""

    def reset(self) -> None:
        """Call after every ``env.reset``."""


class Spells:
    """A clock that says, decision by decision, whether a spell is on; spells start at random.

    Args:
        rng: decides when they begin and how long they last.
        frequency: decisions a second [Hz].
        rate: with which a spell begins while none is on [1/s].
        seconds: shortest and longest spell [s].
    """

    def __init__(
        self,
        rng: np.random.Generator,
        frequency: float,
        rate: float,
        seconds: tuple[float, float],
    ) -> None:
        self._rng, self._frequency, self._rate, self._seconds = rng, frequency, rate, seconds
        self._left = 0

    def reset(self) -> None:
        """Forget the last episode."""
        self._left = 0

    def on(self) -> bool:
        """Whether a spell is on at the next decision; call it once for each."""
        if not self._left and self._rng.uniform() < self._rate / self._frequency:
            self._left = max(1, round(self._rng.uniform(*self._seconds) * self._frequency))
        if not self._left:
            return False
        self._left -= 1
        return True


class Attention:
    """Whether a driver of a route looks out for others at a decision.

    The ``aggressive`` and ``careless`` ones never do, the ``inattentive`` one but for lapses, the
    others always.
    """

    def __init__(self, name: str, rng: np.random.Generator, frequency: float) -> None:
        self._never = name in ("aggressive", "careless")
        self._lapses: Spells | None = None  # the others draw nothing from the generator
        if name == "inattentive":
            self._lapses = Spells(rng, frequency, LAPSE_RATE, LAPSE_SECONDS)

    def reset(self) -> None:
        """Forget the last episode."""
        if self._lapses:
            self._lapses.reset()

    def looks(self) -> bool:
        """Call it once a decision."""
        return not (self._never or (self._lapses and self._lapses.on()))


def random_action(space: spaces.Space[Any], rng: np.random.Generator) -> Any:
    """A uniformly random action."""
    if isinstance(space, spaces.Discrete):
        return int(rng.integers(space.n))
    assert isinstance(space, spaces.Box)
    return rng.uniform(space.low, space.high).astype(np.float32)


def no_action(space: spaces.Space[Any]) -> Any:
    """Neither pedal nor steering; IDLE of the meta actions."""
    if isinstance(space, spaces.Discrete):
        return IDLE if space.n == SLOWER + 1 else int(space.n) // 2  # the grid's middle: neither
    return np.zeros(space.shape, np.float32)


class RandomDriver:
    """Uniformly random actions."""

    def __init__(self, env: Any, rng: np.random.Generator) -> None:
        self._space = env.action_space
        self._rng = rng

    def act(self) -> Any:
        """A random action, drawn from the driver's own generator."""
        return random_action(self._space, self._rng)

    def reset(self) -> None:
        """Nothing to forget."""


class Bursts:
    """Bursts of random actions (``noisy``) or of none (``inattentive``) in place of a driver's."""

    def __init__(self, env: Any, rng: np.random.Generator, name: str) -> None:
        self._space = env.action_space
        self._rng, self._random = rng, name == "noisy"
        frequency = env.scenario.traffic.policy_frequency  # [Hz]
        self._spells = Spells(rng, frequency, BURST_RATE, BURST_SECONDS)

    def reset(self) -> None:
        """Forget the last episode."""
        self._spells.reset()

    def interrupt(self, wise: Any) -> Any:
        """The driver's action, or what counts during a burst."""
        if not self._spells.on():
            return wise
        return random_action(self._space, self._rng) if self._random else no_action(self._space)


class DisturbedDriver:
    """The expert, interrupted by bursts."""

    def __init__(self, env: Any, rng: np.random.Generator, expert: Driver, name: str) -> None:
        self._expert = expert
        self._bursts = Bursts(env, rng, name)

    def reset(self) -> None:
        """Forget the last episode."""
        self._expert.reset()
        self._bursts.reset()

    def act(self) -> Any:
        """The expert's action, or that of a burst."""
        return self._bursts.interrupt(self._expert.act())
