"""The lessons: soft labels, so that the pupil learns how sure its teacher is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from wrappers.distillation.network import Pupil, PupilConfig, new_pupil
from wrappers.scorer import Frames, Scores

Rows = npt.NDArray[np.int64]
FramesOf = Callable[[Rows], Frames]  # rows (B,) to their frames (B, S, S, 3) uint8


@dataclass(frozen=True)
class DistillConfig:
    """How long and how to train.

    Raises:
        ValueError: for impossible values.
    """

    steps: int = 6000
    batch_size: int = 256  # frames a step
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 100  # steps in which the learning rate rises; then it falls as a cosine
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.warmup < 1:
            raise ValueError(
                f"steps {self.steps}, batch_size {self.batch_size} and warmup {self.warmup} must "
                "be at least 1"
            )
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(
                f"learning_rate {self.learning_rate} must be positive and weight_decay "
                f"{self.weight_decay} not negative"
            )


def train_pupil(
    frames_of: FramesOf,
    scores: Scores,
    rows: Rows,
    network: PupilConfig | None = None,
    config: DistillConfig | None = None,
    device: str = "cpu",
    report: Callable[[int, float], None] | None = None,
) -> Pupil:
    """A pupil, taught by cross-entropy with soft targets (Hinton et al. 2015, temperature 1).

    Args:
        frames_of: gives the frames of rows, in any order, as the network takes them.
        scores: the teacher's safety scores ``(N,)``; rows without a label (NaN) are not used.
        rows: rows to learn from, ``(R,)``; keep whole episodes out to examine the pupil on.
        network: sizes of the pupil.
        config: how long and how to train.
        device: where to train.
        report: called as ``report(step, loss)`` after every step.

    Raises:
        ValueError: without labelled rows, for labels that are all the same, and when the loss is
            not finite.
    """
    config = config or DistillConfig()
    rows = rows[~np.isnan(scores[rows])]
    if not len(rows):
        raise ValueError("none of the frames to learn from has a label")
    if np.ptp(scores[rows]) == 0:
        raise ValueError(
            f"all {len(rows)} labels are {scores[rows[0]]:g}: there is nothing to learn from them"
        )
    pupil = new_pupil(network or PupilConfig(), config.seed).to(device).train()
    optimizer = torch.optim.AdamW(
        pupil.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    rng = np.random.default_rng(config.seed)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        chosen = rng.choice(rows, config.batch_size)
        frames = torch.from_numpy(frames_of(chosen)).to(device)
        target = torch.from_numpy(scores[chosen].astype(np.float32)).to(device)
        loss = functional.binary_cross_entropy_with_logits(pupil(frames), target)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if report is not None:
            report(step + 1, loss.item())
    return pupil.to("cpu").eval()


def _schedule(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    done = step / config.steps
    return min((step + 1) / config.warmup, 1.0) * (1 + math.cos(math.pi * done)) / 2
