"""Bird's-eye frames of driving scenes, drawn by compiled code from plain arrays."""

from pathlib import Path

from ..engine.code_cache import drop_stale_code
from .fingerprint import fingerprint
from .many import draw_many
from .rasteriser import Rasteriser, draw_scene
from .road_shape import LaneShape, Line, RoadShape

__all__ = ["LaneShape", "Line", "Rasteriser", "RoadShape", "draw_many", "fingerprint"]

drop_stale_code(draw_scene, Path(__file__).parent)
