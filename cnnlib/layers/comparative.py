"""Dense and convolution with comparative synapses in place of products.

Explained in notebooks/07_comparative_synapse.ipynb.
"""

import math
from typing import Any

import numpy as np

from cnnlib import comparative_kernels, initializers, kernels
from cnnlib.layers.base import Array
from cnnlib.layers.convolution import Conv2D, window_axes
from cnnlib.layers.core import Dense, _KernelLayer
from cnnlib.utils import number, unknown_name

_GRADIENTS = ("exact", "product")


class _ComparativeLayer(_KernelLayer):
    """``z = scale * sum of c(x, w)`` for images and kernels (kh, kw, in, out)."""

    gradient: str
    scale: float | None

    def configure(self, gradient: str, scale: float | None) -> None:
        """Keep the two arguments that a layer of products does not have."""
        if gradient not in _GRADIENTS:
            raise unknown_name("gradient of a comparative layer", gradient, _GRADIENTS)
        self.gradient = gradient
        self.scale = None if scale is None else number(scale, "scale", low=1e-30)

    @property
    def output_scale(self) -> float:
        """`scale`, or where that is None the one that `initializers.ComparativeNormal` derives."""
        if self.scale is not None:
            return self.scale
        fan_in = math.prod(self.params["kernel"].shape[:-1])
        return 1 / math.sqrt(fan_in * initializers.comparative_power(1.0, 1.0))

    def compare(self, x: Array, kernel: Array, axes: Any) -> Array:
        """``scale * sum of c(x, w)``."""
        z = comparative_kernels.conv2d(x, kernel, *axes)
        z *= z.dtype.type(self.output_scale)
        return z

    def compare_gradients(
        self, dz: Array, x: Array, kernel: Array, axes: Any, need_dx: bool
    ) -> tuple[Array | None, Array]:
        """``dx, dkernel``: exact, or those that a product would have."""
        rows, columns = axes
        dx: Array | None = None
        if self.gradient == "exact":
            dx, dkernel = comparative_kernels.conv2d_gradients(
                dz, x, kernel, rows, columns, need_dx
            )
        else:
            copies = kernels.columns_of(x, rows, columns)
            dkernel = kernels.conv2d_kernel_gradient(dz, copies, kernel.shape, rows)
            if need_dx:
                dx = kernels.conv2d_input_gradient(dz, kernel, rows, columns)
        for gradient in (dkernel,) if dx is None else (dx, dkernel):
            gradient *= gradient.dtype.type(self.output_scale)  # in place: dz may be large
        return dx, dkernel


class ComparativeDense(_ComparativeLayer, Dense):
    """`Dense` with comparative synapses: ``y = activation(scale * sum c(x_k, w_k) + bias)``.

    Parameters
    ----------
    units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, \
bias_regularizer
        As in `Dense`.
    gradient : {'exact', 'product'}
        'exact' is the derivative. 'product' passes back what a product would,
        ``dx = w * dy, dw = x * dy``, as published code does: a surrogate that fails the gradient
        check, kept for comparison.
    scale : float, optional
        Factor of the sum, above 0; where it is not given ``1 / sqrt(fan_in * (1 - 2/pi))``, which
        keeps the size of the signal and of its gradient (see `initializers.ComparativeNormal`).
        The layer's only product, one an output; ``scale=1`` has none.

    Notes
    -----
    x (batch, ..., in), kernel (in, units), bias (units,), y (batch, ..., units), and
    ``c(x, w) = (|x + w| - |x - w|) / 2 = sgn(w) * clip(x, -|w|, |w|)``: the smaller magnitude with
    the product's sign. With dz the gradient before the activation, each synapse passes
    ``scale * dz`` to its smaller factor, times the sign of the other, and half to each on a tie
    (nothing where both are 0). c is homogeneous in both together, ``c(a x, a w) = a c(x, w)``,
    a > 0. Source: R. Dogaru and L. O. Chua, UCB/ERL M97/5 and M97/40, 1997.

    Examples
    --------
    >>> layer = cnnlib.layers.ComparativeDense(1, kernel_initializer="ones", scale=1)
    >>> layer(np.array([[0.5, -2.0, 3.0]]))
    array([[0.5]], dtype=float32)
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "comparative_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        gradient: str = "exact",
        scale: float | None = None,
        **kwargs: Any,
    ):
        weights = (kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer)
        Dense.__init__(self, units, activation, use_bias, *weights, **kwargs)
        self.configure(gradient, scale)

    def product(self, x: Array) -> tuple[Array, Any]:
        """A dense layer is a 1x1 convolution of 1x1 images."""
        images, kernel, axes = self._as_images(x)
        return self.compare(images, kernel, axes).reshape(*x.shape[:-1], self.units), x

    def product_gradients(self, dz: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Array]:
        """The gradients of x and kernel."""
        images, kernel, axes = self._as_images(cache)
        dz = dz.reshape(-1, 1, 1, self.units)
        dx, dkernel = self.compare_gradients(dz, images, kernel, axes, need_dx)
        return None if dx is None else dx.reshape(cache.shape), dkernel.reshape(kernel.shape[2:])

    def _as_images(self, x: Array) -> tuple[Array, Array, Any]:
        one = kernels.axis(1, 1, 1, "valid")
        images = x.reshape(-1, 1, 1, x.shape[-1])
        return images, self.params["kernel"][np.newaxis, np.newaxis], (one, one)


class ComparativeConv2D(_ComparativeLayer, Conv2D):
    """`Conv2D` with comparative synapses: each window cell is compared with its weight.

    Parameters
    ----------
    filters, kernel_size, strides, padding, data_format, dilation_rate, groups, activation, \
use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
        As in `Conv2D`.
    gradient, scale
        As in `ComparativeDense`, where the formulas stand.

    Notes
    -----
    Shapes as in `Conv2D`; fan_in is kh * kw * in / groups. The padding's zeros add nothing.

    Examples
    --------
    >>> layer = cnnlib.layers.ComparativeConv2D(8, 5, strides=2, padding="same")
    >>> layer(np.zeros((1, 28, 28, 1))).shape
    (1, 14, 14, 8)
    """

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
        kernel_initializer: Any = "comparative_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        gradient: str = "exact",
        scale: float | None = None,
        **kwargs: Any,
    ):
        window = (kernel_size, strides, padding, data_format, dilation_rate, groups)
        weights = (kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer)
        Conv2D.__init__(self, filters, *window, activation, use_bias, *weights, **kwargs)
        self.configure(gradient, scale)

    def product(self, x: Array) -> tuple[Array, Any]:
        """(batch, height, width, in) -> (batch, out_height, out_width, filters)."""
        axes = window_axes(self, x.shape[1], x.shape[2], self.kernel_size)
        return self.compare(x, self.params["kernel"], axes), (axes, x)

    def product_gradients(self, dz: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Array]:
        """The input's and the kernel's gradient; those of products per group."""
        axes, x = cache
        kernel = self.params["kernel"]
        if self.gradient == "exact":
            return self.compare_gradients(dz, x, kernel, axes, need_dx)
        triples = zip(self._split(dz), self._split(x), self._split(kernel), strict=True)
        pairs = [self.compare_gradients(d, part, w, axes, need_dx) for d, part, w in triples]
        dxs, dkernels = zip(*pairs, strict=True)
        return self._join(dxs) if need_dx else None, self._join(dkernels)
