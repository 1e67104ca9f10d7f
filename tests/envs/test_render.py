"""Frames: places, colours, sides, and that a frame depends on road and scene alone."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import highway_env  # noqa: F401  (registers its ids)
import numpy as np
import pytest
from PIL import Image

from vlsafe_envs.render import LaneShape, Line, Rasteriser, RoadShape, palette
from vlsafe_envs.render.rasteriser import TRAIL_SECONDS
from vlsafe_envs.render.texture import DASH_PERIOD
from vlsafe_envs.scene import Scene

GOLDEN = Path(__file__).parent / "golden"
LANES = 3


def straight_road(length: float = 200.0, lanes: int = LANES, turn: float = 0.0) -> RoadShape:
    """Lanes 4 m wide along +x, their centres at y = 0, 4, 8 m, then turned about the origin."""
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, sin], [-sin, cos]])
    station = np.array([0.0, length])
    shapes = []
    for k in range(lanes):
        left = np.array([[0.0, 4.0 * k - 2], [length, 4.0 * k - 2]]) @ rotation
        right = np.array([[0.0, 4.0 * k + 2], [length, 4.0 * k + 2]]) @ rotation
        left_line = Line.CONTINUOUS_LINE if k == 0 else Line.STRIPED
        right_line = Line.CONTINUOUS_LINE if k == lanes - 1 else Line.NONE
        shapes.append(LaneShape(left, right, station, left_line, right_line))
    return RoadShape(tuple(shapes))


def scene_of(*vehicles: tuple[float, float, float, float], turn: float = 0.0) -> Scene:
    """Scene of vehicles (x, y, heading, speed), all 5 x 2 m, turned about the origin."""
    rows = np.array(vehicles)
    cos, sin = np.cos(turn), np.sin(turn)
    return Scene(
        position=rows[:, :2] @ np.array([[cos, sin], [-sin, cos]]),
        heading=rows[:, 2] + turn,
        speed=rows[:, 3],
        length=np.full(len(rows), 5.0),
        width=np.full(len(rows), 2.0),
    )


def busy_scene(turn: float = 0.0) -> Scene:
    return scene_of(
        (100.0, 4.0, 0.0, 20.0),
        (112.0, 4.0, 0.0, 15.0),
        (108.0, 0.6, 0.2, 25.0),
        (104.0, 8.0, 0.0, 0.0),
        turn=turn,
    )


def greenest(frame: np.ndarray) -> np.ndarray:
    """(row, column) centre of the pixels that look like another vehicle's body."""
    red, green, blue = (frame[..., c].astype(int) for c in range(3))
    return np.argwhere((green > 140) & (green - red > 80) & (green - blue > 60)).mean(0)


@pytest.fixture(scope="module")
def small() -> Rasteriser:
    return Rasteriser(straight_road(), 64)


def test_ego_is_red_at_row_48_column_32_whatever_its_place(small: Rasteriser) -> None:
    for x, y, heading in ((100.0, 4.0, 0.0), (57.3, 1.2, 1.1), (500.0, -300.0, -2.0)):
        assert tuple(small.draw(scene_of((x, y, heading, 10.0)))[48, 32]) == palette.EGO


def test_each_ground_colour_stands_where_the_road_says(small: Rasteriser) -> None:
    frame = small.draw(scene_of((100.0, 4.0, 0.0, 0.0)))
    assert tuple(frame[10, 2]) == palette.OFF_ROAD
    assert tuple(frame[10, 32]) == palette.ROAD
    for column in (26, 38):  # edges lie 6 m to both sides
        np.testing.assert_allclose(frame[10, column], palette.ROAD_EDGE, atol=40)
    marks = frame[:, 30, 2].astype(int)  # 2 m to the left: dashes and gaps
    assert marks.max() > 180
    assert marks.min() < 80


@pytest.mark.parametrize("size", [64, 224])
def test_vehicle_ten_metres_ahead_appears_ten_metres_above(size: int) -> None:
    frame = Rasteriser(straight_road(), size).draw(
        scene_of((100.0, 4.0, 0.0, 0.0), (110.0, 4.0, 0.0, 0.0))
    )
    row, column = greenest(frame)
    scale = size / 64
    assert row == pytest.approx(int(0.75 * size) - 10 * scale, abs=0.8 * scale)
    assert column == pytest.approx(size // 2, abs=0.6)


def test_drivers_left_is_left_in_the_frame(small: Rasteriser) -> None:
    # y points down in the world: heading +x, the left lane has the smaller y.
    _, left = greenest(small.draw(scene_of((100.0, 4.0, 0.0, 0.0), (110.0, 0.0, 0.0, 0.0))))
    _, right = greenest(small.draw(scene_of((100.0, 4.0, 0.0, 0.0), (110.0, 8.0, 0.0, 0.0))))
    assert left == pytest.approx(28, abs=0.6)
    assert right == pytest.approx(36, abs=0.6)


@pytest.mark.parametrize("turn", [np.pi / 2, np.pi, 0.7])
def test_turning_road_and_vehicles_together_changes_next_to_nothing(turn: float) -> None:
    upright = Rasteriser(straight_road(), 64).draw(busy_scene()).astype(int)
    turned = Rasteriser(straight_road(turn=turn), 64).draw(busy_scene(turn)).astype(int)
    assert np.abs(upright - turned).mean() < 1.0


def test_tail_grows_with_speed_and_lies_behind(small: Rasteriser) -> None:
    standing = small.draw(scene_of((100.0, 4.0, 0.0, 0.0))).astype(int)
    for speed in (10.0, 30.0):
        moving = small.draw(scene_of((100.0, 4.0, 0.0, speed))).astype(int)
        changed = np.argwhere(np.abs(moving - standing).sum(-1) > 30)
        assert set(changed[:, 1]) == {32}
        first, last = changed[:, 0].min(), changed[:, 0].max()
        assert 50 <= first <= 51  # the bumper lies 2.5 m behind the centre of row 48
        assert last == pytest.approx(min(50.5 + 0.4 * speed, 63), abs=1)


@pytest.mark.parametrize("speed", [8.0, 16.0, 29.0])
def test_trail_is_as_long_as_the_way_driven_and_fades_from_the_bumper(speed: float) -> None:
    large = Rasteriser(straight_road(), 224, trails=True)
    standing = large.draw(scene_of((100.0, 4.0, 0.0, 0.0))).astype(int)
    moving = large.draw(scene_of((100.0, 4.0, 0.0, speed))).astype(int)
    redder = (moving - standing)[:, 112, 0]
    rows = np.flatnonzero(redder > 20)
    assert rows.min() == pytest.approx(168 + 2.5 * 3.5, abs=1)  # the bumper, 2.5 m behind
    assert rows.max() - rows.min() == pytest.approx(TRAIL_SECONDS * speed * 3.5, abs=2)
    assert redder[rows[1]] > redder[rows[-2]] + 20
    changed = np.flatnonzero((np.abs(moving - standing).sum(-1) > 60).any(0))
    assert np.ptp(changed) + 1 == pytest.approx(0.8 * 2.0 * 3.5, abs=1.5)


def test_trail_of_a_vehicle_that_reverses_lies_before_it() -> None:
    large = Rasteriser(straight_road(), 224, trails=True)
    standing = large.draw(scene_of((100.0, 4.0, 0.0, 0.0))).astype(int)
    moving = large.draw(scene_of((100.0, 4.0, 0.0, -6.0))).astype(int)
    rows = np.flatnonzero((moving - standing)[:, 112, 0] > 20)
    assert rows.max() < 168 - 2.5 * 3.5 + 1
    redder = (moving - standing)[rows, 112, 0]
    assert redder[-2] > redder[1] + 20  # most opaque at the bumper


def test_the_scorers_frame_has_trails_and_the_agents_image_tails() -> None:
    env = gymnasium.make("vlsafe_envs:VLSafe-Highway-v0", scorer=None)
    image, _ = env.reset(seed=1)
    trail = env.unwrapped.safety_frame()[184, 106:119].astype(int)  # 4.5 m behind the centre
    tail = image[52, 29:36].astype(int)
    assert (trail[:, 0] - trail[:, 2] > 40).sum() >= 5  # 1.6 m are 5.6 px
    assert 1 <= (tail[:, 0] - tail[:, 2] > 20).sum() <= 2  # 0.6 m are 0.6 px
    env.close()


def test_frame_shows_which_way_a_standing_vehicle_faces(small: Rasteriser) -> None:
    forward = small.draw(scene_of((100.0, 4.0, 0.0, 0.0), (120.0, 4.0, 0.0, 0.0)))
    oncoming = small.draw(scene_of((100.0, 4.0, 0.0, 0.0), (120.0, 4.0, np.pi, 0.0)))
    brightness = [f[26:31, 32].astype(int).sum(-1) for f in (forward, oncoming)]
    assert np.argmax(brightness[0]) < 2
    assert np.argmax(brightness[1]) > 2


def test_route_is_blue_below_the_vehicles_and_absent_without_points(small: Rasteriser) -> None:
    bare = scene_of((100.0, 4.0, 0.0, 0.0), (120.0, 4.0, 0.0, 0.0))
    route = np.array([[95.0, 4.0], [130.0, 4.0], [140.0, 0.0]])
    routed = Scene(bare.position, bare.heading, bare.speed, bare.length, bare.width, route)
    frame, plain = small.draw(routed), small.draw(bare)
    np.testing.assert_allclose(frame[38, 32], palette.ROUTE, atol=12)
    assert tuple(frame[48, 32]) == palette.EGO
    np.testing.assert_array_equal(frame[28, 32], plain[28, 32])  # a vehicle covers it
    assert not (plain[..., 2].astype(int) - plain[..., 0] > 100).any()


def test_same_scene_gives_the_same_bytes_also_into_a_used_buffer(small: Rasteriser) -> None:
    first = small.draw(busy_scene())
    used = np.full_like(first, 77)
    small.draw(scene_of((3.0, 9.0, 1.0, 5.0)), used)
    assert small.draw(busy_scene(), used) is used
    assert used.tobytes() == first.tobytes()
    again = Rasteriser(straight_road(), 64).draw(busy_scene())
    assert again.tobytes() == first.tobytes()


def test_packed_scene_gives_nearly_the_same_frame(small: Rasteriser) -> None:
    restored = Scene.unpack(busy_scene().pack())
    difference = small.draw(restored).astype(int) - small.draw(busy_scene())
    assert np.abs(difference).max() <= 1


def test_long_straight_road_repeats_and_looks_like_a_short_one() -> None:
    long = straight_road(10_000.0)
    assert long.repeats
    assert not straight_road().repeats
    assert not straight_road(10_000.0, turn=0.3).repeats
    near = Rasteriser(long, 64).draw(busy_scene())
    short = Rasteriser(straight_road(), 64).draw(busy_scene())
    assert np.abs(near.astype(int) - short).max() <= 2
    periods = 1000 * DASH_PERIOD
    far = busy_scene()
    far.position[:, 0] += periods
    assert np.abs(Rasteriser(long, 64).draw(far).astype(int) - near).max() <= 1


def test_long_straight_road_ends_where_it_ends() -> None:
    rasteriser = Rasteriser(straight_road(10_000.0), 64)
    frame = rasteriser.draw(scene_of((9_980.0, 4.0, 0.0, 0.0)))
    assert tuple(frame[35, 32]) == palette.ROAD  # 13 m ahead
    assert tuple(frame[20, 32]) == palette.OFF_ROAD  # 28 m ahead


@pytest.mark.parametrize("size", [64, 224])
def test_frame_matches_the_stored_golden_picture(size: int) -> None:
    frame = Rasteriser(straight_road(), size, trails=size == 224).draw(busy_scene()).astype(int)
    golden = np.asarray(Image.open(GOLDEN / f"frame_{size}.png")).astype(int)
    difference = np.abs(frame - golden)
    assert difference.max() <= 6
    assert difference.mean() < 0.1


def test_long_road_with_oncoming_lanes_has_an_edge_on_both_sides() -> None:
    lane = straight_road(5_000.0, lanes=1).lanes[0]
    oncoming = LaneShape(
        np.array([[5_000.0, -2.0], [0.0, -2.0]]),
        np.array([[5_000.0, -6.0], [0.0, -6.0]]),
        lane.station,
        Line.STRIPED,
        Line.CONTINUOUS_LINE,
    )
    road = RoadShape((lane, oncoming))
    assert road.repeats
    frame = Rasteriser(road, 64).draw(scene_of((2_500.0, 0.0, 0.0, 0.0)))
    for column in (26, 34):
        np.testing.assert_allclose(frame[10, column], palette.ROAD_EDGE, atol=40)
    assert tuple(frame[10, 28]) == palette.ROAD


@pytest.mark.parametrize("env_id", ["highway-v0", "merge-v1", "roundabout-v1", "intersection-v2"])
def test_roads_of_highway_env_can_be_read_and_drawn(env_id: str) -> None:
    env = gymnasium.make(env_id)
    env.reset(seed=1)
    network = env.unwrapped.road.network
    road = RoadShape.from_network(network)
    assert len(road.lanes) == len(network.lanes_list())
    again = RoadShape.from_network(network)
    assert again == road
    assert hash(again) == hash(road)
    ego = env.unwrapped.vehicle
    frame = Rasteriser(road, 64).draw(scene_of((*ego.position, ego.heading, ego.speed)))
    on_road = np.abs(frame.astype(int) - palette.ROAD).max(-1) <= 2
    assert on_road.mean() > 0.02
    env.close()


def test_impossible_sizes_scenes_and_buffers_are_refused(small: Rasteriser) -> None:
    road = straight_road()
    with pytest.raises(ValueError, match="size"):
        Rasteriser(road, 2)
    with pytest.raises(ValueError, match="metres"):
        Rasteriser(road, 64, metres=0.0)
    with pytest.raises(ValueError, match="ego_row_fraction"):
        Rasteriser(road, 64, ego_row_fraction=1.5)
    with pytest.raises(ValueError, match="out must be"):
        small.draw(busy_scene(), np.zeros((64, 64), np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        small.draw(scene_of((np.nan, 0.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match="at least one lane"):
        RoadShape(())
    with pytest.raises(ValueError, match="too large"):
        Rasteriser(straight_road(9_000.0, turn=0.5), 64)
