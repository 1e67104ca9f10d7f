"""``vlsafe audit --exam``: scorers on frozen frames, a row of figures each, and their tables."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlsafe_agents.audit import AuditConfig, NamedScorer
    from vlsafe_agents.audit.exam import Candidate

TABLES_FILE = "exam.md"


def server_spec(url: str, model: str | None) -> str:
    """The scorer behind a server; without a name, its only model.

    Raises:
        ChatServerError: where that is not known.
    """
    if model is None:
        from wrappers.generative.served_models import the_model

        model = the_model(url)
    return f"chat:{model}@{url}"


def run_exam(
    scorers: Sequence[NamedScorer],
    out: Path,
    config: AuditConfig,
    cache: Any,
    batch_size: int,
    beside: Sequence[Path],
) -> dict[str, Any]:
    """Examine scorers, write ``OUT/exam/NAME.json`` each and ``OUT/exam.md``, print the tables.

    Returns the file of the tables, and all rows as their files hold them.

    Args:
        scorers: who is examined; nobody: the tables of ``beside`` alone
        out: folder of rows and tables
        config: questions, amounts and seeds
        cache: of scores
        batch_size: frames scored at once
        beside: rows, or folders of rows, that stand in the tables, too
    """
    from vlsafe_agents.audit.exam import check_figures, take_exam
    from vlsafe_agents.audit.exam_row import check_frames_alike, read_rows, write_row
    from vlsafe_agents.audit.exam_tables import exam_tables, markdown
    from vlsafe_agents.audit.frozen import read_frozen
    from vlsafe_agents.cli.tables import print_table, say
    from wrappers.files import write_text

    frames = read_frozen()
    rows = read_rows(beside)
    for row in rows.values():
        check_figures(row, frames, config)
    candidates = [_candidate(named) for named in scorers]
    for row in take_exam(candidates, frames, config, cache, batch_size, _command()):
        file_name = re.sub(r"[^\w.-]+", "-", row.name)
        place = (out / "exam" / f"{file_name}.json").resolve()
        rows[place] = row
        check_frames_alike(rows)
        write_row(place, row)
        say(f"{row.name}: {row.verdict}; {place}")
    tables = exam_tables(list(rows.values()))
    for table in tables:
        print_table(table.title, table.columns, table.rows)
    write_text(out / TABLES_FILE, markdown(tables))
    say(f"tables: {out / TABLES_FILE}")
    return {"tables": out / TABLES_FILE, "rows": [asdict(row) for row in rows.values()]}


def _command() -> str:
    """What was typed, without the folder of the program."""
    return shlex.join(["vlsafe", *sys.argv[1:]])


def _candidate(named: NamedScorer) -> Candidate:
    """A scorer with the way to ask it for danger, where there is one."""
    from vlsafe_agents.audit.exam import Candidate

    if named.takes_prompts and named.with_prompts is not None:
        from wrappers.clip_training.evaluation import NEGATED_PAIR

        return Candidate(named, partial(named.with_prompts, NEGATED_PAIR))
    return Candidate(named, getattr(named.scorer, "opposite", None))
