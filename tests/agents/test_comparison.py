"""Algorithms over several training seeds in one table, read from evaluations' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.evaluation import EpisodeRecord, Evaluation, aggregate_seeds, compare, summarise


def record(seed: int, collision: bool, speed: float) -> EpisodeRecord:
    return EpisodeRecord(
        seed=seed,
        episode_return=10.0 * speed,
        cost=10.0 * collision,
        env_cost=10.0 * collision,
        vlm_cost=None,
        collision=collision,
        off_road=False,
        arrived=not collision,
        steps=100,
        distance=10.0 * speed,
        mean_speed=speed,
        collision_speed=speed if collision else None,
    )


def write(root: Path, seed: str, name: str, crashes: int, **changes: Any) -> Path:
    """The evaluation of an agent that crashes in the first ``crashes`` of ten episodes."""
    records = [record(i, i < crashes, 5.0 + crashes) for i in range(10)]
    path = root / seed / name / "evaluation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    training = {"collisions_caused": 40 + crashes if name == "ppo_lag" else 0}
    evaluation = Evaluation(records, summarise(records))
    facts = evaluation.to_json(name, "VLSafe-LeftTurn-v0", {"density": 1.5}, training)
    path.write_text(json.dumps(facts | changes))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path, "0", "bc", 8),
        write(tmp_path, "0", "gated", 1),
        write(tmp_path, "1", "gated", 3),
        write(tmp_path, "0", "ppo_lag", 0),
        write(tmp_path, "1", "ppo_lag", 2),
    ]


def test_folders_of_one_name_are_seeds_of_one_algorithm(files: list[Path]) -> None:
    comparison = compare(files)
    assert comparison.env_id == "VLSafe-LeftTurn-v0"
    assert comparison.env_kwargs == {"density": 1.5}
    assert comparison.episodes == 10
    assert [a.name for a in comparison.algorithms] == ["bc", "gated", "ppo_lag"]
    bc, gated, ppo_lag = comparison.algorithms
    assert gated.summary["collision_rate"]["per_seed"] == pytest.approx([0.1, 0.3])
    runs = [[record(i, i < crashes, 5.0 + crashes) for i in range(10)] for crashes in (1, 3)]
    assert gated.summary == aggregate_seeds(runs)
    assert (bc.collisions_caused, ppo_lag.collisions_caused) == ((0,), (40, 42))


def test_command_prints_means_intervals_and_the_seeds_own_values(
    files: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "--markdown", *map(str, files)])
    assert not stop.value.code
    head, _, bc, gated, ppo_lag = capsys.readouterr().out.strip().splitlines()
    assert head == (
        "| Agent | Collisions | Mean speed [m/s] | Arrivals | Off the road | Return | Cost, truth "
        "| Crashes in learning |"
    )
    # one seed: the exact interval of its episodes; two: never narrower than that of all of them
    assert bc.startswith("| bc | 80% (44% to 97%) | 13.0 (13.0 to 13.0) | 20% (2.5% to 56%) |")
    assert gated.startswith("| gated | 20% (0% to 45%; 10%, 30%) | 7.00 (6.00 to 8.00; 6.00, 8.00)")
    assert ppo_lag.endswith("| 40, 42 |")
    with pytest.raises(SystemExit):
        cli.main(["compare", *map(str, files)])
    shown = capsys.readouterr().out
    assert "10 episodes an agent" in shown
    assert "10%, 30%" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_kwargs": {"density": 1.0}}, r"differ in env_kwargs: compare agents"),
        ({"env_id": "VLSafe-RightTurn-v0"}, "differ in env_id"),
        ({"seeds": list(range(5, 15))}, "differ in seeds"),
    ],
)
def test_drives_that_are_no_comparison_are_refused(
    files: list[Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare([*files, write(tmp_path, "2", "gated", 1, **changes)])


def test_what_is_no_evaluation_is_named(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([])
    other = tmp_path / "run.json"
    other.write_text('{"seeds": []}')
    with pytest.raises(ValueError, match=r"run\.json is no evaluation: it lacks env_id"):
        compare([other])
    other.write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is no JSON file"):
        compare([*files, other])


SETTINGS = {"algo": "ppo", "steps": 8, "seed": 0, "data": None, "options": {}, "config": {}}


def test_crashes_that_nobody_counted_are_not_known(tmp_path: Path) -> None:
    known = write(tmp_path, "0", "ppo_lag", 1)
    unknown = write(tmp_path, "1", "ppo_lag", 2, training={"env_steps": 5})
    before = write(tmp_path, "0", "old", 2)
    facts = json.loads(before.read_text())
    del facts["kind"]  # when 0 stood for what was not known
    before.write_text(json.dumps(facts | {"training": {"env_steps": 0, "collisions_caused": 0}}))
    seeds, old = compare([known, unknown, before]).algorithms
    assert (seeds.collisions_caused, old.collisions_caused) == ((41, None), (None,))
    with pytest.raises(SystemExit):
        cli.main(["compare", "--markdown", *map(str, (known, unknown, before))])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"algo": "ppo_lag"}, "kind of agent, algo"),
        ({"steps": 9}, "steps"),
        ({"config": {"n_epochs": 3}}, "config"),
        ({"seed": 1, "data": "other", "world_model": "w", "device": "cpu"}, ""),
    ],
)
def test_folders_of_one_name_must_hold_one_algorithm(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    files = [
        write(tmp_path, "0", "a", 1, kind="agent", settings=SETTINGS),
        write(tmp_path, "1", "a", 1, kind="agent", settings=SETTINGS | change),
    ]
    if named:
        with pytest.raises(ValueError, match=f"no seeds of one algorithm: they differ in {named};"):
            compare(files)
    else:
        assert compare(files).algorithms[0].role.label == "PPO"
    beside = files[1].with_name("settings.json")
    beside.write_text(json.dumps(SETTINGS | change))  # of an evaluation that does not name them
    write(tmp_path, "1", "a", 1, kind="agent", settings=None)
    if named:
        with pytest.raises(ValueError, match=f"they differ in {named};"):
            compare(files)
    else:
        assert compare(files).algorithms[0].role.label == "PPO"


def test_one_file_twice_is_not_two_seeds(files: list[Path], tmp_path: Path) -> None:
    again = tmp_path / "0" / ".." / "0" / "bc" / "evaluation.json"
    with pytest.raises(ValueError, match="given twice"):
        compare([*files, again])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"[]", "holds no JSON object"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"[" * 100_000, "is no JSON file"),
        (b'{"tables": {}}', "is no evaluation"),
    ],
)
def test_files_of_other_kinds_are_named_with_a_remedy(
    tmp_path: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a [b]" / "evaluation=1.json"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", str(path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f"{path} {message}" in error
    assert "vlsafe evaluate" in error


@pytest.mark.parametrize(
    "change",
    [
        {"episodes": []},
        {"episodes": [3]},
        {"episodes": "none"},
        {"seeds": [1]},
        {"seeds": ["a"] * 10},
        {"env_id": 3},
        {"env_kwargs": []},
        {"kind": 3},
        {"settings": []},
        {"training": {"env_steps": "many"}},
        {"training": []},
    ],
)
def test_entries_of_another_kind_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.json .*vlsafe evaluate"):
        compare([write(tmp_path, "0", "a", 1, **change)])


@pytest.mark.parametrize(
    ("key", "value"),
    [("collision", "no"), ("steps", 1.5), ("return", None), ("return", float("nan")), ("cost", [])],
)
def test_so_are_entries_of_an_episode(tmp_path: Path, key: str, value: Any) -> None:
    path = write(tmp_path, "0", "a", 1)
    facts = json.loads(path.read_text())
    facts["episodes"][3][key] = value
    path.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=rf"evaluation\.json .* {key} "):
        compare([path])


def test_names_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "0", "[red]a|b", 1)
    for options in ((), ("--markdown",)):
        with pytest.raises(SystemExit) as stop:
            cli.main(["compare", *options, str(path)])
        assert not stop.value.code
    plain, table = capsys.readouterr().out.split("| Agent")
    assert "[red]a|b" in plain
    assert r"[red]a\|b" in table
