"""``vlsafe distill``: teach a small network to score frames as the labels of data sets do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli.scorers import source_of, spec_argument
from vlsafe_agents.cli.tables import print_table, say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vlsafe_agents.audit.drives import Drives
    from vlsafe_agents.cli.pictures import Pictures
    from wrappers.distillation import Pupil

HORIZON = 2.0  # [s], of both questions to the simulator
_AT_ONCE = 512  # frames drawn and scored in the examination


def distill(
    data: Annotated[
        list[Path], typer.Argument(help="Data sets, labelled by one scorer with `vlsafe label`.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the pupil, for --scorer distilled:OUT.")],
    steps: Annotated[int, typer.Option(help="Training steps.", min=1)] = 6000,
    batch_size: Annotated[int, typer.Option(help="Frames a step.", min=1)] = 256,
    held_out: Annotated[
        float, typer.Option(help="Share of the episodes to examine on.", min=0, max=1)
    ] = 0.1,
    shrunk: Annotated[
        float, typer.Option(help="Share of lessons with frames shrunk from 224 px.", min=0, max=1)
    ] = 0.2,
    device: Annotated[str, typer.Option(help="PyTorch device, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads that train and draw.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of weights, lessons and split.", min=0)] = 0,
) -> dict[str, Any]:
    """Distil a scorer: nearly the same scores at a small part of the price.

    The pupil looks at the agent's own image of 64 px.  OUT/README.md, the model card, says how well
    it agrees with its teacher on episodes that it has not seen, and what both are worth against
    the simulator's truth.
    """
    import torch

    from vlsafe_agents.audit import warn_of_failed_audit
    from vlsafe_agents.audit.drives import Drives
    from vlsafe_agents.cli.pictures import Pictures
    from vlsafe_agents.common.progress import ProgressReport
    from vlsafe_envs.threads import limit_threads
    from wrappers import held_out as rows_to_learn
    from wrappers.checkpoints import device_of
    from wrappers.distillation import DistillConfig, Record, save_pupil, train_pupil
    from wrappers.files import one_writer

    place = _device(device)
    device_of(place)  # now, not after the lessons are drawn
    torch.set_num_threads(threads)
    limit_threads(threads)
    drives = Drives([source_of(path) for path in data])
    teacher = _one_teacher(drives)
    for metadata in drives.metadata:
        warn_of_failed_audit(metadata)
    taught = rows_to_learn(drives.truth.episode, 1.0 - held_out, seed)
    pictures = Pictures(drives, shrunk)
    began = time.monotonic()
    with one_writer(out, "vlsafe distill"), _interruptible():
        with ProgressReport("distill", steps) as progress:
            pupil = train_pupil(
                pictures.mixed,
                drives.stored_scores,
                taught.nonzero()[0],
                config=DistillConfig(steps=steps, batch_size=batch_size, seed=seed),
                device=place,
                report=lambda step, loss: progress.update(step, f"cross-entropy {loss:.3f}"),
            )
        agreement = _examine(pupil, drives, pictures, (~taught).nonzero()[0])
        training = {
            "data": [_describe(drives, number) for number in range(len(drives.sources))],
            "frames": int(taught.sum()),
            "frames held out": int((~taught).sum()),
            "steps": steps,
            "frames a step": batch_size,
            "share of frames shrunk from 224 px": shrunk,
            "seed": seed,
            "minutes": round((time.monotonic() - began) / 60, 1),
        }
        save_pupil(out, pupil, Record(teacher, agreement, training))
    _print(agreement, out)
    return {"folder": out, "agreement": agreement, "training": training}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted: nothing is kept of lessons that were not finished; the same command "
            "begins them anew"
        ) from None


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _one_teacher(drives: Drives) -> dict[str, Any]:
    """Identity of the scorer whose labels all data sets hold."""
    teachers = {}
    for path, metadata in zip(drives.paths, drives.metadata, strict=True):
        if metadata["scorer"] is None:
            raise ValueError(f"{path} has no labels; add them with `vlsafe label`")
        teachers[json.dumps(metadata["scorer"], sort_keys=True)] = path
    if len(teachers) > 1:
        raise ValueError(
            f"{' and '.join(map(str, teachers.values()))} are labelled by different scorers; "
            "label all data sets with the same one"
        )
    teacher: dict[str, Any] = json.loads(next(iter(teachers)))
    return teacher


def _describe(drives: Drives, number: int) -> str:
    """A data set in words: where, how much, by whom."""
    metadata = drives.metadata[number]
    mix = ", ".join(f"{name} {share:g}" for name, share in metadata.get("mix", {}).items())
    episodes = int((drives.source_of_episode == number).sum())
    rows = drives.rows_of_source(number)
    return f"{drives.names[number]}: {rows.stop - rows.start:,} frames, {episodes:,} drives ({mix})"


def _examine(
    pupil: Pupil, drives: Drives, pictures: Pictures, rows: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Agreement on held-out rows: all, by data set, and of frames shrunk from larger ones."""
    from vlsafe_agents.audit.drives import questions
    from wrappers.distillation import compare
    from wrappers.distillation.agreement import Question

    asked = questions(drives.truth, HORIZON, HORIZON)
    truth = {
        asked[key].name: Question(asked[key].positive[rows], asked[key].known[rows])
        for key in ("event", "time_to_collision")
    }
    teacher = drives.stored_scores[rows]
    small, shrunk = (_scores(pupil, draw, rows) for draw in (pictures.images, pictures.shrunk))
    found = {"all": compare(teacher, small, truth)}
    found["all, shrunk from 224 px"] = compare(teacher, shrunk, truth)
    source = drives.source_of_episode[drives.truth.episode[rows]]
    for number, name in enumerate(drives.names):
        mine = source == number
        if len(drives.names) > 1 and mine.any():
            own = {question: answer.select(mine) for question, answer in truth.items()}
            found[name] = compare(teacher[mine], small[mine], own)
    return found


def _scores(pupil: Pupil, draw: Any, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    import numpy as np
    import torch

    parts = []
    with torch.inference_mode():
        for begin in range(0, len(rows), _AT_ONCE):
            frames = torch.from_numpy(draw(rows[begin : begin + _AT_ONCE]))
            parts.append(pupil(frames).sigmoid().numpy())
    return np.concatenate(parts)


def _print(agreement: dict[str, Any], out: Path) -> None:
    columns = ("frames", "mean_absolute_error", "spearman", "auroc_of_alarms")
    rows = [(name, *(_known(row[column]) for column in columns)) for name, row in agreement.items()]
    titles = ("", *(column.replace("_", " ") for column in columns))
    print_table("Pupil and teacher on held-out episodes", titles, rows)
    for question, answer in agreement["all"]["truth"].items():
        say(
            f"{question}: AUROC of 1 - p {_known(answer['teacher'])} (teacher), "
            f"{_known(answer['pupil'])} (pupil)"
        )
    say(f"the pupil is in {out}: {spec_argument('distilled', out)}")


def _known(value: float | None) -> str:
    return "not known" if value is None else str(value)
