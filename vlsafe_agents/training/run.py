"""Training an agent into a folder, and loading it from there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlsafe_agents.algorithms import load_object
from vlsafe_agents.common.devices import (
    alone,
    any_of_team,
    is_writer,
    joined,
    started_processes,
)
from vlsafe_agents.training.facts import TRAINING_FILE, shared_costs
from vlsafe_agents.training.run_folder import is_finished, read_facts
from vlsafe_agents.training.settings import (
    MODEL_FILE,
    POLICIES,
    SETTINGS_FILE,
    EnvName,
    TrainSettings,
    read_settings,
)
from wrappers.files import one_writer, write_json

if TYPE_CHECKING:
    from vlsafe_agents.data import EpisodeDataset

HOLD_OUT = 0.02  # share of episodes that an agent does not see, for its examination
CHECKPOINT_SECONDS = float(os.environ.get("VLSAFE_CHECKPOINT_SECONDS", 120))

MakeEnv = Callable[[], Any]  # one environment of Gymnasium's, or a VecEnv of settings.envs


@dataclass(frozen=True)
class Watched:
    """What is written while an agent learns, besides its log; no setting of what is learnt."""

    checkpoint_seconds: float  # between two checkpoints
    tracker: str | None  # see ``trackers.start_run``


def train(
    settings: TrainSettings,
    out: str | Path,
    make_env: MakeEnv,
    dataset: EpisodeDataset | None = None,
    *,
    overwrite: bool = False,
    checkpoint_seconds: float | None = None,
    tracker: str | None = None,
) -> dict[str, Any]:
    """Train, going on from a checkpoint in ``out`` if there is one; returns the facts stored.

    Nothing is written before the settings are checked, the data read and the networks built.
    Where ``torchrun`` has started several processes, they train one agent together, one process a
    device; the first one writes, and the others return no facts.
    Ctrl-C and SIGTERM save a checkpoint first and end in a ``KeyboardInterrupt`` that says what
    the same call does next.

    Args:
        settings: what to train; a folder belongs to one.
        out: folder of the agent, made when it is needed.
        make_env: makes the environment: one of Gymnasium's, of which as many as the settings say
            are put side by side, or Stable-Baselines3's ``VecEnv``.  An agent that learns from
            data asks it for its spaces only.
        dataset: for an agent that learns from data; None reads ``settings.data``.
        overwrite: remove an agent that is there.
        checkpoint_seconds: between two checkpoints; None: ``VLSAFE_CHECKPOINT_SECONDS``, or 120.
        tracker: of experiments, that the log goes to as well: ``"wandb"``, ``"trackio"``, or with a
            project, ``"wandb:mine"``.

    Raises:
        FileExistsError: when ``out`` holds an agent or a checkpoint of other settings.
        FolderInUseError: while another process trains there.
        ValueError: for settings that the algorithm refuses, and an unknown tracker.
        ImportError: for a tracker that is not installed.
        KeyboardInterrupt: when it was asked to stop, with a checkpoint saved.
    """
    out = Path(out)
    if settings.offline and settings.data is None and dataset is None:
        or_drive = ", or --online to drive" if "online" in settings.spec.reads else ""
        raise ValueError(f"{settings.algo} learns from recorded drives: give --data{or_drive}")
    settings.check()
    if tracker is not None:
        from vlsafe_agents.training.trackers import find_tracker

        find_tracker(tracker)  # what is wrong with it is said now
    seconds = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
    watched = Watched(seconds, tracker)
    if started_processes() > 1:
        return _train_in_team(settings, out, make_env, dataset, watched, overwrite)
    with _writing(out):
        if is_finished(settings, out, overwrite):
            return read_facts(out)
        return _train(settings, out, make_env, dataset, watched)


def _writing(out: Path) -> AbstractContextManager[None]:
    return one_writer(out, f"vlsafe train --out {out}")


def _train_in_team(
    settings: TrainSettings,
    out: Path,
    make_env: MakeEnv,
    dataset: EpisodeDataset | None,
    watched: Watched,
    overwrite: bool,
) -> dict[str, Any]:
    """Train together with the other processes that ``torchrun`` has started; one of them writes."""
    if not settings.spec.load_class().shares_batches:
        raise ValueError(
            f"{settings.algo} trains on one device, and {started_processes()} processes were "
            "started; start one, or train vlsafe"
        )
    with joined(settings.device), _writing(out) if is_writer() else nullcontext():
        if any_of_team(is_writer() and is_finished(settings, out, overwrite)):
            return read_facts(out)
        return _train(settings, out, make_env, dataset, watched)


def _train(
    settings: TrainSettings,
    out: Path,
    make_env: MakeEnv,
    dataset: EpisodeDataset | None,
    watched: Watched,
) -> dict[str, Any]:
    from vlsafe_agents.training.checkpoints import CHECKPOINT, Counts

    spec = settings.spec
    env = _vectorised(settings, make_env)
    try:
        dataset, held_out = _split(settings, dataset, env.observation_space)
        goes_on = (out / CHECKPOINT).exists()
        if goes_on:
            kind = spec.load_class()
            model = kind.load_checkpoint(out / CHECKPOINT, env=env, device=settings.device)
            if dataset is not None:
                model.set_dataset(dataset)
        else:
            model = _new_model(settings, env, dataset)
        if not is_writer():
            _follow(settings, model, goes_on)
            return {}
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / SETTINGS_FILE, settings.to_json())
        with Counts(out, model.num_timesteps if goes_on else 0) as counts:
            _learn(settings, model, out, counts, watched, goes_on)
    finally:
        env.close()
    with alone():
        return _finish(settings, model, out, _facts(settings, model, counts, dataset), held_out)


def _finish(
    settings: TrainSettings,
    model: Any,
    out: Path,
    facts: dict[str, Any],
    held_out: EpisodeDataset | None,
) -> dict[str, Any]:
    """Examine and write a trained agent; returns the facts stored."""
    from vlsafe_agents.training.checkpoints import CHECKPOINT, COUNTS

    spec = settings.spec
    if spec.examine is not None and held_out is not None:
        facts |= load_object(spec.examine)(model, held_out, out)
    model.save(out / MODEL_FILE)
    write_json(out / TRAINING_FILE, facts)
    model.remove_checkpoint(out / CHECKPOINT)
    (out / COUNTS).unlink(missing_ok=True)
    return facts


def _learn(
    settings: TrainSettings,
    model: Any,
    out: Path,
    counts: Any,
    watched: Watched,
    goes_on: bool,
) -> None:
    """Learn what is left; saves a checkpoint now and then, and when asked to stop."""
    from stable_baselines3.common.logger import HumanOutputFormat, Logger, TensorBoardOutputFormat

    from vlsafe_agents.training.checkpoints import ContinuedCSV, Watch, stop_requests
    from vlsafe_agents.training.trackers import RunWriter, start_run

    done = model.num_timesteps if goes_on else 0
    left = max(settings.steps - done, 0)
    if not left and not settings.online:  # which may have to learn from its last steps yet
        return
    formats: list[Any] = [ContinuedCSV(str(out / "progress.csv"), done)]
    formats.append(TensorBoardOutputFormat(str(out / "tensorboard")))
    if os.environ.get("VLSAFE_VERBOSE"):
        formats.append(HumanOutputFormat(sys.stdout))
    if watched.tracker is not None:
        formats.append(RunWriter(start_run(watched.tracker, out, settings.to_json())))
    model.set_logger(Logger(str(out), formats))
    online = {"online": True} if settings.online else {}
    with stop_requests() as requested:
        watch = Watch(
            out, settings.steps, counts, settings.offline, watched.checkpoint_seconds, requested
        )
        try:
            model.learn(
                left,
                callback=watch,
                log_interval=50 if settings.spec.offline else 1,  # updates, or rollouts
                reset_num_timesteps=not goes_on,
                **online,
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


def _follow(settings: TrainSettings, model: Any, goes_on: bool) -> None:
    """Learn what is left as one of a team that does not write."""
    from stable_baselines3.common.logger import Logger

    from vlsafe_agents.training.checkpoints import Follow, stop_requests

    left = settings.steps - model.num_timesteps
    if left <= 0:
        return
    model.set_logger(Logger(None, []))
    with stop_requests(quiet=True) as requested:
        follow = Follow(requested)
        model.learn(left, callback=follow, log_interval=0, reset_num_timesteps=not goes_on)
    if follow.stopped_early:
        raise KeyboardInterrupt("stopped together with the process that writes")


def load_agent(
    folder: str | Path,
    allow_pickle: bool = False,
    env: Callable[[str, dict[str, Any]], EnvName] = EnvName,
) -> tuple[Any, TrainSettings, dict[str, Any]]:
    """The trained model of a folder with its settings and facts.

    Args:
        folder: that :func:`train` has written.
        allow_pickle: also reads a model of Stable-Baselines3's own, whose file can run code.
        env: makes the environment's name of id and arguments; may refuse them.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for damaged files.
    """
    folder = Path(folder)
    for name in (MODEL_FILE, SETTINGS_FILE, TRAINING_FILE):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"no {name} in {folder}; train an agent with `vlsafe train --out {folder}`"
            )
    settings = read_settings(folder, env)
    kind = settings.spec.load_class()
    model = kind.load(folder / MODEL_FILE, device="cpu", allow_pickle=allow_pickle)
    return model, settings, read_facts(folder)


def _split(
    settings: TrainSettings, dataset: EpisodeDataset | None, seen: Any
) -> tuple[EpisodeDataset | None, EpisodeDataset | None]:
    """Training data, and what is held out of them.

    Args:
        seen: the agent's observation space; nothing else is read.
    """
    if not settings.spec.offline or (settings.data is None and dataset is None):
        return None, None
    if dataset is None:
        from vlsafe_agents.data import EpisodeDataset

        assert settings.data is not None
        # an agent that reads no cost can do without a scorer
        cost: Any = settings.cost or "env"
        dataset = EpisodeDataset.from_minari(settings.data, cost=cost, observation_space=seen)
    if settings.spec.examine is None or dataset.num_episodes < 4:
        return dataset, None
    return dataset.split(max(HOLD_OUT, 1 / dataset.num_episodes), seed=0)


def _vectorised(settings: TrainSettings, make_env: MakeEnv) -> Any:
    """Environments to drive in, or one that only tells an offline agent its spaces."""
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

    from vlsafe_agents.common.checked_steps import CheckedEnv
    from vlsafe_agents.training.reward_scale import RewardScale

    env = make_env()
    if not isinstance(env, VecEnv):
        one = env
        others = [lambda: Monitor(CheckedEnv(make_env()))] * ((settings.envs or 1) - 1)
        env = DummyVecEnv([lambda: Monitor(CheckedEnv(one)), *others])
        env.seed(settings.seed)
    scale = settings.reward_scale
    return env if scale in (None, 1.0) else RewardScale(env, float(scale))


def _new_model(settings: TrainSettings, env: Any, dataset: EpisodeDataset | None) -> Any:
    kind = settings.spec.load_class()
    data = {} if dataset is None else {"dataset": dataset}
    if settings.start_from is not None:
        return _started_from(settings, env, data)
    agent = kind(POLICIES[settings.observation], env, **data, **settings.arguments())
    if settings.world_model is not None:
        other = load_agent(Path(settings.world_model))[0]
        try:
            agent.adopt_world_model(other)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--world-model {settings.world_model}: {error}") from error
    return agent


def _started_from(settings: TrainSettings, env: Any, data: dict[str, Any]) -> Any:
    """A trained agent with these settings, before it goes on."""
    folder = Path(str(settings.start_from))
    arguments = settings.arguments()
    arguments.pop("device")
    try:
        return settings.spec.load_class().load(
            folder / MODEL_FILE, env=env, device=settings.device, **data, **arguments
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"--start-from {folder}: {error}") from error


def _facts(
    settings: TrainSettings, model: Any, counts: Any, dataset: EpisodeDataset | None
) -> dict[str, Any]:
    """What learning cost, as ``evaluation.json`` states it; None where it is not known.

    Steps and collisions are those of all attempts, also where a kill lost what was driven:
    ``env_steps_lost`` of them were not learned from.
    """
    offline = settings.offline
    contents = {} if dataset is None else dataset.metadata.get("contents", {})
    devices = {"devices": started_processes()} if started_processes() > 1 else {}
    return {
        "env_steps": 0 if offline else counts.env_steps,
        "env_steps_lost": 0 if offline else counts.env_steps - model.num_timesteps,
        "collisions_caused": 0 if offline else counts.collisions,
        "dataset_steps": contents.get("steps", dataset.num_steps if dataset else 0),
        "dataset_collisions": contents.get("collisions") if dataset else 0,
        "gradient_steps": settings.spec.gradient_steps(model),
        "wall_s": round(counts.seconds, 1),
        **devices,
        **shared_costs(settings.world_model or settings.start_from),
    }
