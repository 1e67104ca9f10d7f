"""A command under watch, as a process: ``python -m vlsafe_agents.bench.supervise JOB``.

It ends with whoever has started it, because its standard input then ends; it waits until an earlier
one of the same cell has ended; and it tells what the command took.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from wrappers.files import one_writer

GRACE = 20.0  # [s] to save a checkpoint, before it is killed


class _Watched:
    """The command's process; asked to stop, it and all that it has started end."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def stop_with_parent(self) -> None:
        """Wait for the end of standard input, then stop."""
        with suppress(OSError):
            while os.read(0, 1024):
                pass
        self.stop()

    def stop(self, *_: Any) -> None:
        self.stopped = True
        if self.process is None:
            os._exit(1)  # it waits for another one of this cell
        self._signal(signal.SIGTERM)
        threading.Timer(GRACE, self._signal, (signal.SIGKILL,)).start()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        with suppress(OSError):
            os.killpg(self.process.pid, number)


def watch(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job's command to its end; returns its exit code and what it took."""
    watched = _Watched()
    threading.Thread(target=watched.stop_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, watched.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started this decides
    log = Path(job["log"])
    log.parent.mkdir(parents=True, exist_ok=True)
    with one_writer(Path(job["lock"]), job["name"], wait=True), log.open("ab") as file:
        begin = time.monotonic()
        watched.process = subprocess.Popen(
            job["command"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **job["environment"]},
            start_new_session=True,
        )
        _, status, usage = os.wait4(watched.process.pid, 0)
        # ru_maxrss is in kB, on macOS in bytes
        megabytes = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "stopped": watched.stopped,
            "wall_s": round(time.monotonic() - begin, 2),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_memory_mb": round(megabytes, 1),  # of the largest of its processes
        }


if __name__ == "__main__":
    told = watch(json.loads(sys.argv[1]))
    with suppress(BrokenPipeError):  # whoever has started this is gone
        print(json.dumps(told), flush=True)
    os._exit(0)  # not waiting for timers
