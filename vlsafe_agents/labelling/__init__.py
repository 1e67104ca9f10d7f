"""Having a judge score the frames of a data set.

Frames are drawn again from the stored scenes, so they need no disk space.  A frame that was scored
before, in whatever run, comes from a cache.  What is scored is cut into batches that do not depend
on interruptions or on the number of processes, so neither do the labels.
"""

from vlsafe_agents.labelling.estimate import LabelEstimate, estimate
from vlsafe_agents.labelling.label import LabellingError, label
from vlsafe_agents.labelling.protocols import Drawing, Scorer, ScoreStore
from vlsafe_agents.labelling.stored import UNLABELLED_FILE
from vlsafe_agents.labelling.summary import LabelCounts, LabelSummary

__all__ = [
    "UNLABELLED_FILE",
    "Drawing",
    "LabelCounts",
    "LabelEstimate",
    "LabelSummary",
    "LabellingError",
    "ScoreStore",
    "Scorer",
    "estimate",
    "label",
]
