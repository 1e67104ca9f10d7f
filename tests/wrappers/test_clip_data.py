"""The drives that the small CLIP learns from."""

from __future__ import annotations

import errno
import os
from dataclasses import fields, replace

import numpy as np
import pytest

from vlsafe_agents.cli import clip_data
from vlsafe_envs.costs import HORIZON
from wrappers.clip_training import Facts
from wrappers.clip_training.patch_labels import contact_times


@pytest.fixture
def one_cell(monkeypatch):
    monkeypatch.setattr(clip_data, "SCENARIOS", ("highway",))
    return clip_data.Split("tiny", 60, (2.5,), first_seed=5, keep_safe=0.5)


def test_a_split_repeats_with_its_seed_and_holds_as_many_frames_as_asked(one_cell, tmp_path):
    one = clip_data.make_set(one_cell, tmp_path / "one", side=96)
    two = clip_data.make_set(one_cell, tmp_path / "two", side=96)
    assert one.frames.shape == (60, 96, 96, 3)
    assert one.small_frames.shape == (60, 64, 64, 3)
    np.testing.assert_array_equal(one.frames, two.frames)
    for field in fields(Facts):
        np.testing.assert_array_equal(
            getattr(one.facts, field.name), getattr(two.facts, field.name)
        )


def test_parts_that_are_there_are_not_driven_again(one_cell, tmp_path, monkeypatch):
    first = clip_data.make_set(one_cell, tmp_path, side=96)
    monkeypatch.setattr(clip_data, "_record", lambda *arguments: pytest.fail("drove again"))
    again = clip_data.make_set(one_cell, tmp_path, side=96)
    np.testing.assert_array_equal(first.frames, again.frames)


@pytest.mark.parametrize("name", ["facts.npz", "frames.npy", "small_frames.npy", "scenes.npy"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "foreign"])
def test_damaged_parts_are_recorded_again(one_cell, tmp_path, name, damage):
    first = clip_data.make_set(one_cell, tmp_path, side=96)
    expected = first.frames.copy()
    (part,) = (tmp_path / "tiny").iterdir()
    path = part / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[:-9], "empty": b"", "foreign": b"PK hello"}[damage])
    if damage == "missing" and name == "facts.npz":
        again = clip_data.make_set(one_cell, tmp_path, side=96)  # as if it had been killed
    else:
        with pytest.warns(UserWarning, match=rf"{name}.*it is recorded again"):
            again = clip_data.make_set(one_cell, tmp_path, side=96)
    np.testing.assert_array_equal(again.frames, expected)
    assert path.read_bytes()[:4] == content[:4]


def test_without_room_for_all_frames_in_a_file_memory_holds_them(one_cell, tmp_path, monkeypatch):
    expected = clip_data.make_set(one_cell, tmp_path, side=96).frames.copy()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.warns(UserWarning, match=r"no room for .*tiny-frames\.npy"):
        found = clip_data.make_set(one_cell, tmp_path, side=96)
    np.testing.assert_array_equal(found.frames, expected)
    assert not list(tmp_path.glob(".*.tmp"))


def test_facts_agree_with_the_environment(one_cell, tmp_path):
    facts = clip_data.make_set(one_cell, tmp_path, side=96).facts
    # Both look for the nearest one ahead, in strips of slightly different widths.
    straight = np.isfinite(facts.headway) & np.isfinite(facts.gap_ahead) & (facts.collision == 0)
    seconds = facts.gap_ahead[straight] / facts.speed[straight]
    assert straight.sum() > 3
    assert np.median(np.abs(seconds - facts.headway[straight])) < 0.05
    assert (facts.time_to_event[facts.collision > 0] == 0).all()


def test_time_to_an_event_is_in_seconds_whatever_the_decision_frequency():
    for action, seconds in (("meta", 1.0), ("grid", 0.2)):
        env = clip_data._make_env("highway", 2.5, action)
        facts = clip_data._drive(env, "random", "highway", seed=3).facts
        assert np.isfinite(facts.time_to_event).all()  # random driving ends badly
        np.testing.assert_allclose(np.diff(facts.time_to_event), -seconds)


def test_varied_scenes_have_other_speeds_in_the_same_places():
    env = clip_data._make_env("merge", 1.5, "meta")
    sights = clip_data._drive(env, "aggressive", "merge", seed=4)
    varied = clip_data._varied(sights, 1.0, np.random.default_rng(0))
    facts = sights.facts
    calm = np.flatnonzero((facts.collision == 0) & (facts.off_road == 0))
    assert len(varied.scenes) == len(calm) == len(varied.facts)
    columns = [0, 1, 2, 4, 5, 6]
    for index, scene in zip(calm, varied.scenes, strict=True):
        np.testing.assert_array_equal(scene[:, columns], sights.scenes[index][:, columns])
    assert (varied.facts.speed != facts.speed[calm]).mean() > 0.4
    times = contact_times(np.stack(varied.scenes)).min(1)
    times[times > HORIZON] = np.inf
    np.testing.assert_allclose(varied.facts.time_to_collision, times, atol=1e-4)
    assert np.isinf(varied.facts.time_to_event).all()
    np.testing.assert_array_equal(varied.facts.gap_ahead, facts.gap_ahead[calm])
    assert len(clip_data._varied(sights, 0.0, np.random.default_rng(0)).scenes) == 0


def test_several_processes_record_what_one_does(one_cell, tmp_path):
    split = replace(one_cell, densities=(1.0, 2.0), varied=0.4)
    one = clip_data.make_set(split, tmp_path / "one", side=32)
    two = clip_data.make_set(split, tmp_path / "two", side=32, processes=2)
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.scenes, two.scenes)
