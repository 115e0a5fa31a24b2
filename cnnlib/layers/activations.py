"""Activation functions as layers (explained in notebooks/02_activations.ipynb)."""

import math
from typing import Any

from cnnlib import activations
from cnnlib.layers.base import Array, Grads, Layer, Rng
from cnnlib.utils import number


class Activation(Layer):
    """Any function of `cnnlib.activations` by its name.

    Examples
    --------
    >>> cnnlib.layers.Activation("relu")(np.array([[-1.0, 2.0]]))
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def function(self) -> activations.Function:
        """The function with the layer's parameters."""
        return self.activation

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """Y of x's shape."""
        return self.function().forward(x)

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Dx of dy's shape."""
        return self.function().backward(dy, cache), {}


class _Shaped(Activation):
    """An activation with parameters of its own in place of a name."""

    def __init__(self, **kwargs: Any):
        super(Activation, self).__init__(**kwargs)

    def get_config(self) -> dict[str, Any]:
        """Without the name of the function, which the class implies."""
        config = super().get_config()
        del config["activation"]
        return config


class ReLU(_Shaped):
    """``x`` above the threshold, ``negative_slope * (x - threshold)`` below, cut at max_value."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else number(max_value, "max_value")
        self.negative_slope = number(negative_slope, "negative_slope")
        self.threshold = number(threshold, "threshold")
        self.activation = activations.relu.with_options(
            max_value=max_value, negative_slope=negative_slope, threshold=threshold
        )


class LeakyReLU(_Shaped):
    """``x`` above zero, ``negative_slope * x`` below. Source: Maas et al., ICML 2013."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        super().__init__(**kwargs)
        self.negative_slope = number(negative_slope, "negative_slope")
        self.activation = activations.leaky_relu.with_options(negative_slope=negative_slope)


class ELU(_Shaped):
    """``x`` above zero, ``alpha * (exp(x) - 1)`` below. Source: Clevert et al., 1511.07289."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = number(alpha, "alpha", low=-math.inf)
        self.activation = activations.elu.with_options(alpha=alpha)


class Softmax(_Shaped):
    """``exp(x) / sum(exp(x))`` along an axis: positive numbers that sum to one.

    Examples
    --------
    >>> cnnlib.layers.Softmax()(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.activation = activations.softmax.with_options(axis=axis)
