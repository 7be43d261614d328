"""The whole job from images to a table, and the page that shows it."""

from squeezekit.study.measure import measure_file, wilson_interval
from squeezekit.study.plan import DEFAULT_RECIPE, Plan, choose_preprocess
from squeezekit.study.report import render
from squeezekit.study.sensitivity import read_sensitivity, recipe_from, sensitivity, strongest
from squeezekit.study.sensitivity_page import render_sensitivity
from squeezekit.study.squeeze import squeeze
from squeezekit.study.table import table
from squeezekit.study.workshop import Workshop, describe_run, describe_start, open_workshop

__all__ = [
    "DEFAULT_RECIPE",
    "Plan",
    "Workshop",
    "choose_preprocess",
    "describe_run",
    "describe_start",
    "measure_file",
    "open_workshop",
    "read_sensitivity",
    "recipe_from",
    "render",
    "render_sensitivity",
    "sensitivity",
    "squeeze",
    "strongest",
    "table",
    "wilson_interval",
]
