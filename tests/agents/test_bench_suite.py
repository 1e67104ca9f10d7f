"""Suites: what stands in the file, and which cells come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.bench.cells import chosen, plan
from vlsafe_agents.bench.suite import make_suite, read_suite
from vlsafe_agents.cli.bench import check, command_of, options_of

SUITES = Path(__file__).resolve().parents[2] / "benchmarks" / "suites"


def small(**changes: Any) -> dict[str, Any]:
    """A suite as it stands in a file."""
    rows = {
        "expert": {"driver": "expert"},
        "bc": {"algo": "bc", "steps": 10},
        "model": {"algo": "vlsafe", "config": {"model_warmup": 1.0}, "evaluate": False},
        "gated": {"algo": "vlsafe", "world_model": "model", "steps": 5},
        "ppo_lag": {"algo": "ppo_lag", "steps": 100, "cost": "env", "scorer": "none"},
    }
    content = {
        "name": "mine",
        "seeds": [0, 1],
        "evaluation": {"episodes": 5},
        "data": {"main": {"collect": {"steps": 100}, "label": {"scorer": "oracle"}}},
        "environments": {
            "road": {
                "env": "VLSafe-Highway-v0",
                "density": 1.3,
                "conditions": {"easy": {}, "dense": {"density": 1.95}},
            }
        },
        "algorithms": rows,
    }
    return {**content, **changes}


def cells_of(**changes: Any) -> dict[str, Any]:
    return {cell.name: cell for cell in plan(make_suite(small(**changes)))}


def test_cells_are_commands_in_an_order_in_which_they_can_be_run(tmp_path: Path) -> None:
    cells = plan(make_suite(small()))
    seen: set[str] = set()
    for cell in cells:
        assert seen.issuperset(cell.after), cell.name
        seen.add(cell.name)
    assert len(cells) == 2 + 2 + 2 * (4 + 3 * 2)  # expert, data; of each seed 4 trained, 3 drive
    by_name = {cell.name: cell for cell in cells}
    assert by_name["train road/seed1/gated"].after == ("label road/main", "train road/seed1/model")
    assert by_name["train road/seed1/ppo_lag"].after == ()
    assert command_of(by_name["evaluate road/dense/seed1/bc"], tmp_path)[3:] == [
        "evaluate", f"{tmp_path}/road/agents/seed1/bc", "--no-record", "--episodes", "5",
        "--density", "1.95", "--out", f"{tmp_path}/road/drives/dense/seed1/bc",
    ]  # fmt: skip
    assert command_of(by_name["train road/seed0/gated"], tmp_path)[3:] == [
        "train", "--algo", "vlsafe", "--world-model", f"{tmp_path}/road/agents/seed0/model",
        "--steps", "5", "--data", f"{tmp_path}/road/data/main", "--seed", "0",
        "--out", f"{tmp_path}/road/agents/seed0/gated",
    ]  # fmt: skip
    online = command_of(by_name["train road/seed0/ppo_lag"], tmp_path)
    assert "--data" not in online
    assert online[online.index("--density") + 1] == "1.3"


def test_a_row_has_other_settings_in_an_environment_that_it_names(tmp_path: Path) -> None:
    content = small()
    content["environments"]["turn"] = {"env": "VLSafe-LeftTurn-v0"}
    content["algorithms"]["ppo_lag"]["per_environment"] = {"turn": {"steps": 7, "preset": "route"}}
    content["algorithms"]["risk"] = {
        "risk": {"states": 6, "rounds": 0},
        "per_environment": {"turn": {"states": 5}},
    }
    by_name = {cell.name: cell for cell in plan(make_suite(content))}
    turn, road = (by_name[f"train {place}/seed0/ppo_lag"].options for place in ("turn", "road"))
    assert (turn["steps"], turn["preset"], turn["cost"]) == (7, "route", "env")
    assert road["steps"] == 100
    assert "preset" not in road
    assert by_name["train turn/seed0/risk"].options.items() >= {"states": 5, "rounds": 0}.items()
    assert by_name["train road/seed0/risk"].options["states"] == 6


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"algo": "bc", "per_environment": {"raod": {"steps": 1}}}, "no environment 'raod'.*road"),
        ({"algo": "bc", "per_environment": {"road": {"seed": 1}}}, "seed is set by the suite"),
        ({"algo": "bc", "per_environment": {"road": 3}}, "names and values are expected"),
        ({"driver": "expert", "per_environment": {"road": {}}}, "no per_environment"),
        (
            {"algo": "vlsafe", "per_environment": {"road": {"world_model": "model"}}},
            "world_model is the same in all environments",
        ),
    ],
)
def test_settings_of_one_environment_are_checked(row: dict[str, Any], message: str) -> None:
    content = small()
    content["algorithms"]["other"] = row
    with pytest.raises(ValueError, match=message):
        make_suite(content)


def test_a_digest_changes_with_the_definition_and_with_what_it_needs() -> None:
    before, same = cells_of(), cells_of()
    assert {n: c.digest for n, c in before.items()} == {n: c.digest for n, c in same.items()}
    more = {"main": {"collect": {"steps": 200}, "label": {"scorer": "oracle"}}}
    after = cells_of(data=more)
    changed = {name for name, cell in before.items() if cell.digest != after[name].digest}
    unmoved = {n for n in before if "expert" in n or "ppo_lag" in n}
    assert changed == set(before) - unmoved
    longer = cells_of(evaluation={"episodes": 6})
    changed = {name for name, cell in before.items() if cell.digest != longer[name].digest}
    assert changed == {name for name in before if name.startswith("evaluate")}


def test_rows_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "learn.py").write_text("print()")
    rows = {
        "own": {
            "command": f"python {tmp_path}/learn.py --seed {{seed}} --out {{out}} --env {{env}}",
            "algo": "dqn",
            "evaluate": {"allow_pickle": True},
        },
        "file": {"model": "zips/dqn_{seed}.zip", "algo": "dqn"},
        "danger": {"risk": {"states": 50}},
        "safer": {"agent": "own", "evaluate": {"shield": "danger", "shield_threshold": 0.1}},
        "wild": {"driver": "aggressive"},
        "tame": {"agent": "wild", "evaluate": {"shield": "danger"}},
        "limits": {"algo": "vlsafe", "grid": {"cost_limit": [0.5, 2], "update": ["gated"]}},
    }
    cells = cells_of(algorithms=rows)
    own = cells["train road/seed1/own"]
    assert own.arguments[2:] == (
        "--seed", "1", "--out", "{out}/road/agents/seed1/own", "--env", "VLSafe-Highway-v0",
    )  # fmt: skip
    before = own.digest
    (tmp_path / "learn.py").write_text("print(1)")
    assert cells_of(algorithms=rows)["train road/seed1/own"].digest != before  # another program
    words = command_of(cells["evaluate road/dense/seed1/own"], tmp_path)
    assert words[4] == f"{tmp_path}/road/agents/seed1/own/model.zip"
    assert {"--allow-pickle", "--algo", "--env", "--density"} <= set(words)
    assert cells["evaluate road/easy/seed1/file"].arguments == ("zips/dqn_1.zip",)
    safer = cells["evaluate road/easy/seed0/safer"]
    assert safer.after == ("train road/seed0/own", "train road/seed0/danger")
    assert safer.options["shield"] == "{out}/road/agents/seed0/danger"
    assert safer.options["allow_pickle"]  # as the row whose agent it is
    behind = cells["evaluate road/easy/seed1/tame"]  # once for each shield, though it is a driver
    assert behind.after == ("train road/seed1/danger",)
    assert behind.arguments == ("aggressive",)
    limit = cells["train road/seed0/limits,cost_limit=2,update=gated"]
    assert (limit.options["cost_limit"], limit.options["update"]) == (2, "gated")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sedes": [0]}, "no setting 'sedes'.*did you mean 'seeds'"),
        ({"name": ""}, "has no name"),
        ({"seeds": [0, 0]}, "each training seed once"),
        ({"seeds": 3}, "seeds is 3"),
        ({"algorithms": {}}, "no algorithms"),
        ({"algorithms": {"a b": {"driver": "expert"}}}, "cannot be a folder's name"),
        ({"algorithms": {"x": {"driver": "expert", "agent": "x"}}}, "contradict"),
        ({"algorithms": {"x": {"driver": "expert", "stesp": 3}}}, "has no 'stesp'"),
        ({"algorithms": {"x": {}}}, "nothing says what it is"),
        ({"algorithms": {"x": {"algo": "vlsafe", "world_model": "y"}}}, "no algorithm 'y'"),
        ({"algorithms": {"x": {"algo": "vlsafe", "world_model": "y"}, "y": {"driver": "expert"}}},
         "'y' is no agent that"),
        ({"algorithms": {"x": {"agent": "y"}, "y": {"agent": "x"}}}, "itself another row's agent"),
        ({"algorithms": {"x": {"agent": "z"}}}, "no algorithm 'z'"),
        ({"algorithms": {"x": {"algo": "bc", "data": "mian"}}}, "did you mean 'main'"),
        ({"algorithms": {"x": {"command": "true"}}}, "algo is missing"),
        ({"algorithms": {"x": {"algo": "bc", "grid": {"steps": 3}}}}, "give a list"),
        ({"algorithms": {"x": {"algo": "bc", "out": "y"}}}, "set by the suite"),
        ({"environments": {"road": {}}}, "env is missing"),
        ({"environments": {"road": {"env": "X-v0", "conditions": {"c": {"densty": 1}}}}},
         "environments.road.conditions.c.*did you mean 'density'"),
        ({"reference": "exprt"}, "did you mean 'expert'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make_suite(small(**changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluation": {"episods": 5}}, "did you mean 'episodes'"),
        ({"evaluation": {"episodes": 0}}, "algorithms.expert.*--episodes"),
        ({"algorithms": {"x": {"driver": "exprt"}}}, "did you mean 'expert'"),
        ({"algorithms": {"x": {"algo": "bc", "cost_limit": 1}}}, "bc does not read --cost-limit"),
        ({"algorithms": {"x": {"algo": "bd"}}}, "unknown algorithm 'bd'"),
        ({"algorithms": {"x": {"algo": "bc", "config": {"stp": 1}}}}, "no setting 'stp'"),
        ({"algorithms": {"x": {"algo": "dqm", "model": "x.zip"}}}, "did you mean 'dqn'"),
        ({"data": {"main": {"collect": {"stesp": 5}}}}, "data.main.collect.*did you mean 'steps'"),
        ({"environments": {"road": {"env": "VLSafe-Highwai-v0"}}}, "environments.road"),
        ({"environments": {"road": {"env": "CartPole-v1"}}}, "allow_import: true"),
    ],
)
def test_commands_refuse_before_anything_runs(changes: dict[str, Any], told: str) -> None:
    suite = make_suite(small(**changes))
    with pytest.raises(ValueError, match=told):
        check(suite, plan(suite))


def test_a_key_given_twice_and_no_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ValueError, match=r"suite\.yaml.*line 2.*'name' a second time"):
        read_suite(path)
    path.write_text("name: [a\n")
    with pytest.raises(ValueError, match="no YAML"):
        read_suite(path)
    path.write_text("just words")
    with pytest.raises(ValueError, match="names and values are expected"):
        read_suite(path)


def test_options_as_they_are_typed() -> None:
    assert options_of("collect", {"density": [0.8, 1.3], "mix": {"expert": 0.5, "noisy": 0.5}}) == [
        "--density", "0.8:1.3", "--mix", "expert=0.5,noisy=0.5",
    ]  # fmt: skip
    assert options_of("train", {"config": {"a.b": 1, "c": "x"}, "online": True}) == [
        "--config", "a.b=1", "--config", "c=x", "--online",
    ]  # fmt: skip
    assert options_of("evaluate", {"judge_all": False, "record": True, "wrapper": ["a:B"]}) == [
        "--judge-recorded", "--record", "--wrapper", "a:B",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="true or false"):
        options_of("evaluate", {"record": "yes"})


def test_only_takes_what_is_needed_along() -> None:
    cells = plan(make_suite(small()))
    names = [cell.name for cell in chosen(cells, "evaluate road/easy/seed0/gated")]
    assert names == [
        "collect road/main",
        "label road/main",
        "train road/seed0/model",
        "train road/seed0/gated",
        "evaluate road/easy/seed0/gated",
    ]
    assert len(chosen(cells, "*/expert")) == 2
    with pytest.raises(ValueError, match="fits no cell"):
        chosen(cells, "nothing")


@pytest.mark.parametrize("name", sorted(path.stem for path in SUITES.glob("*.yaml")))
def test_the_suites_that_come_with_vlsafe_are_sound(name: str) -> None:
    suite = read_suite(SUITES / f"{name}.yaml")
    assert suite.name == name
    cells = plan(suite)
    check(suite, cells)
    assert len({cell.folder for cell in cells if not cell.works_in_place}) == sum(
        not cell.works_in_place for cell in cells
    )
