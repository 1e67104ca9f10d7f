"""A dual encoder that has learnt nothing, built from a real checkpoint's folder."""

import pickle

import numpy as np
import pytest
import torch

from wrappers.clip_scorer import ClipScorer
from wrappers.random_weights import RandomWeightsScorer, make_random_weights_scorer

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def fresh() -> RandomWeightsScorer:
    return RandomWeightsScorer()


def test_a_seed_decides_the_scores(fresh: RandomWeightsScorer) -> None:
    scores = fresh(FRAMES)
    assert scores.shape == (6,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(set(scores.tolist())) > 1  # it is not blind
    np.testing.assert_array_equal(scores, RandomWeightsScorer(0)(FRAMES))
    assert (scores != RandomWeightsScorer(1)(FRAMES)).all()


def test_nothing_is_left_of_the_checkpoint_but_its_shape(fresh: RandomWeightsScorer) -> None:
    taught = ClipScorer("bundled")
    before, after = taught.model.state_dict(), fresh.model.state_dict()
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    matrices = [name for name, tensor in before.items() if tensor.ndim == 2]
    assert not any(torch.equal(before[name], after[name]) for name in matrices)
    assert fresh.prompts == taught.prompts
    assert not np.allclose(fresh(FRAMES), taught(FRAMES), atol=1e-3)


def test_the_identity_tells_seeds_and_checkpoints_apart(fresh: RandomWeightsScorer) -> None:
    assert fresh.identity["name"] == "random-weights"
    assert fresh.identity["seed"] == 0
    other = RandomWeightsScorer(1).identity
    assert other["weights_sha256"] != fresh.identity["weights_sha256"]
    assert fresh.identity["weights_sha256"] != ClipScorer("bundled").identity["weights_sha256"]


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    RandomWeightsScorer(3)
    assert torch.equal(torch.rand(3), expected)


def test_other_prompts_meet_the_same_weights_and_pickles_are_rebuilt(
    fresh: RandomWeightsScorer,
) -> None:
    turned = RandomWeightsScorer(0, prompts=tuple(reversed(fresh.prompts)))
    np.testing.assert_allclose(turned(FRAMES), 1 - fresh(FRAMES), atol=1e-5)
    again = pickle.loads(pickle.dumps(turned))
    np.testing.assert_array_equal(again(FRAMES), turned(FRAMES))
    assert again.identity == turned.identity


def test_specs_name_a_seed() -> None:
    assert make_random_weights_scorer(None).seed == 0
    assert make_random_weights_scorer("7").seed == 7
    for wrong in ("", "-1", "few"):
        with pytest.raises(ValueError, match="random-weights"):
            make_random_weights_scorer(wrong)
    with pytest.raises(ValueError, match="seed is -1; expected a whole number of at least 0"):
        RandomWeightsScorer(-1)
