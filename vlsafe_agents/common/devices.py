"""One training on several devices: each process computes its share of every batch.

A *team* is the processes that train one agent together, one for each device.  All of them draw the
same batches and the same random numbers, hold the same weights and take the same steps; each
computes losses and dreams of a contiguous share of the sequences and starts.  What is averaged over
a batch is then averaged over the team (gradients where steps are taken, sums that losses are
divided by, statistics, metrics), so that a team learns what one process would, but for rounding.

Without a team every function here returns what it is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device  # where its numbers are exchanged


_team: Team | None = None


def started_processes() -> int:
    """How many processes ``torchrun`` has started for one training; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str = "auto") -> Iterator[None]:
    """Make a team of the processes that ``torchrun`` has started, inside the block.

    Args:
        device: "cpu" to train on processors; "auto" or "cuda" on one GPU a process, by NCCL, where
            there are as many.

    Raises:
        ValueError: where one process is already in a team, or for fewer GPUs than processes.
    """
    global _team
    size = started_processes()
    if size < 2:
        yield
        return
    if _team is not None:
        raise ValueError("this process is in a team already")
    place = _own_device(device)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    _team = Team(dist.get_rank(), dist.get_world_size(), place)
    try:
        yield
    finally:
        _team = None
        dist.destroy_process_group()


def _own_device(device: str) -> torch.device:
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    own, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if own >= there:
        raise ValueError(
            f"{own + 1} processes or more were started for {there} GPUs; start one for each "
            "(torchrun --nproc-per-node), or train with --device cpu"
        )
    if device not in ("auto", "cuda"):
        raise ValueError(f'device="{device}" is one device; on several, give "auto" or "cpu"')
    torch.cuda.set_device(own)
    return torch.device("cuda", own)


@contextmanager
def alone() -> Iterator[None]:
    """Leave the team inside the block: what one process does for all of them."""
    global _team
    before, _team = _team, None
    try:
        yield
    finally:
        _team = before


def team_size() -> int:
    """How many processes train together."""
    return 1 if _team is None else _team.size


def is_writer() -> bool:
    """Whether this process writes files and logs, as one of the team does."""
    return _team is None or _team.rank == 0


# --- shares ---------------------------------------------------------------------------------------


def own_share(x: Tensor, axis: int = 0) -> Tensor:
    """The part of ``x`` that this process computes, along an axis that the team divides."""
    if _team is None:
        return x
    return x.chunk(_team.size, axis)[_team.rank]


def own_range(count: int) -> tuple[int, int]:
    """First and last (not included) of this process's ``count`` places among all of the team's."""
    rank = 0 if _team is None else _team.rank
    return rank * count, (rank + 1) * count


def drawn(draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int], axis: int = 0) -> Tensor:
    """Random numbers of this process's ``shape``: its share of those that one process would draw.

    Args:
        draw: random numbers of a shape; called alike in all processes, whose generators agree.
    """
    if _team is None:
        return draw(shape)
    whole = list(shape)
    whole[axis] *= _team.size
    return own_share(draw(whole), axis)


# --- together -------------------------------------------------------------------------------------


@torch.no_grad()
def averaged(x: Tensor) -> Tensor:
    """Mean of ``x`` over the team, without a gradient where there is one."""
    if _team is None:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / _team.size


@torch.no_grad()
def gathered(x: Tensor) -> Tensor:
    """The shares of all processes, end to end along the first axis, without a gradient."""
    if _team is None:
        return x
    parts = [torch.empty_like(x) for _ in range(_team.size)]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def any_of_team(flag: bool) -> bool:
    """Whether it is so in any process."""
    if _team is None:
        return flag
    told = torch.tensor(float(flag), device=_team.device)
    return bool(averaged(told) > 0)


def averaged_figures(figures: dict[str, float]) -> dict[str, float]:
    """Means over the team of figures that all processes have under the same names."""
    if _team is None or not figures:
        return figures
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=_team.device)
    return dict(zip(figures, averaged(values).tolist(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Put in place of each gradient its mean over the team, in one exchange."""
    if _team is None:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = averaged(torch.cat([grad.flatten() for grad in grads]))
    for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(mean.view_as(grad))
