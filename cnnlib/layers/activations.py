"""Activation functions as layers (explained in notebooks/02_activations.ipynb)."""

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

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """Return y, of x's shape and dtype."""
        return self.activation.forward(x)

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dx, of dy's shape."""
        return self.activation.backward(dy, cache), {}


class _Shaped(Activation):
    """An activation with parameters of its own in place of a name."""

    def __init__(self, **kwargs: Any):
        super(Activation, self).__init__(**kwargs)

    @classmethod
    def _arguments(cls) -> list[str]:
        """Without the name of the function, which the class implies."""
        return [name for name in super()._arguments() if name != "activation"]


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
            max_value=self.max_value, negative_slope=self.negative_slope, threshold=self.threshold
        )


class LeakyReLU(_Shaped):
    """``x`` above zero, ``negative_slope * x`` below. Source: Maas et al., ICML 2013."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        super().__init__(**kwargs)
        self.negative_slope = number(negative_slope, "negative_slope")
        self.activation = activations.leaky_relu.with_options(negative_slope=self.negative_slope)


class ELU(_Shaped):
    """``x`` above zero, ``alpha * (exp(x) - 1)`` below. Source: Clevert et al., 1511.07289."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = number(alpha, "alpha")
        self.activation = activations.elu.with_options(alpha=self.alpha)


class Softmax(_Shaped):
    """``exp(x) / sum(exp(x))`` along an axis: positive numbers that sum to one.

    Examples
    --------
    >>> cnnlib.layers.Softmax()(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if axis == 0:
            raise ValueError("Softmax cannot run along the batch. Received: axis=0")
        self.axis = axis
        self.activation = activations.softmax.with_options(axis=axis)
