"""Which vlsafe this is, and with what it runs."""

from __future__ import annotations

import os
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


def machine() -> str:
    """Processor, cores that this process may use, and memory, as far as the system says."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [platform.processor() or platform.machine(), f"{cores} cores"]
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
        found[0] = names[0] if names else found[0]
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        found.append(f"{pages * size / 2**30:.0f} GiB")
    except (OSError, ValueError, AttributeError):  # not Linux
        pass
    return ", ".join(found)


def versions() -> list[tuple[str, str]]:
    """Names and versions of Python and of those packages that results depend on, if installed."""
    found = [("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
