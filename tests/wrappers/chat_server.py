"""A server process that speaks the OpenAI chat API on loopback, with faults on demand.

It judges what it is shown: pictures are decoded, and the answer follows from their pixels.  A
frame's first pixel holds its number, ``(number // 256, number % 256, 0)``, the second how safe it
is, 0 to 255.  What it does to which frame is set by ``POST /plan``; what it saw is told by
``GET /log``.  :class:`ChatServer` starts it and talks to it; run as a script it is the server.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

PLAIN_PLAN = {
    "faults": {},  # number of a frame: what happens to its requests one after the other
    "delay": 0.0,  # [s] of every answer
    "unknown": [],  # parts of the API that the server does not know
    "most_logprobs": 20,
    "logprobs": True,  # whether answers carry them
    "usage": True,  # whether answers carry token counts
    "key": "",  # that requests must show
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "picture_tokens": 85,  # of the prompt's, with a picture
    "model": "",  # that answers; "" for the one that was asked with "-1" behind it
    "always": "",  # what happens to requests about frames that have no fault of their own
    "introduction": "",  # what happens to requests before the first frame
}
INTRODUCTION = 90 * 256 + 90  # the number that the picture of an introduction seems to have


def numbered_frames(count: int, size: int = 8, first: int = 0) -> np.ndarray:
    """Frames that the server tells apart; their safety is some number of 0..255."""
    frames = np.full((count, size, size, 3), 90, np.uint8)
    numbers = np.arange(first, first + count)
    frames[:, 0, 0, 0], frames[:, 0, 0, 1], frames[:, 0, 0, 2] = numbers // 256, numbers % 256, 0
    frames[:, 0, 1] = (numbers * 37 % 256)[:, None]
    return frames


def safety(frames: np.ndarray) -> np.ndarray:
    """What the server finds in frames ``(N, H, W, 3)``, in [0, 1]."""
    return frames[:, 0, 1, 0] / 255.0


class ChatServer:
    """Starts the server in a process of its own; use in a ``with`` statement."""

    def __enter__(self) -> ChatServer:
        command = [sys.executable, str(Path(__file__)), str(os.getpid())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.root = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.url = f"{self.root}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def plan(self, **changes: Any) -> None:
        """Behave as said from now on, and forget what was seen."""
        unknown = changes.keys() - PLAIN_PLAN.keys()
        assert not unknown, unknown
        body = json.dumps(PLAIN_PLAN | changes).encode()
        request = urllib.request.Request(f"{self.root}/plan", body, method="POST")
        urllib.request.urlopen(request, timeout=10).read()

    def log(self) -> dict[str, Any]:
        """``requests`` (number, time [s], fields, pictures, ...) and ``most_in_flight``."""
        return json.load(urllib.request.urlopen(f"{self.root}/log", timeout=10))


class _State:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset(PLAIN_PLAN)

    def reset(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.requests: list[dict[str, Any]] = []
        self.answered: list[str] = []  # numbers of frames, as their answers went out
        self.introductions: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self.asked: dict[str, int] = {}  # how often each frame was

    def next_fault(self, number: str) -> str:
        """The next of a frame's faults; the last one stays, and "" is none."""
        faults = self.plan["faults"].get(number, [self.plan["always"]])
        count = self.asked.get(number, 0)
        self.asked[number] = count + 1
        return faults[min(count, len(faults) - 1)]


STATE = _State()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # who timed out is gone
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        with STATE.lock:
            names = ("requests", "answered", "introductions", "headers", "most_in_flight")
            self._send(200, {name: getattr(STATE, name) for name in names})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/plan":
            with STATE.lock:
                STATE.reset(json.loads(text))
            self._send(200, {})
            return
        with STATE.lock:
            STATE.in_flight += 1
            STATE.most_in_flight = max(STATE.most_in_flight, STATE.in_flight)
        try:
            self._chat(json.loads(text))
        finally:
            with STATE.lock:
                STATE.in_flight -= 1

    def _chat(self, body: dict[str, Any]) -> None:
        plan = STATE.plan
        if self.path != "/v1/chat/completions":
            return self._error(404, "no such path")
        if plan["key"] and self.headers["authorization"] != f"Bearer {plan['key']}":
            # So long that the key stands where a reader may cut the message.
            return self._error(401, "no " * 90 + f"wrong key: {self.headers['authorization']}")
        complaint = _complaint(body, plan)
        if complaint:
            return self._error(400, complaint)
        pictures = [_decode(part) for part in body["messages"][0]["content"][1:]]
        number = INTRODUCTION
        if pictures:
            latest = pictures[-1]
            number = int(latest[0, 0, 0]) * 256 + int(latest[0, 0, 1])
        with STATE.lock:
            STATE.headers.append({name.lower(): value for name, value in self.headers.items()})
            if number == INTRODUCTION:
                fault = plan["introduction"]
                STATE.introductions.append(_entry(str(number), fault, body, pictures))
            else:
                fault = STATE.next_fault(str(number))
                STATE.requests.append(_entry(str(number), fault, body, pictures))
        time.sleep(plan["delay"])
        level = float(np.mean([picture[0, 1, 0] for picture in pictures] or [0.0])) / 255
        self._answer(fault, level, body)
        with STATE.lock:
            STATE.answered.append(str(number))

    def _answer(self, fault: str, level: float, body: dict[str, Any]) -> None:
        kind, _, argument = fault.partition(":")
        if kind == "slow":
            time.sleep(float(argument))
        elif kind == "drip":
            return self._drip(float(argument))
        elif kind == "reset":
            return self._reset()
        elif kind == "cut":
            return self._cut()
        elif kind == "html":
            return self._send(200, "<html><h1>502 Bad Gateway</h1></html>", "text/html")
        elif kind == "other model":
            answer = _completion("", "", level, body, STATE.plan)
            return self._send(200, {**answer, "model": argument})
        elif kind == "wrapped error":
            return self._send(200, {"error": {"message": "upstream is busy", "code": 502}})
        elif kind in ("policy", "complaint", "quota", "lasting"):
            said = {
                "policy": (400, "the picture is not allowed", "content_policy_violation"),
                "complaint": (400, argument),
                "quota": (429, "you have no credit left", "insufficient_quota"),
                "lasting": (500, argument),
            }
            return self._error(*said[kind])
        elif kind.isdigit():
            headers = {"retry-after": argument} if argument else {}
            return self._error(int(kind), "something is wrong", headers=headers)
        return self._send(200, _completion(kind, argument, level, body, STATE.plan))

    def _error(
        self, code: int, message: str, kind: str = "", headers: dict[str, str] | None = None
    ) -> None:
        error = {"message": message, "type": "error", "code": kind or None, "param": None}
        self._send(code, {"error": error}, headers=headers)

    def _send(
        self,
        code: int,
        body: Any,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(text)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def _drip(self, seconds: float) -> None:
        """Send a byte now and then, so that no single read takes long."""
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):  # nobody listens any more
            while time.monotonic() < end:
                self.wfile.write(b" ")
                time.sleep(0.05)
        self.close_connection = True

    def _reset(self) -> None:
        """Drop the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _cut(self) -> None:
        """Promise more bytes than are sent."""
        self.send_response(200)
        self.send_header("content-length", "500")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": {"content": "{\\"grade\\": 7')
        self.wfile.flush()
        self.close_connection = True


def _complaint(body: dict[str, Any], plan: dict[str, Any]) -> str:
    """What the server does not understand about a request."""
    structure = body.get("response_format", {}).get("type", "")
    for part in plan["unknown"]:
        if part == structure:
            return f"response_format type '{part}' is not supported"
        pictures = body["messages"][0]["content"][1:]
        if part == "detail" and any("detail" in picture["image_url"] for picture in pictures):
            return "extra field: messages.0.content.1.image_url.detail"
        if part in body:
            return f"unsupported parameter: {part}"
    if body.get("top_logprobs", 0) > plan["most_logprobs"]:
        return f"top_logprobs must be at most {plan['most_logprobs']}"
    return ""


def _decode(part: dict[str, Any]) -> np.ndarray:
    from PIL import Image

    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64", head
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def _entry(
    number: str, fault: str, body: dict[str, Any], pictures: list[np.ndarray]
) -> dict[str, Any]:
    fields = {key: value for key, value in body.items() if key != "messages"}
    content = body["messages"][0]["content"]
    return {
        "number": int(number),
        "time": time.monotonic(),
        "fault": fault,
        "fields": fields,
        "text": content[0]["text"],
        "details": [part["image_url"].get("detail") for part in content[1:]],
        "pictures": [list(picture.shape) for picture in pictures],
    }


def _key_asked_for(body: dict[str, Any]) -> str:
    """A model reads the request: which JSON key is it to answer with?"""
    text = body["messages"][0]["content"][0]["text"]
    return next(key for key in ("grade", "probability", "safe") if f'"{key}"' in text)


def _completion(
    kind: str, argument: str, level: float, body: dict[str, Any], plan: dict[str, Any]
) -> dict[str, Any]:
    key = _key_asked_for(body)
    tokens = _tokens(key, level)
    message: dict[str, Any] = {"role": "assistant"}
    finish = "stop"
    if kind == "text":
        message["content"], tokens = argument, [(argument, {argument: 1.0})]
    elif kind == "refusal":
        message |= {"content": None, "refusal": argument or "I can't assist with that."}
    elif kind == "truncated":
        tokens, finish = tokens[:-1], "length"
        message["content"] = "".join(token for token, _ in tokens)
    elif kind == "filtered":
        message["content"], finish = "", "content_filter"
    else:
        message["content"] = "".join(token for token, _ in tokens)
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish}
    if body.get("logprobs") and plan["logprobs"]:
        choice["logprobs"] = {"content": [_logprob_entry(*token) for token in tokens]}
    found = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": plan["model"] or f"{body['model']}-1",
    }
    found["choices"] = [] if kind == "no choices" else [choice]
    if plan["usage"]:
        prompt, completion = plan["prompt_tokens"], plan["completion_tokens"]
        if len(body["messages"][0]["content"]) == 1:
            prompt -= plan["picture_tokens"]
        total = prompt + completion
        found["usage"] = {"prompt_tokens": prompt, "completion_tokens": completion}
        found["usage"]["total_tokens"] = total
    return found


def _tokens(key: str, level: float) -> list[tuple[str, dict[str, float]]]:
    """Tokens of a JSON answer, each with its alternatives and their probabilities."""
    if key == "probability":
        value = json.dumps(round(level, 4))
        texts = ['{"', key, '":', f" {value}", "}"]
        return [(text, {text: 1.0}) for text in texts]
    if key == "safe":
        likely = {"yes": level * 0.9, "no": (1 - level) * 0.9, "maybe": 0.1}
        chosen = "yes" if level >= 0.5 else "no"
        before, after = f'{{"{key}": "', '"}'
    else:
        low = min(int(level * 9), 8)
        share = level * 9 - low
        likely = {f" {low}": (1 - share) * 0.8, f" {low + 1}": share * 0.8, " a": 0.2}
        chosen = f" {low}" if share < 0.5 else f" {low + 1}"
        before, after = f'{{"{key}":', "}"
    return [(before, {before: 1.0}), (chosen, likely), (after, {after: 1.0})]


def _logprob_entry(token: str, likely: dict[str, float]) -> dict[str, Any]:
    logs = {text: math.log(p) if p > 0 else -9999.0 for text, p in likely.items()}
    others = [{"token": text, "logprob": value, "bytes": None} for text, value in logs.items()]
    return {"token": token, "logprob": logs[token], "bytes": None, "top_logprobs": others}


def _end_with(parent: int) -> None:
    """Leave nothing running behind tests that were killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    print(server.server_address[1], flush=True)
    server.serve_forever()
