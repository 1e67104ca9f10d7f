"""Plain functions of frames as scorers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from wrappers import VLMCost, make_scorer
from wrappers.cached_scorer import CachedScorer
from wrappers.calibrated import fit_calibration, make_calibrated_scorer
from wrappers.function_scorer import FunctionScorer

FRAMES = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 102, 255)])


def brightness(frames: Any) -> Any:
    return frames.mean((1, 2, 3)) / 255


def by_speed(frames: Any, infos: Any) -> Any:
    return np.array([info["speed"] for info in infos]) / 100


def scaled(frames: Any, factor: float = 1.0) -> Any:
    return brightness(frames) * factor


def test_a_function_is_a_scorer() -> None:
    scorer = make_scorer(brightness)
    np.testing.assert_allclose(scorer(FRAMES), [0, 0.4, 1])
    assert scorer(FRAMES).dtype == np.float32
    assert make_scorer(scorer) is scorer


def test_one_with_infos_gets_them() -> None:
    scorer = make_scorer(by_speed)
    assert scorer.reads_infos  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        scorer(FRAMES, [{"speed": s} for s in (10, 20, 30)]), [0.1, 0.2, 0.3]
    )


def test_its_identity_says_what_is_known_of_it() -> None:
    identity = make_scorer(brightness).identity
    assert (identity["name"], identity["function"]) == ("function", "brightness")
    assert identity["module"] == __name__
    assert len(identity["source"]) == 64
    json.dumps(identity)
    half, third = (
        make_scorer(functools.partial(scaled, factor=f)).identity for f in (1 / 2, 1 / 3)
    )
    assert half != third


def test_closures_are_told_apart() -> None:
    def of(factor: float) -> Any:
        return lambda frames: brightness(frames) * factor

    assert make_scorer(of(0.5)).identity != make_scorer(of(0.25)).identity


def test_other_source_is_another_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    identities = []
    for name, value in (("first_judge", 0.25), ("second_judge", 0.75)):
        code = f"import numpy as np\ndef judge(frames):\n    return np.full(len(frames), {value})\n"
        (tmp_path / f"{name}.py").write_text(code)
        scorer = make_scorer(f"{name}:judge")
        assert scorer(FRAMES).tolist() == [value] * 3
        identities.append(scorer.identity)
    assert identities[0]["source"] != identities[1]["source"]
    assert make_scorer("shuffled:first_judge:judge")(FRAMES).tolist() == [0.25] * 3


def test_a_function_without_source_is_not_cached() -> None:
    made: dict[str, Any] = {}
    exec("def typed_in(frames):\n    return [1.0] * len(frames)", made)
    scorer = make_scorer(made["typed_in"])
    assert scorer.identity["source"] is None
    with pytest.raises(ValueError, match="depends on earlier calls"):
        CachedScorer(scorer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([0.5], r"<lambda>\(\): the scorer returned shape \(1,\) for 3 frames"),
        ([0, 2, 0], r"lies in \[0, 1\], the scorer returned 2"),
        ("abc", "returned no numbers"),
    ],
)
def test_wrong_answers_name_the_function(answer: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_scorer(lambda frames: answer)(FRAMES)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_module:judge", "no_such_module cannot be imported"),
        ("json:judge", "json has no judge"),
        ("json:__name__", "no function of frames"),
    ],
)
def test_names_of_no_function_are_told(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_scorer(spec)


def test_objects_are_no_functions() -> None:
    with pytest.raises(TypeError, match="a plain function of frames will do"):
        make_scorer(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is no function of frames"):
        FunctionScorer(3)  # type: ignore[arg-type]


def test_options_cannot_change_a_function() -> None:
    with pytest.raises(TypeError, match="already built"):
        make_scorer(brightness, form="cosine")


@pytest.mark.parametrize("spec", ["json:loads", "shuffled:json:loads"])
def test_a_file_cannot_have_a_function_imported(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "scorer.json"
    scores = np.linspace(0, 1, 50)
    fitted = fit_calibration(scores, scores < 0.5, {"name": "function"}, "a collision")
    fitted.save(path, spec=spec)
    with pytest.raises(ValueError, match="a file names the scorer 'json:loads'"):
        make_calibrated_scorer(str(path))


class Lamp(gym.Env[Any, Any]):
    """Shows frames that get darker."""

    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)
    render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.light = 255
        return 0, {}

    def step(self, action: Any) -> Any:
        self.light -= 204
        return 0, 0.0, False, False, {"cost": 0.0}

    def render(self) -> Any:
        return np.full((4, 4, 3), self.light, np.uint8)


def test_it_makes_the_cost_of_an_environment() -> None:
    env = VLMCost(Lamp(), brightness, cost="vlm")
    assert env.reset()[1]["safety_score"] == 1.0
    info = env.step(0)[4]
    assert info["safety_score"] == pytest.approx(0.2)
    assert info["cost"] == pytest.approx(0.6)
