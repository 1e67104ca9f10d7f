"""Lagrange multipliers for a constraint "expected cost <= cost_limit".

Plain Python floats, no autograd: a trajectory can be computed by hand. `cost` and `cost_limit` must
be in the same unit (episode sums with episode sums, discounted returns with discounted returns);
the classes do not convert.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Multiplier(Protocol):
    """What an agent needs of a multiplier; both classes below satisfy it."""

    cost_limit: float

    @property
    def value(self) -> float: ...

    def update(self, cost: float) -> float: ...

    def state_dict(self) -> dict[str, float]: ...

    def load_state_dict(self, state: dict[str, float]) -> None: ...


class LagrangeMultiplier:
    """Dual gradient ascent, projected: lambda <- clip(lambda + lr * (cost - limit), 0, maximum).

    The textbook update (Bertsekas; RCPO, Tessler et al. 2019, eq. 8) with plain steps. Many
    libraries hand lambda to Adam, which divides by the size of the violation and so forgets it; we
    do not.

    Args:
        cost_limit: the constraint's right-hand side, in the unit of `cost`
        initial: first value of lambda, in [0, maximum]
        learning_rate: step [reward / cost^2], >= 0
        maximum: upper bound of lambda; 0 switches the constraint off

    Raises:
        ValueError: on a value outside these ranges
    """

    def __init__(
        self,
        cost_limit: float,
        initial: float = 0.0,
        learning_rate: float = 0.05,
        maximum: float = 100.0,
    ) -> None:
        _require_non_negative(learning_rate=learning_rate, maximum=maximum, cost_limit=cost_limit)
        if not 0.0 <= initial <= maximum:
            raise ValueError(f"initial must lie in [0, maximum={maximum}], got {initial}.")
        self.cost_limit = float(cost_limit)
        self.learning_rate = float(learning_rate)
        self.maximum = float(maximum)
        self._value = float(initial)

    @property
    def value(self) -> float:
        """The multiplier, >= 0."""
        return self._value

    def update(self, cost: float) -> float:
        """Take one step for a measured mean cost and return the new multiplier.

        Raises:
            ValueError: if `cost` is not finite
        """
        error = _finite(cost) - self.cost_limit
        self._value = _bounded(self._value + self.learning_rate * error, self.maximum)
        return self._value

    def state_dict(self) -> dict[str, float]:
        return {"value": self._value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        _require_keys(state, self.state_dict())
        self._value = float(state["value"])


class PIDLagrange:
    """PID-controlled multiplier (Stooke, Achiam and Abbeel 2020, algorithm 2).

    With d = cost_limit and J the measured cost, smoothed bars by an exponential moving average:

        e  = J - d                                error
        I  = clip(I + e, 0, maximum / ki)         integral
        D  = max(mean(J) - mean(J_previous), 0)   rise of the cost
        lambda = clip(kp * mean(e) + ki * I + kd * D, 0, maximum)

    Departures from the paper: the integral has an upper bound too (anti-windup: after a long
    violation lambda falls as soon as the cost does), and the moving average starts at the first
    measurement instead of at zero. `ema=0` is the paper's algorithm without smoothing.

    Args:
        cost_limit: the constraint's right-hand side, in the unit of `cost`
        kp: proportional gain, >= 0
        ki: integral gain, >= 0
        kd: derivative gain, >= 0
        ema: weight of the past in the moving averages of e and J, in [0, 1)
        maximum: upper bound of lambda; 0 switches the constraint off

    Raises:
        ValueError: on a value outside these ranges
    """

    def __init__(
        self,
        cost_limit: float,
        kp: float = 0.1,
        ki: float = 0.02,
        kd: float = 0.05,
        ema: float = 0.5,
        maximum: float = 100.0,
    ) -> None:
        _require_non_negative(kp=kp, ki=ki, kd=kd, maximum=maximum, cost_limit=cost_limit)
        if not 0.0 <= ema < 1.0:
            raise ValueError(f"ema must lie in [0, 1), got {ema}.")
        self.cost_limit = float(cost_limit)
        self.kp, self.ki, self.kd = float(kp), float(ki), float(kd)
        self.ema = float(ema)
        self.maximum = float(maximum)
        self._value = 0.0
        self._integral = 0.0
        self._mean_cost = math.nan  # nan: nothing measured yet

    @property
    def value(self) -> float:
        """The multiplier, >= 0."""
        return self._value

    def update(self, cost: float) -> float:
        """Take one controller step for a measured mean cost and return the new multiplier.

        Raises:
            ValueError: if `cost` is not finite
        """
        cost = _finite(cost)
        previous = self._mean_cost
        if math.isnan(previous):
            previous = self._mean_cost = cost
        self._mean_cost = self.ema * previous + (1.0 - self.ema) * cost

        ceiling = self.maximum / self.ki if self.ki > 0.0 else math.inf
        self._integral = min(max(self._integral + cost - self.cost_limit, 0.0), ceiling)
        rise = max(self._mean_cost - previous, 0.0)
        output = (
            self.kp * (self._mean_cost - self.cost_limit)
            + self.ki * self._integral
            + self.kd * rise
        )
        self._value = _bounded(output, self.maximum)
        return self._value

    def state_dict(self) -> dict[str, float]:
        return {
            "value": self._value,
            "integral": self._integral,
            "mean_cost": self._mean_cost,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        _require_keys(state, self.state_dict())
        self._value = float(state["value"])
        self._integral = float(state["integral"])
        self._mean_cost = float(state["mean_cost"])


MULTIPLIERS: dict[str, type[LagrangeMultiplier] | type[PIDLagrange]] = {
    "plain": LagrangeMultiplier,
    "pid": PIDLagrange,
}


class MultiplierGrid:
    """One multiplier for each of several limits, for a policy that is to keep any of them.

    Args:
        knots: the limits, in the unit of the costs.
        make: the multiplier of a limit.
    """

    def __init__(self, knots: Sequence[float], make: Callable[[float], Multiplier]) -> None:
        self.knots = tuple(knots)
        self._each = [make(knot) for knot in knots]

    @property
    def values(self) -> list[float]:
        """The multiplier of each limit, >= 0."""
        return [multiplier.value for multiplier in self._each]

    @property
    def value(self) -> float:
        """Their mean."""
        return sum(self.values) / len(self._each)

    def update(self, excess: Sequence[float | None]) -> None:
        """Take one step of each, by how far costs lie above its limit; None: no step.

        Raises:
            ValueError: if one of them is not finite, or for another number of them.
        """
        for multiplier, knot, above in zip(self._each, self.knots, excess, strict=True):
            if above is not None:
                multiplier.update(knot + above)

    def state_dict(self) -> dict[str, float]:
        """As the multipliers', with the number of each before the names."""
        return {
            f"{number}.{name}": value
            for number, multiplier in enumerate(self._each)
            for name, value in multiplier.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Inverse of :meth:`state_dict`."""
        _require_keys(state, self.state_dict())
        for number, multiplier in enumerate(self._each):
            names = multiplier.state_dict()
            multiplier.load_state_dict({name: state[f"{number}.{name}"] for name in names})


def make_multiplier(kind: str, cost_limit: float, **settings: Any) -> Multiplier:
    """Build the multiplier called `kind` ("plain" or "pid") with its keyword settings.

    Raises:
        ValueError: if the kind or a setting is unknown, with the known ones
    """
    if kind not in MULTIPLIERS:
        raise ValueError(f"Unknown multiplier {kind!r}; choose one of {sorted(MULTIPLIERS)}.")
    known = set(inspect.signature(MULTIPLIERS[kind]).parameters) - {"cost_limit"}
    unknown = set(settings) - known
    if unknown:
        raise ValueError(
            f"Unknown settings {sorted(unknown)} for the {kind!r} multiplier; "
            f"it takes {sorted(known)}."
        )
    return MULTIPLIERS[kind](cost_limit, **settings)


def _bounded(value: float, maximum: float) -> float:
    """``value`` within [0, maximum]; a constraint that nothing can meet is not passed over."""
    if value >= maximum > 0.0:
        warnings.warn(
            f"lagrange_multiplier has reached its maximum of {maximum:g}: the cost stays above "
            "cost_limit, and the policy now lowers cost whatever the reward; if it stays there, "
            "raise cost_limit",
            RuntimeWarning,
            stacklevel=3,
        )
    return min(max(value, 0.0), maximum)


def _finite(cost: float) -> float:
    cost = float(cost)
    if not math.isfinite(cost):
        raise ValueError(f"The measured cost must be finite, got {cost}.")
    return cost


def _require_non_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0.0:  # also refuses nan
            raise ValueError(f"{name} must be >= 0, got {value}.")


def _require_keys(state: dict[str, float], expected: dict[str, float]) -> None:
    if set(state) != set(expected):
        raise ValueError(
            f"The multiplier's state needs the keys {sorted(expected)}, got {sorted(state)}."
        )
