"""Having a judge score the frames of a data set.

Frames are drawn again from the stored scenes, so they need no disk space.  A frame that was scored
before, in whatever run, comes from a cache.  What is scored is cut into batches that do not depend
on interruptions or on the number of processes, so neither do the labels.
"""

from .estimate import LabelEstimate, estimate
from .label import LabellingError, label
from .protocols import Drawing, Scorer, ScoreStore
from .stored import UNLABELLED_FILE
from .summary import LabelCounts, LabelSummary

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
