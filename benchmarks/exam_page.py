"""Puts the committed rows of the hazard exam into its page.

python -m benchmarks.exam_page        # docs/exam.md, from benchmarks/exam/*.json
"""

from __future__ import annotations

from pathlib import Path

from vlsafe_agents.audit.exam_row import read_rows
from vlsafe_agents.audit.exam_tables import exam_tables, markdown
from wrappers.files import read_text, write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- rows -->\n", "<!-- end of rows -->"


def main() -> None:
    page = ROOT / "docs" / "exam.md"
    before, begin, rest = read_text(page).partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for rows: {BEGIN.strip()} ... {END}")
    rows = read_rows([ROOT / "benchmarks" / "exam"])
    tables = markdown(exam_tables(list(rows.values())))
    write_text(page, f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
