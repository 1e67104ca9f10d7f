"""Does an agent see a crash coming?  Its danger signals before crashes, and where they say "safe".

``vlsafe foresight`` calls this; so can any Python program::

    from vlsafe_agents.foresight import CHANCES, Steps, measure
    from vlsafe_agents.foresight.drives import decisions_apart, drive
    from vlsafe_agents.foresight.signals import signals_of

    signals = signals_of(agent)  # and risk=RiskModel.load(...); then also drive(..., sense=...)
    drives = drive(agent, envs, range(100), signals, every=decisions_apart(0.1))
    (found,) = measure(Steps.of(drives, 0.1), [], seconds=0.1, chances=CHANCES)

What is imported here does without PyTorch, as reports do.
"""

from vlsafe_agents.foresight.measure import Drive, Steps, measure
from vlsafe_agents.foresight.names import CHANCES
from vlsafe_agents.foresight.results import (
    AS_RECORDED,
    FORESIGHT_FILE,
    Foresight,
    Traffic,
    read_foresight,
)

__all__ = [
    "AS_RECORDED",
    "CHANCES",
    "FORESIGHT_FILE",
    "Drive",
    "Foresight",
    "Steps",
    "Traffic",
    "measure",
    "read_foresight",
]
