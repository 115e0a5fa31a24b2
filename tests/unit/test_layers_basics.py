"""What every layer and model has: configuration, names, counts, types, copies."""

import copy
import json
import pickle

import numpy as np
import pytest

import cnnlib
from cnnlib import (
    activations,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    registry,
    regularizers,
)
from cnnlib.layers.base import Layer
from cnnlib.optimizers import schedules
from cnnlib.schedules import LearningRateSchedule

FAMILIES = {
    "layer": Layer,
    "initializer": initializers.Initializer,
    "regularizer": regularizers.Regularizer,
    "loss": losses.Loss,
    "metric": metrics.Metric,
    "optimizer": optimizers.Optimizer,
    "schedule": LearningRateSchedule,
}
# Arguments that differ from every default, for each class of the registry.
ARGUMENTS = {
    "InputLayer": {"shape": (4, 5), "batch_size": 3, "name": "in"},
    "Dense": {
        "units": 3, "activation": "tanh", "use_bias": False, "kernel_initializer": "he_uniform",
        "kernel_regularizer": regularizers.L2(0.5), "name": "d", "trainable": False,
        "dtype": "float64",
    },
    "Flatten": {"name": "flat"},
    "Reshape": {"target_shape": (4, -1)},
    "Activation": {"activation": "softplus"},
    "ReLU": {"max_value": 6.0, "negative_slope": 0.1, "threshold": 0.5},
    "LeakyReLU": {"negative_slope": 0.15},
    "ELU": {"alpha": 0.7},
    "Softmax": {"axis": 1},
    "Conv2D": {
        "filters": 4, "kernel_size": (3, 2), "strides": (2, 1), "padding": "same", "groups": 2,
        "activation": "relu", "use_bias": True, "bias_initializer": initializers.Constant(0.5),
        "bias_regularizer": "l2",
    },
    "ComparativeDense": {
        "units": 3, "activation": "tanh", "use_bias": False, "gradient": "product", "scale": 0.25,
        "kernel_initializer": initializers.ComparativeNormal(0.75), "kernel_regularizer": "l2",
    },
    "ComparativeConv2D": {
        "filters": 4, "kernel_size": (3, 2), "strides": (2, 1), "padding": "same", "groups": 2,
        "activation": "relu", "bias_initializer": "ones", "gradient": "product", "scale": 0.5,
    },
    "ZeroPadding2D": {"padding": ((1, 2), (3, 0))},
    "MaxPooling2D": {"pool_size": 3, "strides": 2, "padding": "same"},
    "AveragePooling2D": {"pool_size": (2, 3), "padding": "same"},
    "GlobalMaxPooling2D": {"keepdims": True},
    "GlobalAveragePooling2D": {"keepdims": True},
    "Dropout": {"rate": 0.3, "seed": 5},
    "BatchNormalization": {
        "momentum": 0.8, "epsilon": 0.01, "center": False, "gamma_initializer": "he_normal",
        "moving_mean_initializer": "ones", "gamma_regularizer": "l2",
    },
    "LayerNormalization": {"epsilon": 0.02, "scale": False, "beta_initializer": "ones"},
    "Constant": {"value": 2.5},
    "RandomNormal": {"mean": 1.0, "stddev": 2.0, "seed": 3},
    "RandomUniform": {"minval": 1.0, "maxval": 2.0, "seed": 3},
    "ComparativeNormal": {"stddev": 0.75, "seed": 3},
    **{name: {"seed": 3} for name in ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal")},
    "L2": {"l2": 0.25},
    "BinaryCrossentropy": {"from_logits": True, "label_smoothing": 0.1, "name": "b"},
    "CategoricalCrossentropy": {"from_logits": True, "label_smoothing": 0.1},
    "SparseCategoricalCrossentropy": {"from_logits": True},
    "BinaryAccuracy": {"threshold": 0.7, "name": "acc7"},
    "LossMetric": {"loss": "mse", "name": "error"},
    "SGD": {"learning_rate": 0.3, "momentum": 0.5, "nesterov": True},
    "Adagrad": {"learning_rate": 0.3, "initial_accumulator_value": 0.2, "epsilon": 1e-5},
    "RMSprop": {"learning_rate": 0.3, "rho": 0.8, "momentum": 0.1, "centered": True},
    "Adam": {
        "learning_rate": schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=2),
        "beta_1": 0.8, "amsgrad": True,
    },
    "ExponentialDecay": {
        "initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.5, "staircase": True
    },
    "PiecewiseConstantDecay": {"boundaries": [1, 5], "values": [0.3, 0.2, 0.1]},
    "CosineDecay": {
        "initial_learning_rate": 0.1, "decay_steps": 5, "alpha": 0.2, "warmup_target": 0.5,
        "warmup_steps": 3,
    },
}  # fmt: skip


def library_classes():
    """(family, class) for every class of the library that the registry holds."""
    pairs = []
    for family in FAMILIES.values():
        for cls in dict.fromkeys(family.classes.values()):
            if cls.__module__.startswith("cnnlib."):
                pairs.append(pytest.param(family, cls, id=cls.__name__))
    return pairs


def test_the_registry_holds_what_is_public():
    ids = {param.id for param in library_classes()}
    assert ids >= {getattr(layers, name).__name__ for name in layers.__all__} - {"Layer"}
    assert {"L2", "MeanSquaredError", "Adam", "HeNormal", "CosineDecay", "Accuracy"} <= ids
    assert set(ARGUMENTS) <= ids


@pytest.mark.parametrize(("family", "cls"), library_classes())
def test_a_configuration_goes_through_json_and_back(family, cls):
    one = cls(**ARGUMENTS.get(cls.__name__, {}))
    text = json.dumps(registry.serialize(one))
    other = registry.get(family, json.loads(text))
    assert type(other) is cls
    assert other is not one
    assert json.dumps(registry.serialize(other)) == text
    assert json.dumps(cls.from_config(json.loads(json.dumps(one.get_config()))).get_config())
    config = one.get_config()
    for name in ARGUMENTS.get(cls.__name__, {}).keys() & config.keys():
        received, expected = (registry.serialize(getattr(o, name)) for o in (other, one))
        assert received == expected, name
    assert family.classes[cls.__name__] is cls


@pytest.mark.parametrize(("family", "cls"), library_classes())
def test_a_class_is_found_by_its_names(family, cls):
    # The word 'accuracy' means the one that suits labels and outputs, in Keras too.
    expected = metrics.AccuracyByShape if cls is metrics.Accuracy else cls
    assert family.classes[registry.snake_case(cls.__name__)] is expected
    for alias in vars(cls).get("aliases", ()):
        assert family.classes[alias] is cls


def test_numbers_of_numpy_become_plain_ones():
    one = initializers.RandomNormal(stddev=np.float32(0.5), seed=np.int64(3))
    assert json.loads(json.dumps(registry.serialize(one)))["config"]["stddev"] == 0.5


def test_keras_arguments_that_change_nothing_pass():
    config = layers.Dense(3).get_config()
    config |= {"kernel_constraint": None, "lora_rank": None, "activity_regularizer": None}
    config["dtype"] = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
    assert layers.Dense.from_config(config).units == 3
    with pytest.raises(ValueError, match="Dense does not know the argument lora_rank"):
        layers.Dense.from_config({**config, "lora_rank": 4})


SHAPES = {
    "Dense": (None, 6),
    "ComparativeDense": (None, 6),
    "Reshape": (None, 4, 6),
    **dict.fromkeys(("Activation", "ReLU", "LeakyReLU", "ELU", "Flatten", "Dropout"), (None, 5, 6)),
    "Softmax": (None, 5, 6),
}


@pytest.mark.parametrize("name", sorted(set(layers.__all__) - {"Input", "InputLayer", "Layer"}))
def test_a_layer_keeps_its_promises(name):
    """Shape as computed, input left alone, dtype kept, the layer unchanged by both passes."""
    shape = SHAPES.get(name, (None, 6, 7, 4))
    rng = np.random.default_rng(0)
    options = {k: v for k, v in ARGUMENTS.get(name, {}).items() if k != "dtype"}
    for dtype in ("float32", "float64"):
        layer = getattr(layers, name)(**options, dtype=dtype)
        x = rng.normal(size=(3, *shape[1:])).astype(dtype)
        kept = x.copy()
        x.flags.writeable = False
        layer.build(shape)
        assert layer.built
        assert layer.input_shape == shape
        before = layer.get_weights()
        assert layer.count_params() == sum(w.size for w in before)
        assert all(w.dtype == dtype for w in before)
        names, state = set(vars(layer)), {k: v.copy() for k, v in layer.state.items()}
        y, cache = layer.forward(x, True, np.random.default_rng(1))
        assert layer.compute_output_shape(x.shape) == y.shape
        assert layer.compute_output_shape(shape) == (None, *y.shape[1:])
        assert y.dtype == dtype
        dy = rng.normal(size=y.shape).astype(dtype)
        dy.flags.writeable = False
        dx, grads = layer.backward(dy, cache)
        assert dx.shape == x.shape
        assert dx.dtype == dtype
        assert grads.keys() == layer.params.keys()
        for key, gradient in grads.items():
            assert gradient.shape == layer.params[key].shape
            assert gradient.dtype == dtype
        again, _ = layer.forward(x, True, np.random.default_rng(1))
        np.testing.assert_array_equal(again, y)
        np.testing.assert_array_equal(x, kept)
        for a, b in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        for key, value in state.items():
            np.testing.assert_array_equal(layer.state[key], value)
        assert set(vars(layer)) == names


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_a_layer_gives_one_example_what_it_gives_it_in_a_batch(batch):
    model = digits_model()
    x = np.random.default_rng(0).random((batch, 8, 8, 1), dtype=np.float32)
    whole = model(x)
    for k in range(batch):
        # float32: BLAS adds in another order for another number of columns.
        np.testing.assert_allclose(model(x[k : k + 1])[0], whole[k], rtol=1e-5, atol=1e-6)


# --- Names and counts ---------------------------------------------------------------------------


def digits_model(**options):
    cnnlib.utils.set_random_seed(0)
    return cnnlib.Sequential(
        [
            cnnlib.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(5, name="top"),
        ],
        **options,
    )


def test_layers_are_numbered_within_their_model():
    expected = [
        "conv2d", "conv2d_1", "batch_normalization", "max_pooling2d", "flatten", "top"
    ]  # fmt: skip
    for _ in range(2):  # another model begins anew
        assert [layer.name for layer in digits_model().layers] == expected


def test_params_and_state_are_found_under_layer_and_name():
    model = digits_model()
    assert list(model.params) == [
        "conv2d/kernel", "conv2d/bias", "conv2d_1/kernel", "conv2d_1/bias",
        "batch_normalization/gamma", "batch_normalization/beta", "top/kernel", "top/bias",
    ]  # fmt: skip
    assert list(model.state) == [
        "batch_normalization/moving_mean", "batch_normalization/moving_variance"
    ]  # fmt: skip
    assert model.params["top/bias"] is model.layers[-1].params["bias"]


def test_parameters_are_counted():
    model = digits_model()
    each = [3 * 3 * 4 + 4, 3 * 3 * 4 * 4 + 4, 16, 0, 0, 16 * 5 + 5]
    assert [layer.count_params() for layer in model.layers] == each
    assert model.count_params() == sum(each)
    assert [w.size for w in model.get_weights()] == [36, 4, 144, 4, 4, 4, 4, 4, 80, 5]


def test_summary():
    model = digits_model(name="digits")
    model.layers[0].trainable = False
    lines = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    rows = text.splitlines()
    assert rows[0] == "Model: digits"
    assert rows[1].split() == ["layer", "output", "shape", "parameters"]
    assert rows[3].split() == ["conv2d", "(Conv2D)", "(None,", "6,", "6,", "4)", "40"]
    assert rows[8].split() == ["top", "(Dense)", "(None,", "5)", "85"]
    # 289 weights of 4 bytes; without the first layer and the two moving averages.
    assert rows[-1] == "289 parameters (1,156 bytes), 241 of them trainable"
    assert len({len(row) for row in rows[1:9]}) == 1  # columns are straight
    assert not any(row != row.rstrip() for row in rows)


def test_summary_prints(capsys):
    digits_model().summary()
    assert capsys.readouterr().out.startswith("Model: sequential\n")


def test_get_layer():
    model = digits_model()
    assert model.get_layer("top") is model.layers[-1]
    assert model.get_layer(name="conv2d_1") is model.layers[1]
    assert model.get_layer(index=0) is model.layers[0]
    assert model.get_layer(index=-1) is model.layers[-1]


def test_pop_and_add():
    model = digits_model()
    weights = model.get_weights()
    top = model.pop()
    assert top.name == "top"
    assert model.output_shape == (None, 16)
    model.add(layers.Dense(2, name="top"))
    assert model.output_shape == (None, 2)
    for a, b in zip(weights[:-2], model.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_adding_one_by_one_is_the_same_as_a_list():
    expected = digits_model()
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential()
    for layer in digits_model().layers:
        model.add(type(layer).from_config(layer.get_config()))
    assert not model.built
    model.build((None, 8, 8, 1))
    assert model.output_shape == expected.output_shape
    assert [layer.name for layer in model.layers] == [layer.name for layer in expected.layers]


def test_shapes_of_input_and_output():
    model = digits_model()
    assert model.input_shape == (None, 8, 8, 1)
    assert model.output_shape == (None, 5)
    assert cnnlib.Input(batch_shape=(7, 3)).batch_shape == (7, 3)
    assert cnnlib.Input([3, 4]).batch_shape == (None, 3, 4)


def test_a_frozen_layer_has_no_part_in_training():
    model = digits_model()
    model.compile("sgd", "mse")
    x, y = np.ones((3, 8, 8, 1)), np.ones((3, 5))
    model.get_layer("conv2d_1").trainable = False
    _, grads = model.gradients(x, y)
    assert grads.keys() == model.params.keys()
    assert not any(key.startswith("conv2d_1/") for key in grads)
    frozen = digits_model(trainable=False)
    assert frozen.params == {}
    assert frozen.count_params() == model.count_params()


def test_a_frozen_normalization_uses_and_keeps_its_moving_averages():
    layer = layers.BatchNormalization(trainable=False)
    x = np.random.default_rng(0).normal(5, 2, (20, 3)).astype(np.float32)
    layer.build((None, 3))
    y, cache = layer.forward(x, training=True)
    # The averages are still 0 and 1; epsilon is 1e-3.
    np.testing.assert_allclose(y, x / np.sqrt(1.001), rtol=1e-6)
    assert layer.updated_state(cache) == {}


# --- Types --------------------------------------------------------------------------------------


def test_set_floatx_decides_for_new_layers():
    old = layers.Dense(2)
    assert cnnlib.config.floatx() == "float32"
    cnnlib.config.set_floatx("float64")
    try:
        model = cnnlib.Sequential([layers.Dense(2), layers.BatchNormalization()])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        assert model.dtype == "float64"
        assert {w.dtype for w in model.get_weights()} == {np.dtype("float64")}
        assert model.predict(np.ones((1, 3), np.float32)).dtype == np.float64
        assert old(np.ones((1, 3))).dtype == np.float32
    finally:
        cnnlib.config.set_floatx("float32")
    assert layers.Dense(2).dtype == "float32"


def test_an_error_in_set_floatx_changes_nothing():
    with pytest.raises(ValueError, match="unknown float type"):
        cnnlib.config.set_floatx("int8")
    assert cnnlib.config.floatx() == "float32"


@pytest.mark.parametrize("dtype", ["float64", np.float64, float])
def test_dtype_may_be_a_name_or_a_type(dtype):
    assert layers.Dense(2, dtype=dtype).dtype == "float64"


def test_a_layer_converts_what_it_is_called_with():
    layer = layers.Dense(2, kernel_initializer="ones")
    for x in ([[1, 2, 3]], np.array([[1, 2, 3]], np.uint8), np.array([[1, 2, 3]], np.float64)):
        y = layer(x)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, [[6, 6]])


def test_weights_lie_in_c_order_whatever_was_given():
    """As files and processes return them: so that nothing can depend on the difference."""
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(4), layers.Dense(5)])
    model.set_weights([np.asfortranarray(w) for w in model.get_weights()])
    assert all(p.flags.c_contiguous for p in model.params.values())


# --- Copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_whole_and_apart(twin_of):
    model = digits_model()
    model.compile("adam", "mse", metrics=["mse"])
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 8, 8, 1)), rng.random((40, 5))
    model.fit(x, y, verbose=0)
    twin = twin_of(model)
    np.testing.assert_array_equal(twin.predict(x), model.predict(x), strict=True)
    before = model.get_weights()
    twin.fit(x, y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, y, verbose=0)
    for a, b in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_from_config_makes_new_weights():
    model = digits_model()
    twin = cnnlib.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    assert twin.get_config() == model.get_config()
    assert not np.array_equal(twin.get_weights()[0], model.get_weights()[0])
    twin.set_weights(model.get_weights())
    x = np.ones((2, 8, 8, 1))
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))


def test_a_function_of_ones_own_works_in_a_layer():
    square = activations.Function("square", lambda x, out: (x * x, x), lambda dy, x: 2 * x * dy)
    report = cnnlib.gradient_check(
        layers.Dense(3, activation=square), np.random.default_rng(0).normal(size=(4, 5))
    )
    assert report.max_error < 1e-6
    assert report.checked > 0


def test_a_frozen_model_learns_nothing_and_a_freed_one_does():
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.random.default_rng(0).random((8, 3)), np.ones((8, 1))
    model.trainable = False
    assert not model.trainable
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model.trainable = True
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_images_may_have_any_size_where_the_layers_allow_it():
    model = cnnlib.Sequential(
        [
            cnnlib.Input((None, None, 1)),
            layers.Conv2D(2, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    assert model.output_shape == (None, 3)
    model.compile("adam", cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    for size in ((5, 7), (9, 4)):
        x = rng.random((6, *size, 1))
        assert model.predict(x).shape == (6, 3)
        model.fit(x, rng.integers(0, 3, 6), verbose=0)
    with pytest.raises(ValueError, match=r"built for inputs of shape \(None, None, None, 1\)"):
        model.predict(rng.random((6, 5, 7, 2)))
