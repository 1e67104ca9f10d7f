"""What the HTML pages of audits and of runs share: charts as SVG, templates, style, escaping."""

import math

ABSENT = "\u2013"  # stands where there is no value

__all__ = ["ABSENT", "decimal"]


def decimal(value: float) -> str:
    """Two decimals, without a sign before zero; a dash for what is no number."""
    return f"{value:.2f}".replace("-0.00", "0.00") if math.isfinite(value) else ABSENT
