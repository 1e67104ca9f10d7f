"""The text that lies beside the weights; its figures come from the evaluation, not from memory."""

from __future__ import annotations

from typing import Any

_CARD = """\
---
license: mit
library_name: transformers
tags: [clip, driving, safety, bird's-eye-view]
---

# A small driving CLIP

A `transformers.CLIPModel` of {parameters:.1f} million parameters that compares bird's-eye frames of
the `VLSafe-*` environments with sentences about driving. It is the default judge of this project:

```python
from wrappers import ClipScorer

p = ClipScorer("bundled")(frames)  # (N, H, W, 3) uint8 -> (N,) in [0, 1], 1 is safe
```

## What it is, and what it is not

It is a small model of our own, made so that the project works offline with a real image-text
judge behind the same code that runs OpenAI's checkpoints. It is **not** a web-scale
vision-language model: it has seen nothing but these drawings (ego vehicle red, heading up, others
green) and simple English about them, and it knows nothing of photographs or of other palettes.
Do not use it on real roads.

It sees the middle of a frame:
{view}.
Speed is visible in one frame as the tail that each vehicle drags behind it.

## Data

{frames} frames of all four environments at densities 0.5 to 2.5, driven by a cautious expert, a
noisy expert, an aggressive and a random driver; quiet frames are thinned out. Captions are written
by templates from the simulator's state: who is where, how near, how fast closing, time to
collision, on or off the road, collided or not, safe or not. Every caption has a truth value for
every frame, so frames that fit the same caption are not each other's negatives.

"Unsafe" means a short time to collision (half-way at 2.5 s), a very short headway (half-way at
0.4 s), a collision, being off the road, or, by hindsight, an episode that ends in a collision or
off the road within 2 s. Captions speak of such danger in the words of accidents, so that a
sentence about an accident also fits the moments before it. This is a choice of ours.

The paper's two prompts are held out, and so is every caption that shares five consecutive words
with one of them:

- safe: "{safe}"
- unsafe: "{unsafe}"

## Training

{steps} steps in {minutes} minutes on one CPU thread of a busy machine (`vlsafe train-clip`).
The loss is CLIP's contrastive one with multi-positive soft targets, plus the cross-entropy of the
softmax over a safe and an unsafe sentence against the safety degree, over random wordings. The
second term gives p its spread at the checkpoint's own temperature. Unsafe frames are drawn more
often than they happen, so where a scene is unclear p is too low rather than too high.

## Held-out figures

Other seeds and other densities (0.75, 1.25, 1.75), nothing thinned out, {held_out} frames; the
paper's prompts. AUROC of 1 - p:

{auroc}

Mean p by time to collision (no collision yet, on the road), 224 px frames:

{by_time}

## Limits

- Outside the stated view it sees nothing; a fast vehicle that comes from farther away is missed.
- Collisions and departures within 2 s depend on what the driver does next, which no frame shows:
  that column cannot reach 1.
- Prompts far from driving safety (other tasks, other languages) give meaningless scores.

Licence: MIT.
"""


def render_card(result: dict[str, Any]) -> str:
    """The model card (Markdown) of an evaluation as ``vlsafe train-clip`` writes it."""
    tables = result["tables"]
    own = tables["all, 224 px"]["this model"]
    questions = [key for key in own if key.startswith(("collision", "time"))]
    rows = [["frames", "scorer", *questions]]
    for frames, scorers in tables.items():
        for scorer, figures in scorers.items():
            rows.append([frames, scorer, *[_figure(figures[key]) for key in questions]])
    bands = own["mean p by time to collision"]
    return _CARD.format(
        parameters=result["parameters"] / 1e6,
        view=result["view"],
        frames=f"{result['frames']:,}",
        safe=result["prompts"][0],
        unsafe=result["prompts"][1],
        steps=f"{result['steps']:,}",
        minutes=round(result["training_minutes"]),
        held_out=f"{result['held_out_frames']:,}",
        auroc=_markdown(rows),
        by_time=_markdown(
            [
                ["time to collision", "mean p"],
                *[[band, _figure(mean)] for band, mean in bands.items()],
            ]
        ),
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _markdown(rows: list[list[str]]) -> str:
    """A table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
