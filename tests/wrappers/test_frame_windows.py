"""Several frames at once: which frames a window holds, and what becomes of them."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

from wrappers import (
    ConstantScorer,
    FrameHistory,
    OracleScorer,
    ShuffledScorer,
    VLMCost,
    WindowScorer,
    context_frames,
    make_scorer,
    window_indices,
)
from wrappers.frame_windows import latest
from wrappers.window_scorer import combine_log_odds, tile


def numbered(*values, side=2):
    """Frames whose pixels all hold a number."""
    return np.stack([np.full((side, side, 3), value, np.uint8) for value in values])


class Brightness:
    """Scores by brightness; counts frames and remembers the infos it was given."""

    identity = {"name": "brightness"}  # noqa: RUF012

    def __init__(self):
        self.judged = 0
        self.infos = None

    def __call__(self, frames, infos=None):
        self.judged += len(frames)
        self.infos = infos
        scores = frames[:, 0, 0, 0].astype(np.float32) / 100
        self.last_reasons = ["too bright" if score > 1 else None for score in scores]
        return np.where(scores > 1, np.float32(np.nan), scores)


class Windows:
    """Looks at three frames and answers nothing of use, but keeps what it saw."""

    identity = {"name": "windows"}  # noqa: RUF012
    context_frames = 3

    def __init__(self):
        self.seen = []

    def __call__(self, frames, infos=None):
        self.seen.append(frames[:, :, 0, 0, 0].tolist())
        return np.full(len(frames), 0.5, np.float32)


def test_a_window_holds_the_frames_before_and_repeats_the_episodes_first():
    starts = [True, False, False, False, True, False]
    assert window_indices(starts, 3).tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [4, 4, 4],
        [4, 4, 5],
    ]
    assert window_indices([True, False], 1).tolist() == [[0], [1]]
    assert window_indices([], 3).shape == (0, 3)


def test_windows_that_would_lack_frames_are_refused():
    with pytest.raises(ValueError, match="start of an episode"):
        window_indices([False, True], 2)


def test_a_history_gives_the_windows_that_labelling_builds():
    rng = np.random.default_rng(0)
    starts = rng.random((40, 3)) < 0.2
    starts[0] = True
    frames = rng.integers(0, 256, (40, 3, 2, 2, 3)).astype(np.uint8)
    history = FrameHistory(4, num_envs=3)
    live = np.stack([history.push(frames[t], starts[t]) for t in range(40)])
    for env in range(3):
        stored = frames[:, env][window_indices(starts[:, env], 4)]
        np.testing.assert_array_equal(live[:, env], stored)


def test_a_history_moves_on_only_where_a_frame_came():
    history = FrameHistory(2, num_envs=2)
    history.push(numbered(1, 2), [True, True])
    assert history.push(numbered(3), [False], rows=[1])[:, :, 0, 0, 0].tolist() == [[2, 3]]
    assert history.push(numbered(4, 5), [False, True])[:, :, 0, 0, 0].tolist() == [[1, 4], [5, 5]]


def test_a_history_is_not_changed_through_the_windows_it_gave():
    history = FrameHistory(2)
    history.push(numbered(1), [True])[:] = 99
    assert history.push(numbered(2), [False])[0, :, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("frames", "starts", "rows", "reason"),
    [
        (numbered(1), [False], [0], "begin an episode"),
        (numbered(1, 2), [True, True], [0, 0], "twice"),
        (numbered(1), [True, True], [0], "starts"),
        (numbered(1)[0], [True], [0], "batch"),
    ],
)
def test_a_history_refuses_frames_that_do_not_fit(frames, starts, rows, reason):
    with pytest.raises(ValueError, match=reason):
        FrameHistory(2, num_envs=2).push(frames, starts, rows)


def test_tiles_are_read_like_text():
    picture = tile(numbered(1, 2, 3, side=1)[None])
    assert picture.shape == (1, 2, 2, 3)
    assert picture[0, :, :, 0].tolist() == [[1, 2], [3, 0]]
    assert tile(numbered(1, 2, side=3)[None]).shape == (1, 3, 6, 3)


def test_mean_and_trend_by_hand():
    # log-odds of 0.8 and 0.5 are ln 4 and 0: mean ln 2 -> 2/3; a step ahead -ln 4 -> 0.2
    windows = numbered(80, 50)[None]
    np.testing.assert_allclose(WindowScorer(Brightness(), 2, "mean")(windows), [2 / 3], rtol=1e-5)
    np.testing.assert_allclose(WindowScorer(Brightness(), 2, "trend")(windows), [0.2], rtol=1e-5)
    assert WindowScorer(Brightness(), 2, "min")(windows) == np.float32(0.5)


def test_the_trend_is_the_line_of_least_squares_a_step_ahead():
    scores = np.array([[0.9, 0.7, 0.75, 0.4]], np.float32)
    odds = np.log(scores / (1 - scores))[0]
    ahead = np.polyval(np.polyfit(np.arange(4), odds, 1), 4)
    frames = numbered(*(scores[0] * 100).round().astype(int))[None]
    np.testing.assert_allclose(
        WindowScorer(Brightness(), 4, "trend")(frames), 1 / (1 + np.exp(-ahead)), rtol=1e-4
    )


def test_sure_scores_do_not_become_infinite():
    sure = combine_log_odds(np.array([[0.0, 1.0]], np.float32), np.array([-1.0, 2.0]))
    assert np.isfinite(sure).all()


def test_a_frame_that_many_windows_share_is_scored_once():
    frames = numbered(*range(50))
    scorer = Brightness()
    windows = frames[window_indices([True] + [False] * 49, 4)]
    WindowScorer(scorer, 4, "mean")(windows)
    assert scorer.judged == 50


def test_a_window_with_an_unlabelled_frame_has_no_label():
    windows = np.stack([numbered(200, 50), numbered(40, 50)])
    for combine in ("mean", "min", "trend"):
        scorer = WindowScorer(Brightness(), 2, combine)
        assert np.isnan(scorer(windows)).tolist() == [True, False]
        assert scorer.last_reasons == ["too bright", None]


def test_only_tiles_come_with_infos():
    windows = numbered(1, 2)[None]
    for combine, expected in (("tile", [{"key": 1}]), ("mean", None)):
        scorer = Brightness()
        WindowScorer(scorer, 2, combine)(windows, [{"key": 1}])
        assert scorer.infos == expected
    with pytest.raises(ValueError, match="one info for each"):
        WindowScorer(OracleScorer(), 2, "mean")(windows, [{}])


@pytest.mark.parametrize(
    ("scorer", "length", "combine", "reason"),
    [
        (ConstantScorer(0.5), 1, "mean", "at least 2"),
        (ConstantScorer(0.5), 2, "sum", "combine"),
        (Windows(), 2, "mean", "several frames already"),
    ],
)
def test_impossible_windows_are_refused(scorer, length, combine, reason):
    with pytest.raises(ValueError, match=reason):
        WindowScorer(scorer, length, combine)


def test_single_frames_in_place_of_windows_are_refused():
    with pytest.raises(ValueError, match=r"windows \(N, 3, H, W, 3\)"):
        WindowScorer(ConstantScorer(0.5), 3)(numbered(1))


def test_a_window_scorer_is_found_by_name():
    scorer = make_scorer("frames:3:constant:0.4,combine=min")
    assert context_frames(scorer) == 3
    assert scorer(np.zeros((2, 3, 4, 4, 3), np.uint8)).tolist() == pytest.approx([0.4, 0.4])
    assert json.loads(json.dumps(scorer.identity)) == scorer.identity
    assert context_frames(make_scorer("shuffled:frames:3:constant:0.4")) == 3
    assert context_frames(make_scorer("ensemble:frames:3:constant:0.4+oracle")) == 3


def test_latest_frames_of_a_window():
    windows = np.stack([numbered(1, 2, 3)])
    assert latest(windows, 1)[:, 0, 0, 0].tolist() == [3]
    assert latest(windows, 2)[:, :, 0, 0, 0].tolist() == [[2, 3]]
    with pytest.raises(ValueError, match="4 frames"):
        latest(windows, 4)


class Counting(gym.Env):
    """Shows the number of steps since it was made; episodes have three."""

    observation_space = gym.spaces.Discrete(100)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self):
        self.shown = -1
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown, self.steps = self.shown + 1, 0
        return 0, {}

    def step(self, action):
        self.shown, self.steps = self.shown + 1, self.steps + 1
        return 0, 0.0, self.steps == 3, False, {}

    def render(self):
        return np.full((4, 4, 3), self.shown, np.uint8)


def test_a_live_environment_shows_the_frames_of_the_present_episode_only():
    scorer = Windows()
    env = VLMCost(Counting(), scorer)
    for _ in range(2):
        env.reset()
        for _ in range(3):
            env.step(0)
    first = [[[0, 0, 0]], [[0, 0, 1]], [[0, 1, 2]], [[1, 2, 3]]]
    assert scorer.seen == [*first, [[4, 4, 4]], [[4, 4, 5]], [[4, 5, 6]], [[5, 6, 7]]]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_environments_stepped_together_show_what_single_ones_show(mode):
    import vlsafe_envs  # noqa: F401

    class Hashes:
        identity = {"name": "hashes"}  # noqa: RUF012
        context_frames = 3

        def __call__(self, frames, infos=None):
            sums = frames.reshape(len(frames), 3, -1).astype(np.int64) @ np.arange(224 * 224 * 3)
            return ((sums % 1009) @ [1, 7, 31] % 997 / 997).astype(np.float32)

    kwargs = {"scorer": Hashes(), "duration": 3, "observation": "vector"}
    together = gym.make_vec("VLSafe-Highway-v0", num_envs=2, autoreset_mode=mode, **kwargs)
    assert type(together).__name__ == "VectorDrivingEnv"
    single = gym.vector.SyncVectorEnv(
        [lambda: gym.make("VLSafe-Highway-v0", **kwargs)] * 2, autoreset_mode=mode
    )
    infos = [env.reset(seed=5)[1] for env in (together, single)]
    seen, ends = set(), 0
    for step in range(9):
        scores = [info["safety_score"] for info in infos]
        np.testing.assert_array_equal(*scores)
        seen.update(scores[0].tolist())
        if "final_info" in infos[0]:
            ends += 1
            np.testing.assert_array_equal(*[info["final_info"]["safety_score"] for info in infos])
        infos = [env.step(np.array([step % 3, 1]))[4] for env in (together, single)]
    assert len(seen) > 12
    assert ends == (2 if mode == "SameStep" else 0)


def test_shuffled_windows_are_as_long_as_those_inside():
    assert ShuffledScorer(Windows()).context_frames == 3
