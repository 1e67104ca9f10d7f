"""Damaged and foreign data files: each error names the file, what is wrong and the remedy."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from toy_drives import collect_toy

from vlsafe_agents.data import EpisodeDataset, columns
from vlsafe_agents.data.storage import (
    MAIN_FILE,
    METADATA_FILE,
    read_metadata,
    resolve_dataset,
    update_metadata,
)

ERRORS = (ValueError, TypeError, FileNotFoundError)
HUGE = 10**12


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three episodes."""
    return collect_toy(tmp_path_factory.mktemp("original"), episodes=3).path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged: the folder with both files."""
    return shutil.copytree(original, tmp_path / "toy") / "data"


def opened(folder: Path, cost: Any = "env") -> EpisodeDataset:
    return EpisodeDataset.from_minari(folder, cost=cost)


def test_the_undamaged_copy_is_read(folder: Path) -> None:
    assert opened(folder).num_episodes == 3


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
DAMAGED_FILES: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "data empty": (MAIN_FILE, lambda _: b"", "is empty: writing it was interrupted"),
    "data zeros": (MAIN_FILE, lambda _: bytes(4096), "is empty: writing it was interrupted"),
    "data cut": (MAIN_FILE, lambda b: b[: len(b) // 2], "truncated file.*copy or download"),
    "data head only": (MAIN_FILE, lambda b: b[:100], "cannot be read as a Minari data set"),
    "data LFS": (MAIN_FILE, lambda _: LFS, "git lfs pull"),
    "data web page": (MAIN_FILE, lambda _: b"<!DOCTYPE html><html>404", "is a web page"),
    "data text": (MAIN_FILE, lambda _: b"hello", "cannot be read as a Minari data set"),
    "data zip": (MAIN_FILE, lambda _: b"PK\x03\x04" + bytes(99), "cannot be read as a Minari"),
    "data gone": (MAIN_FILE, lambda _: None, "holds no main_data.hdf5; only HDF5 is read"),
    "metadata empty": (METADATA_FILE, lambda _: b"", "is empty: writing it was interrupted"),
    "metadata cut": (METADATA_FILE, lambda b: b[: len(b) // 2], "is no JSON file"),
    "metadata list": (METADATA_FILE, lambda _: b"[1, 2]", "holds no JSON object"),
    "metadata number": (METADATA_FILE, lambda _: b"3", "holds no JSON object"),
    "metadata LFS": (METADATA_FILE, lambda _: LFS, "git lfs pull"),
    "metadata latin-1": (METADATA_FILE, lambda _: b'{"a": "\xfb"}', "is not UTF-8 text"),
    "metadata foreign": (METADATA_FILE, lambda _: b'{"a": 1}', "is not Minari's: it has no"),
    "metadata gone": (METADATA_FILE, lambda _: None, "does not exist; copy or download"),
}


@pytest.mark.parametrize("case", DAMAGED_FILES)
def test_damaged_files_are_named(case: str, folder: Path) -> None:
    name, damage, said = DAMAGED_FILES[case]
    content = damage((folder / name).read_bytes())
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ERRORS, match=said) as caught:
        opened(folder)
    assert name in str(caught.value)


def spaces_of(**observation: Any) -> str:
    return json.dumps({"type": "Dict", "subspaces": observation})


VECTOR = {"type": "Box", "dtype": "float32", "shape": [3], "low": [0, 0, 0], "high": [9, 9, 9]}
PLANE = {"shape": [2], "low": [0, 0], "high": [9, 9]}
DISCRETE = {"type": "Discrete", "dtype": "int64", "start": 0}
FOREIGN_METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "more episodes": ({"total_episodes": 4}, "holds 3 episodes, but metadata.json says 4"),
    "fewer episodes": ({"total_episodes": 2}, "holds 3 episodes, but metadata.json says 2"),
    "huge": ({"total_episodes": HUGE}, "holds 3 episodes, but"),
    "negative": ({"total_episodes": -3}, "holds 3 episodes, but metadata.json says -3"),
    "text": ({"total_episodes": "3"}, "holds 3 episodes, but metadata.json says '3'"),
    "null": ({"total_episodes": None}, "holds 3 episodes, but metadata.json says None"),
    "steps": ({"total_steps": 1}, "steps, but metadata.json says 1"),
    "observation text": ({"observation_space": "Box"}, "observation_space is no space"),
    "observation number": ({"observation_space": 3}, "observation_space is no space"),
    "observation null": ({"observation_space": None}, "observation_space is no space"),
    "observation kind": (
        {"observation_space": '{"type": "Blob"}'},
        "observation_space is no space",
    ),
    "observation bare": ({"observation_space": json.dumps(VECTOR)}, "observations is no array"),
    "other observation": (
        {"observation_space": spaces_of(speed=VECTOR)},
        "episode 0 has no observations/speed",
    ),
    "other shape": (
        {
            "observation_space": spaces_of(
                vector=VECTOR | {"shape": [2], "low": [0, 0], "high": [9, 9]}
            )
        },
        r"float32\(3,\) in the data but float32\(2,\)",
    ),
    "other type": (
        {"observation_space": spaces_of(vector=VECTOR | {"dtype": "float64"})},
        r"float32\(3,\) in the data but float64\(3,\)",
    ),
    "action text": ({"action_space": "{}"}, "action_space is no space"),
    "few actions": ({"action_space": json.dumps(DISCRETE | {"n": 2})}, "outside Discrete"),
    "actions from 1": (
        {"action_space": json.dumps(DISCRETE | {"n": 3, "start": 1})},
        r"action holds 0 at entry \d+, outside Discrete\(3, start=1\)",
    ),
    "several actions": (
        {"action_space": json.dumps({"type": "MultiBinary", "n": 2})},
        r"episode 0: action has shape \(\d+,\), expected \(\d+, 2\) for MultiBinary",
    ),
    "texts as actions": (
        {
            "action_space": json.dumps(
                {"type": "Text", "min_length": 1, "max_length": 9, "charset": "ab"}
            )
        },
        "actions must be Discrete, MultiDiscrete, MultiBinary or Box",
    ),
    "steps text": ({"total_steps": "60"}, "steps, but metadata.json says '60'"),
    "environment": ({"env_id": 3}, "env_id is '3'; expected a JSON text"),
    "arguments": ({"env_kwargs": [1]}, "env_kwargs is .* expected a JSON object"),
    "contents": ({"contents": "much"}, "contents is 'much'; expected a JSON object"),
    "audits": ({"audits": {}}, "audits is .* expected a JSON array"),
    "lossy": ({"jpeg_encoding": True}, "no JPEG images as the metadata say"),
}


@pytest.mark.parametrize("case", FOREIGN_METADATA)
def test_metadata_that_do_not_fit_the_data_are_refused(case: str, folder: Path) -> None:
    changes, said = FOREIGN_METADATA[case]
    update_metadata(folder, changes)
    with pytest.raises(ERRORS, match=said) as caught:
        opened(folder)
    assert str(folder) in str(caught.value)


Damage = Callable[[h5py.File], None]


def put(path: str, make: Callable[[np.ndarray], Any]) -> Damage:
    """Replace one array of the file."""

    def change(file: h5py.File) -> None:
        new = make(file[path][()])
        del file[path]
        file[path] = new

    return change


def claim(path: str, *tail: int, **options: Any) -> Damage:
    """An array of a trillion rows, of which nothing is stored."""

    def change(file: h5py.File) -> None:
        dtype = file[path].dtype
        del file[path]
        file.create_dataset(path, (HUGE, *tail), dtype, **options)

    return change


def drop(*paths: str) -> Damage:
    def change(file: h5py.File) -> None:
        for path in paths:
            del file[path]

    return change


def entry(where: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Another value at one place; whole numbers and truth values become float64 for a fraction."""

    def change(values: np.ndarray) -> np.ndarray:
        kept = values.dtype.kind == "f" or not isinstance(value, float)
        values = values.copy() if kept else values.astype(np.float64)
        values[where] = value
        return values

    return change


def as_text(values: np.ndarray) -> np.ndarray:
    return np.full(len(values), b"False")


def labelled(file: h5py.File, first: float = 0.5, episodes: int = 3) -> None:
    for number in range(episodes):
        group = file[f"episode_{number}"]
        scores = np.full(len(group["rewards"]) + 1, 0.5, np.float32)
        scores[0] = first
        group["infos"].create_dataset("safety_score", data=scores)


def scorer_is_no_json(file: h5py.File) -> None:
    file.attrs["scorer"] = "clip"


def array_for_episode(file: h5py.File) -> None:
    del file["episode_1"]
    file["episode_1"] = np.zeros(3)


def group_for_array(file: h5py.File) -> None:
    del file["episode_1/rewards"]
    file.create_group("episode_1/rewards")


def number_for_array(file: h5py.File) -> None:
    del file["episode_1/rewards"]
    file["episode_1/rewards"] = 1.0


def no_steps(file: h5py.File) -> None:
    for name in ("rewards", "actions", "terminations"):
        put(f"episode_1/{name}", lambda values: values[:0])(file)
    for name in ("observations", "infos"):
        for part in list(file[f"episode_1/{name}"]):
            put(f"episode_1/{name}/{part}", lambda values: values[:1])(file)


def all_gone(file: h5py.File) -> None:
    drop("episode_0", "episode_1", "episode_2")(file)


IMAGE, COST = "episode_1/observations/image", "episode_1/infos/env_cost"
REWARDS, ACTIONS, ENDS = "episode_1/rewards", "episode_1/actions", "episode_1/terminations"
FEATURES = "episode_1/observations/vector"
DAMAGED_DATA: dict[str, tuple[Damage, str]] = {
    "episode gone": (drop("episode_1"), "holds 2 episodes, but metadata.json says 3"),
    "all gone": (all_gone, "holds 0 episodes"),
    "episode an array": (array_for_episode, "episode 1 is a single array"),
    "no rewards": (drop(REWARDS), "episode 1 has no rewards"),
    "no actions": (drop(ACTIONS), "episode 1 has no actions"),
    "no terminations": (drop(ENDS), "episode 1 has no terminations"),
    "no observations": (drop("episode_1/observations"), "episode 1 has no observations/"),
    "no image": (drop(IMAGE), "episode 1 has no observations/image"),
    "no infos": (drop("episode_1/infos"), "episode 1 has no infos/env_cost"),
    "one cost": (drop(COST), "episode 1 has no infos/env_cost"),
    "no step": (no_steps, "episode 1 has no step"),
    "reward group": (group_for_array, "episode 1: rewards is no array"),
    "reward number": (number_for_array, "episode 1: rewards is no array"),
    "reward nan": (put(REWARDS, entry(2, np.nan)), "episode 1: reward holds nan at entry 2"),
    "reward inf": (put(REWARDS, entry(0, -np.inf)), "episode 1: reward holds -inf at entry 0"),
    "reward large": (put(REWARDS, entry(0, 1e39)), "that float32 can hold"),
    "reward text": (put(REWARDS, as_text), "episode 1: rewards holds .* values; expected numbers"),
    "reward column": (put(REWARDS, lambda v: v[:, None]), r"rewards has shape \(\d, 1\)"),
    "reward long": (put(REWARDS, lambda v: np.append(v, 1.0)), "steps, but metadata.json says"),
    "reward huge": (claim(REWARDS, chunks=(1000,)), "rewards claims 8,000,000,000,000 bytes"),
    "reward huge packed": (
        claim(REWARDS, chunks=(1000,), compression="gzip"),
        "rewards claims 8,000,000,000,000 bytes",
    ),
    "reward huge whole": (claim(REWARDS), "rewards claims 8,000,000,000,000 bytes"),
    "action fraction": (put(ACTIONS, entry(0, 0.5)), r"episode 1: action holds 0\.5 at entry 0"),
    "action nan": (put(ACTIONS, entry(1, np.nan)), "episode 1: action holds nan at entry 1"),
    "action 9": (put(ACTIONS, entry(1, 9)), r"episode 1: action holds 9 at entry 1, outside"),
    "action -1": (put(ACTIONS, entry(1, -1)), r"episode 1: action holds -1 at entry 1, outside"),
    "action text": (put(ACTIONS, as_text), "episode 1: actions holds .* values"),
    "action column": (put(ACTIONS, lambda v: v[:, None]), r"take action\.reshape\(-1\)"),
    "action one-hot": (put(ACTIONS, lambda v: np.eye(3)[v]), "argmax"),
    "action short": (put(ACTIONS, lambda v: v[1:]), "episode 1: action has shape"),
    "action huge": (claim(ACTIONS), "actions claims 8,000,000,000,000 bytes"),
    "end text": (put(ENDS, as_text), "episode 1: terminations holds .* values"),
    "end nan": (put(ENDS, entry(-1, np.nan)), r"terminations\[\d\] is nan; expected True or"),
    "end 2": (put(ENDS, lambda v: v + np.int64(2)), r"terminations\[0\] is 2; expected True or"),
    "end half": (put(ENDS, entry(-1, 0.5)), r"terminations\[\d\] is 0.5; expected True"),
    "end short": (put(ENDS, lambda v: v[1:]), r"terminations has shape \(\d,\), expected"),
    "end column": (put(ENDS, lambda v: v[:, None]), r"terminations has shape \(\d, 1\)"),
    "end early": (put(ENDS, entry(0, True)), "episode 1 terminated at step 1 of .* split it"),
    "vector nan": (
        put(FEATURES, entry((1, 2), np.nan)),
        r"episode 1: observation 'vector' holds nan at entry \(1, 2\).*leave it out",
    ),
    "vector inf": (put(FEATURES, lambda v: v + np.float32(np.inf)), r"holds inf at entry \(0, 0\)"),
    "vector double": (put(FEATURES, lambda v: v.astype(np.float64)), "float64.* but float32"),
    "vector wide": (put(FEATURES, lambda v: np.hstack([v, v])), r"\(6,\), but float32\(3,\)"),
    "vector short": (put(FEATURES, lambda v: v[1:]), "one more than its actions"),
    "vector text": (put(FEATURES, as_text), "observations/vector holds .* values"),
    "vector huge": (claim(FEATURES, 3), "observations/vector claims"),
    "image huge": (claim(IMAGE, 64, 64, 3, chunks=(1, 64, 64, 3)), "observations/image claims"),
    "image short": (put(IMAGE, lambda v: v[1:]), "one more than its actions"),
    "image float": (put(IMAGE, lambda v: v / 255), "is float64.* but uint8.* in episode 0"),
    "cost nan": (put(COST, entry(1, np.nan)), "episode 1: infos/env_cost holds nan at entry 1"),
    "cost negative": (put(COST, lambda v: v - np.float32(1)), "episode 1: infos/env_cost holds -1"),
    "cost text": (put(COST, as_text), "infos/env_cost holds .* values"),
    "cost column": (put(COST, lambda v: v[:, None]), "infos/env_cost is float32"),
    "cost short": (put(COST, lambda v: v[1:]), "one more than its actions"),
    "score above 1": (lambda f: labelled(f, 1.5), r"infos/safety_score holds 1\.5 .*\[0, 1\]"),
    "score below 0": (lambda f: labelled(f, -0.5), "infos/safety_score holds -0.5"),
    "score inf": (lambda f: labelled(f, np.inf), "infos/safety_score holds inf"),
    "score of one": (lambda f: labelled(f, episodes=1), "episode 1 has no infos/safety_score"),
    "scorer": (scorer_is_no_json, "scorer of its labels is 'clip', which is no JSON"),
}


@pytest.mark.parametrize("case", DAMAGED_DATA)
def test_damaged_data_are_refused_with_file_episode_and_remedy(case: str, folder: Path) -> None:
    damage, said = DAMAGED_DATA[case]
    if case == "no step":
        whole = opened(folder)
        update_metadata(folder, {"total_steps": whole.num_steps - whole.episodes[1].num_steps})
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        damage(file)
    with pytest.raises(ValueError, match=said) as caught:
        opened(folder)
    assert str(folder / MAIN_FILE) in str(caught.value)


def test_random_damage_is_named_or_leaves_possible_values(folder: Path) -> None:
    """Bytes of the file's own structure are overwritten: images are a small part of it here."""
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        for group in file.values():
            shape = group["observations/image"].shape
            del group["observations/image"], group["infos/scene"]
            group.create_dataset(
                "observations/image", data=np.zeros(shape, np.uint8), compression="gzip"
            )
        with h5py.File(folder / "small.hdf5", "w") as small:
            for name in file:
                file.copy(name, small)
    whole = (folder / "small.hdf5").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(150):
        content = bytearray(whole)
        at = int(rng.integers(len(content) - 64))
        content[at : at + 64] = rng.bytes(64)
        (folder / MAIN_FILE).write_bytes(content)
        try:
            EpisodeDataset.from_minari(folder, cost="env", cache=False)
        except ValueError as error:
            refused += 1
            assert str(folder / MAIN_FILE) in str(error)  # noqa: PT017
    assert refused > 20


def other_file(folder: Path) -> Any:
    (folder / "notes.txt").write_text("hello")
    return folder / "notes.txt"


def two_sets(folder: Path) -> Any:
    shutil.copytree(folder.parent, folder.parent.with_name("again"))
    return folder.parent.parent


def arrow(folder: Path) -> Any:
    (folder / MAIN_FILE).unlink()
    update_metadata(folder, {"data_format": "arrow"})
    return folder


def unfinished(folder: Path) -> Any:
    shutil.rmtree(folder)
    (folder.parent / ".toy-v0.shards").mkdir()
    return folder.parent


def bare_folder(folder: Path) -> Any:
    shutil.rmtree(folder)
    return folder.parent


WRONG_PLACES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another file": (other_file, "notes.txt is a file but not main_data.hdf5"),
    "two sets": (two_sets, "holds several data sets, name one of"),
    "arrow": (arrow, "format 'arrow' but holds no main_data.hdf5"),
    "unfinished": (unfinished, "is not finished; the `vlsafe collect` command that began it"),
    "bare folder": (bare_folder, "no Minari data set in .*vlsafe collect --out"),
    "nothing there": (lambda p: p / "nowhere", "no data set at .*nowhere: there is no such folder"),
    "no such id": (lambda _: "no/such-v9", "no data set at no/such-v9"),
    "empty": (lambda _: "", "the path of the data set is empty"),
    "none": (lambda _: None, "not by a NoneType"),
    "number": (lambda _: 3, "not by a int"),
    "bytes": (lambda _: b"data", "not by a bytes"),
    "list": (lambda p: [p], "not by a list"),
}


@pytest.mark.parametrize("case", WRONG_PLACES)
def test_wrong_places_are_told_apart(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder.parent / "minari"))
    make, said = WRONG_PLACES[case]
    with pytest.raises(ERRORS, match=said):
        EpisodeDataset.from_minari(make(folder))
    assert not (folder.parent / "minari").exists()  # looking for an id makes no folder


@pytest.mark.parametrize("name", [MAIN_FILE, METADATA_FILE])
def test_the_path_of_either_file_opens_the_data_set(name: str, folder: Path) -> None:
    assert resolve_dataset(folder / name) == folder
    assert opened(folder / name).num_episodes == 3
    assert opened(str(folder)).num_episodes == 3  # type: ignore[arg-type]


def test_a_minari_id_opens_the_data_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder.parent.parent))
    assert resolve_dataset("toy") == folder


@pytest.mark.parametrize("name", ["ünï=1,x y[a]", "a#b%20"])
def test_any_folder_name_will_do(name: str, folder: Path) -> None:
    odd = folder.parent.rename(folder.parent.with_name(name))
    for _ in range(2):  # the second time from the cache
        assert opened(odd).num_episodes == 3
    update_metadata(odd / "data", {"note": "grün"})
    assert read_metadata(odd / "data")["note"] == "grün"


def test_metadata_are_whole_or_as_before(folder: Path) -> None:
    before = (folder / METADATA_FILE).read_bytes()
    with pytest.raises(TypeError):
        update_metadata(folder, {"bad": object()})
    assert (folder / METADATA_FILE).read_bytes() == before
    update_metadata(folder, {"nan": float("nan")})  # other people's metadata may hold it
    assert sorted(p.name for p in folder.iterdir()) == [MAIN_FILE, METADATA_FILE]


# --- the image cache ------------------------------------------------------------------------------


def cache_file(folder: Path) -> Path:
    (found,) = (folder.parent / "cache").glob("*.npy")
    return found


def images(folder: Path) -> np.ndarray:
    return opened(folder)._flat.obs["image"]


def other_shape(path: Path) -> None:
    np.save(path, np.load(path)[1:])


def other_kind(path: Path) -> None:
    np.save(path, np.load(path).astype(np.uint16))


def objects(path: Path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


def filled(content: bytes) -> Callable[[Path], None]:
    def fill(path: Path) -> None:
        path.write_bytes(content)

    return fill


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    "damage",
    [cut, longer, other_shape, other_kind, objects]
    + [filled(content) for content in (b"", b"\x93NUMPY", bytes(999), LFS)],
)
def test_a_damaged_cache_is_written_again(damage: Callable[[Path], None], folder: Path) -> None:
    right = images(folder).copy()
    damage(cache_file(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mended = images(folder)
    assert isinstance(mended, np.memmap)
    np.testing.assert_array_equal(mended, right)
    assert [p.name for p in (folder.parent / "cache").iterdir()] == [cache_file(folder).name]


def test_what_a_killed_writer_of_the_cache_left_is_removed(folder: Path) -> None:
    (folder.parent / "cache").mkdir()
    (folder.parent / "cache" / ".image-1.npy.123.tmp").write_bytes(b"half")
    assert isinstance(images(folder), np.memmap)
    assert [p.suffix for p in (folder.parent / "cache").iterdir()] == [".npy"]
    assert sorted(p.name for p in folder.parent.iterdir()) == ["cache", "data"]


def test_a_cache_that_cannot_be_written_costs_memory_and_a_warning(folder: Path) -> None:
    (folder.parent / "cache").write_text("in the way")
    with pytest.warns(UserWarning, match=r"no image cache in .*cache.* in memory, [\d.]+ MiB"):
        kept = images(folder)
    assert not isinstance(kept, np.memmap)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["cache", "data"]


def test_a_full_disk_costs_memory_and_a_warning_and_leaves_nothing(folder: Path) -> None:
    """A limit on file sizes stands for the disk: writing more raises, or kills as SIGXFSZ."""
    code = (
        "import resource, signal, sys, warnings; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from vlsafe_agents.data import EpisodeDataset\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))\n"
        "print(EpisodeDataset.from_minari(sys.argv[1], cost='env'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3 episodes" in done.stdout
    assert "no image cache" in done.stderr
    assert not list((folder.parent / "cache").iterdir())


def test_many_who_open_a_data_set_at_once_write_one_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = columns._write_flat

    def counted(path: Path, column: Any, *more: Any) -> None:
        written.append(path)
        write(path, column, *more)

    monkeypatch.setattr(columns, "_write_flat", counted)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(images(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert all(isinstance(part, np.memmap) for part in found)
    assert len(found) == 4


def test_an_observations_name_cannot_lead_out_of_the_cache(folder: Path) -> None:
    with h5py.File(folder / MAIN_FILE, "r+") as file:
        for group in file.values():
            group.move("observations/image", "observations/..up")
    metadata = json.loads((folder / METADATA_FILE).read_text())
    space = json.loads(metadata["observation_space"])
    space["subspaces"]["..up"] = space["subspaces"].pop("image")
    update_metadata(folder, {"observation_space": json.dumps(space)})
    assert "..up" in opened(folder)._flat.obs
    assert cache_file(folder).name.startswith("__up-")


def test_more_than_fits_into_memory_is_refused_before_it_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: 10)
    with pytest.raises(ValueError, match="GiB, more than the memory of"):
        EpisodeDataset.from_minari(folder, cost="env", cache=False)
