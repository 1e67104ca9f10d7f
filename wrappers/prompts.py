"""The sentences that a dual encoder compares a frame with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """

    safe: tuple[str, ...] = (SAFE_PROMPT,)
    unsafe: tuple[str, ...] = (UNSAFE_PROMPT,)
    baseline: tuple[str, ...] = (BASELINE_PROMPT,)

    @property
    def pair(self) -> list[str | list[str]]:
        """The safe and the unsafe side as JSON: a sentence, or a list of several."""
        return [list(side) if len(side) > 1 else side[0] for side in (self.safe, self.unsafe)]


def read_prompts(prompts: Prompts | Sequence[Sentences] | str | Path) -> Prompts:
    """Prompts from a safe and an unsafe side, or from a JSON file.

    A side is a sentence or several.  A file holds ``{"safe": ..., "unsafe": ...}`` and, if it
    likes, ``"baseline"``.

    Raises ``ValueError`` for anything else, empty sentences included.
    """
    if isinstance(prompts, Prompts):
        return prompts
    if isinstance(prompts, str | Path):
        return _read_file(Path(prompts))
    if len(prompts) != 2:
        raise ValueError(f"prompts must be a safe and an unsafe side, got {prompts!r}")
    return Prompts(*(_sentences(side, prompts) for side in prompts))


def _read_file(path: Path) -> Prompts:
    if path.suffix != ".json" or not path.is_file():
        raise ValueError(
            f"prompts must be a safe and an unsafe side or the name of a .json file with both, got "
            f"{str(path)!r}"
        )
    content = json.loads(path.read_text())
    known = ("safe", "unsafe", "baseline")
    if not isinstance(content, dict) or not {"safe", "unsafe"} <= set(content) <= set(known):
        raise ValueError(f"prompts file {path} must hold 'safe', 'unsafe' and perhaps 'baseline'")
    return Prompts(**{key: _sentences(side, content) for key, side in content.items()})


def _sentences(side: Any, prompts: Any) -> tuple[str, ...]:
    sentences = (side,) if isinstance(side, str) else tuple(side)
    if not sentences or not all(isinstance(text, str) and text.strip() for text in sentences):
        raise ValueError(f"prompts hold an empty side or something but sentences: {prompts!r}")
    return sentences
