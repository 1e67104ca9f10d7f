"""Where a chat server is, what of the user's it may see, and what of the API it is asked for.

Servers that speak the chat API know different parts of it: some take no JSON schema, some give no
log-probabilities, reasoning models take no temperature.  One that says so in an error gets the
same question again without that part.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from wrappers.generative.answers import AnswerForm

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
STRUCTURES = ("json_schema", "json_object", "text")
_FEWER_LOGPROBS = {20: 5, 5: 0}  # alternatives a token; some servers allow 5 at most


class ChatServerError(RuntimeError):
    """A server that is of no use: wrong key, unknown model, a model that does not see, ..."""


@dataclass(frozen=True)
class Access:
    """What of the user's a server is shown."""

    key: str = field(default="", repr=False)  # secret that it wants
    account: bool = False  # also organisation, project and headers from OpenAI's variables


def check_base_url(base_url: str) -> str:
    """An address without a slash at its end.

    Raises:
        ValueError: for one that is no HTTP address, or has a place where secrets may stand: an
            address is part of a scorer's identity.
    """
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{base_url!r} is no address of a chat server ({error})") from None
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


def is_openai(base_url: str) -> bool:
    """Whether an address is one of OpenAI's own, to which the user's key belongs."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    own = host == "api.openai.com" or host.endswith(".api.openai.com")
    return own and parts.scheme == "https" and parts.port in (None, 443)


def access_to(base_url: str, key: str | None, variable: str | None) -> Access:
    """What a server is shown: the given key, or that of a named variable, and nothing else.

    Without either OpenAI's own servers are shown the user's key and account, others nothing.

    Raises:
        ChatServerError: for a variable that holds no key.
    """
    if key is not None:
        return Access(key)
    if variable is None and not is_openai(base_url):
        return Access()
    name = variable or OPENAI_KEY
    shown = name if name in os.environ else "that api_key_env names"  # perhaps a key, by mistake
    held = os.environ.get(name, "").strip()
    if not (held.isascii() and held.isprintable()):
        raise ChatServerError(f"what the environment variable {shown} holds is no key")
    if variable is None:
        return Access(held, account=True)
    if not held:
        raise ChatServerError(
            f"the environment variable {shown} holds no key for {base_url}; set it, or leave "
            "api_key_env out"
        )
    return Access(held)


@dataclass(frozen=True)
class Features:
    """Which optional parts of the API a request uses."""

    structure: str = "json_schema"  # how the answer is held to its form
    top_logprobs: int = 20  # alternatives a token; 0 for no log-probabilities
    temperature: bool = True
    seed: bool = True
    detail: bool = True
    length_key: str = "max_tokens"  # or "max_completion_tokens", as reasoning models want

    def without(self, complaint: str) -> Features | None:
        """Less of what a server's error complains of; ``None`` when it names nothing of it."""
        text = complaint.lower()
        names = {name for name, words in _COMPLAINTS.items() if words.search(text)}
        if "structure" in names and self.structure != "text":
            return replace(self, structure=STRUCTURES[STRUCTURES.index(self.structure) + 1])
        if "logprobs" in names and self.top_logprobs:
            return replace(self, top_logprobs=_FEWER_LOGPROBS.get(self.top_logprobs, 0))
        if "temperature" in names and self.temperature:
            return replace(self, temperature=False)
        if "seed" in names and self.seed:
            return replace(self, seed=False)
        if "detail" in names and self.detail:
            return replace(self, detail=False)
        if "length_key" in names and self.length_key == "max_tokens":
            return replace(self, length_key="max_completion_tokens")
        return None

    def without_logprobs(self) -> Features:
        """The same without log-probabilities."""
        return replace(self, top_logprobs=0)

    def options(
        self, form: AnswerForm, temperature: float, seed: int, max_tokens: int
    ) -> dict[str, Any]:
        """The request's fields besides model and messages."""
        fields: dict[str, Any] = {self.length_key: max_tokens}
        if self.temperature:
            fields["temperature"] = temperature
        if self.seed:
            fields["seed"] = seed
        if self.top_logprobs:
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if self.structure == "json_schema":
            schema = {"name": form.name, "strict": True, "schema": form.schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.structure == "json_object":
            fields["response_format"] = {"type": "json_object"}
        return fields


_COMPLAINTS = {
    "structure": re.compile(r"response_format|json_schema|json_object|grammar|structured|guided"),
    "logprobs": re.compile(r"logprobs"),
    "temperature": re.compile(r"\btemperature\b"),
    "seed": re.compile(r"\bseed\b"),
    "detail": re.compile(r"image_url\W+detail|\bdetail\b.*\b(image|unsupported|unknown|extra)"),
    "length_key": re.compile(r"max_completion_tokens|max_tokens"),
}
