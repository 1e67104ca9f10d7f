"""The CLIP that is shipped: small, loaded like any other, and able to tell danger from safety."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vlsafe_envs
from vlsafe_agents.cli import clip_data
from wrappers import ClipScorer, make_scorer
from wrappers.clip_loading import bundled_folder
from wrappers.clip_scorer import SAFE_PROMPT, UNSAFE_PROMPT
from wrappers.clip_training.evaluation import PROMPT_PAIRS, separation

MEGABYTE = 1e6
EVENT, TIME = "collision or off-road within 2 s", "time to collision under 2 s"


def scene(ego_speed, *others, ego_y=4.0):
    """Ego on the second lane at x = 100 m; ``others`` are (ahead [m], y [m], speed [m/s])."""
    packed = np.zeros((48, 7), np.float32)
    packed[0] = (100.0, ego_y, 0.0, ego_speed, 5.0, 2.0, 1.0)
    for row, (ahead, y, speed) in enumerate(others, start=1):
        packed[row] = (100.0 + ahead, y, 0.0, speed, 5.0, 2.0, 1.0)
    return packed


FREE = scene(22, (-30, 0, 22), (34, 8, 23))
FOLLOWING = scene(20, (36, 4, 21), (20, 8, 20))
CLOSING = scene(28, (18, 4, 12), (25, 8, 20))
CRASHED = scene(24, (3.5, 4, 10), (25, 8, 20))
OFF_ROAD = scene(20, (30, 8, 20), ego_y=-7.0)


@pytest.fixture(scope="module")
def scorer():
    return make_scorer("bundled")


@pytest.fixture(scope="module")
def renderer():
    return vlsafe_envs.SceneRenderer("VLSafe-Highway-v0")


def test_it_is_small_and_shipped_with_its_card():
    folder = bundled_folder()
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < 15 * MEGABYTE
    assert "not** a web-scale" in (folder / "README.md").read_text()


def test_it_is_loaded_by_the_code_that_loads_any_folder(scorer, renderer):
    frames = renderer.frame(FREE)[None]
    assert ClipScorer(bundled_folder())(frames) == scorer(frames)
    assert scorer is make_scorer("bundled")  # one model a process


@pytest.mark.parametrize("view", ["frame", "image"])
@pytest.mark.parametrize("danger", [CLOSING, CRASHED, OFF_ROAD], ids=["closing", "crash", "off"])
def test_it_tells_danger_from_safety_with_the_papers_prompts(scorer, renderer, view, danger):
    draw = getattr(renderer, view)
    safe = scorer(np.stack([draw(FREE), draw(FOLLOWING)]))
    assert safe.min() > 0.85
    assert scorer(draw(danger)[None])[0] < 0.5


def test_the_stated_figures_belong_to_these_weights_and_keep_their_level(scorer):
    stated = json.loads((bundled_folder() / "evaluation.json").read_text())
    assert stated["weights_sha256"] == scorer.weights_hash
    assert tuple(stated["prompts"]) == (SAFE_PROMPT, UNSAFE_PROMPT)
    assert stated["held_out_frames"] >= 10_000
    for frames, least in (
        ("roads of highway-env, 224 px", {EVENT: 0.90, TIME: 0.90}),
        ("all, 224 px", {EVENT: 0.88, TIME: 0.92}),  # on the tasks, events are harder to foresee
    ):
        figures = stated["tables"][frames]
        for question in (EVENT, TIME):
            assert figures["this model"][question] > least[question]
            assert 0.45 < figures["shuffled"][question] < 0.55
            assert 0.35 < figures["random weights"][question] < 0.65
    for frames, least in (("highway", 0.97), ("merge", 0.95), ("all, 64 px", 0.87)):
        assert stated["tables"][frames]["this model"][TIME] > least
    for name, pair in stated["other prompts"].items():
        if "turned round" in name:
            assert pair[TIME] < 0.15
            assert pair[EVENT] < 0.15
    calm, danger = (stated["histograms of p"][name] for name in ("calm", TIME))
    assert calm["below 0.5"] < 0.08
    assert calm["mean cost"] < 0.03
    assert danger["below 0.5"] > 0.7
    assert danger["mean cost"] > 0.35


def test_it_keeps_its_level_on_drives_that_nobody_has_looked_at(scorer, tmp_path, monkeypatch):
    drawn = tuple(name for name in clip_data.SCENARIOS if clip_data.ROADS[name].redrawn)
    monkeypatch.setattr(clip_data, "SCENARIOS", drawn)  # MetaDrive's maps take too long
    split = clip_data.Split("fresh", 480, (1.4,), first_seed=5_000_000, keep_safe=0.5)
    drives = clip_data.make_set(split, tmp_path, side=224)
    features = scorer.image_features(drives.frames)
    own = separation(scorer.score(features), drives.facts)
    assert own[TIME] > 0.84
    assert own[EVENT] > 0.84
    for name in ("plain", "insurance", "crash only"):
        other = separation(ClipScorer("bundled", PROMPT_PAIRS[name]).score(features), drives.facts)
        assert other[TIME] > 0.82
    turned = PROMPT_PAIRS["negated (turned round)"]
    assert separation(ClipScorer("bundled", turned).score(features), drives.facts)[TIME] < 0.2


def test_it_understands_other_words_for_the_same(renderer):
    scorer = ClipScorer(
        "bundled", prompts=("No danger for the red car at all.", "A crash is coming up for it!")
    )
    safe, crash = scorer(np.stack([renderer.frame(FREE), renderer.frame(CLOSING)]))
    assert safe > crash + 0.2


def test_it_falls_before_the_crash(scorer, renderer):
    gaps = [40.0, 25.0, 18.0, 11.0]  # at 10 m/s closing speed, 5 m of it are vehicle
    frames = np.stack([renderer.frame(scene(25, (gap, 4, 15))) for gap in gaps])
    score = scorer(frames)
    assert score[0] > 0.8
    assert score[-1] < 0.2
    assert (np.diff(score) < 0.05).all()
