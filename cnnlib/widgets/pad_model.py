"""The small network that the DigitPad asks: built here, trained by scripts/train_pad.py.

Used in notebooks/00_start_here.ipynb.
"""

import numpy as np

from cnnlib import Input, Sequential, layers
from cnnlib.utils import shipped_file

FILE = "pad.npz"


def build_pad_model() -> Sequential:
    """The network without its training: two convolutions and two dense layers, untrained.

    Returns
    -------
    Sequential
        Takes (batch, 28, 28, 1), 0 paper and 1 ink; gives ten probabilities (batch, 10).

    Examples
    --------
    >>> from cnnlib.widgets.pad_model import build_pad_model
    >>> build_pad_model().count_params()
    20522
    """
    return Sequential(
        [
            Input((28, 28, 1)),
            layers.Conv2D(8, 5, activation="relu", name="first_convolution"),
            layers.MaxPooling2D(2, name="first_pooling"),
            layers.Conv2D(16, 5, activation="relu", name="second_convolution"),
            layers.MaxPooling2D(2, name="second_pooling"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.3, name="dropout"),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="pad",
    )


def load_pad_model() -> Sequential:
    """The trained network that comes with the library; no network connection is needed.

    Its weights were learned by this library from the 4,000 embedded training digits, as pictures
    and as strokes traced from them: see `scripts/train_pad.py`, which prints its accuracy.

    Returns
    -------
    Sequential
        As `build_pad_model` gives it, not compiled.

    Raises
    ------
    FileNotFoundError
        If the installation lacks the file.
    ValueError
        If the file holds something else than the weights of this network.

    Examples
    --------
    >>> from cnnlib import widgets
    >>> model = widgets.load_pad_model()
    >>> model.predict(np.zeros((1, 28, 28, 1))).shape
    (1, 10)
    """
    path = shipped_file(FILE)
    model = build_pad_model()
    try:
        with np.load(path, allow_pickle=False) as archive:
            model.set_weights([archive[str(k)] for k in range(len(archive.files))])
    except Exception as error:  # damaged bytes make a reader raise nearly anything
        raise ValueError(
            f"{path} does not hold the weights of the DigitPad's network ({error}). Install the "
            "library again, or make the file anew: python scripts/train_pad.py"
        ) from error
    return model
