"""Each form of a safety score against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wrappers import fit_temperature, forms


def test_softmax_by_hand():
    # exp(0.30 / 0.05) = 403.4288, exp(0.25 / 0.05) = 148.4132: 403.4288 / 551.8420
    np.testing.assert_allclose(
        forms.softmax([0.30], np.array([0.25]), 0.05), [0.7310586], rtol=1e-6
    )
    assert forms.softmax(0.2, 0.2, 0.01) == 0.5


def test_softmax_is_exact_far_out_and_never_overflows():
    assert forms.softmax(-1.0, 1.0, 0.01) == pytest.approx(np.exp(-200.0), rel=1e-9)
    assert forms.softmax(1.0, -1.0, 1e-4) == 1.0


def test_cosine_by_hand():
    np.testing.assert_array_equal(forms.cosine(np.array([-0.2, 0.0, 0.31, 1.0])), [0, 0, 0.31, 1.0])


def test_margin_by_hand():
    # VLM-RL: z = clip(cos_bad - cos_good, 0, 0.03), score 1 - z / 0.03
    safe = np.array([0.30, 0.25, 0.25, 0.20])
    unsafe = np.array([0.25, 0.25, 0.265, 0.30])
    np.testing.assert_allclose(forms.margin(safe, unsafe), [1.0, 1.0, 0.5, 0.0], atol=1e-12)


def test_negative_by_hand():
    # LORD: 1 - cos_bad; a frame that points away from the bad sentence is as safe as can be
    np.testing.assert_allclose(forms.negative(np.array([0.24, 1.0, -0.5])), [0.76, 0.0, 1.0])


def test_projection_by_hand():
    # g = (1, 0, 0), b = (0, 1, 0), x = (0.6, 0, 0.8); d = g - b = (1, -1, 0), |d|^2 = 2
    # x - g = (-0.4, 0, 0.8): |x - g|^2 = 0.8, along d: (-0.4)^2 / 2 = 0.08
    # alpha 0.5: (0.25 * 0.72 + 0.08) / 2 = 0.13;  0: 0.4;  1: 0.04
    for alpha, expected in ((0.5, 0.87), (0.0, 0.6), (1.0, 0.96)):
        found = forms.projection(np.array([0.6]), np.array([0.0]), 0.0, alpha)
        np.testing.assert_allclose(found, [expected], atol=1e-12)


def test_projection_equals_the_matrix_of_the_published_code():
    rng = np.random.default_rng(0)
    frames, goal, baseline = (_unit(rng.normal(size=(n, 8))) for n in (20, 1, 1))
    direction = goal - baseline
    for alpha in (0.0, 0.3, 1.0):
        onto = direction.T @ direction / (direction**2).sum()
        matrix = alpha * onto + (1 - alpha) * np.eye(8)
        expected = 1 - (((frames - goal) @ matrix) ** 2).sum(1) / 2
        found = forms.projection(
            (frames @ goal.T)[:, 0], (frames @ baseline.T)[:, 0], (goal @ baseline.T).item(), alpha
        )
        np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-12)


def test_projection_without_a_line_is_refused():
    with pytest.raises(ValueError, match="no line"):
        forms.projection(np.array([0.5]), np.array([0.5]), 1.0)


def test_threshold_by_hand():
    np.testing.assert_array_equal(forms.threshold(np.array([0.31, 0.32, 0.33]), 0.32), [0, 0, 1])


def test_the_temperature_of_maximum_likelihood_by_hand():
    # contrast 0.1 for all; 3 of 4 frames safe: 1 / (1 + exp(-0.1 / T)) = 0.75, T = 0.1 / ln 3
    similarities = np.array([[0.3, 0.2]] * 4)
    found = fit_temperature(similarities, [False, False, False, True])
    assert found == pytest.approx(0.1 / np.log(3), rel=1e-9)


def test_the_fitted_temperature_is_the_one_that_made_the_data():
    rng = np.random.default_rng(0)
    similarities = 0.25 + 0.03 * rng.normal(size=(20_000, 2))
    safe = rng.random(20_000) < forms.softmax(similarities[:, 0], similarities[:, 1], 0.02)
    assert fit_temperature(similarities, ~safe) == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(
    ("similarities", "unsafe", "reason"),
    [
        ([[0.3, 0.2], [0.1, 0.2]], [False, True], "without error"),
        ([[0.3, 0.2], [0.1, 0.2]], [True, False], "backwards"),
        ([[0.3, 0.2], [0.1, 0.2]], [False, False], "one kind"),
        ([[0.3, np.nan], [0.1, 0.2]], [False, True], "NaN"),
        ([0.3, 0.1], [False, True], "shape"),
    ],
)
def test_data_that_no_temperature_fits_are_refused(similarities, unsafe, reason):
    with pytest.raises(ValueError, match=reason):
        fit_temperature(similarities, unsafe)


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
