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
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerError(RuntimeError):
    """A worker failed or died; the message says on which task and why."""


def run_tasks(
    make_job: Callable[[], Callable[[Task], Result]], tasks: Iterator[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Yield ``(task, result)`` as tasks get done; a task is drawn only when a worker is free.

    ``make_job`` runs once in each worker and must be picklable when ``workers`` is above 1; with
    1 everything runs in this process.  Raises ``WorkerError`` when a task fails in a worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if workers == 1:
        job = make_job()
        for task in tasks:
            yield task, job(task)
        return
    pool: _Pool[Task, Result] = _Pool(make_job)
    try:
        yield from pool.run(tasks, workers)
    finally:
        pool.close()


class _Pool(Generic[Task, Result]):
    def __init__(self, make_job: Callable[[], Callable[[Task], Result]]) -> None:
        self._make_job = make_job
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Any, Any] = {}  # connection -> process

    def run(self, tasks: Iterator[Task], workers: int) -> Iterator[tuple[Task, Result]]:
        busy: dict[Any, Task] = {}
        idle: list[Any] = []
        exhausted = False
        while True:
            while not exhausted and (idle or len(self._workers) < workers):
                try:
                    task = next(tasks)
                except StopIteration:
                    exhausted = True
                    break
                connection = idle.pop() if idle else self._start()
                connection.send(task)
                busy[connection] = task
            if not busy:
                return
            for ready in multiprocessing.connection.wait(list(busy)):
                task = busy.pop(ready)
                yield task, self._receive(ready, task)
                idle.append(ready)

    def _start(self) -> Any:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(self._make_job, theirs), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = process
        return ours

    def _receive(self, connection: Any, task: Task) -> Result:
        try:
            failure, result = connection.recv()
        except EOFError:
            process = self._workers[connection]
            process.join(5)
            raise WorkerError(
                f"the worker for task {reprlib.repr(task)} died (exit code {process.exitcode}; "
                "-9 often means out of memory: use fewer workers)"
            ) from None
        if failure is not None:
            raise WorkerError(f"task {reprlib.repr(task)} failed in a worker:\n{failure}")
        return result

    def close(self) -> None:
        for connection in self._workers:
            connection.close()
        for process in self._workers.values():
            process.join(2)
            if process.is_alive():
                process.terminate()
                process.join()


def _work(make_job: Callable[[], Callable[[Any], Any]], connection: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        job: Callable[[Any], Any] | None = None
        while True:
            task = connection.recv()
            try:
                job = job or make_job()
                answer: tuple[str | None, Any] = (None, job(task))
            except Exception:
                answer = (traceback.format_exc(), None)
            connection.send(answer)
