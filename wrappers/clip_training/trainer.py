"""The training loop: resumable to the step, with progress and time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wrappers.checkpoints import loading, weights_sha256
from wrappers.clip_loading import FastPreprocessor, load_tokenizer
from wrappers.clip_training.captions import Caption, CaptionWriter, all_phrases
from wrappers.clip_training.evaluation import HELD_OUT_PROMPTS
from wrappers.clip_training.facts import Facts, RoadWords
from wrappers.clip_training.loss import contrast_pair_loss, contrastive_loss, patch_loss
from wrappers.clip_training.model import (
    ModelConfig,
    build_model,
    build_processor,
    build_tokenizer,
    load_weights,
    save_clip,
)
from wrappers.clip_training.patch_labels import CHANNELS, patch_labels
from wrappers.clip_training.training_set import TrainingSet
from wrappers.files import reading, replacing

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class TrainerConfig:
    """How long and how to train."""

    steps: int = 5000
    batch_size: int = 64  # frames a step
    captions: int = 24  # a step, each true of at least one of its frames
    pairs: int = 10  # safe and unsafe sentences a step
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200  # steps
    cooldown: float = 0.3  # last share of the steps, in which the learning rate falls to zero
    clip_norm: float = 1.0
    pair_weight: float = 4.0  # of the two-sentence loss beside the contrastive one
    patch_weight: float = 1.0  # of the patch tokens' own labels
    unsafe_share: float = 0.4  # of the frames drawn have safety below 0.5 ...
    off_road_share: float = 0.05  # ... these among them because they show the car off the road
    near_share: float = 0.3  # ... are safe although somebody is near
    crossing_weight: float = 1.5  # how often roads with crossings are drawn, beside 1 for others
    small_share: float = 0.25  # of a batch shown from small frames
    colour_jitter: float = 0.1  # standard deviation of gain and offset of each colour
    word_dropout: float = 0.05  # chance that a word of a caption is left out
    checkpoint_every: int = 200  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.captions < 1 or self.pairs < 1:
            raise ValueError(
                f"steps {self.steps}, batch_size {self.batch_size}, captions {self.captions} and "
                f"pairs {self.pairs} must be positive (batch_size at least 2)"
            )


@dataclass(frozen=True)
class Batch:
    """One step's input."""

    pixels: Tensor  # (B, 3, S, S)
    texts: list[str]  # captions, then safe sentences, then unsafe ones
    truth: Tensor  # (B, captions)
    safety: Tensor  # (B,)
    patches: Tensor  # (B, P, 4), labels of the patches


class ClipTrainer:
    """Trains a CLIP on a :class:`TrainingSet`, keeping checkpoints in ``folder``.

    Batch k depends only on the seed and k, so a run that was killed and started again with the
    same arguments goes through the same batches; another number of steps prolongs it or cuts it
    short.  With ``start``, a folder that :meth:`save` wrote, weights and tokenizer come from there
    instead of from nowhere.  ``roads`` are the kinds of road that the facts count.

    Raises:
        ValueError: when ``folder`` holds a checkpoint of another configuration, when ``start``
            holds a model of other sizes, and when a loss is not finite.
    """

    def __init__(
        self,
        data: TrainingSet,
        folder: Path,
        model_config: ModelConfig | None = None,
        config: TrainerConfig | None = None,
        start: Path | None = None,
        roads: Sequence[RoadWords] = (),
    ) -> None:
        self.roads = roads
        self.data = data
        self.start = start
        self.folder = folder
        self.model_config = model_config or ModelConfig()
        self.config = config or TrainerConfig()
        self.writer = CaptionWriter(HELD_OUT_PROMPTS, roads)
        unsafe = data.facts.safety < 0.5
        if unsafe.all() or not unsafe.any():
            raise ValueError("the training set needs safe and unsafe frames, it has only one kind")
        self._chance = _chances(data.facts, unsafe, self.config, roads)
        torch.manual_seed(self.config.seed)
        self.started_from: str | None = None  # hash of the weights in ``start``
        self.tokenizer = self._tokenizer()
        self.processor = build_processor(self.model_config)
        self.preprocess = FastPreprocessor(self.processor)
        self.model = build_model(self.tokenizer, self.model_config)
        if start is not None:
            load_weights(self.model, start)
            self.started_from = weights_sha256(self.model)
        self.patch_head = torch.nn.Linear(self.model_config.vision_width, CHANNELS)
        self.optimizer = torch.optim.AdamW(
            _decay_groups([self.model, self.patch_head], self.config.weight_decay),
            lr=self.config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.step = self._saved = 0  # steps done, and in the checkpoint
        self.seconds = 0.0  # spent in training, earlier calls included
        self._resume()

    def train(self, report: Callable[[int, dict[str, float]], None] | None = None) -> Any:
        """Train up to ``config.steps``; ``report(step, losses)`` is called after every step.

        A ``KeyboardInterrupt`` says which checkpoint is kept.
        """
        self.model.train()
        last = time.monotonic()
        try:
            while self.step < self.config.steps:
                losses = self._update(self.batch(self.step))
                self.step += 1
                now = time.monotonic()
                self.seconds, last = self.seconds + now - last, now
                if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                    self._save_checkpoint()
                if report is not None:
                    report(self.step, losses)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted at step {self.step}: the checkpoint of step {self._saved} is kept in "
                f"{self.folder}, and the same command goes on from there"
            ) from None
        return self.model.eval()

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and image processor, ready for :class:`~wrappers.ClipScorer`."""
        save_clip(folder, self.model, self.tokenizer, self.processor)

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        config, rng = self.config, np.random.default_rng([self.config.seed, step])
        rows = rng.choice(len(self.data), config.batch_size, p=self._chance)  # (B,)
        mirror = rng.random(len(rows)) < 0.5
        facts = self.data.facts.select(rows).mirrored(mirror)
        captions = [
            self.writer.about(facts.select([int(rng.integers(len(rows)))]), rng)
            for _ in range(config.captions)
        ]
        safe = [self.writer.safe(rng) for _ in range(config.pairs)]
        unsafe = [self.writer.unsafe(rng) for _ in range(config.pairs)]
        texts = [self._vary(caption, rng) for caption in [*captions, *safe, *unsafe]]
        truth = np.stack([caption.truth(facts) for caption in captions], axis=1)  # (B, C)
        return Batch(
            pixels=self._pixels(rows, mirror, rng),
            texts=texts,
            truth=torch.from_numpy(truth).float(),
            safety=torch.from_numpy(facts.safety).float(),
            patches=self._patches(rows, mirror),
        )

    def _patches(self, rows: npt.NDArray[np.int64], mirror: npt.NDArray[np.bool_]) -> Tensor:
        shape = self.model_config
        labels = patch_labels(self.data.scenes[rows], shape.frame_size // shape.patch_size)
        labels[mirror] = labels[mirror][:, :, ::-1]
        labels[mirror, :, :, 3] *= -1.0  # velocity to the right
        return torch.from_numpy(labels).flatten(1, 2)

    def _pixels(
        self,
        rows: npt.NDArray[np.int64],
        mirror: npt.NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Tensor:
        small = rng.random(len(rows)) < self.config.small_share * (len(self.data.small_frames) > 0)
        pixels = torch.empty(len(rows), 3, *[self.model_config.image_size] * 2)
        for source, where in ((self.data.frames, ~small), (self.data.small_frames, small)):
            if where.any():
                pixels[torch.from_numpy(where)] = self.preprocess(source[rows[where]])
        flipped = torch.from_numpy(mirror)
        pixels[flipped] = pixels[flipped].flip(-1)  # heading is up: left and right change places
        gain, offset = rng.normal(0, self.config.colour_jitter, (2, len(rows), 3, 1, 1))
        return pixels * torch.from_numpy(1 + gain).float() + torch.from_numpy(offset).float()

    def _vary(self, caption: Caption, rng: np.random.Generator) -> str:
        words = caption.text.split(" ")
        kept = [word for word in words if rng.random() >= self.config.word_dropout]
        # "not" and "no" turn a sentence round, so they always stay.
        if len(kept) < 2 or any(_turns(word) and word not in kept for word in words):
            return caption.text
        return " ".join(kept)

    def _update(self, batch: Batch) -> dict[str, float]:
        config = self.config
        tokens = self.tokenizer(
            batch.texts,
            padding=True,
            truncation=True,
            max_length=self.model_config.caption_tokens,
            return_tensors="pt",
        )
        output = self.model(pixel_values=batch.pixels, output_hidden_states=True, **tokens)
        logits = output.logits_per_image  # (B, captions + 2 * pairs)
        sizes = [config.captions, config.pairs, config.pairs]
        described, safe, unsafe = logits.split(sizes, dim=1)
        contrastive = contrastive_loss(described, batch.truth)
        pair = contrast_pair_loss(safe, unsafe, batch.safety)
        # Before the last layer, so that the class token can still collect what patches found.
        tokens_seen = output.vision_model_output.hidden_states[-2][:, 1:]  # (B, P, width)
        patches = patch_loss(self.patch_head(tokens_seen), batch.patches)
        loss = contrastive + config.pair_weight * pair + config.patch_weight * patches
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {self.step}")
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.step, config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, math.log(100.0))  # as CLIP does
        losses = {"contrastive": contrastive, "pair": pair, "patches": patches}
        return {name: loss.item() for name, loss in losses.items()}

    def _tokenizer(self) -> Any:
        """Kept beside the checkpoints: learning it again may break ties differently."""
        if self.start is not None:
            return load_tokenizer(self.start)
        folder = self.folder / "tokenizer"
        if not folder.is_dir():
            tokenizer = build_tokenizer(all_phrases(self.roads), self.model_config)
            with replacing(folder) as temporary:
                tokenizer.save_pretrained(temporary)
        remedy = f"remove {self.folder} to start afresh"
        with loading(str(folder), "the tokenizer of a training", remedy, remedy):
            return load_tokenizer(folder)

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "model": asdict(self.model_config),
            "trainer": asdict(self.config) | {"steps": None},
            "frames": len(self.data),
            "start": self.started_from,
        }

    def _save_checkpoint(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "patch_head": self.patch_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "fingerprint": self._fingerprint(),
        }
        with replacing(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)
        self._saved = self.step

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        remedy = "remove it to start afresh"
        load = partial(torch.load, weights_only=True)
        state = reading(path, "a checkpoint of train-clip", load, remedy)
        if not isinstance(state, dict) or state.get("fingerprint") != self._fingerprint():
            raise ValueError(f"{path} belongs to another configuration or data set; {remedy}")
        self.model.load_state_dict(state["model"])
        self.patch_head.load_state_dict(state["patch_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = self._saved = state["step"]
        self.seconds = state["seconds"]


def _chances(
    facts: Facts,
    unsafe: npt.NDArray[np.bool_],
    config: TrainerConfig,
    roads: Sequence[RoadWords] = (),
) -> npt.NDArray[np.float64]:
    """Chance of each frame ``(N,)``: scenarios by their weights, in each the configured shares.

    Safe frames with somebody near are drawn often: they look most like unsafe ones.
    """
    near = ~unsafe & ((facts.nearest < 9.0) | (facts.gap_ahead < 12.0))
    calm = ~unsafe & ~near
    off_road = unsafe & (facts.off_road > 0)
    groups = (
        (off_road, config.off_road_share),
        (unsafe & ~off_road, config.unsafe_share - config.off_road_share),
        (near, config.near_share),
        (calm, 1 - config.unsafe_share - config.near_share),
    )
    chance = np.zeros(len(unsafe))
    for kind in np.unique(facts.scenario):
        weight = config.crossing_weight if roads and roads[int(kind)].crossing else 1.0
        for rows, share in groups:
            members = (facts.scenario == kind) & rows
            chance[members] = weight * share / max(members.sum(), 1)
    return chance / chance.sum()


def _turns(word: str) -> bool:
    return word.lower().strip(".,") in {"not", "no", "nobody", "nothing", "without", "cannot"}


def _schedule(step: int, config: TrainerConfig) -> float:
    """Linear warm-up, a plateau, then linearly to zero.

    On the plateau nothing depends on the number of steps, so a run can be cut short or prolonged.
    """
    left = (config.steps - step) / max(config.cooldown * config.steps, 1.0)
    return min((step + 1) / config.warmup, 1.0, left)


def _decay_groups(modules: list[torch.nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Weight matrices decay; biases, norms, embeddings of positions and the scale do not."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    named = [pair for module in modules for pair in module.named_parameters()]
    for name, parameter in named:
        decays = parameter.ndim >= 2 and "position" not in name
        (matrices if decays else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
