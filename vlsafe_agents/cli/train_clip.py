"""``vlsafe train-clip``: drive, caption, train and examine the small CLIP that scores frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlsafe_agents.cli.options import Threads
from vlsafe_agents.cli.tables import print_table

TRAIN_DENSITIES = (0.5, 1.0, 1.5, 2.0, 2.5)
HELD_OUT_DENSITIES = (0.75, 1.25, 1.75)
TRAIN_SEED, HELD_OUT_SEED = 1_000_000, 9_000_000
LANE_ROADS = "roads of highway-env"
VIEW = "64 m by 64 m, from 16 m behind the ego vehicle's centre to 48 m ahead, 32 m to each side"


def train_clip(
    out: Annotated[Path, typer.Option(help="Folder for the trained model.")],
    cache: Annotated[Path, typer.Option(help="Folder for frames and checkpoints.")] = Path(
        "runs/clip"
    ),
    frames: Annotated[int, typer.Option(help="Training frames.", min=100)] = 90_000,
    held_out_frames: Annotated[int, typer.Option(help="Frames to examine on.", min=100)] = 12_000,
    steps: Annotated[int, typer.Option(help="Training steps.", min=1)] = 5_000,
    batch_size: Annotated[int, typer.Option(help="Frames a step.", min=2)] = 64,
    threads: Threads = 1,
    processes: Annotated[int, typer.Option(help="Processes that drive.", min=1)] = 2,
    captions: Annotated[int, typer.Option(help="Captions a step.", min=1)] = 24,
    pairs: Annotated[int, typer.Option(help="Safe and unsafe sentences a step.", min=1)] = 10,
    start: Annotated[
        Path | None, typer.Option(help="Go on from this model of train-clip, such as the bundled.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.", min=0)] = 0,
) -> dict[str, Any]:
    """Train a small driving CLIP on frames of all roads that captions speak of.

    Goes on where it was killed when called again with the same arguments; remove CACHE after the
    environments have changed.  Held-out frames come from other seeds and other densities; their
    figures go to OUT/evaluation.json and OUT/README.md, the model card.
    """
    import torch

    from vlsafe_agents.cli.clip_data import ROAD_WORDS, Split, make_set
    from vlsafe_agents.common.progress import ProgressReport
    from wrappers.clip_training.model import ModelConfig, build_model, count_parameters, save_clip
    from wrappers.clip_training.model_card import render_card
    from wrappers.clip_training.trainer import ClipTrainer, TrainerConfig
    from wrappers.files import one_writer, write_json, write_text

    torch.set_num_threads(threads)
    model_config = ModelConfig()
    training = Split("training", frames, TRAIN_DENSITIES, TRAIN_SEED, keep_safe=0.3, varied=0.4)
    held_out = Split("held-out", held_out_frames, HELD_OUT_DENSITIES, HELD_OUT_SEED, keep_safe=1.0)
    with one_writer(cache, "vlsafe train-clip"):
        data = make_set(training, cache, model_config.frame_size, processes)
        unseen = make_set(held_out, cache, model_config.frame_size, processes)
        config = TrainerConfig(steps, batch_size, captions, pairs, seed=seed)
        folder = cache / f"checkpoints-{seed}"
        trainer = ClipTrainer(data, folder, model_config, config, start, ROAD_WORDS)
        with ProgressReport("train CLIP", steps, unit="steps") as progress:
            trainer.train(
                lambda step, losses: progress.update(
                    step, ", ".join(f"{name} {loss:.2f}" for name, loss in losses.items())
                )
            )
        trainer.save(out)
        facts = {
            "training_minutes": round(trainer.seconds / 60, 1),
            "frames": len(data),
            "steps": steps,
            "started_from": trainer.started_from,
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
    write_json(out / "evaluation.json", result)
    write_text(out / "README.md", render_card(result))
    _print(result)
    return {"folder": out, **result}


def _examine(folder: Path, untrained: Path, unseen: Any) -> dict[str, Any]:
    """Held-out figures of the model, of other prompts, of shuffled scores and random weights."""
    import numpy as np

    from vlsafe_agents.cli.clip_data import SCENARIOS
    from vlsafe_envs.registry import ENV_IDS
    from wrappers import ClipScorer
    from wrappers.clip_training.evaluation import PROMPT_PAIRS, evaluate, histograms, separation

    trained, facts = ClipScorer(folder), unseen.facts
    features = trained.image_features(unseen.frames)
    score = trained.score(features)
    scores = {
        "this model": score,
        "shuffled": np.random.default_rng(0).permutation(score),
        "random weights": ClipScorer(untrained)(unseen.frames),
    }
    tables = {}
    lane_roads = [k for k, scenario in enumerate(SCENARIOS) if scenario in ENV_IDS.values()]
    for name, numbers in (("all", range(len(SCENARIOS))), (LANE_ROADS, lane_roads)):
        rows = np.flatnonzero(np.isin(facts.scenario, list(numbers)))
        part = facts.select(rows)
        tables[f"{name}, 224 px"] = {who: evaluate(p[rows], part) for who, p in scores.items()}
    tables["all, 64 px"] = {"this model": evaluate(trained(unseen.small_frames), facts)}
    for index, scenario in enumerate(SCENARIOS):
        rows = np.flatnonzero(facts.scenario == index)
        tables[scenario] = {"this model": evaluate(score[rows], facts.select(rows))}
    other_words = {
        name: {"prompts": list(pair)} | separation(ClipScorer(folder, pair).score(features), facts)
        for name, pair in PROMPT_PAIRS.items()
    }
    return {
        "held_out_frames": len(unseen),
        "weights_sha256": trained.weights_hash,
        "prompts": list(trained.prompts),
        "temperature": trained.temperature,
        "tables": tables,
        "other prompts": other_words,
        "histograms of p": histograms(score, facts),
    }


def _print(result: dict[str, Any]) -> None:
    first = result["tables"]["all, 224 px"]["this model"]
    questions = [key for key, value in first.items() if isinstance(value, float)]
    rows = [
        (frames, scorer, *["not known" if row[q] is None else row[q] for q in questions])
        for frames, table in result["tables"].items()
        for scorer, row in table.items()
    ]
    title = f"AUROC of 1 - p on {result['held_out_frames']} held-out frames"
    print_table(title, ("frames", "scorer", *questions), rows)
