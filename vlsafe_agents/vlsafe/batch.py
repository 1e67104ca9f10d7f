"""Sequences as tensors, what holds of them, and the observation kinds of the world model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.data.dataset import SequenceBatch
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


def to_tensors(batch: SequenceBatch, device: torch.device | str = "cpu") -> TensorBatch:
    """Copy a batch of sequences to ``device``.

    Raises:
        ValueError: if a reward, cost or safety score is not finite, or a safety score lies outside
            [0, 1].
    """
    where = "a batch of (sequence, time)"
    check_numbers(batch.reward, "reward", where)
    check_numbers(batch.cost, "cost", where)
    check_numbers(batch.safety_score, "safety_score", where, low=0.0, high=1.0)

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
        cost=tensor(batch.cost).float(),
        safety_score=tensor(batch.safety_score).float(),
        is_first=tensor(batch.is_first).bool(),
        is_terminal=tensor(batch.is_terminal).bool(),
        has_action=tensor(batch.has_action).bool(),
        weight=tensor(batch.weight).float(),
    )


def recorded_steps(batch: TensorBatch) -> Tensor:
    """Where ``(o_t, a_t, o_{t+1})`` is a step of one episode, ``(B, T - 1)`` bool."""
    return batch.has_action[:, :-1] & ~batch.is_first[:, 1:]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` with weights ``mask``, a scalar; 0 where all of them are."""
    return (x * mask).sum() / mask.sum().clamp_min(1e-6)


def exchange_actions(action: Tensor, share: float) -> Tensor:
    """Actions ``(B, T, ...)`` in which some sequences have those of other sequences.

    Whole sequences change places, so that what is typical of actions stays: how frequent each is
    and how long it lasts.  ChauffeurNet (Bansal et al. 2018, arXiv 1812.03079) drops the past
    motion instead; features of a world model have no value for "not known".

    Args:
        share: expected share of the B sequences that change; with B = 1 none does.
    """
    count = len(action)
    others = (torch.arange(count) + int(torch.randint(1, max(count, 2), ()))) % count
    change = torch.rand(count) < share
    source = torch.where(change, others, torch.arange(count))  # (B,)
    return action[source.to(action.device)]


def observation_spaces(space: spaces.Space[Any]) -> dict[str, spaces.Box]:
    """Observation kinds by name: a bare Box is "image" if it is uint8 (H, W, 3), else "vector".

    Raises:
        ValueError: for other spaces, other names or shapes that no encoder fits.
    """
    if isinstance(space, spaces.Box):
        is_image = space.dtype == np.uint8 and len(space.shape) == 3
        parts: dict[str, Any] = {IMAGE if is_image else VECTOR: space}
    elif isinstance(space, spaces.Dict):
        parts = dict(space.spaces)
    else:
        raise ValueError(f"observation space must be a Box or a Dict of Boxes; got {space}")
    if not parts or not set(parts) <= {IMAGE, VECTOR}:
        raise ValueError(f"observation keys must be 'image' and/or 'vector'; got {sorted(parts)}")
    for key, box in parts.items():
        if not isinstance(box, spaces.Box):
            raise ValueError(f"observation {key!r} must be a Box; got {box}")
        if key == IMAGE and (box.dtype != np.uint8 or len(box.shape) != 3 or box.shape[2] != 3):
            raise ValueError(
                f"images must be uint8 (height, width, 3), channels last; got {box.dtype} "
                f"{box.shape}. Is the environment wrapped in VecTransposeImage?"
            )
        if key == VECTOR and len(box.shape) != 1:
            raise ValueError(f"vectors must have one axis; got {box.shape}. Flatten them first.")
    return parts


def named_observation(observation: Any, names: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """An environment's observation, or a batch of them, by the names of observation kinds."""
    if isinstance(observation, Mapping):
        return {name: observation[name] for name in names}
    return {next(iter(names)): observation}
