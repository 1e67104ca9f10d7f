"""The detector of vehicles in pictures: its grid, its geometry, what it learns, its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import vlsafe_envs  # noqa: F401  # registers the ids
from vlsafe_agents.detection import DetectionConfig, Detector, DetectorConfig, View, finds
from vlsafe_agents.detection.figures import matches
from vlsafe_agents.detection.grid import BORDER, least_distances, strongest, targets
from vlsafe_agents.detection.network import along
from vlsafe_agents.detection.training import Pictures, collect_pictures, train_detector
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.render.frames import image_view

SIZE, CELL, MOST = 32, 4, 4  # [px], [px], rows
VIEW = View(metres=0.5, row=24.5, column=16.5)
COLUMNS = 10  # present, place, velocity, heading, one more, two distances
SEEN = spaces.Dict(
    {
        "ego": spaces.Box(-1.0, 1.0, (1,), np.float32),
        "vehicles": spaces.Box(
            np.tile(np.array([0, -50, -50, -50, -50, -1, -1, -50, 0, 0], np.float32), (MOST, 1)),
            np.tile(np.array([1, 50, 50, 50, 50, 1, 1, 50, 99, 99], np.float32), (MOST, 1)),
        ),
    }
)
IMAGE = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
FEW = DetectorConfig(channels=(8, 16), updates=250, batch_size=32, learning_rate=5e-3)


def rows_of(*places: tuple[float, float]) -> torch.Tensor:
    """One set of vehicles, which stand beside the ego vehicle."""
    rows = torch.zeros(1, MOST, COLUMNS)
    for k, place in enumerate(places):
        rows[0, k, 0], rows[0, k, 1:3] = 1.0, torch.tensor(place)
    return rows


def drawn(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Pictures of squares, brighter the faster they are, on a ground that shows ``ego``."""
    rows = np.zeros((count, MOST, COLUMNS), np.float32)
    ego = rng.uniform(-1, 1, (count, 1)).astype(np.float32)
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    images[...] = (60 + 40 * ego[:, None, None]).astype(np.uint8)
    for n in range(count):
        number = rng.integers(MOST + 1)
        cells = rng.choice(16, number, replace=False)  # 8 px squares, one vehicle in each
        for k, cell in enumerate(cells):
            top, left = 8 * (cell // 4) + rng.integers(1, 5), 8 * (cell % 4) + rng.integers(1, 5)
            speed = rng.uniform(0, 4)
            images[n, top : top + 3, left : left + 3] = 130 + 30 * speed
            ahead, right = (VIEW.row - top - 1.5) * 0.5, (left + 1.5 - VIEW.column) * 0.5
            rows[n, k, :8] = 1, ahead, right, speed, 0, 1, 0, 2 * speed
            rows[n, k, 8:] = slow_distances(rows[n, k, 1:3], rows[n, k, 3:5], np.zeros((10, 2)))
        order = np.argsort(np.where(rows[n, :, 0] > 0, np.hypot(*rows[n, :, 1:3].T), np.inf))
        rows[n] = rows[n, order]
    return {"image": images, "ego": ego, "vehicles": rows}


def slow_distances(place: Any, velocity: Any, drift: Any, looks: int = 5) -> list[float]:
    """Least distance in each second, of very many times between looks."""
    knots = np.concatenate([np.zeros((1, 2)), drift])
    found = []
    for second in range(len(drift) // looks):
        time = np.linspace(second, second + 1, 501)
        own = np.stack([np.interp(time * looks, np.arange(len(knots)), k) for k in knots.T], -1)
        other = np.asarray(place) + time[:, None] * np.asarray(velocity)
        found.append(float(np.linalg.norm(other - own, axis=-1).min()))
    return found


@pytest.fixture(scope="module")
def trained() -> Detector:
    return Detector(IMAGE, SEEN, VIEW, 2, FEW).fit(drawn(np.random.default_rng(0), 600))


# --- the grid -------------------------------------------------------------------------------------


def test_places_and_cells() -> None:
    place = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    point = VIEW.to_cells(place, CELL)
    torch.testing.assert_close(point, torch.tensor([[24.5, 16.5], [20.5, 14.5]]) / CELL)
    torch.testing.assert_close(VIEW.to_place(point, CELL), place)


def test_a_vehicle_belongs_to_the_cell_of_its_centre() -> None:
    inside, outside = (2.0, -1.0), (30.0, 0.0)  # cell (5, 3); beyond the upper edge
    found = targets(rows_of(inside, outside), VIEW, CELL, 8)
    assert torch.nonzero(found.present).tolist() == [[0, 5, 3]]
    assert (found.picture.tolist(), found.row.tolist(), found.cell.tolist()) == ([0], [0], [[5, 3]])
    torch.testing.assert_close(found.offset, torch.tensor([[20.5, 14.5]]) / CELL - 0.5 - found.cell)
    assert found.offset.abs().max() <= 0.5


def test_neighbours_that_a_vehicle_touches_do_not_count() -> None:
    near = float(CELL * (1 - BORDER / 2))  # [px] below the upper border of cell 5
    place = ((VIEW.row - (20 + near)) * 0.5, (14.5 - VIEW.column) * 0.5)
    found = targets(rows_of(place), VIEW, CELL, 8)
    assert torch.nonzero(found.present).tolist() == [[0, 5, 3]]
    assert torch.nonzero(~found.counted).tolist() == [[0, 6, 3]]


def test_beyond_a_set_that_is_full_nothing_counts() -> None:
    rows = rows_of((1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0))
    counted = targets(rows, VIEW, CELL, 8).counted[0]
    for cell in range(64):
        row, column = divmod(cell, 8)
        centre = VIEW.to_place(torch.tensor([row + 0.5, column + 0.5]), CELL)
        if centre.norm() > 4.0 and not targets(rows, VIEW, CELL, 8).present[0, row, column]:
            assert not counted[row, column]
    assert targets(rows_of((1.0, 0.0)), VIEW, CELL, 8).counted[0, 0, 0]


def test_of_close_candidates_the_likeliest_stays() -> None:
    rng = np.random.default_rng(0)
    place = torch.as_tensor(rng.uniform(0, 6, (20, 12, 2)))
    chance = torch.as_tensor(rng.uniform(0, 1, (20, 12))).sort(descending=True).values
    found = strongest(chance, place, 0.3, 1.5)
    for n in range(20):
        kept: list[int] = []
        for k in range(12):
            apart = all((place[n, k] - place[n, j]).norm() >= 1.5 for j in kept)
            kept += [k] if chance[n, k] > 0.3 and apart else []
        assert torch.nonzero(found[n]).flatten().tolist() == kept


def test_distances_from_a_plan() -> None:
    rng = np.random.default_rng(0)
    place, velocity = rng.uniform(-20, 20, (30, 2)), rng.uniform(-8, 8, (30, 2))
    drift = rng.normal(0, 1, (30, 10, 2)).cumsum(1)
    given = [torch.as_tensor(x).float() for x in (place, velocity, drift)]
    found = least_distances(given[0], given[1], given[2], looks=5)
    slow = [slow_distances(*each) for each in zip(place, velocity, drift, strict=True)]
    np.testing.assert_allclose(found, slow, atol=0.02)
    assert least_distances(
        torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 10, 2), 5
    ).shape == ((0, 2))


def test_pixels_along_an_axis() -> None:
    """Of a picture in which every pixel says where it is."""
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    pixels = torch.stack([row, column, torch.ones(32, 32)])[None].expand(2, -1, -1, -1)
    point = torch.tensor(
        [[16.5, 10.5], [8.0, 24.0]]
    )  # the middle of pixel (16, 10), and (7.5, 23.5)
    angle = torch.tensor([0.0, 0.7])
    found = along(pixels, point, torch.stack([angle.cos(), angle.sin()], -1))
    assert found.shape == (2, 3, 19, 3)  # from 15 px behind to 3 px ahead, 1 px to each side
    assert found[0, 0, 18, 1] == 13  # ahead is up
    assert found[0, 1, 15, 2] == 11  # and then right is right
    assert found[0, 0, 0].tolist() == [31.0, 31.0, 31.0]
    torch.testing.assert_close(found[1, 0, 14, 1], 7.5 + angle[1].cos())
    torch.testing.assert_close(found[1, 1, 14, 1], 23.5 - angle[1].sin())
    assert not along(pixels, point + 40, torch.eye(2)).any()


def test_pairs_are_made_from_the_closest_on() -> None:
    one, other = rows_of((0, 0), (3, 0), (9, 9)).numpy(), rows_of((1, 0), (1.5, 0), (3, 1)).numpy()
    picture, row, column = matches(one, other, 2.0)
    assert picture.tolist() == [0, 0]
    assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == [(0, 0), (1, 2)]


# --- what it learns -------------------------------------------------------------------------------


def test_it_finds_what_pictures_show(trained: Detector) -> None:
    obs = drawn(np.random.default_rng(1), 200)
    found = finds(trained, obs)
    assert found.vehicles == obs["vehicles"][..., 0].sum()
    assert found.recall > 0.95
    assert found.false_alarms < 0.1
    assert found.place_error < 0.5
    assert found.velocity_error < 0.8
    detected = trained.detect(obs)
    assert np.abs(detected["ego"] - obs["ego"]).mean() < 0.15
    rows = detected["vehicles"]
    distance = np.where(rows[..., 0] > 0, np.hypot(rows[..., 1], rows[..., 2]), np.inf)
    assert (distance == np.sort(distance)).all()  # the nearest first
    assert SEEN["vehicles"].contains(rows[0])
    assert not rows[rows[..., 0] == 0].any()


def test_it_is_the_same_by_seed_and_after_a_file(trained: Detector, tmp_path: Path) -> None:
    obs = drawn(np.random.default_rng(1), 8)
    state = torch.get_rng_state()
    again = Detector(IMAGE, SEEN, VIEW, 2, FEW).fit(drawn(np.random.default_rng(0), 600))
    assert torch.equal(state, torch.get_rng_state())
    again.save(tmp_path / "detector.zip")
    for one in (again, Detector.load(tmp_path / "detector.zip")):
        for name, part in trained.detect(obs).items():
            np.testing.assert_array_equal(one.detect(obs)[name], part)


def test_what_it_cannot_look_at_is_refused(trained: Detector) -> None:
    with pytest.raises(ValueError, match="multiple of 4 px"):
        Detector(spaces.Box(0, 255, (30, 30, 3), np.uint8), SEEN, VIEW)
    with pytest.raises(ValueError, match="a set of vehicles and vectors"):
        Detector(IMAGE, spaces.Dict({"ego": SEEN["ego"]}), VIEW)
    with pytest.raises(ValueError, match="leave no heading"):
        Detector(IMAGE, SEEN, VIEW, 5)
    with pytest.raises(ValueError, match="needs \\['image'\\]"):
        trained.detect({"vehicles": np.zeros((1, MOST, COLUMNS))})
    with pytest.raises(ValueError, match="looks at uint8 pictures"):
        trained.detect({"image": np.zeros((1, SIZE, SIZE, 3), np.float32)})


# --- from drives ----------------------------------------------------------------------------------


def expert(env: Any, rng: np.random.Generator) -> Any:
    return make_driver("expert", env, rng)


def driven() -> gym.Env[Any, Any]:
    """A short drive that shows what a detector needs."""
    env = gym.make("VLSafe-Highway-v0", observation="all", scorer=None, duration=4)
    names = ("ego", "image", "vehicles")
    env = gym.wrappers.FilterObservation(env, names)
    return env


def test_the_view_is_that_of_our_images() -> None:
    """Where a vehicle is said to be, its picture is not of the road's colours."""
    env = driven()
    observation, _ = env.reset(seed=0)
    view = View(*image_view())
    seen = observation["vehicles"][observation["vehicles"][:, 0] > 0]
    points = view.to_cells(torch.as_tensor(seen[:, 1:3]), 1).floor().long().numpy()
    inside = ((points >= 0) & (points < 64)).all(1)
    assert inside.any()
    colour = observation["image"][points[inside, 0], points[inside, 1]].astype(int)
    assert (colour[:, 1] > colour[:, 0] + 30).all()  # green
    row, column = (int(x) for x in image_view()[1:])
    ego = observation["image"][row, column].astype(int)
    assert ego[0] > ego[1] + 30  # red


def test_training_goes_on_from_what_is_there(tmp_path: Path) -> None:
    config = DetectionConfig(View(*image_view()), 5, 7, 2, DetectorConfig(updates=2, batch_size=4))
    heard: list[str] = []
    first = train_detector(
        driven(), tmp_path, expert, config, 0, lambda part, done, total: heard.append(part)
    )
    assert set(heard) == {"detector: driving", "detector: learning"}
    file = tmp_path / "pictures" / "0000_7.npz"
    pictures = Pictures.load(file)
    assert {len(part) for part in pictures.obs.values()} == {7}
    assert first.facts["drive_steps"] == pictures.steps >= 14 - pictures.drives
    stamp = file.stat().st_mtime_ns
    (tmp_path / "detector.zip").unlink()
    again = train_detector(driven(), tmp_path, expert, config, 0)
    assert file.stat().st_mtime_ns == stamp
    for key, value in first.net.state_dict().items():
        torch.testing.assert_close(again.net.state_dict()[key], value, rtol=0, atol=0)


def test_too_few_seeds_are_named() -> None:
    with pytest.raises(ValueError, match="give more"):
        collect_pictures(driven(), range(1), expert, 100)
