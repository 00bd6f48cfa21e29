"""The report: one self-contained HTML page with pictures, that works in light and dark and asks nothing of a
network.
"""

from codecrig.report.page import Figure, PositionSeries, Report, RunReport, TimedEvent, render_report

__all__ = ["Figure", "PositionSeries", "Report", "RunReport", "TimedEvent", "render_report"]
