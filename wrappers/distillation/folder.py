"""A pupil on disk: weights, what they are and who taught them, and a model card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from .card import render_card
from .network import Pupil, PupilConfig, count_parameters

FORMAT = 1
WEIGHTS, FACTS, CARD = "model.safetensors", "pupil.json", "README.md"


@dataclass(frozen=True)
class Record:
    """Where a pupil comes from; all of it JSON-able."""

    teacher: Mapping[str, Any]  # identity of the scorer whose labels were learnt
    agreement: Mapping[str, Mapping[str, Any]]  # of :func:`~.agreement.compare`, by kind of frames
    training: Mapping[str, Any]  # on what, how long


def save_pupil(folder: str | Path, pupil: Pupil, record: Record) -> None:
    """Write ``model.safetensors``, ``pupil.json`` and the model card ``README.md``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network = asdict(pupil.config)
    facts = {"format": FORMAT, "network": network, **asdict(record)}
    weights = {name: tensor.contiguous() for name, tensor in pupil.state_dict().items()}
    (folder / FACTS).unlink(missing_ok=True)  # never old facts beside new weights
    (folder / WEIGHTS).write_bytes(save(weights))
    (folder / CARD).write_text(render_card(facts, count_parameters(pupil)))
    partial = folder / f".{FACTS}.{os.getpid()}.tmp"
    partial.write_text(json.dumps(facts, indent=1) + "\n")
    os.replace(partial, folder / FACTS)


def load_pupil(folder: str | Path) -> tuple[Pupil, Record]:
    """What :func:`save_pupil` wrote.  Raises ``ValueError`` for anything else."""
    folder = Path(folder)
    facts = _read_facts(folder)
    try:
        pupil = Pupil(PupilConfig(**facts["network"]))
        pupil.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights in {folder} cannot be loaded: {error}") from error
    record = Record(facts["teacher"], facts["agreement"], facts["training"])
    return pupil.eval(), record


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no distilled judge ({error}); make one with `vlsafe distill`"
        ) from error
    known = {"format", "network", "teacher", "agreement", "training"}
    if not isinstance(facts, dict) or set(facts) != known or facts["format"] != FORMAT:
        raise ValueError(f"{folder / FACTS} is no distilled judge of format {FORMAT}")
    return facts
