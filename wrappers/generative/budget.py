"""What asking a server costs, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass

from wrappers.checks import one_number

MILLION = 1_000_000


@dataclass(frozen=True)
class Budget:
    """How much may be spent, in whichever of three measures; ``None`` for no limit.

    Prices are those of the server, per million tokens, in the currency that ``money`` is in.
    """

    money: float | None = None
    tokens: int | None = None
    requests: int | None = None
    prompt_price: float = 0.0  # per million tokens that are sent, images among them
    completion_price: float = 0.0  # per million tokens that are answered

    def __post_init__(self) -> None:
        for name in ("money", "tokens", "requests"):
            value = getattr(self, name)
            if value is not None and one_number(value, name, "the budget", 0.0) == 0:
                raise ValueError(f"the budget's {name} must be positive or None, got {value}")
        for name in ("prompt_price", "completion_price"):
            one_number(getattr(self, name), name, "the budget", 0.0)
        if self.money is not None and not self.prompt_price + self.completion_price > 0:
            raise ValueError(
                "a budget of money needs prices: prompt_price and completion_price, per million "
                "tokens"
            )

    @property
    def counts_tokens(self) -> bool:
        """Whether the budget can only be kept if the server reports tokens."""
        return self.money is not None or self.tokens is not None

    def price(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What tokens cost."""
        cost = prompt_tokens * self.prompt_price + completion_tokens * self.completion_price
        return cost / MILLION


@dataclass(frozen=True)
class Usage:
    """What was spent, as far as the server reported it."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    unreported: int = 0  # requests that may have cost something without a report
    turned_away: int = 0  # requests that the server refused, which costs nothing

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def reported(self) -> int:
        """Requests that were answered with a report of tokens."""
        return self.requests - self.unreported - self.turned_away


class Ledger:
    """Keeps a budget while several requests are under way.

    Before a request is sent it is set against the budget at the most that one can cost: the
    largest prompt seen so far and ``max_tokens`` of answer.  As long as no report has been seen,
    a budget of tokens or money lets one request out at a time.  So it is kept to the last token
    if prompts do not grow; else it is exceeded by the growth of those under way at most.

    Args:
        budget: what may be spent.
        max_tokens: longest answer.
    """

    def __init__(self, budget: Budget, max_tokens: int) -> None:
        self.budget = budget
        self.max_tokens = max_tokens
        self.in_flight = 0
        self._requests = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._unreported = 0
        self._turned_away = 0
        self._largest_prompt: int | None = None
        self._blind = False  # the server answers without reporting tokens

    @property
    def usage(self) -> Usage:
        money = self.budget.price(self._prompt_tokens, self._completion_tokens)
        return Usage(
            self._requests,
            self._prompt_tokens,
            self._completion_tokens,
            money,
            self._unreported,
            self._turned_away,
        )

    def reserve(self) -> bool:
        """Take a request out of the budget; ``False`` where it does not fit beside the others."""
        if not self._fits():
            return False
        self.in_flight += 1
        return True

    def settle_report(self, prompt_tokens: int, completion_tokens: int) -> None:
        """A request was answered, with a report of its tokens."""
        self._settle()
        self._prompt_tokens += prompt_tokens
        self._completion_tokens += completion_tokens
        self._largest_prompt = max(prompt_tokens, self._largest_prompt or 0)

    def settle_unreported(self, answered: bool) -> None:
        """A request was answered without a report, or may have been answered unheard."""
        self._settle()
        self._unreported += 1
        self._blind |= answered

    def settle_refused(self) -> None:
        """The server turned a request away, which costs nothing."""
        self._settle()
        self._turned_away += 1

    def cancel(self) -> None:
        """Put a request back that was never sent."""
        self.in_flight -= 1

    @property
    def spent(self) -> bool:
        """Whether nothing more fits."""
        return self.in_flight == 0 and not self._fits()

    @property
    def reason(self) -> str:
        """Why nothing fits any more."""
        if self.budget.counts_tokens and self._blind:
            return (
                "the server does not report tokens, so a budget of tokens or money cannot be kept; "
                "give one of requests"
            )
        usage = self.usage
        return f"the budget is spent: {usage.requests} requests, {usage.tokens} tokens" + (
            f", {usage.money:.6g} of money" if self.budget.money is not None else ""
        )

    def _settle(self) -> None:
        self.in_flight -= 1
        self._requests += 1

    def _fits(self) -> bool:
        budget, count = self.budget, self.in_flight + 1
        if budget.requests is not None and self._requests + count > budget.requests:
            return False
        if not budget.counts_tokens:
            return True
        if self._blind:
            return False
        if self._largest_prompt is None:
            return count == 1
        # Requests whose cost is unknown count as if they had cost the most.
        open_requests = count + self._unreported
        prompt = self._prompt_tokens + open_requests * self._largest_prompt
        completion = self._completion_tokens + open_requests * self.max_tokens
        if budget.tokens is not None and prompt + completion > budget.tokens:
            return False
        return budget.money is None or budget.price(prompt, completion) <= budget.money
