"""Scores by a model behind a server: how it is met, asked, and given up."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np

from wrappers.checks import whole_number
from wrappers.generative.budget import Budget, Ledger, Usage
from wrappers.generative.client import (
    Failure,
    Limits,
    Pace,
    ServerClient,
    load_packages,
    run_to_end,
)
from wrappers.generative.introduction import (
    Introduction,
    ServerQuestion,
    check_sight,
    introduce,
    model_of,
)
from wrappers.generative.outcomes import (
    Answers,
    AnswersInWords,
    NoLabel,
    Outcome,
    Status,
    check_clips,
    to_answers,
)
from wrappers.generative.server import (
    OPENAI_KEY,
    Access,
    ChatServerError,
    access_to,
    check_base_url,
    is_openai,
)
from wrappers.registry import check_known
from wrappers.scorer import Frames

_TOKENS_OF_A_PICTURE = 300  # as long as nothing better is known


class ServerScorer(AnswersInWords):
    """What scorers of any server have in common; a subclass says where and what it is asked.

    Before the first frame, and when its :attr:`identity` is asked for, the server is introduced by
    two requests, with a picture and without.  They settle what the server does not know and is not
    asked for, how its replies are read, and which model answers; all of this is in the identity and
    stays so.  If the picture makes no difference to the number of tokens, the model does not see,
    and is refused.  All of this also works inside a running event loop, which it holds up
    meanwhile.

    A frame that gets no usable answer, or one of another model, has no label: its score is NaN, and
    :attr:`unlabelled` and :attr:`answers` say why.  Failures that may pass are tried again with
    growing pauses.  When the budget is spent, or the server turns out to be of no use, nothing more
    is sent and the frames left are "not asked"; :attr:`stopped` says why, and :meth:`resume` goes
    on.

    OpenAI's own servers are sent the key in ``OPENAI_API_KEY`` and what that package knows of the
    user's account.  Any other is sent a key only if its variable is named, and nothing else.  A key
    is read when it is needed and stands in no identity, message or pickle.  Worker processes build
    the scorer anew: each has its own limits and budget.

    Args:
        model: the server's name for it.
        base_url: of the API.
        question: what is asked, and how replies are read.
        limits: concurrency, rate, time-outs, retries.
        budget: how much may be spent by this object, and prices.
        context_frames: frames shown at once, oldest first; see :mod:`~.frame_windows`.
        api_key: the key itself, in place of a variable; such a scorer cannot be pickled.
        api_key_env: environment variable that holds the key; ``None`` for ``OPENAI_API_KEY`` on
            OpenAI's own servers and no key on others.
        check_sight: refuse a model whose tokens do not change with a picture; ``False`` for a
            server that does not count pictures.
        longest_answer: tokens that an answer has at most.

    Raises:
        ImportError: ``openai`` or ``tenacity`` is missing; the message has the remedy.
        ValueError: impossible values, or a ``base_url`` that holds credentials.
        ChatServerError: from ``identity`` and scoring, for a server that is of no use.
    """

    name: ClassVar[str]  # in specs and identities
    path: ClassVar[str]  # of the API, below the base URL
    _answer_tokens: ClassVar[int]  # as long as nothing better is known

    def __init__(
        self,
        model: str,
        base_url: str,
        question: ServerQuestion,
        limits: Limits | None,
        budget: Budget | None,
        context_frames: int,
        api_key: str | None,
        api_key_env: str | None,
        check_sight: bool,
        longest_answer: int,
    ) -> None:
        load_packages()
        if not model:
            raise ValueError(f"a {self.name} scorer needs the name of a model")
        spec = f"scorer {self.name!r}"
        self.context_frames = whole_number(context_frames, "context_frames", spec, 1)
        if not isinstance(api_key_env, str | None):
            raise ValueError("api_key_env must be the name of an environment variable")
        if not isinstance(check_sight, bool):
            raise ValueError(f"check_sight must be true or false, got {check_sight!r}")
        self.model = model
        self.base_url = check_base_url(base_url)
        self._question = question
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.api_key_env = api_key_env
        self._key_is_given = api_key is not None
        # In a closure, so that no listing of attributes shows it.
        self._given_key: Callable[[], str | None] = lambda: api_key
        self.check_sight = check_sight
        super().__init__()
        self._answering_models: Counter[str] = Counter()
        self._ledger = Ledger(self.budget, longest_answer)
        self._pace = Pace(self.limits.requests_per_minute)
        self._lock = threading.Lock()
        self._met: Introduction | None = None
        self._stop: Failure | None = None
        self._in_a_row = 0  # frames without an answer
        self._useless = 0  # frames without a label, as long as none has got one
        self._ever_labelled = False

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on; asks the server which model answers, and how.

        Raises:
            ChatServerError: for a server that is of no use.
        """
        parts, met = urlsplit(self.base_url), self._meet()
        return {
            "name": self.name,
            "server": parts.netloc + parts.path,
            "model": self.model,
            "context_frames": self.context_frames,
            **self._question.identity,
            "answering_model": met.model,
            "reading": met.reading,
            "asked_for": asdict(met.features),
        }

    def opposite(self) -> Self | None:
        """The same model, asked for danger; None where the question's words are the user's own.

        It has limits and a budget of its own, as large as these.
        """
        question = self._question.opposite
        if question is None:
            return None
        kind: Any = type(self)
        return kind(
            self.model, self.base_url, question=question, api_key=self._given_key(), **self._options
        )

    @property
    def features(self) -> Any:
        """What the server is asked for besides the answer."""
        return self._met.features if self._met else self._question.features

    @property
    def usage(self) -> Usage:
        """What this object has spent."""
        return self._ledger.usage

    @property
    def stopped(self) -> str:
        """Why nothing is sent any more; empty while there is no reason."""
        return self._stop.detail if self._stop else ""

    def price_estimate(self, frames: int) -> float:
        """What scoring so many frames will cost, NaN without prices; nothing is sent for it.

        From the mean of the answers so far; before the first, from the one that introduced the
        server.  Before that a picture is taken for 300 tokens and four letters for one, which may
        be off by a factor of some.
        """
        usage, budget, met = self.usage, self.budget, self._met
        if not budget.prompt_price + budget.completion_price > 0:
            return math.nan
        first = met.usage if met else Usage()
        if usage.reported > first.reported:
            return (usage.money - first.money) / (usage.reported - first.reported) * frames
        if met and met.tokens:
            return budget.price(*met.tokens) * frames
        words = len(self._question.text(self.context_frames)) / 4
        prompt = words + _TOKENS_OF_A_PICTURE * self.context_frames
        return budget.price(prompt, self._answer_tokens) * frames

    def resume(self) -> None:
        """Forget why sending was stopped; a spent budget stays spent."""
        self._stop = None
        self._in_a_row = self._useless = 0

    def report(self) -> dict[str, Any]:
        """What happened so far, JSON-able: ends of frames, usage, what the server was asked for.

        ``models`` are the names under which the server answered: hosted models change under one
        name, and many servers tell the dated one.
        """
        return {
            "outcomes": dict(self.counts),
            "usage": asdict(self.usage),
            "features": asdict(self.features),
            "reading": self._met.reading if self._met else None,
            "models": dict(self._answering_models),
            "stopped": self.stopped,
        }

    def ask_clips(self, clips: Frames) -> Answers:
        """As :meth:`ask`, for ``clips (N, K, H, W, 3)`` of any number of frames K."""
        check_clips(clips)
        if not len(clips):
            self.remember(nothing := to_answers([]))
            return nothing
        met = self._meet()
        with self._lock:
            answers = to_answers(run_to_end(lambda: self._ask_all(clips, met)))
            if self._stop and not self._ever_labelled and not self._ledger.spent:
                reason = self.stopped
                self.resume()
                raise ChatServerError(self._complaint(reason))
            self.remember(answers)
        return answers

    def _complaint(self, reason: str) -> str:
        variable = self.api_key_env or (OPENAI_KEY if is_openai(self.base_url) else None)
        key = "the key: none is sent (api_key_env=... names a variable that holds one)"
        if variable or self._key_is_given:
            key = f"the key in {variable or 'api_key'}"
        hint = self._hint(reason)
        return (
            f"{self.base_url} is of no use with {self.model!r}: {reason}; "
            + (f"{hint}; " if hint else "")
            + f"look at the address, the model's name, the question, and {key}"
        )

    def _hint(self, reason: str) -> str:
        """What a server's words often mean; empty where they speak for themselves."""
        if reason.startswith("HTTP 404") and not re.search(r"/v\d", urlsplit(self.base_url).path):
            return "most servers have their API below an address that ends in /v1"
        if re.fullmatch(r"HTTP 5\d\d:\s*(internal server error)?", reason, re.IGNORECASE):
            return "the server says no more, its own log may"
        return ""

    def _meet(self) -> Introduction:
        """What the server said of itself; it is asked once.

        Raises:
            ChatServerError: when it says nothing that helps, or the model does not see.
        """
        with self._lock:
            if self._met is None:
                try:
                    met = run_to_end(self._introduce)
                except (Failure, NoLabel) as failure:
                    raise ChatServerError(self._complaint(_printable(failure.detail))) from None
                if self.check_sight:
                    check_sight(met, f"{self.base_url}, {self.model!r}")
                self._met = met
            return self._met

    async def _introduce(self) -> Introduction:
        async with self._client() as client:
            asked = (self.model, self._question, self.context_frames, self.check_sight)
            return await introduce(client, *asked, lambda: self._ledger.usage)

    def _client(self) -> ServerClient:
        bounds = (self.limits, self._ledger, self._pace)
        where = (self.base_url, self.path, self._access())
        return ServerClient(*where, *bounds, lambda: self.stopped)

    def _access(self) -> Access:
        return access_to(self.base_url, self._given_key(), self.api_key_env)

    async def _ask_all(self, clips: Frames, met: Introduction) -> list[tuple[float, Outcome]]:
        """Score and outcome of each clip, in their order whatever the order of answers."""
        found: dict[int, tuple[float, Outcome]] = {}
        places = iter(range(len(clips)))
        client = self._client()

        async def work() -> None:
            for place in places:
                found[place] = await self._ask_one(client, clips[place], met)

        async with client, asyncio.TaskGroup() as group:
            for _ in range(min(self.limits.concurrency, len(clips))):
                group.create_task(work())
        return [found[place] for place in range(len(clips))]

    async def _ask_one(
        self, client: ServerClient, clip: Frames, met: Introduction
    ) -> tuple[float, Outcome]:
        attempts = 0

        def count() -> None:
            nonlocal attempts
            attempts += 1

        if self._stop:
            return np.nan, Outcome(Status.NOT_ASKED, self.stopped)
        try:
            body = self._question.body(self.model, clip, met.features)
            reply = await client.ask(body, count)
            self._count_model(reply, met)
            self._check_reply(reply, met)
            score = self._question.read(reply, met.reading)
            outcome = Outcome(Status.LABELLED, attempts=attempts, source=met.reading)
        except NoLabel as reason:
            score, outcome = np.nan, Outcome(reason.status, _printable(reason.detail), attempts)
        except Failure as failure:
            score, outcome = np.nan, Outcome(failure.status, _printable(failure.detail), attempts)
            if failure.hopeless and self._stop is None:
                self._stop = Failure(failure.status, outcome.detail)
        self._watch(outcome)
        return score, outcome

    def _count_model(self, reply: Any, met: Introduction) -> None:
        model = model_of(reply)
        self._answering_models[model or "unnamed"] += 1
        if model is not None and met.model is not None and model != met.model:
            raise NoLabel(
                Status.OTHER_MODEL, f"{model!r} answered, {met.model!r} had been introduced"
            )

    def _check_reply(self, reply: Any, met: Introduction) -> None:
        """Look at more of a reply than its answer.

        Raises:
            NoLabel: for one that is of no use.
        """

    def _watch(self, outcome: Outcome) -> None:
        """Stop after too many frames in a row without an answer, or without any label at first."""
        if outcome.status == Status.NOT_ASKED:
            return
        labelled = outcome.status == Status.LABELLED
        self._ever_labelled |= labelled
        self._in_a_row = 0 if outcome.answered else self._in_a_row + 1
        self._useless = 0 if self._ever_labelled else self._useless + 1
        most = max(self._in_a_row, self._useless)
        if most >= self.limits.give_up_after and self._stop is None:
            lack = "an answer" if self._in_a_row == most else "a label"
            text = f"given up after {most} frames without {lack} in a row, the last one: "
            self._stop = Failure(outcome.status, text + (outcome.reason or ""))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self.base_url!r}, {self._question!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._key_is_given:
            raise TypeError(
                f"a {self.name} scorer that was given its key cannot be pickled, the key would be "
                "written down; put the key into an environment variable and name it in api_key_env"
            )
        options = {"question": self._question, **self._options}
        return partial(type(self), self.model, self.base_url, **options), ()

    @property
    def _options(self) -> dict[str, Any]:
        """Arguments of the constructor, but for question and key."""
        names = ("limits", "budget", "context_frames", "api_key_env", "check_sight")
        return {name: getattr(self, name) for name in names}

    def __deepcopy__(self, memo: dict[int, Any]) -> ServerScorer:
        return self  # one budget, whoever holds the scorer


def _printable(text: str) -> str:
    """A server's words as they can be shown and stored anywhere."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def split_options(scorer: str, options: dict[str, Any], question: type) -> dict[str, Any]:
    """Options of a spec as arguments of a scorer's class; ``question`` is its question's class.

    They are the fields of the question, of :class:`~.client.Limits` and of
    :class:`~.budget.Budget`, ``context_frames``, ``api_key_env`` and ``check_sight``.

    Raises:
        ValueError: for an unknown option, and for a key written down in place of its variable's
            name.
    """
    if "api_key" in options:
        raise ValueError(
            "a key does not belong into a scorer's options, which are written down; put it into an "
            "environment variable and name that in api_key_env"
        )
    groups = {"question": question, "limits": Limits, "budget": Budget}
    own = ("context_frames", "api_key_env", "check_sight")
    known = [field.name for kind in groups.values() for field in fields(kind)]
    check_known(scorer, options, [*known, *own])
    options = dict(options)
    return {name: kind(**_take(options, kind)) for name, kind in groups.items()} | options


def _take(options: dict[str, Any], kind: type) -> Mapping[str, Any]:
    """The options that are fields of a dataclass, taken out of ``options``."""
    names = [field.name for field in fields(kind)]
    return {name: options.pop(name) for name in names if name in options}
