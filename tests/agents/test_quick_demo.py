"""``vlsafe demo --quick``: the order of its work, and the pictures of drivers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlsafe_agents.cli import main as cli
from vlsafe_agents.cli import quick
from vlsafe_agents.report.side_by_side import (
    DANGER,
    GIF_FILE,
    GROUND,
    HOLD,
    SAFE,
    Scene,
    frames_of,
    gif_uri,
    write_gif,
)


def drive(steps: int, crashed: bool, p: float) -> dict[str, np.ndarray[Any, Any]]:
    """A recording: grey frames, one p."""
    collision = np.zeros(steps + 1, np.float32)
    collision[-1] = crashed
    return {
        "frames": np.full((steps + 1, 224, 224, 3), 128, np.uint8),
        "reward": np.ones(steps + 1, np.float32),
        "speed": np.full(steps + 1, 20.0, np.float32),
        "safety_score": np.full(steps + 1, p, np.float32),
        "collision": collision,
    }


def colours(picture: Image.Image, left: int, right: int) -> set[tuple[int, ...]]:
    """Those between two columns."""
    pixels = np.asarray(picture.convert("RGB"))[:, left:right]
    return set(map(tuple, pixels.reshape(-1, 3).tolist()))


def test_a_crash_is_framed_from_then_on_and_p_is_drawn_by_its_level() -> None:
    scene = Scene("a title", {"calm": drive(4, False, 0.9), "wild": drive(2, True, 0.1)})
    first, *_, last = pictures = list(frames_of(scene))
    assert len(pictures) == 5  # the longest, the reset included
    half = first.width // 2
    assert DANGER not in colours(first, 0, first.width)  # no curve yet, no crash
    assert SAFE in colours(last, 0, half)
    assert DANGER not in colours(last, 0, half)
    assert {DANGER, (128, 128, 128)} <= colours(last, half, last.width)
    assert first.getpixel((0, 0)) == GROUND


def test_p_that_is_not_known_is_not_drawn() -> None:
    scene = Scene("a title", {"calm": drive(4, False, np.nan)})
    last = list(frames_of(scene))[-1]
    assert not {SAFE, DANGER} & colours(last, 0, last.width)


def test_a_gif_holds_all_pictures_and_waits_at_the_end(tmp_path: Path) -> None:
    scenes = [Scene("one", {"a": drive(3, True, 0.2)}), Scene("two", {"a": drive(2, False, 0.8)})]
    path = write_gif(scenes, tmp_path / "drives.gif", frames_per_second=10)
    with Image.open(path) as gif:
        durations = []
        for number in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(number)
            durations.append(gif.info["duration"])
    assert sum(durations) == 100 * (4 + 3 + 2 * (HOLD - 1))  # equal pictures may be joined
    with pytest.raises(ValueError, match="no drive"):
        write_gif([], path)


@pytest.mark.parametrize(
    ("crashed", "expected"),
    [
        ([[False, True, False], [False, True, True]], [7, 9]),
        ([[True, False], [False, False]], [7]),  # the first is shown anyhow
        ([[False, False], [False, False]], [7]),
    ],
)
def test_shown_are_the_first_seed_and_the_first_that_differs(
    crashed: list[list[bool]], expected: list[int]
) -> None:
    chosen = quick._seeds(range(7, 7 + len(crashed[0])), crashed)
    assert [seed for seed, _ in chosen] == expected


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [(["--quick", "--scale", "0.5"], "have no effect with --quick"), (["--gif", "x"], "is of --q")],
)
def test_options_without_effect_are_refused(
    arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", *arguments])
    assert stop.value.code == 2
    assert fault in capsys.readouterr().err


def test_it_drives_compares_and_reports(tmp_path: Path) -> None:
    out, gif = tmp_path / "quick", tmp_path / "drives.gif"
    quick.quick_demo(out, gif, episodes=2)
    with Image.open(gif) as shown:
        assert shown.n_frames > 10  # type: ignore[attr-defined]
    page = (out / "report.html").read_text(encoding="utf-8")
    for who in ("Expert (rule-based)", "VLSafe gated", "Risk planner", "shield bundled 0.02"):
        assert who in page
    assert "data:image/gif" in page


def test_a_page_takes_no_other_file_for_the_animation(tmp_path: Path) -> None:
    assert gif_uri(tmp_path) is None
    (tmp_path / GIF_FILE).write_bytes(b"<svg onload=...>")
    with pytest.raises(ValueError, match="is no GIF"):
        gif_uri(tmp_path)
