"""A scorer that reads the simulator's truth instead of the frame: an upper bound for any VLM."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.checks import one_number
from wrappers.registry import check_known, option_names
from wrappers.scorer import Frames, Infos, Scores, check_frames

REQUIRED_KEYS = ("time_to_collision", "headway", "collision", "off_road")


@dataclass(frozen=True)
class OracleConfig:
    """Where the oracle's score falls from 1 to 0.

    Both terms are logistic curves: 0.5 at the centre, 0.12 one ``width * 2`` below it and 0.88 the
    same above it.  With the defaults the score is 0.92 at 4 s to collision, 0.5 at 2.5 s and 0.16
    at 1.5 s, so it falls about one decision (1 s) before a driver must act.
    """

    time_to_collision_centre: float = 2.5  # [s]
    time_to_collision_width: float = 0.6  # [s]
    headway_centre: float = 0.4  # [s]
    headway_width: float = 0.1  # [s]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = one_number(getattr(self, field.name), field.name, "scorer 'oracle'", 0.0)
            if field.name.endswith("width") and value == 0:
                raise ValueError(f"{field.name} must be positive, got {value}")


def safety_degree(
    time_to_collision: npt.ArrayLike,
    headway: npt.ArrayLike,
    collision: npt.ArrayLike,
    off_road: npt.ArrayLike,
    config: OracleConfig | None = None,
) -> npt.NDArray[np.float64]:
    """How safe a state is, in [0, 1], from time to collision and headway [s].

    The product of two logistic curves, one in each argument (infinite values count as safe); 0
    where there is a collision or the ego vehicle is off the road.  Arguments broadcast.  It never
    falls when ``time_to_collision`` or ``headway`` grows.

    Raises:
        ValueError: when a value is NaN.
    """
    config = config or OracleConfig()
    ttc = np.asarray(time_to_collision, np.float64)
    gap = np.asarray(headway, np.float64)
    if np.isnan(ttc).any() or np.isnan(gap).any():
        raise ValueError("time_to_collision or headway is NaN; use infinity where there is none")
    degree = _logistic((ttc - config.time_to_collision_centre) / config.time_to_collision_width)
    degree = degree * _logistic((gap - config.headway_centre) / config.headway_width)
    unsafe = np.asarray(collision, bool) | np.asarray(off_road, bool)
    return np.where(unsafe, 0.0, degree)


def _logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0)))


class OracleScorer:
    """Scores states by :func:`safety_degree` of their ``info``; frames are only counted."""

    reads_infos = True

    def __init__(self, config: OracleConfig | None = None) -> None:
        self.config = config or OracleConfig()

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": "oracle", **asdict(self.config)}

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` from ``infos``.

        Raises:
            ValueError: without one info a frame.
            KeyError: when an info lacks a key.
        """
        count = len(check_frames(frames))
        if infos is None or len(infos) != count:
            got = "none" if infos is None else str(len(infos))
            raise ValueError(f"the oracle needs one info for each of {count} frames, got {got}")
        columns = []
        for key in REQUIRED_KEYS:
            missing = [i for i, info in enumerate(infos) if key not in info]
            if missing:
                raise KeyError(f"info {missing[0]} lacks {key!r}, which the oracle needs")
            columns.append(np.array([float(info[key]) for info in infos]))
        ttc, headway, collision, off_road = columns
        degree = safety_degree(ttc, headway, collision > 0, off_road > 0, self.config)
        return degree.astype(np.float32)


def make_oracle_scorer(argument: str | None, **options: Any) -> OracleScorer:
    """For ``"oracle"``; ``options`` are a ``config`` or the fields of :class:`OracleConfig`.

    Raises:
        ValueError: for an argument and an unknown field.
    """
    if argument is not None:
        raise ValueError(f"the scorer 'oracle' takes no argument, got {argument!r}")
    check_known("oracle", options, ["config", *option_names(OracleConfig)])
    config = options.pop("config", None)
    if config is not None and options:
        raise ValueError(f"options {sorted(options)} have no effect beside a config")
    return OracleScorer(OracleConfig(**options) if config is None else config)
