"""Driving many evaluation episodes, side by side or in processes; each as it would be by itself.

An SB3 model travels to a process as its own zip file, everything else by cloudpickle, which also
carries lambdas and closures.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import create_empty_array

from vlsafe_agents.common.vector_episodes import VectorStep, drive_episodes, pick, pick_info
from vlsafe_agents.data.pool import run_tasks
from vlsafe_agents.evaluation.agents import ROWS, Agent, ModelRows, Pilot, start_episode
from vlsafe_agents.evaluation.episode import Sums, name_of, run_episode
from vlsafe_agents.evaluation.metrics import EpisodeRecord

MakeVecEnv = Callable[[int], VectorEnv[Any, Any, Any]]
Refusals = (ValueError, TypeError, KeyError)  # whose sentences are for the user


def run_seeds_together(
    agent: Agent,
    make_vec_env: MakeVecEnv,
    seeds: Sequence[int],
    num_envs: int,
    deterministic: bool = True,
    progress: Callable[[EpisodeRecord], None] | None = None,
) -> list[EpisodeRecord]:
    """One record per seed, in their order; `progress` hears of them as they finish.

    Episodes are as if driven one by one, see :class:`~.agents.ModelRows`.

    Raises:
        ValueError: for a driver object, which is bound to one environment
    """
    if hasattr(agent, "act") and not hasattr(agent, "predict"):
        raise ValueError(
            "A driver bound to one environment cannot drive several; pass a function "
            "(env, rng) -> driver."
        )
    env = make_vec_env(min(num_envs, len(seeds)))
    episodes = _Episodes(agent, env, deterministic)
    records: dict[int, EpisodeRecord] = {}
    try:
        for record in drive_episodes(env, iter(seeds), int, episodes.act, episodes):
            records[record.seed] = record
            if progress is not None:
                progress(record)
    finally:
        env.close()
    return [records[seed] for seed in seeds]


class _Episodes:
    """The agent in every environment, and what is written down of each episode."""

    def __init__(self, agent: Agent, env: VectorEnv[Any, Any, Any], deterministic: bool) -> None:
        self._env = env
        self._pilots: _Pilots = (
            _Together(agent, env.num_envs)
            if hasattr(agent, "predict") and deterministic
            else _EachByItself(agent, env)
        )
        self._running: dict[int, Sums] = {}
        self._last_info: dict[int, dict[str, Any]] = {}

    def begin(self, tasks: Mapping[int, int], observations: Any, infos: dict[str, Any]) -> None:
        """Get the agent ready in the environments that have just been reset."""
        for slot, seed in tasks.items():
            info = self._last_info[slot] = pick_info(infos, slot)
            self._pilots.begin(slot, seed)
            self._running[slot] = Sums(name_of(self._env), seed, info)

    def act(self, observations: Any, slots: list[int]) -> Any:
        """Actions of all environments, zeros where nobody drives."""
        space = self._env.single_action_space
        actions: Any = create_empty_array(space, self._env.num_envs, np.zeros)
        seen = {slot: pick(observations, slot) for slot in slots}
        if self._pilots.see_observations:
            for slot, observation in seen.items():
                self._running[slot].check_observation(observation)
        for slot, action in self._pilots.act(seen).items():
            self._running[slot].check_action(action, space)
            actions[slot] = action
        return actions

    def add(self, step: VectorStep, slots: Sequence[int]) -> None:
        """Take down a step of each episode."""
        for slot in slots:
            info = self._last_info[slot] = pick_info(step.infos, slot)
            self._running[slot].add(float(step.rewards[slot]), info)

    def end(self, slot: int) -> EpisodeRecord:
        """The record of the episode in ``slot``."""
        return self._running.pop(slot).record(self._last_info[slot])


class _Pilots(Protocol):
    """The agent in the environments, by their places."""

    see_observations: bool

    def begin(self, slot: int, seed: int) -> None: ...

    def act(self, observations: Mapping[int, Any]) -> dict[int, Any]: ...


class _Together:
    """A model that does not sample: a call for all environments, or for each `ROWS` of them."""

    see_observations = True

    def __init__(self, model: Any, num_envs: int) -> None:
        self._rows = [ModelRows(model) for _ in range(math.ceil(num_envs / ROWS))]

    def begin(self, slot: int, seed: int) -> None:
        self._rows[slot // ROWS].begin(slot % ROWS)

    def act(self, observations: Mapping[int, Any]) -> dict[int, Any]:
        actions: dict[int, Any] = {}
        for number, rows in enumerate(self._rows):
            first = number * ROWS
            own = {s - first: o for s, o in observations.items() if s // ROWS == number}
            if own:
                actions |= {first + row: action for row, action in rows.act(own).items()}
        return actions


class _EachByItself:
    """A driver in each environment, or a model that samples, each from a generator of its own."""

    def __init__(self, agent: Agent, env: VectorEnv[Any, Any, Any]) -> None:
        self._agent, self._env = agent, env
        self.see_observations = hasattr(agent, "predict")
        self._pilots: dict[int, Pilot] = {}

    def begin(self, slot: int, seed: int) -> None:
        own: Any = self._env if self.see_observations else self._env.envs[slot]  # type: ignore[attr-defined]
        pilot = start_episode(self._agent, own, seed, deterministic=False)
        self._pilots[slot] = _OwnRandomness(pilot) if self.see_observations else pilot

    def act(self, observations: Mapping[int, Any]) -> dict[int, Any]:
        return {slot: self._pilots[slot].act(seen) for slot, seen in observations.items()}


class _OwnRandomness:
    """A sampling model's pilot with torch's generator as if no other episode used it."""

    sees_observations = True

    def __init__(self, pilot: Pilot) -> None:
        import torch as th

        self._pilot = pilot
        self._state = th.get_rng_state()  # start_episode has just seeded it

    def act(self, observation: Any) -> Any:
        import torch as th

        th.set_rng_state(self._state)
        action = self._pilot.act(observation)
        self._state = th.get_rng_state()
        return action


# --- in processes ---------------------------------------------------------------------------------


def run_in_processes(
    agent: Any,
    make_env: Callable[[], Any],
    seeds: Sequence[int],
    deterministic: bool,
    n_workers: int,
    progress: Callable[[EpisodeRecord], None] | None,
) -> list[EpisodeRecord]:
    """The records of `seeds`, in their order; `progress` hears of them as they finish.

    Raises:
        ValueError: for a driver object, which cannot be bound to an environment elsewhere
        WorkerError: when a process dies, or fails other than `run_episode` says
    """
    if hasattr(agent, "act") and not hasattr(agent, "predict"):
        raise ValueError(
            "A driver bound to one environment cannot travel to other processes; pass a function "
            "(env, rng) -> driver, or use n_workers=1."
        )
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(agent, "save") and hasattr(agent, "load"):
            path = Path(folder) / "model.zip"
            agent.save(path)
            load: Callable[[], Any] = _ModelFile(type(agent), path)
        else:
            load = _Constant(agent)
        job = _MakeJob(cloudpickle.dumps((load, make_env, deterministic)))
        records = {}
        for seed, found in run_tasks(job, iter(seeds), min(n_workers, len(seeds))):
            if isinstance(found, Exception):
                raise found
            records[seed] = found
            if progress is not None:
                progress(found)
    return [records[seed] for seed in seeds]


class _ModelFile:
    def __init__(self, model_class: Any, path: Path) -> None:
        self.model_class, self.path = model_class, path

    def __call__(self) -> Any:
        return self.model_class.load(self.path, device="cpu")


class _Constant:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


class _MakeJob:
    """Called once in each process: the agent and its environment, ready for seeds."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __call__(self) -> Callable[[int], EpisodeRecord | Exception]:
        load, make_env, deterministic = cloudpickle.loads(self.payload)
        agent, env = load(), make_env()
        # torch is not imported for drivers, as that takes seconds; the processes share the cores
        if "torch" in sys.modules and multiprocessing.parent_process() is not None:
            sys.modules["torch"].set_num_threads(1)

        def drive(seed: int) -> EpisodeRecord | Exception:
            try:
                return run_episode(agent, env, seed, deterministic)
            except Refusals as error:
                return error

        return drive
