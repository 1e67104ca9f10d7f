"""The acting part of an agent as an ONNX graph, for whoever drives without PyTorch.

One call is one decision of N episodes.  Inputs, in this order: the observations by the names that
the world model has for them, ``deter (N, D)``, ``stoch (N, S, K)``, ``action_vector (N, A)`` and
``episode_start (N,)`` bool.  Outputs: ``action``, as the environment takes it, and
``next_deter``, ``next_stoch``, ``next_action_vector``, which the next call takes.  In the first
call all states are zeros and ``episode_start`` is true.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from vlsafe_agents.vlsafe.actions import BoxActions, CombinedActions, DiscreteActions
from vlsafe_agents.vlsafe.policies import VLSafePolicy
from vlsafe_agents.vlsafe.rssm import RSSMState
from wrappers.files import replacing

STATE = ("deter", "stoch", "action_vector")
_TOLERANCE = 1e-3  # of states, and of actions as a share of their range
_REMEDY = 'pip install "vlsafe[onnx]"'


class Decision(nn.Module):
    """Deterministic ``predict`` of a policy as a function of tensors.

    An agent for a range of cost limits acts under its ``acting_limit``.
    """

    def __init__(self, policy: VLSafePolicy) -> None:
        super().__init__()
        self.world_model, self.actor = policy.world_model, policy.actor_critic.actor
        self._limits, self._names = policy.actor_critic.limits, tuple(policy.observation_kinds)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the module."""
        obs = dict(zip(self._names, inputs, strict=False))
        deter, stoch, previous, first = inputs[len(self._names) :]
        latent = self.world_model.observe_step(
            RSSMState(deter, stoch), previous, obs, first, deterministic=True
        )
        feat = self.world_model.feat(latent)
        asked = self._limits.asked(None, feat.shape[0], feat.device)  # len() would fix N
        feat = self._limits.seen(feat, asked)
        vector = self.actor.mode(feat)
        return env_action(self.world_model.actions, vector), latent.deter, latent.stoch, vector


def env_action(kind: DiscreteActions | CombinedActions | BoxActions, vector: Tensor) -> Tensor:
    """Action vectors ``(N, A)`` as the environment takes them: ``to_env`` of tensors."""
    if isinstance(kind, BoxActions):
        low, high = (
            torch.as_tensor(np.asarray(x, np.float64)) for x in (kind.space.low, kind.space.high)
        )
        share = ((vector.double() + 1) / 2).reshape(-1, *kind.space.shape)
        action = low + share * (high - low)
        dtype = torch.from_numpy(np.zeros(0, kind.space.dtype)).dtype
        action = action if dtype.is_floating_point else action.round()
        return action.clamp(low, high).to(dtype)
    chosen = vector.argmax(-1)
    if isinstance(kind, DiscreteActions):
        return chosen + kind.start
    parts = [
        (chosen // stride) % count + int(start)
        for stride, count, start in zip(kind.strides, kind.counts, kind.start, strict=True)
    ]
    dtype = torch.from_numpy(np.zeros(0, kind.dtype)).dtype
    return torch.stack(parts, -1).reshape(-1, *kind.shape).to(dtype)


def export_onnx(policy: VLSafePolicy, path: str | Path) -> Path:
    """Write the graph to one file, whole or not at all.

    Its metadata (``vlsafe``) say in JSON what the observations are: shape and dtype by name.

    Raises:
        ImportError: without ``onnx`` and ``onnxscript``, naming the extra.
        ValueError: for observations whose dtype ONNX does not know.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # PyTorch's exporter needs it
    except ImportError as error:
        raise ImportError(f"export_onnx needs onnx and onnxscript ({error}): {_REMEDY}") from error
    policy.set_training_mode(False)
    kinds = policy.observation_kinds
    inputs = (*_examples(policy, 2), torch.ones(2, dtype=torch.bool, device=policy.device))
    rows = torch.export.Dim("N", min=1)
    names = [*kinds, *STATE, "episode_start"]
    with tempfile.TemporaryDirectory() as place, _quiet(), torch.no_grad():
        file = Path(place) / "agent.onnx"
        torch.onnx.export(
            Decision(policy).eval(),
            inputs,
            file,
            input_names=names,
            output_names=["action", *(f"next_{name}" for name in STATE)],
            dynamic_shapes={"inputs": tuple({0: rows} for _ in names)},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        model = onnx.load(file)
    entry = model.metadata_props.add()
    entry.key, entry.value = "vlsafe", json.dumps(_described(kinds))
    with replacing(Path(path)) as temporary:
        onnx.save(model, temporary)
    return Path(path)


def check_onnx(
    policy: VLSafePolicy, path: str | Path, rows: int = 4, steps: int = 25, seed: int = 0
) -> float:
    """Hold a graph against the policy's own ``predict`` on drawn observations.

    Episodes of ``rows`` side by side begin anew now and then; each side goes on from its own state.

    Returns:
        the largest difference between the states of the two

    Raises:
        ImportError: without ``onnxruntime``, naming the extra.
        RuntimeError: where an action differs (of a ``Box``: by more than a thousandth of its
            range), or a state by more than 0.001.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"to check a graph takes onnxruntime ({error}): {_REMEDY}") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng, kinds = np.random.default_rng(seed), policy.observation_kinds
    shapes = {entry.name: entry.shape[1:] for entry in session.get_inputs()}
    state = {name: np.zeros((rows, *shapes[name]), np.float32) for name in STATE}
    theirs, furthest = None, 0.0
    for step in range(steps):
        seen = {name: _drawn(box, rows, rng) for name, box in kinds.items()}
        start = np.full(rows, step == 0) | (rng.random(rows) < 0.1)
        whole = isinstance(policy.observation_space, spaces.Dict)
        shown: Any = seen if whole else next(iter(seen.values()))
        wanted, theirs = policy.predict(shown, theirs, start, deterministic=True)
        action, *following = session.run(None, {**seen, **state, "episode_start": start})
        state = dict(zip(STATE, following, strict=True))
        assert theirs is not None
        gaps = [np.abs(a - b).max() for a, b in zip(following, theirs, strict=True)]
        furthest = max(furthest, *map(float, gaps))
        if not _same_actions(policy.action_space, action, wanted) or furthest > _TOLERANCE:
            raise RuntimeError(
                f"{path} does not do what the agent does: call {step} of {steps} gives {action} "
                f"for {wanted}, states differ by {furthest:.2g}; do not use it"
            )
    return furthest


def _same_actions(space: spaces.Space[Any], found: Any, wanted: Any) -> bool:
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        return bool((np.abs(found - wanted) <= _TOLERANCE * (space.high - space.low)).all())
    return bool((found == wanted).all())


def _drawn(box: spaces.Box, rows: int, rng: np.random.Generator) -> Any:
    """Observations ``(rows, ...)`` within their bounds, those without any within -1 to 1."""
    low = np.where(box.bounded_below, box.low, -1.0)
    high = np.where(box.bounded_above, box.high, 1.0)
    values = rng.uniform(low, np.maximum(high, low), (rows, *box.shape))
    return values.astype(box.dtype)


def _examples(policy: VLSafePolicy, count: int) -> Iterator[Tensor]:
    """Observations and states of N episodes, zeros."""
    for name, box in policy.observation_kinds.items():
        try:
            empty = torch.from_numpy(np.zeros((count, *box.shape), box.dtype))
        except TypeError as error:
            raise ValueError(f"the observation {name} is {box.dtype}; ONNX knows none") from error
        yield empty.to(policy.device)
    state = policy.world_model.initial(count, policy.device)
    yield state.deter
    yield state.stoch
    yield torch.zeros(count, policy.world_model.action_size, device=policy.device)


def _described(kinds: dict[str, spaces.Box]) -> dict[str, Any]:
    return {name: {"shape": box.shape, "dtype": box.dtype.name} for name, box in kinds.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of what is none of the user's business (torchvision is not there)."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
