"""What the HTML pages of audits and of runs share: charts as SVG, templates, style, escaping."""

ABSENT = "\u2013"  # stands where there is no value

__all__ = ["ABSENT"]
