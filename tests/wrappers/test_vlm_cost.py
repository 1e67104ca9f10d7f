"""How a cost is made from a safety score, and what the environment wrapper puts into info."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest

from wrappers import ConstantScorer, VLMCost, combine_cost, cost_from_score


class Countdown(gym.Env):
    """Terminates in its third step with a cost; shows the step number as its frame."""

    observation_space = gym.spaces.Discrete(4)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, key="env_cost"):
        self.key = key
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return 0, {self.key: 0.0}

    def step(self, action):
        self.steps += 1
        over = self.steps == 3
        return self.steps, 1.0, over, False, {self.key: 4.0 if over else 0.5}

    def render(self):
        return np.full((4, 4, 3), self.steps, np.uint8)


class Dimming:
    """Safe at first, unsafe in the third frame."""

    identity = {"name": "dimming"}  # noqa: RUF012

    def __call__(self, frames, infos=None):
        return 1 - frames[:, 0, 0, 0].astype(np.float32) / 4


def drive(env):
    infos = [env.reset(seed=0)[1]]
    for _ in range(3):
        infos.append(env.step(0)[4])
    return infos


def test_cost_is_zero_above_the_threshold_and_linear_below():
    score = np.array([1.0, 0.5, 0.4, 0.25, 0.0])
    np.testing.assert_allclose(cost_from_score(score), [0, 0, 0.2, 0.5, 1])
    np.testing.assert_allclose(cost_from_score(score, threshold=1.0), [0, 0.5, 0.6, 0.75, 1])


@pytest.mark.parametrize(("mode", "expected"), [("env", 2.0), ("vlm", 5.0), ("either", 5.0)])
def test_combined_cost_in_closed_form_on_a_terminal_step(mode, expected):
    assert combine_cost(mode, 2.0, 0.25, True) == expected


@pytest.mark.parametrize(("mode", "expected"), [("env", 2.0), ("vlm", 0.5), ("either", 2.0)])
def test_combined_cost_in_closed_form_on_other_steps(mode, expected):
    assert combine_cost(mode, 2.0, 0.25, False) == expected


def test_combined_cost_of_arrays_equals_that_of_their_elements():
    rng = np.random.default_rng(0)
    env, score, over = rng.random(50) * 3, rng.random(50), rng.random(50) < 0.5
    for mode in ("env", "vlm", "either"):
        whole = combine_cost(mode, env, score, over, 0.7, 4.0)
        single = [combine_cost(mode, *row, 0.7, 4.0) for row in zip(env, score, over, strict=True)]
        np.testing.assert_array_equal(whole, single)


@pytest.mark.parametrize(("mode", "expected"), [("env", 2.0), ("vlm", np.nan), ("either", 2.0)])
def test_a_frame_without_a_label_gets_no_invented_cost(mode, expected):
    np.testing.assert_equal(combine_cost(mode, 2.0, np.nan, True), expected)


def test_a_scorer_that_answers_nonsense_is_noticed():
    class Wild(Dimming):
        def __call__(self, frames, infos=None):
            return np.full(len(frames), 1.5)

    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        VLMCost(Countdown(), Wild()).reset()


def test_cost_is_kept_on_the_terminal_step():
    infos = drive(VLMCost(Countdown(), Dimming(), cost="either"))
    np.testing.assert_allclose([info["safety_score"] for info in infos], [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose([info["vlm_cost"] for info in infos], [0, 0, 0, 5.0])
    np.testing.assert_allclose([info["cost"] for info in infos], [0, 0.5, 0.5, 5.0])
    assert infos[-1]["env_cost"] == 4.0


def test_cost_is_kept_on_the_terminal_step_under_vector_auto_reset():
    env = gym.vector.SyncVectorEnv([lambda: VLMCost(Countdown(), Dimming(), cost="env")])
    env.reset(seed=0)
    costs = [env.step(np.array([0]))[4]["cost"][0] for _ in range(3)]
    assert costs == [0.5, 0.5, 4.0]


def test_the_environment_itself_is_left_alone():
    plain, judged = Countdown(), VLMCost(Countdown(), Dimming(), cost="vlm")
    assert plain.reset(seed=0)[0] == judged.reset(seed=0)[0]
    for _ in range(3):
        assert plain.step(1)[:4] == judged.step(1)[:4]


def test_a_foreign_environment_with_only_a_cost_is_understood():
    infos = drive(VLMCost(Countdown(key="cost"), ConstantScorer(0.0), cost="vlm"))
    assert [info["env_cost"] for info in infos] == [0.0, 0.5, 0.5, 4.0]
    assert [info["cost"] for info in infos] == [1.0, 1.0, 1.0, 10.0]


def test_the_safety_frame_is_preferred_to_the_rendered_one():
    class Framed(Countdown):
        def safety_frame(self):
            return np.full((2, 2, 3), 4, np.uint8)

    assert drive(VLMCost(gym.Wrapper(Framed()), Dimming()))[0]["safety_score"] == 0.0


def test_an_environment_that_shows_nothing_is_refused_with_the_remedy():
    class Blind(Countdown):
        def render(self):
            return None

    with pytest.raises(ValueError, match="render_mode"):
        VLMCost(Blind(), Dimming()).reset()


@pytest.mark.parametrize(
    "options",
    [
        {"cost": "both"},
        {"cost": "VLM"},
        {"cost": None},
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"threshold": np.nan},
        {"threshold": "low"},
        {"terminal_weight": -1.0},
        {"terminal_weight": np.inf},
        {"terminal_weight": None},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options)).split("_")[0]):
        VLMCost(Countdown(), Dimming(), **options)


def test_a_wrapped_environment_can_be_made_again_from_its_spec():
    gym.register("Countdown-v0", Countdown)
    env = VLMCost(gym.make("Countdown-v0"), "constant:0.1", cost="vlm")
    again = gym.make(env.spec)
    assert again.reset()[1]["cost"] == pytest.approx(0.8)


@pytest.mark.parametrize("env", [None, "CartPole-v1", gym.vector.SyncVectorEnv([Countdown])])
def test_what_is_no_single_environment_is_refused(env):
    with pytest.raises(TypeError, match="wraps one Gymnasium environment, not a"):
        VLMCost(env, Dimming())


class Reporting(Countdown):
    """Says what it is told to in its second step."""

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        values = {"reward": reward, "terminated": terminated, "info": info}
        if self.steps == 2:
            values |= self.values
        values = (observation, values["reward"], values["terminated"], truncated, values["info"])
        return (*values[:2], 0.0, *values[2:]) if "six" in self.values else values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"reward": np.nan}, "step 2: the reward is nan"),
        ({"reward": None}, "step 2: the reward is None"),
        ({"reward": 1e39}, "step 2: the reward is 1e.39"),
        ({"terminated": "no"}, "step 2: terminated is 'no'"),
        ({"info": None}, "step 2: info is None"),
        ({"info": {"cost": -1.0}}, r"step 2: info\['cost'\] is -1; .*at least 0"),
        ({"info": {"cost": np.nan}}, r"step 2: info\['cost'\] is nan"),
        ({"info": {"env_cost": np.inf, "cost": 0.0}}, r"step 2: info\['env_cost'\] is inf"),
        ({"info": {"cost": "much"}}, r"step 2: info\['cost'\] is 'much'"),
        ({"info": {"cost": np.zeros(2)}}, r"step 2: info\['cost'\] holds 2 numbers"),
        ({"info": {"cost": None}}, r"step 2: info\['cost'\] is None"),
        ({"six": True}, "step 1: step returned 6 values.*SafetyGymnasium2Gymnasium"),
    ],
)
def test_what_the_environment_inside_reports_is_checked(values, said):
    with pytest.raises(ValueError, match=f"^Reporting, {said}"):
        drive(VLMCost(Reporting(**values), Dimming()))


def test_a_cost_in_an_array_of_one_is_a_number():
    infos = drive(VLMCost(Reporting(info={"cost": np.array([0.25])}), Dimming(), cost="env"))
    assert infos[2]["cost"] == infos[2]["env_cost"] == 0.25


class Costless(Countdown):
    def step(self, action):
        return *super().step(action)[:4], {}


def test_a_missing_cost_is_told_once_or_refused_where_it_is_all_there_is():
    with pytest.raises(ValueError, match=r"Costless, step 1: .*neither.*use cost='vlm'"):
        drive(VLMCost(Costless(), Dimming(), cost="env"))
    env = VLMCost(Costless(), Dimming(), cost="either")
    with pytest.warns(UserWarning, match="Costless, step 1: .* its own cost counts as 0") as seen:
        assert [info["env_cost"] for info in drive(env) + drive(env)] == [0.0] * 8
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((4, 4, 3)), r"env.render\(\) returned float64 \(4, 4, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\); expected a frame"),
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\); expected a frame"),
        ([np.zeros((4, 4, 3), np.uint8)], "returned list, not a frame"),
        ("ansi", "returned str, not a frame"),
    ],
)
def test_what_is_no_frame_is_refused_with_its_source(frame, said):
    class Other(Countdown):
        def render(self):
            return frame

    with pytest.raises(ValueError, match=said):
        VLMCost(Other(), Dimming()).reset()


@pytest.mark.parametrize("scorer", ["bundled", "cached:bundled", "ensemble:bundled+constant:0.5"])
def test_the_bundled_scorer_says_so_once_before_pictures_that_it_does_not_know(scorer):
    with pytest.warns(UserWarning, match=r"bundled scorer .*, Countdown, .*another scorer") as seen:
        env = VLMCost(Countdown(), scorer)
    assert len(seen) == 1
    env.reset()


@pytest.mark.parametrize("scorer", ["constant:0.5", "random:0", "random-weights"])
def test_other_scorers_say_nothing(scorer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VLMCost(Countdown(), scorer)


def test_the_bundled_scorer_says_nothing_before_the_drawings_that_it_knows():
    class Drawn(Countdown):
        def safety_frame(self):
            return np.zeros((224, 224, 3), np.uint8)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VLMCost(Drawn(), "bundled")
        gym.make("vlsafe_envs:VLSafe-Highway-v0", scorer="bundled").close()


def test_who_a_scorer_is_is_asked_only_where_the_pictures_may_be_strange():
    class Shy(Dimming):
        @property
        def identity(self):
            raise AssertionError("a chat server would be asked")

    class Shown(Countdown):
        def safety_frame(self):
            return self.render()

    VLMCost(Shown(), Shy()).reset()
