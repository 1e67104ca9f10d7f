"""A safety shield around stock Stable-Baselines3 agents, on highway-env's own environments.

    python benchmarks/shield_highway_env.py highway-fast-v0 --folder runs/shield

PPO and DQN learn with the settings of highway-env's documentation, but fewer steps.  A risk model
learns from branches of drives by both, by random actions and by mixtures of the two, then from
drives behind its own shield.  The threshold is the one with the fewest collisions on tuning seeds,
of those the one with the largest return; it is then driven on other seeds.  What is in the folder
already is not made again.  One environment a process: highway-env's intersection writes its
constants into the class of all drivers.

    python benchmarks/shield_highway_env.py highway-fast-v0 --model VLSafe-Highway-v0

takes the risk model that comes with vlsafe for its own road instead: it sees the same rows.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import highway_env  # noqa: F401  (registers its environments)
import numpy as np
import torch
from stable_baselines3 import DQN, PPO

from vlsafe_agents.data.branching import Brancher
from vlsafe_agents.evaluation.intervals import share_interval
from vlsafe_agents.risk import (
    BranchingConfig,
    RiskConfig,
    RiskModel,
    SafetyShield,
    bundled_ids,
    bundled_risk,
)
from vlsafe_agents.risk.model import MODEL_FILE
from vlsafe_agents.risk.training import TrainingConfig, train
from vlsafe_envs.foreign import EventCost, Sensed, branches, make_macro, sense

KINDS: dict[str, Any] = {"ppo": PPO, "dqn": DQN}
THRESHOLDS = (0.01, 0.02, 0.05, 0.1)
TEST_SEEDS, TUNING_SEEDS = 1_000_000, 2_000_000  # the first of each
STEERING = {"type": "DiscreteAction", "longitudinal": False, "actions_per_axis": 5}


@dataclass(frozen=True)
class Road:
    """An environment of highway-env's, how agents learn in it, and what is branched from.

    Args:
        gamma: of the agents.
        steps: that each agent learns from.
        frequency: decisions a second [Hz], highway-env's.
        tails: macro-actions that drive on.
        horizon: of branches and of the risk model [s].
        config: what differs from highway-env's own.
        dqn_config: of DQN besides, where its actions differ.
    """

    gamma: float
    steps: int
    frequency: float
    tails: tuple[str, ...]
    horizon: float
    config: dict[str, Any] = field(default_factory=dict)
    dqn_config: dict[str, Any] = field(default_factory=dict)


ROADS = {
    "highway-fast-v0": Road(0.8, 8000, 1.0, ("idle", "hold"), 5.0),
    "merge-v0": Road(0.8, 4000, 1.0, ("idle", "hold"), 5.0),
    "intersection-v0": Road(0.95, 4000, 1.0, ("idle", "hold"), 6.0),
    "racetrack-v0": Road(
        *(0.9, 8000, 5.0, ("keep", "left", "right"), 4.0),
        config={"duration": 30},
        dqn_config={"action": STEERING},
    ),
}


# --- agents ---------------------------------------------------------------------------------------


def make(env_id: str, kind: str) -> gym.Env[Any, Any]:
    """The environment as it is for an agent."""
    road = ROADS[env_id]
    config = road.config | (road.dqn_config if kind == "dqn" else {})
    return gym.make(env_id, config=config, disable_env_checker=True)


def agent_of(env_id: str, kind: str, folder: Path, seed: int = 0) -> Any:
    """The agent in the folder, or a new one."""
    file = folder / f"{env_id}_{kind}.zip"
    if file.exists():
        return KINDS[kind].load(file, device="cpu")
    road, env = ROADS[env_id], make(env_id, kind)
    agent = KINDS[kind](
        "MlpPolicy",
        env,
        policy_kwargs={"net_arch": [256, 256]},
        learning_rate=5e-4,
        gamma=road.gamma,
        seed=seed,
        device="cpu",
        **(
            {"n_steps": 768, "batch_size": 64}
            if kind == "ppo"
            else {
                "buffer_size": 15000,
                "learning_starts": 200,
                "batch_size": 32,
                "train_freq": 1,
                "gradient_steps": 1,
                "target_update_interval": 50,
            }
        ),
    )
    agent.learn(road.steps)
    agent.save(file)
    return agent


# --- the risk model -------------------------------------------------------------------------------


def own_observation(env: gym.Env[Any, Any]) -> Any:
    """What the agent sees, where the environment shows something else."""
    return env.unwrapped.observation_type.observe()  # type: ignore[attr-defined]


class MixedDriver:
    """One of the agents, random actions, or one of both at every decision."""

    def __init__(
        self, agents: Sequence[Any], env: gym.Env[Any, Any], rng: np.random.Generator
    ) -> None:
        self._env, self._rng = env, rng
        self._agent = agents[int(rng.integers(len(agents)))]
        self._random = float(rng.choice((0.0, 0.5, 1.0), p=(0.4, 0.4, 0.2)))
        env.action_space.seed(int(rng.integers(2**31)))

    def reset(self) -> None:
        """An episode begins."""

    def act(self) -> Any:
        """The next action."""
        if self._rng.random() < self._random:
            action = self._env.action_space.sample()
        else:
            action, _ = self._agent.predict(own_observation(self._env), deterministic=True)
        return int(action) if np.ndim(action) == 0 else action


class SeeingItsOwn:
    """Agents in turn, behind a shield that is shown what :func:`sense` reads."""

    def __init__(self, agents: Sequence[Any], env: gym.Env[Any, Any]) -> None:
        self._agents, self._env, self._episode = agents, env, 0
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def predict(self, observation: Any, state: Any, start: Any, deterministic: bool) -> Any:
        """The action of this episode's agent, as a batch of one."""
        self._episode += int(start[0])
        agent = self._agents[self._episode % len(self._agents)]
        action, _ = agent.predict(own_observation(self._env), deterministic=deterministic)
        return np.asarray(action)[None], state


def risk_model(
    env_id: str, agents: dict[str, Any], folder: Path, states: tuple[int, int]
) -> RiskModel:
    """The model in the folder, or a new one of so many states in mixed and in shielded drives."""
    if (folder / MODEL_FILE).exists():
        return RiskModel.load(folder / MODEL_FILE)
    road, env = ROADS[env_id], Sensed(make(env_id, next(iter(agents))))
    every = list(agents.values())
    return train(
        env,
        folder,
        lambda env, rng: MixedDriver(every, env, rng),
        Brancher(branches, make_macro),
        BranchingConfig(road.tails, road.frequency, road.horizon),
        TrainingConfig(
            states=states[0],
            rounds=1,
            round_states=states[1],
            model=RiskConfig(horizon=road.horizon, updates=1500),
        ),
        SeeingItsOwn(every, env),
    )


# --- drives ---------------------------------------------------------------------------------------


class Clock(gym.Wrapper[Any, Any, Any, Any]):
    """Counts the processor time of the environment's steps [s]."""

    seconds = 0.0

    def step(self, action: Any) -> Any:
        """As the environment."""
        begin = time.process_time()
        result = self.env.step(action)
        self.seconds += time.process_time() - begin
        return result


@dataclass(frozen=True)
class Drives:
    """What came of some episodes."""

    crashes: int
    episodes: int
    reward: float  # mean return
    reward_error: float  # standard error of it
    speed: float  # [m/s]
    seconds: float  # mean length of an episode
    replaced: float  # share of the actions
    shield_ms: float  # a decision


def drive(
    env_id: str,
    kind: str,
    agent: Any,
    seeds: Sequence[int],
    shield: tuple[RiskModel, float] | None = None,
) -> Drives:
    """Episodes of an agent, behind a shield of this model and threshold, or none."""
    clock = Clock(EventCost(make(env_id, kind)))
    env: Any = SafetyShield(clock, *shield, sense) if shield else clock
    returns, speeds, crashes, spent = [], [], 0, 0.0
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            action, _ = agent.predict(observation, deterministic=True)
            begin = time.process_time()
            observation, reward, terminated, truncated, info = env.step(
                int(action) if np.ndim(action) == 0 else action
            )
            spent += time.process_time() - begin
            total, over = total + float(reward), terminated or truncated
            speeds.append(info["speed"])
        crashes += bool(info["cost"])
        returns.append(total)
    return Drives(
        crashes,
        len(returns),
        float(np.mean(returns)),
        float(np.std(returns) / np.sqrt(len(returns))),
        float(np.mean(speeds)),
        len(speeds) / ROADS[env_id].frequency / len(returns),
        env.replaced / env.steps if shield else 0.0,
        (spent - clock.seconds) / len(speeds) * 1e3 if shield else 0.0,
    )


def line(label: str, drives: Drives, bare: Drives | None = None) -> str:
    """A row of the table."""
    low, high = share_interval(drives.crashes, drives.episodes)
    part = "" if bare is None else f" ({drives.reward / bare.reward:.0%})"
    return (
        f"| {label} | {drives.crashes}/{drives.episodes} ({low:.1%} to {high:.1%}) | "
        f"{drives.reward:.2f} ± {drives.reward_error:.2f}{part} | {drives.speed:.1f} | "
        f"{drives.seconds:.1f} | {drives.replaced:.1%} | {drives.shield_ms:.2f} |"
    )


class Records:
    """Drives of some agents, kept in a file as they come."""

    def __init__(self, env_id: str, agents: dict[str, Any], model: RiskModel, file: Path) -> None:
        self._env_id, self._agents, self._model, self._file = env_id, agents, model, file
        self._kept = json.loads(file.read_text()) if file.exists() else {}

    def __call__(self, kind: str, seeds: range, threshold: float | None = None) -> Drives:
        """Episodes of an agent, behind the shield or without."""
        name = f"{kind}, {'no shield' if threshold is None else f'threshold {threshold}'}, {seeds}"
        if name not in self._kept:
            shield = None if threshold is None else (self._model, threshold)
            found = drive(self._env_id, kind, self._agents[kind], seeds, shield)
            self._kept[name] = asdict(found)
            self._file.write_text(json.dumps(self._kept, indent=1))
        return Drives(**self._kept[name])


def judged(kinds: Sequence[str], records: Records, tuning: int, episodes: int) -> None:
    """Chooses the threshold on tuning seeds, drives the test seeds, and prints both."""
    print("| | collisions | return | m/s | s an episode | replaced | ms a decision |")
    print("|---|---|---|---|---|---|---|")
    seeds = range(TUNING_SEEDS, TUNING_SEEDS + tuning)
    found: dict[float, list[Drives]] = {}
    for level in THRESHOLDS:
        found[level] = [records(kind, seeds, level) for kind in kinds]
        for kind, drives in zip(kinds, found[level], strict=True):
            print(line(f"tuning, {kind}, shield at {level}", drives), flush=True)
    threshold = min(
        found, key=lambda x: (sum(d.crashes for d in found[x]), -sum(d.reward for d in found[x]))
    )
    seeds = range(TEST_SEEDS, TEST_SEEDS + episodes)
    for kind in kinds:
        bare = records(kind, seeds)
        print(line(kind, bare), flush=True)
        print(line(f"{kind}, shield at {threshold}", records(kind, seeds, threshold), bare))


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("env_id", choices=ROADS)
    parser.add_argument("--folder", type=Path, default=Path("runs/shield_highway_env"))
    parser.add_argument("--model", choices=bundled_ids(), help="take this one, and learn none")
    parser.add_argument("--states", type=int, nargs=2, default=(300, 150), help="of both rounds")
    parser.add_argument("--tuning", type=int, default=20, help="episodes for each threshold")
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # there are newer versions of the ids
    torch.set_num_threads(1)
    env_id, folder = arguments.env_id, arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    agents = {kind: agent_of(env_id, kind, folder) for kind in KINDS}
    alike = [{k: a} for k, a in agents.items()] if ROADS[env_id].dqn_config else [agents]
    for group in alike:
        inner = folder / "_".join([env_id, *group, *filter(None, [arguments.model])])
        begin = time.process_time()
        if arguments.model:
            inner.mkdir(exist_ok=True)
            model = bundled_risk(arguments.model)
        else:
            model = risk_model(env_id, group, inner, tuple(arguments.states))
        print(f"{env_id}: {model.facts}; {time.process_time() - begin:.0f} s of the processor")
        records = Records(env_id, group, model, inner / "drives.json")
        judged(tuple(group), records, arguments.tuning, arguments.episodes)


if __name__ == "__main__":
    main()
