"""Settings of VLSafe: presets, what is refused, and what earlier versions called them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from vlsafe_agents.vlsafe.config import VLSafeConfig
from vlsafe_agents.vlsafe.presets import PRESETS, changed, make_config, upgraded


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_written_down_gives_the_same_settings_again(preset: str) -> None:
    config = make_config(preset, {"imagination": {"horizon": 3}})
    assert make_config(preset, config.to_dict()) == config
    assert changed(VLSafeConfig(), config.to_dict()) == config


def test_route_is_cpu_with_other_settings_of_the_policy() -> None:
    cpu, route = make_config("cpu"), make_config("route", {"network": {"units": 64}})
    assert (route.world_model, route.train) == (cpu.world_model, cpu.train)
    assert (route.network.units, route.network.learning_rate) == (64, 2e-3)
    assert (cpu.forget_actions, route.forget_actions) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"imagination": {"horizon": 0}}, r"imagination.horizon is 0; .*at least 1"),
        ({"imagination": {"gamma": 1.5}}, r"imagination.gamma is 1.5; .*0.001, 1"),
        ({"world_model": {"rssm": {"detr": 3}}}, r"RSSMConfig has no setting 'detr'; it has:"),
        ({"world_model": {"image": {"strides": [4, 0]}}}, r"world_model.image.strides is 0"),
        ({"world_model": {"image": {"norm": 1}}}, r"world_model.image.norm is 1; expected a bool"),
        ({"multiplier": {"kind": "pi"}}, r"unknown multiplier.kind 'pi'; choose one of plain, pid"),
        ({"multiplier": {"episode_steps": 0.5}}, r"multiplier.episode_steps is 0.5"),
        ({"train": 5}, r"train is 5; expected a TrainConfig"),
        ({"torch_threads": 0}, r"torch_threads is 0"),
        ({"research": {"disagreement_penalty": 1.0}}, r"no effect without an ensemble"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(config: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_config("cpu", config)


def test_unknown_presets_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: debug, cpu, route, 12M, 25M, 50M"):
        make_config("13M")


def test_settings_can_not_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_config("cpu").shaping = 1.0  # type: ignore[misc]


# --- earlier versions -----------------------------------------------------------------------------


def test_settings_of_november_2026_are_understood() -> None:
    old = {
        "unsafe_ends": 0.25,
        "imagination": {"anchor": 0.5, "horizon": 7, "disagreement_penalty": 0.0},
        "improvement": {
            "mixture": "arithmetic",
            "support": "behaviour",
            "cloning_scale": 0.3,
            "entropy_scale": 3e-4,
            "normalise_gate": False,
            "beta": 2.0,
        },
        "multiplier": {"kind": "pid", "settings": {"kp": 0.3}},
    }
    assert upgraded(old) == {
        "research": {
            "unsafe_ends": 0.25,
            "anchor": 0.5,
            "disagreement_penalty": 0.0,
            "normalise_gate": False,
        },
        "imagination": {"horizon": 7},
        "improvement": {"beta": 2.0},
        "multiplier": {"kind": "pid", "pid": {"kp": 0.3}},
    }
    assert upgraded(make_config("cpu").to_dict()) == make_config("cpu").to_dict()


def test_an_old_multipliers_settings_were_replaced_as_a_whole() -> None:
    found = make_config("cpu", {"multiplier": {"settings": {"initial": 1.0}}}).multiplier.plain
    assert (found.initial, found.learning_rate) == (1.0, 0.05)


@pytest.mark.parametrize("switch", [{"support": "none"}, {"mixture": "geometric"}])
def test_switches_that_were_taken_out_are_named(switch: dict[str, str]) -> None:
    (name,) = switch
    with pytest.raises(ValueError, match=rf"improvement.{name}=.* is no setting any more"):
        make_config("cpu", {"improvement": switch})
