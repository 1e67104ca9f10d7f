"""Several observations at once, for policies without a memory: in training and in ``predict``.

Stable-Baselines3's :class:`VecFrameStack` says how: images along their channels, all else along the
last axis, the newest last, zeros from before the episode.  Recorded steps are stacked alike by
:meth:`~vlsafe_agents.data.dataset.EpisodeDataset.sample_transitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecFrameStack, is_vecenv_wrapped
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from vlsafe_agents.common.vehicle_rows import is_vehicle_set
from wrappers.checks import whole_number

State = tuple[np.ndarray, ...]


class StackedFrames(VecFrameStack):
    """The stack that an agent itself puts around its environments."""

    running_attributes: ClassVar[tuple[str, ...]] = ("stacked_obs",)


def stacked_space(space: spaces.Space[Any], frames: int) -> spaces.Space[Any]:
    """The space of ``frames`` observations at once.

    Raises:
        ValueError: for a space that is no ``Box`` and no ``Dict`` of them, for sets of vehicles,
            and for more channels than an image is high or wide: SB3 would take them for its height.
    """
    if frames == 1:
        return space
    named = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for name, part in named.items():
        if is_vehicle_set(name, part):
            raise ValueError(
                f"frame_stack={frames}: the rows of observation {name!r} are not the same vehicles "
                "from one frame to the next, and say how fast they are; leave it at 1"
            )
        if not isinstance(part, spaces.Box):
            raise ValueError(f"frame_stack={frames} needs a Box, or a Dict of them; got {space}")
        if is_image_space(part) and frames * min(part.shape) >= sorted(part.shape)[1]:
            raise ValueError(
                f"frame_stack={frames} makes more channels of {part} than it has rows or columns; "
                "stack fewer"
            )
    kind: Any = space
    return StackedObservations(1, frames, kind).stacked_observation_space


def single_space(space: spaces.Space[Any], frames: int) -> spaces.Space[Any]:
    """The space of one observation: inverse of :func:`stacked_space`."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: single_space(part, frames) for name, part in space.items()})
    if not isinstance(space, spaces.Box) or frames == 1:
        return space
    # stacking repeats each bound
    taken: Any = np.s_[::frames] if _channels_first(space) else np.s_[..., ::frames]
    return spaces.Box(space.low[taken], space.high[taken], dtype=space.dtype)


class StacksFrames(BaseAlgorithm):
    """Mixin, to be named before SB3's class: the policy sees the last ``frame_stack`` observations.

    ``predict`` takes what an environment shows, one observation, and remembers those before it in
    ``state``, as recurrent policies do: pass on what it returns, and ``episode_start``, as SB3's
    ``evaluate_policy`` does.  It also takes observations that are stacked already, as those of the
    agent's own ``get_env()``.
    """

    frame_stack: int = 1

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """SB3's ``set_env``; frames are stacked in the environment, too."""
        super().set_env(stack_env(type(self), env, self.frame_stack), force_reset)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State | None]:
        """Actions for one observation or a batch, and the frames to remember."""
        stacked = None
        if self.frame_stack > 1:
            stacked = push_frames(
                observation, state, episode_start, self.observation_space, self.frame_stack
            )
        if stacked is None:
            return super().predict(observation, state, episode_start, deterministic)
        seen, remembered = stacked
        return super().predict(seen, None, episode_start, deterministic)[0], remembered

    @classmethod
    def _build(
        cls,
        data: dict[str, Any],
        policy_class: Any,
        env: GymEnv | None,
        device: torch.device | str,
        changes: Mapping[str, Any],
    ) -> Self:
        """As ``SavedAgent``'s, with frames stacked in ``env``.

        Raises:
            ValueError: for another number of frames: the weights would not fit.
        """
        frames = whole_number(data["arguments"].get("frame_stack", 1), "frame_stack", low=1)
        if changes.get("frame_stack", frames) != frames:
            raise ValueError(f"frame_stack is {frames} in the file and cannot be changed")
        env = stack_env(cls, env, frames)
        built: Self = super()._build(data, policy_class, env, device, changes)  # type: ignore[misc]
        return built


def stack_env(kind: type[BaseAlgorithm], env: GymEnv | str | None, frames: int) -> Any:
    """An environment as ``kind`` wraps it, in a stack of frames unless it has an agent's already.

    Raises:
        ValueError: as :func:`stacked_space`
    """
    if env is None or frames == 1:
        return env
    wrapped = kind._wrap_env(maybe_make_env(env, verbose=0))
    if is_vecenv_wrapped(wrapped, StackedFrames):
        return wrapped
    stacked_space(wrapped.observation_space, frames)  # refuses what cannot be stacked
    return StackedFrames(wrapped, frames)


def push_frames(
    observation: Any,
    state: State | None,
    episode_start: np.ndarray | None,
    space: spaces.Space[Any],
    frames: int,
) -> tuple[Any, State] | None:
    """Put observations behind those of before.

    Args:
        observation: one, or a batch (N, ...), in the layout of the environment: images may have
            their channels first or last
        state: what the call before returned
        episode_start: (N,), where a new episode begins; None: nowhere
        space: of stacked observations

    Returns:
        the stacked observations, and what to remember; None where the observations are no single
        ones.
    """
    named = isinstance(space, spaces.Dict)
    single = single_space(space, frames)
    parts = dict(observation) if named and isinstance(observation, Mapping) else {"": observation}
    wanted: Mapping[str, Any] = single.spaces if isinstance(single, spaces.Dict) else {"": single}
    if not wanted.keys() <= parts.keys():
        return None
    stacked, remembered = {}, []
    for number, (name, part_space) in enumerate(wanted.items()):
        part = np.asarray(parts[name])
        axis = _stacking_axis(part.shape, part_space)
        if axis is None:
            return None
        before = None if state is None else state[number]
        alone = part.ndim == len(part_space.shape)
        rows = _push(part[None] if alone else part, before, episode_start, axis, frames)
        remembered.append(rows)
        stacked[name] = rows[0] if alone else rows
    return (stacked if named else stacked[""]), tuple(remembered)


def _push(
    part: np.ndarray,
    before: np.ndarray | None,
    episode_start: np.ndarray | None,
    axis: int,
    frames: int,
) -> np.ndarray:
    """One kind of observation (N, ...) behind the stack of before."""
    if before is None:
        older = np.concatenate([np.zeros_like(part)] * (frames - 1), axis)
    else:
        width = part.shape[axis]
        older = np.take(before, range(width, frames * width), axis)
        if episode_start is not None:
            older[np.asarray(episode_start, bool)] = 0
    return np.concatenate([older, part], axis)


def _stacking_axis(shape: tuple[int, ...], single: spaces.Box) -> int | None:
    """Axis, from the end, to stack arrays of this shape along; None: they are not of ``single``."""
    size = len(single.shape)
    if len(shape) not in (size, size + 1):
        return None
    found, first = shape[-size:], _channels_first(single)
    if found == single.shape:
        return -3 if first else -1
    if first and found == (*single.shape[1:], single.shape[0]):
        return -1
    return None


def _channels_first(space: spaces.Box) -> bool:
    return is_image_space(space) and is_image_space_channels_first(space)
