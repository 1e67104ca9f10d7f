"""Evaluating an agent on fixed seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_agents.evaluation.agents import Agent
from vlsafe_agents.evaluation.bootstrap import summarise
from vlsafe_agents.evaluation.episode import run_episode
from vlsafe_agents.evaluation.metrics import EpisodeRecord
from vlsafe_agents.evaluation.recording import EpisodeTrace, Recording
from vlsafe_agents.evaluation.together import MakeVecEnv, run_seeds_together
from vlsafe_agents.evaluation.workers import run_in_processes

MakeEnv = Callable[[], gym.Env[Any, Any]]
Progress = Callable[[EpisodeRecord], None]


@dataclass(frozen=True)
class Evaluation:
    """The episodes of one agent and what they amount to."""

    records: list[EpisodeRecord]
    summary: dict[str, dict[str, float | None]]
    recordings: dict[str, Path] = field(default_factory=dict)  # "best_0", "worst_0", ... -> file

    def to_json(
        self,
        agent: str,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        training: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The contents of `evaluation.json`.

        :param training: what learning cost: `env_steps`, `collisions_caused`, `dataset_steps`,
            `dataset_collisions`, `gradient_steps`, `wall_s`; left out ones are 0
        :raises ValueError: if `training` has an unknown key
        """
        return {
            "agent": agent,
            "env_id": env_id,
            "env_kwargs": dict(env_kwargs),
            "seeds": [record.seed for record in self.records],
            "episodes": [record.to_json() for record in self.records],
            "summary": self.summary,
            "training": _training_costs(training or {}),
        }

    def write_json(
        self,
        path: str | Path,
        agent: str,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `to_json` as strict JSON (no NaN)."""
        content = self.to_json(agent, env_id, env_kwargs, training)
        text = json.dumps(content, indent=2, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


def evaluate(
    agent: Agent,
    make_env: MakeEnv,
    seeds: Iterable[int],
    deterministic: bool = True,
    record: Recording | str | Path | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
    bootstrap_seed: int = 0,
    make_vec_env: MakeVecEnv | None = None,
    num_envs: int = 1,
) -> Evaluation:
    """Drive one episode per seed and summarise them.

    Works with any Gymnasium environment that reports `info["cost"]`; `env_cost`, `vlm_cost`,
    `collision`, `off_road`, `off_route`, `arrived`, `waypoints_completed`, `speed` [m/s],
    `distance` [m] and `collision_speed` [m/s] are used where present. Without `collision_speed`,
    the speed one step before the collision counts. Every episode depends on its seed only, so order
    and number of workers do not matter.

    :param agent: an SB3 model; a function `(env, rng) -> driver` (called for every episode); or a
        driver with `reset()` and `act()`, which must be bound to the environment that `make_env`
        returns
    :param make_env: makes a fresh environment
    :param seeds: one episode each, passed to `env.reset`; keep them apart from training's
    :param deterministic: take a model's most likely action instead of sampling
    :param record: folder (or `Recording`) for the best and the worst episode. They are driven
        again for it, so nobody renders or stores frames of the others.
    :param make_vec_env: makes `num_envs` of the same environments as `make_env` in one Gymnasium
        vector environment; episodes are then driven side by side in it, in this process, and stay
        the same. (Where a scorer judges frames in batches, its scores may differ in last bits.)
    :param num_envs: episodes side by side, used with `make_vec_env` only
    :param n_workers: processes that share the episodes; with more than 1, `make_env` and a driver
        factory must survive cloudpickle, and a bare driver is refused
    :param progress: called with each finished record (in order of the seeds for one process)
    :raises ValueError: if there are no seeds, or a seed occurs twice
    :raises KeyError: if the environment reports no cost
    """
    seeds = [int(seed) for seed in seeds]
    if not seeds:
        raise ValueError("No seeds to evaluate on.")
    if len(set(seeds)) != len(seeds):
        raise ValueError("A seed occurs twice; its episode would count twice.")
    if n_workers < 1:
        raise ValueError(f"n_workers must be at least 1, got {n_workers}.")
    if make_vec_env is not None:
        if n_workers > 1 or num_envs < 1:
            raise ValueError(
                f"n_workers={n_workers}, num_envs={num_envs}: a vector environment needs 1 process "
                "and at least 1 environment."
            )
        with _own_randomness(agent, deterministic):
            records = run_seeds_together(
                agent, make_vec_env, seeds, num_envs, deterministic, progress
            )
    elif n_workers == 1:
        records = run_seeds(agent, make_env, seeds, deterministic, progress)
    else:
        records = run_in_processes(agent, make_env, seeds, deterministic, n_workers, progress)
    recordings = {}
    if record is not None:
        wanted = record if isinstance(record, Recording) else Recording(Path(record))
        recordings = _record_again(agent, make_env, records, deterministic, wanted)
    return Evaluation(records, summarise(records, seed=bootstrap_seed), recordings)


def run_seeds(
    agent: Agent,
    make_env: MakeEnv,
    seeds: Sequence[int],
    deterministic: bool = True,
    progress: Progress | None = None,
) -> list[EpisodeRecord]:
    """One record per seed, driven in this process."""
    env = make_env()
    records = []
    try:
        with _own_randomness(agent, deterministic):
            for seed in seeds:
                records.append(run_episode(agent, env, seed, deterministic))
                if progress is not None:
                    progress(records[-1])
    finally:
        env.close()
    return records


def _record_again(
    agent: Agent,
    make_env: MakeEnv,
    records: Sequence[EpisodeRecord],
    deterministic: bool,
    wanted: Recording,
) -> dict[str, Path]:
    env = make_env()
    paths = {}
    try:
        with _own_randomness(agent, deterministic):
            for stem, chosen in wanted.choose(records).items():
                trace = EpisodeTrace()
                again = run_episode(agent, env, chosen.seed, deterministic, trace)
                _require_same_episode(chosen, again)
                paths[stem] = wanted.folder / f"{stem}.npz"
                trace.save(paths[stem], again)
    finally:
        env.close()
    return paths


def _own_randomness(agent: Agent, deterministic: bool) -> AbstractContextManager[Any]:
    """Sampling models are seeded per episode; the caller's random state must survive that."""
    if deterministic or not hasattr(agent, "predict"):
        return nullcontext()
    import torch as th

    return th.random.fork_rng()


def _require_same_episode(first: EpisodeRecord, again: EpisodeRecord) -> None:
    same_return = math.isclose(first.episode_return, again.episode_return, rel_tol=1e-6)
    if first.steps != again.steps or not same_return:
        raise RuntimeError(
            f"Seed {first.seed} gave another episode when it was driven again "
            f"({first.steps} steps, return {first.episode_return:.3f}; then {again.steps} steps, "
            f"return {again.episode_return:.3f}). The environment or the agent is not "
            "determined by its seed, so neither are its figures."
        )


def _training_costs(given: Mapping[str, Any]) -> dict[str, Any]:
    costs = {
        "env_steps": 0,
        "env_steps_lost": 0,
        "collisions_caused": 0,
        "dataset_steps": 0,
        "dataset_collisions": 0,
        "gradient_steps": 0,
        "wall_s": 0.0,
    }
    unknown = set(given) - set(costs)
    if unknown:
        raise ValueError(f"Unknown training figures {sorted(unknown)}; known: {sorted(costs)}.")
    return costs | dict(given)
