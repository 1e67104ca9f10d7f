"""Functions and classes that users name as ``module:name``."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_named(name: str, what: str) -> Any:
    """What ``"module:name"`` names; importing its module runs that module's code.

    Args:
        what: names it in messages, such as "--wrapper".

    Raises:
        ValueError: where there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(f"{what} {name!r} is not of the form module:name")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{what} {name!r}: the module {module} cannot be imported ({error}); is it installed, "
            "or in a folder of PYTHONPATH?"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{what} {name!r}: {module} has no {attribute}")
        found = getattr(found, part)
    return found
