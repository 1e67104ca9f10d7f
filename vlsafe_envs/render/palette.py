"""Colours of the bird's-eye view, RGB 0..255.

One colour a meaning, in every environment and at every size.  Nothing here marks a crash: a frame
must not show the collision label by anything but where the vehicles are.
"""

from __future__ import annotations

from typing import Final

RGB = tuple[int, int, int]

OFF_ROAD: Final[RGB] = (14, 15, 18)
ROAD: Final[RGB] = (58, 61, 68)
LANE_MARK: Final[RGB] = (236, 236, 232)
ROAD_EDGE: Final[RGB] = (244, 150, 32)
ROUTE: Final[RGB] = (44, 116, 240)

EGO: Final[RGB] = (228, 34, 38)
EGO_WINDSCREEN: Final[RGB] = (255, 176, 168)
EGO_OUTLINE: Final[RGB] = (110, 10, 16)
EGO_TAIL: Final[RGB] = (150, 24, 30)

VEHICLE: Final[RGB] = (44, 186, 84)
VEHICLE_WINDSCREEN: Final[RGB] = (190, 246, 200)
VEHICLE_OUTLINE: Final[RGB] = (10, 74, 34)
VEHICLE_TAIL: Final[RGB] = (28, 128, 58)
