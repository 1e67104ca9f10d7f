"""Training runs that survive kills: settings, checkpoints, counts, log and facts in one folder.

``vlsafe train`` calls this; so can any Python program, with environments of its own::

    from vlsafe_agents.training import EnvName, TrainSettings, load_agent, train

    settings = TrainSettings(
        algo="ppo", env=EnvName("CartPole-v1"), observation="vector", steps=20_000, envs=4
    )
    train(settings, "runs/mine", lambda: gymnasium.make("CartPole-v1"))
    agent, settings, facts = load_agent("runs/mine")

The same call goes on from the last checkpoint and ends as if it had not been stopped; on a finished
run it only returns its facts.  Agents that learn from data take ``dataset=``, an
:class:`~vlsafe_agents.data.EpisodeDataset`, or else read ``settings.data``.  A folder holds

===================== ========================================================================
``settings.json``     :class:`TrainSettings`
``checkpoint.zip``    the agent as it was before its last rollout or update, while it learns
``checkpoint.replay`` a folder: what an agent with a replay had driven until then
``counts.json``       steps, collisions and seconds of all attempts so far, while it learns
``progress.csv``      Stable-Baselines3's log; also in ``tensorboard/``
``model.zip``         the agent, when it has learned
``training.json``     what learning has cost
===================== ========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlsafe_agents.training.settings import EnvName, TrainSettings, read_settings

if TYPE_CHECKING:
    from vlsafe_agents.training.run import load_agent, train

__all__ = ["EnvName", "TrainSettings", "load_agent", "read_settings", "train"]


def __getattr__(name: str) -> Any:
    if name in ("load_agent", "train"):  # the command line's help does without
        from vlsafe_agents.training import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
