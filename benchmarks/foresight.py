"""Does an agent see a crash coming?  What its critic, model and dreams say before recorded ones.

    python benchmarks/foresight.py runs/nav/0/gated --data runs/nav/data

Looked at are the last seconds of recorded drives that end in a crash, beside stretches of drives
that end without a cost.  Three opinions are compared, each the larger the more danger:

- ``Q_c`` of the action that was taken, which should come near the cost of the end;
- ``1 - p``, the world model's own guess of the safety score;
- the cost that dreams meet which repeat the recorded actions up to the end.

An AUROC near 1 with values far below the cost means a critic that ranks danger and has not learnt
its size yet: more updates, or more sequences with an end (``research.unsafe_ends``).  Agents of
algorithm ``vlsafe`` with discrete actions only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from vlsafe_agents.common.progress import ProgressReport
from vlsafe_agents.common.returns import discount_weights
from vlsafe_agents.data import EpisodeDataset, SequenceBatch
from vlsafe_agents.training import load_agent
from vlsafe_agents.vlsafe.batch import to_tensors
from vlsafe_agents.vlsafe.rssm import RSSMState
from wrappers.ranking import auroc

STEPS = (1, 2, 3, 5, 8, 10, 15, 20, 30)  # before the end
WINDOW = 60  # rows that are observed
COPIES = 32  # dreams of one state

Array = npt.NDArray[np.float64]


class Opinions(NamedTuple):
    """What is said ``STEPS`` before the end of one stretch, each ``(len(STEPS),)``."""

    q_cost: Array
    danger: Array  # 1 - p
    dreamt: Array


@torch.no_grad()
def opinions(agent: Any, batch: SequenceBatch) -> Opinions:
    """Of one recorded stretch ``(1, T, ...)``; its last row is the end."""
    world_model, actor_critic = agent.policy.world_model, agent.policy.actor_critic
    tensors = to_tensors(batch)
    posterior = world_model.observe(tensors)
    feat = world_model.feat(posterior)  # (1, T, F)
    action = world_model.action_vector(tensors.next_action)  # (1, T, A)
    q_cost = (actor_critic.cost_critic.slow_all(feat) * action).sum(-1)[0]  # (T,)
    danger = 1.0 - world_model.heads(feat).safety_score[0]
    at = [len(q_cost) - 1 - steps for steps in STEPS]
    dreamt = [
        _dreamt_cost(world_model, RSSMState(*(x[0, t] for x in posterior)), action[0, t:-1])
        for t in at
    ]
    return Opinions(q_cost[at].double().numpy(), danger[at].double().numpy(), np.array(dreamt))


def _dreamt_cost(world_model: Any, state: RSSMState, actions: torch.Tensor) -> float:
    """Cost that dreams from one state meet while they repeat ``actions (H, A)``."""
    start = RSSMState(*(x.expand(COPIES, *x.shape) for x in state))
    coming = iter(actions)
    dream = world_model.imagine(start, lambda feat: next(coming).expand(COPIES, -1), len(actions))
    weight = discount_weights(dream.cont, 1.0)[:, :-1]  # (N, H)
    return float((weight * dream.cost).sum(-1).mean())


def stretches(
    dataset: EpisodeDataset, end_cost: float = 5.0, seed: int = 0
) -> Iterator[tuple[bool, SequenceBatch]]:
    """The end of each drive that ends with ``end_cost`` or more; a stretch within those with none.

    Drives that end with less are left out, as are those not longer than a stretch.
    """
    rng = np.random.default_rng(seed)
    for index in range(dataset.num_episodes):
        whole = dataset.episode_batch(index)
        length = whole.reward.shape[1]
        cost = whole.cost[0, -1] if whole.is_terminal[0, -1] else 0.0
        bad = bool(cost >= end_cost)
        if length <= WINDOW or (cost > 0 and not bad):
            continue
        last = length if bad else int(rng.integers(WINDOW, length))
        yield bad, whole.cut(slice(last - WINDOW, last))


def row(label: str, ends: Array, calm: Array) -> str:
    """One line of the table: medians and AUROC of ``ends (E, S)`` against all of ``calm``."""
    cells = []
    for values in ends.T:
        both = np.concatenate([calm.ravel(), values])
        truth = np.arange(len(both)) >= calm.size
        cells.append(f"{np.median(values):5.2f} ({auroc(both, truth):.2f})")
    usual = f"calm {np.median(calm):.2f}, 95% {np.quantile(calm, 0.95):.2f}"
    return f"{label:8} {usual} | {'  '.join(cells)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True, help="recorded drives, seen in training or not")
    parser.add_argument("--drives", type=int, default=60, help="at most as many of each kind")
    parser.add_argument("--end-cost", type=float, default=5.0, help="least cost of a bad end")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    agent, settings, _ = load_agent(arguments.folder)
    if not isinstance(agent.action_space, spaces.Discrete):
        raise SystemExit(f"the agent's actions are {agent.action_space}; only discrete ones work")
    dataset = EpisodeDataset.from_minari(arguments.data, cost=settings.cost)
    dataset = dataset.select(agent.observation_space)
    found: dict[bool, list[Opinions]] = {True: [], False: []}
    with ProgressReport("foresight", 2 * arguments.drives, "drives") as progress:
        for bad, batch in stretches(dataset, arguments.end_cost):
            if len(found[bad]) < arguments.drives:
                found[bad].append(opinions(agent, batch))
                progress.update(sum(map(len, found.values())))
            if all(len(kind) == arguments.drives for kind in found.values()):
                break
    if not all(found.values()):
        raise SystemExit(
            f"{arguments.data} needs drives of more than {WINDOW} rows with a bad end (a cost of "
            f"{arguments.end_cost:g} or more) and without any cost at the end"
        )
    print(f"{len(found[True])} bad ends, {len(found[False])} calm stretches; medians (AUROC)")
    print("before the end: " + ", ".join(f"{steps} steps" for steps in STEPS))
    for number, label in enumerate(("Q_c", "1 - p", "dreamt")):
        ends, calm = (np.array([o[number] for o in found[bad]]) for bad in (True, False))
        print(row(label, ends, calm))


if __name__ == "__main__":
    main()
