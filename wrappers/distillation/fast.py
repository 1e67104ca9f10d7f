"""A pupil's forward pass for the loop: few frames at a time, on a processor.

The same numbers as :class:`~.network.Pupil`, in about half of PyTorch's time: patches are cut by
compiled code in one pass over the bytes, matrix products are NumPy's, and a few frames at a time
go through all layers, so that what lies between these stays in the processor's cache.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.distillation.network import MERGED, MIDDLE, PATCH, POOLED, SPREAD, Pupil
from wrappers.machine_code import machine_code
from wrappers.scorer import Frames

Floats = npt.NDArray[np.float32]

_AT_ONCE = 16  # frames
compiled = partial(machine_code, nogil=True)


class FastPupil:
    """Log-odds ``(N,)`` of frames ``(N, S, S, 3)`` uint8, by a copy of a pupil's weights."""

    def __init__(self, pupil: Pupil) -> None:
        weights = {
            name: tensor.detach().cpu().numpy() for name, tensor in pupil.state_dict().items()
        }
        # Patches hold sums of bytes: the weights do what else happens to a pixel.
        stem = _as_matrix(weights["stem.weight"])
        self._stem = stem / (POOLED * SPREAD)  # (24, stem)
        self._stem_bias = weights["stem.bias"] - stem.sum(0) * (MIDDLE / SPREAD)
        self._merge = _as_matrix(weights["merge.weight"])  # (4 * stem, merged)
        self._merge_bias = weights["merge.bias"]
        self._mix = np.ascontiguousarray(weights["mix.weight"].T)
        self._mix_bias = weights["mix.bias"]
        self._score = weights["score.weight"][0]
        self._score_bias = weights["score.bias"][0]

    def __call__(self, frames: Frames) -> Floats:
        """Log-odds ``(N,)`` of ``frames (N, S, S, 3)`` uint8."""
        logits = np.empty(len(frames), np.float32)
        for first in range(0, len(frames), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            logits[part] = self._look(np.ascontiguousarray(frames[part]))
        return logits

    def _look(self, frames: Frames) -> Floats:
        count, size = frames.shape[:2]
        patches = np.empty((count * (size // PATCH) ** 2, len(self._stem)), np.float32)
        _cut_patches(frames.reshape(count, size, 3 * size), patches)
        seen = patches @ self._stem
        _add_and_rectify(seen, self._stem_bias)
        seen = seen.reshape(-1, len(self._merge)) @ self._merge  # (N * places, merged)
        _add_and_rectify(seen, self._merge_bias)
        hidden = seen.reshape(count, -1) @ self._mix
        _add_and_rectify(hidden, self._mix_bias)
        logits: Floats = hidden @ self._score + self._score_bias
        return logits


def _as_matrix(kernel: Floats) -> Floats:
    """Weights ``(out, in, H, W)`` of a convolution as ``(H * W * in, out)``."""
    flat = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))
    return np.ascontiguousarray(flat)


@compiled
def _cut_patches(lines: Any, patches: Any) -> None:
    """Patches ``(N * places * 4, 24)`` of sums of two rows, those that merge side by side.

    ``lines (N, S, 3 S)`` are the rows of the frames.
    """
    count, rows, width = lines.shape
    length = 3 * PATCH  # bytes of a patch's row
    across = width // length // MERGED  # merged patches in a row of them
    pooled = np.empty(width, np.float32)
    for n in range(count):
        for row in range(rows // POOLED):
            for k in range(width):
                pooled[k] = np.float32(lines[n, POOLED * row, k])
                pooled[k] += np.float32(lines[n, POOLED * row + 1, k])
            patch_row, inner = divmod(row, PATCH // POOLED)
            block_row, upper = divmod(patch_row, MERGED)
            first = (n * (rows // PATCH // MERGED) + block_row) * across
            for column in range(across * MERGED):
                block, left = divmod(column, MERGED)
                place = ((first + block) * MERGED + upper) * MERGED + left
                for k in range(length):
                    patches[place, inner * length + k] = pooled[column * length + k]


@compiled
def _add_and_rectify(seen: Any, bias: Any) -> None:
    """``max(seen + bias, 0)`` in place, for ``seen (N, C)`` and ``bias (C,)``."""
    for n in range(seen.shape[0]):
        for c in range(seen.shape[1]):
            seen[n, c] = max(seen[n, c] + bias[c], np.float32(0.0))
