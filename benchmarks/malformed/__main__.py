"""What happens to malformed input: constructors, environments, data, files, command lines, servers.

    python -m benchmarks.malformed                 # a table by group, and every case that fails
    python -m benchmarks.malformed --list          # every case with the message that it gets

A case passes if it ends within the time limit in an error that names what is wrong (one of the
words that the case states), of a type that the command line turns into one sentence; if it is a
command line, with exit code 2, one sentence and no traceback; and if no file that was there before
is changed.  Exit code 1 when a case fails.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from benchmarks.malformed import commands, constructors, data, environments, files, servers
from benchmarks.malformed.runner import Case, outcome_of, table


def all_cases() -> list[Case]:
    """Every malformed input."""
    parts = (constructors, environments, data, files, commands, servers)
    return list(itertools.chain.from_iterable(part.cases() for part in parts))


def main() -> int:
    """Run the cases; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.malformed", description=__doc__)
    parser.add_argument("--only", default="", help="groups whose name holds this")
    parser.add_argument("--list", action="store_true", help="every case with its message")
    arguments = parser.parse_args()
    files.good()  # made before any case's time runs
    outcomes = []
    for case in all_cases():
        if arguments.only in case.group:
            with tempfile.TemporaryDirectory() as folder:
                outcomes.append(outcome_of(case, Path(folder)))
    for outcome in outcomes:
        if arguments.list or outcome.fault:
            said = " ".join(outcome.said.split())[:150]
            print(f"{outcome.fault or 'ok'} | {outcome.case.group}: {outcome.case.name} | {said}")
    print(table(outcomes))
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
