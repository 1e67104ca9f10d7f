"""Ray, for those commands whose work it can spread over several machines (extra ``ray``)."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any


def import_ray(*parts: str) -> Any:
    """The module ``ray``, with parts such as ``"ray.data"``.

    Raises:
        ImportError: where one is missing, with the remedy.
    """
    try:
        for part in parts:
            import_module(part)
        return import_module("ray")
    except ImportError as error:
        raise ImportError(
            f"engine 'ray' needs {' and '.join(parts) or 'Ray'}: pip install 'vlsafe[ray]' (or "
            "'ray[data]'), or use engine 'processes'"
        ) from error


def start_ray(cores: int, *parts: str) -> tuple[Any, bool]:
    """Ray, and whether it was started here and so is to be shut down here.

    With ``RAY_ADDRESS`` set that cluster is used, whose cores are its own; otherwise Ray is started
    on this machine with ``cores``.  Workers import what this process can.

    Raises:
        ImportError: as :func:`import_ray`.
    """
    ray = import_ray(*parts)
    if ray.is_initialized():
        return ray, False
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": cores}
    ray.init(**here, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": path})
    return ray, True
