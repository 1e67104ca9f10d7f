"""A scorer whose scores mean what they say: p is the share of such frames that turn out safe.

The map from raw to calibrated scores is fitted on held-out frames against simulator truth by
scikit-learn (``pip install scikit-learn``; not needed to use a stored calibration) and kept in a
JSON file together with what it was fitted on.  It never changes the order of two frames, so it
changes no ranking figure, only what thresholds and averages mean.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.combinator import Wrapper
from wrappers.files import read_json, write_json
from wrappers.forms import log_odds, logistic
from wrappers.function_scorer import without_imports
from wrappers.registry import make_scorer
from wrappers.scorer import Frames, Infos, SafetyScorer, Scores

METHODS = ("isotonic", "platt")
FORMAT = 1  # of the file


@dataclass(frozen=True)
class FittedOn:
    """What a calibration was fitted on."""

    event: str  # what counts as unsafe, in words: "collision or off-road within 2 s"
    frames: int
    unsafe_frames: int
    data_sha256: str  # of raw scores and truth; or the data set's own hash, if it was given
    date: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Calibration:
    """A rising map of raw scores to calibrated ones, and whose scores they are.

    - ``"isotonic"``: straight lines between ``points`` (raw, calibrated), constant beyond them; the
      least-squares rising fit (Zadrozny and Elkan, KDD 2002).
    - ``"platt"``: ``1 / (1 + exp(-(slope * log-odds(raw) + offset)))`` with ``points`` holding the
      one pair (slope, offset) (Platt 1999, with his smoothed targets, on log-odds in place of SVM
      margins).  The softmax form of a dual encoder keeps its form: temperature and bias change.
    """

    method: str
    points: tuple[tuple[float, float], ...]
    scorer: Mapping[str, Any]  # identity of the scorer whose scores were fitted
    fitted_on: FittedOn

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; known: {', '.join(METHODS)}")
        values = np.asarray(self.points, np.float64)
        if values.ndim != 2 or values.shape[1] != 2 or not np.isfinite(values).all():
            raise ValueError(f"points must be pairs of numbers, got {self.points!r}")
        if self.method == "platt":
            if len(values) != 1 or not values[0, 0] > 0:
                raise ValueError(f"platt needs one pair (positive slope, offset), got {values}")
        elif (np.diff(values, axis=0) < 0).any() or (np.abs(values - 0.5) > 0.5).any():
            raise ValueError("isotonic points must rise and lie in [0, 1]")
        elif not values[-1, 1] > values[0, 1]:
            raise ValueError(
                f"all scores would become {values[0, 1]:g}: this calibration tells no frame from "
                "another; fit it again"
            )

    def __call__(self, scores: npt.ArrayLike) -> Scores:
        """Calibrated scores of raw ones; NaN (no label) stays NaN."""
        raw = np.asarray(scores, np.float64)
        if self.method == "platt":
            slope, offset = self.points[0]
            mapped = logistic(slope * log_odds(raw) + offset)
        else:
            before, after = np.asarray(self.points).T
            mapped = np.interp(raw, before, after)
        return np.where(np.isnan(raw), np.nan, mapped).astype(np.float32)

    def save(self, path: str | Path, spec: str | None = None) -> None:
        """Write a JSON file; ``spec`` is the scorer's name, for ``"calibrated:<file>"``."""
        content = {"format": FORMAT, "spec": spec, **asdict(self)}
        content["scorer"] = dict(self.scorer)
        write_json(Path(path), content)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: for anything else.
        """
        return _read(path)[0]


def fit_calibration(
    scores: npt.ArrayLike,
    unsafe: npt.ArrayLike,
    scorer: Mapping[str, Any],
    event: str,
    method: str = "isotonic",
    data_sha256: str | None = None,
) -> Calibration:
    """Fit a calibration on frames that the scorer is not examined on later.

    Args:
        scores: raw scores ``(N,)``; frames without a label (NaN) are left out.
        unsafe: simulator truth ``(N,)``: whether the event happened.
        scorer: identity of the scorer.
        event: what ``unsafe`` means, in words.
        method: ``"isotonic"`` (needs some thousand frames) or ``"platt"`` (a few hundred do).
        data_sha256: the data set's own hash; by default that of scores and truth.

    Raises:
        ValueError: for an unknown method, other shapes, frames of one kind only, and scores that
            rank no better than backwards.
        ImportError: without scikit-learn.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    raw, truth = np.asarray(scores, np.float64), np.asarray(unsafe, bool)
    if raw.ndim != 1 or raw.shape != truth.shape:
        raise ValueError(f"scores {raw.shape} and unsafe {truth.shape} must be (N,) both")
    labelled = ~np.isnan(raw)
    raw, truth = raw[labelled], truth[labelled]
    if truth.all() or not truth.any():
        raise ValueError("a calibration needs safe and unsafe frames, got one kind only")
    points = _fit_isotonic(raw, truth) if method == "isotonic" else _fit_platt(raw, truth)
    own_hash = hashlib.sha256(raw.astype("<f8").tobytes() + truth.tobytes()).hexdigest()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    fitted_on = FittedOn(event, len(raw), int(truth.sum()), data_sha256 or own_hash, now)
    return Calibration(method, points, dict(scorer), fitted_on)


def _fit_isotonic(
    raw: npt.NDArray[np.float64], unsafe: npt.NDArray[np.bool_]
) -> tuple[tuple[float, float], ...]:
    _require_sklearn()
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, ~unsafe)
    before, after = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    if after[-1] - after[0] <= 0:
        raise ValueError(_BACKWARDS)
    return tuple(zip(before, after, strict=True))


def _fit_platt(
    raw: npt.NDArray[np.float64], unsafe: npt.NDArray[np.bool_]
) -> tuple[tuple[float, float], ...]:
    _require_sklearn()
    from sklearn.linear_model import LogisticRegression

    safe_count, unsafe_count = int((~unsafe).sum()), int(unsafe.sum())
    # Platt's targets: a frame counts a little as the other kind, as if one more of each were seen.
    target = np.where(unsafe, 1 / (unsafe_count + 2), (safe_count + 1) / (safe_count + 2))
    odds = np.tile(log_odds(raw), 2)[:, None]
    kinds = np.repeat([1, 0], len(raw))
    weights = np.concatenate([target, 1 - target])
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(odds, kinds, sample_weight=weights)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        raise ValueError(_BACKWARDS)
    return ((slope, offset),)


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"calibrations are fitted by scikit-learn ({error}): pip install 'vlsafe[calibration]'"
        ) from error


_BACKWARDS = (
    "the scores rank safe and unsafe frames no better than backwards: no calibration that keeps "
    "their order helps; look at the prompts first"
)


def held_out(episodes: npt.ArrayLike, share: float = 0.5, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Frames to fit on, ``(N,)``: those of a random ``share`` of the episodes, at least one.

    ``episodes (N,)`` names the episode of each frame.  Frames of one episode are alike, so that
    splitting by frames would fit and examine on the same scenes.

    Raises:
        ValueError: when no episode would be left to examine on.
    """
    names = np.unique(np.asarray(episodes))
    if not 0.0 < share < 1.0 or len(names) < 2:
        raise ValueError(f"share={share} of {len(names)} episodes: nothing to fit or to examine")
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    return np.isin(episodes, chosen)


class CalibratedScorer(Wrapper):
    """Another scorer's scores, calibrated.

    Raises:
        ValueError: when the calibration was fitted on another scorer's scores.
    """

    def __init__(self, scorer: SafetyScorer, calibration: Calibration) -> None:
        own = json.loads(json.dumps(scorer.identity))
        fitted = dict(calibration.scorer)
        if own != fitted:
            keys = sorted(
                key for key in own.keys() | fitted.keys() if own.get(key) != fitted.get(key)
            )
            raise ValueError(
                f"this calibration belongs to another scorer; they differ in {', '.join(keys)}"
            )
        super().__init__(scorer)
        self.calibration = calibration

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "name": "calibrated",
            "method": self.calibration.method,
            "points": [list(pair) for pair in self.calibration.points],
            "of": self.scorer.identity,
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Calibrated scores ``(N,)`` of what the scorer inside takes."""
        scores, self.last_reasons = self.ask(self.scorer, frames, infos)
        return self.calibration(scores)


def make_calibrated_scorer(argument: str | None, **options: Any) -> CalibratedScorer:
    """For ``"calibrated:<file.json>"``; ``options`` go to the scorer inside.

    Raises:
        ValueError: for a file that is no calibration or does not name its scorer.
    """
    if not argument:
        raise ValueError("scorer 'calibrated' needs a file, for example 'calibrated:scorer.json'")
    calibration, spec = _read(argument)
    if not spec:
        raise ValueError(
            f"{argument} does not name its scorer: build CalibratedScorer(scorer, calibration)"
        )
    with without_imports():  # the file may be anybody's
        scorer = make_scorer(spec, **options)
    try:
        return CalibratedScorer(scorer, calibration)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}; fit it again with `vlsafe calibrate`") from None


def _read(path: str | Path) -> tuple[Calibration, str | None]:
    """A calibration and its scorer's name."""
    remedy = "name a file written by `vlsafe calibrate`"
    content: dict[str, Any] = read_json(Path(path), remedy=remedy)
    known = {"format", "spec", "method", "points", "scorer", "fitted_on"}
    if set(content) != known or content["format"] != FORMAT:
        raise ValueError(f"{path} is no calibration of format {FORMAT}; {remedy}")
    try:
        if not (isinstance(content["scorer"], dict) and isinstance(content["spec"], str | None)):
            raise ValueError("scorer or spec is of a wrong type")
        points = tuple((float(before), float(after)) for before, after in content["points"])
        fitted_on = FittedOn(**content["fitted_on"])
        calibration = Calibration(content["method"], points, content["scorer"], fitted_on)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no calibration ({error}); {remedy}") from None
    return calibration, content["spec"]
