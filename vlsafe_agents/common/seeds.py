"""Seeds that follow from others."""

from __future__ import annotations

import numpy as np


def derived_seed(seed: int, number: int) -> int:
    """A seed in [0, 2**31) for part ``number`` of what ``seed`` stands for: the same every time."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
