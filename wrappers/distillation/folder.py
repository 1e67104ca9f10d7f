"""A pupil on disk: weights, what they are and who taught them, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from wrappers.distillation.network import Pupil, PupilConfig, count_parameters
from wrappers.files import read_json, reading, replacing, write_json, write_text
from wrappers.markdown import markdown_table

FORMAT = 1
WEIGHTS, FACTS, CARD = "model.safetensors", "pupil.json", "README.md"
_MOST_WEIGHTS = 64 << 20  # [bytes]; ours has 0.3 MB
_REMEDY = "name a folder written by `vlsafe distill`"


@dataclass(frozen=True)
class Record:
    """Where a pupil comes from; all of it JSON-able."""

    teacher: Mapping[str, Any]  # identity of the scorer whose labels were learnt
    agreement: Mapping[str, Mapping[str, Any]]  # of :func:`~.agreement.compare`, by kind of frames
    training: Mapping[str, Any]  # on what, how long


def save_pupil(folder: str | Path, pupil: Pupil, record: Record) -> None:
    """Write ``model.safetensors``, ``pupil.json`` and the model card ``README.md``."""
    folder = Path(folder)
    network = asdict(pupil.config)
    facts = {"format": FORMAT, "network": network, **asdict(record)}
    weights = {name: tensor.contiguous() for name, tensor in pupil.state_dict().items()}
    (folder / FACTS).unlink(missing_ok=True)  # never old facts beside new weights
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(weights))
    write_text(folder / CARD, render_card(facts, count_parameters(pupil)))
    write_json(folder / FACTS, facts)


def load_pupil(folder: str | Path) -> tuple[Pupil, Record]:
    """What :func:`save_pupil` wrote.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: for anything else than a whole pupil; the message names the file.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    record = Record(facts["teacher"], facts["agreement"], facts["training"])

    def build(path: Path) -> Pupil:
        return _build(PupilConfig(**facts["network"]), path)

    return reading(folder / WEIGHTS, f"the weights of {FACTS}", build, _REMEDY), record


def _build(config: PupilConfig, weights: Path) -> Pupil:
    if (size := weights.stat().st_size) > _MOST_WEIGHTS:
        raise ValueError(f"{size / 1e6:,.0f} MB are too many")
    with torch.device("meta"):  # takes no memory, whatever the sizes
        pupil = Pupil(config)
    stored = {name: tensor.float() for name, tensor in load_file(weights).items()}
    pupil.load_state_dict(stored, assign=True)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in stored.values()):
        raise ValueError("some are not finite")
    return pupil.eval()


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    facts: dict[str, Any] = read_json(path, remedy=_REMEDY)
    parts = ("network", "teacher", "agreement", "training")
    if set(facts) != {"format", *parts} or facts["format"] != FORMAT:
        raise ValueError(f"{path} is no distilled scorer of format {FORMAT}; {_REMEDY}")
    for name in parts:
        if not isinstance(facts[name], dict):
            raise ValueError(f"{path}: {name} is {facts[name]!r}, not an object; {_REMEDY}")
    return facts


_CARD = """\
---
license: mit
tags: [driving, safety, bird's-eye-view, distillation]
---

# A distilled scorer

A network of {parameters:,} weights that gives a frame the safety score that its teacher would give
it, for use in every step of a fast simulator:

```python
from wrappers import make_scorer

scorer = make_scorer("distilled:<this folder>")
p = scorer(frames)  # (N, {size}, {size}, 3) uint8 -> (N,) in [0, 1], 1 is safe
```

It knows nothing but what its teacher said, errors included, and nothing of frames unlike those of
its lessons: other palettes, other scales, photographs. Do not use it on real roads. Nor does it
compare a frame with sentences: what was asked is fixed by its teacher's prompts.

## Teacher

```json
{teacher}
```

## Lessons

{lessons}

## Agreement with the teacher

On whole episodes kept out of the lessons. Alarms are frames with the teacher's p < 0.5; the last
column is how well the pupil's p ranks them below all others (AUROC). With chance agreement it
would be 0.5, the rank correlation 0.

{agreement}

## Against the simulator's truth

AUROC of 1 - p on the same held-out frames, teacher and pupil side by side. Where the teacher is
blind, so is its pupil.

{truth}
"""


def render_card(facts: Mapping[str, Any], parameters: int) -> str:
    """The card of what ``pupil.json`` holds."""
    rows = facts["agreement"]
    return _CARD.format(
        parameters=parameters,
        size=facts["network"]["frame_size"],
        teacher=json.dumps(facts["teacher"], indent=1),
        lessons="\n".join(f"- {name}: {_text(value)}" for name, value in facts["training"].items()),
        agreement=_agreement_table(rows),
        truth=_truth_table(rows),
    )


def _agreement_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ("frames", "alarms", "mean_absolute_error", "spearman", "auroc_of_alarms")
    titles = ("held-out frames", "frames", "alarms", "mean \\|difference\\| of p")
    return markdown_table(
        (*titles, "rank correlation", "AUROC of alarms"),
        [(name, *(_text(row[column]) for column in columns)) for name, row in rows.items()],
    )


def _truth_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ("frames", "unsafe", "teacher", "pupil")
    lines = [
        (name, question, *(_text(answer[column]) for column in columns))
        for name, row in rows.items()
        for question, answer in row["truth"].items()
    ]
    if not lines:
        return "No truth was given."
    return markdown_table(("held-out frames", "question", *columns), lines)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return str(value)
