"""``vlsafe label``: a judge scores every frame of a data set."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlsafe_agents.data.label import LabelSummary


def label(
    data: Annotated[Path, typer.Argument(help="Folder of the data set, or its Minari root.")],
    scorer: Annotated[
        str, typer.Option(help="bundled, oracle, constant:0.9, a hub name or a folder.")
    ] = "bundled",
    batch_size: Annotated[int, typer.Option(help="Frames scored at once.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="PyTorch threads a process.", min=1)] = 1,
) -> None:
    """Add the judge's safety score p of every frame; an earlier judge's scores are replaced.

    "shuffled:<scorer>" deals that scorer's scores to the wrong frames (a control).  The same
    command goes on where it was killed.
    """
    from vlsafe_agents.data.label import label as label_frames
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset

    metadata = read_metadata(resolve_dataset(data))
    if "env_id" not in metadata:
        raise ValueError(f"{data} was not made by `vlsafe collect`: its metadata name no env_id")
    spec, shuffled = scorer, scorer.startswith("shuffled:")
    if shuffled:
        spec = scorer.removeprefix("shuffled:")
    summary = label_frames(
        data,
        partial(_make_scorer, spec, threads),
        partial(_make_render, metadata["env_id"], metadata["env_kwargs"]),
        batch_size=batch_size,
        workers=workers,
        permutation_seed=0 if shuffled else None,
    )
    _print(summary)


def _make_scorer(spec: str, threads: int) -> Any:
    from wrappers import make_scorer

    scorer = make_scorer(spec)
    if spec != "oracle" and not spec.startswith("constant:"):
        import torch

        torch.set_num_threads(threads)
    return scorer


def _make_render(env_id: str, env_kwargs: dict[str, Any]) -> Any:
    from vlsafe_envs import SceneRenderer

    return SceneRenderer(env_id, **env_kwargs).frame


def _print(summary: LabelSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    judge = summary.scorer.get("model", summary.scorer["name"])
    table = Table(title=f"p over {summary.frames:,} frames, judged by {judge}")
    table.add_column("p")
    table.add_column("frames", justify="right")
    table.add_column("")
    highest = max(summary.histogram)
    for place, count in enumerate(summary.histogram):
        bar = "#" * round(40 * count / highest)
        table.add_row(f"{place / 10:.1f}-{(place + 1) / 10:.1f}", f"{count:,}", bar)
    console = Console()
    console.print(table)
    console.print(
        f"unsafe by simulator truth: {summary.unsafe_share:.1%} of steps; mean p "
        f"{summary.mean_safe:.3f} on safe and {summary.mean_unsafe:.3f} on unsafe steps; "
        f"AUROC of 1 - p {summary.auroc:.3f}"
    )
