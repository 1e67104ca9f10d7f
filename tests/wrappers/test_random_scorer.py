"""The control that knows nothing but repeats itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from wrappers import RandomScorer, make_scorer


def frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3)).astype(np.uint8)


def test_a_frame_has_one_score_whatever_is_beside_it():
    many = frames(50)
    scores = RandomScorer(3)(many)
    np.testing.assert_array_equal(RandomScorer(3)(many[20:]), scores[20:])
    np.testing.assert_array_equal(RandomScorer(3)(many[::-1]), scores[::-1])
    turned = many[:, ::-1]  # not contiguous in memory
    np.testing.assert_array_equal(RandomScorer(3)(turned), RandomScorer(3)(turned.copy()))


def test_another_process_draws_the_same():
    code = "import numpy as np; from wrappers import RandomScorer; "
    code += "print(RandomScorer(5)(np.zeros((1, 2, 2, 3), np.uint8))[0].item())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert float(answer.stdout) == RandomScorer(5)(np.zeros((1, 2, 2, 3), np.uint8))[0]


def test_scores_are_spread_evenly_and_seeds_are_independent():
    many = frames(5000)
    one, two = (RandomScorer(seed)(many) for seed in (0, 1))
    for level in (0.1, 0.5, 0.9):
        assert np.quantile(one, level) == pytest.approx(level, abs=0.03)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.05
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() <= 1


def test_it_is_found_by_name():
    assert make_scorer("random").identity == {"name": "random", "seed": 0}
    assert make_scorer("random:4").identity == {"name": "random", "seed": 4}
    with pytest.raises(ValueError, match="number"):
        make_scorer("random:x")
    with pytest.raises(ValueError, match="at least 0"):
        make_scorer("random:-1")
