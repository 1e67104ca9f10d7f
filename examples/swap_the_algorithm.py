"""PPO, PPOLag and VLSafe on the same environment: only the class name changes.

    python examples/swap_the_algorithm.py    # a minute: shows the interface
    python examples/swap_the_algorithm.py --drives runs/demo/data --preset cpu --updates 3000

Without ``--drives`` a few minutes of rule-based driving are recorded and labelled first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import vlsafe_envs  # noqa: F401  (registers the ids)
from vlsafe_agents import PPOLag, VLSafe
from vlsafe_agents.data import EpisodeDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drives", type=Path, help="a labelled data set; default: record one")
    parser.add_argument("--steps", type=int, default=300, help="environment steps of PPO, PPOLag")
    parser.add_argument("--updates", type=int, default=20, help="gradient updates of VLSafe")
    parser.add_argument("--preset", default="debug", help='"cpu" to learn for real')
    parser.add_argument("--episodes", type=int, default=2, help="episodes to evaluate on")
    args = parser.parse_args()
    torch.set_num_threads(1)  # small networks: more threads only get in each other's way

    drives = args.drives or record(Path("runs/swap_the_algorithm/data"))
    env = Monitor(gym.make("VLSafe-Highway-v0"))
    test_env = Monitor(gym.make("VLSafe-Highway-v0", scorer=None))
    rollout = {"n_steps": 100, "batch_size": 50}

    agents = {
        "PPO": PPO("CnnPolicy", env, **rollout),
        "PPOLag": PPOLag("CnnPolicy", env, cost_limit=1.0, **rollout),
        "VLSafe": VLSafe(
            "CnnPolicy",
            env,
            dataset=EpisodeDataset.from_minari(drives, cost="vlm"),
            preset=args.preset,
        ),
    }
    for name, agent in agents.items():
        agent.learn(args.updates if name == "VLSafe" else args.steps)
        path = Path("runs/swap_the_algorithm") / name
        agent.save(path)
        agent = type(agent).load(path, env=test_env)
        mean, spread = evaluate_policy(agent, test_env, n_eval_episodes=args.episodes)
        print(f"{name:7s} return {mean:6.2f} +- {spread:.2f}")


def record(folder: Path) -> Path:
    """Record and label a small data set with the command line."""
    for command in (
        ["collect", "--out", str(folder), "--steps", "400", "--workers", "1"],
        ["label", str(folder)],
    ):
        subprocess.run([sys.executable, "-m", "vlsafe_agents.cli.main", *command], check=True)
    return folder


if __name__ == "__main__":
    main()
