"""The text that lies beside a pupil's weights; its figures come from the record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_CARD = """\
---
license: mit
tags: [driving, safety, bird's-eye-view, distillation]
---

# A distilled judge

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
    return _table(
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
    return _table(("held-out frames", "question", *columns), lines)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
