"""Whether MetaDrive can be used here, and what to say when it cannot."""

from __future__ import annotations

import importlib.util
import sys

NEWEST_PYTHON = (3, 11)  # MetaDrive's wheels want Python < 3.12


def metadrive_installed() -> bool:
    """Whether MetaDrive can be imported; it is not imported."""
    return importlib.util.find_spec("metadrive") is not None


def require_metadrive() -> None:
    """Raise ``ImportError`` that says what to do, where MetaDrive is not installed."""
    if metadrive_installed():
        return
    message = "this environment drives MetaDrive, which is not installed: "
    if sys.version_info[:2] > NEWEST_PYTHON:
        have = f"{sys.version_info[0]}.{sys.version_info[1]}"
        message += (
            f"its wheels want Python < 3.12 and this is {have}; use Python 3.11 and run there "
        )
    else:
        message += "run "
    raise ImportError(message + "`pip install 'vlsafe[metadrive]'`")
