"""Batch and layer normalization (explained in notebooks/09_improving.ipynb)."""

from typing import Any

import numpy as np

from cnnlib import initializers, kernels, regularizers
from cnnlib.layers.base import Array, Grads, Layer, Rng, Shape
from cnnlib.utils import number


class _Normalization(Layer):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``: what both layers share."""

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if axis not in (-1, [-1], (-1,)):
            kind = type(self).__name__
            raise ValueError(f"{kind} supports the last axis alone. Received: {axis=}")
        self.axis, self.epsilon = -1, number(epsilon, "epsilon")
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def create(self, input_shape: Shape) -> None:
        """Gamma and beta, one number a channel."""
        shape = (input_shape[-1],)
        if self.scale:
            self.add_param("gamma", shape, self.gamma_initializer, self.gamma_regularizer)
        if self.center:
            self.add_param("beta", shape, self.beta_initializer, self.beta_regularizer)

    def _normalize(self, x: Array, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        inverse = 1 / np.sqrt(variance + self.epsilon)
        normal = (x - mean) * inverse
        y = normal * self.params["gamma"] if self.scale else normal
        return (y + self.params["beta"] if self.center else y), normal, inverse

    def _gradients(self, dy: Array, normal: Array) -> tuple[Array, dict]:
        """Return dL/dnormal, and the gradients of gamma and beta, summed over batch and places."""
        grads = {}
        if self.scale:
            grads["gamma"] = kernels.channel_sum(dy * normal)
            dnormal = dy * self.params["gamma"]
        else:
            dnormal = dy
        if self.center:
            grads["beta"] = kernels.channel_sum(dy)
        return dnormal, grads


def _through_statistics(dnormal: Any, normal: Any, inverse: Any, mean: Any) -> Any:
    """Return dL/dx where mean and variance come from x itself; `mean` averages as they did.

    Each x also moves the mean and the variance: that takes away the mean of dnormal and the part
    of it that lies along `normal`.
    """
    return inverse * (dnormal - mean(dnormal) - normal * mean(dnormal * normal))


def _example_mean(x: Array) -> Array:
    return x.mean(axis=-1, keepdims=True)


class BatchNormalization(_Normalization):
    """Normalize each channel: by the batch in training, by moving averages otherwise.

    Parameters
    ----------
    axis : int
        The channels: -1, the last, is the only choice here.
    momentum : float
        ``moving = momentum * moving + (1 - momentum) * batch``, variance biased (divided by n).
    epsilon : float
    center, scale : bool
        Whether beta is added and gamma multiplied.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
    beta_regularizer, gamma_regularizer
        Of the arrays, each of shape (channels,).

    Notes
    -----
    Source: Ioffe and Szegedy, arXiv:1502.03167. With trainable=False it works by its moving
    averages in training too, as in Keras.

    Examples
    --------
    >>> layer = cnnlib.layers.BatchNormalization(epsilon=0.0)
    >>> layer(np.array([[1.0], [3.0]]), training=True)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """Training sees all examples of a batch at once, unless the layer is frozen."""
        return self.trainable

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ):
        own = (beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer)
        super().__init__(axis, epsilon, center, scale, *own, **kwargs)
        self.momentum = number(momentum, "momentum", high=1)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def create(self, input_shape: Shape) -> None:
        """Gamma and beta; the moving averages are state."""
        super().create(input_shape)
        shape: Any = (input_shape[-1],)
        self.state["moving_mean"] = self.moving_mean_initializer(shape, self.dtype)
        self.state["moving_variance"] = self.moving_variance_initializer(shape, self.dtype)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """Return y of x's shape; in training the cache holds the batch's mean and variance."""
        self.check_input(x)
        if not (training and self.trainable):
            mean, variance = self.state["moving_mean"], self.state["moving_variance"]
            y, normal, inverse = self._normalize(x, mean, variance)
            return y, (normal, inverse, None)
        mean = kernels.channel_mean(x)
        variance = kernels.channel_mean((x - mean) ** 2)
        y, normal, inverse = self._normalize(x, mean, variance)
        return y, (normal, inverse, (mean, variance))

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Through the batch's statistics where those were used."""
        normal, inverse, statistics = cache
        dnormal, grads = self._gradients(dy, normal)
        if statistics is None:
            return dnormal * inverse, grads
        return _through_statistics(dnormal, normal, inverse, kernels.channel_mean), grads

    def updated_state(self, cache: Any) -> Grads:
        """The moving averages, one step further."""
        if cache[2] is None:
            return {}
        return {
            name: self.momentum * self.state[name] + (1 - self.momentum) * batch
            for name, batch in zip(("moving_mean", "moving_variance"), cache[2], strict=True)
        }


class LayerNormalization(_Normalization):
    """Normalize each example (each position of it) over its last axis.

    Parameters
    ----------
    axis : int
        -1, the last, is the only choice here.
    epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer
        As in `BatchNormalization`.

    Notes
    -----
    Source: Ba, Kiros and Hinton, arXiv:1607.06450.

    Examples
    --------
    >>> cnnlib.layers.LayerNormalization(epsilon=0.0)(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]], dtype=float32)
    """

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """Return y of x's shape."""
        self.check_input(x)
        mean = _example_mean(x)
        variance = _example_mean((x - mean) ** 2)
        y, normal, inverse = self._normalize(x, mean, variance)
        return y, (normal, inverse)

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Through each example's own mean and variance."""
        normal, inverse = cache
        dnormal, grads = self._gradients(dy, normal)
        return _through_statistics(dnormal, normal, inverse, _example_mean), grads
