"""Counts, energy and integer inference: against numbers by hand, and loops written here."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

import cnnlib
from cnnlib import hardware, layers
from cnnlib.layers import ComparativeConv2D, ComparativeDense, Conv2D, Dense

COMPARATIVE = (ComparativeConv2D, ComparativeDense)


def model_of(shape, *stack, seed=1):
    cnnlib.utils.set_random_seed(seed)
    return cnnlib.Sequential([cnnlib.Input(shape), *stack])


def randomize(model, seed=2):
    """Biases and normalization away from zero and one, or a test would not notice them."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if "bias" in layer.params:
            layer.params["bias"][:] = rng.normal(0, 0.3, layer.params["bias"].shape)
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.params["beta"].shape
            layer.params["gamma"][:] = rng.normal(0, 1, shape)
            layer.params["beta"][:] = rng.normal(0, 0.5, shape)
            layer.state["moving_mean"][:] = rng.normal(0, 0.5, shape)
            layer.state["moving_variance"][:] = rng.uniform(0.2, 2, shape)
    return model


def one_layer(layer, shape=(6, 7, 4)):
    (row,) = hardware.count_operations(model_of(shape, layer))
    return row


def lenet(conv, dense, **options):
    return model_of(
        (28, 28, 1),
        conv(6, 5, padding="same", activation="relu", **options),
        layers.MaxPooling2D(2),
        conv(16, 5, activation="relu", **options),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        dense(120, activation="relu", **options),
        dense(84, activation="relu", **options),
        dense(10, activation="softmax", **options),
    )


# --- Counting -------------------------------------------------------------------------------------

SYNAPSES = [28 * 28 * 6 * 25, 10 * 10 * 16 * 25 * 6, 400 * 120, 120 * 84, 84 * 10]
RELUS = [28 * 28 * 6, 10 * 10 * 16, 120, 84]
POOLED = [14 * 14 * 6, 5 * 5 * 16]


def test_lenet5_of_products_by_hand():
    total = hardware.count_operations(lenet(Conv2D, Dense)).total
    assert total.multiplications == total.synapse_multiplications == sum(SYNAPSES) == 416_520
    assert total.additions == 416_520 + 10 + 9  # softmax: 10 less the largest, 9 to sum
    assert total.comparisons == sum(RELUS) + 3 * sum(POOLED) + 9
    assert total.other == {"exp": 10, "division": 10}
    assert total.weights_read == 61_706  # the well-known number of LeNet-5's parameters
    outputs = [784 * 6, 14 * 14 * 6, 1600, 400, 120, 84, 10]
    assert total.activations_written == sum(outputs)
    assert total.activations_read == 784 + sum(outputs[:-1])


def test_a_comparative_lenet5_multiplies_by_its_output_scale_alone():
    rows = hardware.count_operations(lenet(ComparativeConv2D, ComparativeDense))
    assert rows.total.multiplications == 784 * 6 + 1600 + 120 + 84 + 10
    assert rows.total.synapse_multiplications == 0
    assert rows.total.synapse_comparisons == sum(SYNAPSES)
    assert rows.total.comparisons == sum(SYNAPSES) + sum(RELUS) + 3 * sum(POOLED) + 9
    products = hardware.count_operations(lenet(Conv2D, Dense)).total
    assert rows.total.additions == products.additions


def test_an_output_scale_that_is_a_power_of_two_is_a_shift():
    model = lenet(ComparativeConv2D, ComparativeDense, scale=0.125)
    assert hardware.count_operations(model).total.multiplications == 0


WINDOWS = [
    {"strides": 2},
    {"padding": "same"},
    {"strides": (2, 3), "padding": "same"},
    {"dilation_rate": 2},
    {"dilation_rate": (1, 2), "padding": "same", "groups": 2},
]


@pytest.mark.parametrize("options", WINDOWS)
@pytest.mark.parametrize("kind", [Conv2D, ComparativeConv2D])
def test_convolutions_count_what_plain_loops_do(kind, options):
    layer = kind(6, (3, 2), activation="relu", **options)
    row = one_layer(layer)
    x = np.random.default_rng(3).normal(size=(6, 7, 4))
    done = Counter()
    y = counting_convolution(layer, x, done)
    # The loops are the layer: 1e-5 is float32's share of sums of up to 24 terms near 1.
    np.testing.assert_allclose(y, layer(x[np.newaxis])[0], atol=1e-5)
    assert row.multiplications == done["multiplications"]
    assert row.additions == done["additions"]
    assert row.comparisons == done["comparisons"]


def counting_convolution(layer, x, done):
    kernel, bias = layer.params["kernel"].astype(float), layer.params["bias"]
    kh, kw, depth, filters = kernel.shape
    rows, columns = layer.compute_output_shape((None, *x.shape))[1:3]
    (s, t), (d, e) = layer.strides, layer.dilation_rate
    missing = [
        max(0, (out - 1) * stride + dilation * (window - 1) + 1 - size)
        for out, stride, dilation, window, size in zip(
            (rows, columns), (s, t), (d, e), (kh, kw), x.shape, strict=False
        )
    ]
    padded = np.pad(x, [*((m // 2, m - m // 2) for m in missing), (0, 0)])
    y = np.zeros((rows, columns, filters))
    for i, j, o in np.ndindex(y.shape):
        comparative = isinstance(layer, ComparativeConv2D)
        z = bias[o] / layer.output_scale if comparative else bias[o]
        first = o // (filters // layer.groups) * depth
        for a, b, c in np.ndindex(kh, kw, depth):
            pixel, w = padded[i * s + a * d, j * t + b * e, first + c], kernel[a, b, c, o]
            if comparative:
                done["comparisons"] += 1
                z += np.sign(pixel * w) * min(abs(pixel), abs(w))
            else:
                done["multiplications"] += 1
                z += pixel * w
            done["additions"] += 1
        if comparative:
            done["multiplications"] += 1
            z *= layer.output_scale
        done["comparisons"] += 1
        y[i, j, o] = max(z, 0)
    return y


BY_HAND = [  # on an input (6, 7, 4), 168 values: multiplications, additions, comparisons, other
    (layers.MaxPooling2D((2, 3)), (0, 0, 3 * 2 * 4 * 5, {})),
    (layers.MaxPooling2D(2, padding="same"), (0, 0, 3 * 4 * 4 * 3, {})),
    (layers.AveragePooling2D(2), (0, 3 * 3 * 4 * 3, 0, {})),
    (layers.AveragePooling2D(3), (2 * 2 * 4, 2 * 2 * 4 * 8, 0, {})),
    (layers.GlobalMaxPooling2D(), (0, 0, 4 * 41, {})),
    (layers.GlobalAveragePooling2D(), (4, 4 * 41, 0, {})),
    (layers.BatchNormalization(), (168, 168, 0, {})),
    # 42 places of 4: sums 3 + 3, less the mean 4, epsilon 1, beta 4; squares 4, means 2, scale 8.
    (layers.LayerNormalization(), (42 * 14, 42 * 15, 0, {"sqrt": 42, "division": 42})),
    (layers.ReLU(), (0, 0, 168, {})),
    (layers.ReLU(max_value=6), (0, 0, 2 * 168, {})),
    (layers.ReLU(negative_slope=0.3, threshold=1.0), (168, 168, 168, {})),
    (layers.LeakyReLU(0.3), (168, 0, 168, {})),
    (layers.LeakyReLU(0.25), (0, 0, 168, {})),
    (layers.ELU(), (0, 168, 168, {"exp": 168})),
    (layers.ELU(0.7), (168, 168, 168, {"exp": 168})),
    (layers.Softmax(), (0, 42 * 7, 42 * 3, {"exp": 168, "division": 168})),
    (layers.Softmax(axis=1), (0, 28 * 11, 28 * 5, {"exp": 168, "division": 168})),
    (layers.Activation("sigmoid"), (0, 168, 0, {"exp": 168, "division": 168})),
    (layers.Activation("tanh"), (0, 0, 0, {"tanh": 168})),
    (layers.Activation("softplus"), (0, 168, 0, {"exp": 168, "log": 168})),
    (layers.Activation("gelu"), (3 * 168, 168, 0, {"erf": 168})),
    (layers.Activation("linear"), (0, 0, 0, {})),
    (layers.Dropout(0.5), (0, 0, 0, {})),
    (layers.Flatten(), (0, 0, 0, {})),
    (layers.Reshape((42, 4)), (0, 0, 0, {})),
    (layers.ZeroPadding2D(1), (0, 0, 0, {})),
    (Dense(5, use_bias=False), (42 * 20, 42 * 20, 0, {})),
    (ComparativeDense(5, scale=0.3), (42 * 5, 42 * 20, 42 * 20, {})),
]


@pytest.mark.parametrize(("layer", "expected"), BY_HAND, ids=lambda v: getattr(v, "name", ""))
def test_layers_by_hand(layer, expected):
    row = one_layer(layer)
    assert (row.multiplications, row.additions, row.comparisons, row.other) == expected


def test_traffic_by_hand():
    def moved(layer):
        row = one_layer(layer)
        return row.weights_read, row.activations_read, row.activations_written

    assert moved(layers.Flatten()) == moved(layers.Dropout(0.5)) == (0, 0, 0)
    assert moved(layers.ZeroPadding2D(1)) == (0, 168, 8 * 9 * 4)
    assert moved(layers.BatchNormalization()) == (8, 168, 168)
    assert moved(Conv2D(3, 2)) == (2 * 2 * 4 * 3 + 3, 168, 5 * 6 * 3)


def test_every_layer_of_the_library_can_be_counted():
    counted = {type(layer).__name__ for layer, _ in BY_HAND} | {"Conv2D", "ComparativeConv2D"}
    short = {"AvgPool2D", "GlobalAvgPool2D", "GlobalMaxPool2D", "MaxPool2D"}
    assert counted == set(layers.__all__) - short - {"Input", "InputLayer", "Layer"}


def test_an_activation_of_the_callers_own_is_named():
    swish = cnnlib.activations.Function("swish", lambda x, out: (x, x), lambda dy, cache: dy)
    assert one_layer(Dense(2, activation=swish), (3,)).other == {"swish": 2}


def test_the_table_prints_aligned_with_its_total():
    counts = hardware.count_operations(lenet(Conv2D, Dense))
    lines = str(counts).splitlines()
    assert len(lines) == 1 + 8 + 1
    end = lines[0].index("multiplications") + len("multiplications")
    assert lines[1][:end].endswith("  117,600") and lines[-1][:end].endswith("  416,520")
    assert lines[-1].startswith("total ") and "10 exp, 10 division" in lines[-1]
    assert repr(hardware.energy(counts)).splitlines()[-1].startswith("total ")


def test_images_of_any_size_need_a_shape():
    model = model_of((None, None, 1), Conv2D(2, 3), layers.GlobalMaxPooling2D())
    with pytest.raises(ValueError, match="needs every size.*input_shape=\\(None, 28, 28, 1\\)"):
        hardware.count_operations(model)
    rows = hardware.count_operations(model, (None, 5, 6, 1))
    assert rows.total.multiplications == 3 * 4 * 2 * 9
    with pytest.raises(ValueError, match="was built for inputs of shape"):
        hardware.count_operations(model, (None, 5, 6, 3))


def test_what_cannot_be_counted_is_refused():
    class Mine(layers.ReLU):
        pass

    with pytest.raises(TypeError, match="'mine': the operations of Mine are not known"):
        one_layer(Mine())
    with pytest.raises(ValueError, match="does not know the shape of its input"):
        hardware.count_operations(cnnlib.Sequential([Dense(2)]), (None, 3))


# --- Energy ---------------------------------------------------------------------------------------


def synapse(kind, **options):
    layer = kind(1, use_bias=False, **options)
    return hardware.count_operations(model_of((1,), layer))


@pytest.mark.parametrize(
    ("numbers", "product", "comparison"), [("integer", 0.3, 0.13), ("float", 4.6, 1.8)]
)
def test_one_synapse_costs_what_the_table_says(numbers, product, comparison):
    def arithmetic(counts):
        return hardware.energy(counts, numbers).total.arithmetic

    assert arithmetic(synapse(Dense)) == pytest.approx(product)
    assert arithmetic(synapse(ComparativeDense, scale=2)) == pytest.approx(comparison)
    # A scale that is no power of two is a multiplication of the whole sum.
    scaling = {"integer": 3.1, "float": 3.7}[numbers]
    assert arithmetic(synapse(ComparativeDense, scale=3)) == pytest.approx(comparison + scaling)


def test_sums_of_eight_bits_would_mislead():
    eight = {"synapse_bits": 8, "accumulator_bits": 8}
    product = hardware.energy(synapse(Dense), **eight).total.arithmetic
    assert product == pytest.approx(0.23)
    comparison = hardware.energy(synapse(ComparativeDense, scale=1), **eight).total.arithmetic
    assert comparison == pytest.approx(0.06)


def test_memory_by_hand():
    counts = hardware.count_operations(model_of((3,), Dense(2)))  # 8 weights, 3 in, 2 out
    memory = {
        name: hardware.energy(counts, memory=name).total.memory
        for name in hardware.HOROWITZ_45NM["memory"]
    }
    expected = {"cache 8 KB": 10, "cache 32 KB": 20, "cache 1 MB": 100, "DRAM": 1300}
    assert memory == pytest.approx({name: 13 / 8 * pj for name, pj in expected.items()})
    assert hardware.energy(counts, "float").total.memory == pytest.approx(13 / 2 * 20)
    (row,) = hardware.energy(counts)
    assert row.total == row.arithmetic + row.memory


def test_what_has_no_price_is_named():
    total = hardware.energy(hardware.count_operations(lenet(Conv2D, Dense))).total
    assert total.not_counted == {"exp": 10, "division": 10}


def test_the_table_can_be_replaced():
    table = {
        "integer add": {4: 1.0, 16: 10.0},
        "integer multiply": {4: 100.0, 16: 1000.0},
        "memory": {"nearby": 0.0},
    }
    bits = {"synapse_bits": 4, "accumulator_bits": 16, "memory": "nearby", "table": table}
    assert hardware.energy(synapse(Dense), **bits).total.total == 110
    assert hardware.energy(synapse(ComparativeDense, scale=3), **bits).total.total == 1011


def test_bits_without_a_price_are_refused():
    counts = synapse(Dense)
    with pytest.raises(ValueError, match="integer multiply at these numbers of bits: 8, 32.*: 4"):
        hardware.energy(counts, synapse_bits=4)
    with pytest.raises(ValueError, match="float multiply at these numbers of bits: 16, 32.*: 8"):
        hardware.energy(counts, "float", accumulator_bits=8)
    with pytest.raises(ValueError, match="unknown memory: 'L2'.*cache 32 KB"):
        hardware.energy(counts, memory="L2")
    with pytest.raises(ValueError, match="unknown kind of numbers: 'int'.*integer"):
        hardware.energy(counts, "int")


# --- Integers against loops -----------------------------------------------------------------------


def mixed_net():
    return randomize(
        model_of(
            (9, 8, 1),
            ComparativeConv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            ComparativeConv2D(6, 2, groups=2, scale=0.37),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.ZeroPadding2D(1),
            Conv2D(5, 3, strides=2, activation="relu"),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            ComparativeConv2D(4, 2, padding="same", dilation_rate=2),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            ComparativeDense(7, activation="relu"),
            Dense(6, activation="relu"),
            layers.BatchNormalization(),
            ComparativeDense(5, activation="softmax"),
        )
    )


def sample(shape=(9, 8, 1), count=40, seed=4):
    return np.random.default_rng(seed).uniform(0, 1, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("normalization", ["multiply", "shift"])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_integers_equal_plain_loops_in_python(bits, normalization):
    model, x = mixed_net(), sample()
    quantized = hardware.quantize(model, bits, x, normalization=normalization)
    images = sample(count=3, seed=5)
    expected = [list(loops(model, quantized, image, bits, normalization)) for image in images]
    q = images.astype(float)
    for k, stage in enumerate(quantized.stages):
        q = stage(q)
        assert np.array_equal(q, [values[k] for values in expected]), stage
        assert np.abs(q).max() <= stage.bound
        if stage.bits is not None:
            half = 2 ** (stage.bits - 1)
            assert -half <= q.min() and q.max() < half
    e = np.exp(q * quantized.stages[-1].unit)
    # float32 holds softmax's outputs to 1e-7.
    np.testing.assert_allclose(
        quantized.predict(images), e / e.sum(axis=1, keepdims=True), rtol=1e-6
    )


def half_up(value):
    return math.floor(Fraction(value) + Fraction(1, 2))


def loops(model, quantized, image, bits, normalization):
    """Yield each layer's integers for one image: of the stages only the chosen steps are read."""
    top, unit, q = 2 ** (bits - 1) - 1, None, image.astype(float).astype(object)

    def each(array, function, *arguments):
        flat = [function(value, *arguments) for value in np.ravel(array).tolist()]
        result = np.empty(len(flat), dtype=object)
        result[:] = flat
        return result.reshape(np.shape(array))

    def whole(value, step):
        return min(max(half_up(Fraction(value) / Fraction(step)), -top), top)

    def shifted(value, shift):
        value = (value + (1 << shift >> 1)) >> shift if shift >= 0 else value << -shift
        return min(max(value, -top), top)

    def scaled(value, ratio):
        return whole(value * ratio, 1)

    for layer, stage in zip(model.layers, quantized.stages, strict=True):
        if isinstance(layer, Dense | Conv2D):
            comparative = isinstance(layer, COMPARATIVE)
            x_step, w_step = stage.x_step, stage.w_step
            if unit is None:
                x = each(q, whole, x_step)
                assert not comparative or math.frexp(x_step)[0] == 0.5
            elif comparative:
                shift = round(math.log2(x_step / unit))
                assert x_step == w_step == unit * 2.0**shift
                x = each(q, shifted, shift)
            else:
                x = each(q, scaled, unit / x_step)
            kernel = each(layer.params["kernel"], whole, w_step)
            unit = x_step * (layer.output_scale if comparative else w_step)
            q = correlate(layer, x, kernel)
            for o, value in enumerate(layer.params["bias"]):
                q[..., o] += half_up(float(value) / unit)
            if layer.activation.name == "relu":
                q = np.maximum(q, 0)
        elif isinstance(layer, layers.BatchNormalization):
            gains = layer.params["gamma"] / np.sqrt(
                layer.state["moving_variance"].astype(float) + layer.epsilon
            )
            largest = max(abs(gains))
            fraction = round(math.log2(unit * largest / stage.unit))
            unit = unit * largest / 2**fraction
            for c, gain in enumerate(gains):
                if normalization == "shift":
                    share = math.copysign(2.0 ** round(math.log2(abs(gain) / largest)), gain)
                else:
                    share = round(gain / largest * 2**15) / 2**15
                beta, mean = layer.params["beta"][c], layer.state["moving_mean"][c]
                offset = half_up((float(beta) - share * largest * float(mean)) / unit)
                for place in np.ndindex(q.shape[:-1]):
                    factor = Fraction(share) * 2**fraction
                    q[(*place, c)] = half_up(q[(*place, c)] * factor) + offset
        elif isinstance(layer, layers.MaxPooling2D):
            q = pool(q, layer, max)
        elif isinstance(layer, layers.AveragePooling2D):
            assert layer.pool_size == (2, 2)
            q = pool(q, layer, lambda window: half_up(Fraction(4 * sum(window), len(window))))
            unit /= 4
        elif isinstance(layer, layers.GlobalAveragePooling2D):
            unit /= math.prod(q.shape[:2])
            q = q.sum(axis=(0, 1))
        elif isinstance(layer, layers.ReLU):
            q = np.maximum(q, 0)
        elif isinstance(layer, layers.ZeroPadding2D):
            q = np.pad(q, ((1, 1), (1, 1), (0, 0)))
        yield q.astype(float)


def term(layer, x, w):
    if isinstance(layer, COMPARATIVE):
        return min(abs(x), abs(w)) * (1 if (x < 0) == (w < 0) else -1)
    return x * w


def correlate(layer, x, kernel):
    if isinstance(layer, Dense):
        sums = [sum(term(layer, a, w) for a, w in zip(x, ws, strict=True)) for ws in kernel.T]
        return np.array(sums, dtype=object)
    kh, kw, depth, filters = kernel.shape
    (s, t), (d, e) = layer.strides, layer.dilation_rate
    rows, columns = layer.compute_output_shape((None, *x.shape))[1:3]
    top, left = same_padding(x, layer, (rows, columns), (kh, kw), (d, e))
    y = np.zeros((rows, columns, filters), dtype=object)
    for i, j, o in np.ndindex(y.shape):
        first = o // (filters // layer.groups) * depth
        for a, b, c in np.ndindex(kh, kw, depth):
            r, p = i * s + a * d - top, j * t + b * e - left
            if 0 <= r < x.shape[0] and 0 <= p < x.shape[1]:
                y[i, j, o] += term(layer, x[r, p, first + c], kernel[a, b, c, o])
    return y


def same_padding(x, layer, out, window, dilation):
    """Rows and columns of zeros before the image."""
    return [
        max(0, (n - 1) * s + d * (k - 1) + 1 - size) // 2
        for n, s, d, k, size in zip(out, layer.strides, dilation, window, x.shape, strict=False)
    ]


def pool(x, layer, what):
    rows, columns = layer.compute_output_shape((None, *x.shape))[1:3]
    top, left = same_padding(x, layer, (rows, columns), layer.pool_size, (1, 1))
    y = np.zeros((rows, columns, x.shape[2]), dtype=object)
    for i, j, c in np.ndindex(y.shape):
        places = itertools.product(
            (i * layer.strides[0] + a - top for a in range(layer.pool_size[0])),
            (j * layer.strides[1] + b - left for b in range(layer.pool_size[1])),
        )
        inside = [(r, p) for r, p in places if 0 <= r < x.shape[0] and 0 <= p < x.shape[1]]
        y[i, j, c] = what([x[r, p, c] for r, p in inside])
    return y


# --- Exactness, accuracy, overflow ----------------------------------------------------------------


def test_eight_bits_lose_nothing_of_a_comparative_net_on_the_grid():
    """Weights, inputs and sums that are multiples of the step, none beyond 127 steps."""
    model = model_of(
        (6, 6, 1),
        ComparativeConv2D(3, 3, activation="relu", scale=0.25),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        ComparativeDense(4, scale=0.5),
    )
    rng = np.random.default_rng(6)
    for layer, step in ((model.layers[0], 1 / 128), (model.layers[3], 1 / 512)):
        kernel = layer.params["kernel"]
        kernel[:] = rng.integers(-12, 13, kernel.shape) * step
        layer.params["bias"][:] = rng.integers(-9, 10, kernel.shape[-1]) * step / 4
    x = (rng.integers(0, 128, (50, 6, 6, 1)) / 128).astype(np.float32)
    quantized = hardware.quantize(model, 8, x)
    assert np.array_equal(quantized.predict(x), model.predict(x))


def test_eight_bits_lose_nothing_of_products_on_the_grid():
    model = model_of((5,), Dense(4, activation="relu"), seed=7)
    rng = np.random.default_rng(7)
    kernel, x = rng.integers(-127, 128, (5, 4)), rng.integers(-127, 128, (60, 5))
    kernel[0, 0], x[0, 0] = 127, -127
    model.layers[0].params["kernel"][:] = kernel * 0.013
    x = (x * 0.7).astype(np.float32)
    y = hardware.quantize(model, 8, x).predict(x)
    # Steps of 0.013 and 0.7 are not exact in float32: 5 terms of up to 150, each right to 1e-7.
    np.testing.assert_allclose(y, model.predict(x), atol=5e-4)


@pytest.fixture(scope="module")
def trained():
    """Two small nets that have seen 2,000 embedded digits, and digits that they have not."""
    (x, y), (x_test, y_test) = cnnlib.datasets.digits.load_data()
    x, x_test = (images[..., np.newaxis].astype("float32") / 255 for images in (x, x_test))
    nets = {}
    for conv, dense in ((ComparativeConv2D, ComparativeDense), (Conv2D, Dense)):
        model = model_of(
            (28, 28, 1),
            conv(8, 5, strides=2, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            dense(32, activation="relu"),
            dense(10, activation="softmax"),
        )
        model.compile(cnnlib.optimizers.Adam(5e-3), loss="sparse_categorical_crossentropy")
        model.fit(x[:2000], y[:2000], batch_size=50, epochs=4, verbose=0)
        nets[conv.__name__] = model
    return nets, x[:200], x_test, y_test


@pytest.mark.parametrize("kind", ["ComparativeConv2D", "Conv2D"])
def test_accuracy_stays_with_many_bits_and_falls_with_few(trained, kind):
    trained_nets, x, x_test, y_test = trained
    model = trained_nets[kind]
    exact = float((model.predict(x_test).argmax(axis=-1) == y_test).mean())
    assert exact > 0.8  # or the rest would say little
    accuracy = {
        bits: hardware.quantize(model, bits, x).evaluate(x_test, y_test) for bits in (8, 5, 2)
    }
    # On 1,000 digits a difference under 1.2 points means nothing.
    assert abs(accuracy[8] - exact) < 0.012
    assert exact - 0.05 < accuracy[5] < exact + 0.012
    assert accuracy[2] < accuracy[5]


def test_evaluate_takes_labels_as_numbers_or_one_hot(trained):
    nets, x, x_test, y_test = trained
    quantized = hardware.quantize(nets["Conv2D"], 6, x)
    one_hot = cnnlib.utils.to_categorical(y_test, 10)
    quantized._model.loss = None  # which says what kind of labels it takes
    assert quantized.evaluate(x_test, y_test) == quantized.evaluate(x_test, one_hot)
    assert quantized.evaluate(x_test, y_test[:, np.newaxis], batch_size=7) == quantized.evaluate(
        x_test, y_test
    )


def test_outputs_are_those_of_the_model_in_shape_and_type(trained):
    nets, x, x_test, _ = trained
    y = hardware.quantize(nets["ComparativeConv2D"], 8, x).predict(x_test, batch_size=300)
    expected = nets["ComparativeConv2D"].predict(x_test)
    assert y.shape == expected.shape and y.dtype == expected.dtype
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)


def test_a_comparative_net_in_integers_multiplies_nowhere(trained):
    nets, x, *_ = trained
    quantized = hardware.quantize(nets["ComparativeConv2D"], 8, x)
    assert hardware.count_operations(nets["ComparativeConv2D"]).total.multiplications > 0
    assert quantized.counts.total.multiplications == 0
    ratios = [stage.ratio for stage in quantized.stages if isinstance(stage, hardware.Synapses)]
    assert [math.frexp(ratio)[0] for ratio in ratios] == [0.5] * 3


def test_rescaling_products_and_channels_is_counted():
    model = mixed_net()
    rows = {
        mode: {
            row.layer: row.multiplications - row.synapse_multiplications
            for row in hardware.quantize(model, 8, sample(), normalization=mode).counts
        }
        for mode in ("multiply", "shift")
    }
    expected = {
        "batch_normalization": 4 * 3 * 6,  # each value
        "conv2d": 6 * 5 * 6,  # each value of its input
        "average_pooling2d": 2 * 2 * 5,  # windows of 4, 2 and 1 cells
        "dense": 7,
        "batch_normalization_1": 6,
    }
    assert {name: count for name, count in rows["multiply"].items() if count} == expected
    shifts = {k: n for k, n in expected.items() if not k.startswith("batch")}
    assert {name: count for name, count in rows["shift"].items() if count} == shifts


@pytest.mark.parametrize("kind", [Dense, ComparativeDense])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_bits_that_are_asked_for_are_needed_and_suffice(kind, sign):
    model = randomize(model_of((40,), kind(3), seed=9))
    model.layers[0].params["bias"] += 3 * sign
    x = sample((40,), seed=10) * 2 - 1
    with pytest.raises(ValueError, match="'(comparative_)?dense' .*need (\\d+) bits") as refusal:
        hardware.quantize(model, 8, x, accumulator_bits=3)
    needed = int(str(refusal.value).split("need ")[1].split(" bits")[0])
    with pytest.raises(ValueError, match=f"need {needed} bits.*accumulator_bits={needed - 1}"):
        hardware.quantize(model, 8, x, accumulator_bits=needed - 1)
    quantized = hardware.quantize(model, 8, x, accumulator_bits=needed)
    (stage,) = quantized.stages
    kernel = stage.layer.params["kernel"]
    worst = np.concatenate([np.sign(kernel).T, -np.sign(kernel).T]) * stage.top * stage.x_step
    sums = stage(worst)
    assert -(2 ** (needed - 1)) <= sums.min() and sums.max() < 2 ** (needed - 1)
    assert sums.min() < -(2 ** (needed - 2)) or sums.max() >= 2 ** (needed - 2)


def test_signed_integers_reach_one_further_down_than_up():
    ranges = {(-8, 7): 4, (-9, 0): 5, (0, 8): 5, (-7, 7): 4, (0, 0): 1, (-128, 127): 8}
    assert {span: hardware._bits_for(*span) for span in ranges} == ranges


def test_a_pooled_sum_and_a_normalization_can_overflow_too():
    x = sample((6, 6, 1))
    pooled = model_of((6, 6, 1), ComparativeConv2D(2, 2), layers.GlobalAveragePooling2D())
    far = layers.BatchNormalization(beta_initializer=cnnlib.initializers.Constant(60))
    normalized = model_of((6, 6, 1), Conv2D(2, 2), far)
    for model in (pooled, normalized):
        name = model.layers[1].name
        first = hardware.quantize(model, 8, x).stages[0].bits
        with pytest.raises(ValueError, match=f"'{name}' .*its sums need") as refusal:
            hardware.quantize(model, 8, x, accumulator_bits=first)
        needed = int(str(refusal.value).split("need ")[1].split(" bits")[0])
        assert needed > first
        hardware.quantize(model, 8, x, accumulator_bits=needed)
    sums, means = hardware.quantize(pooled, 8, x).stages
    assert means.bound == sums.bound * 25


def test_pooling_before_the_first_weights_sees_the_image_as_it_is():
    model = model_of((6, 6, 1), layers.AveragePooling2D(2), layers.Flatten(), ComparativeDense(3))
    x = sample((6, 6, 1))
    quantized = hardware.quantize(model, 8, x)
    means = x.reshape(40, 3, 2, 3, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(quantized.stages[0](x)[..., 0], means, rtol=1e-6)  # float32
    # 9 terms, each off by at most half a step of 2**-6 in x and in w.
    np.testing.assert_allclose(quantized.predict(x), model.predict(x), atol=0.1)


def test_dead_layers_and_zero_weights_are_no_trouble():
    model = model_of((4,), ComparativeDense(3, kernel_initializer="zeros"), Dense(2), seed=11)
    x = np.zeros((5, 4), np.float32)
    assert np.array_equal(hardware.quantize(model, 4, x).predict(x), np.zeros((5, 2)))


# --- The model and the caller ---------------------------------------------------------------------


def test_the_model_is_never_changed_and_never_shared():
    model, x = mixed_net(), sample()
    before, names = model.get_weights(), [dict(vars(layer)) for layer in model.layers]
    state = dict(vars(model))
    quantized = hardware.quantize(model, 6, x)
    first = quantized.predict(x)
    assert vars(model) == state
    assert [vars(layer) for layer in model.layers] == names
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)
    for weights in (*model.params.values(), *model.state.values()):
        weights *= 2  # training goes on, in place
    model.add(Dense(3))
    assert np.array_equal(quantized.predict(x), first)


def test_a_quantized_model_describes_itself():
    text = repr(hardware.quantize(mixed_net(), 6, sample()))
    lines = text.splitlines()
    assert lines[0] == "6-bit inputs and weights, 32-bit accumulators"
    assert len(lines) == 2 + 15
    assert "shift right by" in text and "times" in text and "weights" in text


def test_bad_arguments_of_quantize():
    model, x = model_of((4,), ComparativeDense(3)), sample((4,))
    for bits in (1, 9, 4.0, True, "8", None):
        with pytest.raises(ValueError, match="bits: expected an integer from 2 to 8. Received"):
            hardware.quantize(model, bits, x)
    for bits in (1, 37, 16.0):
        with pytest.raises(ValueError, match="accumulator_bits: expected an integer from 2 to 36"):
            hardware.quantize(model, 8, x, accumulator_bits=bits)
    with pytest.raises(ValueError, match="unknown normalization: 'shfit'. Did you mean 'shift'"):
        hardware.quantize(model, 8, x, normalization="shfit")
    with pytest.raises(ValueError, match="at least one example"):
        hardware.quantize(model, 8, x[:0])
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 40 examples"):
        hardware.quantize(model, 8, np.where(np.arange(40)[:, None] == 3, np.nan, x))
    with pytest.raises(ValueError, match="was built for inputs of shape"):
        hardware.quantize(model, 8, x[:, :3])
    with pytest.raises(ValueError, match="does not know the shape of its input"):
        hardware.quantize(cnnlib.Sequential([Dense(2)]), 8, x)


def test_models_that_fixed_point_does_not_support():
    x = sample((4,))

    class Mine(Dense):
        pass

    with pytest.raises(TypeError, match="LayerNormalization is not supported in fixed point"):
        hardware.quantize(model_of((4,), layers.LayerNormalization(), Dense(2)), 8, x)
    with pytest.raises(TypeError, match="'mine': Mine is not supported"):
        hardware.quantize(model_of((4,), Mine(3)), 8, x)
    with pytest.raises(ValueError, match="tanh is not supported .* last activation. Use relu"):
        hardware.quantize(model_of((4,), Dense(3, activation="tanh"), Dense(2)), 8, x)
    with pytest.raises(ValueError, match="leaky_relu is not supported"):
        hardware.quantize(model_of((4,), Dense(3), layers.LeakyReLU(), Dense(2)), 8, x)
    with pytest.raises(ValueError, match="before the first layer with weights.*normalize the data"):
        hardware.quantize(model_of((4,), layers.BatchNormalization(), Dense(2)), 8, x)


@pytest.mark.parametrize("last", [[], [layers.Softmax()], [layers.Activation("tanh")]])
def test_the_last_activation_is_computed_in_floats(last):
    model, x = model_of((4,), ComparativeDense(3), *last), sample((4,))
    y = hardware.quantize(model, 8, x).predict(x)
    # 4 terms, each off by at most half a step of 2**-6 in x and in w.
    np.testing.assert_allclose(y, model.predict(x), atol=0.05)


def test_bad_data_for_a_quantized_model():
    quantized = hardware.quantize(model_of((4,), Dense(3)), 8, sample((4,)))
    with pytest.raises(ValueError, match="was built for inputs of shape"):
        quantized.predict(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="NaN"):
        quantized.predict(np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match="batch_size: expected a positive integer"):
        quantized.predict(np.zeros((2, 4)), batch_size=0)
    with pytest.raises(ValueError, match="same length"):
        quantized.evaluate(np.zeros((2, 4)), [1])
    with pytest.raises(ValueError, match="one label an example"):
        quantized.evaluate(np.zeros((2, 4)), np.zeros((2, 2)))
    scores = hardware.quantize(model_of((4,), Dense(1)), 8, sample((4,)))
    with pytest.raises(ValueError, match="outputs of shape \\(2, 1\\): use predict"):
        scores.evaluate(np.zeros((2, 4)), [0, 1])


def test_images_keep_the_size_of_the_sample():
    model = model_of((None, None, 1), ComparativeConv2D(2, 3), layers.GlobalAveragePooling2D())
    quantized = hardware.quantize(model, 8, sample((6, 6, 1)))
    assert quantized.predict(sample((6, 6, 1))).shape == (40, 2)
    with pytest.raises(ValueError, match="built for inputs of shape \\(None, 6, 6, 1\\)"):
        quantized.predict(sample((7, 6, 1)))
    assert model.input_shape == (None, None, None, 1)


def test_what_is_no_model_or_no_count_is_named():
    with pytest.raises(TypeError, match="expected a Sequential. Received: int"):
        hardware.count_operations(5)
    with pytest.raises(TypeError, match="expected what count_operations gave. Received: list"):
        hardware.energy([])
