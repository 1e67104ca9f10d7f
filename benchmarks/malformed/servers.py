"""What a chat server may answer that is no score."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.malformed.runner import Case


def completion(content: Any, **more: Any) -> bytes:
    """A reply of the OpenAI chat API with this content."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"} | more
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
    reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**reply, "choices": [choice], "usage": usage}).encode()


BODIES: dict[str, bytes] = {
    "a web page": b"<!doctype html><html>the front end</html>",
    "nothing": b"",
    "no JSON": b"hello",
    "cut JSON": completion('{"grade": 3}')[:40],
    "an empty object": b"{}",
    "a list": b"[]",
    "null": b"null",
    "no choices": b'{"choices": []}',
    "choices of text": b'{"choices": "many"}',
    "no message": b'{"choices": [{}]}',
    "an error inside 200": b'{"error": {"message": "no such model"}}',
    "no content": completion(None),
    "empty content": completion(""),
    "content of another type": completion({"grade": 3}),
    "white space": completion("  \n "),
    "words without a grade": completion("It looks quite safe to me."),
    "a grade beyond the scale": completion('{"grade": 17}'),
    "a negative grade": completion('{"grade": -1}'),
    "a grade of text": completion('{"grade": "safe"}'),
    "NaN": completion('{"grade": NaN}'),
    "two grades": completion('{"grade": 2} or {"grade": 8}'),
    "a draft alone": completion('<think>{"grade": 3}'),
    "a refusal": completion("I cannot help with that."),
    "a cut answer": completion('{"gra', finish_reason="length"),
}
STATUS = (301, 400, 401, 403, 404, 405, 410, 413, 415, 422, 500, 501, 502, 505)


class Server:
    """Always gives one answer.  A context manager."""

    def __init__(self, status: int, body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def cases() -> Iterator[Case]:
    """All of them."""
    for name, body in BODIES.items():
        yield Case("servers", name, partial(_ask, 200, body), ("",))
    for status in STATUS:
        body = b'{"error": {"message": "not today", "type": "x"}}'
        yield Case("servers", f"status {status}", partial(_ask, status, body), ("",))
    yield Case("servers", "nobody there", _ask_nobody, ("",))
    for address in ("", "localhost", "ftp://localhost/v1", "http://", "http://[::1"):
        yield Case(
            "servers",
            f"address {address!r}",
            partial(_address, address),
            (address or "api.openai.com", "URL"),
        )


def _ask(status: int, body: bytes, folder: Path) -> None:
    with Server(status, body) as url:
        _score(url)


def _ask_nobody(folder: Path) -> None:
    _score("http://127.0.0.1:9/v1")


def _score(url: str) -> None:
    """A frame without a label is an answer, too: it says that there is none."""
    from wrappers import make_scorer

    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    scores = np.asarray(make_scorer(f"chat:m@{url},patience=2")(frames))
    if np.isnan(scores).all():
        raise ValueError("no label")


def _address(address: str, folder: Path) -> None:
    from wrappers import make_scorer

    make_scorer(f"chat:m@{address}")(np.zeros((1, 32, 32, 3), np.uint8))
