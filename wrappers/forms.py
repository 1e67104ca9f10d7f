"""How cosines between a frame and sentences become a safety score: pure functions of arrays.

All take cosines in [-1, 1], arrays of one shape, and return scores in [0, 1] of that shape.
``safe`` is the frame's cosine with the safe sentence(s), ``unsafe`` with the unsafe one(s).

| form                | score                                             | source              |
|---------------------|---------------------------------------------------|---------------------|
| `softmax`           | exp(safe/T) / (exp(safe/T) + exp(unsafe/T))       | CLIP; VL-SAFE       |
| `cosine`            | clip(safe, 0, 1)                                  | VL-SAFE as printed  |
| `margin`            | 1 - clip(unsafe - safe, 0, m) / m                 | VLM-RL              |
| `negative`          | clip(1 - unsafe, 0, 1)                            | LORD                |
| `projection`        | clip(1 - |a proj(x) + (1 - a) x - g|^2 / 2, 0, 1) | VLM-RM              |
| `threshold`         | 1 where safe > t, else 0                          | VLM-SR as in VLM-RL |
| `softmax_threshold` | 1 where softmax > t, else 0                       | VLM-SR              |

VL-SAFE: arXiv 2505.16377, fig. 2a.  VLM-RL: arXiv 2412.15544 and its code (zihaosheng/VLM-RL,
``clip/clip_reward_model.py`` and ``clip_rewarded_sac.py``).  LORD: Ye et al., WACV 2025, arXiv
2403.18965.  VLM-RM: Rocamonde et al., ICLR 2024, arXiv 2310.12921, and its code
(AlignmentResearch/vlmrm, ``reward_model.py``).  VLM-SR: Baumli et al. 2023, arXiv 2312.09187.
These were made as rewards; where one leaves [0, 1] it is clipped, which the formulas show.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FORMS = (
    "softmax",
    "cosine",
    "margin",
    "negative",
    "projection",
    "threshold",
    "softmax_threshold",
)
Cosines = npt.NDArray[np.float64]


def softmax(safe: Cosines, unsafe: Cosines, temperature: float) -> Cosines:
    """Two-way contrast: ``1 / (1 + exp((unsafe - safe) / temperature))``."""
    return logistic((np.asarray(safe) - unsafe) / temperature)


def cosine(safe: Cosines) -> Cosines:
    """``clip(safe, 0, 1)``.

    Cosines of web-scale CLIPs vary little (about 0.15 to 0.35), so this is nearly constant.
    """
    return np.clip(safe, 0.0, 1.0)


def margin(safe: Cosines, unsafe: Cosines, width: float = 0.03) -> Cosines:
    """``1 - clip(unsafe - safe, 0, width) / width``; VLM-RL's width is 0.03.

    1 wherever the safe sentence is the nearer one.
    """
    return 1.0 - np.clip(np.asarray(unsafe) - safe, 0.0, width) / width


def negative(unsafe: Cosines) -> Cosines:
    """``clip(1 - unsafe, 0, 1)``: far from what is not wanted (LORD); no safe sentence is used."""
    return np.clip(1.0 - np.asarray(unsafe), 0.0, 1.0)


def projection(goal: Cosines, baseline: Cosines, between: float, alpha: float = 0.5) -> Cosines:
    """Goal-baseline regularisation (VLM-RM): the part of the cosine that tells goal from baseline.

    With unit features x of the frame, g of the goal (the safe sentence) and b of a neutral
    baseline, L the line through b and g: ``1 - |alpha proj_L(x) + (1 - alpha) x - g|^2 / 2``,
    clipped to [0, 1].  ``alpha`` 0 is the cosine with the goal; 1 looks at L only.

    It depends on cosines alone: with u = ((x - g) . (g - b))^2 / |g - b|^2 the squared norm is
    ``(1 - alpha)^2 (|x - g|^2 - u) + u``.

    Args:
        goal: x . g.
        baseline: x . b.
        between: g . b, below 1.
        alpha: how strong the projection is, in [0, 1].

    Raises:
        ValueError: when goal and baseline point the same way: there is no line.
    """
    if not between < 1.0 - 1e-9:
        raise ValueError("goal and baseline have the same features: there is no line between them")
    goal, baseline = np.asarray(goal, np.float64), np.asarray(baseline, np.float64)
    along = (goal - baseline - 1.0 + between) ** 2 / (2.0 - 2.0 * between)
    across = np.maximum(2.0 - 2.0 * goal - along, 0.0)  # rounding must not make it negative
    return np.clip(1.0 - ((1.0 - alpha) ** 2 * across + along) / 2.0, 0.0, 1.0)


def threshold(value: Cosines, limit: float) -> Cosines:
    """1 where ``value > limit``, else 0 (VLM-SR).

    Baumli et al. threshold the softmax over the goal and negative sentences; VLM-RL's code, which
    re-implements them, the bare cosine at 0.32.
    """
    return (np.asarray(value) > limit).astype(np.float64)


def fit_temperature(similarities: npt.ArrayLike, unsafe: npt.ArrayLike) -> float:
    """The softmax form's temperature of maximum likelihood.

    ``similarities (N, 2)`` are the cosines with the safe and the unsafe sentence and ``unsafe
    (N,)`` tells which frames truly are.  Maximises sum log P(truth) with P(safe) =
    ``1 / (1 + exp(-(safe - unsafe) / T))``, which is concave in 1 / T.  Use frames that will not
    be used to examine the scorer.

    Raises:
        ValueError: for other shapes or NaN, and where no positive finite temperature is best: when
            frames of one kind only are given, when the cosines rank no better than backwards, or
            when they separate the two kinds without error.
    """
    cosines, truth = np.asarray(similarities, np.float64), np.asarray(unsafe, bool)
    if cosines.ndim != 2 or cosines.shape != (len(truth), 2):
        raise ValueError(f"similarities have shape {cosines.shape}, expected ({len(truth)}, 2)")
    if not np.isfinite(cosines).all():
        raise ValueError("similarities hold NaN or infinity; leave frames without them out")
    if truth.all() or not truth.any():
        raise ValueError("a temperature needs safe and unsafe frames, got one kind only")
    contrast = cosines[:, 0] - cosines[:, 1]
    signed = np.where(truth, -contrast, contrast)  # positive where the ranking is right
    if signed.sum() <= 0:
        raise ValueError(
            "the cosines rank safe and unsafe frames no better than backwards: no temperature helps"
        )
    if signed.min() >= 0:
        raise ValueError(
            "the cosines separate these frames without error, so ever smaller temperatures fit "
            "better; use more frames"
        )
    low, high = -12.0, 18.0  # log(1 / T)
    for _ in range(80):  # the slope of the likelihood falls with 1 / T
        middle = (low + high) / 2
        slope = np.sum(signed * logistic(-np.exp(middle) * signed))
        low, high = (middle, high) if slope > 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def log_odds(scores: npt.ArrayLike) -> Cosines:
    """``log(p / (1 - p))``, finite: scores are kept a millionth away from 0 and 1."""
    kept = np.clip(np.asarray(scores, np.float64), 1e-6, 1.0 - 1e-6)
    return np.log(kept / (1.0 - kept))


def logistic(x: npt.ArrayLike) -> Cosines:
    """``1 / (1 + exp(-x))``, exact in both tails; NaN (no label) stays NaN."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0.0, -np.asarray(x, np.float64)))
