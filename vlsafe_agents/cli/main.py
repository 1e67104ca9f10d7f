"""Entry point of the command ``vlsafe``."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
from vlsafe_agents.cli.answers import Command, answering
from vlsafe_agents.cli.settings_file import with_settings_file
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


def _told(command: Command) -> Command:
    """The command, whose interruption typer would swallow without a word."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
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


# Each with the place of its settings file, of those that leave one.
_COMMANDS: dict[str, tuple[Command, Callable[[Mapping[str, Any]], Path] | None]] = {
    "envs": (envs.envs, None),
    "collect": (collect.collect, lambda answer: answer["path"] / "data" / "collect.yaml"),
    "label": (label.label, lambda answer: answer["data"] / "label.yaml"),
    "audit": (audit.audit, None),
    "calibrate": (calibrate.calibrate, None),
    "distill": (distill.distill, None),
    "train": (train.train, None),  # whose settings.json is such a file
    "evaluate": (evaluate.evaluate, lambda answer: answer["file"].with_suffix(".yaml")),
    "export": (export.export, None),
    "foresight": (foresight.foresight, None),
    "compare": (compare.compare, None),
    "bench": (bench.bench, None),
    "report": (report.report, None),
    "demo": (demo.demo, None),
    "train-risk": (train_risk.train_risk, lambda answer: answer["folder"] / "train-risk.yaml"),
    "train-clip": (train_clip.train_clip, None),
}
for _name, (_command, _place) in _COMMANDS.items():
    _known = _command if _place is None else with_settings_file(_command, _place)
    app.command(_name)(_told(answering(_known)))


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
