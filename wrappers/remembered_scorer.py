"""Knowing who a scorer is without loading it.

An identity holds a hash of the weights, so that telling whether labels are there already would mean
to load the model first.  Here identities of earlier runs are kept, each under a stamp of all files
that it comes from: names, sizes and times of change, as build tools do it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wrappers.files import read_json, write_json
from wrappers.frame_windows import context_frames
from wrappers.score_cache import cache_folder
from wrappers.scorer import (
    BUNDLED,
    Frames,
    Infos,
    SafetyScorer,
    Scores,
    frame_size,
    reads_history,
    reads_infos,
)
from wrappers.specs import path_exists, split_spec, unquoted

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
_HERE = Path(__file__).parent


class RememberedScorer:
    """A scorer that is loaded when it first has to score.

    Args:
        build: loads it.
        facts: what it said of itself, see :func:`facts_of`.

    Raises:
        RuntimeError: on scoring, when the loaded scorer is another one.
    """

    def __init__(self, build: Callable[[], SafetyScorer], facts: dict[str, Any]) -> None:
        self._build = build
        self._facts = facts
        self.context_frames = int(facts["context_frames"])
        self.frame_size: int | None = facts["frame_size"]
        self.reads_infos = bool(facts["reads_infos"])
        self.reads_history = bool(facts["reads_history"])

    @property
    def identity(self) -> dict[str, Any]:
        return dict(self._facts["identity"])

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of frames."""
        return self._loaded(frames, infos)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loaded, name)

    @cached_property
    def _loaded(self) -> SafetyScorer:
        scorer = self._build()
        if facts_of(scorer) != self._facts:
            raise RuntimeError(
                f"scorer {self._facts['identity'].get('name')!r} has changed while its files kept "
                f"their times; empty {_folder()} and run this again"
            )
        return scorer

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._build, self._facts)


def remember(
    spec: str, build: Callable[[], SafetyScorer], options: Mapping[str, Any] | None = None
) -> SafetyScorer:
    """The scorer of a name and its ``options``, loaded only as far as needed; ``build`` loads it.

    Names that may stand for more files than can be told (of servers, hubs, other scorers, other
    packages) are not remembered: these scorers are built.
    """
    stamp = _stamp(spec, options or {})
    if stamp is None:
        return build()
    path = _folder() / f"{stamp}.json"
    facts = _read(path)
    if facts is not None:
        return RememberedScorer(build, facts)
    scorer = build()
    _write(path, facts_of(scorer))
    return scorer


def facts_of(scorer: SafetyScorer) -> dict[str, Any]:
    """What has to be known of a scorer before it scores, as it is read from JSON."""
    facts: dict[str, Any] = json.loads(
        json.dumps(
            {
                "identity": scorer.identity,
                "context_frames": context_frames(scorer),
                "frame_size": frame_size(scorer),
                "reads_infos": reads_infos(scorer),
                "reads_history": reads_history(scorer),
            }
        )
    )
    return facts


def _folder() -> Path:
    return cache_folder() / "identities"


def _stamp(spec: str, beside: Mapping[str, Any]) -> str | None:
    """Changes with everything that the identity of ``"bundled"`` or a model's folder comes from."""
    source, written = split_spec(spec)
    source, options = unquoted(source), written | dict(beside)
    if any(isinstance(value, str) and path_exists(value) for value in options.values()):
        return None  # an option that names a file
    if source == BUNDLED:
        files = list(_files(_HERE))
    elif Path(source).is_dir():
        files = [*_files(_HERE), *_files(Path(source).resolve())]
    else:
        return None
    facts = [source, options, files, [_version(name) for name in _LIBRARIES]]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            status = path.stat()
            yield str(path), status.st_size, status.st_mtime_ns


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> dict[str, Any] | None:
    """What :func:`_write` wrote; ``None`` when it is missing or damaged."""
    try:
        checksum, facts = read_json(path, list)
        sound = checksum == _checksum(facts)
    except (OSError, ValueError, TypeError):
        return None
    return dict(facts) if sound else None


def _write(path: Path, facts: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nothing but time is lost
        write_json(path, [_checksum(facts), facts])


def _checksum(facts: Any) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())
