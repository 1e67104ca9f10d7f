"""A cache of scores by scene holds only as long as scenes are drawn the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vlsafe_envs import SceneRenderer, make_env
from vlsafe_envs.render import Rasteriser, fingerprint
from vlsafe_envs.scene import drawing_of_packed

HERE = Path(__file__).parent


def renderers() -> dict[str, SceneRenderer]:
    names = ("Highway", "Merge", "Roundabout", "Intersection")
    found = {name: SceneRenderer(f"VLSafe-{name}-v0") for name in names}
    found["three lanes"] = SceneRenderer("VLSafe-Highway-v0", lanes=3)
    return found


def test_roads_that_look_different_have_different_identities() -> None:
    identities = [renderer.identity for renderer in renderers().values()]
    assert len({identity["drawing"] for identity in identities}) == len(identities)
    assert [renderer.identity for renderer in renderers().values()] == identities


def test_what_does_not_shape_the_road_does_not_change_the_identity() -> None:
    plain = SceneRenderer("VLSafe-Highway-v0").identity
    assert SceneRenderer("vlsafe_envs:VLSafe-Highway-v0", density=2.0).identity == plain


# Compiled code holds constants fixed, so each is changed in plain Python, at a small size.
CHANGES = """
import sys, types
import numba
def not_compiled(*functions, **options):
    for function in functions:
        function.stats = types.SimpleNamespace(cache_path="nowhere")
    return functions[0] if functions else not_compiled
numba.njit = not_compiled
sys.path.insert(0, sys.argv[1])
from test_render import straight_road
from vlsafe_envs.render import rasteriser, texture, fingerprint
road = straight_road(90.0, lanes=2)
def now(trails):
    return fingerprint(rasteriser.Rasteriser(road, 20, metres=32.0, trails=trails))
plain = {trails: now(trails) for trails in (False, True)}
assert plain == {trails: now(trails) for trails in (False, True)}
changes = [
    (rasteriser, "TAIL_SECONDS", 0.5, False), (rasteriser, "TAIL_WIDTH", 0.8, False),
    (rasteriser, "TRAIL_SECONDS", 0.5, True), (rasteriser, "TRAIL_WIDTH", 0.7, True),
    (rasteriser, "TRAIL_COVER", (0.6, 0.2), True), (rasteriser, "ROUTE_WIDTH", 1.4, True),
    (texture, "MARK_WIDTH", 3.0, True), (texture, "EDGE_WIDTH", 3.0, True),
    (texture, "DASH_LENGTH", 4.5, True),
]
for row in range(len(rasteriser._COLOURS)):
    changed = rasteriser._COLOURS.copy()
    changed[row, 1] += 4.0
    changes.append((rasteriser, "_COLOURS", changed, row < 6))
for module, name, value, trails in changes:
    before = getattr(module, name)
    setattr(module, name, value)
    if module is texture:
        texture.road_texture.cache_clear()
    assert now(trails) != plain[trails], name
    setattr(module, name, before)
texture.road_texture.cache_clear()
assert now(True) == plain[True]
"""


def test_every_change_of_the_drawing_changes_the_fingerprint() -> None:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CHANGES, str(HERE)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_size_place_and_style_count() -> None:
    from test_render import straight_road

    road = straight_road()
    rasterisers = [
        Rasteriser(road, 64),
        Rasteriser(road, 65),
        Rasteriser(road, 64, metres=65.0),
        Rasteriser(road, 64, ego_row_fraction=0.7),
        Rasteriser(road, 64, trails=True),
        Rasteriser(straight_road(lanes=2), 64),
    ]
    assert len({fingerprint(rasteriser) for rasteriser in rasterisers}) == len(rasterisers)


@pytest.mark.parametrize("scenario", ["Highway", "Roundabout"])
def test_frames_drawn_together_are_those_drawn_one_by_one(scenario: str) -> None:
    env = make_env(scenario.lower(), scorer=None, scene_in_info=True)
    scenes = [env.reset(seed=seed)[1]["scene"] for seed in range(6)]
    scenes += [env.step(1)[4]["scene"] for _ in range(3)]
    renderer = SceneRenderer(f"VLSafe-{scenario}-v0")
    frames = renderer.frames(np.stack(scenes))
    for scene, frame in zip(scenes, frames, strict=True):
        np.testing.assert_array_equal(frame, renderer.frame(scene))


def test_scenes_packed_in_another_way_are_refused() -> None:
    packed = np.zeros((2, 48, 7), np.float32)
    packed[:, 0, 6] = 1.0
    assert drawing_of_packed(packed)[1].tolist() == [1, 1]
    packed[1, 5, 6] = 1.0  # a gap before it
    with pytest.raises(ValueError, match="packed scene 1"):
        drawing_of_packed(packed)
    with pytest.raises(ValueError, match=r"expected \(N, 48, 7\)"):
        drawing_of_packed(packed[:, :40])
