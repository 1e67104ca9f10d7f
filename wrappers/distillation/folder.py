"""A pupil on disk: weights, what they are and who taught them, and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from wrappers.distillation.card import render_card
from wrappers.distillation.network import Pupil, PupilConfig, count_parameters
from wrappers.files import read_json, reading, replacing, write_json, write_text

FORMAT = 1
WEIGHTS, FACTS, CARD = "model.safetensors", "pupil.json", "README.md"
_MOST_WEIGHTS = 64 << 20  # [bytes]; ours has 0.3 MB
_REMEDY = "name a folder written by `vlsafe distill`"


@dataclass(frozen=True)
class Record:
    """Where a pupil comes from; all of it JSON-able."""

    teacher: Mapping[str, Any]  # identity of the scorer whose labels were learnt
    agreement: Mapping[str, Mapping[str, Any]]  # of :func:`~.agreement.compare`, by kind of frames
    training: Mapping[str, Any]  # on what, how long


def save_pupil(folder: str | Path, pupil: Pupil, record: Record) -> None:
    """Write ``model.safetensors``, ``pupil.json`` and the model card ``README.md``."""
    folder = Path(folder)
    network = asdict(pupil.config)
    facts = {"format": FORMAT, "network": network, **asdict(record)}
    weights = {name: tensor.contiguous() for name, tensor in pupil.state_dict().items()}
    (folder / FACTS).unlink(missing_ok=True)  # never old facts beside new weights
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(weights))
    write_text(folder / CARD, render_card(facts, count_parameters(pupil)))
    write_json(folder / FACTS, facts)


def load_pupil(folder: str | Path) -> tuple[Pupil, Record]:
    """What :func:`save_pupil` wrote.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: for anything else than a whole pupil; the message names the file.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    record = Record(facts["teacher"], facts["agreement"], facts["training"])

    def build(path: Path) -> Pupil:
        return _build(PupilConfig(**facts["network"]), path)

    return reading(folder / WEIGHTS, f"the weights of {FACTS}", build, _REMEDY), record


def _build(config: PupilConfig, weights: Path) -> Pupil:
    if (size := weights.stat().st_size) > _MOST_WEIGHTS:
        raise ValueError(f"{size / 1e6:,.0f} MB are too many")
    with torch.device("meta"):  # takes no memory, whatever the sizes
        pupil = Pupil(config)
    stored = {name: tensor.float() for name, tensor in load_file(weights).items()}
    pupil.load_state_dict(stored, assign=True)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in stored.values()):
        raise ValueError("some are not finite")
    return pupil.eval()


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    facts: dict[str, Any] = read_json(path, remedy=_REMEDY)
    parts = ("network", "teacher", "agreement", "training")
    if set(facts) != {"format", *parts} or facts["format"] != FORMAT:
        raise ValueError(f"{path} is no distilled judge of format {FORMAT}; {_REMEDY}")
    for name in parts:
        if not isinstance(facts[name], dict):
            raise ValueError(f"{path}: {name} is {facts[name]!r}, not an object; {_REMEDY}")
    return facts
