"""Bird's-eye frames of driving scenes, drawn by compiled code from plain arrays."""

from .fingerprint import fingerprint
from .many import draw_many
from .rasteriser import Rasteriser
from .road_shape import LaneShape, Line, RoadShape

__all__ = ["LaneShape", "Line", "Rasteriser", "RoadShape", "draw_many", "fingerprint"]
