"""``--json``: what a command returns, in place of its tables, for programs."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from vlsafe_agents.cli import tables

Command = Callable[..., Any]

_NAME = "as_json"
_AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else there.")
]


class Unfinished(typer.Exit):
    """The end of a command that did not do all of its work, with what it has to say.

    Args:
        answer: as other commands return it.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(1)
        self.answer = answer


def answering(command: Command) -> Command:
    """The command with ``--json``: standard output then holds what it returns, and nothing else.

    Tables and lines of text are left out; what other libraries print goes to standard error.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.pop(_NAME):
            return command(*args, **kwargs)
        with tables.left_out(), redirect_stdout(sys.stderr):
            stopped = None
            try:
                answer = command(*args, **kwargs)
            except Unfinished as stop:
                stopped, answer = stop, stop.answer
        print(as_text(answer))
        if stopped is not None:
            raise stopped
        return answer

    parameter = inspect.Parameter(
        _NAME, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_AsJson
    )
    return with_option(run, command, parameter)


def with_option(run: Command, command: Command, parameter: inspect.Parameter) -> Command:
    """Give ``run`` the signature of ``command`` with one more option, as typer reads it."""
    signature = inspect.signature(command, eval_str=True)
    options = [*signature.parameters.values(), parameter]
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in options}
    return run


def as_text(answer: Any) -> str:
    """Strict JSON: paths as text, what is not finite as null."""
    from vlsafe_agents.common.json_values import plain

    return json.dumps(plain(answer), indent=2, allow_nan=False, ensure_ascii=False, default=str)
