"""Can a judge be trusted? Its scores against what the simulator knows to have happened.

``truth.py`` asks the questions, ``examine.py`` holds scores against them, ``audit.py`` runs all
judges, ``page.py`` writes the report.  Everything is about p, the safety score: 1 is safe.  A risk
is 1 - p.  N frames, E episodes, B resamples.
"""

from __future__ import annotations

from .audit import Findings, audit
from .candidates import Candidate
from .config import AuditConfig
from .drives import Source
from .page import write_audit
from .record import failed_audit, warn_of_failed_audit, write_verdicts
from .results import Audit, JudgeAudit, PromptPair
from .verdict import VERDICTS, interval, passed

__all__ = [
    "VERDICTS",
    "Audit",
    "AuditConfig",
    "Candidate",
    "Findings",
    "JudgeAudit",
    "PromptPair",
    "Source",
    "audit",
    "failed_audit",
    "interval",
    "passed",
    "warn_of_failed_audit",
    "write_audit",
    "write_verdicts",
]
