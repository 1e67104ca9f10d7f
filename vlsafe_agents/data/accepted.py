"""Whether what an agent was given as a data set is one."""

from __future__ import annotations

import os
from typing import Any

from vlsafe_agents.data.dataset import EpisodeDataset


def check_dataset(dataset: Any) -> EpisodeDataset:
    """What an agent got as its data set, if it is one.

    Raises:
        TypeError: for anything else, with what to write instead.
    """
    if isinstance(dataset, EpisodeDataset):
        return dataset
    kind = type(dataset)
    if isinstance(dataset, str | os.PathLike):
        path = os.fspath(dataset)
        what, remedy = f"the path {path!r}", f"EpisodeDataset.from_minari({path!r})"
    elif kind.__module__.partition(".")[0] == "minari":
        name = getattr(getattr(dataset, "spec", None), "dataset_id", "its id or folder")
        what, remedy = f"Minari's {kind.__name__}", f"EpisodeDataset.from_minari({name!r})"
    else:
        what = f"a {kind.__name__}"
        remedy = "EpisodeDataset.from_arrays(episodes, observation_space, action_space)"
    raise TypeError(
        f"dataset is {what}, not an EpisodeDataset; open it first, where you also choose the cost: "
        f"dataset={remedy}"
    )
