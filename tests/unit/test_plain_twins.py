"""The fast code against its plain twin, the loops of `cnnlib.plain`, on random float32 input."""

import itertools

import numpy as np
import pytest
from keras_reference import assert_close

from cnnlib import activations, kernels, layers, losses, plain

# The plain code adds in float64, the fast one in float32, up to a hundred numbers near 1: 1e-5 of
# the largest result.


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def built(layer, shape, seed):
    """The layer with random weights for inputs of this shape."""
    layer.build((None, *shape[1:]))
    layer.set_weights(draw(seed, *(w.shape for w in layer.get_weights())))
    return layer


def in_memory_order(x, order):
    """The same numbers, with the axis `order[0]` outermost in memory and `order[-1]` innermost."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


# The order of images between layers (batch innermost), and C's.
ORDERS = pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 3, 2, 0)], ids=["C", "rows"])


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(use_bias):
    x, dy = draw(0, (7, 5), (7, 4))
    layer = built(layers.Dense(4, use_bias=use_bias), x.shape, 1)
    y, cache = layer.forward(x)
    dx, grads = layer.backward(dy, cache)
    assert_close(y, plain.dense_forward(x, layer.params["kernel"], layer.params.get("bias")))
    expected_dx, dkernel, dbias = plain.dense_backward(dy, x, layer.params["kernel"])
    assert_close(dx, expected_dx, what="dx")
    assert_close(grads["kernel"], dkernel, what="kernel")
    if use_bias:
        assert_close(grads["bias"], dbias, what="bias")


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, 1.5, -1.0])
def test_relu_with_any_slope_on_the_left(negative_slope):
    z, dy = draw(3, (4, 6), (4, 6))
    z[0] = 0, -0.0, 1, -1, 0, 50  # blank pixels under a bias of zero lie on the bend
    function = activations.relu.with_options(negative_slope=negative_slope)
    y, cache = function.forward(z)
    assert_close(y, plain.relu_forward(z, negative_slope))
    assert_close(function.backward(dy, cache), plain.relu_backward(dy, z, negative_slope))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_sigmoid_and_tanh(name):
    z, dy = draw(4, (4, 6), (4, 6))
    z[0] = 0, -1000, 1000, -30, 30, 5  # far beyond where exp overflows
    forward, backward = getattr(plain, f"{name}_forward"), getattr(plain, f"{name}_backward")
    y, cache = activations.get(name).forward(z)
    assert_close(y, forward(z))
    assert_close(activations.get(name).backward(dy, cache), backward(dy, forward(z)))


CONVOLUTIONS = [
    {"kernel_size": (3, 2)},
    {"kernel_size": (2, 3), "padding": "same"},
    {"kernel_size": 3, "strides": (2, 1), "use_bias": False},
    {"kernel_size": (3, 4), "strides": (2, 3), "padding": "same"},
    {"kernel_size": 1, "strides": 3},
    {"kernel_size": (2, 3), "dilation_rate": (3, 2)},
    {"kernel_size": 3, "dilation_rate": (1, 2), "padding": "same"},
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": (2, 1), "groups": 4, "strides": 2, "padding": "same"},
    {"kernel_size": 2, "groups": 2, "dilation_rate": 2, "padding": "same"},
    {"kernel_size": (8, 9), "padding": "same"},  # larger than the image
]


def check_convolution(options, shape, filters, seed, order=(0, 1, 2, 3)):
    layer = layers.Conv2D(filters, **options)
    names = ("strides", "padding", "dilation_rate", "groups")
    how = {name: getattr(layer, name) for name in names}
    (x,) = draw(seed, shape)
    built(layer, shape, seed + 1)
    kernel, bias = layer.params["kernel"], layer.params.get("bias")
    y, cache = layer.forward(in_memory_order(x, order))
    expected = plain.conv2d_forward(x, kernel, bias, **how)
    assert_close(y, expected, what="y")
    (dy,) = draw(seed + 2, y.shape)
    dx, grads = layer.backward(in_memory_order(dy, order), cache)
    expected_dx, dkernel, dbias = plain.conv2d_backward(dy, x, kernel, **how)
    assert_close(dx, expected_dx, what="dx")
    assert_close(grads["kernel"], dkernel, what="kernel")
    if bias is not None:
        # Here the terms may cancel to less than a hundredth of the largest of them.
        scale = np.abs(dy).max() / min(np.abs(dbias).max(), np.abs(dy).max())
        assert_close(grads["bias"], dbias, 1e-5 * scale, what="bias")
    alone = layer.parameter_gradients(dy, cache)
    assert alone.keys() == grads.keys()
    for key, gradient in alone.items():
        assert_close(gradient, grads[key], what=f"{key} without dx")


@ORDERS
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolution(options, order):
    check_convolution(options, (2, 7, 6, 4), 4, seed=2, order=order)


POOLS = [
    (2, None, "valid"),
    (2, None, "same"),
    ((3, 2), (1, 2), "valid"),
    ((2, 3), 1, "same"),
    (3, 2, "same"),
    ((2, 1), 3, "valid"),
    ((1, 3), (3, 2), "same"),
    ((7, 6), None, "valid"),  # the whole image
]


def check_pooling(kind, x, pool_size, strides, padding, order=(0, 1, 2, 3)):
    layer = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[kind]
    layer = layer(pool_size, strides, padding)
    forward = getattr(plain, f"{kind}_pooling2d_forward")
    backward = getattr(plain, f"{kind}_pooling2d_backward")
    y, cache = layer.forward(in_memory_order(x, order))
    assert_close(y, forward(x, pool_size, strides, padding), what="y")
    (dy,) = draw(5, y.shape)
    dx, _ = layer.backward(in_memory_order(dy, order), cache)
    assert_close(dx, backward(dy, x, pool_size, strides, padding), what="dx")


@ORDERS
@pytest.mark.parametrize(("pool_size", "strides", "padding"), POOLS, ids=str)
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling(kind, pool_size, strides, padding, order):
    (x,) = draw(3, (2, 7, 6, 3))
    check_pooling(kind, x, pool_size, strides, padding, order)


def test_ties_in_max_pooling():
    x = np.random.default_rng(4).integers(-1, 2, (2, 7, 6, 3)).astype("float32")
    for pool_size, strides, padding in POOLS:
        check_pooling("max", x, pool_size, strides, padding)


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (3, 4, 2, 3)], ids=str)
def test_batch_normalization_in_training(shape):
    x, dy = draw(6, shape, shape)
    layer = layers.BatchNormalization(momentum=0.8, epsilon=0.01)
    built(layer, shape, 7)
    y, cache = layer.forward(x, training=True)
    dx, grads = layer.backward(dy, cache)
    gamma, beta, moving_mean, moving_variance = layer.get_weights()
    expected = plain.batch_normalization_forward(
        x, gamma, beta, moving_mean, moving_variance, momentum=0.8, epsilon=0.01
    )
    state = layer.updated_state(cache)
    for what, received, correct in zip(
        ("y", "moving mean", "moving variance"),
        (y, state["moving_mean"], state["moving_variance"]),
        expected,
        strict=True,
    ):
        assert_close(received, correct, what=what)
    expected_dx, dgamma, dbeta = plain.batch_normalization_backward(dy, x, gamma, epsilon=0.01)
    assert_close(dx, expected_dx, what="dx")
    assert_close(grads["gamma"], dgamma, what="gamma")
    assert_close(grads["beta"], dbeta, what="beta")


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_dropout_with_the_same_random_numbers(rate):
    x, dy = draw(8, (5, 4, 3, 2), (5, 4, 3, 2))
    y, cache = layers.Dropout(rate).forward(x, True, np.random.default_rng(9))
    dx, _ = layers.Dropout(rate).backward(dy, cache)
    uniform = np.random.default_rng(9).random(x.shape, dtype="float32")
    assert_close(y, plain.dropout_forward(x, rate, uniform))
    assert_close(dx, plain.dropout_backward(dy, rate, uniform))


def test_softmax_with_cross_entropy():
    (logits,) = draw(10, (6, 5))
    labels = np.random.default_rng(11).integers(0, 5, 6)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    values, dy = loss.value_and_gradient(labels, logits)
    assert_close(values.mean(), plain.softmax_cross_entropy_forward(logits, labels))
    # The loss gives the gradient of the sum, the plain version that of the mean.
    assert_close(dy / 6, plain.softmax_cross_entropy_backward(logits, labels))
    assert_close(layers.Softmax()(logits), plain.softmax(logits))


def test_softmax_then_cross_entropy_of_probabilities_is_the_same_function():
    (logits,) = draw(12, (6, 5))
    labels = np.random.default_rng(13).integers(0, 5, 6)
    softmax = layers.Softmax()
    p, cache = softmax.forward(logits)
    values, dp = losses.SparseCategoricalCrossentropy().value_and_gradient(labels, p)
    dlogits, _ = softmax.backward(dp, cache)
    assert_close(values.mean(), plain.softmax_cross_entropy_forward(logits, labels))
    assert_close(dlogits / 6, plain.softmax_cross_entropy_backward(logits, labels))


def test_flatten_keeps_c_order_whatever_the_memory_order():
    (x,) = draw(14, (3, 4, 2, 5))
    for order in ((0, 1, 2, 3), (1, 3, 2, 0), (3, 2, 1, 0)):
        flat = kernels.flatten(in_memory_order(x, order))
        np.testing.assert_array_equal(flat, x.reshape(3, 40))
        np.testing.assert_array_equal(kernels.unflatten(flat, (4, 2, 5)), x)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
def test_random_convolutions_and_pools(seed):
    rng = np.random.default_rng(seed)
    groups, per_group = (int(k) for k in rng.integers(1, 4, 2))
    window = tuple(int(k) for k in rng.integers(1, 5, 2))
    steps = tuple(int(k) for k in rng.integers(1, 4, 2))
    padding = str(rng.choice(["valid", "same"]))
    sizes = [3 * (k - 1) + 1 + int(rng.integers(0, 4)) for k in window]
    shape = (int(rng.integers(1, 4)), *sizes, groups * per_group)
    options = {"kernel_size": window, "padding": padding, "groups": groups}
    options[str(rng.choice(["strides", "dilation_rate"]))] = steps
    print(f"seed {seed}: {options} on {shape}")
    order = tuple(int(k) for k in rng.permutation(4))
    check_convolution(options, shape, groups * int(rng.integers(1, 4)), seed, order)
    (x,) = draw(seed, shape)
    check_pooling(str(rng.choice(["max", "average"])), x, window, steps, padding, order)


# --- What only the fast code has ------------------------------------------------------------------


def test_where_a_cell_of_the_window_meets_the_axis_itself():
    met = 0
    for size, window, stride, dilation, before, after in itertools.product(
        (1, 2, 5, 8), (1, 2, 3, 5), (1, 2, 3), (1, 2), (0, 1, 2), (0, 1, 3)
    ):
        axis = kernels.Axis(size, window, stride, dilation, before, after)
        if axis.out < 1:
            continue
        for k in range(window):
            padded = [p * stride + k * dilation - before for p in range(axis.out)]
            expected = [(place, p) for p, place in enumerate(padded) if 0 <= place < size]
            places, positions = axis.met(k)
            found = (range(size)[places], range(axis.out)[positions])
            assert list(zip(*found, strict=True)) == expected, (axis, k)
            met += not expected
    assert met > 100  # cells that lie in the padding everywhere are among them


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_relu_of_numbers_that_are_not_everyday(dtype):
    x = np.array([-3, 0, 2, 7], dtype)
    if np.dtype(dtype).kind == "f":
        x = np.append(x, np.array([-np.inf, np.inf, -0.0, 1e-38, np.nan], dtype))
    y, cache = activations.relu.forward(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0), strict=True)
    dx = activations.relu.backward(np.ones_like(x), cache)
    np.testing.assert_array_equal(dx, np.where(x > 0, 1, 0).astype(dtype), strict=True)
    if np.dtype(dtype).kind == "f":
        own = x.copy()
        assert activations.relu.forward(own, out=own)[0] is own  # no second array
