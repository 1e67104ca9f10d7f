"""What the rows of :mod:`vlsafe_agents.algorithms` make of settings, and how they count updates.

``..._arguments`` are a constructor's arguments made of :class:`TrainSettings`, without ``seed`` and
``device``; what is given as ``config`` goes first.  ``..._updates`` are how many gradient updates a
trained model has made.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.training.settings import TrainSettings


def own_settings(settings: TrainSettings) -> dict[str, Any]:
    """Constructor arguments of an algorithm that takes ``config`` as keywords."""
    return dict(settings.config)


def rollout_length(steps: int, envs: int, about: int = 1024) -> int:
    """Steps of each environment in a rollout, so that whole rollouts drive as good as ``steps``.

    SB3 always finishes a rollout; one of ``about`` steps in all could overshoot by nearly as many.
    """
    rollouts = max(round(steps / about), 1)
    return max(math.ceil(steps / (envs * rollouts)), 2)


def vlsafe_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `VLSafe`: preset, update, limit and safety where they are given, nested config."""
    from vlsafe_agents.common.typed_config import unflatten

    chosen = {name: getattr(settings, name) for name in ("preset", "update")}
    chosen["cost_limit"] = settings.limits()
    given = {name: value for name, value in chosen.items() if value is not None}
    if settings.safety is not None:
        given["safety"] = None if settings.safety == "none" else settings.safety
    return {**given, "config": unflatten(settings.config)}


def stacking_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of an algorithm that reads `frame_stack`."""
    return {"frame_stack": settings.frame_stack, **settings.config}


def limit_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of one that reads `cost_limit`."""
    return {"cost_limit": settings.limits(), **settings.config}


def limited_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of one that reads both."""
    return {"cost_limit": settings.limits(), **stacking_arguments(settings)}


def ppo_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `PPO` and `TRPO`: rollouts that fit `steps`."""
    assert settings.envs is not None
    # SB3's 2048 steps in each of several environments would leave few updates
    own = {"n_steps": rollout_length(settings.steps, settings.envs)}
    return {**own, "frame_stack": settings.frame_stack, **settings.config}


def ppo_lag_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `PPOLag`: its preset, and those of `PPO`."""
    from vlsafe_agents.ppo_lag.presets import preset

    own = preset(str(settings.preset), cost_limit=settings.limits())
    return {**own, **ppo_arguments(settings)}


def trpo_lag_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `TRPOLag`, likewise."""
    from vlsafe_agents.ppo_lag.presets import trpo_preset

    own = trpo_preset(str(settings.preset), cost_limit=settings.limits())
    return {**own, **ppo_arguments(settings)}


def recurrent_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `RecurrentPPOLag`: as `PPOLag`, without a stack of frames."""
    own = ppo_lag_arguments(settings)
    own.pop("frame_stack")  # it has a memory instead
    return own


def sac_lag_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `SACLag`."""
    # an update for each step that is driven, however many environments there are
    return {"gradient_steps": -1, **limited_arguments(settings)}


def recurrent_ppo_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `RecurrentPPO`: as `PPO`, without a stack of frames."""
    own = ppo_arguments(settings)
    own.pop("frame_stack")
    return own


def _replay_arguments(settings: TrainSettings) -> dict[str, Any]:
    # a step of images in a stack of four takes 0.1 MB
    held = 20_000 if settings.observation == "image" else 100_000
    begin = min(1_000, settings.steps // 10)
    own = {"buffer_size": min(held, max(settings.steps, 2)), "learning_starts": begin}
    return {**own, "frame_stack": settings.frame_stack, **settings.config}


def q_learning_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `DQN` and `QRDQN`: an update for four steps, as SB3's, whatever number of environments.

    Rates and target network as in RL Baselines3 Zoo's settings for DQN on Atari.
    """
    assert settings.envs is not None
    own = {
        "train_freq": max(4 // settings.envs, 1),
        "gradient_steps": max(settings.envs // 4, 1),
        "target_update_interval": 1_000,
        "learning_rate": 1e-4,
        "exploration_fraction": 0.1,
        "exploration_final_eps": 0.01,
    }
    return {**own, **_replay_arguments(settings)}


def sac_arguments(settings: TrainSettings) -> dict[str, Any]:
    """Of `SAC`."""
    return {"gradient_steps": -1, **_replay_arguments(settings)}  # an update for each step


# --- updates --------------------------------------------------------------------------------------


def vlsafe_updates(model: Any) -> int:
    """Of this training; the agent that it started from has made those before."""
    return int(model._n_updates - model.schedule.begin)


def ppo_updates(model: Any) -> int:
    """Minibatch updates: SB3 counts epochs."""
    batches = -(-model.n_steps * model.n_envs // model.batch_size)
    return int(model._n_updates * batches)


def trpo_updates(model: Any) -> int:
    """Of `TRPOLag`: steps of the policy, and minibatch updates of both critics."""
    return _policy_and_critics(model, critics=2)


def stock_trpo_updates(model: Any) -> int:
    """Of `TRPO`: steps of the policy, and minibatch updates of its critic."""
    return _policy_and_critics(model, critics=1)


def _policy_and_critics(model: Any, critics: int) -> int:
    batches = -(-model.n_steps * model.n_envs // model.batch_size)
    return int(model._n_updates * (1 + critics * model.n_critic_updates * batches))


def counted_updates(model: Any) -> int:
    """Of algorithms that count gradient updates themselves."""
    return int(model._n_updates)
