"""One made-up study, its findings and its page for all tests of this folder: nobody changes them."""

import pytest
from page_reader import Reader

import study_store
from squeezekit.experiment import Results
from squeezekit.report import figures, render_study, study_findings


@pytest.fixture(scope="session")
def results():
    rows = study_store.rows()
    return Results(rows, study_store.common(rows), [])


@pytest.fixture(scope="session")
def found(results):
    return study_findings(results)


@pytest.fixture(scope="session")
def page(results, found):
    return render_study(results, found)


@pytest.fixture(scope="session")
def reader(page):
    return Reader(page)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are put together but not drawn, which takes most of a page's time and reads nothing of the record."""
    made = b'<?xml version="1.0"?><svg width="1pt"></svg>'
    monkeypatch.setattr(figures, "written", lambda figure, kind: made)
