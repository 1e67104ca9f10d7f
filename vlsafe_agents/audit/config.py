"""What an audit asks, and how precisely."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditConfig:
    """Questions, thresholds and amounts.  Raises ``ValueError`` for values that make no sense."""

    horizon: float = 2.0  # k [s]: does it happen within this time?
    time_to_collision: float = 2.0  # t [s]: is the time to collision below?
    false_alarm_rate: float = 0.05  # of calm frames, for the threshold of warnings
    resamples: int = 1000  # of the bootstrap over episodes
    confidence: float = 0.95  # of its intervals
    probe_frames: int = 4000  # for controls and prompts; whole episodes until there are as many
    gallery: int = 6  # frames of each kind of mistake, for each scorer
    seed: int = 0  # of the bootstrap, of shuffling and of the choice of probe episodes

    def __post_init__(self) -> None:
        for name in ("horizon", "time_to_collision"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive [s], got {getattr(self, name)}")
        for name in ("false_alarm_rate", "confidence"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        for name, low in (("resamples", 1), ("probe_frames", 1), ("gallery", 0), ("seed", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
