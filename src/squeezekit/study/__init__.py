"""The whole job from images to a table, and the page that shows it."""

from squeezekit.study.agenda import StudyPlan
from squeezekit.study.effects import full_rows
from squeezekit.study.executors import Executor, InProcess, Task
from squeezekit.study.findings import Findings, study_findings, summary
from squeezekit.study.grid import FACTORS, Grid, grid_of
from squeezekit.study.measure import measure_file, wilson_interval
from squeezekit.study.pictures import pictures_of
from squeezekit.study.plan import DEFAULT_RECIPE, Plan, choose_preprocess
from squeezekit.study.report import render
from squeezekit.study.results import Results, disagreement, read_results, write_csv, write_json
from squeezekit.study.run import dry_run, run_study
from squeezekit.study.sensitivity import read_sensitivity, recipe_from, sensitivity, strongest
from squeezekit.study.sensitivity_page import render_sensitivity
from squeezekit.study.squeeze import squeeze
from squeezekit.study.store import Store
from squeezekit.study.study_page import effects_svg, pareto_svg, render_study, report_study, write_report
from squeezekit.study.table import table
from squeezekit.study.workshop import Workshop, describe_run, describe_start, open_workshop

__all__ = [
    "DEFAULT_RECIPE",
    "FACTORS",
    "Executor",
    "Findings",
    "Grid",
    "InProcess",
    "Plan",
    "Results",
    "Store",
    "StudyPlan",
    "Task",
    "Workshop",
    "choose_preprocess",
    "describe_run",
    "describe_start",
    "disagreement",
    "dry_run",
    "effects_svg",
    "full_rows",
    "grid_of",
    "measure_file",
    "open_workshop",
    "pareto_svg",
    "pictures_of",
    "read_results",
    "read_sensitivity",
    "recipe_from",
    "render",
    "render_sensitivity",
    "render_study",
    "report_study",
    "run_study",
    "sensitivity",
    "squeeze",
    "strongest",
    "study_findings",
    "summary",
    "table",
    "wilson_interval",
    "write_csv",
    "write_json",
    "write_report",
]
