"""A pool of worker processes that leaves no orphans when the parent is killed.

``concurrent.futures`` workers hold both ends of their queue and wait for ever when the parent is
killed; here each worker has a pipe of its own, whose end of file it sees.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import reprlib
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pickle import PicklingError
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Stream = Callable[[Iterator[Task]], Iterator[Result]]  # one result a task, in the same order


class WorkerError(RuntimeError):
    """A worker failed or died; the message says in one sentence on which task and why.

    ``words`` are those of the worker's own error, empty where it died; its traceback is the
    ``__cause__``.
    """

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words


class _WorkerTraceback(Exception):
    """What a worker's traceback looked like."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def run_tasks(
    make_job: Callable[[], Callable[[Task], Result]], tasks: Iterator[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Yield ``(task, result)`` as tasks get done; a task is drawn only when a worker is free.

    ``make_job`` runs once in each worker and must be picklable when ``workers`` is above 1; with
    1 everything runs in this process.

    Raises:
        WorkerError: when a task fails in a worker.
    """
    return run_streams(partial(_stream_of_job, make_job), tasks, workers, ahead=1)


def run_streams(
    make_stream: Callable[[], Stream[Task, Result]],
    tasks: Iterator[Task],
    workers: int,
    ahead: int,
) -> Iterator[Result]:
    """Yield results as they come from streams, which may begin a task before they end the last.

    Like :func:`run_tasks`, but a worker is given up to ``ahead`` tasks that it has not answered.
    """
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ValueError(f"workers={workers!r}: give an integer of at least 1")
    if workers == 1:
        yield from make_stream()(tasks)
        return
    pool: _Pool[Task, Result] = _Pool(make_stream, workers, ahead)
    try:
        yield from pool.run(tasks)
    finally:
        pool.close()


def _stream_of_job(
    make_job: Callable[[], Callable[[Task], Result]],
) -> Stream[Task, tuple[Task, Result]]:
    job = make_job()
    return lambda tasks: ((task, job(task)) for task in tasks)


class _Pool(Generic[Task, Result]):
    def __init__(
        self, make_stream: Callable[[], Stream[Task, Result]], workers: int, ahead: int
    ) -> None:
        self._make_stream = make_stream
        self._most, self._ahead = workers, ahead
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[Any, Any] = {}  # by connection
        self._given: dict[Any, deque[Task]] = {}  # by connection: tasks not answered yet

    def run(self, tasks: Iterator[Task]) -> Iterator[Result]:
        exhausted = False
        while True:
            while not exhausted and (connection := self._free()) is not None:
                try:
                    task = next(tasks)
                except StopIteration:
                    exhausted = True
                    break
                self._given[connection].append(task)
                with contextlib.suppress(OSError):  # a dead worker is noticed when it should answer
                    connection.send(task)
            busy = [connection for connection, given in self._given.items() if given]
            if not busy:
                return
            for ready in multiprocessing.connection.wait(busy):
                yield self._receive(ready)

    def _free(self) -> Any:
        """The worker with the least to do, or a new one; None when all are busy."""
        load, connection = min(
            ((len(given), c) for c, given in self._given.items()),
            key=lambda pair: pair[0],
            default=(self._ahead, None),
        )
        if load > 0 and len(self._processes) < self._most:
            return self._start()
        return connection if load < self._ahead else None

    def _start(self) -> Any:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(self._make_stream, theirs), daemon=True)
        try:
            process.start()
        except (PicklingError, AttributeError, TypeError) as error:  # of what cannot be pickled
            raise WorkerError(
                f"workers cannot be given what they are to do ({error}): use functions and classes "
                "of a module, no lambdas or local ones, or workers=1"
            ) from error
        theirs.close()
        self._processes[ours], self._given[ours] = process, deque()
        return ours

    def _receive(self, connection: Any) -> Result:
        task = self._given[connection].popleft()
        try:
            failure, result = connection.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[connection]
            process.join(5)
            why = "often out of memory: use fewer workers"
            if process.exitcode != -signal.SIGKILL:
                why = "a script needs `if __name__ == '__main__':` around what starts workers"
            told = f"the worker for task {reprlib.repr(task)} died"
            raise WorkerError(f"{told} (exit code {process.exitcode}; {why})") from None
        if failure is not None:
            kind, words, trace = failure
            raise WorkerError(
                f"task {reprlib.repr(task)} failed in a worker: {_sentence(kind, words)}", words
            ) from _WorkerTraceback(trace)
        answer: Result = result
        return answer

    def close(self) -> None:
        for connection in self._processes:
            connection.close()
        for process in self._processes.values():
            process.join(2)
            if process.is_alive():
                process.terminate()
                process.join()


def _work(make_stream: Callable[[], Stream[Any, Any]], connection: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    try:
        for result in make_stream()(_received(connection)):
            if not _send(connection, None, result):
                return
    except Exception as error:
        kind = type(error).__name__
        _send(connection, (kind, str(error).strip() or kind, traceback.format_exc()), None)


def _sentence(kind: str, words: str, most: int = 400) -> str:
    text = words if words == kind else f"{kind}: {words.splitlines()[0]}"
    return text if len(text) <= most else text[: most - 3] + "..."


def _received(connection: Any) -> Iterator[Any]:
    """Tasks, until the parent closes its end or dies."""
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        yield task


def _send(connection: Any, failure: tuple[str, str, str] | None, result: Any) -> bool:
    """Whether the parent is still there."""
    try:
        connection.send((failure, result))
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True
