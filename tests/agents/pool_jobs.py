"""What the pool's tests let workers do; nothing heavy is imported, every worker would do so."""

import os
from collections.abc import Callable


def square_or_fail() -> Callable[[int], int]:
    """A job that squares its task, fails on 3 and dies on 7."""

    def job(task: int) -> int:
        if task == 3:
            raise ValueError("three is too many")
        if task == 7:
            os._exit(5)
        return task * task

    return job
