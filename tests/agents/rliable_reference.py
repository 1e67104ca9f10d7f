"""Makes ``golden/rliable.json``: figures of rliable 1.2.0, which our statistics are tested against.

rliable pins an old stack, so it is no dependency: run this in an environment of its own,
``pip install rliable==1.2.0 "pandas<3" && python tests/agents/rliable_reference.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SEED, RESAMPLES = 20261201, 20_000
SHAPES = {"few": (3, 2), "several": (5, 4), "many": (10, 6)}  # (runs, tasks)


def scores() -> dict[str, dict[str, np.ndarray]]:
    """Scores of two algorithms for each shape, some of them equal, one run an outlier."""
    rng = np.random.default_rng(SEED)
    found = {}
    for name, shape in SHAPES.items():
        x, y = rng.normal(0.5, 0.3, shape).round(1), rng.normal(0.3, 0.3, shape).round(1)
        x[0, 0] = 4.0
        found[name] = {"x": x, "y": y}
    return found


def main() -> None:
    from rliable import library, metrics

    def both(values: np.ndarray) -> np.ndarray:
        return np.array([metrics.aggregate_iqm(values), metrics.aggregate_mean(values)])

    thresholds = np.linspace(-0.5, 1.5, 9)
    reference: dict[str, object] = {
        "made_by": "rliable 1.2.0",
        "seed": SEED,
        "resamples": RESAMPLES,
        "thresholds": thresholds.tolist(),
    }
    for name, pair in scores().items():
        points, intervals = library.get_interval_estimates(
            {"x": pair["x"]}, both, reps=RESAMPLES, random_state=np.random.RandomState(SEED)
        )
        better, its_interval = library.get_interval_estimates(
            {"pair": (pair["x"], pair["y"])},
            metrics.probability_of_improvement,
            reps=RESAMPLES // 10,  # it takes a loop for each
            random_state=np.random.RandomState(SEED),
        )
        profile, _ = library.create_performance_profile({"x": pair["x"]}, thresholds, reps=2)
        reference[name] = {
            "iqm": float(points["x"][0]),
            "mean": float(points["x"][1]),
            "iqm_interval": intervals["x"][:, 0].tolist(),
            "mean_interval": intervals["x"][:, 1].tolist(),
            "improvement": float(better["pair"]),
            "improvement_interval": np.ravel(its_interval["pair"]).tolist(),
            "profile": np.ravel(profile["x"]).tolist(),
        }
    path = Path(__file__).parent / "golden" / "rliable.json"
    path.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
