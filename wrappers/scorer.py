"""What a judge of frames is, and how to get one by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Infos = Sequence[Mapping[str, Any]]

BUNDLED = "bundled"
KNOWN_SPECS = (
    '"bundled" (the small CLIP shipped with this package)',
    '"oracle" (simulator truth)',
    '"constant:0.9"',
    '"shuffled:<any other scorer>"',
    'a hub name such as "openai/clip-vit-base-patch32"',
    "a folder written by save_pretrained",
)
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


@runtime_checkable
class SafetyScorer(Protocol):
    """Judges frames: 1 is safe, 0 is unsafe.

    Scorers are callable on ``frames (N, H, W, 3)`` uint8 and, where they need simulator truth, on
    ``infos`` (one mapping a frame); they return ``(N,)`` float32 in [0, 1].
    """

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that tells two scorers apart: name, weights, prompts, form, ..."""

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Safety scores ``(N,)`` of ``frames (N, H, W, 3)``."""


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


def make_scorer(spec: str | Path | SafetyScorer, **options: Any) -> SafetyScorer:
    """Build a scorer from its name; an object that already is a scorer passes through.

    ``spec`` is ``"bundled"``, ``"oracle"``, ``"constant:<p>"``, ``"shuffled:<spec>"``, the hub
    name of a CLIP checkpoint or a folder that holds one.  ``options`` go to the scorer's
    constructor (for ``"shuffled:..."``: ``seed`` and ``pool_size`` to the control, the others to
    the scorer inside).  The bundled scorer without options is built once in a process and shared.

    Raises ``ValueError`` for an unknown spec and ``TypeError`` for an object that is no scorer.
    """
    if isinstance(spec, Path):
        return _clip(str(spec), options)
    if not isinstance(spec, str):
        return _check_object(spec, options)
    kind, _, argument = spec.partition(":")
    if kind == "constant":
        return _constant(spec, argument, options)
    if kind == "shuffled":
        from .controls import ShuffledScorer

        own = {key: options.pop(key) for key in ("seed", "pool_size") if key in options}
        return ShuffledScorer(make_scorer(argument or BUNDLED, **options), **own)
    if spec == "oracle":
        from .oracle import OracleScorer

        return OracleScorer(**options)
    if spec == BUNDLED or (spec and Path(spec).is_dir()) or _HUB_NAME.match(spec):
        return _clip(spec, options)
    raise ValueError(f"unknown scorer {spec!r}; known: " + ", ".join(KNOWN_SPECS))


def _check_object(spec: object, options: dict[str, Any]) -> SafetyScorer:
    if not (callable(spec) and hasattr(spec, "identity")):
        raise TypeError(
            f"{spec!r} is no scorer: it needs __call__(frames, infos) and an `identity` property"
        )
    if options:
        raise TypeError(f"options {sorted(options)} cannot change a scorer that is already built")
    return spec


def _constant(spec: str, argument: str, options: dict[str, Any]) -> SafetyScorer:
    from .controls import ConstantScorer

    try:
        value = float(argument)
    except ValueError:
        raise ValueError(f"scorer {spec!r} needs a number, for example 'constant:0.9'") from None
    return ConstantScorer(value, **options)


def _clip(model: str, options: dict[str, Any]) -> SafetyScorer:
    if model == BUNDLED and not options:
        return _shared_bundled()
    from .clip_scorer import ClipScorer

    return ClipScorer(model, **options)


@lru_cache(maxsize=1)
def _shared_bundled() -> SafetyScorer:
    # Scorers of frames keep no state, so all environments of a process can share one model.
    from .clip_scorer import ClipScorer

    return ClipScorer(BUNDLED)
