r"""PPO-Lag on Safety-Gymnasium with OmniSafe's settings, beside the figures OmniSafe publishes.

    python benchmarks/safety_gym.py SafetyPointGoal1-v0 --steps 2000000 --out runs/point_goal

Safety-Gymnasium 1.0.0 asks for gymnasium 0.29, which vlsafe does not run on. Its simulation does
not need it, only what registers and wraps its ids: those are left out here. On Python 3.11 the
arrays that its dataclasses have as defaults must become factories. In a folder of its own:

    pip install --no-deps --target /tmp/safety safety-gymnasium==1.0.0 gymnasium-robotics==1.2.4 \
        mujoco==2.3.7 xmltodict pettingzoo glfw pyopengl
    sed -i -E 's/^( +[a-z_]+: np\.array) = ([A-Z].*)$/\1 = field(default_factory=lambda: \2)/;
        s/^from dataclasses import dataclass$/from dataclasses import dataclass, field/' \
        $(grep -rlE ': np.array = [A-Z]' /tmp/safety/safety_gymnasium)
    PYTHONPATH=/tmp/safety:. python benchmarks/safety_gym.py ...

What is published (Ji et al. 2024, OmniSafe's documentation, 1e7 steps, limit 25): PointGoal1 12.96
+- 6.95 at a cost of 25.8 +- 35.0, CarGoal1 13.27 +- 9.26 at 21.7 +- 32.1.

What differs from OmniSafe's `PPOLag.yaml`: the multiplier takes plain steps, where Adam's of 0.035
do not depend on the size of the violation; 10 epochs a rollout instead of 40, both until KL 0.02.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from vlsafe_agents.ppo_lag import PPOLag
from wrappers.costs import CostFromTuple

ENVIRONMENTS = 4
ROLLOUT = 20_000  # steps of all environments
COST_LIMIT = 25.0


def maker(env_id: str) -> Callable[[], Any]:
    """What makes an environment, such as "SafetyPointGoal1-v0", whose ``info`` carries the cost."""
    name = "safety_gymnasium"
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ImportError(f"{name} is not installed; the beginning of this file says how")
    package = types.ModuleType(name)  # in place of one that imports what gymnasium 1 has no more
    package.__path__ = list(found.submodule_search_locations or ())
    package.__file__ = found.origin
    sys.modules[name] = package
    builder = importlib.import_module(f"{name}.builder").Builder
    agent = re.fullmatch(r"Safety([A-Z][a-z]+)[A-Z]\w*-v0", env_id)
    if agent is None:
        raise ValueError(f"{env_id} is no id of {name} such as SafetyPointGoal1-v0")
    config = {"agent_name": agent[1]}  # what its registration makes of the id
    return lambda: Monitor(CostFromTuple(builder(env_id, config=config)))


def make_agent(env_id: str, seed: int, steps: int) -> PPOLag:
    """PPO-Lag as OmniSafe sets it; the rate falls to 0 over ``steps``."""
    env = VecNormalize(DummyVecEnv([maker(env_id)] * ENVIRONMENTS), norm_reward=False)
    env.seed(seed)
    return PPOLag(
        "MlpPolicy",
        env,
        cost_limit=COST_LIMIT,
        lagrange="plain",
        lagrange_kwargs={"initial": 0.001, "learning_rate": 0.001},
        advantage_normalization="separate",
        n_steps=ROLLOUT // ENVIRONMENTS,
        batch_size=64,
        n_epochs=10,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.2,
        target_kl=0.02,
        learning_rate=lambda left: 3e-4 * left,
        max_grad_norm=40.0,
        policy_kwargs={"net_arch": [64, 64], "activation_fn": torch.nn.Tanh},
        seed=seed,
        device="cpu",
    )


class Curve(BaseCallback):
    """Writes a line of JSON a rollout: return and cost of the last 100 episodes."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.begin = file, time.process_time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer or []
        line = {
            "steps": self.num_timesteps,
            "return": sum(e["r"] for e in episodes) / max(len(episodes), 1),
            "cost": self.logger.name_to_value.get("rollout/ep_cost_mean"),
            "multiplier": self.model.lagrange_multiplier,
            "cpu_s": round(time.process_time() - self.begin, 1),
        }
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def main() -> None:
    """Learn, and write the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("env_id")
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=False)
    agent = make_agent(given.env_id, given.seed, given.steps)
    agent.learn(given.steps, callback=Curve(given.out / "curve.jsonl"))
    agent.save(given.out / "model.zip")
    agent.get_vec_normalize_env().save(given.out / "normalisation.pkl")


if __name__ == "__main__":
    main()
