"""Lambda-returns against a slow reference and closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from vlsafe_agents.common.returns import discount_weights, lambda_return

N, H = 3, 7


def trajectory() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(N, H, generator=generator, dtype=torch.float64)
    value = torch.randn(N, H + 1, generator=generator, dtype=torch.float64)
    cont = torch.rand(N, H, generator=generator, dtype=torch.float64)
    return reward, value, cont


def n_step_mixture(
    reward: Tensor, value: Tensor, cont: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """Definition of the lambda-return: a geometric mixture of n-step returns."""
    out = torch.zeros_like(reward)
    for i, j in itertools.product(range(N), range(H)):
        n_step = []
        for n in range(1, H - j + 1):
            total, discount = 0.0, 1.0
            for k in range(j, j + n):
                total += discount * reward[i, k].item()
                discount *= gamma * cont[i, k].item()
            n_step.append(total + discount * value[i, j + n].item())
        mixed = sum((1 - lambda_) * lambda_**n * g for n, g in enumerate(n_step[:-1]))
        out[i, j] = mixed + lambda_ ** (len(n_step) - 1) * n_step[-1]
    return out


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_lambda_return_is_the_mixture_of_n_step_returns(gamma: float, lambda_: float) -> None:
    reward, value, cont = trajectory()
    fast = lambda_return(reward, value, cont, gamma, lambda_)
    torch.testing.assert_close(fast, n_step_mixture(reward, value, cont, gamma, lambda_))


def test_lambda_0_is_the_one_step_target() -> None:
    reward, value, cont = trajectory()
    expected = reward + 0.9 * cont * value[:, 1:]
    torch.testing.assert_close(lambda_return(reward, value, cont, 0.9, 0.0), expected)


def test_lambda_1_ignores_all_values_but_the_last() -> None:
    reward, value, cont = trajectory()
    other = value.clone()
    other[:, :-1] = 1e6
    a = lambda_return(reward, value, cont, 0.9, 1.0)
    torch.testing.assert_close(a, lambda_return(reward, other, cont, 0.9, 1.0))


def test_constant_reward_and_its_true_value_are_a_fixed_point() -> None:
    value = torch.full((N, H + 1), 1 / (1 - 0.9))
    returns = lambda_return(torch.ones(N, H), value, torch.ones(N, H), 0.9, 0.7)
    torch.testing.assert_close(returns, value[:, 1:])


def test_nothing_after_a_termination_counts() -> None:
    reward, value, cont = trajectory()
    cont[:, 3] = 0.0  # state 4 is terminal
    later_reward, later_value = reward.clone(), value.clone()
    later_reward[:, 4:] += 100.0
    later_value[:, 4:] += 100.0
    before = lambda_return(reward, value, cont, 0.9, 0.95)
    after = lambda_return(later_reward, later_value, cont, 0.9, 0.95)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    torch.testing.assert_close(before[:, 3], reward[:, 3])
    assert (before[:, 4:] != after[:, 4:]).all()


def test_discount_weights_start_at_1_and_multiply_up() -> None:
    cont = torch.tensor([[1.0, 0.5, 0.0, 1.0]])
    expected = torch.tensor([[1.0, 0.9, 0.405, 0.0, 0.0]])
    torch.testing.assert_close(discount_weights(cont, 0.9), expected)


def test_shapes_that_do_not_fit_are_refused() -> None:
    reward, value, cont = trajectory()
    with pytest.raises(ValueError, match=r"value \(N, H \+ 1\)"):
        lambda_return(reward, value[:, 1:], cont, 0.9, 0.95)
