"""Losses, metrics, optimizers and schedules against Keras on JAX."""

import jax
import keras
import numpy as np
import pytest
from keras_reference import assert_close
from scipy.special import expit, logsumexp, softmax

import cnnlib

# --- Losses -------------------------------------------------------------------------------------


def draw(labels, outputs, shape, rng):
    """Labels and predictions of one kind, of this shape."""
    z = 2 * rng.normal(size=shape).astype("float32")
    y_pred = {
        "numbers": z,
        "logits": z,
        "probabilities": expit(z).astype("float32"),
        "distributions": softmax(z, axis=-1).astype("float32"),
        "rows": 0.1 + rng.random(shape, dtype="float32"),  # positive, but the sum is not 1
    }[outputs]
    classes = rng.integers(0, shape[-1], shape[:-1])
    y_true = {
        "numbers": rng.normal(size=shape).astype("float32"),
        "flat": rng.normal(size=shape[:-1]).astype("float32"),
        "bits": rng.integers(0, 2, shape),
        "flat bits": rng.integers(0, 2, shape[:-1]),
        "shares": rng.random(shape, dtype="float32"),
        "one-hot": np.eye(shape[-1], dtype="float32")[classes],
        "classes": classes,
        "column": classes[..., None],
        "float classes": classes.astype("float32"),
    }[labels]
    return y_true, y_pred


MSE, BCE = "MeanSquaredError", "BinaryCrossentropy"
CCE, SPARSE = "CategoricalCrossentropy", "SparseCategoricalCrossentropy"

LOSSES = [
    (MSE, {}, "numbers", "numbers", (6, 3)),
    (MSE, {}, "flat", "numbers", (6, 1)),
    (MSE, {}, "numbers", "numbers", (6, 4, 3)),
    (BCE, {}, "bits", "probabilities", (6, 1)),
    (BCE, {}, "flat bits", "probabilities", (6, 1)),
    (BCE, {"label_smoothing": 0.2}, "shares", "probabilities", (6, 3)),
    (BCE, {"from_logits": True}, "flat bits", "logits", (6, 1)),
    (BCE, {"from_logits": True, "label_smoothing": 0.1}, "bits", "logits", (6, 4, 3)),
    (CCE, {}, "one-hot", "distributions", (6, 5)),
    (CCE, {}, "one-hot", "rows", (6, 5)),
    (CCE, {"label_smoothing": 0.1}, "one-hot", "distributions", (6, 5)),
    (CCE, {"from_logits": True}, "one-hot", "logits", (6, 5)),
    (CCE, {"from_logits": True, "label_smoothing": 0.3}, "one-hot", "logits", (6, 4, 3)),
    (SPARSE, {}, "classes", "distributions", (6, 5)),
    (SPARSE, {}, "column", "rows", (6, 5)),
    (SPARSE, {"from_logits": True}, "classes", "logits", (6, 5)),
    (SPARSE, {"from_logits": True}, "column", "logits", (6, 5)),
    (SPARSE, {"from_logits": True}, "float classes", "logits", (6, 4, 3)),
]


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("name", "options", "labels", "outputs", "shape"),
    LOSSES,
    ids=[f"{n}-{labels}-{o}-{len(s)}d-{'-'.join(k)}" for n, k, labels, o, s in LOSSES],
)
def test_loss_and_its_gradient(name, options, labels, outputs, shape, weighted):
    rng = np.random.default_rng(len(name) + len(shape))
    y_true, y_pred = draw(labels, outputs, shape, rng)
    weight = rng.random(len(y_pred), dtype="float32") * 2 if weighted else None
    ours, theirs = (getattr(lib.losses, name)(**options) for lib in (cnnlib, keras))

    # Keras wants a weight for each position of an example: one for all of them by broadcasting.
    broadcast = weight[:, None] if weighted and len(shape) == 3 else weight
    expected, gradient = jax.value_and_grad(lambda p: theirs(y_true, p, broadcast))(y_pred)
    assert_close(ours(y_true, y_pred, weight), float(expected), what="loss")

    values, dy = ours.value_and_gradient(y_true, y_pred)
    assert values.shape == (len(y_pred),)
    assert values.dtype == np.float64
    assert dy.dtype == np.float32
    # The gradient of an example's loss, to be summed; Keras's is that of the mean.
    factor = np.ones(len(y_pred)) if weight is None else weight
    factor = factor.reshape(-1, *[1] * (dy.ndim - 1)) / len(y_pred)
    assert_close(dy * factor, gradient, what="gradient")


@pytest.mark.parametrize("name", [BCE, CCE, SPARSE])
def test_probabilities_of_exactly_0_and_1_cost_what_they_cost_in_keras(name):
    y_pred = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    labels = np.array([0, 1, 1])
    y_true = labels if name == SPARSE else np.eye(2, dtype="float32")[labels]
    ours, theirs = (getattr(lib.losses, name)() for lib in (cnnlib, keras))
    # 1 - 1e-7 is not a float32 number: Keras's logarithm of what is left of it is wrong by 1e-2.
    np.testing.assert_allclose(ours(y_true, y_pred), float(theirs(y_true, y_pred)), rtol=2e-2)
    _, dy = ours.value_and_gradient(y_true, y_pred)
    assert np.isfinite(dy).all()


EXTREMES = np.array([0.0, 1.0, -50.0, 88.0, -104.0, 1e4, -1e20, 3e38, -3e38], "float32")


@pytest.mark.parametrize("name", [CCE, SPARSE])
def test_softmax_cross_entropy_is_exact_for_any_float32_logits(name):
    rng = np.random.default_rng(1)
    logits = rng.choice(EXTREMES, (500, 4))
    labels = rng.integers(0, 4, 500)
    y_true = labels if name == SPARSE else np.eye(4)[labels]
    loss = getattr(cnnlib.losses, name)(from_logits=True)
    values, dy = loss.value_and_gradient(y_true, logits)
    z = logits.astype(np.float64)
    # The label's logit goes first: next to 3e38 a log(2) would be lost.
    expected = logsumexp(z - z[np.arange(500), labels][:, None], axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dy, softmax(z, axis=1) - np.eye(4)[labels], rtol=1e-6, atol=1e-7)
    assert np.isfinite(values).all()
    assert np.isfinite(dy).all()


def test_sigmoid_cross_entropy_is_exact_for_any_float32_logit():
    logits = np.repeat(EXTREMES, 2)[:, None]
    labels = np.tile([0.0, 1.0], len(EXTREMES))
    loss = cnnlib.losses.BinaryCrossentropy(from_logits=True)
    values, dy = loss.value_and_gradient(labels, logits)
    z = logits[:, 0].astype(np.float64)
    expected = np.logaddexp(0, np.where(labels == 1, -z, z))  # -log of the label's probability
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=0)
    np.testing.assert_allclose(dy[:, 0], expit(z) - labels, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [BCE, CCE, SPARSE])
def test_probabilities_anywhere_in_float32_give_finite_losses_and_gradients(name):
    tiny = np.float32(1e-45)  # the smallest number above zero
    y_pred = np.array([[tiny, 1.0], [1.0, tiny], [0.5, 0.5], [1e-7, 1.0]], "float32")
    labels = np.array([0, 0, 1, 0])
    y_true = labels if name == SPARSE else np.eye(2)[labels]
    values, dy = getattr(cnnlib.losses, name)().value_and_gradient(y_true, y_pred)
    assert np.isfinite(values).all()
    assert np.isfinite(dy).all()


# --- Metrics ------------------------------------------------------------------------------------

METRICS = [
    ("BinaryAccuracy", {}, "flat bits", "probabilities", (40, 1)),
    ("BinaryAccuracy", {"threshold": 0.3}, "bits", "probabilities", (40, 3)),
    ("CategoricalAccuracy", {}, "one-hot", "distributions", (40, 3)),
    ("SparseCategoricalAccuracy", {}, "classes", "distributions", (40, 3)),
    ("SparseCategoricalAccuracy", {}, "column", "logits", (40, 3)),
    ("SparseCategoricalAccuracy", {}, "classes", "logits", (10, 4, 3)),
]


@pytest.mark.parametrize(
    ("name", "options", "labels", "outputs", "shape"), METRICS, ids=lambda v: str(v)
)
def test_metric_over_two_batches(name, options, labels, outputs, shape):
    rng = np.random.default_rng(2)
    ours, theirs = (getattr(lib.metrics, name)(**options) for lib in (cnnlib, keras))
    for _ in range(2):
        y_true, y_pred = draw(labels, outputs, shape, rng)
        ours.update_state(y_true, y_pred)
        theirs.update_state(y_true, y_pred)
    assert ours.name == theirs.name
    assert 0 < ours.result() < 1
    assert_close(ours.result(), float(theirs.result()))


def test_the_class_accuracy_compares_numbers():
    y_true, y_pred = np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])
    expected = keras.metrics.Accuracy()
    expected.update_state(y_true, y_pred)
    assert cnnlib.metrics.Accuracy()(y_true, y_pred) == float(expected.result()) == 0.75


@pytest.mark.parametrize("name", ["accuracy", "acc"])
@pytest.mark.parametrize(
    ("loss", "labels", "outputs", "shape"),
    [
        ("binary_crossentropy", "flat bits", "probabilities", (40, 1)),
        ("categorical_crossentropy", "one-hot", "distributions", (40, 3)),
        ("sparse_categorical_crossentropy", "classes", "distributions", (40, 3)),
        ("sparse_categorical_crossentropy", "column", "distributions", (40, 3)),
    ],
)
def test_the_word_accuracy_means_what_it_means_in_keras(name, loss, labels, outputs, shape):
    y_true, y_pred = draw(labels, outputs, shape, np.random.default_rng(3))
    reports = []
    for lib in (keras, cnnlib):
        model = lib.Sequential([lib.Input(shape[1:]), lib.layers.Activation("linear")])
        model.compile("sgd", loss=loss, metrics=[name], run_eagerly=True)
        # One batch of all: an average over batches would be rounded again.
        reports.append(model.evaluate(y_pred, y_true, batch_size=40, verbose=0, return_dict=True))
    expected, received = reports
    assert list(received) == sorted(expected, key="loss".__ne__)
    for key, value in received.items():
        assert_close(value, expected[key], what=key)


# --- Optimizers ---------------------------------------------------------------------------------

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "learning_rate": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.8, "rho": 0.7}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "epsilon": 1e-4}),
    ("Adam", {}),
    ("Adam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Adam", {"amsgrad": True, "beta_2": 0.6}),  # forgets fast, so that the maximum matters
]


@pytest.mark.parametrize("scheduled", [False, True], ids=["", "scheduled"])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=lambda v: str(v))
def test_twenty_steps(name, options, scheduled):
    rng = np.random.default_rng(4)
    ours, theirs = (getattr(lib.optimizers, name)(**options) for lib in (cnnlib, keras))
    if scheduled:
        schedule = {"initial_learning_rate": 0.05, "decay_steps": 5, "decay_rate": 0.7}
        ours, theirs = (
            getattr(lib.optimizers, name)(
                **{
                    **options,
                    "learning_rate": lib.optimizers.schedules.ExponentialDecay(**schedule),
                }
            )
            for lib in (cnnlib, keras)
        )
    # Small numbers at the start: what is compared to 1e-5 is the sum of the steps.
    params = {key: 1e-3 * rng.normal(size=s).astype("float32") for key, s in SHAPES.items()}
    variables = [keras.Variable(value.copy()) for value in params.values()]
    for step in range(20):
        size = 10.0 ** (step % 5 - 2)  # 0.01 to 100: running means see small and large
        grads = {
            key: size * rng.normal(size=p.shape).astype("float32") for key, p in params.items()
        }
        grads["kernel"][0] = 0 if step < 10 else 1e-4
        ours.update(params, grads)
        theirs.apply(list(grads.values()), variables)
        for key, variable in zip(params, variables, strict=True):
            assert_close(params[key], variable.value, what=f"{key} after step {step}")
    assert ours.iterations == 20
    slots = [ours.slots[s][key] for group in ours.slot_groups for key in params for s in group]
    others = [variable.value for variable in theirs.variables[2 - scheduled :]]
    assert len(slots) == len(others)
    for slot, expected in zip(slots, others, strict=True):
        assert_close(slot, expected, what="slot")


SHAPES = {"kernel": (4, 3), "bias": (5,)}


SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 30, "decay_rate": 0.5}),
    (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 30, "decay_rate": 0.5, "staircase": True},
    ),
    ("PiecewiseConstantDecay", {"boundaries": [10, 50], "values": [0.1, 0.02, 0.003]}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 90}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 90, "alpha": 0.2}),
    (
        "CosineDecay",
        {
            "initial_learning_rate": 0.01,
            "decay_steps": 60,
            "alpha": 0.1,
            "warmup_target": 0.3,
            "warmup_steps": 20,
        },
    ),
]


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=lambda v: str(v))
def test_schedule(name, options):
    ours, theirs = (getattr(lib.optimizers.schedules, name)(**options) for lib in (cnnlib, keras))
    steps = [*range(0, 130, 3), 10, 11, 20, 50, 51, 89, 90, 1000]
    # The scale is the largest rate: the end of a cosine is a difference of two ones in float32.
    assert_close([ours(step) for step in steps], [float(theirs(step)) for step in steps])


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=lambda v: str(v))
def test_large_arrays_changed_in_parts_come_out_the_same(name, options):
    rng = np.random.default_rng(5)
    shapes = {"kernel": (3 * cnnlib.optimizers.PART // 128 + 5, 128), "bias": (128,), "scale": ()}
    whole = {key: rng.normal(size=shape).astype("float32") for key, shape in shapes.items()}
    parts = {key: value.copy() for key, value in whole.items()}
    one, other = (getattr(cnnlib.optimizers, name)(**options) for _ in range(2))
    counts = []

    def backwards(calls):  # the order of parts does not matter
        counts.append(len(calls))
        return (call() for call in reversed(calls))

    for _ in range(3):
        grads = {key: rng.normal(size=shape).astype("float32") for key, shape in shapes.items()}
        one.update(whole, grads)
        other.update(parts, grads, backwards)
    assert counts == [6, 6, 6]  # three parts and a rest, and the two small ones
    for a, b in ((whole, parts), *zip(one.slots.values(), other.slots.values(), strict=True)):
        for key in shapes:
            np.testing.assert_array_equal(a[key], b[key], strict=True)


def test_an_optimizer_from_elsewhere_gets_arrays_whole():
    class ByNorm(cnnlib.optimizers.SGD):
        def step(self, p, g, rate, slot):
            p -= rate * g / np.linalg.norm(g)

    size = 4 * cnnlib.optimizers.PART
    params, grads = {"w": np.zeros(size)}, {"w": np.ones(size)}
    ByNorm(1.0).update(params, grads, lambda calls: [call() for call in calls])
    np.testing.assert_allclose(np.linalg.norm(params["w"]), 1)
