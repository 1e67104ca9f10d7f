"""The cost limit of an agent: one number, or a range whose limits one actor learns all at once.

Of a range, actor and critics see the limit that they act under, as the weights of K evenly spread
*knots* between which everything that depends on the limit is interpolated linearly:
:func:`interpolation_weights`.  The prior, the gate and the world model do not depend on it.
A limit is drawn for each dream, each recorded sequence and each episode that is driven, evenly from
the range, and holds until its end: it is what an episode may cost, not what is left of it.

One policy for many limits is that of Yao et al. 2023 (constraint-conditioned policy optimisation,
arXiv 2310.03718), who estimate values for a few limits and interpolate between their
representations; the constrained decision transformer (Liu et al. 2023, arXiv 2302.07351) is told
what is left instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vlsafe_agents.common.devices import any_of_team, averaged, own_range
from vlsafe_agents.common.lagrange import Multiplier, MultiplierGrid
from vlsafe_agents.common.returns import episode_cost
from vlsafe_agents.vlsafe.batch import masked_mean
from wrappers.checks import check_numbers, one_number

CostLimit = float | tuple[float, float]

_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, are spread evenly however many there are


# --- mathematics ----------------------------------------------------------------------------------


def interpolation_weights(limit: Tensor, knots: Tensor) -> Tensor:
    """Weights ``(..., K)`` of evenly spaced knots ``(K,)`` that interpolate what is known at them.

    Linear, thus at most two are positive; they sum to 1.  Limits ``(...)`` beyond the ends count as
    the ends.
    """
    spacing = (knots[-1] - knots[0]) / (len(knots) - 1)
    inside = limit.clamp(knots[0], knots[-1]).unsqueeze(-1)  # (..., 1)
    return (1.0 - (inside - knots).abs() / spacing).clamp_min(0.0)


def excess_at_knots(
    cost: Tensor, limit: Tensor, weight: Tensor, knots: Tensor
) -> list[float | None]:
    """By how much costs exceed their limits around each of K knots; None where there are none.

    ``sum_i w_k(l_i) u_i (J_i - l_i) / sum_i w_k(l_i) u_i``.  With multipliers ``lambda_k`` at the
    knots and ``lambda(l) = sum_k w_k(l) lambda_k`` between them, this is the derivative, up to a
    factor, of the dual averaged over limits, ``E_l[lambda(l) (J(l) - l)]``, by ``lambda_k``.

    Args:
        cost: of episodes ``(N,)``, J.
        limit: ``(N,)``, l.
        weight: ``(N,)``, u, >= 0.
    """
    near = interpolation_weights(limit, knots) * weight.unsqueeze(-1)  # (N, K)
    total = averaged(near.sum(0)).tolist()
    excess = averaged((near * (cost - limit).unsqueeze(-1)).sum(0)).tolist()
    return [e / t if t > 0.0 else None for e, t in zip(excess, total, strict=True)]


def evenly_spread(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Numbers ``(count,)`` in [0, 1), each by itself uniform; neighbours lie far apart.

    An additive recurrence with a random start, so that a few of them cover the range.
    """
    place = torch.arange(*own_range(count), device=device, dtype=torch.float64)
    return ((place * _GOLDEN + torch.rand((), device=device)) % 1.0).float()


# --- what an agent asks ---------------------------------------------------------------------------


def check_cost_limit(value: Any, update: str, safety: Any) -> CostLimit:
    """A cost limit of VLSafe, or the two ends of a range of them.

    Args:
        safety: where the gate comes from; None: the agent is blind to cost.

    Raises:
        ValueError: for anything else, and for a range where one policy cannot be of all limits.
    """
    if not isinstance(value, list | tuple):
        return one_number(value, "cost_limit", "VLSafe", low=0.0)
    if len(value) != 2:
        raise ValueError(f"VLSafe: cost_limit is {value!r}; give a number, or a range (low, high)")
    low, high = (one_number(end, "cost_limit", "VLSafe", low=0.0) for end in value)
    if not low < high:
        raise ValueError(f"VLSafe: cost_limit is {value!r}; of a range (low, high) low is less")
    if safety is None or update == "none":
        raise ValueError(
            "VLSafe: a range of cost limits has no effect on an agent that is blind to cost; leave "
            "cost_limit out"
        )
    if safety == "reachability":
        raise ValueError(
            'VLSafe: safety="reachability" is the chance of a cost under one policy, and a range '
            "of cost limits has many; choose another gate, or one limit"
        )
    return low, high


def refuse_other_limits(stored: Any, wanted: Any) -> None:
    """Check that loading does not change what networks mean by a limit.

    Raises:
        ValueError: where one of the two is a range, and they differ.
    """
    kept, asked = (tuple(x) if isinstance(x, list | tuple) else x for x in (stored, wanted))
    if kept != asked and tuple in (type(kept), type(asked)):
        raise ValueError(
            f"the file holds an agent with cost_limit={kept!r}, which its networks were made for; "
            "a range of limits cannot be changed on loading: train another agent"
        )


class OneLimit:
    """One limit: networks see nothing of it, and statistics are single ones."""

    columns = 0  # that features get
    default: float

    def __init__(self, limit: float) -> None:
        self.default = limit

    def draw(self, count: int, device: torch.device) -> Tensor | None:
        """The limits ``(count,)`` of dreams or sequences; None where there is one for all."""
        return None

    def asked(self, limit: Any, count: int, device: torch.device) -> Tensor | None:
        """The limits ``(count,)`` to act under, as somebody asks for them; None: the default.

        Raises:
            ValueError: for a limit that the agent does not know.
        """
        if limit is not None:
            raise ValueError(
                f"predict got cost_limit={limit!r}, but this agent was trained for the one limit "
                f"{self.default:g}; leave it out, or train VLSafe(cost_limit=(low, high))"
            )
        return None

    def act_under(self, limit: float) -> None:
        """Change the default.

        Raises:
            ValueError: as :meth:`asked`.
        """
        self.asked(limit, 1, torch.device("cpu"))

    def seen(self, feat: Tensor, limit: Tensor | None) -> Tensor:
        """Features ``(N, ..., F)`` with what actor and critics see of limits ``(N,)``."""
        return feat

    def seen_acting(self, feat: Tensor) -> Tensor:
        """:meth:`seen` under the default limit."""
        return self.seen(feat, self.asked(None, len(feat), feat.device))

    def widened(self, prior: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of an actor that does as a prior does, whatever the limit."""
        return prior

    def statistic(self, make: Callable[[], nn.Module]) -> Any:
        """Something that is measured, of each limit."""
        return make()

    def update(self, statistic: Any, limit: Tensor | None, weight: Tensor, *values: Tensor) -> None:
        """Let it see values of states ``(...)`` under limits ``(...)``; ``weight`` comes last."""
        statistic.update(*values, weight)

    def value(self, statistic: Any, limit: Tensor | None) -> Tensor:
        """The statistic under limits ``(...)``: a scalar, or ``(..., 1)``."""
        value: Tensor = statistic.value
        return value

    def of_states(self, limit: Tensor | None) -> float | Tensor:
        """The limit of states with actions beside each other: a number, or ``(..., 1)``."""
        return self.default

    # --- multipliers ------------------------------------------------------------------------------

    def multiplier(self, make: Callable[[float], Multiplier]) -> Multiplier | MultiplierGrid:
        """The Lagrange multiplier, which ``make`` makes of a limit."""
        return make(self.default)

    def price(self, multiplier: Any, limit: Tensor | None) -> float | Tensor:
        """The multiplier of limits ``(...)``: a number, or ``(..., 1)``."""
        value: float = multiplier.value
        return value

    def prices(self, multiplier: Any) -> dict[str, float]:
        """What the log says of it."""
        return {"train/lagrange_multiplier": multiplier.value}

    def see_dreams(
        self,
        multiplier: Any,
        cost_return: Tensor,
        limit: Tensor | None,
        weight: Tensor,
        conversion: tuple[float, float],
    ) -> None:
        """Let the multiplier take a step by discounted costs ``(N,)`` under limits ``(N,)``.

        Args:
            weight: ``(N,)``.
            conversion: discount and length of an episode [steps].
        """
        discounted = averaged(masked_mean(cost_return, weight)).item()
        multiplier.update(episode_cost(discounted, *conversion))

    def see_episode(self, multiplier: Any, cost: float, limit: float | None) -> None:
        """Let it take a step by the cost of an episode that was driven under a limit."""
        multiplier.update(cost)


class LimitRange(OneLimit):
    """All limits from ``low`` to ``high``, at ``count`` evenly spaced knots and between them.

    Args:
        default: whoever does not ask for a limit acts under the lowest.
    """

    def __init__(self, low: float, high: float, count: int) -> None:
        super().__init__(low)
        self.low, self.high, self.columns = low, high, count

    def knots(self, device: torch.device | str = "cpu") -> Tensor:
        """The limits ``(K,)`` at which everything is learnt."""
        return torch.linspace(self.low, self.high, self.columns, device=device)

    def weights(self, limit: Tensor) -> Tensor:
        """See :func:`interpolation_weights`."""
        return interpolation_weights(limit, self.knots(limit.device))

    def draw(self, count: int, device: torch.device) -> Tensor:
        return self.low + (self.high - self.low) * evenly_spread(count, device)

    def asked(self, limit: Any, count: int, device: torch.device) -> Tensor:
        if limit is None:
            return torch.full((count,), self.default, device=device)
        given = self.known(limit, "predict")
        if given.ndim and given.shape != (count,):
            raise ValueError(
                f"predict got cost limits of shape {given.shape} for {count} observations; give "
                "one number, or one for each"
            )
        return torch.as_tensor(given, dtype=torch.float32, device=device).expand(count)

    def act_under(self, limit: float) -> None:
        one_number(limit, "acting_limit", "VLSafe")
        self.default = float(self.known(limit, "VLSafe"))

    def known(self, limit: Any, where: str) -> npt.NDArray[np.float64]:
        """Limits that somebody asks for, of any shape.

        Raises:
            ValueError: for others than the agent was trained for.
        """
        remedy = "these are the limits that the agent was trained for"
        try:
            given = np.asarray(limit, np.float64)
        except (TypeError, ValueError):
            wanted = f"expected a number in [{self.low:g}, {self.high:g}]; {remedy}"
            raise ValueError(f"{where}: cost_limit is {limit!r}; {wanted}") from None
        check_numbers(given, "cost_limit", where, self.low, self.high, remedy)
        return given

    def seen(self, feat: Tensor, limit: Tensor | None) -> Tensor:
        assert limit is not None
        weights = self.weights(limit)  # (N, K)
        for _ in range(feat.dim() - 2):
            weights = weights.unsqueeze(1)
        return torch.cat([feat, weights.expand(*feat.shape[:-1], -1)], -1)

    def widened(self, prior: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        first = next(name for name in prior if name.endswith(".weight"))
        nothing = prior[first].new_zeros(len(prior[first]), self.columns)
        return {**prior, first: torch.cat([prior[first], nothing], 1)}

    def statistic(self, make: Callable[[], nn.Module]) -> nn.ModuleList:
        return nn.ModuleList(make() for _ in range(self.columns))

    def update(self, statistic: Any, limit: Tensor | None, weight: Tensor, *values: Tensor) -> None:
        assert limit is not None
        near = self.weights(limit) * weight.unsqueeze(-1)  # (..., K)
        for knot, own in zip(statistic, near.unbind(-1), strict=True):
            if any_of_team(bool((own > 0).any())):
                knot.update(*values, own)

    def value(self, statistic: Any, limit: Tensor | None) -> Tensor:
        assert limit is not None
        return self.interpolated(torch.stack([knot.value for knot in statistic]), limit)

    def interpolated(self, values: Tensor, limit: Tensor) -> Tensor:
        """What ``(K,)`` values at the knots are under limits ``(...)``: ``(..., 1)``."""
        return (self.weights(limit) * values.to(limit)).sum(-1, keepdim=True)

    def of_states(self, limit: Tensor | None) -> Tensor:
        assert limit is not None
        return limit.unsqueeze(-1)

    # --- multipliers ------------------------------------------------------------------------------

    def multiplier(self, make: Callable[[float], Multiplier]) -> MultiplierGrid:
        return MultiplierGrid(self.knots().tolist(), make)

    def price(self, multiplier: Any, limit: Tensor | None) -> Tensor:
        assert limit is not None
        return self.interpolated(torch.tensor(multiplier.values, device=limit.device), limit)

    def prices(self, multiplier: Any) -> dict[str, float]:
        pairs = zip(multiplier.knots, multiplier.values, strict=True)
        return {f"train/limit_{knot:g}_lagrange_multiplier": price for knot, price in pairs}

    def see_dreams(
        self,
        multiplier: Any,
        cost_return: Tensor,
        limit: Tensor | None,
        weight: Tensor,
        conversion: tuple[float, float],
    ) -> None:
        assert limit is not None
        cost = episode_cost(cost_return, *conversion)
        multiplier.update(excess_at_knots(cost, limit, weight, self.knots(limit.device)))

    def see_episode(self, multiplier: Any, cost: float, limit: float | None) -> None:
        """A step by what ``excess_at_knots`` is in expectation: ``w_k(l) (J - l) / E[w_k]``.

        Limits are drawn evenly.
        """
        assert limit is not None
        near = self.weights(torch.tensor(limit)).tolist()
        expected = [0.5, *[1.0] * (self.columns - 2), 0.5]
        scale = (cost - limit) * (self.columns - 1)
        steps = [w * scale / e if w > 0.0 else None for w, e in zip(near, expected, strict=True)]
        multiplier.update(steps)


def make_limits(cost_limit: CostLimit, count: int) -> OneLimit:
    """The limit, or the range of them with ``count`` knots."""
    return LimitRange(*cost_limit, count) if isinstance(cost_limit, tuple) else OneLimit(cost_limit)


def middle(cost_limit: CostLimit) -> float:
    """The mean of limits that are drawn evenly from a range; the limit itself, of one."""
    return sum(cost_limit) / 2 if isinstance(cost_limit, tuple) else cost_limit
