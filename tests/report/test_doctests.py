"""The examples in the docstrings of the whole room run."""

import doctest
import importlib
import pkgutil

import pytest

from squeezekit import report


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(report.__path__)])
def test_doctests(module):
    assert doctest.testmod(importlib.import_module(f"squeezekit.report.{module}")).failed == 0
