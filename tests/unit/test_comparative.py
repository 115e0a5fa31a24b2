"""The comparative synapse: right, in blocks, compiled or not, and what it refuses."""

import copy
import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
import tracemalloc
import warnings

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_reference import assert_close

import cnnlib
from cnnlib import Sequential, comparative_kernels, compiled, initializers, kernels, layers, plain
from cnnlib.gradient_check import GradientError, gradient_check

ROUTINES = {"numba": compiled, "numpy": comparative_kernels._NumPy}


@pytest.fixture(autouse=True)
def fixed_weights():
    """Weights do not depend on which tests ran before: some draw would lie on a kink."""
    cnnlib.utils.set_random_seed(7)


@pytest.fixture(params=ROUTINES)
def routine(request, monkeypatch):
    """The whole test once with the compiled routines and once with those of NumPy."""
    monkeypatch.setattr(comparative_kernels, "_compiled", ROUTINES[request.param])
    return request.param


def normal(seed, *shape, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def whole_numbers(seed, *shape, dtype="float32"):
    """From -2 to 2: ties and zeros everywhere, and sums without rounding."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype)


def in_memory_order(x, order):
    """The same numbers, with the axis `order[0]` outermost in memory and `order[-1]` innermost."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def convolution(options, shape, seed, dtype="float64", draw=normal):
    """A built layer with random weights, and the options that its plain twin takes."""
    layer = layers.ComparativeConv2D(**options, dtype=dtype)
    layer.build((None, *shape[1:]))
    layer.set_weights([draw(seed + k, *w.shape) for k, w in enumerate(layer.get_weights())])
    names = ("strides", "padding", "dilation_rate", "groups")
    return layer, {"scale": layer.output_scale, **{name: getattr(layer, name) for name in names}}


def run(layer, x, dy=None, seed=5, draw=normal):
    """``y, dx, grads, dy``; and the gradients are the same where nobody needs dx."""
    y, cache = layer.forward(x)
    dy = draw(seed, *y.shape).astype(y.dtype) if dy is None else dy
    dx, grads = layer.backward(dy, cache)
    alone = layer.parameter_gradients(dy, cache)
    assert alone.keys() == grads.keys() == layer.params.keys()
    for key, gradient in alone.items():
        assert_close(gradient, grads[key], what=f"{key} without dx")
    return y, dx, grads, dy


# Options of a convolution with images of 7 x 6 and 4 channels. The compiled loops take four weights
# or filters at a time: depths and filters of all remainders occur.
IMAGES = (2, 7, 6, 4)
CONVOLUTIONS = [
    {"filters": 1, "kernel_size": (3, 2)},
    {"filters": 6, "kernel_size": (2, 3), "padding": "same"},
    {"filters": 3, "kernel_size": 3, "strides": (2, 1), "use_bias": False},
    {"filters": 5, "kernel_size": (3, 4), "strides": (2, 3), "padding": "same", "scale": 0.25},
    {"filters": 4, "kernel_size": 1, "strides": 3},
    {"filters": 2, "kernel_size": (2, 3), "dilation_rate": (3, 2)},
    {"filters": 7, "kernel_size": 3, "dilation_rate": (1, 2), "padding": "same"},
    {"filters": 3, "kernel_size": (3, 2), "dilation_rate": (2, 1), "padding": "same"},
    {"filters": 6, "kernel_size": 3, "groups": 2},
    {"filters": 4, "kernel_size": (2, 1), "groups": 4, "strides": 2, "padding": "same"},
    {"filters": 10, "kernel_size": 2, "groups": 2, "dilation_rate": 2, "padding": "same"},
    {"filters": 2, "kernel_size": (8, 9), "padding": "same"},  # larger than the image
    {"filters": 2, "kernel_size": 3, "dilation_rate": (9, 8), "padding": "same"},
    {"filters": 3, "kernel_size": 2, "strides": 4, "padding": "same"},  # pixels that nobody sees
]
EACH = pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
ORDERS = pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 3, 2, 0)], ids=["C", "rows"])

# --- The plain twin, against the formula ----------------------------------------------------------


def by_broadcasting(x, kernel, scale, strides, padding, dilation_rate, groups):
    """(|x + w| - |x - w|) / 2 of whole windows, in float64."""
    window, reach, out, pads = kernel.shape[:2], [], [], [(0, 0)]
    for size, k, s, d in zip(x.shape[1:3], window, strides, dilation_rate, strict=True):
        reach.append(d * (k - 1) + 1)
        out.append(math.ceil((size if padding == "same" else size - reach[-1] + 1) / s))
        needed = max(0, (out[-1] - 1) * s + reach[-1] - size) if padding == "same" else 0
        pads.append((needed // 2, needed - needed // 2))
    padded = np.pad(x.astype("float64"), [*pads, (0, 0)])
    y = np.zeros((len(x), *out, kernel.shape[-1]))
    channels, filters = kernel.shape[2], kernel.shape[3] // groups
    for i, j, g in np.ndindex(*out, groups):
        here = [
            slice(place * s, place * s + r, d)
            for place, s, r, d in zip((i, j), strides, reach, dilation_rate, strict=True)
        ]
        part = slice(g * channels, (g + 1) * channels)
        of_group = slice(g * filters, (g + 1) * filters)
        seen, w = padded[:, *here, part, np.newaxis], kernel[..., of_group]
        y[:, i, j, of_group] = ((np.abs(seen + w) - np.abs(seen - w)) / 2).sum(axis=(1, 2, 3))
    return scale * y


def differences(function, array, dy, step=1e-6):
    """Gradient of sum(function() * dy) by `array`, one number at a time."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        higher = function()
        array[index] = kept - step
        gradient[index] = np.sum((higher - function()) * dy) / (2 * step)
        array[index] = kept
    return gradient


@EACH
def test_the_plain_convolution_is_the_formula(options):
    layer, how = convolution(options, IMAGES, 1)
    kernel, bias = layer.params["kernel"], layer.params.get("bias")
    x = normal(3, *IMAGES)
    y = plain.comparative_conv2d_forward(x, kernel, bias, **how)
    expected = by_broadcasting(x, kernel, **how) + (0.0 if bias is None else bias)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", CONVOLUTIONS[1:11:3], ids=str)
def test_the_plain_convolutions_gradients_are_the_formulas(options):
    shape = (2, 5, 4, 4)
    layer, how = convolution(options, shape, 1)
    kernel = layer.params["kernel"]
    x = normal(13, *shape)  # no |x| within a step of a |w|
    dy = normal(4, *plain.comparative_conv2d_forward(x, kernel, **how).shape)
    dx, dkernel, dbias = plain.comparative_conv2d_backward(dy, x, kernel, **how)
    # Linear between its kinks: a difference errs by rounding alone, 1e-15 a number of y / 2e-6.
    for received, array in ((dx, x), (dkernel, kernel)):
        expected = differences(lambda: by_broadcasting(x, kernel, **how), array, dy)
        np.testing.assert_allclose(received, expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, 1, 2)), rtol=1e-12)


def test_the_plain_dense_layer_is_the_formula_and_so_are_its_gradients():
    x, kernel, bias, dy = normal(0, 3, 5), normal(1, 5, 4), normal(2, 4), normal(3, 3, 4)

    def formula():
        pairs = x[:, :, np.newaxis], kernel
        return 0.7 * ((np.abs(np.add(*pairs)) - np.abs(np.subtract(*pairs))) / 2).sum(axis=1) + bias

    y = plain.comparative_dense_forward(x, kernel, bias, 0.7)
    np.testing.assert_allclose(y, formula(), rtol=1e-12, atol=1e-12)
    gradients = plain.comparative_dense_backward(dy, x, kernel, 0.7)
    for received, array in zip(gradients, (x, kernel, bias), strict=True):
        np.testing.assert_allclose(received, differences(formula, array, dy), rtol=1e-7, atol=1e-7)


def test_the_plain_twins_refuse_what_does_not_fit():
    x, kernel = np.ones((2, 5, 4, 3)), np.ones((3, 2, 3, 4))
    with pytest.raises(ValueError, match=r"\(batch, in\).*Received: shapes \(2, 3\) and \(4, 5\)"):
        plain.comparative_dense_forward(np.ones((2, 3)), np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"kh, kw, in / 1, out"):
        plain.comparative_conv2d_forward(x, kernel[:, :, :2])
    with pytest.raises(ValueError, match="unknown padding: 'full'"):
        plain.comparative_conv2d_forward(x, kernel, padding="full")
    with pytest.raises(ValueError, match=r"dy \(2, 3, 3, 4\)"):
        plain.comparative_conv2d_backward(np.ones((2, 3, 3, 1)), x, kernel)


# --- The fast code, against the plain twin --------------------------------------------------------

# Sums of up to 300 numbers near 1: float32 rounds each by 6e-8, the plain twin adds in float64.
CLOSE = {"float32": 1e-5, "float64": 1e-13}


def check_convolution(options, shape, seed, dtype, order, draw=normal):
    layer, how = convolution(options, shape, seed, dtype, draw)
    kernel, bias = layer.params["kernel"], layer.params.get("bias")
    x = draw(seed + 2, *shape).astype(dtype)
    dy = draw(seed + 3, *layer.compute_output_shape(shape)).astype(dtype)
    y, dx, grads, _ = run(layer, in_memory_order(x, order), in_memory_order(dy, order))
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype(dtype)}
    expected = plain.comparative_conv2d_forward(x, kernel, bias, **how)
    assert_close(y, expected, CLOSE[dtype], "y")
    expected_dx, dkernel, dbias = plain.comparative_conv2d_backward(dy, x, kernel, **how)
    assert_close(dx, expected_dx, CLOSE[dtype], "dx")
    assert_close(grads["kernel"], dkernel, CLOSE[dtype], "kernel")
    if bias is not None:
        assert_close(grads["bias"], dbias, CLOSE[dtype], "bias")


@EACH
@ORDERS
@pytest.mark.parametrize("dtype", CLOSE)
def test_a_convolution_equals_its_plain_twin(options, order, dtype, routine):
    if order != (0, 1, 2, 3) and dtype == "float64":
        dtype = "float32"  # the order is one question, the type another
        options = {**options, "filters": 2 * options["filters"]}
    check_convolution(options, IMAGES, 10, dtype, order)


def random_case(seed):
    rng = np.random.default_rng(seed)
    groups, per_group = (int(k) for k in rng.integers(1, 4, 2))
    window = tuple(int(k) for k in rng.integers(1, 4, 2))
    options = {
        "filters": groups * int(rng.integers(1, 4)),
        "kernel_size": window,
        "padding": str(rng.choice(["valid", "same"])),
        "groups": groups,
        "use_bias": bool(rng.integers(2)),
        str(rng.choice(["strides", "dilation_rate"])): tuple(int(k) for k in rng.integers(1, 4, 2)),
    }
    sizes = [3 * (k - 1) + 1 + int(rng.integers(0, 3)) for k in window]
    return options, (int(rng.integers(1, 4)), *sizes, groups * per_group)


def check_random_case(seed, dtype="float32"):
    options, shape = random_case(seed)
    print(f"seed {seed}: {options} on {shape}")
    order = tuple(int(k) for k in np.random.default_rng(seed).permutation(4))
    check_convolution(options, shape, seed, dtype, order)


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_strides_paddings_dilations_and_groups(seed, routine):
    check_random_case(seed, ("float32", "float64")[seed % 2])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12, 200))
def test_many_random_shapes_strides_paddings_dilations_and_groups(seed, routine):
    check_random_case(seed)


@pytest.mark.parametrize("units", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("fan_in", [1, 2, 3, 4, 9])
def test_a_dense_layer_equals_its_plain_twin(units, fan_in, routine):
    layer = layers.ComparativeDense(units, use_bias=units != 3)
    layer.build((None, fan_in))
    layer.set_weights([normal(k, *w.shape) for k, w in enumerate(layer.get_weights())])
    x = normal(2, 6, fan_in, dtype="float32")
    y, dx, grads, dy = run(layer, x)
    kernel, scale = layer.params["kernel"], layer.output_scale
    expected = plain.comparative_dense_forward(x, kernel, layer.params.get("bias"), scale)
    assert_close(y, expected, what="y")
    expected_dx, dkernel, dbias = plain.comparative_dense_backward(dy, x, kernel, scale)
    assert_close(dx, expected_dx, what="dx")
    assert_close(grads["kernel"], dkernel, what="kernel")
    if layer.use_bias:
        assert_close(grads["bias"], dbias, what="bias")


@pytest.mark.parametrize(
    ("batch", "fan_in", "units"),
    [
        (compiled.PLACES + 3, 2 * compiled.DEPTH + 41, 6),
        (2 * compiled.PLACES, compiled.DEPTH, 5),
        (compiled.PLACES - 1, compiled.DEPTH + 2, 3),
        (2, 3000, 130),
    ],
)
def test_many_places_and_deep_sums(batch, fan_in, units, routine):
    """Longer than what the compiled loops take at a time, and than NumPy's temporary arrays."""
    layer = layers.ComparativeDense(units)
    layer.build((None, fan_in))
    layer.set_weights([normal(k, *w.shape) for k, w in enumerate(layer.get_weights())])
    x = normal(2, batch, fan_in, dtype="float32")
    y, dx, grads, dy = run(layer, x)
    wide, w = x[:, :, np.newaxis].astype("float64"), layer.params["kernel"]
    slope_x, slope_w = plain.synapse_slopes(wide, w)
    scale = layer.output_scale
    assert_close(y, scale * plain.synapse(wide, w).sum(axis=1) + layer.params["bias"], what="y")
    assert_close(dx, scale * np.einsum("nio,no->ni", slope_x, dy), what="dx")
    assert_close(grads["kernel"], scale * np.einsum("nio,no->io", slope_w, dy), what="kernel")


@EACH
@pytest.mark.parametrize("dtype", CLOSE)
def test_numba_and_numpy_agree(options, dtype, monkeypatch):
    shape, results = (9, 16, 15, 4), []
    x = normal(3, *shape, dtype=dtype)
    for routines in ROUTINES.values():
        monkeypatch.setattr(comparative_kernels, "_compiled", routines)
        layer, _ = convolution(options, shape, 1, dtype)
        y, dx, grads, _ = run(layer, x)
        results.append({"y": y, "dx": dx, **grads})
    for key, expected in results[1].items():
        assert_close(results[0][key], expected, CLOSE[dtype], key)


# --- Ties and zeros -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "w", "dx", "dw"),
    [
        (2.0, 2.0, 0.5, 0.5),
        (2.0, -2.0, -0.5, 0.5),
        (-2.0, 2.0, 0.5, -0.5),
        (-2.0, -2.0, -0.5, -0.5),
        (0.0, 2.0, 1.0, 0.0),
        (0.0, -2.0, -1.0, 0.0),
        (3.0, 0.0, 0.0, 1.0),
        (-3.0, 0.0, 0.0, -1.0),
        (0.0, 0.0, 0.0, 0.0),
        (3.0, -2.0, 0.0, 1.0),
        (-1.0, -2.0, -1.0, 0.0),
    ],
)
@pytest.mark.parametrize("places", [1, 70])
def test_a_tie_gives_half_to_each_and_zeros_give_nothing(x, w, dx, dw, places, routine):
    """`places` equal examples: the compiled loops take the first many at once, the last singly."""
    assert plain.synapse_slopes(x, w) == (dx, dw)
    for units in (1, 6):
        layer = layers.ComparativeDense(units, scale=1)
        layer.build((None, 1))
        layer.set_weights([np.full((1, units), w), np.zeros(units)])
        y, cache = layer.forward(np.full((places, 1), x, dtype="float32"))
        received_dx, grads = layer.backward(np.full((places, units), 3.0, dtype="float32"), cache)
        np.testing.assert_array_equal(y, np.sign(x * w) * min(abs(x), abs(w)))
        np.testing.assert_array_equal(received_dx, 3 * units * dx)
        np.testing.assert_array_equal(grads["kernel"], 3 * places * dw)


@EACH
@pytest.mark.parametrize("dtype", CLOSE)
def test_where_ties_abound_all_three_agree_exactly(options, dtype, routine):
    options = {**options, "scale": 0.5}
    layer, how = convolution(options, IMAGES, 1, dtype, whole_numbers)
    kernel, bias = layer.params["kernel"], layer.params.get("bias")
    x = whole_numbers(3, *IMAGES, dtype=dtype)
    share = np.mean(np.abs(x[..., 0].ravel()[:, np.newaxis]) == np.abs(kernel.ravel()))
    assert 0.3 < share < 0.5  # 0 of 5, 1 and 2 of 5: 1/25 + 4/25 + 4/25 of the pairs
    y, dx, grads, dy = run(layer, x, draw=whole_numbers)
    expected = plain.comparative_conv2d_forward(x, kernel, bias, **how)
    np.testing.assert_array_equal(y, expected, strict=True)
    expected_dx, dkernel, dbias = plain.comparative_conv2d_backward(dy, x, kernel, **how)
    np.testing.assert_array_equal(dx, expected_dx, strict=True)
    np.testing.assert_array_equal(grads["kernel"], dkernel, strict=True)
    if bias is not None:
        np.testing.assert_array_equal(grads["bias"], dbias, strict=True)


@pytest.mark.parametrize("dtype", ["int32", "int64", "int16"])
def test_sums_of_whole_numbers_in_integer_arrays_are_exact(dtype, routine):
    x, kernel = whole_numbers(0, *IMAGES, dtype=dtype), whole_numbers(1, 3, 2, 4, 5, dtype=dtype)
    axes = kernels.axis(7, 3, 2, "same"), kernels.axis(6, 2, 1, "valid")
    y = comparative_kernels.conv2d(x, kernel, *axes)
    assert y.dtype == dtype
    expected = plain.comparative_conv2d_forward(
        np.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)]).astype("float64"), kernel, strides=(2, 1)
    )
    np.testing.assert_array_equal(y, expected)


# --- Properties -----------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6, width=32)
pairs = given(x=numbers, w=numbers)
often = settings(derandomize=True, max_examples=300, deadline=None)


def synapse(x, w, dtype="float64"):
    """One synapse by each of the implementations: the fast ones agree to the last bit."""
    # The plain formula takes the difference of two sums, which have float64's last digit.
    formula = pytest.approx(plain.synapse(x, w), abs=3e-16 * max(abs(x), abs(w)))
    x, w = np.array([[x]], dtype=dtype), np.array([[w]], dtype=dtype)
    one = kernels.axis(1, 1, 1, "valid")
    results = set()
    for routines in ROUTINES.values():
        z = np.zeros((1, 1, 1), dtype=dtype)
        routines.add_synapses(x, 1, w, z)
        results.add(float(z[0, 0, 0]))
    y = comparative_kernels.conv2d(x[np.newaxis, np.newaxis], w[np.newaxis, np.newaxis], one, one)
    assert results == {float(y[0, 0, 0, 0])}
    assert formula == float(y[0, 0, 0, 0])
    return results.pop()


@often
@pairs
def test_it_is_the_smaller_magnitude_with_the_products_sign(x, w):
    c = synapse(x, w)
    assert abs(c) == min(abs(x), abs(w))
    assert np.sign(c) == np.sign(x) * np.sign(w)


@often
@pairs
def test_both_identities_of_the_design(x, w):
    c = synapse(x, w)  # which is (abs(x + w) - abs(x - w)) / 2 but for rounding
    assert c == np.sign(w) * np.clip(x, -abs(w), abs(w))
    assert c == np.sign(x * w) * min(abs(x), abs(w)) or x * w == 0.0


@often
@pairs
def test_it_is_symmetric_and_odd_in_each(x, w):
    c = synapse(x, w)
    assert c == synapse(w, x) == -synapse(-x, w) == -synapse(x, -w)


@often
@given(x=numbers, w=numbers, power=st.integers(-20, 20), a=st.floats(1e-3, 1e3))
def test_it_is_homogeneous_in_both_together(x, w, power, a):
    c = synapse(x, w)
    assert synapse(2.0**power * x, 2.0**power * w) == 2.0**power * c
    # Rounding of a * x and a * w: 1.1e-16 each.
    assert synapse(a * x, a * w) == pytest.approx(a * c, rel=4e-16)


@often
@pairs
def test_slopes_are_those_of_the_smaller_magnitude(x, w):
    slope_x, slope_w = plain.synapse_slopes(np.float64(x), np.float64(w))
    share = 0.5 * (1 + np.sign(abs(x) - abs(w)))  # of the weight
    assert slope_w == np.sign(x) * share
    assert slope_x == np.sign(w) * (1 - share)


@EACH
def test_a_layer_without_bias_is_homogeneous_in_input_and_kernel_together(options, routine):
    layer, _ = convolution({**options, "use_bias": False}, IMAGES, 1)
    x = normal(3, *IMAGES)
    y, dx, grads, dy = run(layer, x)
    for a in (4.0, 0.37):
        larger = copy.deepcopy(layer)
        larger.set_weights([a * layer.params["kernel"]])
        scaled_y, scaled_dx, scaled_grads, _ = run(larger, a * x, dy)
        # Derivatives are homogeneous of degree 0. A power of two changes no bit.
        for received, expected in (
            (scaled_y, a * y),
            (scaled_dx, dx),
            (scaled_grads["kernel"], grads["kernel"]),
        ):
            np.testing.assert_allclose(received, expected, rtol=0, atol=(a != 4) * 1e-13 * 30)


# --- The exact gradient passes the check, the product's does not ----------------------------------


@pytest.mark.parametrize("seed", range(16))
def test_exact_gradients_match_finite_differences(seed, routine):
    options, shape = random_case(seed)
    print(f"seed {seed}: {options} on {shape}")
    layer, _ = convolution(options, shape, seed)
    report = gradient_check(layer, normal(seed + 3, *shape), seed=seed, samples=15)
    assert report.max_error < 1e-6
    assert report.kinks == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(16, 200))
def test_exact_gradients_match_finite_differences_in_many_cases(seed, routine):
    options, shape = random_case(seed)
    print(f"seed {seed}: {options} on {shape}")
    layer, _ = convolution(options, shape, seed)
    assert gradient_check(layer, normal(seed + 3, *shape), samples=15).max_error < 1e-6


@pytest.mark.parametrize(
    ("options", "shape"),
    [({"units": 4}, (5, 6)), ({"units": 3, "activation": "tanh", "scale": 2}, (2, 3, 5))],
)
def test_exact_gradients_of_a_dense_layer(options, shape, routine):
    report = gradient_check(layers.ComparativeDense(**options), normal(0, *shape))
    assert report.max_error < 1e-6
    assert report.kinks == []


def net(gradient="exact", activation="relu"):
    return Sequential(
        [
            cnnlib.Input((8, 7, 2)),
            # A bias below a normalization has no gradient but rounding.
            layers.ComparativeConv2D(4, 3, padding="same", gradient=gradient, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation(activation),
            layers.MaxPooling2D(2),
            layers.ComparativeConv2D(4, 2, groups=2, gradient=gradient, kernel_regularizer="l2"),
            layers.AveragePooling2D((2, 1)),
            layers.Flatten(),
            layers.ComparativeDense(6, activation=activation, gradient=gradient),
            layers.ComparativeDense(3, gradient=gradient),
        ]
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_exact_gradients_through_a_whole_net(activation, routine):
    cnnlib.utils.set_random_seed(3)
    model = net(activation=activation)
    x = normal(1, 5, 8, 7, 2)
    for training in (True, False):
        report = gradient_check(model, x, training=training, samples=15)
        assert report.max_error < 1e-6
        assert len(report.kinks) <= 3
    model.compile(loss=cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(1).random(x.shape)  # as images are, in 0..1
    report = gradient_check(model, x, np.array([0, 2, 1, 1, 0]), samples=15)
    assert report.max_error < 1e-6


def test_product_gradients_fail_the_check_alone_and_in_a_net(routine):
    with pytest.raises(GradientError):
        gradient_check(layers.ComparativeDense(4, gradient="product"), normal(0, 5, 6))
    convolutional = layers.ComparativeConv2D(4, 3, gradient="product")
    with pytest.raises(GradientError):
        gradient_check(convolutional, normal(0, 2, 6, 5, 2))
    with pytest.raises(GradientError):
        gradient_check(net("product"), normal(1, 5, 8, 7, 2))


PRODUCTS = [o for o in CONVOLUTIONS if o.get("use_bias", True)]


@pytest.mark.parametrize("options", PRODUCTS, ids=str)
def test_product_gradients_are_those_of_a_product_times_the_scale(options, routine):
    layer, _ = convolution({**options, "gradient": "product"}, IMAGES, 1, "float32")
    exact, _ = convolution(options, IMAGES, 1, "float32")
    product = layers.Conv2D(**{k: v for k, v in options.items() if k != "scale"})
    product.build((None, *IMAGES[1:]))
    product.set_weights(layer.get_weights())
    x = normal(3, *IMAGES, dtype="float32")
    y, dx, grads, dy = run(layer, x)
    np.testing.assert_array_equal(y, exact.forward(x)[0])
    _, expected_dx, expected, _ = run(product, x, dy)
    assert_close(dx, layer.output_scale * expected_dx, what="dx")
    assert_close(grads["kernel"], layer.output_scale * expected["kernel"], what="kernel")
    np.testing.assert_array_equal(grads["bias"], expected["bias"])


def test_product_gradients_of_a_dense_layer():
    layer, product = layers.ComparativeDense(4, gradient="product", scale=0.3), layers.Dense(4)
    for one in (layer, product):
        one.build((None, 3, 5))
        one.set_weights([normal(1, 5, 4), normal(2, 4)])
    x = normal(3, 2, 3, 5, dtype="float32")
    _, dx, grads, dy = run(layer, x)
    _, expected_dx, expected, _ = run(product, x, dy)
    assert_close(dx, 0.3 * expected_dx)
    assert_close(grads["kernel"], 0.3 * expected["kernel"])
    assert_close(grads["bias"], expected["bias"])


# --- Start: the initializer and the scale ---------------------------------------------------------

DRAWS = 1_000_000


@pytest.mark.parametrize(("r", "s"), [(1, 1), (1, 0.5), (0.3, 2), (5, 0.1), (0.59, 0.5)])
def test_the_power_of_a_synapse_against_a_simulation(r, s):
    c = plain.synapse(r * normal(0, DRAWS), s * normal(1, DRAWS))
    error = np.std(c**2) / math.sqrt(DRAWS)
    assert initializers.comparative_power(r, s) == pytest.approx(np.mean(c**2), abs=4 * error)


def test_the_power_for_unit_normals_and_at_the_ends():
    power = initializers.comparative_power
    assert power(1, 1) == pytest.approx(1 - 2 / math.pi, rel=1e-12)
    assert power(2, 3) == pytest.approx(power(3, 2), rel=1e-12)  # symmetric
    assert power(2, 3) == pytest.approx(4 * power(1, 1.5), rel=1e-12)  # homogeneous of degree 2
    assert power(1e4, 1) == pytest.approx(1, rel=1e-3)  # the smaller one passes whole
    assert power(0, 1) == pytest.approx(0, abs=1e-15) == power(1, 0)


def test_the_correlation_with_the_product():
    x, w = normal(0, DRAWS), normal(1, DRAWS)
    received = np.corrcoef(plain.synapse(x, w), x * w)[0, 1]
    # One standard error of a correlation r is near (1 - r^2) / sqrt(n) = 1.2e-4; heavier tails than
    # a normal's make it a few times that.
    assert received == pytest.approx(1 / math.sqrt(math.pi - 2), abs=1e-3)
    assert received == pytest.approx(0.936, abs=1e-3)


@pytest.mark.parametrize(("options", "stddev"), [({}, 0.5), ({"stddev": 0.2}, 0.2)])
def test_the_initializer_is_normal_with_half_a_standard_deviation(options, stddev):
    w = initializers.ComparativeNormal(**options, seed=3)((1000, 400)) / stddev
    assert w.dtype == np.float32
    count = w.size
    # Standard errors of the first four moments of a unit normal.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = 4 * math.sqrt(variance / count)
        assert np.mean(w.astype("float64") ** power) == pytest.approx(moment, abs=error)
    assert type(initializers.get("comparative_normal")) is initializers.ComparativeNormal
    again = initializers.ComparativeNormal(**options, seed=3)((1000, 400))
    np.testing.assert_array_equal(again / stddev, w)


def test_comparative_layers_start_with_it():
    cnnlib.utils.set_random_seed(1)
    for layer, shape in (
        (layers.ComparativeDense(300), (None, 200)),
        (layers.ComparativeConv2D(64, 5), (None, 9, 9, 16)),
    ):
        layer.build(shape)
        assert type(layer.kernel_initializer) is initializers.ComparativeNormal
        assert layer.params["kernel"].std() == pytest.approx(0.5, rel=0.02)
        assert not layer.params["bias"].any()
        fan_in = layer.params["kernel"][..., 0].size
        expected = 1 / math.sqrt(fan_in * (1 - 2 / math.pi))
        assert layer.output_scale == pytest.approx(expected, rel=1e-12)


def power_of(z):
    return float(np.mean(z.astype("float64") ** 2))


@pytest.mark.parametrize("stddev", [0.5, 1.0])
@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [
        (layers.ComparativeDense, {"units": 400}, (500, 25)),
        (layers.ComparativeDense, {"units": 400}, (500, 900)),
        (layers.ComparativeConv2D, {"filters": 64, "kernel_size": 5}, (40, 12, 12, 8)),
        (layers.ComparativeConv2D, {"filters": 64, "kernel_size": 3, "groups": 4}, (40, 9, 9, 32)),
    ],
)
def test_the_variance_of_a_layers_output_for_unit_normal_input(kind, options, shape, stddev):
    cnnlib.utils.set_random_seed(2)
    layer = kind(**options, kernel_initializer=initializers.ComparativeNormal(stddev))
    received = power_of(layer(normal(4, *shape, dtype="float32")))
    power = initializers.comparative_power
    expected = power(1, stddev) / power(1, 1)  # 1 where x and w have one size, 0.42 at the start
    # Sums over one x share its size: E[c^2 | x] varies by 60 %, over 25 numbers x 500 examples or
    # more by 0.6 %; the drawn weights move it by as little.
    assert received == pytest.approx(expected, rel=0.03)


def test_the_gradient_reaches_70_percent_of_the_weights_and_30_of_the_inputs(routine):
    cnnlib.utils.set_random_seed(5)
    count = 100_000
    layer = layers.ComparativeDense(1, scale=1)
    layer.build((None, count))
    _, cache = layer.forward(normal(0, 1, count, dtype="float32"))
    dx, grads = layer.backward(np.ones((1, 1), dtype="float32"), cache)
    share = 2 / math.pi * math.atan(2)
    error = 4 * math.sqrt(share * (1 - share) / count)
    assert share == pytest.approx(0.70, abs=0.01)
    assert np.mean(grads["kernel"] != 0) == pytest.approx(share, abs=error)
    assert np.mean(dx != 0) == pytest.approx(1 - share, abs=error)


def next_rms(r, power_at_start):
    """Rms of the sums one layer on, behind relu, which keeps half of the power r^2."""
    return math.sqrt(initializers.comparative_power(r, 0.5) / (2 * power_at_start))


def settled(power_at_start):
    r = 1.0
    for _ in range(200):
        r = next_rms(r, power_at_start)
    return r


def test_the_fixed_points_that_the_initializer_names():
    for power_at_start, rms, gain in (
        (1 - 2 / math.pi, 0.17, 1.09),
        (initializers.comparative_power(1, 0.5), 0.59, 1.47),
    ):
        r = settled(power_at_start)
        assert r == pytest.approx(rms, abs=0.005)
        x_is_smaller = 1 - 2 / math.pi * math.atan(r / 0.5)
        assert x_is_smaller / (2 * power_at_start) == pytest.approx(gain, abs=0.005)


def test_behind_relu_signal_and_gradient_go_as_the_initializer_says_however_deep_the_net_is():
    cnnlib.utils.set_random_seed(6)
    depth, width, start = 12, 400, 1 - 2 / math.pi
    r = settled(start)
    z = r * normal(7, 200, width, dtype="float32")
    stack, caches, powers = [], [], []
    for _ in range(depth):
        stack += [layers.ReLU(), layers.ComparativeDense(width)]
        for layer in stack[-2:]:
            layer.build((None, width))
            z, cache = layer.forward(z)
            caches.append(cache)
        powers.append(power_of(z))
    # The drawn weights move the power of one layer by 1 or 2 %, and the next ones by most of that.
    assert np.sqrt(powers) == pytest.approx(np.full(depth, r), rel=0.15)
    dz, gains = normal(8, 200, width, dtype="float32"), []
    for layer, cache in zip(reversed(stack), reversed(caches), strict=True):
        before = power_of(dz)
        dz, _ = layer.backward(dz, cache)
        gains.append(power_of(dz) / before)
    each = np.array(gains).reshape(depth, 2).prod(axis=1)  # of a dense layer and its relu
    assert np.exp(np.log(each).mean()) == pytest.approx(1.09, rel=0.05)


def test_from_any_start_the_signal_follows_the_same_path_down_the_net():
    cnnlib.utils.set_random_seed(9)
    z, r = normal(7, 200, 400, dtype="float32"), 1.0
    for _ in range(6):
        z = layers.ComparativeDense(400)(np.maximum(z, 0))
        r = next_rms(r, 1 - 2 / math.pi)
        assert math.sqrt(power_of(z)) == pytest.approx(r, rel=0.05)


# --- Blocks ---------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=400, deadline=None)
@given(
    size=st.integers(1, 12),
    window=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 6),
    pads=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    cuts=st.lists(st.integers(0, 12), max_size=3),
)
def test_parts_of_an_axis_tile_it(size, window, stride, dilation, pads, cuts):
    """With any padding, so that windows lie wholly in it, before or behind what is there."""
    whole = kernels.Axis(size, window, stride, dilation, *pads)
    if whole.out < 1:
        return  # the window does not fit
    x = 1.0 + np.arange(size)
    padded = np.pad(x, (whole.before, whole.after))
    ends = sorted({0, whole.out, *(cut for cut in cuts if cut < whole.out)})
    seen = []
    for first, last in itertools.pairwise(ends):
        part, places = whole.part(slice(first, last))
        assert part.out == last - first
        assert min(part.before, part.after, part.size) >= 0
        assert (part.window, part.stride, part.dilation) == (window, stride, dilation)
        mine = np.pad(x[places], (part.before, part.after))
        begin = first * stride
        np.testing.assert_array_equal(mine, padded[begin : begin + part.padded])
        reach = dilation * (window - 1) + 1
        assert part.padded == (last - first - 1) * stride + reach
        seen += [[mine[part.cell(k)][i] for k in range(window)] for i in range(part.out)]
    expected = [[padded[whole.cell(k)][i] for k in range(window)] for i in range(whole.out)]
    assert seen == expected


def test_the_part_that_is_everything_sees_what_the_axis_sees():
    whole = kernels.axis(9, 3, 2, "same")
    assert whole.part(slice(0, whole.out)) == (whole, slice(0, 9))


# In bytes; every number a block of its own, then blocks of a few rows, places or channels.
@EACH
@pytest.mark.parametrize("block", [1, 200, 400])
def test_results_do_not_depend_on_the_size_of_a_block(options, block, routine, monkeypatch):
    layer, _ = convolution({**options, "scale": 0.5}, IMAGES, 1, "float32", whole_numbers)
    x = whole_numbers(3, *IMAGES)
    expected = run(layer, x, draw=whole_numbers)
    kernel = layer.params["kernel"]
    axes = layer.product(x)[1][0]
    few = len(list(comparative_kernels.blocks(x, kernel, *axes)))
    assert few == layer.groups
    monkeypatch.setattr(comparative_kernels, "BLOCK", block)
    many = list(comparative_kernels.blocks(x, kernel, *axes))
    assert len(many) > few
    tiled = np.zeros((*layer.compute_output_shape(x.shape)[1:3], *kernel[0, 0].shape, len(x)))
    for part in many:
        i, o, j, n = part.out
        tiled[i, j, part.kernel[2], o, n] += 1
    assert (tiled == 1).all()
    received = run(layer, x, draw=whole_numbers)
    # Whole numbers: no rounding, so no order of the sums either.
    np.testing.assert_array_equal(received[0], expected[0], strict=True)
    np.testing.assert_array_equal(received[1], expected[1], strict=True)
    for key, gradient in expected[2].items():
        np.testing.assert_array_equal(received[2][key], gradient, strict=True)


def test_rounding_alone_differs_with_the_size_of_a_block(routine, monkeypatch):
    layer, _ = convolution({"filters": 5, "kernel_size": 3, "padding": "same"}, IMAGES, 1)
    x = normal(3, *IMAGES)
    y, dx, grads, _ = run(layer, x)
    monkeypatch.setattr(comparative_kernels, "BLOCK", 2000)
    other_y, other_dx, other_grads, _ = run(layer, x)
    assert_close(other_y, y, 1e-14)
    assert_close(other_dx, dx, 1e-14)
    assert_close(other_grads["kernel"], grads["kernel"], 1e-14)


def test_numpys_temporary_arrays_may_have_any_size(monkeypatch):
    monkeypatch.setattr(comparative_kernels, "_compiled", comparative_kernels._NumPy)
    layer, _ = convolution(CONVOLUTIONS[1], IMAGES, 1)
    x = normal(3, *IMAGES)
    y, dx, grads, _ = run(layer, x)
    for cached in (1, 700):
        monkeypatch.setattr(comparative_kernels, "CACHED", cached)
        other_y, other_dx, other_grads, _ = run(layer, x)
        assert_close(other_y, y, 1e-14)
        assert_close(other_dx, dx, 1e-14)
        assert_close(other_grads["kernel"], grads["kernel"], 1e-14)


# Shapes whose windows in one piece, or whose copies of dy, would break the bound.
LARGE = {
    "large batch": (lambda: layers.ComparativeDense(3, scale=1), (250_000, 80)),
    "one wide sum": (lambda: layers.ComparativeDense(200, use_bias=False), (1, 100_000)),
    "many outputs": (lambda: layers.ComparativeDense(3000), (7000, 1)),
    "large image": (lambda: layers.ComparativeConv2D(1, 5, padding="same"), (1, 1900, 1800, 1)),
    "many channels": (lambda: layers.ComparativeConv2D(4, (9, 1)), (2, 20, 9, 12_000)),
    "wide steps": (lambda: layers.ComparativeConv2D(2, 2, strides=64), (2, 2048, 2048, 4)),
    "wide dilation": (
        lambda: layers.ComparativeConv2D(1, 2, dilation_rate=900, padding="same"),
        (1, 1300, 1200, 2),
    ),
    "tall dilation": (
        lambda: layers.ComparativeConv2D(1, (60, 1), dilation_rate=2, padding="same"),
        (1, 800, 700, 1),
    ),
    "many pairs": (lambda: layers.ComparativeDense(64), (1500, 500)),
    "groups": (lambda: layers.ComparativeConv2D(64, 1, groups=2), (400, 28, 28, 2)),
    "bytes": (lambda: layers.ComparativeDense(3, dtype="float64"), (80_000, 80)),
}


@pytest.mark.parametrize("name", LARGE)
def test_extra_memory_stays_under_64_mb_whatever_the_shape(name, routine):
    make, shape = LARGE[name]
    layer = make()
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape, dtype="uint8")  # a picture's bytes, where asked for
    if name != "bytes":
        x = (x / np.float32(256)).astype("float32", copy=False)
    bound = 64 * 2**20
    tracemalloc.start()  # NumPy tells it of every array
    try:
        z, cache = layer.product(x)
        assert tracemalloc.get_traced_memory()[1] - z.nbytes < bound
        dz = np.ones_like(z)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        dx, dkernel = layer.product_gradients(dz, cache, need_dx=True)
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak - dx.nbytes - dkernel.nbytes < bound
    finally:
        tracemalloc.stop()


# --- Nothing is written to, results are new -------------------------------------------------------


@pytest.mark.parametrize("gradient", ["exact", "product"])
@pytest.mark.parametrize("options", CONVOLUTIONS[::4], ids=str)
def test_arguments_stay_as_they_are_and_results_are_new(options, gradient, routine):
    layer, _ = convolution({**options, "gradient": gradient}, IMAGES, 1, "float32")
    dense = layers.ComparativeDense(3, gradient=gradient)
    dense.build((None, 4))
    for one in (layer, dense):
        x = normal(3, *IMAGES[: len(one.input_shape)], dtype="float32")
        x = x if one is layer else normal(3, 6, 4, dtype="float32")
        y, cache = one.forward(x)
        dy = normal(5, *y.shape, dtype="float32")
        given_arrays = [x, dy, *one.params.values()]
        copies = [a.copy() for a in given_arrays]
        kept = y.copy()
        dx, grads = one.backward(dy, cache)
        again_dx, again = one.backward(dy, cache)
        for a, b in zip(given_arrays, copies, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        np.testing.assert_array_equal(y, kept)
        results = [y, dx, *grads.values(), again_dx, *again.values()]
        for k, a in enumerate(results):
            assert a.flags.writeable
            assert not any(np.may_share_memory(a, b) for b in (*given_arrays, *results[:k]))
        np.testing.assert_array_equal(dx, again_dx)


def test_read_only_arrays_will_do(routine):
    layer, _ = convolution(CONVOLUTIONS[1], IMAGES, 1, "float32")
    x = normal(3, *IMAGES, dtype="float32")
    expected_y, expected_dx, expected, dy = run(layer, x)
    for array in (x, dy, *layer.params.values()):
        array.flags.writeable = False
    y, dx, grads, _ = run(layer, x, dy)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(dx, expected_dx)
    np.testing.assert_array_equal(grads["kernel"], expected["kernel"])


# --- Configuration, files, training ---------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        layers.ComparativeDense(4, gradient="product", scale=0.25, name="d"),
        layers.ComparativeDense(4),
        layers.ComparativeConv2D(
            4,
            (3, 2),
            padding="same",
            groups=2,
            gradient="product",
            scale=np.float32(2),
            kernel_initializer=initializers.ComparativeNormal(0.3, seed=1),
        ),
    ],
)
def test_a_configuration_keeps_gradient_scale_and_initializer(layer):
    config = json.loads(json.dumps(layer.get_config()))
    other = type(layer).from_config(config)
    assert other.get_config() == layer.get_config()
    assert (other.gradient, other.scale) == (layer.gradient, layer.scale)
    for name in ("seed", "stddev"):
        mine, its = (getattr(one.kernel_initializer, name) for one in (layer, other))
        assert mine == its


def trainable(seed=9):
    cnnlib.utils.set_random_seed(seed)
    model = Sequential(
        [
            cnnlib.Input((8, 8, 2)),
            layers.ComparativeConv2D(4, 3, activation="relu", groups=2),
            layers.BatchNormalization(momentum=0.8),
            layers.MaxPooling2D(2),
            layers.ComparativeConv2D(4, 2, gradient="product", scale=0.2),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.ComparativeDense(
                3, kernel_initializer=initializers.ComparativeNormal(0.4), kernel_regularizer="l2"
            ),
        ]
    )
    loss = cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(cnnlib.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    return model


def digits(count=70):
    rng = np.random.default_rng(0)
    return rng.random((count, 8, 8, 2), dtype="float32"), rng.integers(0, 3, count)


def assert_same_bits(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_a_file_keeps_everything_and_training_goes_on_as_if_uninterrupted(tmp_path, routine):
    x, y = digits()
    whole, first = trainable(), trainable()
    expected = whole.fit(x, y, epochs=4, verbose=0).history
    first.fit(x, y, epochs=2, verbose=0)
    first.save(tmp_path / "half.keras")
    cnnlib.utils.set_random_seed(12345)  # another session
    second = cnnlib.load_model(tmp_path / "half.keras")
    assert_same_bits(second, first)
    np.testing.assert_array_equal(second.predict(x), first.predict(x), strict=True)
    assert second.get_config() == first.get_config()
    assert [second.layers[k].gradient for k in (0, 3, 6)] == ["exact", "product", "exact"]
    assert [second.layers[k].scale for k in (0, 3, 6)] == [None, 0.2, None]
    assert second.layers[6].kernel_initializer.stddev == 0.4
    history = second.fit(x, y, epochs=4, initial_epoch=2, verbose=0).history
    assert_same_bits(second, whole)
    assert history == {name: values[2:] for name, values in expected.items()}


def test_it_learns(routine):
    (x, y), (x_test, y_test) = cnnlib.datasets.digits.load_data()
    x, x_test = (a[:1500, ::2, ::2, np.newaxis].astype("float32") / 255 for a in (x, x_test))
    cnnlib.utils.set_random_seed(0)
    model = Sequential(
        [
            cnnlib.Input((14, 14, 1)),
            layers.ComparativeConv2D(8, 5, strides=2, activation="relu"),
            layers.Flatten(),
            layers.ComparativeDense(10),
        ]
    )
    loss = cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(cnnlib.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    model.fit(x, y[:1500], epochs=4, verbose=0)
    assert model.evaluate(x_test, y_test, return_dict=True)["accuracy"] > 0.7  # 10 % by chance


def test_numba_and_numpy_train_alike(monkeypatch):
    x, y = digits()
    models = []
    for routines in ROUTINES.values():
        monkeypatch.setattr(comparative_kernels, "_compiled", routines)
        model = trainable()
        model.compile("sgd", loss=model.loss)
        model.fit(x, y, epochs=2, verbose=0)
        models.append(model)
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        assert_close(a, b, 1e-4)  # float32 rounding, six steps on


# --- Bad input ------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize(
    "make",
    [layers.ComparativeDense, lambda n, **kw: layers.ComparativeConv2D(n, 1, **kw)],
    ids=["dense", "convolution"],
)


@BOTH
def test_an_unknown_gradient_is_refused_with_the_nearest_name(make):
    expected = "gradient of a comparative layer: 'exat'. Did you mean 'exact'. Known: exact, prod"
    with pytest.raises(ValueError, match=expected):
        make(3, gradient="exat")
    with pytest.raises(ValueError, match="Did you mean 'product'"):
        make(3, gradient="Product")
    for bad in (None, True, 1, ["exact"]):
        with pytest.raises(ValueError, match="Known: exact, product"):
            make(3, gradient=bad)


@BOTH
@pytest.mark.parametrize(
    "bad", [0, 0.0, -1, -0.5, float("nan"), float("inf"), "1", True, False, [1.0], 1j, np.ones(1)]
)
def test_a_scale_is_a_number_above_zero(make, bad):
    with pytest.raises(ValueError, match=r"scale: expected a number.*Received: scale="):
        make(3, scale=bad)


@BOTH
@pytest.mark.parametrize("good", [1, 0.25, np.float32(0.5), np.int64(2), 1e-20])
def test_a_scale_of_any_kind_of_number(make, good):
    layer = make(3, scale=good)
    assert layer.output_scale == float(good)
    assert type(layer.scale) is float


def test_the_rest_is_refused_as_for_products():
    with pytest.raises(ValueError, match="unknown padding: 'full'"):
        layers.ComparativeConv2D(3, 3, padding="full")
    with pytest.raises(ValueError, match="units: expected a positive integer"):
        layers.ComparativeDense(0)
    with pytest.raises(ValueError, match="strides above 1 and dilation_rate above 1"):
        layers.ComparativeConv2D(3, 3, strides=2, dilation_rate=2)
    with pytest.raises(ValueError, match="filters must be divisible by groups"):
        layers.ComparativeConv2D(3, 3, groups=2)
    with pytest.raises(ValueError, match="channels must be divisible by groups"):
        layers.ComparativeConv2D(4, 3, groups=2)(np.zeros((1, 5, 5, 3)))
    with pytest.raises(ValueError, match="a window of 9 cells does not fit into 8"):
        layers.ComparativeConv2D(2, 9)(np.zeros((1, 8, 8, 1)))
    with pytest.raises(ValueError, match="expects images: 4 axes.*Received 3 axes"):
        layers.ComparativeConv2D(2, 3)(np.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match="expects at least 2 axes"):
        layers.ComparativeDense(2)(np.zeros(8))
    with pytest.raises(ValueError, match="does not know the argument"):
        layers.ComparativeDense(2, gradients="exact")
    layer = layers.ComparativeDense(2)
    with pytest.raises(ValueError, match="is not built yet"):
        _ = layer.output_scale
    layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"built for inputs of shape \(None, 4\). Received shape"):
        layer(np.zeros((2, 5)))


@pytest.mark.parametrize("place", [0, 1, 37, 69])
@pytest.mark.parametrize("weights", [1, 5])
def test_a_nan_is_never_lost(place, weights, routine):
    """In x, kernel or dy: wherever it has a part, in the vectors' middle or in their rest."""
    layer = layers.ComparativeDense(6, use_bias=False)
    layer.build((None, weights))
    clean = normal(0, 70, weights, dtype="float32")
    x = clean.copy()
    x[place, -1] = np.nan
    y, cache = layer.forward(x)
    assert np.isnan(y[place]).all()
    assert np.isfinite(np.delete(y, place, axis=0)).all()
    _, grads = layer.backward(np.ones_like(y), cache)
    assert np.isnan(grads["kernel"][-1]).all()
    y, cache = layer.forward(clean)
    dy = np.ones_like(y)
    dy[place, 2] = np.nan
    dx, grads = layer.backward(dy, cache)
    assert np.isnan(dx[place]).all()
    assert np.isnan(grads["kernel"][:, 2]).all()
    layer.params["kernel"][-1, 4] = np.nan
    assert np.isnan(layer.forward(clean)[0][:, 4]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinity_is_cut_at_the_size_of_the_other(sign, routine):
    layer = layers.ComparativeDense(5, scale=1)
    layer.build((None, 1))
    w = np.array([[0.5, -2.0, 0.0, 3.0, -1.0]], dtype="float32")
    layer.set_weights([w, np.zeros(5)])
    y, cache = layer.forward(np.full((3, 1), sign * np.inf, dtype="float32"))
    np.testing.assert_array_equal(y, np.broadcast_to(sign * w, (3, 5)))
    dx, grads = layer.backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx, 0)
    np.testing.assert_array_equal(grads["kernel"], 3 * sign)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool", "float16"])
def test_numbers_of_other_types_are_what_they_are_worth(dtype, routine):
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (5, 6)).astype(dtype)
    layer = layers.ComparativeDense(3)
    expected = layer(x.astype("float32"))
    np.testing.assert_array_equal(layer(x), expected, strict=True)
    y, dx, grads, _ = run(layer, x)
    assert y.dtype in (np.float32, np.float64)
    assert_close(y, expected)
    assert dx.dtype == grads["kernel"].dtype == y.dtype


def test_float64_inputs_of_a_float32_layer_give_what_they_give_a_product(routine):
    for kind, other, options, shape in (
        (layers.ComparativeDense, layers.Dense, {"units": 3}, (4, 5)),
        (layers.ComparativeConv2D, layers.Conv2D, {"filters": 3, "kernel_size": 2}, IMAGES),
    ):
        layer, product = kind(**options), other(**options)
        for one in (layer, product):
            one.build((None, *shape[1:]))
        x = normal(0, *shape)
        y, dx, grads, dy = run(layer, x)
        expected_y, expected_dx, expected, _ = run(product, x, dy)
        assert y.dtype == expected_y.dtype == np.float64
        assert dx.dtype == expected_dx.dtype
        assert grads["kernel"].dtype == expected["kernel"].dtype
        assert_close(y, layer.forward(x.astype("float32"))[0])


@pytest.mark.parametrize("gradient", ["exact", "product"])
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(gradient, routine):
    for layer, shape in (
        (layers.ComparativeDense(3, gradient=gradient), (0, 5)),
        (layers.ComparativeDense(3, gradient=gradient), (0, 2, 5)),
        (layers.ComparativeConv2D(4, 3, groups=2, gradient=gradient), (0, 6, 5, 4)),
        (
            layers.ComparativeConv2D(4, 3, dilation_rate=2, padding="same", gradient=gradient),
            (0, 6, 5, 4),
        ),
    ):
        layer.build((None, *shape[1:]))
        y, dx, grads, _ = run(layer, np.zeros(shape, dtype="float32"))
        assert y.shape == layer.compute_output_shape(shape)
        assert dx.shape == shape
        for key, gradient_of in grads.items():
            assert gradient_of.shape == layer.params[key].shape
            assert not gradient_of.any()


def test_one_example_gives_what_it_gives_in_a_batch(routine):
    layer, _ = convolution(CONVOLUTIONS[6], IMAGES, 1)
    x = normal(3, *IMAGES)
    y, dx, _, dy = run(layer, x)
    for k in range(len(x)):
        one_y, one_dx, _, _ = run(layer, x[k : k + 1], dy[k : k + 1])
        assert_close(one_y, y[k : k + 1], 1e-14)
        assert_close(one_dx, dx[k : k + 1], 1e-14)


# --- With numba, and without ----------------------------------------------------------------------


def test_without_numba_it_works_and_says_once_how_to_be_faster(monkeypatch):
    layer, _ = convolution(CONVOLUTIONS[0], IMAGES, 1)
    x = normal(3, *IMAGES)
    expected = layer.forward(x)[0]
    monkeypatch.setattr(comparative_kernels, "_compiled", None)
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ImportError
    monkeypatch.delitem(sys.modules, "cnnlib.compiled")
    monkeypatch.delattr(cnnlib, "compiled")
    with pytest.warns(UserWarning, match="pip install numba") as caught:
        y = layer.forward(x)[0]
    assert len(caught) == 1
    assert "work without it" in str(caught[0].message)
    assert_close(y, expected, 1e-13)
    assert comparative_kernels._compiled is comparative_kernels._NumPy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(layer, x)  # not again
        layers.ComparativeDense(3)(np.ones((2, 3)))


def test_with_numba_nothing_is_said_and_the_compiled_routines_run(monkeypatch):
    monkeypatch.setattr(comparative_kernels, "_compiled", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.ComparativeDense(3)(np.ones((2, 3)))
    assert comparative_kernels._compiled is compiled
    assert comparative_kernels._routines(np.ones(1)) is compiled
    assert comparative_kernels._routines([1.0]) is comparative_kernels._NumPy  # no NumPy array


def test_compiled_routines_let_other_threads_run_and_start_none():
    for name in ("add_synapses", "add_gradients", "add_kernel_gradient"):
        options = getattr(compiled, name).targetoptions
        assert options["nogil"]
        assert not options.get("parallel")


def run_python(code, **environment):
    """What a new Python prints; it finds cnnlib as this one does."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_numba_is_imported_by_the_first_comparative_layer_and_not_before():
    code = """
import sys
import numpy as np, cnnlib
from cnnlib import layers
cnnlib.Sequential([layers.Dense(3), layers.ComparativeDense(2)])
layers.Dense(3)(np.ones((2, 4)))
assert "numba" not in sys.modules
layers.ComparativeDense(3)(np.ones((2, 4)))
assert "numba" in sys.modules
"""
    run_python(code)


FIRST_USE = """
import time
start = time.process_time()
import numpy as np, cnnlib
layer = cnnlib.layers.ComparativeConv2D(3, 2)
x = np.ones((2, 5, 5, 2), np.float32)
layer.build((None, 5, 5, 2))
y, cache = layer.forward(x)
layer.backward(y, cache)
layer.parameter_gradients(y, cache)
seconds = time.process_time() - start
from cnnlib import compiled
routines = compiled.add_synapses, compiled.add_gradients, compiled.add_kernel_gradient
hits, misses = (
    [sum(getattr(r.stats, name).values()) for r in routines]
    for name in ("cache_hits", "cache_misses")
)
print(seconds, sum(hits), sum(misses))
"""


def test_first_use_compiles_within_10_seconds_and_the_next_process_reads_the_cache(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    seconds, hits, misses = (float(v) for v in run_python(FIRST_USE, **cache).split())
    assert (hits, misses) == (0, 3)
    assert seconds < 10  # of processor time: about 4 on the machine of the benchmarks
    _, hits, misses = (float(v) for v in run_python(FIRST_USE, **cache).split())
    assert (hits, misses) == (3, 0)


def test_without_a_folder_for_the_cache_each_process_compiles(monkeypatch):
    from numba.core import caching

    # None of the places that it knows will do.
    monkeypatch.setattr(caching.FunctionCache._impl_class, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(lambda x: x)
    spec = importlib.util.spec_from_file_location("uncached", compiled.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x, w = whole_numbers(0, 9, 11), whole_numbers(1, 9, 5)
    results = []
    for routines in (module, comparative_kernels._NumPy):
        z = np.zeros((1, 5, 11), dtype="float32")
        routines.add_synapses(x, 1, w, z)
        results.append(z)
    np.testing.assert_array_equal(*results)
    assert not module.add_synapses.stats.cache_hits
