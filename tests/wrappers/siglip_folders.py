"""Tiny SigLIP checkpoints with random weights, written as ``transformers`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

WORDS = "a the car vehicle red is driving safely with no accidents an accident fine not at all"
LENGTH = 16  # tokens of a text
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
VISION = {**TEXT, "num_attention_heads": 2, "patch_size": 8}
SIZE = {"height": 24, "width": 24}  # of a picture [px]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case words ended by ``</s>``, which is the padding too, as in SigLIP."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", "</s>", *WORDS.split()])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="</s>",
        model_max_length=LENGTH,
    )


def text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        **TEXT,
        "num_attention_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LENGTH,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }


def write_tiny_siglip(folder: Path, tokenizer: Any = None, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    tokenizer = tokenizer or build_tokenizer()
    config = SiglipConfig(
        text_config=text_config(tokenizer), vision_config={**VISION, "image_size": 24}
    )
    return _write(folder, SiglipModel(config), tokenizer, SiglipImageProcessorPil(size=SIZE))


def write_tiny_siglip2(folder: Path) -> Path:
    """The variant that takes frames of any shape as patches ("NaFlex")."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = Siglip2Config(
        text_config=text_config(tokenizer), vision_config={**VISION, "num_patches": 16}
    )
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    return _write(folder, Siglip2Model(config), tokenizer, processor)


def _write(folder: Path, model: Any, tokenizer: Any, processor: Any) -> Path:
    with torch.no_grad():
        model.logit_scale.fill_(4.765)  # exp: 117, as in the published SigLIPs
        model.logit_bias.fill_(-12.9)
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)
    return folder
