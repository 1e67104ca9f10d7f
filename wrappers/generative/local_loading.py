"""Loading generative VLMs through ``transformers``, and asking them about pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ..clip_loading import no_weight_bars
from ..scorer import Frames


class LocalVLM:
    """A model, its processor and its chat template, in evaluation mode.

    Args:
        checkpoint: hub name, or a folder written by ``save_pretrained``.
        device: where the model runs.
        dtype: of weights and activations.

    Raises ``ValueError``, naming the remedy, for a checkpoint that cannot be loaded, has no chat
    template, or is no model of pictures and text.
    """

    def __init__(self, checkpoint: str, device: str, dtype: torch.dtype) -> None:
        self.model, self.processor = _load(checkpoint, dtype)
        self.model.to(device)
        self.tokenizer = self.processor.tokenizer
        self.tokenizer.padding_side = "left"  # so that every prompt ends where its answer begins
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if not (self.processor.chat_template or getattr(self.tokenizer, "chat_template", None)):
            raise ValueError(
                f"{checkpoint!r} has no chat template: only models tuned to answer can be judges; "
                "look for its instruct version"
            )

    def prompt(self, text: str, pictures: int) -> str:
        """A question about a number of pictures, as the model was taught to be asked."""
        content = [{"type": "image"}] * pictures + [{"type": "text", "text": text}]
        prompt: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return prompt

    def inputs(self, prompt: str, clips: Frames) -> Any:
        """Model inputs of a prompt and ``clips (N, K, H, W, 3)``, on the model's device."""
        from PIL import Image

        pictures = [[Image.fromarray(frame) for frame in clip] for clip in clips]
        inputs = self.processor(
            text=[prompt] * len(clips), images=pictures, return_tensors="pt", padding=True
        )
        return inputs.to(
            self.model.device, dtype=self.model.dtype
        )  # whole numbers stay as they are

    def next_token(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Probabilities ``(N, V)`` float32 of the first token of the answer."""
        found = self._generate(
            inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
        )
        return found.logits[0].float().softmax(-1)

    def answers(
        self, inputs: Mapping[str, torch.Tensor], max_tokens: int
    ) -> list[tuple[str, bool]]:
        """The most likely answers in words, and whether each came to its end."""
        sequences = self._generate(inputs, max_new_tokens=max_tokens)
        said = sequences[:, inputs["input_ids"].shape[1] :].cpu()
        ends = torch.tensor(self._end_tokens())
        texts = self.tokenizer.batch_decode(said, skip_special_tokens=True)
        return [
            (text, bool(torch.isin(row, ends).any())) for text, row in zip(texts, said, strict=True)
        ]

    def tokens_reading(self, words: Iterable[str]) -> dict[str, list[int]]:
        """All tokens that read as each word, whatever their case and the space before them."""
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        found: dict[str, list[int]] = {word: [] for word in words}
        for token, text in enumerate(texts):
            if (bare := text.strip().lower()) in found:
                found[bare].append(token)
        return found

    def _generate(self, inputs: Mapping[str, torch.Tensor], **options: Any) -> Any:
        with torch.inference_mode():
            return self.model.generate(
                **inputs, do_sample=False, pad_token_id=self.tokenizer.pad_token_id, **options
            )

    def _end_tokens(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        return list(ends) if isinstance(ends, list | tuple) else [ends]


def _load(checkpoint: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    is_folder = Path(checkpoint).is_dir()
    if is_folder and not (Path(checkpoint) / "config.json").is_file():
        raise ValueError(f"folder {checkpoint} holds no checkpoint: config.json is missing")
    try:
        processor = AutoProcessor.from_pretrained(checkpoint)
        with no_weight_bars() if is_folder else nullcontext():
            model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=dtype)
    except ImportError as error:
        raise ValueError(
            f"cannot load a VLM from {checkpoint!r}: {_first_words(error)}  Models that also see "
            "videos need torchvision (of the version that goes with PyTorch), and some num2words."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"cannot load a VLM from {checkpoint!r}: {_first_words(error)}  Without a network give "
            "the path of a folder written by save_pretrained."
        ) from error
    if not (hasattr(processor, "tokenizer") and hasattr(processor, "image_processor")):
        raise ValueError(f"{checkpoint!r} has no processor for pictures and text")
    return model.eval().requires_grad_(False), processor


def _first_words(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
