"""Draw a road once, finely, and filter it for one output scale.

The plane is painted in a grid of classes (off-road, road, mark, edge) finer than an output pixel;
each texel then averages the colours within one output pixel around it.  A frame samples the texels
at any angle without aliasing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render import palette
from vlsafe_envs.render.compiling import drawing
from vlsafe_envs.render.road_shape import LaneShape, Line, RoadShape

DASH_PERIOD = 8.0  # [m] from the start of one dash to the next
DASH_LENGTH = 3.5  # [m]
MARK_WIDTH = 0.3  # [m], as highway-env's; wider where it would vanish, see _line_widths
EDGE_WIDTH = 0.4  # [m]
CELLS_PER_TEXEL = 2
MARGIN_PIXELS = 4  # off-road border, so that sampling outside the texture is off-road too
MAX_CELLS = 120_000_000  # memory guard [cells], one byte each

_OFF, _ROAD, _MARK, _EDGE = 0, 1, 2, 3
_COLOURS = np.array(
    [palette.OFF_ROAD, palette.ROAD, palette.LANE_MARK, palette.ROAD_EDGE], np.float32
)


@dataclass(frozen=True)
class RoadTexture:
    """Filtered picture of a road; texel ``[i, j]`` is centred at origin + (j, i) * texel."""

    texels: npt.NDArray[np.uint8]  # (H, W, 4): colour, and whether it has no other beside it
    origin: tuple[float, float]  # [m], world (x, y) of texel [0, 0]'s centre
    texel: tuple[float, float]  # [m], spacing in x and y
    repeat_from: float  # [m], columns repeat between these two x ...
    repeat_to: float  # [m], ... when repeat_to > repeat_from; else they do not repeat


@lru_cache(maxsize=16)
def road_texture(road: RoadShape, pixel: float) -> RoadTexture:
    """Texture of ``road`` for frames with ``pixel`` metres a pixel; cached by the road's content.

    Raises:
        ValueError: when the road is too large to draw at that scale.
    """
    # Coarse frames get finer texels, which keeps lines one pixel wide one pixel wide.
    texels_per_pixel = 4 if pixel >= 0.5 else 2
    cell_y = pixel / (texels_per_pixel * CELLS_PER_TEXEL)
    margin = MARGIN_PIXELS * pixel
    low, high = road.low - margin, road.high + margin  # (2,)
    repeats = road.repeats
    if repeats:  # a whole number of texels must make one period of dashes
        columns = int(np.ceil(DASH_PERIOD / (pixel / texels_per_pixel))) * CELLS_PER_TEXEL
        cell_x = DASH_PERIOD / columns
        low[0] = road.low[0] + DASH_PERIOD  # a stretch away from the ends
    else:
        cell_x = cell_y
        columns = _round_up((high[0] - low[0]) / cell_x)
    rows = _round_up((high[1] - low[1]) / cell_y)
    if rows * columns > MAX_CELLS:
        raise ValueError(
            f"a road of {high[0] - low[0]:.0f} x {high[1] - low[1]:.0f} m is too large to draw at "
            f"{pixel:.3f} m a pixel; use fewer pixels or more metres a frame"
        )
    cells = np.zeros((rows, columns), np.uint8)
    _paint_road(cells, road, low, (cell_x, cell_y), pixel)
    texels = _filter(cells, texels_per_pixel * CELLS_PER_TEXEL, repeats, _COLOURS)
    texel = (cell_x * CELLS_PER_TEXEL, cell_y * CELLS_PER_TEXEL)
    return RoadTexture(
        _with_evenness(texels, repeats),
        (float(low[0]) + texel[0] / 2, float(low[1]) + texel[1] / 2),
        texel,
        float(road.low[0]) if repeats else 0.0,
        float(road.high[0]) if repeats else 0.0,
    )


def _with_evenness(texels: npt.NDArray[np.uint8], repeats: bool) -> npt.NDArray[np.uint8]:
    """Texels ``(H, W, 4)`` whose last entry is 1 where those below and to the right are equal.

    Most of a road is: a sample between four equal texels needs no arithmetic.
    """
    even = np.zeros(texels.shape[:2], np.uint8)
    below = (texels[1:] == texels[:-1]).all(-1)  # (H - 1, W)
    right = (np.roll(texels, -1, 1) == texels).all(-1)  # (H, W)
    even[:-1] = below & np.roll(below, -1, 1) & right[:-1]
    if not repeats:
        even[:, -1] = 0
    return np.concatenate((texels, even[..., None]), -1)


def _round_up(cells: float) -> int:
    return int(np.ceil(cells / CELLS_PER_TEXEL)) * CELLS_PER_TEXEL


def _line_widths(pixel: float) -> tuple[float, float]:
    """Widths of marks and edges [m]: true to scale unless thinner than most of a pixel."""
    return max(MARK_WIDTH, 0.8 * pixel), max(EDGE_WIDTH, 0.9 * pixel)


def _paint_road(
    cells: npt.NDArray[np.uint8],
    road: RoadShape,
    low: npt.NDArray[np.float64],
    cell: tuple[float, float],
    pixel: float,
) -> None:
    for lane in road.lanes:
        outline = np.stack((lane.left, lane.right), 1)  # (K, 2 sides, 2)
        _fill_strip(cells, (outline - low) / cell)
    surface = cells == _ROAD
    mark, edge = _line_widths(pixel)
    for lane in road.lanes:
        sides = ((lane.left, lane.right, lane.left_line), (lane.right, lane.left, lane.right_line))
        for border, opposite, line in sides:
            if line == Line.NONE:
                continue
            a, b, station, outer = _pieces(lane, border, opposite, low)
            at_edge = ~_inside(surface, outer, low, cell)
            continuous = line != Line.STRIPED
            colour = np.where(at_edge & continuous, _EDGE, _MARK).astype(np.uint8)
            width = np.where(colour == _EDGE, edge, mark)
            dash = DASH_PERIOD if continuous else DASH_LENGTH
            _paint_line(cells, a - low, b - low, station, width / 2, colour, dash, cell)


def _pieces(
    lane: LaneShape,
    border: npt.NDArray[np.float64],
    opposite: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], ...]:
    """Cut a border into pieces of about a metre, so each can look at what lies beyond it.

    Returns starts (M, 2), ends (M, 2), stations of the starts (M,) and points (M, 2) half a metre
    outside of the pieces' middles.
    """
    reach = lane.station[-1] - lane.station[0]
    if reach > 2000.0:  # one period of a repeating road is all that is drawn of it
        first = (low[0] - border[0, 0]) * np.sign(border[-1, 0] - border[0, 0])
        stops = first + np.arange(-2.0 * DASH_PERIOD, 3.0 * DASH_PERIOD)
        stops = stops[(stops >= 0) & (stops <= reach)]
    else:
        stops = np.linspace(lane.station[0], lane.station[-1], max(2, int(np.ceil(reach)) + 1))

    def at(points: npt.NDArray[np.float64], s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack([np.interp(s, lane.station, points[:, k]) for k in range(2)], -1)

    starts, ends = at(border, stops[:-1]), at(border, stops[1:])
    middle = (stops[:-1] + stops[1:]) / 2
    outward = at(border, middle) - at(opposite, middle)
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    return starts, ends, stops[:-1], at(border, middle) + 0.5 * outward


def _inside(
    surface: npt.NDArray[np.bool_],
    points: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
    cell: tuple[float, float],
) -> npt.NDArray[np.bool_]:
    index = np.floor((points - low) / cell).astype(np.int64)
    index = np.clip(index, 0, np.array(surface.shape[::-1]) - 1)
    return surface[index[:, 1], index[:, 0]]


@drawing()
def _fill_strip(cells: npt.NDArray[np.uint8], strip: npt.NDArray[np.float64]) -> None:
    """Mark the cells in a strip (K, 2 sides, 2), in cell units, as road."""
    rows, columns = cells.shape
    quad = np.empty((4, 2))
    for k in range(len(strip) - 1):
        quad[0], quad[1] = strip[k, 0], strip[k + 1, 0]
        quad[2], quad[3] = strip[k + 1, 1], strip[k, 1]
        top = max(0, int(np.floor(quad[:, 1].min())))
        bottom = min(rows - 1, int(np.ceil(quad[:, 1].max())))
        left = max(0, int(np.floor(quad[:, 0].min())))
        right = min(columns - 1, int(np.ceil(quad[:, 0].max())))
        for i in range(top, bottom + 1):
            for j in range(left, right + 1):
                positive = negative = 0
                for e in range(4):
                    x0, y0 = quad[e]
                    x1, y1 = quad[(e + 1) % 4]
                    cross = (x1 - x0) * (i + 0.5 - y0) - (y1 - y0) * (j + 0.5 - x0)
                    # Shared borders of consecutive quads belong to both: no hairline gaps.
                    positive += cross > 1e-9
                    negative += cross < -1e-9
                if positive == 0 or negative == 0:
                    cells[i, j] = _ROAD


@drawing()
def _paint_line(
    cells: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
    stations: npt.NDArray[np.float64],
    half_widths: npt.NDArray[np.float64],
    colours: npt.NDArray[np.uint8],
    dash: float,
    cell: tuple[float, float],
) -> None:
    """Paint pieces of a line (metres from the first cell's corner) that fall on its dashes."""
    rows, columns = cells.shape
    for k in range(len(starts)):
        (x0, y0), (x1, y1), half = starts[k], ends[k], half_widths[k]
        length = np.hypot(x1 - x0, y1 - y0)
        if length == 0.0:
            continue
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        top = max(0, int((min(y0, y1) - half) / cell[1]) - 1)
        bottom = min(rows - 1, int((max(y0, y1) + half) / cell[1]) + 1)
        left = max(0, int((min(x0, x1) - half) / cell[0]) - 1)
        right = min(columns - 1, int((max(x0, x1) + half) / cell[0]) + 1)
        for i in range(top, bottom + 1):
            for j in range(left, right + 1):
                dx, dy = (j + 0.5) * cell[0] - x0, (i + 0.5) * cell[1] - y0
                along = dx * ux + dy * uy
                if along < 0.0 or along > length or abs(dy * ux - dx * uy) > half:
                    continue
                if (stations[k] + along) % DASH_PERIOD < dash and cells[i, j] != _EDGE:
                    cells[i, j] = colours[k]


@drawing()
def _filter(
    cells: npt.NDArray[np.uint8],
    window: int,
    repeats: bool,
    colours: npt.NDArray[np.float32],
) -> npt.NDArray[np.uint8]:
    """Average colours over ``window`` x ``window`` cells (one pixel) around every texel."""
    rows, columns = cells.shape
    texels = np.empty((rows // 2, columns // 2, 3), np.uint8)
    before, after = 1 - window // 2, 1 + window // 2  # symmetric around the texel's two cells
    for i in range(rows // 2):
        for j in range(columns // 2):
            red = green = blue = np.float32(0.0)
            for di in range(before, after):
                row = min(max(2 * i + di, 0), rows - 1)
                for dj in range(before, after):
                    column = 2 * j + dj
                    if repeats:
                        column %= columns
                    else:
                        column = min(max(column, 0), columns - 1)
                    colour = colours[cells[row, column]]
                    red += colour[0]
                    green += colour[1]
                    blue += colour[2]
            count = np.float32(window * window)
            texels[i, j, 0] = np.uint8(red / count + np.float32(0.5))
            texels[i, j, 1] = np.uint8(green / count + np.float32(0.5))
            texels[i, j, 2] = np.uint8(blue / count + np.float32(0.5))
    return texels
