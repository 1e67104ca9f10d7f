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
    assert bc.startswith("| bc | 80% (50% to 100%) | 13.0 (13.0 to 13.0) | 20% (0% to 50%) |")
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
