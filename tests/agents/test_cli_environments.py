"""Environments that commands are told of, by a command line or by somebody's files."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from test_cli import run

from vlsafe_agents.cli.environments import (
    EnvChoice,
    choose_env,
    make_env,
    make_vec_env,
    parse_density,
    parse_mix,
    parse_pairs,
    recorded_env,
)
from vlsafe_agents.cli.scorers import collected_metadata
from vlsafe_agents.common.typed_config import unflatten
from vlsafe_agents.training import read_settings

FOREIGN_IDS = (
    "this:Trap-v0",  # `import this` prints the Zen of Python
    "antigravity:VLSafe-Highway-v0",
    "vlsafe_envs:this:VLSafe-Highway-v0",
    "this:VLSafe-Highway-v0",
    "vlsafe_envs.registration:VLSafe-Highway-v0",
    "CartPole-v1",
    "../VLSafe-Highway-v0",
    "",
    None,
    3,
    ["VLSafe-Highway-v0"],
    {"id": "VLSafe-Highway-v0"},
)
FOREIGN_ARGUMENTS: tuple[Any, ...] = (
    {"scorer": "local-vlm:somebody/model"},
    {"scorer": "chat:model@http://somewhere/v1"},
    {"scorer": None},
    {"cost": "vlm"},
    {"observation": "image"},
    {"scene_in_info": True},
    {"scenario": "merge"},
    {"entry_point": "os:system"},
    {"wrappers": ["os:system"]},
    {"additional_wrappers": []},
    {"disable_env_checker": False},
    {"vectorization_mode": "async"},
    {"vector_kwargs": {"context": "fork"}},
    {"num_envs": 3},
    {"max_episode_steps": 3},
    {"density": float("nan")},
    {"density": "1; import this"},
    {"lanes": [3]},
    {"target_speeds": "0,5"},
    {"__class__": "x"},
    {"self": 1},
    [("density", 1.0)],
    "density=1",
    None,
)


@pytest.fixture(autouse=True)
def nothing_is_imported() -> Any:
    """The module that the ids name is not imported."""
    sys.modules.pop("this", None)
    yield
    assert "this" not in sys.modules
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("env_id", FOREIGN_IDS)
def test_an_id_that_is_not_ours_is_refused_wherever_it_comes_from(
    tmp_path: Path, env_id: Any
) -> None:
    for call in (
        lambda: EnvChoice(env_id),
        lambda: make_env(env_id, {}),
        lambda: make_vec_env(env_id, {}, 1),
    ):
        with pytest.raises(ValueError, match=r"env_id=.*'VLSafe-Highway-v0'"):
            call()
    metadata = {"env_id": env_id, "env_kwargs": {}}
    for call in (
        lambda: recorded_env(metadata, "runs/data"),
        lambda: choose_env(None, [], None, metadata),
        lambda: choose_env("VLSafe-Merge-v0", [], None, metadata),
    ):
        with pytest.raises(ValueError, match=r"the metadata of .* name no environment of ours"):
            call()
    settings = {"algo": "ppo", "steps": 1, "env": {"env_id": env_id, "kwargs": {}}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"settings.json holds no settings .*env_id"):
        read_settings(tmp_path, EnvChoice)


@pytest.mark.parametrize("kwargs", FOREIGN_ARGUMENTS)
def test_arguments_that_an_environment_does_not_have_are_refused_wherever_they_come_from(
    tmp_path: Path, kwargs: Any
) -> None:
    with pytest.raises(ValueError, match=r"option|is set by|arguments of|density=|lanes=|speeds="):
        EnvChoice("VLSafe-Highway-v0", kwargs)
    metadata = {"env_id": "VLSafe-Highway-v0", "env_kwargs": kwargs}
    with pytest.raises(ValueError, match="the metadata of runs/data name no environment of ours"):
        recorded_env(metadata, "runs/data")
    settings = {"algo": "ppo", "steps": 1, "env": {"env_id": "VLSafe-Highway-v0", "kwargs": kwargs}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"settings.json holds no settings"):
        read_settings(tmp_path, EnvChoice)


def test_ids_may_be_written_with_the_packages_name() -> None:
    choice = EnvChoice("vlsafe_envs:VLSafe-Merge-v0", {"density": 1.5})
    assert choice == EnvChoice("VLSafe-Merge-v0", {"density": 1.5})
    assert recorded_env({"env_id": "VLSafe-Merge-v0"}) == EnvChoice("VLSafe-Merge-v0")


def test_commands_about_scorers_check_a_data_sets_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlsafe_agents.data import storage

    metadata = {"env_id": "this:Trap-v0", "env_kwargs": {}}
    monkeypatch.setattr(storage, "read_metadata", lambda path: metadata)
    with pytest.raises(ValueError, match=f"the metadata of {tmp_path} name no environment"):
        collected_metadata(tmp_path)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("density", "not of the form key=value"),
        ("=1", "not of the form key=value"),
        (" =1", "not of the form key=value"),
        ("", "not of the form key=value"),
        ("density=NaN", "density=NaN: give a finite number"),
        ("density=Infinity", "give a finite number"),
        ("density=-Infinity", "give a finite number"),
        ("density=1e999", "density=1e999: give a finite number"),
        ("speeds=[0, 1e999]", "give a finite number"),
        ("density=" + "9" * 5000, "give a smaller number"),
        ('a={"b": 1, "b": 2}', "a key is given twice"),
        ("a=" + "[" * 100_000, "nested too deeply"),
    ],
)
def test_pairs_that_only_look_like_values_are_refused(pair: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_pairs([pair], "--env-arg")
    assert str(caught.value).startswith("--env-arg")
    assert len(str(caught.value)) < 200


def test_values_may_hold_any_sign() -> None:
    pairs = ["a=b=c", "path=/mnt/x,y [1]/ä", "text='[]", "n=-3", "none=None", "empty="]
    assert parse_pairs(pairs, "--config") == {
        "a": "b=c",
        "path": "/mnt/x,y [1]/ä",
        "text": "'[]",
        "n": -3,
        "none": None,
        "empty": "",
    }


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"a": 1, "a.b": 2}, "'a.b' and 'a' contradict each other"),
        ({"a.b": 2, "a": 1}, "'a' is given twice"),
        ({"a.b": {"c": 1}, "a.b.c": 2}, "'a.b.c' is given twice"),
        ({"a.b.c": 2, "a.b": {"c": 1}}, "'a.b' is given twice"),
        ({"a..b": 1}, "a part of it is empty"),
        ({".a": 1}, "a part of it is empty"),
        ({"a.": 1}, "a part of it is empty"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    flat: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        unflatten(flat)


def test_a_setting_given_in_part_leaves_the_others_as_they_were_given() -> None:
    flat = {"a": {"b": {"c": 1}}, "a.b.d": 2}
    for _ in range(2):
        assert unflatten(flat) == {"a": {"b": {"c": 1, "d": 2}}}
    assert flat == {"a": {"b": {"c": 1}}, "a.b.d": 2}


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("expert", "not of the form"),
        ("expert=", "share must be a number"),
        ("expert=half", "share must be a number"),
        ("expert=nan", "share must be a number"),
        ("expert=NaN", "give a finite number"),
        ("expert=1e999", "give a finite number"),
        ("expert=true", "share must be a number"),
        ("expert=[1]", "share must be a number"),
        ("expert=0.5,expert=0.5", "given twice"),
        ("expert=0.5;random=0.5", "share must be a number"),
    ],
)
def test_mixes_that_are_none_are_refused(mix: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_mix(mix)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--env", ""), "unknown environment ''"),
        (("--env", "no_such_module:Trap-v0"), "no_such_module"),
        (("--env", "VLSafe-Highway"), "unknown environment"),
        (("--mix", "metadrive_ppo=1"), "unknown driver 'metadrive_ppo'; VLSafe-Highway-v0 has"),
        (("--mix", ""), "add up to 1"),
        (("--mix", "expert=1.5,random=-0.5"), r"in \[0, 1\]"),
        (("--mix", "expert=2"), r"expert is 2; expected a number in \[0, 1\]"),
        (("--steps", "0"), "steps=0"),
        (("--steps", "-5"), "steps=-5"),
        (("--episodes", "0"), "episodes=0"),
        (("--steps", "5", "--episodes", "5"), "not both"),
        (("--seed", "-1"), "seed=-1"),
        (("--density", "nan"), "density=nan"),
        (("--density", "inf"), "density=inf"),
        (("--density", "0"), "density=0"),
        (("--density", "1", "--env-arg", "density=2"), "density is given twice"),
        (("--env-arg", "density=x"), "density='x'"),
        (("--env-arg", "density=1", "--env-arg", "density=2"), "'density' is given twice"),
        (("--env-arg", "scorer=bundled"), "scorer=... is set by the command"),
        (("--env-arg", "scene_in_info=true"), "is set by the command"),
        (("--env-arg", "max_episode_steps=5"), "unknown option 'max_episode_steps'"),
        (("--env-arg", "scenario=merge"), "unknown option 'scenario'"),
        (("--env-arg", 'rewards={"speed": 2}'), "rewards=.*give a RewardConfig"),
        (("--env-arg", "costs=0"), "costs=0"),
        (("--env-arg", "engine=unreal"), "engine='unreal'"),
        (("--env-arg", "lanes=1e999"), "give a finite number"),
        (("--env-arg", "offroad_terminal=no"), "offroad_terminal='no'"),
        (("--env", "VLSafe-Merge-v0", "--env-arg", "lanes=3"), "only the highway"),
        (("--env", "VLSafe-LeftTurn-v0", "--env-arg", "action=meta"), "prescribes the lanes"),
        (("--env", "VLSafe-LeftTurn-v0", "--env-arg", "vehicles=3"), "only the four_lane"),
    ],
)
def test_mistakes_in_collect_end_in_one_sentence_and_leave_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    out = tmp_path / "data"
    assert run("collect", "--out", str(out), "--workers", "1", *arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments", [("--workers", "0"), ("--workers", "x"), ("--steps", "2.5"), ("--seed", "x")]
)
def test_what_is_no_number_is_refused_by_the_command_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert run("collect", "--out", str(tmp_path / "data"), *arguments) == 2
    assert not (tmp_path / "data").exists()


def test_metadrives_own_drivers_are_known_where_they_can_drive() -> None:
    from vlsafe_envs.registry import DRIVER_NAMES, driver_names

    assert driver_names("VLSafe-Highway-v0") == DRIVER_NAMES
    assert {"metadrive_ppo", "metadrive_idm"} < set(driver_names("VLSafe-MetaDrive-v0"))


def test_a_place_that_is_a_file_is_named_before_anything_is_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").write_text("mine")
    assert run("collect", "--out", str(tmp_path / "data"), "--steps", "5") == 2
    assert f"{tmp_path / 'data'} is a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run[seed=1]", "run[/x] ä"])
def test_paths_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ("--episodes", "2", "--workers", "1", "--env-arg", "duration=2")
    assert run("collect", "--out", str(tmp_path / name), *arguments) == 0
    assert str(tmp_path / name / "vlsafe" / "highway-v0") in capsys.readouterr().out


def test_help_is_not_cut_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("collect", "--help") == 0
    said = capsys.readouterr().out
    assert "…" not in said
    assert "aggressive=0.15" in said
    assert "20,000" in said


@pytest.mark.parametrize(
    ("text", "density"), [(None, None), ("1.5", 1.5), ("0.8:1.3", [0.8, 1.3]), ("2", 2.0)]
)
def test_a_density_is_a_number_or_a_range(text: str | None, density: Any) -> None:
    assert parse_density(text) == density
    if text is not None:
        assert choose_env("VLSafe-LeftTurn-v0", [], density).kwargs == {"density": density}


@pytest.mark.parametrize("text", ["", "a", "1:2:3", "0.8:", "0.8-1.3"])
def test_other_densities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--density"):
        parse_density(text)
