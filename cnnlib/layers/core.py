"""Dense, and the layers that only change a shape.

Dense is explained in notebooks/01_dense.ipynb, the others in notebooks/03_training.ipynb.
"""

import math
from typing import Any

import numpy as np

from cnnlib import activations, initializers, kernels, regularizers
from cnnlib.layers.base import Array, Grads, Layer, Rng, Shape
from cnnlib.utils import positive_int


class InputLayer(Layer):
    """The shape of one example: first in a `Sequential`, and not one of its layers.

    Parameters
    ----------
    shape : tuple of int
        Without the batch, for example ``(28, 28, 1)``.
    batch_size : int, optional
    batch_shape : tuple, optional
        The shape with the batch first, in place of the other two.

    Raises
    ------
    ValueError
        Where the shape is not a tuple of positive integers.

    Examples
    --------
    >>> cnnlib.Input((28, 28, 1)).batch_shape
    (None, 28, 28, 1)
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        batch_shape: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if batch_shape is None:
            if not isinstance(shape, tuple | list):
                raise ValueError(
                    "Input expects the shape of one example as a tuple, such as (28, 28, 1). "
                    f"Received: shape={shape!r}"
                )
            batch_shape = (batch_size, *shape)
        if not isinstance(batch_shape, tuple | list):
            raise ValueError(
                "Input expects batch_shape as a tuple, such as (None, 28, 28, 1). "
                f"Received: batch_shape={batch_shape!r}"
            )
        for size in batch_shape[1:]:
            if size is not None:  # unknown, such as the size of the images
                positive_int(size, "a size in the shape of Input")
        self.batch_shape = tuple(batch_shape)
        self.build(self.batch_shape)

    def get_config(self) -> dict[str, Any]:
        """Shape, type and name, as Keras writes them."""
        return {"batch_shape": list(self.batch_shape), "dtype": self.dtype, "name": self.name}

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """Return x as it is."""
        return x, None

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dy as it is."""
        return dy, {}


Input = InputLayer


class _KernelLayer(Layer):
    """``y = activation(product(x, kernel) + bias)``: what `Dense` and `Conv2D` have in common.

    A subclass says what the product is: its ``kernel_shape(input_shape)``, ``product(x)`` and
    ``product_gradients(dz, cache, need_dx)``.
    """

    def __init__(
        self,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def kernel_shape(self, input_shape: Shape) -> Shape:
        """Shape of the kernel, the outputs last."""
        raise TypeError(f"{type(self).__name__} does not define kernel_shape(input_shape)")

    def product(self, x: Array) -> tuple[Array, Any]:
        """``z, cache``: a new array z, before bias and activation."""
        raise TypeError(f"{type(self).__name__} does not define product(x)")

    def product_gradients(self, dz: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Array]:
        """``dx, dkernel``; dx is None where nobody needs it."""
        raise TypeError(f"{type(self).__name__} does not define product_gradients(dz, ...)")

    def create(self, input_shape: Shape) -> None:
        """Kernel and bias."""
        shape = self.kernel_shape(input_shape)
        self.add_param("kernel", shape, self.kernel_initializer, self.kernel_regularizer)
        if self.use_bias:
            self.add_param("bias", shape[-1:], self.bias_initializer, self.bias_regularizer)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """The formula above."""
        self.check_input(x)
        z, product_cache = self.product(x)
        if self.use_bias:
            z += self.params["bias"]
        y, activation_cache = self.activation.forward(z, out=z)
        return y, (product_cache, activation_cache)

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dx and the gradients of kernel and bias."""
        return self._gradients(dy, cache, need_dx=True)  # type: ignore[return-value]

    def parameter_gradients(self, dy: Array, cache: Any) -> Grads:
        """The gradients of kernel and bias without dx, which often costs most."""
        return self._gradients(dy, cache, need_dx=False)[1]

    def _gradients(self, dy: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Grads]:
        product_cache, activation_cache = cache
        dz = self.activation.backward(dy, activation_cache)
        dx, dkernel = self.product_gradients(dz, product_cache, need_dx)
        bias = {"bias": kernels.channel_sum(dz)} if self.use_bias else {}
        return dx, {"kernel": dkernel, **bias}


class Dense(_KernelLayer):
    """``y = activation(x @ kernel + bias)``: every output sees every input.

    Parameters
    ----------
    units : int
        Length of y's last axis.
    activation : str or Function, optional
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional

    Notes
    -----
    x (batch, ..., in), kernel (in, units), bias (units,), y (batch, ..., units).
    With dz the gradient before the activation: ``dkernel = x.T @ dz``, ``dbias`` sums dz over the
    batch, ``dx = dz @ kernel.T``.

    Examples
    --------
    >>> layer = cnnlib.layers.Dense(2, kernel_initializer="ones")
    >>> layer(np.array([[1.0, 2.0, 3.0]]))
    array([[6., 6.]], dtype=float32)
    """

    def __init__(
        self,
        units: int,
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
        self.units = positive_int(units, "units")

    def check_rank(self, received: int) -> None:
        """At least a batch axis and a feature axis."""
        if received < 2:
            raise ValueError(
                f"layer {self.name!r} (Dense) expects at least 2 axes (batch, features). "
                f"Received {received}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The last axis becomes `units`."""
        return (*input_shape[:-1], self.units)

    def kernel_shape(self, input_shape: Shape) -> Shape:
        """(in, units)."""
        return (input_shape[-1], self.units)

    def product(self, x: Array) -> tuple[Array, Any]:
        """``x @ kernel``; the way back needs x."""
        return kernels.dense(x, self.params["kernel"]), x

    def product_gradients(self, dz: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Array]:
        """``dz @ kernel.T`` and ``x.T @ dz``."""
        dx = kernels.dense(dz, self.params["kernel"].T) if need_dx else None
        return dx, kernels.dense_kernel_gradient(cache, dz)


class Flatten(Layer):
    """(batch, height, width, channels) -> (batch, height * width * channels).

    Examples
    --------
    >>> cnnlib.layers.Flatten()(np.zeros((2, 4, 4, 3))).shape
    (2, 48)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = channels_last(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """One axis beside the batch."""
        sizes = input_shape[1:]
        return (input_shape[0], None if None in sizes else math.prod(sizes))  # type: ignore[arg-type]

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """(batch, ...) -> (batch, features)."""
        return kernels.flatten(x), x.shape[1:]

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """(batch, features) -> (batch, ...)."""
        return kernels.unflatten(dy, cache), {}


class Reshape(Layer):
    """Give each example another shape with as many numbers; one size may be -1.

    Examples
    --------
    >>> cnnlib.layers.Reshape((28, 28, 1))(np.zeros((5, 784))).shape
    (5, 28, 28, 1)
    """

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        sizes = target_shape if isinstance(target_shape, tuple | list) else ["none"]
        if not all(isinstance(size, int | np.integer) for size in sizes):
            raise ValueError(
                "Reshape expects target_shape as a tuple without the batch, such as (28, 28, 1). "
                f"Received: target_shape={target_shape!r}"
            )
        self.target_shape = tuple(target_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The target shape with -1 worked out."""
        sizes = input_shape[1:]
        if None in sizes:
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        have = math.prod(sizes)  # type: ignore[arg-type]
        want = math.prod(size for size in self.target_shape if size != -1)
        unknown = self.target_shape.count(-1)
        if unknown > 1 or want < 1 or (have % want if unknown else have != want):
            raise ValueError(
                f"Reshape cannot turn {have} numbers an example, shape {tuple(sizes)}, into "
                f"{self.target_shape}"
            )
        return (input_shape[0], *(have // want if s == -1 else s for s in self.target_shape))

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """(batch, ...) -> the batch and the target shape."""
        target = self.compute_output_shape(x.shape)
        return x.reshape(target), x.shape  # type: ignore[arg-type]

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """The same numbers in the input's shape."""
        return dy.reshape(cache), {}


def channels_last(data_format: str | None) -> str:
    """'channels_last', or the error for anything else."""
    if data_format not in (None, "channels_last"):
        raise ValueError(
            "cnnlib's images are (batch, height, width, channels): data_format='channels_last'. "
            f"Received: data_format={data_format!r}. Move the axis with np.moveaxis(x, 1, -1)"
        )
    return "channels_last"
