"""Stored scenes that are damaged or of other roads are refused: compiled code trusts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from malformed import refused
from test_render import straight_road

from vlsafe_envs import SceneRenderer
from vlsafe_envs.render import Rasteriser


def packed(**changes: float) -> Any:
    """Two vehicles."""
    scene = np.zeros((48, 7), np.float32)
    scene[:2] = (0.0, 4.0, 0.0, 20.0, 5.0, 2.0, 1.0)
    scene[1, 0] = 20.0
    for place, value in changes.items():
        row, column = place.removeprefix("at_").split("_")
        scene[int(row), int(column)] = value
    return scene


@pytest.fixture(scope="module")
def renderer() -> SceneRenderer:
    return SceneRenderer("VLSafe-Highway-v0")


@pytest.mark.parametrize(
    ("scene", "name"),
    [
        (packed()[:40], "shape (40, 7)"),
        (packed()[:, :6], "shape (48, 6)"),
        (packed().ravel(), "shape (336,)"),
        (None, "shape ()"),
        ("scene", "shape ()"),
        ([], "shape (0,)"),
        (packed().astype(str), "type"),
        (packed().astype(object), "type object"),
        (packed().astype(bool), "type bool"),
        (packed().astype(complex), "type complex128"),
        (packed(at_0_0=np.nan), "not finite"),
        (packed(at_1_2=np.inf), "not finite"),
        (packed(at_1_4=np.nan), "not finite"),
        (packed(at_40_0=-np.inf), "not finite"),
        (packed(at_0_6=0, at_1_6=0), ""),
        (np.zeros((48, 7), np.float32), ""),
    ],
)
def test_damaged_scenes_are_refused(renderer: SceneRenderer, scene: Any, name: str) -> None:
    for draw in (renderer.frame, renderer.image):
        refused(lambda draw=draw: draw(scene), "packed scene", name)
    many = scene[None] if isinstance(scene, np.ndarray) else scene
    for draw in (renderer.frames, renderer.images):
        refused(lambda draw=draw: draw(many), "packed scene")


@pytest.mark.parametrize("place", ["at_0_0", "at_1_0", "at_1_2", "at_1_3", "at_1_4", "at_40_1"])
@pytest.mark.parametrize("value", [1e30, -1e30, 1e6, -1e6])
def test_absurd_numbers_draw_something_and_end(
    renderer: SceneRenderer, place: str, value: float
) -> None:
    scene = packed(**{place: value, "at_40_6": 0.0})
    assert renderer.image(scene).shape == (64, 64, 3)
    assert renderer.images(scene[None]).shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    ("env_id", "options", "name"),
    [
        ("CartPole-v1", {}, "env_id='CartPole-v1'"),
        ("os.path:VLSafe-Highway-v0", {}, "env_id="),
        ("antigravity:Id-v0", {}, "env_id="),
        (None, {}, "env_id=None"),
        (3, {}, "env_id=3"),
        (["VLSafe-Highway-v0"], {}, "env_id="),
        ("VLSafe-MetaDrive-v0", {}, "every map of MetaDrive"),
        ("VLSafe-Highway-v0", {"lanes": "3"}, "lanes='3'"),
        ("VLSafe-Highway-v0", {"lanes": 3.0}, "lanes=3.0"),
        ("VLSafe-Highway-v0", {"lanes": 10**9}, "lanes="),
        ("VLSafe-Highway-v0", {"density": float("nan")}, "density=nan"),
        ("VLSafe-Highway-v0", {"colour": 3}, "unknown option 'colour'=3"),
        ("VLSafe-Merge-v0", {"lanes": 3}, "only the highway"),
        ("VLSafe-LeftTurn-v0", {"lanes": 3}, "unknown option 'lanes'"),
    ],
)
def test_renderers_take_what_the_environment_would(
    env_id: Any, options: dict[str, Any], name: str
) -> None:
    refused(lambda: SceneRenderer(env_id, **options), name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("size", value) for value in ("64", 7, 0, -1, 64.0, None, True, 10**9)],
        *[("metres", value) for value in ("64", 0, -1, float("nan"), float("inf"), None)],
        *[("ego_row_fraction", value) for value in ("x", -0.1, 1.1, float("nan"), None)],
    ],
)
def test_rasterisers_check_their_sizes(name: str, value: Any) -> None:
    refused(lambda: Rasteriser(straight_road(), **{"size": 64, name: value}), f"{name}=")
