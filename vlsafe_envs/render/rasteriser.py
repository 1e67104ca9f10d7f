"""Bird's-eye frames: the ego vehicle always in the same place, heading up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlsafe_envs.checks import check_integer, check_number
from vlsafe_envs.render import palette
from vlsafe_envs.render.compiling import drawing
from vlsafe_envs.render.road_shape import RoadShape
from vlsafe_envs.render.texture import road_texture
from vlsafe_envs.scene import Scene

TAIL_SECONDS = 0.4  # a tail is as long as the way driven in this time
TAIL_WIDTH = 0.6  # [m]
TRAIL_SECONDS = 0.45  # as long as the ego vehicle's fits into a frame at 30 m/s
TRAIL_WIDTH = 0.8  # of the vehicle's width
TRAIL_COVER = (0.6, 0.3)  # opacity at the bumper and at the far end
ROUTE_WIDTH = 1.0  # [m]
EGO_ROW_FRACTION = 0.75  # of the height, from the upper edge

# Handed to the compiled code, not compiled into it: its cache does not notice another palette.
_COLOURS = np.array(
    [
        palette.OFF_ROAD,
        palette.ROUTE,
        palette.EGO_TAIL,
        palette.EGO_OUTLINE,
        palette.EGO,
        palette.EGO_WINDSCREEN,
        palette.VEHICLE_TAIL,
        palette.VEHICLE_OUTLINE,
        palette.VEHICLE,
        palette.VEHICLE_WINDSCREEN,
    ],
    np.float64,
)  # (10, 3)
_OFF_ROAD, _ROUTE, _EGO, _VEHICLE = 0, 1, 2, 6  # rows; vehicles: tail, outline, body, windscreen


class Rasteriser:
    """Draws scenes on one road as square RGB frames.

    The ego vehicle's centre lies on the centre of pixel ``[int(ego_row_fraction * size),
    size // 2]`` and its heading points up, so its left is the frame's left.
    A frame is a pure function of road and scene.  What shows speed starts at a vehicle's rear
    bumper and is as long as its way in a fixed time: a thin tail for small frames, or a fading
    trail as wide as the vehicle, like motion blur in a photograph.

    Args:
        road: lanes and lines; drawn once for each scale and shared by all rasterisers.
        size: height and width of a frame [px].
        metres: height and width of the ground in a frame [m].
        ego_row_fraction: 0 puts the ego vehicle at the top edge, 1 at the bottom edge.
        trails: whether speed shows as trails instead of tails.

    Raises:
        ValueError: for sizes that cannot be drawn.
    """

    def __init__(
        self,
        road: RoadShape,
        size: int,
        metres: float = 64.0,
        ego_row_fraction: float = EGO_ROW_FRACTION,
        trails: bool = False,
    ) -> None:
        check_integer("size", size, 8, 4096)
        check_number("metres", metres, 0.1, 10_000.0, "m")
        check_number("ego_row_fraction", ego_row_fraction, 0.0, 1.0)
        self.size = size
        self.pixel = metres / size  # [m]
        self.trails = trails
        self._ego_row = ego_centre(size, ego_row_fraction)[0]  # [px]
        texture = road_texture(road, self.pixel)
        self._texels = texture.texels
        self._map = np.array(
            [*texture.origin, *texture.texel, texture.repeat_from, texture.repeat_to]
        )

    def draw(self, scene: Scene, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """Frame ``(size, size, 3)`` uint8 of a scene; written into ``out`` when given.

        Raises:
            ValueError: when the scene has no vehicle or a non-finite ego pose, or ``out`` has
                another shape or type.
        """
        shape = (self.size, self.size, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"out must be uint8 {shape}, got {out.dtype} {out.shape}")
        if len(scene.position) == 0:
            raise ValueError("a scene needs at least the ego vehicle (row 0), got no vehicle")
        if not np.isfinite(scene.position[0]).all() or not np.isfinite(scene.heading[0]):
            raise ValueError(
                f"ego pose is not finite: position {scene.position[0]}, heading {scene.heading[0]}"
            )
        columns = scene.columns
        route = np.ascontiguousarray(scene.route, np.float64)
        draw_scene(*self.ground, columns, columns.shape[1], route, *self.style, out)
        return out

    @property
    def ground(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """What :func:`draw_scene` needs first: the road's texture, and where it lies."""
        return self._texels, self._map

    @property
    def style(self) -> tuple[float, float, npt.NDArray[np.float64], bool]:
        """What :func:`draw_scene` needs before the frame: scale, place, colours, trails."""
        return self.pixel, self._ego_row, _COLOURS, self.trails


def ego_centre(size: int, row_fraction: float = EGO_ROW_FRACTION) -> tuple[float, float]:
    """Row and column [px] of the ego vehicle's centre, which is a pixel's, in a square frame."""
    return min(int(row_fraction * size), size - 1) + 0.5, size // 2 + 0.5


@drawing()
def draw_scene(
    texels: npt.NDArray[np.uint8],
    placing: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
    total: int,
    route: npt.NDArray[np.float64],
    pixel: float,
    ego_row: float,
    colours: npt.NDArray[np.float64],
    trails: bool,
    out: npt.NDArray[np.uint8],
) -> None:
    """Draw the first ``total`` of ``columns`` (see ``Scene.columns``) into a frame ``out``."""
    size = out.shape[0]
    ego_column = size // 2 + 0.5
    _draw_ground(texels, placing, columns[:3, 0], pixel, ego_row, colours[_OFF_ROAD], out)
    # Everything else is drawn in frame coordinates [px]: column right, row down.
    ego_x, ego_y, heading = columns[0, 0], columns[1, 0], columns[2, 0]
    cos, sin = np.cos(heading), np.sin(heading)
    for k in range(len(route) - 1):
        start = _to_frame(route[k, 0] - ego_x, route[k, 1] - ego_y, cos, sin)
        end = _to_frame(route[k + 1, 0] - ego_x, route[k + 1, 1] - ego_y, cos, sin)
        ahead, right = end[0] - start[0], end[1] - start[1]
        length = np.hypot(ahead, right)
        if length > 0.0:
            middle_row = ego_row - (start[0] + end[0]) / 2 / pixel
            middle_column = ego_column + (start[1] + end[1]) / 2 / pixel
            _draw_box(
                out,
                middle_row,
                middle_column,
                ahead / length,
                right / length,
                (length + 0.5 * ROUTE_WIDTH) / 2 / pixel,
                ROUTE_WIDTH / 2 / pixel,
                colours[_ROUTE],
            )
    reach = 2.0 * size * pixel + 40.0  # [m], nothing farther away can be seen
    for layer in range(2):  # all tails and trails lie below all vehicles
        for k in range(total - 1, -1, -1):  # the ego vehicle last
            x, y, theta = columns[0, k], columns[1, k], columns[2, k]
            speed, length, width = columns[3, k], columns[4, k], columns[5, k]
            if not (abs(x - ego_x) < reach and abs(y - ego_y) < reach):
                continue
            ahead, right = _to_frame(x - ego_x, y - ego_y, cos, sin)
            up, side = np.cos(theta - heading), np.sin(theta - heading)
            row, column = ego_row - ahead / pixel, ego_column + right / pixel
            own = colours[_EGO : _EGO + 4] if k == 0 else colours[_VEHICLE : _VEHICLE + 4]
            half_length, half_width = length / 2 / pixel, width / 2 / pixel
            if layer == 0 and trails:
                _draw_trail(out, row, column, up, side, half_length, half_width, speed / pixel, own)
            elif layer == 0:
                _draw_tail(out, row, column, up, side, half_length, speed / pixel, pixel, own)
            else:
                _draw_vehicle(out, row, column, up, side, half_length, half_width, pixel, own)


@drawing()
def _draw_ground(
    texels: npt.NDArray[np.uint8],
    placing: npt.NDArray[np.float64],
    ego: npt.NDArray[np.float64],
    pixel: float,
    ego_row: float,
    off_road: npt.NDArray[np.float64],
    out: npt.NDArray[np.uint8],
) -> None:
    """Fill the frame by bilinear samples of the road's texture, turned to the ego's heading."""
    size = out.shape[0]
    rows, columns = texels.shape[0], texels.shape[1]
    origin_x, origin_y, texel_x, texel_y, repeat_from, repeat_to = placing
    repeats = repeat_to > repeat_from
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    per_x, per_y = 1.0 / texel_x, 1.0 / texel_y
    for i in range(size):
        ahead = (ego_row - (i + 0.5)) * pixel
        for j in range(size):
            right = (j - size // 2) * pixel
            x = ego[0] + ahead * cos - right * sin
            y = ego[1] + ahead * sin + right * cos
            u, v = (x - origin_x) * per_x, (y - origin_y) * per_y
            row = int(np.floor(v))
            column = int(np.floor(u))
            on_map = 0 <= row < rows - 1
            if repeats:
                on_map = on_map and repeat_from - pixel < x < repeat_to + pixel
            else:
                on_map = on_map and 0 <= column < columns - 1
            if not on_map:
                for c in range(3):
                    out[i, j, c] = np.uint8(off_road[c])
                continue
            fu, fv = u - column, v - row
            next_column = column + 1
            if repeats:
                column %= columns
                next_column = column + 1 if column + 1 < columns else 0
            if texels[row, column, 3]:  # all four are of one colour
                for c in range(3):
                    out[i, j, c] = texels[row, column, c]
            else:
                a, b = (1.0 - fv) * (1.0 - fu), (1.0 - fv) * fu
                d, e = fv * (1.0 - fu), fv * fu
                for c in range(3):
                    value = a * texels[row, column, c] + b * texels[row, next_column, c]
                    value += d * texels[row + 1, column, c] + e * texels[row + 1, next_column, c]
                    out[i, j, c] = np.uint8(value + 0.5)
            if repeats and (x < repeat_from + pixel or x > repeat_to - pixel):
                covered = min(x - repeat_from, repeat_to - x) / pixel + 0.5
                _blend(out, i, j, off_road, 1.0 - min(max(covered, 0.0), 1.0))


@drawing(inline="always")
def _to_frame(dx: float, dy: float, cos: float, sin: float) -> tuple[float, float]:
    """World offset [m] to distances ahead of and right of the ego vehicle [m]."""
    return dx * cos + dy * sin, dy * cos - dx * sin


@drawing()
def _draw_tail(
    out: npt.NDArray[np.uint8],
    row: float,
    column: float,
    up: float,
    side: float,
    half_length: float,
    speed: float,
    pixel: float,
    colours: npt.NDArray[np.float64],
) -> None:
    half = abs(speed) * TAIL_SECONDS / 2
    if half * pixel < 0.05:
        return
    back = (half_length + half) * (1.0 if speed > 0 else -1.0)  # reversing drags it in front
    _draw_box(
        out,
        row + back * up,
        column - back * side,
        up,
        side,
        half,
        TAIL_WIDTH / 2 / pixel,
        colours[0],
    )


@drawing()
def _draw_trail(
    out: npt.NDArray[np.uint8],
    row: float,
    column: float,
    up: float,
    side: float,
    half_length: float,
    half_width: float,
    speed: float,
    colours: npt.NDArray[np.float64],
) -> None:
    half = abs(speed) * TRAIL_SECONDS / 2
    if half < 0.05:
        return
    sign = 1.0 if speed > 0 else -1.0  # reversing drags it in front
    back = (half_length + half) * sign
    row, column = row + back * up, column - back * side
    # Most opaque at the bumper, where "along" is +half * sign.
    near, far = TRAIL_COVER
    middle, slope = (near + far) / 2, (near - far) / (2 * half) * sign
    _fade_box(out, row, column, up, side, half, TRAIL_WIDTH * half_width, colours[2], middle, slope)


@drawing()
def _draw_vehicle(
    out: npt.NDArray[np.uint8],
    row: float,
    column: float,
    up: float,
    side: float,
    half_length: float,
    half_width: float,
    pixel: float,
    colours: npt.NDArray[np.float64],
) -> None:
    """Dark outline, body, and a light windscreen in the front half that shows the heading."""
    rim = 0.13 / pixel
    _draw_box(out, row, column, up, side, half_length, half_width, colours[1])
    _draw_box(out, row, column, up, side, half_length - rim, half_width - rim, colours[2])
    screen = 0.36 * half_length  # ahead of the centre
    _draw_box(
        out,
        row - screen * up,
        column + screen * side,
        up,
        side,
        max(0.16 * half_length, 0.4),
        0.72 * half_width,
        colours[3],
    )


@drawing()
def _draw_box(
    out: npt.NDArray[np.uint8],
    row: float,
    column: float,
    up: float,
    side: float,
    half_length: float,
    half_width: float,
    colour: npt.NDArray[np.float64],
) -> None:
    """Blend a rectangle [px] that points along (up, side), by its coverage of every pixel."""
    _fade_box(out, row, column, up, side, half_length, half_width, colour, 1.0, 0.0)


@drawing()
def _fade_box(
    out: npt.NDArray[np.uint8],
    row: float,
    column: float,
    up: float,
    side: float,
    half_length: float,
    half_width: float,
    colour: npt.NDArray[np.float64],
    middle: float,
    slope: float,
) -> None:
    """The same with an opacity of ``middle`` at the centre that grows by ``slope`` a pixel."""
    size = out.shape[0]
    tall = half_length * abs(up) + half_width * abs(side) + 1.0
    wide = half_length * abs(side) + half_width * abs(up) + 1.0
    top, bottom = max(0, int(np.floor(row - tall))), min(size, int(np.ceil(row + tall)))
    left, right = max(0, int(np.floor(column - wide))), min(size, int(np.ceil(column + wide)))
    for i in range(top, bottom):
        for j in range(left, right):
            dy, dx = row - (i + 0.5), j + 0.5 - column
            along, across = dy * up + dx * side, abs(dx * up - dy * side)
            cover = _overlap(abs(along), half_length) * _overlap(across, half_width)
            if cover > 0.0:
                opacity = middle + slope * min(max(along, -half_length), half_length)
                _blend(out, i, j, colour, cover * opacity)


@drawing(inline="always")
def _overlap(distance: float, half: float) -> float:
    """Length that a unit interval around ``distance`` shares with [-half, half]."""
    return max(0.0, min(distance + 0.5, half) - max(distance - 0.5, -half))


@drawing(inline="always")
def _blend(
    out: npt.NDArray[np.uint8],
    i: int,
    j: int,
    colour: npt.NDArray[np.float64],
    cover: float,
) -> None:
    for c in range(3):
        out[i, j, c] = np.uint8(out[i, j, c] * (1.0 - cover) + colour[c] * cover + 0.5)
