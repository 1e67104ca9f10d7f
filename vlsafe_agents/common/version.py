"""Which vlsafe this is, and with what it runs."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "vlsafe",
    "torch",
    "gymnasium",
    "highway-env",
    "stable-baselines3",
    "transformers",
    "minari",
    "numpy",
    "numba",
)


def vlsafe_version() -> str:
    """The installed version; "unknown" where the code runs without being installed."""
    try:
        return version("vlsafe")
    except PackageNotFoundError:
        return "unknown"


def versions() -> list[tuple[str, str]]:
    """Names and versions of Python and of those packages that results depend on, if installed."""
    found = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
