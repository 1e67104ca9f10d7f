"""Settings as frozen dataclasses: replaced by nested mappings, checked by their annotations."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Container, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from wrappers.checks import did_you_mean, one_number, whole_number

Config = TypeVar("Config")

# Numbers with their least and their largest value; a plain ``int`` or ``float`` is at least 0.
Share = Annotated[float, 0.0, 1.0]
Count = Annotated[int, 1, None]


def replaced(config: Config, values: Mapping[str, Any]) -> Config:
    """``config`` with the settings that nested ``values`` name; lists become tuples.

    Raises:
        ValueError: for a key that the dataclass does not have.
    """
    names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            kind = type(config).__name__
            alike = did_you_mean(key, names)
            raise ValueError(f"{kind} has no setting {key!r}; it has: {', '.join(names)}{alike}")
        part = getattr(config, key)
        if dataclasses.is_dataclass(part) and isinstance(value, Mapping):
            value = replaced(part, value)
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(config, **arguments)  # type: ignore[type-var]


def flatten(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names, such as ``imagination.gamma``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`flatten`: ``{"a.b": 1}`` as ``{"a": {"b": 1}}``.

    Raises:
        ValueError: for keys such as ``"a..b"`` and for two that contradict each other, such as
            ``"a"`` and ``"a.b"``.
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        if not all((*path, last)):
            raise ValueError(f"{key!r} is no name of a setting: a part of it is empty")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{key!r} and {part!r} contradict each other; give one of them")
        if last in inner:
            raise ValueError(f"{key!r} is given twice, in parts and as a whole; give one of them")
        inner[last] = copy.deepcopy(value)  # later keys may add to it
    return nested


def changed_keys(
    one: Mapping[str, Any], other: Mapping[str, Any], but: Container[str] = ()
) -> list[str]:
    """In which settings two sets of them differ, in their order; a missing one is None."""
    names = dict.fromkeys([*one, *other])
    return [name for name in names if name not in but and one.get(name) != other.get(name)]


def check_config(config: Any, path: str = "") -> None:
    """Check types and ranges of a dataclass's fields, and of those inside.

    Raises:
        ValueError: naming the field as it is typed, such as ``imagination.gamma``.
    """
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
            check_config(value, f"{path}{name}.")
        else:
            _check(value, f"{path}{name}", hint)


def _check(value: Any, path: str, hint: Any) -> None:
    """Check one value against int, float, bool, Annotated, Literal, tuple, dict, or None."""
    if get_origin(hint) in (Union, UnionType):
        if value is None and NoneType in get_args(hint):
            return
        hint = get_args(hint)[0]
    low, high = 0, None
    if get_origin(hint) is Annotated:
        hint, low, high = get_args(hint)
    if hint is int:
        whole_number(value, path, "config", low=low)
    elif hint is float:
        one_number(value, path, "config", low, high)
    elif get_origin(hint) is Literal:
        if value not in get_args(hint):
            known = ", ".join(get_args(hint))
            raise ValueError(f"unknown {path} {value!r}; choose one of {known}")
    elif get_origin(hint) is tuple and isinstance(value, tuple) and value:
        for entry in value:
            _check(entry, path, get_args(hint)[0])
    elif get_origin(hint) is dict and isinstance(value, dict):
        return  # of any entries
    elif get_origin(hint) is not None or not isinstance(value, hint):
        wanted = getattr(get_origin(hint) or hint, "__name__", str(hint))
        raise ValueError(f"config: {path} is {value!r}; expected a {wanted}")
