"""``vlsafe envs``, ``vlsafe --version``, and names that are misspelt."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

from vlsafe_agents.cli import main as cli
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.common.version import vlsafe_version
from vlsafe_envs import known_ids
from vlsafe_envs.drivers import driver_names
from vlsafe_envs.drivers.macros import macro_names


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command printed, which ended well."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert not stop.value.code
    return capsys.readouterr().out


def test_all_environments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    table = said(capsys, "envs")
    assert all(env_id in table for env_id in known_ids())
    facts = json.loads(said(capsys, "envs", "--json"))
    assert [one["id"] for one in facts] == list(known_ids())
    for one in facts:
        assert one["drivers"] == list(driver_names(one["id"]))
        assert one["macro_actions"] == list(macro_names(one["id"]))


@pytest.mark.parametrize("env_id", ["VLSafe-Highway-v0", "VLSafe-LeftTurn-v0"])
def test_the_defaults_of_one_make_it_again(env_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(said(capsys, "envs", env_id, "--json"))
    options = {k: v for k, v in facts["options"].items() if isinstance(v, int | float | str)}
    env = gym.make(env_id, **{**options, "scorer": None})
    again = gym.make(env_id, scorer=None)
    assert env.unwrapped.scenario == again.unwrapped.scenario  # type: ignore[attr-defined]
    assert env.metadata["render_fps"] == facts["decisions_per_second"]
    table = said(capsys, "envs", env_id)
    assert all(name in table for name in facts["options"])
    assert facts["density"] in table


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "--version")
    assert line.startswith(f"vlsafe {vlsafe_version()} (Python 3.")
    assert ", torch " in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("envs", "VLSafe-Higway-v0"), "'VLSafe-Highway-v0'"),
        (("collect", "--out", "x", "--env", "VLSafe-Merge-v1"), "'VLSafe-Merge-v0'"),
        (("collect", "--out", "x", "--env-arg", "vehicle=3"), "'vehicles'"),
        (("collect", "--out", "x", "--mix", "expart=1"), "'expert'"),
        (("train", "--out", "x", "--algo", "ppolag"), "'ppo_lag'"),
        (("evaluate", "expart"), "'expert'"),
        (("evaluate", "m.zip", "--algo", "ppoo", "--env", "CartPole-v1", "--out", "x"), "'ppo'"),
        (("evaluate", "expert", "--out", "x", "--scorer", "bundeld"), "'bundled'"),
        (("evaluate", "expert", "--out", "x", "--scorer", "bundled,fom=cosine"), "'form'"),
        (("train-risk", "--out", "x", "--mix", "noysi=1"), "'noisy'"),
    ],
)
def test_what_was_meant_is_guessed(
    arguments: tuple[str, ...],
    meant: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("envs VLSafe-M", ["VLSafe-Merge-v0", "VLSafe-MetaDrive-v0"]),
        ("collect --env VLSafe-H", ["VLSafe-Highway-v0"]),
        ("train --algo ppo", ["ppo", "ppo_lag"]),
        ("train --observation ve", ["vector", "vehicles"]),
        ("train --preset deb", ["debug"]),
        ("label data --scorer bun", ["bundled"]),
        ("evaluate pretrained:highway-p", ["pretrained:highway-ppo-lag"]),
        ("evaluate model.zip --algo tqc", ["tqc"]),
    ],
)
def test_a_shell_completes_names(
    typed: str,
    found: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_VLSAFE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"vlsafe {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    assert sorted(said(capsys).split()) == sorted(found)


def test_quiet_is_said_before_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ProgressReport, "quiet", False)  # so that it is False again afterwards
    arguments = ["collect", "--steps", "20", "--workers", "1", "--out"]
    for quiet, shown in ((["--quiet"], False), ([], True)):
        with pytest.raises(SystemExit):
            cli.main([*quiet, *arguments, str(tmp_path / str(shown))])
        answer = capsys.readouterr()
        assert ("collect: done" in answer.err) == shown
        assert answer.out
