"""Recorded drives: collect them, have them scored, sample them."""

from vlsafe_agents.data.dataset import EpisodeDataset, SequenceBatch, TransitionBatch
from vlsafe_agents.data.episode import CostMode, Episode, training_cost

__all__ = [
    "CostMode",
    "Episode",
    "EpisodeDataset",
    "SequenceBatch",
    "TransitionBatch",
    "training_cost",
]
