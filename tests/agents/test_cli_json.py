"""``--json``: one value on standard output, and nothing else there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.answers import Unfinished, answering, as_text
from vlsafe_agents.cli.tables import note, print_table, say
from vlsafe_agents.evaluation import read_evaluation

ROAD = ("--env-arg", "vehicles=3", "--env-arg", "duration=4")
FEW = ("--config", "n_steps=8", "--config", "n_epochs=1", "--config", "batch_size=16")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON."""
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--json"])
    assert (stop.value.code or 0) == code
    return json.loads(capsys.readouterr().out)


def test_a_chain_of_commands_answers_programs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, agent, expert = (str(tmp_path / name) for name in ("data", "agent", "expert"))
    found = answer(
        capsys, "collect", "--episodes", "3", "--mix", "expert=1", "--workers", "1", *ROAD, "--out",
        data
    )  # fmt: skip
    assert (found["episodes"], found["drivers"]["expert"]["episodes"]) == (3, 3)
    assert found["path"] == str(tmp_path / "data" / "vlsafe" / "highway-v0")

    found = answer(capsys, "label", data, "--scorer", "constant:0.25", "--dry-run")
    assert found["frames"] == found["kept"] + found["from_cache"] + found["to_score"]
    found = answer(capsys, "label", data, "--scorer", "constant:0.25", "--no-cache")
    assert sum(found["histogram"]) == found["frames"] == found["histogram"][2]

    few = ("--steps", "16", "--envs", "2", *FEW)
    learn = ("--algo", "ppo", "--observation", "vector", *few)
    found = answer(capsys, "train", "--out", agent, *learn, *ROAD)
    assert (found["folder"], found["env_steps"]) == (agent, 16)

    drive = ("--episodes", "2", "--scorer", "none", "--no-record")
    found = answer(capsys, "evaluate", agent, *drive)
    stored = read_evaluation(Path(found["file"]))
    assert found["summary"] == stored.summary
    assert found["env_kwargs"] == {"vehicles": 3, "duration": 4}
    answer(capsys, "evaluate", "expert", "--data", data, "--out", expert, *drive)
    files = [str(Path(folder) / "evaluation.json") for folder in (agent, expert)]
    found = answer(capsys, "compare", *files)
    assert [one["name"] for one in found["algorithms"]] == ["agent", "expert"]
    assert found["algorithms"][0]["summary"]["mean_speed"]["per_seed"] == [
        stored.summary["mean_speed"]["mean"]
    ]
    found = answer(capsys, "report", str(tmp_path))
    assert Path(found["report"]).is_file()


def test_what_was_not_finished_answers_and_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "name: mine\nevaluation: {episodes: 1}\nenvironments: {road: {env: VLSafe-Highway-v0}}\n"
        "algorithms:\n  lost: {command: \"python -c 'print(1 / 0)'\", algo: dqn}\n"
    )
    run = ("bench", str(suite), "--out", str(tmp_path / "out"))
    found = answer(capsys, *run, "--dry-run")
    assert [cell["state"] for cell in found["cells"]] == ["to do", "to do"]
    found = answer(capsys, *run, code=1)
    assert found["failed"]["train road/seed0/lost"].startswith("ZeroDivisionError")
    assert [line["status"] for line in found["results"]] == ["failed", "blocked"]


def test_a_mistake_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "nothing.json", "--json"])
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert "nothing.json does not exist" in said.err


def test_tables_and_lines_are_left_out_and_the_rest_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> dict[str, Any]:
        say("a result")
        print_table("t", ["a"], [["b"]])
        note("how it goes")
        print("of a library")
        return {"path": Path("a/b"), "nan": float("nan"), "array": np.arange(2), "é": None}

    told = answering(command)
    told(as_json=True)
    said = capsys.readouterr()
    assert json.loads(said.out) == {"path": "a/b", "nan": None, "array": [0, 1], "é": None}
    assert said.err == "how it goes\nof a library\n"
    told(as_json=False)
    assert "a result" in capsys.readouterr().out  # tables are back


def test_an_answer_is_kept_where_a_command_stops() -> None:
    stop = Unfinished({"failed": ["x"]})
    assert (stop.exit_code, stop.answer) == (1, {"failed": ["x"]})
    assert as_text(float("inf")) == "null"


def test_every_command_has_the_option() -> None:
    for name, command in cli.typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        assert "as_json" in {one.name for one in command.params}, name
