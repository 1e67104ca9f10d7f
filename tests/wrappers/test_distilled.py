"""The distilled judge: it learns from labels, says how well, and is loaded as it was saved."""

from __future__ import annotations

import copy
import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from wrappers import make_scorer
from wrappers.distillation import (
    DistillConfig,
    Pupil,
    PupilConfig,
    Record,
    compare,
    load_pupil,
    save_pupil,
    train_pupil,
)
from wrappers.distillation.agreement import Question
from wrappers.distillation.fast import FastPupil
from wrappers.distillation.network import new_pupil
from wrappers.distilled import BUNDLED_FOLDER, DistilledScorer

SMALL = PupilConfig(frame_size=16, stem=4, merged=4, hidden=8)
QUICK = DistillConfig(steps=150, batch_size=64, learning_rate=1e-2, warmup=10)
TEACHER = {"name": "brightness", "weights_sha256": "abc"}


def random_frames(count, seed=0, size=16):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def brightness(frames):
    """A teacher that finds frames unsafe whose upper left corner is dark."""
    corner = frames[:, :4, :4].mean((1, 2, 3)) - 127.5
    return (1 / (1 + np.exp(-corner / 8))).astype(np.float32)


def record(**more):
    return Record(**{"teacher": TEACHER, "agreement": {}, "training": {}, **more})


@pytest.fixture(scope="module")
def taught():
    frames = random_frames(2000)
    return train_pupil(lambda rows: frames[rows], brightness(frames), np.arange(2000), SMALL, QUICK)


@pytest.fixture
def folder(tmp_path, taught):
    save_pupil(tmp_path / "pupil", taught, record())
    return tmp_path / "pupil"


def test_a_pupil_learns_its_teachers_scores_and_an_untaught_one_knows_nothing(tmp_path, taught):
    unseen = random_frames(500, seed=1)
    agreements = []
    for name, pupil in (("taught", taught), ("untaught", Pupil(SMALL))):
        save_pupil(tmp_path / name, pupil, record())
        agreements.append(compare(brightness(unseen), DistilledScorer(tmp_path / name)(unseen)))
    assert agreements[0]["spearman"] > 0.9
    assert agreements[0]["auroc_of_alarms"] > 0.95
    assert agreements[0]["mean_absolute_error"] < 0.1 < agreements[1]["mean_absolute_error"]
    assert abs(agreements[1]["spearman"]) < 0.5


def test_rows_without_a_label_are_never_looked_at():
    frames, scores = random_frames(100), brightness(random_frames(100))
    scores[::2] = np.nan
    seen = []

    def frames_of(rows):
        seen.extend(rows.tolist())
        return frames[rows]

    train_pupil(frames_of, scores, np.arange(50), SMALL, DistillConfig(steps=5, batch_size=20))
    assert set(seen) <= set(range(1, 50, 2))
    assert len(seen) == 100


@pytest.mark.parametrize(
    ("label", "message"), [(np.nan, "has a label"), (0.25, "nothing to learn")]
)
def test_labels_that_teach_nothing_are_refused(label, message):
    frames, scores = random_frames(10), np.full(10, label, np.float32)
    with pytest.raises(ValueError, match=message):
        train_pupil(lambda rows: frames[rows], scores, np.arange(10), SMALL, QUICK)


def test_the_same_lessons_make_the_same_pupil_and_leave_other_random_numbers_alone():
    frames = random_frames(100)
    state = torch.random.get_rng_state()
    config = DistillConfig(steps=3, batch_size=8, seed=7)
    first, second = (
        train_pupil(lambda rows: frames[rows], brightness(frames), np.arange(100), SMALL, config)
        for _ in range(2)
    )
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("config", [SMALL, PupilConfig(), PupilConfig(24, 5, 3, 7)])
@pytest.mark.parametrize("count", [0, 1, 16, 37])
def test_the_fast_pass_gives_the_networks_numbers(config, count):
    pupil, frames = new_pupil(config, seed=1), random_frames(count, size=config.frame_size)
    with torch.no_grad():
        expected = pupil(torch.from_numpy(frames)).numpy()
    found = FastPupil(pupil)(frames)
    assert (found.shape, found.dtype) == ((count,), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_frames_that_do_not_lie_together_in_memory_are_judged_alike(folder):
    frames = random_frames(6)
    mirrored = frames[::2, :, ::-1]
    found = DistilledScorer(folder)(mirrored)
    np.testing.assert_array_equal(found, DistilledScorer(folder)(np.array(mirrored)))


def test_a_saved_pupil_scores_as_it_did_and_names_its_teacher(folder, taught):
    frames = random_frames(9, seed=3)
    scorer = make_scorer(f"distilled:{folder}")
    expected = taught(torch.from_numpy(frames)).sigmoid().detach().numpy()
    np.testing.assert_allclose(scorer(frames), expected, atol=1e-6)
    assert scorer.frame_size == 16
    assert scorer.identity["of"] == TEACHER
    assert json.loads(json.dumps(scorer.identity)) == scorer.identity


def test_other_weights_or_another_teacher_are_another_judge(tmp_path, folder, taught):
    changed = copy.deepcopy(taught)
    with torch.no_grad():
        changed.score.bias += 1e-3
    save_pupil(tmp_path / "weights", changed, record())
    save_pupil(tmp_path / "teacher", taught, record(teacher={"name": "oracle"}))
    names = [folder, tmp_path / "weights", tmp_path / "teacher"]
    identities = [json.dumps(DistilledScorer(name).identity) for name in names]
    assert len(set(identities)) == 3
    assert identities[0] == json.dumps(DistilledScorer(folder).identity)


def test_scores_do_not_depend_on_the_size_of_batches(folder):
    frames = random_frames(10, seed=4)
    whole = DistilledScorer(folder)(frames)
    assert (whole.shape, whole.dtype) == ((10,), np.float32)
    np.testing.assert_allclose(DistilledScorer(folder, batch_size=3)(frames), whole, atol=1e-6)
    assert DistilledScorer(folder)(frames[:0]).shape == (0,)


def test_the_steps_of_a_loader_are_the_same_as_a_call(folder):
    scorer, frames = DistilledScorer(folder), random_frames(5, size=32)
    prepared = scorer.prepare(frames)
    assert prepared.shape == (5, 16, 16, 3)
    np.testing.assert_array_equal(scorer.score(scorer.encode(prepared)), scorer(frames))


def test_larger_frames_are_shrunk_to_what_the_pupil_looks_at(folder):
    scorer = DistilledScorer(folder)
    plain = np.arange(0, 250, 10, dtype=np.uint8)[:, None, None, None]
    small, large = (np.broadcast_to(plain, (25, size, size, 3)) for size in (16, 56))
    np.testing.assert_array_equal(scorer(np.array(small)), scorer(np.array(large)))


def test_frames_of_another_kind_are_refused(folder):
    scorer = DistilledScorer(folder)
    with pytest.raises(TypeError, match="uint8"):
        scorer(np.zeros((2, 16, 16, 3), np.float32))
    with pytest.raises(ValueError, match="pass a batch"):
        scorer(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="batch_size"):
        DistilledScorer(folder, batch_size=0)


def test_a_judge_travels_to_other_processes_by_name(folder):
    scorer, frames = DistilledScorer(folder), random_frames(4)
    sent = pickle.dumps(scorer)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)(frames), scorer(frames))
    assert copy.deepcopy(scorer) is scorer


def test_a_damaged_folder_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pupil\.json does not exist; .*vlsafe distill"):
        DistilledScorer(tmp_path)
    facts = json.loads((folder / "pupil.json").read_text())
    for damage in ({"format": 99}, {"colour": 1}):
        (folder / "pupil.json").write_text(json.dumps(facts | damage))
        with pytest.raises(ValueError, match="format 1"):
            DistilledScorer(folder)
    for network in (
        {"frame_size": 24},
        {"frame_size": 20},
        {"depth": 3},
        {"hidden": "wide"},
        {"hidden": 10**12},  # more than any memory has
        [],
    ):
        (folder / "pupil.json").write_text(json.dumps(facts | {"network": network}))
        with pytest.raises(ValueError, match=re.escape(str(folder))):
            DistilledScorer(folder)
    (folder / "pupil.json").write_text(json.dumps(facts))
    path = folder / "model.safetensors"
    weights = path.read_bytes()
    for content in (
        weights[:-10],
        b"",
        b"\xff" * 100,
        b"version https://git-lfs.github.com/spec/v1",
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            DistilledScorer(folder)
    stored = load(weights)
    stored["mix.bias"][3] = float("nan")
    path.write_bytes(save(stored))
    with pytest.raises(ValueError, match="not finite"):
        DistilledScorer(folder)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="MB are too many"):
        DistilledScorer(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        DistilledScorer(folder)


def test_what_is_known_of_a_pupil_is_kept_and_stands_in_its_card(tmp_path, taught):
    frames = random_frames(200, seed=5)
    p = brightness(frames)
    truth = {"dark": Question(p < 0.3, np.ones(200, bool))}
    agreement = {"all": compare(p, brightness(frames[:, :, ::-1]), truth)}
    save_pupil(tmp_path, taught, record(agreement=agreement, training={"frames": 2000}))
    assert load_pupil(tmp_path)[1] == record(agreement=agreement, training={"frames": 2000})
    card = (tmp_path / "README.md").read_text()
    assert f"| all | 200 | {(p < 0.5).sum()} |" in card
    assert "| all | dark | 200 |" in card
    assert "frames: 2,000" in card
    assert '"name": "brightness"' in card


def test_agreement_equals_values_computed_by_hand():
    teacher = np.array([0.1, 0.4, 0.8, np.nan, 0.9], np.float32)
    pupil = np.array([0.2, 0.7, 0.6, 0.0, 0.9], np.float32)
    known = np.array([True, True, True, True, False])
    unsafe = np.array([True, False, False, True, True])
    found = compare(teacher, pupil, {"crash": Question(unsafe, known)})
    assert (found["frames"], found["alarms"]) == (4, 2)
    assert found["mean_absolute_error"] == pytest.approx((0.1 + 0.3 + 0.2 + 0.0) / 4, abs=1e-4)
    assert found["spearman"] == pytest.approx(0.8)  # two neighbours swapped: 1 - 6 * 2 / 60
    assert found["auroc_of_alarms"] == pytest.approx(3 / 4)  # 0.7 > 0.6 is the one wrong pair
    assert found["truth"]["crash"] == {"frames": 3, "unsafe": 1, "teacher": 1.0, "pupil": 1.0}


def test_perfect_and_opposite_pupils_are_told_apart():
    teacher = np.linspace(0, 1, 11).astype(np.float32)
    same, opposite = compare(teacher, teacher), compare(teacher, 1 - teacher)
    assert (same["mean_absolute_error"], same["spearman"], same["auroc_of_alarms"]) == (0, 1, 1)
    assert (opposite["spearman"], opposite["auroc_of_alarms"]) == (-1, 0)


def test_what_cannot_be_computed_is_none_and_not_a_number():
    constant = np.full(4, 0.9, np.float32)
    found = compare(constant, constant, {"crash": Question(np.zeros(4, bool), np.ones(4, bool))})
    assert found["spearman"] is None
    assert found["auroc_of_alarms"] is None
    assert found["truth"]["crash"]["teacher"] is None
    with pytest.raises(ValueError, match="none of the frames"):
        compare(np.full(3, np.nan, np.float32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"\(N,\)"):
        compare(np.zeros(3, np.float32), np.zeros(4, np.float32))


@pytest.mark.parametrize(
    "wrong", [{"frame_size": 60}, {"frame_size": 0}, {"stem": 0}, {"merged": 0}, {"hidden": 0}]
)
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PupilConfig(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"warmup": 0}, {"learning_rate": 0.0}, {"weight_decay": -1}],
)
def test_impossible_lessons_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DistillConfig(**wrong)


class TestShipped:
    """The distilled judge that comes with the package."""

    def test_it_was_taught_by_the_shipped_clip(self):
        teacher = json.loads(json.dumps(make_scorer("bundled").identity))
        assert make_scorer("distilled").identity["of"] == teacher, (
            "the bundled CLIP has changed: distil it again (docs/scorers.md says how)"
        )

    def test_it_is_small_and_says_how_well_it_agrees(self):
        size = sum(file.stat().st_size for file in BUNDLED_FOLDER.iterdir())
        assert size < 1_000_000
        agreement = make_scorer("distilled").record.agreement["all"]
        assert agreement["frames"] > 5000
        assert agreement["spearman"] > 0.8
        truth = agreement["truth"]["time to collision under 2 s"]
        assert truth["pupil"] > truth["teacher"] - 0.05
        card = (BUNDLED_FOLDER / "README.md").read_text()
        assert f"{agreement['mean_absolute_error']:.3f}" in card
        assert f"{agreement['auroc_of_alarms']:.3f}" in card
