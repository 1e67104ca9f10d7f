"""The command `vlsafe audit` on real roads."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from vlsafe_agents.audit import failed_audit
from vlsafe_agents.cli import audit as command
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.scorers import scenes_without_others
from vlsafe_agents.data.storage import read_metadata, resolve_dataset
from vlsafe_envs import Scene
from vlsafe_envs.costs import time_to_collision

QUICK = ("--resamples", "50", "--probe-frames", "100", "--no-cache", "--workers", "1")


def run(*arguments: str) -> int:
    """Exit code of a command line, run in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Held-out drives on two roads, audited."""
    out = tmp_path_factory.mktemp("audit")
    drives = ("--env", "VLSafe-Merge-v0", "--density", "0.9", "--episodes", "12")
    roads = ("--env-arg", "duration=8", "--env-arg", "action=meta|grid", "--mix", "random=1.0")
    scorers = ("--scorer", "oracle", "--scorer", "shuffled:random", "--scorer", "constant:0.5")
    assert run("audit", *drives, *roads, *scorers, "--out", str(out), *QUICK) == 0
    return out


def test_roads_are_driven_on_and_every_file_is_there(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "data").iterdir()) == [
        "merge-v0_density=0.9_duration=8_action=grid",
        "merge-v0_density=0.9_duration=8_action=meta",
    ]
    content = json.loads((folder / "audit.json").read_text())
    assert [judge["name"] for judge in content["judges"]] == [
        "oracle", "shuffled:random", "constant:0.5",
    ]  # fmt: skip
    assert {facts["seconds"] for facts in content["data_sets"]} == {0.2, 1.0}
    found = content["judges"][0]["answers"]["time_to_collision"]["evidence"]["auroc"]
    assert found["value"] > 0.95  # the oracle is mostly made from it
    for name in ("report.html", "report.md", "scores.npz"):
        assert (folder / name).stat().st_size > 1000


def test_the_same_command_drives_nothing_again(folder: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("main_data.hdf5")}
    roads = (["VLSafe-Merge-v0"], [0.9], ["duration=8", "action=meta|grid"])
    common = {"episodes": 12, "mix": "random=1.0", "seed": 777, "workers": 1}
    assert len(command._record_drives(folder / "data", *roads, **common)) == len(files) == 2
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("main_data.hdf5")}


def test_labels_that_fail_are_remembered_with_the_data(folder: Path, tmp_path: Path) -> None:
    data = [str(path) for path in sorted((folder / "data").iterdir())]
    for path in data:
        assert run("label", path, "--scorer", "constant:0.5", "--no-cache") == 0
    more = ("--scorer", "labels", "--out", str(tmp_path), "--write")
    assert run("audit", *data, *more, *QUICK) == 0
    metadata = [read_metadata(resolve_dataset(path)) for path in data]
    assert all(entry["audits"][0]["scorer"] == entry["scorer"] for entry in metadata)
    told = [failed_audit(entry) for entry in metadata]
    assert any(text and "no better than chance" in text for text in told)
    assert run("label", data[0], "--scorer", "oracle", "--no-cache") == 0
    assert failed_audit(read_metadata(resolve_dataset(data[0]))) is None  # other labels now


def test_a_scene_without_others_keeps_the_ego_vehicle_and_its_way() -> None:
    rng = np.random.default_rng(0)
    scene = Scene(
        position=np.array([[10.0, 4.0], [22.0, 4.0], [30.0, 8.0]]),
        heading=np.array([0.1, 0.0, 0.0]),
        speed=np.array([25.0, 5.0, 0.0]),
        length=np.full(3, 5.0),
        width=np.full(3, 2.0),
        route=rng.random((4, 2)),
    )
    packed = np.stack([scene.pack(), scene.pack()])
    alone = [Scene.unpack(one) for one in scenes_without_others(packed)]
    assert time_to_collision(scene) < 2
    for one in alone:
        assert time_to_collision(one) == np.inf
        assert len(one.position) == 1
        np.testing.assert_allclose(one.position[0], scene.position[0])
        assert (one.heading[0], one.speed[0]) == pytest.approx((0.1, 25.0))
        np.testing.assert_allclose(one.route, scene.route, atol=1e-6)


def test_prompt_pairs_say_which_are_turned_round() -> None:
    pairs = {pair.name: pair for pair in command._prompt_pairs()}
    assert {name for name, pair in pairs.items() if pair.turned_round} == {"swapped", "negated"}
    paper = pairs["the paper's"]
    assert (pairs["swapped"].safe, pairs["swapped"].unsafe) == (paper.unsafe, paper.safe)


def test_all_default_scorers_can_be_built_and_the_shuffled_one_shares_its_scorer() -> None:
    found = {one.name: one for one in command._named_scorers(command.DEFAULT_SCORERS, threads=1)}
    assert found["shuffled:bundled"].scorer is found["bundled"].scorer
    assert found["shuffled:bundled"].identity(None)["name"] == "shuffled"
    assert [name for name, one in found.items() if one.takes_prompts] == [
        "bundled", "random-weights",
    ]  # fmt: skip
    assert not found["oracle"].looks_at_frames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{}/none", "--scorer", "oracle"), "no Minari id|no data set"),
        (("--scorer", "nobody"), "unknown scorer 'nobody'"),
        (("--env", "Atari", "--scorer", "oracle"), "unknown environment 'Atari'"),
        (("--ttc", "9"), "looks 4 s ahead"),
        (("--horizon", "-1"), "horizon must be positive"),
        (("--false-alarms", "2"), "false_alarm_rate"),
        (("{}", "--density", "1"), "without DATA"),
        (("--scorer", "oracle", "--mix", "racer=1", "--episodes", "1"), "unknown driver 'racer'"),
    ],
)
def test_mistakes_end_in_one_sentence_that_names_them(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    given = [argument.format(tmp_path) for argument in arguments]
    assert run("audit", *given, "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
