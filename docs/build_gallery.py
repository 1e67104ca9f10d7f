"""Writes ``docs/gallery.md`` and its pictures: every environment, its cost, reward and spaces.

    python docs/build_gallery.py
    python docs/build_gallery.py --ids VLSafe-LeftTurn-v0 --out /tmp/gallery

Numbers come from the environments' own configurations and steps a second from any ``docs/*.json``
that has ``{"steps_per_second": {id: {"image": ..., "vector": ...}}}``.  Words stand in the template
``gallery_words.j2`` beside this file; a term, option or id without words there is an error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from PIL import Image

from vlsafe_envs import known_ids
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.observations import OBSERVATION_KINDS
from vlsafe_envs.registry import ROWS, MetaDriveRoad, row_of
from vlsafe_envs.rewards import PER_SECOND
from vlsafe_envs.scenarios import ACTION_KINDS
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.simulators.metadrive.scenario import MAPS
from vlsafe_envs.simulators.paths import four_lane, junction
from vlsafe_envs.tasks import RouteTask

FOLDER = Path(__file__).resolve().parent
SEEDS = range(3_000_000_000, 3_000_000_006)  # of the drives that are looked through for pictures
VIEW = (48.0, 16.0, 32.0)  # [m] ahead, behind and beside that a frame shows

METADRIVE_REWARDS = (
    "driving_reward",
    "speed_reward",
    "success_reward",
    "out_of_road_penalty",
    "crash_vehicle_penalty",
    "crash_object_penalty",
)
FAMILIES = {"cruise": "highway", "route": "task", "metadrive": "metadrive"}  # of the page
METADRIVE_COSTS = ("out_of_road_cost", "crash_vehicle_cost", "crash_object_cost")

Frame = npt.NDArray[np.uint8]


class Snapshot(NamedTuple):
    """A decision of a drive."""

    step: int
    info: dict[str, Any]
    heading: float  # [rad]
    bend: float  # [rad], from the heading to the farthest route point in sight; 0 without a route
    distances: npt.NDArray[np.float64]  # [m], to the other vehicles in the frame
    frame: Frame
    image: Frame

    @property
    def busy(self) -> float:
        """Vehicles in the frame, near ones counting more."""
        return float(np.clip(1.5 - self.distances / 40.0, 0.0, 1.0).sum())


@dataclass(frozen=True)
class Moment:
    """A picture of an environment and what is to be seen."""

    title: str
    caption: str
    frame: Frame  # (224, 224, 3)
    image: Frame  # (64, 64, 3)


def drive(env: gym.Env[Any, Any], driver: str, seed: int) -> list[Snapshot]:
    """One episode, seen at every decision."""
    inner: Any = env.unwrapped
    _, info = env.reset(seed=seed)
    pilot = make_driver(driver, env, np.random.default_rng(seed))
    pilot.reset()
    seen: list[Snapshot] = []
    over = False
    while True:
        scene = inner.scene
        frames = inner.safety_frame(224), inner.safety_frame(64)
        heading, distances = float(scene.heading[0]), _distances_in_view(scene)
        seen.append(Snapshot(len(seen), info, heading, _bend(scene), distances, *frames))
        if over:
            return seen
        _, _, terminated, truncated, info = env.step(pilot.act())
        over = terminated or truncated


def _bend(scene: Any) -> float:
    if not len(scene.route):
        return 0.0
    dx, dy = scene.route[-1] - scene.position[0]
    angle = np.arctan2(dy, dx) - scene.heading[0]
    return float(abs(np.arctan2(np.sin(angle), np.cos(angle))))


def _distances_in_view(scene: Any) -> npt.NDArray[np.float64]:
    """Distances [m] of the other vehicles that a frame shows."""
    dx, dy = (scene.position[1:] - scene.position[0]).T
    cos, sin = np.cos(scene.heading[0]), np.sin(scene.heading[0])
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    ahead, behind, beside = VIEW
    shown = (along < ahead) & (along > -behind) & (abs(across) < beside)
    return np.hypot(dx, dy)[shown]


def moments(env_id: str) -> list[Moment]:
    """Three pictures: what is to come, how it is done, how it goes wrong."""
    options = {"traffic": "hard"} if env_id.endswith("Turn-v0") else {}
    env = make(env_id, observation="vector", **options)
    frequency = env.unwrapped.scenario.traffic.policy_frequency  # type: ignore[attr-defined]
    try:
        tried = [drive(env, "expert", seed) for seed in SEEDS]
        good = [d for d in tried if _crash(d) is None] or tried
        crashes = [_crash(drive(env, "aggressive", seed)) for seed in SEEDS]
    finally:
        env.close()
    task = max((s for d in good for s in d[frequency:]), key=lambda s: s.busy * (1.0 + s.bend))
    others = [d for d in good if not any(s is task for s in d)] or good
    chosen = [("The task", "expert", task), ("How it is done", "expert", _liveliest(others))]
    bad = [crash for crash in crashes if crash is not None]
    if bad:
        worst = max(bad, key=lambda s: s.busy)
        chosen.append(("How it goes wrong", "aggressive", worst))
    return [
        Moment(title, _caption(driver, snapshot, frequency), snapshot.frame, snapshot.image)
        for title, driver, snapshot in chosen
    ]


def strip(moments: Sequence[Moment]) -> Image.Image:
    """The moments side by side: the scorer's frames, below them the agent's images, enlarged."""
    width, gap, scale = 224, 8, 3
    side = 64 * scale
    columns = len(moments)
    size = columns * width + (columns - 1) * gap, width + gap + side
    picture = Image.new("RGB", size, "white")
    for k, moment in enumerate(moments):
        left = k * (width + gap)
        picture.paste(Image.fromarray(moment.frame), (left, 0))
        image = Image.fromarray(moment.image).resize((side, side), Image.Resampling.NEAREST)
        picture.paste(image, (left + (width - side) // 2, width + gap))
    return picture.quantize(128)


def _crash(drive: list[Snapshot]) -> Snapshot | None:
    return next((snapshot for snapshot in drive if snapshot.info["collision"]), None)


def _liveliest(drives: list[list[Snapshot]]) -> Snapshot:
    """The moment of the hardest steering, where others are near."""

    def liveliness(drive: list[Snapshot], k: int) -> float:
        turn = abs(np.sin(drive[k + 1].heading - drive[k - 1].heading))
        return float(turn * drive[k].info["speed"] * (1.0 + drive[k].busy))

    places = [(d, k) for d in drives for k in range(2, len(d) - 1)]
    drive, k = max(places, key=lambda place: liveliness(*place))
    return drive[k]


def _caption(driver: str, snapshot: Snapshot, frequency: int) -> str:
    info, count = snapshot.info, len(snapshot.distances)
    words = [
        f"{driver} driver after {snapshot.step / frequency:.3g} s",
        f"{abs(info['speed']):.1f} m/s",
    ]
    words.append(f"{count} other{'s' * (count != 1)} in view")
    if info["collision"]:
        words.append("collision")
    elif np.isfinite(info["time_to_collision"]):
        words.append(f"time to collision {info['time_to_collision']:.1f} s")
    return ", ".join(words)


@dataclass(frozen=True)
class ActionFacts:
    """One action kind of one environment."""

    kind: str
    space: str  # "" where there is none
    refusal: str  # why there is none
    frequency: int  # [Hz]
    accelerations: list[float]  # [m/s2], the grid's rows
    angles: list[float]  # [degrees], the grid's columns at the expert's speed


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    """The environment without a scorer."""
    return gym.make(env_id, disable_env_checker=True, scorer=None, **options)


def space_text(space: gym.Space[Any]) -> str:
    """A space in the words of Gymnasium, short."""
    if isinstance(space, gym.spaces.Dict):
        parts = (f"{name}: {space_text(part)}" for name, part in space.items())
        return "Dict(" + ", ".join(parts) + ")"
    if isinstance(space, gym.spaces.Box):
        low, high = (f"{value:g}" for value in (space.low.min(), space.high.max()))
        return f"Box({low}, {high}, {space.shape}, {space.dtype})"
    return str(space)


def action_facts(env_id: str, kind: str) -> ActionFacts:
    """What an action kind means at the expert's speed, or why the environment does not have it."""
    try:
        env = make(env_id, action=kind, observation="vector")
    except ValueError as error:
        return ActionFacts(kind, "", str(error).partition(": ")[2] or str(error), 0, [], [])
    inner: Any = env.unwrapped
    rows: list[float] = []
    columns: list[float] = []
    if kind == "grid":
        count = int(inner.action_space.n)
        speeds = np.full(count, inner.scenario.cruise_speed)
        commands = inner.actions.commands(np.arange(count), speeds)  # (15, 2)
        rows = [float(a) for a in dict.fromkeys(commands[:, 0].round(2).tolist())]
        columns = np.degrees(commands[: count // len(rows), 1]).round(1).tolist()
    frequency = inner.scenario.traffic.policy_frequency
    env.close()
    return ActionFacts(kind, space_text(env.action_space), "", frequency, rows, columns)


def environment_facts(env_id: str) -> dict[str, Any]:
    """All that the page says about one environment, except pictures and drivers."""
    spaces = {}
    for kind in OBSERVATION_KINDS:
        if kind == "ways" and not row_of(env_id).knows_ways:
            continue
        env = make(env_id, observation=kind)
        spaces[kind] = space_text(env.observation_space)
        env.close()
    inner: Any = env.unwrapped
    scenario = inner.scenario
    return {
        "id": env_id,
        "family": family(inner),
        "crossing": row_of(env_id).crossing,
        "observations": spaces,
        "actions": [action_facts(env_id, kind) for kind in ACTION_KINDS],
        "default_action": scenario.traffic.action,
        **weights(inner),
        "rules": dataclasses.asdict(inner.rules) if isinstance(inner.task, RouteTask) else {},
        "scenario": scenario,
        "traffic": dataclasses.asdict(scenario.traffic),
        "route_step": ROUTE_STEP,
        "per_second": PER_SECOND,
    }


def family(inner: Any) -> str:
    """Which reward, cost and ends it has: ``"task"``, ``"highway"`` or ``"metadrive"``."""
    return FAMILIES[inner.scenario.row.task]


def weights(inner: Any) -> dict[str, dict[str, Any]]:
    """Weights of the terms of ``"rewards"`` and ``"costs"``; MetaDrive tells its own when it runs.

    Of MetaDrive's, ``"ends"`` says besides which events end an episode.
    """
    if family(inner) != "metadrive":
        return {
            "rewards": dataclasses.asdict(inner.rewards),
            "costs": dataclasses.asdict(inner.costs),
        }
    inner.reset(seed=0)
    config = dict(inner.simulator.simulator.config)
    inner.close()
    ends = ("out_of_road", "on_continuous_line", "crash_vehicle", "crash_object")
    return {
        "rewards": {name: config[name] for name in METADRIVE_REWARDS},
        "costs": {name: config[name] for name in METADRIVE_COSTS},
        "ends": {name: bool(config[f"{name}_done"]) for name in ends},
    }


def constants() -> dict[str, Any]:
    """Numbers of the tasks' roads that are no options."""
    headways = {
        level: [junction.headway_of_gap(gap) for gap in gaps] if gaps else None
        for level, gaps in junction.GAPS.items()
    }
    return {
        "four_lane": {name.lower(): v for name, v in vars(four_lane).items() if name.isupper()},
        "junction": {name.lower(): v for name, v in vars(junction).items() if name.isupper()},
        "headways": headways,
        "metadrive": {
            row.env_id: {
                "maps": MAPS,
                "density": row.road.traffic_density,
                "accidents": row.road.accident_prob,
            }
            for row in ROWS
            if isinstance(row.road, MetaDriveRoad)
        },
    }


def steps_a_second(folder: Path) -> dict[str, dict[str, float]]:
    """``{id: {"image": ..., "vector": ...}}`` from whichever JSON file of ``folder`` has it."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            found |= content.get("steps_per_second", {})
    return found


def plain(value: float) -> str:
    """A number in few digits, with a minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def build(ids: Sequence[str], out: Path) -> Path:
    """Write ``gallery.md`` about ``ids``, and its pictures, into a folder; returns the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["plain"] = plain
    sections = [{**environment_facts(env_id), "moments": moments(env_id)} for env_id in ids]
    text = templates.get_template("gallery.md.j2").render(
        sections=sections, speeds=steps_a_second(FOLDER), constants=constants()
    )
    pictures = out / "pictures" / "gallery"
    pictures.mkdir(parents=True, exist_ok=True)
    for section in sections:
        strip(section["moments"]).save(pictures / f"{section['id']}.png", optimize=True)
    page = out / "gallery.md"
    page.write_text(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", encoding="utf-8")
    return page


def main() -> None:
    """Build the page that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ids", nargs="+", default=list(known_ids()))
    parser.add_argument("--out", type=Path, default=FOLDER, help="Folder of the page.")
    asked = parser.parse_args()
    page = build(asked.ids, asked.out)
    size = sum(file.stat().st_size for file in (asked.out / "pictures" / "gallery").iterdir())
    print(f"{page}: {len(asked.ids)} environments, {size / 1e6:.2f} MB of pictures")


if __name__ == "__main__":
    main()
