"""The gallery of environments, and the drivers' figures that it shows."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from load_script import ROOT, script
from PIL import Image

from vlsafe_envs import known_ids
from vlsafe_envs.costs import CostConfig
from vlsafe_envs.rewards import RewardConfig

CHEAP = "VLSafe-Merge-v0"

experts = script("benchmarks/experts.py")
gallery = script("docs/build_gallery.py")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one environment."""
    return Path(gallery.build([CHEAP], tmp_path_factory.mktemp("gallery")))


def section(page: Path, env_id: str) -> str:
    """What a page says of an environment."""
    return page.read_text(encoding="utf-8").partition(f"\n## {env_id}\n")[2].partition("\n## ")[0]


def test_the_page_has_a_picture_of_three_moments(page: Path) -> None:
    picture = page.parent / "pictures" / "gallery" / f"{CHEAP}.png"
    assert f"(pictures/gallery/{CHEAP}.png)" in section(page, CHEAP)
    assert Image.open(picture).size == (3 * 224 + 2 * 8, 224 + 8 + 3 * 64)
    captions = re.findall(r"^\d\. \*\*.*\*\* (.*)\.$", section(page, CHEAP), re.MULTILINE)
    assert [caption.split()[0] for caption in captions] == ["Expert", "Expert", "Aggressive"]
    assert [caption.endswith("collision") for caption in captions] == [False, False, True]


def test_the_page_tells_what_the_code_says(page: Path) -> None:
    text = section(page, CHEAP)
    for fact in ("Box(0, 255, (64, 64, 3), uint8)", "Discrete(15)", "40 decisions", "10 to 30 m/s"):
        assert fact in text
    assert "2 to 15 m/s" not in text  # that range is another environment's
    assert f"| `lane_change` | {gallery.plain(RewardConfig().lane_change)} |" in text
    assert f"| `collision` | {gallery.plain(CostConfig().collision)} |" in text


def test_the_published_page_is_what_the_command_writes(page: Path) -> None:
    """Of one environment; times of episodes and pictures included."""
    published = ROOT / "docs"
    assert section(published / "gallery.md", CHEAP) == section(page, CHEAP)
    picture = Path("pictures") / "gallery" / f"{CHEAP}.png"
    shown, drawn = (
        np.asarray(Image.open(folder / picture).convert("RGB"))
        for folder in (published, page.parent)
    )
    assert (shown == drawn).all()


def test_every_environment_has_words() -> None:
    words = (ROOT / "docs/gallery_words.j2").read_text(encoding="utf-8")
    assert all(f'"{env_id}": {{\n    "title"' in words for env_id in known_ids())


@pytest.mark.parametrize("env_id", known_ids())
def test_the_published_page_shows_every_id(env_id: str) -> None:
    folder = ROOT / "docs"
    assert section(folder / "gallery.md", env_id)
    assert (folder / "pictures" / "gallery" / f"{env_id}.png").stat().st_size < 100_000


def test_wilson_interval() -> None:
    z2 = 1.959964**2
    assert experts.wilson(0, 200) == pytest.approx((0.0, z2 / (200 + z2)))
    assert experts.wilson(200, 200) == pytest.approx((200 / (200 + z2), 1.0))
    low, high = experts.wilson(30, 100)
    for bound in (low, high):  # the interval's ends solve (rate - p)^2 = z^2 p (1 - p) / n
        assert (0.3 - bound) ** 2 == pytest.approx(z2 * bound * (1 - bound) / 100)
    assert low < 0.3 < high
    with pytest.raises(ValueError, match="episodes=0"):
        experts.wilson(0, 0)


def test_new_cells_replace_old_ones_of_the_same_traffic_and_driver() -> None:
    def row(driver: str, density: float, value: int) -> dict[str, Any]:
        return {
            "env_id": CHEAP,
            "driver": driver,
            "traffic": None,
            "density": density,
            "value": value,
        }

    old = [row("random", 1.0, 1), row("expert", 1.5, 2), row("expert", 1.0, 3)]
    both = experts.merged(old, [row("expert", 1.5, 4)])
    assert [r["value"] for r in both] == [3, 1, 4]


def test_published_figures_are_whole() -> None:
    rows = json.loads((ROOT / "docs/experts.json").read_text(encoding="utf-8"))["cells"]
    assert rows == experts.merged(rows, [])
    for row in rows:
        for name in experts.RATES:
            if row[name] is not None:
                rate, low, high = row[name]
                assert 0.0 <= low <= rate <= high <= 1.0
        assert all(math.isfinite(row[name][0]) for name in experts.MEANS)


def test_measured_speeds_are_what_the_page_shows(tmp_path: Path) -> None:
    env_id, out = "VLSafe-RightTurn-v0", tmp_path / "steps.json"
    options = ["--envs", env_id, "--windows", "2", "--steps", "30", "--json", str(out)]
    command = [sys.executable, str(ROOT / "benchmarks/steps.py"), *options]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(out.read_text())["rows"]
    assert [row["observation"] for row in rows] == ["vector", "image"]
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in rows)
    speeds = gallery.steps_a_second(tmp_path)[env_id]
    assert speeds == {row["observation"]: row["median"] for row in rows}
    assert f"| {env_id} | image | {speeds['image']:,} (" in found.stdout
