"""Whole nets: the same function builds and trains a model with Keras and with cnnlib.

From the same weights and batches the loss of each of the first 20 steps agrees to 1e-3.
"""

import keras
import numpy as np
import pytest
from keras_reference import assert_close

import cnnlib

STEPS, BATCH = 20, 8
SIZE, CLASSES = 10, 4


def images(seed=0, count=STEPS * BATCH):
    """Noise with a bar whose place is the label: something to learn."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, SIZE, SIZE, 1), dtype="float32") * 0.5
    labels = rng.integers(0, CLASSES, count)
    for picture, label in zip(x, labels, strict=True):
        picture[:, 2 * label + 1] += 0.5
    return x, labels


# --- The models: each function knows one library only, as `keras` ---------------------------------


def net_a(keras):
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            keras.layers.Conv2D(6, 5, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def lenet(keras):
    model = keras.models.Sequential(name="lenet")
    model.add(keras.layers.Input(shape=(SIZE, SIZE, 1)))
    model.add(keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="c1"))
    model.add(keras.layers.AveragePooling2D((2, 2)))
    model.add(keras.layers.Conv2D(6, 3, activation="tanh", kernel_initializer="he_normal"))
    model.add(keras.layers.MaxPooling2D(pool_size=2, strides=1, padding="same"))
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(10, activation="gelu"))
    model.add(keras.layers.Dense(CLASSES))
    return model


def normalized(keras):
    l2 = keras.regularizers.L2
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            keras.layers.ZeroPadding2D(1),
            keras.layers.Conv2D(4, 3, strides=2, use_bias=False, kernel_regularizer=l2(1e-2)),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.LeakyReLU(),
            keras.layers.Dropout(0.0),
            keras.layers.Conv2D(4, 2, groups=2, bias_regularizer="l2"),
            keras.layers.LayerNormalization(),
            keras.layers.Activation("softplus"),
            keras.layers.GlobalAveragePooling2D(),
            # A bias under a BatchNormalization has no effect: its gradient is rounding noise.
            keras.layers.Dense(CLASSES, use_bias=False, kernel_regularizer=l2(0.05)),
            keras.layers.BatchNormalization(gamma_regularizer=l2(0.1)),
            keras.layers.Softmax(),
        ]
    )


def one_output(keras):
    return keras.Sequential(
        [
            keras.layers.Input((SIZE, SIZE, 1)),
            keras.layers.Conv2D(3, 3, activation="elu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Reshape((3,)),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def train(keras, build, weights=None, optimizer="adam", options=None, **arguments):
    """Build, compile and fit; what is left is everything that one may want to compare."""

    class Record(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.means = []

        def on_train_batch_end(self, batch, logs=None):
            self.means.append(logs["loss"])

        def losses(self):
            """Loss of each batch, from the means of the epoch so far."""
            sums = np.array(self.means) * np.arange(1, len(self.means) + 1)
            return np.diff(sums, prepend=0.0)

    model = build(keras)
    chosen = make_optimizer(keras, optimizer, **(options or {}))
    model.compile(optimizer=chosen, **compile_options(keras, build))
    if weights is not None:
        model.set_weights(weights)
    record = Record()
    x, y = images()
    arguments = {"batch_size": BATCH, "epochs": 1, "shuffle": False, **arguments}
    if build is one_output:
        y = y % 2
    history = model.fit(x, y, verbose=0, callbacks=[record], **arguments)
    x, y = images(seed=1, count=20)
    if build is one_output:
        y = y % 2
    report = model.evaluate(x, y, batch_size=20, verbose=0, return_dict=True)
    return {
        "losses": record.losses(),
        "history": history.history,
        "report": report,
        "predictions": model.predict(x, batch_size=20, verbose=0),
        "weights": model.get_weights(),
    }


def make_optimizer(keras, name, learning_rate=None, **options):
    """By its name, or with a schedule where a tuple is given."""
    if learning_rate is None:
        return name
    if isinstance(learning_rate, tuple):
        learning_rate = keras.optimizers.schedules.CosineDecay(*learning_rate)
    return getattr(keras.optimizers, name)(learning_rate=learning_rate, **options)


def compile_options(keras, build):
    if build is lenet:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return {"loss": loss, "metrics": ["sparse_categorical_accuracy"]}
    if build is one_output:
        return {"loss": "binary_crossentropy", "metrics": ["accuracy", "mse"]}
    return {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


WEIGHTS = np.random.default_rng(5).random(STEPS * BATCH).astype("float32") * 2
RUNS = {
    "net A, Adam, validation data": (net_a, {"validation_data": images(seed=2, count=24)}),
    "LeNet, SGD with momentum, sample weights": (
        lenet,
        {
            "optimizer": "SGD",
            "options": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
            "sample_weight": WEIGHTS,
            "validation_data": (*images(seed=2, count=24), WEIGHTS[:24]),
        },
    ),
    "normalized net, RMSprop, class weights": (
        normalized,
        {
            "optimizer": "RMSprop",
            "options": {"learning_rate": 0.005, "momentum": 0.5},
            "class_weight": {0: 0.5, 2: 3.0},
        },
    ),
    "one output, Adagrad with a schedule, validation split, three epochs": (
        one_output,
        {
            "optimizer": "Adagrad",
            "options": {"learning_rate": (0.05, 40)},
            "validation_split": 0.2,
            "epochs": 3,
            "batch_size": 12,  # the last batch is smaller
        },
    ),
}


@pytest.mark.parametrize("run", RUNS)
def test_the_same_function_trains_the_same_with_both_libraries(run):
    build, arguments = RUNS[run]
    cnnlib.utils.set_random_seed(3)
    weights = build(cnnlib).get_weights()
    expected = train(keras, build, weights, **arguments)
    received = train(cnnlib, build, weights, **arguments)

    assert_close(received["losses"], expected["losses"], 1e-3, what="loss of each step")
    assert np.ptp(received["losses"][:STEPS]) > 0.01  # something was learned
    assert set(received["history"]) == set(expected["history"])
    for key, values in expected["history"].items():
        # Accuracies are counts: one image at the border between two classes may fall either way.
        slack = 0.06 if "acc" in key else 1e-3
        assert_close(received["history"][key], values, slack, what=key)
    assert set(received["report"]) == set(expected["report"])
    assert_close(received["report"]["loss"], expected["report"]["loss"], 1e-3, what="evaluate")
    assert_close(received["predictions"], expected["predictions"], 1e-3, what="predict")
    for ours, theirs in zip(received["weights"], expected["weights"], strict=True):
        assert_close(ours, theirs, 5e-3, what="weights")


@pytest.mark.parametrize("build", [normalized, one_output])
def test_evaluate_with_weights_and_a_smaller_last_batch(build):
    ours, theirs = build(cnnlib), build(keras)
    theirs.set_weights(ours.get_weights())
    x, labels = images(seed=4, count=20)
    for model, library in ((ours, cnnlib), (theirs, keras)):
        model.compile("sgd", **compile_options(library, build))
    # Keras averages over batches of unequal size by their number of examples, as cnnlib does.
    options = {"sample_weight": WEIGHTS[:20], "verbose": 0, "return_dict": True}
    received = ours.evaluate(x, labels % 2, batch_size=12, **options)
    expected = theirs.evaluate(x, labels % 2, batch_size=12, **options)
    assert set(received) == set(expected)
    for key, value in expected.items():
        assert_close(received[key], value, 1e-4, what=key)
    listed = ours.evaluate(x, labels % 2, verbose=0)
    assert len(listed) == len(received)
    assert_close(listed, theirs.evaluate(x, labels % 2, verbose=0), 1e-4)


def test_weights_travel_both_ways():
    ours, theirs = normalized(cnnlib), normalized(keras)
    rng = np.random.default_rng(6)
    weights = [rng.random(w.shape, dtype="float32") + 0.1 for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(theirs.get_weights())
    x, _ = images(count=BATCH)
    assert_close(ours.predict(x), theirs.predict(x, verbose=0), what="Keras to cnnlib")
    ours.set_weights([w + 0.1 for w in weights])
    theirs.set_weights(ours.get_weights())
    assert_close(ours.predict(x), theirs.predict(x, verbose=0), what="cnnlib to Keras")


@pytest.mark.parametrize("build", [net_a, lenet, normalized, one_output])
def test_shapes_names_and_numbers_of_parameters_agree(build):
    ours, theirs = build(cnnlib), build(keras)
    assert ours.count_params() == theirs.count_params()
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape
    assert [type(layer).__name__ for layer in ours.layers] == [
        type(layer).__name__ for layer in theirs.layers
    ]
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
