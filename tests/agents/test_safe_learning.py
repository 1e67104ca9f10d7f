"""What the updates are for, shown on a toy problem whose good and bad policies are known.

The careful rule earns 11.2 without cost; always accelerating costs 13 and crashes in 87% of drives.
The data mix careful, noisy, reckless and erratic drives.  All agents share one world model.
"""

from __future__ import annotations

from typing import Any

import pytest
from speed_limit import SpeedLimit, careful, drive_agent, drive_rule, reckless, record

from vlsafe_agents import VLSafe

CONFIG: dict[str, Any] = {
    "train": {"batch_size": 32, "sequence_length": 6, "learning_rate": 3e-3},
    "network": {"learning_rate": 3e-3},
    "imagination": {"starts": 96, "horizon": 6, "gamma": 0.9, "slow_rate": 0.05},
    # Greedier than the default: what an update wants must show against the clone it starts from.
    "improvement": {"beta_reward": 5.0, "beta": 5.0},
    "multiplier": {"plain": {"learning_rate": 0.05}},
}
EPISODES = 100


@pytest.mark.slow  # two minutes of one core
@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "wide box"])
def test_cost_blind_learning_violates_and_both_safe_updates_do_not(continuous: bool) -> None:
    """A wide box is [-5, 5]; a policy that mistakes its actions is seen in the clone already."""
    action = {"continuous": continuous, "bound": 5.0}
    data, updates = record(400 if continuous else 600, **action), 300 if continuous else 500

    def make(config: dict[str, Any], **kwargs: Any) -> VLSafe:
        settings = CONFIG | config
        return VLSafe(
            "MlpPolicy",
            SpeedLimit(**action),
            data,
            "debug",
            seed=0,
            device="cpu",
            config=settings,
            **kwargs,
        )

    model = make({"model_warmup": 1.0}).learn(updates)
    found = {"clone": drive_agent(model, EPISODES)}
    for update in ("none", "gated", "lagrangian"):
        agent = make({}, update=update, cost_limit=1.0)
        agent.adopt_world_model(model)
        found[update] = drive_agent(agent.learn(updates), EPISODES)
    print({k: v.round(2).tolist() for k, v in found.items()})  # return, cost, crash rate
    blind_return, blind_cost, _ = found["none"]
    good_return = drive_rule(careful, EPISODES)[0]
    assert found["clone"][1] < 2.5
    assert blind_cost > 4.0
    assert blind_return > good_return
    assert drive_rule(reckless, EPISODES)[1] > 10.0
    for update in ("gated", "lagrangian"):
        return_, cost, crashes = found[update]
        assert cost < 2.5, (update, found)
        assert crashes <= 0.05, (update, found)
        assert return_ > 0.8 * good_return, (update, found)
