"""Bird's-eye frames of driving scenes, drawn by compiled code from plain arrays."""

from .rasteriser import Rasteriser
from .road_shape import LaneShape, Line, RoadShape

__all__ = ["LaneShape", "Line", "Rasteriser", "RoadShape"]
