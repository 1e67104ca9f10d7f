"""How well a pupil agrees with its teacher, and what both are worth against simulator truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.ranking import auroc, spearman
from wrappers.scorer import Scores

Bools = npt.NDArray[np.bool_]
ALARM = 0.5  # below which the default cost begins


@dataclass(frozen=True)
class Question:
    """What simulator truth says, to be foretold by a low score."""

    unsafe: Bools  # (N,)
    known: Bools  # (N,), whether the record tells

    def select(self, rows: Any) -> Question:
        """The answers for some rows."""
        return Question(self.unsafe[rows], self.known[rows])


def compare(
    teacher: Scores, pupil: Scores, truth: Mapping[str, Question] | None = None
) -> dict[str, Any]:
    """Agreement on frames that the pupil has not learnt from, JSON-able.

    ``teacher`` and ``pupil`` are safety scores ``(N,)`` of the same frames; frames that the teacher
    has no label for (NaN) are left out.  ``None`` stands for what cannot be computed, as an AUROC
    with one kind of frame only.

    - ``frames``: how many were compared, ``alarms``: in how many of them the teacher's p < 0.5;
    - ``mean_absolute_error`` of p, and ``spearman``, the rank correlation;
    - ``auroc_of_alarms``: how well the pupil's p ranks the teacher's alarms below the rest;
    - ``truth``: for each question the AUROC of 1 - p of both, on the same frames.

    Raises:
        ValueError: for other shapes, and where no frame has a label.
    """
    if teacher.ndim != 1 or teacher.shape != pupil.shape:
        raise ValueError(f"teacher {teacher.shape} and pupil {pupil.shape} must be (N,) both")
    kept = ~np.isnan(teacher)
    if not kept.any():
        raise ValueError("the teacher has a label for none of the frames to compare on")
    p, q = teacher[kept].astype(np.float64), pupil[kept].astype(np.float64)
    answers = truth or {}
    return {
        "frames": int(kept.sum()),
        "alarms": int((p < ALARM).sum()),
        "mean_absolute_error": _rounded(np.abs(p - q).mean()),
        "spearman": _rounded(spearman(p, q)),
        "auroc_of_alarms": _separation(q, p < ALARM),
        "truth": {name: _against(answers[name].select(kept), p, q) for name in answers},
    }


def _against(
    question: Question, teacher: npt.NDArray[np.float64], pupil: npt.NDArray[np.float64]
) -> dict[str, Any]:
    known = question.known
    unsafe = question.unsafe[known]
    return {
        "frames": int(known.sum()),
        "unsafe": int(unsafe.sum()),
        "teacher": _separation(teacher[known], unsafe),
        "pupil": _separation(pupil[known], unsafe),
    }


def _separation(scores: npt.NDArray[np.float64], unsafe: Bools) -> float | None:
    """AUROC of 1 - p, ``None`` with one kind of frame only."""
    if unsafe.all() or not unsafe.any():
        return None
    return _rounded(auroc(1.0 - scores, unsafe))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
