"""Where a chat server is, and what of the user's it may see."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"


class ChatServerError(RuntimeError):
    """A server that is of no use: wrong key, unknown model, a model that does not see, ..."""


@dataclass(frozen=True)
class Access:
    """What of the user's a server is shown."""

    key: str = field(default="", repr=False)  # secret that it wants
    account: bool = False  # also organisation, project and headers from OpenAI's variables


def check_base_url(base_url: str) -> str:
    """An address without a slash at its end.

    Raises ``ValueError`` for one that is no HTTP address, or has a place where secrets may stand:
    an address is part of a scorer's identity.
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

    Raises :class:`ChatServerError` for a variable that holds no key.
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
