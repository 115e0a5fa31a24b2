"""What every layer is: parameters, a pure forward pass and its gradient.

Explained in notebooks/03_training.ipynb. A layer keeps its parameters and its configuration and
nothing else: whatever the backward pass needs travels in `cache`, so one layer can be used by many
threads at once and every intermediate value can be looked at.
"""

from typing import Any

import numpy as np

from cnnlib import initializers, registry
from cnnlib.config import floatx
from cnnlib.utils import as_array, next_seed, unknown_name

Array = np.ndarray
Grads = dict[str, Array]
Rng = np.random.Generator | None
Shape = tuple[int | None, ...]


class HasWeights:
    """Reading and replacing all weights: the same for a layer and for a model."""

    name: str
    role: str

    def homes(self) -> list[tuple[Grads, str]]:
        """Where each weight is kept (a dict and its key), in Keras's order."""
        raise TypeError(f"{type(self).__name__} does not define homes()")

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras's order."""
        return [home[key].copy() for home, key in self.homes()]

    def set_weights(self, weights: list[Any]) -> None:
        """Replace all weights, or none where one does not fit.

        Raises
        ------
        ValueError
            For the wrong number of arrays, or an array of the wrong shape or type.
        """
        owner = f"set_weights of {self.role} {self.name!r}"
        arrays = [as_array(w) for w in weights]
        expected = [home[key].shape for home, key in self.homes()]
        received = [w.shape for w in arrays]
        if expected != received:
            raise ValueError(f"{owner} expects arrays of shapes {expected}. Received {received}")
        if any(w.dtype.kind not in "fiub" for w in arrays):
            kinds = [str(w.dtype) for w in arrays]
            raise ValueError(f"{owner} expects numbers. Received arrays of type {kinds}")
        for (home, key), w in zip(self.homes(), arrays, strict=True):
            # A new array, as the caller keeps its own; in C order, as a file or a process gives it.
            home[key] = w.astype(home[key].dtype, order="C")

    def count_params(self) -> int:
        """How many numbers `get_weights` gives."""
        return sum(home[key].size for home, key in self.homes())


class Layer(HasWeights, registry.Configurable, family=True):
    """Base of all layers.

    A subclass defines ``forward(x, training, rng) -> y, cache`` and
    ``backward(dy, cache) -> dx, grads``; where it has parameters, ``create(input_shape)`` makes
    them with `add_param`; where shapes change, ``compute_output_shape(input_shape)``.

    Parameters
    ----------
    name : str, optional
        The class's name in snake case where it is not given.
    trainable : bool
        False keeps the optimizer away from the parameters.
    dtype : {'float32', 'float64'}, optional
        Of the parameters; `cnnlib.config.floatx()` where it is not given.
    """

    keras_module = "keras.layers"
    role = "layer"
    whole_batch = False  # True: its result for one example depends on the others (normalization)
    ndim: int | None = None  # number of axes that the input must have, the batch included

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, dtype: Any = None, **extras: Any
    ):
        registry.refuse_extras(type(self).__name__, extras)
        if isinstance(dtype, dict):  # Keras writes {"class_name": "DTypePolicy", "config": ...}
            dtype = dtype["config"]["name"]
        dtype = floatx() if dtype is None else str(np.dtype(dtype))
        if dtype not in ("float32", "float64"):
            raise unknown_name("float type of a layer", dtype, ("float32", "float64"))
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(f"name: expected a string without '/'. Received: name={name!r}")
        self.automatic_name = name is None
        self.name = registry.snake_case(type(self).__name__) if name is None else name
        self.trainable, self.dtype = trainable, dtype
        self.input_shape: Shape | None = None
        self._params: Grads = {}
        self.state: Grads = {}
        self.regularizers: dict[str, Any] = {}

    @property
    def built(self) -> bool:
        """Whether the parameters exist."""
        return self.input_shape is not None

    @property
    def draws(self) -> bool:
        """Whether a training pass may draw random numbers: a model makes a generator only then.

        That takes longer than many a layer. Of the library's own layers Dropout alone draws; a
        layer from elsewhere may.
        """
        return not type(self).forward.__module__.startswith("cnnlib.layers.")

    @property
    def params(self) -> Grads:
        """What training changes: name -> array."""
        if not self.built:
            raise ValueError(
                f"layer {self.name!r} ({type(self).__name__}) is not built yet, so it has no "
                "weights: call layer.build(input_shape), call the layer on an array, or build "
                "its model"
            )
        return self._params

    def build(self, input_shape: Shape) -> None:
        """Make the parameters for inputs of this shape; what is already built stays as it is.

        Parameters
        ----------
        input_shape : tuple
            The batch first, usually None: ``(None, 28, 28, 1)``.

        Raises
        ------
        ValueError
            Where the layer cannot take such an input.
        """
        if not self.built:
            input_shape = tuple(input_shape)
            self.check_rank(len(input_shape))
            self.compute_output_shape(input_shape)
            self.create(input_shape)
            self.input_shape = input_shape

    def create(self, input_shape: Shape) -> None:
        """Make parameters with `add_param`: for subclasses that have any."""

    def add_param(self, name: str, shape: Shape, initializer: Any, regularizer: Any = None) -> None:
        """Make the parameter `name`."""
        if None in shape:
            raise ValueError(f"layer {self.name!r} needs to know every size in {shape} to be built")
        self._params[name] = initializers.get(initializer)(shape, self.dtype)
        if regularizer is not None:
            self.regularizers[name] = regularizer

    def check_rank(self, received: int) -> None:
        """Raise where the input has the wrong number of axes."""
        if self.ndim is not None and received != self.ndim:
            raise ValueError(
                f"layer {self.name!r} ({type(self).__name__}) expects images: 4 axes (batch, "
                f"height, width, channels). Received {received} axes"
                + (". Add the channel axis: x[..., np.newaxis]" if received == 3 else "")
            )

    def check_input(self, x: Array) -> None:
        """Raise where `x` does not fit what the layer was built for: rank, or the last axis."""
        if self.input_shape is None:
            _ = self.params  # says that the layer is not built
        elif len(x.shape) != len(self.input_shape):
            self.check_rank(len(x.shape))
            raise self.wrong_shape(x.shape)
        elif self.input_shape[-1] != x.shape[-1]:
            raise self.wrong_shape(x.shape)

    def wrong_shape(self, received: Shape) -> ValueError:
        """The error for an input of another shape than the layer was built for."""
        return ValueError(
            f"layer {self.name!r} ({type(self).__name__}) was built for inputs of shape "
            f"{self.input_shape}. Received shape {tuple(received)}"
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the output for this shape of the input, the batch included."""
        return tuple(input_shape)

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """``y, cache``; neither x nor the layer changes."""
        raise TypeError(f"{type(self).__name__} does not define forward(x, training, rng)")

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """``dx, grads``: dL/dx, and dL/dp for every parameter; dy = dL/dy is not changed."""
        raise TypeError(f"{type(self).__name__} does not define backward(dy, cache)")

    def parameter_gradients(self, dy: Array, cache: Any) -> Grads:
        """`grads` alone: for the first layer, below which nobody needs dx."""
        return self.backward(dy, cache)[1]

    def updated_state(self, cache: Any) -> Grads:
        """What `state` becomes after a training pass with this cache.

        `fit` asks for it where the layer saw the whole batch, that is where `whole_batch` is True.
        """
        return {}

    def __call__(self, x: Any, training: bool = False) -> Array:
        """Return y alone; builds the layer at the first call.

        Examples
        --------
        >>> cnnlib.layers.Dense(3)(np.ones((2, 5))).shape
        (2, 3)
        """
        x = as_array(x).astype(self.dtype, copy=False)
        if not self.built:
            self.build((None, *x.shape[1:]))
        rng = np.random.default_rng(next_seed()) if training else None
        return self.forward(x, training, rng)[0]

    def homes(self) -> list[tuple[Grads, str]]:
        """Where each weight is kept (a dict and its key): parameters, then moving averages."""
        return [(self.params, k) for k in self.params] + [(self.state, k) for k in self.state]

    def __repr__(self) -> str:
        """Class and name."""
        return f"<{type(self).__name__} {self.name!r}>"
