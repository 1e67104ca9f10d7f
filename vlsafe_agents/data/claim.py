"""The folder of a collection: whose it is, and what of it is there already."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from wrappers.files import read_json, write_json

AMOUNTS = ("steps", "episodes")  # more or less of the same may be asked for
CLAIM_FILE = "config.json"


def check_place(target: Path) -> None:
    """Raise ``OSError``, naming it, unless a data set can be written at ``target``."""
    folder = next(place for place in target.parents if place.exists())
    for place in (target, folder):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{place} is a file; choose a folder for the data (--out)")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written; choose another folder (--out)")


def settings_hash(settings: dict[str, Any]) -> str:
    """Tells collections apart; equal for those that differ in nothing but how much."""
    kept = {key: value for key, value in settings.items() if key not in AMOUNTS}
    text = json.dumps(kept, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def claim(shards: Path, settings: dict[str, Any]) -> None:
    """Mark the folder ``shards`` as this collection's.

    A mark that cannot be read is made anew, with a warning: episodes say whose they are themselves.

    Raises ``FileExistsError`` when it is another collection's.
    """
    file = shards / CLAIM_FILE
    if file.exists():
        try:
            found: dict[str, Any] = read_json(file)
        except ValueError as error:
            warnings.warn(f"{error}; it is written again", stacklevel=2)
            found = settings
        changed = [k for k in settings if k not in AMOUNTS and settings[k] != found.get(k)]
        if changed:
            raise FileExistsError(
                f"{shards} holds an unfinished collection with another {', '.join(changed)}; "
                "go on with its settings, use overwrite (--overwrite), or another folder"
            )
    write_json(file, settings)


def remove_leftovers(target: Path) -> None:
    """Remove what killed runs left beside ``target`` half assembled."""
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
