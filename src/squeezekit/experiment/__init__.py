"""Experiments: train by recipes, measure the files that ship, keep every row."""

from squeezekit.experiment.executors import Executor, InProcess, Task
from squeezekit.experiment.experiment import Experiment, choose_preprocess
from squeezekit.experiment.grid import (
    DEFAULT_MODEL,
    DEFAULT_RECIPE,
    UNPACKED,
    Line,
    factor_names,
    grid,
    recipe_lines,
    reference_level,
    squeeze_lines,
)
from squeezekit.experiment.measure_rows import wilson_interval
from squeezekit.experiment.plan import Plan, Site, make_plan
from squeezekit.experiment.results import Results, read_results
from squeezekit.experiment.row_store import Store, file_bytes, full_rows, is_uncompressed, reference_row
from squeezekit.experiment.runner import dry_run, run, run_study
from squeezekit.experiment.sensitivity import (
    default_grid,
    read_sensitivity,
    recipe_from,
    sensitivity,
    strongest,
)

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_RECIPE",
    "UNPACKED",
    "Executor",
    "Experiment",
    "InProcess",
    "Line",
    "Plan",
    "Results",
    "Site",
    "Store",
    "Task",
    "choose_preprocess",
    "default_grid",
    "dry_run",
    "factor_names",
    "file_bytes",
    "full_rows",
    "grid",
    "is_uncompressed",
    "make_plan",
    "read_results",
    "read_sensitivity",
    "recipe_from",
    "recipe_lines",
    "reference_level",
    "reference_row",
    "run",
    "run_study",
    "sensitivity",
    "squeeze_lines",
    "strongest",
    "wilson_interval",
]
