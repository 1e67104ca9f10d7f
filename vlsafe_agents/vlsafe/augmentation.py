"""Images that differ where nothing of matter does."""

from __future__ import annotations

import torch
from torch import Tensor


def random_shift(images: Tensor, pixels: int) -> Tensor:
    """Shift each sequence of images by up to ``pixels`` in both directions (DrQ, arXiv 2004.13649).

    All images of a sequence are shifted alike, so that what moves in it is still what moved.
    Pixels that come into view repeat the border.

    :param images: ``(B, T, H, W, C)``; what is returned has the same shape and type.
    :raises ValueError: if ``pixels`` is negative or not smaller than the image.
    """
    count, (height, width) = len(images), images.shape[2:4]
    if not 0 <= pixels < min(height, width):
        raise ValueError(f"cannot shift images of {height} x {width} by {pixels} pixels")
    if pixels == 0:
        return images
    shifts = torch.randint(-pixels, pixels + 1, (count, 2), device=images.device).tolist()
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    shifted = torch.empty_like(images)
    for b, (down, right) in enumerate(shifts):
        lines = images[b].index_select(1, (rows - down).clamp_(0, height - 1))
        shifted[b] = lines.index_select(2, (columns - right).clamp_(0, width - 1))
    return shifted
