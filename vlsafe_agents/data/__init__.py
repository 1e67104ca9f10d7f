"""Recorded drives: collect them, have them judged, sample them."""

from .dataset import EpisodeDataset, SequenceBatch, TransitionBatch
from .episode import CostMode, Episode, training_cost

__all__ = [
    "CostMode",
    "Episode",
    "EpisodeDataset",
    "SequenceBatch",
    "TransitionBatch",
    "training_cost",
]
