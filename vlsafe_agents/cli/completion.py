"""Names that a shell completes, for options that take one of a known set."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Complete = Callable[[str], list[str]]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def env_ids(incomplete: str) -> list[str]:
    """Ids of our environments."""
    from vlsafe_envs.registry import known_ids

    return _beginning(known_ids(), incomplete)


def algorithms(incomplete: str) -> list[str]:
    """Algorithms of ``vlsafe train``."""
    from vlsafe_agents.algorithms import ALGORITHMS

    return _beginning(ALGORITHMS, incomplete)


def stock_algorithms(incomplete: str) -> list[str]:
    """Algorithms of a ``model.zip`` that is evaluated: ours, and Stable-Baselines3's."""
    from vlsafe_agents.algorithms import ALGORITHMS
    from vlsafe_agents.evaluation.stock import STOCK

    return _beginning(sorted({*STOCK, *ALGORITHMS}), incomplete)


def presets(incomplete: str) -> list[str]:
    """Presets of all algorithms."""
    from vlsafe_agents.algorithms import ALGORITHMS

    names = dict.fromkeys(name for row in ALGORITHMS.values() for name in row.presets)
    return _beginning(names, incomplete)


def observations(incomplete: str) -> list[str]:
    """Kinds of observations that agents learn from."""
    from vlsafe_agents.training.settings import POLICIES

    return _beginning(POLICIES, incomplete)


def scorers(incomplete: str) -> list[str]:
    """Scorers by name."""
    from wrappers.registry import known_scorers

    return _beginning(known_scorers(), incomplete)


def subjects(incomplete: str) -> list[str]:
    """Who can be evaluated by name: drivers with rules, and trained ones that come with vlsafe."""
    from vlsafe_agents.pretrained.sources import PREFIX, driver_names
    from vlsafe_envs.registry import all_driver_names

    trained = (f"{PREFIX}{name}" for name in driver_names())
    return _beginning([*all_driver_names(), *trained], incomplete)
