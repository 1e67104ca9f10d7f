"""What a picture adds to a score: the score of the frame against that of a blank one.

A model that is asked about a picture may answer from the question alone.  Such an answer stands out
against that to a frame which shows nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wrappers.checks import whole_number
from wrappers.combinator import Wrapper
from wrappers.forms import log_odds, logistic
from wrappers.registry import make_scorer
from wrappers.scorer import BUNDLED, Frames, Infos, SafetyScorer, Scores, reads_history, reads_infos

SCALES = ("log_odds", "difference")


class ContrastScorer(Wrapper):
    """A scorer's score of a frame against its score ``p0`` of a blank frame of the same size.

    - ``"log_odds"`` (default): ``logistic(log-odds(p) - log-odds(p0))``.  For two answers this is
      the correction by a content-free input of Zhao et al. (ICML 2021, section 5): each answer's
      probability is divided by that for the blank input, and the quotients are brought to a sum
      of 1.
    - ``"difference"``: ``(1 + p - p0) / 2``.

    Both are 0.5 where the picture changes nothing.  For frames of one size both rise with p: they
    move scores, they change no ranking and no AUROC.

    A blank frame is scored once for each size of frame (and each length of window).  While it has
    no label no frame has one.

    Args:
        scorer: whose scores.
        scale: ``"log_odds"`` or ``"difference"``.
        level: of all three colours of the blank frame, 0 (black) to 255.

    Raises:
        ValueError: for impossible values, and for scorers whose scores do not depend on the frame
            alone.
    """

    def __init__(self, scorer: SafetyScorer, scale: str = "log_odds", level: int = 0) -> None:
        if scale not in SCALES:
            raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
        if reads_infos(scorer) or reads_history(scorer):
            raise ValueError(
                f"{scorer!r} does not judge by the frame alone, so that no blank frame can be held "
                "against its scores"
            )
        super().__init__(scorer)
        self.scale = scale
        self.level = whole_number(level, "level", "scorer 'contrast'", 0)
        if self.level > 255:
            raise ValueError(f"level must lie in 0 to 255, got {level}")
        self._blank: dict[tuple[int, ...], float] = {}  # scores by shape

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "name": "contrast",
            "scale": self.scale,
            "level": self.level,
            "of": self.scorer.identity,
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of frames, or of windows where the scorer inside looks at several."""
        scores, self.last_reasons = self.ask(self.scorer, frames)
        if not len(scores):
            return scores
        blank, reason = self.blank_score(frames.shape[1:])
        if np.isnan(blank):
            text = f"the blank frame has no label: {reason or 'no reason is known'}"
            self.last_reasons = [said or text for said in self.last_reasons]
            return np.full(len(scores), np.nan, np.float32)
        if self.scale == "difference":
            return ((1.0 + scores - np.float32(blank)) / 2.0).astype(np.float32)
        return logistic(log_odds(scores) - log_odds(blank)).astype(np.float32)

    def blank_score(self, shape: tuple[int, ...]) -> tuple[float, str | None]:
        """The score inside of a blank frame ``(H, W, 3)`` or window, and why there is none."""
        if shape not in self._blank:
            blank = np.full((1, *shape), self.level, np.uint8)
            (score,), (reason,) = self.ask(self.scorer, blank)
            if np.isnan(score):
                return float("nan"), reason
            self._blank[shape] = float(score)
        return self._blank[shape], None


def make_contrast_scorer(argument: str | None, **options: Any) -> ContrastScorer:
    """For ``"contrast:<scorer>"``; options but ``scale`` and ``level`` go to the one inside."""
    own = {key: options.pop(key) for key in ("scale", "level") if key in options}
    return ContrastScorer(make_scorer(argument or BUNDLED, **options), **own)
