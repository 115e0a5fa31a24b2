"""`.keras` files and weight files go to Keras and back, with optimizer, step and settings."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras_reference import assert_close, random_weights

import cnnlib

LIBRARIES = {"cnnlib": cnnlib, "keras": keras}
WAYS = pytest.mark.parametrize(("source", "target"), [("cnnlib", "keras"), ("keras", "cnnlib")])


def everything(lib):
    """A model with every layer and most arguments; wide is what a learner may write."""
    layers = lib.layers
    return lib.Sequential(
        [
            lib.Input((9, 8, 2), name="pictures"),
            layers.ZeroPadding2D(((1, 0), (0, 2))),
            layers.Conv2D(4, (3, 2), strides=(1, 2), padding="same", activation="relu", name="c1"),
            layers.BatchNormalization(momentum=0.7, epsilon=1e-2),
            layers.LeakyReLU(negative_slope=0.1),
            layers.Conv2D(
                4,
                2,
                dilation_rate=2,
                groups=2,
                use_bias=False,
                kernel_initializer=lib.initializers.HeNormal(seed=4),
                kernel_regularizer=lib.regularizers.L2(1e-3),
            ),
            layers.ELU(alpha=0.5),
            layers.MaxPooling2D((2, 1), strides=1, padding="same"),
            layers.AveragePooling2D(2, strides=(2, 1)),
            layers.Conv2D(3, 1, activation="leaky_relu"),
            layers.LayerNormalization(epsilon=1e-4),
            layers.ReLU(max_value=6.0, negative_slope=0.2),
            layers.Reshape((-1, 3)),
            layers.Dense(5, activation="gelu"),
            layers.Flatten(),
            layers.Dropout(0.3, seed=1),
            layers.Dense(8, activation="tanh", bias_initializer="ones"),
            layers.Activation("softplus"),
            layers.BatchNormalization(scale=False, beta_regularizer="l2"),
            layers.Dense(3, kernel_initializer=lib.initializers.RandomUniform(-1.0, 1.0)),
            layers.Softmax(),
        ],
        name="everything",
    )


def globally_pooled(lib):
    layers = lib.layers
    return lib.Sequential(
        [
            lib.Input((6, 5, 3)),
            layers.Conv2D(4, 3, activation="elu"),
            layers.Conv2D(5, 2, activation="sigmoid"),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2),
        ]
    )


def plain_net(lib):
    return lib.Sequential(
        [
            lib.Input((6,)),
            lib.layers.Dense(5, activation="tanh", kernel_regularizer=lib.regularizers.L2(0.01)),
            lib.layers.BatchNormalization(center=False),
            lib.layers.Dense(4, use_bias=False),
        ]
    )


def data(model, count=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((count, *model.input_shape[1:]), dtype="float32")
    return x, rng.integers(0, model.output_shape[-1], count)


def with_random_weights(model, seed=1):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights(random_weights(layer, rng))
    return model


@WAYS
@pytest.mark.parametrize("build", [everything, globally_pooled])
def test_a_model_predicts_the_same_on_the_other_side(build, source, target, tmp_path):
    path = tmp_path / "model.keras"
    model = with_random_weights(build(LIBRARIES[source]))
    model.save(path)
    twin = LIBRARIES[target].models.load_model(path)
    x, _ = data(model)
    assert_close(twin.predict(x, verbose=0), model.predict(x, verbose=0))
    assert twin.name == model.name
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert [type(a).__name__ for a in twin.layers] == [type(a).__name__ for a in model.layers]


@WAYS
def test_every_argument_of_every_layer_arrives(source, target, tmp_path):
    path, back = tmp_path / "there.keras", tmp_path / "back.keras"
    everything(LIBRARIES[source]).save(path)
    LIBRARIES[target].models.load_model(path).save(back)
    there, here = (
        json.loads(zipfile.ZipFile(p).read("config.json"))["config"]["layers"] for p in (path, back)
    )
    assert len(there) == len(here)
    for one, other in zip(there, here, strict=True):
        assert one["class_name"] == other["class_name"]
        common = set(one["config"]) & set(other["config"]) - {"dtype"}
        assert {"name"} < common
        for key in common:
            assert plain(one["config"][key]) == plain(other["config"][key]), (
                one["class_name"],
                key,
            )


def plain(value):
    """A configuration without what only says where Keras keeps a class."""
    if isinstance(value, dict) and "class_name" in value:
        config = {
            k: v for k, v in value["config"].items() if k not in ("input_axes", "output_axes")
        }
        return value["class_name"], config
    if isinstance(value, list):
        return [plain(item) for item in value] if value != [-1] else -1  # the axis, in two forms
    return value


OPTIMIZERS = {
    "SGD": ("SGD", {"learning_rate": 0.05}),
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "Adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "RMSprop": ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5, "centered": True}),
    "Adam": ("Adam", {"learning_rate": 0.02}),
    "amsgrad": ("Adam", {"learning_rate": 0.02, "amsgrad": True}),
    "scheduled": ("Adam", {"learning_rate": ("ExponentialDecay", (0.1, 3, 0.5))}),
    "cosine": ("SGD", {"learning_rate": ("CosineDecay", (0.0, 8, 0.1, "c", 0.2, 3))}),
    "piecewise": ("SGD", {"learning_rate": ("PiecewiseConstantDecay", ([4], [0.2, 0.02]))}),
}


def make_optimizer(lib, kind):
    name, options = OPTIMIZERS[kind]
    rate = options["learning_rate"]
    if isinstance(rate, tuple):
        rate = getattr(lib.optimizers.schedules, rate[0])(*rate[1])
    return getattr(lib.optimizers, name)(**{**options, "learning_rate": rate})


def steps(model, x, y):
    """The losses of five steps, each on all of x."""
    options = {"batch_size": len(x), "epochs": 5, "shuffle": False, "verbose": 0}
    return model.fit(x, y, **options).history["loss"]


@WAYS
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_in_the_other_library_as_it_would_have_here(
    kind, source, target, tmp_path
):
    path = tmp_path / "model.keras"
    lib = LIBRARIES[source]
    model = with_random_weights(plain_net(lib))
    loss = lib.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(make_optimizer(lib, kind), loss=loss, metrics=["accuracy"])
    x, y = data(model, count=16)
    steps(model, x, y)
    model.save(path)
    expected = steps(model, x, y)

    twin = LIBRARIES[target].models.load_model(path)
    assert int(twin.optimizer.iterations) == 5
    assert twin.loss.from_logits is True
    assert_close(steps(twin, x, y), expected, 1e-4, what="losses")
    for ours, theirs in zip(twin.get_weights(), model.get_weights(), strict=True):
        assert_close(ours, theirs, 1e-3, what="weights")


@WAYS
def test_a_loss_by_name_and_a_smoothed_loss_arrive(source, target, tmp_path):
    lib = LIBRARIES[source]
    for loss in (
        "categorical_crossentropy",
        lib.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        lib.losses.BinaryCrossentropy(from_logits=True),
        lib.losses.MeanSquaredError(),
        "mse",
    ):
        model = with_random_weights(plain_net(lib))
        model.compile("sgd", loss=loss, metrics=["mse", lib.metrics.CategoricalAccuracy()])
        model.save(tmp_path / "model.keras")
        twin = LIBRARIES[target].models.load_model(tmp_path / "model.keras")
        x, labels = data(model)
        y = np.eye(4, dtype="float32")[labels]
        options = {"batch_size": 12, "verbose": 0, "return_dict": True}
        received, expected = (m.evaluate(x, y, **options) for m in (twin, model))
        if loss == "categorical_crossentropy":  # of what are no probabilities: only by name
            continue
        assert set(received) == set(expected)
        for key, value in expected.items():
            assert_close(received[key], value, what=key)


@WAYS
@pytest.mark.parametrize("build", [everything, plain_net])
def test_weight_files(build, source, target, tmp_path):
    path = tmp_path / "model.weights.h5"
    model = with_random_weights(build(LIBRARIES[source]))
    model.save_weights(path)
    twin = with_random_weights(build(LIBRARIES[target]), seed=2)
    twin.load_weights(path)
    for received, expected in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


@WAYS
def test_weight_files_of_a_compiled_model_bring_the_optimizer_too(source, target, tmp_path):
    path = tmp_path / "model.weights.h5"
    model, twin = (with_random_weights(plain_net(LIBRARIES[name])) for name in (source, target))
    x, y = data(model, count=16)
    for net, name in ((model, source), (twin, target)):
        loss = LIBRARIES[name].losses.SparseCategoricalCrossentropy(from_logits=True)
        net.compile(make_optimizer(LIBRARIES[name], "Adam"), loss=loss)
        steps(net, x, y)
    steps(model, x, y)
    model.save_weights(path)
    twin.load_weights(path)
    assert int(twin.optimizer.iterations) == 10
    assert_close(steps(twin, x, y), steps(model, x, y), 1e-4)


def test_a_frozen_layer_stays_frozen_on_the_other_side(tmp_path):
    for source, target in (("cnnlib", "keras"), ("keras", "cnnlib")):
        model = plain_net(LIBRARIES[source])
        model.layers[0].trainable = False
        model.layers[1].trainable = False
        model.compile(make_optimizer(LIBRARIES[source], "Adam"), loss="mse")
        x, y = data(model)[0], np.ones((12, 4), "float32")
        steps(model, x, y)
        model.save(tmp_path / "model.keras")
        twin = LIBRARIES[target].models.load_model(tmp_path / "model.keras")
        assert [layer.trainable for layer in twin.layers] == [False, False, True]
        assert_close(steps(twin, x, y), steps(model, x, y), 1e-4)
        np.testing.assert_array_equal(twin.get_weights()[0], model.get_weights()[0])


def test_what_keras_saves_and_cnnlib_does_not_have_is_refused_by_name(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(2)]).save(path)
    with pytest.raises(ValueError, match="LSTM"):
        cnnlib.models.load_model(path)
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(path)
    with pytest.raises(ValueError, match="Sequential"):
        cnnlib.models.load_model(path)
    layer = keras.layers.Dense(2, kernel_constraint="max_norm")
    keras.Sequential([keras.Input((4,)), layer]).save(path)
    with pytest.raises(ValueError, match="kernel_constraint"):
        cnnlib.models.load_model(path)
