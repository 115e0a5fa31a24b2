"""Every layer against Keras on JAX: the output and all gradients, from the same weights.

JAX compiles each shape anew, so the default run draws from a small pool; the sweeps marked `long`
draw strides, paddings, dilations, groups and sizes at random.
"""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras_reference import assert_close, compare_layer
from scipy.special import erf

import cnnlib

IMAGES = (3, 7, 6, 4)  # not square, sizes all different
ROWS = (3, 5, 4)
VECTORS = (6, 5)

CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (1, 1), "use_bias": False},
    {"kernel_size": (2, 3), "padding": "same"},
    {"kernel_size": (4, 2), "padding": "same", "activation": "relu"},
    {"kernel_size": (3, 2), "strides": 2},
    {"kernel_size": 3, "strides": (2, 3), "padding": "same", "activation": "tanh"},
    {"kernel_size": 1, "strides": 3, "padding": "same"},  # steps over some pixels
    {"kernel_size": (3, 2), "dilation_rate": (2, 3)},
    {"kernel_size": (2, 3), "dilation_rate": (3, 1), "padding": "same", "activation": "gelu"},
    {"kernel_size": (3, 2), "groups": 2, "padding": "same"},
    {"kernel_size": 2, "groups": 4, "strides": (1, 2), "activation": "sigmoid"},
    {"kernel_size": (9, 8), "padding": "same"},  # larger than the image
]

POOLS = [
    {"pool_size": 2},
    {"pool_size": (2, 3), "padding": "same"},
    {"pool_size": (3, 2), "strides": (1, 2)},  # windows that overlap
    {"pool_size": (2, 3), "strides": 1, "padding": "same"},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": 2, "strides": 3},  # pixels that no window sees
]

LAYERS = [
    ("Dense", {"units": 3}, VECTORS),
    ("Dense", {"units": 3, "activation": "softmax", "use_bias": False}, VECTORS),
    ("Dense", {"units": 3, "activation": "elu"}, ROWS),
    ("Dense", {"units": 2}, IMAGES),
    ("Flatten", {}, IMAGES),
    ("Flatten", {}, VECTORS),
    ("Reshape", {"target_shape": (4, -1, 2)}, IMAGES),
    ("ZeroPadding2D", {}, IMAGES),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, IMAGES),
    ("GlobalAveragePooling2D", {}, IMAGES),
    ("GlobalAveragePooling2D", {"keepdims": True}, IMAGES),
    ("GlobalMaxPooling2D", {}, IMAGES),
    ("GlobalMaxPooling2D", {"keepdims": True}, IMAGES),
    ("Activation", {"activation": "leaky_relu"}, VECTORS),
    ("ReLU", {}, VECTORS),
    ("ReLU", {"max_value": 0.7, "negative_slope": 0.1, "threshold": 0.2}, VECTORS),
    ("LeakyReLU", {}, VECTORS),
    ("LeakyReLU", {"negative_slope": 0.05}, VECTORS),
    ("ELU", {}, VECTORS),
    ("ELU", {"alpha": 0.4}, VECTORS),
    ("Softmax", {}, VECTORS),
    ("Softmax", {"axis": 1}, ROWS),
    ("LayerNormalization", {}, VECTORS),
    ("LayerNormalization", {"epsilon": 0.1, "center": False}, IMAGES),
    ("LayerNormalization", {"scale": False}, ROWS),
    ("Dropout", {"rate": 0.5}, VECTORS),  # outside training
    ("BatchNormalization", {}, IMAGES),
    ("BatchNormalization", {"scale": False, "epsilon": 0.1}, VECTORS),
]


def described(case):
    return "-".join(f"{key}={value}" for key, value in case.items()).replace(" ", "") or "default"


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=described)
def test_convolution(options):
    compare_layer("Conv2D", {"filters": 8, **options}, IMAGES)


@pytest.mark.parametrize("name", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize("options", POOLS, ids=described)
def test_pooling(name, options):
    compare_layer(name, options, IMAGES)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    LAYERS,
    ids=[f"{name}-{described(o)}-{len(s)}d" for name, o, s in LAYERS],
)
def test_layer(name, options, shape):
    compare_layer(name, options, shape)


@pytest.mark.parametrize("options", [{"momentum": 0.8}, {"center": False}], ids=described)
@pytest.mark.parametrize("shape", [IMAGES, ROWS, VECTORS], ids=str)
def test_batch_normalization_in_training_uses_the_batch_and_moves_the_averages(options, shape):
    layer = compare_layer("BatchNormalization", options, shape, training=True)
    assert list(layer.state) == ["moving_mean", "moving_variance"]


def test_batch_normalization_that_is_frozen_works_by_its_moving_averages_in_training():
    rng = np.random.default_rng(3)
    x = rng.normal(size=VECTORS).astype("float32")
    ours = cnnlib.layers.BatchNormalization(trainable=False)
    theirs = keras.layers.BatchNormalization(trainable=False)
    ours.build(VECTORS)
    theirs.build(VECTORS)
    weights = [rng.random(w.shape, "float32") + 0.5 for w in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    y, cache = ours.forward(x, training=True)
    assert_close(y, theirs(x, training=True))
    assert ours.updated_state(cache) == {}


def test_ties_in_pooling_send_the_gradient_where_keras_sends_it():
    # Few different values: nearly every window has a tie.
    rng = np.random.default_rng(4)
    x = rng.integers(0, 2, IMAGES).astype("float32")
    for options in POOLS[:4]:
        compare_layer("MaxPooling2D", options, IMAGES, x=x)
    compare_layer("GlobalMaxPooling2D", {}, IMAGES, x=x)
    assert not np.all(x.max(axis=(1, 2)) == 0)


@pytest.mark.parametrize(("strides", "padding"), [(2, "valid"), (1, "same"), (2, "same")])
def test_a_max_pool_outside_training_finds_its_winners_when_they_are_asked_for(strides, padding):
    rng = np.random.default_rng(5)
    x = rng.integers(-2, 3, (3, 7, 6, 2)).astype("float32")  # with ties
    layer = cnnlib.layers.MaxPooling2D(2, strides, padding)
    (y, cache), (y_alone, cache_alone) = layer.forward(x, True), layer.forward(x, False)
    np.testing.assert_array_equal(y, y_alone)
    dy = rng.standard_normal(y.shape).astype("float32")
    np.testing.assert_array_equal(layer.backward(dy, cache)[0], layer.backward(dy, cache_alone)[0])


def test_negative_images_never_lose_to_the_padding_of_a_max_pool():
    x = -1 - np.random.default_rng(5).random(IMAGES, "float32")
    compare_layer("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGES, x=x)


# --- Activations --------------------------------------------------------------------------------

GRID = np.concatenate([np.linspace(-9, 9, 181), [-1e4, -100, -30, 30, 100, 1e4]]).astype("float32")


@pytest.mark.parametrize("name", sorted(cnnlib.activations.FUNCTIONS))
def test_activation_and_its_gradient(name):
    theirs, ours = keras.activations.get(name), cnnlib.activations.get(name)
    x = GRID if name != "softmax" else GRID[:180].reshape(20, 9)
    dy = np.random.default_rng(6).normal(size=x.shape).astype("float32")
    expected, back = jax.vjp(theirs, jnp.asarray(x))
    y, cache = ours.forward(x)
    dx = ours.backward(dy, cache)
    assert y.dtype == dx.dtype == np.float32
    # Number by number: tiny values count as well, down to what float32 resolves near 1.
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(dx, back(dy)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ReLU", {}),
        ("ReLU", {"negative_slope": 0.3}),
        ("LeakyReLU", {}),
        ("ELU", {}),
    ],
)
def test_slope_at_zero_itself_is_the_one_of_keras(name, options):
    # Blank pixels under a bias of zero are exactly 0, so this choice shows in a training curve.
    compare_layer(name, options, VECTORS, x=np.zeros(VECTORS, "float32"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu", {"negative_slope": 0.2, "max_value": 3.0, "threshold": 1.0}),
        ("relu", {"max_value": 6.0}),
        ("leaky_relu", {"negative_slope": 0.01}),
        ("elu", {"alpha": 2.0}),
        ("gelu", {"approximate": True}),
        ("softmax", {"axis": 0}),
    ],
)
def test_activation_with_arguments(name, options):
    x = GRID.reshape(11, 17)
    expected = getattr(keras.activations, name)(x, **options)
    np.testing.assert_allclose(
        getattr(cnnlib.activations, name)(x, **options), expected, rtol=1e-5, atol=2e-6
    )


def test_gelu_is_exact_to_1e_6_in_float64():
    x = np.linspace(-12, 12, 4801)
    exact = x * (1 + erf(x / np.sqrt(2))) / 2
    assert np.abs(cnnlib.activations.gelu(x) - exact).max() < 1e-12


@pytest.mark.parametrize("name", sorted(cnnlib.activations.FUNCTIONS))
def test_an_activation_means_the_same_by_name_as_layer_and_inside_dense(name):
    x = np.random.default_rng(7).normal(size=VECTORS).astype("float32")
    inside = cnnlib.layers.Dense(4, activation=name)
    outside = cnnlib.layers.Dense(4)
    inside.build(VECTORS)
    outside.build(VECTORS)
    outside.set_weights(inside.get_weights())
    after = cnnlib.layers.Activation(getattr(cnnlib.activations, name))
    np.testing.assert_array_equal(inside(x), after(outside(x)))


# --- Dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_a_share_of_rate_and_keeps_the_mean_as_keras_does(rate):
    x = np.ones((200, 100), "float32")
    y, cache = cnnlib.layers.Dropout(rate).forward(x, True, np.random.default_rng(8))
    theirs = np.asarray(keras.layers.Dropout(rate, seed=8)(x, training=True))
    # Five standard deviations of a share of 20,000 draws: 5 * sqrt(0.25 / 20000) = 0.018.
    for result in (y, theirs):
        assert abs((result == 0).mean() - rate) < 0.018
        assert_close(np.unique(result), np.array([0, 1 / (1 - rate)], "float32"), what="values")
    assert abs(y.mean() - 1) < 0.018 / (1 - rate)
    dy = np.random.default_rng(9).normal(size=x.shape).astype("float32")
    dx, grads = cnnlib.layers.Dropout(rate).backward(dy, cache)
    np.testing.assert_array_equal(dx, dy * y)
    assert grads == {}


def test_dropout_gives_different_masks_to_different_generators():
    layer, x = cnnlib.layers.Dropout(0.5), np.ones(VECTORS, "float32")
    one, again, other = (layer.forward(x, True, np.random.default_rng(s))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


# --- Random sweeps ------------------------------------------------------------------------------


def draw(rng, *choices):
    return [choice[rng.integers(len(choice))] for choice in choices]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(150))
def test_random_convolutions(seed):
    rng = np.random.default_rng(seed)
    groups, per_group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    window = tuple(int(k) for k in rng.integers(1, 5, 2))
    options = {
        "filters": groups * int(rng.integers(1, 4)),
        "kernel_size": window,
        "padding": draw(rng, ["valid", "same"])[0],
        "groups": groups,
        "use_bias": bool(rng.integers(2)),
    }
    steps = tuple(int(k) for k in rng.integers(1, 4, 2))
    options[draw(rng, ["strides", "dilation_rate"])[0]] = steps
    reach = [3 * (k - 1) + 1 for k in window]
    sizes = [r + int(rng.integers(0, 6)) for r in reach]
    shape = (int(rng.integers(1, 6)), *sizes, groups * per_group)
    print(f"seed {seed}: {options} on {shape}")
    compare_layer("Conv2D", options, shape, seed=seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100))
def test_random_pools(seed):
    rng = np.random.default_rng(seed)
    name, padding = draw(rng, ["MaxPooling2D", "AveragePooling2D"], ["valid", "same"])
    window, strides = (tuple(int(k) for k in rng.integers(1, 5, 2)) for _ in range(2))
    sizes = [k + int(rng.integers(0, 6)) for k in window]
    shape = (int(rng.integers(1, 6)), *sizes, int(rng.integers(1, 5)))
    options = {"pool_size": window, "strides": strides, "padding": padding}
    print(f"seed {seed}: {name} {options} on {shape}")
    compare_layer(name, options, shape, seed=seed)
