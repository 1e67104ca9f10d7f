"""Bird's-eye frames of driving scenes, drawn by compiled code from plain arrays."""

from vlsafe_envs.render.fingerprint import fingerprint
from vlsafe_envs.render.many import draw_many
from vlsafe_envs.render.rasteriser import Rasteriser
from vlsafe_envs.render.road_shape import LaneShape, Line, RoadShape

__all__ = ["LaneShape", "Line", "Rasteriser", "RoadShape", "draw_many", "fingerprint"]
