"""Names of scorers and what builds them; other packages add theirs by a Python entry point.

A factory is called as ``factory(argument, **options)``: ``argument`` is what follows the colon of
``"<name>:<argument>"``, or ``None``.  A package adds a scorer in its ``pyproject.toml``::

    [project.entry-points."vlsafe.scorers"]
    my-judge = "my_package.judge:make_judge"

and ``make_scorer("my-judge:high")`` then calls ``make_judge("high")``.  Nothing is imported before
its name is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUP = "vlsafe.scorers"  # of entry points
Factory = Callable[..., Any]  # (argument: str | None, **options) -> SafetyScorer

# name: (module of this package and factory in it, what to write and what it is)
_BUILT_IN = {
    "bundled": ("clip_scorer:make_bundled_scorer", "bundled: the small CLIP shipped with vlsafe"),
    "clip": ("clip_scorer:make_clip_scorer", "clip:<backbone, hub name or folder>"),
    "siglip": ("clip_scorer:make_siglip_scorer", "siglip:<backbone, hub name or folder>"),
    "chat": (
        "generative.chat_scorer:make_chat_scorer",
        "chat:<model>@<base URL>: a VLM behind a chat API",
    ),
    "local-vlm": (
        "generative.local_scorer:make_local_vlm_scorer",
        "local-vlm:<hub name or folder>: a VLM that answers in words",
    ),
    "distilled": ("distilled:make_distilled_scorer", "distilled:<folder>: a small fast pupil"),
    "calibrated": ("calibrated:make_calibrated_scorer", "calibrated:<file.json>"),
    "ensemble": ("ensemble:make_ensemble_scorer", "ensemble:<scorer>+<scorer>"),
    "frames": ("window_scorer:make_window_scorer", "frames:<k>:<scorer>: k frames at once"),
    "cached": ("cached_scorer:make_cached_scorer", "cached:<scorer>: each frame scored once"),
    "oracle": ("oracle:make_oracle_scorer", "oracle: simulator truth"),
    "constant": ("controls:make_constant_scorer", "constant:0.9"),
    "shuffled": ("controls:make_shuffled_scorer", "shuffled:<scorer>: its scores, wrong frames"),
    "random": ("controls:make_random_scorer", "random:<seed>"),
    "random-weights": (
        "random_weights:make_random_weights_scorer",
        "random-weights:<seed>: the bundled judge before it learnt anything",
    ),
}


def known_scorers() -> dict[str, str]:
    """Names that :func:`find_factory` knows, each with what to write or where it comes from."""
    known = {name: text for name, (_, text) in _BUILT_IN.items()}
    known.update({name: f"{name}: from {_origin(found[0])}" for name, found in _added().items()})
    return known


def find_factory(name: str) -> Factory | None:
    """The factory of a name, imported; ``None`` for a name that nobody has taken.

    Raises ``ValueError``, naming the distribution, when another package's factory cannot be
    imported or called, or when two packages claim one name.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name][0].partition(":")
        factory: Factory = getattr(import_module(f".{module}", __package__), attribute)
        return factory
    found = _added().get(name)
    if found is None:
        return None
    if len(found) > 1:
        claims = " and ".join(_origin(entry) for entry in found)
        raise ValueError(f"scorer {name!r} is claimed by {claims}; uninstall one of them")
    return _load(found[0])


def _added() -> dict[str, list[EntryPoint]]:
    """Entry points of other packages by name; those that claim a built-in name are left out."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name in _BUILT_IN:
            warnings.warn(
                f"{_origin(entry)} claims the built-in scorer {entry.name!r} and is ignored",
                stacklevel=3,
            )
        else:
            found.setdefault(entry.name, []).append(entry)
    return found


def _load(entry: EntryPoint) -> Factory:
    try:
        factory: Factory = entry.load()
    except Exception as error:  # whatever another package's import raises
        raise ValueError(
            f"scorer {entry.name!r} of {_origin(entry)} cannot be loaded: "
            f"{type(error).__name__}: {error}; repair or uninstall that package"
        ) from error
    if not callable(factory):
        raise ValueError(f"scorer {entry.name!r} of {_origin(entry)} is no function: {factory!r}")
    return factory


def _origin(entry: EntryPoint) -> str:
    """The distribution of an entry point, with its version and the object that it names."""
    dist = entry.dist
    return f"{dist.name} {dist.version} ({entry.value})" if dist else entry.value
