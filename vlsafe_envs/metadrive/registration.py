"""See the package."""

from __future__ import annotations

from vlsafe_envs.registration import make_env as make_metadrive_env
from vlsafe_envs.registration import make_vector_env as make_metadrive_vector_env

__all__ = ["make_metadrive_env", "make_metadrive_vector_env"]
