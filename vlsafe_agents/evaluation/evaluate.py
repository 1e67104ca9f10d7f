"""Evaluating an agent on fixed seeds."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

from vlsafe_agents.evaluation.agents import Agent
from vlsafe_agents.evaluation.episode import run_episode
from vlsafe_agents.evaluation.intervals import check_settings, summarise
from vlsafe_agents.evaluation.metrics import FLAGS, EpisodeRecord
from vlsafe_agents.evaluation.parallel import MakeVecEnv, run_in_processes, run_seeds_together
from vlsafe_agents.evaluation.recording import EpisodeTrace, Recording, require_frames
from vlsafe_agents.training.facts import TRAINING_FIGURES
from wrappers.files import write_json

Kind = Literal["driver", "agent"]  # who is bound by rules, and who has learned
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
        kind: Kind | None = None,
        settings: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        shielded: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The contents of `evaluation.json`: all that tables and reports say comes from here.

        Args:
            agent: its name, of a rule-based driver the one that it is made by
            training: what learning cost, by `TRAINING_FIGURES`; what is left out is not known
            kind: "driver" for one with rules, "agent" for one that has learned; None: not known
            settings: what the agent was trained with, as in its `settings.json`
            options: how it was evaluated, such as the scorer; what is left out is not known
            shielded: by what its actions were checked: `threshold`, and `model` and `sha256` of the
                risk model; None: by nothing

        Raises:
            ValueError: if `training` has an unknown key, or for another kind
        """
        unknown = set(training or {}) - set(TRAINING_FIGURES)
        if unknown:
            raise ValueError(
                f"Unknown training figures {sorted(unknown)}; known: {sorted(TRAINING_FIGURES)}."
            )
        if kind not in ("driver", "agent", None):
            raise ValueError(f'Unknown kind {kind!r}; it is "driver", "agent" or None.')
        return {
            "agent": agent,
            "kind": kind,
            "settings": None if settings is None else dict(settings),
            "env_id": env_id,
            "env_kwargs": dict(env_kwargs),
            "options": dict(options or {}),
            "shielded": None if shielded is None else dict(shielded),
            "seeds": [record.seed for record in self.records],
            "episodes": [record.to_json() for record in self.records],
            "summary": self.summary,
            "training": {key: (training or {}).get(key) for key in TRAINING_FIGURES},
        }

    def write_json(
        self,
        path: str | Path,
        agent: str,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        training: Mapping[str, Any] | None = None,
        kind: Kind | None = None,
        settings: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        shielded: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `to_json` as strict JSON (no NaN), whole or not at all."""
        content = self.to_json(
            agent, env_id, env_kwargs, training, kind, settings, options, shielded
        )
        write_json(Path(path), content, indent=2)


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
    `distance` [m], `collision_speed` [m/s] and `shield_replaced` are used where present. Without
    `collision_speed`, the speed one step before the collision counts. Every episode depends on its
    seed only, so order and number of workers do not matter.

    Args:
        agent: an SB3 model; a function `(env, rng) -> driver` (called for every episode); or a
            driver with `reset()` and `act()`, which must be bound to the environment that
            `make_env` returns
        make_env: makes a fresh environment
        seeds: one episode each, passed to `env.reset`; keep them apart from training's. Integers in
            [0, 2**63)
        deterministic: take a model's most likely action instead of sampling
        record: folder (or `Recording`) for the best and the worst episode. They are driven again
            for it, so nobody renders or stores frames of the others.
        make_vec_env: makes `num_envs` of the same environments as `make_env` in one Gymnasium
            vector environment; episodes are then driven side by side in it, in this process, and
            stay the same. (Where frames are scored in batches, its scores may differ in last
            bits.)
        num_envs: episodes side by side, used with `make_vec_env` only
        n_workers: processes that share the episodes; with more than 1, `make_env` and a driver
            factory must survive cloudpickle, and a bare driver is refused
        progress: called with each finished record (in order of the seeds for one process)

    Raises:
        ValueError: if there are no seeds, one is negative or occurs twice; for settings out of
            range; and for what an environment or agent returns that is no finite number, a negative
            cost, or an action outside the action space, with the episode and the step
        KeyError: if the environment reports no cost
    """
    seeds = _checked(seeds)
    check_settings(seed=bootstrap_seed)
    for name, value in (("n_workers", n_workers), ("num_envs", num_envs)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if make_vec_env is not None and n_workers > 1:
        raise ValueError(
            f"n_workers={n_workers}, num_envs={num_envs}: a vector environment needs 1 process."
        )
    wanted = Recording(Path(record)) if isinstance(record, str | Path) else record
    if wanted is not None:
        _require_frames(make_env)  # or else all episodes would be driven for nothing
    if make_vec_env is not None:
        with _own_randomness(agent, deterministic):
            records = run_seeds_together(
                agent, make_vec_env, seeds, num_envs, deterministic, progress
            )
    elif n_workers == 1:
        records = run_seeds(agent, make_env, seeds, deterministic, progress)
    else:
        records = run_in_processes(agent, make_env, seeds, deterministic, n_workers, progress)
    _warn_of_partly_reported(records)
    recordings = {}
    if wanted is not None:
        recordings = _record_again(agent, make_env, records, deterministic, wanted)
    return Evaluation(records, summarise(records, seed=bootstrap_seed), recordings)


def _checked(seeds: Iterable[int]) -> list[int]:
    try:
        found = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise ValueError("seeds must be integers; one of them is not.") from None
    if not found:
        raise ValueError("No seeds to evaluate on.")
    for seed in (min(found), max(found)):
        if not 0 <= seed < 2**63:
            raise ValueError(f"seeds must be at least 0 and below 2**63, got {seed}.")
    if len(set(found)) != len(found):
        raise ValueError("A seed occurs twice; its episode would count twice.")
    return found


def _warn_of_partly_reported(records: Sequence[EpisodeRecord]) -> None:
    for name in FLAGS:
        known = sum(getattr(record, name) is not None for record in records)
        if 0 < known < len(records):
            warnings.warn(
                f"the environment reports info[{name!r}] in {known} of {len(records)} episodes "
                "only, so its share is not known; report it in all of them",
                stacklevel=3,
            )


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


def _require_frames(make_env: MakeEnv) -> None:
    env = make_env()
    try:
        require_frames(env)
    finally:
        env.close()


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
