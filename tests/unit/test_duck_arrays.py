"""The library on arrays that are not NumPy's and refuse to become so, as CuPy's do.

`Duck` wraps an ndarray. It answers NumPy's protocols (NEP 13, NEP 18, NEP 35), refuses silent
conversion, refuses to be mixed with ndarrays, and refuses arguments that CuPy does not have.
Whatever passes here is plain `np.` code on the arrays that came in.
"""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import cnnlib
from cnnlib import activations, layers, losses, metrics, optimizers, regularizers, shards


class Duck:
    """An array on another device."""

    __array_priority__ = 100

    def __init__(self, array):
        assert type(array) is np.ndarray or isinstance(array, np.generic), type(array)
        self._a = np.asarray(array)

    # What CuPy refuses.
    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use get()")

    def get(self):
        return self._a.copy()

    # The protocols.
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if any(isinstance(value, np.ndarray) and value.ndim for value in inputs):
            raise TypeError(f"{ufunc.__name__}: Unsupported type <class 'numpy.ndarray'>")
        if out is not None:
            kwargs["out"] = tuple(bare(value) for value in out)
            assert all(value is None or isinstance(value, Duck) for value in out)
        result = getattr(ufunc, method)(*[bare(value) for value in inputs], **kwargs)
        return out[0] if out is not None else wrap(result)

    def __array_function__(self, function, types, args, kwargs):
        if function in (np.asarray, np.array):  # asarray(..., like=duck)
            return wrap(function(*[bare(value) for value in args], **bare(kwargs)))
        for value in leaves((args, kwargs)):
            if isinstance(value, np.ndarray) and value.ndim:
                raise TypeError(f"{function.__name__} mixes a duck with an ndarray")
        if kwargs.get("subok") is not None:
            raise TypeError("subok is not supported yet")  # CuPy's words
        return wrap(function(*bare(args), **bare(kwargs)))

    # What arrays have and the library uses.
    @property
    def shape(self):
        return self._a.shape

    @property
    def dtype(self):
        return self._a.dtype

    @property
    def ndim(self):
        return self._a.ndim

    @property
    def size(self):
        return self._a.size

    @property
    def nbytes(self):
        return self._a.nbytes

    @property
    def flags(self):
        return self._a.flags

    @property
    def T(self):
        return Duck(self._a.T)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (Duck(value) for value in self._a)

    def __getitem__(self, key):
        return wrap(self._a[bare(key)])

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("an ndarray is not put into a duck without asking")
        self._a[bare(key)] = bare(value)

    def __float__(self):
        return float(self._a)

    def __int__(self):
        return int(self._a)

    def __bool__(self):
        return bool(self._a)

    def __format__(self, spec):
        return format(self._a[()], spec)

    def __repr__(self):
        return f"Duck({self._a!r})"


def bare(value):
    if isinstance(value, Duck):
        return value._a
    if type(value) in (tuple, list):
        return type(value)(bare(item) for item in value)
    if type(value) is dict:
        return {key: bare(item) for key, item in value.items() if key != "like"}
    return value


def wrap(value):
    if isinstance(value, np.ndarray | np.generic):
        return Duck(np.asarray(value))
    if isinstance(value, tuple | list):
        return type(value)(wrap(item) for item in value)
    return value


def leaves(value):
    if isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        yield from leaves(list(value.values()))
    else:
        yield value


def _method(name):
    def method(self, *args, **kwargs):
        return wrap(getattr(self._a, name)(*bare(args), **bare(kwargs)))

    return method


for _name in [
    "reshape",
    "transpose",
    "swapaxes",
    "astype",
    "copy",
    "view",
    "ravel",
    "sum",
    "mean",
    "max",
    "min",
    "argmax",
    "any",
    "all",
    "var",
]:
    setattr(Duck, _name, _method(_name))


def _operator(ufunc, swapped=False):
    def operator(self, other):
        return ufunc(other, self) if swapped else ufunc(self, other)

    return operator


def _in_place(ufunc):
    def operator(self, other):
        ufunc(self, other, out=self)
        return self

    return operator


for _name, _ufunc in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
}.items():
    setattr(Duck, f"__{_name}__", _operator(_ufunc))
    setattr(Duck, f"__r{_name}__", _operator(_ufunc, swapped=True))
    setattr(Duck, f"__i{_name}__", _in_place(_ufunc))
for _name, _ufunc in {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}.items():
    setattr(Duck, f"__{_name}__", _operator(_ufunc))
Duck.__hash__ = None
Duck.__neg__ = lambda self: np.negative(self)
Duck.__invert__ = lambda self: np.invert(self)
Duck.__abs__ = lambda self: np.absolute(self)

LIKE = Duck(np.zeros(1, np.float32))


def assert_equal(duck, array, what=""):
    """A duck that holds exactly these numbers."""
    assert type(duck) is Duck, f"{what}: {type(duck)}"
    assert duck.dtype == array.dtype, what
    # The same NumPy calls in the same order; sums may run along another memory order.
    np.testing.assert_allclose(duck.get(), array, rtol=2e-6, atol=2e-6, err_msg=what)
    assert duck.shape == array.shape, what


def test_the_duck_is_strict():
    duck = Duck(np.ones(3))
    for convert in (
        np.asarray,
        np.array,
        np.ascontiguousarray,
        lambda d: np.stack([d, np.ones(3)]),
    ):
        with pytest.raises(TypeError):
            convert(duck)
    for mix in (
        lambda: duck + np.ones(3),
        lambda: np.ones(3) * duck,
        lambda: np.maximum(np.ones(3), duck),
        lambda: np.where(np.ones(3) > 0, duck, 0),
        lambda: np.zeros_like(duck, subok=False),
        lambda: np.add(np.ones(3), 1, out=duck),
        lambda: duck.__setitem__(0, np.ones(1)),
    ):
        with pytest.raises((TypeError, AssertionError)):
            mix()
    assert type(duck + 1) is type(np.exp(duck)) is type(np.sum(duck)) is Duck
    assert type(sliding_window_view(duck, 2)) is Duck


# --- Layers -------------------------------------------------------------------------------------

IMAGES = (3, 9, 8, 4)
LAYERS = {
    "dense": (lambda: layers.Dense(5, activation="relu"), (4, 6)),
    "dense, three axes": (lambda: layers.Dense(5, use_bias=False), (4, 3, 6)),
    "flatten": (layers.Flatten, IMAGES),
    "reshape": (lambda: layers.Reshape((-1, 4)), IMAGES),
    "conv": (lambda: layers.Conv2D(6, 3, activation="tanh"), IMAGES),
    "conv same strides": (lambda: layers.Conv2D(6, (3, 2), strides=2, padding="same"), IMAGES),
    "conv dilation": (lambda: layers.Conv2D(6, 3, dilation_rate=(2, 1), padding="same"), IMAGES),
    "conv groups": (lambda: layers.Conv2D(6, 3, groups=2, activation="relu"), IMAGES),
    "comparative dense": (lambda: layers.ComparativeDense(5, activation="relu"), (4, 6)),
    "comparative dense, product": (lambda: layers.ComparativeDense(5, gradient="product"), (4, 6)),
    "comparative conv": (
        lambda: layers.ComparativeConv2D(6, (3, 2), strides=2, padding="same"),
        IMAGES,
    ),
    "comparative conv dilation": (
        lambda: layers.ComparativeConv2D(6, 3, dilation_rate=(2, 1), scale=1, use_bias=False),
        IMAGES,
    ),
    "comparative conv groups": (
        lambda: layers.ComparativeConv2D(6, 3, groups=2, activation="relu"),
        IMAGES,
    ),
    "comparative conv, product": (
        lambda: layers.ComparativeConv2D(6, 3, padding="same", gradient="product"),
        IMAGES,
    ),
    "zero padding": (lambda: layers.ZeroPadding2D(((1, 2), (0, 3))), IMAGES),
    "max pooling": (lambda: layers.MaxPooling2D(2), IMAGES),
    "max pooling, overlapping": (lambda: layers.MaxPooling2D(3, 2, padding="same"), IMAGES),
    "max pooling, large": (lambda: layers.MaxPooling2D((9, 8), 1, padding="same"), IMAGES),
    "average pooling": (lambda: layers.AveragePooling2D(2), IMAGES),
    "average pooling, same": (lambda: layers.AveragePooling2D(3, 2, padding="same"), IMAGES),
    "global max": (layers.GlobalMaxPooling2D, IMAGES),
    "global average": (lambda: layers.GlobalAveragePooling2D(keepdims=True), IMAGES),
    "dropout": (lambda: layers.Dropout(0.4), IMAGES),
    "batch normalization": (layers.BatchNormalization, IMAGES),
    "batch normalization, vectors": (lambda: layers.BatchNormalization(scale=False), (7, 5)),
    "layer normalization": (layers.LayerNormalization, IMAGES),
    "ReLU": (lambda: layers.ReLU(2.0, 0.1, 0.2), IMAGES),
    "LeakyReLU": (layers.LeakyReLU, IMAGES),
    "ELU": (layers.ELU, IMAGES),
    "Softmax": (layers.Softmax, IMAGES),
    "Softmax, axis": (lambda: layers.Softmax(axis=1), IMAGES),
    **{
        f"Activation {name}": (lambda name=name: layers.Activation(name), (4, 6))
        for name in activations.FUNCTIONS
    },
}


def test_every_layer_is_tried():
    tried = {type(make()).__name__ for make, _ in LAYERS.values()}
    public = {getattr(layers, name).__name__ for name in layers.__all__} - {"InputLayer", "Layer"}
    assert tried >= public


def moved(layer):
    for home, key in layer.homes():
        home[key] = Duck(home[key])


def in_memory(array, order):
    return array.copy() if order == "C" else np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0)


@pytest.mark.parametrize("training_mode", [False, True])
@pytest.mark.parametrize("order", ["C", "batch innermost"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_runs_on_ducks(name, order, training_mode):
    make, shape = LAYERS[name]
    rng = np.random.default_rng(1)
    x = in_memory(rng.normal(size=shape).astype(np.float32), order)
    plain, duck = make(), make()
    for layer in (plain, duck):
        layer.build((None, *shape[1:]))
    duck.set_weights([rng.random(w.shape) for w in plain.get_weights()])
    plain.set_weights(duck.get_weights())
    moved(duck)
    y, cache = plain.forward(x, training_mode, np.random.default_rng(3))
    duck_y, duck_cache = duck.forward(Duck(x), training_mode, np.random.default_rng(3))
    assert_equal(duck_y, y, "y")
    dy = in_memory(rng.normal(size=y.shape).astype(np.float32), order)
    dx, grads = plain.backward(dy, cache)
    duck_dx, duck_grads = duck.backward(Duck(dy), duck_cache)
    assert_equal(duck_dx, dx, "dx")
    assert duck_grads.keys() == grads.keys() == plain.params.keys()
    for key, gradient in grads.items():
        assert_equal(duck_grads[key], gradient, key)
    for key, gradient in duck.parameter_gradients(Duck(dy), duck_cache).items():
        assert_equal(gradient, grads[key], key)
    state = plain.updated_state(cache)
    duck_state = duck.updated_state(duck_cache)
    assert duck_state.keys() == state.keys()
    for key, value in state.items():
        assert_equal(duck_state[key], value, key)


@pytest.mark.parametrize("name", activations.FUNCTIONS)
def test_an_activation_runs_on_ducks(name):
    x = np.random.default_rng(0).normal(size=(4, 5)) * 3
    assert_equal(activations.FUNCTIONS[name](Duck(x)), activations.FUNCTIONS[name](x))


def test_the_approximate_gelu_runs_on_ducks():
    x = np.random.default_rng(0).normal(size=(4, 5))
    expected = activations.gelu(x, approximate=True)
    assert_equal(activations.gelu(Duck(x), approximate=True), expected)


# --- Losses, metrics, regularizers, optimizers --------------------------------------------------

PROBABILITIES = np.random.default_rng(2).dirichlet(np.ones(4), 6).astype(np.float32)
CLASSES = np.array([0, 3, 2, 1, 1, 0])
LOSSES = {
    "mse": (losses.MeanSquaredError(), PROBABILITIES * 0.5, PROBABILITIES),
    "bce": (losses.BinaryCrossentropy(), np.eye(4)[CLASSES], PROBABILITIES),
    "bce logits": (losses.BinaryCrossentropy(True, 0.1), np.eye(4)[CLASSES], PROBABILITIES * 9 - 4),
    "bce, one output": (losses.BinaryCrossentropy(), CLASSES % 2, PROBABILITIES[:, :1]),
    "cce": (losses.CategoricalCrossentropy(), np.eye(4)[CLASSES], PROBABILITIES),
    "cce logits": (
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        np.eye(4)[CLASSES],
        PROBABILITIES * 9 - 4,
    ),
    "sparse": (losses.SparseCategoricalCrossentropy(), CLASSES, PROBABILITIES),
    "sparse logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        CLASSES[:, None].astype(np.uint8),
        PROBABILITIES * 9 - 4,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_runs_on_ducks(name):
    loss, y, predicted = LOSSES[name]
    values, dy = loss.value_and_gradient(y, predicted)
    duck_values, duck_dy = loss.value_and_gradient(Duck(y), Duck(predicted))
    assert_equal(duck_values, values)
    assert_equal(duck_dy, dy)
    loss.check(Duck(y), (None, *predicted.shape[1:]))
    assert loss(Duck(y), Duck(predicted)) == pytest.approx(loss(y, predicted), rel=1e-6)


def test_bad_labels_are_recognized_on_ducks():
    with pytest.raises(ValueError, match="labels from 0 to 3.*Received labels from 0 to 4"):
        losses.SparseCategoricalCrossentropy().check(Duck(np.array([0, 4])), (None, 4))


@pytest.mark.parametrize(
    ("metric", "y"),
    [
        (metrics.AccuracyByShape(), CLASSES),
        (metrics.AccuracyByShape(), np.eye(4)[CLASSES]),
        (metrics.SparseCategoricalAccuracy(), CLASSES[:, None]),
        (metrics.CategoricalAccuracy(), np.eye(4)[CLASSES]),
        (metrics.BinaryAccuracy(), np.eye(4)[CLASSES]),
        (metrics.get("mse"), np.eye(4)[CLASSES]),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "ndim", "")),
)
def test_a_metric_runs_on_ducks(metric, y):
    assert_equal(metric.values(Duck(y), Duck(PROBABILITIES)), metric.values(y, PROBABILITIES))


def test_a_regularizer_runs_on_ducks():
    w = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    l2 = regularizers.L2(0.1)
    assert l2.penalty(Duck(w)) == pytest.approx(l2.penalty(w))
    assert_equal(l2.gradient(Duck(w)), l2.gradient(w))


OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "Nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "Adagrad": lambda: optimizers.Adagrad(0.1),
    "RMSprop": lambda: optimizers.RMSprop(0.1),
    "RMSprop, all": lambda: optimizers.RMSprop(0.1, momentum=0.5, centered=True),
    "Adam": lambda: optimizers.Adam(0.1),
    "amsgrad": lambda: optimizers.Adam(0.1, amsgrad=True),
}


def test_every_optimizer_is_tried():
    tried = {type(make()) for make in OPTIMIZERS.values()}
    # Other tests of this process may have classes of their own.
    known = set(optimizers.Optimizer.classes.values())
    assert tried == {kind for kind in known if kind.__module__.startswith("cnnlib.")}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_runs_on_ducks(name):
    plain, duck = OPTIMIZERS[name](), OPTIMIZERS[name]()
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 5)).astype(np.float32)
    params, duck_params = {"w": w.copy()}, {"w": Duck(w.copy())}
    for _ in range(4):
        g = rng.normal(size=w.shape).astype(np.float32)
        plain.update(params, {"w": g})
        duck.update(duck_params, {"w": Duck(g)})
    assert_equal(duck_params["w"], params["w"])
    assert duck.slots.keys() == plain.slots.keys()
    for slot, arrays in plain.slots.items():
        assert_equal(duck.slots[slot]["w"], arrays["w"], slot)


# --- A whole model ------------------------------------------------------------------------------


def model_for(optimizer="adam", loss="sparse_categorical_crossentropy"):
    cnnlib.utils.set_random_seed(4)
    model = cnnlib.Sequential(
        [
            cnnlib.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Conv2D(4, 3, groups=2),
            layers.Flatten(),
            layers.Dense(6, activation="gelu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def data(count=40):
    rng = np.random.default_rng(0)
    return rng.random((count, 8, 8, 2), dtype=np.float32), rng.integers(0, 3, count)


def assert_alike(duck_model, model):
    for a, b in zip(duck_model.get_weights(), model.get_weights(), strict=True):
        assert type(a) is Duck
        # One whole batch against shards of 32: float32 sums in another order.
        np.testing.assert_allclose(a.get(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_fit_evaluate_and_predict_run_on_ducks(optimizer):
    x, y = data()
    plain, duck = model_for(optimizer), model_for(optimizer)
    assert duck.to(LIKE) is duck
    options = {"batch_size": 16, "epochs": 2, "verbose": 0}
    expected = plain.fit(x, y, validation_split=0.2, **options).history
    history = duck.fit(Duck(x), Duck(y), validation_split=0.2, **options).history
    assert history.keys() == expected.keys()
    for name, values in expected.items():
        assert all(type(value) is float for value in history[name])
        np.testing.assert_allclose(history[name], values, rtol=1e-4)
    assert_alike(duck, plain)
    for arrays in duck.optimizer.slots.values():
        assert all(type(array) is Duck for array in arrays.values())
    predicted = duck.predict(Duck(x))
    assert type(predicted) is Duck
    np.testing.assert_allclose(predicted.get(), plain.predict(x), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(duck.evaluate(Duck(x), Duck(y)), plain.evaluate(x, y), rtol=1e-4)
    loss, grads = duck.gradients(Duck(x), Duck(y))
    assert type(loss) is float
    assert all(type(g) is Duck for g in grads.values())


def test_weights_of_examples_and_classes_on_ducks():
    x, y = data()
    weight = np.random.default_rng(1).random(40)
    plain, duck = model_for("sgd"), model_for("sgd").to(LIKE)
    plain.fit(x, y, verbose=0, sample_weight=weight)
    duck.fit(Duck(x), Duck(y), verbose=0, sample_weight=Duck(weight))
    assert_alike(duck, plain)
    plain.fit(x, y, verbose=0, class_weight={0: 2.0})
    duck.fit(Duck(x), Duck(y), verbose=0, class_weight={0: 2.0})
    assert_alike(duck, plain)


def test_dropout_draws_the_same_numbers_for_ducks():
    x = np.ones((4, 3, 3, 2), np.float32)
    layer = layers.Dropout(0.5)
    y, _ = layer.forward(x, True, np.random.default_rng(0))
    duck_y, _ = layer.forward(Duck(x), True, np.random.default_rng(0))
    np.testing.assert_array_equal(duck_y.get(), y)


def test_no_shards_and_no_threads_on_another_device():
    x, _ = data()
    model = model_for().to(LIKE)
    with shards.Runner(model, None, Duck(x)) as runner:
        assert runner.executor is None
        assert runner.shards(40) == [slice(0, 40)]


def test_a_model_moves_there_and_back_with_its_optimizer(tmp_path):
    x, y = data()
    plain, wanderer = model_for("adam"), model_for("adam")
    for model in (plain, wanderer):
        model.fit(x, y, verbose=0)
    wanderer.to(LIKE)
    homes = [*wanderer.params.values(), *wanderer.state.values()]
    slots = [a for arrays in wanderer.optimizer.slots.values() for a in arrays.values()]
    assert slots
    assert all(type(array) is Duck for array in [*homes, *slots])
    wanderer.to(np.zeros(1))
    homes = [*wanderer.params.values(), *wanderer.state.values()]
    slots = [a for arrays in wanderer.optimizer.slots.values() for a in arrays.values()]
    assert all(type(array) is np.ndarray for array in [*homes, *slots])
    for model in (plain, wanderer):
        model.fit(x, y, verbose=0)
    for a, b in zip(plain.get_weights(), wanderer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_on_ducks_can_be_saved(tmp_path):
    x, y = data()
    model = model_for("adam").to(LIKE)
    model.fit(Duck(x), Duck(y), verbose=0)
    model.save(tmp_path / "duck.keras")
    loaded = cnnlib.load_model(tmp_path / "duck.keras")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a.get(), b)
    np.testing.assert_allclose(
        loaded.predict(x), model.predict(Duck(x)).get(), rtol=1e-4, atol=1e-6
    )


def test_bad_data_is_recognized_on_ducks():
    x, y = data()
    model = model_for().to(LIKE)
    broken = x.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 40 examples, first in example 7"):
        model.fit(Duck(broken), Duck(y), verbose=0)
    with pytest.raises(ValueError, match="same length"):
        model.fit(Duck(x), Duck(y[:5]), verbose=0)
    with pytest.warns(UserWarning, match="values from 0 to 255, where 0..1 is usual"):
        model.predict(Duck(np.linspace(0, 255, x.size).reshape(x.shape)))
