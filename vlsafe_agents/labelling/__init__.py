"""Having a scorer give every frame of a data set its safety score.

Frames are drawn again from the stored scenes, so they need no disk space.  A frame that was scored
before, in whatever run, comes from a cache.  What is scored is cut into batches that do not depend
on interruptions or on the number of processes, so neither do the labels.
"""

from vlsafe_agents.data.frames import Drawing
from vlsafe_agents.data.labels import UNLABELLED_FILE
from vlsafe_agents.labelling.estimate import LabelEstimate, estimate
from vlsafe_agents.labelling.label import LabellingError, label
from vlsafe_agents.labelling.summary import LabelCounts, LabelSummary

__all__ = [
    "UNLABELLED_FILE",
    "Drawing",
    "LabelCounts",
    "LabelEstimate",
    "LabelSummary",
    "LabellingError",
    "estimate",
    "label",
]
