"""Labels as they stand in a data set, with what made them."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from vlsafe_agents.common.version import vlsafe_version
from vlsafe_agents.data.frames import FrameSource, read_array
from vlsafe_agents.data.layout import (
    COST,
    ENV_COST,
    MAIN_FILE,
    METADATA_FILE,
    SAFETY_SCORE,
    episode_name,
)
from vlsafe_agents.data.storage import open_file, update_metadata
from wrappers.files import read_json, replacing, reserve, write_text
from wrappers.scorer import Scores

UNLABELLED_FILE = "unlabelled.csv"  # beside the data file: episode, step, reason


@dataclass(frozen=True)
class StoredLabels:
    """What a data set holds."""

    scores: Scores | None  # (R,), NaN where there is no label; None for data never labelled
    scope: dict[str, Any] | None  # identities of scorer and drawing; None if not known

    def of(self, scope: Mapping[str, Any]) -> Scores | None:
        """The scores if they are this scorer's, of frames drawn like this."""
        return self.scores if self.scope == scope else None


def read_labels(data_path: Path, episodes: int) -> StoredLabels:
    """The labels in a data set."""
    scores = []
    with open_file(data_path) as file:
        scope = _read_scope(file)
        try:
            for number in range(episodes):
                scores.append(read_array(file, f"{episode_name(number)}/{SAFETY_SCORE}"))
        except KeyError:
            return StoredLabels(None, None)
        found = np.concatenate(scores).astype(np.float32)
        if file.attrs.get("labels_sha256") != _digest(found):
            scope = None  # changed by something else since
    return StoredLabels(found, scope)


def read_costs(source: FrameSource) -> np.ndarray:
    """Simulator truth ``(R,)``: ``env_cost`` of every frame, else ``cost``, else NaN."""
    costs = np.full(len(source), np.nan, np.float32)
    with open_file(source.data_path) as file:
        name = next((n for n in (ENV_COST, COST) if n in file[episode_name(0)]), None)
        if name is None:
            return costs
        for number, (begin, end) in enumerate(pairwise(source.starts)):
            costs[begin:end] = read_array(file, f"{episode_name(number)}/{name}")
    return costs


def write_labels(
    source: FrameSource,
    scores: Scores,
    scope: Mapping[str, Any],
    reasons: Mapping[int, str],
    record: Mapping[str, Any],
) -> None:
    """Put labels into a copy of the data file, let it take the file's place, say what was done.

    ``scores (R,)`` come with their scope, the reasons for missing ones by row, and a JSON-able
    record of this run for the metadata.  Killed at any moment, the data set holds the old labels or
    the new ones, with their scorer's identity.  The caller is the one writer of the folder.

    Raises:
        OSError: where there is no room for the copy; the old labels stand then
    """
    data_path = source.data_path
    try:
        _write_scores(source, scores, scope)
        _write_unlabelled(source, scores, reasons)
    except OSError as error:
        raise OSError(
            f"the labels cannot be written into {data_path} ({error}); make room there for a copy "
            f"of {MAIN_FILE} and run the same command again: scores that are in the cache need "
            "not be asked for again"
        ) from error
    _write_metadata(data_path, scores, scope, record)


def read_record(data_path: Path, scores: Scores) -> dict[str, Any] | None:
    """What the metadata tell of the run that made these labels.

    ``None`` where they tell of others, because a run was killed between data and metadata.
    """
    metadata: dict[str, Any] = read_json(data_path / METADATA_FILE)
    record: dict[str, Any] = metadata.get("labelling", {})
    return record if record.get("labels_sha256") == _digest(scores) else None


def _read_scope(file: h5py.File) -> dict[str, Any] | None:
    if "scorer" not in file.attrs or "judged_frames" not in file.attrs:
        return None
    return {
        "scorer": json.loads(str(file.attrs["scorer"])),
        "frames": json.loads(str(file.attrs["judged_frames"])),
    }


def _write_scores(source: FrameSource, scores: Scores, scope: Mapping[str, Any]) -> None:
    main = source.data_path / MAIN_FILE
    with replacing(main) as copy:
        shutil.copyfile(main, copy)
        reserve(copy.parent, 2 * scores.nbytes + 2**20)  # HDF5 crashes where a disk is full
        with h5py.File(copy, "r+") as file:
            for number, (begin, end) in enumerate(pairwise(source.starts)):
                _write_array(file, f"{episode_name(number)}/{SAFETY_SCORE}", scores[begin:end])
            facts = {
                "scorer": json.dumps(scope["scorer"]),
                "judged_frames": json.dumps(scope["frames"]),
                "labels_sha256": _digest(scores),
            }
            for name, value in facts.items():
                if file.attrs.get(name) != value:  # writing again would grow the file
                    file.attrs[name] = value


def _write_unlabelled(source: FrameSource, scores: Scores, reasons: Mapping[int, str]) -> None:
    path = source.data_path / UNLABELLED_FILE
    rows = np.flatnonzero(np.isnan(scores))
    if not len(rows):
        path.unlink(missing_ok=True)
        return
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("episode", "step", "reason"))
    for row, episode in zip(rows.tolist(), source.episode_of(rows).tolist(), strict=True):
        writer.writerow((episode, row - int(source.starts[episode]), reasons.get(row, "")))
    write_text(path, table.getvalue())


def _write_metadata(
    data_path: Path, scores: Scores, scope: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """For readers of Minari's metadata; of the scorer the data file's own entry counts."""
    labelling = {
        "vlsafe": vlsafe_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **record,
        "judged_frames": scope["frames"],
        "labels_sha256": _digest(scores),
    }
    update_metadata(data_path, {"scorer": scope["scorer"], "labelling": labelling})


def _digest(scores: Scores) -> str:
    return hashlib.sha256(scores.astype("<f4").tobytes()).hexdigest()


def _write_array(file: h5py.File, name: str, scores: Scores) -> None:
    """Write an array ``(N,)`` of float32; one that is there must have as many entries."""
    place = name.encode()
    if file.id.links.exists(place.rpartition(b"/")[0]) and file.id.links.exists(place):
        stored = h5d.open(file.id, place)
    else:
        space = h5s.create_simple(scores.shape)
        stored = h5d.create(file.id, place, h5t.IEEE_F32LE, space, _plain(), _with_groups())
    stored.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(scores, np.float32))


@lru_cache(maxsize=1)
def _plain() -> h5p.PropDCID:
    settings = h5p.create(h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)  # the same labels make the same file
    return settings


@lru_cache(maxsize=1)
def _with_groups() -> h5p.PropLCID:
    settings = h5p.create(h5p.LINK_CREATE)
    settings.set_create_intermediate_group(True)
    return settings
