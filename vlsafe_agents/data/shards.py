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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
from gymnasium.envs.registration import EnvSpec

from .episode import Array

_GROUP = "episode"
_COMPRESSED_BYTES = 4096  # smaller arrays are not worth a filter
_CHUNK_ROWS = 16


@dataclass(frozen=True)
class ShardFacts:
    """What is said about one collected episode without reading its arrays."""

    index: int
    driver: str
    seed: int
    steps: int
    unsafe_steps: int  # steps with env_cost > 0
    collision: bool
    env_return: float
    content: str  # hash of all arrays


@dataclass(frozen=True)
class Drive:
    """One recorded episode as it is stored; see ``Episode`` for lengths."""

    index: int
    seed: int
    driver: str
    observations: dict[str, Array]  # each (T + 1, ...)
    actions: Array  # (T, ...)
    rewards: Array  # (T,) float64
    terminations: Array  # (T,) bool
    truncations: Array  # (T,) bool
    infos: dict[str, Array]  # each (T + 1, ...)

    def facts(self) -> ShardFacts:
        """Summary of this drive, with a hash of its arrays."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        collision = self.infos.get("collision", np.zeros(1, bool))
        return ShardFacts(
            index=self.index,
            driver=self.driver,
            seed=self.seed,
            steps=len(self.rewards),
            unsafe_steps=int((self.infos["env_cost"][1:] > 0).sum()),
            collision=bool(np.any(collision)),
            env_return=float(self.rewards.sum()),
            content=digest.hexdigest(),
        )

    def arrays(self) -> dict[str, Array]:
        """All arrays under their path in Minari's episode group."""
        named = {
            "actions": self.actions,
            "rewards": self.rewards,
            "terminations": self.terminations,
            "truncations": self.truncations,
        }
        named.update({f"observations/{name}": a for name, a in self.observations.items()})
        named.update({f"infos/{name}": a for name, a in self.infos.items()})
        return named


def shard_path(folder: Path, index: int) -> Path:
    """Where the episode of this index is kept until the data set is assembled."""
    return folder / f"episode_{index:07d}.hdf5"


def write_shard(folder: Path, drive: Drive) -> ShardFacts:
    """Write one episode atomically."""
    facts = drive.facts()
    temporary = folder / f".{facts.index}.{os.getpid()}.tmp"
    with h5py.File(temporary, "w") as file:
        group = file.create_group(_GROUP)
        for name, array in drive.arrays().items():
            write_array(group, name, array)
        group.attrs.update({"id": facts.index, "seed": facts.seed, "total_steps": facts.steps})
        group.attrs["driver"] = facts.driver
        file.attrs["facts"] = json.dumps(vars(facts))
    os.replace(temporary, shard_path(folder, facts.index))
    return facts


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


def read_shards(folder: Path) -> dict[int, ShardFacts]:
    """Facts of all finished episodes; leftovers of interrupted writes are removed."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    found = {}
    for path in sorted(folder.glob("episode_*.hdf5")):
        try:
            with h5py.File(path, "r") as file:
                facts = ShardFacts(**json.loads(file.attrs["facts"]))
        except (OSError, KeyError):  # cut off by a full disk or a power failure
            path.unlink()
            continue
        found[facts.index] = facts
    return found


def assemble(
    shards: Path,
    facts: Sequence[ShardFacts],
    target: Path,
    spaces: tuple[gym.Space[Any], gym.Space[Any]],
    env_spec: EnvSpec | None,
    metadata: dict[str, Any],
) -> None:
    """Join episodes into one Minari data set at ``target``, which appears whole or not at all.

    :param spaces: observation space and action space
    :param metadata: more entries for Minari's ``metadata.json``; needs ``dataset_id``
    """
    import minari  # here, because workers that only write shards do without
    from minari.dataset.minari_storage import MinariStorage

    building = target.with_name(f".{target.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    storage = MinariStorage.new(
        building / "data",
        observation_space=spaces[0],
        action_space=spaces[1],
        env_spec=env_spec,
        jpeg_encoding=False,  # Minari's default is lossy
    )
    with h5py.File(building / "data" / "main_data.hdf5", "w", track_order=True) as main:
        for number, fact in enumerate(facts):
            with h5py.File(shard_path(shards, fact.index), "r") as shard:
                main.copy(shard[_GROUP], f"episode_{number}")
            main[f"episode_{number}"].attrs["id"] = number
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
    os.replace(building, target)
