"""How an agent is asked for actions beyond what SB3's ``predict`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from vlsafe_agents.vlsafe.policies import Array, RecurrentState, VLSafePolicy


class Acting(BaseAlgorithm):
    """``predict`` of VLSafe, and its export."""

    policy: VLSafePolicy

    def predict(
        self,
        observation: Any,
        state: RecurrentState | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
        cost_limit: float | Array | None = None,
    ) -> tuple[Array, RecurrentState | None]:
        """Actions, and the state for the next call; see :meth:`VLSafePolicy.predict`.

        Args:
            cost_limit: what an episode may cost, of an agent that was trained for a range of
                limits; None: ``policy.acting_limit``, which is the lowest unless it is set.  Those
                who cannot pass a limit (``evaluate_policy``, callbacks) act under that one.
        """
        return self.policy.predict(observation, state, episode_start, deterministic, cost_limit)

    def export_onnx(self, path: str | Path) -> Path:
        """Write what ``predict(deterministic=True)`` does as an ONNX graph; needs the extra `onnx`.

        The recurrent state goes in and out; :mod:`~vlsafe_agents.vlsafe.onnx_export` names inputs
        and outputs, ``examples/drive_with_onnxruntime.py`` drives with it.

        Raises:
            ImportError: without the extra.
            ValueError: for observations that ONNX does not know.
        """
        from vlsafe_agents.vlsafe.onnx_export import export_onnx

        return export_onnx(self.policy, path)
