"""d3rlpy's data sets, both ways; d3rlpy itself is not needed.

Its episodes have as many observations as actions, and no costs: what the last action led to is not
known.  See :func:`~vlsafe_agents.data.flat.from_flat_arrays` for what becomes of the last step.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.flat import from_flat_arrays, to_flat_arrays

_PARTS = ("observations", "actions", "rewards", "terminated")


def from_d3rlpy(
    source: Any,
    action_space: gym.Space[Any] | None = None,
    observation_space: gym.Space[Any] | None = None,
) -> EpisodeDataset:
    """The episodes of d3rlpy's ``MDPDataset`` or ``ReplayBuffer``, or a list of its ``Episode``.

    Args:
        source: has ``episodes``, or is a sequence of objects with ``observations``, ``actions``,
            ``rewards`` and ``terminated``.
        action_space: None: Box(-1, 1), if all actions are floats in it; for discrete actions give
            ``Discrete(source.dataset_info.action_size)``.
        observation_space: None: a Box without bounds.

    Raises:
        TypeError: for something else.
        ValueError: as :func:`~vlsafe_agents.data.flat.from_flat_arrays`, and for observations that
            are tuples.
    """
    episodes = list(getattr(source, "episodes", source))
    for number, episode in enumerate(episodes):
        missing = [name for name in _PARTS if not hasattr(episode, name)]
        if missing:
            raise TypeError(
                f"episode {number} is a {type(episode).__name__} without {', '.join(missing)}; "
                "give a d3rlpy MDPDataset, ReplayBuffer, or a list of its episodes"
            )
        if not isinstance(episode.observations, np.ndarray):
            raise ValueError(
                f"episode {number}: observations are a {type(episode.observations).__name__}; "
                "only single arrays are read: join them, or use from_flat_arrays with a dict"
            )
    if not episodes:
        raise ValueError("no episodes were given")
    sizes = [len(episode.actions) for episode in episodes]
    last = np.concatenate([np.arange(size) == size - 1 for size in sizes])
    terminated = np.repeat([bool(episode.terminated) for episode in episodes], sizes)
    return from_flat_arrays(
        observations=np.concatenate([episode.observations for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminals=last & terminated,
        timeouts=last & ~terminated,
        action_space=action_space,
        observation_space=observation_space,
    )


def to_d3rlpy(dataset: EpisodeDataset) -> dict[str, Any]:
    """Arguments of d3rlpy's ``MDPDataset``: ``MDPDataset(**to_d3rlpy(dataset))``.

    Costs and the observation that an episode ends with are lost.  Actions of a ``Discrete`` space
    are counted from 0.

    Raises:
        ValueError: for observations of several names; :meth:`EpisodeDataset.select` chooses one.
    """
    if isinstance(dataset.observation_space, gym.spaces.Dict):
        names = list(dataset.observation_space.spaces)
        raise ValueError(
            f"d3rlpy's observations are one array, these are {names}; choose one first: "
            f"dataset.select(dataset.observation_space[{names[0]!r}])"
        )
    arrays = to_flat_arrays(dataset)
    actions = arrays["actions"]
    if isinstance(dataset.action_space, gym.spaces.Discrete):
        actions = actions - int(dataset.action_space.start)
    return {
        "observations": arrays["observations"],
        "actions": actions,
        "rewards": arrays["rewards"],
        "terminals": arrays["terminals"].astype(np.float32),
        "timeouts": arrays["timeouts"].astype(np.float32),
    }
