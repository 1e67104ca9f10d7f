"""The gallery of environments, and the drivers' figures that it shows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from load_script import ROOT, script

from vlsafe_envs import known_ids
from vlsafe_envs.metadrive.missing import metadrive_installed
from vlsafe_envs.registry import METADRIVE_IDS
from vlsafe_envs.rewards import RewardConfig

CHEAP = "VLSafe-Merge-v0"
TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"

experts = script("benchmarks/experts.py")
gallery = script("docs/build_gallery.py")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of one environment, with figures of one driver."""
    folder = tmp_path_factory.mktemp("gallery")
    row = experts.drive(experts.Cell(CHEAP, "expert", None, 1.0), 3)
    experts.write_rows(folder / "experts.json", [row])
    out = gallery.build([CHEAP], folder / "page.html", folder / "experts.json")
    return str(out.read_text(encoding="utf-8"))


def test_page_has_pictures_of_both_sizes_and_needs_no_other_file(page: str) -> None:
    assert page.count('src="data:image/png;base64,') >= 4
    assert page.count('class="agent"') * 2 == page.count("<img ")
    for outside in ("<script", "<link", "http", "url("):
        assert outside not in page


def test_page_tells_what_the_code_says(page: str) -> None:
    for fact in ("Box(0, 255, (64, 64, 3), uint8)", "Discrete(15)", "40 decisions", "10 to 30 m/s"):
        assert fact in page
    assert "2 to 15 m/s" not in page  # that range is another environment's
    weight = f"{-RewardConfig().lane_change:g}"
    assert f"{TIMES} {MINUS}{weight}<" in page
    assert "3 episodes a row" in page


def test_every_environment_has_words() -> None:
    words = (ROOT / "docs/gallery_words.j2").read_text(encoding="utf-8")
    assert all(f'"{env_id}": {{\n    "title"' in words for env_id in known_ids())


def test_pictures_show_what_their_captions_say() -> None:
    moments = gallery.moments(CHEAP)
    assert [m.frame.shape for m in moments] == [(224, 224, 3)] * len(moments)
    assert [m.image.shape for m in moments] == [(64, 64, 3)] * len(moments)
    assert moments[-1].caption.startswith("aggressive")
    assert [m.caption.endswith("collision") for m in moments] == [False, False, True]


def test_pictures_can_be_kept(tmp_path: Path, page: str) -> None:
    old, new = tmp_path / "old.html", tmp_path / "new.html"
    old.write_text(page, encoding="utf-8")
    gallery.build([CHEAP], new, tmp_path / "no.json", [old])
    kept, drawn = gallery.kept_moments([new], CHEAP), gallery.moments(CHEAP)
    assert [m.title for m in kept] == [m.title for m in drawn]
    for one, other in zip(kept, drawn, strict=True):
        assert one.caption.lower() == other.caption.lower()
        assert (one.frame == other.frame).all()
        assert (one.image == other.image).all()
    with pytest.raises(ValueError, match="VLSafe-Highway-v0 is not on"):
        gallery.kept_moments([new], "VLSafe-Highway-v0")


@pytest.mark.parametrize("env_id", known_ids())
def test_published_page_names_every_id(env_id: str) -> None:
    if env_id in METADRIVE_IDS and not metadrive_installed():
        pytest.skip("MetaDrive is not installed")
    published = (ROOT / "docs/gallery.html").read_text(encoding="utf-8")
    assert f'<section id="{env_id}"' in published


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
