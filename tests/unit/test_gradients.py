"""Gradients against central differences in float64, and the promise that layers are pure."""

import copy

import numpy as np
import pytest

import cnnlib
from cnnlib import Sequential, layers
from cnnlib.gradient_check import GradientError, gradient_check

IMAGES = (3, 6, 5, 4)

LAYERS = [
    (layers.Dense, {"units": 3}, (4, 5)),
    (layers.Dense, {"units": 3, "activation": "tanh", "use_bias": False}, (2, 3, 5)),
    (layers.Dense, {"units": 3, "activation": "softmax"}, (4, 5)),
    (layers.Conv2D, {"filters": 3, "kernel_size": 3}, IMAGES),
    (layers.Conv2D, {"filters": 2, "kernel_size": (2, 3), "padding": "same"}, IMAGES),
    (layers.Conv2D, {"filters": 2, "kernel_size": (3, 2), "strides": (1, 2)}, IMAGES),
    (layers.Conv2D, {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, IMAGES),
    (layers.Conv2D, {"filters": 2, "kernel_size": 2, "dilation_rate": (3, 2)}, IMAGES),
    (
        layers.Conv2D,
        {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": "same", "use_bias": False},
        IMAGES,
    ),
    (layers.Conv2D, {"filters": 6, "kernel_size": 2, "groups": 2, "activation": "elu"}, IMAGES),
    (layers.Conv2D, {"filters": 4, "kernel_size": 2, "groups": 4, "strides": 2}, IMAGES),
    (layers.ComparativeDense, {"units": 3}, (4, 5)),
    (layers.ComparativeDense, {"units": 5, "activation": "tanh", "scale": 0.5}, (2, 3, 5)),
    (layers.ComparativeConv2D, {"filters": 5, "kernel_size": (2, 3), "padding": "same"}, IMAGES),
    (layers.ComparativeConv2D, {"filters": 2, "kernel_size": (3, 2), "strides": (1, 2)}, IMAGES),
    (
        layers.ComparativeConv2D,
        {"filters": 4, "kernel_size": 2, "dilation_rate": (3, 2), "groups": 2, "use_bias": False},
        IMAGES,
    ),
    (layers.MaxPooling2D, {}, IMAGES),
    (layers.MaxPooling2D, {"pool_size": 3, "strides": (2, 1), "padding": "same"}, IMAGES),
    (layers.AveragePooling2D, {}, IMAGES),
    (layers.AveragePooling2D, {"pool_size": (3, 2), "strides": 1, "padding": "same"}, IMAGES),
    (layers.GlobalMaxPooling2D, {}, IMAGES),
    (layers.GlobalAveragePooling2D, {"keepdims": True}, IMAGES),
    (layers.Flatten, {}, IMAGES),
    (layers.Reshape, {"target_shape": (2, -1)}, IMAGES),
    (layers.ZeroPadding2D, {"padding": ((1, 2), (0, 3))}, IMAGES),
    (layers.Dropout, {"rate": 0.4}, IMAGES),
    (layers.BatchNormalization, {}, (6, 3)),
    (layers.BatchNormalization, {"scale": False}, IMAGES),
    (layers.BatchNormalization, {"trainable": False, "center": False}, IMAGES),
    (layers.LayerNormalization, {}, (6, 5)),
    (layers.LayerNormalization, {"center": False, "scale": False}, IMAGES),
    (layers.ReLU, {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.3}, (4, 5)),
    (layers.LeakyReLU, {}, (4, 5)),
    (layers.ELU, {"alpha": 0.7}, (4, 5)),
    (layers.Softmax, {"axis": 1}, (2, 4, 5)),
    *((layers.Activation, {"activation": name}, (4, 5)) for name in cnnlib.activations.FUNCTIONS),
]
EACH_LAYER = pytest.mark.parametrize(
    ("kind", "options", "shape"),
    LAYERS,
    ids=[f"{k.__name__}-{'-'.join(map(str, o.values()))}-{len(s)}d" for k, o, s in LAYERS],
)


def normal(shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def uniform(shape, seed=0):
    return np.random.default_rng(seed).random(shape)  # as images are, in 0..1


def built(kind, options, shape, dtype="float64", seed=1):
    """A layer with random weights; variances stay positive."""
    layer = kind(**options, dtype=dtype)
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(seed)
    layer.set_weights([0.5 + rng.random(w.shape) for w in layer.get_weights()])
    return layer


# --- Every layer, alone and in nets -------------------------------------------------------------


@EACH_LAYER
def test_backward_matches_finite_differences(kind, options, shape):
    layer = built(kind, options, shape)
    for training in (True, False):
        report = gradient_check(layer, normal(shape), training=training)
        assert report.max_error < 1e-6
        assert report.kinks == []
        assert report.checked >= min(40, np.prod(shape)) + sum(
            min(40, w.size) for w in layer.params.values()
        )


def test_the_list_above_has_every_layer_of_the_library():
    public = {getattr(layers, name) for name in layers.__all__}
    abstract = {layers.Layer, layers.InputLayer}
    assert public - abstract <= {kind for kind, _, _ in LAYERS}


def picture_net():
    return Sequential(
        [
            layers.ZeroPadding2D(1),
            layers.Conv2D(4, (3, 2), strides=(1, 2), padding="same", activation="tanh"),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2D(4, 2, dilation_rate=2, groups=2, kernel_regularizer="l2"),
            layers.MaxPooling2D(2, strides=1, padding="same"),
            layers.Dropout(0.25),
            layers.AveragePooling2D((2, 1)),
            layers.LayerNormalization(),
            layers.Flatten(),
            layers.Dense(5, activation="gelu", bias_regularizer=cnnlib.regularizers.L2(0.1)),
            layers.Dense(3),
        ]
    )


def vector_net():
    return Sequential(
        [
            layers.Dense(12, activation="elu"),
            layers.Reshape((2, 3, 2)),
            layers.Conv2D(3, 2, activation="softplus"),
            layers.GlobalAveragePooling2D(),
            layers.Activation("sigmoid"),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize(("build", "shape"), [(picture_net, (5, 7, 6, 2)), (vector_net, (5, 4))])
def test_gradients_through_a_whole_net(build, shape):
    cnnlib.utils.set_random_seed(2)
    for training in (True, False):
        report = gradient_check(build(), normal(shape), training=training, samples=15)
        assert report.max_error < 1e-6
        assert report.kinks == []


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        ("mse", normal((5, 3), 3)),
        (cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True), np.array([0, 2, 1, 1, 0])),
        (
            cnnlib.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            np.eye(3)[[0, 2, 1, 1, 0]],
        ),
        (cnnlib.losses.BinaryCrossentropy(from_logits=True), np.eye(3)[[0, 2, 1, 1, 0]]),
    ],
    ids=["mse", "sparse", "categorical", "binary"],
)
def test_the_loss_of_a_compiled_net_with_penalties(loss, labels):
    cnnlib.utils.set_random_seed(4)
    model = picture_net()
    model.compile(loss=loss)
    report = gradient_check(model, uniform((5, 7, 6, 2)), labels, samples=15)
    assert report.max_error < 1e-6


@pytest.mark.parametrize(
    ("end", "loss", "labels"),
    [
        ("softmax", "categorical_crossentropy", np.eye(3)[[0, 2, 1, 1, 0]]),
        ("softmax", "sparse_categorical_crossentropy", np.array([0, 2, 1, 1, 0])),
        ("sigmoid", "binary_crossentropy", np.eye(3)[[0, 2, 1, 1, 0]]),
    ],
)
def test_the_loss_of_probabilities(end, loss, labels):
    cnnlib.utils.set_random_seed(5)
    model = Sequential([layers.Dense(4, activation="tanh"), layers.Dense(3, activation=end)])
    model.compile(loss=loss)
    assert gradient_check(model, normal((5, 4)), labels).max_error < 1e-6


def random_convolution(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    window = tuple(int(k) for k in rng.integers(1, 4, 2))
    options = {
        "filters": groups * int(rng.integers(1, 3)),
        "kernel_size": window,
        "padding": str(rng.choice(["valid", "same"])),
        "groups": groups,
        str(rng.choice(["strides", "dilation_rate"])): tuple(int(k) for k in rng.integers(1, 4, 2)),
    }
    sizes = [3 * (k - 1) + 1 + int(rng.integers(0, 4)) for k in window]
    return options, (int(rng.integers(1, 4)), *sizes, groups * int(rng.integers(1, 3)))


def check_random_layers(seed):
    options, shape = random_convolution(seed)
    print(f"seed {seed}: Conv2D {options} on {shape}")
    layer = built(layers.Conv2D, options, shape)
    report = gradient_check(layer, normal(shape, seed), seed=seed, samples=12)
    assert report.max_error < 1e-6
    size, strides, padding = options["kernel_size"], options.get("strides"), options["padding"]
    for kind in (layers.MaxPooling2D, layers.AveragePooling2D):
        report = gradient_check(kind(size, strides, padding), normal(shape, seed), samples=12)
        assert report.max_error < 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_strides_paddings_dilations_and_groups(seed):
    check_random_layers(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12, 300))
def test_many_random_shapes_strides_paddings_dilations_and_groups(seed):
    check_random_layers(seed)


# --- A wrong gradient is found and named --------------------------------------------------------


class WrongBias(layers.Dense):
    """Forgets one example in the bias's gradient."""

    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return dx, {**grads, "bias": dy[1:].sum(axis=0)}


class OneWrongWeight(layers.Conv2D):
    """One number of the kernel's gradient is 0.1 % too large."""

    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        kernel = grads["kernel"].copy()
        kernel[1, 0, 0, 1] *= 1.001
        return dx, {**grads, "kernel": kernel}


class WrongInput(layers.AveragePooling2D):
    """Gives each cell all of dy."""

    def backward(self, dy, cache):
        return 4 * super().backward(dy, cache)[0], {}


class Forgetful(layers.Dense):
    """Does not return the bias's gradient."""

    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return dx, {"kernel": grads["kernel"]}


def test_a_failure_names_parameter_index_received_and_expected():
    layer = built(OneWrongWeight, {"filters": 2, "kernel_size": 2}, IMAGES)
    x = normal(IMAGES)
    with pytest.raises(GradientError) as failure:
        gradient_check(layer, x)
    message = str(failure.value)
    assert message.startswith("kernel[1, 0, 0, 1]: received the gradient ")
    assert "expected " in message
    received, expected = (
        float(message.split(word)[1].split()[0].rstrip(",")) for word in ("gradient ", "expected ")
    )
    assert received / expected == pytest.approx(1.001, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "shape", "start"),
    [
        (WrongBias, {"units": 3}, (4, 5), r"bias\[\d\]: received"),
        (WrongInput, {}, IMAGES, r"x\[\d, \d, \d, \d\]: received"),
        (Forgetful, {"units": 3}, (4, 5), r"bias: expected a gradient of shape \(3,\), got none"),
    ],
)
def test_each_wrong_gradient_is_found_alone_and_in_a_net(kind, options, shape, start):
    layer = built(kind, options, shape)
    with pytest.raises(GradientError, match=f"^{start}"):
        gradient_check(layer, normal(shape))
    inside = Sequential([layers.Activation("tanh"), kind(**options, name="bad")])
    with pytest.raises(GradientError):
        gradient_check(inside, normal(shape))


def test_a_gradient_of_the_wrong_shape_is_named():
    class Row(layers.Dense):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return dx, {**grads, "bias": grads["bias"][None]}

    with pytest.raises(
        GradientError, match=r"bias: expected a gradient of shape \(3,\), got \(1, 3\)"
    ):
        gradient_check(Row(3), normal((4, 5)))


# --- Kinks --------------------------------------------------------------------------------------


def test_relu_at_zero_is_reported_as_a_kink():
    x = normal((4, 5))
    x[1, 2] = x[3, 0] = 0.0
    report = gradient_check(layers.ReLU(), x)
    assert sorted(report.kinks) == [("x", (1, 2)), ("x", (3, 0))]
    assert report.checked == 18
    assert report.max_error < 1e-6


def test_a_kink_a_little_beside_the_point_is_no_excuse_and_no_failure():
    # Narrower differences do not reach it.
    x = normal((4, 5))
    x[1, 2], x[3, 0] = 2e-5, -3e-6
    report = gradient_check(layers.ReLU(), x)
    assert report.kinks == []
    assert report.max_error < 1e-6


def test_ties_in_max_pooling_are_reported_as_kinks():
    x = normal((1, 4, 4, 1))
    x[0, :2, :2, 0] = [[7.0, 1.0], [2.0, 7.0]]
    report = gradient_check(layers.MaxPooling2D(2), x)
    assert sorted(report.kinks) == [("x", (0, 0, 0, 0)), ("x", (0, 1, 1, 0))]
    everywhere = gradient_check(layers.MaxPooling2D(2), np.ones((1, 4, 4, 1)))
    assert len(everywhere.kinks) == 16
    shared = gradient_check(layers.GlobalMaxPooling2D(), np.ones((1, 2, 2, 1)))
    assert len(shared.kinks) == 4


class SteepAtZero(layers.Activation):
    """A relu whose slope at 0 is 3: right everywhere else."""

    def __init__(self, slope=3.0, **kwargs):
        super().__init__("relu", **kwargs)
        self.slope = slope

    def forward(self, x, training=False, rng=None):
        return super().forward(x)[0], x

    def backward(self, dy, cache):
        return np.where(cache == 0, self.slope, cache > 0) * dy, {}


class EveryTieWins(layers.MaxPooling2D):
    """Sends dy to each of the largest cells, and three times."""

    def backward(self, dy, cache):
        dx, _ = super().backward(dy, cache)
        return 3 * dx, {}


def test_a_wrong_gradient_at_a_kink_still_fails():
    x = normal((4, 5))
    x[1, 2] = 0.0
    with pytest.raises(GradientError, match=r"^x\[1, 2\]: received"):
        gradient_check(SteepAtZero(3.0), x)
    with pytest.raises(GradientError, match=r"^x\[1, 2\]: received"):
        gradient_check(SteepAtZero(-0.5), x)
    assert gradient_check(SteepAtZero(0.3), x).kinks == [("x", (1, 2))]
    with pytest.raises(GradientError):
        gradient_check(EveryTieWins(2), np.ones((1, 4, 4, 1)))


def test_blank_pixels_under_a_bias_of_zero_are_kinks_and_no_failures():
    # Every window on blank paper ends at exactly 0, where each relu bends its own way.
    x = uniform((3, 8, 7, 2))
    x[:, 3:] = 0.0
    convolution = layers.Conv2D(4, 3, activation="relu")
    report = gradient_check(convolution, x, samples=400)
    assert report.max_error < 1e-6
    assert len(report.kinks) > 100
    assert {name for name, _ in report.kinks} == {"x", "bias"}
    for seed in range(3):
        cnnlib.utils.set_random_seed(seed)
        model = Sequential(
            [
                layers.Conv2D(4, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(8, activation="relu"),
                layers.Dense(3),
            ]
        )
        report = gradient_check(model, x, samples=60)
        assert report.max_error < 1e-6
        assert report.kinks
        model.compile(loss=cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True))
        assert gradient_check(model, x, np.array([0, 2, 1]), samples=60).max_error < 1e-6


def test_a_wrong_gradient_among_kinks_inside_a_net_still_fails():
    class Halved(layers.Conv2D):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return 0.5 * dx, grads

    class WrongOnBlankPaper(layers.Conv2D):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            dx[:, 5:] = 0.7
            return dx, grads

    x = uniform((3, 8, 7, 2))
    x[:, 3:] = 0.0
    for wrong in (Halved, WrongOnBlankPaper):
        model = Sequential([wrong(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)])
        for seed in range(5):
            with pytest.raises(GradientError, match=r"^x\["):
                gradient_check(model, x, seed=seed)


def test_a_relu_net_with_dead_units_passes_and_reports_them():
    model = Sequential([layers.Dense(3, activation="relu"), layers.Dense(2)])
    model.build((None, 4))
    weights = [normal(w.shape, k) for k, w in enumerate(model.get_weights())]
    weights[0][:, 1] = 0.0  # this unit's input is its bias, 0, for every example
    weights[1][1] = 0.0
    model.set_weights(weights)
    report = gradient_check(model, normal((6, 4)))
    names = {name for name, _ in report.kinks}
    assert names == {"dense/kernel", "dense/bias"}
    assert report.max_error < 1e-6


# --- The target stays as it is ------------------------------------------------------------------


def test_the_target_is_left_unchanged():
    layer = layers.BatchNormalization()
    gradient_check(layer, normal((6, 3)))
    assert not layer.built
    layer.build((None, 3))
    before = copy.deepcopy((layer.params, layer.state))
    x = normal((6, 3)).astype("float32")
    x.flags.writeable = False
    gradient_check(layer, x)
    assert layer.dtype == "float32"
    for old, new in zip(before, (layer.params, layer.state), strict=True):
        for key in old:
            assert new[key].dtype == np.float32
            np.testing.assert_array_equal(old[key], new[key])

    model = picture_net()
    model.compile("adam", loss="mse")
    model.build((None, 7, 6, 2))
    weights = model.get_weights()
    gradient_check(model, uniform((5, 7, 6, 2)), normal((5, 3)), samples=3)
    assert model.optimizer.iterations == 0
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# --- Layers are pure ----------------------------------------------------------------------------


def read_only(x):
    x = x.copy(order="K")
    x.flags.writeable = False
    return x


def run(layer, x, dy=None, training=True):
    """``y, dx, grads``; dy is random where it is not given."""
    y, cache = layer.forward(x, training, np.random.default_rng(6))
    dy = read_only(normal(y.shape, 7, "float32")) if dy is None else dy
    dx, grads = layer.backward(dy, cache)
    return y, dx, grads, dy


@EACH_LAYER
def test_forward_and_backward_write_to_nothing_they_were_given(kind, options, shape):
    layer = built(kind, options, shape, "float32")
    for array in (*layer.params.values(), *layer.state.values()):
        array.flags.writeable = False
    x = read_only(normal(shape, 8, "float32"))
    before = copy.deepcopy({k: v for k, v in vars(layer).items() if not callable(v)})
    for training in (True, False):
        y, dx, grads, _ = run(layer, x, training=training)
        assert y.dtype == dx.dtype == np.float32
        assert dx.shape == x.shape
        assert {k: g.shape for k, g in grads.items()} == {
            k: p.shape for k, p in layer.params.items()
        }
    after = {k: v for k, v in vars(layer).items() if not callable(v)}
    assert repr(before) == repr(after)


@EACH_LAYER
def test_the_same_call_gives_the_same_bits(kind, options, shape):
    layer = built(kind, options, shape, "float32")
    x = read_only(normal(shape, 9, "float32"))
    y, dx, grads, _ = run(layer, x)
    again_y, again_dx, again_grads, _ = run(layer, x)
    np.testing.assert_array_equal(y, again_y)
    np.testing.assert_array_equal(dx, again_dx)
    for key in grads:
        np.testing.assert_array_equal(grads[key], again_grads[key])


@EACH_LAYER
def test_two_passes_at_once_do_not_disturb_each_other(kind, options, shape):
    layer = built(kind, options, shape, "float32")
    x, other = (read_only(normal(shape, seed, "float32")) for seed in (10, 11))
    y, cache = layer.forward(x, True, np.random.default_rng(6))
    kept = y.copy()
    dy = read_only(normal(y.shape, 7, "float32"))
    _, other_cache = layer.forward(other, True, np.random.default_rng(12))
    layer.backward(dy, other_cache)
    dx, grads = layer.backward(dy, cache)
    dx, grads = layer.backward(dy, cache)  # a cache can be used twice
    _, expected_dx, expected, _ = run(layer, x, dy)
    np.testing.assert_array_equal(y, kept)
    np.testing.assert_array_equal(dx, expected_dx)
    for key in expected:
        np.testing.assert_array_equal(grads[key], expected[key])


def other_orders(x):
    """The same numbers, laid out otherwise in memory, all of them read-only."""
    yield "Fortran", np.asfortranarray(x)
    yield "every second number of a larger array", np.repeat(x, 2, axis=-1)[..., ::2]
    yield "backwards", x[::-1].copy()[::-1]
    if x.ndim == 4:
        rows = np.ascontiguousarray(x.transpose(1, 3, 2, 0))
        yield "rows", rows.transpose(3, 0, 2, 1)
        padded = np.pad(x, [(0, 0), (1, 2), (2, 1), (0, 0)])
        yield "a window of a larger image", padded[:, 1:-2, 2:-1]


@EACH_LAYER
def test_every_memory_order_gives_the_same_result(kind, options, shape):
    layer = built(kind, options, shape, "float32")
    x = normal(shape, 13, "float32")
    y, dx, grads, dy = run(layer, x)
    orders = dict(other_orders(dy))
    for name, same in other_orders(x):
        same.flags.writeable = False
        same_dy = orders.get(name, dy)
        assert np.array_equal(same, x)
        received_y, received_dx, received_grads, _ = run(layer, same, same_dy)
        # BLAS and the sums may add in another order: float32 rounding, twice 6e-8 a term.
        pairs = {"y": (received_y, y), "dx": (received_dx, dx)}
        pairs |= {key: (received_grads[key], grads[key]) for key in grads}
        for what, (received, expected) in pairs.items():
            error = np.abs(received - expected).max()
            assert error <= 1e-6 * np.abs(expected).max(), f"{what} from {name}"
