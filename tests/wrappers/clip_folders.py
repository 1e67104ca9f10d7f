"""Tiny CLIP checkpoints with random weights, written as ``transformers`` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from wrappers.clip_training.facts import Facts
from wrappers.clip_training.model import (
    ModelConfig,
    build_model,
    build_processor,
    build_tokenizer,
    save_clip,
)
from wrappers.clip_training.training_set import TrainingSet

TINY = ModelConfig(
    frame_size=24,
    image_size=24,
    patch_size=12,
    vision_width=16,
    vision_layers=1,
    text_width=16,
    text_layers=1,
    heads=2,
    projection=16,
    vocabulary=700,
)


def write_tiny_clip(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(["the red car is driving safely", "an accident"], TINY)
    save_clip(folder, build_model(tokenizer, TINY), tokenizer, build_processor(TINY))
    return folder


def random_facts(count: int, seed: int = 0) -> Facts:
    """Plausible facts: a third in danger, a few crashed or off the road."""
    rng = np.random.default_rng(seed)
    danger = rng.random(count) < 0.33
    collision = (danger & (rng.random(count) < 0.3)).astype(float)
    off_road = (danger & (rng.random(count) < 0.3)).astype(float)
    time_to_collision = np.where(danger, rng.uniform(0, 2, count), np.inf)
    return Facts(
        scenario=rng.integers(0, 4, count).astype(float),
        speed=rng.uniform(0, 30, count),
        time_to_collision=np.where(collision > 0, 0.0, time_to_collision),
        headway=np.where(danger, rng.uniform(0, 1, count), np.inf),
        collision=collision,
        off_road=off_road,
        time_to_event=np.where(danger, rng.uniform(0, 3, count), np.inf),
        gap_ahead=np.where(danger, rng.uniform(0, 20, count), np.inf),
        closing_ahead=np.where(danger, rng.uniform(0, 20, count), 0.0),
        gap_behind=np.full(count, np.inf),
        closing_behind=np.zeros(count),
        left=(rng.random(count) < 0.3).astype(float),
        right=(rng.random(count) < 0.3).astype(float),
        nearest=rng.uniform(2, 50, count),
        count=rng.integers(0, 12, count).astype(float),
    )


def random_scenes(count: int, seed: int = 0, vehicles: int = 6) -> np.ndarray:
    """Packed scenes ``(count, 8, 7)`` of vehicles near the ego vehicle, two rows unused."""
    rng = np.random.default_rng(seed)
    scenes = np.zeros((count, vehicles + 2, 7), np.float32)
    rows = scenes[:, :vehicles]
    rows[..., :2] = rng.uniform(-30, 30, rows[..., :2].shape)
    rows[..., 2] = rng.uniform(-4, 4, rows.shape[:2])
    rows[..., 3] = rng.uniform(-2, 30, rows.shape[:2]) * (rng.random(rows.shape[:2]) < 0.8)
    rows[..., 4:] = (5.0, 2.0, 1.0)
    return scenes


def random_set(count: int, seed: int = 0) -> TrainingSet:
    """Frames that are brighter the more dangerous the state is, so there is something to learn."""
    facts = random_facts(count, seed)
    rng = np.random.default_rng(seed + 1)
    light = (1 - facts.safety)[:, None, None, None] * 200
    frames = (light + rng.integers(0, 40, (count, 24, 24, 3))).astype(np.uint8)
    return TrainingSet(frames, frames[:, ::2, ::2].copy(), random_scenes(count, seed), facts)
