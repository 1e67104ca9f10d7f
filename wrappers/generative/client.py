"""One question to a server that holds a model, asked until it is answered.

The protocol (addresses, keys, error classes) is the ``openai`` package's, waiting between attempts
``tenacity``'s.  The retries that ``openai`` has built in are switched off: they would go past the
budget, the rate limit and the time limit of an attempt.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from wrappers.checks import one_number, whole_number
from wrappers.generative.budget import Ledger
from wrappers.generative.outcomes import Status
from wrappers.generative.server import Access

INSTALL = 'a chat server is asked through `openai` and `tenacity`: pip install "vlsafe[chat]"'
_Result = TypeVar("_Result")
_SHOWN = 300  # characters of a server's message that are kept
_RAW = {"headers": {"x-stainless-raw-response": "true"}}  # the package hands over text as it came


@dataclass(frozen=True)
class Limits:
    """How hard a server may be pressed, and how long it is waited for."""

    concurrency: int = 8  # requests under way at once
    requests_per_minute: float | None = None  # attempts count; they start evenly spaced
    timeout: float = 60.0  # [s] for one attempt, from sending to the last byte
    attempts: int = 5  # for one frame
    first_wait: float = 1.0  # [s] before the second attempt, plus up to as much; then doubling
    longest_wait: float = 60.0  # [s]; a server that asks for a longer one is given up
    give_up_after: int = 20  # frames in a row without an answer, or at first without a label

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts", "give_up_after"):
            value = whole_number(getattr(self, name), name, "scorer 'chat'", 1)
            object.__setattr__(self, name, value)
        for name in ("timeout", "first_wait", "longest_wait", "requests_per_minute"):
            value = getattr(self, name)
            if value is None and name == "requests_per_minute":
                continue
            if one_number(value, name, "scorer 'chat'", 0.0) == 0:
                raise ValueError(f"{name} must be positive, got {value!r}")


# Headers that say nothing of the user.
_PLAIN_HEADERS = (
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
)


async def _show_only(host: str | None, access: Access, request: Any) -> None:
    """Take out of a request what its server must not see.

    The ``openai`` package adds the user's organisation, project and headers from environment
    variables whatever the host is, and follows a server that sends it elsewhere.
    """
    at_home = request.url.host == host
    if not (access.account and at_home):
        for name in list(request.headers):
            plain = name.lower() in _PLAIN_HEADERS or name.lower().startswith("x-stainless-")
            if not plain:  # the exception is the package's own account of itself, which it reads
                del request.headers[name]
        if access.key and at_home:
            request.headers["authorization"] = f"Bearer {access.key}"


class Failure(Exception):
    """A request that brought no answer.

    Args:
        status: what became of it.
        detail: why, in words.
        passing: another attempt may help.
        hopeless: every other request would fail as well.
        wait: how long the server wants to be left alone [s].
        free: it has certainly cost nothing.
        complaint: what the server says about a request that it does not understand.
    """

    def __init__(
        self,
        status: Status,
        detail: str,
        *,
        passing: bool = False,
        hopeless: bool = False,
        wait: float | None = None,
        free: bool = False,
        complaint: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.passing = passing
        self.hopeless = hopeless
        self.wait = wait
        self.free = free
        self.complaint = complaint


class Pace:
    """Spaces the starts of requests evenly, and holds all of them when a server asks for it."""

    def __init__(self, requests_per_minute: float | None) -> None:
        self.gap = 60.0 / requests_per_minute if requests_per_minute else 0.0  # [s]
        self._next = 0.0  # [s] on the monotonic clock

    async def turn(self) -> None:
        """Wait until a request may start."""
        while (wait := self._next - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._next = time.monotonic() + self.gap

    def pause(self, seconds: float) -> None:
        """Let no request start for a while."""
        self._next = max(self._next, time.monotonic() + seconds)


def open_client(base_url: str, access: Access, timeout: float) -> Any:
    """The ``openai`` package's client, which shows a server no more than ``access``.

    Raises:
        ImportError: without the packages, naming the remedy.
    """
    openai, _ = load_packages()
    hooks = {"request": [partial(_show_only, urlsplit(base_url).hostname, access)]}
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=access.key or "none",
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAsyncHttpxClient(event_hooks=hooks),
    )


class ServerClient:
    """Asks one server within an event loop; close it with ``async with``.

    Args:
        base_url: of the API, such as ``"http://localhost:8000/v1"``.
        path: below it, such as ``"/chat/completions"``.
        access: what of the user's is shown to the server.
        limits: see :class:`Limits`.
        ledger: keeps the budget; may outlive this client.
        pace: keeps the rate; may outlive this client.
        stopped: why nothing is to be sent any more, or ``""``.

    Raises:
        ImportError: without the packages, naming the remedy.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        access: Access,
        limits: Limits,
        ledger: Ledger,
        pace: Pace,
        stopped: Callable[[], str],
    ) -> None:
        self._client = open_client(base_url, access, limits.timeout)
        self._path = path
        self._key = access.key
        self._limits = limits
        self._ledger = ledger
        self._pace = pace
        self._stopped = stopped
        self._settled = asyncio.Condition()

    async def __aenter__(self) -> ServerClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def ask(self, body: dict[str, Any], count: Callable[[], None]) -> Any:
        """The server's answer to a request, decoded from JSON; ``count`` hears of each attempt.

        Raises:
            Failure: when there is none after all attempts.
        """
        _, tenacity = load_packages()
        limits = self._limits
        back_off = tenacity.wait_exponential(limits.first_wait, max=limits.longest_wait)
        back_off += tenacity.wait_random(0, limits.first_wait)

        def wait(state: Any) -> float:
            failure = state.outcome.exception()
            return max(back_off(state), failure.wait or 0.0)

        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(limits.attempts),
            wait=wait,
            retry=tenacity.retry_if_exception(_is_passing),
            reraise=True,
        )
        last: Failure | None = None

        async def attempt() -> Any:
            nonlocal last
            try:
                return await self._attempt(body, count)
            except Failure as failure:
                if failure.status != Status.NOT_ASKED or last is None:
                    last = failure
                    raise
                text = f"{last.detail}; not asked again: {failure.detail}"
                raise Failure(last.status, text, hopeless=failure.hopeless) from None

        return await retrying(attempt)

    async def _attempt(self, body: dict[str, Any], count: Callable[[], None]) -> Any:
        """One request within the budget and the rate."""
        await self._take_from_budget()
        settle = self._ledger.cancel
        try:
            await self._pace.turn()
            if self._stopped():
                raise Failure(Status.NOT_ASKED, self._stopped(), free=True)
            count()
            # From here on it may cost something, whether or not an answer is heard.
            settle = partial(self._ledger.settle_unreported, answered=False)
            answer = await self._send(body)
            settle = partial(self._book, answer)
            return answer
        except Failure as failure:
            if failure.free and failure.status != Status.NOT_ASKED:
                settle = self._ledger.settle_refused
            if failure.wait is not None and not failure.hopeless:
                self._pace.pause(failure.wait)
            raise
        finally:
            settle()
            async with self._settled:
                self._settled.notify_all()

    async def _take_from_budget(self) -> None:
        async with self._settled:
            while not self._ledger.reserve():
                if self._ledger.in_flight == 0:
                    raise Failure(Status.NOT_ASKED, self._ledger.reason, hopeless=True, free=True)
                await self._settled.wait()  # those under way may cost less than feared

    def _book(self, answer: Any) -> None:
        tokens = tokens_of(answer)
        if tokens is not None:
            self._ledger.settle_report(*tokens)
        else:
            self._ledger.settle_unreported(answered=True)

    async def _send(self, body: dict[str, Any]) -> Any:
        """The decoded body of an answer with status 200; ``None`` for one that is no JSON."""
        openai, _ = load_packages()
        try:
            async with asyncio.timeout(self._limits.timeout):
                response = await self._client.post(
                    self._path, cast_to=object, body=body, options=_RAW
                )
            answer = _decode(self._hide(response.text))
            if not (isinstance(answer, dict) and answer.get("error") and "choices" not in answer):
                return answer
            text = f"HTTP 200 with an error: {_short(str(answer['error']))}"
            failure = Failure(Status.SERVER_ERROR, text, passing=True, free=True)
        except (TimeoutError, openai.APITimeoutError):
            text = f"no answer within {self._limits.timeout:g} s"
            failure = Failure(Status.TIMED_OUT, text, passing=True)
        except openai.APIStatusError as error:
            said, kind = self._hide(_message(error)), f"{error.code} {error.type}".lower()
            failure = classify(
                error.status_code, said, kind, error.response.headers, self._limits.longest_wait
            )
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            never_sent = type(cause).__name__ == "ConnectError"
            text = f"{type(cause).__name__}: {_short(self._hide(str(cause)))}".rstrip(": ")
            failure = Failure(Status.UNREACHABLE, text, passing=True, free=never_sent)
        raise failure  # outside: the packages' exceptions hold the request, key included

    def _hide(self, text: str) -> str:
        """A text without the key, which a server may repeat; before anything is cut off it."""
        return text.replace(self._key, "<key>") if self._key else text


# What some servers say with a 500 that no waiting mends: no projector for pictures, no such model.
_LASTING = re.compile(
    r"not support|unsupported|mmproj|unknown (?:model|parameter)|no such model|not implemented|"
    r"model.{0,80}(?:not found|does not exist|cannot be loaded)",
    re.IGNORECASE,
)


def classify(code: int, said: str, kind: str, headers: Any, longest_wait: float) -> Failure:
    """What an HTTP error means for a request and for those after it.

    ``said`` is the server's message and ``kind`` what it calls the error; a server that asks for a
    wait over ``longest_wait`` [s] is given up.
    """
    text = f"HTTP {code}: {_short(said)}"
    wait = retry_after(headers)
    status = Status.RATE_LIMITED if code == 429 else Status.SERVER_ERROR
    if wait is not None and wait > longest_wait:
        text = f"{text}; the server asks to wait {wait:.0f} s"
        return Failure(status, text, hopeless=True, free=True)
    if code == 429 and "insufficient_quota" in kind:
        return Failure(status, text, hopeless=True, free=True)
    lasting = code == 501 or (code >= 500 and _LASTING.search(said))
    if code in (408, 409, 429) or (code >= 500 and not lasting):
        return Failure(status, text, passing=True, wait=wait, free=True)
    if "content_filter" in kind or "content_policy" in kind:
        return Failure(Status.REFUSED, text, free=True)
    hopeless = code in (401, 402, 403, 404)
    complaint = "" if hopeless else said
    return Failure(Status.REJECTED, text, hopeless=hopeless, free=True, complaint=complaint)


def tokens_of(reply: Any) -> tuple[int, int] | None:
    """Tokens of a request and of its answer; ``None`` where a server does not report them."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    if isinstance(prompt, int) and isinstance(completion, int) and prompt > 0:
        return prompt, completion
    return None


def load_packages() -> tuple[Any, Any]:
    """The packages ``openai`` and ``tenacity``.

    Raises:
        ImportError: without them, naming the remedy.
    """
    try:
        import openai
        import tenacity
    except ImportError as error:
        raise ImportError(f"{INSTALL} ({error})") from error
    return openai, tenacity


def retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        date = email.utils.parsedate_tz(text)
        if date is None:
            return None
        seconds = email.utils.mktime_tz(date) - time.time()
    return max(seconds, 0.0) if seconds == seconds else None


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, Failure) and error.passing


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _message(error: Any) -> str:
    """What a server says in an error; servers put it in different places."""
    body = error.body
    if isinstance(body, dict):
        parts = [body.get(name) for name in ("message", "detail", "error", "param")]
        return " ".join(str(part) for part in parts if part) or str(body)
    return str(body) if body else str(error.message)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat[:_SHOWN] + ("..." if len(flat) > _SHOWN else "")


def run_to_end(start: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run a coroutine from ordinary code, also where an event loop is running (as in Jupyter)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(start())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(start())).result()
