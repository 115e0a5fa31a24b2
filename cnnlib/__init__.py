"""cnnlib: convolutional networks in NumPy, to read, to run and to learn from.

``import cnnlib as keras`` runs the same model code as Keras 3: same names, same numbers.

Examples
--------
>>> model = cnnlib.Sequential([
...     cnnlib.Input((28, 28, 1)),
...     cnnlib.layers.Conv2D(32, 5, activation="relu"),
...     cnnlib.layers.MaxPooling2D(2),
...     cnnlib.layers.Flatten(),
...     cnnlib.layers.Dense(10, activation="softmax"),
... ])
>>> model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
>>> (x_train, y_train), (x_test, y_test) = cnnlib.datasets.digits.load_data()
>>> history = model.fit(x_train[:64, ..., None] / 255, y_train[:64], verbose=0)
"""

from cnnlib import (
    activations,
    callbacks,
    config,
    correlation,
    datasets,
    hardware,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    plots,
    regularizers,
    utils,
)
from cnnlib.gradient_check import gradient_check
from cnnlib.layers import Input
from cnnlib.models import Sequential, load_model

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Sequential",
    "activations",
    "callbacks",
    "config",
    "correlation",
    "datasets",
    "gradient_check",
    "hardware",
    "initializers",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plots",
    "regularizers",
    "utils",
]
