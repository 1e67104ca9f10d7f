"""Drives with an exported agent, ONNX Runtime and the simulator: no PyTorch.

python examples/drive_with_onnxruntime.py highway.onnx

The file comes of ``VLSafe.from_pretrained("highway").export_onnx("highway.onnx")``.
"""

import sys

import gymnasium as gym
import numpy as np
import onnxruntime

import vlsafe_envs  # noqa: F401  # registers the ids

agent = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
sizes = {i.name: i.shape[1:] for i in agent.get_inputs()}
env = gym.make("VLSafe-Highway-v0", observation="image", scorer=None)
for seed in range(3_000_000_000, 3_000_000_003):
    image, _ = env.reset(seed=seed)
    names = ("deter", "stoch", "action_vector")
    state = {name: np.zeros((1, *sizes[name]), np.float32) for name in names}
    total, start, over = 0.0, True, False
    while not over:
        seen = {"image": image[None], "episode_start": np.array([start])}
        action, *following = agent.run(None, {**seen, **state})
        state, start = dict(zip(names, following, strict=True)), False
        image, reward, terminated, truncated, info = env.step(int(action[0]))
        total, over = total + float(reward), terminated or truncated
    print(f"seed {seed}: return {total:.1f}, collision {bool(info['collision'])}")
print("PyTorch was imported:", "torch" in sys.modules)
