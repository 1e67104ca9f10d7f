"""Can a judge be trusted? Its scores against what the simulator knows to have happened.

``truth.py`` asks the questions, ``examine.py`` holds scores against them, ``audit.py`` runs all
judges, ``page.py`` writes the report.  Everything is about p, the safety score: 1 is safe.  A risk
is 1 - p.  N frames, E episodes, B resamples.
"""

from __future__ import annotations

from vlsafe_agents.audit.audit import Findings, audit
from vlsafe_agents.audit.candidates import Candidate
from vlsafe_agents.audit.config import AuditConfig
from vlsafe_agents.audit.drives import Source
from vlsafe_agents.audit.page import write_audit
from vlsafe_agents.audit.record import failed_audit, warn_of_failed_audit, write_verdicts
from vlsafe_agents.audit.results import Audit, JudgeAudit, PromptPair
from vlsafe_agents.audit.verdict import VERDICTS, interval, passed

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
