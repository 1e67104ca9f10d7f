"""Frames of many scenes on one road, drawn by all threads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlsafe_envs.render.compiling import drawing
from vlsafe_envs.render.rasteriser import Rasteriser, draw_scene
from vlsafe_envs.threads import share_out

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]


def draw_many(
    rasteriser: Rasteriser, columns: Array, totals: Integers, routes: Array, points: Integers
) -> Frames:
    """Frames ``(N, size, size, 3)`` of N scenes, the same as of ``Rasteriser.draw`` one by one.

    Args:
        rasteriser: holds the road, the frames' size and their style.
        columns: see ``Scene.columns``, ``(N, 6, rows)``.
        totals: road users in each scene, ``(N,)``; further entries of the columns are not read.
        routes: points of the ways ahead [m], ``(N, K, 2)``.
        points: how many of them each scene has, ``(N,)``.

    Raises:
        ValueError: when an ego vehicle's pose is not finite.
    """
    poses = columns[:, :3, 0]
    if not np.isfinite(poses).all():
        raise ValueError(f"ego poses are not all finite: {poses}")
    frames = np.empty((len(columns), rasteriser.size, rasteriser.size, 3), np.uint8)

    def work(first: int, last: int) -> None:
        part = slice(first, last)
        scenes = (columns[part], totals[part], routes[part], points[part])
        _draw_scenes(*rasteriser.ground, *scenes, *rasteriser.style, frames[part])

    share_out(work, len(columns))
    return frames


@drawing(nogil=True)
def _draw_scenes(
    texels: Frames,
    placing: Array,
    columns: Array,
    totals: Integers,
    routes: Array,
    points: Integers,
    pixel: float,
    ego_row: float,
    colours: Array,
    trails: bool,
    out: Frames,
) -> None:
    for n in range(len(columns)):
        route = routes[n, : points[n]]
        draw_scene(
            texels,
            placing,
            columns[n],
            totals[n],
            route,
            pixel,
            ego_row,
            colours,
            trails,
            out[n],
        )
