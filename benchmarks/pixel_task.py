"""Catch from pixels, learned online by VLSafe and by NM512/r2dreamer at equal size and steps.

    python benchmarks/pixel_task.py --seeds 0 1 2 --r2dreamer ~/r2dreamer

The game is ``tests/agents/catch.py``.  Both have the same sizes, learning rate, discount, horizon,
batches, environments and number of updates; r2dreamer runs its own agent, replay and trainer, in
the form with a decoder (``rep_loss: dreamer``, DreamerV3), in float32 and not compiled, and needs
``pip install tensordict torchrl``.  Printed are the mean return of the episodes that ended in each
span of steps, then that of the greedy policy on 256 seeds that nobody learned on, and processor
seconds.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.r2dreamer import Settings, add_to_path, commit, make_learner, settings
from vlsafe_agents import VLSafe
from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.presets import make_config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "agents"))
from catch import CATCH_CONFIG, Catch, play

ENVS, SPAN = 8, 500  # environments side by side; steps of a point of the learning curve
ACTIONS = 3
OURS, THEIRS = AGENTS = ("VLSafe", "r2dreamer")
# Parts of both under one name; the rest of ours has no counterpart.
PARTS = {
    "encoder": ("world_model.observation.encoders", "encoder"),
    "decoder": ("world_model.observation.decoders", "decoder"),
    "RSSM": ("world_model.rssm", "rssm"),
    "reward": ("world_model.reward_head", "reward"),
    "continuation": ("world_model.cont_head", "cont"),
    "actor": ("actor_critic.actor", "actor"),
    "critic of reward": ("actor_critic.reward_critic.net", "value"),
    "prior": ("actor_critic.behaviour", None),
    "critic of cost": ("actor_critic.cost_critic.net", None),
}


@dataclass
class Run:
    """What one agent did."""

    name: str
    seed: int
    ended: list[tuple[int, float]] = field(default_factory=list)  # (steps, return) of episodes
    updates: int = 0
    seconds: float = 0.0  # of the processor, all of it
    updating: float = 0.0  # of it in updates, sampling included
    greedy: float = float("nan")  # return on unseen seeds

    def curve(self, steps: int) -> list[float]:
        """Mean return of the episodes that ended in each span."""
        spans: list[list[float]] = [[] for _ in range(-(-steps // SPAN))]
        for at, earned in self.ended:
            spans[min((at - 1) // SPAN, len(spans) - 1)].append(earned)
        return [float(np.mean(span)) if span else float("nan") for span in spans]

    def timed(self, update: Any) -> Any:
        """``update`` whose calls and processor seconds are counted."""

        def counted(*arguments: Any) -> Any:
            begin = time.process_time()
            result = update(*arguments)
            self.updating += time.process_time() - begin
            self.updates += 1
            return result

        return counted


# --- ours -----------------------------------------------------------------------------------------


class Ended(BaseCallback):
    """Notes the episodes that end."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def _on_step(self) -> bool:
        infos = [info for info in self.locals["infos"] if "episode" in info]
        self.run.ended += [(self.num_timesteps, info["episode"]["r"]) for info in infos]
        return True


def learn_ours(seed: int, steps: int, overrides: dict[str, Any]) -> tuple[Run, VLSafe]:
    """VLSafe, blind to cost."""
    run, env = Run(OURS, seed), make_vec_env(Catch, n_envs=ENVS, seed=seed)
    agent = VLSafe(
        "CnnPolicy", env, None, "12M", safety=None, seed=seed, device="cpu", config=overrides
    )
    agent.train = run.timed(agent.train)  # type: ignore[method-assign]
    begin = time.process_time()
    agent.learn(steps, callback=Ended(run), log_interval=0)
    run.seconds = time.process_time() - begin
    run.greedy = play(agent)[0]
    return run, agent


# --- theirs ---------------------------------------------------------------------------------------


class Envs:
    """Catch as r2dreamer's trainer steps it: those that are done are reset instead."""

    env_num = ENVS

    def __init__(self, seed: int, run: Run) -> None:
        self.envs = [Catch() for _ in range(ENVS)]
        self.seeds: list[int | None] = [seed + slot for slot in range(ENVS)]
        self.run, self.steps = run, 0

    def step(self, action: torch.Tensor, done: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Rows of all environments as a ``TensorDict`` ``(B,)``, and which are done ``(B,)``."""
        from tensordict import TensorDict

        self.steps += int((~done).sum())
        rows = []
        for slot, env in enumerate(self.envs):
            reward, over = 0.0, False
            if done[slot]:
                image, _ = env.reset(seed=self.seeds[slot])
                self.seeds[slot] = None
            else:
                image, reward, over, _, _ = env.step(int(action[slot].argmax()))
            if over:
                self.run.ended.append((self.steps, reward))
            rows.append((image, bool(done[slot]), over, over, reward))
        names = ("image", "is_first", "is_last", "is_terminal", "reward")
        columns = {n: np.stack(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)}
        over_now = torch.from_numpy(columns["is_last"].copy())
        columns["reward"] = columns["reward"].astype(np.float32)
        tensors = {n: torch.from_numpy(c if c.ndim > 1 else c[:, None]) for n, c in columns.items()}
        return TensorDict(tensors, batch_size=(ENVS,)), over_now


class Player:
    """r2dreamer's greedy policy, asked as ours is."""

    def __init__(self, learner: Any) -> None:
        self.learner = learner

    def predict(
        self,
        obs: npt.NDArray[np.uint8],
        state: Any,
        episode_start: npt.NDArray[np.bool_],
        deterministic: bool,
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Actions ``(N,)`` and the states behind them."""
        state = self.learner.get_initial_state(len(obs)) if state is None else state
        seen = {"image": torch.from_numpy(obs.copy())}
        seen["is_first"] = torch.from_numpy(episode_start.copy())[:, None]
        action, state = self.learner.act(seen, state, eval=deterministic)
        return action.argmax(-1).numpy(), state


def learn_theirs(
    checkout: Path, seed: int, steps: int, config: VLSafeConfig
) -> tuple[Run, torch.nn.Module]:
    """r2dreamer by its own trainer."""
    import buffer
    import dreamer
    import trainer

    # Half precision is for GPUs; without CUDA its gradient scaler does nothing.
    dreamer.autocast = lambda **_: contextlib.nullcontext()
    torch.manual_seed(seed)
    run, train = Run(THEIRS, seed), config.train
    learner = make_learner(
        their_settings(checkout, config), Catch().observation_space.shape, ACTIONS
    )
    sizes = {"batch_size": train.batch_size, "batch_length": train.sequence_length}
    replay = buffer.Buffer(
        SimpleNamespace(device="cpu", storage_device="cpu", max_size=4 * steps, **sizes)
    )
    learner.update = run.timed(learner.update)
    own = SimpleNamespace(
        steps=steps, pretrain=0, eval_every=0, eval_episode_num=0, video_pred_log=False,
        params_hist_log=False, train_ratio=config.online.train_ratio, update_log_every=0,
        action_repeat=1, **sizes,
    )  # fmt: skip
    silent = SimpleNamespace(**dict.fromkeys(("scalar", "video", "write"), lambda *_: None))
    begin = time.process_time()
    trainer.OnlineTrainer(own, replay, silent, None, Envs(seed, run), None).begin(learner)
    run.seconds = time.process_time() - begin
    run.greedy = play(Player(learner))[0]
    return run, learner


def their_settings(checkout: Path, config: VLSafeConfig) -> Settings:
    """r2dreamer's settings with all of ours that it has, too."""
    image, horizon = config.world_model.image, config.imagination.horizon
    own = settings(checkout, config, horizon)
    depth = own.encoder.cnn.depth
    for coder in (own.encoder, own.decoder):
        coder.cnn.mults = [channels // depth for channels in image.channels]
    own.update(lr=config.train.learning_rate, warmup=config.train.warmup)
    own.update(horizon=1.0 / (1.0 - config.imagination.gamma), lamb=config.imagination.lambda_)
    return own


# --- beside each other ----------------------------------------------------------------------------


def sizes(ours: torch.nn.Module, theirs: torch.nn.Module | None) -> list[str]:
    """Rows in Markdown: parameters by part."""
    rows = ["| parameters | VLSafe | r2dreamer |", "|---|---|---|"]
    for name, places in PARTS.items():
        counts = ["-", "-"]
        for i, (model, place) in enumerate(zip((ours, theirs), places, strict=True)):
            if model is not None and place is not None:
                parts = model.get_submodule(place).parameters()
                counts[i] = f"{sum(part.numel() for part in parts):,}"
        rows.append(f"| {name} | {counts[0]} | {counts[1]} |")
    return rows


def table(runs: list[Run], steps: int) -> list[str]:
    """Rows in Markdown: a learning curve each."""
    spans = [f"{min(end, steps):,}" for end in range(SPAN, steps + SPAN, SPAN)]
    heads = ["agent, seed", *spans, "unseen, greedy", "updates", "s", "s in updates"]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for run in runs:
        shown = [f"{run.name}, {run.seed}", *(f"{x:.2f}" for x in run.curve(steps))]
        shown += [f"{run.greedy:.2f}", f"{run.updates:,}"]
        shown += [f"{run.seconds:.0f}", f"{run.updating:.0f}"]
        rows.append("| " + " | ".join(shown) + " |")
    return rows


def main() -> None:
    """Print the tables, and JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--r2dreamer", type=Path, help="folder of a checkout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--agents", nargs="+", default=AGENTS, choices=AGENTS)
    parser.add_argument("--config", type=json.loads, default={}, help="more settings, JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    overrides = {**CATCH_CONFIG, **asked.config}
    config = make_config("12M", overrides)
    if asked.r2dreamer is not None:
        import tensordict  # noqa: F401  # before benchmarks.r2dreamer puts a stand-in there

        add_to_path(asked.r2dreamer)
    runs: list[Run] = []
    models: dict[str, torch.nn.Module] = {}
    for seed in asked.seeds:
        if OURS in asked.agents:
            run, agent = learn_ours(seed, asked.steps, overrides)
            runs.append(run)
            models["ours"] = agent.policy
            print(table([run], asked.steps)[-1], flush=True)
        if asked.r2dreamer is not None and THEIRS in asked.agents:
            run, models["theirs"] = learn_theirs(asked.r2dreamer, seed, asked.steps, config)
            runs.append(run)
            print(table([run], asked.steps)[-1], flush=True)
    if len(models) == 2:
        print("", *sizes(models["ours"], models["theirs"]), sep="\n")
    print("", *table(runs, asked.steps), sep="\n")
    known = {} if asked.r2dreamer is None else {"r2dreamer": commit(asked.r2dreamer)}
    told = [{**asdict(run), "ended": run.curve(asked.steps)} for run in runs]
    print(json.dumps({**known, "config": overrides, "runs": told}))


if __name__ == "__main__":
    main()
