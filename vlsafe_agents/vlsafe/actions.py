"""Kinds of actions: what the networks, the environment and the data each call an action.

To the networks an action is a vector ``(..., A)``: one-hot over all actions of a ``Discrete`` space
and over all combinations of a ``MultiDiscrete`` or ``MultiBinary`` one; of a ``Box`` the action
itself, laid out on one axis and scaled so that its bounds are -1 and 1.  :func:`action_kind` finds
the kind, which converts actions and makes policies (:mod:`~vlsafe_agents.vlsafe.policy_heads`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.vlsafe.policy_heads import CategoricalHead, GaussianHead
from wrappers.checks import FLOAT32_MAX

Array = npt.NDArray[Any]

SPACES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
MOST_ACTIONS = 1024  # that a policy compares in every state
UNITS = "scaled"  # what files say of action vectors


class DiscreteActions:
    """``Discrete``: one-hot vectors."""

    countable = True

    def __init__(self, space: spaces.Discrete) -> None:
        self.size, self.start = int(space.n), int(space.start)

    def vector(self, action: Tensor) -> Tensor:
        """Recorded actions ``(...)`` as vectors ``(..., A)``."""
        return F.one_hot(action.long() - self.start, self.size).float()

    def to_env(self, vector: Array) -> Array:
        """Action vectors ``(N, A)`` as the environment takes them."""
        action: Array = vector.argmax(-1) + self.start
        return action

    def head(self, feat_size: int, units: int, layers: int) -> CategoricalHead:
        """A policy."""
        return CategoricalHead(feat_size, units, layers, self.size)


class CombinedActions:
    """``MultiDiscrete`` and ``MultiBinary``: one-hot over the combinations of their P parts.

    The last part's choice changes fastest.  The parts of ``MultiBinary`` have two choices each.
    """

    countable = True

    def __init__(self, space: spaces.MultiDiscrete | spaces.MultiBinary) -> None:
        self.shape, self.dtype = tuple(space.shape), space.dtype
        counts: Array
        start: Array
        if isinstance(space, spaces.MultiBinary):
            counts, start = np.full(self.shape, 2), np.zeros(self.shape)
        else:
            counts, start = space.nvec, space.start
        self.counts = tuple(int(n) for n in counts.reshape(-1))
        self.start = np.asarray(start, np.int64).reshape(-1)  # (P,)
        self.size = math.prod(self.counts)
        self.strides = [math.prod(self.counts[i + 1 :]) for i in range(len(self.counts))]
        if self.size > MOST_ACTIONS:
            raise ValueError(
                f"{space} has {self.size} combinations; a policy compares at most {MOST_ACTIONS}: "
                "give it fewer parts, or its parts fewer choices"
            )

    def vector(self, action: Tensor) -> Tensor:
        """Recorded actions ``(..., *shape)`` as vectors ``(..., A)``."""
        flat = action.reshape(*action.shape[: action.ndim - len(self.shape)], len(self.counts))
        start, strides = flat.new_tensor(self.start), flat.new_tensor(self.strides)
        return F.one_hot(((flat - start) * strides).sum(-1).long(), self.size).float()

    def to_env(self, vector: Array) -> Array:
        """Action vectors ``(N, A)`` as the environment takes them, ``(N, *shape)``."""
        parts = np.stack(np.unravel_index(vector.argmax(-1), self.counts), -1) + self.start
        return parts.reshape(-1, *self.shape).astype(self.dtype)

    def head(self, feat_size: int, units: int, layers: int) -> CategoricalHead:
        """A policy."""
        return CategoricalHead(feat_size, units, layers, self.size)


class BoxActions:
    """``Box``: its A entries on one axis, scaled so that the bounds are -1 and 1.

    Raises:
        ValueError: for bounds that are not finite.
    """

    countable = False

    def __init__(self, space: spaces.Box) -> None:
        low, high = (np.asarray(x, np.float64).reshape(-1) for x in (space.low, space.high))
        if not (high - low < FLOAT32_MAX).all():
            raise ValueError(
                f"actions are scaled from their bounds to [-1, 1], and {space} has infinite ones; "
                "give it finite ones with gymnasium.wrappers.TransformAction(env, lambda a: a, "
                "Box(low, high)).  If ClipAction is what took them away, leave it out: no action "
                "leaves its bounds here"
            )
        self.space, self.size = space, len(low)
        self._low, self._width = low, high - low  # (A,)

    def vector(self, action: Tensor) -> Tensor:
        """Recorded actions ``(..., *shape)`` as vectors ``(..., A)`` in [-1, 1]."""
        states = action.shape[: action.ndim - len(self.space.shape)]
        flat = action.float().reshape(*states, self.size)
        low, width = (
            torch.as_tensor(x, dtype=torch.float32, device=action.device)
            for x in (self._low, self._width)
        )
        share = (flat - low) / torch.where(width > 0, width, 1.0)
        return torch.where(width > 0, 2 * share - 1, 0.0).clamp(-1.0, 1.0)

    def to_env(self, vector: Array) -> Array:
        """Action vectors ``(N, A)`` as the environment takes them, ``(N, *shape)``."""
        flat = self._low + (vector.astype(np.float64) + 1) / 2 * self._width
        action = flat.reshape(-1, *self.space.shape)
        dtype: Any = np.dtype(self.space.dtype)
        action = np.rint(action) if dtype.kind in "iu" else action
        return np.clip(action.astype(dtype), self.space.low, self.space.high)

    def head(self, feat_size: int, units: int, layers: int) -> GaussianHead:
        """A policy."""
        return GaussianHead(feat_size, units, layers, self.size)


def action_kind(space: spaces.Space[Any]) -> DiscreteActions | CombinedActions | BoxActions:
    """The kind of a space's actions.

    Raises:
        ValueError: for spaces of other kinds, too many combinations, and infinite bounds.
    """
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(space)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return CombinedActions(space)
    if isinstance(space, spaces.Box):
        return BoxActions(space)
    names = ", ".join(kind.__name__ for kind in SPACES)
    raise ValueError(f"the action space must be one of {names}; got {space}")


def check_units(space: spaces.Space[Any], units: Any) -> None:
    """Check in what units stored weights expect actions.

    Args:
        units: :data:`UNITS`; older files have none.

    Raises:
        ValueError: for weights of a version that did not scale the actions of a ``Box``.
    """
    if isinstance(space, spaces.Box) and units != UNITS:
        raise ValueError(
            "it learnt from actions of a Box that were cut to [-1, 1], not scaled, as versions up "
            "to November 2026 did; train it again"
        )
