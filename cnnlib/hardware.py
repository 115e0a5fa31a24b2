"""What a network would cost in hardware: operations, energy, and inference in integers.

Used in notebooks/07_comparative_synapse.ipynb. Three questions, in order:

- `count_operations`: how many multiplications, additions, comparisons and moved numbers does one
  image take, layer by layer?
- `energy`: what do these cost, by a published table?
- `quantize`: what is left of the accuracy with inputs and weights of 2 to 8 bits?

A comparative synapse ``c(x, w) = sgn(x w) * min(|x|, |w|)`` is one comparison and one addition
where a product is one multiplication and one addition. Its sign is an exclusive or of two bits,
which is not counted.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cnnlib import activations, checks, layers
from cnnlib.layers.base import Array, Shape
from cnnlib.models import Sequential
from cnnlib.utils import positive_int, unknown_name

Sizes = tuple[int, ...]

__all__ = [
    "HOROWITZ_45NM",
    "LayerCount",
    "LayerEnergy",
    "QuantizedModel",
    "Table",
    "count_operations",
    "energy",
    "quantize",
]


class Table(tuple[Any, ...]):
    """Rows of one kind, one a layer; prints itself as text with the sum as its last line."""

    @property
    def total(self) -> Any:
        """A row of the same kind: the sum of each column of numbers."""

        def add(values: tuple[Any, ...]) -> Any:
            if isinstance(values[0], dict):
                return dict(sum(map(Counter, values), Counter()))
            return "" if isinstance(values[0], str) else sum(values)

        columns = list(zip(*self, strict=True))[1:]
        return type(self[0])("total", *map(add, columns))

    def __repr__(self) -> str:
        """Aligned columns."""
        return _aligned(self[0]._fields, [*self, self.total])


def _aligned(titles: Iterable[str], rows: list[Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{number:,} {name}" for name, number in value.items())
        if isinstance(value, str):
            return value
        return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"

    cells = [[title.replace("_", " ") for title in titles]]
    cells += [[text(value) for value in row] for row in rows]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<" if isinstance(value, str | dict) else ">" for value in rows[0]]
    shape = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, wide, strict=True))
    return "\n".join(shape.format(*line).rstrip() for line in cells)


# --- Counting -------------------------------------------------------------------------------------


class LayerCount(NamedTuple):
    """What one layer does for one image.

    `other` names what is none of the three: {'exp': 10, 'division': 10}. `weights_read`,
    `activations_read` and `activations_written` are numbers (words), not bytes. The last two
    columns say how many of the multiplications and comparisons stand inside synapses, where
    hardware needs few bits; the others work on whole sums.
    """

    layer: str
    kind: str
    multiplications: int
    additions: int
    comparisons: int
    other: dict[str, int]
    weights_read: int
    activations_read: int
    activations_written: int
    synapse_multiplications: int = 0
    synapse_comparisons: int = 0


def count_operations(model: Any, input_shape: Shape | None = None) -> Table:
    """Count the operations of one image's way through a model, layer by layer.

    Parameters
    ----------
    model : Sequential
        Built; it is not changed.
    input_shape : tuple, optional
        The batch first, as in `Sequential.build`; the model's own where it is not given. Needed
        where the model was built for images of any size.

    Returns
    -------
    Table of LayerCount
        The sum over all layers is its `total`.

    Raises
    ------
    ValueError
        For a model that is not built, or a shape that is unknown or does not fit.
    TypeError
        For a layer that is not the library's own, or no model at all.

    Notes
    -----
    What is counted, and how:

    - A product is 1 multiplication and 1 addition, a comparative synapse 1 comparison (the smaller
      of two magnitudes) and 1 addition; its sign is logic. The accumulator starts at the bias
      (divided by the output scale, once and for all), which therefore costs nothing more.
    - Every cell of a window counts, also where it lies on padding, in convolutions and poolings:
      the hardware does not skip.
    - The output scale of a comparative layer is 1 multiplication a value, 0 where it is a power of
      two: a shift. The same holds for the mean of a pooling window and the slope of a leaky relu.
    - Batch normalization is folded: 1 multiplication and 1 addition a value. Dropout, Flatten and
      Reshape cost nothing. Shifts are not counted.
    - Activations by their textbook formulas, both branches; exp, division and the like are named
      in `other`.
    - Each weight is read once, each value of a layer's input read once and each of its output
      written once: a lower bound, which needs buffers enough to use a number again.

    Examples
    --------
    >>> model = cnnlib.Sequential([
    ...     cnnlib.Input((8, 8, 1)),
    ...     cnnlib.layers.Conv2D(4, 3, activation="relu"),
    ...     cnnlib.layers.Flatten(),
    ...     cnnlib.layers.ComparativeDense(2, scale=0.25),
    ... ])
    >>> counts = cnnlib.hardware.count_operations(model)
    >>> [(row.multiplications, row.additions, row.comparisons) for row in counts]
    [(1296, 1296, 144), (0, 0, 0), (0, 288, 288)]
    >>> counts.total.weights_read
    330
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a Sequential. Received: {type(model).__name__}")
    shape: Any = model.input_shape
    if input_shape is not None:
        shape = tuple(input_shape)
    if None in shape[1:]:
        raise ValueError(
            f"counting needs every size of the input. Received shape {shape}: give another, such "
            "as input_shape=(None, 28, 28, 1)"
        )
    rows = []
    for layer in model.layers:
        if type(layer) not in _RULES:
            raise TypeError(
                f"layer {layer.name!r}: the operations of {type(layer).__name__} are not known, as "
                "it is not a layer of cnnlib. Build the model without it, and count it by hand"
            )
        one = np.broadcast_to(np.float32(0), (1, *shape[1:]))  # has the shape, takes no memory
        if layer.params or layer is model.layers[0]:
            layer.check_input(one)
        out: Any = layer.compute_output_shape(shape)
        counts = Counter[str]()
        if not isinstance(layer, _FREE):
            counts["activations_read"] = one.size
            counts["activations_written"] = math.prod(out[1:])
        counts.update(_RULES[type(layer)](layer, shape[1:], out[1:]))
        own = {name: counts.pop(name, 0) for name in _NUMBERS}
        rows.append(LayerCount(layer.name, type(layer).__name__, other=dict(counts), **own))
        shape = out
    return Table(rows)


_NUMBERS = [field for field in LayerCount._fields if field not in ("layer", "kind", "other")]
_FREE = (layers.Flatten, layers.Reshape, layers.Dropout)
_COMPARATIVE = (layers.ComparativeDense, layers.ComparativeConv2D)
_AVERAGE = layers.AveragePooling2D | layers.GlobalAveragePooling2D


def _power_of_two(value: float) -> bool:
    return math.frexp(abs(value))[0] in (0.0, 0.5)


def _nothing(layer: Any, shape: Sizes, out: Sizes) -> Counter[str]:
    return Counter()


def _synapses(layer: Any, shape: Sizes, out: Sizes) -> Counter[str]:
    kernel, values = layer.params["kernel"], math.prod(out)
    synapses = values * math.prod(kernel.shape[:-1])
    counts = Counter(weights_read=layer.count_params(), additions=synapses)
    if isinstance(layer, _COMPARATIVE):
        counts.update(comparisons=synapses, synapse_comparisons=synapses)
        counts.update(multiplications=_scalings(layer, values))
    else:
        counts.update(multiplications=synapses, synapse_multiplications=synapses)
    return counts + _activation(layer, out, out)


def _scalings(layer: Any, values: int) -> int:
    """Multiplications by the output scale of a comparative layer."""
    return 0 if _power_of_two(layer.output_scale) else values


def _pooling(layer: Any, shape: Sizes, out: Sizes) -> Counter[str]:
    values, cells = math.prod(out), _cells(layer, shape)
    if isinstance(layer, layers.MaxPooling2D | layers.GlobalMaxPooling2D):
        return Counter(comparisons=values * (cells - 1))
    scaling = 0 if _power_of_two(cells) else values
    return Counter(additions=values * (cells - 1), multiplications=scaling)


def _cells(layer: Any, shape: Sizes) -> int:
    """Number of cells in a pooling window, for an image (height, width, channels)."""
    return math.prod(getattr(layer, "pool_size", shape[:2]))


def _batch_normalization(layer: Any, shape: Sizes, out: Sizes) -> Counter[str]:
    values = math.prod(out)
    return Counter(multiplications=values, additions=values, weights_read=2 * out[-1])


def _layer_normalization(layer: Any, shape: Sizes, out: Sizes) -> Counter[str]:
    # mean: n - 1, 1 / n; x - mean: n; variance: n squares, n - 1, 1 / n; + epsilon, root, 1 / root
    n, places = out[-1], math.prod(out[:-1])
    one = Counter(additions=3 * n - 1, multiplications=2 * n + 2, sqrt=1, division=1)
    one.update(multiplications=n * layer.scale, additions=n * layer.center)
    counts = Counter({name: places * number for name, number in one.items()})
    return counts + Counter(weights_read=layer.count_params())


_PER_VALUE: dict[str, dict[str, int]] = {
    "linear": {},
    "relu": {"comparisons": 1},
    "elu": {"comparisons": 1, "exp": 1, "additions": 1, "multiplications": 1},
    "sigmoid": {"exp": 1, "additions": 1, "division": 1},
    "tanh": {"tanh": 1},
    "softplus": {"exp": 1, "additions": 1, "log": 1},
    "gelu": {"multiplications": 3, "erf": 1, "additions": 1},
}


def _activation(layer: Any, shape: Sizes, out: Sizes) -> Counter[str]:
    name, options, values = layer.activation.name, layer.activation.options, math.prod(out)
    if name == "softmax":
        n = ((None, *out))[options.get("axis", -1)]
        lines = values // n
        work = {"comparisons": n - 1, "additions": 2 * n - 1, "exp": n, "division": n}
        return Counter({key: lines * number for key, number in work.items()})
    if name in ("relu", "leaky_relu"):
        slope = options.get("negative_slope", 0.0)
        one = Counter(
            comparisons=1 + (options.get("max_value") is not None),
            multiplications=int(not _power_of_two(slope)),
            additions=int(bool(slope and options.get("threshold", 0.0))),
        )
    else:
        one = Counter(_PER_VALUE.get(name, {name: 1}))  # one of the caller's own: by its name
        if name == "elu" and _power_of_two(options.get("alpha", 1.0)):
            one["multiplications"] = 0
    return Counter({key: values * number for key, number in one.items() if number})


_RULES: dict[type, Any] = {
    **dict.fromkeys([layers.Dense, layers.Conv2D, *_COMPARATIVE], _synapses),
    **dict.fromkeys([layers.MaxPooling2D, layers.AveragePooling2D], _pooling),
    **dict.fromkeys([layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D], _pooling),
    **dict.fromkeys([layers.Activation, layers.ReLU, layers.LeakyReLU], _activation),
    **dict.fromkeys([layers.ELU, layers.Softmax], _activation),
    **dict.fromkeys([*_FREE, layers.ZeroPadding2D], _nothing),
    layers.BatchNormalization: _batch_normalization,
    layers.LayerNormalization: _layer_normalization,
}


# --- Energy ---------------------------------------------------------------------------------------

# pJ an operation at 45 nm and 0.9 V: M. Horowitz, "Computing's energy problem (and what we can do
# about it)", ISSCC 2014, figure 1.1.9. Bits -> pJ; memory is pJ for each access of 64 bits, and
# DRAM the lower end of 1,300 to 2,600.
HOROWITZ_45NM: dict[str, dict[Any, float]] = {
    "integer add": {8: 0.03, 32: 0.1},
    "integer multiply": {8: 0.2, 32: 3.1},
    "float add": {16: 0.4, 32: 0.9},
    "float multiply": {16: 1.1, 32: 3.7},
    "memory": {"cache 8 KB": 10, "cache 32 KB": 20, "cache 1 MB": 100, "DRAM": 1300},
}
MEMORY_ACCESS_BITS = 64


class LayerEnergy(NamedTuple):
    """Energy of one layer for one image, in pJ.

    `not_counted` is what the table has no price for: exp, division and the like.
    """

    layer: str
    kind: str
    arithmetic: float
    memory: float
    total: float
    not_counted: dict[str, int]


def energy(
    counts: Table,
    numbers: str = "integer",
    synapse_bits: int | None = None,
    accumulator_bits: int = 32,
    memory: str = "cache 32 KB",
    table: Mapping[str, Mapping[Any, float]] = HOROWITZ_45NM,
) -> Table:
    """Estimate the energy of one image, layer by layer, arithmetic and memory apart.

    Parameters
    ----------
    counts : Table
        From `count_operations`, or `QuantizedModel.counts`.
    numbers : {'integer', 'float'}
    synapse_bits : int, optional
        Of inputs and weights: 8 for integers and 32 for floats where it is not given.
    accumulator_bits : int
        Of sums, and of whatever is done to a sum: biases, scales, normalization, activations and
        pooling.
    memory : str
        Where weights and activations lie: a name in ``table['memory']``.
    table : mapping
        Prices in pJ, laid out as `HOROWITZ_45NM`.

    Returns
    -------
    Table of LayerEnergy
        In pJ.

    Raises
    ------
    ValueError
        For numbers, bits or a memory that the table does not know; it names those it does.

    Notes
    -----
    A comparison costs as much as an addition of the same bits. With the default table a synapse
    of 8 bits with 32-bit sums costs 0.03 + 0.1 = 0.13 pJ against 0.2 + 0.1 = 0.3 pJ for a product,
    in 32-bit floats 0.9 + 0.9 = 1.8 against 3.7 + 0.9 = 4.6. Written as four additions of
    magnitudes, ``(|x + w| - |x - w|) / 2``, the comparative synapse costs twice its price here.

    In integers memory outweighs arithmetic: to read one 8-bit number takes 20 / 8 = 2.5 pJ from a
    cache of 32 KB and 160 pJ from DRAM. That is 8 or 500 products, and a dense layer uses each of
    its weights once an image. Both kinds of network move the same numbers, so a whole network
    saves a smaller share than its synapses. A write is priced as a read. The traffic is a lower
    bound (see `count_operations`), and control, clock, wires and leakage are left out.

    Examples
    --------
    >>> layer = cnnlib.layers.ComparativeDense(1, scale=1, use_bias=False)
    >>> synapse = cnnlib.Sequential([cnnlib.Input((1,)), layer])
    >>> counts = cnnlib.hardware.count_operations(synapse)
    >>> cnnlib.hardware.energy(counts).total.arithmetic
    0.13
    >>> cnnlib.hardware.energy(counts, "float").total.arithmetic
    1.8
    """
    if not isinstance(counts, Table):
        raise TypeError(
            f"counts: expected what count_operations gave. Received: {type(counts).__name__}"
        )
    if numbers not in ("integer", "float"):
        raise unknown_name("kind of numbers", numbers, ("integer", "float"))
    if memory not in table["memory"]:
        raise unknown_name("memory", memory, table["memory"])
    if synapse_bits is None:
        synapse_bits = 8 if numbers == "integer" else 32

    def price(operation: str, bits: int) -> float:
        prices = table[f"{numbers} {operation}"]
        if bits not in prices:
            known = ", ".join(str(b) for b in prices)
            raise ValueError(
                f"the table prices {numbers} {operation} at these numbers of bits: {known}. "
                f"Received: {bits}. Choose one of them, or give a table of your own"
            )
        return prices[bits]

    multiply, add = price("multiply", synapse_bits), price("add", synapse_bits)
    wide_multiply, wide_add = price("multiply", accumulator_bits), price("add", accumulator_bits)
    access = table["memory"][memory] * synapse_bits / MEMORY_ACCESS_BITS
    rows = []
    for row in counts:
        arithmetic = (
            row.synapse_multiplications * multiply
            + row.synapse_comparisons * add
            + (row.multiplications - row.synapse_multiplications) * wide_multiply
            + (row.additions + row.comparisons - row.synapse_comparisons) * wide_add
        )
        moved = (row.weights_read + row.activations_read + row.activations_written) * access
        both = arithmetic + moved
        rows.append(LayerEnergy(row.layer, row.kind, arithmetic, moved, both, row.other))
    return Table(rows)


# --- Inference in integers ------------------------------------------------------------------------
# Between the layers flow sums: whole numbers q that stand for q * unit. The unit is a name that
# nobody computes with. A layer with weights first brings q to `bits` bits, and its sums have a
# unit of their own. Whole numbers lie in float64 arrays, which hold and add them exactly (all stay
# under 2**36, and 2**53 is the limit), so that the layers' own code and BLAS can work on them.

_LARGEST_ACCUMULATOR = 36
_FACTOR_BITS = 15  # of a normalization's factors, without the sign
# A normalization adds up to 8 bits behind the point while its output stays within 24 bits: finer
# than the next layer's inputs, with room for the sums of a pooling.
_FRACTION_BITS, _NORMALIZED_BITS = 8, 24


def _nearest(values: Array) -> Array:
    """Nearest whole number; halves go up, as adding one half before a right shift does."""
    return np.floor(values + 0.5)


def _saturated(values: Array, top: int) -> Array:
    return np.clip(_nearest(values), -top, top)


def _bits_for(low: float, high: float) -> int:
    """How many bits a signed integer needs for everything from low to high."""
    return 1 + max(int(high), -int(low) - 1, 0).bit_length()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One layer on integers: ``unit * stage(q)`` is what it makes of the numbers that q stand for.

    unit : of the output; bound : the largest magnitude that the output can have (None: an input
    that is not quantized yet); bits : what the accumulator needs; note : how input is rescaled;
    rescalings : multiplications for that, an image.
    """

    layer: Any
    unit: float
    bound: int | None
    bits: int | None = None
    note: str = ""
    rescalings: int = 0

    def __call__(self, q: Array) -> Array:
        """The layer itself, where it gives whole numbers for whole numbers."""
        return self.layer.forward(q)[0]


@dataclass(frozen=True, kw_only=True)
class Synapses(Stage):
    """A layer with weights: ``sums of (q * ratio, rounded to -top..top) + bias``.

    `layer` has whole numbers as its kernel: multiples of w_step; those of the input are multiples
    of x_step, which is the same for a comparative layer.
    """

    x_step: float
    w_step: float
    ratio: float
    top: int
    bias: Array

    def __call__(self, q: Array) -> Array:
        """Whole numbers, (batch, ..., out)."""
        x = _saturated(q * self.ratio, self.top).astype(self.layer.params["kernel"].dtype)
        z = self.layer.product(x)[0] + self.bias
        return np.maximum(z, 0) if self.layer.activation.name == "relu" else z


@dataclass(frozen=True, kw_only=True)
class Normalization(Stage):
    """Batch normalization: ``q * factor, rounded, + offset``, both one number a channel."""

    factor: Array
    offset: Array

    def __call__(self, q: Array) -> Array:
        """Whole numbers of q's shape."""
        return _nearest(q * self.factor) + self.offset


@dataclass(frozen=True, kw_only=True)
class Average(Stage):
    """A mean times the number of cells: a sum, where every window has as many."""

    cells: int

    def __call__(self, q: Array) -> Array:
        """Whole numbers, pooled."""
        return _nearest(self.layer.forward(q)[0] * self.cells)


class QuantizedModel:
    """Inference in integers, as `quantize` made it.

    Attributes
    ----------
    bits, accumulator_bits : int
    stages : list
        One a layer, with the integers in it.
    counts : Table
        Operations of one image as in `count_operations`, with the multiplications that are left:
        none for an output scale, one a value where a sum is rescaled by a factor.
    """

    def __init__(
        self, model: Any, bits: int, accumulator_bits: int, stages: list[Stage], last: Any
    ):
        self.bits, self.accumulator_bits, self.stages = bits, accumulator_bits, stages
        self._model, self._last = model, last
        rows = list(count_operations(model))
        for k, (layer, stage) in enumerate(zip(model.layers, stages, strict=False)):
            left = rows[k].multiplications - _saved(layer, rows[k]) + stage.rescalings
            rows[k] = rows[k]._replace(multiplications=left)
        self.counts = Table(rows)

    def predict(self, x: Any, batch_size: int = 256) -> Array:
        """What the model gives, computed in integers up to its last activation.

        Parameters
        ----------
        x : array_like (batch, ...)
        batch_size : int
            How many examples are computed at a time.

        Returns
        -------
        ndarray of the model's output shape and float type

        Raises
        ------
        ValueError, TypeError
            As `Sequential.predict`.
        """
        x = checks.inputs(self._model, x)
        size = positive_int(batch_size, "batch_size")
        return np.concatenate([self._outputs(x[k : k + size]) for k in range(0, len(x), size)])

    def _outputs(self, q: Array) -> Array:
        q = q.astype(np.float64)
        for stage in self.stages:
            q = stage(q)
        unit = self.stages[-1].unit if self.stages else 1.0
        return self._last((q * unit).astype(self._model.dtype))

    def evaluate(self, x: Any, y: Any, batch_size: int = 256) -> float:
        """Accuracy: the share of examples whose largest output is that of their label.

        Parameters
        ----------
        x : array_like (batch, ...)
        y : array_like (batch,), (batch, 1) or one-hot (batch, classes)
        batch_size : int

        Raises
        ------
        ValueError, TypeError
            For data that do not fit the model or each other.
        """
        x, y, _ = checks.as_arrays(self._model, x, y)
        outputs = self.predict(x, batch_size)
        labels = y.argmax(axis=-1) if y.shape == outputs.shape else y.reshape(len(y), -1)
        if labels.size != len(y) or outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ValueError(
                "evaluate expects one label an example, as a number or one-hot, and a model with "
                f"outputs (batch, classes). Received y of shape {y.shape} and outputs of shape "
                f"{outputs.shape}: use predict"
            )
        return float((outputs.argmax(axis=-1) == labels.reshape(-1)).mean())

    def __repr__(self) -> str:
        """One line a layer: how its input is rescaled, its steps, the bits that its sums need."""
        rows = []
        for stage in self.stages:
            steps = ""
            if isinstance(stage, Synapses):
                steps = f"{stage.x_step:.4g}"
                if stage.w_step != stage.x_step:
                    steps += f", weights {stage.w_step:.4g}"
            kind, needed = type(stage.layer).__name__, "" if stage.bits is None else str(stage.bits)
            rows.append((stage.layer.name, kind, stage.note, steps, needed))
        head = f"{self.bits}-bit inputs and weights, {self.accumulator_bits}-bit accumulators\n"
        return head + _aligned(("layer", "kind", "rescaling", "step", "bits needed"), rows)


def _saved(layer: Any, row: LayerCount) -> int:
    """Multiplications of `count_operations` that a stage does without, or counts itself."""
    if isinstance(layer, _COMPARATIVE):
        return _scalings(layer, row.activations_written)
    return row.multiplications if isinstance(layer, layers.BatchNormalization | _AVERAGE) else 0


def quantize(
    model: Any,
    bits: int,
    x_sample: Any,
    accumulator_bits: int = 32,
    normalization: str = "multiply",
) -> QuantizedModel:
    """Turn a trained model into one that computes with integers of few bits.

    Parameters
    ----------
    model : Sequential
        Built; it is not changed. Layers: Dense, Conv2D, their comparative twins,
        BatchNormalization (after the first layer with weights), the poolings, ReLU, Flatten,
        Reshape, ZeroPadding2D and Dropout; activations relu and linear, and any at the very end,
        which is computed in floats.
    bits : int
        From 2 to 8, for weights and for the inputs of layers with weights.
    x_sample : array_like (batch, ...)
        A few hundred training examples, without labels, on which the steps are chosen.
    accumulator_bits : int
        Of sums, from 2 to 36.
    normalization : {'multiply', 'shift'}
        How batch normalization scales a channel: by a factor of 15 bits and a sign, one
        multiplication a value; or by a power of two, which changes the network by a factor of up
        to 1.41 a channel and costs a shift.

    Returns
    -------
    QuantizedModel

    Raises
    ------
    ValueError
        For bits out of range, a model that is not built, a sample that is empty or not finite, an
        activation or order of layers that is not supported, and where sums could overflow the
        accumulator: with the layer and the bits that it needs.
    TypeError
        For a layer that is not supported.

    Notes
    -----
    Numbers are rounded to the nearest multiple of a step, and saturate at
    ``top = 2**(bits - 1) - 1`` steps on both sides.

    - **Comparative layers.** ``min(|x|, |w|)`` compares x with w, so both have one step s. Sums of
      ``c(x_q, w_q)`` are whole numbers that stand for ``scale * s`` each: this unit is the only
      trace of the output scale. The next comparative layer takes its own step as a power of two
      times that unit, and rounds its weights to the same step, so that rescaling its input is a
      shift; for the first layer the step is a power of two itself. So the scale need be neither
      multiplied nor rounded to a power of two: its remainder is folded, exactly, into the weights
      of the next layer, as ``c(r x, r w) = r c(x, w)``.
    - **Products.** A float step for the whole kernel and one for the whole input; rescaling is one
      multiplication an input value (none for the first layer, whose input comes digitized).
    - **Batch normalization.** As the parameter says. Its product of a sum and a factor is rounded
      back to the accumulator's bits. What a power of two changes differs from channel to channel,
      and is not corrected further on; the mean and beta of the channel are used as they are.
    - **Average pooling** is a sum, its division part of the unit. Where 'same' padding leaves
      windows with fewer cells, each value is multiplied.
    - Biases are whole numbers at the accumulator's precision.

    Steps are chosen among powers of two (comparative; half powers for products), from the one at
    which nothing saturates downwards, for the smallest squared error of the layer's output on the
    sample, given what the quantized layers before it made of the sample. Accumulators are checked
    against the worst case over all inputs: sums of ``|w_q|`` (comparative) or ``top * |w_q|``
    (products), and the bias.

    Examples
    --------
    >>> cnnlib.utils.set_random_seed(1)
    >>> model = cnnlib.Sequential([
    ...     cnnlib.Input((3,)), cnnlib.layers.ComparativeDense(2, activation="softmax")
    ... ])
    >>> x = np.random.default_rng(1).normal(size=(100, 3))
    >>> quantized = cnnlib.hardware.quantize(model, 8, x)
    >>> float(abs(quantized.predict(x) - model.predict(x)).max()) < 0.02
    True
    >>> quantized.counts.total.multiplications
    0
    """
    bits = _integer(bits, "bits", 8)
    limit = _integer(accumulator_bits, "accumulator_bits", _LARGEST_ACCUMULATOR)
    if normalization not in ("multiply", "shift"):
        raise unknown_name("normalization", normalization, ("multiply", "shift"))
    _ = model.input_shape  # says so where the model is not built
    for layer in model.layers:
        if type(layer) not in _RULES or isinstance(layer, layers.LayerNormalization):
            raise TypeError(
                f"layer {layer.name!r}: {type(layer).__name__} is not supported in fixed point. "
                "Build the model without it"
            )
    shell = copy.copy(model)  # what the caller adds to the model later stays out
    shell.layers = [copy.copy(layer) for layer in model.layers]
    sample = checks.inputs(shell, x_sample)
    shell.layers[0].input_shape = (None, *sample.shape[1:])
    todo, last = _without_last_activation(shell.layers)

    stages: list[Stage] = []
    q, true = sample.astype(np.float64), sample.astype(shell.dtype)
    unit, bound = 1.0, None
    for layer in todo:
        if hasattr(layer, "activation") and not _keeps_integers(layer.activation):
            raise ValueError(
                f"layer {layer.name!r}: {layer.activation.name} is not supported in fixed point, "
                "except as the model's last activation. Use relu"
            )
        true = layer.forward(true)[0]
        if isinstance(layer, layers.Dense | layers.Conv2D):
            stage: Stage = _best_synapses(layer, q, unit, bound is None, true, bits)
        elif isinstance(layer, layers.BatchNormalization):
            stage = _normalization(layer, q, unit, bound, limit, normalization == "shift")
        elif isinstance(layer, _AVERAGE) and bound is not None:
            stage = _average(layer, q, unit, bound)
        else:
            stage = Stage(layer=layer, unit=unit, bound=bound)
        if stage.bits is not None and stage.bits > limit:
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}): its sums need {stage.bits} bits. "
                f"Received: accumulator_bits={limit}. Use accumulator_bits={stage.bits}, or fewer "
                "bits for inputs and weights"
            )
        stages.append(stage)
        q, unit, bound = stage(q), stage.unit, stage.bound
    return QuantizedModel(shell, bits, limit, stages, last)


def _integer(value: Any, name: str, high: int) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 2 <= value <= high:
        raise ValueError(f"{name}: expected an integer from 2 to {high}. Received: {value!r}")
    return int(value)


def _keeps_integers(function: activations.Function) -> bool:
    """Linear, or relu without a slope, a threshold or a largest value."""
    return function.name in ("linear", "relu") and not any(function.options.values())


def _without_last_activation(stack: list[Any]) -> tuple[list[Any], activations.Function]:
    """The layers without an activation at the very end that integers cannot follow, and that."""
    last = getattr(stack[-1], "activation", activations.linear)
    if _keeps_integers(last):
        return stack, activations.linear
    if isinstance(stack[-1], layers.Activation):
        return stack[:-1], last
    plain = copy.copy(stack[-1])
    plain.activation = activations.linear
    return [*stack[:-1], plain], last


def _best_synapses(
    layer: Any, q: Array, unit: float, is_input: bool, true: Array, bits: int
) -> Synapses:
    """The stage whose steps make the smallest squared error of the layer's output."""
    top = 2 ** (bits - 1) - 1
    x = q * unit
    kernel = layer.params["kernel"].astype(np.float64)
    x_peak, w_peak = (float(np.abs(a).max()) or 1.0 for a in (x, kernel))

    def stage(x_step: float, w_step: float) -> Synapses:
        return _synapse_stage(layer, unit, is_input, q[0].size, x_step, w_step, top)

    def error(candidate: Synapses) -> float:
        return float(((candidate(q) * candidate.unit - true) ** 2).sum())

    if isinstance(layer, _COMPARATIVE):
        coarsest = math.ceil(math.log2(max(x_peak, w_peak) / top / unit))
        steps = [unit * 2.0 ** (coarsest - k) for k in range(7)]
        return min((stage(step, step) for step in steps), key=error)

    def rounding(step: float) -> float:
        return float(((step * _saturated(x / step, top) - x) ** 2).sum())

    shrink = 2.0 ** (-np.arange(7) / 2)
    x_step = min(x_peak / top * shrink, key=rounding)
    w_step = min((stage(x_step, w) for w in w_peak / top * shrink), key=error).w_step
    return min((stage(x, w_step) for x in x_peak / top * shrink), key=error)


def _synapse_stage(
    layer: Any, unit: float, is_input: bool, size: int, x_step: float, w_step: float, top: int
) -> Synapses:
    comparative = isinstance(layer, _COMPARATIVE)
    kernel = _saturated(layer.params["kernel"].astype(np.float64) / w_step, top)
    reach = np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1))) * (1 if comparative else top)
    out_unit = x_step * (layer.output_scale if comparative else w_step)
    bias = _nearest(layer.params.get("bias", np.zeros(1)).astype(np.float64) / out_unit)
    low, high = float((bias - reach).min()), float((bias + reach).max())
    bits = _bits_for(low, high)

    integers = copy.copy(layer)
    if comparative:
        integers.scale = 1.0
        kernel = kernel.astype(np.int32 if bits <= 32 else np.int64)
    integers._params = {"kernel": kernel}
    note, rescalings = "", 0
    if not is_input:
        shift = round(math.log2(x_step / unit))
        note = f"shift right by {shift}" if comparative else f"times {unit / x_step:.4g}"
        rescalings = 0 if comparative else size
    return Synapses(
        layer=integers,
        unit=out_unit,
        bound=int(max(high, -low)),
        bits=bits,
        note=note,
        rescalings=rescalings,
        x_step=x_step,
        w_step=w_step,
        ratio=unit / x_step,
        top=top,
        bias=bias,
    )


def _normalization(
    layer: Any, q: Array, unit: float, bound: int | None, limit: int, shift: bool
) -> Normalization:
    if bound is None:
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) stands before the first layer with "
            "weights, where the input is not quantized yet: normalize the data instead"
        )
    state, params = layer.state, layer.params
    gain = 1 / np.sqrt(state["moving_variance"].astype(np.float64) + layer.epsilon)
    gain = gain * params.get("gamma", 1.0)
    largest = float(np.abs(gain).max()) or 1.0
    share = gain / largest
    if shift:
        power = np.round(np.log2(np.maximum(np.abs(share), 2.0**-_FACTOR_BITS)))
        share = np.where(share == 0, 0, np.sign(share) * 2.0**power)
    else:
        share = np.round(share * 2.0**_FACTOR_BITS) / 2.0**_FACTOR_BITS
    move = params.get("beta", 0.0) - share * largest * state["moving_mean"]

    def stage(fraction_bits: int) -> Normalization:
        factor = share * 2.0**fraction_bits
        out_unit = unit * largest / 2.0**fraction_bits
        offset = _nearest(move / out_unit)
        reach = _nearest(np.abs(factor) * bound) + np.abs(offset)
        return Normalization(
            layer=layer,
            unit=out_unit,
            bound=int(reach.max()),
            bits=_bits_for(-reach.max(), reach.max()),
            note="shift" if shift else "times a factor",
            rescalings=0 if shift else q[0].size,
            factor=factor,
            offset=offset,
        )

    room = min(limit, _NORMALIZED_BITS)
    stages = [stage(k) for k in range(_FRACTION_BITS, -1, -1)]
    return next((s for s in stages if s.bits is not None and s.bits <= room), stages[-1])


def _average(layer: Any, q: Array, unit: float, bound: int) -> Average:
    cells = _cells(layer, q.shape[1:])
    uneven = getattr(layer, "padding", "valid") == "same"
    return Average(
        layer=layer,
        unit=unit / cells,
        bound=bound * cells,
        bits=_bits_for(-bound * cells, bound * cells),
        rescalings=math.prod(layer.compute_output_shape(q.shape)[1:]) if uneven else 0,
        cells=cells,
    )
