"""Random shifts move whole sequences and lose nothing but what leaves the view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from vlsafe_agents.vlsafe.augmentation import random_shift
from vlsafe_agents.vlsafe.batch import IMAGE
from vlsafe_agents.vlsafe.config import ImageConfig, WorldModelConfig
from vlsafe_agents.vlsafe.observation import ObservationModel


def dot_images() -> torch.Tensor:
    """``(B, T, H, W, C)``: one bright pixel that moves by one column a step."""
    images = torch.zeros(16, 3, 16, 20, 3, dtype=torch.uint8)
    for t in range(3):
        images[:, t, 8, 10 + t] = 255
    return images


def test_a_sequence_moves_as_one_and_each_by_another_amount() -> None:
    torch.manual_seed(0)
    shifted = random_shift(dot_images(), 4)
    places = (shifted[..., 0] == 255).nonzero()  # (B * T, 4): sequence, time, row, column
    assert len(places) == 16 * 3
    down = (places[:, 2] - 8).view(16, 3)
    right = (places[:, 3] - 10 - places[:, 1]).view(16, 3)
    assert (down == down[:, :1]).all()
    assert (right == right[:, :1]).all()
    assert down.abs().max() == right.abs().max() == 4
    assert len({(int(d), int(r)) for d, r in zip(down[:, 0], right[:, 0], strict=True)}) > 8


def test_the_border_is_repeated_where_nothing_is_known() -> None:
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4, 1).repeat(64, 1, 1, 1, 1)
    rows, columns = torch.arange(4), torch.arange(4)
    expected = set()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            taken = images[0, 0, (rows - down).clamp(0, 3)][:, (columns - right).clamp(0, 3)]
            expected.add(tuple(taken.flatten().tolist()))
    found = {tuple(image.flatten().tolist()) for image in random_shift(images, 1)}
    assert found == expected


def test_no_shift_changes_nothing_and_too_large_ones_are_refused() -> None:
    images = dot_images()
    assert random_shift(images, 0) is images
    for pixels in (-1, 16):
        with pytest.raises(ValueError, match=f"16 x 20 by {pixels} pixels"):
            random_shift(images, pixels)


def test_what_is_shifted_is_what_the_encoder_sees_not_what_the_decoder_is_asked_for() -> None:
    torch.manual_seed(0)
    image = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    config = WorldModelConfig(image=ImageConfig(shift=3))
    model = ObservationModel({IMAGE: image}, 8, config)
    obs = {IMAGE: torch.randint(0, 256, (2, 5, 64, 64, 3), dtype=torch.uint8)}
    inputs = model.prepare(obs)
    seen = model.augment(obs, inputs)
    assert seen.patches is not None
    assert inputs.patches is not None
    assert seen.patches.shape == inputs.patches.shape
    assert not torch.equal(seen.patches, inputs.patches)
    assert torch.equal(model.prepare(obs).patches, inputs.patches)  # acting and targets: as it is
    assert model.eval().augment(obs, inputs) is inputs  # so is what is only judged
    still = ObservationModel({IMAGE: image}, 8, WorldModelConfig())
    assert still.augment(obs, inputs) is inputs
