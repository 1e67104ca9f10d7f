"""Loading generative VLMs through ``transformers``, and asking them about pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from wrappers.checkpoints import (
    UnfitError,
    check_folder,
    check_vocabulary,
    device_of,
    load_whole,
    loading,
)
from wrappers.scorer import Frames
from wrappers.sentence_checks import check_words

_REMEDY = "without a network give the path of a folder written by save_pretrained"


class LocalVLM:
    """A model, its processor and its chat template, in evaluation mode.

    Args:
        checkpoint: hub name, or a folder written by ``save_pretrained``.
        device: where the model runs.
        dtype: of weights and activations.

    Raises:
        ValueError: for a checkpoint that cannot be loaded whole, whose parts do not belong
            together, that has no chat template or one without a place for pictures, or is no model
            of pictures and text.  The message names the file or part, and the remedy.
    """

    def __init__(self, checkpoint: str, device: str, dtype: torch.dtype) -> None:
        place = device_of(device)
        with loading(checkpoint, "a VLM", _REMEDY):
            self.model, self.processor = _load(checkpoint, dtype)
            self.tokenizer = self.processor.tokenizer
            if not (self.processor.chat_template or getattr(self.tokenizer, "chat_template", None)):
                raise UnfitError(
                    "it has no chat template: only models tuned to answer can score; look for "
                    "its instruct version"
                )
            if self.prompt("?", 1) == self.prompt("?", 0):
                raise UnfitError(
                    "its chat template leaves pictures out, so that every frame would read alike; "
                    "copy the template of the model for pictures"
                )
        self.model.to(place)
        self.tokenizer.padding_side = "left"  # so that every prompt ends where its answer begins
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def check_question(self, text: str, checkpoint: str) -> None:
        """Refuse words that the tokenizer does not know (``ValueError``), warn if some are such."""
        with loading(checkpoint, "a question for a VLM", "ask in other words"):
            check_words(self.tokenizer, text)

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
    from transformers import AutoModelForImageTextToText

    if Path(checkpoint).is_dir():
        check_folder(Path(checkpoint))
    processor = _load_processor(checkpoint)
    if not (hasattr(processor, "tokenizer") and hasattr(processor, "image_processor")):
        raise UnfitError("it has no processor for pictures and text; name a model that sees")
    model = load_whole(AutoModelForImageTextToText, checkpoint, dtype=dtype)
    embeddings = model.get_input_embeddings().weight.shape[0]
    check_vocabulary(processor.tokenizer, embeddings, checkpoint)
    return model, processor


def _load_processor(checkpoint: str) -> Any:
    """What makes inputs of pictures and text.

    Models that also see videos bring a part for these that needs torchvision, of which there is no
    build for every PyTorch; as we show pictures only, the others are put together without it.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(checkpoint)
    except ImportError as error:
        made = _without_video(checkpoint)
        if made is None:
            raise UnfitError(f"{error}") from error
        return made


def _without_video(checkpoint: str) -> Any:
    """A processor with ``None`` in place of the part for videos; ``None`` if it needs none."""
    import transformers

    facts, _ = transformers.ProcessorMixin.get_processor_dict(checkpoint)
    name = facts.get("processor_class") or _processor_name(checkpoint)
    own_class = getattr(transformers, str(name), None)
    if own_class is None or "video_processor" not in own_class.get_attributes():
        return None

    class WithoutVideo(own_class):  # type: ignore[misc, valid-type]
        @classmethod
        def _get_arguments_from_pretrained(cls, source: str, *_: Any, **__: Any) -> list[Any]:
            parts = {
                "tokenizer": lambda: transformers.AutoTokenizer.from_pretrained(source),
                "image_processor": lambda: transformers.AutoImageProcessor.from_pretrained(
                    source, backend="pil"
                ),
                "video_processor": lambda: None,
            }
            return [parts[part]() for part in cls.get_attributes()]

        def check_argument_for_proper_class(self, part: str, given: Any) -> Any:
            return given and super().check_argument_for_proper_class(part, given)

    WithoutVideo.__name__ = own_class.__name__
    return WithoutVideo.from_pretrained(checkpoint)


def _processor_name(checkpoint: str) -> str | None:
    """The class that goes with a model's kind, where no file of the processor names it."""
    from transformers import PROCESSOR_MAPPING, AutoConfig

    kind = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(checkpoint)), None)
    return getattr(kind, "__name__", None)
