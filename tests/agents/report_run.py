"""A made-up run folder, small and complete, for tests of the report."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlsafe_agents.evaluation import EpisodeRecord, Evaluation, summarise

# name: collision rate, mean speed [m/s], collisions caused while learning
AGENTS: dict[str, tuple[float, float, int]] = {
    "expert": (0.01, 21.3, 0),
    "bc": (0.16, 20.8, 0),
    "ppo_lag": (0.12, 20.4, 412),
    "vlsafe-gated": (0.05, 20.9, 0),
    "vlsafe-lagrangian": (0.04, 19.8, 0),
    "cost-blind": (0.41, 25.6, 0),
}
SEEDS = list(range(10_000, 10_100))
ENV = {"env_id": "VLSafe-Highway-v0", "kwargs": {"density": 1.5}}


def settings(algo: str, world_model: Path | None = None, **options: Any) -> dict[str, Any]:
    """What `vlsafe train` writes down; None stands for what an algorithm does not read."""
    online, costly = algo in ("ppo", "ppo_lag"), algo in ("vlsafe", "ppo_lag")
    limit = 1.0 if options.get("safety", "score") is None else 0.5
    return {
        "algo": algo,
        "steps": 8_000,
        "env": ENV,
        "observation": "image",
        "data": None if online else "runs/mine/data",
        "world_model": None if world_model is None else str(world_model),
        "cost": "vlm" if costly else None,
        "scorer": "bundled" if algo == "ppo_lag" else None,
        "cost_limit": limit if costly else None,
        "envs": 8 if online else None,
        "frame_stack": None if algo == "vlsafe" else 1,
        "reward_scale": 1.0 if online else None,
        "seed": 3,
        "device": "auto",
        "options": options,
        "config": {},
    }


VLSAFE = {"preset": "cpu", "safety": "score"}
SETTINGS: dict[str, dict[str, Any]] = {
    "bc": settings("bc"),
    "ppo_lag": settings("ppo_lag", preset="highway"),
    "vlsafe-gated": settings("vlsafe", update="gated", **VLSAFE),
    "vlsafe-lagrangian": settings("vlsafe", update="lagrangian", **VLSAFE),
    "cost-blind": settings("vlsafe", update="gated", **{**VLSAFE, "safety": None}),
}


def make_run(
    root: Path, detailed: Collection[str] = tuple(AGENTS), steps: int = 12, size: int = 32
) -> Path:
    """Write the files that `collect`, `label`, `train` and `evaluate` would leave behind.

    Agents outside of `detailed` get settings and an evaluation only.
    """
    rng = np.random.default_rng(0)
    for name, (rate, speed, caused) in AGENTS.items():
        folder = add_agent(root, name, rate, speed, caused, SETTINGS.get(name))
        if name not in detailed:
            continue
        write_episode(folder / "episodes" / "best_0.npz", rng, steps, size, crash=False)
        write_episode(folder / "episodes" / "worst_0.npz", rng, steps, size, crash=rate > 0.02)
        if name != "expert":
            write_progress(folder / "progress.csv", rng, dreams=name.startswith(("vlsafe", "cost")))
        if name == "vlsafe-gated":
            write_open_loop(folder / "open_loop.npz", rng)
    (root / "scorer.json").write_text(json.dumps(SCORER))
    (root / "run.json").write_text(json.dumps({"command": "vlsafe demo --out runs/demo"}))
    return root


def add_agent(
    root: Path,
    name: str,
    rate: float,
    speed: float = 20.0,
    caused: int | None = 0,
    trained: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """An agent with its settings and its evaluation; a driver called `name` without settings."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    if trained is not None:
        (folder / "settings.json").write_text(json.dumps(trained))
    content = evaluation(name, rate, speed, caused, trained) | changes
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def records(rate: float, speed: float, arrivals: float | None = None) -> list[EpisodeRecord]:
    """A hundred episodes, of which the first crash and the last arrive."""
    crashes = round(rate * len(SEEDS))
    arrived = None if arrivals is None else len(SEEDS) - round(arrivals * len(SEEDS))
    return [
        EpisodeRecord(
            seed=seed,
            episode_return=28.0 * speed / 21 + 0.1 * np.sin(i),
            cost=10.0 * (i < crashes) + 0.4,
            env_cost=10.0 * (i < crashes),
            vlm_cost=8.0 * (i < crashes) + 0.6,
            collision=i < crashes,
            off_road=False,
            arrived=None if arrived is None else i >= arrived,
            steps=40,
            distance=40 * speed + np.cos(i),
            mean_speed=speed + 0.1 * np.cos(i),
            collision_speed=17.2 + 0.1 * np.sin(i) if i < crashes else None,
        )
        for i, seed in enumerate(SEEDS)
    ]


def evaluation(
    name: str,
    rate: float,
    speed: float,
    caused: int | None,
    trained: dict[str, Any] | None = None,
    arrivals: float | None = None,
) -> dict[str, Any]:
    """The contents of an `evaluation.json`; of a driver where there are no settings."""
    episodes = records(rate, speed, arrivals)
    online = (trained or {}).get("algo") in ("ppo", "ppo_lag")
    figures = {
        "env_steps": 100_000 if online else 0,
        "collisions_caused": caused,
        "dataset_steps": 0 if online else 100_000,
        "dataset_collisions": 0 if online else 731,
        "gradient_steps": 8_000,
        "wall_s": 512.0,
    }
    return Evaluation(episodes, summarise(episodes)).to_json(
        name,
        "VLSafe-Highway-v0",
        {"density": 1.5},
        figures if trained else None,
        kind="agent" if trained else "driver",
        settings=trained,
        options={"data": None, "density": None, "env_args": {"density": 1.5}, "scorer": "bundled"},
    )


def unreported(content: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same evaluation, of an environment that does not report some things."""
    episodes = [EpisodeRecord.from_json(entry) for entry in content["episodes"]]
    blank = [replace(record, **dict.fromkeys(names)) for record in episodes]  # type: ignore[arg-type]
    return content | {
        "episodes": [record.to_json() for record in blank],
        "summary": summarise(blank),
    }


SCORER = {
    "bundled": {
        "collision or off-road within 2 s": 0.951,
        "time to collision under 2 s": 0.934,
        "mean p by time to collision": {"0 to 1 s": 0.11, "1 to 2 s": 0.34, "2 to 4 s": 0.81},
    },
    "random weights": {
        "collision or off-road within 2 s": 0.521,
        "time to collision under 2 s": None,
        "mean p by time to collision": {"0 to 1 s": 0.49, "1 to 2 s": 0.5, "2 to 4 s": 0.5},
    },
}


def write_progress(path: Path, rng: np.random.Generator, dreams: bool) -> None:
    steps = np.arange(1, 41)
    rise = 1 - np.exp(-steps / 10)

    def noisy(values: np.ndarray, scale: float) -> np.ndarray:
        return values + scale * rng.normal(size=len(steps))

    columns = {"time/total_timesteps": steps * 200.0}
    if dreams:
        columns |= {
            "imagined/return": noisy(8 * rise, 0.2),
            "data/return": noisy(6 * rise, 0.2),
            "imagined/cost_return": noisy(1.2 - rise, 0.05),
            "data/cost": noisy(1.2 - 0.7 * rise, 0.05),
            "train/image_loss": noisy(900 * np.exp(-steps / 8) + 60, 4),
            "train/reward_loss": noisy(90 * np.exp(-steps / 8) + 6, 1),
        }
    else:
        columns |= {
            "rollout/ep_rew_mean": noisy(28 * rise, 0.6),
            "rollout/ep_cost_mean": noisy(6 - 4 * rise, 0.3),
        }
    columns["train/lagrange_multiplier"] = noisy(2 * rise, 0.02)
    rows = [",".join(columns)]
    for row in zip(*columns.values(), strict=True):
        rows.append(",".join("" if rng.random() < 0.02 else f"{value:.4f}" for value in row))
    path.write_text("\n".join(rows) + "\n")


def write_episode(path: Path, rng: np.random.Generator, steps: int, size: int, crash: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    frames = np.zeros((steps, size, size, 3), np.uint8)
    for t in range(steps):
        frames[t, :, size // 3 : 2 * size // 3] = 60
        frames[t, (3 * t) % size, size // 2] = (44, 186, 84)
    near = np.linspace(9, 0.4 if crash else 6, steps)
    collision = np.zeros(steps, np.float32)
    collision[-1] = float(crash)
    np.savez_compressed(
        path,
        frames=frames,
        speed=(20 + rng.normal(size=steps)).astype(np.float32),
        time_to_collision=np.where(rng.random(steps) < 0.2, np.inf, near).astype(np.float32),
        safety_score=np.clip(near / 6, 0, 1).astype(np.float32),
        reward=rng.random(steps).astype(np.float32),
        cost=collision,
        collision=collision,
        seed=np.array(10_007),
        episode_return=np.array(25.0),
    )


def write_open_loop(path: Path, rng: np.random.Generator, length: int = 20) -> None:
    truth = np.full((length, 64, 64, 3), 60, np.uint8)
    for t in range(length):
        truth[t, (20 + t) : (25 + t), 31:34] = (44, 186, 84)
        truth[t, 46:51, 31:34] = (228, 34, 38)
    dream = np.clip(truth + rng.integers(-12, 12, truth.shape), 0, 255).astype(np.uint8)
    p = np.linspace(0.95, 0.3, length)
    np.savez_compressed(
        path,
        truth=truth,
        dream=dream,
        safety_score_true=p,
        safety_score_pred=p + 0.04,
        cost_true=np.maximum(0, 0.5 - p),
        cost_pred=np.maximum(0, 0.48 - p),
        context=np.array(5),
        pixel_error=np.linspace(0.002, 0.02, length),
        repeat_last_error=np.concatenate((np.zeros(5), np.linspace(0.01, 0.05, length - 5))),
    )
