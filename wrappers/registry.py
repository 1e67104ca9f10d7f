"""Scorers by name, and what builds them; other packages add theirs by a Python entry point.

A factory is called as ``factory(argument, **options)``: ``argument`` is what follows the colon of
``"<name>:<argument>"``, or ``None``.  A package adds a scorer in its ``pyproject.toml``::

    [project.entry-points."vlsafe.scorers"]
    mine = "my_package.scorers:make_mine"

and ``make_scorer("mine:high")`` then calls ``make_mine("high")``.  Nothing is imported before
its name is asked for.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from wrappers.checks import did_you_mean
from wrappers.function_scorer import (
    FunctionScorer,
    is_function,
    is_function_spec,
    make_function_scorer,
)
from wrappers.scorer import SafetyScorer
from wrappers.specs import split_spec, unquoted

GROUP = "vlsafe.scorers"  # of entry points
Factory = Callable[..., Any]  # (argument: str | None, **options) -> SafetyScorer
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")

# name: (module of this package and factory in it, what to write and what it is)
_BUILT_IN = {
    "bundled": ("clip_scorer:make_bundled_scorer", "bundled: the small CLIP shipped with vlsafe"),
    "clip": ("clip_scorer:make_clip_scorer", "clip:<backbone, hub name or folder>"),
    "siglip": ("clip_scorer:make_siglip_scorer", "siglip:<backbone, hub name or folder>"),
    "chat": (
        "generative.chat_scorer:make_chat_scorer",
        "chat:<model>@<base URL>: a VLM behind a chat API",
    ),
    "systemone": (
        "generative.systemone_scorer:make_systemone_scorer",
        "systemone:<model>@<base URL>: a VLM behind a server of typed questions",
    ),
    "local-vlm": (
        "generative.local_scorer:make_local_vlm_scorer",
        "local-vlm:<hub name or folder>: a VLM that answers in words",
    ),
    "distilled": ("distilled:make_distilled_scorer", "distilled:<folder>: a small fast pupil"),
    "calibrated": ("calibrated:make_calibrated_scorer", "calibrated:<file.json>"),
    "ensemble": ("ensemble:make_ensemble_scorer", "ensemble:<scorer>+<scorer>"),
    "contrast": (
        "contrast:make_contrast_scorer",
        "contrast:<scorer>: its scores against that of a blank frame",
    ),
    "frames": ("window_scorer:make_window_scorer", "frames:<k>:<scorer>: k frames at once"),
    "cached": ("cached_scorer:make_cached_scorer", "cached:<scorer>: each frame scored once"),
    "oracle": ("oracle:make_oracle_scorer", "oracle: simulator truth"),
    "constant": ("controls:make_constant_scorer", "constant:0.9"),
    "shuffled": (
        "controls:make_shuffled_scorer",
        "shuffled:<scorer>: its scores, wrong frames; share=0.5: of half of the frames",
    ),
    "blind": (
        "controls:make_blind_scorer",
        "blind:<scorer>: p = 1 in some situations; share=0.5, or info=headway,high=1",
    ),
    "negated": ("controls:make_negated_scorer", "negated:<scorer>: 1 minus its scores"),
    "random": ("controls:make_random_scorer", "random:<seed>"),
    "random-weights": (
        "random_weights:make_random_weights_scorer",
        "random-weights:<seed>: the bundled scorer before it learnt anything",
    ),
}


def make_scorer(
    spec: str | Path | SafetyScorer | Callable[..., Any], **options: Any
) -> SafetyScorer:
    """Build a scorer from its name; an object that already is a scorer passes through.

    A function of frames is one, too, by itself or by its name ``"module:function"``: see
    :class:`~.function_scorer.FunctionScorer`.  Otherwise ``spec`` is ``"<name>"`` or
    ``"<name>:<argument>"`` with a name of :func:`known_scorers`, the hub name of a CLIP-type
    checkpoint, or a folder that holds one; a ``Path`` is always a folder.  ``options`` go to the
    scorer's constructor
    (controls take their own, the others go to the scorer inside).  In text they follow the spec,
    as in ``"bundled,form=cosine"`` or ``"shuffled:bundled,seed=3"``; :mod:`~.specs` says how, and
    how odd paths are written.  The bundled scorer without options is built once in a process and
    shared.

    Raises:
        ValueError: for an unknown spec, and for options that the scorer does not have or that have
            no effect.
        TypeError: for an object that is no scorer.
    """
    if isinstance(spec, Path):
        return _checkpoint(str(spec), **options)
    if not isinstance(spec, str):
        return _check_object(spec, options)
    spec, written = split_spec(spec)
    for key in written.keys() & options.keys():
        raise ValueError(f"option {key!r} is given twice: in the scorer {spec!r} and beside it")
    options = written | options
    spec = unquoted(spec)
    name, colon, argument = spec.partition(":")
    factory = find_factory(name)
    if factory is not None:
        if colon and not argument:
            raise ValueError(
                f"the scorer {spec!r} names nothing after its colon; write {known_scorers()[name]}"
            )
        _check_options(name, factory, options)
        scorer = factory(unquoted(argument) if colon else None, **options)
        return _check_object(scorer, {})
    if (spec and Path(spec).is_dir()) or _HUB_NAME.match(spec):
        return _checkpoint(spec, **options)
    if is_function_spec(spec):
        return _check_object(make_function_scorer(spec), options)
    raise ValueError(
        f"unknown scorer {spec!r}; known: {'; '.join(known_scorers().values())}; "
        'a hub name such as "openai/clip-vit-base-patch32"; a folder written by save_pretrained; '
        f"module:function, a function of frames{did_you_mean(name, known_scorers())}"
    )


def _check_options(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    """Refuse what a factory does not take; one with ``**options`` looks at them itself."""
    kinds = {parameter.kind for parameter in inspect.signature(factory).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        check_known(name, options, option_names(factory)[1:])


def _check_object(spec: object, options: dict[str, Any]) -> SafetyScorer:
    # A property is not looked at: some scorers ask a server who they are.
    if is_function(spec) and not hasattr(spec, "identity"):
        spec = FunctionScorer(spec)  # type: ignore[arg-type]
    if not callable(spec) or inspect.getattr_static(spec, "identity", None) is None:
        raise TypeError(
            f"{spec!r} is no scorer: it needs __call__(frames, infos) and an `identity` property; "
            "a plain function of frames will do, too"
        )
    if options:
        raise TypeError(f"options {sorted(options)} cannot change a scorer that is already built")
    return spec  # type: ignore[return-value]


def _checkpoint(source: str, **options: Any) -> SafetyScorer:
    scorer: SafetyScorer = _built_in("clip")(source, **options)
    return scorer


def known_scorers() -> dict[str, str]:
    """Names that :func:`find_factory` knows, each with what to write or where it comes from."""
    known = {name: text for name, (_, text) in _BUILT_IN.items()}
    known.update({name: f"{name}: from {_origin(found[0])}" for name, found in _added().items()})
    return known


def find_factory(name: str) -> Factory | None:
    """The factory of a name, imported; ``None`` for a name that nobody has taken.

    Raises:
        ValueError: when another package's factory cannot be imported or called, or when two
            packages claim one name; names the distribution.
    """
    if name in _BUILT_IN:
        return _built_in(name)
    found = _added().get(name)
    if found is None:
        return None
    if len(found) > 1:
        claims = " and ".join(_origin(entry) for entry in found)
        raise ValueError(f"scorer {name!r} is claimed by {claims}; uninstall one of them")
    return _load(found[0])


def _built_in(name: str) -> Factory:
    module, _, attribute = _BUILT_IN[name][0].partition(":")
    factory: Factory = getattr(import_module(f"wrappers.{module}"), attribute)
    return factory


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


def option_names(*makers: Callable[..., Any]) -> list[str]:
    """Arguments that can be given by name to any of some classes or functions."""
    names: dict[str, None] = {}
    for maker in makers:
        for name, parameter in inspect.signature(maker).parameters.items():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                names[name] = None
    return list(names)


def check_known(scorer: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse what a scorer does not have.

    Raises:
        ValueError: for an unknown option; the message names those that there are.
    """
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ValueError(
            f"scorer {scorer!r} has no option {', '.join(map(repr, unknown))}; "
            + (f"known: {', '.join(known)}" if known else "it has none")
            + did_you_mean(unknown[0], known)
        )
