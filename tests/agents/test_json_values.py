"""Results as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from vlsafe_agents.common.json_values import plain


@dataclass(frozen=True)
class Part:
    value: float
    names: tuple[str, ...] = ("a", "b")


def test_results_become_what_json_holds() -> None:
    found = plain(
        {
            1: Part(float("nan")),
            "array": np.arange(2),
            "flag": np.bool_(True),
            "number": np.float32(0.5),
            "none": None,
        }
    )
    assert found == {
        "1": {"value": None, "names": ["a", "b"]},
        "array": [0, 1],
        "flag": True,
        "number": 0.5,
        "none": None,
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert type(found["flag"]) is bool


def test_who_asks_says_what_an_object_becomes() -> None:
    assert plain([Part(1.0)], lambda part: {"twice": 2 * part.value}) == [{"twice": 2.0}]
