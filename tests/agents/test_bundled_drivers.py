"""The trained drivers that come with vlsafe: whole, small, described, and able to drive."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from huggingface_hub import ModelCard
from load_script import script

import vlsafe_envs  # registers the ids
from vlsafe_agents import VLSafe
from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli.policies import check_policy, is_policy
from vlsafe_agents.common.agent_file import read_agent
from vlsafe_agents.evaluation import evaluate, read_evaluation
from vlsafe_agents.pretrained import driver_folder, driver_names
from vlsafe_agents.pretrained.card import card_text
from vlsafe_agents.pretrained.kinds import AGENT
from vlsafe_agents.pretrained.sources import FILES
from vlsafe_agents.risk import SafetyShield, bundled_ids
from vlsafe_agents.training import load_agent
from vlsafe_envs.registry import METADRIVE_IDS

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 4 * 2**20  # of one
FIRST_SEED = 3_000_000_000
# By road: drives, most of them that collide, and the least mean speed [m/s], so that nobody gets
# out of the way by waiting.  Six drives tell a driver from none; the cards have more.
DRIVES = {
    "highway": (6, 1, 17.0),
    "merge": (6, 1, 14.0),
    "left-turn": (4, 1, 3.0),
    "navigation": (1, 1, 3.0),
}


def rows_of_script() -> tuple[dict[str, Any], dict[str, Any]]:
    """Roads and drivers of the script that makes the bundled ones."""
    found = script("benchmarks/bundled_drivers.py")
    return found.ROADS, found.DRIVING


@pytest.mark.parametrize("name", driver_names())
def test_each_is_whole_small_and_says_what_its_facts_say(name: str) -> None:
    folder = driver_folder(name)
    assert {file.name for file in folder.iterdir()} == set(FILES)
    assert sum(file.stat().st_size for file in folder.iterdir()) < MOST_BYTES
    read_agent(folder / "model.zip")  # refuses whatever could run code
    facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    content = (folder / "model.zip").read_bytes()
    assert facts["weights"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert facts["weights"]["bytes"] == len(content)
    assert (folder / "README.md").read_text(encoding="utf-8") == card_text(AGENT, folder)
    roads, drivers = rows_of_script()
    road = roads[drivers[name].road]
    densities = [found["env_kwargs"]["density"] for found in facts["evaluations"]]
    assert sorted(set(densities)) == list(road.densities())
    assert ("scorer" in facts["data"]) == road.labelled
    if road.labelled:
        assert facts["data"]["scorer"]["model"] == "bundled"
    shielded = [found for found in facts["evaluations"] if "shield" in found["conditions"]]
    assert bool(shielded) == (road.env_id in bundled_ids())


def test_they_are_those_that_the_script_makes() -> None:
    assert "highway" in driver_names()
    assert set(driver_names()) <= set(rows_of_script()[1])


@pytest.mark.parametrize("name", driver_names())
def test_each_fits_its_environment_and_drives_there(name: str) -> None:
    agent, settings, _ = load_agent(driver_folder(name))
    roads, drivers = rows_of_script()
    assert settings.env.env_id == roads[drivers[name].road].env_id
    if settings.env.env_id in METADRIVE_IDS:
        pytest.importorskip("metadrive")

    def make_env() -> gym.Env[object, object]:
        seen = settings.observation
        return gym.make(settings.env.env_id, observation=seen, scorer=None, **settings.env.kwargs)

    drives, most, least = DRIVES[drivers[name].road]
    found = evaluate(agent, make_env, range(FIRST_SEED, FIRST_SEED + drives))
    assert sum(bool(record.collision) for record in found.records) <= most
    assert found.summary["mean_speed"]["mean"] is not None
    assert found.summary["mean_speed"]["mean"] > least


def test_the_command_line_drives_it_and_writes_into_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "pretrained:highway", "--episodes", "2", "--scorer", "none"])
    assert not stop.value.code
    found = read_evaluation(tmp_path / "runs" / "pretrained" / "highway" / "evaluation.json")
    assert (found.agent, found.kind) == ("highway", "agent")
    assert {file.name for file in driver_folder("highway").iterdir()} == set(FILES)
    capsys.readouterr()
    for agent, fault in (
        ("highway", "pretrained:highway comes with vlsafe"),
        ("pretrained:higway", "did you mean 'highway'"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["evaluate", agent, "--episodes", "2"])
        assert fault in capsys.readouterr().err


def test_collect_takes_it_as_a_policy() -> None:
    assert is_policy("pretrained:highway")
    check_policy("pretrained:highway")
    with pytest.raises(ValueError, match="did you mean"):
        check_policy("pretrained:higway")


def test_a_shield_of_the_same_name_stands_around_it() -> None:
    env = gym.make("VLSafe-Highway-v0", observation="image", scorer=None)
    shielded = SafetyShield.from_pretrained("highway", env)  # which shows images only
    agent = VLSafe.from_pretrained("highway", device="cpu")
    image, _ = shielded.reset(seed=3_000_000_000)
    action, _ = agent.predict(image, deterministic=True)
    *_, info = shielded.step(action)
    assert info["shield_replaced"] in (True, False)
    told = SafetyShield.from_pretrained("highway", env, sense=vlsafe_envs.vehicles_seen)
    told.reset(seed=3_000_000_000)
    *_, same = told.step(action)
    assert same["shield_risk"] == info["shield_risk"]


@pytest.mark.parametrize("name", driver_names())
def test_the_hub_reads_its_card(name: str) -> None:
    card = ModelCard((driver_folder(name) / "README.md").read_text(encoding="utf-8"))
    assert (card.data.library_name, card.data.pipeline_tag) == ("vlsafe", "reinforcement-learning")
    assert {"reinforcement-learning", "safe-rl"} <= set(card.data.tags)
    found = {(one.dataset_name, one.metric_type) for one in card.data.eval_results}
    roads, drivers = rows_of_script()
    env_id = roads[drivers[name].road].env_id
    assert {(env_id, "mean_reward"), (env_id, "collision_rate")} <= found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_onnx_runtime_drives_it_without_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    agent = VLSafe.from_pretrained("highway", device="cpu")
    path = agent.export_onnx(tmp_path / "highway.onnx")
    answer = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "drive_with_onnxruntime.py"), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    *drives, last = answer.stdout.strip().splitlines()
    assert last == "PyTorch was imported: False"

    def make_env() -> gym.Env[object, object]:
        return gym.make("VLSafe-Highway-v0", observation="image", scorer=None)

    records = evaluate(agent, make_env, range(3_000_000_000, 3_000_000_003)).records
    expected = [
        f"seed {r.seed}: return {r.episode_return:.1f}, collision {bool(r.collision)}"
        for r in records
    ]
    assert drives == expected
    print("the same three drives by onnxruntime:", *drives, sep="\n")
