"""Whether recorded drives are what an agent can learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from vlsafe_agents.data.dataset import EpisodeDataset


def fit_for_training(
    dataset: EpisodeDataset,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    length: int,
) -> EpisodeDataset:
    """The data as an agent with these spaces sees them, in sequences of ``length`` rows.

    Raises:
        ValueError: if the spaces differ, if the safety score is missing, or if there are fewer
            rows.
    """
    if dataset.action_space != action_space:
        raise ValueError(
            f"the data set's actions are {dataset.action_space}, the environment's are "
            f"{action_space}; make the environment as the data were collected"
        )
    dataset = dataset.select(observation_space)
    if not dataset.has_safety_score:
        raise ValueError("the data set has no safety_score; add it with `vlsafe label`")
    dataset.sample(1, length, np.random.default_rng(0))  # raises where it is too short
    return dataset
