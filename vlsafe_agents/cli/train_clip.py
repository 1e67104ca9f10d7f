"""``vlsafe train-clip``: drive, caption, train and examine the small CLIP that judges frames."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

TRAIN_DENSITIES = (0.5, 1.0, 1.5, 2.0, 2.5)
HELD_OUT_DENSITIES = (0.75, 1.25, 1.75)
TRAIN_SEED, HELD_OUT_SEED = 1_000_000, 9_000_000
VIEW = "48 m by 48 m, from 8 m behind the ego vehicle's centre to 40 m ahead, 24 m to each side"


def train_clip(
    out: Annotated[Path, typer.Option(help="Folder for the trained model.")],
    cache: Annotated[Path, typer.Option(help="Folder for frames and checkpoints.")] = Path(
        "runs/clip"
    ),
    frames: Annotated[int, typer.Option(help="Training frames.", min=100)] = 40_000,
    held_out_frames: Annotated[int, typer.Option(help="Frames to examine on.", min=100)] = 6_000,
    steps: Annotated[int, typer.Option(help="Training steps.", min=1)] = 2_400,
    batch_size: Annotated[int, typer.Option(help="Frames a step.", min=2)] = 96,
    threads: Annotated[int, typer.Option(help="PyTorch threads.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
) -> None:
    """Train a small driving CLIP on frames of all four environments.

    Goes on where it was killed when called again with the same arguments; remove CACHE after the
    environments have changed.  Held-out frames come from other seeds and other densities; their
    figures go to OUT/evaluation.json and OUT/README.md, the model card.
    """
    import torch

    from vlsafe_agents.common.progress import ProgressReport
    from wrappers.clip_training.model import ModelConfig, build_model, count_parameters, save_clip
    from wrappers.clip_training.model_card import render_card
    from wrappers.clip_training.trainer import ClipTrainer, TrainerConfig

    from .clip_data import Split, make_set

    torch.set_num_threads(threads)
    model_config = ModelConfig()
    training = Split("training", frames, TRAIN_DENSITIES, TRAIN_SEED, keep_safe=0.3)
    held_out = Split("held-out", held_out_frames, HELD_OUT_DENSITIES, HELD_OUT_SEED, keep_safe=1.0)
    data = make_set(training, cache, model_config.frame_size)
    unseen = make_set(held_out, cache, model_config.frame_size)
    config = TrainerConfig(steps=steps, batch_size=batch_size, seed=seed)
    trainer = ClipTrainer(data, cache / f"checkpoints-{seed}", model_config, config)
    begin = time.monotonic()
    with ProgressReport("train CLIP", steps, unit="steps") as progress:
        trainer.train(
            lambda step, losses: progress.update(
                step, f"captions {losses['contrastive']:.2f}, pairs {losses['pair']:.3f}"
            )
        )
    minutes = (time.monotonic() - begin) / 60
    trainer.save(out)
    facts = {
        "training_minutes": round(minutes, 1),
        "frames": len(data),
        "steps": steps,
        "parameters": count_parameters(trainer.model),
        "view": VIEW,
    }
    untrained = cache / "random-weights"
    save_clip(
        untrained,
        build_model(trainer.tokenizer, model_config),
        trainer.tokenizer,
        trainer.processor,
    )
    result = facts | _examine(out, untrained, unseen)
    (out / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "README.md").write_text(render_card(result))
    _print(result)


def _examine(folder: Path, untrained: Path, unseen: Any) -> dict[str, Any]:
    """Held-out figures of the model, of its shuffled scores and of random weights."""
    import numpy as np

    from wrappers import ClipScorer, SafetyScorer, ShuffledScorer
    from wrappers.clip_training.evaluation import evaluate
    from wrappers.clip_training.facts import SCENARIOS

    trained = ClipScorer(folder)
    scorers: dict[str, SafetyScorer] = {
        "this model": trained,
        "shuffled": ShuffledScorer(trained, pool_size=1),
        "random weights": ClipScorer(untrained),
    }
    tables = {"all, 224 px": evaluate(scorers, unseen.frames, unseen.facts)}
    own: dict[str, SafetyScorer] = {"this model": trained}
    tables["all, 64 px"] = evaluate(own, unseen.small_frames, unseen.facts)
    for index, scenario in enumerate(SCENARIOS):
        rows = np.flatnonzero(unseen.facts.scenario == index)
        tables[scenario] = evaluate(own, unseen.frames[rows], unseen.facts.select(rows))
    return {"held_out_frames": len(unseen), "prompts": list(trained.prompts), "tables": tables}


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"AUROC of 1 - p on {result['held_out_frames']} held-out frames")
    first = result["tables"]["all, 224 px"]["this model"]
    questions = [key for key, value in first.items() if isinstance(value, float)]
    for column in ("frames", "scorer", *questions):
        table.add_column(column)
    for frames, rows in result["tables"].items():
        for scorer, row in rows.items():
            table.add_row(frames, scorer, *[str(row[question]) for question in questions])
    Console().print(table)
