"""Tiny generative VLMs, written as ``transformers`` writes them; one has learned to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "</s>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
SIDE, PATCH = 16, 8
SPECIAL = ["<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<global-img>"]


def build_tokenizer(texts: list[str]) -> Any:
    """Byte-level BPE that makes one token of each word in ``texts``."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def text_config(tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def build_llava(
    texts: list[str], template: str | None = TEMPLATE, side: int = SIDE
) -> tuple[Any, Any]:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = build_tokenizer(texts)
    size = {"height": side, "width": side}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=side,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config), processor


def build_idefics3(texts: list[str]) -> tuple[Any, Any]:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = build_tokenizer(texts)
    image_processor = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": SIDE},
        max_image_size={"longest_edge": SIDE},
    )
    processor = Idefics3Processor(
        image_processor, tokenizer, image_seq_len=1, chat_template=TEMPLATE
    )
    config = Idefics3Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config=text_config(processor.tokenizer),
        image_token_id=processor.tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return Idefics3ForConditionalGeneration(config), processor


def write_qwen2_vl(folder: Path, texts: list[str]) -> Path:
    """A model that also sees videos, with the files of its processor as they are published."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    tokenizer = build_tokenizer(texts)
    marks = ("vision_start", "vision_end", "image_pad", "video_pad")
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{mark}|>" for mark in marks]})
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = [tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in marks]
    text = text_config(tokenizer).to_dict()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        text_config={**{name: text[name] for name in _TEXT}, "rope_parameters": rope},
        vision_config={**vision, "patch_size": PATCH},
        **dict(zip(names, ids, strict=True)),
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=PATCH, min_pixels=1024, max_pixels=4096).save_pretrained(
        folder
    )
    (folder / "processor_config.json").write_text('{"processor_class": "Qwen2VLProcessor"}')
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("<image>", picture))
    return folder


_TEXT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


def save(folder: Path, model: Any, processor: Any) -> Path:
    from wrappers.checkpoints import no_weight_bars

    with no_weight_bars():
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def grey_frames(levels: Any, size: int = 24) -> np.ndarray:
    frames = np.zeros((len(levels), size, size, 3), np.uint8)
    return frames + np.asarray(levels, np.uint8)[:, None, None, None]


def teach(
    model: Any, processor: Any, lessons: list[tuple[str, str, np.ndarray]], steps: int = 150
) -> None:
    """Train a model to give answers: (question, answer, frame) each."""
    parts = [([PICTURE, {"type": "text", "text": text}], f" {said}") for text, said, _ in lessons]
    teach_parts(model, processor, parts, [frame for *_, frame in lessons], steps)


PICTURE = {"type": "image"}


def teach_parts(
    model: Any,
    processor: Any,
    lessons: list[tuple[list[dict[str, str]], str]],
    frames: list[np.ndarray],
    steps: int,
) -> None:
    """Train a model to answer: parts of a message, one of them a picture, and what follows."""
    processor.tokenizer.padding_side = "left"
    texts = []
    for content, answer in lessons:
        message = [{"role": "user", "content": content}]
        prompt = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        texts.append(f"{prompt}{answer}</s>")
    pictures = [[Image.fromarray(frame)] for frame in frames]
    batch = processor(text=texts, images=pictures, return_tensors="pt", padding=True)
    labels = torch.full_like(batch["input_ids"], -100)
    for row, (_, answer) in enumerate(lessons):
        length = len(processor.tokenizer(f"{answer}</s>")["input_ids"])
        labels[row, -length:] = batch["input_ids"][row, -length:]
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        loss = model(**batch, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
