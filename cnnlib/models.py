"""Sequential: layers in a row, and the gradients through all of them.

Explained in notebooks/03_training.ipynb. The loop around it is `cnnlib.training`, files are
`cnnlib.saving`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from cnnlib import checks, losses, optimizers, registry, saving, training
from cnnlib.layers.base import HasWeights, Layer, Shape
from cnnlib.layers.core import InputLayer
from cnnlib.metrics import get as get_metric
from cnnlib.saving import load_model
from cnnlib.shards import Step
from cnnlib.utils import as_array, next_seed, unknown_name

__all__ = ["Sequential", "Step", "load_model"]

Grads = dict[str, np.ndarray]


class Sequential(HasWeights):
    """A stack of layers, each fed with the output of the one before.

    Parameters
    ----------
    layers : list of Layer, optional
        The first may be ``Input(shape)``; without it the model is built by the first data.
    trainable : bool
        False freezes all layers.
    name : str, optional

    Examples
    --------
    >>> model = cnnlib.Sequential([
    ...     cnnlib.Input((28, 28, 1)),
    ...     cnnlib.layers.Conv2D(8, 5, activation="relu"),
    ...     cnnlib.layers.Flatten(),
    ...     cnnlib.layers.Dense(10, activation="softmax"),
    ... ])
    >>> model.output_shape, model.count_params()
    ((None, 10), 46298)
    """

    role = "model"

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None):
        self.name = "sequential" if name is None else name
        self.layers: list[Layer] = []
        self.input_layer: InputLayer | None = None
        self.seed = next_seed()
        self.optimizer: Any = None
        self.loss: Any = None
        self.metrics: list[Any] = []
        self.compile_arguments: dict[str, Any] = {}
        self.history: Any = None
        self.stop_training = False
        self.warned = False
        if layers is not None and not isinstance(layers, list | tuple):
            raise TypeError(f"Sequential expects a list of layers. Received: {layers!r}")
        for layer in layers or []:
            self.add(layer)
        if not trainable:
            self.trainable = False

    # --- Building -------------------------------------------------------------------------------

    def add(self, layer: Layer) -> None:
        """Put a layer on top.

        Raises
        ------
        TypeError
            For anything that is not a layer of cnnlib.
        ValueError
            For a layer that does not fit the one below, or a name that is taken.
        """
        if not isinstance(layer, Layer):
            raise TypeError(
                "Sequential expects layers of cnnlib. "
                f"Received: {layer!r} of type {type(layer).__module__}.{type(layer).__name__}"
            )
        if isinstance(layer, InputLayer):
            if self.layers or self.input_layer:
                raise ValueError("Input comes first, and once")
            self.input_layer = layer
            return
        self._name(layer)
        if self.built:
            layer.build(self.output_shape)
        elif self.input_layer:
            layer.build(self.input_layer.batch_shape)
        self.layers.append(layer)  # last: a layer that does not fit stays out
        layer.automatic_name = False  # another model must not rename it

    def _name(self, layer: Layer) -> None:
        taken = {other.name for other in self.layers}
        if any(other is layer for other in self.layers):
            raise ValueError(f"layer {layer.name!r} is in this model already: make another one")
        if layer.name in taken:
            if not layer.automatic_name:
                raise ValueError(
                    f"two layers of one model cannot both be called {layer.name!r}: name one"
                )
            base = registry.snake_case(type(layer).__name__)
            layer.name = next(n for k in range(1, 10**6) if (n := f"{base}_{k}") not in taken)

    def pop(self) -> Layer:
        """Take the top layer off and return it."""
        if not self.layers:
            raise ValueError("there is no layer to take off")
        return self.layers.pop()

    def build(self, input_shape: Any) -> None:
        """Make all weights, for inputs of this shape (the batch first, usually None).

        Raises
        ------
        ValueError
            Where a layer cannot take what the one below gives; then no layer is built.
        """
        if not isinstance(input_shape, tuple | list):
            raise ValueError(
                "input_shape: expected a tuple with the batch first, such as (None, 28, 28, 1). "
                f"Received: input_shape={input_shape!r}"
            )
        shape = tuple(input_shape)
        unbuilt = [layer for layer in self.layers if not layer.built]
        try:
            for layer in self.layers:
                layer.check_rank(len(shape))
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        except Exception:
            for layer in unbuilt:  # all layers are built, or none
                layer.input_shape = None
            raise

    @property
    def built(self) -> bool:
        """Whether all layers have their weights."""
        return bool(self.layers) and all(layer.built for layer in self.layers)

    @property
    def input_shape(self) -> Shape:
        """Shape of the input, the batch first."""
        self._require_built()
        return self.layers[0].input_shape  # type: ignore[return-value]

    @property
    def output_shape(self) -> Shape:
        """Shape of the output, the batch first."""
        return self.compute_output_shape(self.input_shape)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Shape of the output for this shape of the input, the batch first in both."""
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return tuple(input_shape)

    @property
    def dtype(self) -> str:
        """The float type that inputs are converted to: the first layer's."""
        return self.layers[0].dtype if self.layers else "float32"

    @property
    def trainable(self) -> bool:
        """Whether any layer learns; setting it sets all of them."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Freeze or free all layers."""
        for layer in self.layers:
            layer.trainable = value

    def _require_built(self) -> None:
        if not self.layers:
            raise ValueError("the model has no layers yet: add some with model.add(layer)")
        if not self.built:
            raise ValueError(
                "the model does not know the shape of its input yet: begin it with Input(shape), "
                "call model.build((None, ...)), or call it on an array"
            )

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this index.

        Raises
        ------
        ValueError
            For a name that no layer has.
        IndexError
            For an index beyond the last layer.
        """
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise unknown_name("layer", name, [layer.name for layer in self.layers])

    # --- Weights --------------------------------------------------------------------------------

    @property
    def params(self) -> Grads:
        """The arrays that training changes (not copies), under ``'layer/parameter'``."""
        return {
            f"{layer.name}/{key}": value
            for layer in self.layers
            if layer.trainable
            for key, value in layer.params.items()
        }

    @property
    def state(self) -> Grads:
        """Moving averages (not copies), under ``'layer/name'``."""
        return {
            f"{layer.name}/{key}": value
            for layer in self.layers
            for key, value in layer.state.items()
        }

    def replace_state(self, state: Grads) -> None:
        """Put new moving averages in place of the old ones."""
        for path, value in state.items():
            name, key = path.rsplit("/", 1)
            self.get_layer(name).state[key] = value

    def homes(self) -> list[tuple[dict[str, np.ndarray], str]]:
        """Where each weight is kept (a dict and its key), layer by layer."""
        self._require_built()
        return [home for layer in self.layers for home in layer.homes()]

    def to(self, like: Any) -> "Sequential":
        """Move weights, state and optimizer slots to where the array `like` lives (CuPy, NumPy)."""
        homes = self.homes()
        if self.optimizer is not None:
            homes += [(slot, key) for slot in self.optimizer.slots.values() for key in slot]
        for home, key in homes:
            value = home[key]
            if isinstance(like, np.ndarray) and hasattr(value, "get"):
                value = value.get()  # CuPy converts to NumPy only when asked by name
            home[key] = np.asarray(value, like=like)
        return self

    # --- Computing ------------------------------------------------------------------------------

    def forward(
        self,
        x: Any,
        training: bool = False,
        rng: Any = None,
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[np.ndarray, list[Any]]:
        """``y`` and one cache a layer, for the layers from `start` up to `stop`.

        Parameters
        ----------
        x : ndarray (batch, ...)
        training : bool
        rng : Generator, SeedSequence or int, optional
            For Dropout. From a seed each layer gets numbers of its own, wherever the run starts.

        Examples
        --------
        >>> model = cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(2)])
        >>> y, caches = model.forward(np.ones((4, 3), np.float32))
        >>> y.shape, len(caches)
        ((4, 2), 1)
        """
        caches = []
        for index, layer in enumerate(self.layers[start:stop], start):
            x, cache = layer.forward(x, training, layer_rng(rng, index) if layer.draws else None)
            caches.append(cache)
        return x, caches

    def backward(
        self, dy: np.ndarray, caches: list[Any], start: int = 0, need_dx: bool = True
    ) -> tuple[np.ndarray | None, Grads]:
        """``dx`` and the gradients of all parameters: here dx of a layer is dy of the one before.

        Parameters
        ----------
        dy : ndarray
            dL/dy for the y that `forward` gave, of its shape; it is not changed.
        caches : list
            What `forward` gave, for the layers from `start` on.
        start : int
        need_dx : bool
            False ends the pass at the first layer that has anything to learn; dx is then None.

        Returns
        -------
        dx : ndarray of x's shape, or None
        grads : dict
            ``'layer/parameter'`` -> array of the parameter's shape, trainable layers only.
        """
        grads: Grads = {}
        stop = start + len(caches)
        learning = [k for k in range(start, stop) if self._learns(self.layers[k])]
        last = start if need_dx else min(learning, default=stop)
        for index in reversed(range(last, stop)):
            layer, cache = self.layers[index], caches[index - start]
            if index == last and not need_dx:
                layer_grads = layer.parameter_gradients(dy, cache)
            else:
                dy, layer_grads = layer.backward(dy, cache)
            if layer.trainable:
                grads |= {f"{layer.name}/{key}": value for key, value in layer_grads.items()}
        return (dy if need_dx else None), grads

    @staticmethod
    def _learns(layer: Layer) -> bool:
        return layer.trainable and bool(layer.params)

    def shard_step(
        self, x: Any, y: Any, sample_weight: Any = None, rng: Any = None, start: int = 0
    ) -> Step:
        """Forward, loss and backward for one shard of a batch: sums over its examples.

        Parameters
        ----------
        x, y : ndarray
            A few examples and their labels.
        sample_weight : ndarray (batch,), optional
        rng : Generator, SeedSequence or int, optional
            For Dropout.
        start : int
            The layer that x goes into: above 0 where the model was cut (then `dx` is returned).

        Returns
        -------
        Step
        """
        self._require_compiled()
        y_pred, caches = self.forward(x, True, rng, start)
        values, dy = self.loss.value_and_gradient(y, y_pred)
        if sample_weight is not None:
            values = values * sample_weight
            dy = dy * sample_weight.astype(dy.dtype).reshape(-1, *[1] * (dy.ndim - 1))
        dx, grads = self.backward(dy, caches, start, need_dx=start > 0)
        state = {
            f"{layer.name}/{key}": value
            for layer, cache in zip(self.layers[start:], caches, strict=True)
            for key, value in layer.updated_state(cache).items()
        }
        metric_sums = [float(metric.values(y, y_pred).sum()) for metric in self.metrics]
        return Step(float(values.sum()), grads, state, metric_sums, len(x), dx)

    def gradients(
        self, x: Any, y: Any, sample_weight: Any = None, rng: Any = None
    ) -> tuple[float, Grads]:
        """The loss of one whole batch, penalties included, and its gradient by every parameter.

        Loss and gradients are means over the batch: divided by the number of examples, also
        where these are weighted.

        Raises
        ------
        ValueError, TypeError
            For a model without a loss, or data that does not fit.

        Examples
        --------
        >>> model = cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> loss, grads = model.gradients(np.ones((4, 3)), np.ones((4, 1)))
        >>> sorted(grads)
        ['dense/bias', 'dense/kernel']
        """
        x, y, sample_weight = checks.as_arrays(self, x, y, sample_weight)
        step = self.shard_step(x.astype(self.dtype, copy=False), y, sample_weight, rng)
        return training.mean_gradients(self, step)

    def penalty(self) -> float:
        """The sum of the regularizers' penalties; as in Keras, frozen layers add none."""
        return sum(
            (
                regularizer.penalty(layer.params[key])
                for layer in self.layers
                if layer.trainable
                for key, regularizer in layer.regularizers.items()
            ),
            0.0,
        )

    def penalty_gradients(self) -> Grads:
        """The derivative of `penalty`, for the parameters that have a regularizer."""
        return {
            f"{layer.name}/{key}": regularizer.gradient(layer.params[key])
            for layer in self.layers
            if layer.trainable
            for key, regularizer in layer.regularizers.items()
        }

    def __call__(self, x: Any, training: bool = False) -> np.ndarray:
        """Return y for one batch, in one go; builds the model at the first call."""
        x = as_array(x)
        if not self.built and self.layers:
            self.build((None, *x.shape[1:]))
        rng = next_seed() if training else None
        return self.forward(x.astype(self.dtype, copy=False), training, rng)[0]

    # --- Training -------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
        **extras: Any,
    ) -> None:
        """Choose optimizer, loss and metrics.

        Parameters
        ----------
        optimizer, loss : str or object
        metrics : list of str or Metric, optional
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted because Keras has them; they change nothing here.

        Examples
        --------
        >>> model = cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(1)])
        >>> model.compile("adam", loss="mse", metrics=["mae"])
        Traceback (most recent call last):
        ...
        ValueError: unknown metric: 'mae'. Did you mean 'mse'? Known: ...
        """
        registry.refuse_extras("compile", extras)
        if not isinstance(metrics, list | tuple):
            metrics = [] if metrics is None else [metrics]
        chosen = optimizers.get(optimizer), losses.get(loss), [get_metric(m) for m in metrics]
        if chosen[0] is None or chosen[0].owner not in (None, self):
            raise ValueError(
                "optimizer: expected a name or an optimizer that no other model has, as it keeps "
                f"arrays for one model's parameters. Received: {optimizer!r}"
            )
        self.optimizer, self.loss, self.metrics = chosen
        self.optimizer.owner = self
        self.compile_arguments = {
            "optimizer": self.optimizer,
            "loss": loss,
            "metrics": list(metrics),
        }

    def _require_compiled(self) -> None:
        if self.loss is None:
            raise ValueError(
                "the model has no loss yet: call model.compile(optimizer, loss, metrics) first"
            )

    fit = training.fit
    evaluate = training.evaluate
    predict = training.predict

    # --- Describing and saving ------------------------------------------------------------------

    def summary(self, print_fn: Callable[[str], None] = print) -> None:
        """Print layers, output shapes and numbers of parameters.

        Examples
        --------
        >>> cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(2)]).summary()
        Model: sequential
        layer           output shape        parameters
        ----------------------------------------------
        dense (Dense)   (None, 2)                    8
        ----------------------------------------------
        8 parameters (32 bytes), 8 of them trainable
        """
        self._require_built()
        rows, shape = [("layer", "output shape", "parameters")], self.input_shape
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
            title = f"{layer.name} ({type(layer).__name__})"
            rows.append((title, str(shape), f"{layer.count_params():,}"))
        wide = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = [f"{a:{wide[0]}}   {b:{wide[1]}}   {c:>{wide[2] + 5}}" for a, b, c in rows]
        rule = "-" * len(lines[0])
        size = sum(home[key].nbytes for home, key in self.homes())
        trainable = sum(value.size for value in self.params.values())
        total = (
            f"{self.count_params():,} parameters ({size:,} bytes), {trainable:,} of them trainable"
        )
        print_fn("\n".join([f"Model: {self.name}", lines[0], rule, *lines[1:], rule, total]))

    def get_config(self) -> dict[str, Any]:
        """Layers and their arguments, as Keras writes them."""
        first = [self.input_layer] if self.input_layer else []
        config = {
            "name": self.name,
            "trainable": True,
            "layers": [registry.serialize(layer) for layer in first + self.layers],
        }
        if self.built:
            config["build_input_shape"] = list(self.input_shape)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Sequential":
        """A new model with new weights."""
        layers = [registry.get(Layer, description) for description in config["layers"]]
        model = cls(layers, config.get("trainable", True), config.get("name"))
        if not model.built and config.get("build_input_shape"):
            model.build(config["build_input_shape"])
        return model

    save = saving.save_model
    save_weights = saving.save_weights
    load_weights = saving.load_weights


def layer_rng(rng: Any, index: int) -> np.random.Generator | None:
    """Random numbers for the layer at this index: the same wherever the pass begins."""
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    root = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
    key = (*root.spawn_key, index)
    return np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=key))
