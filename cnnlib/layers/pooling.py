"""Max, average and global pooling (explained in notebooks/06_pooling.ipynb)."""

from typing import Any

import numpy as np

from cnnlib import kernels
from cnnlib.layers.base import Array, Grads, Layer, Rng, Shape
from cnnlib.layers.convolution import known_padding, window_axes
from cnnlib.layers.core import channels_last
from cnnlib.utils import pair


class _Pooling2D(Layer):
    """What both poolings share: a window, its step and its padding.

    Parameters
    ----------
    pool_size : int or (rows, columns)
    strides : int or (rows, columns), optional
        pool_size where it is not given.
    padding : {'valid', 'same'}
    """

    ndim = 4

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.pool_size = pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, "strides")
        self.padding = known_padding(padding)
        self.data_format = channels_last(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Height and width shrink; channels stay."""
        batch, height, width, channels = input_shape
        rows, columns = window_axes(self, height, width, self.pool_size)
        return (batch, rows and rows.out, columns and columns.out, channels)

    def axes(self, x: Array) -> tuple[kernels.Axis, kernels.Axis]:
        """How the window moves over these images."""
        self.check_rank(x.ndim)
        return window_axes(self, x.shape[1], x.shape[2], self.pool_size)


class MaxPooling2D(_Pooling2D):
    """The largest value of each window; on a tie the first one, row by row, gets the gradient.

    Examples
    --------
    >>> image = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> cnnlib.layers.MaxPooling2D(2)(image)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """

    aliases = ("MaxPool2D",)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """(batch, height, width, channels) -> (batch, out_height, out_width, channels)."""
        axes = self.axes(x)
        if not training:  # who won is seldom asked for then, and found out if it is
            return kernels.largest(x, *axes), (x, None, axes)
        y, winner = kernels.max_pool(x, *axes)
        return y, (None, winner, axes)

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dy at the winners, zero elsewhere."""
        x, winner, axes = cache
        if winner is None:
            _, winner = kernels.max_pool(x, *axes)
        return kernels.max_pool_gradient(dy, winner, *axes), {}


class AveragePooling2D(_Pooling2D):
    """The mean of each window, over the cells that lie on the image.

    Examples
    --------
    >>> image = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> cnnlib.layers.AveragePooling2D(2)(image)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """

    aliases = ("AvgPool2D",)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """(batch, height, width, channels) -> (batch, out_height, out_width, channels)."""
        axes = self.axes(x)
        return kernels.average_pool(x, *axes), axes

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """An equal share of dy for every cell of the window."""
        return kernels.average_pool_gradient(dy, *cache), {}


class _GlobalPooling2D(Layer):
    """One number a channel: height and width disappear, or stay as 1 with keepdims."""

    ndim = 4

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = channels_last(data_format)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(batch, channels), or (batch, 1, 1, channels)."""
        batch, _, _, channels = input_shape
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value of each channel; a tie shares its gradient equally, as in Keras.

    Examples
    --------
    >>> cnnlib.layers.GlobalMaxPooling2D()(np.ones((2, 4, 4, 3))).shape
    (2, 3)
    """

    aliases = ("GlobalMaxPool2D",)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """(batch, height, width, channels) -> (batch, channels)."""
        self.check_rank(x.ndim)
        y = x.max(axis=(1, 2), keepdims=True)
        return y if self.keepdims else y[:, 0, 0], (x, y)

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dy at the largest values."""
        x, y = cache
        winners = x == y
        share = dy.reshape(y.shape) / winners.sum(axis=(1, 2), keepdims=True).astype(dy.dtype)
        return winners * share, {}


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel.

    Examples
    --------
    >>> cnnlib.layers.GlobalAveragePooling2D(keepdims=True)(np.ones((2, 4, 4, 3))).shape
    (2, 1, 1, 3)
    """

    aliases = ("GlobalAvgPool2D",)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """(batch, height, width, channels) -> (batch, channels)."""
        self.check_rank(x.ndim)
        return x.mean(axis=(1, 2), keepdims=self.keepdims), x

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dy / (height * width) everywhere."""
        _, height, width, _ = cache.shape
        share = dy if self.keepdims else dy[:, None, None, :]
        return np.zeros_like(cache) + share / (height * width), {}
