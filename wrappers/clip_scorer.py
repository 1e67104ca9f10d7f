"""Scores by a dual encoder: is a frame nearer to the safe words than to the unsafe ones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wrappers import forms
from wrappers.checkpoints import UnfitError, device_of, dtype_of, loading, weights_sha256
from wrappers.checks import one_number, whole_number
from wrappers.clip_loading import (
    FastPreprocessor,
    bundled_folder,
    checkpoint_of,
    features_of,
    load_dual_encoder,
    own_temperature,
    text_features,
    text_length,
)
from wrappers.prompts import SAFE_PROMPT, UNSAFE_PROMPT, Prompts, Sentences, read_prompts
from wrappers.registry import check_known, option_names
from wrappers.scorer import BUNDLED, FirstBatch, Frames, Infos, Scores, check_frames
from wrappers.sentence_checks import check_sentences, check_sides, warn_of_equal_sides

THRESHOLDS = {"threshold": 0.32, "softmax_threshold": 0.5}
MARGIN, ALPHA = 0.03, 0.5
_USED_BY = {  # numbers that only some forms read
    "temperature": ("softmax", "softmax_threshold"),
    "margin": ("margin",),
    "alpha": ("projection",),
    "threshold": tuple(THRESHOLDS),
}
_SIDES_COMPARED = ("softmax", "softmax_threshold", "margin")  # forms
_OFTEN_CONSTANT = ("margin", "threshold", "softmax_threshold")  # forms that say 1 of calm frames


class ClipScorer:
    """Safety score of a frame from its similarity to safe and to unsafe sentences.

    Any dual encoder of ``transformers`` works (CLIP, SigLIP, SigLIP 2, MetaCLIP 2, ...), OpenAI's
    and the bundled one through the same code.  The ``form`` makes a score of the cosines; the
    formulas and their sources are in :mod:`~.forms`:

    - ``"softmax"`` (default): CLIP's zero-shot classification between the two sides.  The paper
      draws this contrast but states no temperature; ours is by default the checkpoint's own
      (0.01 for OpenAI's CLIPs).  :func:`~.forms.fit_temperature` fits one.
    - ``"cosine"``: the paper's printed formula, the bare cosine with the safe side.
    - ``"margin"``: VLM-RL's, with its ``margin`` of 0.03.
    - ``"negative"``: LORD's, the unsafe side alone.
    - ``"projection"``: VLM-RM's goal-baseline projection with strength ``alpha``; the goal is the
      safe side, the baseline ``Prompts.baseline`` ("A car.").
    - ``"threshold"``, ``"softmax_threshold"``: VLM-SR's, 1 or 0.

    Scorers keep no state between calls.

    Args:
        model: ``"bundled"``, a name of :data:`~.clip_loading.BACKBONES`, a hub name or a folder
            written by ``save_pretrained``.
        prompts: the safe and the unsafe side, each a sentence or an ensemble of several;
            :class:`~.prompts.Prompts`; or a JSON file, see :func:`~.prompts.read_prompts`.
        form: one of :data:`~.forms.FORMS`.
        temperature: of the softmax; ``None`` for the checkpoint's own.
        margin: width of the ``"margin"`` form, in cosines; ``None`` for 0.03.
        alpha: strength of the projection, in [0, 1]; ``None`` for 0.5.
        threshold: above which a frame is safe; ``None`` for 0.32 (cosine) or 0.5 (softmax).
        batch_size: frames scored at once.
        device: where the model runs.
        precision: of weights and activations: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Raises:
        ValueError: a checkpoint that cannot be loaded whole, or whose tokenizer or image processor
            does not belong to it; prompts that it cannot read or tell apart; an unknown form; an
            impossible number, or one that the form does not read.

    Warns of prompts that are cut to the length that the model reads, of sides that it reads nearly
    alike, and of a first batch that gets one score.
    """

    def __init__(
        self,
        model: str | Path = BUNDLED,
        prompts: Prompts | Sequence[Sentences] | str | Path = (SAFE_PROMPT, UNSAFE_PROMPT),
        form: str = "softmax",
        temperature: float | None = None,
        margin: float | None = None,
        alpha: float | None = None,
        threshold: float | None = None,
        batch_size: int = 64,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        given = {
            "temperature": temperature,
            "margin": margin,
            "alpha": alpha,
            "threshold": threshold,
        }
        numbers = _check_numbers(form, given)
        dtype = dtype_of(precision)
        self.batch_size = whole_number(batch_size, "batch_size", "a dual encoder", 1)
        self._prompts = read_prompts(prompts)
        # Pickled by name: worker processes load the model themselves.
        settings = (batch_size, device, precision)
        self._arguments = (model, self._prompts, form, *given.values(), *settings)
        self.form = form
        self.margin = numbers.get("margin", MARGIN)
        self.alpha = numbers.get("alpha", ALPHA)
        self.threshold = numbers.get("threshold", THRESHOLDS.get(form, 0.0))
        self.device = device_of(device)
        self.precision = precision
        self.name = checkpoint_of(str(model))
        folder = bundled_folder() if model == BUNDLED else self.name
        self.model, tokenizer, processor = load_dual_encoder(folder, dtype)
        self.model.to(self.device)
        with loading(self.name, "an image processor", "copy it again"):
            self.preprocess = FastPreprocessor(processor)
        self.temperature = self._choose_temperature(numbers.get("temperature"))
        self._text = self._encode_prompts(tokenizer)  # (3, D), unit length
        self._features_seen = FirstBatch(f"scorer {self.name!r}", "image features")
        self._scores_seen = FirstBatch(f"scorer {self.name!r}, form {form!r},")

    @property
    def prompts(self) -> list[str | list[str]]:
        """The safe and the unsafe side: a sentence, or a list of several."""
        return self._prompts.pair

    @cached_property
    def weights_hash(self) -> str:
        """See :func:`~.checkpoints.weights_sha256`."""
        return weights_sha256(self.model)

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on; of the form's numbers only those that it uses."""
        used: dict[str, Any] = {}
        if self.form in ("softmax", "softmax_threshold"):
            used["temperature"] = self.temperature
        if self.form in THRESHOLDS:
            used["threshold"] = self.threshold
        if self.form == "margin":
            used["margin"] = self.margin
        if self.form == "projection":
            used |= {"alpha": self.alpha, "baseline": list(self._prompts.baseline)}
        return {
            "name": "clip",
            "model": self.name,
            "revision": getattr(self.model.config, "_commit_hash", None),
            "weights_sha256": self.weights_hash,
            "precision": self.precision,
            "preprocessing": self.preprocess.identity,
            "prompts": self.prompts,
            "form": self.form,
            **used,
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8; ``infos`` are not read."""
        return self.score(self.image_features(frames))

    def score(self, features: torch.Tensor) -> Scores:
        """Scores ``(N,)`` of :meth:`image_features`, so that one look serves many prompts."""
        safe, unsafe, baseline = self._cosines(features).T
        if self.form == "cosine":
            score = forms.cosine(safe)
        elif self.form == "margin":
            score = forms.margin(safe, unsafe, self.margin)
        elif self.form == "negative":
            score = forms.negative(unsafe)
        elif self.form == "projection":
            between = float(self._text[0].double() @ self._text[2].double())
            score = forms.projection(safe, baseline, between, self.alpha)
        elif self.form == "threshold":
            score = forms.threshold(safe, self.threshold)
        else:
            score = forms.softmax(safe, unsafe, self.temperature)
            if self.form == "softmax_threshold":
                score = forms.threshold(score, self.threshold)
        if self.form not in _OFTEN_CONSTANT and not self._scores_seen.done:
            self._scores_seen.look(np.stack([safe, unsafe], 1), score)
        return score.astype(np.float32)

    judge = score  # its name before

    def similarities(self, frames: Frames) -> np.ndarray:
        """Cosines ``(N, 2)`` float64 with the safe and the unsafe side."""
        return self._cosines(self.image_features(frames))[:, :2]

    def image_features(self, frames: Frames) -> torch.Tensor:
        """Features ``(N, D)`` of unit length on this scorer's device; no prompt plays a part."""
        check_frames(frames)
        parts = [torch.zeros((0, self._text.shape[1]), device=self.device)]
        for start in range(0, len(frames), self.batch_size):
            parts.append(self.encode(self.prepare(frames[start : start + self.batch_size])))
        return torch.cat(parts)

    def prepare(self, frames: Frames) -> dict[str, torch.Tensor]:
        """Model inputs of ``frames (N, H, W, 3)``, on the CPU; for loaders that run ahead."""
        return self.preprocess.prepare(frames)

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Unit features ``(N, D)`` float32 of what :meth:`prepare` returned, in one pass."""
        finished = self.preprocess.finish(dict(inputs), self.device)
        finished["pixel_values"] = finished["pixel_values"].to(self.model.dtype)
        with torch.inference_mode():
            found = features_of(self.model.get_image_features(**finished))
            features = torch.nn.functional.normalize(found.float(), dim=-1)
        sums = features.sum(1).cpu().numpy()
        if not np.isfinite(sums).all():
            raise ValueError(
                f"scorer {self.name!r} makes features of a frame that are not finite: its weights "
                f"are damaged, or precision={self.precision!r} is too small for them"
            )
        if not self._features_seen.done:
            self._features_seen.look(finished["pixel_values"].float().cpu().numpy(), sums)
        return features

    def _cosines(self, features: torch.Tensor) -> np.ndarray:
        """Cosines ``(N, 3)`` float64 with the safe, the unsafe and the baseline side."""
        with torch.inference_mode():
            return (features @ self._text.T).double().cpu().numpy()

    def _encode_prompts(self, tokenizer: Any) -> torch.Tensor:
        """The unit average of each side's unit features, ``(3, D)``."""
        prompts = self._prompts
        length = text_length(self.model, tokenizer)
        with loading(self.name, "prompts for a CLIP checkpoint", "use other prompts"):
            for side in self._sides_read():
                check_sentences(self.model, tokenizer, side, length)
            if self.form in _SIDES_COMPARED:
                check_sides(prompts, tokenizer, length)
            sides = [
                text_features(self.model, tokenizer, side).mean(0)
                for side in (prompts.safe, prompts.unsafe, prompts.baseline)
            ]
            found = torch.nn.functional.normalize(torch.stack(sides), dim=-1)
            if not torch.isfinite(found).all():
                raise UnfitError(
                    "the features of its prompts are not finite: its weights are damaged, or "
                    f"precision={self.precision!r} is too small for them"
                )
        if self.form in _SIDES_COMPARED:
            warn_of_equal_sides(float(found[0].double() @ found[1].double()), prompts, self.name)
        return found

    def _sides_read(self) -> list[tuple[str, ...]]:
        """The sides whose features make the score."""
        prompts = self._prompts
        if self.form in _SIDES_COMPARED:
            return [prompts.safe, prompts.unsafe]
        if self.form == "negative":
            return [prompts.unsafe]
        return [prompts.safe, prompts.baseline] if self.form == "projection" else [prompts.safe]

    def _choose_temperature(self, temperature: float | None) -> float:
        own = own_temperature(self.model)
        if temperature is None and own is None:
            raise ValueError(f"{self.name} has no temperature of its own: give temperature=...")
        return float(own if temperature is None else temperature)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> ClipScorer:
        return self  # stateless


def make_bundled_scorer(argument: str | None, **options: Any) -> ClipScorer:
    """For ``"bundled"``; without options one scorer is shared in a process."""
    if argument is not None:
        raise ValueError(f"the scorer 'bundled' takes no argument, got {argument!r}")
    return _make("bundled", BUNDLED, options) if options else _shared_bundled()


def make_clip_scorer(argument: str | None, **options: Any) -> ClipScorer:
    """For ``"clip:<backbone, hub name or folder>"``; ``"clip"`` alone is the smallest backbone."""
    return _make("clip", argument or "vit-b-32", options)


def make_siglip_scorer(argument: str | None, **options: Any) -> ClipScorer:
    """For ``"siglip:<backbone, hub name or folder>"``; alone it is the smallest SigLIP."""
    return _make("siglip", argument or "siglip-b-16", options)


def _make(name: str, model: str, options: dict[str, Any]) -> ClipScorer:
    check_known(name, options, option_names(ClipScorer)[1:])
    return ClipScorer(model, **options)


@lru_cache(maxsize=1)
def _shared_bundled() -> ClipScorer:
    # Scorers of frames keep no state, so all environments of a process can share one model.
    return ClipScorer(BUNDLED)


def _check_numbers(form: str, given: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a form that were given.

    Raises:
        ValueError: for an unknown form, a number out of its range, and one that the form does not
            read.
    """
    if form not in forms.FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(forms.FORMS)}")
    ranges = {"temperature": (0.0, None), "margin": (0.0, 2.0), "alpha": (0.0, 1.0)}
    found = {}
    for name, value in given.items():
        if value is None:
            continue
        if form not in _USED_BY[name]:
            raise ValueError(
                f"{name}={value!r} has no effect with form={form!r}, only with "
                f"{' and '.join(_USED_BY[name])}; leave it out"
            )
        low, high = ranges.get(name, (-1.0, 1.0))
        found[name] = one_number(value, name, f"form {form!r}", low, high)
        if name in ("temperature", "margin") and found[name] == 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    return found
