"""Can a scorer be trusted? Its scores against what the simulator knows to have happened.

``drives.py`` reads recorded drives and asks the questions, ``scoring.py`` asks the scorers,
``examine.py`` holds their scores against the truth, ``audit.py`` runs all of it, ``page.py`` writes
the report.  ``exam.py`` asks the same on frozen frames (``frozen.py``).

Everything is about p, the safety score: 1 is safe.  A risk is 1 - p.  N frames, E episodes, B
resamples, P frames of the probe: those that are also shown changed.
"""

from __future__ import annotations

from vlsafe_agents.audit.audit import Findings, audit
from vlsafe_agents.audit.drives import Source
from vlsafe_agents.audit.exam import Candidate, take_exam
from vlsafe_agents.audit.exam_row import ExamRow, read_rows, write_row
from vlsafe_agents.audit.frozen import FrozenFrames, read_frozen
from vlsafe_agents.audit.page import write_audit
from vlsafe_agents.audit.results import (
    VERDICTS,
    Audit,
    AuditConfig,
    PromptPair,
    ScorerAudit,
    interval,
    passed,
)
from vlsafe_agents.audit.scoring import NamedScorer
from vlsafe_agents.audit.verdicts import write_verdicts
from vlsafe_agents.data.audits import failed_audit, warn_of_failed_audit

__all__ = [
    "VERDICTS",
    "Audit",
    "AuditConfig",
    "Candidate",
    "ExamRow",
    "Findings",
    "FrozenFrames",
    "NamedScorer",
    "PromptPair",
    "ScorerAudit",
    "Source",
    "audit",
    "failed_audit",
    "interval",
    "passed",
    "read_frozen",
    "read_rows",
    "take_exam",
    "warn_of_failed_audit",
    "write_audit",
    "write_row",
    "write_verdicts",
]
