"""How wrong a batch of predictions is (explained in notebooks/03_training.ipynb).

A loss gives one value per *example* and the gradient of that value; `training` adds them over the
batch and divides by the number of examples once. Inside an example, whatever axes it has, the loss
is a mean. Values are computed in float64: a prediction has few numbers, and so no float32 logit
overflows.
"""

from typing import Any

import numpy as np

from cnnlib import registry
from cnnlib.config import epsilon
from cnnlib.utils import as_array


class Loss(registry.Configurable, family=True):
    """Base of all losses; call one as ``loss(y_true, y_pred)`` for the mean over the batch.

    Examples
    --------
    >>> loss = cnnlib.losses.MeanSquaredError()
    >>> loss(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    2.0
    """

    keras_module = "keras.losses"

    def __init__(self, name: str | None = None, **extras: Any):
        registry.refuse_extras(type(self).__name__, extras)
        self.name = registry.snake_case(type(self).__name__) if name is None else name

    def prepare(self, y_true: Any, y_pred_shape: tuple[int, ...]) -> np.ndarray:
        """Labels in the form and shape of the predictions.

        Raises
        ------
        ValueError
            Where labels and predictions do not fit each other.
        """
        if len(y_true.shape) == len(y_pred_shape) - 1 and y_pred_shape[-1] == 1:
            y_true = y_true[..., None]
        if y_true.shape[1:] != tuple(y_pred_shape)[1:]:
            raise ValueError(
                f"{self.name} expects labels of the shape of the predictions, (batch, "
                f"{str(tuple(y_pred_shape)[1:])[1:]}. Received labels of shape {y_true.shape}"
                + self.hint
            )
        return y_true

    hint = ""

    def value_and_gradient(
        self, y_true: np.ndarray, y_pred: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One loss per example, and its gradient.

        Parameters
        ----------
        y_true : ndarray
            Labels; of the shape of y_pred, or integers (batch,) for sparse losses.
        y_pred : ndarray (batch, ...)

        Returns
        -------
        values : (batch,) float64
        dy : ndarray of the shape and dtype of y_pred
            ``d values[n] / d y_pred[n]``: a sum over the batch, not yet a mean.
        """
        y = y_pred.astype(np.float64)
        values, dy = self.elements(self.prepare(y_true, y_pred.shape), y)
        if values.ndim > 1:
            size = values[0].size
            values = values.reshape(len(values), -1).mean(axis=1)
            dy = dy / size
        return values, dy.astype(y_pred.dtype)

    def elements(self, y_true: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each element (or of each distribution along the last axis), and gradient."""
        raise TypeError(f"{type(self).__name__} does not define elements(y_true, y)")

    def check(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        """Raise where labels cannot be this loss's, before any training is done."""
        sizes = tuple(len(y_true) if size is None else size for size in output_shape)
        self.prepare(y_true, sizes)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The mean over the batch; weights multiply, the divisor stays the batch's size."""
        y_true, y_pred = as_array(y_true), as_array(y_pred)
        if not np.issubdtype(y_pred.dtype, np.floating):
            y_pred = y_pred.astype(np.float64)
        if len(y_true) != len(y_pred):
            raise ValueError(f"received {len(y_true)} labels for {len(y_pred)} predictions")
        values, _ = self.value_and_gradient(y_true, y_pred)
        if sample_weight is not None:
            values = values * sample_weight
        return float(values.mean())


class MeanSquaredError(Loss):
    """``mean((y_pred - y_true)**2)``."""

    aliases = ("mse", "MSE")

    def elements(self, y_true: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squares of differences."""
        error = y - y_true
        return error * error, 2 * error


class _Crossentropy(Loss):
    """What the crossentropies of floats have in common."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        name: str | None = None,
        **extras: Any,
    ):
        super().__init__(name, **extras)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing
        self.axis = last_axis(axis, type(self).__name__)

    def prepare(self, y_true: Any, y_pred_shape: tuple[int, ...]) -> np.ndarray:
        """Labels from 0 to 1."""
        y_true = super().prepare(y_true, y_pred_shape)
        if y_true.size and (y_true.min() < 0 or y_true.max() > 1):
            raise ValueError(
                f"{self.name} expects labels from 0 to 1. Received labels from {y_true.min()} to "
                f"{y_true.max()}" + self.hint
            )
        return y_true


class BinaryCrossentropy(_Crossentropy):
    """``-(t log p + (1 - t) log(1 - p))`` for one probability p and a label t of 0 or 1.

    Parameters
    ----------
    from_logits : bool
        True where predictions are logits z with ``p = sigmoid(z)``: exact for any z.
    label_smoothing : float
        Moves labels towards one half.

    Examples
    --------
    >>> loss = cnnlib.losses.BinaryCrossentropy(from_logits=True)
    >>> round(loss(np.array([[1.0]]), np.array([[0.0]])), 4)
    0.6931
    """

    aliases = ("bce", "BCE")
    hint = ". For more than two classes: sparse_categorical_crossentropy"

    def elements(self, y_true: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The formula, element by element."""
        t = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        if self.from_logits:
            e = np.exp(-np.abs(y))
            p = np.where(y >= 0, 1, e) / (1 + e)
            return np.maximum(y, 0) - y * t + np.log1p(e), p - t
        p = np.clip(y, epsilon(), 1 - epsilon())
        slope = (p - t) / (p * (1 - p))
        return -(t * np.log(p) + (1 - t) * np.log1p(-p)), np.where(p == y, slope, 0)


class CategoricalCrossentropy(_Crossentropy):
    """``-sum(t log p)`` for a distribution p and one-hot labels t along the last axis.

    Parameters
    ----------
    from_logits : bool
        True where predictions are logits z with ``p = softmax(z)``: exact for any z, and the
        gradient is simply ``p - t``. With False, p is normalized and kept 1e-7 away from 0 and 1,
        as in Keras.
    label_smoothing : float
        Moves labels towards ``1 / classes``.

    Examples
    --------
    >>> loss = cnnlib.losses.CategoricalCrossentropy()
    >>> round(loss(np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]])), 4)
    0.6931
    """

    hint = ". For labels that are integers: sparse_categorical_crossentropy"

    def elements(self, y_true: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The formula along the last axis."""
        t = y_true * (1 - self.label_smoothing) + self.label_smoothing / y.shape[-1]
        return crossentropy(t, y, self.from_logits)


class SparseCategoricalCrossentropy(Loss):
    """``-log p[label]``: as `CategoricalCrossentropy`, for labels that are integers.

    Examples
    --------
    >>> loss = cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> loss(np.array([0]), np.array([[0.0, -1e38]]))
    0.0
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str | None = None,
        **extras: Any,  # axis among them, which Keras 3.8 would not read back from a file
    ):
        super().__init__(name, ignore_class=ignore_class, **extras)
        self.ignore_class, self.from_logits = ignore_class, from_logits

    def prepare(self, y_true: Any, y_pred_shape: tuple[int, ...]) -> np.ndarray:
        """Integer labels without a last axis of length 1."""
        classes = y_pred_shape[-1]
        if len(y_true.shape) == len(y_pred_shape) and y_true.shape[-1] == 1:
            y_true = y_true[..., 0]
        if y_true.shape[1:] != tuple(y_pred_shape)[1:-1]:
            raise ValueError(
                f"{self.name} expects one integer label an example. Received labels of shape "
                f"{y_true.shape} for predictions of shape {tuple(y_pred_shape)}. For one-hot "
                "labels: categorical_crossentropy"
            )
        if y_true.dtype == bool or not np.array_equal(y_true, y_true.astype(np.int64)):
            raise ValueError(
                f"{self.name} expects integer labels from 0 to {classes - 1}. Received labels of "
                f"type {y_true.dtype} that are not whole numbers"
            )
        if y_true.size and (y_true.min() < 0 or y_true.max() >= classes):
            raise ValueError(
                f"{self.name} expects labels from 0 to {classes - 1}, as there are {classes} "
                f"outputs. Received labels from {y_true.min()} to {y_true.max()}"
            )
        return y_true

    def elements(self, y_true: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The formula along the last axis, with labels made one-hot."""
        t = y_true[..., None] == np.arange(y.shape[-1], like=y_true)
        return crossentropy(t, y, self.from_logits)


def crossentropy(t: np.ndarray, y: np.ndarray, from_logits: bool) -> tuple[np.ndarray, np.ndarray]:
    """``-sum(t log p)`` along the last axis, and its gradient by y.

    Parameters
    ----------
    t, y : arrays (..., classes)
        Labels as distributions; probabilities, or logits.
    from_logits : bool

    Returns
    -------
    values : (...)
    gradient : (..., classes)
    """
    if from_logits:
        shifted = y - y.max(axis=-1, keepdims=True)  # the largest exponent is 0: no overflow
        e = np.exp(shifted)
        total = e.sum(axis=-1, keepdims=True)
        # Where t is 0 the term is 0, even if the logit is -inf away.
        terms = np.where(t > 0, t * (shifted - np.log(total)), 0)
        return -terms.sum(axis=-1), e / total * t.sum(axis=-1, keepdims=True) - t
    total = y.sum(axis=-1, keepdims=True)
    p = y / total
    kept = np.clip(p, epsilon(), 1 - epsilon())
    by_p = t / kept * (kept == p)  # where p was clipped, no gradient passes
    return -(t * np.log(kept)).sum(axis=-1), ((by_p * p).sum(axis=-1, keepdims=True) - by_p) / total


def last_axis(axis: int, owner: str) -> int:
    """-1, or the error for another axis."""
    if axis != -1:
        raise ValueError(f"{owner} supports the last axis alone. Received: axis={axis!r}")
    return axis


def get(identifier: Any) -> Any:
    """A loss from its name, its configuration or itself.

    Examples
    --------
    >>> cnnlib.losses.get("mse").name
    'mean_squared_error'
    """
    return registry.get(Loss, identifier)
