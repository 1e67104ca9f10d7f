"""``--settings FILE`` of collect, label, evaluate and train-risk."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vlsafe_agents.cli import main as cli
from vlsafe_agents.data.storage import read_metadata
from vlsafe_agents.evaluation import read_evaluation

ROAD = ("--env-arg", "vehicles=3", "--env-arg", "duration=4")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments)])
    return int(stop.value.code or 0)


def test_what_a_run_used_is_a_file_that_runs_it_again(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    given = ("--episodes", 2, "--mix", "expert=0.5,random=0.5", "--seed", 3, "--workers", 1)
    assert run("collect", *given, *ROAD, "--out", first) == 0
    there = Path("vlsafe", "highway-v0", "data")
    file = first / there / "collect.yaml"
    assert "out" not in yaml.safe_load(file.read_text())
    assert run("collect", "--settings", file, "--out", again) == 0
    for name in ("collect.yaml", "metadata.json", "main_data.hdf5"):
        assert (again / there / name).read_bytes() == (first / there / name).read_bytes(), name
    assert run("collect", "--settings", file, "--seed", 4, "--out", other) == 0  # given goes first
    assert read_metadata(other / there)["collection"]["seed"] == 4

    assert run("label", first, "--scorer", "constant:0.25", "--dry-run") == 0
    assert not (first / there / "label.yaml").exists()
    assert run("label", first, "--scorer", "constant:0.25") == 0
    labels = yaml.safe_load((first / there / "label.yaml").read_text())
    assert (labels["data"], labels["scorer"]) == (str(first), "constant:0.25")
    labels["scorer"] = "constant:0.5"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(labels))
    assert run("label", "--settings", tmp_path / "mine.yaml", "--no-cache") == 0
    assert read_metadata(first / there)["scorer"]["value"] == 0.5


def test_an_evaluation_is_repeated_from_its_file(tmp_path: Path) -> None:
    few = ("--episodes", 2, "--scorer", "none", "--no-record")
    road = ("--env", "VLSafe-Highway-v0", *ROAD)
    first, again = tmp_path / "first", tmp_path / "again"
    assert run("evaluate", "expert", *few, *road, "--density", 1.5, "--out", first) == 0
    (file,) = first.glob("*.yaml")
    assert file.with_suffix(".json").is_file()
    assert run("evaluate", "--settings", file, "--out", again) == 0
    one, two = (read_evaluation(folder / f"{file.stem}.json") for folder in (first, again))
    assert one.records == two.records
    assert one.env_kwargs == two.env_kwargs == {"density": 1.5, "vehicles": 3, "duration": 4}


def test_plain_values_stand_for_what_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "env-arg: {vehicles: 3, duration: 4}\nmix: {expert: 0.5, random: 0.5}\n"
        "density: [0.8, 1.3]\nepisodes: 2\nworkers: 1\npolicy:\n"
    )
    assert run("collect", "--settings", file, "--out", tmp_path / "data") == 0
    kept = read_metadata(tmp_path / "data" / "vlsafe" / "highway-v0" / "data")["collection"]
    assert kept["env_kwargs"] == {"vehicles": 3, "duration": 4, "density": [0.8, 1.3]}
    assert kept["mix"] == {"expert": 0.5, "random": 0.5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stesp: 5", "`vlsafe collect` has no option 'stesp'; did you mean 'steps'?"),
        ("steps: abc", "Invalid value for '--steps'"),
        ("workers: 0", "Invalid value for '--workers'"),
        ("out: there", "out is not taken from a file; give --out beside it"),
        ("json: true", "has no option 'json'"),
        ("5: 5", "has no option 5"),
        ("[1, 2]", "holds no YAML mapping"),
        ("steps: 1\nsteps: 2", "line 2 has 'steps' a second time"),
        ("a: [", "is no YAML file"),
        ("mix: expart=1", "did you mean 'expert'?"),
    ],
)
def test_a_file_of_something_else_is_refused(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    assert run("collect", "--settings", file, "--out", tmp_path / "data") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_trust_is_not_taken_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("agent: expert\nallow-import: true\n")
    assert run("evaluate", "--settings", file, "--out", tmp_path) == 2
    assert "allow-import is not taken from a file; give --allow-import" in capsys.readouterr().err
