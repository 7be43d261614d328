"""The whole job from images to a table, and the page that shows it."""

from squeezekit.study.agenda import StudyPlan
from squeezekit.study.executors import Executor, InProcess, Task
from squeezekit.study.grid import FACTORS, Grid, grid_of
from squeezekit.study.measure import measure_file, wilson_interval
from squeezekit.study.plan import DEFAULT_RECIPE, Plan, choose_preprocess
from squeezekit.study.report import render
from squeezekit.study.run import dry_run, run_study
from squeezekit.study.sensitivity import read_sensitivity, recipe_from, sensitivity, strongest
from squeezekit.study.sensitivity_page import render_sensitivity
from squeezekit.study.squeeze import squeeze
from squeezekit.study.store import Store
from squeezekit.study.table import table
from squeezekit.study.workshop import Workshop, describe_run, describe_start, open_workshop

__all__ = [
    "DEFAULT_RECIPE",
    "FACTORS",
    "Executor",
    "Grid",
    "InProcess",
    "Plan",
    "Store",
    "StudyPlan",
    "Task",
    "Workshop",
    "choose_preprocess",
    "describe_run",
    "describe_start",
    "dry_run",
    "grid_of",
    "measure_file",
    "open_workshop",
    "read_sensitivity",
    "recipe_from",
    "render",
    "render_sensitivity",
    "run_study",
    "sensitivity",
    "squeeze",
    "strongest",
    "table",
    "wilson_interval",
]
