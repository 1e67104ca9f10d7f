"""Who scores the batches: this process, several, or Ray's workers on several machines.

All give the same scores, because the batches are the same.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from vlsafe_agents.common.ray_cluster import import_ray, start_ray
from vlsafe_agents.data.frames import Drawing, FrameSource, drawing_for
from vlsafe_agents.data.pool import WorkerError, run_streams
from vlsafe_agents.labelling.stream import Batch, Scored, ScoringStream
from wrappers.scorer import SafetyScorer

Engine = Literal["processes", "ray"]

RAY_DATA = "ray.data"
_AHEAD = 3  # batches given to a worker before it has answered the first


@dataclass(frozen=True)
class Makers:
    """How a worker gets its scorer and its drawing; picklable where there are several workers.

    With an ``identity`` every worker's scorer must be that one: files on other machines, and
    servers, may change.
    """

    scorer: Callable[[], SafetyScorer]
    drawing: Callable[[], Drawing] | None
    identity: Mapping[str, Any] | None = None

    def stream(self, source: FrameSource) -> ScoringStream:
        """What a worker does with its batches.

        Raises:
            RuntimeError: for another scorer
        """
        scorer = self.scorer()
        if self.identity is not None and (others := self._differences(scorer)):
            raise RuntimeError(
                f"a worker's scorer is another one than that of the command: they differ in "
                f"{', '.join(others)}"
            )
        drawing = None if self.drawing is None else self.drawing()
        return ScoringStream(source, scorer, drawing_for(scorer, drawing))

    def _differences(self, scorer: SafetyScorer) -> list[str]:
        wanted, own = dict(self.identity or {}), json.loads(json.dumps(scorer.identity))
        return sorted(key for key in wanted.keys() | own if wanted.get(key) != own.get(key))


def check_engine(engine: str, workers: int) -> None:
    """Raise ``ValueError`` for an unknown engine or no workers, ``ImportError`` without Ray."""
    if engine not in get_args(Engine):
        raise ValueError(f"unknown engine {engine!r}; choose one of {get_args(Engine)}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if engine == "ray":
        import_ray(RAY_DATA)


def run_batches(
    engine: Engine, makers: Makers, source: FrameSource, batches: Iterator[Batch], workers: int
) -> Iterator[Scored]:
    """Batches as they are scored, in any order.

    Raises:
        RuntimeError: with a worker's own words where one fails
    """
    try:
        if engine == "ray":
            yield from _run_on_ray(makers, source, batches, workers)
        else:
            yield from run_streams(partial(makers.stream, source), batches, workers, _AHEAD)
    except WorkerError as error:
        raise RuntimeError(error.words or str(error)) from error


def _run_on_ray(
    makers: Makers, source: FrameSource, batches: Iterator[Batch], workers: int
) -> Iterator[Scored]:
    """Ray Data hands out batches to actors, one scorer each; all machines must see the data."""
    ray, started = start_ray(workers, RAY_DATA)
    ray.data.DataContext.get_current().enable_progress_bars = False  # we have our own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = [{"batch": pickle.dumps(batch)} for batch in batches]
    try:
        # small blocks: what a block has scored comes back, and is kept, when all of it is done
        tasks = ray.data.from_items(items, override_num_blocks=-(-len(items) // _AHEAD))
        scored = tasks.map_batches(
            _RayWorker,
            fn_constructor_args=(makers, source),
            batch_size=_AHEAD,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in scored.iter_rows():
            yield pickle.loads(row["scored"])
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"scoring with Ray failed: {_last_words(error)}") from error
    finally:
        if started:
            ray.shutdown()


def _last_words(error: Exception) -> str:
    """What a worker's error says, without the way there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    kind, _, words = lines[-1].partition(": ")
    return words if words and " " not in kind else lines[-1]


class _RayWorker:
    def __init__(self, makers: Makers, source: FrameSource) -> None:
        self._stream = makers.stream(source)

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        batches = (pickle.loads(batch) for batch in block["batch"])
        return {"scored": [pickle.dumps(scored) for scored in self._stream(batches)]}
