"""``vlsafe envs``: the environments, what they can be made with and who drives in them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from vlsafe_agents.cli import completion


def envs(
    env: Annotated[
        str | None,
        typer.Argument(
            help="An id, for its options. [default: all]",
            metavar="ID",
            autocompletion=completion.env_ids,
        ),
    ] = None,
) -> list[dict[str, Any]] | dict[str, Any]:
    """List the environments; of one of them its options, drivers and macro-actions."""
    from vlsafe_envs.registry import ROWS, row_of

    rows = ROWS if env is None else (row_of(env),)
    facts = [_facts(row) for row in rows]
    if env is None:
        _print_all(facts)
        return facts
    _print_one(facts[0])
    return facts[0]


def _facts(row: Any) -> dict[str, Any]:
    """What is known of an id without making the environment, in plain values."""
    from vlsafe_envs.drivers.macros import macro_names
    from vlsafe_envs.options import option_defaults, scenario_of

    scenario = scenario_of(row.env_id)
    return {
        "id": row.env_id,
        "simulator": row.simulator,
        "actions": scenario.traffic.action,
        "decisions_per_second": scenario.traffic.policy_frequency,
        "seconds": scenario.duration,
        "drivers": list(row.drivers),
        "macro_actions": list(macro_names(row.env_id)),
        "density": row.density,
        "options": {name: _plain(value) for name, value in option_defaults(row).items()},
    }


def _plain(value: Any) -> Any:
    """A default as JSON can hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value)


def _print_all(facts: list[dict[str, Any]]) -> None:
    from vlsafe_agents.cli.tables import print_table, say

    print_table(
        "Environments",
        ("id", "simulator", "actions", "decisions a second", "an episode [s]"),
        [
            (
                one["id"],
                one["simulator"],
                one["actions"],
                f"{one['decisions_per_second']:g}",
                f"{one['seconds']:g}",
            )
            for one in facts
        ],
    )
    say("Options, drivers and macro-actions of one: vlsafe envs ID")


def _print_one(facts: dict[str, Any]) -> None:
    from vlsafe_agents.cli.tables import print_table, say

    print_table(
        f"Options of {facts['id']}",
        ("option", "default"),
        [(name, json.dumps(value)) for name, value in facts["options"].items()],
    )
    say(f"density {facts['density']}")
    say(f"drivers: {', '.join(facts['drivers'])}")
    say(f"macro-actions: {', '.join(facts['macro_actions'])}")
