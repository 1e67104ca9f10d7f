"""Names of danger signals, each the higher, the more danger.

====================== ===========================================================================
``1 - p``              the world model's guess of the safety score of what is seen
``predicted cost``     its guess of the cost that comes with what is seen
``Q_c``                the cost critic's value of the chosen action
``dream``              chance that the drive ends with a cost within the imagination's horizon, when
                       the chosen action is followed by the policy's
``risk``               what a risk model says of the chosen action (:mod:`vlsafe_agents.risk`)
``danger``             the same of a risk model that has learnt by a judge's word: 1 - p of
                       the worst frame that it expects, no chance of a crash
``1 / TTC``            inverse of the simulator's time to collision [1 / s], for comparison
====================== ===========================================================================
"""

from __future__ import annotations

UNSAFE, COST, Q_COST = "1 - p", "predicted cost", "Q_c"
DREAM, RISK, DANGER, INVERSE_TIME = "dream", "risk", "danger", "1 / TTC"
CHANCES = (UNSAFE, DREAM, RISK)  # in [0, 1]: meant as the chance of a crash
