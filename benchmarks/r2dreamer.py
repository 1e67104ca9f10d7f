"""NM512/r2dreamer at the sizes of our settings, for :mod:`benchmarks.learner` and ``pixel_task``.

Its own modules run from a checkout, unchanged, in float32 and not compiled.  ``tensordict``, which
it imports for acting, may be missing for :class:`Peer`: nothing that it measures uses it.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import yaml
from torch import Tensor

from vlsafe_agents.vlsafe.batch import TensorBatch
from vlsafe_agents.vlsafe.config import VLSafeConfig


class Settings(dict[str, Any]):
    """A dictionary whose entries are attributes, in place of OmegaConf's."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__  # type: ignore[assignment]


class Data(dict[str, Tensor]):
    """A batch of sequences, in place of TensorDict's."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(B, T)``."""
        batch, time = self["is_first"].shape
        return batch, time


class Peer:
    """r2dreamer's learner with the sizes of ``config``.

    Args:
        checkout: folder of the repository.
        batch: what it learns from, ``(B, T)``; its images only.

    Raises:
        FileNotFoundError: where there is no checkout.
    """

    def __init__(
        self, checkout: Path, config: VLSafeConfig, batch: TensorBatch, actions: int, horizon: int
    ) -> None:
        stand_in = ModuleType("tensordict")
        stand_in.TensorDict = dict  # type: ignore[attr-defined]
        sys.modules.setdefault("tensordict", stand_in)
        add_to_path(checkout)
        self.learner = make_learner(settings(checkout, config, horizon), (64, 64, 3), actions)
        self.data = _data(batch, actions)
        self.start = self.learner.rssm.initial(len(batch.reward))

    def world_model(self) -> None:
        """One update of the world model: reconstruction, reward, continuation and KL."""
        own, data = self.learner, self.learner.preprocess(Data(self.data))
        embed = own.encoder(data)
        stoch, deter, logit = own.rssm.observe(embed, data["action"], self.start, data["is_first"])
        dyn, rep = own.rssm.kl_loss(logit, own.rssm.prior(deter)[1], own.kl_free)
        feat = own.rssm.get_feat(stoch, deter)
        shown = own.decoder(stoch, deter)["image"].log_prob(data["image"])
        reward = own.reward(feat).log_prob(data["reward"])
        going_on = own.cont(feat).log_prob(1.0 - data["is_terminal"].float())
        loss = dyn.mean() + 0.1 * rep.mean() - shown.mean() - reward.mean() - going_on.mean()
        loss.backward()
        self._step()

    def actor_critic(self) -> Callable[[], None]:
        """One update of actor and critic, from states of the batch; it may not be undone.

        The world model's part of ``_cal_grad`` is replaced by what it would have given.
        """
        own, data = self.learner, Data(self.data)
        with torch.no_grad():
            embed = own.encoder(own.preprocess(Data(self.data)))
            seen = own.rssm.observe(embed, data["action"], self.start, data["is_first"])
        none = torch.zeros(data.shape)
        known = SimpleNamespace(log_prob=lambda target: none)
        own.encoder.forward = lambda data: embed
        own.rssm.observe = lambda *_: seen
        own.rssm.prior = lambda deter: (None, seen[2])
        own.rssm.kl_loss = lambda *_: (none, none)
        own.decoder.forward = lambda *_: {}
        own.reward.forward = own.cont.forward = lambda feat: known

        def update() -> None:
            own._update_slow_target()
            own._cal_grad(data, self.start)
            self._step()

        return update

    def observe(self, embed: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """Posterior states of the batch."""
        states: tuple[Tensor, ...] = self.learner.rssm.observe(
            embed, action, self.start, self.data["is_first"]
        )
        return states

    def imagine(self, deter: Tensor, stoch: Tensor, horizon: int) -> None:
        """Dreams of the actor."""
        self.learner._imagine((stoch, deter), horizon)

    def feature_losses(self, deter: Tensor, stoch: Tensor, logit: Tensor, reward: Tensor) -> None:
        """Reward, continuation and KL of given states, forward and backward."""
        own = self.learner
        feat = own.rssm.get_feat(stoch, deter)
        dyn, rep = own.rssm.kl_loss(logit, own.rssm.prior(deter)[1], own.kl_free)
        told = own.reward(feat).log_prob(reward.unsqueeze(-1))
        going_on = own.cont(feat).log_prob(torch.ones_like(reward).unsqueeze(-1))
        (dyn.mean() + rep.mean() - told.mean() - going_on.mean()).backward()

    def optimiser(self, params: list[Tensor]) -> Callable[[], None]:
        """Clipping and one step of parameters that have gradients."""
        from optim import LaProp

        steps = LaProp(params, lr=4e-5, betas=(0.9, 0.999), eps=1e-20)

        def step() -> None:
            self.learner._agc(params)
            steps.step()

        return step

    def _step(self) -> None:
        own = self.learner
        own._agc(own._named_params.values())
        own._optimizer.step()
        own._optimizer.zero_grad(set_to_none=True)


def add_to_path(checkout: Path) -> None:
    """Make its modules importable.

    Raises:
        FileNotFoundError: where there is no checkout.
    """
    if not (checkout / "dreamer.py").is_file():
        raise FileNotFoundError(f"{checkout} holds no dreamer.py: give a checkout of r2dreamer")
    sys.path.insert(0, str(checkout))


def make_learner(own: Settings, image: tuple[int, int, int], actions: int) -> Any:
    """Its agent for images ``(H, W, C)`` and actions that can be counted, without its printing."""
    import dreamer

    space = SimpleNamespace(spaces={"image": SimpleNamespace(shape=image)})
    acting = SimpleNamespace(n=actions, discrete=True)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of a gradient scaler without CUDA
        return dreamer.Dreamer(own, space, acting)


def commit(checkout: Path) -> str:
    """The commit of a checkout, or "not known"."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "not known"


def settings(checkout: Path, config: VLSafeConfig, horizon: int) -> Settings:
    """Its base settings with our sizes, in the form of DreamerV3 (``rep_loss``: with a decoder).

    One ``depth`` gives the channels of its convolutions.
    """
    rssm, heads, net = config.world_model.rssm, config.world_model.heads, config.network
    depth = max(config.world_model.image.channels[0] // 2, 1)
    model = {
        "deter": rssm.deter,
        "hidden": rssm.hidden,
        "discrete": rssm.classes,
        "depth": depth,
        "units": net.units,
        "act": "SiLU",
        "norm": True,
    }
    text = (checkout / "configs/model/_base_.yaml").read_text(encoding="utf-8")
    text = text.replace("${device}", "cpu")
    for kind in ("encoder", "decoder"):
        text = text.replace(f"${{env.{kind}.mlp_keys}}", "'$^'")
        text = text.replace(f"${{env.{kind}.cnn_keys}}", "image")
    text = re.sub(r"\$\{model\.(\w+)\}", lambda found: str(model[found[1]]), text)
    # YAML reads 3e-4 without a dot as a text
    text = re.sub(r"(:\s*\d+)(e-\d+)", r"\1.0\2", text)
    own = _attributes(yaml.safe_load(text))
    own.update(device="cpu", compile=False, rep_loss="dreamer", imag_horizon=horizon)
    own.rssm.update(stoch=rssm.stoch, blocks=rssm.blocks, img_layers=rssm.prior_layers)
    for name in ("reward", "cont"):
        own[name].update(layers=heads.layers, units=heads.units)
    for name in ("actor", "critic"):
        own[name].update(layers=net.layers)
    for name, bins in (("reward", heads.bins), ("critic", net.bins)):
        own[name].update(shape=[bins])
        own[name].dist.update(bin_num=bins)
    return own


def _attributes(value: Any) -> Any:
    if isinstance(value, dict):
        return Settings({name: _attributes(entry) for name, entry in value.items()})
    return value


def _data(batch: TensorBatch, actions: int) -> Data:
    return Data(
        image=batch.obs["image"],
        action=torch.nn.functional.one_hot(batch.action, actions).float(),
        reward=batch.reward.unsqueeze(-1),
        is_first=batch.is_first,
        is_last=torch.zeros_like(batch.is_first).unsqueeze(-1),
        is_terminal=batch.is_terminal.unsqueeze(-1),
    )
