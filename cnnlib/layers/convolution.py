"""Convolution and zero padding (explained in notebooks/05_conv_layer.ipynb)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnlib import kernels
from cnnlib.layers.base import Array, Grads, Layer, Rng, Shape
from cnnlib.layers.core import _KernelLayer, channels_last
from cnnlib.utils import pair, positive_int, unknown_name


class Conv2D(_KernelLayer):
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
    Made for kernels up to 7 x 7: from about 9 x 9 on the FFT would be faster (docs/speed.md).

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
        weights = (kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer)
        super().__init__(activation, use_bias, *weights, **kwargs)
        self.filters = positive_int(filters, "filters")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.padding = known_padding(padding)
        self.data_format = channels_last(data_format)
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.groups = positive_int(groups, "groups")
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

    def kernel_shape(self, input_shape: Shape) -> Shape:
        """(kh, kw, in / groups, filters)."""
        channels = input_shape[-1]
        if channels is not None and channels % self.groups:
            raise ValueError(
                "the number of input channels must be divisible by groups. "
                f"Received: channels={channels}, groups={self.groups}"
            )
        depth = None if channels is None else channels // self.groups
        return (*self.kernel_size, depth, self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Height and width by the rule in the notes."""
        batch, height, width, _ = input_shape
        rows, columns = window_axes(self, height, width, self.kernel_size)
        return (batch, rows and rows.out, columns and columns.out, self.filters)

    def product(self, x: Array) -> tuple[Array, Any]:
        """(batch, height, width, in) -> (batch, out_height, out_width, filters), per group."""
        axes = window_axes(self, x.shape[1], x.shape[2], self.kernel_size)
        parts = zip(self._split(x), self._split(self.params["kernel"]), strict=True)
        z, copies = zip(*(kernels.conv2d(part, w, *axes) for part, w in parts), strict=True)
        return self._join(z), (axes, copies)

    def product_gradients(self, dz: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Array]:
        """The input's and the kernel's gradient, per group."""
        axes, copies = cache
        dzs, ws = self._split(dz), self._split(self.params["kernel"])
        triples = list(zip(dzs, ws, copies, strict=True))
        dkernel = self._join(
            [kernels.conv2d_kernel_gradient(d, c, w.shape, axes[0]) for d, w, c in triples]
        )
        if not need_dx:
            return None, dkernel
        dx = self._join([kernels.conv2d_input_gradient(d, w, *axes) for d, w, _ in triples])
        return dx, dkernel

    def _split(self, array: Array) -> list[Array]:
        return [array] if self.groups == 1 else np.split(array, self.groups, axis=-1)

    def _join(self, parts: Sequence[Array]) -> Array:
        return parts[0] if self.groups == 1 else np.concatenate(parts, axis=-1)


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

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """The image within zeros."""
        self.check_rank(x.ndim)
        y = np.zeros_like(x, shape=self.compute_output_shape(x.shape))  # type: ignore[arg-type]
        inside = self._inside(x.shape)
        y[inside] = x
        return y, inside

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
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
