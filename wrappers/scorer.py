"""What a judge of frames is, and how to get one by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from wrappers.options import check_known, option_names
from wrappers.registry import find_factory, known_scorers
from wrappers.specs import split_spec, unquoted

Frames = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Reasons = list[str | None]  # why a frame has no label, None for one that has
Infos = Sequence[Mapping[str, Any]]

BUNDLED = "bundled"
# What callers may ask a scorer besides its scores, by the functions below.
ASKED = (
    "context_frames",
    "frame_size",
    "reads_infos",
    "reads_history",
    "last_reasons",
    "stopped",
    "price_estimate",
)
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


@runtime_checkable
class SafetyScorer(Protocol):
    """Judges frames: 1 is safe, 0 is unsafe.

    Scorers are callable on ``frames (N, H, W, 3)`` uint8 and, where they need simulator truth, on
    ``infos`` (one mapping a frame); they return ``(N,)`` float32 in [0, 1], NaN for a frame that
    they have no label for.  Optional attributes tell callers more:

    - ``context_frames = k``: it looks at k frames to judge one and gets windows in place of frames,
      see :mod:`~.frame_windows`.
    - ``frame_size = S``: it looks at frames of S by S pixels; who can draw such hands them over.
    - ``reads_infos = True``: its scores depend on ``infos``; without it they may be left out.
    - ``reads_history = True``: its scores depend on earlier calls, so that they must not be cached.
    - ``prepare(frames)``, ``encode(prepared)``, ``judge(encoded)``: in turn the same as a call, so
      that a loader can run ahead.
    - ``last_reasons``: why each frame of the last call has no label, ``None`` for one that has.
    - ``stopped``: why it gives no more labels, empty while it does; it need not be called again.
    - ``price_estimate(frames)``: what scoring as many costs [US dollars], ``None`` for nothing.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that tells two scorers apart: name, weights, prompts, form, ..."""

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Safety scores ``(N,)`` of ``frames (N, H, W, 3)``."""


def frame_size(scorer: SafetyScorer) -> int | None:
    """Height and width [px] of the frames that a scorer looks at; ``None`` where it takes any."""
    size = getattr(scorer, "frame_size", None)
    return None if size is None else int(size)


def price_estimate(scorer: SafetyScorer, frames: int) -> float | None:
    """What scoring so many frames costs [US dollars]; ``None`` where a scorer asks for nothing."""
    ask = getattr(scorer, "price_estimate", None)
    return None if ask is None else ask(frames)


def last_reasons(scorer: SafetyScorer, count: int) -> Reasons:
    """Why each of the ``count`` frames of the last call has no label, as far as a scorer says."""
    said = list(getattr(scorer, "last_reasons", None) or ())
    return said if len(said) == count else [None] * count


def stopped(scorer: SafetyScorer) -> str:
    """Why a scorer gives no more labels; empty while it does."""
    return str(getattr(scorer, "stopped", "") or "")


def reads_infos(scorer: SafetyScorer) -> bool:
    """Whether a scorer's answers depend on ``infos``."""
    return bool(getattr(scorer, "reads_infos", False))


def reads_history(scorer: SafetyScorer) -> bool:
    """Whether a scorer's answers depend on earlier calls."""
    return bool(getattr(scorer, "reads_history", False))


def check_frames(frames: object) -> Frames:
    """Return ``frames`` if they are uint8 ``(N, H, W, 3)``.

    Raises ``TypeError`` for another type or dtype and ``ValueError`` for another shape.
    """
    if not isinstance(frames, np.ndarray):
        raise TypeError(f"frames must be a NumPy array (N, H, W, 3), got {type(frames).__name__}")
    if frames.ndim == 3 and frames.shape[-1] == 3:
        raise ValueError(
            f"frames has shape {frames.shape}: a single frame; pass a batch, frame[None]"
        )
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames has shape {frames.shape}, expected (N, H, W, 3), channels last")
    if frames.dtype != np.uint8:
        raise TypeError(f"frames has dtype {frames.dtype}, expected uint8 in 0..255")
    return frames


def check_scores(scores: object, count: int) -> Scores:
    """A scorer's answer as float32 ``(count,)``; NaN stands for "no label".

    Raises ``ValueError`` for another shape or values outside [0, 1].
    """
    try:
        found = np.asarray(scores, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the scorer returned no numbers ({error})") from None
    if found.shape != (count,):
        raise ValueError(f"the scorer returned shape {found.shape} for {count} frames")
    outside = (found < 0) | (found > 1)
    if outside.any():
        raise ValueError(f"a safety score lies in [0, 1], the scorer returned {found[outside][0]}")
    return found


def make_scorer(spec: str | Path | SafetyScorer, **options: Any) -> SafetyScorer:
    """Build a scorer from its name; an object that already is a scorer passes through.

    ``spec`` is ``"<name>"`` or ``"<name>:<argument>"`` with a name of
    :func:`~.registry.known_scorers`, the hub name of a CLIP-type checkpoint, or a folder that
    holds one; a ``Path`` is always a folder.  ``options`` go to the scorer's constructor
    (controls take their own, the others go to the scorer inside).  In text they follow the spec,
    as in ``"bundled,form=cosine"`` or ``"shuffled:bundled,seed=3"``; :mod:`~.specs` says how, and
    how odd paths are written.  The bundled scorer without options is built once in a process and
    shared.

    Raises ``ValueError`` for an unknown spec and for options that the scorer does not have or that
    have no effect, ``TypeError`` for an object that is no scorer.
    """
    if isinstance(spec, Path):
        return _checkpoint(str(spec), options)
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
        return _checkpoint(spec, options)
    raise ValueError(
        f"unknown scorer {spec!r}; known: {'; '.join(known_scorers().values())}; "
        'a hub name such as "openai/clip-vit-base-patch32"; a folder written by save_pretrained'
    )


def _check_options(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    """Refuse what a factory does not take; one with ``**options`` looks at them itself."""
    kinds = {parameter.kind for parameter in inspect.signature(factory).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        check_known(name, options, option_names(factory)[1:])


def _check_object(spec: object, options: dict[str, Any]) -> SafetyScorer:
    # A property is not looked at: some scorers ask a server who they are.
    if not callable(spec) or inspect.getattr_static(spec, "identity", None) is None:
        raise TypeError(
            f"{spec!r} is no scorer: it needs __call__(frames, infos) and an `identity` property"
        )
    if options:
        raise TypeError(f"options {sorted(options)} cannot change a scorer that is already built")
    return spec  # type: ignore[return-value]


def _checkpoint(source: str, options: dict[str, Any]) -> SafetyScorer:
    from wrappers.clip_scorer import make_clip_scorer

    return make_clip_scorer(source, **options)
