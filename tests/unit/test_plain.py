"""cnnlib.plain, the loops, against Keras, SciPy and central differences.

The fast code is compared with these loops elsewhere; here the loops meet references that share
nothing with cnnlib.
"""

import itertools
import re

import jax
import keras
import numpy as np
import pytest
from scipy import signal

from cnnlib import plain

# Keras computes in float32: 6e-8 a step, on sums of at most 100 products of numbers near 1.
SINGLE = {"rtol": 1e-5, "atol": 1e-5}
# Both sides compute in float64, on numbers near 1.
DOUBLE = {"rtol": 1e-9, "atol": 1e-9}

# (batch, height, width, in), (kh, kw, in / groups, out), strides, padding, dilation_rate, groups
CONVOLUTIONS = [
    ((2, 5, 6, 3), (3, 2, 3, 4), 1, "valid", 1, 1),
    ((2, 5, 6, 3), (3, 2, 3, 4), 1, "same", 1, 1),
    ((2, 6, 5, 2), (2, 3, 2, 3), (2, 1), "same", 1, 1),
    ((2, 6, 5, 2), (4, 2, 2, 3), (2, 3), "same", 1, 1),
    ((2, 7, 6, 2), (3, 2, 2, 3), (3, 2), "valid", 1, 1),
    ((2, 7, 6, 2), (3, 2, 2, 3), 1, "valid", (2, 3), 1),
    ((2, 7, 6, 2), (2, 3, 2, 3), 1, "same", (3, 2), 1),
    ((2, 5, 4, 4), (3, 2, 2, 6), (1, 2), "same", 1, 2),
    ((2, 5, 4, 3), (2, 2, 1, 3), 1, "valid", 1, 3),
    ((2, 2, 3, 2), (5, 4, 2, 2), 1, "same", 1, 1),  # a kernel larger than the picture
    ((2, 5, 5, 2), (1, 1, 2, 3), 3, "same", 1, 1),  # strides that leave pixels out
]

# (batch, height, width, channels), pool_size, strides, padding
POOLINGS = [
    ((2, 4, 6, 3), 2, None, "valid"),
    ((2, 5, 7, 2), 2, None, "valid"),
    ((2, 5, 7, 2), 2, None, "same"),
    ((2, 5, 6, 2), (3, 2), (1, 2), "valid"),
    ((2, 5, 6, 2), (3, 2), 1, "same"),
    ((2, 6, 5, 2), (2, 3), (3, 2), "same"),
    ((2, 2, 3, 2), 4, 1, "same"),  # a window larger than the picture
    ((2, 5, 5, 1), (1, 2), 3, "valid"),
]


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def singles(*arrays):
    return [array.astype("float32") for array in arrays]


def central_differences(function, x, dy, step=1e-6):
    """Gradient of sum(function(x) * dy) with respect to x, one number at a time."""
    dx = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        higher, lower = x.copy(), x.copy()
        higher[index] += step
        lower[index] -= step
        dx[index] = np.sum((function(higher) - function(lower)) * dy) / (2 * step)
    return dx


def assert_matches_differences(dx, function, x, dy):
    # Central differences with step 1e-6 err by 1e-16 / 1e-6 from rounding, and by step**2 times the
    # third derivative, which is near 1 at most: about 1e-9 together.
    np.testing.assert_allclose(
        dx, central_differences(function, x, dy), rtol=1e-6, atol=1e-7, strict=True
    )


# --- Dense ----------------------------------------------------------------------------------------


def test_dense_forward_is_the_matrix_product():
    x, kernel, bias = draw(0, (3, 4), (4, 5), (5,))
    np.testing.assert_allclose(plain.dense_forward(x, kernel, bias), x @ kernel + bias, **DOUBLE)
    np.testing.assert_allclose(plain.dense_forward(x, kernel), x @ kernel, **DOUBLE)


def test_dense_backward_matches_finite_differences():
    x, kernel, bias, dy = draw(1, (3, 4), (4, 5), (5,), (3, 5))
    dx, dkernel, dbias = plain.dense_backward(dy, x, kernel)
    assert_matches_differences(dx, lambda x: plain.dense_forward(x, kernel, bias), x, dy)
    assert_matches_differences(dkernel, lambda k: plain.dense_forward(x, k, bias), kernel, dy)
    assert_matches_differences(dbias, lambda b: plain.dense_forward(x, kernel, b), bias, dy)


def test_dense_refuses_a_kernel_for_another_number_of_inputs():
    with pytest.raises(ValueError, match=r"\(batch, in\).*Received: shapes \(2, 3\) and \(4, 5\)"):
        plain.dense_forward(np.ones((2, 3)), np.ones((4, 5)))


# --- Activations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, -1.0])
def test_relu_matches_keras_and_finite_differences(negative_slope):
    z, dy = draw(24, (3, 5), (3, 5))

    def forward(z):
        return plain.relu_forward(z, negative_slope)

    theirs = np.asarray(keras.ops.leaky_relu(z.astype("float32"), negative_slope))
    np.testing.assert_allclose(forward(z), theirs, **SINGLE)
    assert_matches_differences(plain.relu_backward(dy, z, negative_slope), forward, z, dy)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_sigmoid_and_tanh_match_keras_and_finite_differences(name):
    z, dy = draw(25, (3, 5), (3, 5))
    forward, backward = getattr(plain, f"{name}_forward"), getattr(plain, f"{name}_backward")
    theirs = np.asarray(getattr(keras.ops, name)(z.astype("float32")))
    np.testing.assert_allclose(forward(z), theirs, **SINGLE)
    assert_matches_differences(backward(dy, forward(z)), forward, z, dy)


# --- Correlation and convolution of one picture with one kernel -----------------------------------


@pytest.mark.parametrize(
    ("ours", "reference"),
    [(plain.correlate2d, signal.correlate2d), (plain.convolve2d, signal.convolve2d)],
)
def test_correlation_and_convolution_equal_scipy_for_every_small_shape(ours, reference):
    for height, width, kh, kw in itertools.product(range(1, 5), repeat=4):
        x, kernel = draw(2, (height, width), (kh, kw))
        for mode in ["same", "full"]:
            np.testing.assert_allclose(
                ours(x, kernel, mode), reference(x, kernel, mode), **DOUBLE, strict=True
            )
        if (height >= kh and width >= kw) or (height <= kh and width <= kw):
            np.testing.assert_allclose(
                ours(x, kernel), reference(x, kernel, "valid"), **DOUBLE, strict=True
            )
        else:
            with pytest.raises(ValueError, match="'valid': expected a window of at most"):
                ours(x, kernel)


@pytest.mark.parametrize("function", [plain.correlate2d, plain.convolve2d])
def test_correlation_of_8_bit_pictures_does_not_overflow(function):
    x = np.full((3, 4), 200, dtype="uint8")
    np.testing.assert_array_equal(function(x, np.full((2, 2), 100, dtype="uint8")), 80_000.0)


@pytest.mark.parametrize("function", [plain.correlate2d, plain.convolve2d])
def test_correlation_refuses_an_unknown_mode(function):
    with pytest.raises(ValueError, match="unknown mode: 'ful'. Did you mean 'full'"):
        function(np.ones((3, 3)), np.ones((2, 2)), mode="ful")


# --- Convolution layer ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv2d_equals_keras_forward_and_backward(case):
    x_shape, kernel_shape, strides, padding, dilation_rate, groups = case
    x, kernel, bias = singles(*draw(3, x_shape, kernel_shape, kernel_shape[-1:]))

    def reference(x, kernel, bias):
        y = keras.ops.conv(x, kernel, strides, padding, "channels_last", dilation_rate)
        return y + bias

    expected, pull_back = jax.vjp(reference, x, kernel, bias)
    y = plain.conv2d_forward(x, kernel, bias, strides, padding, dilation_rate, groups)
    np.testing.assert_allclose(y, expected, **SINGLE, strict=True)
    (dy,) = singles(*draw(4, y.shape))
    ours = plain.conv2d_backward(dy, x, kernel, strides, padding, dilation_rate, groups)
    for gradient, keras_gradient in zip(ours, pull_back(dy), strict=True):
        np.testing.assert_allclose(gradient, keras_gradient, **SINGLE, strict=True)


@pytest.mark.parametrize("case", CONVOLUTIONS[-4:], ids=str)
def test_conv2d_backward_matches_finite_differences(case):
    x_shape, kernel_shape, *arrangement = case
    x, kernel, bias = draw(5, x_shape, kernel_shape, kernel_shape[-1:])
    (dy,) = draw(6, plain.conv2d_forward(x, kernel, bias, *arrangement).shape)

    def forward(x=x, kernel=kernel, bias=bias):
        return plain.conv2d_forward(x, kernel, bias, *arrangement)

    dx, dkernel, dbias = plain.conv2d_backward(dy, x, kernel, *arrangement)
    assert_matches_differences(dx, forward, x, dy)
    assert_matches_differences(dkernel, lambda k: forward(kernel=k), kernel, dy)
    assert_matches_differences(dbias, lambda b: forward(bias=b), bias, dy)


def test_conv2d_with_strides_and_dilation_matches_scipy_and_finite_differences():
    # Keras refuses the two together; the formula does not.
    x, kernel = draw(7, (1, 8, 9, 1), (2, 3, 1, 1))
    spread = np.zeros((4, 5))  # the kernel with its cells (3, 2) apart
    spread[::3, ::2] = kernel[:, :, 0, 0]
    expected = signal.correlate2d(x[0, :, :, 0], spread, "valid")[::2, ::3]
    arrangement = {"strides": (2, 3), "dilation_rate": (3, 2)}
    y = plain.conv2d_forward(x, kernel, **arrangement)
    np.testing.assert_allclose(y[0, :, :, 0], expected, **DOUBLE)
    (dy,) = draw(8, y.shape)
    dx, dkernel, _ = plain.conv2d_backward(dy, x, kernel, **arrangement)
    assert_matches_differences(dx, lambda x: plain.conv2d_forward(x, kernel, **arrangement), x, dy)
    assert_matches_differences(
        dkernel, lambda k: plain.conv2d_forward(x, k, **arrangement), kernel, dy
    )


def test_conv2d_refuses_what_does_not_fit():
    x, kernel = np.ones((2, 5, 4, 3)), np.ones((3, 2, 3, 4))
    with pytest.raises(ValueError, match=r"kh, kw, in / 1, out.*\(2, 5, 4, 3\) and \(3, 2, 2, 4\)"):
        plain.conv2d_forward(x, kernel[:, :, :2])
    with pytest.raises(ValueError, match=r"kh, kw, in / 3, out"):  # 4 outputs in 3 groups
        plain.conv2d_forward(x, kernel[:, :, :1], groups=3)
    with pytest.raises(ValueError, match="at most 4 cells. Received: 5 cells. Use 'same'"):
        plain.conv2d_forward(x, kernel, dilation_rate=(1, 4))
    with pytest.raises(ValueError, match="unknown padding: 'full'.*Known: same, valid"):
        plain.conv2d_forward(x, kernel, padding="full")
    with pytest.raises(ValueError, match="strides"):
        plain.conv2d_forward(x, kernel, strides=0)
    with pytest.raises(ValueError, match=r"dy \(2, 3, 3, 4\)\. Received: shapes \(2, 3, 3, 1\)"):
        plain.conv2d_backward(np.ones((2, 3, 3, 1)), x, kernel)


# --- Pooling --------------------------------------------------------------------------------------

POOL_FUNCTIONS = {
    "max": (plain.max_pooling2d_forward, plain.max_pooling2d_backward, keras.ops.max_pool),
    "average": (
        plain.average_pooling2d_forward,
        plain.average_pooling2d_backward,
        keras.ops.average_pool,
    ),
}


@pytest.mark.parametrize("kind", POOL_FUNCTIONS)
@pytest.mark.parametrize("case", POOLINGS, ids=str)
def test_pooling_equals_keras_forward_and_backward(case, kind):
    shape, pool_size, strides, padding = case
    arrangement = pool_size, strides, padding
    forward, backward, reference = POOL_FUNCTIONS[kind]
    # All numbers below 0: a border of zeros would win every maximum.
    x = -np.exp(singles(*draw(9, shape))[0])
    # Keras's layers put the pool size for strides=None themselves; keras.ops on JAX fails.
    steps = pool_size if strides is None else strides
    expected, pull_back = jax.vjp(lambda x: reference(x, pool_size, steps, padding), x)
    y = forward(x, *arrangement)
    np.testing.assert_allclose(y, expected, **SINGLE, strict=True)
    (dy,) = singles(*draw(10, y.shape))
    np.testing.assert_allclose(
        backward(dy, x, *arrangement), pull_back(dy)[0], **SINGLE, strict=True
    )


@pytest.mark.parametrize("kind", POOL_FUNCTIONS)
@pytest.mark.parametrize("case", POOLINGS[3:6], ids=str)
def test_pooling_backward_matches_finite_differences(case, kind):
    shape, *arrangement = case
    forward, backward, _ = POOL_FUNCTIONS[kind]
    # Numbers 0.1 apart in random order: no step of a difference changes which one is the largest.
    x = np.random.default_rng(11).permutation(np.prod(shape)).reshape(shape) * 0.1
    (dy,) = draw(12, forward(x, *arrangement).shape)
    dx = backward(dy, x, *arrangement)
    assert_matches_differences(dx, lambda x: forward(x, *arrangement), x, dy)


def test_max_pooling_gives_the_first_of_equal_cells_all_of_the_gradient_as_keras_does():
    x = np.zeros((1, 4, 4, 1), dtype="float32")
    x[0, 1, 1:] = x[0, 2, :3] = 5
    dy = np.arange(1, 10, dtype="float32").reshape(1, 3, 3, 1)
    dx = plain.max_pooling2d_backward(dy, x, 2, strides=1)
    _, pull_back = jax.vjp(lambda x: keras.ops.max_pool(x, 2, 1), x)
    np.testing.assert_array_equal(dx, pull_back(dy)[0])
    # Rows of windows: [1 2 3], [4 5 6], [7 8 9]. Worked out by hand:
    expected = [[0, 0, 0, 0], [0, 1 + 2 + 4 + 5, 3 + 6, 0], [7, 8, 9, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


def test_average_pooling_of_8_bit_pictures_does_not_overflow():
    x = np.full((1, 2, 2, 1), 200, dtype="uint8")
    np.testing.assert_array_equal(plain.average_pooling2d_forward(x), [[[[200.0]]]])


@pytest.mark.parametrize("kind", POOL_FUNCTIONS)
def test_pooling_refuses_what_does_not_fit(kind):
    forward, _, _ = POOL_FUNCTIONS[kind]
    x = np.ones((1, 3, 4, 1))
    with pytest.raises(ValueError, match="window of at most 3 cells. Received: 4 cells"):
        forward(x, pool_size=4)
    with pytest.raises(ValueError, match="unknown padding: 'vaild'. Did you mean 'valid'"):
        forward(x, padding="vaild")
    with pytest.raises(ValueError, match="strides"):
        forward(x, strides=0)


# --- Dropout --------------------------------------------------------------------------------------


def test_dropout_drops_the_rate_and_keeps_the_sum():
    uniform = (np.arange(1000).reshape(20, 50) + 0.5) / 1000
    y = plain.dropout_forward(np.ones((20, 50)), 0.3, uniform)
    assert np.count_nonzero(y == 0) == 300
    np.testing.assert_allclose(y.sum(), 1000)


def test_dropout_scales_what_it_keeps_as_keras_does():
    x = np.abs(singles(*draw(13, (30, 40)))[0]) + 1  # no zeros of its own
    expected = np.asarray(keras.layers.Dropout(0.4, seed=1)(x, training=True))
    # Keras draws its own numbers: give ours a mask that drops the same cells.
    y = plain.dropout_forward(x, 0.4, uniform=np.where(expected == 0, 0.1, 0.9))
    np.testing.assert_allclose(y, expected, **SINGLE)


def test_dropout_of_nothing_and_of_everything():
    x, uniform = draw(14, (3, 4))[0], np.random.default_rng(0).random((3, 4))
    np.testing.assert_array_equal(plain.dropout_forward(x, 0, uniform), x)
    np.testing.assert_array_equal(plain.dropout_forward(x, 1, uniform), 0)


def test_dropout_backward_matches_finite_differences():
    x, dy = draw(15, (3, 4), (3, 4))
    uniform = np.random.default_rng(16).random((3, 4))
    dx = plain.dropout_backward(dy, 0.4, uniform)
    assert_matches_differences(dx, lambda x: plain.dropout_forward(x, 0.4, uniform), x, dy)


def test_dropout_refuses_a_rate_that_is_no_share():
    with pytest.raises(ValueError, match=r"share to drop, from 0 to 1\. Received: 50"):
        plain.dropout_forward(np.ones(3), 50, np.ones(3))
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        plain.dropout_forward(np.ones(3), 0.5, np.ones(4))


# --- Batch normalization --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 3), (2, 3, 4, 3)], ids=str)
def test_batch_normalization_equals_keras(shape):
    x, gamma, beta, moving_mean = singles(*draw(17, shape, (3,), (3,), (3,)))
    moving_variance = np.array([0.5, 1.0, 2.0], dtype="float32")
    layer = keras.layers.BatchNormalization(momentum=0.8)
    layer.build(shape)
    layer.set_weights([gamma, beta, moving_mean, moving_variance])
    expected = layer(x, training=True)
    y, *moving = plain.batch_normalization_forward(
        x, gamma, beta, moving_mean, moving_variance, momentum=0.8
    )
    np.testing.assert_allclose(y, expected, **SINGLE, strict=True)
    for ours, reference in zip(moving, layer.get_weights()[2:], strict=True):
        np.testing.assert_allclose(ours, reference, **SINGLE, strict=True)


def test_batch_normalization_has_the_defaults_of_keras():
    layer = keras.layers.BatchNormalization()
    x = np.array([[1.0], [3.0]])
    zero, one = np.zeros(1), np.ones(1)
    y, mean, variance = plain.batch_normalization_forward(x, one, zero, zero, one)
    np.testing.assert_allclose(y[1], 1 / np.sqrt(1 + layer.epsilon))
    np.testing.assert_allclose(mean, 2 * (1 - layer.momentum))
    np.testing.assert_allclose(variance, 1)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 2, 3)], ids=str)
def test_batch_normalization_backward_matches_finite_differences(shape):
    x, gamma, beta, dy = draw(18, shape, (3,), (3,), shape)

    def forward(x=x, gamma=gamma, beta=beta):
        zero, one = np.zeros(3), np.ones(3)
        return plain.batch_normalization_forward(x, gamma, beta, zero, one)[0]

    dx, dgamma, dbeta = plain.batch_normalization_backward(dy, x, gamma)
    assert_matches_differences(dx, forward, x, dy)
    assert_matches_differences(dgamma, lambda g: forward(gamma=g), gamma, dy)
    assert_matches_differences(dbeta, lambda b: forward(beta=b), beta, dy)


# --- Softmax with cross-entropy -------------------------------------------------------------------

LABELS = np.array([2, 0, 3, 2, 1])


def test_softmax_cross_entropy_equals_keras():
    (logits,) = singles(*draw(19, (5, 4)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert plain.softmax_cross_entropy_forward(logits, LABELS) == pytest.approx(
        float(loss(LABELS, logits)), rel=1e-6
    )
    expected = jax.grad(lambda logits: loss(LABELS, logits))(logits)
    dlogits = plain.softmax_cross_entropy_backward(logits, LABELS)
    np.testing.assert_allclose(dlogits, expected, **SINGLE, strict=True)
    np.testing.assert_allclose(plain.softmax(logits), keras.ops.softmax(logits), **SINGLE)


def test_softmax_cross_entropy_backward_matches_finite_differences():
    (logits,) = draw(20, (5, 4))
    dlogits = plain.softmax_cross_entropy_backward(logits, LABELS)

    def forward(logits):
        return np.array(plain.softmax_cross_entropy_forward(logits, LABELS))

    assert_matches_differences(dlogits, forward, logits, np.array(1.0))


def test_softmax_cross_entropy_is_finite_for_any_logits():
    logits = np.array([[-3e38, 3e38], [3e38, -3e38]], dtype="float32")
    right, wrong = np.array([1, 0]), np.array([0, 1])
    assert plain.softmax_cross_entropy_forward(logits, right) == 0
    assert plain.softmax_cross_entropy_forward(logits, wrong) == pytest.approx(6e38)
    expected = [[-0.5, 0.5], [0.5, -0.5]]  # (p - one-hot) / 2
    np.testing.assert_array_equal(plain.softmax_cross_entropy_backward(logits, wrong), expected)


@pytest.mark.parametrize(
    "labels",
    [np.array([0, 3]), np.array([-1, 0]), np.array([0]), np.eye(2, 3), np.array([0.0, 1.0])],
    ids=["too large", "negative", "too few", "one-hot", "floats"],
)
def test_softmax_cross_entropy_refuses_other_labels(labels):
    message = f"expected 2 integers from 0 to 2. Received: {labels.dtype}, shape "
    for function in (plain.softmax_cross_entropy_forward, plain.softmax_cross_entropy_backward):
        with pytest.raises(ValueError, match=re.escape(message)):
            function(np.zeros((2, 3)), labels)


# --- All of them ----------------------------------------------------------------------------------

IMAGES, KERNEL, MAPS = (2, 4, 5, 2), (2, 3, 2, 3), (2, 3, 3, 3)
CALLS = {
    "dense_forward": [(3, 4), (4, 2), (2,)],
    "dense_backward": [(3, 2), (3, 4), (4, 2)],
    "relu_forward": [(3, 4), 0.2],
    "relu_backward": [(3, 4), (3, 4), 0.2],
    "sigmoid_forward": [(3, 4)],
    "sigmoid_backward": [(3, 4), (3, 4)],
    "tanh_forward": [(3, 4)],
    "tanh_backward": [(3, 4), (3, 4)],
    "correlate2d": [(4, 5), (2, 3)],
    "convolve2d": [(4, 5), (2, 3)],
    "conv2d_forward": [IMAGES, KERNEL, (3,)],
    "conv2d_backward": [MAPS, IMAGES, KERNEL],
    "synapse": [(3, 4), (3, 4)],
    "synapse_slopes": [(3, 4), (3, 4)],
    "comparative_dense_forward": [(3, 4), (4, 2), (2,), 0.5],
    "comparative_dense_backward": [(3, 2), (3, 4), (4, 2), 0.5],
    "comparative_conv2d_forward": [IMAGES, KERNEL, (3,), 0.5],
    "comparative_conv2d_backward": [MAPS, IMAGES, KERNEL, 0.5],
    "max_pooling2d_forward": [IMAGES],
    "max_pooling2d_backward": [(2, 2, 2, 2), IMAGES],
    "average_pooling2d_forward": [IMAGES],
    "average_pooling2d_backward": [(2, 2, 2, 2), IMAGES],
    "dropout_forward": [(3, 4), 0.5, (3, 4)],
    "dropout_backward": [(3, 4), 0.5, (3, 4)],
    "batch_normalization_forward": [IMAGES, (2,), (2,), (2,), (2,)],
    "batch_normalization_backward": [IMAGES, IMAGES, (2,)],
    "softmax": [(5, 4)],
    "softmax_cross_entropy_forward": [(5, 4), LABELS],
    "softmax_cross_entropy_backward": [(5, 4), LABELS],
}


def test_every_public_function_stands_in_the_table_of_calls():
    public = {
        name
        for name, value in vars(plain).items()
        if getattr(value, "__module__", "") == plain.__name__ and not name.startswith("_")
    }
    assert public == set(CALLS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_arguments_stay_as_they_are_and_results_have_the_dtype_of_x(name, dtype):
    arguments = [
        draw(21, argument)[0].astype(dtype) if isinstance(argument, tuple) else argument
        for argument in CALLS[name]
    ]
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            argument.flags.writeable = False  # writing to it would raise
    results = getattr(plain, name)(*arguments)
    for result in results if isinstance(results, tuple) else (results,):
        if isinstance(result, np.ndarray):
            assert result.dtype == dtype
            assert not any(np.shares_memory(result, argument) for argument in arguments)
        else:
            assert isinstance(result, float)
