import math
import warnings

import pytest

from vlsafe_agents.common.lagrange import LagrangeMultiplier, PIDLagrange, make_multiplier


def test_plain_multiplier_follows_the_hand_computed_trajectory():
    multiplier = LagrangeMultiplier(cost_limit=2.0, initial=0.5, learning_rate=0.1, maximum=1.0)
    # 0.5 + .1*(4-2) = .7; + .1*(7-2) = 1.2 -> 1; + .1*(0-2) = .8; + .1*(-10) is refused below 0.
    with pytest.warns(RuntimeWarning, match="maximum of 1: the cost stays above cost_limit"):
        trajectory = [multiplier.update(cost) for cost in (4.0, 7.0, 0.0)]
    assert trajectory == pytest.approx([0.7, 1.0, 0.8])
    for _ in range(5):
        multiplier.update(0.0)
    assert multiplier.value == 0.0


def test_pid_multiplier_follows_the_hand_computed_trajectory_without_smoothing():
    multiplier = PIDLagrange(cost_limit=1.0, kp=0.5, ki=0.1, kd=2.0, ema=0.0)
    # cost 3: e=2 I=2 D=0 -> 1.0 + 0.2 = 1.2
    # cost 4: e=3 I=5 D=1 -> 1.5 + 0.5 + 2 = 4.0
    # cost 0: e=-1 I=4 D=0 (falling cost is not rewarded) -> -0.5 + 0.4 -> 0
    assert [multiplier.update(c) for c in (3.0, 4.0, 0.0)] == pytest.approx([1.2, 4.0, 0.0])


def test_pid_smoothing_starts_at_the_first_measurement():
    multiplier = PIDLagrange(cost_limit=0.0, kp=1.0, ki=0.0, kd=1.0, ema=0.5)
    # mean 4 (no start-up bias); then mean 0.5*4+0.5*8 = 6: P=6, D=2
    assert [multiplier.update(c) for c in (4.0, 8.0)] == pytest.approx([4.0, 8.0])


def test_pid_integral_does_not_wind_up():
    multiplier = PIDLagrange(cost_limit=1.0, kp=0.0, ki=0.1, kd=0.0, maximum=2.0)
    with pytest.warns(RuntimeWarning, match="maximum of 2"):
        values = [multiplier.update(100.0) for _ in range(1000)]
    assert max(values) <= 2.0
    # The integral stopped at maximum/ki = 20, so each step of -1 shows at once: 2 - .1*k.
    assert [multiplier.update(0.0) for _ in range(3)] == pytest.approx([1.9, 1.8, 1.7])


@pytest.mark.parametrize("kind", ["plain", "pid"])
def test_restored_multiplier_continues_as_the_original(kind):
    original, copy = make_multiplier(kind, 1.0), make_multiplier(kind, 1.0)
    for cost in (5.0, 2.0, 0.5):
        original.update(cost)
    copy.load_state_dict(original.state_dict())
    assert copy.value == original.value
    assert [copy.update(c) for c in (3.0, 4.0)] == [original.update(c) for c in (3.0, 4.0)]


@pytest.mark.parametrize("kind", ["plain", "pid"])
def test_a_maximum_of_zero_switches_the_constraint_off(kind):
    multiplier = make_multiplier(kind, 0.0, maximum=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody wonders at a multiplier that was switched off
        assert multiplier.update(1e6) == 0.0


@pytest.mark.parametrize("cost", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["plain", "pid"])
def test_costs_that_are_not_finite_are_refused(kind, cost):
    with pytest.raises(ValueError, match="finite"):
        make_multiplier(kind, 1.0).update(cost)


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="'pdi'"):
        make_multiplier("pdi", 1.0)
    with pytest.raises(ValueError, match="gain"):
        make_multiplier("pid", 1.0, gain=2.0)
    with pytest.raises(ValueError, match="cost_limit"):
        LagrangeMultiplier(-1.0)
    with pytest.raises(ValueError, match="initial"):
        LagrangeMultiplier(1.0, initial=3.0, maximum=2.0)
    with pytest.raises(ValueError, match="ema"):
        PIDLagrange(1.0, ema=1.0)
    with pytest.raises(ValueError, match="integral"):
        PIDLagrange(1.0).load_state_dict({"value": 1.0})
