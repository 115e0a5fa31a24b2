"""Penalties on weights that are added to the loss (explained in notebooks/09_improving.ipynb)."""

from typing import Any

import numpy as np

from cnnlib import registry
from cnnlib.utils import number


class Regularizer(registry.Configurable, family=True):
    """Base of regularizers: `penalty(w)` is added to the loss, `gradient(w)` to dL/dw."""

    keras_module = "keras.regularizers"

    def penalty(self, w: np.ndarray) -> float:
        """The number added to the loss of a batch (once, whatever the number of examples)."""
        raise TypeError(f"{type(self).__name__} does not define penalty(w)")

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Derivative of the penalty, of the shape of w."""
        raise TypeError(f"{type(self).__name__} does not define gradient(w)")


class L2(Regularizer):
    """``l2 * sum(w**2)``: Keras's form, without one half.

    Examples
    --------
    >>> cnnlib.regularizers.L2(0.1).penalty(np.array([1.0, 2.0]))
    0.5
    """

    aliases = ("l2",)

    def __init__(self, l2: float = 0.01):
        self.l2 = float(number(l2, "l2"))

    def penalty(self, w: np.ndarray) -> float:
        """``l2 * sum(w**2)``."""
        return self.l2 * float(np.sum(w * w))

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """``2 * l2 * w``."""
        return 2 * self.l2 * w


l2 = L2  # Keras has both names


def get(identifier: Any) -> Any:
    """A regularizer from its name, its configuration or itself; None stays None."""
    return registry.get(Regularizer, identifier)
