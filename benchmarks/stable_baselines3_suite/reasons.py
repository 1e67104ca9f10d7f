"""Why some of Stable-Baselines3's tests do not apply to an algorithm of ours."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Why tests fail that are not ours to pass.

    Args:
        why: in a sentence, for the table.
        said: what the error must say; a test that fails in another way is a fault.
        tests: patterns of ``file::test[parameters]``.
    """

    why: str
    said: str
    tests: tuple[str, ...]


REASONS: dict[str, tuple[Reason, ...]] = {}
