"""A small CLIP with its tokenizer and image processor, as ``transformers`` classes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from wrappers.checkpoints import no_weight_bars
from wrappers.clip_loading import image_processor_class
from wrappers.clip_training.phrases import DRIVING_WORDS
from wrappers.files import reading, replacing


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of both towers; about 1.4 million parameters by default.

    A frame is resized to ``frame_size`` and its middle, ``image_size``, is what the model sees; by
    default all of it, or the ego vehicle's trail would be cut off and with it its speed.
    """

    frame_size: int = 112  # [px]
    image_size: int = 112  # [px]
    patch_size: int = 14  # [px]
    vision_width: int = 96
    vision_layers: int = 4
    text_width: int = 128
    text_layers: int = 3
    heads: int = 4
    mlp_ratio: int = 3
    projection: int = 128
    vocabulary: int = 2048
    caption_tokens: int = 48

    def __post_init__(self) -> None:
        if self.image_size > self.frame_size:
            raise ValueError(f"image_size {self.image_size} exceeds frame_size {self.frame_size}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        if self.vision_width % self.heads or self.text_width % self.heads:
            raise ValueError(f"widths must be multiples of {self.heads} heads")


def build_tokenizer(captions: Iterable[str], config: ModelConfig) -> Any:
    """A ``CLIPTokenizer`` whose merges are learned from captions and a driving vocabulary.

    Byte-level pieces make every text expressible: a word it has not seen falls into known pieces.
    """
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    special = ["<|startoftext|>", "<|endoftext|>"]
    learner = Tokenizer(BPE(end_of_word_suffix="</w>", unk_token=special[1]))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    # CLIP's vocabulary: every byte inside a word, every byte at a word's end, then merges.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=config.vocabulary - len(alphabet),
        special_tokens=special,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator([*captions, *[DRIVING_WORDS] * 20], trainer)
    merges = [tuple(pair) for pair in _merges(learner)]
    pieces = [*special, *alphabet, *[byte + "</w>" for byte in alphabet]]
    pieces = list(dict.fromkeys([*pieces, *["".join(pair) for pair in merges]]))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=config.caption_tokens)


def _merges(tokenizer: Any) -> list[list[str]]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]


def build_model(tokenizer: Any, config: ModelConfig) -> Any:
    """A ``CLIPModel`` with fresh weights for this tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.text_width,
        "intermediate_size": config.text_width * config.mlp_ratio,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.caption_tokens,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": config.projection,
    }
    vision = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_size": config.vision_width,
        "intermediate_size": config.vision_width * config.mlp_ratio,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.heads,
        "projection_dim": config.projection,
    }
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=config.projection)
    )
    with torch.no_grad():
        grid = sincos_positions(config.image_size // config.patch_size, config.vision_width)
        model.vision_model.embeddings.position_embedding.weight[1:].copy_(grid)  # [0]: class token
    return model


def sincos_positions(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column, ``(side * side, width)``, to start positions from.

    A small vision transformer learns where things are much sooner from these than from noise
    (Beyer et al. 2022, "Better plain ViT baselines").  ``width`` must be a multiple of 4.
    """
    frequency = 100.0 ** (-torch.arange(width // 4) / (width // 4))  # (width / 4,)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (row, column)]  # (side^2, width / 4) each
    waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return 0.3 * torch.cat(waves, dim=1)


def build_processor(config: ModelConfig) -> Any:
    """An image processor that resizes and crops to the model's input, with CLIP's statistics."""
    side = config.image_size
    return image_processor_class()(
        size={"shortest_edge": config.frame_size}, crop_size={"height": side, "width": side}
    )


def save_clip(folder: Path, model: Any, tokenizer: Any, processor: Any) -> None:
    """Write all three with ``save_pretrained``; weights as float16 safetensors.

    Each file appears whole, ``config.json`` last.
    """
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as temporary:
        with no_weight_bars():
            model.save_pretrained(temporary, state_dict=state)
        tokenizer.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        written = sorted(Path(temporary).iterdir(), key=lambda path: path.name == "config.json")
        for path in written:
            with replacing(folder / path.name) as target:
                path.rename(target)


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Give ``model`` the weights that :func:`save_clip` wrote.

    Raises:
        ValueError: when they cannot be read or are of a model of other sizes.
    """
    from safetensors.torch import load_file

    weights = reading(
        folder / "model.safetensors",
        "weights of a CLIP",
        load_file,
        "name a folder that train-clip wrote",
    )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the model in {folder} has other sizes: {error}") from error


def count_parameters(model: torch.nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())
