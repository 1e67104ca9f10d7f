"""A plain function of frames as a scorer: ``scores = function(frames)``."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from wrappers.named_function import load_named
from wrappers.scorer import Frames, Infos, Scores, check_frames, check_scores

_SPEC = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
_IMPORTS = ContextVar("imports", default=True)


class FunctionScorer:
    """Scores frames by a function of the user's own.

    Two of them count as one scorer, so that labels and cached scores are shared, if module, name
    and source are the same.  The source is that of the function's whole module, so that helpers
    beside it count; what it imports does not.  Where there is no source (a function of a compiled
    module), nothing is known to be the same, and scores must not be cached.

    Args:
        function: ``frames (N, H, W, 3)`` uint8 to safety scores ``(N,)`` in [0, 1], 1 = safe, NaN
            for no label.  One with a second argument, ``infos``, gets a mapping a frame.

    Raises:
        TypeError: for what is no function, method or ``functools.partial`` of one.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not is_function(function):
            raise TypeError(
                f"{function!r} is no function of frames; wrap it in one: "
                "lambda frames: my_object(frames)"
            )
        self._function = function
        self.reads_infos = _wants_infos(function)
        self._source = _source(function)
        # one whose source is not known cannot be told from another of its name
        self.reads_history = self._source is None

    @property
    def identity(self) -> dict[str, Any]:
        inner = _innermost(self._function)
        known = {"name": "function", "module": str(getattr(inner, "__module__", None))}
        known["function"] = str(getattr(inner, "__qualname__", type(inner).__qualname__))
        fixed = _fixed(self._function)
        return known | {"source": self._source} | ({"fixed": fixed} if fixed else {})

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)``.

        Raises:
            ValueError: when the function returns another shape or values outside [0, 1].
        """
        check_frames(frames)
        said = self._function(frames, infos) if self.reads_infos else self._function(frames)
        if callable(getattr(said, "detach", None)):  # a tensor
            said = said.detach().cpu().numpy()
        try:
            return check_scores(said, len(frames))
        except ValueError as error:
            raise ValueError(f"{self.identity['function']}(): {error}") from None


def is_function(value: Any) -> bool:
    """Whether it is a function, a method, or a ``functools.partial`` of one."""
    return inspect.isroutine(_innermost(value))


def is_function_spec(spec: str) -> bool:
    """Whether a scorer's name has the form ``module:function``."""
    return bool(_SPEC.match(spec))


@contextmanager
def without_imports() -> Iterator[None]:
    """Refuse scorers by the name of a function: it comes from a file, and importing runs code."""
    before = _IMPORTS.set(False)
    try:
        yield
    finally:
        _IMPORTS.reset(before)


def make_function_scorer(spec: str) -> FunctionScorer:
    """For ``"module:function"``.

    Raises:
        ValueError: where there is no such function, or where a file names it.
    """
    if not _IMPORTS.get():
        raise ValueError(
            f"a file names the scorer {spec!r}, a function that would have to be imported; build "
            "the scorer in Python instead"
        )
    found = load_named(spec, "scorer")
    if not is_function(found):
        raise ValueError(f"scorer {spec!r} is {found!r}, no function of frames")
    return FunctionScorer(found)


def _innermost(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _fixed(function: Any) -> str:
    """Arguments that a ``functools.partial`` has fixed, and values that a closure holds."""
    parts = []
    while isinstance(function, functools.partial):
        parts.append(f"{function.args!r} {sorted(function.keywords.items())!r}")
        function = function.func
    for cell in getattr(function, "__closure__", None) or ():
        parts.append(repr(cell.cell_contents))
    return "; ".join(parts)


def _source(function: Any) -> str | None:
    """A hash of the module's file, or of the function where it was typed in; None: not known."""
    inner = _innermost(function)
    module = sys.modules.get(str(getattr(inner, "__module__", "")))
    file = getattr(module, "__file__", None)
    try:
        if file is not None and Path(file).suffix == ".py":
            text = Path(file).read_bytes()
        else:
            text = inspect.getsource(inner).encode()
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text).hexdigest()


def _wants_infos(function: Any) -> bool:
    """Whether it has a second argument that must be given, or one that is called ``infos``."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 and (places[1].default is places[1].empty or places[1].name == "infos")
