"""What learning is in the middle of when an agent is saved, as its file holds it.

A class adds to it by two methods of :class:`~vlsafe_agents.common.saved_agent.SavedAgent`:
``_running`` returns plain data, arrays and tensors by name, copies of what changes; ``_go_on`` puts
them back.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import Logger

from vlsafe_agents.common.agent_file import CannotStoreError

RUNNING = "running"  # the part of an agent's file


class NotExactWarning(UserWarning):
    """Learning goes on, though not bit for bit as if it had not been stopped."""


def warn_not_exact(reason: str) -> None:
    """Say why a run that goes on differs from one that was not stopped."""
    warnings.warn(
        f"learning goes on, but not bit for bit as if it had not been stopped: {reason}",
        NotExactWarning,
        stacklevel=4,
    )


@contextmanager
def reading_running() -> Iterator[None]:
    """Say in plain words that a file holds something else than what was running."""
    try:
        yield
    except (KeyError, AttributeError, TypeError, RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f"the agent's file does not hold what was running ({error!r}); learn(...) without "
            "reset_num_timesteps=False starts afresh from its weights"
        ) from error


def to_tensors(value: Any) -> Any:
    """Plain data with tensors in place of arrays, as ``torch.load(weights_only=True)`` reads them.

    Raises:
        CannotStoreError: for anything that would have to be pickled.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        return {key: to_tensors(part) for key, part in value.items()}
    if isinstance(value, list | tuple | deque):
        return [to_tensors(part) for part in value]
    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        except TypeError:
            pass  # texts and objects
    raise CannotStoreError(f"a {type(value).__name__} cannot be stored without pickling")


def to_arrays(value: Any) -> Any:
    """Plain data with arrays in place of tensors."""
    if isinstance(value, torch.Tensor):
        return value.cpu().numpy()
    if isinstance(value, dict):
        return {key: to_arrays(part) for key, part in value.items()}
    return [to_arrays(part) for part in value] if isinstance(value, list) else value


def plain_attributes(thing: Any) -> dict[str, Any]:
    """Those attributes of a small object that are plain data, as copies."""
    return {name: _copy(value) for name, value in vars(thing).items() if _is_plain(value)}


def set_plain_attributes(thing: Any, values: Mapping[str, Any]) -> None:
    """Put back what :func:`plain_attributes` has returned; names not known any more are left."""
    for name, value in values.items():
        if name in vars(thing):
            setattr(thing, name, _copy(value))


def logged_so_far(logger: Logger) -> dict[str, list[Any]]:
    """What was recorded since the last row of the log: value, count and where it is left out."""
    return {
        name: [float(value), logger.name_to_count[name], _where(logger.name_to_excluded.get(name))]
        for name, value in logger.name_to_value.items()
        if isinstance(value, int | float | np.number)
    }


def set_logged_so_far(logger: Logger, rows: Mapping[str, list[Any]]) -> None:
    """Inverse of :func:`logged_so_far`."""
    for name, (value, count, excluded) in rows.items():
        logger.name_to_value[name], logger.name_to_count[name] = value, count
        logger.name_to_excluded[name] = tuple(excluded)


def _where(excluded: Any) -> list[str]:
    if excluded is None:
        return []
    return [excluded] if isinstance(excluded, str) else list(excluded)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(part) for name, part in value.items()}
    return type(value)(_copy(part) for part in value) if isinstance(value, list | tuple) else value
