"""Which models a server offers."""

from __future__ import annotations

from typing import Any

from wrappers.generative.client import load_packages, open_client, run_to_end
from wrappers.generative.server import ChatServerError, access_to, check_base_url

_PATIENCE = 10.0  # [s]


def served_models(base_url: str) -> list[str]:
    """Names of the models that an OpenAI-compatible server lists (``GET <base URL>/models``).

    OpenAI's own servers are shown the user's key, others nothing.

    Raises:
        ImportError: without ``openai``, naming the remedy.
        ValueError: for what is no address.
        ChatServerError: where there is no list.
    """
    base_url = check_base_url(base_url)
    openai, _ = load_packages()

    async def ask() -> Any:
        async with open_client(base_url, access_to(base_url, None, None), _PATIENCE) as client:
            return [model async for model in client.models.list()]

    try:
        return [str(model.id) for model in run_to_end(ask)]
    except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
        raise ChatServerError(
            f"{base_url} lists no models ({type(error).__name__}); look at the address (most "
            "servers have their API below one that ends in /v1), or name the model: --model"
        ) from None


def the_model(base_url: str) -> str:
    """The only model that a server offers.

    Raises:
        ChatServerError: where there is none, or several to choose from; see also
            :func:`served_models`.
    """
    found = served_models(base_url)
    if len(found) != 1:
        names = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "")
        raise ChatServerError(
            f"{base_url} offers {len(found)} models ({names or 'none'}); name one: --model"
        )
    return found[0]
