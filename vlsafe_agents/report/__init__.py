"""One self-contained HTML page about a run: figures, tables, dreams and videos."""

from vlsafe_agents.report.page import write_report

__all__ = ["write_report"]
