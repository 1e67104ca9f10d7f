"""When a driver is not at his best: spells that begin at random and last a while."""

from __future__ import annotations

import numpy as np


class Spells:
    """A clock that says, decision by decision, whether a spell is on.

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
