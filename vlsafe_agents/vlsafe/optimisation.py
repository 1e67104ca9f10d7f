"""How gradient steps are taken: one step with a check, the learning rates' course, threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from vlsafe_agents.common.devices import average_gradients, averaged
from vlsafe_agents.common.optim import LaProp


def optimise(optimizers: Sequence[LaProp], loss: Tensor, what: str) -> None:
    """One step of each optimiser, by the mean gradient of the team.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    mean = averaged(loss)
    if not torch.isfinite(mean):
        raise FloatingPointError(
            f"the loss of the {what} is {mean.item()}; lower its learning rate"
        )
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    with torch.autocast(loss.device.type, enabled=False):  # it is for the way forwards only
        loss.backward()
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    average_gradients([parameter for group in groups for parameter in group["params"]])
    for optimizer in optimizers:
        optimizer.step()


def in_own_dtype(update: Callable[[Any], None]) -> Callable[[Any], None]:
    """An agent's update with matrix products and convolutions in ``config.train.dtype``."""

    @wraps(update)
    def run(agent: Any) -> None:
        half = agent.config.train.dtype == "bfloat16"
        # copies of weights are not kept: optimisers change them within an update
        with torch.autocast(agent.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            update(agent)

    return run


@dataclass(frozen=True)
class Schedule:
    """Which update trains what: first world model and prior, then critics, then all three.

    All fields are numbers of updates, counted over the agent's life as ``n_updates`` are.

    Args:
        begin: first update of the schedule.
        model_until: from here on the world model has warmed up; infinite if it never does.
        critics_until: from here on the actor is improved; infinite if it never is.
        end: where the learning rates have fallen to their last values; infinite: they stay.
    """

    begin: int
    model_until: float
    critics_until: float
    end: float

    @classmethod
    def fresh(cls, begin: int, total: int, model_warmup: float, critic_warmup: float) -> Schedule:
        """A schedule of ``total`` updates.

        Args:
            model_warmup: share of them that trains world model and prior only; 1: all, also when
                there come to be more of them.
            critic_warmup: share of the others in which the actor rests; 1: all, likewise.
        """
        first = model_warmup * total
        model_until = begin + first if model_warmup < 1.0 else math.inf
        rest = critic_warmup * (total - first)
        critics_until = model_until + rest if critic_warmup < 1.0 else math.inf
        return cls(begin, model_until, critics_until, begin + total)

    @classmethod
    def constant(cls, begin: int) -> Schedule:
        """Everything is trained from the first update on, at constant rates."""
        return cls(begin, begin, begin, math.inf)

    def going_on(self, end: int) -> Schedule:
        """The same schedule with another end: what has warmed up does not warm up again."""
        return replace(self, end=end)

    def warming_up(self, update: int) -> bool:
        """Whether update number ``update`` trains world model and prior only."""
        return update < self.model_until

    def improving(self, update: int) -> bool:
        """Whether it trains the actor, beside the critics."""
        return update >= self.critics_until

    def remaining(self, update: int) -> float:
        """Share that is left, 1 to 0, of the model's warm-up, and after it of the policy's time."""
        begin, end = float(self.begin), min(self.model_until, self.end)
        if not self.warming_up(update):
            begin, end = self.model_until, self.end
        return min(max(1.0 - (update - begin) / max(end - begin, 1.0), 0.0), 1.0)

    def to_json(self) -> dict[str, float | None]:
        """Plain numbers, None for what never ends."""
        return {k: v if math.isfinite(v) else None for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, float | None]) -> Schedule:
        """Inverse of :meth:`to_json`."""
        return cls(**{k: math.inf if v is None else v for k, v in values.items()})  # type: ignore[arg-type]


def anneal(rates: Iterable[tuple[LaProp, float]], remaining: float) -> None:
    """Let learning rates fall linearly to a tenth in the second half of training.

    At full rate the greedy policies of two neighbouring updates differ by several collisions in a
    hundred episodes.

    Args:
        rates: optimisers with their full learning rates.
        remaining: share of training that is left, 1 to 0.
    """
    share = 0.1 + 0.9 * min(1.0, 2.0 * remaining)
    for optimizer, rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate * share


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Use so many threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
