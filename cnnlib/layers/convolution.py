"""Convolution and zero padding (explained in notebooks/05_conv_layer.ipynb)."""

from typing import Any

import numpy as np

from cnnlib import activations, initializers, kernels, regularizers
from cnnlib.layers.base import Layer, Shape
from cnnlib.layers.core import channels_last
from cnnlib.utils import pair, positive_int, unknown_name


class Conv2D(Layer):
    """A bank of kernels slid over an image: as everywhere in this field, a correlation.

    Parameters
    ----------
    filters : int
        Number of kernels, and of channels in the output.
    kernel_size, strides, dilation_rate : int or (rows, columns)
        Size of the window, step between windows, distance between the window's cells.
    padding : {'valid', 'same'}
        No padding, or zeros around the image so that the output has ceil(size / stride) rows.
    data_format : {'channels_last'}, optional
    groups : int
        Split the channels into so many groups that do not see each other.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
        As in `Dense`.

    Notes
    -----
    x (batch, height, width, in), kernel (kh, kw, in / groups, filters), bias (filters,),
    y (batch, out_height, out_width, filters) with out = floor((size - reach) / stride) + 1 for
    'valid' and reach = dilation * (window - 1) + 1. Source: Dumoulin and Visin, arXiv:1603.07285.

    Examples
    --------
    >>> cnnlib.layers.Conv2D(8, 5, strides=2, padding="same")(np.zeros((1, 28, 28, 1))).shape
    (1, 14, 14, 8)
    """

    ndim = 4

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = positive_int(filters, "filters")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.padding = known_padding(padding)
        self.data_format = channels_last(data_format)
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.groups = positive_int(groups, "groups")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "strides above 1 and dilation_rate above 1 do not go together (nor in Keras). "
                f"Received: strides={self.strides}, dilation_rate={self.dilation_rate}"
            )
        if self.filters % self.groups:
            raise ValueError(
                "filters must be divisible by groups. "
                f"Received: filters={self.filters}, groups={self.groups}"
            )

    def create(self, input_shape: Shape) -> None:
        """Kernel and bias."""
        channels = input_shape[-1]
        if channels is not None and channels % self.groups:
            raise ValueError(
                "the number of input channels must be divisible by groups. "
                f"Received: channels={channels}, groups={self.groups}"
            )
        depth = None if channels is None else channels // self.groups
        kernel_shape = (*self.kernel_size, depth, self.filters)
        self.add_param("kernel", kernel_shape, self.kernel_initializer, self.kernel_regularizer)
        if self.use_bias:
            self.add_param("bias", (self.filters,), self.bias_initializer, self.bias_regularizer)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Height and width by the rule in the notes."""
        batch, height, width, _ = input_shape
        rows, columns = window_axes(self, height, width, self.kernel_size)
        return (batch, rows and rows.out, columns and columns.out, self.filters)

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Any]:
        """(batch, height, width, in) -> (batch, out_height, out_width, filters)."""
        self.check_input(x)
        axes = window_axes(self, x.shape[1], x.shape[2], self.kernel_size)
        pieces = [
            kernels.conv2d(part, kernel, *axes)
            for part, kernel in zip(self._split(x), self._split(self.params["kernel"]), strict=True)
        ]
        z = pieces[0][0] if self.groups == 1 else np.concatenate([y for y, _ in pieces], axis=-1)
        if self.use_bias:
            z += self.params["bias"]
        y, activation_cache = self.activation.forward(z, out=z)
        return y, (axes, [copies for _, copies in pieces], activation_cache)

    def backward(self, dy: np.ndarray, cache: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Dx and the gradients of kernel and bias."""
        axes, _, activation_cache = cache
        dz = self.activation.backward(dy, activation_cache)
        parts = zip(self._split(dz), self._split(self.params["kernel"]), strict=True)
        dx = [kernels.conv2d_input_gradient(part, kernel, *axes) for part, kernel in parts]
        return np.concatenate(dx, axis=-1) if self.groups > 1 else dx[0], self._gradients(dz, cache)

    def parameter_gradients(self, dy: np.ndarray, cache: Any) -> dict[str, np.ndarray]:
        """The gradients of kernel and bias without dx, which costs most."""
        return self._gradients(self.activation.backward(dy, cache[2]), cache)

    def _gradients(self, dz: np.ndarray, cache: Any) -> dict[str, np.ndarray]:
        (rows, _), copies, _ = cache
        shape = self.params["kernel"].shape
        shape = (*shape[:-1], self.filters // self.groups)
        parts = [
            kernels.conv2d_kernel_gradient(part, piece, shape, rows)
            for part, piece in zip(self._split(dz), copies, strict=True)
        ]
        grads = {"kernel": np.concatenate(parts, axis=-1) if self.groups > 1 else parts[0]}
        if self.use_bias:
            grads["bias"] = kernels.channel_sum(dz)
        return grads

    def _split(self, array: np.ndarray) -> list[np.ndarray]:
        return [array] if self.groups == 1 else np.split(array, self.groups, axis=-1)


class ZeroPadding2D(Layer):
    """Zeros around the image: one number, (rows, columns), or ((top, bottom), (left, right)).

    Examples
    --------
    >>> cnnlib.layers.ZeroPadding2D(((0, 1), (2, 2)))(np.zeros((1, 5, 5, 3))).shape
    (1, 6, 9, 3)
    """

    ndim = 4

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(padding, tuple | list) and any(isinstance(p, tuple | list) for p in padding):
            if len(padding) != 2:
                raise ValueError(
                    "padding: expected ((top, bottom), (left, right)). "
                    f"Received: padding={padding!r}"
                )
            self.padding = tuple(pair(p, "padding", smallest=0) for p in padding)
        else:
            self.padding = tuple((p, p) for p in pair(padding, "padding", smallest=0))
        self.data_format = channels_last(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Height and width grow by their padding."""
        batch, height, width, channels = input_shape
        grown = [
            size and size + sum(p) for size, p in zip((height, width), self.padding, strict=True)
        ]
        return (batch, *grown, channels)

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Any]:
        """The image within zeros."""
        self.check_rank(x.ndim)
        y = np.zeros_like(x, shape=self.compute_output_shape(x.shape))  # type: ignore[arg-type]
        inside = self._inside(x.shape)
        y[inside] = x
        return y, inside

    def backward(self, dy: np.ndarray, cache: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The part of dy that lies on the image."""
        return dy[cache], {}

    def _inside(self, shape: Shape) -> tuple[slice, ...]:
        _, height, width, _ = shape
        (top, _), (left, _) = self.padding
        return (slice(None), slice(top, top + height), slice(left, left + width))  # type: ignore[operator]


def known_padding(padding: Any) -> str:
    """'valid' or 'same' in lower case, or the error for anything else."""
    name = padding.lower() if isinstance(padding, str) else padding
    if name not in ("valid", "same"):
        raise unknown_name("padding", padding, ("valid", "same"))
    return name


def window_axes(layer: Any, height: int | None, width: int | None, window: tuple[int, int]) -> Any:
    """The two `kernels.Axis` of a layer with strides and padding; None where a size is unknown."""
    dilation = getattr(layer, "dilation_rate", (1, 1))
    try:
        return tuple(
            None
            if size is None
            else kernels.axis(size, window[k], layer.strides[k], layer.padding, dilation[k])
            for k, size in enumerate((height, width))
        )
    except ValueError as error:
        kind = type(layer).__name__
        raise ValueError(
            f"layer {layer.name!r} ({kind}) received images of {height} x {width}: {error}"
        ) from None
