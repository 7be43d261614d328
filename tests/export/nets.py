"""Small classifiers with everything that is hard to export, and images of classes that they tell apart."""

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from keras import layers

SIDE = 24
CLASSES = 4


def fire_net(*, separable=False, batch_norm=True, side=SIDE, seed=0):
    """Convolution, pool, two fire modules with their concat, 1x1 classifier, mean, softmax."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((side, side, 3), name="image")
    x = layers.Rescaling(1 / 64, -2.0, name="scale")(image)
    x = block(layers.Conv2D(8, 3, strides=2, use_bias=not batch_norm, name="conv1"), x, batch_norm)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    for index in (2, 3):
        name = f"fire{index}"
        x = block(layers.Conv2D(4, 1, use_bias=not batch_norm, name=f"{name}_squeeze"), x, batch_norm)
        one = block(layers.Conv2D(8, 1, use_bias=not batch_norm, name=f"{name}_one"), x, batch_norm)
        if separable:
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        size = 1 if separable else 3
        three = layers.Conv2D(8, size, padding="same", use_bias=not batch_norm, name=f"{name}_three")
        x = layers.Concatenate(name=f"{name}_concat")([one, block(three, x, batch_norm)])
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Conv2D(CLASSES, 1, name="last")(x))
    return fitted(keras.Model(image, layers.Softmax(name="probabilities")(x), name="fire_net"), seed)


def dense_net(*, seed=0):
    """Padded convolution (so that scaling stays a step of its own), hidden layer, classifier."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Rescaling(1 / 64, -2.0, name="scale")(image)
    x = layers.Conv2D(6, 5, strides=4, padding="same", activation="relu", name="conv1")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    x = layers.Dense(CLASSES, name="last")(x)
    return fitted(keras.Model(image, layers.Softmax(name="probabilities")(x), name="dense_net"), seed)


def block(convolution, x, batch_norm):
    x = convolution(x)
    if batch_norm:
        x = layers.BatchNormalization(momentum=0.0, name=f"{convolution.name}_norm")(x)
    return layers.ReLU(name=f"{convolution.name}_relu")(x)


def fitted(model, seed):
    """The model with BatchNorm statistics of its own, and a last layer fitted to the classes of `pictures`."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            channels = layer.gamma.shape[0]
            layer.gamma.assign(random.uniform(0.5, 1.5, channels))
            layer.beta.assign(random.normal(0.5, 0.3, channels))
    model(pictures(100, seed=98), training=True)
    # The last layer is linear and the mean after it too, so ridge regression on mean features fits it.
    last = model.get_layer("last")
    features = keras.Model(model.input, last.input)(pictures(200, seed=99)).numpy()
    features = features.reshape(len(features), -1, features.shape[-1]).mean(axis=1)
    middle = features.mean(axis=0)
    spread = (features - middle).T @ (features - middle)
    ridge = 1e-2 * np.trace(spread) / len(spread) * np.eye(len(spread))
    wanted = 10 * (np.eye(CLASSES)[np.arange(200) % CLASSES] - 1 / CLASSES)
    kernel = np.linalg.solve(spread + ridge, (features - middle).T @ wanted)
    last.set_weights([kernel.reshape(last.kernel.shape), -middle @ kernel])
    return model


def pictures(count, *, seed=0, side=SIDE):
    """Gradients with a disc; picture i is of class i % 4: reddish, greenish, bluish or grey.

    Returns float32 (count, side, side, 3), whole numbers in [0, 255].
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    made = np.empty((count, side, side, 3), np.float32)
    for index, picture in enumerate(made):
        slope = random.normal(0, 60, (2, 1))
        colour = random.uniform(90, 130) + 70 * (np.arange(3) == index % CLASSES)
        picture[:] = colour + (rows[..., None] - 0.5) * slope[0] + (columns[..., None] - 0.5) * slope[1]
        row, column, radius = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.1, 0.3)
        picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] += random.uniform(-60, 60)
    return np.clip(np.round(made + random.normal(0, 6, made.shape)), 0, 255)


def run(tflite, images):
    """Probabilities of LiteRT itself, dequantized: float32 (count, classes)."""
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for image in images:
        interpreter.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"])[0])
    outputs = np.stack(outputs).astype(np.float32)
    if result["dtype"] is np.uint8:
        scale, zero_point = result["quantization"]
        outputs = (outputs - zero_point) * np.float32(scale)
    return outputs
