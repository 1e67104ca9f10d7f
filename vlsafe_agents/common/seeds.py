"""Seeds that follow from others."""

from __future__ import annotations

import numpy as np

CHUNK_SEEDS = 10**6  # that a chunk of drives has at most


def derived_seed(seed: int, number: int) -> int:
    """A seed in [0, 2**31) for part ``number`` of what ``seed`` stands for: the same every time."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def chunk_seeds(*key: int) -> range:
    """Seeds of the episodes of one chunk of drives, which is told from others by its key."""
    first = int(np.random.default_rng(key).integers(2**31)) * CHUNK_SEEDS
    return range(first, first + CHUNK_SEEDS)
