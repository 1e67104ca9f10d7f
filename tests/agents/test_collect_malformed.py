"""What is wrong with a collection is said in one sentence, and nothing finished is lost."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from test_collect import SHARDS, assert_same
from toy_drives import MIX, CountingDriver, NoisyCountingEnv, collect_toy
from toy_envs import CountingEnv

from vlsafe_agents.data import shards as shards_module
from vlsafe_agents.data.collect import CollectConfig, collect, drive
from vlsafe_agents.data.collection import check_place
from vlsafe_agents.data.driving import Fleet
from vlsafe_agents.data.pool import WorkerError, run_tasks
from wrappers.files import FolderInUseError, one_writer

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": None}, "env_id=None"),
        ({"env_id": 3}, "env_id=3"),
        ({"env_kwargs": None}, "env_kwargs=None"),
        ({"env_kwargs": [("a", 1)]}, "env_kwargs="),
        ({"mix": {}}, "add up to 1"),
        ({"mix": None}, "mix=None"),
        ({"mix": "expert=1"}, "mix='expert=1'"),
        ({"mix": {"expert": NAN}}, "expert is nan"),
        ({"mix": {"expert": INF}}, "expert is inf"),
        ({"mix": {"expert": 1.5, "random": -0.5}}, r"expert is 1.5; expected a number in \[0, 1\]"),
        ({"mix": {"expert": "all"}}, "expert is 'all'"),
        ({"mix": {"expert": None}}, "expert is None"),
        ({"mix": {"expert": 0.5, "random": 0.4}}, "add up to 1"),
        ({"steps": 0}, "steps=0"),
        ({"steps": -3}, "steps=-3"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"steps": NAN}, "steps=nan"),
        ({"steps": "many"}, "steps='many'"),
        ({"steps": True}, "steps=True"),
        ({"steps": None}, "either steps or episodes"),
        ({"episodes": 5}, "not both"),
        ({"steps": None, "episodes": 0}, "episodes=0"),
        ({"steps": None, "episodes": [3]}, r"episodes=\[3\]"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"seed": None}, "seed=None"),
        ({"seed": "x"}, "seed='x'"),
        ({"seed": True}, "seed=True"),
        ({"dataset_id": "../../etc-v0"}, "not a Minari id"),
        ({"dataset_id": "/tmp/drives-v0"}, "not a Minari id"),
        ({"dataset_id": "drives"}, "not a Minari id"),
        ({"dataset_id": ""}, "not a Minari id"),
        ({"dataset_id": None}, "not a Minari id: None"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CollectConfig(**{"env_id": "Toy-v0", "steps": 10, **changes})


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"workers": "2"}, "workers='2'"),
        ({"workers": True}, "workers=True"),
        ({"make_env": None}, "make_env=None"),
        ({"make_driver": "expert"}, "make_driver='expert'"),
        ({"fleet": 32}, "fleet=32"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], name: str
) -> None:
    options = {"make_env": NoisyCountingEnv, "make_driver": CountingDriver, **arguments}
    with pytest.raises(ValueError, match=re.escape(name)):
        collect(CollectConfig("Toy-v0", mix=MIX, steps=3), tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", True, None])
def test_fleets_are_counted(count: Any) -> None:
    with pytest.raises(ValueError, match="num_envs="):
        Fleet(lambda n: None, lambda env: None, count)  # type: ignore[arg-type, return-value]


class Odd(NoisyCountingEnv):
    """Says something wrong at step 2."""

    def __init__(self, part: str, value: Any) -> None:
        super().__init__()
        self.part, self.value = part, value
        if part == "action_space":
            self.action_space = value

    def step(self, action: Any) -> Any:
        said = dict(
            zip(("obs", "reward", "terminated", "truncated", "info"), super().step(0), strict=True)
        )
        if self.time == 2:
            if self.part in said:
                said[self.part] = self.value
            elif self.part.startswith("obs."):
                said["obs"] = {**said["obs"], self.part[4:]: self.value}
            elif self.part.startswith("info."):
                said["info"] = {**said["info"], self.part[5:]: self.value}
        return tuple(said.values())


class Wilful:
    """A driver that always does the same."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self) -> Any:
        return self.action


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("reward", NAN, "step 2: the reward is nan"),
        ("reward", INF, "step 2: the reward is inf"),
        ("reward", 1e39, r"the reward holds 1e\+39 at entry 1"),
        ("reward", "good", "step 2: the reward is 'good'"),
        ("reward", None, "step 2: the reward is None"),
        ("reward", [1.0, 2.0], "step 2: the reward holds 2 numbers"),
        ("reward", {"speed": 1.0}, "step 2: the reward is"),
        ("terminated", "no", "step 2: terminated is 'no'"),
        ("terminated", NAN, "step 2: terminated is nan"),
        ("terminated", None, "step 2: terminated is None"),
        ("terminated", 2, "step 2: terminated is 2"),
        ("truncated", [False], r"step 2: truncated is \[False\]"),
        ("truncated", "False", "step 2: truncated is 'False'"),
        ("info.cost", NAN, r"info\['cost'\] holds nan at entry 2"),
        ("info.cost", INF, r"info\['cost'\] holds inf at entry 2"),
        ("info.cost", 1e300, r"info\['cost'\] holds inf at entry 2"),
        ("info.cost", -1.0, r"info\['cost'\] holds -1.0 at entry 2; expected a finite number of"),
        ("info.cost", "much", r"info\['cost'\] is 'much'"),
        ("info.cost", None, r"info\['cost'\] is None"),
        (
            "info.cost",
            np.array([0.1, 0.2]),
            r"info\['cost'\] has shape \(\) .* \(2,\) after step 2",
        ),
        ("info.env_cost", NAN, r"info\['env_cost'\] holds nan at entry 2"),
        ("info.cost_terms", {"crash": "yes"}, r"info\['cost_terms.crash'\] is 'yes'"),
        ("info.cost_terms", 3.0, r"info\['cost_terms'\] is 3.0"),
        ("info.headway", "far", r"info\['headway'\] is array"),
        ("info.speed", {}, r"info\['speed'\] is array"),
        ("info", {}, r"no info\['cost'\]"),
        ("obs.vector", np.full(3, np.nan, np.float32), r"observation\['vector'\] holds nan at ent"),
        ("obs.vector", np.float32([0, INF, 0]), r"observation\['vector'\] holds inf at entry"),
        (
            "obs.vector",
            np.zeros(4, np.float32),
            r"shape \(3,\) after the reset and \(4,\) after step 2",
        ),
        ("obs.image", np.zeros((8, 8), np.uint8), r"observation\['image'\] has shape"),
        ("obs", {"image": np.zeros((64, 64, 3), np.uint8)}, r"'vector'\] .* is missing after step"),
    ],
)
def test_what_an_environment_must_not_say_is_named_with_its_step(
    part: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"the episode of seed 7.*{message}"):
        drive(Odd(part, value), "expert", lambda *_: Wilful(0), 7)


def test_a_cost_in_an_array_of_one_is_a_number() -> None:
    class Boxed(NoisyCountingEnv):
        def _tell(self, info: dict[str, Any]) -> dict[str, Any]:
            told = super()._tell(info)
            return {**told, "cost": np.array([told["cost"]]), "env_cost": [told["env_cost"]]}

    boxed = drive(Boxed(), "expert", CountingDriver, 7)
    plain = drive(NoisyCountingEnv(), "expert", CountingDriver, 7)
    np.testing.assert_array_equal(boxed.infos["cost"], plain.infos["cost"])
    np.testing.assert_array_equal(boxed.env_cost, plain.env_cost)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (gym.spaces.Discrete(3), 3),
        (gym.spaces.Discrete(3), -1),
        (gym.spaces.Discrete(3), 1.7),
        (gym.spaces.Discrete(3), 1.0),
        (gym.spaces.Discrete(3), "1"),
        (gym.spaces.Discrete(3), None),
        (gym.spaces.Discrete(3, start=1), 0),
        (gym.spaces.Box(-1, 1, (2,)), [0.0, 1.5]),
        (gym.spaces.Box(-1, 1, (2,)), [0.0, NAN]),
        (gym.spaces.Box(-1, 1, (2,)), [0.0]),
        (gym.spaces.Box(-1, 1, (2,)), ["0", "0"]),
        (gym.spaces.Box(-1, 1, (2,)), 0.0),
    ],
)
def test_actions_outside_the_space_are_not_recorded(space: Any, action: Any) -> None:
    with pytest.raises(ValueError, match=r"seed 7: the action of step 1 is .* expected one of"):
        drive(Odd("action_space", space), "expert", lambda *_: Wilful(action), 7)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (gym.spaces.Discrete(3, start=1), 3),
        (gym.spaces.Discrete(3), np.int32(2)),
        (gym.spaces.Box(-1, 1, (2,)), np.array([0.25, 1.0])),
    ],
)
def test_actions_inside_the_space_are(space: Any, action: Any) -> None:
    recorded = drive(Odd("action_space", space), "expert", lambda *_: Wilful(action), 7).action
    assert (recorded == action).all()
    assert recorded.dtype == (np.int64 if isinstance(space, gym.spaces.Discrete) else np.float32)


@pytest.mark.parametrize("space", [gym.spaces.Text(3), gym.spaces.Dict(a=gym.spaces.Discrete(2))])
def test_other_action_spaces_are_refused_at_once(tmp_path: Path, space: Any) -> None:
    config = CollectConfig("Toy-v0", mix=MIX, steps=3)
    with pytest.raises(ValueError, match="MultiBinary or Box"):
        collect(config, tmp_path, lambda: Odd("action_space", space), CountingDriver)


# --- the folder -----------------------------------------------------------------------------------


def interrupted(out: Path, episodes: int = 4) -> Path:
    """A collection whose driver gave up; returns the folder of its episodes."""

    class GivesUp(CountingDriver):
        driven = 0

        def reset(self) -> None:
            GivesUp.driven += 1
            if GivesUp.driven > episodes:
                raise KeyboardInterrupt

    config = CollectConfig("Toy-v0", mix=MIX, episodes=9, dataset_id="vlsafe/toy-v0")
    with pytest.raises(KeyboardInterrupt):
        collect(config, out, NoisyCountingEnv, GivesUp, progress=False)
    folder = out / SHARDS
    assert len(list(folder.glob("episode_*.hdf5"))) == episodes
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect_toy(tmp_path_factory.mktemp("whole"), episodes=9).path


def _other_collection(folder: Path) -> None:
    other = interrupted(folder.parents[1] / "other", 2)
    with h5py.File(other / "episode_0000001.hdf5", "r+") as file:
        facts = json.loads(file.attrs["facts"])
        file.attrs["facts"] = json.dumps({**facts, "collection": "0" * 32})
    os.replace(other / "episode_0000001.hdf5", folder / "episode_0000001.hdf5")


def _change_facts(folder: Path, **changes: Any) -> None:
    with h5py.File(folder / "episode_0000001.hdf5", "r+") as file:
        facts = json.loads(file.attrs["facts"])
        file.attrs["facts"] = json.dumps({**facts, **changes})


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": lambda f: os.truncate(f / "episode_0000001.hdf5", 900),
    "empty": lambda f: os.truncate(f / "episode_0000001.hdf5", 0),
    "text": lambda f: (f / "episode_0000001.hdf5").write_text("<html>not found</html>"),
    "other HDF5": lambda f: h5py.File(f / "episode_0000001.hdf5", "w").close(),
    "a folder": lambda f: (f / "episode_0000007.hdf5").mkdir(),
    "a seed of others": lambda f: _change_facts(f, seed=5),
    "a driver of others": lambda f: _change_facts(f, driver="saint"),
    "another index": lambda f: _change_facts(f, index=2),
    "no index": lambda f: _change_facts(f, index="../../x"),
    "facts of a later version": lambda f: _change_facts(f, mood="good"),
    "wrong length": lambda f: _change_facts(f, steps=99),
    "another collection": _other_collection,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_episode_that_cannot_be_used_is_named_and_driven_again(
    tmp_path: Path, whole: Path, damage: str
) -> None:
    folder = interrupted(tmp_path)
    DAMAGES[damage](folder)
    with pytest.warns(UserWarning, match=r"episode_000000\d.hdf5 .*; this episode is driven again"):
        resumed = collect_toy(tmp_path, episodes=9)
    assert_same(resumed.path, whole)


@pytest.mark.parametrize("content", ["", "\0" * 40, "{", "[1]", "null", '{"env_id": ', "\xff"])
def test_a_mark_of_the_folder_that_a_kill_left_is_named_and_mended(
    tmp_path: Path, whole: Path, content: str
) -> None:
    claim = interrupted(tmp_path) / "config.json"
    before = claim.read_text()
    claim.write_bytes(content.encode("latin-1"))
    collection = CollectConfig("Toy-v0", mix=MIX, episodes=9, dataset_id="vlsafe/toy-v0")
    with (
        pytest.warns(UserWarning, match=r"config.json .*it is written again"),
        pytest.raises(KeyboardInterrupt),
    ):
        collect(collection, tmp_path, NoisyCountingEnv, _raise_interrupt, progress=False)
    assert claim.read_text() == before
    assert_same(collect_toy(tmp_path, episodes=9).path, whole)


def _raise_interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_files_that_are_no_episodes_are_not_in_the_way(tmp_path: Path, whole: Path) -> None:
    folder = interrupted(tmp_path)
    (folder / "notes.txt").write_text("mine")
    (folder / ".0.99.tmp").write_text("half")
    (folder.parent / ".toy-v0.123.tmp").mkdir()  # what a kill while assembling leaves
    assert_same(collect_toy(tmp_path, episodes=9).path, whole)
    left = sorted(path.name for path in (tmp_path / "vlsafe").iterdir())
    assert left == ["namespace_metadata.json", "toy-v0"]


def test_one_writer_a_folder_and_the_second_is_told_who(tmp_path: Path) -> None:
    target = tmp_path / "vlsafe" / "toy-v0"
    with (
        one_writer(target, "vlsafe collect --out there"),
        pytest.raises(
            FolderInUseError, match=rf"vlsafe collect --out there.*process {os.getpid()}"
        ),
    ):
        collect_toy(tmp_path, episodes=2)
    first = collect_toy(tmp_path, episodes=2)
    with one_writer(target, "vlsafe label"):  # who only reads what is finished needs no lock
        assert collect_toy(tmp_path, episodes=2) == first


def test_a_data_set_that_is_being_labelled_is_not_replaced(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=2).path
    config = CollectConfig("Toy-v0", mix=MIX, episodes=3, dataset_id="vlsafe/toy-v0")
    arguments = (config, tmp_path, NoisyCountingEnv, CountingDriver)
    with (
        one_writer(path, "vlsafe label"),
        pytest.raises(FolderInUseError, match="vlsafe label"),
    ):
        collect(*arguments, overwrite=True)
    assert collect_toy(tmp_path, episodes=2).episodes == 2
    assert collect(*arguments, overwrite=True, progress=False).episodes == 3
    left = sorted(file.name for file in (tmp_path / "vlsafe").iterdir())
    assert left == ["namespace_metadata.json", "toy-v0"]


@pytest.mark.parametrize("where", ["out", "out/vlsafe", "out/vlsafe/toy-v0"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, where: str) -> None:
    file = tmp_path / where
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match=f"{file} is a file"):
        collect_toy(tmp_path / "out", episodes=2)
    assert file.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match=f"{tmp_path} cannot be written"):
        check_place(tmp_path / "data" / "vlsafe" / "toy-v0")


@pytest.mark.parametrize(
    "name", ["run[seed=1]", "run[/x]", "a=b,c", "mit Ümläut ß", "🚗", "a'b\"c"]
)
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    first = collect_toy(tmp_path / name, episodes=2)
    assert first.path == tmp_path / name / "vlsafe" / "toy-v0"
    assert collect_toy(tmp_path / name, episodes=2).episodes == 2


@pytest.mark.parametrize("at", ["episode", "assembling"])
def test_a_full_disk_ends_in_a_sentence_and_loses_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def full(*arguments: Any) -> Any:
        if at == "episode" and len(list((tmp_path / SHARDS).glob("episode*"))) < 3:
            return write(*arguments)
        raise OSError(28, "No space left on device")

    write = Path.write_bytes
    monkeypatch.setattr(
        *((Path, "write_bytes") if at == "episode" else (os, "posix_fallocate")), full
    )
    with pytest.raises(OSError, match=r"No space left on device.*episodes are kept: make room"):
        collect_toy(tmp_path, episodes=9)
    left = sorted(path.name for path in (tmp_path / SHARDS).iterdir())
    assert len(left) == (4 if at == "episode" else 10)  # with config.json
    assert not [name for name in left if name.endswith("tmp")]
    assert not (tmp_path / "vlsafe" / "toy-v0").exists()
    monkeypatch.undo()
    assert_same(collect_toy(tmp_path, episodes=9).path, whole)


def test_replacing_a_data_set_waits_until_the_new_one_can_be_driven(tmp_path: Path) -> None:
    old = collect_toy(tmp_path, episodes=2).path
    config = CollectConfig("Toy-v0", mix=MIX, episodes=3, dataset_id="vlsafe/toy-v0")
    with pytest.raises(ValueError, match="observation='multi'"):
        collect(
            config,
            tmp_path,
            lambda: CountingEnv(observation="vector"),
            CountingDriver,
            overwrite=True,
        )
    assert old.is_dir()


# --- workers and interruptions --------------------------------------------------------------------


def failing() -> Callable[[int], int]:
    """A job that fails with a long message."""

    def job(task: int) -> int:
        raise ValueError("this is the reason\nand these are\nmany more lines")

    return job


def test_a_workers_failure_is_one_sentence_with_its_traceback_as_the_cause() -> None:
    with pytest.raises(WorkerError) as caught:
        list(run_tasks(failing, iter([4]), workers=2))
    assert str(caught.value) == "task 4 failed in a worker: ValueError: this is the reason"
    assert caught.value.words == "this is the reason\nand these are\nmany more lines"
    assert "many more lines" in str(caught.value.__cause__)
    assert "Traceback" in str(caught.value.__cause__)


def test_what_workers_cannot_be_given_is_said() -> None:
    with pytest.raises(WorkerError, match=r"no lambdas or local ones, or workers=1"):
        list(run_tasks(lambda: lambda task: task, iter([1]), workers=2))


def test_an_interruption_says_what_is_kept_and_what_happens_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class GivesUp(CountingDriver):
        left = 3

        def reset(self) -> None:
            GivesUp.left -= 1
            if GivesUp.left < 0:
                raise KeyboardInterrupt

    config = CollectConfig("Toy-v0", mix=MIX, episodes=9, dataset_id="vlsafe/toy-v0")
    with pytest.raises(KeyboardInterrupt) as stopped:
        collect(config, tmp_path, NoisyCountingEnv, GivesUp)
    assert stopped.value.args == (
        "interrupted; 3 finished episodes are kept, and the same command drives the others",
    )
    assert capsys.readouterr().err.splitlines()[0] == "collect: started, 9 episodes in all"


def test_the_whole_of_a_file_is_written_at_once(tmp_path: Path) -> None:
    """HDF5 itself ends in a segmentation fault where a disk is full."""
    episode = drive(NoisyCountingEnv(), "expert", CountingDriver, 7)
    content = shards_module._as_bytes(episode, shards_module.facts_of(episode, 0))
    shards_module.write_shard(tmp_path, 0, episode)
    assert (tmp_path / "episode_0000000.hdf5").read_bytes() == content
