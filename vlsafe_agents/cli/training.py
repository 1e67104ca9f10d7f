"""Training an agent into a folder: model, log, checkpoints, settings.  Used by ``vlsafe train``."""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .environments import POLICIES, EnvChoice, nest

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from vlsafe_agents.data import EpisodeDataset

ALGORITHMS = ("vlsafe", "ppo_lag", "ppo", "bc")
OFFLINE = ("vlsafe", "bc")
SETTINGS_FILE = "settings.json"
TRAINING_FILE = "training.json"
DEFAULT_PRESETS = {"vlsafe": "cpu", "ppo_lag": "highway"}  # of the algorithms that have some
HOLD_OUT = 0.02  # share of episodes that VLSafe does not see, for the open-loop strip
CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True)
class TrainSettings:
    """What to train and on what; kept as ``settings.json`` beside the model."""

    algo: str
    steps: int  # gradient updates of offline agents, environment steps of the others
    env: EnvChoice
    observation: str = "image"
    data: str | None = None  # data set of offline agents
    world_model: str | None = None  # VLSafe: folder of an agent whose finished model it shares
    cost: str = "either"  # how the cost is made of judge and simulator
    scorer: str | None = "bundled"  # the online agents' judge
    cost_limit: float = 1.0
    envs: int = 8  # environments side by side, online agents only
    reward_scale: float = 1.0  # factor on the reward that online agents learn from
    seed: int = 0
    device: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)  # preset; of VLSafe: update, safety
    config: dict[str, Any] = field(default_factory=dict)  # flat key=value overrides

    @property
    def preset(self) -> str:
        """Name of the preset.  Raises ``KeyError`` for algorithms that have none."""
        return str(self.options.get("preset", DEFAULT_PRESETS[self.algo]))

    def __post_init__(self) -> None:
        if self.algo not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {self.algo!r}; choose from {ALGORITHMS}")
        if self.observation not in POLICIES:
            raise ValueError(
                f"unknown observation {self.observation!r}; choose from {tuple(POLICIES)}"
            )
        if self.steps < 1:
            raise ValueError(f"--steps must be at least 1, not {self.steps}")
        if not 0.0 < self.reward_scale < math.inf:
            raise ValueError(f"--reward-scale must be a positive number, not {self.reward_scale}")
        if self.algo in OFFLINE and self.reward_scale != 1.0:
            raise ValueError(f"--reward-scale is for agents that drive; {self.algo} does not")
        if self.algo in OFFLINE and self.data is None:
            raise ValueError(f"{self.algo} learns from recorded drives: give --data")


def run_training(settings: TrainSettings, out: Path) -> dict[str, Any]:
    """Train, going on from a checkpoint in ``out`` if there is one; returns the facts stored.

    Raises ``FileExistsError`` when ``out`` holds an agent or a checkpoint of other settings.
    """
    from stable_baselines3.common.logger import HumanOutputFormat, Logger, TensorBoardOutputFormat

    from .callbacks import CHECKPOINT, STATE, ContinuedCSV, TrainingState, Watch

    if _claim(settings, out):
        return json.loads((out / TRAINING_FILE).read_text())
    state = TrainingState.read(out)
    dataset, held_out = _open_data(settings)
    env = _make_env(settings)
    try:
        if state is None:
            state = TrainingState()
            model = _new_model(settings, env, dataset)
        else:
            model = _load_checkpoint(settings, out / CHECKPOINT, env, dataset)
            state.timesteps = model.num_timesteps
        formats: list[Any] = [ContinuedCSV(str(out / "progress.csv"), state.timesteps)]
        formats.append(TensorBoardOutputFormat(str(out / "tensorboard")))
        if os.environ.get("VLSAFE_VERBOSE"):
            import sys

            formats.append(HumanOutputFormat(sys.stdout))
        model.set_logger(Logger(str(out), formats))
        watch = Watch(out, f"train {out.name}", settings.steps, state, CHECKPOINT_SECONDS)
        left = settings.steps - model.num_timesteps
        if left > 0:
            interval = 1 if settings.algo in ("ppo", "ppo_lag") else 50
            model.learn(
                left,
                callback=watch,
                log_interval=interval,
                reset_num_timesteps=model.num_timesteps == 0,
            )
        model.logger.close()
    finally:
        env.close()
    facts = _facts(settings, model, state, dataset)
    if settings.algo == "vlsafe" and held_out is not None:
        from .open_loop import write_open_loop

        facts["open_loop"] = write_open_loop(model, held_out, out / "open_loop.npz")
    model.save(out / ".model.zip")
    os.replace(out / ".model.zip", out / "model.zip")
    (out / TRAINING_FILE).write_text(json.dumps(facts, indent=1) + "\n")
    for name in (CHECKPOINT, STATE):
        (out / name).unlink(missing_ok=True)
    return facts


def load_agent(folder: Path) -> tuple[Any, TrainSettings, dict[str, Any]]:
    """The trained model of a folder with its settings and facts.

    Raises ``FileNotFoundError`` where there is none.
    """
    for name in ("model.zip", SETTINGS_FILE, TRAINING_FILE):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"no {name} in {folder}; train an agent with `vlsafe train --out {folder}`"
            )
    settings = read_settings(folder)
    model = _algorithm(settings.algo).load(folder / "model.zip", device="cpu")
    return model, settings, json.loads((folder / TRAINING_FILE).read_text())


def read_settings(folder: Path) -> TrainSettings:
    """Settings of the agent in a folder."""
    stored = json.loads((folder / SETTINGS_FILE).read_text())
    return TrainSettings(**{**stored, "env": EnvChoice(**stored["env"])})


def _claim(settings: TrainSettings, out: Path) -> bool:
    """Write the settings down; True when training had already been finished with the same."""
    wanted = json.loads(json.dumps(asdict(settings)))
    path = out / SETTINGS_FILE
    if path.exists():
        found = json.loads(path.read_text())
        changed = [key for key in wanted if found.get(key) != wanted[key]]
        if changed:
            raise FileExistsError(
                f"{out} holds an agent with another {', '.join(changed)}; choose another --out or "
                "use --overwrite"
            )
        if (out / TRAINING_FILE).exists():
            return True
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted, indent=1) + "\n")
    return False


def _open_data(settings: TrainSettings) -> tuple[EpisodeDataset | None, EpisodeDataset | None]:
    """Training data, and what is held out of them."""
    if settings.algo not in OFFLINE:
        return None, None
    from vlsafe_agents.data import EpisodeDataset

    assert settings.data is not None
    # cloning reads no cost, so it can do without a judge
    cost: Any = "env" if settings.algo == "bc" else settings.cost
    dataset = EpisodeDataset.from_minari(settings.data, cost=cost)
    if settings.algo == "bc" or dataset.num_episodes < 4:
        return dataset, None
    return dataset.split(max(HOLD_OUT, 1 / dataset.num_episodes), seed=0)


def _make_env(settings: TrainSettings) -> Any:
    """Environments to drive in, or one that only tells an offline agent its spaces."""
    from vlsafe_envs.sb3 import make_vec_env

    online = settings.algo not in OFFLINE
    judge = settings.scorer if online and settings.cost != "env" else None
    options = {"observation": settings.observation, "scorer": judge}
    if judge is not None:
        options["cost"] = settings.cost
    env = make_vec_env(
        settings.env.env_id,
        n_envs=settings.envs if online else 1,
        seed=settings.seed,
        env_kwargs={**settings.env.kwargs, **options},
    )
    if settings.reward_scale == 1.0:
        return env
    from .reward_scale import RewardScale

    return RewardScale(env, settings.reward_scale)


def _algorithm(algo: str) -> type[BaseAlgorithm]:
    if algo == "vlsafe":
        from vlsafe_agents.vlsafe.vlsafe import VLSafe

        return VLSafe
    if algo == "ppo_lag":
        from vlsafe_agents.ppo_lag import PPOLag

        return PPOLag
    if algo == "bc":
        from vlsafe_agents.bc import BC

        return BC
    from stable_baselines3 import PPO

    return PPO


def _new_model(settings: TrainSettings, env: Any, dataset: EpisodeDataset | None) -> Any:
    kind: Callable[..., Any] = _algorithm(settings.algo)
    common = {"seed": settings.seed, "device": settings.device}
    policy = POLICIES[settings.observation]
    if settings.algo == "vlsafe":
        agent = kind(
            policy,
            env,
            dataset=dataset,
            cost_limit=settings.cost_limit,
            config=nest(settings.config),
            **settings.options,
            **common,
        )
        if settings.world_model is not None:
            agent.adopt_world_model(load_agent(Path(settings.world_model))[0])
        return agent
    if settings.algo == "bc":
        return kind(policy, env, dataset=dataset, **settings.config, **common)
    # SB3's 2048 steps in each of several environments would leave few updates
    arguments: dict[str, Any] = {"n_steps": rollout_length(settings.steps, settings.envs)}
    if settings.algo == "ppo_lag":
        from vlsafe_agents.ppo_lag.presets import preset

        arguments = preset(settings.preset, cost_limit=settings.cost_limit, **arguments)
    arguments |= settings.config
    return kind(policy, env, **arguments, **common)


def rollout_length(steps: int, envs: int, about: int = 1024) -> int:
    """Steps of each environment in a rollout, so that whole rollouts drive as good as ``steps``.

    SB3 always finishes a rollout; one of ``about`` steps in all could overshoot by nearly as many.
    """
    rollouts = max(round(steps / about), 1)
    return max(math.ceil(steps / (envs * rollouts)), 2)


def check_config(settings: TrainSettings) -> None:
    """Raise ``ValueError`` for settings that the algorithm does not have."""
    if settings.algo == "vlsafe":
        from vlsafe_agents.vlsafe.settings import make_config

        make_config(settings.preset, nest(settings.config))
        return
    if settings.algo == "ppo_lag":
        from vlsafe_agents.ppo_lag.presets import preset

        preset(settings.preset)
    from stable_baselines3 import PPO

    known = set(inspect.signature(_algorithm(settings.algo).__init__).parameters)
    known |= set(inspect.signature(PPO.__init__).parameters) if settings.algo != "bc" else set()
    known -= {"self", "policy", "env", "dataset", "seed", "device", "_init_setup_model"}
    known -= {"ppo_kwargs", "base_kwargs", "cost_limit", "rollout_buffer_class"}
    for key in settings.config:
        if key not in known:
            raise ValueError(
                f"{settings.algo} has no setting {key!r}; --config knows {', '.join(sorted(known))}"
            )


def _load_checkpoint(
    settings: TrainSettings, path: Path, env: Any, dataset: EpisodeDataset | None
) -> Any:
    kind: Any = _algorithm(settings.algo)
    model = kind.load(path, env=env, device=settings.device)
    if dataset is not None:
        model.set_dataset(dataset)
    return model


def _facts(
    settings: TrainSettings, model: Any, state: Any, dataset: EpisodeDataset | None
) -> dict[str, Any]:
    """What learning cost, as ``evaluation.json`` states it."""
    offline = settings.algo in OFFLINE
    contents = {} if dataset is None else dataset.metadata.get("contents", {})
    return {
        "env_steps": 0 if offline else model.num_timesteps,
        "collisions_caused": state.collisions_caused,
        "dataset_steps": contents.get("steps", dataset.num_steps if dataset else 0),
        "dataset_collisions": contents.get("collisions", 0),
        "gradient_steps": model.num_timesteps if offline else _ppo_updates(model),
        "wall_s": round(state.wall_s, 1),
    }


def _ppo_updates(model: Any) -> int:
    """Minibatch updates: SB3 counts epochs."""
    batches = -(-model.n_steps * model.n_envs // model.batch_size)
    return int(model._n_updates * batches)
