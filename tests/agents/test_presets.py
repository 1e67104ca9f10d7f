"""Presets "12M", "25M" and "50M" are DreamerV3's, in all but what is written down.

Every setting is either DreamerV3's, with the key of ``dreamerv3/configs.yaml`` it comes from
(danijar/dreamerv3@e3f0224; NM512/r2dreamer@546e4fa has the same values in
``configs/model/_base_.yaml``), or a departure that the table in docs/algorithms.md names, or of a
thing that DreamerV3 does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlsafe_agents.common.typed_config import flatten
from vlsafe_agents.vlsafe.presets import make_config

# size: depth of the CNN, dyn.rssm.deter, dyn.rssm.hidden and all units, dyn.rssm.classes
SIZES = {"12M": (16, 2048, 256, 16), "25M": (24, 3072, 384, 24), "50M": (32, 4096, 512, 32)}
SIZED = {
    "world_model.rssm.deter": "size*: dyn.rssm.deter",
    "world_model.rssm.hidden": "size*: dyn.rssm.hidden",
    "world_model.rssm.classes": "size*: dyn.rssm.classes",
    "world_model.heads.units": "size*: rewhead.units, conhead.units, enc.simple.units, dec...",
    "network.units": "size*: policy.units, value.units",
    "world_model.image.channels": "size*: enc.simple.depth times enc.simple.mults [2, 3, 4, 4]",
}
DREAMERS: dict[str, tuple[Any, str]] = {
    "world_model.rssm.stoch": (32, "dyn.rssm.stoch"),
    "world_model.rssm.blocks": (8, "dyn.rssm.blocks"),
    "world_model.rssm.prior_layers": (2, "dyn.rssm.imglayers"),
    "world_model.rssm.unimix": (0.01, "dyn.rssm.unimix"),
    "world_model.rssm.free_nats": (1.0, "dyn.rssm.free_nats"),
    "world_model.image.strides": ((2, 2, 2, 2), "rssm.Encoder: halves for each of mults"),
    "world_model.image.norm": (True, "enc.simple.norm rms, dec.simple.norm rms"),
    "world_model.image.decoded_share": (1.0, "rssm.Decoder: all frames"),
    "world_model.image.standardise": (False, "rssm.Encoder: x / 255 - 0.5"),
    "world_model.image.colour_weight": (0.0, "rssm.Decoder: outs.MSE, summed"),
    "world_model.heads.layers": (1, "rewhead.layers, conhead.layers"),
    "world_model.heads.vector_layers": (3, "enc.simple.layers, dec.simple.layers"),
    "world_model.heads.standardise": (False, "enc.simple.symlog True"),
    "world_model.heads.bins": (255, "rewhead.bins"),
    "world_model.heads.bin_limit": (20.0, "heads.Head.symexp_twohot: linspace(-20, 0)"),
    "world_model.scales.image": (1.0, "loss_scales.rec"),
    "world_model.scales.vector": (1.0, "loss_scales.rec"),
    "world_model.scales.reward": (1.0, "loss_scales.rew"),
    "world_model.scales.cont": (1.0, "loss_scales.con"),
    "world_model.scales.dyn": (1.0, "loss_scales.dyn"),
    "world_model.scales.rep": (0.1, "loss_scales.rep"),
    "train.batch_size": (16, "batch_size"),
    "train.sequence_length": (64, "batch_length"),
    "train.learning_rate": (4e-5, "opt.lr"),
    "train.warmup": (1000, "opt.warmup"),
    "train.clip": (0.3, "opt.agc"),
    "network.layers": (3, "policy.layers, value.layers"),
    "network.bins": (255, "value.bins"),
    "network.bin_limit": (20.0, "heads.Head.symexp_twohot: linspace(-20, 0)"),
    "network.learning_rate": (4e-5, "opt.lr"),
    "network.warmup": (1000, "opt.warmup"),
    "imagination.starts": (16 * 64, "imag_last 0: every state of the batch"),
    "imagination.horizon": (15, "imag_length"),
    "imagination.gamma": (1 - 1 / 333, "horizon 333"),
    "imagination.lambda_": (0.95, "imag_loss.lam, repl_loss.lam"),
    "imagination.slow_rate": (0.02, "slowvalue.rate"),
    "research.imagined": (1.0, "loss_scales.value"),
    "research.anchor": (0.3, "loss_scales.repval"),
    "shaping": (0.0, "no gradient from recorded actions"),
    "forget_actions": (0.0, "none"),
    "prior_cost_limit": (None, "none"),
    "research.unsafe_ends": (0.0, "replay.fracs.uniform 1.0"),
}
# Settings at another value than DreamerV3's, or of a rule of our own in the place of one of its.
DEPARTURES = (
    "world_model.image.kernel",
    "train.burn_in",
    "imagination.explore",
    "improvement.beta_reward",
    "improvement.beta_cost",
    "improvement.beta",
    "improvement.gate_lookahead",
    "improvement.support_threshold",
    "improvement.weight_limit",
    "improvement.feasible_quantile",
    "improvement.candidates",
    "research.normalise_gate",
    "research.feasible_only",
    "research.data_share",
    "model_warmup",
    "critic_warmup",
    "model_every",
)
# Of what DreamerV3 does not have, or of how a machine is used.
OWN = (
    "world_model.scales.cost",
    "world_model.scales.safety_score",
    "world_model.scales.disagreement",
    "world_model.scales.vehicles",
    "world_model.cost_positive_weight",
    "world_model.ensemble",
    "research.disagreement_penalty",
    "limit_knots",
    "torch_threads",
    "train.encoded_memory",
    "train.dtype",
    "train.compile",
)
# Whole groups: of the constraint, and of how experience is collected, which no preset sets.
OWN_GROUPS = ("multiplier.", "online.")
DOCS = Path(__file__).parents[2] / "docs" / "algorithms.md"


@pytest.mark.parametrize("preset", SIZES)
def test_every_setting_is_dreamers_or_a_departure_that_is_written_down(preset: str) -> None:
    settings = flatten(make_config(preset).to_dict())
    known = {*SIZED, *DREAMERS, *DEPARTURES, *OWN}
    rest = {key for key in settings if not key.startswith(OWN_GROUPS)} - known
    assert not rest, "say where these come from"
    assert known <= set(settings), "these are no settings any more"


@pytest.mark.parametrize("preset", SIZES)
def test_values_are_dreamers(preset: str) -> None:
    settings = flatten(make_config(preset).to_dict())
    for key, (value, source) in DREAMERS.items():
        assert settings[key] == value, f"{key}: {source}"
    depth, deter, units, classes = SIZES[preset]
    expected = (deter, units, classes, units, units, (2 * depth, 3 * depth, 4 * depth, 4 * depth))
    for (key, source), value in zip(SIZED.items(), expected, strict=True):
        assert settings[key] == value, f"{key}: {source}"


@pytest.mark.parametrize("key", DEPARTURES)
def test_departures_are_in_the_table(key: str) -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert any(f"`{key}`" in row for row in rows)
