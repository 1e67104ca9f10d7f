"""Algorithms trained with several seeds, side by side, read from the files of `vlsafe evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlsafe_agents.evaluation.bootstrap import aggregate_seeds
from vlsafe_agents.evaluation.metrics import EpisodeRecord

SAME = ("env_id", "env_kwargs", "seeds")  # of evaluations that may be compared


@dataclass(frozen=True)
class Algorithm:
    """One algorithm over its training seeds."""

    name: str  # of the agents' folders
    summary: dict[str, dict[str, Any]]  # {metric: {"mean", "low", "high", "per_seed"}}
    collisions_caused: tuple[float, ...]  # while learning, by training seed


@dataclass(frozen=True)
class Comparison:
    """Algorithms that drove the same environment on the same seeds."""

    env_id: str
    env_kwargs: dict[str, Any]
    episodes: int  # of each agent
    algorithms: tuple[Algorithm, ...]  # in the order of their first files


def compare(paths: Iterable[Path]) -> Comparison:
    """Put evaluations together: files whose folders have one name are seeds of one algorithm.

    So ``compare(Path("runs").glob("*/*/evaluation.json"))`` reads ``runs/0/gated``,
    ``runs/1/gated`` and ``runs/0/bc`` as two seeds of ``gated`` and one of ``bc``.

    Raises ``ValueError`` without files, for files that are no evaluations, and where agents drove
    different environments or seeds: such figures do not stand in one table.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    first: tuple[Path, dict[str, Any]] | None = None
    for path in paths:
        evaluation = _read(path)
        first = first or (path, evaluation)
        for key in SAME:
            if evaluation[key] != first[1][key]:
                raise ValueError(
                    f"{path} and {first[0]} differ in {key}: compare agents that drove the same "
                    "environment on the same seeds"
                )
        found.setdefault(path.parent.name, []).append(evaluation)
    if first is None:
        raise ValueError("nothing to compare: give files that `vlsafe evaluate` has written")
    algorithms = tuple(_algorithm(name, seeds) for name, seeds in found.items())
    facts = first[1]
    return Comparison(facts["env_id"], facts["env_kwargs"], len(facts["seeds"]), algorithms)


def _read(path: Path) -> dict[str, Any]:
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON file ({error})") from error
    missing = [key for key in (*SAME, "episodes") if key not in evaluation]
    if missing:
        raise ValueError(f"{path} is no evaluation: it lacks {', '.join(missing)}")
    return dict(evaluation)


def _algorithm(name: str, seeds: list[dict[str, Any]]) -> Algorithm:
    runs = [[EpisodeRecord.from_json(entry) for entry in facts["episodes"]] for facts in seeds]
    caused = [(facts.get("training") or {}).get("collisions_caused", 0) for facts in seeds]
    return Algorithm(name, aggregate_seeds(runs), tuple(caused))
