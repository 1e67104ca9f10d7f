"""A scorer that looks frames up before it scores them, for use inside environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from wrappers.combinator import Wrapper
from wrappers.frame_windows import check_windows
from wrappers.registry import make_scorer
from wrappers.score_cache import ScoreCache
from wrappers.scorer import BUNDLED, Frames, Infos, SafetyScorer, Scores, check_frames


class CachedScorer(Wrapper):
    """Another scorer's scores; a frame whose pixels were ever scored is not scored again.

    Runs and processes share the cache, and so do data sets whose stored images are labelled; those
    whose frames are drawn from scenes have entries of their own, found by the scene.  A frame
    without a label (NaN) is put to the scorer again the next time.

    Args:
        scorer: see :func:`make_scorer`; it must score a frame by its pixels alone.
        cache: where scores are kept; ``None`` for the user's.

    Raises:
        ValueError: for a scorer that reads infos or remembers earlier calls.
    """

    def __init__(self, scorer: str | SafetyScorer, cache: ScoreCache | None = None) -> None:
        super().__init__(make_scorer(scorer))
        for fault, reason in (("reads_infos", "infos"), ("reads_history", "earlier calls")):
            if getattr(self, fault):
                name = self.scorer.identity.get("name")
                raise ValueError(
                    f"scorer {name!r} depends on {reason}, not on the frame alone, so a cache of "
                    "frames would answer wrongly; use it without the cache"
                )
        self.cache = ScoreCache() if cache is None else cache
        self.hits = 0  # frames answered from the cache
        self.misses = 0  # frames put to the scorer

    @property
    def identity(self) -> dict[str, Any]:
        return self.scorer.identity

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8, or of windows of frames.

        ``infos`` are not read.
        """
        length = self.context_frames
        frames = check_frames(frames) if length == 1 else check_windows(frames, length)
        scope = {"scorer": self.identity, "frames": {"name": "pixels"}}
        keys = self.cache.keys(scope, frames)
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        known = dict(zip(first, self.cache.get(list(first)).tolist(), strict=True))
        reasons: dict[bytes, str | None] = {}
        missing = [key for key, score in known.items() if np.isnan(score)]
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        if missing:
            rows = [first[key] for key in missing]
            scores, said = self.ask(self.scorer, frames[rows])
            self.cache.put(missing, scores)
            known.update(zip(missing, scores.tolist(), strict=True))
            reasons.update(zip(missing, said, strict=True))
        self.last_reasons = [reasons.get(key) for key in keys]
        return np.array([known[key] for key in keys], np.float32)

    def __deepcopy__(self, memo: dict[int, Any]) -> CachedScorer:
        return self


def make_cached_scorer(argument: str | None, **options: Any) -> CachedScorer:
    """For ``"cached:<scorer>"``; options but ``folder`` and ``limit`` go to the scorer inside."""
    own = {key: options.pop(key) for key in ("folder", "limit") if key in options}
    return CachedScorer(make_scorer(argument or BUNDLED, **options), ScoreCache(**own))
