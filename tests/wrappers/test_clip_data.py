"""The drives that the small CLIP learns from."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from vlsafe_agents.cli import clip_data
from wrappers.clip_training import Facts


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


def test_facts_agree_with_the_environment(one_cell, tmp_path):
    facts = clip_data.make_set(one_cell, tmp_path, side=96).facts
    # Both look for the nearest one ahead, in strips of slightly different widths.
    straight = np.isfinite(facts.headway) & np.isfinite(facts.gap_ahead) & (facts.collision == 0)
    seconds = facts.gap_ahead[straight] / facts.speed[straight]
    assert straight.sum() > 3
    assert np.median(np.abs(seconds - facts.headway[straight])) < 0.05
    assert (facts.time_to_event[facts.collision > 0] == 0).all()
