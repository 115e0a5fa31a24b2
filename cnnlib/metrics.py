"""What is reported beside the loss (explained in notebooks/08_mnist_cnn.ipynb).

A metric gives one value per example, so shards can add theirs; the report is the mean.
"""

import math
from typing import Any

import numpy as np

from cnnlib import losses, registry
from cnnlib.utils import as_array, unknown_name


class Metric(registry.Configurable, family=True):
    """Base of all metrics: ``values(y_true, y_pred)`` gives one number per example.

    Calling a metric gives the mean over a batch. As in Keras, `update_state`, `result` and
    `reset_state` collect over several batches.

    Examples
    --------
    >>> metric = cnnlib.metrics.SparseCategoricalAccuracy()
    >>> metric(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    keras_module = "keras.metrics"

    def __init__(self, name: str | None = None, **extras: Any):
        registry.refuse_extras(type(self).__name__, extras)
        self.name = registry.snake_case(type(self).__name__) if name is None else name
        self.reset_state()

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """One number per example, shape (batch,)."""
        raise TypeError(f"{type(self).__name__} does not define values(y_true, y_pred)")

    def fitted(self, y_true: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Labels in this shape; an error where they have more or fewer numbers."""
        if y_true.size != math.prod(shape):
            raise ValueError(
                f"{self.name} expects labels of shape {shape}. Received shape {y_true.shape}: "
                "integer labels go with sparse_categorical_accuracy, one-hot labels with "
                "categorical_accuracy"
            )
        return y_true.reshape(shape)

    def __call__(self, y_true: Any, y_pred: Any) -> float:
        """The mean over this batch."""
        return float(self.values(as_array(y_true), as_array(y_pred)).mean())

    def reset_state(self) -> None:
        """Forget what `update_state` collected."""
        self._total, self._count = 0.0, 0

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Add a batch to the mean that `result` gives."""
        values = self.values(as_array(y_true), as_array(y_pred))
        self._total, self._count = self._total + float(values.sum()), self._count + len(values)

    def result(self) -> float:
        """The mean over all batches since `reset_state`; 0 where there was none."""
        return self._total / self._count if self._count else 0.0


def _per_example(correct: np.ndarray) -> np.ndarray:
    return correct.reshape(len(correct), -1).mean(axis=1)


class BinaryAccuracy(Metric):
    """Share of outputs on the right side of the threshold."""

    def __init__(self, name: str | None = None, threshold: float = 0.5, **extras: Any):
        super().__init__(name, **extras)
        self.threshold = threshold

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 or 0 (or a share) per example."""
        y_true = self.fitted(y_true, y_pred.shape)
        return _per_example((y_pred > self.threshold) == (y_true > 0.5))


class CategoricalAccuracy(Metric):
    """Share of examples whose largest output is the one-hot label's class."""

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 or 0 per example."""
        y_true = self.fitted(y_true, y_pred.shape)
        return _per_example(y_true.argmax(axis=-1) == y_pred.argmax(axis=-1))


class SparseCategoricalAccuracy(Metric):
    """Share of examples whose largest output is the integer label."""

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 or 0 per example."""
        return _per_example(self.fitted(y_true, y_pred.shape[:-1]) == y_pred.argmax(axis=-1))


class Accuracy(Metric):
    """Share of numbers that are equal: for class numbers on both sides, as in Keras."""

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 or 0 (or a share) per example."""
        return _per_example(self.fitted(y_true, y_pred.shape) == y_pred)


class AccuracyByShape(Metric):
    """What ``metrics=["accuracy"]`` means: the accuracy that suits labels and outputs.

    One output: binary. Integer labels: sparse categorical. One-hot labels: categorical.
    """

    aliases = ("accuracy", "acc")

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 or 0 per example."""
        if y_pred.shape[-1] == 1:
            kind: type[Metric] = BinaryAccuracy
        elif y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
            kind = SparseCategoricalAccuracy
        else:
            kind = CategoricalAccuracy
        return kind().values(y_true, y_pred)


class LossMetric(Metric):
    """A loss reported as a metric, for example ``metrics=["mse"]``."""

    def __init__(self, loss: Any, name: str | None = None, **extras: Any):
        self.loss = losses.get(loss)
        super().__init__(self.loss.name if name is None else name, **extras)

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """The loss of each example."""
        return self.loss.value_and_gradient(y_true, y_pred)[0]


def get(identifier: Any) -> Any:
    """A metric from its name (a loss's name will do), its configuration or itself.

    Examples
    --------
    >>> cnnlib.metrics.get("mse").name
    'mse'
    """
    if isinstance(identifier, str) and identifier not in Metric.classes:
        if identifier in losses.Loss.classes:
            return LossMetric(identifier, name=identifier)
        raise unknown_name("metric", identifier, {**Metric.classes, **losses.Loss.classes})
    metric = registry.get(Metric, identifier)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric
