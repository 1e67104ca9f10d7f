"""Several scorers as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.checks import whole_number
from wrappers.combinator import Combinator
from wrappers.frame_windows import context_frames, latest
from wrappers.registry import make_scorer
from wrappers.scorer import Frames, Infos, SafetyScorer, Scores
from wrappers.specs import split_members

COMBINATIONS = ("mean", "min")
_WEIGHTED = re.compile(r"^(\d+(?:\.\d+)?)\*")


class EnsembleScorer(Combinator):
    """The weighted mean, or the minimum, of several scorers' scores.

    A member that has no label for a frame (NaN) is left out for that frame, the others' weights
    growing accordingly; a frame that fewer than ``quorum`` members have a label for gets none.
    Members may look at different numbers of frames.  If one looks at frames of a certain size, as
    distilled scorers do, all get such.

    Args:
        scorers: the members.
        combine: ``"mean"``, or ``"min"`` to believe whoever sees danger.
        weights: of the members in the mean, in their order; ``None`` for equal ones.
        quorum: how many labels a frame needs.

    Raises:
        ValueError: for no members, impossible values, or members that look at frames of different
            sizes.
    """

    def __init__(
        self,
        scorers: Sequence[SafetyScorer],
        combine: str = "mean",
        weights: Sequence[float] | None = None,
        quorum: int = 1,
    ) -> None:
        if combine not in COMBINATIONS:
            raise ValueError(f"unknown combine {combine!r}; known: {', '.join(COMBINATIONS)}")
        if combine == "min" and weights is not None:
            raise ValueError("weights have no meaning for combine='min'")
        if not 1 <= whole_number(quorum, "quorum", "scorer 'ensemble'", 1) <= len(scorers):
            raise ValueError(f"quorum={quorum} of {len(scorers)} scorers")
        super().__init__(*scorers)
        self.combine = combine
        self.quorum = int(quorum)
        self.weights = _check_weights(weights, len(scorers))

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "name": "ensemble",
            "combine": self.combine,
            "weights": self.weights.tolist(),
            "quorum": self.quorum,
            "of": [scorer.identity for scorer in self.scorers],
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of frames, or of windows where a member looks at several."""
        answers = [
            self.ask(scorer, latest(frames, context_frames(scorer)), infos)
            for scorer in self.scorers
        ]
        scores = np.stack([found for found, _ in answers])  # (M, N)
        said = [reasons for _, reasons in answers]
        if self.combine == "min":
            combined = np.fmin.reduce(scores)  # NaN only where all are
        else:
            combined = nan_mean(scores, self.weights)
        combined[np.isfinite(scores).sum(axis=0) < self.quorum] = np.nan
        self.last_reasons = [
            "; ".join(filter(None, reasons)) or None if missing else None
            for missing, reasons in zip(np.isnan(combined), zip(*said, strict=True), strict=True)
        ]
        return combined


def nan_mean(scores: Scores, weights: npt.NDArray[np.float64]) -> Scores:
    """Weighted means ``(N,)`` over the members of ``scores (M, N)`` that are not NaN."""
    weight = np.where(np.isnan(scores), 0.0, weights[:, None])
    total = weight.sum(axis=0)
    summed = (np.nan_to_num(scores) * weight).sum(axis=0)
    means = np.full(scores.shape[1], np.nan)
    np.divide(summed, total, out=means, where=total > 0)
    return np.clip(means, 0.0, 1.0).astype(np.float32)


def _check_weights(weights: Sequence[float] | None, count: int) -> npt.NDArray[np.float64]:
    values = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    if values.shape != (count,):
        raise ValueError(f"weights {list(weights or [])} for {count} scorers")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"weights must be positive, got {values.tolist()}")
    return values / values.sum()


def make_ensemble_scorer(argument: str | None, **options: Any) -> EnsembleScorer:
    """For ``"ensemble:bundled+oracle"`` and, with weights, ``"ensemble:2*bundled+oracle"``.

    ``options`` (``combine``, ``quorum``) are the ensemble's; a member's own are written after it,
    which works for all members but the last.

    Raises:
        ValueError: for fewer than two members and unknown options.
    """
    members = split_members(argument or "")
    if len(members) < 2 or not all(members):
        raise ValueError(
            f"scorer 'ensemble:{argument or ''}' needs several scorers, for example "
            "'ensemble:bundled+oracle'"
        )
    for key in options:
        if key not in ("combine", "quorum", "weights"):
            raise ValueError(
                f"an ensemble has no option {key!r}; to give it to a member, write that member "
                "with its options before another one"
            )
    found = [_WEIGHTED.match(member) for member in members]
    if any(found):
        if "weights" in options:
            raise ValueError(f"weights are given twice: {options['weights']!r} and in {argument!r}")
        options["weights"] = [float(match[1]) if match else 1.0 for match in found]
    scorers = [make_scorer(_WEIGHTED.sub("", member)) for member in members]
    return EnsembleScorer(scorers, **options)
