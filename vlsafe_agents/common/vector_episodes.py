"""Driving many episodes at once in a Gymnasium vector environment, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from gymnasium.vector import VectorEnv

Task = TypeVar("Task")
Begun = TypeVar("Begun", contravariant=True)
Result = TypeVar("Result", covariant=True)


class VectorStep(NamedTuple):
    """What a step of all environments led to; every array has a row for each."""

    observations: Any
    infos: dict[str, Any]
    actions: Any
    rewards: Any
    terminated: Any
    truncated: Any


class Recorder(Protocol[Begun, Result]):
    """Takes down episodes while they are driven."""

    def begin(self, tasks: Mapping[int, Begun], observations: Any, infos: dict[str, Any]) -> None:
        """Environments have been reset for these tasks; arrays have a row for each environment."""

    def add(self, step: VectorStep, slots: Sequence[int]) -> None:
        """All environments have been stepped, of which these drive for a task."""

    def end(self, slot: int) -> Result:
        """What there is of the episode in an environment, which is over."""


def drive_episodes(
    env: VectorEnv[Any, Any, Any],
    tasks: Iterator[Task],
    seed_of: Callable[[Task], int],
    act: Callable[[Any, list[int]], Any],
    recorder: Recorder[Task, Result],
) -> Iterator[Result]:
    """Yield what the recorder has as episodes end, one episode a task; tasks are drawn as needed.

    An environment whose episode has ended starts that of the next task; when there are no more
    tasks, it idles along.

    Args:
        env: resets some of its environments by ``options={"reset_mask": ...}``, as Gymnasium's
            own vector environments do.
        tasks: what each episode is for.
        seed_of: the seed to reset an environment with for a task.
        act: ``(observations, slots)``: actions of all environments in the space of ``env``, of
            which those of the other slots are of no interest.
        recorder: hears of everything.
    """
    running: dict[int, Task] = {}
    free, observations = list(range(env.num_envs)), None
    while True:
        starting = dict(zip(free, tasks, strict=False))
        if starting:
            everything = observations is None
            observations, infos = _reset(env, starting, seed_of, everything)
            recorder.begin(starting, observations, infos)
            running |= starting
        if not running:
            return
        slots = list(running)
        actions = act(observations, slots)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        step = VectorStep(observations, infos, actions, rewards, terminated, truncated)
        recorder.add(step, slots)
        for slot in [slot for slot in slots if terminated[slot] or truncated[slot]]:
            del running[slot]
            yield recorder.end(slot)
        free = [slot for slot in range(env.num_envs) if slot not in running]


def _reset(
    env: VectorEnv[Any, Any, Any],
    starting: Mapping[int, Task],
    seed_of: Callable[[Task], int],
    everything: bool,
) -> Any:
    """Reset the environments of some tasks, or all of them, those without a task at random."""
    slots = range(env.num_envs)
    seeds: Any = [seed_of(starting[slot]) if slot in starting else None for slot in slots]
    mask = np.array([slot in starting for slot in slots])
    return env.reset(seed=seeds, options={} if everything else {"reset_mask": mask})


def pick(observations: Any, slot: int) -> Any:
    """A copy of one environment's observation."""
    if isinstance(observations, dict):
        return {name: pick(array, slot) for name, array in observations.items()}
    return np.array(observations[slot])


def pick_info(infos: dict[str, Any], slot: int) -> dict[str, Any]:
    """One environment's info, out of Gymnasium's arrays with masks; numbers become Python's."""
    info: dict[str, Any] = {}
    for name, column in infos.items():
        mask = infos.get(f"_{name}")
        if mask is None or not mask[slot]:
            continue
        if isinstance(column, dict):
            info[name] = pick_info(column, slot)
        else:
            value = column[slot]
            if isinstance(value, np.generic | np.ndarray):
                value = value.item() if value.ndim == 0 else value.copy()
            info[name] = value
    return info
