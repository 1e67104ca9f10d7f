"""Entry point of the command ``vlsafe``."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from vlsafe_agents.cli import (
    audit,
    bench,
    calibrate,
    collect,
    compare,
    demo,
    distill,
    envs,
    evaluate,
    export,
    foresight,
    label,
    report,
    train,
    train_clip,
    train_risk,
)
from vlsafe_agents.common.progress import ProgressReport

app = typer.Typer(
    name="vlsafe",
    help="Safe driving, scored by a vision-language model and practised in imagination.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich breaks help texts in mid-line and eats [...]
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show(wanted: bool) -> None:
    if wanted:
        from vlsafe_agents.common.version import versions, vlsafe_version

        others = [f"{name} {version}" for name, version in versions() if name != "vlsafe"]
        print(f"vlsafe {vlsafe_version()} ({', '.join(others)})")
        raise typer.Exit


class InterruptedCommand(Exception):
    """Ctrl-C; the message says what is kept and what the same command does next."""


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose interruption typer would swallow without a word."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            said = interrupt.args[0] if interrupt.args else "interrupted"
            raise InterruptedCommand(said) from interrupt

    return run


@app.callback()
def _common(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress; results and warnings stay.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show versions and exit.", callback=_show, is_eager=True),
    ] = False,
) -> None:
    ProgressReport.quiet = quiet


app.command("envs")(_told(envs.envs))
app.command("collect")(_told(collect.collect))
app.command("label")(_told(label.label))
app.command("audit")(_told(audit.audit))
app.command("calibrate")(_told(calibrate.calibrate))
app.command("distill")(_told(distill.distill))
app.command("train")(_told(train.train))
app.command("evaluate")(_told(evaluate.evaluate))
app.command("export")(_told(export.export))
app.command("foresight")(_told(foresight.foresight))
app.command("compare")(_told(compare.compare))
app.command("bench")(_told(bench.bench))
app.command("report")(_told(report.report))
app.command("demo")(_told(demo.demo))
app.command("train-risk")(_told(train_risk.train_risk))
app.command("train-clip")(_told(train_clip.train_clip))


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
    except InterruptedCommand as interrupt:
        print(f"vlsafe: {interrupt}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
