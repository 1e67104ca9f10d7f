"""Training an agent into a folder: model, log, checkpoints, settings.  Used by ``vlsafe train``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlsafe_agents.cli.environments import POLICIES
from vlsafe_agents.cli.train_settings import (
    OFFLINE,
    SETTINGS_FILE,
    TrainSettings,
    algorithm,
    read_settings,
)
from wrappers.files import one_writer, read_json, write_json

if TYPE_CHECKING:
    from vlsafe_agents.data import EpisodeDataset

MODEL_FILE = "model.zip"
TRAINING_FILE = "training.json"
HOLD_OUT = 0.02  # share of episodes that VLSafe does not see, for the open-loop strip
CHECKPOINT_SECONDS = float(os.environ.get("VLSAFE_CHECKPOINT_SECONDS", 120))


def run_training(settings: TrainSettings, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Train, going on from a checkpoint in ``out`` if there is one; returns the facts stored.

    Nothing is written before the settings are checked, the data read and the networks built.
    Ctrl-C and SIGTERM save a checkpoint first and end in a ``KeyboardInterrupt`` that says what
    the same call does next.

    Raises ``FileExistsError`` when ``out`` holds an agent or a checkpoint of other settings,
    ``FolderInUseError`` while another process trains there, and ``ValueError`` for settings that
    the algorithm refuses.
    """
    settings.check()
    with one_writer(out, f"vlsafe train --out {out}"):
        if overwrite:
            _remove_agent(out)
        if _is_finished(settings, out):
            print(f"{out} is trained already; --overwrite trains it again", file=sys.stderr)
            return _read_facts(out)
        return _train(settings, out)


def _train(settings: TrainSettings, out: Path) -> dict[str, Any]:
    from vlsafe_agents.cli.callbacks import CHECKPOINT, COUNTS, Counts

    dataset, held_out = _open_data(settings)
    env = _make_env(settings)
    try:
        if (out / CHECKPOINT).exists():
            kind = algorithm(settings.algo)
            model = kind.load(out / CHECKPOINT, env=env, device=settings.device)
            if dataset is not None:
                model.set_dataset(dataset)
        else:
            model = _new_model(settings, env, dataset)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / SETTINGS_FILE, settings.to_json())
        with Counts(out, model.num_timesteps) as counts:
            _learn(settings, model, out, counts)
    finally:
        env.close()
    facts = _facts(settings, model, counts, dataset)
    if settings.algo == "vlsafe" and held_out is not None:
        from vlsafe_agents.cli.open_loop import write_open_loop

        facts["open_loop"] = write_open_loop(model, held_out, out / "open_loop.npz")
    model.save(out / MODEL_FILE)
    write_json(out / TRAINING_FILE, facts)
    for name in (CHECKPOINT, COUNTS):
        (out / name).unlink(missing_ok=True)
    return facts


def _learn(settings: TrainSettings, model: Any, out: Path, counts: Any) -> None:
    """Learn what is left; saves a checkpoint now and then, and when asked to stop."""
    from stable_baselines3.common.logger import HumanOutputFormat, Logger, TensorBoardOutputFormat

    from vlsafe_agents.cli.callbacks import ContinuedCSV, Watch, stop_requests

    left = settings.steps - model.num_timesteps
    if left <= 0:
        return
    formats: list[Any] = [ContinuedCSV(str(out / "progress.csv"), model.num_timesteps)]
    formats.append(TensorBoardOutputFormat(str(out / "tensorboard")))
    if os.environ.get("VLSAFE_VERBOSE"):
        formats.append(HumanOutputFormat(sys.stdout))
    model.set_logger(Logger(str(out), formats))
    offline = settings.algo in OFFLINE
    with stop_requests() as requested:
        watch = Watch(out, settings.steps, counts, offline, CHECKPOINT_SECONDS, requested)
        try:
            model.learn(
                left,
                callback=watch,
                log_interval=50 if offline else 1,
                reset_num_timesteps=model.num_timesteps == 0,
            )
        finally:
            model.logger.close()
            watch.close()
    if watch.stopped_early:
        done = watch.save()
        raise KeyboardInterrupt(
            f"stopped and saved after {done:,} of {settings.steps:,} steps; the same command goes "
            "on from there"
        )


def _remove_agent(out: Path) -> None:
    """Remove an agent's folder, and nothing else.

    Raises ``FileExistsError`` for a folder with other contents, which were not made by training.
    """
    if not out.exists():
        return
    if not (out / SETTINGS_FILE).exists() and any(out.iterdir()):
        raise FileExistsError(
            f"{out} holds no agent (no {SETTINGS_FILE}), so --overwrite does not remove it; choose "
            "another --out"
        )
    shutil.rmtree(out)


def _is_finished(settings: TrainSettings, out: Path) -> bool:
    """Whether these settings have been trained to the end in ``out``.

    Raises ``FileExistsError`` where there is an agent, or the beginning of one, of other settings.
    """
    from vlsafe_agents.cli.callbacks import CHECKPOINT

    trained = [name for name in (MODEL_FILE, CHECKPOINT) if (out / name).exists()]
    if not (out / SETTINGS_FILE).exists() or not trained:
        return False  # a run that was ended before its first checkpoint leaves nothing to lose
    found, wanted = read_settings(out).to_json(), settings.to_json()
    changed = [key for key in wanted if found[key] != wanted[key]]
    if changed:
        raise FileExistsError(
            f"{out} holds an agent with another {', '.join(changed)}; choose another --out or use "
            "--overwrite"
        )
    return MODEL_FILE in trained and (out / TRAINING_FILE).exists()


def load_agent(
    folder: Path, allow_pickle: bool = False
) -> tuple[Any, TrainSettings, dict[str, Any]]:
    """The trained model of a folder with its settings and facts.

    ``allow_pickle`` also reads a model of Stable-Baselines3's own, whose file can run code.

    Raises ``FileNotFoundError`` where there is none and ``ValueError`` for damaged files.
    """
    for name in (MODEL_FILE, SETTINGS_FILE, TRAINING_FILE):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"no {name} in {folder}; train an agent with `vlsafe train --out {folder}`"
            )
    settings = read_settings(folder)
    kind = algorithm(settings.algo)
    model = kind.load(folder / MODEL_FILE, device="cpu", allow_pickle=allow_pickle)
    return model, settings, _read_facts(folder)


def _read_facts(folder: Path) -> dict[str, Any]:
    remedy = f"train the agent again with `vlsafe train --out {folder} --overwrite`"
    return dict(read_json(folder / TRAINING_FILE, remedy=remedy))


def _open_data(settings: TrainSettings) -> tuple[EpisodeDataset | None, EpisodeDataset | None]:
    """Training data, and what is held out of them."""
    if settings.algo not in OFFLINE:
        return None, None
    from vlsafe_agents.data import EpisodeDataset

    assert settings.data is not None
    # cloning reads no cost, so it can do without a judge
    cost: Any = settings.cost or "env"
    dataset = EpisodeDataset.from_minari(settings.data, cost=cost)
    if settings.algo == "bc" or dataset.num_episodes < 4:
        return dataset, None
    return dataset.split(max(HOLD_OUT, 1 / dataset.num_episodes), seed=0)


def _make_env(settings: TrainSettings) -> Any:
    """Environments to drive in, or one that only tells an offline agent its spaces."""
    from vlsafe_envs.sb3 import make_vec_env

    judge = settings.scorer if settings.cost not in (None, "env") else None
    judge = None if judge == "none" else judge
    options = {"observation": settings.observation, "scorer": judge}
    if settings.algo not in OFFLINE and settings.cost is not None:
        options["cost"] = settings.cost
    env = make_vec_env(
        settings.env.env_id,
        n_envs=settings.envs or 1,
        seed=settings.seed,
        env_kwargs={**settings.env.kwargs, **options},
    )
    if settings.reward_scale in (None, 1.0):
        return env
    from vlsafe_agents.cli.reward_scale import RewardScale

    return RewardScale(env, float(settings.reward_scale or 1.0))


def _new_model(settings: TrainSettings, env: Any, dataset: EpisodeDataset | None) -> Any:
    import torch

    kind = algorithm(settings.algo)
    data = {} if dataset is None else {"dataset": dataset}
    agent = kind(POLICIES[settings.observation], env, **data, **settings.arguments())
    if settings.world_model is not None:
        with torch.random.fork_rng():  # another's seed is not this one's
            other = load_agent(Path(settings.world_model))[0]
        try:
            agent.adopt_world_model(other)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--world-model {settings.world_model}: {error}") from error
    return agent


def _facts(
    settings: TrainSettings, model: Any, counts: Any, dataset: EpisodeDataset | None
) -> dict[str, Any]:
    """What learning cost, as ``evaluation.json`` states it; None where it is not known.

    Steps and collisions are those of all attempts, also where a kill lost what was driven:
    ``env_steps_lost`` of them were not learned from.
    """
    from vlsafe_agents.evaluation.stored import shared_costs

    offline = settings.algo in OFFLINE
    contents = {} if dataset is None else dataset.metadata.get("contents", {})
    return {
        "env_steps": 0 if offline else counts.env_steps,
        "env_steps_lost": 0 if offline else counts.env_steps - model.num_timesteps,
        "collisions_caused": 0 if offline else counts.collisions,
        "dataset_steps": contents.get("steps", dataset.num_steps if dataset else 0),
        "dataset_collisions": contents.get("collisions") if dataset else 0,
        "gradient_steps": model.num_timesteps if offline else _ppo_updates(model),
        "wall_s": round(counts.seconds, 1),
        **shared_costs(settings.world_model),
    }


def _ppo_updates(model: Any) -> int:
    """Minibatch updates: SB3 counts epochs."""
    batches = -(-model.n_steps * model.n_envs // model.batch_size)
    return int(model._n_updates * batches)
