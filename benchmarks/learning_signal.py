"""What an agent's critics call feasible, and how soon a state forgets that it began with nothing.

    python benchmarks/learning_signal.py runs/demo/gated --data runs/demo/data

Two tables over recorded states, each observed on the rows before it.

1. For bounds on Q_c from several quantiles (``improvement.feasible_quantile``; 0 is the converted
   ``cost_limit`` alone): in how many states some supported action is feasible, and what one step of
   the gated update would then gain over the prior, in units of the agent's scales: reward and cost
   where all looks safe (p > 0.9) and where it does not (p < 0.5).
2. Root mean square differences between a state observed on the last K rows only and one observed
   on all, beside those of two observations that differ in the noise of the latents alone: how many
   rows ``train.burn_in`` should have.

Agents of algorithm ``vlsafe`` with ``update="gated"`` and discrete actions only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from vlsafe_agents.common.returns import discounted_limit
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.training import load_agent
from vlsafe_agents.vlsafe import policy_extraction as extraction
from vlsafe_agents.vlsafe.batch import TensorBatch, to_tensors
from vlsafe_agents.vlsafe.critics import weighted_quantile

QUANTILES = (0.0, 0.5, 0.75, 0.9)
ROWS = (0, 1, 2, 4, 8, 12)  # K
BEFORE = 16  # rows in front of each state


class States(NamedTuple):
    """What an agent says of M states, and what they were observed on."""

    batch: TensorBatch  # (M, BEFORE + 1, ...)
    embed: Tensor  # (M, BEFORE + 1, E)


@torch.no_grad()
def observed(agent: Any, dataset: EpisodeDataset, count: int) -> States:
    """States that at least ``BEFORE`` rows of their episode come before, and that end none."""
    rng = np.random.default_rng(0)
    batch = to_tensors(dataset.sample(count, 1, rng, context=BEFORE))
    kept = ~batch.is_first[:, 1:].any(1) & ~batch.is_terminal[:, -1]
    obs = {name: x[kept] for name, x in batch.obs.items()}
    batch = TensorBatch(obs, *(None if x is None else x[kept] for x in batch[1:]))  # type: ignore[arg-type]
    return States(batch, agent.policy.world_model.embed(batch))


@torch.no_grad()
def features(agent: Any, states: States, rows: int, seed: int) -> Tensor:
    """Features ``(M, F)`` of the states, observed on the last ``rows`` rows before them."""
    torch.manual_seed(seed)
    model, last = agent.policy.world_model, slice(BEFORE - rows, None)
    action = model.action_vector(states.batch.action)
    first = states.batch.is_first[:, last]
    feat: Tensor = model.feat(model.rssm.observe(states.embed[:, last], action[:, last], first))
    return feat[:, -1]


@torch.no_grad()
def feasible_table(agent: Any, feat: Tensor) -> list[str]:
    """Rows of the first table."""
    heads, settings = agent.policy.actor_critic, agent.config.improvement
    prior = extraction.restrict_to_support(
        heads.behaviour.log_probs(feat), settings.support_threshold
    )
    q_reward, q_cost = heads.reward_critic.slow_all(feat), heads.cost_critic.slow_all(feat)
    p = agent.policy.world_model.heads(feat).safety_score
    least = q_cost.masked_fill(~prior.isfinite(), torch.inf).amin(-1)
    limit = discounted_limit(
        heads.cost_limit, agent.config.imagination.gamma, float(heads.episode_steps)
    )
    reward = extraction.behaviour_advantage(q_reward, prior) / heads.reward_scale.value
    cost = extraction.behaviour_advantage(q_cost, prior) / heads.cost_scale.value
    lines = ["quantile | bound | feasible: all | p > 0.9 | p < 0.5 | A_r, A_c: p > 0.9 | p < 0.5"]
    for quantile in QUANTILES:
        floor = weighted_quantile(least, torch.ones_like(least), quantile) if quantile else -1e9
        feasible = extraction.feasible_actions(q_cost, limit, floor)
        some = (feasible & prior.isfinite()).any(-1)
        weight = extraction.gated_log_weight(
            reward, cost, p, settings.beta_reward, settings.beta_cost, prior, feasible
        )
        better = extraction.improved_policy(prior, weight)
        gains = torch.stack([(better * x).sum(-1) for x in (reward, cost)])  # (2, M)
        calm, danger = (
            ", ".join(f"{x:+.2f}" for x in gains[:, where].mean(1)) for where in (p > 0.9, p < 0.5)
        )
        shares = " | ".join(
            f"{100 * some[where].float().mean():.0f}%" for where in (p >= 0, p > 0.9, p < 0.5)
        )
        bound = max(limit, float(floor))
        lines.append(f"{quantile:g} | {bound:.3f} | {shares} | {calm} | {danger}")
    return lines


@torch.no_grad()
def said(agent: Any, feat: Tensor) -> dict[str, Tensor]:
    """What depends on a state, by name."""
    heads = agent.policy.actor_critic
    return {
        "p": agent.policy.world_model.heads(feat).safety_score,
        "Q_c": heads.cost_critic.slow_all(feat).mean(-1),
        "Q_r": heads.reward_critic.slow_all(feat).mean(-1),
        "log pi_b": heads.behaviour.log_probs(feat),
    }


def burn_in_table(agent: Any, states: States) -> list[str]:
    """Rows of the second table."""
    whole, again = (said(agent, features(agent, states, BEFORE, seed)) for seed in (1, 2))
    lines = ["rows | " + " | ".join(whole)]

    def line(label: str, other: dict[str, Tensor]) -> None:
        errors = ((other[k] - whole[k]).square().mean().sqrt() for k in whole)
        lines.append(f"{label} | " + " | ".join(f"{x:.3f}" for x in errors))

    for rows in ROWS:
        line(str(rows), said(agent, features(agent, states, rows, 3)))
    line(f"{BEFORE}, other noise", again)
    lines.append("spread | " + " | ".join(f"{x.std():.3f}" for x in whole.values()))
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True, help="recorded drives")
    parser.add_argument("--states", type=int, default=2000, help="drawn; some are left out")
    arguments = parser.parse_args()
    agent, settings, _ = load_agent(arguments.folder)
    if not isinstance(agent.action_space, spaces.Discrete):
        raise SystemExit(f"the agent's actions are {agent.action_space}; only discrete ones work")
    dataset = EpisodeDataset.from_minari(arguments.data, cost=settings.cost)
    states = observed(agent, dataset.select(agent.observation_space), arguments.states)
    print(f"{len(states.embed)} states; gains of one step in units of the agent's scales")
    print("\n".join(feasible_table(agent, features(agent, states, BEFORE, 1))))
    print("\n".join(["", *burn_in_table(agent, states)]))


if __name__ == "__main__":
    main()
