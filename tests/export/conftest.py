import pytest

from squeezekit import export

from . import nets


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Each small network exported once per way: exported("fire", calibration=...) -> (model, bytes)."""
    builders = {
        "fire": nets.fire_net,
        "separable": lambda: nets.fire_net(separable=True),
        "dense": nets.dense_net,
    }
    models, done = {}, {}

    def get(name, *, integer=False, per_channel=False):
        key = (name, integer, per_channel)
        if name not in models:
            models[name] = builders[name]()
        if key not in done:
            path = tmp_path_factory.mktemp("exported") / "network.tflite"
            calibration = [nets.pictures(48, seed=7)] if integer else None
            export.litert(
                models[name],
                path,
                calibration=calibration,
                labels=["ant", "bee", "çat", "犬"],
                provenance={"recipe": "prune(0.5)"},
                per_channel=per_channel,
            )
            done[key] = path.read_bytes()
        return models[name], done[key]

    return get
