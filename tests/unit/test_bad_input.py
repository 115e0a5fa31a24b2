"""Bad input: a sentence with what was expected, received and what to do; nothing is lost."""

import numpy as np
import pytest

import cnnlib
from cnnlib import (
    activations,
    callbacks,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    utils,
)
from cnnlib.optimizers import schedules

NAN, INF = float("nan"), float("inf")


def images(count=20, size=8, channels=1):
    return np.random.default_rng(0).random((count, size, size, channels), dtype=np.float32)


LABELS = np.arange(20) % 3


def make(loss="sparse_categorical_crossentropy", first=None, outputs=3, activation="softmax"):
    cnnlib.utils.set_random_seed(0)
    first = layers.Conv2D(2, 3) if first is None else first
    model = cnnlib.Sequential(
        [
            cnnlib.Input((8, 8, 1)),
            first,
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(outputs, activation=activation),
        ]
    )
    model.compile("adam", loss, metrics=["accuracy"])
    return model


class Untouched:
    """Within this block an error is expected, and the model must be as before after it."""

    def __init__(self, model, error, message):
        self.model, self.expected = model, pytest.raises(error, match=message)

    def __enter__(self):
        self.weights = self.model.get_weights() if self.model.built else None
        self.steps = self.model.optimizer.iterations
        self.config = self.model.get_config()
        return self.expected.__enter__()

    def __exit__(self, *error):
        caught = self.expected.__exit__(*error)
        if self.weights is None:
            assert not any(layer.built for layer in self.model.layers)
        else:
            for a, b in zip(self.weights, self.model.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
        assert self.model.optimizer.iterations == self.steps
        assert self.model.optimizer.slots == {}
        assert self.model.get_config() == self.config
        return caught


def refuses_data(message, x=None, y=LABELS, error=ValueError, model=None, **options):
    """`fit` refuses, changes nothing, and trains afterwards as if nothing had been."""
    model = model or make()
    x = images() if x is None else x
    with Untouched(model, error, message):
        model.fit(x, y, **{"verbose": 0, **options})
    return model


# --- Shape of the data --------------------------------------------------------------------------


def test_images_without_a_channel_axis_get_the_hint():
    hint = (
        r"expects images: 4 axes.*Received 3 axes. Add the channel axis: x\[\.\.\., np\.newaxis\]"
    )
    model = refuses_data(hint, images()[..., 0])
    for call in (model.predict, lambda x: model.evaluate(x, LABELS)):
        with Untouched(model, ValueError, hint):
            call(images()[..., 0])
    with pytest.raises(ValueError, match=hint):
        cnnlib.Sequential([cnnlib.Input((8, 8)), layers.Conv2D(2, 3)])
    for layer in (layers.MaxPooling2D(), layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()):
        with pytest.raises(ValueError, match=hint):
            layer(images()[..., 0])
        assert not layer.built


@pytest.mark.parametrize(
    "shape", [(20,), (20, 64), (20, 8, 8, 3), (20, 7, 8, 1), (20, 8, 9, 1), (20, 8, 8, 1, 1)]
)
def test_another_shape_than_the_model_was_built_for(shape):
    x = np.zeros(shape)
    text = rf"Received( shape \(20,.*| {len(shape)} axes)"
    model = refuses_data(text, x)
    with Untouched(model, ValueError, text):
        model.predict(x)
    with Untouched(model, ValueError, text):
        model.fit(images(), LABELS, verbose=0, validation_data=(x, LABELS))


def test_the_wrong_number_of_channels_says_both():
    text = r"was built for inputs of shape \(None, 8, 8, 1\). Received shape \(20, 8, 8, 3\)"
    model = refuses_data(text, images(channels=3))
    with Untouched(model, ValueError, text):
        model(images(channels=3))
    with Untouched(model, ValueError, text):
        model.gradients(images(channels=3), LABELS)
    for layer in (layers.Dense(3), layers.BatchNormalization(), layers.LayerNormalization()):
        layer(np.zeros((2, 4)))
        before = layer.get_weights()
        with pytest.raises(ValueError, match=r"inputs of shape \(None, 4\). Received shape \(2, 5"):
            layer(np.zeros((2, 5)))
        for a, b in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("layer", "cells", "size"),
    [
        (lambda: layers.Conv2D(2, 9), "9 cells", 8),
        (lambda: layers.Conv2D(2, (1, 12)), "12 cells", 8),
        (lambda: layers.Conv2D(2, 4, dilation_rate=3), r"4 cells \(dilation 3: 10 wide\)", 8),
        (lambda: layers.MaxPooling2D(9), "9 cells", 8),
        (lambda: layers.AveragePooling2D((9, 1)), "9 cells", 8),
    ],
)
def test_a_window_larger_than_its_input(layer, cells, size):
    message = (
        rf"received images of 8 x 8: a window of {cells} does not fit into {size}. "
        "Use padding='same', a smaller window or a larger input"
    )
    with pytest.raises(ValueError, match=message):
        cnnlib.Sequential([cnnlib.Input((8, 8, 1)), layer()])
    lone = layer()
    with pytest.raises(ValueError, match=message):
        lone(images())
    assert not lone.built
    model = cnnlib.Sequential([layers.Conv2D(2, 1), layer(), layers.Flatten(), layers.Dense(3)])
    model.compile("adam", "mse")
    with Untouched(model, ValueError, message):
        model.fit(images(), np.zeros((20, 3)), verbose=0)


def test_a_window_may_be_larger_with_padding():
    assert layers.Conv2D(2, 9, padding="same")(images()).shape == (20, 8, 8, 2)
    assert layers.MaxPooling2D(9, padding="same")(images()).shape == (20, 1, 1, 1)


def test_x_and_y_of_different_lengths():
    text = "x and y must have the same length. Received 20 examples and 5 labels"
    model = refuses_data(text, y=LABELS[:5])
    for call in (model.evaluate, model.gradients):
        with Untouched(model, ValueError, text):
            call(images(), LABELS[:5])
    with Untouched(model, ValueError, text):
        model.fit(images(), LABELS, verbose=0, validation_data=(images(), LABELS[:5]))
    with pytest.raises(ValueError, match="received 1 labels for 2 predictions"):
        losses.SparseCategoricalCrossentropy()([0], [[0.5, 0.5], [0.5, 0.5]])


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (0,), (20, 0), ()])
def test_empty_data(shape):
    text = r"x: expected at least one example. Received shape \("
    model = refuses_data(text, np.zeros(shape), LABELS[:0])
    with Untouched(model, ValueError, text):
        model.predict(np.zeros(shape))
    with Untouched(model, ValueError, text):
        model.evaluate([], [])


# --- Numbers in the data ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_nan_and_infinity_are_counted_and_found(value):
    x = images()
    x[[4, 9], 2, 3] = value
    text = "x holds NaN or infinity in 2 of 20 examples, first in example 4. Repair or remove them"
    model = refuses_data(text, x)
    with Untouched(model, ValueError, text):
        model.predict(x)
    with Untouched(model, ValueError, text):
        model.evaluate(x, LABELS)
    with Untouched(model, ValueError, text):
        model.gradients(x, LABELS)
    with Untouched(model, ValueError, text):
        model.fit(images(), LABELS, verbose=0, validation_data=(x, LABELS))
    y = np.zeros((20, 3))
    y[7] = value
    refuses_data("y holds NaN or infinity in 1 of 20 examples, first in example 7", y=y,
                 model=make("mse"))  # fmt: skip
    weight = np.ones(20)
    weight[1] = value
    refuses_data("sample_weight holds NaN or infinity in 1 of 20", sample_weight=weight)
    refuses_data("class_weight holds NaN or infinity in", class_weight={0: value})


def test_opposite_infinities_do_not_hide_each_other():
    x = images()
    x[3, 0, 0], x[5, 0, 0] = INF, -INF
    refuses_data("NaN or infinity in 2 of 20 examples, first in example 3", x)


def test_finite_numbers_whose_sum_overflows_are_no_infinity():
    x = np.full((4, 2), 3e38, np.float32)
    model = cnnlib.Sequential([cnnlib.Input((2,)), layers.Dense(1, kernel_initializer="zeros")])
    assert (model.predict(x) == 0).all()
    half = np.full((9, 2), 60000, np.float16)
    assert (model.predict(half) == 0).all()


@pytest.mark.parametrize(
    ("x", "received"),
    [
        ("abc", "<U3"),
        (np.array(["a"] * 20), "<U1"),
        (images().astype(object), "object"),
        ((row for row in images()), "object"),
        ({"x": images()}, "object"),
        (images() * 1j, "complex64"),
        (np.zeros((20, 8, 8, 1), "M8[s]"), "datetime64"),
        (np.zeros(20, [("a", float)]), "'a'"),
        ([None] * 20, "object"),
        (object(), "object"),
        (b"abc", "S3"),
    ],
    ids=["text", "texts", "objects", "generator", "dict", "complex", "dates", "records", "Nones",
         "object", "bytes"],
)  # fmt: skip
def test_what_is_no_array_of_numbers(x, received):
    text = rf"x: expected an array of numbers. Received type .*{received}.*: convert it"
    model = refuses_data(text, x, error=TypeError)
    with Untouched(model, TypeError, text):
        model.predict(x)
    refuses_data(text.replace("x:", "y:", 1), y=x, error=TypeError)


def test_none_is_no_data():
    refuses_data("y: expected an array. Received: None", y=None)
    model = make()
    with Untouched(model, ValueError, "x: expected an array. Received: None"):
        model.fit(verbose=0)
    with Untouched(model, ValueError, "x: expected an array. Received: None"):
        model.predict(None)


def test_lists_of_unequal_length():
    text = "x: expected examples of one shape. Received parts of unequal length: make them equal"
    refuses_data(text, [[1.0, 2.0], [3.0]], [0, 1])
    refuses_data(text.replace("x:", "y:", 1), y=[[1.0, 2.0], [3.0]])


# --- Labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            LABELS + 1,
            "expects labels from 0 to 2, as there are 3 outputs. Received labels from 1 to 3",
        ),
        (LABELS - 1, "expects labels from 0 to 2.* Received labels from -1 to 1"),
        (LABELS + 0.5, "expects integer labels from 0 to 2. Received labels of type float64"),
        (LABELS > 0, "expects integer labels from 0 to 2. Received labels of type bool"),
        (np.eye(3)[LABELS], r"\(20, 3\).* For one-hot labels: categorical_crossentropy"),
        (LABELS[:, None, None], r"expects one integer label an example. .*\(20, 1, 1\)"),
        (np.full(20, 10**12), "Received labels from 1000000000000"),
    ],
)
def test_labels_of_the_wrong_form_for_the_sparse_loss(y, message):
    model = refuses_data("sparse_categorical_crossentropy .*" + message, y=y)
    with Untouched(model, ValueError, message):
        model.evaluate(images(), y)
    with Untouched(model, ValueError, message):
        model.gradients(images(), y)
    with Untouched(model, ValueError, message):
        model.fit(images(), LABELS, verbose=0, validation_data=(images(), y))


@pytest.mark.parametrize("y", [LABELS.astype("uint8"), LABELS.astype(float), LABELS[:, None]])
def test_labels_that_are_whole_numbers_of_any_type_will_do(y):
    one, two = make(), make()
    one.fit(images(), y, verbose=0)
    two.fit(images(), LABELS, verbose=0)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("categorical_crossentropy", LABELS, "integers: sparse_categorical_crossentropy"),
        ("categorical_crossentropy", np.eye(4)[LABELS], r"Received labels of shape \(20, 4\)"),
        ("categorical_crossentropy", -np.eye(3)[LABELS], "labels from 0 to 1. Received .*-1"),
        ("categorical_crossentropy", 255 * np.eye(3)[LABELS], "Received labels from 0.0 to 255"),
        ("binary_crossentropy", LABELS, r"\(20,\). For more than two classes: sparse_categorical"),
        ("binary_crossentropy", 2 * np.eye(3)[LABELS] - 1, "labels from 0 to 1. .*-1.0 to 1.0"),
        ("mse", LABELS, r"expects labels of the shape of the predictions.*\(20,\)"),
        ("mse", np.zeros((20, 2)), r"mean_squared_error expects .* shape \(20, 2\)"),
    ],
)
def test_labels_of_the_wrong_form_for_other_losses(loss, y, message):
    refuses_data(message, y=y, model=make(loss))


def test_a_binary_loss_refuses_minus_one():
    model = make("binary_crossentropy", outputs=1, activation="sigmoid")
    text = "binary_crossentropy expects labels from 0 to 1. Received labels from -1 to 1"
    refuses_data(text, y=np.where(LABELS > 0, 1, -1), model=model)
    model.fit(images(), LABELS > 0, verbose=0)  # True and False are 1 and 0


def test_a_metric_for_other_labels_is_refused():
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["categorical_accuracy"])
    refuses_data("categorical_accuracy expects labels of shape .*: integer labels go with sparse_",
                 model=model)  # fmt: skip
    model.compile("adam", "categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    refuses_data("one-hot labels with categorical_accuracy", y=np.eye(3)[LABELS], model=model)
    for metric in (metrics.SparseCategoricalAccuracy(), metrics.CategoricalAccuracy()):
        with pytest.raises(ValueError, match=f"{metric.name} expects labels of shape"):
            metric([0], [[0.5, 0.5], [0.5, 0.5]])


# --- Arguments of fit ---------------------------------------------------------------------------

FIT = [
    *[({"batch_size": v}, r"batch_size: expected a positive integer. Received: batch_size=")
      for v in (0, -1, 2.5, True, "8")],
    *[({"epochs": v}, "epochs: expected a positive integer. Received: epochs=")
      for v in (0, -1, 2.5, None, "3")],
    *[({"validation_split": v}, "validation_split: expected 0 or more, under 1. Received: ")
      for v in (1.0, 1, -0.1, 20, NAN, "0.2", None)],
    ({"validation_split": 0.99}, "validation_split=0.99 leaves none of 20 examples to train on"),
    *[({"validation_data": v}, r"validation_data: expected \(x, y\) or \(x, y, sample_weight\)")
      for v in (5, (1,), (1, 2, 3, 4), images(), "xy")],
    *[({"initial_epoch": v}, "initial_epoch: expected an integer of at least 0. Received: ")
      for v in (-1, 1.5, "1", None)],
    *[({"sample_weight": np.ones(s)}, r"one number an example, shape \(20,\). Received shape")
      for s in ((5,), (20, 1), (21,))],
    ({"sample_weight": 3}, "sample_weight: expected at least one example"),
    ({"class_weight": {0: 1.0, 7: 2.0}}, r"expected classes from 0 to 2. Received: \[7\]"),
    ({"class_weight": {"a": 1.0}}, r"expected classes from 0 to 2. Received: \['a'\]"),
    ({"class_weight": {0: 1.0}, "sample_weight": np.ones(20)}, "do not go together"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), FIT)
def test_bad_arguments_of_fit(options, message):
    refuses_data(message, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callbacks": [3]}, "callbacks: expected objects of cnnlib.callbacks.*Received: 3"),
        ({"callbacks": 3}, "callbacks: expected objects of cnnlib.callbacks.*Received: 3"),
        ({"callbacks": [callbacks.EarlyStopping]}, "Received: <class"),
        ({"callbacks": [print]}, "your own subclass of Callback"),
        ({"class_weight": [1.0, 2.0]}, r"expected a dict \{class: weight\}. Received: \[1.0"),
        ({"class_weight": {0: "heavy"}}, "class_weight: expected an array of numbers"),
        ({"sample_weight": ["a"] * 20}, "sample_weight: expected an array of numbers"),
        ({"executor": 4}, r"expected a concurrent.futures.Executor.*Received: 4"),
        ({"workers": 4}, "unexpected keyword argument 'workers'"),
    ],
)
def test_arguments_of_fit_of_the_wrong_type(options, message):
    refuses_data(message, error=TypeError, **options)


def test_after_any_refusal_training_goes_as_if_nothing_had_been():
    spoiled, fresh = make(), make()
    for options, message in FIT:
        refuses_data(message, model=spoiled, **options)
    for model in (spoiled, fresh):
        model.fit(images(), LABELS, epochs=2, verbose=0)
    for a, b in zip(spoiled.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# --- Names --------------------------------------------------------------------------------------


def compiled(**options):
    return make().compile(**{"optimizer": "adam", "loss": "mse", **options})


@pytest.mark.parametrize(
    ("make_it", "kind", "received", "meant"),
    [
        (lambda: layers.Dense(3, activation="rleu"), "activation", "rleu", "relu"),
        (lambda: layers.Conv2D(3, 3, activation="sofmax"), "activation", "sofmax", "softmax"),
        (lambda: layers.Activation("sigmiod"), "activation", "sigmiod", "sigmoid"),
        (lambda: activations.get("Relu"), "activation", "Relu", "relu"),
        (lambda: layers.Dense(3, kernel_initializer="he_norml"), "initializer", "he_norml",
         "he_normal"),
        (lambda: layers.Conv2D(3, 3, bias_initializer="zeroes"), "initializer", "zeroes", "zeros"),
        (lambda: layers.BatchNormalization(gamma_initializer="oness"), "initializer", "oness",
         "ones"),
        (lambda: layers.Dense(3, kernel_regularizer="l22"), "regularizer", "l22", "l2"),
        (lambda: compiled(optimizer="adma"), "optimizer", "adma", "adam"),
        (lambda: compiled(loss="sparse_categorical_crossentropi"), "loss",
         "sparse_categorical_crossentropi", "sparse_categorical_crossentropy"),
        (lambda: compiled(metrics=["acuracy"]), "metric", "acuracy", "accuracy"),
        (lambda: compiled(metrics="acuracy"), "metric", "acuracy", "accuracy"),
        (lambda: layers.Conv2D(3, 3, padding="smae"), "padding", "smae", "same"),
        (lambda: layers.MaxPooling2D(padding="vaild"), "padding", "vaild", "valid"),
        (lambda: layers.Dense(3, dtype="float16"), "float type of a layer", "float16", "float64"),
        (lambda: cnnlib.config.set_floatx("float23"), "float type", "float23", "float32"),
        (lambda: make().get_layer("dens"), "layer", "dens", "dense"),
        (lambda: losses.get("MSSE"), "loss", "MSSE", "MSE"),
    ],
)  # fmt: skip
def test_a_name_that_does_not_exist(make_it, kind, received, meant):
    message = rf"unknown {kind}: '{received}'. Did you mean '{meant}'\? Known: .*{meant}"
    with pytest.raises(ValueError, match=message):
        make_it()


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (
            lambda: layers.Conv2D(3, 3, padding="full"),
            "unknown padding: 'full'. Known: same, valid",
        ),
        (lambda: layers.Conv2D(3, 3, padding=1), "unknown padding: 1. Known: same, valid"),
        (lambda: layers.Conv2D(3, 3, padding=None), "unknown padding: None"),
        (lambda: losses.get("zzz"), "unknown loss: 'zzz'. Known: .*mse"),
        (lambda: losses.get({"class_name": 5}), "unknown loss: 5"),
    ],
)
def test_a_name_that_is_near_nothing(make_it, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_it()
    assert "Did you mean" not in str(caught.value)


def test_a_failed_compile_leaves_the_old_one():
    model = make()
    before = model.optimizer, model.loss, model.metrics, model.compile_arguments
    for options in (
        {"optimizer": "sgdd", "loss": "mse"},
        {"optimizer": "sgd", "loss": "msse"},
        {"optimizer": "sgd", "loss": "mse", "metrics": ["acuracy"]},
        {"optimizer": "sgd", "loss": "mse", "nonsense": 1},
    ):
        with pytest.raises(ValueError):
            model.compile(**options)
        assert (model.optimizer, model.loss, model.metrics, model.compile_arguments) == before
    model.fit(images(), LABELS, verbose=0)


def test_channels_first_is_refused_with_the_way_out():
    text = (
        r"\(batch, height, width, channels\): data_format='channels_last'. Received: "
        r"data_format='channels_first'. Move the axis with np.moveaxis\(x, 1, -1\)"
    )
    for make_it in (
        lambda **k: layers.Conv2D(3, 3, **k),
        layers.MaxPooling2D,
        layers.AveragePooling2D,
        layers.GlobalMaxPooling2D,
        layers.GlobalAveragePooling2D,
        layers.ZeroPadding2D,
        layers.Flatten,
    ):
        with pytest.raises(ValueError, match=text):
            make_it(data_format="channels_first")
        make_it(data_format="channels_last")


# --- Arguments of layers ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, None, "3", [3], NAN, np.float64(3)])
@pytest.mark.parametrize(
    ("argument", "make_it"),
    [
        ("filters", lambda v: layers.Conv2D(v, 3)),
        ("units", lambda v: layers.Dense(v)),
        ("groups", lambda v: layers.Conv2D(4, 3, groups=v)),
    ],
)
def test_counts_are_positive_integers(argument, make_it, bad):
    with pytest.raises(ValueError, match=f"{argument}: expected a positive integer. Received: "):
        make_it(bad)


@pytest.mark.parametrize(
    "bad", [0, -1, 2.5, True, "3", (3,), (3, 3, 3), (3, 0), (3, None), (True, 3), (), NAN]
)
@pytest.mark.parametrize(
    ("argument", "make_it"),
    [
        ("kernel_size", lambda v: layers.Conv2D(2, v)),
        ("strides", lambda v: layers.Conv2D(2, 3, strides=v)),
        ("dilation_rate", lambda v: layers.Conv2D(2, 3, dilation_rate=v)),
        ("pool_size", lambda v: layers.MaxPooling2D(v)),
        ("strides", lambda v: layers.AveragePooling2D(2, strides=v)),
    ],
)
def test_windows_are_one_or_two_positive_integers(argument, make_it, bad):
    text = rf"{argument}: expected an integer of at least 1, or two of them \(rows, columns\)"
    with pytest.raises(ValueError, match=text):
        make_it(bad)


def test_integers_of_numpy_are_integers():
    layer = layers.Conv2D(np.int64(2), np.int32(3), strides=(np.uint8(1), np.int64(2)))
    assert layer(images()).shape == (20, 6, 3, 2)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        *[(lambda v=v: layers.Dropout(v), f"from 0 to under 1. Received: rate={v!r}")
          for v in (1, 1.0, -0.1, "a", None, NAN, 2, True)],
        (lambda: layers.Dropout(0.5, noise_shape=(1,)), "does not support noise_shape"),
        (lambda: layers.Conv2D(4, 3, groups=3), "filters must be divisible by groups. .*groups=3"),
        (lambda: layers.Conv2D(4, 3, strides=2, dilation_rate=2), "do not go together .nor in K"),
        (lambda: layers.ZeroPadding2D(-1), "padding: expected an integer of at least 0"),
        (lambda: layers.ZeroPadding2D("same"), "padding: expected an integer of at least 0"),
        (lambda: layers.ZeroPadding2D(((1, 2), (3, 4), (5, 6))), "expected .*top, bottom"),
        (lambda: layers.ZeroPadding2D(((1, -2), (3, 4))), r"padding=\(1, -2\)"),
        (lambda: layers.BatchNormalization(axis=1), "the last axis alone. Received: axis=1"),
        (lambda: layers.LayerNormalization(axis=0), "the last axis alone. Received: axis=0"),
        (lambda: layers.BatchNormalization(momentum=1.5), "number from 0 to 1. Received: .*1.5"),
        (lambda: layers.ReLU(negative_slope=-1), "at least 0. Received: negative_slope=-1"),
        (lambda: layers.Reshape(784), "target_shape as a tuple .* Received: target_shape=784"),
        (lambda: cnnlib.Input(28), r"as a tuple, such as \(28, 28, 1\). Received: shape=28"),
        (lambda: cnnlib.Input(), "Received: shape=None"),
        (lambda: cnnlib.Input((0, 3)), "expected a positive integer"),
        (lambda: cnnlib.Input((2.5,)), "expected a positive integer"),
        (lambda: cnnlib.Input((-3,)), "expected a positive integer"),
        (lambda: layers.Dense(3, name=5), "name: expected a string without '/'. Received: name=5"),
        (lambda: layers.Dense(3, name="a/b"), "Received: name='a/b'"),
        (lambda: layers.Dense(3, foo=1), "Dense does not know the argument foo. Received: foo=1"),
        (lambda: layers.Dense(3, input_shape=(4,)), "does not know the argument input_shape"),
        (lambda: layers.Conv2D(3, 3, kernel_constraint="x"), "argument kernel_constraint"),
        (lambda: regularizers.L2(-1), "l2: expected a number of at least 0. Received: l2=-1"),
        (lambda: regularizers.L2(NAN), "Received: l2=nan"),
        (lambda: layers.LeakyReLU("a"), "negative_slope: expected a number of at least 0.*'a'"),
        (lambda: layers.ELU(None), "alpha: expected a number .*Received: alpha=None"),
        (lambda: layers.BatchNormalization(epsilon=-1), "epsilon: .* at least 0. Received: .*-1"),
        (lambda: optimizers.Adam(beta_1=1.5), "beta_1: expected a number from 0 to 1"),
        (lambda: optimizers.RMSprop(rho="a"), "rho: expected a number from 0 to 1"),
        (lambda: optimizers.SGD(momentum="a"), "momentum: expected a number from 0 to 1"),
        (lambda: layers.Reshape(("a", 2)), "target_shape.*Received: target_shape=..a., 2"),
        (lambda: cnnlib.Input(batch_shape=5), "Input expects .*a tuple.* Received: .*5"),
        (lambda: losses.CategoricalCrossentropy(axis=1), "supports the last axis alone"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class=3), "argument ignore_class"),
        (lambda: losses.MeanSquaredError(reduction="sum"), "argument reduction. Received: .*'sum'"),
        (lambda: utils.to_categorical([1.5]), r"at least one integer label. Received: \[1.5\]"),
        (lambda: utils.to_categorical([]), "at least one integer label"),
        (lambda: utils.to_categorical([NAN]), "at least one integer label"),
        (lambda: utils.to_categorical(["cat"]), r"integer label. Received: \['cat'\]"),
        (lambda: utils.to_categorical([-1, 2]), "labels from 0 to 2. Received labels from -1 to 2"),
        (lambda: utils.to_categorical([0, 5], 3), "from 0 to 2. Received labels from 0 to 5"),
    ],
)  # fmt: skip
def test_bad_arguments(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: layers.Dense(3, activation=np.tanh), "activation: expected a name such as 'relu'"),
        (lambda: layers.Activation(3), "activation: expected a name .* Received: 3"),
        (lambda: layers.Dense(3, kernel_initializer=0.1), "initializer: expected a name .* 0.1"),
        (lambda: layers.Dense(3, kernel_regularizer=0.1), "regularizer: expected a name .* 0.1"),
        (lambda: compiled(loss=lambda a, b: 0), "loss: expected a name .* of type function"),
        (lambda: compiled(loss=5), "loss: expected a name .* Received: 5 of type int"),
        (lambda: compiled(optimizer=0.1), "optimizer: expected a name .* Received: 0.1"),
        (lambda: compiled(optimizer=losses.MeanSquaredError()), "optimizer: expected a name"),
        (lambda: compiled(metrics=[len]), "metric: expected a name .* Received: <built-in"),
        (lambda: initializers.get(3), "initializer: expected a name such as"),
    ],
)
def test_objects_of_another_kind(make_it, message):
    with pytest.raises(TypeError, match=message):
        make_it()


# --- Arguments of optimizers and schedules ------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["SGD", "Adagrad", "RMSprop", "Adam"])
@pytest.mark.parametrize("bad", [-1, -1e-9, NAN, INF, "0.1", None, [0.1]])
def test_learning_rates(optimizer, bad):
    text = "learning_rate: expected a finite number of at least 0 or a schedule.* Received: "
    with pytest.raises(ValueError, match=text):
        getattr(optimizers, optimizer)(bad)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (
            lambda: optimizers.SGD(0.1, momentum=2),
            "number from 0 to 1. Received: momentum=2",
        ),
        (lambda: optimizers.SGD(0.1, momentum=-0.5), "momentum: expected a number from 0 to 1"),
        (lambda: optimizers.Adam(lr=0.1), "Adam does not know the argument lr. Received: lr=0.1"),
        (lambda: optimizers.Adam(weight_decay=0.1), "does not know the argument weight_decay"),
        (lambda: optimizers.SGD(clipnorm=1.0), "does not know the argument clipnorm"),
        (lambda: optimizers.Adam(use_ema=True), "does not know the argument use_ema"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps must be above 0.*=0"),
        (lambda: schedules.CosineDecay(0.1, -5), "decay_steps must be above 0.*=-5"),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1]), "one value more than boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [1, 2, 3]), "rising boundaries"),
    ],
)
def test_bad_arguments_of_optimizers(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()


# --- Models -------------------------------------------------------------------------------------


def test_only_layers_go_into_a_model():
    model = make()
    for bad in (3, None, "dense", layers.Dense, np.zeros(3), lambda x: x, make()):
        with Untouched(model, TypeError, "Sequential expects layers of cnnlib. Received: "):
            model.add(bad)
    with pytest.raises(TypeError, match="Sequential expects layers of cnnlib. Received: 3"):
        cnnlib.Sequential([layers.Dense(3), 3])


def test_the_same_layer_twice():
    model = make()
    with Untouched(model, ValueError, "layer 'dense' is in this model already: make another one"):
        model.add(model.layers[-1])


def test_two_layers_of_one_name():
    with pytest.raises(ValueError, match="two layers of one model cannot both be called 'a'"):
        cnnlib.Sequential([layers.Dense(3, name="a"), layers.Dense(3, name="a")])


def test_input_comes_first_and_once():
    for wrong in (
        [layers.Dense(3), cnnlib.Input((3,))],
        [cnnlib.Input((3,)), cnnlib.Input((3,))],
        [cnnlib.Input((3,)), layers.Dense(3), cnnlib.Input((3,))],
    ):
        with pytest.raises(ValueError, match="Input comes first, and once"):
            cnnlib.Sequential(wrong)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: layers.Conv2D(2, 3), "expects images: 4 axes"),
        (lambda: layers.Reshape((7, 7)), "Reshape cannot turn 3 numbers"),
        (lambda: layers.MaxPooling2D(), "expects images: 4 axes"),
    ],
)
def test_a_layer_that_does_not_fit_stays_out(bad, message):
    model = make()
    with Untouched(model, ValueError, message):
        model.add(bad())
    assert len(model.layers) == 4
    empty = cnnlib.Sequential([cnnlib.Input((3,))])
    with pytest.raises(ValueError, match=message):
        empty.add(bad())
    assert empty.layers == []
    empty.add(layers.Dense(2))
    assert empty.predict(np.ones((1, 3))).shape == (1, 2)


def test_groups_must_divide_the_channels():
    text = "input channels must be divisible by groups. Received: channels=3, groups=2"
    with pytest.raises(ValueError, match=text):
        cnnlib.Sequential([cnnlib.Input((8, 8, 3)), layers.Conv2D(4, 3, groups=2)])
    layer = layers.Conv2D(4, 3, groups=2)
    with pytest.raises(ValueError, match=text):
        layer(images(channels=3))
    assert not layer.built


class Stubborn(initializers.Initializer):
    """Fails, as an initializer of somebody's own may."""

    def values(self, shape):
        raise ZeroDivisionError("own initializer")


@pytest.mark.parametrize(
    ("stack", "shape", "error", "message"),
    [
        (lambda: [layers.Conv2D(4, 3), layers.Conv2D(6, 3, groups=3)], (None, 8, 8, 1), ValueError,
         "channels=4, groups=3"),
        (lambda: [layers.Conv2D(4, 3), layers.Dense(2)], (None, 8, 8, None), ValueError,
         "needs to know every size"),
        (lambda: [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)], (None, None, 8, 1),
         ValueError, r"needs to know every size in \(None, 2\)"),
        (lambda: [layers.Dense(4), layers.Conv2D(4, 3)], (None, 5), ValueError, "4 axes"),
        (lambda: [layers.Dense(4), layers.Reshape((3,))], (None, 5), ValueError, "Reshape cannot"),
        (lambda: [layers.Dense(4), layers.Dense(2, bias_initializer=Stubborn())], (None, 5),
         ZeroDivisionError, "own initializer"),
        (lambda: [layers.Dense(4)], (5,), ValueError, "at least 2 axes"),
        (lambda: [layers.Dense(4)], 5, ValueError, "input_shape: expected a tuple.*Received: .*5"),
        (lambda: [layers.Dense(4)], None, ValueError, "Received: input_shape=None"),
        (lambda: [layers.Dense(4)], "ab", ValueError, "Received: input_shape='ab'"),
    ],
)  # fmt: skip
def test_a_failed_build_leaves_nothing_built(stack, shape, error, message):
    model = cnnlib.Sequential(stack())
    with pytest.raises(error, match=message):
        model.build(shape)
    assert not model.built
    assert not any(layer.built for layer in model.layers)


def test_a_model_can_be_built_after_a_failed_build():
    model = cnnlib.Sequential([layers.Conv2D(4, 3), layers.Conv2D(6, 3), layers.MaxPooling2D(5)])
    with pytest.raises(ValueError, match="does not fit"):
        model.build((None, 8, 8, 1))
    model.build((None, 10, 10, 3))
    assert model.output_shape == (None, 1, 1, 6)
    assert model.get_weights()[0].shape == (3, 3, 3, 4)


def test_a_layer_used_before_it_is_built():
    text = r"'{}' \({}\) is not built yet, so it has no weights: call layer.build\(input_shape\)"
    x = images()
    for layer in (
        layers.Dense(3),
        layers.Conv2D(3, 3),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
    ):
        match = text.format(layer.name, type(layer).__name__)
        for call in (
            lambda layer=layer: layer.forward(x),
            layer.get_weights,
            layer.count_params,
            lambda layer=layer: layer.params,
            lambda layer=layer: layer.set_weights([]),
        ):
            with pytest.raises(ValueError, match=match):
                call()
        assert not layer.built


def test_a_model_used_before_it_is_built_or_compiled():
    model = cnnlib.Sequential([layers.Dense(3)])
    text = r"does not know the shape of its input yet: begin it with Input\(shape\)"
    for call in (model.summary, model.get_weights, model.count_params, lambda: model.output_shape):
        with pytest.raises(ValueError, match=text):
            call()
    empty = cnnlib.Sequential()
    for call in (empty.summary, lambda: empty.predict(np.ones((2, 3)))):
        with pytest.raises(ValueError, match="has no layers yet: add some with model.add"):
            call()
    with pytest.raises(ValueError, match="there is no layer to take off"):
        empty.pop()
    x = np.ones((2, 3))
    for call in (
        lambda: model.fit(x, x, verbose=0),
        lambda: model.evaluate(x, x),
        lambda: model.gradients(x, x),
    ):
        with pytest.raises(ValueError, match=r"no loss yet: call model.compile\(optimizer, loss"):
            call()


def test_dropout_needs_random_numbers_in_training():
    with pytest.raises(
        ValueError, match=r"needs random numbers in training: forward\(x, training="
    ):
        layers.Dropout(0.5).forward(images(), training=True)


# --- set_weights --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: [],
        lambda w: w[:-1],
        lambda w: [*w, w[0]],
        lambda w: w[::-1],
        lambda w: [w[0].T, *w[1:]],
        lambda w: [*w[:-1], w[-1][:-1]],
        lambda w: [*w[:-1], w[-1][:, None]],
        lambda w: [*w[:-1], 5.0],
        lambda w: [*w[:-1], np.full(w[-1].shape, "a")],
        lambda w: [*w[:-1], np.full(w[-1].shape, None)],
        lambda w: [*w[:-1], w[-1] * 1j],
        lambda w: [np.zeros_like(w[0]), *w[1:-1], w[-1].astype(object)],
        lambda w: {},
    ],
)
def test_weights_that_do_not_fit_change_nothing(spoil):
    model = make()
    bad = spoil([w + 1 for w in model.get_weights()])
    with Untouched(model, ValueError, "set_weights of model 'sequential' expects"):
        model.set_weights(bad)
    layer = model.layers[0]
    before = layer.get_weights()
    with pytest.raises(ValueError, match="set_weights of layer 'conv2d' expects arrays of shapes"):
        layer.set_weights([before[0] + 1])
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_get_and_set_weights_copy():
    model = make()
    given = [w + 1 for w in model.get_weights()]
    model.set_weights(given)
    given[0][...] = 99
    model.get_weights()[0][...] = 77
    assert not np.isin(model.get_weights()[0], (77, 99)).any()


def test_set_weights_takes_lists_and_other_types():
    model = cnnlib.Sequential([cnnlib.Input((2,)), layers.Dense(1)])
    model.set_weights([[[1], [2]], [3]])
    np.testing.assert_array_equal(model.predict([[1, 1]]), np.float32([[6]]), strict=True)


# --- gradient_check -----------------------------------------------------------------------------


def test_a_wrong_gradient_is_named():
    class Wrong(layers.Dense):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            grads["kernel"] = grads["kernel"] * 1.01
            return dx, grads

    x = np.random.default_rng(0).normal(size=(4, 5))
    with pytest.raises(
        AssertionError, match=r"kernel\[\d, \d\]: received .* expected .* .relative"
    ):
        cnnlib.gradient_check(Wrong(3), x)


# --- What a review found ------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"bias": False}, {"groupz": None}, {"activaton": None}])
def test_a_misspelt_argument_is_refused_even_where_it_is_off(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"does not know the argument {name}"):
        layers.Conv2D(2, 3, **arguments)


def test_an_activation_with_options_of_its_own_cannot_be_described():
    steep = activations.leaky_relu.with_options(negative_slope=0.9)
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2, activation=steep)])
    with pytest.raises(ValueError, match="'leaky_relu' with .*0.9.* cannot be described in a file"):
        model.get_config()


def test_a_layer_keeps_its_name_when_a_second_model_takes_it():
    first = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(3), layers.Dense(3)])
    with pytest.raises(ValueError, match="cannot both be called 'dense'"):
        cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(3), first.layers[0]])
    assert len(first.params) == 4


def test_an_optimizer_belongs_to_one_model():
    optimizer = optimizers.Adam()
    one, other = (cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(1)]) for _ in range(2))
    one.compile(optimizer, "mse")
    one.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="an optimizer that no other model has"):
        other.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="optimizer: expected a name or an optimizer"):
        other.compile(None, "mse")


def test_an_update_without_all_gradients_changes_nothing():
    params = {"a": np.ones(2), "b": np.ones(2)}
    with pytest.raises(ValueError, match="a gradient for each parameter. Missing: {'b'}"):
        optimizers.SGD().update(params, {"a": np.ones(2)})
    np.testing.assert_array_equal(params["a"], 1)


def test_softmax_along_the_batch_is_refused():
    with pytest.raises(ValueError, match="Softmax cannot run along the batch"):
        layers.Softmax(axis=0)
