"""How well a detector finds vehicles, on pictures that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.common.vehicle_rows import VEHICLES
from vlsafe_agents.detection.detector import Detector

MATCH = 2.0  # [m]: no farther apart are the centres of a vehicle and of what is taken for it


@dataclass(frozen=True)
class Finds:
    """What was found of the vehicles whose centres the pictures show; NaN where there is none."""

    pictures: int
    vehicles: int
    recall: float  # share of the vehicles that were found
    false_alarms: float  # a picture: found where nobody is
    place_error: float  # [m], mean over those that were found
    velocity_error: float  # [m/s], likewise
    plan_error: float  # [m], likewise, of the distances from the ego vehicle's plan

    def to_json(self) -> dict[str, Any]:
        """Plain values, None for NaN."""
        return {k: None if np.isnan(value) else value for k, value in asdict(self).items()}


def finds(detector: Detector, obs: Mapping[str, Array]) -> Finds:
    """Compare what a detector finds with the set of vehicles ``(N, M, F)``."""
    true, found = np.asarray(obs[VEHICLES]), detector.detect(obs)[VEHICLES]
    shown = detector.shows(true) & (true[..., 0] > 0.5)
    picture, row, column = matches(true, found, MATCH)
    false_alarms = found[..., 0].sum() - len(row)  # before those at the edge are left out
    inside = shown[picture, row]
    one, other = true[picture, row][inside], found[picture, column][inside]
    plan = slice(true.shape[-1] - detector.distances, None)
    vehicles = int(shown.sum())
    return Finds(
        pictures=len(true),
        vehicles=vehicles,
        recall=len(one) / vehicles if vehicles else np.nan,
        false_alarms=float(false_alarms) / len(true),
        place_error=_mean(np.linalg.norm(one[:, 1:3] - other[:, 1:3], axis=-1)),
        velocity_error=_mean(np.linalg.norm(one[:, 3:5] - other[:, 3:5], axis=-1)),
        plan_error=_mean(np.abs(one[:, plan] - other[:, plan])),
    )


def matches(true: Array, found: Array, farthest: float) -> tuple[npt.NDArray[np.int64], ...]:
    """Which rows of two sets ``(N, M, F)`` are of the same vehicle: pictures, rows, rows.

    Pairs are made from the closest on, each row once, within ``farthest`` [m].
    """
    distance = np.linalg.norm(true[:, :, None, 1:3] - found[:, None, :, 1:3], axis=-1)  # (N, M, M)
    there = (true[:, :, None, 0] > 0.5) & (found[:, None, :, 0] > 0.5)
    distance = np.where(there & (distance <= farthest), distance, np.inf)
    pairs = []
    every = np.arange(len(true))
    for _ in range(min(true.shape[1], found.shape[1])):
        best = distance.reshape(len(true), -1).argmin(-1)
        row, column = np.unravel_index(best, distance.shape[1:])
        near = np.isfinite(distance[every, row, column])
        if not near.any():
            break
        pairs.append(np.stack([every[near], row[near], column[near]]))
        distance[every, row] = np.inf
        distance[every, :, column] = np.inf
    return tuple(np.concatenate([np.zeros((3, 0), np.int64), *pairs], 1))


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")
