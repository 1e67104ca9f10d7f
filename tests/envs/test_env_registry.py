"""The registry is the one place that knows roads by name, and all that it names is there."""

from __future__ import annotations

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import vlsafe_envs
from vlsafe_envs.options import check_env_options, option_defaults, read_options
from vlsafe_envs.registry import (
    DEFAULT_ID,
    ROWS,
    HighwayRoad,
    OwnRoad,
    Row,
    all_driver_names,
    driver_names,
)
from vlsafe_envs.simulators.paths import four_lane

ROOT = Path(vlsafe_envs.__file__).parents[1]
NAMES = {row.name for row in ROWS} | {row.env_id for row in ROWS}
NAMES -= {"metadrive", "navigation"}  # words of MetaDrive's own, too
PLACES = ("vlsafe_envs", "vlsafe_agents/cli", "wrappers")
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def strings(path: Path) -> set[str]:
    """All string constants that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in found]
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_only_the_registry_knows_roads_by_name() -> None:
    files = {path for place in PLACES for path in (ROOT / place).rglob("*.py")}
    assert len(files) > 60
    knowing = {str(path.relative_to(ROOT)): strings(path) & NAMES for path in files}
    for command in ("collect", "train_risk"):  # whose `--help` imports nothing
        assert knowing.pop(f"vlsafe_agents/cli/{command}.py") == {DEFAULT_ID}
    assert {name for name, found in knowing.items() if found} == {"vlsafe_envs/registry.py"}


@rows
def test_all_that_a_row_names_is_there(row: Row) -> None:
    paths = set(row.drivers.values())
    if isinstance(row.road, HighwayRoad):
        paths |= {row.road.stage, row.road.spawner}
    if isinstance(row.road, OwnRoad):
        paths.add(row.road.build)
    for path in paths:
        assert callable(pkgutil.resolve_name(path)), path
    assert row.density
    assert tuple(row.drivers) == driver_names(row.env_id)
    assert set(row.drivers) <= set(all_driver_names())


@rows
def test_defaults_are_what_no_options_mean(row: Row) -> None:
    defaults = option_defaults(row)
    assert {*row.own_options, "density", "duration", "observation", "scorer"} <= set(defaults)
    check_env_options(row.env_id, defaults)
    assert read_options(row, defaults).scenario == read_options(row, {}).scenario
    others = {name for other in ROWS for name in option_defaults(other)} - set(defaults)
    for name in others:
        with pytest.raises(ValueError, match=f"unknown option '{name}'|only the .* it"):
            check_env_options(row.env_id, {name: 1})


@rows
def test_documents_name_every_id_and_option(row: Row) -> None:
    pages = "".join(
        (ROOT / "docs" / f"{page}.md").read_text() for page in ("environments", "metadrive")
    )
    names = (row.env_id, *option_defaults(row))
    missing = [name for name in names if not re.search(f"`{name}[`=,:]", pages)]
    assert not missing


def test_the_four_lanes_hold_what_the_registry_says() -> None:
    (road,) = (row.road for row in ROWS if row.name == "four_lane")
    assert isinstance(road, OwnRoad)
    assert road.most_vehicles == four_lane.MOST_VEHICLES
