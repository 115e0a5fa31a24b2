"""Data for fit, evaluate and predict: it fits the model and itself, or an error says why not."""

import warnings
from typing import Any

import numpy as np

from cnnlib.utils import as_array


def as_arrays(model: Any, x: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """Arrays that fit the model and each other.

    Raises
    ------
    TypeError, ValueError
        In one sentence: what was expected, what was received, what to do.
    """
    x, y = inputs(model, x), _numbers("y", y)
    if len(y) != len(x):
        raise ValueError(
            f"x and y must have the same length. Received {len(x)} examples and {len(y)} labels"
        )
    if sample_weight is not None:
        sample_weight = _numbers("sample_weight", sample_weight)
        if sample_weight.shape != (len(x),):
            raise ValueError(
                f"sample_weight: expected one number an example, shape ({len(x)},). "
                f"Received shape {sample_weight.shape}"
            )
    if model.loss is not None:
        model.loss.check(y, (None, *model.compute_output_shape(x.shape)[1:]))
    return x, y, sample_weight


def _numbers(name: str, array: Any) -> Any:
    """An array of at least one example, all of it finite numbers."""
    if array is None:
        raise ValueError(f"{name}: expected an array. Received: None")
    try:
        array = as_array(array)
    except ValueError:
        raise ValueError(
            f"{name}: expected examples of one shape. Received parts of unequal length: make "
            "them equal"
        ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected an array of numbers. Received type {array.dtype}: convert it, and "
            "make examples of unequal length equal"
        )
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name}: expected at least one example. Received shape {array.shape}")
    # The sum is finite nearly always, and half as dear as looking at every number.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = array.dtype.kind == "f" and not np.isfinite(array.sum())
    if suspect:
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} holds NaN or infinity in {int(bad.sum())} of {len(array)} examples, "
                f"first in example {int(bad.argmax())}. Repair or remove them"
            )
    return array


def inputs(model: Any, x: Any) -> Any:
    """Examples that the model can take; builds the model at the first data."""
    x = _numbers("x", x)
    if not model.built and model.layers:
        model.build((None, *x.shape[1:]))
    expected = model.input_shape
    fits = all(size in (None, got) for size, got in zip(expected[1:], x.shape[1:], strict=False))
    if x.ndim != len(expected) or not fits:
        model.layers[0].check_rank(x.ndim)
        raise model.layers[0].wrong_shape(x.shape)
    if x.ndim == 4 and not model.warned and (x.min() < 0 or x.max() > 1):
        model.warned = True
        warnings.warn(
            f"the images hold values from {x.min():g} to {x.max():g}, where 0..1 is usual: divide "
            "8-bit images by 255. Where this is meant (standardized images), silence this "
            "warning with warnings.filterwarnings",
            stacklevel=4,
        )
    return x


def class_weights(y: Any, class_weight: dict[int, float], outputs: int) -> np.ndarray:
    """One weight an example from one a class; classes without a weight have 1."""
    if not isinstance(class_weight, dict):
        raise TypeError(
            f"class_weight: expected a dict {{class: weight}}. Received: {class_weight!r}"
        )
    labels = y.argmax(axis=-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
    classes = max(outputs, int(labels.max()) + 1)
    unknown = set(class_weight) - set(range(classes))
    if unknown:
        raise ValueError(
            f"class_weight: expected classes from 0 to {classes - 1}. "
            f"Received: {sorted(unknown, key=str)}"
        )
    weights = [class_weight.get(int(label), 1.0) for label in labels]
    return _numbers("class_weight", np.asarray(weights, like=y))
