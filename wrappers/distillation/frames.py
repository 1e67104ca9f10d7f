"""Frames of any size as a pupil takes them."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from wrappers.scorer import Frames


def fit_frames(frames: Frames, size: int) -> Frames:
    """Frames ``(N, H, W, 3)`` uint8 as ``(N, size, size, 3)``, by an antialiased linear filter.

    Frames of that size pass through.  Others show the same ground, perhaps in another style.
    """
    if frames.shape[1:3] == (size, size):
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    fitted = functional.interpolate(
        pixels, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return np.ascontiguousarray(fitted.permute(0, 2, 3, 1).numpy())
