"""A teacher's logits guide the student: the paper's formula, on every backend, with exact resumes."""

import keras
import numpy as np
import pytest

from squeezekit import compress, training
from squeezekit.training.checkpoint import Checkpoint
from squeezekit.training.distil import Distiller, soft_divergence


def net(seed, width=8):
    """A network with state besides weights: BatchNorm's and Dropout's."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(pixels)
    x = keras.layers.Conv2D(width, 3, strides=2, use_bias=False, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Dense(2, name="classes")(x)
    return keras.Model(pixels, keras.layers.Softmax(dtype="float32")(x))


def softmax(logits, temperature=1.0):
    powers = np.exp(logits / temperature - np.max(logits / temperature, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def papers_loss(teacher, student, labels, temperature, weight):
    """Section 2, in float64, from logits: soft targets, and the hard ones with smoothing 0."""
    p, q = softmax(teacher, temperature), softmax(student, temperature)
    soft = temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=-1).mean()
    hard = -np.log(softmax(student)[np.arange(len(labels)), labels]).mean()
    return (1 - weight) * hard + weight * soft


def logits_net(logits):
    """Ignores its input but for a factor of zero: its logits are these, row by row, and can be trained."""
    rows, classes = logits.shape
    net = keras.Sequential(
        [keras.Input((rows,)), keras.layers.Dense(classes, use_bias=False), keras.layers.Softmax()]
    )
    net.layers[0].set_weights([logits.astype("float32")])
    return net


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_and_gradient_are_the_papers(temperature):
    random = np.random.default_rng(0)
    teacher, student = random.normal(0, 6, (2, 5, 7))
    labels, weight = random.integers(0, 7, 5), 0.7
    both = Distiller(logits_net(student), training.Distil(logits_net(teacher), temperature, weight))
    both.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    # One row of the identity chooses one row of logits, so a step of SGD shows the gradient.
    history = both.fit(np.eye(5, dtype="float32"), labels, batch_size=5, verbose=0)
    expected = papers_loss(teacher, student, labels, temperature, weight)
    np.testing.assert_allclose(history.history["loss"], expected, rtol=2e-5)
    # d(soft)/d(logit) = T (q - p), equation 2 times T^2; d(hard) = q - onehot.
    soft = temperature * (softmax(student, temperature) - softmax(teacher, temperature))
    hard = softmax(student) - np.eye(7)[labels]
    moved = student - both.student.get_weights()[0]
    np.testing.assert_allclose(moved, (weight * soft + (1 - weight) * hard) / 5, atol=2e-5)
    np.testing.assert_array_equal(both.teacher.get_weights()[0], teacher.astype("float32"))


def test_a_class_that_the_teacher_rules_out_gives_finite_losses():
    sure, other = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.5, 0.5]])
    losses = soft_divergence(sure, other, 1.0), soft_divergence(sure, sure, 4.0)
    assert np.isfinite(losses[0]).all()
    assert float(losses[0][0]) > 60
    assert abs(float(losses[1][0])) < 1e-6


def test_validation_is_of_the_student_alone():
    random = np.random.default_rng(0)
    teacher, student = random.normal(0, 3, (2, 5, 7))
    labels = random.integers(0, 7, 5)
    both = Distiller(logits_net(student), training.Distil(logits_net(teacher)))
    both.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = both.evaluate(np.eye(5, dtype="float32"), labels, verbose=0)
    assert loss == pytest.approx(papers_loss(teacher, student, labels, 1.0, 0.0), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(student.argmax(axis=1) == labels))


def test_a_teacher_joins_techniques_in_compiled_steps():
    teacher = net(1, width=16)
    student = compress.apply(net(0), "prune(0.5, schedule='constant', smallest=0) | share(3) | quantize(8)")
    before, frozen = student.get_weights(), teacher.get_weights()
    both = Distiller(student, training.Distil(teacher))
    both.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=True)
    x = np.random.default_rng(0).uniform(0, 255, (16, 32, 32, 3)).astype("float32")
    both.fit(x, np.arange(16) % 2, batch_size=8, epochs=2, verbose=0)
    assert compress.invariant_violations(student) == []
    assert not all(map(np.array_equal, before, student.get_weights()))
    # The teacher does not learn; its BatchNorm statistics stay too.
    np.testing.assert_equal(frozen, both.teacher.get_weights())
    assert len(both.trainable_variables) == len(student.trainable_variables)


def fit(stripes, small, folder, distil, precision="float32"):
    model = net(0)
    settings = training.Settings(epochs=2, batch_size=16, precision=training.Precision(precision))
    history = training.fit(model, stripes, small, settings, folder=folder, name="net", distil=distil)
    return model, history


def test_a_resumed_distillation_ends_bitwise_the_same(stripes, small, tmp_path, killed_at):
    teacher = net(1, width=64)
    whole, history = fit(stripes, small, tmp_path / "whole", training.Distil(teacher))
    plain, _ = fit(stripes, small, tmp_path / "plain", None)
    assert not np.array_equal(whole.get_weights()[0], plain.get_weights()[0]), "the teacher had no effect"
    with killed_at(1):
        fit(stripes, small, tmp_path / "broken", training.Distil(teacher))
    # The checkpoint holds student and optimizer; only the teacher has 64 channels.
    values = Checkpoint.load(tmp_path / "broken" / "net.checkpoint.npz").values
    assert not any(64 in value.shape for value in values)
    resumed, rest = fit(stripes, small, tmp_path / "broken", training.Distil(teacher))
    assert rest.resumed_at == 1
    assert rest.curves == history.curves
    np.testing.assert_equal(whole.get_weights(), resumed.get_weights())


def test_another_teacher_or_temperature_is_another_training(stripes, small, tmp_path):
    fit(stripes, small, tmp_path, training.Distil(net(1)))
    for other in (training.Distil(net(2)), training.Distil(net(1), temperature=2.0), None):
        with pytest.raises(ValueError, match="other distil"):
            fit(stripes, small, tmp_path, other)


def test_bfloat16_is_undone_in_student_and_teacher(stripes, small, tmp_path):
    distil = training.Distil(net(1))
    model, history = fit(stripes, small, tmp_path, distil, "bfloat16")
    assert history.precision == "bfloat16"
    assert np.isfinite([epoch["loss"] for epoch in history.curves]).all()
    for network in (model, distil.teacher):
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}


def test_a_recipe_is_taught_by_the_network_before_it(stripes, small, tmp_path):
    model = net(0)
    settings = training.Settings(epochs=1, batch_size=16, precision=training.Precision.FLOAT32)
    recipe = compress.parse("prune(0.5, smallest=0) | share(bits=3)")
    done = training.compress_in_stages(
        model, recipe, stripes, small, settings, folder=tmp_path, distil=training.Distil(model)
    )
    assert len(done.stages) == 2
    assert np.unique(done.model.get_layer("conv").get_weights()[0]).size <= 8
    np.testing.assert_equal(net(0).get_weights(), model.get_weights())


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0}, {"temperature": float("nan")}, {"weight": 1.1}, {"weight": -0.1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        training.Distil(net(1), **wrong)


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="output_shape"):
        Distiller(logits_net(np.zeros((3, 2))), training.Distil(logits_net(np.zeros((3, 4)))))
