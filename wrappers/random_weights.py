"""A dual encoder that has learnt nothing: how much of a scorer's success is its architecture?

A random projection of frames is not blind: its score may happen to rise or fall with what is in
them, and does so reproducibly.  Several seeds tell how far from chance luck alone can lead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wrappers.checks import whole_number
from wrappers.clip_loading import bundled_folder, load_tokenizer
from wrappers.clip_scorer import ClipScorer
from wrappers.registry import check_known, option_names
from wrappers.scorer import BUNDLED


class RandomWeightsScorer(ClipScorer):
    """:class:`~.clip_scorer.ClipScorer` with fresh weights in place of a checkpoint's.

    Architecture, tokenizer, preprocessing and prompts are the checkpoint's; the temperature is that
    of a fresh model unless it is given.

    Args:
        seed: of the weights; the same seed gives the same scores.
        model: see :class:`~.clip_scorer.ClipScorer`, and so for the ``options``.

    Raises:
        ValueError: for a negative seed and what ``ClipScorer`` refuses.
    """

    def __init__(self, seed: int = 0, model: str | Path = BUNDLED, **options: Any) -> None:
        self.seed = whole_number(seed, "seed", "scorer 'random-weights'", 0)
        super().__init__(model, **options)
        self._given = (model, options)
        _forget(self.model, self.seed)
        self.temperature = self._choose_temperature(options.get("temperature"))
        source = bundled_folder() if model == BUNDLED else self.name
        self._text = self._encode_prompts(load_tokenizer(source))

    @property
    def identity(self) -> dict[str, Any]:
        """The same facts as a checkpoint's, under another name and with the seed."""
        return {**super().identity, "name": "random-weights", "seed": self.seed}

    def __reduce__(self) -> tuple[Any, ...]:
        model, options = self._given
        return _rebuild, (self.seed, model, options)


def _forget(model: Any, seed: int) -> None:
    """Replace all weights by those that a new model of the same configuration would have."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model)(model.config)
    model.load_state_dict(fresh.state_dict())


def _rebuild(seed: int, model: str | Path, options: dict[str, Any]) -> RandomWeightsScorer:
    return RandomWeightsScorer(seed, model, **options)


def make_random_weights_scorer(argument: str | None, **options: Any) -> RandomWeightsScorer:
    """For ``"random-weights"`` and ``"random-weights:<seed>"``.

    Raises:
        ValueError: for a seed that is no whole number.
    """
    seed = "0" if argument is None else argument
    if not seed.isdigit():
        raise ValueError(
            f"scorer random-weights:{seed} needs a seed, for example 'random-weights:0'"
        )
    check_known("random-weights", options, option_names(ClipScorer))
    return RandomWeightsScorer(int(seed), **options)
