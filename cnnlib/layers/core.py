"""Dense, and the layers that only change a shape.

Dense is explained in notebooks/01_dense.ipynb, the others in notebooks/03_training.ipynb.
"""

import math
from typing import Any

import numpy as np

from cnnlib import activations, initializers, kernels, regularizers
from cnnlib.layers.base import Layer, Shape
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
        for size in batch_shape[1:]:
            positive_int(size, "a size in the shape of Input")
        self.batch_shape = tuple(batch_shape)
        self.build(self.batch_shape)

    def get_config(self) -> dict[str, Any]:
        """Shape, type and name, as Keras writes them."""
        return {"batch_shape": list(self.batch_shape), "dtype": self.dtype, "name": self.name}

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Any]:
        """X as it is."""
        return x, None

    def backward(self, dy: np.ndarray, cache: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Dy as it is."""
        return dy, {}


Input = InputLayer


class Dense(Layer):
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
        super().__init__(**kwargs)
        self.units = positive_int(units, "units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def create(self, input_shape: Shape) -> None:
        """Kernel and bias."""
        kernel_shape = (input_shape[-1], self.units)
        self.add_param("kernel", kernel_shape, self.kernel_initializer, self.kernel_regularizer)
        if self.use_bias:
            self.add_param("bias", (self.units,), self.bias_initializer, self.bias_regularizer)

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

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Any]:
        """(batch, ..., in) -> (batch, ..., units)."""
        self.check_input(x)
        z = kernels.dense(x, self.params["kernel"])
        if self.use_bias:
            z += self.params["bias"]
        y, activation_cache = self.activation.forward(z, out=z)
        return y, (x, activation_cache)

    def backward(self, dy: np.ndarray, cache: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Dx and the gradients of kernel and bias."""
        dz = self.activation.backward(dy, cache[1])
        return kernels.dense(dz, self.params["kernel"].T), self._gradients(dz, cache[0])

    def parameter_gradients(self, dy: np.ndarray, cache: Any) -> dict[str, np.ndarray]:
        """The gradients of kernel and bias without dx."""
        return self._gradients(self.activation.backward(dy, cache[1]), cache[0])

    def _gradients(self, dz: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
        grads = {"kernel": kernels.dense_kernel_gradient(x, dz)}
        if self.use_bias:
            grads["bias"] = kernels.channel_sum(dz)
        return grads


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

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Any]:
        """(batch, ...) -> (batch, features)."""
        return kernels.flatten(x), x.shape[1:]

    def backward(self, dy: np.ndarray, cache: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
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
        if not isinstance(target_shape, tuple | list):
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

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Any]:
        """(batch, ...) -> the batch and the target shape."""
        target = self.compute_output_shape(x.shape)
        return x.reshape(target), x.shape  # type: ignore[arg-type]

    def backward(self, dy: np.ndarray, cache: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
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
