"""Scores by a generative VLM behind a chat API: it is shown a frame and answers in words."""

from __future__ import annotations

import os
import re
from typing import Any

from wrappers.generative.budget import Budget
from wrappers.generative.client import Limits
from wrappers.generative.question import Question
from wrappers.generative.server import OPENAI_URL, ChatServerError
from wrappers.generative.server_scorer import ServerScorer, split_options

__all__ = ["ChatScorer", "ChatServerError", "make_chat_scorer"]


class ChatScorer(ServerScorer):
    """Safety scores by any VLM that an OpenAI-compatible server offers.

    vLLM, Ollama, llama.cpp, ``transformers serve`` and hosted services speak this API.  Each frame
    is sent as a PNG; the answer is asked for as JSON, and read as :class:`~.question.Question`
    says.  What the server does not know of JSON schemas, log-probabilities and a seed is settled
    before the first frame; that and all else is as :class:`~.server_scorer.ServerScorer` says.

    Args:
        model: the server's name for it.
        base_url: of the API; ``None`` for ``OPENAI_BASE_URL``, else OpenAI's own.
        question: what is asked, and how answers are read.
        limits: concurrency, rate, time-outs, retries.
        budget: how much may be spent by this object, and prices.
        context_frames: frames shown at once, oldest first; see :mod:`~.frame_windows`.
        api_key: the key itself, in place of a variable; such a scorer cannot be pickled.
        api_key_env: environment variable that holds the key; ``None`` for ``OPENAI_API_KEY`` on
            OpenAI's own servers and no key on others.
        check_sight: refuse a model whose tokens do not change with a picture; ``False`` for a
            server that does not count pictures.

    Raises:
        ImportError: ``openai`` or ``tenacity`` is missing; the message has the remedy.
        ValueError: impossible values, or a ``base_url`` that holds credentials.
        ChatServerError: from ``identity`` and scoring, for a server that is of no use.
    """

    name, path = "chat", "/chat/completions"
    _answer_tokens = 10

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
        api_key_env: str | None = None,
        check_sight: bool = True,
    ) -> None:
        self.question = question or Question()
        super().__init__(
            model,
            base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL,
            self.question,
            limits,
            budget,
            context_frames,
            api_key,
            api_key_env,
            check_sight,
            longest_answer=self.question.max_tokens,
        )


def make_chat_scorer(argument: str | None, **options: Any) -> ChatScorer:
    """For ``"chat:<model>@<base URL>"``; without ``@...`` the server of ``OPENAI_BASE_URL``.

    ``options`` are those of :func:`~.server_scorer.split_options`.

    Raises:
        ValueError: for an unknown option, and for a key written down in place of its variable's
            name.
    """
    found = re.fullmatch(r"(?P<model>.+?)(@(?P<url>https?://.*))?", argument or "")
    if found is None:
        raise ValueError(
            "scorer 'chat' needs a model, for example 'chat:qwen2.5vl:7b@http://localhost:11434/v1'"
        )
    return ChatScorer(found["model"], found["url"], **split_options("chat", options, Question))
