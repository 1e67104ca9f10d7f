"""How well scores foretell danger on held-out frames, with sentences never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from wrappers.clip_training.facts import Facts
from wrappers.prompts import SAFE_PROMPT, UNSAFE_PROMPT
from wrappers.ranking import auroc
from wrappers.vlm_cost import cost_from_score

HORIZON = 2.0  # [s], of both questions

# A safe and an unsafe sentence each, held out of the captions like the paper's two.  Those that are
# "turned round" must give an AUROC below one half: the safe sentence speaks of danger.
NEGATED_PAIR = (
    "red vehicle is not driving safely, there are car accidents.",
    "The red car is not deviating from its trajectory, not driving off the road, "
    "and not encountering an accident.",
)
PROMPT_PAIRS = {
    "plain": (
        "Nothing bad is going to happen to the red car.",
        "Something bad is going to happen to the red car.",
    ),
    "passenger": (
        "A passenger of this car could relax now.",
        "A passenger of this car would scream with fear now.",
    ),
    "insurance": (
        "The insurance company would be happy with this drive.",
        "The insurance company will have to pay for the damage.",
    ),
    "crash only": (
        "The red vehicle is well away from any crash.",
        "The red vehicle smashes into somebody or is just about to.",
    ),
    "photograph": (
        "a bird's-eye photo of a car driving safely",
        "a bird's-eye photo of a car in a dangerous situation",
    ),
    "swapped (turned round)": (UNSAFE_PROMPT, SAFE_PROMPT),
    "negated (turned round)": NEGATED_PAIR,
    "unsafe sentence negated": (
        "The red car is not deviating from its trajectory, not driving off the road, "
        "and not encountering an accident.",
        UNSAFE_PROMPT,
    ),
    "safe sentence negated": (SAFE_PROMPT, "red vehicle is not driving safely."),
}
HELD_OUT_PROMPTS = tuple(
    dict.fromkeys(
        [SAFE_PROMPT, UNSAFE_PROMPT, *(p for pair in PROMPT_PAIRS.values() for p in pair)]
    )
)


def questions(facts: Facts) -> dict[str, npt.NDArray[np.bool_]]:
    """What is asked of a score, with the true answers ``(N,)``."""
    return {
        "collision or off-road within 2 s": facts.time_to_event <= HORIZON,
        "time to collision under 2 s": facts.time_to_collision < HORIZON,
    }


def separation(score: npt.NDArray[np.floating], facts: Facts) -> dict[str, float | None]:
    """AUROC of 1 - p for each question; ``None`` where there is one kind of answer only."""
    row: dict[str, float | None] = {}
    for question, positive in questions(facts).items():
        mixed = 0 < positive.sum() < len(positive)
        row[question] = round(auroc(1 - score, positive), 4) if mixed else None
    return row


def evaluate(score: npt.NDArray[np.floating], facts: Facts) -> dict[str, Any]:
    """What scores ``p (N,)`` are worth: separation, quantiles, and p by time to collision."""
    return {
        **separation(score, facts),
        "quantiles of p": quantiles(score),
        "mean p by time to collision": by_time(score, facts),
    }


def histograms(score: npt.NDArray[np.floating], facts: Facts) -> dict[str, dict[str, Any]]:
    """Shares of p in ten equal bins and the mean of :func:`~wrappers.cost_from_score`.

    For calm frames (nothing within 4 s, headway over 0.8 s, no event within 3 s), for a time to
    collision under 2 s, and for frames up to 2 s before a collision or departure from the road.
    """
    calm = (facts.time_to_collision > 4) & (facts.headway > 0.8) & (facts.time_to_event > 3)
    groups = {"calm": calm} | questions(facts)
    table = {}
    for name, rows in groups.items():
        if rows.any():
            counts = np.histogram(score[rows], bins=10, range=(0.0, 1.0))[0]
            table[name] = {
                "frames": int(rows.sum()),
                "shares": [round(float(share), 4) for share in counts / rows.sum()],
                "below 0.5": round(float((score[rows] < 0.5).mean()), 4),
                "mean cost": round(float(cost_from_score(score[rows]).mean()), 4),
            }
    return table


def quantiles(score: npt.NDArray[np.floating]) -> list[float]:
    """P at 5, 25, 50, 75 and 95%."""
    return [round(float(q), 3) for q in np.quantile(score, [0.05, 0.25, 0.5, 0.75, 0.95])]


def by_time(
    score: npt.NDArray[np.floating],
    facts: Facts,
    edges: Sequence[float] = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, np.inf),
) -> dict[str, float | None]:
    """Mean p in bands of time to collision [s], over frames without a collision and on the road."""
    clear = (facts.collision == 0) & (facts.off_road == 0)
    table: dict[str, float | None] = {}
    for low, high in pairwise(edges):
        upper = (
            facts.time_to_collision <= high if np.isinf(high) else facts.time_to_collision < high
        )
        band = clear & (facts.time_to_collision >= low) & upper
        table[f"{low:g} to {high:g} s"] = (
            round(float(score[band].mean()), 3) if band.any() else None
        )
    return table
