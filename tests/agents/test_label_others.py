"""Frames of data sets that were not written by `vlsafe collect` are scored, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from minari_sets import write
from test_cli_others import run

from vlsafe_agents.data import EpisodeDataset

IMAGE = spaces.Box(0, 255, (40, 40, 3), np.uint8)
SCORER = ("--scorer", "other_worlds:brightness")


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize(
    "space",
    [IMAGE, spaces.Dict({"camera": IMAGE, "speed": spaces.Box(-9, 9, (2,), np.float32)})],
    ids=["bare", "named"],
)
def test_stored_images_of_any_name_are_scored(
    tmp_path: Path, space: spaces.Space[Any], jpeg: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = write(tmp_path, space, infos=None, jpeg=jpeg)
    assert run("label", str(path), *SCORER, "--cache", str(tmp_path / "cache")) == 0
    data = EpisodeDataset.from_minari(path)
    assert data.cost_mode == "vlm"
    for episode in data.episodes:
        name = "image" if space is IMAGE else "camera"
        expected = episode.obs[name].mean((1, 2, 3)) / 255
        np.testing.assert_allclose(episode.safety_score, expected, rtol=1e-5)
    capsys.readouterr()
    assert run("label", str(path), *SCORER, "--cache", str(tmp_path / "cache"), "--dry-run") == 0


def test_one_of_several_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = write(tmp_path, spaces.Dict({"left": IMAGE, "right": IMAGE}))
    label = ("label", str(path), *SCORER, "--cache", str(tmp_path / "cache"))
    assert run(*label) == 2
    assert "2 RGB images to choose from" in capsys.readouterr().err
    assert run(*label, "--image", "middle") == 2
    assert "no image 'middle'" in capsys.readouterr().err
    assert run(*label, "--image", "right") == 0
    episode = EpisodeDataset.from_minari(path).episodes[0]
    expected = episode.obs["right"].mean((1, 2, 3)) / 255
    np.testing.assert_allclose(episode.safety_score, expected, rtol=1e-5)
