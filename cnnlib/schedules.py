"""Learning rates that change with the step (explained in notebooks/09_improving.ipynb)."""

import bisect
import math
from collections.abc import Sequence
from typing import Any

from cnnlib import registry


class LearningRateSchedule(registry.Configurable, family=True):
    """Base of schedules: ``schedule(step)`` is the learning rate of that step (from 0)."""

    keras_module = "keras.optimizers.schedules"

    def __call__(self, step: int) -> float:
        """The learning rate at this step."""
        raise TypeError(f"{type(self).__name__} does not define __call__(step)")


class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``; whole powers if staircase.

    Examples
    --------
    >>> cnnlib.optimizers.schedules.ExponentialDecay(1.0, 100, 0.5)(200)
    0.25
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps)
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step: int) -> float:
        """The learning rate at this step."""
        power = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (
            math.floor(power) if self.staircase else power
        )


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and with step boundaries[0], then ``values[1]``, and so on.

    Examples
    --------
    >>> schedule = cnnlib.optimizers.schedules.PiecewiseConstantDecay([10], [0.1, 0.01])
    >>> schedule(10), schedule(11)
    (0.1, 0.01)
    """

    def __init__(
        self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstant"
    ):
        if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
            raise ValueError(
                "PiecewiseConstantDecay expects rising boundaries and one value more than "
                f"boundaries. Received: boundaries={boundaries}, values={values}"
            )
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: int) -> float:
        """The learning rate at this step."""
        return self.values[bisect.bisect_left(self.boundaries, step)]


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate to ``alpha`` times it, after an optional warm-up.

    With `warmup_target` the rate rises in a line from `initial_learning_rate` to the target over
    `warmup_steps`, and the cosine starts there. Source: Loshchilov and Hutter, arXiv:1608.03983.

    Examples
    --------
    >>> schedule = cnnlib.optimizers.schedules.CosineDecay(
    ...     0.0, decay_steps=90, warmup_target=1.0, warmup_steps=10
    ... )
    >>> schedule(5), round(schedule(55), 6), schedule(100)
    (0.5, 0.5, 0.0)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        self.initial_learning_rate, self.alpha, self.name = initial_learning_rate, alpha, name
        self.decay_steps = _positive(decay_steps)
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: int) -> float:
        """The learning rate at this step."""
        start, peak = self.initial_learning_rate, self.initial_learning_rate
        if self.warmup_target is not None:
            peak = self.warmup_target
            if step < self.warmup_steps:
                return start + (peak - start) * step / self.warmup_steps
            step -= self.warmup_steps
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1)))
        return peak * ((1 - self.alpha) * cosine + self.alpha)


def _positive(decay_steps: int) -> int:
    if not decay_steps > 0:
        raise ValueError(f"decay_steps must be above 0. Received: decay_steps={decay_steps!r}")
    return decay_steps


def get(identifier: Any) -> Any:
    """A schedule from its configuration or itself."""
    return registry.get(LearningRateSchedule, identifier)
