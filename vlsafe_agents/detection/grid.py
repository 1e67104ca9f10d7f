"""Vehicles' places and the cells of a coarse grid over a picture from above.

Symbols: N pictures, M rows of a set of vehicles (``vehicle_rows``), G x G cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wrappers.checks import one_number

BORDER = 0.15  # of a cell: so near to a vehicle's centre a neighbouring cell may be taken for its


@dataclass(frozen=True)
class View:
    """Where a picture from above shows the ego vehicle, whose heading points up.

    Args:
        metres: a pixel [m].
        row: of the ego vehicle's centre, from the upper edge [px].
        column: from the left edge [px].

    Raises:
        ValueError: for numbers out of range.
    """

    metres: float
    row: float
    column: float

    def __post_init__(self) -> None:
        one_number(self.metres, "metres", "view", low=1e-3)
        one_number(self.row, "row", "view")
        one_number(self.column, "column", "view")

    def to_cells(self, place: Tensor, cell: int) -> Tensor:
        """Places ``(..., 2)``, ahead and right [m], as row and column in cells of ``cell`` [px]."""
        row = self.row - place[..., 0] / self.metres
        column = self.column + place[..., 1] / self.metres
        return torch.stack([row, column], -1) / cell

    def to_place(self, point: Tensor, cell: int) -> Tensor:
        """Inverse of :meth:`to_cells`."""
        row, column = (point * cell).unbind(-1)
        return torch.stack([self.row - row, column - self.column], -1) * self.metres


class Targets(NamedTuple):
    """What a detector is to say of N pictures, of K vehicles in all."""

    present: Tensor  # (N, G, G) bool: a vehicle's centre is in the cell
    counted: Tensor  # (N, G, G) bool: there is a right answer
    picture: Tensor  # (K,) in which picture each vehicle is
    row: Tensor  # (K,) in which row of its set
    cell: Tensor  # (K, 2) in which cell
    offset: Tensor  # (K, 2) from the cell's centre, in cells, within 0.5


def targets(rows: Tensor, view: View, cell: int, cells: int) -> Targets:
    """Cells of the vehicles in ``rows (N, M, F)`` on a grid of ``cells`` x ``cells``.

    A vehicle belongs to the cell of its centre (YOLO, Redmon et al. 2016, arXiv 1506.02640).  Two
    kinds of cells do not count: neighbours that it all but touches, since nobody can tell on which
    side of the border it is; and, where all rows are taken, what is farther away than the farthest,
    since more vehicles may be there.
    """
    there = rows[..., 0] > 0.5  # (N, M)
    point = view.to_cells(rows[..., 1:3], cell)  # (N, M, 2)
    picture, row = torch.nonzero(there & inside(point, cells), as_tuple=True)
    own = point[picture, row]
    index = own.floor().long()
    count = len(rows)
    present = torch.zeros(count, cells, cells, dtype=torch.bool)
    present[picture, index[:, 0], index[:, 1]] = True
    return Targets(
        present=present,
        counted=_counted(rows, point, there, view, cell, cells) | present,
        picture=picture,
        row=row,
        cell=index,
        offset=own - index - 0.5,
    )


def _counted(
    rows: Tensor, point: Tensor, there: Tensor, view: View, cell: int, cells: int
) -> Tensor:
    counted = torch.ones(len(rows), cells, cells, dtype=torch.bool)
    for down in (-BORDER, BORDER):
        for right in (-BORDER, BORDER):
            near = point + torch.tensor([down, right])
            picture, row = torch.nonzero(there & inside(near, cells), as_tuple=True)
            index = near[picture, row].floor().long()
            counted[picture, index[:, 0], index[:, 1]] = False
    middle = torch.arange(cells) + 0.5
    centres = view.to_place(torch.cartesian_prod(middle, middle), cell)  # (G * G, 2)
    far = rows[..., 1:3].norm(dim=-1).amax(-1)  # (N,)
    far = far.where(there.all(-1), torch.inf)
    return counted & (centres.norm(dim=-1).view(cells, cells) <= far[:, None, None])


def inside(point: Tensor, cells: int) -> Tensor:
    """Which points ``(..., 2)`` are on the grid."""
    return ((point >= 0) & (point < cells)).all(-1)


def strongest(chance: Tensor, place: Tensor, threshold: float, least_distance: float) -> Tensor:
    """Which of K candidates ``(N, K)`` are vehicles: bool ``(N, K)``.

    Those of a chance above ``threshold``, but for those closer than ``least_distance`` [m] to a
    likelier one: they are taken for the same vehicle (non-maximum suppression).

    Args:
        chance: ``(N, K)``, the likeliest first.
        place: ``(N, K, 2)`` [m].
    """
    kept = chance > threshold
    near = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist") < least_distance
    for k in range(1, chance.shape[1]):
        kept[:, k] &= ~(near[:, k, :k] & kept[:, :k]).any(-1)
    return kept


def least_distances(place: Tensor, velocity: Tensor, drift: Tensor, looks: int) -> Tensor:
    """Least distance ``(K, S)`` [m] of K vehicles from where the ego vehicle means to be.

    In each of S seconds, with both on straight ways between looks.

    Args:
        place: ``(K, 2)`` from the ego vehicle's [m].
        velocity: ``(K, 2)`` minus the ego vehicle's [m/s]; both stay as they are.
        drift: ``(K, S * looks, 2)`` how far its plan is by then from going on as now [m].
        looks: a second.
    """
    time = torch.arange(1, drift.shape[1] + 1) / looks  # (L,) [s]
    end = place.unsqueeze(1) + velocity.unsqueeze(1) * time[:, None] - drift  # (K, L, 2)
    start = torch.cat([place.unsqueeze(1), end[:, :-1]], 1)
    way = end - start
    share = -(start * way).sum(-1) / way.square().sum(-1).clamp_min(1e-9)
    nearest = start + way * share.clamp(0, 1).unsqueeze(-1)
    distance = (nearest.square().sum(-1) + 1e-9).sqrt()  # (K, L); its slope at 0 is finite
    return distance.view(len(place), drift.shape[1] // looks, looks).amin(-1)
