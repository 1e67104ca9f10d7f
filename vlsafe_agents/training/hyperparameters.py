"""Files of settings by environment id, in the manner of rl-baselines3-zoo's.

Each entry holds settings of :class:`~vlsafe_agents.training.settings.TrainSettings` by name::

    VLSafe-Highway-v0:
      algo: ppo_lag
      steps: 120000
      config: {learning_rate: 5e-4}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlsafe_agents.training.settings import METADATA
from wrappers.checks import did_you_mean
from wrappers.files import read_yaml

_NAMES = tuple(name for name in METADATA if name != "env")


def is_by_environment(path: Path) -> bool:
    """Whether a file is one of these, and not a run's ``settings.json``.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file that holds no mapping.
    """
    return path.suffix != ".json" and "algo" not in read_yaml(path)


def read_hyperparameters(path: Path, env_id: str) -> dict[str, Any]:
    """What a file says of an environment: settings by name.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for an environment that it does not speak of, for what is no mapping, and for
            unknown settings; names the file.
    """
    content = read_yaml(path)
    if env_id not in content:
        raise ValueError(
            f"{path} has no settings for {env_id!r}; it has some for "
            f"{', '.join(map(str, content)) or 'nothing'}{did_you_mean(env_id, map(str, content))}"
        )
    found = content[env_id]
    if not isinstance(found, Mapping) or not isinstance(found.get("config", {}), Mapping):
        raise ValueError(f"{path}: {env_id} is {found!r}; expected settings by name")
    for name in found:
        if name not in _NAMES:
            raise ValueError(
                f"{path}: {env_id} has an unknown setting {name!r}; known: {', '.join(_NAMES)}"
                f"{did_you_mean(name, _NAMES)}"
            )
    return {name: value for name, value in found.items() if value is not None}
