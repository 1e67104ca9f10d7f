"""Scorers in text: ``name:argument,option=value,...``, whatever a path in it is called.

Options stand at the end, each ``,name=value``; values are read as JSON where they are JSON.  A path
that exists is taken whole, with all commas, equals and plus signs in it.  Anything else that holds
such signs is written as a JSON string, in double quotes: ``clip:"/data/a,b=c"``,
``bundled,prompts="/data/x=1.json"``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_VALUE = r'"(?:[^"\\]|\\.)*"|[^,=+"]*'
_OPTION = re.compile(rf",(?P<key>\w+)=(?P<value>{_VALUE})")
_OPTIONS = re.compile(rf"(?:,\w+=(?:{_VALUE}))+$")  # at the end of a spec
_PARTS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^+"])+')  # of an ensemble
_ODD = re.compile(r'[,=+"]')


def split_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """A spec and the options written after it: ``"a:b,c=1"`` is ``"a:b"`` and ``{"c": 1}``.

    Raises:
        ValueError: for an option that is written twice.
    """
    found = _OPTIONS.search(spec)
    if found is None:
        return spec, {}
    pairs = list(_OPTION.finditer(spec, found.start()))
    for count in range(len(pairs), -1, -1):  # as much of it as is a path, from the right
        end = pairs[count].start() if count < len(pairs) else len(spec)
        if count == 0 or _names_a_path(spec[:end]):
            break
    options: dict[str, Any] = {}
    for pair in pairs[count:]:
        if pair["key"] in options:
            raise ValueError(f"option {pair['key']!r} is written twice in the scorer {spec!r}")
        options[pair["key"]] = _read_value(pair["value"])
    return spec[:end], options


def split_members(text: str) -> list[str]:
    """The scorers of an ensemble, ``"a+b"``, but for plus signs in quotes and in existing paths."""
    parts = _PARTS.findall(text) if not re.search(r"^\+|\+\+|\+$", text) else [text]
    members: list[str] = []
    for part in parts:
        if members and _names_a_path(f"{members[-1]}+{part}", len(members[-1])):
            members[-1] += f"+{part}"
        else:
            members.append(part)
    return members


def unquoted(argument: str) -> str:
    """What an argument stands for, if it is a JSON string; else the argument itself.

    Raises:
        ValueError: for quotes that are not closed.
    """
    if not argument.startswith('"'):
        return argument
    try:
        text = json.loads(argument)
    except ValueError:
        raise ValueError(
            f"{argument} begins with a quotation mark and is no JSON string; write "
            f"{json.dumps(argument.strip(chr(34)), ensure_ascii=False)}"
        ) from None
    return str(text)


def quoted(argument: object) -> str:
    """A path as it stands in a spec: in quotes if it holds signs that mean something there."""
    text = str(argument)
    return json.dumps(text, ensure_ascii=False) if _ODD.search(text) else text


def _names_a_path(spec: str, latest: int | None = None) -> bool:
    """Whether a spec ends in a path that exists: it itself, or what follows a colon or a weight.

    Such a path begins at ``latest`` at the latest.
    """
    begins = [0, *(found.end() for found in re.finditer(r"[:*]", spec[:latest]))]
    return any(path_exists(spec[begin:]) for begin in begins)


def path_exists(path: str) -> bool:
    """Whether a text names a file or folder; text that no file system takes does not."""
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):
        return False


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
