"""How gradients change parameters (explained in notebooks/09_improving.ipynb).

From simple to clever: SGD, Adagrad, RMSprop, Adam, with Keras's formulas and defaults. An
optimizer keeps arrays of its own for each parameter, its *slots*, under the parameter's key.
`update` is the only place in the library where parameters change.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from cnnlib import registry, schedules
from cnnlib.schedules import LearningRateSchedule
from cnnlib.utils import number

Slots = dict[str, dict[str, np.ndarray]]
# Numbers in a part of an array that one thread changes at a time. On two threads Adam took 1.7 in
# place of 2.4 ms for 1,600,000 numbers; for 590,000 between 0.36 in place of 0.64 ms and no gain,
# from hour to hour. A quarter of it was slower, as each of its 12 passes then waits for Python.
PART = 2**17


class Optimizer(registry.Configurable, family=True):
    """Base of all optimizers.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule

    Attributes
    ----------
    iterations : int
        Number of updates so far, which is what a schedule is asked with.
    slots : dict
        ``slots[slot name][parameter key]``, arrays of the parameter's shape.
    """

    keras_module = "keras.optimizers"
    # In the order of Keras's files: the names in one group alternate, parameter by parameter.
    slot_groups: tuple[tuple[str, ...], ...] = ()
    slot_start = 0.0

    def __init__(self, learning_rate: Any, name: str | None, **extras: Any):
        registry.refuse_extras(type(self).__name__, extras)
        if isinstance(learning_rate, dict):
            learning_rate = schedules.get(learning_rate)
        if not isinstance(learning_rate, LearningRateSchedule):
            known = isinstance(learning_rate, int | float | np.number)
            if not known or not 0 <= learning_rate < math.inf:
                raise ValueError(
                    "learning_rate: expected a finite number of at least 0 or a schedule of "
                    f"cnnlib.optimizers.schedules. Received: learning_rate={learning_rate!r}"
                )
            learning_rate = float(learning_rate)
        self.learning_rate = learning_rate
        self.name = registry.snake_case(type(self).__name__) if name is None else name
        self.iterations = 0
        self.owner: Any = None  # the model whose parameters the slots belong to
        self.slots: Slots = {}

    @property
    def current_learning_rate(self) -> float:
        """The learning rate of the next update."""
        if isinstance(self.learning_rate, LearningRateSchedule):
            return float(self.learning_rate(self.iterations))
        return self.learning_rate

    def build(self, params: Mapping[str, np.ndarray]) -> None:
        """Make the slots of parameters that have none yet."""
        for slot in (name for group in self.slot_groups for name in group):
            arrays = self.slots.setdefault(slot, {})
            for key, p in params.items():
                if key not in arrays or arrays[key].shape != p.shape:  # or a new layer's
                    arrays[key] = np.full_like(p, self.slot_start)

    def update(
        self,
        params: Mapping[str, np.ndarray],
        grads: Mapping[str, np.ndarray],
        together: Callable[[list], Iterable[Any]] | None = None,
    ) -> None:
        """One step: change each array of `params` in place by its gradient.

        Parameters
        ----------
        params, grads : dict of arrays under the same keys
        together : callable, optional
            Makes several calls at a time (`shards.Runner.together`): large arrays go in parts then.

        Examples
        --------
        >>> params = {"w": np.array([1.0])}
        >>> cnnlib.optimizers.SGD(0.1).update(params, {"w": np.array([2.0])})
        >>> params["w"]
        array([0.8])
        """
        if missing := params.keys() - grads.keys():
            raise ValueError(f"update expects a gradient for each parameter. Missing: {missing}")
        rate = self.current_learning_rate
        self.build(params)

        def change(key: str, rows: Any) -> None:
            p, g = params[key][rows], grads[key][rows]
            self.step(p, g, rate, lambda slot: self.slots[slot][key][rows])

        parts = [(key, rows) for key, p in params.items() for rows in self._parts(p)]
        calls = [functools.partial(change, *part) for part in parts]
        shared = together is not None and len(parts) > len(params)
        list(together(calls) if shared else (call() for call in calls))  # type: ignore[misc]
        self.iterations += 1

    def _parts(self, p: np.ndarray) -> list[Any]:
        """Rows that may change apart from the others: all in one where the array is small."""
        # In the rules of this module each number goes by its own gradient; others are not known.
        if p.size < 2 * PART or type(self).step.__module__ != __name__:
            return [...]
        count = max(1, PART * len(p) // p.size)
        return [slice(k, k + count) for k in range(0, len(p), count)]

    def step(
        self, p: np.ndarray, g: np.ndarray, rate: float, slot: Callable[[str], np.ndarray]
    ) -> None:
        """Change p and its slots in place."""
        raise TypeError(f"{type(self).__name__} does not define step(p, g, rate, slot)")


class SGD(Optimizer):
    """``p -= rate * g``, with a velocity ``v = momentum * v - rate * g`` where momentum is set.

    Plain momentum adds v; nesterov adds ``momentum * v - rate * g``, a look one step ahead.
    Source: Sutskever et al., ICML 2013.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        name: str | None = None,
        **extras: Any,
    ):
        super().__init__(learning_rate, name, **extras)
        self.momentum, self.nesterov = number(momentum, "momentum", high=1), nesterov
        self.slot_groups = (("momentum",),) if momentum else ()

    def step(
        self, p: np.ndarray, g: np.ndarray, rate: float, slot: Callable[[str], np.ndarray]
    ) -> None:
        """One step of one parameter."""
        if not self.momentum:
            p -= rate * g
            return
        v = slot("momentum")
        v *= self.momentum
        v -= rate * g
        p += self.momentum * v - rate * g if self.nesterov else v


class Adagrad(Optimizer):
    """``p -= rate * g / sqrt(sum of g**2 so far)``: rare features keep a large step.

    Source: Duchi, Hazan and Singer, JMLR 12, 2011. As in Keras the sum starts at 0.1 and epsilon
    stands under the root.
    """

    slot_groups = (("accumulator",),)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        name: str | None = None,
        **extras: Any,
    ):
        super().__init__(learning_rate, name, **extras)
        start = number(initial_accumulator_value, "initial_accumulator_value")
        self.initial_accumulator_value = self.slot_start = start
        self.epsilon = number(epsilon, "epsilon")

    def step(
        self, p: np.ndarray, g: np.ndarray, rate: float, slot: Callable[[str], np.ndarray]
    ) -> None:
        """One step of one parameter."""
        total = slot("accumulator")
        total += g * g
        p -= rate * g / np.sqrt(total + self.epsilon)


class RMSprop(Optimizer):
    """Adagrad with a fading memory: a running mean of g**2 in place of the sum.

    Source: Hinton, Coursera lecture 6e, 2012. `centered` subtracts the squared running mean of g.
    """

    aliases = ("rmsprop",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        name: str | None = None,
        **extras: Any,
    ):
        super().__init__(learning_rate, name, **extras)
        self.rho, self.momentum = number(rho, "rho", high=1), number(momentum, "momentum", high=1)
        self.epsilon, self.centered = number(epsilon, "epsilon"), centered
        self.slot_groups = (("velocity",),)
        if momentum > 0:
            self.slot_groups += (("momentum",),)
        if centered:
            self.slot_groups += (("average_gradient",),)

    def step(
        self, p: np.ndarray, g: np.ndarray, rate: float, slot: Callable[[str], np.ndarray]
    ) -> None:
        """One step of one parameter."""
        mean_square = slot("velocity")
        mean_square *= self.rho
        mean_square += (1 - self.rho) * g * g
        variance = mean_square
        if self.centered:
            mean = slot("average_gradient")
            mean *= self.rho
            mean += (1 - self.rho) * g
            variance = mean_square - mean * mean
        increment = rate * g / np.sqrt(variance + self.epsilon)
        if self.momentum > 0:
            velocity = slot("momentum")
            velocity *= self.momentum
            velocity += increment
            increment = velocity
        p -= increment


class Adam(Optimizer):
    """Running means m of g and v of g**2, both corrected for their start at zero.

    ``p -= rate * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)``, t from 1.
    Source: Kingma and Ba, arXiv:1412.6980, the form just before section 2.1: its epsilon is the
    'epsilon hat' there, not that of Algorithm 1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        name: str | None = None,
        **extras: Any,
    ):
        super().__init__(learning_rate, name, **extras)
        self.beta_1 = number(beta_1, "beta_1", high=1)
        self.beta_2 = number(beta_2, "beta_2", high=1)
        self.epsilon, self.amsgrad = number(epsilon, "epsilon"), amsgrad
        self.slot_groups = (("momentum", "velocity"),)
        if amsgrad:
            self.slot_groups += (("velocity_hat",),)

    def step(
        self, p: np.ndarray, g: np.ndarray, rate: float, slot: Callable[[str], np.ndarray]
    ) -> None:
        """One step of one parameter."""
        t = self.iterations + 1
        rate = rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        m, v = slot("momentum"), slot("velocity")
        scratch = np.subtract(g, m, out=np.empty_like(m))  # an array also for a single number
        scratch *= 1 - self.beta_1
        m += scratch
        np.multiply(g, g, out=scratch)
        scratch -= v
        scratch *= 1 - self.beta_2
        v += scratch
        if self.amsgrad:
            v = np.maximum(slot("velocity_hat"), v, out=slot("velocity_hat"))
        np.sqrt(v, out=scratch)
        scratch += self.epsilon
        np.divide(m, scratch, out=scratch)
        scratch *= rate
        p -= scratch


def get(identifier: Any) -> Any:
    """An optimizer from its name, its configuration or itself.

    Examples
    --------
    >>> cnnlib.optimizers.get("adam").learning_rate
    0.001
    """
    return registry.get(Optimizer, identifier)
