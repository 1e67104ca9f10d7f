"""``--settings FILE``: what a run used is a file that runs it again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vlsafe_agents.cli.answers import Command, with_option
from vlsafe_agents.cli.option_values import as_typed, find_option

_NAME = "settings"
# Neither kept nor taken from a file: where results go, what is shown, and whom the user trusts.
SAID_ANEW = ("out", "overwrite", "as_json", "allow_import", "allow_pickle", _NAME)


def with_settings_file(command: Command, place: Callable[[Mapping[str, Any]], Path]) -> Command:
    """The command with ``--settings``, which leaves such a file beside its results.

    Args:
        place: of that file, found in what the command returns.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop(_NAME)  # read already, by ``_read``
        answer = command(*args, **kwargs)
        if not kwargs.get("dry_run"):
            _write(place(answer), kwargs)
        return answer

    about = typer.Option(
        help="A file of options, as earlier runs leave it; options that are given go first.",
        callback=_read,
        is_eager=True,
    )
    parameter = inspect.Parameter(
        _NAME,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, about],
    )
    return with_option(run, command, parameter)


def _read(context: typer.Context, file: Path | None) -> Path | None:
    """Make the options of a file the defaults of those that are not given.

    Raises:
        ValueError: for a file that holds something else, and options that the command has not.
    """
    from wrappers.files import read_yaml

    if file is None or context.resilient_parsing:
        return file
    name, found = str(context.info_name), {}
    try:
        for key, value in read_yaml(file).items():
            option = find_option(key, context.command.params, name)
            if option.name in SAID_ANEW:
                raise ValueError(f"{key} is not taken from a file; give {option.opts[0]} beside it")
            if value is not None:
                found[option.name] = as_typed(option, value)
    except ValueError as error:
        raise ValueError(f"--settings {file}: {error}") from None
    context.default_map = found
    return file


def _write(file: Path, options: Mapping[str, Any]) -> None:
    """Keep the options of a run that are not None, as :func:`_read` reads them."""
    import yaml

    from wrappers.files import write_text

    kept = {
        name: [*map(_plain, value)] if isinstance(value, list | tuple) else _plain(value)
        for name, value in options.items()
        if name not in SAID_ANEW and value is not None
    }
    head = "# What this run used; `--settings` of the same command runs it again.\n"
    write_text(file, head + yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
