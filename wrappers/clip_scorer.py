"""A CLIP model as judge: how much nearer is a frame to the safe sentence than to the unsafe one?"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .clip_loading import FastPreprocessor, bundled_folder, load_clip
from .scorer import BUNDLED, Frames, Infos, Scores, check_frames

# The two sentences of VL-SAFE (arXiv 2505.16377, fig. 2a), word for word.
SAFE_PROMPT = "red vehicle is driving safely with no car accidents."
UNSAFE_PROMPT = (
    "The red car is deviating from its trajectory, driving off the road, "
    "or encountering an accident."
)
FORMS = ("softmax", "cosine", "margin")


class ClipScorer:
    """Safety score of a frame from its CLIP similarity to a safe and an unsafe sentence.

    With c_safe and c_unsafe the cosines between image and text features:

    - ``"softmax"`` (default): ``softmax([c_safe, c_unsafe] / temperature)[0]``, CLIP's zero-shot
      classification.  The paper draws this contrast but states no temperature; ours is by default
      the checkpoint's own (``1 / exp(logit_scale)``, 0.01 for OpenAI's).
    - ``"cosine"``: ``clip(c_safe, 0, 1)``, the paper's printed formula.  Cosines of web-scale CLIPs
      vary little (about 0.15 to 0.35), so this is nearly constant.
    - ``"margin"``: ``1 - clip(c_unsafe - c_safe, 0, margin) / margin``, as VLM-RL (TR-C 2025) does
      with margin 0.03.

    Any CLIP checkpoint of ``transformers`` works, OpenAI's and the bundled one through the same
    code.  Scorers keep no state between calls.

    Args:
        model: ``"bundled"``, a hub name or a folder written by ``save_pretrained``.
        prompts: the safe and the unsafe sentence.
        form: ``"softmax"``, ``"cosine"`` or ``"margin"``.
        temperature: of the softmax; ``None`` for the checkpoint's own.
        margin: width of the ``"margin"`` form, in cosines.
        batch_size: frames judged at once.
        device: where the model runs.

    Raises:
        ValueError: a checkpoint that cannot be loaded, an unknown form, an impossible number.
    """

    def __init__(
        self,
        model: str | Path = BUNDLED,
        prompts: tuple[str, str] = (SAFE_PROMPT, UNSAFE_PROMPT),
        form: str = "softmax",
        temperature: float | None = None,
        margin: float = 0.03,
        batch_size: int = 64,
        device: str = "cpu",
    ) -> None:
        self._arguments = (model, tuple(prompts), form, temperature, margin, batch_size, device)
        _check_arguments(prompts, form, temperature, margin, batch_size)
        self.prompts = (prompts[0], prompts[1])
        self.form = form
        self.margin = margin
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.name = str(model)
        folder = bundled_folder() if model == BUNDLED else model
        self.model, tokenizer, processor = load_clip(folder)
        self.model.to(self.device)
        self.preprocess = FastPreprocessor(processor)
        own = float(torch.exp(-self.model.logit_scale.detach().cpu()))
        self.temperature = own if temperature is None else float(temperature)
        self._text = self._text_features(tokenizer)  # (2, D), unit length

    @cached_property
    def weights_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "name": "clip",
            "model": self.name,
            "weights_sha256": self.weights_hash,
            "prompts": list(self.prompts),
            "form": self.form,
            "temperature": self.temperature,
            "margin": self.margin,
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8; ``infos`` are not read."""
        return self.judge(self.image_features(frames))

    def judge(self, features: torch.Tensor) -> Scores:
        """Scores ``(N,)`` of :meth:`image_features`, so that one look serves many prompts."""
        similarity = self._cosines(features)  # (N, 2)
        safe, unsafe = similarity[:, 0], similarity[:, 1]
        if self.form == "cosine":
            score = safe
        elif self.form == "margin":
            score = 1.0 - (unsafe - safe) / self.margin
        else:
            score = 1.0 / (1.0 + np.exp((unsafe - safe) / self.temperature))
        return np.clip(score, 0.0, 1.0).astype(np.float32)

    def similarities(self, frames: Frames) -> np.ndarray:
        """Cosines ``(N, 2)`` float64 with the safe and the unsafe sentence."""
        return self._cosines(self.image_features(frames))

    def image_features(self, frames: Frames) -> torch.Tensor:
        """Features ``(N, D)`` of unit length on this scorer's device; no prompt plays a part."""
        check_frames(frames)
        parts = [torch.zeros((0, self._text.shape[1]), device=self.device)]
        with torch.inference_mode():
            for start in range(0, len(frames), self.batch_size):
                pixels = self.preprocess(frames[start : start + self.batch_size])  # (n, 3, S, S)
                features = _features(self.model.get_image_features(pixels.to(self.device)))
                parts.append(torch.nn.functional.normalize(features, dim=-1))
        return torch.cat(parts)

    def _cosines(self, features: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return (features @ self._text.T).double().cpu().numpy()

    def _text_features(self, tokenizer: Any) -> torch.Tensor:
        length = self.model.config.text_config.max_position_embeddings
        tokens = tokenizer(
            list(self.prompts),
            padding="max_length",  # a fixed length: features do not depend on the other prompt
            truncation=True,
            max_length=length,
            return_tensors="pt",
        ).to(self.device)
        with torch.inference_mode():
            features = _features(
                self.model.get_text_features(tokens["input_ids"], tokens["attention_mask"])
            )
        return torch.nn.functional.normalize(features, dim=-1)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments  # pickled by name: worker processes load it themselves

    def __deepcopy__(self, memo: dict[int, Any]) -> ClipScorer:
        return self  # stateless


def _features(output: Any) -> torch.Tensor:
    """Projected features; older ``transformers`` return them bare, newer ones in a container."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def _check_arguments(
    prompts: tuple[str, str], form: str, temperature: float | None, margin: float, batch_size: int
) -> None:
    if (
        isinstance(prompts, str)
        or len(prompts) != 2
        or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts)
    ):
        raise ValueError(f"prompts must be a safe and an unsafe sentence, got {prompts!r}")
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
    if temperature is not None and not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
