"""The real-versus-dreamed strip of a world model on held-out episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlsafe_agents.data.dataset import EpisodeDataset, SequenceBatch
from vlsafe_agents.vlsafe.batch import to_tensors
from vlsafe_agents.vlsafe.vlsafe import VLSafe
from wrappers.files import write_npz

CONTEXT, DREAMED = 5, 15  # [steps]
MAX_EPISODES = 32


def examine(model: VLSafe, held_out: EpisodeDataset, folder: Path) -> dict[str, str]:
    """What ``vlsafe train`` does with a trained agent: the strip, and a sentence about it."""
    return {"open_loop": write_open_loop(model, held_out, folder / "open_loop.npz")}


def write_open_loop(model: VLSafe, held_out: EpisodeDataset, path: Path) -> str:
    """Dream ``DREAMED`` steps after ``CONTEXT`` frames of held-out episodes; returns a sentence.

    The file holds the strip of one episode (the one with the median error): ``truth``, ``dream``
    (K, H, W, 3) uint8, ``safety_score_true``/``_pred``, ``cost_true``/``_pred`` (K,); and over all
    of them ``pixel_error`` and ``repeat_last_error`` (K,): mean absolute error, 1 = full range.
    """
    if not model.model_can_learn:
        return "the world model was shared without its decoders, so there is no open-loop strip"
    data = held_out.select(model.observation_space)
    length = CONTEXT + DREAMED
    batches = [data.episode_batch(i) for i in range(data.num_episodes)]
    batches = [b for b in batches if b.reward.shape[1] >= length][:MAX_EPISODES]
    if not batches:
        return f"no held-out episode has {length} frames, so there is no open-loop strip"
    layouts = model.policy.world_model.observation.layouts
    name = next((n for n, layout in layouts.items() if layout.shape[2:] == (3,)), None)
    if name is None:
        return "the agent sees no RGB images, so there is no open-loop strip"
    merged = _merge(batches, length)
    arrays = model.policy.world_model.open_loop(to_tensors(merged, model.device), CONTEXT)
    truth, dream = arrays[f"{name}_truth"], arrays[f"{name}_dream"]  # (B, K, H, W, 3)
    error = _error(truth, dream)  # (B, K)
    last = np.broadcast_to(truth[:, CONTEXT - 1 : CONTEXT], truth.shape)
    repeat = _error(truth, last)
    repeat[:, :CONTEXT] = np.nan
    score = error[:, CONTEXT:].mean(1)
    median = int(np.argsort(score)[len(score) // 2])
    named = {
        f"{signal}_{short}": arrays[f"{signal}_{full}"][median]
        for signal in ("safety_score", "cost", "reward")
        if not np.isnan(arrays[f"{signal}_true"][median]).any()  # not known of some frames
        for short, full in (("true", "true"), ("pred", "predicted"))
    }
    arrays_shown = {
        "truth": truth[median],
        "dream": dream[median],
        "pixel_error": error.mean(0),
        "repeat_last_error": repeat.mean(0),
        "context": np.array(CONTEXT),
    }
    write_npz(path, arrays_shown | named)
    dreamed, repeated = error[:, CONTEXT:].mean(), repeat[:, CONTEXT:].mean()
    return (
        f"open loop on {len(batches)} held-out episodes, {DREAMED} steps after {CONTEXT} frames: "
        f"pixel error {dreamed:.4f}, repeating the last frame {repeated:.4f}"
    )


def _merge(batches: list[SequenceBatch], length: int) -> SequenceBatch:
    """The first ``length`` rows of episodes, as one batch."""
    return SequenceBatch.joined([batch.cut(slice(length)) for batch in batches])


def _error(truth: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean absolute error ``(B, K)`` of images ``(B, K, H, W, 3)``, in [0, 1]."""
    return np.abs(truth.astype(np.int16) - other).mean((2, 3, 4)) / 255.0
