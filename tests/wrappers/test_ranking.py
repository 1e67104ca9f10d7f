"""Rank statistics equal their definitions, ties and missing values included."""

from __future__ import annotations

import numpy as np
import pytest

from wrappers.ranking import auroc, mid_ranks, spearman


def test_equal_values_share_their_mean_rank() -> None:
    np.testing.assert_array_equal(mid_ranks([5, 1, 5, 3]), [3.5, 1.0, 3.5, 2.0])


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    risk, positive = rng.integers(0, 5, 60), rng.random(60) < 0.3
    pairs = risk[positive][:, None] - risk[~positive]
    assert auroc(risk, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_spearman_is_pearson_of_the_ranks_of_what_both_have() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(60), rng.integers(0, 9, 60).astype(float)
    expected = np.corrcoef(mid_ranks(first), mid_ranks(second))[0, 1]
    assert spearman(first, second) == pytest.approx(expected)
    assert spearman(first, first**3) == pytest.approx(1.0)
    holes = np.where(np.arange(60) < 20, np.nan, first)
    assert spearman(holes, second) == pytest.approx(spearman(first[20:], second[20:]))
    assert np.isnan(spearman(first, np.full(60, 0.5)))
    assert np.isnan(spearman([0.5], [0.5]))
