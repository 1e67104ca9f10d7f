import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from pool_jobs import square_or_fail
from toy_drives import MIX, CountingDriver, NoisyCountingEnv, collect_toy
from toy_envs import CountingEnv

from vlsafe_agents.cli.collect import _print as print_summary
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.data.collect import CollectConfig, collect, drive
from vlsafe_agents.data.collection import Plan
from vlsafe_agents.data.pool import WorkerError, run_tasks

SHARDS = "vlsafe/.toy-v0.shards"


def planned(mix: dict[str, float]) -> Plan:
    return Plan(CollectConfig("Toy-v0", mix=mix, episodes=1))


def contents(path: Path) -> dict[str, Any]:
    """All arrays and attributes of a data set."""
    found: dict[str, Any] = {}
    with h5py.File(path / "data" / "main_data.hdf5") as file:

        def add(name: str, item: Any) -> None:
            found[name] = item[()] if isinstance(item, h5py.Dataset) else dict(item.attrs)

        file.visititems(add)
    return found


def assert_same(first: Path, second: Path) -> None:
    one, two = contents(first), contents(second)
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


def seeds_in(shards: Path) -> set[int]:
    found = set()
    for path in shards.glob("episode_*.hdf5"):
        with h5py.File(path) as file:
            found.add(int(file["episode"].attrs["seed"]))
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_collection_ends_in_the_same_data_set_and_repeats_no_episode(
    tmp_path: Path, workers: int
) -> None:
    script = (
        "from pathlib import Path\nfrom toy_drives import collect_toy\n"
        f"if __name__ == '__main__':\n"
        f"    collect_toy(Path({str(tmp_path / 'killed')!r}), {workers}, pause=0.02)\n"
    )
    (tmp_path / "script.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    shards = tmp_path / "killed" / SHARDS
    deadline = time.monotonic() + 60
    while len(list(shards.glob("episode_*.hdf5"))) < 3:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_until_gone(process.pid)  # workers notice that their parent is gone
    finished = seeds_in(shards)
    assert not (tmp_path / "killed" / "vlsafe" / "toy-v0").exists()

    log = tmp_path / "log"
    resumed = collect_toy(tmp_path / "killed", log=log)
    driven = [int(line) for line in log.read_text().split()]
    assert driven
    assert not finished & set(driven)
    assert len(set(driven)) == len(driven)
    whole = collect_toy(tmp_path / "whole")
    assert resumed.episodes == whole.episodes
    assert_same(resumed.path, whole.path)
    assert not shards.exists()


def _wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("worker processes outlived their killed parent")


def test_images_are_stored_without_loss_and_infos_have_one_entry_more_than_actions(
    tmp_path: Path,
) -> None:
    path = collect_toy(tmp_path, episodes=4).path
    data = minari.MinariDataset(path / "data")
    for number, episode in enumerate(data.iterate_episodes()):
        _, name, seed = planned(MIX)[number]
        truth = drive(NoisyCountingEnv(), name, CountingDriver, seed)
        np.testing.assert_array_equal(episode.observations["image"], truth.obs["image"])
        np.testing.assert_array_equal(episode.actions, truth.action)
        steps = len(episode.actions)
        assert len(episode.rewards) == len(episode.terminations) == steps
        assert all(len(array) == steps + 1 for array in episode.infos.values())
        assert episode.infos["scene"].shape == (steps + 1, 48, 7)
        assert episode.infos["scene"][2, 0, 0] == 2  # the scene of observation 2
        assert (episode.infos["time_to_collision"] == 1e3).all()  # infinite
        assert episode.terminations[-1]
        assert not episode.terminations[:-1].any()
        assert not episode.truncations.any()


def test_minari_finds_the_set_by_its_id_without_a_lasting_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    collect_toy(tmp_path, episodes=2)
    assert "MINARI_DATASETS_PATH" not in os.environ
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert minari.load_dataset("vlsafe/toy-v0").total_episodes == 2
    assert list(minari.list_local_datasets()) == ["vlsafe/toy-v0"]


def test_metadata_state_the_mix_and_the_share_of_unsafe_steps(tmp_path: Path) -> None:
    summary = collect_toy(tmp_path)
    metadata = minari.MinariDataset(summary.path / "data").storage.metadata
    costs = [v[1:] for k, v in contents(summary.path).items() if k.endswith("infos/env_cost")]
    share = float((np.concatenate(costs) > 0).mean())
    assert metadata["mix"] == MIX
    assert metadata["contents"]["unsafe_share"] == pytest.approx(share)
    assert 0 < share < 1
    assert metadata["total_steps"] == summary.steps >= 60
    rows = summary.drivers.values()
    assert sum(row["steps"] for row in rows) == summary.steps


def test_every_prefix_of_the_episodes_keeps_to_the_mix() -> None:
    mix = {"expert": 0.5, "noisy": 0.25, "aggressive": 0.15, "random": 0.1}
    names = [planned(mix)[index].driver for index in range(40)]
    for count in range(1, 41):
        for name, share in mix.items():
            assert abs(names[:count].count(name) - share * count) < 1.0


def test_collecting_stops_with_the_episode_that_reaches_the_steps(tmp_path: Path) -> None:
    summary = collect_toy(tmp_path, steps=20)
    last = contents(summary.path)[f"episode_{summary.episodes - 1}/rewards"]
    assert summary.steps - len(last) < 20 <= summary.steps


def test_a_relative_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    summary = collect_toy(Path("runs/here"), steps=5)
    assert contents(tmp_path / "runs/here" / summary.path.relative_to(tmp_path / "runs/here"))


def test_a_finished_set_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    first = collect_toy(tmp_path, episodes=2)
    log = tmp_path / "log"
    again = collect_toy(tmp_path, episodes=2, log=log)
    assert not log.exists()
    assert again.drivers == first.drivers
    with pytest.raises(FileExistsError, match="other settings"):
        collect_toy(tmp_path, episodes=2, seed=5)


def test_an_unfinished_set_of_other_settings_is_refused(tmp_path: Path) -> None:
    shards = tmp_path / SHARDS
    with pytest.raises(ZeroDivisionError):
        collect(
            CollectConfig("Toy-v0", mix=MIX, steps=9, dataset_id="vlsafe/toy-v0"),
            tmp_path,
            NoisyCountingEnv,
            lambda name, env, rng: 1 / 0,  # type: ignore[arg-type, return-value]
            progress=False,
        )
    assert shards.exists()
    with pytest.raises(FileExistsError, match="another seed"):
        collect_toy(tmp_path, seed=5)


def test_an_environment_without_cost_is_refused() -> None:
    class Silent(CountingEnv):
        def _info(self) -> dict[str, Any]:
            return {"speed": 1.0}

    with pytest.raises(ValueError, match=r"no info\['cost'\]"):
        drive(Silent(observation="multi"), "expert", CountingDriver, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mix": {"expert": 0.6}}, "add up to 1"),
        ({"episodes": 3}, "not both"),
        ({"steps": 0}, "nothing to collect"),
        ({"dataset_id": "no version"}, "not a Minari id"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"env_id": "Toy-v0", "steps": 10, **change}
    with pytest.raises(ValueError, match=message):
        CollectConfig(**settings)


def test_the_pool_does_every_task_once() -> None:
    results = dict(run_tasks(square_or_fail, iter([1, 2, 4, 5]), workers=2))
    assert results == {1: 1, 2: 4, 4: 16, 5: 25}


@pytest.mark.parametrize(("task", "message"), [(3, "three is too many"), (7, "exit code 5")])
def test_a_failing_or_dying_worker_is_named_not_waited_for(task: int, message: str) -> None:
    with pytest.raises(WorkerError, match=message):
        list(run_tasks(square_or_fail, iter([1, task]), workers=2))


def test_an_episode_in_memory_is_stored_and_read_as_it_is(tmp_path: Path) -> None:
    class Scored(NoisyCountingEnv):
        def _tell(self, info: dict[str, Any]) -> dict[str, Any]:
            return super()._tell(dict(info)) | {"safety_score": info["safety_score"]}

    config = CollectConfig("Toy-v0", mix=MIX, episodes=4, dataset_id="vlsafe/toy-v0")
    path = collect(config, tmp_path, Scored, CountingDriver, progress=False).path
    dataset = EpisodeDataset.from_minari(path)
    for number, read in enumerate(dataset.episodes):
        _, name, seed = planned(MIX)[number]
        truth = drive(Scored(), name, CountingDriver, seed)
        for name in ("action", "reward", "env_cost", "safety_score"):
            np.testing.assert_array_equal(getattr(read, name), getattr(truth, name))
        np.testing.assert_array_equal(read.obs["image"], truth.obs["image"])
        for name in ("terminated", "truncated", "seed", "driver"):
            assert getattr(read, name) == getattr(truth, name)


class Crashing(NoisyCountingEnv):
    """Reports a collision in its third step."""

    def _tell(self, info: dict[str, Any]) -> dict[str, Any]:
        return super()._tell(info) | {"collision": self.time == 3}


class Silent(NoisyCountingEnv):
    """Reports no collisions."""

    def _tell(self, info: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in super()._tell(info).items() if k != "collision"}


@pytest.mark.parametrize(("make_env", "count"), [(Silent, None), (Crashing, 4)])
def test_collisions_are_counted_where_they_are_reported_and_else_not_known(
    make_env: Any, count: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CollectConfig("Toy-v0", mix=MIX, episodes=4)
    found = collect(config, tmp_path, make_env, CountingDriver, progress=False)
    assert found.collisions == count
    unknown = count is None
    assert {row["collisions"] is None for row in found.drivers.values()} == {unknown}
    data = EpisodeDataset.from_minari(found.path, cost="env")
    assert data.metadata["contents"]["collisions"] == count
    print_summary(found)
    assert ("collisions: not known" in capsys.readouterr().out) == unknown
