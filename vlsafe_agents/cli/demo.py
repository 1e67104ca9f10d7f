"""``vlsafe demo``: every stage in order, each as its own command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class Stage:
    """One command of the chain."""

    title: str
    arguments: tuple[str, ...]


def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    scale: Annotated[float, typer.Option(help="Multiplies steps and episodes.", min=0.001)] = 1.0,
    observation: Annotated[str, typer.Option(help="image, vector or multi.")] = "image",
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
) -> None:
    """Collect, judge, learn, evaluate, report.  The same command goes on where it was killed."""
    out.mkdir(parents=True, exist_ok=True)
    command = f"vlsafe demo --out {out} --scale {scale:g} --observation {observation}"
    (out / "run.json").write_text(json.dumps({"command": command}) + "\n")
    stages = demo_stages(out, scale, observation, workers)
    for number, stage in enumerate(stages, 1):
        print(f"\n[{number}/{len(stages)}] {stage.title}: vlsafe {' '.join(stage.arguments)}")
        sys.stdout.flush()
        command_line = [sys.executable, "-m", "vlsafe_agents.cli.main", *stage.arguments]
        code = subprocess.run(command_line, check=False).returncode
        if code != 0:
            print(f"stage {number} failed with exit code {code}", file=sys.stderr)
            raise typer.Exit(code)


def demo_stages(out: Path, scale: float, observation: str, workers: int) -> list[Stage]:
    """The commands of the demo at a scale; 1 is meant for half an hour on two cores."""
    data = str(out / "data")

    def scaled(amount: int, least: int = 1) -> str:
        return str(max(round(amount * scale), least))

    many = ("--workers", str(workers))
    stages = [
        Stage("drive", ("collect", "--out", data, "--steps", scaled(20_000, 200), *many)),
        Stage("judge", ("label", data, *many)),
    ]
    updates = scaled(4_000, 10)
    agents = {
        "bc": ("--algo", "bc", "--steps", updates),
        "ppo_lag": ("--algo", "ppo_lag"),
        "vlsafe_gated": ("--update", "gated", "--steps", updates),
        "vlsafe_lagrangian": ("--update", "lagrangian", "--steps", updates),
        "cost_blind": ("--safety", "none", "--steps", updates),
    }
    if scale < 0.1:  # a check that everything runs, not that anything is learnt
        agents = {
            name: (*options, *(("--preset", "debug") if "bc" != name != "ppo_lag" else ()))
            for name, options in agents.items()
        }
    common = ("--data", data, "--observation", observation)
    for name, options in agents.items():
        stages.append(
            Stage(f"train {name}", ("train", "--out", str(out / name), *options, *common))
        )
    seeds = ("--episodes", scaled(20, 2))
    expert = ("evaluate", "expert", "--data", data, "--out", str(out / "expert"), *seeds)
    stages.append(Stage("evaluate expert", expert))
    for name in agents:
        stages.append(Stage(f"evaluate {name}", ("evaluate", str(out / name), *seeds)))
    return [*stages, Stage("report", ("report", str(out)))]
