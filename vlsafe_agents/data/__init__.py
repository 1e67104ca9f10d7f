"""Recorded drives: collect them, have them scored, read other people's, sample them."""

from vlsafe_agents.data.d3rlpy import from_d3rlpy, to_d3rlpy
from vlsafe_agents.data.dataset import EpisodeDataset, SequenceBatch, TransitionBatch
from vlsafe_agents.data.episode import CostMode, Episode, training_cost
from vlsafe_agents.data.flat import from_dsrl, from_flat_arrays, to_flat_arrays
from vlsafe_agents.data.mixture import MixedDataset

__all__ = [
    "CostMode",
    "Episode",
    "EpisodeDataset",
    "MixedDataset",
    "SequenceBatch",
    "TransitionBatch",
    "from_d3rlpy",
    "from_dsrl",
    "from_flat_arrays",
    "to_d3rlpy",
    "to_flat_arrays",
    "training_cost",
]
