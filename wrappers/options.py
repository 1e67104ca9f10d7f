"""Options of scorers: what is unknown, or has no effect, is an error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any


def option_names(*makers: Callable[..., Any]) -> list[str]:
    """Arguments that can be given by name to any of some classes or functions."""
    names: dict[str, None] = {}
    for maker in makers:
        for name, parameter in inspect.signature(maker).parameters.items():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                names[name] = None
    return list(names)


def check_known(scorer: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise ``ValueError`` for an option that a scorer does not have, naming those that it has."""
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ValueError(
            f"scorer {scorer!r} has no option {', '.join(map(repr, unknown))}; "
            + (f"known: {', '.join(known)}" if known else "it has none")
        )
