"""Published backbones: the stated sizes are those of the architectures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wrappers.clip_loading import BACKBONES, PAPER_BACKBONES, checkpoint_of

TABLE = (Path(__file__).parents[2] / "docs" / "scorers.md").read_text("utf-8")


def vision(width, layers, heads, mlp, patch, image=224):
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": mlp,
        "patch_size": patch,
        "image_size": image,
    }


def text(width, layers, heads, mlp, **other):
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": mlp,
        **other,
    }


CLIPS = {
    "vit-b-32": (vision(768, 12, 12, 3072, 32), text(512, 12, 8, 2048), 512),
    "vit-l-14": (vision(1024, 24, 16, 4096, 14), text(768, 12, 12, 3072), 768),
    "vit-h-14": (vision(1280, 32, 16, 5120, 14), text(1024, 24, 16, 4096), 1024),
    "vit-bigg-14": (vision(1664, 48, 16, 8192, 14), text(1280, 32, 20, 5120), 1280),
}
IDS = {"bos_token_id": None, "eos_token_id": 1}
SIGLIPS = {
    "siglip-b-16": (vision(768, 12, 12, 3072, 16), text(768, 12, 12, 3072, **IDS)),
    "siglip-so400m": (vision(1152, 27, 16, 4304, 14, 384), text(1152, 27, 16, 4304, **IDS)),
    "siglip2-b-16": (
        vision(768, 12, 12, 3072, 16),
        text(768, 12, 12, 3072, vocab_size=256_000, **IDS),
    ),
}


def parameters(name):
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    with torch.device("meta"):  # shapes without memory
        if name in CLIPS:
            seen, read, width = CLIPS[name]
            config = CLIPConfig(vision_config=seen, text_config=read, projection_dim=width)
            model = CLIPModel(config)
        else:
            seen, read = SIGLIPS[name]
            model = SiglipModel(SiglipConfig(vision_config=seen, text_config=read))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", BACKBONES)
def test_the_stated_parameters_are_those_of_the_architecture(name):
    assert parameters(name) == BACKBONES[name].parameters


def test_the_table_in_the_documentation_is_the_tables_own():
    for name, backbone in BACKBONES.items():
        row = next(line for line in TABLE.splitlines() if f"| {name} " in line)
        _, _, checkpoint, millions, memory, _ = (cell.strip() for cell in row.split("|"))
        assert checkpoint == backbone.checkpoint
        assert millions == f"{backbone.parameters / 1e6:,.0f} M"
        single, half = (float(part) for part in memory.removesuffix(" GB").split("/"))
        assert single == round(backbone.weights_gigabytes(), 1)
        assert half == round(backbone.weights_gigabytes(2), 1)


def test_the_papers_four_are_among_them():
    assert [checkpoint_of(name) for name in PAPER_BACKBONES] == [
        "openai/clip-vit-base-patch32",
        "openai/clip-vit-large-patch14",
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    ]
    assert checkpoint_of("someone/their-clip") == "someone/their-clip"
