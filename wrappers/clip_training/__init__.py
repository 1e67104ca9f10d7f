"""Training a small driving CLIP from frames and the simulator's facts about them.

Everything here takes arrays, so any simulator that can give frames and facts can train one;
``vlsafe train-clip`` does it with the project's own environments.
"""

from __future__ import annotations

from wrappers.clip_training.facts import Facts
from wrappers.clip_training.training_set import TrainingSet

__all__ = ["Facts", "TrainingSet"]
