"""Budgets: kept with several requests under way, and refused where they cannot be kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrappers.generative.budget import Budget, Ledger


def test_money_is_tokens_times_prices():
    ledger = Ledger(Budget(prompt_price=0.4, completion_price=1.6), 20)
    for _ in range(1000):
        assert ledger.reserve()
        ledger.settle_report(500, 10)
    usage = ledger.usage
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (1000, 500_000, 10_000)
    assert usage.tokens == 510_000
    assert usage.money == pytest.approx(0.5 * 0.4 + 0.01 * 1.6)


def test_a_number_of_requests_is_kept_exactly():
    ledger = Ledger(Budget(requests=3), 20)
    assert [ledger.reserve() for _ in range(4)] == [True, True, True, False]
    ledger.settle_refused()  # costs nothing, but was a request
    ledger.settle_report(5, 5)
    ledger.cancel()  # never sent
    assert ledger.reserve()
    assert not ledger.reserve()


def test_without_a_report_yet_one_request_goes_out_at_a_time():
    ledger = Ledger(Budget(tokens=10_000), 20)
    assert ledger.reserve()
    assert not ledger.reserve()
    ledger.settle_report(100, 10)
    assert ledger.reserve()
    assert ledger.reserve()


@given(
    st.integers(300, 5000),
    st.integers(1, 200),
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=200),
)
def test_tokens_are_never_exceeded_while_prompts_are_of_one_length(limit, prompt, steps):
    ledger = Ledger(Budget(tokens=limit), 20)
    for send, answer in steps:
        if send:
            ledger.reserve()
        elif ledger.in_flight:
            ledger.settle_report(prompt, answer)
    while ledger.in_flight:
        ledger.settle_report(prompt, 20)
    assert ledger.usage.tokens <= limit


def test_money_is_not_exceeded_either():
    ledger = Ledger(Budget(money=1.0, prompt_price=1000.0, completion_price=1000.0), 20)
    while ledger.reserve():
        ledger.settle_report(100, 20)
    assert ledger.usage.money == pytest.approx(0.96)  # 8 requests of 0.12 each
    assert "the budget is spent: 8 requests, 960 tokens, 0.96 of money" in ledger.reason


def test_requests_of_unknown_cost_count_as_if_they_had_cost_the_most():
    ledger = Ledger(Budget(tokens=600), 20)
    ledger.reserve()
    ledger.settle_report(100, 20)
    for _ in range(4):
        assert ledger.reserve()
        ledger.settle_unreported(answered=False)
    assert not ledger.reserve()
    assert ledger.usage.unreported == 4
    assert ledger.usage.tokens == 120


def test_a_server_that_reports_no_tokens_ends_a_budget_of_them_and_says_so():
    ledger = Ledger(Budget(tokens=600), 20)
    assert ledger.reserve()
    ledger.settle_unreported(answered=True)
    assert not ledger.reserve()
    assert "does not report tokens" in ledger.reason
    free = Ledger(Budget(requests=5), 20)
    assert free.reserve()
    free.settle_unreported(answered=True)
    assert free.reserve()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"requests": 0}, "requests"),
        ({"tokens": -5}, "tokens"),
        ({"money": 0.0, "prompt_price": 1.0}, "money"),
        ({"money": 1.0}, "prices"),
        ({"prompt_price": -1.0}, "prompt_price"),
        ({"money": float("nan"), "prompt_price": 1.0}, "money"),
    ],
)
def test_an_impossible_budget_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        Budget(**options)
