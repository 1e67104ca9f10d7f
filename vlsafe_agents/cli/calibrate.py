"""``vlsafe calibrate``: make a scorer's p mean what they say, by simulator truth."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlsafe_agents.cli import completion
from vlsafe_agents.cli.scorers import load_scorer, source_of, spec_argument
from vlsafe_agents.cli.tables import print_table, say

if TYPE_CHECKING:
    import numpy.typing as npt

    from vlsafe_agents.audit.drives import Drives


class Method(StrEnum):
    """How the map from raw to calibrated scores is fitted."""

    ISOTONIC = "isotonic"
    PLATT = "platt"


class Event(StrEnum):
    """What makes a frame unsafe: a question of ``vlsafe_agents.audit.drives.questions``."""

    EVENT = "event"
    TIME_TO_COLLISION = "time_to_collision"


def calibrate(
    data: Annotated[
        list[Path], typer.Argument(help="Data sets, labelled by SCORER with `vlsafe label`.")
    ],
    out: Annotated[Path, typer.Option(help="JSON file, for --scorer calibrated:OUT.")],
    scorer: Annotated[
        str,
        typer.Option(help="The scorer that made the labels.", autocompletion=completion.scorers),
    ] = "bundled",
    method: Annotated[Method, typer.Option(help="Kind of map.")] = Method.ISOTONIC,
    event: Annotated[
        Event, typer.Option(help="Unsafe is: collision or off-road ahead, or a short TTC.")
    ] = Event.EVENT,
    horizon: Annotated[float, typer.Option(help="Seconds, of either question.", min=0.1)] = 2.0,
    held_out: Annotated[
        float, typer.Option(help="Share of the episodes to examine on.", min=0, max=1)
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the split.", min=0)] = 0,
) -> dict[str, Any]:
    """Fit a calibration of a scorer on the labels of recorded drives.

    Afterwards p is the share of frames with this score that turn out safe.  The order of frames
    stays as it is.  Half of the episodes are kept out and say what it is worth.
    """
    import numpy as np

    from vlsafe_agents.audit.drives import Drives, questions
    from wrappers import fit_calibration
    from wrappers import held_out as rows_to_fit
    from wrappers.checks import one_number

    one_number(horizon, "--horizon", "calibrate", 0.1)
    drives = Drives([source_of(path) for path in data])
    identity = _identity(scorer, drives)
    question = questions(drives.truth, horizon, horizon)[event.value]
    known = question.known & ~np.isnan(drives.stored_scores)
    fitted = rows_to_fit(drives.truth.episode, 1.0 - held_out, seed)
    calibration = fit_calibration(
        drives.stored_scores[known & fitted],
        question.positive[known & fitted],
        identity,
        question.name,
        method.value,
    )
    calibration.save(out, spec=scorer)
    rest = known & ~fitted
    safe, raw = ~question.positive[rest], drives.stored_scores[rest]
    found = {
        name: _figures(score, safe)
        for name, score in (("raw", raw), ("calibrated", calibration(raw)))
    }
    _print(found, len(safe), question.name, out)
    return {"calibration": out, "frames": len(safe), "unsafe": question.name, "held_out": found}


def _identity(scorer: str, drives: Drives) -> dict[str, Any]:
    """Identity of the scorer.

    Raises:
        ValueError: unless it made all labels.
    """
    identity: dict[str, Any] = load_scorer(scorer, threads=1).identity
    plain = json.loads(json.dumps(identity))
    for path, metadata in zip(drives.paths, drives.metadata, strict=True):
        if metadata["scorer"] != plain:
            raise ValueError(
                f"the labels of {path} are not by {scorer}: run `vlsafe label {path} "
                f"--scorer {scorer}` first"
            )
    return identity


def _figures(score: npt.NDArray[Any], safe: npt.NDArray[Any]) -> dict[str, float]:
    """What scores are worth, as probabilities of being safe."""
    import numpy as np

    from vlsafe_agents.audit.statistics import reliability

    # Weights of a bootstrap are for intervals, which are not shown here.
    episode, weights = np.zeros(len(safe), np.int64), np.ones((2, 1))
    return {
        "calibration error": reliability(score, safe, episode, weights, 0.95).error,
        "Brier score": float(np.mean((score - safe) ** 2)),
        "mean p": float(score.mean()),
        "share of safe frames": float(safe.mean()),
    }


def _print(found: dict[str, dict[str, float]], frames: int, event: str, out: Path) -> None:
    rows = [(name, *(f"{value:.4f}" for value in row.values())) for name, row in found.items()]
    columns = ("scores", *found["raw"])
    print_table(f"{frames} held-out frames, unsafe: {event}", columns, rows)
    say(f"the calibration is in {out}: {spec_argument('calibrated', out)}")
