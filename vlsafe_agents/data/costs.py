"""Which column of a Minari data set is the cost, and reading it."""

from __future__ import annotations

import h5py
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array, check_column
from vlsafe_agents.data.columns import Column
from vlsafe_agents.data.layout import COST, ENV_COST, info_name
from vlsafe_agents.data.stored_array import StoredEpisodes
from wrappers.checks import FLOAT32_MAX


def cost_name(episodes: StoredEpisodes, key: str | None) -> str | None:
    """Name of the cost's column in an episode's group; None where nothing is called a cost.

    Args:
        key: its name among the infos; ``"terms/collision"`` for one within a dictionary.  None
            takes ``env_cost``, or else ``cost``.

    Raises:
        ValueError: where no episode has a ``key`` that was asked for, naming those that there are.
    """
    if key is None:
        return next((n for n in (ENV_COST, COST) if episodes.any_has(n)), None)
    if not isinstance(key, str) or not key:
        raise ValueError(f"cost_key is {key!r}; give the name of an entry of infos, such as 'cost'")
    name = info_name(key)
    if episodes.any_has(name):
        return name
    there = _info_keys(episodes.group(0))
    raise ValueError(
        f"the data set has no {name} for cost_key={key!r}; its infos are "
        f"{', '.join(there) if there else 'empty'}: name one of them, or leave cost_key out"
    )


def read_costs(
    episodes: StoredEpisodes, starts: npt.NDArray[np.int64], key: str | None = None
) -> Array:
    """Costs ``(R,)`` float32 of all rows; NaN everywhere in data without costs.

    Minari's infos have T + 1 entries, the reset's first.  A column of T entries, one a step, is
    read too, and the reset then costs 0, as it does where its entry is NaN.

    Raises:
        ValueError: as :func:`cost_name`, and for costs that are negative or no numbers.
    """
    name, rows = cost_name(episodes, key), int(starts[-1])
    if name is None:
        return np.full(rows, np.nan, np.float32)
    if _one_a_step(episodes, name, starts):
        steps = starts - np.arange(len(starts))  # (E + 1,), first step of each episode
        given = Column(episodes, name, steps, single=True).load()
        check_column(given, name, steps, low=0.0, high=FLOAT32_MAX)
        costs = np.zeros(rows, np.float32)
        costs[np.delete(np.arange(rows), starts[:-1])] = given
        return costs
    costs = Column(episodes, name, starts, single=True).load()
    if costs.dtype.kind == "f":
        resets = starts[:-1]
        costs[resets] = np.where(np.isnan(costs[resets]), 0, costs[resets])
    check_column(costs, name, starts, low=0.0, high=FLOAT32_MAX)
    return costs.astype(np.float32)


def _one_a_step(episodes: StoredEpisodes, name: str, starts: npt.NDArray[np.int64]) -> bool:
    """Whether the column has as many entries as actions, in every episode."""
    steps = (np.diff(starts) - 1).tolist()
    return all(len(episodes.array(n, name)) == count for n, count in enumerate(steps))


def _info_keys(group: h5py.Group) -> list[str]:
    found: list[str] = []

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(name)

    infos = group.get("infos")
    if isinstance(infos, h5py.Group):
        infos.visititems(add)
    return sorted(found)
