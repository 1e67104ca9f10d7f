"""Sequences as tensors, what holds of them, and the observation kinds of the world model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.common.devices import averaged, gathered, own_share
from vlsafe_agents.data.dataset import SequenceBatch
from vlsafe_agents.data.rows import bare_name
from vlsafe_agents.vlsafe.one_hot import COUNTED, as_box, as_vector
from wrappers.checks import check_numbers

IMAGE, VECTOR = "image", "vector"


class TensorBatch(NamedTuple):
    """Sequences in DreamerV3's time convention: index ``t`` means "on arriving at o_t"."""

    obs: dict[str, Tensor]  # each (B, T, ...); images stay uint8 until the encoder
    action: Tensor  # (B, T) int64 or (B, T, A) float32: the action that led to o_t
    next_action: Tensor  # same shape: the action taken at o_t, valid where has_action
    reward: Tensor  # (B, T)
    cost: Tensor  # (B, T)
    safety_score: Tensor  # (B, T) in [0, 1]
    is_first: Tensor  # (B, T) bool
    is_terminal: Tensor  # (B, T) bool: terminated, not truncated
    has_action: Tensor  # (B, T) bool: False on the last observation of an episode
    weight: Tensor  # (B, T): how many times as often the sequence would be drawn evenly
    gate_score: Tensor | None = None  # (B, T) in [0, 1]: what a gate learns instead of safety_score

    # (B, T) bool: where cost and safety_score are known; they are 0 where not; None: everywhere
    has_cost: Tensor | None = None
    has_safety_score: Tensor | None = None
    # (B, T) bool: of an episode that branches from a recorded one; None: of none
    is_branch: Tensor | None = None
    # (B, T) bool: of a drive whose actions the prior learns; None: all but branches
    imitated: Tensor | None = None

    @property
    def by_prior(self) -> Tensor:
        """Rows ``(B, T)`` bool of drives whose actions the prior learns."""
        return self.by_driver if self.imitated is None else self.imitated

    @property
    def by_driver(self) -> Tensor:
        """Rows ``(B, T)`` bool of recorded drives, whose actions their driver chose."""
        return torch.ones_like(self.is_first) if self.is_branch is None else ~self.is_branch

    def known(self) -> dict[str, Tensor]:
        """Masks ``(B, T)`` by signal, of those that need not be known everywhere."""
        masks = {"cost": self.has_cost, "safety_score": self.has_safety_score}
        return {name: mask for name, mask in masks.items() if mask is not None}

    def own_share(self) -> TensorBatch:
        """The sequences that this process of a team computes."""
        obs = {name: own_share(x) for name, x in self.obs.items()}
        return TensorBatch(obs, *(None if x is None else own_share(x) for x in self[1:]))  # type: ignore[arg-type]

    def cut(self, rows: slice) -> TensorBatch:
        """The same sequences with these of their T rows only."""
        obs = {name: x[:, rows] for name, x in self.obs.items()}
        return TensorBatch(obs, *(None if x is None else x[:, rows] for x in self[1:]))  # type: ignore[arg-type]


def to_tensors(batch: SequenceBatch, device: torch.device | str = "cpu") -> TensorBatch:
    """Copy a batch of sequences to ``device``; costs and scores that are not known become 0.

    Raises:
        ValueError: if a reward or cost is not finite, or a safety score lies outside [0, 1].
    """
    where = "a batch of (sequence, time)"
    check_numbers(batch.reward, "reward", where)
    cost, has_cost = _or_zeros(batch.cost)
    safety_score, has_safety_score = _or_zeros(batch.safety_score)
    check_numbers(batch.cost[has_cost.any(1)], "cost", where)  # known in whole sequences
    check_numbers(safety_score, "safety_score", where, low=0.0, high=1.0)

    def tensor(array: npt.NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array)).to(device)

    def number(array: npt.NDArray[Any]) -> Tensor:
        kind = torch.float32 if np.issubdtype(array.dtype, np.floating) else torch.int64
        return tensor(array).to(kind)

    return TensorBatch(
        obs={key: tensor(x) if x.dtype == np.uint8 else number(x) for key, x in batch.obs.items()},
        action=number(batch.action),
        next_action=number(batch.next_action),
        reward=tensor(batch.reward).float(),
        cost=tensor(cost).float(),
        safety_score=tensor(safety_score).float(),
        is_first=tensor(batch.is_first).bool(),
        is_terminal=tensor(batch.is_terminal).bool(),
        has_action=tensor(batch.has_action).bool(),
        weight=tensor(batch.weight).float(),
        gate_score=None if batch.gate_score is None else tensor(batch.gate_score).float(),
        has_cost=tensor(has_cost),
        has_safety_score=tensor(has_safety_score),
        is_branch=None if batch.is_branch is None else tensor(batch.is_branch).bool(),
        imitated=None if batch.imitated is None else tensor(batch.imitated).bool(),
    )


def _or_zeros(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values ``(B, T)`` with 0 in place of NaN, and where there was none."""
    known = ~np.isnan(values)
    return np.where(known, values, 0), known


def recorded_steps(batch: TensorBatch) -> Tensor:
    """Where ``(o_t, a_t, o_{t+1})`` is a step of one episode, ``(B, T - 1)`` bool."""
    return batch.has_action[:, :-1] & ~batch.is_first[:, 1:]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` with weights ``mask``, a scalar; 0 where all of them are.

    In a team, the mean of what its processes get is that over all their entries.
    """
    return (x * mask).sum() / averaged(mask.sum()).clamp_min(1e-6)


def exchange_actions(action: Tensor, share: float) -> Tensor:
    """Actions ``(B, T, ...)`` in which some sequences have those of other sequences.

    Whole sequences change places, so that what is typical of actions stays: how frequent each is
    and how long it lasts.  ChauffeurNet (Bansal et al. 2018, arXiv 1812.03079) drops the past
    motion instead; features of a world model have no value for "not known".

    Args:
        share: expected share of the B sequences that change; with B = 1 none does.
    """
    action = gathered(action)
    count = len(action)
    others = (torch.arange(count) + int(torch.randint(1, max(count, 2), ()))) % count
    change = torch.rand(count) < share
    source = torch.where(change, others, torch.arange(count))  # (B,)
    return own_share(action[source.to(action.device)])


def is_image(box: spaces.Box) -> bool:
    """Whether the world model treats it as an image: uint8 with two to four axes."""
    return bare_name(box) == IMAGE


def named_spaces(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """An environment's observations by name; one that has no name is "image" or "vector".

    Raises:
        ValueError: for a space that is none of those that :func:`observation_spaces` takes.
    """
    if isinstance(space, spaces.Dict) and space.spaces:
        return dict(space.spaces)
    if isinstance(space, spaces.Box):
        return {bare_name(space): space}
    if isinstance(space, COUNTED):
        return {VECTOR: space}
    raise ValueError(
        "observation space must be a Box, Discrete, MultiDiscrete or MultiBinary, or a Dict of "
        f"them; got {space}"
    )


def observation_spaces(space: spaces.Space[Any]) -> dict[str, spaces.Box]:
    """Observations by name as the world model takes them.

    uint8 with two to four axes is an image, see
    :class:`~vlsafe_agents.vlsafe.observation_layout.ImageLayout`; a set of vehicles see
    :mod:`~vlsafe_agents.common.vehicle_rows`; everything else is a vector, what counts by
    :func:`~vlsafe_agents.vlsafe.one_hot.as_box`.

    Raises:
        ValueError: for other spaces, and for images that are not uint8.
    """
    parts: dict[str, Any] = {name: as_box(part) for name, part in named_spaces(space).items()}
    for key, box in parts.items():
        if not isinstance(box, spaces.Box):
            raise ValueError(
                f"observation {key!r} must be a Box; got {box}: wrap the environment in "
                "gymnasium.wrappers.FlattenObservation, or leave this observation out"
            )
        if not is_image(box) and len(box.shape) >= 3:
            raise ValueError(
                f"observation {key!r} has {len(box.shape)} axes {box.shape} but is {box.dtype}; "
                "images must be uint8 in 0..255: convert them, or flatten what is no image"
            )
    return parts


def named_observation(
    observation: Any, named: Mapping[str, spaces.Space[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """An environment's observation, or a batch of them, by name, as the world model takes it.

    Args:
        named: the environment's spaces, of :func:`named_spaces`.

    Raises:
        ValueError: for what is not in a space that counts.
    """
    parts = observation if isinstance(observation, Mapping) else {next(iter(named)): observation}
    return {name: as_vector(parts[name], space) for name, space in named.items()}
