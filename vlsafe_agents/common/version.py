"""Which vlsafe this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def vlsafe_version() -> str:
    """The installed version; "unknown" where the code runs without being installed."""
    try:
        return version("vlsafe")
    except PackageNotFoundError:
        return "unknown"
