"""Options of a command as plain values: what stands in a file for what is typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vlsafe_agents.common.command_line import density, option, pairs
from wrappers.checks import did_you_mean

Typed = bool | str | list[str]


def find_option(name: Any, parameters: Iterable[Any], command: str) -> Any:
    """The parameter of a name, which may be written with hyphens.

    Raises:
        ValueError: for a name that the command does not have.
    """
    known = {parameter.name: parameter for parameter in parameters}
    found = known.get(name.replace("-", "_") if isinstance(name, str) else name)
    if found is None:
        alike = did_you_mean(name, known)
        raise ValueError(f"`vlsafe {command}` has no option {name!r}{alike}")
    return found


def as_typed(parameter: Any, value: Any) -> Typed:
    """A value as the command line has it.

    A mapping is ``key=value`` for each of an option that may be given often, and ``a=1,b=2`` of
    others; two numbers are a range ``0.8:1.3``.

    Raises:
        ValueError: for what is neither true nor false, of an option that is one of them.
    """
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise ValueError(f"{parameter.name} is {value!r}; give true or false")
        return value
    if parameter.multiple:
        if isinstance(value, Mapping):
            return pairs("", value)[1::2]
        return [option("", one)[1] for one in (value if isinstance(value, list) else [value])]
    if isinstance(value, Mapping):
        value = ",".join(f"{key}={one}" for key, one in value.items())
    return option("", density(value))[1]


def as_words(parameter: Any, value: Any) -> list[str]:
    """An option as the words that are typed; none where the value is None.

    Raises:
        ValueError: as :func:`as_typed`.
    """
    if value is None:
        return []
    typed, flag = as_typed(parameter, value), parameter.opts[0]
    if isinstance(typed, bool):
        return [flag] if typed else list(parameter.secondary_opts[:1])
    return [word for one in ([typed] if isinstance(typed, str) else typed) for word in (flag, one)]
