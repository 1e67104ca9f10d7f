"""The sentences that a dual encoder compares a frame with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wrappers.files import read_json

# The two sentences of VL-SAFE (arXiv 2505.16377, fig. 2a), word for word.
SAFE_PROMPT = "red vehicle is driving safely with no car accidents."
UNSAFE_PROMPT = (
    "The red car is deviating from its trajectory, driving off the road, "
    "or encountering an accident."
)
BASELINE_PROMPT = "A car."  # says nothing about safety; VLM-RL's baseline for VLM-RM is "A car"

Sentences = str | Sequence[str]


@dataclass(frozen=True)
class Prompts:
    """Safe and unsafe sentences, and a neutral one for the ``"projection"`` form.

    Several sentences of one kind are an ensemble: their unit features are averaged and the average
    is brought to unit length again, as in CLIP's zero-shot code (Radford et al. 2021, sec. 3.1.4).

    Raises:
        ValueError: for a side that is empty or holds something but sentences.
    """

    safe: tuple[str, ...] = (SAFE_PROMPT,)
    unsafe: tuple[str, ...] = (UNSAFE_PROMPT,)
    baseline: tuple[str, ...] = (BASELINE_PROMPT,)

    def __post_init__(self) -> None:
        for field in fields(self):
            _sentences(getattr(self, field.name), field.name)

    @property
    def pair(self) -> list[str | list[str]]:
        """The safe and the unsafe side as JSON: a sentence, or a list of several."""
        return [list(side) if len(side) > 1 else side[0] for side in (self.safe, self.unsafe)]


def read_prompts(prompts: Prompts | Sequence[Sentences] | str | Path) -> Prompts:
    """Prompts from a safe and an unsafe side, or from a JSON file.

    A side is a sentence or several.  A file holds ``{"safe": ..., "unsafe": ...}`` and, if it
    likes, ``"baseline"``.

    Raises:
        ValueError: for anything else, empty sentences included.
        FileNotFoundError: for a file that is not there.
    """
    if isinstance(prompts, Prompts):
        return prompts
    if isinstance(prompts, str | Path):
        return _read_file(Path(prompts))
    if not isinstance(prompts, Sequence) or len(prompts) != 2:
        raise ValueError(f"prompts must be a safe and an unsafe side, got {prompts!r}")
    return Prompts(*(_sentences(side, f"prompts {prompts!r}") for side in prompts))


def _read_file(path: Path) -> Prompts:
    if path.suffix != ".json":
        raise ValueError(
            f"prompts must be a safe and an unsafe side or the name of a .json file with both, got "
            f"{str(path)!r}"
        )
    remedy = 'it should hold {"safe": "...", "unsafe": "..."}'
    content: dict[str, Any] = read_json(path, remedy=remedy)
    known = {field.name for field in fields(Prompts)}
    if not {"safe", "unsafe"} <= set(content) <= known:
        raise ValueError(f"prompts file {path} must hold 'safe', 'unsafe' and perhaps 'baseline'")
    return Prompts(**{key: _sentences(side, f"{path}, {key!r}") for key, side in content.items()})


def _sentences(side: Any, place: str) -> tuple[str, ...]:
    sentences = (side,) if isinstance(side, str) else side
    if not isinstance(sentences, list | tuple):
        raise ValueError(f"{place}: expected a sentence or a list of sentences, got {side!r}")
    if not sentences or not all(isinstance(text, str) and text.strip() for text in sentences):
        raise ValueError(f"{place}: an empty side, or something but sentences: {side!r}")
    return tuple(sentences)
