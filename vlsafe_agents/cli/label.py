"""``vlsafe label``: add safety scores to every frame of a data set."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli import completion
from vlsafe_agents.cli.scorers import about_reading, collected_metadata, load_scorer
from vlsafe_agents.cli.tables import print_table, say

if TYPE_CHECKING:
    from vlsafe_agents.labelling import LabelEstimate, LabelSummary
    from wrappers.controls import Deal

_PRIVATE_CACHE = ".label-cache"  # beside the data, with --no-cache


def label(
    data: Annotated[Path, typer.Argument(help="Folder of the data set, or its Minari root.")],
    scorer: Annotated[
        str,
        typer.Option(
            help="bundled, oracle, constant:0.9, a hub name, a folder, ...",
            autocompletion=completion.scorers,
        ),
    ] = "bundled",
    batch_size: Annotated[int, typer.Option(help="Frames scored at once.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Processes, or Ray's actors.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="PyTorch threads a process.", min=1)] = 1,
    engine: Annotated[str, typer.Option(help='"processes", or "ray" (needs Ray Data).')] = (
        "processes"
    ),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of known scores; default: the user's cache.")
    ] = None,
    cache_size: Annotated[int, typer.Option(help="Its greatest size [MB].", min=1)] = 1024,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep scores of other runs.")
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="Of other people's data: the observation that is scored.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost.")
    ] = False,
) -> dict[str, Any]:
    """Add the scorer's safety score p of every frame; an earlier scorer's are replaced.

    "shuffled:<scorer>" deals that scorer's scores to the wrong frames (a control),
    "shuffled:<scorer>,share=0.5" those of half of the frames, and "blind:<scorer>,share=0.5" gives
    p = 1 in half of the situations.  No frame is scored twice, in whatever data set it lies; the
    same command goes on where it was killed, and scores only what has no label yet.  A run with
    labels for (nearly) no frames is an error, and leaves the labels as they were.
    """
    from vlsafe_agents.cli.environments import is_ours
    from vlsafe_agents.data.storage import read_metadata, resolve_dataset
    from vlsafe_agents.labelling import estimate
    from vlsafe_agents.labelling import label as label_frames

    data_path = resolve_dataset(data)
    metadata = read_metadata(data_path)
    ours = is_ours(metadata)  # their scenes can be drawn; of others the stored images are scored
    if ours:
        collected_metadata(data_path)
        if image is not None:
            raise ValueError(
                "--image is for data of other people; ours are drawn from their scenes"
            )
    if no_cache and cache is not None:
        raise ValueError("--cache and --no-cache contradict each other; give one of them")
    spec, options, deal = _split_shuffled(scorer)
    make_scorer = partial(_make_scorer, spec, options, threads, not no_cache)
    idle_cores = max(1, (os.cpu_count() or 1) // workers - threads)
    make_drawing = None
    if ours:
        make_drawing = _drawing_of(metadata["env_id"], metadata["env_kwargs"], idle_cores)
    folder = data_path.parent / _PRIVATE_CACHE if no_cache else cache
    with _scores_in(folder, cache_size, no_cache and not dry_run) as store:
        if dry_run:
            found = estimate(data, make_scorer, make_drawing, store, batch_size, image)
            _print_estimate(found, workers)
            return {"data": data_path, **vars(found), "seconds": found.seconds}
        summary = label_frames(
            data,
            make_scorer,
            make_drawing,
            store,
            batch_size=batch_size,
            workers=workers,
            engine=engine,  # type: ignore[arg-type]  # checked there
            deal=deal,
            image=image,
        )
    _note_scorer(data_path, scorer)
    _print_summary(summary)
    _print_counts(summary, data_path)
    return {"data": data_path, **vars(summary)}


def _note_scorer(data_path: Path, scorer: str) -> None:
    """Write down by what name the labels' scorer was asked for; the report repeats the command."""
    from vlsafe_agents.data.storage import read_metadata, update_metadata

    labels = (read_metadata(data_path).get("labelling") or {}).get("labels_sha256")
    update_metadata(data_path, {"labelled_with": {"scorer": scorer, "labels_sha256": labels}})


@contextmanager
def _scores_in(folder: Path | None, megabytes: int, remove: bool) -> Iterator[Any]:
    """A cache; with ``remove`` its folder goes when all went well."""
    from wrappers.score_cache import ScoreCache

    store = ScoreCache(folder, limit=megabytes * 1_000_000)
    try:
        yield store
    finally:
        store.close()
    if remove:
        shutil.rmtree(store.folder, ignore_errors=True)


def _split_shuffled(scorer: str) -> tuple[str, dict[str, Any], Deal | None]:
    """The scorer inside "shuffled:<scorer>", its options, and which frames get other scores."""
    from wrappers.controls import Deal
    from wrappers.scorer import BUNDLED
    from wrappers.specs import split_spec

    bare, options = split_spec(scorer)
    name, _, inside = bare.partition(":")
    if name != "shuffled":
        return scorer, {}, None
    if "pool_size" in options:
        raise ValueError("pool_size has no effect here: all scores are permuted; leave it out")
    own = {key: options.pop(key) for key in ("seed", "share") if key in options}
    return inside or BUNDLED, options, Deal(**own)


def _make_scorer(spec: str, options: dict[str, Any], threads: int, remembered: bool) -> Any:
    from wrappers.remembered_scorer import remember

    build = partial(load_scorer, spec, threads, **options)
    return remember(spec, build, options) if remembered else build()


def _drawing_of(env_id: str, env_kwargs: dict[str, Any], threads: int) -> Any:
    """What draws the scorer's frames; ``None`` where it sees the stored images.

    Scenes on MetaDrive's maps cannot be drawn again: the road is not in them.
    """
    from vlsafe_envs.registry import row_of

    if not row_of(env_id).fixed_road:
        return None
    return partial(_make_drawing, env_id, env_kwargs, threads)


def _make_drawing(env_id: str, env_kwargs: dict[str, Any], threads: int) -> Any:
    from vlsafe_envs import SceneRenderer
    from vlsafe_envs.threads import limit_threads

    limit_threads(threads)
    return SceneRenderer(env_id, **env_kwargs)


def _print_estimate(found: LabelEstimate, workers: int) -> None:
    from vlsafe_agents.common.progress import duration

    known = found.kept + found.from_cache
    say(
        f"{found.frames:,} frames: {found.kept:,} have this label, {found.from_cache:,} need no "
        f"scoring ({known / found.frames:.1%} known together), {found.to_score:,} to be scored"
    )
    if found.price is not None and math.isnan(found.price):
        say("expected price: unknown; give the scorer its prices, for example prompt_price=0.15")
    elif found.price is not None:
        say(f"expected price: about ${found.price:,.2f}")
    elif found.seconds is None:
        say("expected time: unknown")
    else:
        rate = f" at {found.frames_per_second:,.0f} frames/s" if found.frames_per_second else ""
        more = "" if workers == 1 else f"; less with {workers} workers, where cores are idle"
        say(f"expected time: about {duration(found.seconds)}{rate} with one worker{more}")


def _print_counts(summary: LabelSummary, data_path: Path) -> None:
    counts = summary.counts
    if counts is None:
        say("all frames had this scorer's labels already: nothing to do")
        return
    say(
        f"{counts.frames:,} frames in {counts.seconds:,.1f} s ({counts.frames_per_second:,.0f} "
        f"frames/s): {counts.scored:,} scored, {counts.from_cache:,} from the cache or equal to "
        f"another frame, {counts.kept:,} kept, {counts.without_label:,} without a label"
    )
    if counts.without_label:
        say(_about_unlabelled(counts.without_label, counts.frames, data_path))


def _about_unlabelled(missed: int, frames: int, data_path: Path) -> str:
    from vlsafe_agents.labelling import UNLABELLED_FILE

    path = data_path / UNLABELLED_FILE
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8"), newline=""))
    reasons = Counter(row["reason"] or "no reason given" for row in rows)
    most = ", ".join(f"{count:,} {reason!r}" for reason, count in reasons.most_common(3))
    return (
        f"{missed:,} of {frames:,} frames have NO label ({most}); {path} lists them, training "
        "leaves their episodes out, and the same command scores only these"
    )


def _print_summary(summary: LabelSummary) -> None:
    name = summary.scorer.get("model", summary.scorer["name"])
    highest = max(1, *summary.histogram)
    rows = [
        (
            f"{place / 10:.1f}-{(place + 1) / 10:.1f}",
            f"{count:,}",
            "#" * round(40 * count / highest),
        )
        for place, count in enumerate(summary.histogram)
    ]
    print_table(f"p over {summary.frames:,} frames", ("p", "frames", ""), rows)
    say(f"scored by {name}")
    for line in about_reading(summary.scorer):
        say(line)
    say(
        f"unsafe by simulator truth: {_figure(summary.unsafe_share, '.1%')} of steps; mean p "
        f"{_figure(summary.mean_safe, '.3f')} on safe and {_figure(summary.mean_unsafe, '.3f')} on "
        f"unsafe steps; AUROC of 1 - p {_figure(summary.auroc, '.3f')}"
    )


def _figure(value: float, form: str) -> str:
    return "not known" if math.isnan(value) else format(value, form)
