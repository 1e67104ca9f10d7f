"""The index of large data sets: the same data as without it, made anew when they change."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from toy_drives import collect_toy

from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.data import index as index_module
from vlsafe_agents.data.layout import MAIN_FILE
from vlsafe_agents.data.storage import update_metadata
from vlsafe_agents.data.stored_array import StoredEpisodes

EPISODES = 8


@pytest.fixture(autouse=True)
def _index_of_small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "FROM_EPISODES", 2)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect_toy(tmp_path_factory.mktemp("original"), episodes=EPISODES).path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that may be changed: the folder with both files."""
    return shutil.copytree(original, tmp_path / "toy") / "data"


def opened(folder: Path, **options: Any) -> EpisodeDataset:
    return EpisodeDataset.from_minari(folder, cost="env", **options)


def contents(dataset: EpisodeDataset) -> dict[str, Any]:
    """Everything that an episode holds, of all of them."""
    found: dict[str, Any] = {}
    for number, episode in enumerate(dataset.episodes):
        for name, value in vars(episode).items():
            parts = value if isinstance(value, dict) else {"": value}
            found |= {f"{number} {name} {key}": np.asarray(part) for key, part in parts.items()}
    return found


def assert_same(first: EpisodeDataset, second: EpisodeDataset) -> None:
    found, expected = contents(first), contents(second)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    batches = [
        vars(d.sample(16, 7, np.random.default_rng(0), 0.5, context=2)) for d in (first, second)
    ]
    for name, array in batches[0].items():
        for key, part in (array if isinstance(array, dict) else {"": array}).items():
            other = batches[1][name][key] if key else batches[1][name]
            assert part is other is None or part.dtype == other.dtype
            np.testing.assert_array_equal(part, other, err_msg=name)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the arrays that are opened from now on."""
    names: list[str] = []
    array = StoredEpisodes.array

    def counted(self: StoredEpisodes, number: int, name: str) -> Any:
        names.append(name)
        return array(self, number, name)

    monkeypatch.setattr(StoredEpisodes, "array", counted)
    return names


def index_of(folder: Path) -> Path:
    (found,) = (folder.parent / "cache").glob("index-*")
    return found


def test_data_are_the_same_with_an_index_and_without(folder: Path) -> None:
    plain = opened(folder, cache=False)
    for _ in range(2):  # written, and read
        indexed = opened(folder)
        assert_same(indexed, plain)
        assert isinstance(indexed._flat.reward, np.memmap)
        assert isinstance(indexed._flat.obs["vector"], np.memmap)
    for part, other in zip(indexed.split(0.4), plain.split(0.4), strict=True):
        assert_same(part, other)
    assert indexed.unsafe_share == plain.unsafe_share
    np.testing.assert_array_equal(indexed.safety_scores, plain.safety_scores)


def test_the_second_opening_looks_at_some_episodes_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(folder)
    for module in ("index", "columns"):
        monkeypatch.setattr(f"vlsafe_agents.data.{module}._LOOKS", 0)
    names = count_reads(monkeypatch)
    opened(folder)
    assert names.count("rewards") == 2  # of the first episode and the last
    assert names.count("infos/env_cost") == 0
    assert len(names) <= 2 * 5 + 2


def test_only_what_an_agent_sees_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = opened(folder, cache=False).observation_space
    assert isinstance(stored, spaces.Dict)
    names = count_reads(monkeypatch)
    for cache in (False, True):
        vector = opened(folder, observation_space=stored["vector"], cache=cache)
        assert vector.observation_space == stored["vector"]
    assert not any("image" in name for name in names)
    assert not list((folder.parent / "cache").glob("image-*"))
    assert_same(vector, opened(folder).select(stored["vector"]))
    with pytest.raises(ValueError, match="the data hold only"):
        opened(folder, observation_space=spaces.Box(0, 1, (99,)))


def test_changed_data_make_another_index(folder: Path) -> None:
    opened(folder)
    before = index_of(folder)
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        file["episode_3/rewards"][1] += 5.0
    after = opened(folder)
    assert index_of(folder) != before
    assert_same(after, opened(folder, cache=False))


def test_another_cost_makes_another_index(folder: Path) -> None:
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        for group in file.values():
            group["infos/other"] = np.full(len(group["rewards"]) + 1, 3.0)
    assert opened(folder).episodes[0].env_cost.max() < 3.0
    assert opened(folder, cost_key="other").episodes[0].env_cost.max() == 3.0
    assert opened(folder).episodes[0].env_cost.max() < 3.0


@pytest.mark.parametrize("name", ["rewards", "actions", "observations/vector"])
def test_data_that_changed_behind_its_back_are_found_out(name: str, folder: Path) -> None:
    """As after a copy that keeps size and time: no trace but the contents."""
    opened(folder)
    status = (folder / MAIN_FILE).stat()
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        for group in file.values():
            group[name][...] = (group[name][()] + 1) % 2
    os.utime(folder / MAIN_FILE, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (folder / MAIN_FILE).stat().st_size == status.st_size
    assert_same(opened(folder), opened(folder, cache=False))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def objects(path: Path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["rows.npy", "episodes.npy", "drivers.json"])
@pytest.mark.parametrize("damage", [cut, objects, emptied, Path.unlink])
def test_a_damaged_index_is_written_again(
    name: str, damage: Callable[[Path], None], folder: Path
) -> None:
    opened(folder)
    damage(index_of(folder) / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(opened(folder), opened(folder, cache=False))
    assert isinstance(opened(folder)._flat.reward, np.memmap)


def test_an_index_that_cannot_be_written_costs_memory_and_a_warning(folder: Path) -> None:
    (folder.parent / "cache").write_text("in the way")
    with pytest.warns(UserWarning, match=r"no index of the data set in .*cache"):
        kept = opened(folder)
    assert not isinstance(kept._flat.reward, np.memmap)
    assert_same(kept, opened(folder, cache=False))


def test_impossible_observations_are_refused_at_every_opening(folder: Path) -> None:
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        file["episode_5/observations/vector"][1, 2] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match=r"episode 5: .*'vector' holds nan at entry \(1, 2\)"):
            opened(folder)


def test_warnings_of_bounds_come_at_every_opening(folder: Path) -> None:
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        file["episode_5/observations/vector"][1, 2] = 1e6
    metadata = json.loads((folder / "metadata.json").read_text())
    space = json.loads(metadata["observation_space"])
    space["subspaces"]["vector"] |= {"low": [-1e5] * 3, "high": [1e5] * 3}
    update_metadata(folder, {"observation_space": json.dumps(space)})
    for _ in range(2):
        with pytest.warns(UserWarning, match="leaves the bounds of its space in 1 of .*episode 5"):
            opened(folder)


def test_small_data_have_no_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "FROM_EPISODES", EPISODES + 1)
    opened(folder)
    assert not list((folder.parent / "cache").glob("index-*"))
    metadata = json.loads((folder / "metadata.json").read_text())
    assert not index_module.is_large(metadata)
