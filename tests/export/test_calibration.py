import numpy as np
import pytest
from PIL import Image

from squeezekit.data import open_dataset
from squeezekit.export import calibration_batches
from squeezekit.preprocess import Preprocess

from . import nets


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for index, picture in enumerate(nets.pictures(40).astype(np.uint8)):
        (root / "ab"[index % 2]).mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / "ab"[index % 2] / f"{index}.png")
    return open_dataset(root).train


def test_a_seed_chooses_a_few_images(train):
    preprocess = Preprocess(16, 20)

    def read(**options):
        return list(calibration_batches(train, preprocess, batch_size=4, **options))

    few = read(images=10, seed=1)
    assert [batch.shape for batch in few] == [(4, 16, 20, 3), (4, 16, 20, 3), (2, 16, 20, 3)]
    assert few[0].dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(few), np.concatenate(read(images=10, seed=1)))
    assert not np.array_equal(np.concatenate(few), np.concatenate(read(images=10, seed=2)))
    assert sum(map(len, read(images=1000))) == len(train)
    with pytest.raises(ValueError, match="at least one"):
        read(images=0)
