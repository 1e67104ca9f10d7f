"""What audits of labels have left in a data set's metadata, for those who learn from the labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

AUDITS = "audits"  # key of a data set's metadata


def audit_entries(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What ``vlsafe audit --write`` has written: one entry for each scorer.

    Raises:
        ValueError: for entries that no audit has written.
    """
    found = metadata.get(AUDITS, [])
    needed = {"scorer", "verdict", "passed", "date", "sentence"}
    if not isinstance(found, list) or not all(
        isinstance(entry, dict) and needed <= entry.keys() for entry in found
    ):
        raise ValueError(
            f"the data set's metadata hold an entry {AUDITS!r} that no audit has written; audit "
            "again with `vlsafe audit --write`, or remove it from metadata.json"
        )
    return found


def failed_audit(metadata: Mapping[str, Any]) -> str | None:
    """What an audit found wrong with a data set's labels, in a sentence or two.

    None when the labels passed, were not audited, or are by another scorer than the audited ones,
    and when there was too little data for a verdict.
    """
    scorer = metadata.get("scorer")
    for entry in audit_entries(metadata):
        if scorer and entry["scorer"] == scorer and entry["passed"] is False:
            return (
                f"the labels of this data set failed an audit of {entry['date']}. "
                f"{entry['sentence']} Costs made from them may say little about danger; choose "
                "another scorer (`vlsafe label --scorer ...`) or cost='env'"
            )
    return None


def warn_of_failed_audit(metadata: Mapping[str, Any]) -> None:
    """Issue a ``UserWarning`` where :func:`failed_audit` has something to say."""
    found = failed_audit(metadata)
    if found is not None:
        warnings.warn(found, stacklevel=3)
