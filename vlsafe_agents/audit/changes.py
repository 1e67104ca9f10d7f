"""Frames changed on purpose: a score that means danger should hardly notice.

Functions of frames ``(N, H, W, 3)`` uint8; the same frames are changed in the same way each time.
Noise and contrast are corruptions of ImageNet-C at its second severity (Hendrycks and Dietterich,
ICLR 2019, ``make_imagenet_c.py``: standard deviation 0.12 of the range; contrast times 0.3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wrappers.scorer import Frames

NOISE = 0.12  # standard deviation, of the range of values
CONTRAST = 0.3  # factor of the distance from the frame's mean colour


def mirrored(frames: Frames) -> Frames:
    """Left and right exchanged."""
    return np.ascontiguousarray(frames[:, :, ::-1])


def mirrored_about_ego(frames: Frames) -> Frames:
    """Left and right of the ego vehicle exchanged, which stays in its column of pixels, W // 2.

    In small frames a pixel is a metre: where it moves by one, every vehicle seems to have moved.
    """
    flipped = mirrored(frames)
    return np.concatenate((flipped[:, :, :1], flipped[:, :, :-1]), axis=2)


def noisy(frames: Frames) -> Frames:
    """Gaussian noise on every value; that of a frame depends on its place alone."""
    found = np.empty_like(frames)
    for place, frame in enumerate(frames):
        rng = np.random.default_rng([place, 1])
        noise = rng.standard_normal(frame.shape, np.float32) * np.float32(255 * NOISE)
        found[place] = np.clip(np.rint(frame + noise), 0, 255)
    return found


def low_contrast(frames: Frames) -> Frames:
    """Every value nearer to the mean of its colour in the frame."""
    mean = frames.mean((1, 2), keepdims=True)
    return np.rint(mean + CONTRAST * (frames - mean)).astype(np.uint8)


def half_resolution(frames: Frames) -> Frames:
    """Squares of two by two pixels of one colour, their mean; H and W must be even."""
    count, height, width, channels = frames.shape
    squares = frames.reshape(count, height // 2, 2, width // 2, 2, channels)
    small = np.rint(squares.mean((2, 4))).astype(np.uint8)
    return small.repeat(2, axis=1).repeat(2, axis=2)


CHANGES: dict[str, Callable[[Frames], Frames]] = {
    "mirrored": mirrored_about_ego,
    "noise": noisy,
    "low contrast": low_contrast,
    "half resolution": half_resolution,
}
