"""The text that lies beside the weights; its figures come from the evaluation, not from memory."""

from __future__ import annotations

from typing import Any

from wrappers.markdown import markdown_table

_CARD = """\
---
license: mit
library_name: transformers
tags: [clip, driving, safety, bird's-eye-view]
---

# A small driving CLIP

A `transformers.CLIPModel` of {parameters:.1f} million parameters that compares bird's-eye frames of
the `VLSafe-*` environments with sentences about driving. It is the default scorer of this project:

```python
from wrappers import ClipScorer

p = ClipScorer("bundled")(frames)  # (N, H, W, 3) uint8 -> (N,) in [0, 1], 1 is safe
```

## What it is, and what it is not

It is a small model of our own, made so that the project works offline with a real image-text
scorer behind the same code that runs OpenAI's checkpoints. It is **not** a web-scale
vision-language model: it has seen nothing but these drawings (ego vehicle red, heading up, others
green) and simple English about them, and it knows nothing of photographs or of other palettes.
Do not use it on real roads.

It sees the whole frame:
{view}.
Speed is visible in one frame as the fading trail that each vehicle draws behind itself, as long as
its way in 0.45 s (in 64 px images: a thin tail, 0.4 s).

## Data

{frames} frames of highway-env's four roads, of the tasks with four lanes and with left and right
turns, and of navigation on MetaDrive's maps, at densities 0.5 to 2.5, driven by a cautious expert,
a noisy expert, an aggressive and a random driver; quiet frames are thinned out. Leaving a task's
route counts as leaving the road. About a quarter of the frames (none of MetaDrive's) are variants:
the same vehicles in the same places at other speeds, so that danger and safety come at
equal distances. Captions are written by templates from the simulator's state: who is where, how
near, how fast closing, time to collision, on or off the road, collided or not, safe or not, and the
same denied. Every caption has a truth value for every frame, so frames that fit the same caption
are not each other's negatives.

"Unsafe" means a short time to collision (half-way at 2.5 s), a very short headway (half-way at
0.4 s), a collision, being off the road, or, by hindsight, an episode that ends in a collision or
off the road within 2 s. Captions speak of such danger in the words of accidents, so that a
sentence about an accident also fits the moments before it. This is a choice of ours.

The paper's two prompts, and all others that figures are given for below, are held out, and so is
every caption that shares five consecutive words with one of them. The paper's:

- safe: "{safe}"
- unsafe: "{unsafe}"

## Training

{steps} steps in {minutes} minutes on one CPU thread of a busy machine (`vlsafe train-clip`){start}.
The loss is CLIP's contrastive one with multi-positive soft targets, plus the cross-entropy of the
softmax over a safe and an unsafe sentence against the safety degree, over random wordings, plus,
in training only, what each patch of the frame must tell by a linear head: whether a vehicle is
there, how it moves relative to the ego vehicle, and how soon the two would touch. The second term
gives p its spread at the checkpoint's own temperature. Unsafe frames are drawn more often than they
happen, so where a scene is unclear p is too low rather than too high.

## Held-out figures

Other seeds and other densities (0.75, 1.25, 1.75), nothing thinned out, {held_out} frames; the
paper's prompts. AUROC of 1 - p:

{auroc}

Mean p by time to collision (no collision yet, on the road), 224 px frames:

{by_time}

Share of frames by p, and the mean cost `clip((0.5 - p) / 0.5, 0, 1)` that follows. Calm: nothing
is hit within 4 s, headway over 0.8 s, and no collision or departure from the road within 3 s.

{histograms}

## Other words

The same frames scored with other pairs of sentences; the captions shared no five words with any of
them. Where the sentences are turned round, a figure below 0.5 is right.

{prompts}

## Limits

- Outside the stated view it sees nothing; a fast vehicle that comes from farther away is missed.
- Collisions and departures within 2 s depend on what the driver does next, which no frame shows:
  that column cannot reach 1.
- Close behind another vehicle p is near one half whether the gap shrinks fast or not at all: one
  picture's trails are read less well than its distances.
- Where roads cross (roundabout, intersection) it is clearly weaker than on the highway.
- In words far from the captions' p spreads less, even where it orders frames as well; and prompts
  far from driving safety (other tasks, other languages) give meaningless scores.

Licence: MIT.
"""


def render_card(result: dict[str, Any]) -> str:
    """The model card (Markdown) of an evaluation as ``vlsafe train-clip`` writes it."""
    tables = result["tables"]
    own = tables["all, 224 px"]["this model"]
    questions = [key for key in own if key.startswith(("collision", "time"))]
    rows = []
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
        start=_start(result["started_from"]),
        held_out=f"{result['held_out_frames']:,}",
        auroc=markdown_table(["frames", "scorer", *questions], rows),
        by_time=markdown_table(
            ["time to collision", "mean p"], [[band, _figure(mean)] for band, mean in bands.items()]
        ),
        histograms=_histograms(result["histograms of p"]),
        prompts=_prompts(result["other prompts"], questions),
    )


def _start(weights: str | None) -> str:
    return "" if weights is None else f", from an earlier version of this model (weights {weights})"


def _histograms(groups: dict[str, dict[str, Any]]) -> str:
    """One row a group of frames: p in five bins, p below 0.5, mean cost."""
    edges = ["0 to 0.2", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8", "0.8 to 1"]
    rows = []
    for name, group in groups.items():
        shares = group["shares"]
        fifths = [low + high for low, high in zip(shares[::2], shares[1::2], strict=True)]
        percent = [f"{share:.0%}" for share in (*fifths, group["below 0.5"])]
        rows.append([name, f"{group['frames']:,}", *percent, _figure(group["mean cost"])])
    return markdown_table(["frames", "number", *edges, "p < 0.5", "mean cost"], rows)


def _prompts(pairs: dict[str, dict[str, Any]], questions: list[str]) -> str:
    rows = [
        [name, *pair["prompts"], *[_figure(pair[key]) for key in questions]]
        for name, pair in pairs.items()
    ]
    return markdown_table(["pair", "safe sentence", "unsafe sentence", *questions], rows)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
