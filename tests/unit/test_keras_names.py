"""Names, arguments and defaults are Keras's, and docs/keras.md says truly what is there."""

import importlib
import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import cnnlib
from cnnlib.registry import Configurable

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "keras.md").read_text("utf-8")
PLACES_TABLE, _, LEFT_OUT_TABLE = PAGE.partition("## Arguments")


def table(text):
    """The rows of a table on the page: {first cell: names in the second}."""
    rows = re.findall(r"^\| `?([\w. ]+?)`? \| (.*) \|$", text, re.M)
    return {owner: re.findall(r"`(\w+)`", names) for owner, names in rows}


PLACES = {place: names for place, names in table(PLACES_TABLE).items() if names}
LEFT_OUT = {owner: set(names) for owner, names in table(LEFT_OUT_TABLE).items()}
METHODS = [owner.split(".")[1] for owner in LEFT_OUT if owner.startswith("Sequential.")]

# Where a signature differs on purpose: (owner, argument) -> why.
SAME_IN_EFFECT = "None stands for the class's name in snake case, which is Keras's default"
DIFFERENT = {
    ("AveragePooling2D", "pool_size"): "has MaxPooling2D's default; Keras asks for it",
    ("AvgPool2D", "pool_size"): "the same class",
    ("fit", "executor"): "cnnlib's own: where shards run",
    ("evaluate", "executor"): "cnnlib's own: where shards run",
    ("predict", "executor"): "cnnlib's own: where shards run",
    ("build", "input_shape"): "Keras's None only raises, or repeats what is known",
    ("summary", "print_fn"): "Keras's None stands for print",
    **{
        (name, "name"): "Keras 3.8 writes the name out; later versions count: adam, adam_1"
        for name in cnnlib.optimizers.Optimizer.classes
    },
    **{
        (name, "name"): SAME_IN_EFFECT
        for family in (cnnlib.losses.Loss, cnnlib.metrics.Metric)
        for name in family.classes
    },
}


def at(root, place):
    """The module or object at this place, such as keras.optimizers.schedules."""
    for part in place.split(".")[1:]:
        root = getattr(root, part)
    return root


def parameters(function, variable=False):
    """Arguments by name, without self."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("self", "model") and (variable or parameter.kind not in kinds)
    }


def compare(owner, ours, theirs, left_out):
    """Same names in the same order with the same defaults; what lacks is on the page."""
    mine, keras_own = parameters(ours), parameters(theirs)
    for name, parameter in mine.items():
        if (owner, name) in DIFFERENT:
            continue
        assert name in keras_own, f"{owner}: Keras has no argument {name}"
        assert parameter.default == keras_own[name].default, f"{owner}: default of {name}"
    positional = [n for n, p in mine.items() if p.kind is not p.KEYWORD_ONLY and n in keras_own]
    assert positional == [n for n in keras_own if n in positional], f"{owner}: order of arguments"
    # name, dtype and trainable come in through **kwargs, where Layer takes them.
    taken = {"name", "dtype", "trainable"} if "kwargs" in parameters(ours, variable=True) else set()
    missing = set(keras_own) - set(mine) - taken - left_out - {"dtype"}
    assert not missing, f"{owner}: {missing} neither here nor on the page as left out"


PUBLIC = [(place, name) for place, names in PLACES.items() for name in names]


@pytest.mark.parametrize(("place", "name"), PUBLIC, ids=[".".join(p) for p in PUBLIC])
def test_every_name_on_the_page_is_there_with_the_arguments_of_keras(place, name):
    ours, theirs = getattr(at(cnnlib, place), name), getattr(at(keras, place), name)
    if inspect.ismodule(theirs):
        compare(name, ours.load_data, theirs.load_data, set())
        return
    left_out = LEFT_OUT.get(place, set()) | LEFT_OUT.get(f"{place}.{name}", set())
    if name == "Input":
        left_out = LEFT_OUT["keras.Input"]
    if isinstance(ours, cnnlib.activations.Function):
        options = {k: p.default for k, p in parameters(theirs).items() if k != "x"}
        for option, default in options.items():
            x = np.linspace(-3.0, 8.0, 12).reshape(3, 4)
            np.testing.assert_array_equal(ours(x), ours(x, **{option: default}))
    elif name == "get":
        assert list(parameters(ours)) == list(parameters(theirs)) == ["identifier"]
    elif inspect.isclass(theirs):
        assert ours.__name__ == theirs.__name__  # an alias means the same class
        if name not in ("Callback", "History", "Layer", "Optimizer", "Loss", "Metric"):
            compare(name, ours.__init__, theirs.__init__, left_out)
    else:
        compare(name, ours.__init__ if inspect.isclass(ours) else ours, theirs, left_out)


@pytest.mark.parametrize("method", [*METHODS, "build", "get_layer", "get_weights", "set_weights"])
def test_methods_of_a_model_take_the_arguments_of_keras(method):
    left_out = LEFT_OUT.get(f"Sequential.{method}", set())
    compare(method, *(getattr(lib.Sequential, method) for lib in (cnnlib, keras)), left_out)


@pytest.mark.parametrize(
    "method", ["fit", "evaluate", "predict", "compile", "save", "load_weights", "save_weights"]
)
def test_nothing_stands_on_the_page_as_left_out_that_is_there(method):
    left_out = LEFT_OUT[f"Sequential.{method}"]
    assert not left_out & set(parameters(getattr(cnnlib.Sequential, method)))


def families():
    return [family for family in Configurable.__subclasses__() if family.__module__[:6] == "cnnlib"]


def test_every_class_of_the_registry_is_on_the_page_at_its_place():
    on_page = {place: set(names) for place, names in PLACES.items()}
    for family in families():
        for cls in set(family.classes.values()):
            public = hasattr(importlib.import_module(family.keras_module), cls.__name__)
            if cls.__module__.startswith("cnnlib.") and public:
                place = family.keras_module
                assert cls.__name__ in on_page[place], f"{place}.{cls.__name__}"
                assert getattr(at(cnnlib, place), cls.__name__) is cls


def test_what_the_registry_has_beside_keras_is_named_here():
    beside = {
        cls.__name__
        for family in families()
        for cls in family.classes.values()
        if cls.__module__.startswith("cnnlib.")
        and not hasattr(importlib.import_module(family.keras_module), cls.__name__)
    }
    # KernelLayer is the common part of Dense and Conv2D, ComparativeLayer that of their twins.
    common = {"KernelLayer", "ComparativeLayer"}
    own = OWN["layers"] | OWN["initializers"] - {"comparative_power"}
    assert beside - common == {"AccuracyByShape", "LossMetric", *own}


# What stands on the page as cnnlib's own, in the list of what differs on purpose.
OWN = {
    "layers": {"ComparativeConv2D", "ComparativeDense"},
    "initializers": {"ComparativeNormal", "comparative_power"},
}


@pytest.mark.parametrize("place", OWN)
def test_what_is_cnnlibs_own_stands_on_the_page_and_not_in_keras(place):
    text = PAGE.partition("## What differs on purpose")[2]
    for name in OWN[place]:
        assert hasattr(getattr(cnnlib, place), name)
        assert not hasattr(getattr(keras, place), name)
        assert f"`{place}.{name}`" in text


def test_every_public_layer_and_activation_is_on_the_page():
    assert set(cnnlib.layers.__all__) - OWN["layers"] <= set(PLACES["keras.layers"])
    assert set(cnnlib.activations.FUNCTIONS) | {"get"} == set(PLACES["keras.activations"])


FAMILIES = ["initializers", "losses", "metrics", "optimizers", "regularizers"]


@pytest.mark.parametrize("place", FAMILIES)
def test_a_name_in_a_string_means_the_same_class(place):
    ours, theirs = getattr(cnnlib, place), getattr(keras, place)
    family = next(
        value
        for value in vars(ours).values()
        if inspect.isclass(value)
        and vars(value).get("family") is value
        and value.__module__ == ours.__name__
    )
    found = 0
    for name, cls in family.classes.items():
        try:
            known = theirs.get(name)
        except (KeyError, ValueError):  # not a name in Keras, or a class that wants arguments
            continue
        kind = known if inspect.isfunction(known) else type(known)
        if kind is str or not cls.__module__.startswith("cnnlib."):
            continue  # Keras 3.15 hands some unknown names back
        if name in ("accuracy", "acc"):
            continue  # chosen by shapes in `compile`, in Keras too: test_keras_losses_optimizers
        expected = kind.__name__.replace("_", "").lower()
        assert cls.__name__.lower() == expected, (name, cls, kind)
        found += 1
    assert found >= 2 * len({c for c in family.classes.values() if hasattr(theirs, c.__name__)}) - 2


@pytest.mark.parametrize(
    ("place", "names"),
    {
        "activations": [
            "relu",
            "leaky_relu",
            "elu",
            "gelu",
            "sigmoid",
            "tanh",
            "softplus",
            "softmax",
            "linear",
        ],
        "initializers": [
            "zeros",
            "ones",
            "random_normal",
            "random_uniform",
            "glorot_normal",
            "glorot_uniform",
            "he_normal",
            "he_uniform",
        ],
        "losses": [
            "mse",
            "MSE",
            "mean_squared_error",
            "bce",
            "binary_crossentropy",
            "categorical_crossentropy",
            "sparse_categorical_crossentropy",
        ],
        "optimizers": ["sgd", "SGD", "adagrad", "rmsprop", "RMSprop", "adam", "Adam"],
        "regularizers": ["l2", "L2"],
    }.items(),
)
def test_the_usual_strings_are_known_in_both(place, names):
    for name in names:
        assert getattr(cnnlib, place).get(name) is not None
        assert getattr(keras, place).get(name) is not None


def test_objects_get_the_default_names_of_keras():
    for place, name in PUBLIC:
        ours, theirs = getattr(at(cnnlib, place), name), getattr(at(keras, place), name)
        base = name in ("Loss", "Metric")
        if place in ("keras.losses", "keras.metrics") and inspect.isclass(ours) and not base:
            assert ours().name == theirs().name


def test_layers_of_a_model_get_the_names_of_keras():
    def names(lib):
        layers = lib.layers
        kinds = [layers.Dense(2), layers.ReLU(), layers.Dense(3), layers.LeakyReLU(), layers.ReLU()]
        return [layer.name for layer in lib.Sequential([lib.Input((4,)), *kinds]).layers]

    keras.backend.clear_session()
    assert names(cnnlib) == names(keras)


def test_utilities_do_what_they_do_in_keras():
    for labels, classes in (([0, 2, 1], None), ([[1], [0]], 4), (np.array([[0, 1], [2, 1]]), 3)):
        ours = cnnlib.utils.to_categorical(labels, classes)
        theirs = keras.utils.to_categorical(labels, classes)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    assert cnnlib.config.floatx() == keras.config.floatx()
    assert cnnlib.config.epsilon() == keras.config.epsilon()


# --- What is refused ----------------------------------------------------------------------------

PICTURES = np.zeros((8, 6, 5, 3), "float32")


def small(lib, **arguments):
    model = lib.Sequential([lib.Input((3,)), lib.layers.Dense(2)])
    if arguments:
        model.compile("sgd", loss="sparse_categorical_crossentropy")
        model.fit(np.zeros((4, 3)), np.zeros(4), verbose=0, **arguments)
    return model


REFUSED_BY_BOTH = {
    "strides with dilation": lambda k: k.layers.Conv2D(4, 3, strides=2, dilation_rate=2),
    "groups that do not divide filters": lambda k: k.layers.Conv2D(4, 3, groups=3),
    "groups that do not divide channels": lambda k: k.layers.Conv2D(4, 3, groups=2)(PICTURES),
    "no filters": lambda k: k.layers.Conv2D(0, 3),
    "kernel of size 0": lambda k: k.layers.Conv2D(4, 0),
    "kernel of three sizes": lambda k: k.layers.Conv2D(4, (3, 3, 3)),
    "stride 0": lambda k: k.layers.Conv2D(4, 3, strides=0),
    "padding full": lambda k: k.layers.Conv2D(4, 3, padding="full"),
    "pool of size 0": lambda k: k.layers.MaxPooling2D(0),
    "kernel larger than the image": lambda k: k.layers.Conv2D(4, 9)(PICTURES),
    "three axes for a convolution": lambda k: k.layers.Conv2D(4, 3)(PICTURES[0]),
    "rate above 1": lambda k: k.layers.Dropout(1.5),
    "negative slope": lambda k: k.layers.ReLU(negative_slope=-1.0),
    "negative maximum": lambda k: k.layers.ReLU(max_value=-1.0),
    "no slope": lambda k: k.layers.LeakyReLU(negative_slope=None),
    "unknown activation": lambda k: k.layers.Dense(2, activation="rleu"),
    "unknown initializer": lambda k: k.layers.Dense(2, kernel_initializer="he_normla"),
    "unknown regularizer": lambda k: k.layers.Dense(2, kernel_regularizer="l22"),
    "unknown argument": lambda k: k.layers.Dense(2, unit=3),
    "unknown optimizer": lambda k: k.optimizers.get("adamm"),
    "unknown loss": lambda k: k.losses.get("msee"),
    "Reshape to another count": lambda k: k.layers.Reshape((4, 4))(PICTURES),
    "Reshape with two unknowns": lambda k: k.layers.Reshape((-1, -1))(PICTURES),
    "weights of other shapes": lambda k: small(k).set_weights([np.zeros((2, 3)), np.zeros(2)]),
    "too few weights": lambda k: small(k).set_weights([np.zeros((3, 2))]),
    "a name twice": lambda k: k.Sequential(
        [k.Input((3,)), k.layers.Dense(2, name="a"), k.layers.Dense(2, name="a")]
    ),
    "class with sample weights": lambda k: small(
        k, class_weight={0: 1.0}, sample_weight=np.ones(4)
    ),
    "too few sample weights": lambda k: small(k, sample_weight=np.ones(3)),
    "momentum above 1": lambda k: k.optimizers.SGD(momentum=1.5),
    "a word as learning rate": lambda k: k.optimizers.SGD(learning_rate="fast"),
    "values that miss one": lambda k: k.optimizers.schedules.PiecewiseConstantDecay([1], [1.0]),
    "no decay steps": lambda k: k.optimizers.schedules.CosineDecay(0.1, 0),
    "a file without .keras": lambda k: small(k).save("model.hdf"),
    "weights without .weights.h5": lambda k: small(k).save_weights("model.h5"),
    "fit before compile": lambda k: small(k).fit(np.zeros((4, 3)), np.zeros((4, 2))),
    "negative L2": lambda k: k.regularizers.L2(-1.0),
    "a number as shape": lambda k: k.Input(3),
    "padding of three": lambda k: k.layers.ZeroPadding2D((1, 2, 3)),
    "a layer that is not there": lambda k: small(k).get_layer("conv"),
}


@pytest.mark.parametrize("case", REFUSED_BY_BOTH)
def test_what_keras_refuses_is_refused(case):
    for lib in (keras, cnnlib):
        with pytest.raises(ValueError):
            REFUSED_BY_BOTH[case](lib)


NOT_HERE = {
    "channels_first": lambda k: k.layers.Conv2D(4, 3, data_format="channels_first"),
    "'axis': 1|axis=1": lambda k: k.layers.BatchNormalization(axis=1),
    "kernel_constraint": lambda k: k.layers.Dense(2, kernel_constraint="max_norm"),
    "activity_regularizer": lambda k: k.layers.Conv2D(2, 3, activity_regularizer="l2"),
    "noise_shape": lambda k: k.layers.Dropout(0.5, noise_shape=(1, 3)),
    "weight_decay": lambda k: k.optimizers.Adam(weight_decay=0.1),
    "clipnorm": lambda k: k.optimizers.SGD(clipnorm=1.0),
    "use_ema": lambda k: k.optimizers.SGD(use_ema=True),
    "reduction": lambda k: k.losses.MeanSquaredError(reduction="sum"),
    "ignore_class": lambda k: k.losses.SparseCategoricalCrossentropy(ignore_class=0),
    "axis=0": lambda k: k.losses.CategoricalCrossentropy(axis=0),
    "dtype": lambda k: k.losses.MeanSquaredError(dtype="float16"),
    "float16|float type": lambda k: k.layers.Dense(2, dtype="float16"),
    "loss_weights": lambda k: small(k).compile("sgd", loss="mse", loss_weights=[0.5]),
    "weighted_metrics": lambda k: small(k).compile("sgd", loss="mse", weighted_metrics=["mse"]),
}


@pytest.mark.parametrize("named", NOT_HERE)
def test_what_keras_takes_and_cnnlib_does_not_is_refused_by_name(named):
    NOT_HERE[named](keras)
    with pytest.raises(ValueError, match=named):
        NOT_HERE[named](cnnlib)


def test_arguments_that_change_nothing_are_accepted():
    cnnlib.layers.Dense(2, kernel_constraint=None, activity_regularizer=None)
    cnnlib.layers.Conv2D(2, 3, data_format="channels_last", bias_constraint=None)
    cnnlib.layers.BatchNormalization(synchronized=False, renorm=False, beta_constraint=None)
    cnnlib.optimizers.Adam(weight_decay=None, use_ema=False, ema_momentum=0.99, clipnorm=None)
    cnnlib.losses.MeanSquaredError(reduction="sum_over_batch_size", dtype=None)
    cnnlib.metrics.BinaryAccuracy(dtype="float32")
    small(cnnlib).compile("sgd", loss="mse", loss_weights=None, weighted_metrics=None)
