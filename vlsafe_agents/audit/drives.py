"""Recorded drives as an audit reads them, and what truly happened around each frame.

Everything here follows from the simulator's record.  Where the record ends before an answer is
known (the time limit cut an episode off), the frame is left out of that question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vlsafe_agents.data.driving import LONGEST_TIME
from vlsafe_agents.data.frames import Drawing, FrameReader, FrameSource, read_infos
from vlsafe_agents.data.storage import MAIN_FILE, read_metadata, resolve_dataset
from vlsafe_agents.evaluation.resampling import Array, Bools, Floats, Integers
from wrappers.checks import check_numbers
from wrappers.files import reading
from wrappers.scorer import Frames

CALM_HEADWAY = 0.8  # [s], a calm frame keeps at least this
TRUTH_COLUMNS = ("time_to_collision", "headway", "collision", "off_road")
Packed = npt.NDArray[np.float32]  # scenes (N, ...)


@dataclass(frozen=True)
class Truth:
    """One value a frame, all ``(N,)``; frames of an episode stand together, in order of time."""

    episode: Integers  # rising from 0
    time: Floats  # [s] since the episode's first frame
    time_to_collision: Floats  # [s] if all keep speed and heading; infinite where nothing is hit
    headway: Floats  # [s], infinite without a leader
    collision: Bools
    off_road: Bools
    until_collision: Floats  # [s] until the episode's next collision, 0 at it; or infinite
    until_off_road: Floats  # [s], likewise
    until_cut: Floats  # [s] until the time limit ended the record; infinite if nothing did so

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def until_event(self) -> Floats:
        """Seconds ``(N,)`` until the episode's next collision or departure from the road."""
        return np.minimum(self.until_collision, self.until_off_road)


def seconds_until(event: Bools, episode: Integers, time: Floats) -> Floats:
    """Seconds ``(N,)`` to the next frame of the same episode with an event; infinite: none follows.

    ``event``, ``episode`` and ``time`` [s] are ``(N,)``, frames in order.
    """
    rows = np.arange(len(event))
    following = np.where(event, rows, len(event))
    following = np.minimum.accumulate(following[::-1])[::-1]  # row of the next event, any episode
    found = following < len(event)
    where = np.where(found, following, 0)
    found &= episode[where] == episode
    return np.where(found, time[where] - time, np.inf)


def truth_of(episode: Integers, time: Floats, truncated: Bools, columns: dict[str, Array]) -> Truth:
    """Truth from the recorded columns; ``truncated (N,)`` marks last frames cut by the time limit.

    ``columns`` holds ``time_to_collision``, ``headway``, ``collision`` and ``off_road``.
    """
    collision, off_road = columns["collision"] > 0, columns["off_road"] > 0
    return Truth(
        episode=episode,
        time=time,
        time_to_collision=np.asarray(columns["time_to_collision"], np.float64),
        headway=np.asarray(columns["headway"], np.float64),
        collision=collision,
        off_road=off_road,
        until_collision=seconds_until(collision, episode, time),
        until_off_road=seconds_until(off_road, episode, time),
        until_cut=seconds_until(truncated, episode, time),
    )


@dataclass(frozen=True)
class Target:
    """A yes-or-no question with its true answers ``(N,)``."""

    name: str
    positive: Bools  # yes: dangerous
    known: Bools  # whether the record tells


def questions(truth: Truth, horizon: float, time_to_collision: float) -> dict[str, Target]:
    """What a score should tell, by key; ``horizon`` is k and ``time_to_collision`` is t [s].

    Keys: ``"collision"``, ``"off_road"``, ``"event"`` (either of the two), ``"ahead"`` (either, but
    frames that show it already are left out) and ``"time_to_collision"``.
    """

    def within(name: str, until: Floats) -> Target:
        positive = until <= horizon
        return Target(name, positive, positive | (truth.until_cut >= horizon))

    k, t = f"within {horizon:g} s", f"under {time_to_collision:g} s"
    event = within(f"collision or off-road {k}", truth.until_event)
    shown = truth.until_event <= 0
    near = truth.time_to_collision < time_to_collision
    return {
        "event": event,
        "time_to_collision": Target(f"time to collision {t}", near, np.ones(len(near), bool)),
        "collision": within(f"collision {k}", truth.until_collision),
        "off_road": within(f"off-road {k}", truth.until_off_road),
        "ahead": Target(
            f"collision or off-road ahead, {k}", event.positive & ~shown, event.known & ~shown
        ),
    }


def calm(truth: Truth, horizon: float, time_to_collision: float) -> Bools:
    """Frames ``(N,)`` in which there is nothing to warn of.

    Nothing is hit within ``2 t``, the headway is over 0.8 s, and no collision or departure from
    the road follows within ``k + 1 s`` (which must be on record).
    """
    ahead = horizon + 1.0
    return (
        (truth.time_to_collision > 2 * time_to_collision)
        & (truth.headway > CALM_HEADWAY)
        & (truth.until_event > ahead)
        & (truth.until_cut >= ahead)
    )


@dataclass(frozen=True)
class Source:
    """A data set to audit on, and what is known of the environment it was recorded in."""

    path: Path  # as :func:`resolve_dataset` takes it
    scenario: str
    density: float
    seconds: float  # between two frames
    drawing: Drawing  # of the frames that a scorer sees
    without_others: Callable[[Packed], Packed]  # scenes (N, ...) with the ego vehicle alone
    lanes: int | None = None  # where the road can have more or fewer
    action: str = "meta"  # kind of actions that the drivers took

    @property
    def name(self) -> str:
        """What tells it from others: ``"highway, density 0.75"``."""
        parts = [self.scenario, f"density {self.density:g}"]
        parts += [] if self.lanes is None else [f"{self.lanes} lanes"]
        parts += [] if self.action == "meta" else [f"{self.action} actions"]
        return ", ".join(parts)


class Examined(Protocol):
    """Frames that scores can be held against: N frames of E episodes."""

    @property
    def truth(self) -> Truth:
        """What happened around each frame."""

    @property
    def source_of_episode(self) -> Integers:
        """Group of each episode ``(E,)``; a bootstrap draws within groups."""

    def parts(self) -> Iterator[tuple[str, list[str]]]:
        """Kinds of parts, each with the name of every episode's; empty: it belongs to none."""


class Drives:
    """All episodes of several data sets, one after another: N frames, E episodes.

    Raises:
        ValueError: without a data set, for one given twice, and for data without scenes or without
            simulator truth
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise ValueError("nothing to audit on: name a data set, or environments to drive in")
        self.sources = tuple(sources)
        self.paths = tuple(resolve_dataset(source.path) for source in sources)
        for path in self.paths:
            if self.paths.count(path) > 1:
                raise ValueError(f"the data set {path} is given twice")
        self.names = _distinct([source.name for source in sources])
        self.metadata = tuple(read_metadata(path) for path in self.paths)
        self.frames = tuple(
            FrameSource.of(path, metadata["total_episodes"], scenes=True)
            for path, metadata in zip(self.paths, self.metadata, strict=True)
        )
        lengths = np.concatenate([np.diff(frames.starts) for frames in self.frames])
        self.starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)  # (E + 1,)
        counts = [len(frames.starts) - 1 for frames in self.frames]
        self.source_of_episode: Integers = np.repeat(np.arange(len(counts)), counts)  # (E,)
        parts = [
            _read(frames, source.seconds)
            for frames, source in zip(self.frames, sources, strict=True)
        ]
        self.drivers = np.array([name for drivers, _ in parts for name in drivers])  # (E,)
        columns = {key: np.concatenate([found[key] for _, found in parts]) for key in parts[0][1]}
        self.stored_scores = columns.pop("safety_score").astype(np.float32)  # (N,), NaN: no label
        self.truth: Truth = truth_of(
            episode=np.repeat(np.arange(len(lengths)), lengths),
            time=columns.pop("time"),
            truncated=columns.pop("truncated") > 0,
            columns=columns,
        )

    @property
    def num_episodes(self) -> int:
        """Episodes E."""
        return len(self.starts) - 1

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows_of_source(self, number: int) -> slice:
        """The rows of one data set."""
        of_source = np.flatnonzero(self.source_of_episode == number)
        return slice(int(self.starts[of_source[0]]), int(self.starts[of_source[-1] + 1]))

    def parts(self) -> Iterator[tuple[str, list[str]]]:
        """Kinds of parts, each with the name of every episode's; empty: it belongs to none."""
        numbers = self.source_of_episode
        sources = [self.sources[number] for number in numbers]
        yield "scenario", [source.scenario for source in sources]
        yield "density", [f"{source.density:g}" for source in sources]
        yield "lanes", [f"{s.scenario}, {s.lanes} lanes" if s.lanes else "" for s in sources]
        yield "actions", [source.action for source in sources]
        yield "driver", [str(name) for name in self.drivers]
        yield "data set", [self.names[number] for number in numbers]

    def some_rows(self, frames: int, seed: int) -> Integers:
        """Rows of whole episodes drawn at random, about as many of each data set, in order.

        ``frames`` in all, or a few more; all rows where there are no more than that.
        """
        left = np.full(len(self.sources), frames / len(self.sources))
        chosen = []
        for episode in np.random.default_rng(seed).permutation(self.num_episodes):
            source = self.source_of_episode[episode]
            if left[source] > 0:
                left[source] -= self.starts[episode + 1] - self.starts[episode]
                chosen.append(np.arange(*self.starts[episode : episode + 2]))
        return np.sort(np.concatenate(chosen))

    def draw(
        self, rows: Integers, redraw: Callable[[Source], Drawing] | None = None
    ) -> list[Frames]:
        """Scorer's frames ``(H, W, 3)`` of rows in any order, drawn as usual or by ``redraw``."""
        drawn: dict[int, Frames] = {}
        for number, source in enumerate(self.sources):
            span = self.rows_of_source(number)
            mine = np.unique(rows[(rows >= span.start) & (rows < span.stop)])
            if len(mine):
                reader = FrameReader(self.frames[number])
                drawing = source.drawing if redraw is None else redraw(source)
                pictures = drawing.frames(reader.pictures(mine - span.start))
                reader.close()
                drawn.update(zip(mine.tolist(), pictures, strict=True))
        return [drawn[int(row)] for row in rows]


def _distinct(names: list[str]) -> tuple[str, ...]:
    """The names, numbered where several are equal."""
    return tuple(
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    )


def _read(frames: FrameSource, seconds: float) -> tuple[list[str], dict[str, Floats]]:
    """The driver of each episode, and columns ``(n,)`` of a data set's frames."""
    return reading(
        frames.data_path / MAIN_FILE,
        "drives to audit (HDF5)",
        lambda path: _read_file(path, frames, seconds),
        "collect with `vlsafe collect`",
    )


def _read_file(
    path: Path, frames: FrameSource, seconds: float
) -> tuple[list[str], dict[str, Floats]]:
    drivers = []
    columns: dict[str, list[Array]] = {}
    lengths = np.diff(frames.starts).tolist()
    recorded = read_infos(path, len(lengths), (*TRUTH_COLUMNS, "safety_score"))
    for number, (length, (driver, cut, infos)) in enumerate(zip(lengths, recorded, strict=True)):
        missing = [name for name in TRUTH_COLUMNS if name not in infos]
        if missing:
            raise ValueError(f"episode {number} has no infos/{missing[0]}")
        row = {name: infos[name].astype(np.float64) for name in TRUTH_COLUMNS}
        for name in ("time_to_collision", "headway"):
            row[name][row[name] >= LONGEST_TIME] = np.inf
        row["time"] = np.arange(length) * seconds
        row["truncated"] = np.zeros(length)
        row["truncated"][-1] = cut
        row["safety_score"] = infos.get("safety_score", np.full(length, np.nan))
        for name, values in row.items():
            _check(values, name, length, f"episode {number}")
            columns.setdefault(name, []).append(values)
        drivers.append(driver)
    return drivers, {name: np.concatenate(values) for name, values in columns.items()}


def _check(values: Floats, name: str, length: int, where: str) -> None:
    """One number for each frame; times may be infinite, and a frame may have no score (NaN)."""
    if values.shape != (length,):
        raise ValueError(f"{where}: infos/{name} has the shape {values.shape}, expected {length}")
    if name == "safety_score":
        check_numbers(values[~np.isnan(values)], f"infos/{name}", where, 0.0, 1.0)
    else:
        check_numbers(np.where(values == np.inf, 0.0, values), f"infos/{name}", where)
