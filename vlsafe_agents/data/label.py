"""Having a judge score every frame of a data set, in batches and resumable.

Frames are rendered again from the stored scenes, so they need no disk space.  Scores of a chunk of
episodes are kept in a side file as soon as they are known; when all are there, they are written
into a copy of the HDF5 file that then replaces it.  Chunks and batches have fixed borders: the
scores do not depend on interruptions or on the number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from ..common.progress import ProgressReport
from .episode import Array, check_numbers
from .pool import run_tasks
from .storage import MAIN_FILE, METADATA_FILE, read_metadata, resolve_dataset

_CHUNK_FRAMES = 512  # scored between two side files


class Scorer(Protocol):
    """Judges frames; see ``wrappers.SafetyScorer``."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that tells two scorers apart."""

    def __call__(
        self, frames: npt.NDArray[np.uint8], infos: Sequence[Mapping[str, Any]] | None = None
    ) -> Array:
        """Scores ``(N,)`` in [0, 1] of frames ``(N, H, W, 3)``; 1 is safe."""


Render = Callable[[Array], npt.NDArray[np.uint8]]  # packed scene -> frame (H, W, 3)


@dataclass(frozen=True)
class LabelSummary:
    """How the scores of a data set are spread and how they agree with simulator truth.

    A step is unsafe here when its ``env_cost`` is above 0; the resets' frames are left out.
    """

    frames: int
    scorer: dict[str, Any]
    unsafe_share: float
    mean_safe: float  # mean p over safe steps
    mean_unsafe: float  # mean p over unsafe steps; NaN when there are none
    auroc: float  # chance that an unsafe step scores below a safe one; NaN when undefined
    histogram: tuple[int, ...]  # frames in ten equal bins of p from 0 to 1


def label(
    id_or_path: str | Path,
    make_scorer: Callable[[], Scorer],
    make_render: Callable[[], Render] | None = None,
    batch_size: int = 64,
    workers: int = 1,
    permutation_seed: int | None = None,
    progress: bool = True,
) -> LabelSummary:
    """Write ``infos/safety_score`` for every observation; an earlier judge's scores are replaced.

    ``make_render`` builds the function that draws a packed scene; without it the judge sees the
    stored images.  Both factories must be picklable when ``workers`` is above 1.  With a
    ``permutation_seed`` the scores are dealt to the wrong frames: a control without information.

    Raises ``ValueError`` for data without scenes (or images) and for a scorer that returns
    another shape or values outside [0, 1].
    """
    data_path = resolve_dataset(id_or_path)
    metadata = read_metadata(data_path)
    scorer = make_scorer()
    identity = json.loads(json.dumps(scorer.identity))
    chunks = _chunks(data_path, metadata["total_episodes"])
    side = data_path.parent / f".labels-{_stamp(identity, metadata, make_render, batch_size)}"
    side.mkdir(exist_ok=True)
    build = (lambda: scorer) if workers == 1 else make_scorer
    job = partial(_make_job, data_path, chunks, side, build, make_render, batch_size)
    _score_chunks(chunks, side, job, workers, progress)
    scores = np.concatenate([np.load(_side_file(side, i)) for i in range(len(chunks))])
    if permutation_seed is not None:
        scores = np.random.default_rng(permutation_seed).permutation(scores)
        identity = {"name": "shuffled", "seed": permutation_seed, "of": identity}
    _write_scores(data_path, scores, identity)
    shutil.rmtree(side)
    return summarise_labels(data_path)


def summarise_labels(id_or_path: str | Path) -> LabelSummary:
    """Spread of the stored scores.  Raises ``ValueError`` when the data are not labelled."""
    data_path = resolve_dataset(id_or_path)
    identity = read_metadata(data_path)["scorer"]
    scores, costs = [], []
    with h5py.File(data_path / MAIN_FILE, "r") as file:
        for number in range(len(file)):
            infos = file[f"episode_{number}/infos"]
            if "safety_score" not in infos:
                raise ValueError(f"{data_path} has no safety scores; add them with `vlsafe label`")
            scores.append(infos["safety_score"][1:])
            costs.append(infos["env_cost"][1:])
    score, unsafe = np.concatenate(scores), np.concatenate(costs) > 0
    histogram, _ = np.histogram(score, bins=10, range=(0.0, 1.0))
    return LabelSummary(
        frames=len(score),
        scorer=identity or {"name": "unknown"},
        unsafe_share=float(unsafe.mean()),
        mean_safe=float(score[~unsafe].mean()) if not unsafe.all() else float("nan"),
        mean_unsafe=float(score[unsafe].mean()) if unsafe.any() else float("nan"),
        auroc=auroc(-score, unsafe),
        histogram=tuple(int(count) for count in histogram),
    )


def auroc(score: Array, positive: Array) -> float:
    """Chance that a positive scores above a negative, ties counted half; NaN with one class only.

    The Mann-Whitney U statistic, from mean ranks.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    mean_rank = (last_rank - (counts - 1) / 2)[inverse]
    excess = mean_rank[positive].sum() - positives * (positives + 1) / 2
    return float(excess / (positives * negatives))


@dataclass(frozen=True)
class _Chunk:
    first: int  # episode
    last: int  # episode, not included
    frames: int


def _chunks(data_path: Path, episodes: int) -> list[_Chunk]:
    """Runs of whole episodes with at least ``_CHUNK_FRAMES`` frames (the last may have fewer)."""
    chunks: list[_Chunk] = []
    first, frames = 0, 0
    with h5py.File(data_path / MAIN_FILE, "r") as file:
        for number in range(episodes):
            frames += len(file[f"episode_{number}/rewards"]) + 1
            if frames >= _CHUNK_FRAMES or number == episodes - 1:
                chunks.append(_Chunk(first, number + 1, frames))
                first, frames = number + 1, 0
    return chunks


def _stamp(
    identity: dict[str, Any], metadata: dict[str, Any], make_render: object, batch_size: int
) -> str:
    """Side files may be reused only for the same judge, data and batches."""
    content = metadata.get("content_hash", metadata["total_steps"])
    key = json.dumps([identity, content, make_render is None, batch_size], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _side_file(side: Path, index: int) -> Path:
    return side / f"chunk_{index:06d}.npy"


def _score_chunks(
    chunks: list[_Chunk],
    side: Path,
    make_job: Callable[[], Callable[[int], int]],
    workers: int,
    progress: bool,
) -> None:
    for leftover in side.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    missing = [i for i in range(len(chunks)) if not _side_file(side, i).exists()]
    total = sum(chunk.frames for chunk in chunks)
    done = total - sum(chunks[i].frames for i in missing)
    with ProgressReport("label", total, "frames", progress) as report:
        report.update(done)
        for _, frames in run_tasks(make_job, iter(missing), min(workers, len(missing) or 1)):
            done += frames
            report.update(done)


def _make_job(
    data_path: Path,
    chunks: list[_Chunk],
    side: Path,
    make_scorer: Callable[[], Scorer],
    make_render: Callable[[], Render] | None,
    batch_size: int,
) -> Callable[[int], int]:
    """What a worker does: score the chunk of an index and write its side file."""
    scorer = make_scorer()
    render = None if make_render is None else make_render()

    def job(index: int) -> int:
        pictures, infos = _read_chunk(data_path, chunks[index], scenes=render is not None)
        scores = []
        for begin in range(0, len(infos), batch_size):
            batch = pictures[begin : begin + batch_size]
            frames = batch if render is None else np.stack([render(scene) for scene in batch])
            scores.append(_checked(scorer(frames, infos[begin : begin + batch_size]), len(frames)))
        temporary = side / f".{index}.{os.getpid()}.tmp"
        with temporary.open("wb") as file:
            np.save(file, np.concatenate(scores))
        os.replace(temporary, _side_file(side, index))
        return len(infos)

    return job


def _checked(scores: Array, count: int) -> npt.NDArray[np.float32]:
    scores = np.asarray(scores)
    if scores.shape != (count,):
        raise ValueError(f"the scorer returned shape {scores.shape} for {count} frames")
    check_numbers("the scorer's answer", scores, low=0.0, high=1.0)
    return scores.astype(np.float32)


def _read_chunk(
    data_path: Path, chunk: _Chunk, scenes: bool
) -> tuple[Array, list[dict[str, float]]]:
    """Packed scenes (or images) ``(N, ...)`` and the scalar infos of N frames."""
    name = "infos/scene" if scenes else "observations/image"
    pictures, infos = [], []
    with h5py.File(data_path / MAIN_FILE, "r") as file:
        for number in range(chunk.first, chunk.last):
            group = file[f"episode_{number}"]
            if name not in group:
                raise ValueError(
                    f"episode {number} has no {name}, so there is no frame to judge; collect with "
                    "scene_in_info=True (as `vlsafe collect` does)"
                )
            pictures.append(group[name][()])
            columns = {key: array[()] for key, array in group["infos"].items() if array.ndim == 1}
            infos += [
                {key: float(column[row]) for key, column in columns.items()}
                for row in range(len(pictures[-1]))
            ]
    return np.concatenate(pictures), infos


def _write_scores(data_path: Path, scores: Array, identity: dict[str, Any]) -> None:
    """Put the scores into a copy of the data file, then let it take the file's place."""
    main = data_path / MAIN_FILE
    copy = data_path / f".{MAIN_FILE}.tmp"
    shutil.copyfile(main, copy)
    with h5py.File(copy, "r+") as file:
        begin = 0
        for number in range(sum(name.startswith("episode_") for name in file)):
            infos = file[f"episode_{number}"].require_group("infos")
            rows = len(file[f"episode_{number}/rewards"]) + 1
            if "safety_score" not in infos:
                infos.create_dataset("safety_score", (rows,), np.float32)
            infos["safety_score"][...] = scores[begin : begin + rows]
            begin += rows
        if file.attrs.get("scorer") != json.dumps(identity):  # writing again would grow the file
            file.attrs["scorer"] = json.dumps(identity)
    os.replace(copy, main)
    # a mirror for readers of Minari's metadata; the data file's own entry counts
    metadata = json.loads((data_path / METADATA_FILE).read_text())
    metadata["scorer"] = identity
    temporary = data_path / f".{METADATA_FILE}.tmp"
    temporary.write_text(json.dumps(metadata))
    os.replace(temporary, data_path / METADATA_FILE)
