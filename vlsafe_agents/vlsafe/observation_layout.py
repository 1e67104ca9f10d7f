"""Images of any size and channel number, vectors and sets as the inputs of the world model.

As in DreamerV3, all images become the channels of one, and all vectors one vector, in the order in
which they are given.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.common.distributions import symexp

LARGEST_SIDE = 128  # [px]; of larger images, blocks of pixels are averaged


@dataclass(frozen=True)
class ImageLayout:
    """How one kind of image becomes channels of the world model's image, and back.

    ``(H, W)`` has one channel; ``(C, H, W)`` with fewer channels than rows or columns is turned
    round; of ``(K, H, W, C)``, a stack of frames, K C are the channels.  Where a side is above
    ``LARGEST_SIDE``, blocks of ``shrink`` by ``shrink`` pixels are averaged; then black pixels are
    added at the bottom and on the right up to ``height`` and ``width``.

    Args:
        shape: as the environment shows it, without batch axes.
        shrink: side of a block [px].
        height, width: of the world model's image.
    """

    shape: tuple[int, ...]
    shrink: int
    height: int
    width: int

    @property
    def plain(self) -> tuple[int, int, int]:
        """The image's own ``(H, W, C)``."""
        return _channels_last(self.shape)

    @property
    def channels(self) -> int:
        """Channels that it has in the world model's image."""
        return self.plain[2]

    @property
    def changed(self) -> str:
        """What happens to its pixels, for a message; empty where nothing does."""
        height, width = (math.ceil(side / self.shrink) for side in self.plain[:2])
        blocks = f"{self.shrink} x {self.shrink} pixels are averaged" if self.shrink > 1 else ""
        padded = f"padded from {height} x {width} to {self.height} x {self.width}"
        same = (height, width) == (self.height, self.width)
        return " and ".join(part for part in (blocks, "" if same else padded) if part)

    def fold(self, image: Tensor) -> Tensor:
        """Images ``(N, *shape)`` as ``(N, height, width, channels)``, uint8."""
        x = image
        if len(self.shape) == 2:
            x = x.unsqueeze(-1)
        elif len(self.shape) == 4:  # (N, K, H, W, C)
            x = x.permute(0, 2, 3, 1, 4).flatten(3)
        elif self.plain != self.shape:
            x = x.permute(0, 2, 3, 1)
        rows, columns = (-side % self.shrink for side in x.shape[1:3])
        if self.shrink > 1:
            planes = x.permute(0, 3, 1, 2).float()
            planes = F.pad(planes, (0, columns, 0, rows), mode="replicate")
            planes = F.avg_pool2d(planes, self.shrink).round()
            x = planes.to(torch.uint8).permute(0, 2, 3, 1)
        more = (self.height - x.shape[1], self.width - x.shape[2])
        return F.pad(x, (0, 0, 0, more[1], 0, more[0])) if any(more) else x

    def unfold(self, image: Tensor) -> Tensor:
        """Channels of the world model's image, ``(N, height, width, channels)``, as seen."""
        height, width, _ = self.plain
        x = image
        if self.shrink > 1:
            x = x.repeat_interleave(self.shrink, 1).repeat_interleave(self.shrink, 2)
        x = x[:, :height, :width]
        if len(self.shape) == 2:
            return x.squeeze(-1)
        if len(self.shape) == 4:
            return x.unflatten(3, (self.shape[0], self.shape[3])).permute(0, 3, 1, 2, 4)
        return x if self.plain == self.shape else x.permute(0, 3, 1, 2)


def image_layouts(images: Mapping[str, spaces.Box], multiple: int) -> dict[str, ImageLayout]:
    """How images become the channels of one, whose sides are multiples of ``multiple`` [px].

    Warns of images whose pixels are averaged or padded.
    """
    plain = {name: _channels_last(box.shape) for name, box in images.items()}
    shrinks = {name: -(-max(shape[:2]) // LARGEST_SIDE) for name, shape in plain.items()}
    height, width = (
        max(_whole(-(-shape[axis] // shrinks[n]), multiple) for n, shape in plain.items())
        for axis in (0, 1)
    )
    layouts = {n: ImageLayout(box.shape, shrinks[n], height, width) for n, box in images.items()}
    for name, layout in layouts.items():
        if layout.changed:
            warnings.warn(
                f"the world model sees observation {name!r} changed: {layout.changed}; to choose "
                "yourself, put gymnasium.wrappers.ResizeObservation around the environment before "
                "recording",
                stacklevel=2,
            )
    return layouts


def vector_size(vectors: Mapping[str, spaces.Box]) -> int:
    """Numbers in all vectors together."""
    return sum(math.prod(box.shape) for box in vectors.values())


def split_vector(vector: Tensor, vectors: Mapping[str, spaces.Box]) -> dict[str, Tensor]:
    """Parts of the world model's vector ``(..., D)`` by name, in their own shapes."""
    sizes = [math.prod(box.shape) for box in vectors.values()]
    parts = vector.split(sizes, -1)
    return {
        name: part.reshape(*vector.shape[:-1], *box.shape)
        for (name, box), part in zip(vectors.items(), parts, strict=True)
    }


def shown_rows(prediction: Tensor) -> Tensor:
    """Predicted rows of vehicles ``(..., M, F)`` in their own units; column 0 a probability."""
    present, values = torch.sigmoid(prediction[..., :1]), symexp(prediction[..., 1:])
    return torch.cat([present, values], -1)


def _channels_last(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 4:
        return shape[1], shape[2], shape[0] * shape[3]
    if _channels_first(shape):
        return shape[1], shape[2], shape[0]
    return shape[0], shape[1], shape[2]


def _channels_first(shape: Sequence[int]) -> bool:
    return int(min(range(3), key=lambda axis: (shape[axis], axis == 0))) == 0


def _whole(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
