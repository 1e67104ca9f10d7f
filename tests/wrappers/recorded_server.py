"""What real servers were asked and answered, kept in files, and a server that repeats it.

``recorded/<server>.json`` holds cases: a scorer, the frames it was shown, and every request that it
sent with the server's reply.  Pictures stand there by their size and a digest of their pixels.
``record_servers.py`` writes these files; :class:`RecordedServer` answers by them, and only what is
asked in the recorded words.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "recorded"
_PREFIX = "data:image/png;base64,"


def frames_of(case: dict[str, Any]) -> np.ndarray:
    """The frames of a case: ``(N, S, S, 3)``, or windows ``(N, K, S, S, 3)``, of even grey."""
    levels = np.asarray(case["levels"], np.uint8)  # (N,) or (N, K)
    return np.broadcast_to(levels[..., None, None, None], (*levels.shape, 24, 24, 3)).copy()


def plain(value: Any) -> Any:
    """A request with digests in place of pictures."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str) and value.startswith(_PREFIX):
        return f"{_PREFIX}{_digest(value.removeprefix(_PREFIX))}"
    if isinstance(value, str) and value.startswith("iVBOR"):  # PNG without a prefix
        return _digest(value)
    return value


def _digest(data: str) -> str:
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    return f"{list(pixels.shape)} {hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"


class _Server:
    """Runs in a thread of this process; use in a ``with`` statement."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"]))
                status, kind, reply = outer.answer(self.path, json.loads(text))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, body: Any) -> tuple[int, str, bytes]:
        raise NotImplementedError

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class RecordedServer(_Server):
    """Answers as a real server did."""

    def __init__(self, case: dict[str, Any]) -> None:
        super().__init__()
        self.exchanges = case["exchanges"]
        self.unknown: list[Any] = []  # what was asked that had not been asked before

    def answer(self, path: str, body: Any) -> tuple[int, str, bytes]:
        asked = plain(body)
        for one in self.exchanges:
            if one["path"] == path and one["request"] == asked:
                reply = one["reply"]
                if isinstance(reply, str):
                    return one["status"], "text/plain", reply.encode()
                return one["status"], "application/json", json.dumps(reply).encode()
        self.unknown.append(asked)
        return 418, "text/plain", b"this was not asked when the server was recorded"


class RecordingServer(_Server):
    """Hands requests on to a real server and keeps what is said."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target  # without a slash at its end
        self.exchanges: list[dict[str, Any]] = []

    def answer(self, path: str, body: Any) -> tuple[int, str, bytes]:
        data = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.target + path, data, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=600) as reply:
                status, kind, text = reply.status, reply.headers["content-type"], reply.read()
        except urllib.error.HTTPError as error:
            status, kind, text = error.code, error.headers["content-type"], error.read()
        said = json.loads(text) if "json" in kind else text.decode()
        one = {"path": path, "request": plain(body), "status": status, "reply": said}
        if one not in self.exchanges:
            self.exchanges.append(one)
        return status, kind, text
