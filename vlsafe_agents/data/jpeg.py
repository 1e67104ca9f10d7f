"""Images that Minari has stored as JPEG, its default for uint8 images of 32 pixels and more."""

from __future__ import annotations

import io
import math
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import numpy.typing as npt

from vlsafe_agents.common.border import Array
from vlsafe_agents.data.columns import Column
from vlsafe_agents.data.stored_array import StoredEpisodes


def is_stored_as_jpeg(space: gym.Space[Any], metadata: dict[str, Any]) -> bool:
    """Whether Minari stores observations of this space as JPEG in this data set."""
    from minari.dataset.minari_storage import is_image_space  # minari loads slowly

    return bool(metadata.get("jpeg_encoding", True)) and bool(is_image_space(space))


class JpegColumn(Column):
    """Like :class:`Column`: decoded images of each episode ``(R, ...)``, uint8.

    Args:
        shape: of an image, as its space says.

    Raises:
        ValueError: for an episode without it, with another number of images, or whose column holds
            no bytes.
    """

    def __init__(
        self,
        episodes: StoredEpisodes,
        name: str,
        starts: npt.NDArray[np.int64],
        shape: tuple[int, ...],
    ) -> None:
        self.name, self.starts, self._episodes = name, starts, episodes
        self.shape, self.dtype = (int(starts[-1]), *shape), np.dtype(np.uint8)

    def _part(self, number: int) -> h5py.Dataset:
        part = _bytes_of(self._episodes.group(number), self.name, number)
        rows = int(self.starts[number + 1] - self.starts[number])
        if len(part) != rows:
            raise ValueError(
                f"episode {number}: {self.name} has {len(part)} entries, expected {rows} (one more "
                "than its actions)"
            )
        return part

    @property
    def nbytes(self) -> int:
        """Size of all images when they are decoded."""
        return math.prod(self.shape)

    def array(self, number: int) -> Array:
        """The images of one episode, decoded."""
        part = self._part(number)
        images = np.empty((len(part), *self.shape[1:]), np.uint8)
        for entry, encoded in enumerate(part[()]):
            where = f"episode {number}: {self.name}, entry {entry}"
            images[entry] = decoded(encoded, self.shape[1:], where)
        return images


def _bytes_of(group: h5py.Group, name: str, episode: int) -> h5py.Dataset:
    found = group.get(name)
    what = f"episode {episode}: {name}"
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{what} is missing; record it again, or leave this episode out")
    vlen = h5py.check_vlen_dtype(found.dtype)
    if not (found.ndim == 1 and vlen == np.uint8) and not (
        found.ndim == 2 and found.dtype == np.uint8  # all encoded images are equally long
    ):
        raise ValueError(
            f"{what} is {found.dtype}{found.shape}, no JPEG images as the metadata say; copy or "
            "download the data set again"
        )
    return found


def decoded(encoded: Array, shape: tuple[int, ...], where: str) -> Array:
    """The image of JPEG's bytes.

    Raises:
        ValueError: naming ``where``, for what is none.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded.tobytes()), formats=("JPEG",)) as file:
            if (file.height, file.width) != shape[:2]:  # before memory is taken for it
                size = (file.height, file.width)
                raise ValueError(f"{where} is an image of {size} pixels; its space has {shape}")
            image = np.asarray(file)
    except OSError as error:
        raise ValueError(f"{where} is no JPEG image ({error}); copy the data set again") from error
    if image.shape != shape:
        raise ValueError(f"{where} is an image {image.shape}; its space has {shape}")
    return image
