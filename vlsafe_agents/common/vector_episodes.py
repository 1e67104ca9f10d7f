"""Driving many episodes at once in a Gymnasium vector environment, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
from gymnasium.vector import VectorEnv

Task = TypeVar("Task")


class Recorder(Protocol):
    """Takes down one episode; observations and infos are as of a single environment."""

    def add(
        self,
        action: Any,
        observation: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> None:
        """The step that has just been made."""


R = TypeVar("R", bound=Recorder)


def drive_episodes(
    env: VectorEnv[Any, Any, Any],
    tasks: Iterator[Task],
    seed_of: Callable[[Task], int],
    begin: Callable[[int, Task, Any, dict[str, Any]], R],
    act: Callable[[Any, list[int]], Any],
) -> Iterator[tuple[Task, R]]:
    """Yield ``(task, recorder)`` as episodes end, one episode a task; tasks are drawn as needed.

    An environment whose episode has ended starts that of the next task; when there are no more
    tasks, it idles along.

    Args:
        env: resets some of its environments by ``options={"reset_mask": ...}``, as Gymnasium's
            own vector environments do.
        tasks: what each episode is for.
        seed_of: the seed to reset an environment with for a task.
        begin: ``(slot, task, observation, info)`` after that reset; returns the recorder.
        act: ``(observations, slots)``: actions of all environments in the space of ``env``, of
            which those of the other slots are of no interest.
    """
    running: dict[int, tuple[Task, R]] = {}
    observations = _start(env, tasks, seed_of, begin, running, None)
    while running:
        actions = act(observations, list(running))
        observations, rewards, terminated, truncated, infos = env.step(actions)
        ended = []
        for slot, (task, recorder) in running.items():
            over = bool(terminated[slot]), bool(truncated[slot])
            observation, info = pick(observations, slot), pick_info(infos, slot)
            recorder.add(actions[slot], observation, float(rewards[slot]), *over, info)
            if any(over):
                ended.append((slot, task, recorder))
        for slot, task, recorder in ended:
            del running[slot]
            yield task, recorder
        if ended:
            observations = _start(env, tasks, seed_of, begin, running, observations)


def _start(
    env: VectorEnv[Any, Any, Any],
    tasks: Iterator[Task],
    seed_of: Callable[[Task], int],
    begin: Callable[[int, Task, Any, dict[str, Any]], R],
    running: dict[int, tuple[Task, R]],
    observations: Any,
) -> Any:
    """Reset free environments for further tasks, and all of them at first (no observations yet)."""
    chosen: dict[int, Task] = {}
    for slot in range(env.num_envs):
        if slot not in running:
            for task in tasks:
                chosen[slot] = task
                break
    if not chosen:
        return observations
    seeds = [seed_of(chosen[slot]) if slot in chosen else None for slot in range(env.num_envs)]
    options = {}
    if observations is not None:
        options["reset_mask"] = np.array([slot in chosen for slot in range(env.num_envs)])
    observations, infos = env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
    for slot, task in chosen.items():
        recorder = begin(slot, task, pick(observations, slot), pick_info(infos, slot))
        running[slot] = (task, recorder)
    return observations


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
