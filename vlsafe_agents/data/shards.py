"""Writing data sets: one file an episode while collecting, then one Minari data set.

An episode's file appears by renaming, whole or not at all, so a killed collection can go on.
Images are stored losslessly (gzip level 1, whole frames to a chunk: flat-coloured bird's-eye
frames shrink about tenfold) and assembling copies the compressed chunks as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import h5py
import numpy as np
from gymnasium.envs.registration import EnvSpec

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.data.layout import (
    MAIN_FILE,
    REWARDS,
    arrays_of,
    branch_attributes,
    episode_name,
)
from wrappers.files import fault_of, replacing, reserve

_GROUP = "episode"
_COMPRESSED_BYTES = 4096  # smaller arrays are not worth a filter
_CHUNK_ROWS = 16
_SPARE_BYTES = 1_000_000  # for what stands beside the episodes


@dataclass(frozen=True)
class ShardFacts:
    """What is said about one collected episode without reading its arrays."""

    index: int
    driver: str
    seed: int
    steps: int
    unsafe_steps: int  # steps with env_cost > 0
    collision: bool | None  # None: the environment reports none
    env_return: float
    content: str  # hash of all arrays
    collection: str = ""  # hash of the settings that it was driven with
    branches: int = 0  # episodes that leave this one, see ``branching``
    branch_steps: int = 0  # theirs
    branch_collisions: int | None = 0
    branch_simulated: int = 0  # all steps simulated for them, also those that are not kept


def facts_of(
    episode: Episode, index: int, collection: str = "", branches: Mapping[str, Any] | None = None
) -> ShardFacts:
    """Summary of an episode, with a hash of its arrays; ``branches``: its fields of branches."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays_of(episode).items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    assert episode.seed is not None
    assert episode.unsafe_steps is not None  # collecting demands costs
    return ShardFacts(
        index=index,
        driver=episode.driver,
        seed=episode.seed,
        steps=episode.num_steps,
        unsafe_steps=episode.unsafe_steps,
        collision=episode.collided,
        env_return=float(episode.reward.sum()),
        content=digest.hexdigest(),
        collection=collection,
        **(branches or {}),
    )


def shard_path(folder: Path, index: int) -> Path:
    """Where the episode of this index is kept until the data set is assembled."""
    return folder / f"episode_{index:07d}.hdf5"


def contents_of(facts: list[ShardFacts]) -> dict[str, Any]:
    """What some episodes hold together, and by driver."""
    steps = sum(f.steps for f in facts)
    drivers = {
        name: {
            "episodes": len(own),
            "steps": sum(f.steps for f in own),
            "unsafe_steps": sum(f.unsafe_steps for f in own),
            "collisions": known_total(f.collision for f in own),
            "return": sum(f.env_return for f in own),
        }
        for name in dict.fromkeys(f.driver for f in facts)
        if (own := [f for f in facts if f.driver == name])
    }
    return {
        "episodes": len(facts),
        "steps": steps,
        "unsafe_share": sum(f.unsafe_steps for f in facts) / steps,
        "collisions": known_total(f.collision for f in facts),
        "drivers": drivers,
    }


def known_total(counts: Iterable[int | None]) -> int | None:
    """The sum of counts; None where one of them is not known."""
    found = list(counts)
    return None if None in found else sum(count for count in found if count is not None)


def write_shard(
    folder: Path,
    index: int,
    episode: Episode,
    collection: str = "",
    branches: Mapping[str, Any] | None = None,
) -> ShardFacts:
    """Write one episode of a collection atomically; see :func:`facts_of`."""
    facts = facts_of(episode, index, collection, branches)
    temporary = folder / f".{index}.{os.getpid()}.tmp"
    try:
        with _writing(folder):
            temporary.write_bytes(_as_bytes(episode, facts))
            os.replace(temporary, shard_path(folder, index))
    finally:
        temporary.unlink(missing_ok=True)
    return facts


def _as_bytes(episode: Episode, facts: ShardFacts) -> bytes:
    """The HDF5 file, made in memory: on a full disk HDF5 itself ends in a segmentation fault."""
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        group = file.create_group(_GROUP)
        for name, array in arrays_of(episode).items():
            write_array(group, name, array)
        group.attrs.update({"id": facts.index, "seed": facts.seed, "total_steps": facts.steps})
        group.attrs["driver"] = facts.driver
        group.attrs.update(branch_attributes(episode))
        file.attrs["facts"] = json.dumps(vars(facts))
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error).partition("\n")[0]
        raise OSError(
            f"{place} cannot be written ({why}); finished episodes are kept: make room, and the "
            "same command goes on"
        ) from error


def write_array(group: h5py.Group, name: str, array: Array) -> None:
    """Create one dataset, in compressed chunks of whole rows where that pays.

    Small arrays stay contiguous: a chunk index would be larger than they are.
    """
    if array.nbytes < _COMPRESSED_BYTES or array.ndim < 2:
        _write_small(group, name, array)
        return
    chunks = (min(len(array), _CHUNK_ROWS), *array.shape[1:])
    group.create_dataset(name, data=array, chunks=chunks, compression="gzip", compression_opts=1)


def _write_small(group: h5py.Group, name: str, array: Array) -> None:
    """``group.create_dataset(name, data=array)`` in half the time, which many episodes add up."""
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    plain = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plain.set_obj_track_times(False)
    space = h5py.h5s.create_simple(array.shape)
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space, plain, links)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array), kind)


def count_shards(folder: Path) -> int:
    """How many episodes are finished."""
    return len(list(folder.glob("episode_*.hdf5")))


def read_shards(
    folder: Path, collection: str, planned: Callable[[int], tuple[str, int]]
) -> dict[int, ShardFacts]:
    """Facts of all finished episodes; leftovers of interrupted writes are removed.

    So are, with a warning, files that are damaged and those of other collections.

    Args:
        collection: the hash of the settings, see :class:`ShardFacts`.
        planned: driver and seed of the episode of an index.
    """
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    found = {}
    for path in sorted(folder.glob("episode_*.hdf5")):
        try:
            facts = _read_facts(path)
            if facts.collection not in (collection, "") or shard_path(folder, facts.index) != path:
                raise ValueError("it is another collection's")
            if (facts.driver, facts.seed) != planned(facts.index):
                raise ValueError("it is another collection's")
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            fault = (path.is_file() and fault_of(path)) or f"cannot be used ({reason})"
            warnings.warn(f"{path} {fault}; this episode is driven again", stacklevel=2)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        found[facts.index] = facts
    return found


def _read_facts(path: Path) -> ShardFacts:
    with h5py.File(path, "r") as file:
        facts = ShardFacts(**json.loads(file.attrs["facts"]))
        for name, kind in get_type_hints(ShardFacts).items():
            if not isinstance(getattr(facts, name), int if kind is bool else kind):
                raise ValueError(f"its {name} is {getattr(facts, name)!r}")
        if facts.steps < 1 or len(file[_GROUP][REWARDS]) != facts.steps:
            raise ValueError("it is not complete")
    return facts


def assemble(
    shards: Path,
    facts: Sequence[ShardFacts],
    target: Path,
    spaces: tuple[gym.Space[Any], gym.Space[Any]],
    env_spec: EnvSpec | None,
    metadata: dict[str, Any],
) -> None:
    """Join episodes into one Minari data set at ``target``, which appears whole or not at all.

    Args:
        spaces: observation space and action space
        metadata: more entries for Minari's ``metadata.json``; needs ``dataset_id``
    """
    import minari  # here, because workers that only write shards do without
    from minari.dataset.minari_storage import MinariStorage

    with _writing(target), replacing(target) as building:
        building.mkdir()
        paths = [shard_path(shards, fact.index) for fact in facts]
        reserve(building, sum(path.stat().st_size for path in paths) + _SPARE_BYTES)
        storage = MinariStorage.new(
            building / "data",
            observation_space=spaces[0],
            action_space=spaces[1],
            env_spec=env_spec,
            jpeg_encoding=False,  # Minari's default is lossy
        )
        with h5py.File(building / "data" / MAIN_FILE, "w", track_order=True) as main:
            for number, path in enumerate(paths):
                with h5py.File(path, "r") as shard:
                    main.copy(shard[_GROUP], episode_name(number))
                main[episode_name(number)].attrs["id"] = number
        content = hashlib.sha256("".join(fact.content for fact in facts).encode()).hexdigest()
        storage.update_metadata(
            {
                "minari_version": minari.__version__,
                "total_episodes": len(facts),
                "total_steps": sum(fact.steps for fact in facts),
                "dataset_size": float(storage.get_size()),
                "content_hash": content,
                **metadata,
            }
        )
