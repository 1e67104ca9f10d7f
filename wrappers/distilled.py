"""A small network that imitates another scorer, fast enough for every step of a simulator."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wrappers.checkpoints import device_of, weights_sha256
from wrappers.checks import whole_number
from wrappers.distillation.fast import FastPupil
from wrappers.distillation.folder import Record, load_pupil
from wrappers.distillation.network import fit_frames
from wrappers.registry import check_known, option_names
from wrappers.scorer import FirstBatch, Frames, Infos, Scores, check_frames

BUNDLED_FOLDER = Path(__file__).parent / "bundled_distilled"


class DistilledScorer:
    """What a teacher would say of a frame, as a network of 67,105 weights guesses it.

    The pupil looks at frames of ``frame_size`` pixels; environments that can draw such hand them
    over (those of ``vlsafe_envs`` the image that the agent sees, which costs nothing more).
    Larger frames are shrunk, which takes longer than scoring them.  How well it agrees with
    its teacher, on frames kept out of its lessons, is in :attr:`record` and in its model card.

    Scorers keep no state between calls.

    Args:
        folder: written by ``vlsafe distill``; by default the one shipped with the package, whose
            teacher is the bundled CLIP.
        device: where the network runs.
        batch_size: frames scored at once.

    Warns when a first batch of different frames gets one score.

    Raises:
        ValueError: for a folder that holds no pupil, a device that cannot be used, and an
            impossible ``batch_size``.
    """

    def __init__(
        self, folder: str | Path = BUNDLED_FOLDER, device: str = "cpu", batch_size: int = 128
    ) -> None:
        self.batch_size = whole_number(batch_size, "batch_size", "scorer 'distilled'", 1)
        # Pickled by name: worker processes load the network themselves.
        self._arguments = (folder, device, batch_size)
        self.device = device_of(device)
        self.record: Record
        self.pupil, self.record = load_pupil(folder)
        self.pupil.to(self.device)
        self._fast = FastPupil(self.pupil) if self.device.type == "cpu" else None
        self.frame_size = self.pupil.config.frame_size
        self._scores_seen = FirstBatch(f"scorer 'distilled:{folder}'")

    @cached_property
    def weights_hash(self) -> str:
        """See :func:`~.checkpoints.weights_sha256`."""
        return weights_sha256(self.pupil)

    @property
    def identity(self) -> dict[str, Any]:
        """The pupil's weights, and whose scores they imitate."""
        return {
            "name": "distilled",
            "weights_sha256": self.weights_hash,
            "frame_size": self.frame_size,
            "of": dict(self.record.teacher),
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8; ``infos`` are not read."""
        check_frames(frames)
        parts = [
            self.score(self.encode(self.prepare(frames[start : start + self.batch_size])))
            for start in range(0, len(frames), self.batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def prepare(self, frames: Frames) -> Frames:
        """Frames ``(N, S, S, 3)`` as the network takes them; for loaders that run ahead."""
        return fit_frames(frames, self.frame_size)

    def encode(self, prepared: Frames) -> npt.NDArray[np.float32]:
        """Log-odds ``(N,)`` of what :meth:`prepare` returned."""
        if self._fast is not None:
            logits = self._fast(prepared)
        else:
            with torch.inference_mode():
                frames = torch.from_numpy(np.ascontiguousarray(prepared)).to(self.device)
                logits = np.asarray(self.pupil(frames).cpu())
        if not self._scores_seen.done:
            self._scores_seen.look(prepared, logits)
        return logits

    def score(self, logits: npt.NDArray[np.float32]) -> Scores:
        """Scores ``(N,)`` of log-odds."""
        odds = np.exp(-np.clip(logits, -60.0, 60.0))
        return (1.0 / (1.0 + odds)).astype(np.float32, copy=False)

    judge = score  # its name before

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> DistilledScorer:
        return self  # stateless


def make_distilled_scorer(argument: str | None, **options: Any) -> DistilledScorer:
    """For ``"distilled"``, the one shipped with the package, and ``"distilled:<folder>"``."""
    check_known("distilled", options, option_names(DistilledScorer)[1:])
    return DistilledScorer(argument or BUNDLED_FOLDER, **options)
