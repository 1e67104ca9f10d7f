"""Tells whether two rasterisers draw the same: what a cache of frames' scores has to know.

A version number would have to be raised by hand; this looks at what is drawn instead.
"""

from __future__ import annotations

import hashlib

import numpy as np

from vlsafe_envs.render.rasteriser import Rasteriser
from vlsafe_envs.scene import Scene


def fingerprint(rasteriser: Rasteriser) -> str:
    """16 hex digits that change when the road, the colours or the drawing of vehicles do.

    Hashed are the whole prepared road and the frames of a few scenes with everything that is drawn
    on it: routes, and vehicles at many angles, sizes and speeds, reversing ones and overlapping
    ones among them.  Machines whose arithmetic differs in a pixel get different fingerprints.
    """
    digest = hashlib.blake2b(digest_size=8)
    texels, placing = rasteriser.ground
    pixel, ego_row, colours, trails = rasteriser.style
    for array in (texels, placing, colours):
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr((rasteriser.size, pixel, ego_row, trails)).encode())
    end = float(placing[-1])  # of a road that repeats; else 0
    for x, heading in ((60.0, 0.0), (60.0, 0.7), (end - 20.0, -2.2)):
        digest.update(rasteriser.draw(_probe(x, heading)).tobytes())
    return digest.hexdigest()


def _probe(x: float, heading: float) -> Scene:
    """A crowd of 24 vehicles in rings around the ego vehicle."""
    number = np.arange(1.0, 25.0)
    angle, distance = 2.4 * number, 4.0 + 1.3 * number  # [rad], [m]: a sunflower
    around = np.stack((distance * np.cos(angle), distance * np.sin(angle)), 1)  # (24, 2)
    around = np.round(around, 6)  # NumPy's cosines differ in the last bit between processors
    centre = np.array([x, 4.0])
    return Scene(
        position=np.concatenate((centre[None], centre + around)),
        heading=np.concatenate(([heading], 0.9 * number)),
        speed=np.concatenate(([21.0], 3.0 * (number % 12.0) - 6.0)),  # [m/s]
        length=np.concatenate(([5.0], 4.0 + number % 5.0)),
        width=np.concatenate(([2.0], 1.7 + 0.2 * (number % 4.0))),
        route=centre + np.stack((5.0 * number[:6], 0.2 * number[:6] ** 2), 1),
    )
