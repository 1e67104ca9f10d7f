"""A small convolutional network that finds vehicles in a picture from above.

It looks at each cell of a coarse grid by itself and a few metres around it, so that a vehicle looks
the same among many as among few.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlsafe_agents.vlsafe.networks import MLP

CELL = 4  # [px], side of a cell
_FOLD = 2  # pixels that become channels, before the first convolution
_UNITS, _NARROW = 64, 8
_ALONG, _ACROSS = range(-15, 4), range(-1, 2)  # [px] from a vehicle's centre, to its front and side


class Seen(NamedTuple):
    """Features of N pictures with G x G cells."""

    logit: Tensor  # (N, G, G) of a vehicle in the cell
    local: Tensor  # (N, C, G, G) of the cell and what is around it
    whole: Tensor  # (N, U) of the picture
    pixels: Tensor  # (N, 3, H, H), within 1 of 0


class Vehicles(NamedTuple):
    """What is seen of K vehicles."""

    offset: Tensor  # (K, 2) from their cells' centres, in cells
    heading: Tensor  # (K, 2) cosine and sine
    columns: Tensor  # (K, F) of their rows, without place and heading


class DetectionNet(nn.Module):
    """Pictures to cells with vehicles, their rows, and vectors.

    Each cell sees 26 x 26 px, for its chance of a vehicle 18 x 18.  What a vehicle draws behind
    itself, which tells its speed, is read off along its axis.

    Args:
        cells: along a side of a picture.
        columns: numbers that describe a vehicle, without its place.
        features: numbers of the vectors.
        steps: of the ego vehicle's plan.
        channels: of the convolutions.
    """

    column_mean: Tensor
    column_deviation: Tensor
    vector_mean: Tensor
    vector_deviation: Tensor

    def __init__(
        self, cells: int, columns: int, features: int, steps: int, channels: tuple[int, int]
    ) -> None:
        super().__init__()
        for name, length in (("column", columns), ("vector", features)):
            self.register_buffer(f"{name}_mean", torch.zeros(length))
            self.register_buffer(f"{name}_deviation", torch.ones(length))
        first, second = channels
        self.steps = steps
        self.near = nn.Sequential(
            nn.PixelUnshuffle(_FOLD),
            *_convolution(3 * _FOLD**2, first),
            *_convolution(first, second, stride=2),
            *_convolution(second, second),
        )
        self.around = nn.Sequential(*_convolution(second, second))
        self.present = nn.Conv2d(second, 1, 1)
        assert self.present.bias is not None
        nn.init.constant_(self.present.bias, -4.0)  # most cells are empty
        self.whole = nn.Sequential(
            nn.Conv2d(second, _NARROW, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(_NARROW * cells**2, _UNITS),
            nn.ReLU(),
        )
        known = second + 2 + _UNITS + 3 * len(_ALONG) * len(_ACROSS)
        self.pose = nn.Linear(second, 4)
        self.straight = nn.Linear(known, columns)  # what is seen minus what the ego vehicle does
        self.bent = MLP(known, _UNITS, 1, columns, zero_output=True)
        self.vectors = nn.Linear(_UNITS, features)
        self.plan = nn.Linear(_UNITS, 2 * steps)
        nn.init.zeros_(self.plan.weight)
        nn.init.zeros_(self.plan.bias)

    def forward(self, pictures: Tensor, half: bool = False) -> Seen:
        """Features of pictures ``(N, H, W, 3)`` uint8.

        Args:
            half: whether to convolve in bfloat16.
        """
        pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
            near = self.near(pixels.contiguous(memory_format=torch.channels_last))
            local = self.around(near)
        near, local = near.float(), local.float()
        return Seen(self.present(near).squeeze(1), local, self.whole(local), pixels)

    def vehicles(self, seen: Seen, picture: Tensor, cell: Tensor) -> Vehicles:
        """What is seen of K vehicles.

        Args:
            picture: ``(K,)``.
            cell: ``(K, 2)``.
        """
        local = seen.local[picture, :, cell[:, 0], cell[:, 1]]  # (K, C)
        offset, heading = self.pose(local).split(2, -1)
        point = ((cell + 0.5 + offset) * CELL).detach()
        axis = F.normalize(heading.detach(), dim=-1)
        strip = along(seen.pixels[picture], point, axis).flatten(1)
        where = cell.float() / seen.logit.shape[-1] - 0.5
        known = torch.cat([local, where, seen.whole[picture], strip], -1)
        return Vehicles(offset, heading, self.straight(known) + self.bent(known))

    def drift(self, seen: Seen) -> Tensor:
        """How far the ego vehicle's plan leads from going on as now, ``(N, steps, 2)``.

        As a mean velocity until each step: it grows with time, and begins at 0.
        """
        drift: Tensor = self.plan(seen.whole).view(len(seen.whole), self.steps, 2)
        return drift


def along(pixels: Tensor, point: Tensor, axis: Tensor) -> Tensor:
    """Pixels ``(K, 3, L, A)`` on lines along K axes; 0 beyond the edge of a picture.

    Args:
        pixels: ``(K, 3, H, H)``, the picture of each.
        point: ``(K, 2)`` rows and columns from the upper left edge, where the axes pass [px].
        axis: ``(K, 2)`` cosine and sine of the angle from up, to the right, of length 1.
    """
    forth = torch.tensor(list(_ALONG), dtype=torch.float32).view(1, -1, 1)
    side = torch.tensor(list(_ACROSS), dtype=torch.float32).view(1, 1, -1)
    cos, sin = (part.view(-1, 1, 1) for part in axis.unbind(-1))
    row = point[:, 0].view(-1, 1, 1) - forth * cos + side * sin  # (K, L, A)
    column = point[:, 1].view(-1, 1, 1) + forth * sin + side * cos
    grid = torch.stack([column, row], -1) * (2.0 / pixels.shape[-1]) - 1.0
    return F.grid_sample(pixels, grid, align_corners=False)


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """3 x 3 and a ReLU, initialised for it (He et al. 2015, arXiv 1502.01852)."""
    layer = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return [layer, nn.ReLU()]
