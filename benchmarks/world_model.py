"""Seconds for one world-model update (forward, backward, optimiser) by preset and observation.

    python benchmarks/world_model.py --presets cpu --kinds image vector --steps 5

Wall-clock and processor seconds are both given, and the speed of a plain matrix product just
before: on a machine that others use too, compare processor seconds at the same matrix speed.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from vlsafe_agents.common.optim import LaProp
from vlsafe_agents.vlsafe.batch import TensorBatch
from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.presets import PRESETS
from vlsafe_agents.vlsafe.rssm import RSSMState
from vlsafe_agents.vlsafe.world_model import WorldModel

IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)
VECTOR = spaces.Box(-1, 1, (64,), np.float32)
KINDS: dict[str, spaces.Space[Any]] = {
    "image": IMAGE,
    "vector": VECTOR,
    "multi": spaces.Dict({"image": IMAGE, "vector": VECTOR}),
}
ACTIONS = 5
DREAMS, HORIZON = 256, 10


def random_batch(batch: int, time_: int, device: str) -> TensorBatch:
    """Noise in the shape of a batch of driving data."""
    shape = (batch, time_)
    action = torch.randint(0, ACTIONS, shape, device=device)
    return TensorBatch(
        obs={
            "image": torch.randint(0, 256, (*shape, 64, 64, 3), dtype=torch.uint8, device=device),
            "vector": torch.randn(*shape, 64, device=device).clamp(-1, 1),
        },
        action=action,
        next_action=action,
        reward=torch.rand(shape, device=device),
        cost=(torch.rand(shape, device=device) < 0.1).float(),
        safety_score=torch.rand(shape, device=device),
        is_first=torch.rand(shape, device=device) < 0.03,
        is_terminal=torch.zeros(shape, dtype=torch.bool, device=device),
        has_action=torch.ones(shape, dtype=torch.bool, device=device),
        weight=torch.ones(shape, device=device),
    )


def measure(preset: VLSafeConfig, kind: str, steps: int, device: str) -> dict[str, float]:
    """Seconds per update, and per imagination of ``HORIZON`` steps from ``DREAMS`` states."""
    model = WorldModel(KINDS[kind], spaces.Discrete(ACTIONS), preset.world_model).to(device)
    optimiser = LaProp(model.parameters(), lr=preset.train.learning_rate)
    batch = random_batch(preset.train.batch_size, preset.train.sequence_length, device)

    def policy(feat: torch.Tensor) -> torch.Tensor:
        return model.action_vector(torch.zeros(len(feat), device=feat.device))

    def update() -> RSSMState:
        loss, states, _ = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return states

    states = update().flatten()
    start = RSSMState(states.deter[:DREAMS], states.stoch[:DREAMS])
    speed = matrix_speed(device)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "frames": preset.train.batch_size * preset.train.sequence_length,
        "matrix_gflops": round(speed, 1),
        **timed("update", update, steps, device),
        **timed("imagine", lambda: model.imagine(start, policy, HORIZON), steps, device),
    }


def timed(name: str, work: Callable[[], object], steps: int, device: str) -> dict[str, float]:
    """Median wall-clock and processor seconds of ``work``, after one call to warm up."""
    work()
    wall, processor = [], []
    for _ in range(steps):
        before = time.perf_counter(), time.process_time()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - before[0])
        processor.append(time.process_time() - before[1])
    return {
        f"{name}_wall_s": round(float(np.median(wall)), 4),
        f"{name}_processor_s": round(float(np.median(processor)), 4),
    }


def matrix_speed(device: str, size: int = 512, repeats: int = 20) -> float:
    """Speed of a float32 matrix product [GFLOP/s of processor time]."""
    a = torch.randn(size, size, device=device)
    a @ a
    before = time.process_time()
    for _ in range(repeats):
        a @ a
    return 2e-9 * size**3 * repeats / max(time.process_time() - before, 1e-9)


def main() -> None:
    """Measure what the arguments name and print one line each, then all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--presets", nargs="+", default=["debug", "cpu"], choices=list(PRESETS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[str, Any] = {"torch": torch.__version__, "machine": platform.processor()}
    for name in arguments.presets:
        for kind in arguments.kinds:
            row = measure(PRESETS[name], kind, arguments.steps, arguments.device)
            results[f"{name}/{kind}"] = row
            print(f"{name:>6} {kind:>7}  {row}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
