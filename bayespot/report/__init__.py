"""The report of a run: ``report.json`` and one self-contained ``report.html``."""

from bayespot.report.page import write

__all__ = ["write"]
