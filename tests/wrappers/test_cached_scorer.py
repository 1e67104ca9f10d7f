"""A frame is judged once, in whichever environment, run or process it is seen."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from wrappers import OracleScorer, VLMCost, make_scorer
from wrappers.cached_scorer import CachedScorer
from wrappers.score_cache import ScoreCache

ROOT = Path(__file__).parents[2]


class CountingScorer:
    """p from the first pixel; counts frames; has no label for black frames."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.frames = 0

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        self.frames += len(frames)
        scores = frames[:, 0, 0, 0] / np.float32(255)
        return np.where(scores == 0, np.nan, scores).astype(np.float32)


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def test_a_frame_is_judged_once_and_its_score_stays_the_same(tmp_path: Path) -> None:
    inner = CountingScorer()
    scorer = CachedScorer(inner, ScoreCache(tmp_path))
    frames = grey(10, 20, 10, 30, 20)
    np.testing.assert_array_equal(scorer(frames), CountingScorer()(frames))
    assert inner.frames == 3
    again = CountingScorer()
    later = CachedScorer(again, ScoreCache(tmp_path))
    np.testing.assert_array_equal(later(grey(30, 40, 10)), CountingScorer()(grey(30, 40, 10)))
    assert again.frames == 1
    assert (later.hits, later.misses) == (2, 1)
    assert later.identity == inner.identity
    assert len(later(grey(1)[:0])) == 0


def test_scorers_do_not_get_each_others_scores(tmp_path: Path) -> None:
    first, second = CountingScorer("first"), CountingScorer("second")
    for inner in (first, second):
        CachedScorer(inner, ScoreCache(tmp_path))(grey(10))
    assert (first.frames, second.frames) == (1, 1)


def test_a_frame_without_a_label_is_asked_about_again(tmp_path: Path) -> None:
    inner = CountingScorer()
    scorer = CachedScorer(inner, ScoreCache(tmp_path))
    for _ in range(2):
        assert np.isnan(scorer(grey(0, 51))).tolist() == [True, False]
    assert inner.frames == 3


def test_scorers_that_see_more_than_the_frame_are_refused(tmp_path: Path) -> None:
    reading = CountingScorer()
    reading.reads_infos = True  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="depends on infos"):
        CachedScorer(reading, ScoreCache(tmp_path))
    with pytest.raises(ValueError, match="infos"):
        CachedScorer(OracleScorer(), ScoreCache(tmp_path))
    with pytest.raises(ValueError, match="earlier calls"):
        CachedScorer(make_scorer("shuffled:constant:0.5"), ScoreCache(tmp_path))


def test_copies_and_pickles_share_the_cache(tmp_path: Path) -> None:
    scorer = CachedScorer(make_scorer("random"), ScoreCache(tmp_path))
    expected = scorer(grey(1, 2))
    for other in (copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):
        misses = other.misses
        np.testing.assert_array_equal(other(grey(1, 2)), expected)
        assert other.misses == misses


def test_windows_of_frames_are_judged_once_as_a_whole(tmp_path: Path) -> None:
    inner = make_scorer("frames:2:random")
    scorer = CachedScorer(inner, ScoreCache(tmp_path))
    windows = np.stack([grey(1, 2), grey(2, 1), grey(1, 2)])
    np.testing.assert_array_equal(scorer(windows), inner(windows))
    assert (scorer.context_frames, scorer.misses) == (2, 2)


class Slide(gym.Env[Any, Any]):
    """Shows one picture a step."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 1
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return 0, 0.0, False, False, {}

    def render(self) -> Any:
        return grey(self.time * 20)[0]


def test_a_second_drive_over_the_same_frames_asks_the_scorer_nothing(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        inner = CountingScorer()
        env = VLMCost(Slide(), scorer=CachedScorer(inner, ScoreCache(tmp_path)))
        infos = [env.reset()[1], *(env.step(0)[4] for _ in range(4))]
        seen.append(([info["safety_score"] for info in infos], inner.frames))
    assert seen[0][0] == seen[1][0] == pytest.approx([k * 20 / 255 for k in range(1, 6)])
    assert [frames for _, frames in seen] == [5, 0]


RACER = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[3])
from test_cached_scorer import CountingScorer, grey
from wrappers.cached_scorer import CachedScorer
from wrappers.score_cache import ScoreCache

class Slow(CountingScorer):
    def __call__(self, frames, infos=None):
        time.sleep(0.05)
        with open(sys.argv[2], "a") as log:
            log.writelines(f"{frame[0, 0, 0]}\\n" for frame in frames)
        return super().__call__(frames)

scorer = CachedScorer(Slow(), ScoreCache(sys.argv[1]))
for begin in range(1, 200, 10):
    frames = grey(*range(begin, begin + 10))
    np.testing.assert_array_equal(scorer(frames), CountingScorer()(frames))
"""


def test_processes_that_see_the_same_frames_at_once_all_get_right_scores(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER, tmp_path / "cache", tmp_path / "log"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    racers = [
        subprocess.Popen([*map(str, command), str(Path(__file__).parent)], env=environment)
        for _ in range(3)
    ]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    scored = {int(line) for line in (tmp_path / "log").read_text().split()}
    assert scored == set(range(1, 201))
    cache = ScoreCache(tmp_path / "cache")
    assert len(cache) == 200
    later = CachedScorer(CountingScorer(), cache)
    frames = grey(*range(1, 201))
    np.testing.assert_array_equal(later(frames), CountingScorer()(frames))
    assert later.misses == 0
