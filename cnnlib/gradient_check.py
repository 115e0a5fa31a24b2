"""Is a gradient right? Central differences say (explained in notebooks/03_training.ipynb)."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cnnlib.layers.base import Layer


class GradientError(AssertionError):
    """A gradient that does not match the differences: parameter, index, received, expected."""


class GradientReport(NamedTuple):
    """What `gradient_check` found.

    Attributes
    ----------
    max_error : float
        The largest relative error of all numbers that were compared.
    checked : int
        How many numbers were compared.
    kinks : list of (name, index)
        Places where the slope jumps (relu at 0, a tie in max pooling) and the gradient lies
        between the slopes on both sides, as it may. Where bends meet inside a model, so that these
        slopes are not known, the gradients a step of 1e-3 away were checked too.
    """

    max_error: float
    checked: int
    kinks: list[tuple[str, tuple[int, ...]]]


def gradient_check(
    target: Any,
    x: Any,
    y: Any = None,
    *,
    training: bool = True,
    seed: int = 0,
    step: float = 1e-4,
    tolerance: float = 1e-6,
    samples: int = 40,
    _nearby: bool = False,
) -> GradientReport:
    """Compare backward with central differences of forward, in float64.

    With a random upstream gradient dy the function under test is the number
    ``f = sum(forward(x) * dy)``; its derivative by any one input or parameter v is
    ``(f(v + step) - f(v - step)) / (2 * step)`` but for terms of order step**2. With labels `y` a
    compiled model is tested by its own loss, penalties included.

    Parameters
    ----------
    target : Layer or Sequential
        Stays as it is: a float64 copy is tested.
    x : array (batch, ...)
    y : array, optional
        Labels, for a compiled model.
    training : bool
        The mode of the forward pass.
    seed : int
        Of dy, of the sampled places, and of Dropout.
    step : float
        Width of the difference; where a kink lies within it, smaller ones are tried.
    tolerance : float
        Largest relative error. Numbers far below the array's largest gradient are compared with a
        hundredth of that, as differences carry rounding errors of that size.
    samples : int
        Places per array, drawn at random; all where there are no more.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        Naming parameter, index, received and expected value.

    Examples
    --------
    >>> layer = cnnlib.layers.Dense(3, activation="tanh")
    >>> report = cnnlib.gradient_check(layer, np.random.default_rng(0).normal(size=(4, 5)))
    >>> report.max_error < 1e-6
    True
    """
    # Not default_rng(seed): a caller may have drawn x from it, and dy = x is no test at all.
    rng = np.random.default_rng([seed, 1])
    x = np.array(x, dtype=np.float64)
    target = _float64_copy(target, x)
    arrays, output, dy, grads = _problem(target, x, y, training, seed, rng)
    for name, array in arrays.items():
        if name not in grads or grads[name].shape != array.shape:
            got = grads[name].shape if name in grads else "none"
            raise GradientError(f"{name}: expected a gradient of shape {array.shape}, got {got}")
    worst, checked, kinks, doubtful = 0.0, 0, [], []
    for name, array in arrays.items():
        scale = 1e-2 * float(np.abs(grads[name]).max(initial=0.0))
        for flat in rng.permutation(array.size)[:samples]:
            index = tuple(int(k) for k in np.unravel_index(flat, array.shape))
            received = float(grads[name][index])
            for width in (step, step / 10, step / 100):
                left, right = _slopes(output, dy, array, index, width)
                expected = float(np.sum(left + right)) / 2
                largest = max(abs(received), abs(expected), scale, 1e-7)
                error = abs(received - expected) / largest
                if error <= tolerance:
                    break
            else:
                # Each output number may bend by itself: relu's gradient at 0 is right wherever it
                # lies between the slopes on both sides, whatever the others do.
                slack = 1e-4 * largest
                low, high = np.minimum(left, right).sum(), np.maximum(left, right).sum()
                message = (
                    f"{name}{list(index)}: received the gradient {received:.9g}, expected "
                    f"{expected:.9g} (relative error {error:.2g}, tolerance {tolerance:g})"
                )
                if high - low <= 100 * slack:
                    raise GradientError(message)
                if low - slack <= received <= high + slack:
                    kinks.append((name, index))
                else:
                    doubtful.append((name, index))
                    doubt = f"{message}. At this kink the slopes lie from {low:.9g} to {high:.9g}"
                continue
            worst, checked = max(worst, error), checked + 1
    if doubtful:
        # In a model several bends may meet in one output number. Then the place next to it decides.
        if isinstance(target, Layer) or _nearby:
            raise GradientError(doubt)
        for array in arrays.values():
            array += 1e-3 * rng.normal(size=array.shape)
        gradient_check(
            target,
            x,
            y,
            training=training,
            seed=seed,
            step=step,
            tolerance=tolerance,
            samples=samples,
            _nearby=True,
        )
    return GradientReport(worst, checked, kinks + doubtful)


def _float64_copy(target: Any, x: np.ndarray) -> Any:
    target = copy.deepcopy(target)
    if not target.built:
        target.build((None, *x.shape[1:]))
    for layer in [target] if isinstance(target, Layer) else target.layers:
        layer.dtype = "float64"
        for home in (layer.params, layer.state):
            for key in home:
                home[key] = home[key].astype(np.float64)
    return target


def _problem(
    target: Any, x: np.ndarray, y: Any, training: bool, seed: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], Callable[[], Any], Any, dict[str, np.ndarray]]:
    """The arrays that may change, what follows from them, dy, and the gradients of sum(it * dy)."""

    def fresh() -> np.random.Generator:  # the same dropout each time
        return np.random.default_rng(seed)

    if y is not None:
        y = np.asarray(y)

        def loss() -> float:
            y_pred, _ = target.forward(x, training, fresh())
            return target.loss(y, y_pred) + target.penalty()

        return target.params, loss, 1.0, target.gradients(x, y, rng=fresh())[1]
    y_pred, cache = target.forward(x, training, fresh())
    dy = rng.normal(size=y_pred.shape)
    dx, grads = target.backward(dy, cache)
    arrays = {"x": x, **target.params}
    return arrays, lambda: target.forward(x, training, fresh())[0], dy, {"x": dx, **grads}


def _slopes(
    output: Callable[[], Any], dy: Any, array: np.ndarray, index: tuple[int, ...], width: float
) -> tuple[Any, Any]:
    """Difference quotients of each output number, to the left and to the right, times its dy.

    The array ends as it began.
    """
    middle, kept = np.array(output()), array[index]  # a copy: Reshape gives a view of x
    try:
        array[index] = kept + width
        right = (output() - middle) * dy / width
        array[index] = kept - width
        left = (middle - output()) * dy / width
    finally:
        array[index] = kept
    return left, right
