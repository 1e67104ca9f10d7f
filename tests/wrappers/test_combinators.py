"""Whatever callers ask of a scorer, one that is made of others answers as those would."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wrappers
from wrappers import CalibratedScorer, EnsembleScorer, ShuffledScorer, WindowScorer, make_scorer
from wrappers.cached_scorer import CachedScorer
from wrappers.calibrated import Calibration, FittedOn
from wrappers.combinator import Combinator, Wrapper
from wrappers.contrast import ContrastScorer
from wrappers.controls import BlindScorer, NegatedScorer
from wrappers.remembered_scorer import RememberedScorer, facts_of
from wrappers.score_cache import ScoreCache
from wrappers.scorer import ASKED
from wrappers.vlm_cost import FrameCost

# What a scorer may say of itself: another value than a plain one has.
SAID: dict[str, Any] = {
    "context_frames": 3,
    "frame_size": 64,
    "reads_infos": True,
    "reads_history": True,
    "last_reasons": ["too dark", None],
    "stopped": "the budget is spent",
    "price_estimate": lambda frames: 0.5 * frames,
}
# What a combinator decides itself.
OWN: dict[type, set[str]] = {
    WindowScorer: {"context_frames"},
    ShuffledScorer: {"reads_history", "last_reasons"},  # scores are dealt to other frames
    CachedScorer: {"reads_infos", "reads_history"},  # refused
    # Refused; and without a label for its blank frame there is none, see test_contrast.py.
    ContrastScorer: {"reads_infos", "reads_history", "last_reasons"},
    FrameCost: {"last_reasons"},  # it gives costs, not scores
}


class Plain:
    """Says nothing of itself but its scores: none for the first frame of a call."""

    identity = {"name": "plain"}  # noqa: RUF012

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        return np.array([np.nan, *[0.5] * (len(frames) - 1)], np.float32)[: len(frames)]


def saying(name: str) -> Any:
    scorer = Plain()
    setattr(scorer, name, SAID[name])
    return scorer


def calibrated(scorer: Any) -> CalibratedScorer:
    fitted_on = FittedOn("collision", 9, 3, "abc", "2026-11-29")
    points = ((0.0, 0.1), (1.0, 0.9))
    return CalibratedScorer(scorer, Calibration("isotonic", points, scorer.identity, fitted_on))


@pytest.fixture
def makers(tmp_path: Path) -> dict[type, Callable[[Any], Any]]:
    return {
        CachedScorer: lambda scorer: CachedScorer(scorer, ScoreCache(tmp_path)),
        CalibratedScorer: calibrated,
        ContrastScorer: ContrastScorer,
        EnsembleScorer: lambda scorer: EnsembleScorer([scorer, make_scorer("constant:0.5")]),
        BlindScorer: lambda scorer: BlindScorer(scorer, info="speed", low=30.0),
        NegatedScorer: NegatedScorer,
        ShuffledScorer: ShuffledScorer,
        WindowScorer: lambda scorer: WindowScorer(scorer, 2, "tile"),
        RememberedScorer: lambda scorer: RememberedScorer(lambda: scorer, facts_of(scorer)),
        FrameCost: FrameCost,
    }


def all_combinators() -> set[type]:
    for module in pkgutil.walk_packages(wrappers.__path__, "wrappers."):
        importlib.import_module(module.name)

    def below(kind: type) -> set[type]:
        found = {kind}.union(*map(below, kind.__subclasses__()))
        return {one for one in found if one.__module__.startswith("wrappers.")}

    return below(Combinator) - {Combinator, Wrapper}


def test_every_combinator_is_tried_here(makers: dict[type, Any]) -> None:
    assert all_combinators() == makers.keys() - {RememberedScorer}


def test_who_is_given_a_scorer_is_a_combinator() -> None:
    """A class with an argument of type SafetyScorer forwards what callers ask."""
    holders = {"RememberedScorer", "VLMCost", "SafetyScorer"}
    known = {kind.__name__ for kind in all_combinators()} | {"Combinator", "Wrapper"} | holders
    for file in sorted(Path(wrappers.__path__[0]).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                is_init = isinstance(method, ast.FunctionDef) and method.name == "__init__"
                if is_init and "SafetyScorer" in ast.unparse(method.args):  # type: ignore[attr-defined]
                    assert node.name in known, f"{file}: {node.name}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_is_answered_by_the_scorer_inside(
    makers: dict[type, Callable[[Any], Any]], name: str
) -> None:
    assert SAID.keys() == set(ASKED)
    for kind, make in makers.items():
        if name in OWN.get(kind, ()):
            continue
        if name == "context_frames" and kind is WindowScorer:
            continue
        combined = make(saying(name))
        if name == "last_reasons":
            size = getattr(combined, "context_frames", 1)
            frames = np.zeros((2, *([size] if size > 1 else []), 4, 4, 3), np.uint8)
            frames[1] += 9
            silent = np.isnan(combined(frames, [{"speed": 20.0}] * 2))
            if kind is not EnsembleScorer:  # the other member has labels for all
                assert silent.sum() == 1, kind
                assert combined.last_reasons[silent.argmax()] == "too dark", kind
            continue
        answer = getattr(combined, name)
        if name == "stopped" and kind is EnsembleScorer:
            assert answer == ""  # the other member still gives labels
            combined = EnsembleScorer([saying(name), saying(name)])
            answer = combined.stopped
        if name == "price_estimate":
            assert answer(10) == 5.0, kind
        else:
            assert answer == SAID[name], kind


def test_members_that_look_at_other_sizes_cannot_be_combined() -> None:
    small, large = saying("frame_size"), saying("frame_size")
    large.frame_size = 96
    with pytest.raises(ValueError, match="64 and 96 px"):
        EnsembleScorer([small, large])
    assert EnsembleScorer([small, Plain()]).frame_size == 64


@pytest.mark.parametrize(
    "spec",
    ["cached:distilled", "shuffled:distilled", "frames:2:distilled", "ensemble:2*distilled+oracle"],
)
def test_a_distilled_scorer_says_what_it_looks_at_through_names_too(spec: str) -> None:
    assert make_scorer(spec).frame_size == 64  # type: ignore[attr-defined]
