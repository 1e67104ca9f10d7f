"""An agent and the expert in the same seats: what would the other have done?

    python benchmarks/second_opinion.py runs/nav/0/gated --episodes 24 --env-arg maps=test
    python benchmarks/second_opinion.py runs/nav/0/gated --at-the-wheel expert

One of the two drives, the other is asked at every decision.  A clone that agrees with the expert
while the expert drives, and no longer when it drives itself, has learnt something that only holds
there, such as to repeat its last action; one that never agrees does not see, or has not learnt yet.

Actions of the grid only (three accelerations times five steerings), with a `vlsafe train` folder of
algorithm ``vlsafe``.  Seeds are those of ``vlsafe evaluate``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vlsafe_agents.cli.environments import EnvChoice, parse_pairs
from vlsafe_agents.cli.options import FIRST_SEED
from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.training import load_agent
from vlsafe_envs.actions import ACCELERATIONS, STEERINGS
from vlsafe_envs.drivers import make_driver

PEDALS = ("brake", "coast", "accelerate")  # of the grid's ACCELERATIONS


def drive(
    agent: Any, env: gym.Env[Any, Any], seed: int, wheel: str, counts: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """One episode; adds to ``counts[expert's pedal, agent's pedal]``; the last info."""
    observation, info = env.reset(seed=seed)
    expert = make_driver("expert", env, np.random.default_rng(seed))
    expert.reset()
    state, ended = None, False
    while not ended:
        action, state = agent.predict(observation, state, deterministic=True)
        advised = expert.act()
        chosen = advised if wheel == "expert" else int(action)
        counts[advised // len(STEERINGS), int(action) // len(STEERINGS)] += 1
        state = _with_action(state, chosen)
        observation, _, terminated, truncated, info = env.step(chosen)
        ended = terminated or truncated
    return info


def _with_action(state: Any, action: int) -> Any:
    """The recurrent state as if the agent had chosen ``action``."""
    deter, stoch, previous = state
    return deter, stoch, np.eye(previous.shape[-1], dtype=previous.dtype)[[action]]


def main() -> None:
    """Drive and print who agreed with whom."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at-the-wheel", choices=("agent", "expert"), default="agent")
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--env-arg", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    agent, settings, _ = load_agent(arguments.folder, env=EnvChoice)
    choice = settings.env.with_kwargs(parse_pairs(arguments.env_arg, "--env-arg"))
    env = choice.factory(observation=settings.observation, scorer=None)()
    if env.action_space != gym.spaces.Discrete(len(ACCELERATIONS) * len(STEERINGS)):
        raise SystemExit(f"{choice.env_id} has {env.action_space}; only the grid is compared")
    counts = np.zeros((len(PEDALS), len(PEDALS)), np.int64)
    ends = []
    with ProgressReport("second opinion", arguments.episodes, "episodes") as progress:
        for number in range(arguments.episodes):
            info = drive(agent, env, FIRST_SEED + number, arguments.at_the_wheel, counts)
            ends.append([info["arrived"], info["collision"], info.get("off_route", False)])
            progress.update(number + 1)
    env.close()
    arrived, collided, lost = np.mean(ends, 0)
    shares = f"{arrived:.0%} arrived, {collided:.0%} collided, {lost:.0%} off route"
    print(f"{arguments.at_the_wheel} drives: {shares}")
    for name, row in zip(PEDALS, counts, strict=True):
        shares = ", ".join(
            f"{p} {n / max(row.sum(), 1):.1%}" for p, n in zip(PEDALS, row, strict=True)
        )
        print(f"where the expert would {name} ({row.sum():,} decisions) the agent would: {shares}")


if __name__ == "__main__":
    main()
