"""Vehicles as a set: an observation ``(M, F)`` with a row for each vehicle, in any order.

Column 0 is 1 for a vehicle and 0 for an empty row; columns 1 and 2 are its place beside the ego
vehicle.  A detector (``detection``) also knows columns 3 and 4 as velocity, 5 and 6 as heading.
Networks see each row alone and pool what they make of it (Deep Sets, Zaheer et al. 2017,
arXiv 1703.06114): who stands in which row means nothing, and empty rows count as nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.common.distributions import symlog

VEHICLES = "vehicles"  # the observation's name
WAYS = "ways"  # that of more columns for the same rows, ``(M, W)``


def is_vehicle_set(name: str, space: spaces.Space[Any]) -> bool:
    """Whether an observation is such a set: by its name, and by the bounds 0 and 1 of column 0."""
    if name != VEHICLES or not isinstance(space, spaces.Box) or len(space.shape) != 2:
        return False
    low, high = space.low, space.high
    marked = space.shape[1] >= 3 and bool(((low[:, 0] == 0) & (high[:, 0] == 1)).all())
    return marked and np.issubdtype(space.dtype, np.floating)


def row_parts(parts: Mapping[str, spaces.Space[Any]]) -> list[str]:
    """The names of a set of vehicles, and of what says more of each of its rows, where they are."""
    found = [name for name, space in parts.items() if is_vehicle_set(name, space)]
    if not found or WAYS not in parts:
        return found
    rows, more = (parts[name].shape or () for name in (VEHICLES, WAYS))
    return [*found, WAYS] if len(more) == 2 and more[0] == rows[0] else found


def scaled_rows(rows: Tensor) -> Tensor:
    """Rows ``(..., M, F)`` for networks: the nearest first, symlog of their units, empty ones 0."""
    present = rows[..., :1] > 0.5  # (..., M, 1)
    distance = rows[..., 1:3].square().sum(-1, keepdim=True).where(present, torch.inf)
    order = torch.argsort(distance, dim=-2, stable=True)
    present = present.gather(-2, order)
    values = symlog(rows.gather(-2, order.expand_as(rows))[..., 1:])
    return torch.cat([present.float(), values.where(present, 0.0)], -1)


def pooled(encoded: Tensor, present: Tensor) -> Tensor:
    """Largest and mean features ``(..., 2 U)`` of the vehicles in rows ``(..., M, U)``.

    The largest are of whoever matters most; the mean, over all M rows, also tells how many there
    are.  Both are 0 without a vehicle.

    Args:
        encoded: features of each row.
        present: ``(..., M)`` bool, where there is a vehicle.
    """
    mask = present.unsqueeze(-1)
    largest = encoded.where(mask, -torch.inf).amax(-2).where(mask.any(-2), 0.0)
    return torch.cat([largest, encoded.where(mask, 0.0).mean(-2)], -1)
