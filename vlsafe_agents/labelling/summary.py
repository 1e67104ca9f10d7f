"""How the labels of a data set are spread, and how they agree with simulator truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from vlsafe_agents.data.episode import Array
from wrappers.ranking import auroc
from wrappers.scorer import Scores


@dataclass(frozen=True)
class LabelCounts:
    """Where the labels of a data set's frames came from; the resets' frames count."""

    frames: int
    kept: int  # were in the data set already
    from_cache: int  # an equal frame was scored before, in another run or in this one
    scored: int
    without_label: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """Frames that got a label in this run, a second."""
        return (self.frames - self.kept) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class LabelSummary:
    """How the scores of a data set are spread and how they agree with simulator truth.

    A step is unsafe here when its ``env_cost`` is above 0; the resets' frames are left out, and
    frames without a label count nowhere but in ``without_label``.
    """

    frames: int  # with a label
    without_label: int
    scorer: dict[str, Any]
    unsafe_share: float  # NaN when no frame has a label, or costs are not known
    mean_safe: float  # mean p over safe steps; NaN when there are none
    mean_unsafe: float  # mean p over unsafe steps; NaN when there are none
    auroc: float  # chance that an unsafe step scores below a safe one; NaN when undefined
    histogram: tuple[int, ...]  # frames in ten equal bins of p from 0 to 1
    counts: LabelCounts | None = None  # of this run; None where nothing was to be done

    def to_record(self) -> dict[str, Any]:
        """JSON-able, for the data set's metadata; see :meth:`from_record`."""
        plain = asdict(self)
        counts = plain.pop("counts") or {}
        spread = {name: _to_json(value) for name, value in plain.items() if name != "scorer"}
        return {**counts, "summary": spread}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], scorer: dict[str, Any]) -> LabelSummary | None:
        """What :meth:`to_record` kept, without the counts; ``None`` for another version's."""
        spread = {name: _from_json(value) for name, value in record.get("summary", {}).items()}
        names = {field.name for field in fields(cls)} - {"scorer", "counts"}
        return cls(scorer=scorer, **spread) if set(spread) == names else None


def summarise(
    scores: Scores, env_costs: Array, scorer: dict[str, Any], counts: LabelCounts | None = None
) -> LabelSummary:
    """Summary of steps with ``scores (N,)`` and ``env_costs (N,)``; NaN where there is none."""
    labelled = ~np.isnan(scores)
    score, cost = scores[labelled], np.asarray(env_costs)[labelled]
    known = not np.isnan(cost).any()
    unsafe, safe = cost > 0, cost <= 0  # neither where costs are not known
    histogram, _ = np.histogram(score, bins=10, range=(0.0, 1.0))
    return LabelSummary(
        frames=len(score),
        without_label=int((~labelled).sum()),
        scorer=scorer,
        unsafe_share=_mean(unsafe) if known else float("nan"),
        mean_safe=_mean(score[safe]),
        mean_unsafe=_mean(score[unsafe]),
        auroc=auroc(-score, unsafe) if 0 < unsafe.sum() < len(unsafe) else float("nan"),
        histogram=tuple(int(count) for count in histogram),
        counts=counts,
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _to_json(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return float("nan") if value is None else value
