"""``vlsafe demo``: the whole chain, each stage as a command line that anyone could type."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vlsafe_agents.cli.stages import Stage, StageError, run_stages

STEPS = 40_000  # recorded decisions, and as many for PPO-Lag to drive
MODEL_UPDATES = 600  # of the world model, and of the clone of the data that lives in it
POLICY_UPDATES = 300  # of each policy in the finished world model
CLONING_UPDATES = 800
COST_LIMIT = 0.1  # what the expert's drives cost by the bundled scorer's labels
EPISODES = 40  # evaluation episodes of each agent
AGENTS = ("expert", "bc", "ppo_lag", "vlsafe_gated", "vlsafe_lagrangian", "cost_blind")
RUN = "run.json"  # in the run folder: which command made it
CHECK_SCALE = 0.1  # below it the demo only shows that everything runs


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder. [default: runs/demo; with --quick runs/quick]"),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(help="Multiplies all work; at 0.2 VLSafe learns nothing yet.", min=0.001),
    ] = 1.0,
    observation: Annotated[
        str, typer.Option(help="What the agents see: image, vector or multi.")
    ] = "image",
    workers: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 2,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="About a minute: drivers that come with vlsafe, nothing is trained."
        ),
    ] = False,
    gif: Annotated[
        Path | None,
        typer.Option(help="Of --quick: a copy of the animation, side_by_side.gif."),
    ] = None,
) -> dict[str, Any]:
    """Drive, score, dream, drive more safely; ends with a table and a report.

    The same command goes on where it was stopped.
    """
    if quick:
        from vlsafe_agents.cli.quick import quick_demo

        if (scale, observation) != (1.0, "image"):
            raise ValueError(
                "--scale and --observation have no effect with --quick; leave them out"
            )
        return quick_demo(out or Path("runs/quick"), gif)
    if gif is not None:
        raise ValueError("--gif is of --quick; add it, or leave --gif out")
    out = out or Path("runs/demo")
    from vlsafe_agents.cli.compare import compare
    from vlsafe_agents.cli.tables import say
    from vlsafe_agents.report.run_folder import SCORER_FILE
    from vlsafe_agents.training.settings import POLICIES
    from wrappers.files import one_writer, read_json, write_json

    if not math.isfinite(scale):
        raise ValueError(f"--scale {scale} is no number to multiply with")
    if observation not in POLICIES:
        raise ValueError(f"--observation {observation}: choose one of {', '.join(POLICIES)}")
    _require_own(out, scale, observation)
    with one_writer(out / RUN, "vlsafe demo"):
        write_json(out / RUN, {"command": _command(out, scale, observation)})
        from wrappers.clip_loading import bundled_folder  # torch loads slowly

        # what is known of the scorer on drives that it was not trained on
        known: dict[str, Any] = read_json(bundled_folder() / "evaluation.json")
        write_json(out / SCORER_FILE, scorer_figures(known))
        try:
            run_stages(demo_stages(out, scale, observation, workers), out / "logs", workers)
        except StageError as error:
            print(error, file=sys.stderr)
            raise typer.Exit(1) from error
    comparison = compare([out / name / "evaluation.json" for name in AGENTS])
    page = (out / "report.html").resolve()
    say(f"\nThe report, one file for any browser: {page}")
    return {"report": page, "comparison": comparison}


def _command(out: Path, scale: float, observation: str) -> str:
    parts = ("--out", str(out), "--scale", f"{scale:g}", "--observation", observation)
    return shlex.join(("vlsafe", "demo", *parts))


def _require_own(out: Path, scale: float, observation: str) -> None:
    """Refuse a folder that holds anything but this demo, as far as it has come."""
    from wrappers.files import read_json, read_text

    if not out.exists() or not any(file.name[:1] != "." for file in out.iterdir()):
        return
    remedy = "give another --out, or remove the folder"
    if not (out / RUN).exists():
        raise FileExistsError(f"{out} holds something else than a demo; {remedy}")
    if not read_text(out / RUN).strip():  # left by a kill, before files were written whole
        return
    found = str(read_json(out / RUN, dict, remedy).get("command"))
    if _without_out(found) != _without_out(_command(out, scale, observation)):
        raise FileExistsError(f"{out} holds another run, of `{found}`; {remedy}")


def _without_out(command: str) -> list[str]:
    """Its parts but for the folder, which may be called by several names."""
    try:
        parts = shlex.split(command)
    except ValueError:  # not a command line
        return [command]
    return [part for place, part in enumerate(parts) if parts[place - 1] != "--out"]


def scorer_figures(evaluation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of the bundled scorer's ``evaluation.json`` as the report takes them.

    One entry a scorer and set of frames: AUROC of 1 - p for each question, and p by time to
    collision.
    """
    return {
        f"{scorer}: {frames}": {
            name: value for name, value in figures.items() if not isinstance(value, list)
        }
        for frames, scorers in evaluation["tables"].items()
        for scorer, figures in scorers.items()
    }


def demo_stages(out: Path, scale: float, observation: str, workers: int) -> list[Stage]:
    """The commands of the demo at a scale; 1 is meant for a coffee break on two cores."""

    def scaled(amount: int, least: int) -> str:
        return str(max(round(amount * scale), least))

    data = str(out / "data")
    # All learners heed the same scorer; they are evaluated by the truth.
    cost, limit = ("--cost", "vlm"), ("--cost-limit", f"{COST_LIMIT:g}")
    common = ("--data", data, "--observation", observation)
    preset = ("--preset", "debug") if scale < CHECK_SCALE else ()
    model = str(out / "world_model")
    learn_model = ("--steps", scaled(MODEL_UPDATES, 10), "--config", "model_warmup=1.0")
    # Whoever heeds the cost imitates the drives within the limit alone; a few may hold none.
    heeding: tuple[str, ...] = limit
    if scale >= CHECK_SCALE:
        heeding = (*limit, "--config", f"prior_cost_limit={COST_LIMIT:g}")
    dream = ("--world-model", model, "--steps", scaled(POLICY_UPDATES, 5), *cost, *preset)
    many = ("--workers", str(workers))
    agents = {
        "world_model": (*learn_model, *cost, *heeding, *preset),
        "ppo_lag": ("--algo", "ppo_lag", *cost, *limit),
        "vlsafe_gated": ("--update", "gated", *dream, *heeding),
        "vlsafe_lagrangian": ("--update", "lagrangian", *dream, *heeding),
        "cost_blind": ("--safety", "none", *dream),
        "bc": ("--algo", "bc", "--steps", scaled(CLONING_UPDATES, 10)),
    }
    minutes = {"world_model": 5.0, "ppo_lag": 4.0}  # on two quiet cores, as all others here
    stages = [
        Stage(
            "collect", ("collect", "--out", data, "--steps", scaled(STEPS, 200), *many), (), 0.2, 2
        ),
        Stage("label", ("label", data, *many), ("collect",), 0.7, slots=2),
    ]
    for name, options in agents.items():
        need = "train world_model" if "--world-model" in options else "label"
        stages.append(
            Stage(
                f"train {name}",
                ("train", "--out", str(out / name), *options, *common),
                (need,),
                scale * minutes.get(name, 1.0),
            )
        )
    episodes = ("--episodes", scaled(EPISODES, 2))
    expert = ("evaluate", "expert", "--data", data, "--out", str(out / "expert"), *episodes)
    stages.append(Stage("evaluate expert", expert, ("collect",), 0.2))
    for name in AGENTS[1:]:
        command = ("evaluate", str(out / name), *episodes)
        stages.append(Stage(f"evaluate {name}", command, (f"train {name}",), 0.2))
    finished = tuple(stage.name for stage in stages if stage.name.startswith("evaluate"))
    return [*stages, Stage("report", ("report", str(out)), finished, 0.1)]
