"""First values of weights: their distribution, their fans, their seeds."""

import math

import numpy as np
import pytest

import cnnlib
from cnnlib import initializers, layers

RANDOM = {
    "random_normal": initializers.RandomNormal,
    "random_uniform": initializers.RandomUniform,
    "glorot_normal": initializers.GlorotNormal,
    "glorot_uniform": initializers.GlorotUniform,
    "he_normal": initializers.HeNormal,
    "he_uniform": initializers.HeUniform,
}
SHAPES = [(300, 200), (5, 5, 30, 40), (3, 7, 64, 20)]


@pytest.fixture(autouse=True)
def seeded():
    cnnlib.utils.set_random_seed(20)


def variance_of(name, shape):
    window = math.prod(shape[:-2])
    fan_in, fan_out = window * shape[-2], window * shape[-1]
    return {"glorot": 2 / (fan_in + fan_out), "he": 2 / fan_in}[name.split("_")[0]]


def check_moments(values, variance, kurtosis):
    """Mean and variance within five standard errors of what the distribution promises."""
    count = values.size
    assert abs(values.mean()) < 5 * math.sqrt(variance / count)
    error = variance * math.sqrt((kurtosis - 1) / count)
    assert abs(values.var() - variance) < 5 * error


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform"])
def test_uniform_has_its_limits_and_variance(name, shape):
    values = RANDOM[name]()(shape, "float64")
    variance = variance_of(name, shape)
    limit = math.sqrt(3 * variance)
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.999 * limit
    check_moments(values, variance, kurtosis=1.8)
    # As many in each tenth of the range: chi-squared with 9 degrees of freedom, 40 is 1 in 10^5.
    counts, _ = np.histogram(values, 10, (-limit, limit))
    expected = values.size / 10
    assert ((counts - expected) ** 2 / expected).sum() < 40


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["glorot_normal", "he_normal"])
def test_normal_is_cut_at_two_deviations_and_has_its_variance(name, shape):
    values = RANDOM[name]()(shape, "float64")
    variance = variance_of(name, shape)
    # A normal of deviation s cut at 2 s has variance s^2 (1 - 4 phi(2) / (2 Phi(2) - 1)).
    inside = math.erf(math.sqrt(2))
    cut = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / inside
    deviation = math.sqrt(variance / cut)
    assert np.abs(values).max() <= 2 * deviation * (1 + 1e-12)
    assert np.abs(values).max() > 1.98 * deviation
    check_moments(values, variance, kurtosis=2.4)
    share = (np.abs(values) < deviation).mean()
    expected = math.erf(math.sqrt(0.5)) / inside
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / values.size)


@pytest.mark.parametrize(("mean", "stddev"), [(0.0, 0.05), (3.0, 0.5)])
def test_random_normal(mean, stddev):
    values = initializers.RandomNormal(mean, stddev)((400, 300), "float64")
    check_moments(values - mean, stddev**2, kurtosis=3)
    assert np.abs(values - mean).max() > 3 * stddev  # not cut


@pytest.mark.parametrize(("low", "high"), [(-0.05, 0.05), (2.0, 5.0)])
def test_random_uniform(low, high):
    values = initializers.RandomUniform(low, high)((400, 300), "float64")
    check_moments(values - (low + high) / 2, (high - low) ** 2 / 12, kurtosis=1.8)
    assert low <= values.min() < low + 0.001 * (high - low)
    assert high - 0.001 * (high - low) < values.max() <= high


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (initializers.Zeros, 0.0),
        (initializers.Ones, 1.0),
        (lambda: initializers.Constant(2.5), 2.5),
    ],
)
def test_constants(make, value):
    array = make()((2, 3))
    np.testing.assert_array_equal(array, np.full((2, 3), value, np.float32), strict=True)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((3, 4), (3, 4)),
        ((5, 5, 3, 8), (75, 200)),
        ((2, 3, 4, 5), (24, 30)),
        ((9, 2, 3), (18, 27)),
    ],
)
def test_fans(shape, expected):
    assert initializers.fans(shape) == expected


def test_groups_see_only_their_channels():
    """A grouped kernel (kh, kw, in / groups, out) sums over in / groups channels."""
    layer = layers.Conv2D(64, 3, groups=4, kernel_initializer="he_uniform")
    layer.build((None, 8, 8, 64))
    kernel = layer.params["kernel"]
    assert kernel.shape == (3, 3, 16, 64)
    limit = math.sqrt(6 / (9 * 16))
    assert 0.99 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6)  # float32


# --- Seeds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANDOM)
def test_set_random_seed_makes_draws_repeatable(name):
    draws = []
    for seed in (1, 1, 2):
        cnnlib.utils.set_random_seed(seed)
        initializer = RANDOM[name]()
        draws.append([initializer((4, 5)), initializer((4, 5))])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0][0], draws[0][1])  # each array is new


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_of_its_own_gives_the_same_at_each_call(name):
    initializer = RANDOM[name](seed=5)
    first = initializer((4, 5))
    np.testing.assert_array_equal(first, initializer((4, 5)))
    np.testing.assert_array_equal(first, RANDOM[name](seed=5)((4, 5)))
    assert not np.array_equal(first, RANDOM[name](seed=6)((4, 5)))


def test_a_seed_of_its_own_does_not_move_the_others():
    cnnlib.utils.set_random_seed(1)
    expected = initializers.HeNormal()((3, 3))
    cnnlib.utils.set_random_seed(1)
    initializers.HeNormal(seed=4)((3, 3))
    np.testing.assert_array_equal(initializers.HeNormal()((3, 3)), expected)


def test_set_random_seed_reaches_numpy_and_python_too():
    import random

    draws = []
    for _ in range(2):
        cnnlib.utils.set_random_seed(3)
        draws.append((random.random(), np.random.rand()))  # noqa: NPY002 - a user's old code
    assert draws[0] == draws[1]


@pytest.mark.parametrize("bad", [-1, 2**32, 1.5, "1", None])
def test_a_seed_is_a_small_whole_number(bad):
    with pytest.raises(ValueError, match="seed: expected an integer from 0 to 2\\*\\*32 - 1"):
        cnnlib.utils.set_random_seed(bad)


def test_the_layers_of_a_model_start_differently():
    model = cnnlib.Sequential([cnnlib.Input((6,)), layers.Dense(6), layers.Dense(6)])
    first, _, second, _ = model.get_weights()
    assert not np.array_equal(first, second)


# --- Types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*RANDOM, "zeros", "ones", "constant"])
def test_the_dtype_is_the_one_asked_for(name, dtype):
    array = initializers.get(name)((3, 2), dtype)
    assert type(array) is np.ndarray
    assert array.dtype == dtype
    assert array.shape == (3, 2)


def test_the_dtype_is_float32_unless_floatx_says_otherwise():
    assert initializers.get("he_normal")((2, 2)).dtype == np.float32
    cnnlib.config.set_floatx("float64")
    try:
        assert initializers.get("he_normal")((2, 2)).dtype == np.float64
    finally:
        cnnlib.config.set_floatx("float32")


def test_float32_is_the_rounded_float64():
    wide = initializers.HeNormal(seed=1)((5, 5), "float64")
    narrow = initializers.HeNormal(seed=1)((5, 5))
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANDOM)
def test_names_and_classes_and_configurations_mean_the_same(name):
    cls = RANDOM[name]
    by_name = initializers.get(name)
    by_class_name = initializers.get(cls.__name__)
    assert type(by_name) is type(by_class_name) is type(initializers.get(cls)) is cls
    again = initializers.get({"class_name": cls.__name__, "config": cls(seed=8).get_config()})
    assert again.seed == 8
    np.testing.assert_array_equal(again((2, 2)), cls(seed=8)((2, 2)))
    assert initializers.get(again) is again


def test_layers_use_their_initializers():
    layer = layers.Dense(3, kernel_initializer=initializers.Constant(2.0), bias_initializer="ones")
    layer.build((None, 2))
    kernel, bias = layer.get_weights()
    assert (kernel == 2).all()
    assert (bias == 1).all()
    default = layers.Conv2D(8, 3)
    default.build((None, 8, 8, 4))
    limit = math.sqrt(6 / (36 + 72))  # Glorot
    assert 0.9 * limit < np.abs(default.params["kernel"]).max() <= limit * (1 + 1e-6)
    assert (default.params["bias"] == 0).all()
