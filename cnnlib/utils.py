"""Small helpers that several modules share: seeds, one-hot labels, messages for wrong names."""

import difflib
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_seeds = {"root": np.random.SeedSequence()}


def set_random_seed(seed: int) -> None:
    """Make what follows repeatable: weights, shuffling, dropout, ``random`` and ``np.random``.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.

    Raises
    ------
    ValueError
        When the seed is not such an integer.

    Examples
    --------
    >>> cnnlib.utils.set_random_seed(7)
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected an integer from 0 to 2**32 - 1. Received: {seed!r}")
    random.seed(int(seed))
    np.random.seed(seed)  # noqa: NPY002 - users' own code may still use it
    _seeds["root"] = np.random.SeedSequence(int(seed))


def next_seed() -> int:
    """An integer that depends on the last `set_random_seed` and on how many were drawn since."""
    return int(_seeds["root"].spawn(1)[0].generate_state(1)[0])


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows: label k becomes a row of zeros with a one in column k.

    Parameters
    ----------
    x : array_like of int, any shape (a last axis of length 1 is dropped)
        Labels from 0 to num_classes - 1.
    num_classes : int, optional
        The largest label plus one where it is not given.

    Returns
    -------
    ndarray, float64, the shape of x and one axis more: (..., num_classes)

    Raises
    ------
    ValueError
        For labels that are not integers or out of range.

    Examples
    --------
    >>> cnnlib.utils.to_categorical([0, 2], num_classes=3)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    labels = np.asarray(x)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    numbers = labels.dtype.kind in "fiub" and np.isfinite(labels).all()
    if labels.size == 0 or not numbers or not np.array_equal(labels, labels.astype(np.int64)):
        raise ValueError(f"to_categorical expects at least one integer label. Received: {x!r}")
    labels = labels.astype(np.int64)
    if num_classes is None:
        num_classes = int(labels.max()) + 1
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"to_categorical expects labels from 0 to {num_classes - 1}. "
            f"Received labels from {labels.min()} to {labels.max()}"
        )
    return (labels[..., None] == np.arange(num_classes)).astype(np.float64)


def as_array(x: Any) -> np.ndarray:
    """`x` itself where it takes part in NumPy's dispatch (CuPy's arrays too), else as an array.

    Examples
    --------
    >>> cnnlib.utils.as_array([1, 2])
    array([1, 2])
    """
    return x if hasattr(x, "__array_function__") else np.asarray(x)


def unknown_name(kind: str, received: Any, known: Iterable[str]) -> ValueError:
    """The error for a name that does not exist, with the nearest one that does.

    Examples
    --------
    >>> cnnlib.utils.unknown_name("activation", "rleu", ["relu", "tanh"])
    ValueError("unknown activation: 'rleu'. Did you mean 'relu'? Known: relu, tanh")
    """
    names = sorted(known)
    near = [name for name in names if name.lower() == str(received).lower()]
    near = near or difflib.get_close_matches(str(received), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind}: {received!r}.{hint} Known: {', '.join(names)}")


def pair(value: Any, name: str, smallest: int = 1) -> tuple[int, int]:
    """(rows, columns) from one integer or two, each at least `smallest`.

    Examples
    --------
    >>> cnnlib.utils.pair(3, "kernel_size")
    (3, 3)
    """
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values)
    if len(values) != 2 or not whole or min(values) < smallest:
        raise ValueError(
            f"{name}: expected an integer of at least {smallest}, or two of them "
            f"(rows, columns). Received: {name}={value!r}"
        )
    return int(values[0]), int(values[1])


def positive_int(value: Any, name: str) -> int:
    """`value` where it is an integer of at least 1; a ValueError that names it otherwise."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a positive integer. Received: {name}={value!r}")
    return int(value)


def number(value: Any, name: str, low: float = 0.0, high: float = math.inf) -> float:
    """`value` where it is a finite number from `low` to `high`; else a ValueError with its name.

    Examples
    --------
    >>> cnnlib.utils.number(0.9, "momentum", high=1)
    0.9
    """
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not low <= value <= high:
        span = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name}: expected a number {span}. Received: {name}={value!r}")
    return float(value)


def shipped_file(name: str) -> Path:
    """The path of a file of data/, which a wheel holds inside the package, a repository beside it.

    Parameters
    ----------
    name : str
        Such as 'digits.npz'.

    Raises
    ------
    FileNotFoundError
        If the installation lacks it.

    Examples
    --------
    >>> cnnlib.utils.shipped_file("digits.npz").name
    'digits.npz'
    """
    package = Path(__file__).resolve().parent
    candidates = [package / "data" / name, package.parent / "data" / name]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{name} is missing from this installation. Expected one of: "
        f"{', '.join(map(str, candidates))}. Received: neither. Install the library again."
    )
