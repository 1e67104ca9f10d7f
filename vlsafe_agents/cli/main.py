"""Entry point of the command ``vlsafe``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from . import audit, calibrate, collect, compare, demo, distill, evaluate, label, report, train

app = typer.Typer(
    name="vlsafe",
    help="Safe driving, judged by a vision-language model and practised in imagination.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("collect")(collect.collect)
app.command("label")(label.label)
app.command("audit")(audit.audit)
app.command("calibrate")(calibrate.calibrate)
app.command("distill")(distill.distill)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("demo")(demo.demo)


def _add_train_clip() -> None:
    from .train_clip import train_clip

    app.command("train-clip")(train_clip)


_add_train_clip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; mistakes of the user end it with one sentence and exit code 2.

    So do optional packages that are missing: their ``ImportError`` names the remedy.
    """
    try:
        app(arguments, prog_name="vlsafe")
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get("VLSAFE_TRACEBACK"):
            traceback.print_exc()
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"vlsafe: {message}", file=sys.stderr)
        print("(VLSAFE_TRACEBACK=1 shows where this happened)", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:  # commands that keep something say what
        said = interrupt.args[0] if interrupt.args else "interrupted"
        print(f"vlsafe: {said}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
