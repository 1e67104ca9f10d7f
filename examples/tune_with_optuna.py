"""Search hyper-parameters of PPO-Lag with Optuna: most return among those that keep the cost limit.

    pip install -e ".[tune]"
    python examples/tune_with_optuna.py                                # a minute or two: shows how
    python examples/tune_with_optuna.py --steps 60000 --trials 50      # hours: searches
    vlsafe train --settings runs/tune/best.yaml --out runs/tune/agent  # trains what was found

Trials are kept in ``runs/tune/trials.db``: the same command goes on, also in several processes at
once.  They are measured on seeds of their own, on which ``vlsafe evaluate`` does not drive.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import optuna
import torch
import yaml

import vlsafe
from vlsafe_agents.ppo_lag import preset
from vlsafe_envs.sb3 import make_vec_env

ENV_ID, PRESET = "VLSafe-Highway-v0", "highway"
ROAD = {"observation": "vector", "scorer": None}  # cost by simulator truth
FIRST_SEED = 900_000  # of the drives that trials are measured on
ENVS = 8


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Settings to try."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 3e-3, log=True),
        "n_steps": trial.suggest_categorical("n_steps", [32, 64, 128]),
        "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
        "n_epochs": trial.suggest_int("n_epochs", 3, 15),
        "gamma": trial.suggest_float("gamma", 0.8, 0.99),
        "ent_coef": trial.suggest_float("ent_coef", 1e-4, 0.05, log=True),
    }


def measure(settings: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Train once, and drive; the means over the drives."""
    env = make_vec_env(ENV_ID, ENVS, seed=0, env_kwargs=ROAD)
    given = preset(PRESET, cost_limit=args.cost_limit, **settings)
    model = vlsafe.PPOLag("MlpPolicy", env, seed=0, device="cpu", **given)
    model.learn(args.steps)
    env.close()
    seeds = range(FIRST_SEED, FIRST_SEED + args.episodes)
    found = vlsafe.evaluate(model, lambda: gym.make(ENV_ID, **ROAD), seeds)
    return {name: entry["mean"] for name, entry in found.summary.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=3, help="trials of this call")
    parser.add_argument("--steps", type=int, default=4_000, help="steps driven in each trial")
    parser.add_argument("--episodes", type=int, default=20, help="drives that measure it")
    parser.add_argument("--cost-limit", type=float, default=0.5, help="accepted of an episode")
    parser.add_argument("--out", type=Path, default=Path("runs/tune"), help="folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    def objective(trial: optuna.Trial) -> float:
        found = measure(suggest(trial), args)
        trial.set_user_attr("collision_rate", found["collision_rate"])
        trial.set_constraint("cost", found["env_cost"] - args.cost_limit)  # at most 0: kept
        return float(found["return"])

    study = optuna.create_study(
        study_name=f"ppo_lag, {args.steps} steps, limit {args.cost_limit:g}",
        storage=f"sqlite:///{args.out / 'trials.db'}",
        direction="maximize",
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=args.trials)
    try:
        best = study.best_trial  # of those that keep the limit
    except ValueError:
        print("no trial kept the cost limit; give more --steps or --trials, or another limit")
        return
    row = {
        **{"algo": "ppo_lag", "preset": PRESET, "observation": "vector", "envs": ENVS},
        **{"steps": args.steps, "cost": "env", "scorer": "none", "cost_limit": args.cost_limit},
        "config": best.params,
    }
    (args.out / "best.yaml").write_text(yaml.safe_dump({ENV_ID: row}, sort_keys=False))
    print(f"best: return {best.value:.2f}, {args.out / 'best.yaml'}")


if __name__ == "__main__":
    main()
