"""What a model's server says of itself: which model answers, how, and whether it sees."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from wrappers.generative.budget import Usage
from wrappers.generative.client import Failure, ServerClient, tokens_of
from wrappers.generative.outcomes import NoLabel
from wrappers.generative.server import ChatServerError
from wrappers.scorer import Frames

_SIZE = 224  # [px], of the picture that is shown
_FEW = 8  # tokens, less than any model makes of a picture; a word in its place may make some


class ServerQuestion(Protocol):
    """What a server is asked about a frame, and how its replies are read.

    ``features`` is a frozen dataclass with ``without(complaint)``: what to ask for after a server's
    complaint, ``None`` where it names nothing that could be left out.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on, JSON-able."""

    @property
    def opposite(self) -> Any:
        """Asks for danger: high scores mean it.  None where the words are the user's own."""

    @property
    def features(self) -> Any:
        """What to ask for at first."""

    def text(self, pictures: int) -> str:
        """The words that go with a number of pictures."""

    def body(self, model: str, clip: Frames, features: Any) -> dict[str, Any]:
        """A request about ``clip (K, H, W, 3)``, oldest frame first."""

    def blind_body(self, model: str, clip: Frames, features: Any) -> dict[str, Any]:
        """The same words without the pictures."""

    def other_way(self, features: Any) -> Any:
        """How else pictures can be sent, where they made no difference; ``None``: in no way."""

    def settle(self, reply: Any) -> str:
        """How replies like this first one are read; raises :class:`~.outcomes.NoLabel`."""

    def kept(self, features: Any, reading: str) -> Any:
        """What is still asked for once that is settled."""

    def read(self, reply: Any, reading: str) -> float:
        """The score of a reply; raises :class:`~.outcomes.NoLabel`."""


@dataclass(frozen=True)
class Introduction:
    """What the first answers of a server settled."""

    features: Any  # what it is asked for
    reading: str  # "logprobs", "json", "text" or "probabilities"
    model: str | None  # that answered; None where the server does not say
    tokens: tuple[int, int] | None  # of the request with a picture and its answer; None: not known
    blind_tokens: int | None  # of the same request without a picture; None: not known
    usage: Usage  # spent until then


async def introduce(
    client: ServerClient,
    model: str,
    question: ServerQuestion,
    pictures: int,
    check_sight: bool,
    usage: Callable[[], Usage],
) -> Introduction:
    """Ask about a drawn picture, and with ``check_sight`` the same without one.

    Raises :class:`~.client.Failure` or :class:`~.outcomes.NoLabel` where there is no reply of the
    right kind at all.  Whether the answer is a label does not matter.
    """
    asked = (client, model, question, np.repeat(example_frame()[None], pictures, axis=0))
    met = await _try(*asked, question.features, check_sight, usage)
    other = question.other_way(met.features)
    if met.tokens and met.tokens[0] == met.blind_tokens and other is not None:
        try:
            return await _try(*asked, other, check_sight, usage)
        except (Failure, NoLabel):  # it knows that way even less
            return met
    return met


async def _try(
    client: ServerClient,
    model: str,
    question: ServerQuestion,
    clip: Frames,
    features: Any,
    check_sight: bool,
    usage: Callable[[], Usage],
) -> Introduction:
    """What two requests settle, beginning with some features."""
    while True:
        try:
            reply = await client.ask(question.body(model, clip, features), _nothing)
            break
        except Failure as failure:
            simpler = features.without(failure.complaint)
            if simpler is None:
                raise
            features = simpler
    reading = question.settle(reply)
    features = question.kept(features, reading)
    blind = None
    if check_sight:
        try:
            blind = await client.ask(question.blind_body(model, clip, features), _nothing)
        except Failure:  # a server that wants pictures: then it looks at them
            blind = None
    seen, unseen = tokens_of(reply), tokens_of(blind)
    return Introduction(
        features, reading, model_of(reply), seen, unseen[0] if unseen else None, usage()
    )


def check_sight(met: Introduction, name: str) -> None:
    """Refuse a model that does not see; warn where that is not known.

    Args:
        met: what the server said of itself.
        name: of server and model, for the message.

    Raises:
        ChatServerError: where the picture makes no difference to the number of tokens.
    """
    if met.tokens is None or met.blind_tokens is None:
        warnings.warn(
            f"{name}: it is not known whether the model sees: the server does not say how many "
            "tokens a request has with and without a picture",
            stacklevel=4,
        )
        return
    more = met.tokens[0] - met.blind_tokens
    if more == 0:
        raise ChatServerError(
            f"{name}: the model does not see: a request has {met.blind_tokens} tokens with a "
            "picture and without; choose a model that sees, or, if the server does not count "
            "pictures, give check_sight=false"
        )
    if more < _FEW:
        warnings.warn(
            f"{name}: it is not sure that the model sees: a picture makes {more} tokens of a "
            "request",
            stacklevel=4,
        )


def example_frame() -> Frames:
    """A road from above with two cars, ``(224, 224, 3)`` uint8."""
    frame = np.full((_SIZE, _SIZE, 3), 90, np.uint8)
    frame[:, 76:78] = frame[:, 146:148] = 230  # the edges of a lane
    frame[150:168, 108:116] = (220, 40, 40)  # the red car
    frame[60:78, 108:116] = (40, 180, 60)
    return frame


def model_of(reply: Any) -> str | None:
    """The model that a reply says it comes from."""
    model = reply.get("model") if isinstance(reply, dict) else None
    return model if isinstance(model, str) and model else None


def _nothing() -> None:
    """Attempts that introduce a server count for no frame."""
