import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezekit.preprocess import MAX_SIDE, Fit, Preprocess

sides = st.integers(1, 300)


def test_defaults_are_the_inputs_own_size():
    preprocess = Preprocess(96, 64)
    assert (preprocess.resize_height, preprocess.resize_width) == (96, 64)
    assert preprocess.crop_offset == (0, 0)
    assert preprocess.fit is Fit.SQUASH


@given(sides, sides, st.integers(0, 100), st.integers(0, 100), st.sampled_from(Fit))
def test_json_round_trip(height, width, more_rows, more_columns, fit):
    preprocess = Preprocess(height, width, height + more_rows, width + more_columns, fit)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@given(sides, sides, st.integers(0, 100), st.integers(0, 100))
def test_the_crop_lies_in_the_middle(height, width, more_rows, more_columns):
    top, left = Preprocess(height, width, height + more_rows, width + more_columns).crop_offset
    assert 0 <= more_rows - 2 * top <= 1
    assert 0 <= more_columns - 2 * left <= 1


@given(sides, sides, st.integers(1, 5000), st.integers(1, 5000))
def test_squash_takes_the_whole_picture(height, width, rows, columns):
    assert Preprocess(height, width).source_box(rows, columns) == (0, 0, rows, columns)


@given(sides, sides, st.integers(1, 5000), st.integers(1, 5000))
def test_cover_takes_the_largest_box_of_the_targets_shape(height, width, picture_rows, picture_columns):
    preprocess = Preprocess(height, width, fit=Fit.COVER)
    top, left, rows, columns = preprocess.source_box(picture_rows, picture_columns)
    assert rows == picture_rows or columns == picture_columns
    assert 1 <= rows <= picture_rows
    assert 1 <= columns <= picture_columns
    assert 0 <= picture_rows - rows - 2 * top <= 1
    assert 0 <= picture_columns - columns - 2 * left <= 1
    # The shape is the target's to within half a pixel of the shorter way, or a single pixel.
    exact_rows, exact_columns = columns * height / width, rows * width / height
    assert abs(rows - exact_rows) <= 0.5 or abs(columns - exact_columns) <= 0.5 or 1 in (rows, columns)


@pytest.mark.parametrize(
    "arguments",
    [(0, 5), (5, -1), (5, MAX_SIDE + 1), (5.0, 5), (True, 5), ("5", 5), (5, 5, -1, 5), (5, 5, 5, 4.5)],
)
def test_sides_out_of_range(arguments):
    with pytest.raises(ValueError, match=r"Expected a side in pixels.*Received: (resize_)?(height|width)="):
        Preprocess(*arguments)


@pytest.mark.parametrize("arguments", [(10, 10, 9, 10), (10, 10, 10, 9)])
def test_a_crop_larger_than_the_picture(arguments):
    with pytest.raises(ValueError, match="Expected a resize of at least"):
        Preprocess(*arguments)


def test_fields_missing_or_unknown():
    fields = Preprocess(5, 5).to_dict()
    with pytest.raises(ValueError, match="Expected the fields"):
        Preprocess.from_dict({**fields, "mean": 0})
    with pytest.raises(ValueError, match="Expected the fields"):
        Preprocess.from_dict({"height": 5})
    with pytest.raises(ValueError, match="spin"):
        Preprocess.from_dict({**fields, "fit": "spin"})


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Preprocess(5, 5).height = 6
