"""Processor time of an update by part, ours and that of NM512/r2dreamer, in turns.

    python benchmarks/learner.py --presets cpu --rounds 9
    python benchmarks/learner.py --presets cpu 12M --r2dreamer ~/r2dreamer --rounds 5

Images of 64 x 64, five actions, float32, one thread, not compiled.  Every round runs each part
once, ours and theirs one after the other, so that a busy moment of the machine does not fall on one
of them alone; given are medians of the rounds, and of the ratios within a round.

"Implementation alone" is the sum of the parts that do the same operations on equal sizes: the
observe loop with its backward pass, imagination, the losses of reward, continuation and KL, and the
optimiser's step.  In the other parts the architectures differ.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from benchmarks.r2dreamer import Peer, commit
from benchmarks.world_model import ACTIONS, IMAGE, random_batch
from vlsafe_agents.common.distributions import twohot_loss
from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.ppo_lag import PPOLag
from vlsafe_agents.stock import PPO
from vlsafe_agents.vlsafe import VLSafe
from vlsafe_agents.vlsafe.optimisation import optimise
from vlsafe_agents.vlsafe.rssm import RSSMState

Work = Callable[[], object]
# (B, T) of the world model's batch, and of the actor-critic's rows N = B * T, one dream each
SIZES = {"cpu": ((64, 16), (8, 16)), "12M": ((8, 32), (8, 32)), "debug": ((4, 8), (4, 8))}
PARTS = ("updates", "same", "phase", "ppo")
SAME = ("observe loop, forward + backward", "imagination", "losses of features", "optimiser")


class Ours:
    """Our learner of one preset, and the batches that both learn from."""

    def __init__(self, preset: str) -> None:
        sizes = SIZES[preset]
        self.batch, self.rows = (random_batch(*size, "cpu") for size in sizes)
        starts = len(self.rows.reward.flatten())
        self.agent = make_agent(preset, sizes[0], starts=starts)
        self.config = self.agent.config
        self.model = self.agent.policy.world_model
        self.actor_critic = self.agent.policy.actor_critic
        self.horizon = self.config.imagination.horizon
        with torch.no_grad():
            self.posterior = self.model.observe(self.rows)

    def world_model(self) -> None:
        """One update of the world model."""
        loss, _, _ = self.model.loss(self.batch)
        optimise([self.agent.model_optimizer], loss, "world model")

    def learn_from_dreams(self) -> None:
        """One update of prior, critics and actor from states of the batch."""
        parts, rows = self.actor_critic, self.rows
        feat = self.model.feat(self.posterior)
        dream = parts.dream(self.model, self.posterior, rows)
        loss = parts.critic_loss(dream, feat, rows, self.model)
        loss = loss + parts.behaviour_loss(feat, rows, self.model)
        choices = parts.choices(dream)
        parts.update_scales(choices)
        parts.update_least_cost(choices)
        loss = loss + parts.actor_loss(choices)[0]
        optimise([self.agent.actor_critic_optimizer], loss, "actor and critics")
        parts.follow()

    def feature_losses(self, state: RSSMState, reward: Tensor) -> None:
        """Reward, continuation and KL of given states, forward and backward."""
        model, feat = self.model, self.model.feat(state)
        dyn, rep, _ = model.rssm.kl_losses(state)
        told = twohot_loss(model.reward_head(feat), reward, model.bins)
        logits = model.cont_head(feat).squeeze(-1)
        going_on = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.ones_like(logits)
        )
        (dyn.mean() + rep.mean() + told.mean() + going_on).backward()

    def optimiser(self, params: list[Tensor]) -> Work:
        """Clipping and one step of parameters that have gradients."""
        return LaProp(params, lr=4e-5).step


def make_agent(
    preset: str, size: tuple[int, int], starts: int | None = None, **train: Any
) -> VLSafe:
    """An agent on random data, whose world model rests, about to improve its policy."""
    given: dict[str, Any] = {"batch_size": size[0], "sequence_length": size[1], **train}
    config: dict[str, Any] = {"train": given, "critic_warmup": 0.0}
    if starts is not None:
        config["imagination"] = {"starts": starts}
    agent = VLSafe("CnnPolicy", None, random_data(), preset, seed=0, config=config, device="cpu")
    agent.world_model_frozen = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise is hard to model
        agent.learn(1_000_000, callback=lambda *_: False, log_interval=0)  # one update
    return agent


def random_data(episodes: int = 40, steps: int = 40) -> EpisodeDataset:
    """Noise in the shape of recorded drives."""
    rng = np.random.default_rng(0)

    def episode() -> Episode:
        return Episode(
            obs={"image": rng.integers(0, 256, (steps + 1, 64, 64, 3), np.uint8)},
            action=rng.integers(0, ACTIONS, steps),
            reward=rng.random(steps),
            env_cost=(rng.random(steps + 1) < 0.1).astype(np.float32),
            safety_score=rng.random(steps + 1).astype(np.float32),
            terminated=True,
        )

    made = (episode() for _ in range(episodes))
    return EpisodeDataset.from_arrays(made, IMAGE, spaces.Discrete(ACTIONS))


# --- parts ----------------------------------------------------------------------------------------


def learner_parts(ours: Ours, checkout: Path | None) -> dict[str, list[Work]]:
    """What to run by part: ours, and theirs where there is a checkout."""
    parts: dict[str, list[Work]] = {
        "world model": [ours.world_model],
        "actor-critic": [ours.learn_from_dreams],
    }
    if checkout is not None:
        sizes = (ours.config,)
        peers = [Peer(checkout, *sizes, b, ACTIONS, ours.horizon) for b in (ours.batch, ours.rows)]
        parts["world model"].append(peers[0].world_model)
        parts["actor-critic"].append(peers[1].actor_critic())
    return parts


def same_operations(ours: Ours, checkout: Path | None) -> dict[str, list[Work]]:
    """The parts of which the operations and sizes are equal."""
    peer = None
    if checkout is not None:
        peer = Peer(checkout, ours.config, ours.batch, ACTIONS, ours.horizon)
    rssm, shape = ours.model.rssm, ours.batch.reward.shape
    embed = torch.randn(*shape, ours.model.observation.embed_size)
    theirs = torch.randn(*shape, peer.learner.embed_size if peer else 1)
    action = ours.model.action_vector(ours.batch.action)
    with torch.no_grad():
        state = rssm.observe(embed, action, ours.batch.is_first)
    flat = state.flatten()
    count = len(ours.rows.reward.flatten())
    start = RSSMState(flat.deter[:count], flat.stoch[:count])
    parts: dict[str, list[Work]] = {
        SAME[0]: [lambda: backward(*rssm.observe(embed, action, ours.batch.is_first))],
        SAME[1]: [
            lambda: no_grad(rssm.imagine, start, ours.actor_critic.actor.sample, ours.horizon)
        ],
        SAME[2]: [lambda: ours.feature_losses(leaves(state), ours.batch.reward)],
        SAME[3]: [ours.optimiser(parameters(ours.model))],
    }
    if peer is not None:
        given = (state.deter, state.stoch, state.logits)
        parts[SAME[0]].append(lambda: backward(*peer.observe(theirs, action)))
        parts[SAME[1]].append(lambda: peer.imagine(start.deter, start.stoch, ours.horizon))
        parts[SAME[2]].append(lambda: peer.feature_losses(*leaves(given), ours.batch.reward))
        parts[SAME[3]].append(peer.optimiser(parameters(ours.model)))
    return parts


def phase_parts(preset: str) -> dict[str, list[Work]]:
    """An update of the policy phase: from encoded data, and beside it from images."""
    sizes = SIZES[preset][0]
    encoded, plain = (make_agent(preset, sizes, encoded_memory=m) for m in (1.0, 0.0))

    def observe() -> None:
        context, batch = encoded._sample()
        encoded.policy.states(batch, context, None)

    return {
        "policy phase, from encoded memory; other: from images": [encoded.train, plain.train],
        "of it: sampling and observing": [observe],
    }


class Noise(gym.Env[Any, Any]):
    """Random images, rewards and costs."""

    observation_space, action_space = IMAGE, spaces.Discrete(ACTIONS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """A random image."""
        super().reset(seed=seed)
        return self._image(), {"cost": 0.0}

    def step(self, action: Any) -> Any:
        """Another one."""
        numbers = self.np_random.random(3)
        info = {"cost": float(numbers[1] < 0.1)}
        return self._image(), float(numbers[0]), bool(numbers[2] < 0.02), False, info

    def _image(self) -> Any:
        return self.np_random.integers(0, 256, (64, 64, 3), np.uint8)


def ppo_parts() -> dict[str, list[Work]]:
    """One epoch over a rollout of 512 images, ours and SB3's PPO."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    shared: dict[str, Any] = {"n_steps": 64, "batch_size": 256, "n_epochs": 1, "device": "cpu"}
    made = []
    for kind in (PPOLag, PPO):
        model = kind("CnnPolicy", DummyVecEnv([Noise] * 8), seed=0, **shared)
        made.append(model.learn(512))
    return {"PPO-Lag's image update; other: SB3's PPO": [model.train for model in made]}


# --- measuring ------------------------------------------------------------------------------------


def backward(*outputs: Tensor) -> None:
    """Gradients of the outputs' sum."""
    torch.stack([x.sum() for x in outputs]).sum().backward()


def no_grad(work: Callable[..., object], *arguments: Any) -> None:
    """Call without gradients."""
    with torch.no_grad():
        work(*arguments)


def leaves(state: Any) -> Any:
    """Copies of tensors that gradients end at."""
    made = [x.detach().clone().requires_grad_() for x in state]
    return RSSMState(*made) if isinstance(state, RSSMState) else made


def parameters(model: torch.nn.Module) -> list[Tensor]:
    """Copies of a model's parameters, with gradients."""
    copies = [p.detach().clone().requires_grad_() for p in model.parameters()]
    for copy in copies:
        copy.grad = 1e-3 * torch.randn_like(copy)
    return list(copies)


def measure(parts: dict[str, list[Work]], rounds: int) -> dict[str, list[list[float]]]:
    """Processor time [ms] by part, of each of its alternatives, in every round but a first one."""
    times: dict[str, list[list[float]]] = {
        name: [[] for _ in works] for name, works in parts.items()
    }
    for turn in range(rounds + 1):
        for name, works in parts.items():
            for kept, work in zip(times[name], works, strict=True):
                begin = time.process_time()
                work()
                if turn:
                    kept.append(1000 * (time.process_time() - begin))
    for name in [name for name in SAME if name in times]:
        total = times.setdefault("implementation alone", [[0.0] * rounds for _ in times[name]])
        for whole, part in zip(total, times[name], strict=True):
            whole[:] = np.add(whole, part).tolist()
    return times


def table(times: dict[str, list[list[float]]]) -> tuple[list[str], dict[str, Any]]:
    """Rows in Markdown, and numbers."""
    lines, numbers = ["| part | ours, ms | other, ms | other / ours |", "|---|---|---|---|"], {}
    for name, kinds in times.items():
        medians = [float(np.median(kind)) for kind in kinds]
        shown = [f"{median:,.1f}" for median in medians]
        row: dict[str, Any] = {"ours_ms": medians[0]}
        if len(kinds) == 2:
            ratios = np.divide(kinds[1], kinds[0])
            low, middle, high = np.percentile(ratios, [0, 50, 100])
            row |= {"other_ms": medians[1], "ratio": middle, "low": low, "high": high}
            shown.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        lines.append("| " + " | ".join([name, *shown, *[""] * (3 - len(shown))]) + " |")
        numbers[name] = {key: float(f"{value:.4g}") for key, value in row.items()}
    return lines, numbers


def main() -> None:
    """Measure what the arguments name; print tables, and JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", nargs="*", default=["cpu"], choices=list(SIZES))
    parser.add_argument("--r2dreamer", type=Path, help="folder of a checkout")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results: dict[str, Any] = {"torch": torch.__version__}
    results["instructions"] = torch.backends.cpu.get_cpu_capability()
    if asked.r2dreamer is not None:
        results["r2dreamer"] = commit(asked.r2dreamer)
    groups: dict[str, Callable[[], dict[str, list[Work]]]] = {}
    for preset in asked.presets:
        made: dict[str, Callable[[], dict[str, list[Work]]]] = {
            "updates": lambda p=preset: learner_parts(Ours(p), asked.r2dreamer),
            "same": lambda p=preset: same_operations(Ours(p), asked.r2dreamer),
            "phase": lambda p=preset: phase_parts(p),
        }
        groups |= {f"{preset}, {name}": made[name] for name in asked.parts if name in made}
    if "ppo" in asked.parts:
        groups["PPO-Lag"] = ppo_parts
    for title, parts in groups.items():
        lines, results[title] = table(measure(parts(), asked.rounds))
        print(title, *lines, sep="\n", end="\n\n", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
