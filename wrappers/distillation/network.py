"""The pupil: small enough to score every step of a fast simulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wrappers.scorer import Frames

MIDDLE, SPREAD = 128.0, 64.0  # grey levels become numbers from -2 to 2
PATCH, MERGED = 4, 2  # [px] along the edge of a patch; patches along an edge that become one
POOLED = 2  # rows that become one


@dataclass(frozen=True)
class PupilConfig:
    """Sizes of a :class:`Pupil`.

    Raises:
        ValueError: for impossible ones.
    """

    frame_size: int = 64  # [px], height and width
    stem: int = 16  # channels of a patch of 4 by 4 px
    merged: int = 16  # channels of a patch of 8 by 8 px
    hidden: int = 64

    def __post_init__(self) -> None:
        edge = PATCH * MERGED
        if self.frame_size < edge or self.frame_size % edge:
            raise ValueError(f"frame_size must be a multiple of {edge} px, got {self.frame_size}")
        for name in ("stem", "merged", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Pupil(nn.Module):
    """Log-odds of a frame's safety score.

    Two rows become one: lengthways a metre matters less than sideways.  Two convolutions without
    overlap make patches of 4 px, then of 8 px.  A dense layer looks at all of them at once, each
    place with weights of its own, since the ego vehicle always stands in the same place.  By
    default 230,000 multiplications a frame, and 67,105 weights.
    """

    def __init__(self, config: PupilConfig | None = None) -> None:
        super().__init__()
        self.config = config or PupilConfig()
        size = self.config
        places = (size.frame_size // (PATCH * MERGED)) ** 2
        patch = (PATCH // POOLED, PATCH)
        self.stem = nn.Conv2d(3, size.stem, patch, patch)
        self.merge = nn.Conv2d(size.stem, size.merged, MERGED, MERGED)
        self.mix = nn.Linear(places * size.merged, size.hidden)
        self.score = nn.Linear(size.hidden, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Log-odds ``(N,)`` float32 of ``frames (N, S, S, 3)`` uint8."""
        rows = frames.unflatten(1, (-1, POOLED))  # (N, S/2, 2, S, 3)
        pixels = (rows[:, :, 0].float() + rows[:, :, 1]) / (POOLED * SPREAD) - MIDDLE / SPREAD
        pooled = pixels.permute(0, 3, 1, 2)  # (N, 3, S/2, S), channels last in memory
        seen = functional.relu(self.merge(functional.relu(self.stem(pooled))))
        flat = seen.permute(0, 2, 3, 1).flatten(1)  # by place, (N, (S/8)^2 * merged)
        logits: Tensor = self.score(functional.relu(self.mix(flat)))
        return logits[:, 0]


def new_pupil(config: PupilConfig, seed: int) -> Pupil:
    """A pupil that has learnt nothing; PyTorch's own random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Pupil(config)


def count_parameters(pupil: Pupil) -> int:
    """Numbers that a pupil learnt."""
    return sum(parameter.numel() for parameter in pupil.parameters())


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
