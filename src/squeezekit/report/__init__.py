"""Reports: effects, findings, tables, figures and the page of an experiment."""

from squeezekit.report.findings import Findings, study_findings, summary
from squeezekit.report.page import render, render_sensitivity, render_study, report_study, write_report
from squeezekit.report.tables import churn, write_csv, write_json
from squeezekit.report.text import table

__all__ = [
    "Findings",
    "churn",
    "render",
    "render_sensitivity",
    "render_study",
    "report_study",
    "study_findings",
    "summary",
    "table",
    "write_csv",
    "write_json",
    "write_report",
]
