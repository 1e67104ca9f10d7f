"""Scores by a model behind a server of typed questions: probabilities, no words."""

from __future__ import annotations

import re
from typing import Any

from wrappers.generative.budget import Budget
from wrappers.generative.client import Limits, tokens_of
from wrappers.generative.introduction import Introduction
from wrappers.generative.outcomes import Answers, NoLabel, Status
from wrappers.generative.server_scorer import ServerScorer, split_options
from wrappers.generative.typed_question import MOST_PICTURES, READING, TypedQuestion
from wrappers.scorer import FirstBatch, Frames


class SystemOneScorer(ServerScorer):
    """Safety scores by a VLM that answers typed questions (``POST <base URL>/systemone``).

    The server gives a probability for each allowed answer after one forward pass: nothing is
    generated, and there is no text to read.  ``transformers serve`` has this for any VLM, from
    version 5.20 on; llama.cpp has it for models that were made for it.  Probabilities of a model
    that was not taught this question are its own opinion: ``vlsafe calibrate`` turns them into
    shares of safe frames.

    Besides what :class:`~.server_scorer.ServerScorer` checks, a reply that counts no more tokens
    than the same request without a picture gives no label: these servers leave a picture out
    without a word.  Warns when a first batch of different frames gets one score.

    Which wording, labels and temperature a server puts around the question (its
    ``--decision-config``) it does not tell, so that they are not in the identity.

    Args:
        model: the server's name for it.
        base_url: of the API, such as ``"http://localhost:8000/v1"``.
        question: what is asked.
        limits: concurrency, rate, time-outs, retries.
        budget: how much may be spent by this object, and prices.
        context_frames: frames shown at once, oldest first, 4 at most.
        api_key: the key itself, in place of a variable; such a scorer cannot be pickled.
        api_key_env: environment variable that holds the key.
        check_sight: refuse a model whose tokens do not change with a picture.

    Raises:
        ImportError: ``openai`` or ``tenacity`` is missing; the message has the remedy.
        ValueError: impossible values, or a ``base_url`` that holds credentials.
        ChatServerError: from ``identity`` and scoring, for a server that is of no use.
    """

    name, path = "systemone", "/systemone"
    _answer_tokens = 0

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        question: TypedQuestion | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        context_frames: int = 1,
        api_key: str | None = None,
        api_key_env: str | None = None,
        check_sight: bool = True,
    ) -> None:
        self.question = question or TypedQuestion()
        super().__init__(
            model,
            base_url,
            self.question,
            limits,
            budget,
            context_frames,
            api_key,
            api_key_env,
            check_sight,
            longest_answer=0,
        )
        if self.context_frames > MOST_PICTURES:
            raise ValueError(
                f"context_frames={context_frames}: a typed question takes {MOST_PICTURES} pictures "
                "at most"
            )
        self._scores_seen = FirstBatch(f"scorer {self.name!r}", READING)

    def ask_clips(self, clips: Frames) -> Answers:
        """As :meth:`ask`, for ``clips (N, K, H, W, 3)`` of up to four frames each."""
        if clips.ndim > 1 and clips.shape[1] > MOST_PICTURES:
            raise ValueError(
                f"{clips.shape[1]} frames in a clip: a typed question takes {MOST_PICTURES} "
                "pictures at most"
            )
        answers = super().ask_clips(clips)
        self._scores_seen.look(clips, answers.scores)
        return answers

    def _check_reply(self, reply: Any, met: Introduction) -> None:
        tokens = tokens_of(reply)
        if tokens and met.blind_tokens is not None and tokens[0] <= met.blind_tokens:
            raise NoLabel(
                Status.NO_COMPLETION,
                f"the server left the picture out: the request had {tokens[0]} tokens, one without "
                f"a picture has {met.blind_tokens}",
            )

    def _hint(self, reason: str) -> str:
        chat = f"the scorer chat:{self.model}@{self.base_url} asks for words instead"
        if re.match("HTTP 40[45]", reason):
            return (
                f"there is no {self.path} below this address; `transformers serve` has it from "
                f"version 5.20 on; {chat}"
            )
        if "not a decision model" in reason:  # llama.cpp
            return f"this server answers typed questions by models made for them alone; {chat}"
        return super()._hint(reason)


def make_systemone_scorer(argument: str | None, **options: Any) -> SystemOneScorer:
    """For ``"systemone:<model>@<base URL>"``.

    ``options`` are those of :func:`~.server_scorer.split_options`.

    Raises:
        ValueError: for an unknown option, and for a key written down in place of its variable's
            name.
    """
    found = re.fullmatch(r"(?P<model>.+?)@(?P<url>https?://.*)", argument or "")
    if found is None:
        raise ValueError(
            "scorer 'systemone' needs a model and an address, for example "
            "'systemone:HuggingFaceTB/SmolVLM2-2.2B-Instruct@http://localhost:8000/v1'"
        )
    parts = split_options("systemone", options, TypedQuestion)
    return SystemOneScorer(found["model"], found["url"], **parts)
