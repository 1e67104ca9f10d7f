"""The rule-based drivers of every environment: how often they arrive and crash, and how they drive.

    python benchmarks/experts.py --episodes 200
    python benchmarks/experts.py --envs VLSafe-LeftTurn-v0 --drivers expert noisy --episodes 50
    python benchmarks/experts.py --markdown docs/experts.md --episodes 0  # the tables only

Each driver drives the same seeds, those of ``vlsafe evaluate``, through the same code
(``vlsafe_agents.evaluation``), with vector observations and no scorer, so cost is simulator truth.
Densities are multiples of each environment's own; the turns are driven at each level of traffic.
All act through the default action kind, but MetaDrive's own two drivers, which steer and accelerate
continuously, through the continuous one.

Rates come with Wilson's 95% interval (JASA 22, 1927), which stays honest at 0 and 1, where a
bootstrap says "0 to 0"; means with the bootstrap interval of ``vlsafe evaluate``.  ``off road`` is
the share of episodes with a moment off the road, ``off route`` that of episodes that end for it.

Results go into one JSON file, one line a cell.  A cell that is driven again replaces the old one;
the others stay, so environments can be driven on different days and installations.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.evaluation import evaluate
from vlsafe_envs import known_ids
from vlsafe_envs.drivers import DRIVER_NAMES, driver_names, make_driver
from vlsafe_envs.options import scenario_of
from vlsafe_envs.registry import METADRIVE_IDS
from vlsafe_envs.simulators.metadrive.missing import metadrive_installed

ROOT = Path(__file__).resolve().parent.parent
FIRST_SEED = (
    3_000_000_000  # as in `vlsafe evaluate`; data sets are collected with seeds below 2**31
)
DENSITY_FACTORS = (0.5, 1.0, 1.5)
TRAFFIC = ("none", "medium", "hard")  # of the turns
BRISK_AT = "VLSafe-Highway-v0"  # elsewhere this driver is the expert
RATES = ("arrival", "collision", "off_road", "off_route", "timeout")
MEANS = {
    "speed": "mean_speed",
    "distance": "distance",
    "steps": "steps",
    "return": "return",
    "cost": "env_cost",
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One driver on one kind of traffic."""

    env_id: str
    driver: str
    traffic: str | None  # level of the turns
    density: float
    action: str | None = None  # another kind than the default

    @property
    def options(self) -> dict[str, Any]:
        """For ``gym.make``."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in ("env_id", "driver") and value is not None
        }


class EpisodeEnds(gym.Wrapper[Any, Any, Any, Any]):
    """Counts episodes that run out of time, which an ``EpisodeRecord`` does not say."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.timeouts = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.timeouts += truncated and not terminated
        return observation, reward, terminated, truncated, info


def wilson(successes: int, episodes: int, z: float = 1.959964) -> tuple[float, float]:
    """95% interval of a rate.

    Raises:
        ValueError: without episodes.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes}: a rate needs at least one")
    rate, weight = successes / episodes, z * z / episodes
    middle = rate + weight / 2
    half = z * math.sqrt(rate * (1 - rate) / episodes + weight / (4 * episodes))
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    return (0.0 if successes == 0 else low), (1.0 if successes == episodes else high)


def cells(
    env_ids: Sequence[str], drivers: Sequence[str] | None, factors: Sequence[float]
) -> Iterator[Cell]:
    """All kinds of traffic, each with all drivers."""
    for env_id in env_ids:
        traffic = scenario_of(env_id).traffic
        levels = TRAFFIC if env_id.endswith("Turn-v0") else (None,)
        names = drivers or default_drivers(env_id)
        for level in levels:
            for factor in (1.0,) if level == "none" else factors:
                for name in names:
                    action = None if name in DRIVER_NAMES else "continuous"
                    density = round(traffic.density * factor, 3)
                    yield Cell(env_id, name, level, density, action)


def default_drivers(env_id: str) -> list[str]:
    """Those that differ from each other, and on MetaDrive its own two."""
    return [n for n in driver_names(env_id) if n != "brisk" or env_id == BRISK_AT]


def drive(cell: Cell, episodes: int, progress: Callable[[Any], None] | None = None) -> Row:
    """The cell's figures over ``episodes`` seeds."""
    made: list[EpisodeEnds] = []

    def make_env() -> EpisodeEnds:
        options = {**cell.options, "observation": "vector", "scorer": None}
        made.append(EpisodeEnds(gym.make(cell.env_id, disable_env_checker=True, **options)))
        return made[-1]

    seeds = range(FIRST_SEED, FIRST_SEED + episodes)
    begin = time.process_time()
    result = evaluate(partial(make_driver, cell.driver), make_env, seeds, progress=progress)
    seconds = time.process_time() - begin
    records, (ends,) = result.records, made
    counts = {
        "arrival": _count([r.arrived for r in records]),
        "collision": sum(r.collision for r in records),
        "off_road": sum(r.off_road for r in records),
        "off_route": _count([r.off_route for r in records]),
        "timeout": ends.timeouts,
    }
    row: Row = {**asdict(cell), "episodes": episodes}
    for name, count in counts.items():
        row[name] = None if count is None else _rounded(count / episodes, *wilson(count, episodes))
    for name, metric in MEANS.items():
        found = result.summary[metric]
        row[name] = _rounded(found["mean"], found["low"], found["high"])
    wrong = [r.seed - FIRST_SEED for r in records if r.collision]
    row["collided"] = wrong[:10]  # seeds, counted from the first one
    row["cpu_s"] = round(seconds, 1)
    return row


def _count(flags: list[bool | None]) -> int | None:
    """How many are true; ``None`` where the environment does not say."""
    return None if flags[0] is None else sum(bool(flag) for flag in flags)


def _rounded(*values: float | None) -> list[float] | None:
    """``[value, low, high]`` to four digits; ``None`` for what is not there."""
    if values[0] is None:
        return None
    return [float(f"{value:.4g}") for value in values if value is not None]


def read_rows(path: Path) -> list[Row]:
    """The cells that are already in the file."""
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"]) if path.exists() else []


def merged(rows: list[Row], new: list[Row]) -> list[Row]:
    """All cells, new ones in place of old ones of the same traffic and driver, in a fixed order."""
    by_key = {_key(row): row for row in (*rows, *new)}
    order = {name: index for index, name in enumerate((*DRIVER_NAMES, *_other_drivers(by_key)))}
    ids = {name: index for index, name in enumerate(known_ids())}

    def place(key: tuple[Any, ...]) -> tuple[Any, ...]:
        env_id, driver, level, density = key
        rank = -1 if level is None else TRAFFIC.index(level)
        return ids.get(env_id, len(ids)), rank, density, order[driver]

    return [by_key[key] for key in sorted(by_key, key=place)]


def _key(row: Row) -> tuple[Any, ...]:
    return row["env_id"], row["driver"], row["traffic"], row["density"]


def _other_drivers(keys: Any) -> list[str]:
    return sorted({driver for _, driver, _, _ in keys} - set(DRIVER_NAMES))


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the file, one line a cell."""
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    head = json.dumps({"first_seed": FIRST_SEED, "interval": "[value, low, high], 95%"})[1:-1]
    path.write_text(f'{{{head}, "cells": [\n{lines}\n]}}\n', encoding="utf-8")


def commit() -> str:
    """The commit of the code, with ``+`` when files of ``vlsafe_envs`` differ from it."""
    run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=False)
    name = run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
    changed = run(["git", "status", "--porcelain", "--", "vlsafe_envs"]).stdout.strip()
    return name + ("+" if changed else "")


def percent(value: list[float] | None) -> str:
    """``"97 (93 to 99)"``, or a dash."""
    if value is None:
        return "-"
    rate, low, high = (100 * v for v in value)
    return f"{rate:.3g} ({low:.2g} to {high:.3g})"


def short(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(rows: list[Row]) -> str:
    """All cells as tables, one an environment."""
    text = [
        "# Rule-based drivers",
        "",
        "Written by `benchmarks/experts.py`; how to read it stands there. Arrival, collision, off",
        "road (at any moment), off route (ended for it) and time-out in percent of episodes, with",
        "95% intervals; speed [m/s], distance [m], return and cost (simulator truth) are means.",
    ]
    for env_id in dict.fromkeys(row["env_id"] for row in rows):
        mine = [row for row in rows if row["env_id"] == env_id]
        turns = mine[0]["traffic"] is not None
        titles = ["traffic"] * turns + ["density", "driver", "n", *RATES, *MEANS]
        text += ["", f"## {env_id}", "", "| " + " | ".join(titles).replace("_", " ") + " |"]
        text.append("|---" * len(titles) + "|")
        for row in mine:
            start = [row["traffic"]] * turns + [f"{row['density']:g}", row["driver"]]
            means = ["-" if row[name] is None else short(row[name][0]) for name in MEANS]
            entries = [*start, str(row["episodes"]), *(percent(row[name]) for name in RATES)]
            text.append("| " + " | ".join([*entries, *means]) + " |")
    return "\n".join(text) + "\n"


def installed_ids() -> list[str]:
    """Our ids, without MetaDrive's where it is not installed."""
    if metadrive_installed():
        return list(known_ids())
    return [name for name in known_ids() if name not in METADRIVE_IDS]


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--envs", nargs="+", default=installed_ids(), metavar="ID")
    parser.add_argument("--drivers", nargs="+", help="default: all that differ from each other")
    parser.add_argument("--factors", nargs="+", type=float, default=list(DENSITY_FACTORS))
    parser.add_argument("--episodes", type=int, default=200, help="a cell; 0 writes tables only")
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "experts.json")
    parser.add_argument("--markdown", type=Path, help="where the tables go, or they are printed")
    return parser.parse_args()


def main() -> None:
    """Drive, keep every cell as soon as it is there, and show the tables."""
    asked = arguments()
    todo = list(cells(asked.envs, asked.drivers, asked.factors)) if asked.episodes else []
    done, written = 0, commit()
    total = len(todo) * asked.episodes
    new: list[Row] = []
    with ProgressReport("experts", total, "episodes", enabled=total > 0) as report:
        for cell in todo:
            note = " ".join(str(v) for v in asdict(cell).values() if v is not None)

            def count(_: Any, note: str = note) -> None:
                nonlocal done
                done += 1
                report.update(done, note)

            new.append({**drive(cell, asked.episodes, count), "commit": written})
            write_rows(asked.json, merged(read_rows(asked.json), new[-1:]))
    rows = read_rows(asked.json)
    if asked.markdown is None:
        print(markdown(new or rows))
    else:
        asked.markdown.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
