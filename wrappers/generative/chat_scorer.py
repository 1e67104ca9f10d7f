"""A generative VLM behind a chat API as judge: it is shown a frame and answers in words."""

from __future__ import annotations

import asyncio
import math
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from ..frame_windows import check_windows
from ..scorer import Frames, Infos, Scores, check_frames
from .answers import NoLabel
from .budget import Budget, Ledger, Usage
from .client import ChatClient, Failure, Limits, Pace, load_packages
from .outcomes import Judgement, Outcome, RemembersOutcomes, Status, to_judgement
from .question import Question

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
_TOKENS_OF_A_PICTURE, _TOKENS_OF_AN_ANSWER = 300, 10  # as long as nothing better is known
_Result = TypeVar("_Result")


class ChatServerError(RuntimeError):
    """A server that turns every request away: wrong key, unknown model, wrong address."""


class ChatScorer(RemembersOutcomes):
    """Safety scores by any VLM that an OpenAI-compatible server offers.

    vLLM, Ollama, llama.cpp and hosted services speak this API.  Each frame is sent as a PNG; the
    answer is asked for as JSON, and read with the model's own probabilities where the server gives
    them, see :class:`~.question.Question`.  What the server does not know (JSON schemas,
    log-probabilities, a seed) is left out as soon as it says so.

    A frame that gets no usable answer has no label: its score is NaN, and :attr:`unlabelled` and
    :attr:`judgement` say why.  Failures that may pass are tried again with growing pauses.  When
    the budget is spent, or the server turns out to be of no use, nothing more is sent and the
    frames left are "not asked"; :attr:`stopped` says why, and :meth:`resume` goes on.

    The key is read when it is needed, from the environment.  It stands in no identity, message or
    pickle.  Worker processes build the scorer anew: each has its own limits and budget.

    Args:
        model: the server's name for it.
        base_url: of the API; ``None`` for ``OPENAI_BASE_URL``, else OpenAI's own.
        question: what is asked, and how answers are read.
        limits: concurrency, rate, time-outs, retries.
        budget: how much may be spent by this object, and prices.
        context_frames: frames shown at once, oldest first; see :mod:`~.frame_windows`.
        api_key: the key itself, in place of a variable; such a scorer cannot be pickled.
        api_key_env: environment variable that holds the key; local servers mostly need none.

    Raises:
        ImportError: ``openai`` or ``tenacity`` is missing; the message has the remedy.
        ValueError: impossible values, or a ``base_url`` that holds credentials.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        question: Question | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        context_frames: int = 1,
        api_key: str | None = None,
        api_key_env: str = OPENAI_KEY,
    ) -> None:
        load_packages()
        if not model:
            raise ValueError("a chat scorer needs the name of a model")
        if context_frames < 1:
            raise ValueError(f"context_frames must be at least 1, got {context_frames}")
        self.model = model
        self.base_url = check_base_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.question = question or Question()
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.context_frames = context_frames
        self.api_key_env = api_key_env
        self._key_is_given = api_key is not None
        # In a closure, so that no listing of attributes shows it.
        self._key: Callable[[], str] = lambda: api_key or os.environ.get(api_key_env, "")
        super().__init__()
        self.features = self.question.features  # what the server is asked for now
        self._answering_models: Counter[str] = Counter()
        self._ledger = Ledger(self.budget, self.question.max_tokens)
        self._pace = Pace(self.limits.requests_per_minute)
        self._lock = threading.Lock()
        self._stop: Failure | None = None
        self._in_a_row = 0  # frames without an answer
        self._ever_answered = False

    @property
    def identity(self) -> dict[str, Any]:
        parts = urlsplit(self.base_url)
        return {
            "name": "chat",
            "server": parts.netloc + parts.path,
            "model": self.model,
            "context_frames": self.context_frames,
            **self.question.identity,
        }

    @property
    def usage(self) -> Usage:
        """What this object has spent."""
        return self._ledger.usage

    @property
    def stopped(self) -> str:
        """Why nothing is sent any more; empty while there is no reason."""
        return self._stop.detail if self._stop else ""

    def price_estimate(self, frames: int) -> float:
        """What judging so many frames will cost, NaN without prices; nothing is sent for it.

        From the mean of the answers so far; before the first, a picture is taken for 300 tokens
        and four letters for one, which may be off by a factor of some.
        """
        usage, budget = self.usage, self.budget
        if not budget.prompt_price + budget.completion_price > 0:
            return math.nan
        if usage.reported:
            return usage.money / usage.reported * frames
        words = len(self.question.text(self.context_frames)) / 4
        prompt = words + _TOKENS_OF_A_PICTURE * self.context_frames
        return budget.price(prompt, _TOKENS_OF_AN_ANSWER) * frames

    def resume(self) -> None:
        """Forget why sending was stopped; a spent budget stays spent."""
        self._stop = None
        self._in_a_row = 0

    def report(self) -> dict[str, Any]:
        """What happened so far, JSON-able: ends of frames, usage, what the server was asked for.

        ``models`` are the names under which the server answered: hosted models change under one
        name, and many servers tell the dated one.
        """
        return {
            "outcomes": dict(self.counts),
            "usage": asdict(self.usage),
            "features": asdict(self.features),
            "models": dict(self._answering_models),
            "stopped": self.stopped,
        }

    def __call__(self, frames: Frames, infos: Infos | None = None) -> Scores:
        """Scores ``(N,)`` of ``frames (N, H, W, 3)`` uint8, NaN without a label.

        With ``context_frames`` k above 1 windows ``(N, k, H, W, 3)`` take their place; ``infos``
        are not read.  Also works inside a running event loop, which it holds up meanwhile.

        Raises :class:`ChatServerError` when the server turns all away and has answered nothing yet.
        """
        return self.judge(frames).scores

    def judge(self, frames: Frames) -> Judgement:
        """Scores, and what became of each frame; see :meth:`__call__`."""
        if self.context_frames == 1:
            return self.judge_clips(check_frames(frames)[:, None])
        return self.judge_clips(check_windows(frames, self.context_frames))

    def judge_clips(self, clips: Frames) -> Judgement:
        """As :meth:`judge`, for ``clips (N, K, H, W, 3)`` of any number of frames K."""
        check_windows(clips, np.shape(clips)[1] if np.ndim(clips) > 1 else 1)
        with self._lock:
            judgement = to_judgement(run_to_end(lambda: self._judge_all(clips)))
            if self._stop and self._stop.status == Status.REJECTED and not self._ever_answered:
                reason = self.stopped
                self.resume()
                raise ChatServerError(
                    f"{self.base_url} turns {self.model!r} away: {reason}  Look at the address, "
                    f"the model's name and the key in {self.api_key_env}."
                )
            self.remember(judgement)
        return judgement

    async def _judge_all(self, clips: Frames) -> list[tuple[float, Outcome]]:
        """Score and outcome of each clip, in their order whatever the order of answers."""
        found: dict[int, tuple[float, Outcome]] = {}
        places = iter(range(len(clips)))
        client = ChatClient(
            self.base_url,
            self._key(),
            self.limits,
            self._ledger,
            self._pace,
            lambda: self.stopped,
        )

        async def work() -> None:
            for place in places:
                found[place] = await self._judge_one(client, clips[place])

        async with client, asyncio.TaskGroup() as group:
            for _ in range(min(self.limits.concurrency, len(clips))):
                group.create_task(work())
        return [found[place] for place in range(len(clips))]

    async def _judge_one(self, client: ChatClient, clip: Frames) -> tuple[float, Outcome]:
        attempts = 0

        def count() -> None:
            nonlocal attempts
            attempts += 1

        if self._stop:
            return np.nan, Outcome(Status.NOT_ASKED, self.stopped)
        try:
            reply = await self._ask(client, clip, count)
            self._answering_models[_model_of(reply)] += 1
            score, source = self.question.read(reply)
            outcome = Outcome(Status.LABELLED, attempts=attempts, source=source)
        except NoLabel as reason:
            score, outcome = np.nan, Outcome(reason.status, _printable(reason.detail), attempts)
        except Failure as failure:
            score, outcome = np.nan, Outcome(failure.status, _printable(failure.detail), attempts)
            if failure.hopeless and self._stop is None:
                self._stop = Failure(failure.status, outcome.detail)
        self._watch(outcome)
        return score, outcome

    async def _ask(self, client: ChatClient, clip: Frames, count: Callable[[], None]) -> Any:
        """The server's reply, asked with less and less besides the answer where it complains."""
        while True:
            features = self.features
            try:
                return await client.ask(self.question.body(self.model, clip, features), count)
            except Failure as failure:
                simpler = features.without(failure.complaint)
                if simpler is None:
                    raise
                if self.features == features:  # else another request has seen to it
                    self.features = simpler

    def _watch(self, outcome: Outcome) -> None:
        """Stop after too many frames in a row without an answer."""
        if outcome.answered:
            self._ever_answered = True
            self._in_a_row = 0
        elif outcome.status != Status.NOT_ASKED:
            self._in_a_row += 1
            if self._in_a_row >= self.limits.give_up_after and self._stop is None:
                text = f"given up after {self._in_a_row} frames without an answer in a row, the "
                self._stop = Failure(outcome.status, f"{text}last one: {outcome.detail}")

    def __repr__(self) -> str:
        return f"ChatScorer({self.model!r}, {self.base_url!r}, {self.question!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._key_is_given:
            raise TypeError(
                "a chat scorer that was given its key cannot be pickled, the key would be written "
                "down; put the key into an environment variable and name it in api_key_env"
            )
        arguments = (self.question, self.limits, self.budget, self.context_frames)
        return _rebuild, (self.model, self.base_url, *arguments, self.api_key_env)

    def __deepcopy__(self, memo: dict[int, Any]) -> ChatScorer:
        return self  # one budget, whoever holds the scorer


def _rebuild(
    model: str,
    base_url: str,
    question: Question,
    limits: Limits,
    budget: Budget,
    context_frames: int,
    api_key_env: str,
) -> ChatScorer:
    return ChatScorer(
        model,
        base_url,
        question=question,
        limits=limits,
        budget=budget,
        context_frames=context_frames,
        api_key_env=api_key_env,
    )


def check_base_url(base_url: str) -> str:
    """An address without a slash at its end.

    Raises ``ValueError`` for one that is no HTTP address, or has a place where secrets may stand:
    an address is part of a scorer's identity.
    """
    parts = urlsplit(base_url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"the base URL of a chat server on {parts.hostname} must hold no user, password, query "
            "or fragment; a key belongs into an environment variable (api_key_env)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"{base_url!r} is no address of a chat server, such as 'http://localhost:8000/v1'"
        )
    return base_url.rstrip("/")


def run_to_end(start: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run a coroutine from ordinary code, also where an event loop is running (as in Jupyter)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(start())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(start())).result()


def _printable(text: str) -> str:
    """A server's words as they can be shown and stored anywhere."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _model_of(reply: Any) -> str:
    model = reply.get("model") if isinstance(reply, dict) else None
    return model if isinstance(model, str) else "unnamed"


def make_chat_scorer(argument: str | None, **options: Any) -> ChatScorer:
    """For ``"chat:<model>@<base URL>"``; without ``@...`` the server of ``OPENAI_BASE_URL``.

    ``options`` are the fields of :class:`~.question.Question`, :class:`~.client.Limits`
    and :class:`~.budget.Budget`, ``context_frames`` and ``api_key_env``.

    Raises ``ValueError`` for an unknown option, and for a key written down in place of its
    variable's name.
    """
    found = re.fullmatch(r"(?P<model>.+?)(@(?P<url>https?://.*))?", argument or "")
    if found is None:
        raise ValueError(
            "scorer 'chat' needs a model, for example 'chat:qwen2.5vl:7b@http://localhost:11434/v1'"
        )
    if "api_key" in options:
        raise ValueError(
            "a key does not belong into a scorer's options, which are written down; put it into an "
            f"environment variable and name that in api_key_env (default {OPENAI_KEY})"
        )
    groups = {"question": Question, "limits": Limits, "budget": Budget}
    parts = {name: kind(**_take(options, kind)) for name, kind in groups.items()}
    own = {key: options.pop(key) for key in ("context_frames", "api_key_env") if key in options}
    if options:
        known = [field.name for kind in groups.values() for field in fields(kind)]
        raise ValueError(
            f"unknown options {sorted(options)} of scorer 'chat'; known: "
            f"{', '.join([*known, 'context_frames', 'api_key_env'])}"
        )
    return ChatScorer(found["model"], found["url"], **parts, **own)


def _take(options: dict[str, Any], kind: type) -> Mapping[str, Any]:
    """The options that are fields of a dataclass, taken out of ``options``."""
    names = [field.name for field in fields(kind)]
    return {name: options.pop(name) for name in names if name in options}
