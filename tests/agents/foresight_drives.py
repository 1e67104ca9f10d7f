"""Made-up drives with danger signals, and what is measured of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlsafe_agents.foresight import AS_RECORDED, Drive, Foresight, Steps, Traffic, measure


def drive(decisions: int, end: str, every: int = 1, **signals: Any) -> Drive:
    """A drive that ends in a "crash", by itself ("arrived"), or is "cut" off."""
    step = np.arange(0, decisions, every)
    values = {name: np.asarray(x, float) * np.ones(len(step)) for name, x in signals.items()}
    return Drive(step, decisions, end != "cut", end == "crash", values)


def some_drives(seed: int, drives: int = 60, shift: float = 0.0) -> list[Drive]:
    """A noisy signal that grows towards crashes, and one that says nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(drives):
        decisions, end = int(rng.integers(5, 40)), str(rng.choice(["crash", "cut", "arrived"]))
        left = decisions - np.arange(decisions)
        noise = rng.random(decisions)
        near = shift + 0.5 * noise + (0.5 * np.exp(-left / 4) if end == "crash" else 0.0)
        found.append(drive(decisions, end, near=near, dream=rng.random(decisions) / 10))
    return found


def foresight(seed: int = 0) -> Foresight:
    steps = [Steps.of(some_drives(seed + i, 30), 0.5) for i in range(2)]
    usual, denser = measure(steps[0], steps[1:], 0.5, ["dream"], resamples=50)
    traffics = (
        Traffic(AS_RECORDED, {}, "runs/data", usual),
        Traffic("density 1.5", {"density": 1.5}, None, denser),
    )
    return Foresight(
        "gated", {"algo": "vlsafe"}, "VLSafe-Highway-v0", 0.5, {"data": None}, traffics
    )
