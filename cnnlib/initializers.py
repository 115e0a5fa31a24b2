"""First values of weights (explained in notebooks/02_activations.ipynb).

Each initializer is called with a shape and a dtype. `fan_in` and `fan_out` are how many inputs
one output sums over, and how many outputs one input reaches: for a dense kernel (in, out) its two
axes, for a convolution's (kh, kw, in, out) those times kh * kw.
"""

import math
from typing import Any

import numpy as np

from cnnlib import registry
from cnnlib.config import floatx
from cnnlib.utils import next_seed


class Initializer(registry.Configurable, family=True):
    """Base of all initializers: ``initializer(shape, dtype=None) -> array``."""

    keras_module = "keras.initializers"

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """An array of the given shape (dtype float32 unless told otherwise)."""
        return self.values(tuple(shape)).astype(dtype or floatx())

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """The values in float64: what a subclass provides."""
        raise TypeError(f"{type(self).__name__} does not define values(shape)")


class Zeros(Initializer):
    """All zeros: the usual start of a bias."""

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Zeros of the given shape."""
        return np.zeros(shape)


class Ones(Initializer):
    """All ones: the usual start of a scale."""

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Ones of the given shape."""
        return np.ones(shape)


class Constant(Initializer):
    """One value everywhere."""

    def __init__(self, value: float = 0.0):
        self.value = value

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """`value` in every place."""
        return np.full(shape, float(self.value))


class _Random(Initializer):
    """What random initializers share: a seed, drawn anew for each array unless it is given."""

    seed: int | None

    def rng(self) -> np.random.Generator:
        """A generator: the same one at each call where a seed was given, as in Keras."""
        return np.random.default_rng(next_seed() if self.seed is None else self.seed)


class RandomNormal(_Random):
    """Normal with the given mean and standard deviation.

    Examples
    --------
    >>> cnnlib.initializers.RandomNormal(stddev=0.1, seed=0)((2, 2)).shape
    (2, 2)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent normal draws."""
        return self.rng().normal(self.mean, self.stddev, shape)


class RandomUniform(_Random):
    """Uniform between minval and maxval."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent uniform draws."""
        return self.rng().uniform(self.minval, self.maxval, shape)


class _VarianceScaling(_Random):
    """Zero mean and variance `scale` / fan, where fan is fan_in or the mean of both fans."""

    scale = 1.0
    average_fans = False
    normal = False

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform, or normal cut off at two standard deviations, with the stated variance."""
        fan_in, fan_out = fans(shape)
        fan = (fan_in + fan_out) / 2 if self.average_fans else fan_in
        variance = self.scale / max(1.0, fan)
        if not self.normal:
            limit = math.sqrt(3 * variance)
            return self.rng().uniform(-limit, limit, shape)
        rng = self.rng()
        draws = rng.normal(size=shape)
        while (outside := np.abs(draws) > 2).any():
            draws[outside] = rng.normal(size=int(outside.sum()))
        # Cutting a unit normal at +-2 leaves a standard deviation of 0.8796.
        return draws * math.sqrt(variance) / 0.87962566103423978


class GlorotUniform(_VarianceScaling):
    """Uniform of variance 2 / (fan_in + fan_out), Keras's default.

    Keeps the scale of activations and of gradients where slopes are near one.
    Source: Glorot and Bengio, AISTATS 2010.

    Examples
    --------
    >>> kernel = cnnlib.initializers.GlorotUniform(seed=1)((300, 100))
    >>> bool(abs(kernel.var() * 200 - 1) < 0.05)
    True
    """

    average_fans = True


class GlorotNormal(_VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio, 2010."""

    average_fans = True
    normal = True


class HeUniform(_VarianceScaling):
    """Uniform of variance 2 / fan_in: relu passes half. Source: He et al., arXiv:1502.01852."""

    scale = 2.0


class HeNormal(_VarianceScaling):
    """Truncated normal of variance 2 / fan_in. Source: He et al., arXiv:1502.01852."""

    scale = 2.0
    normal = True


class ComparativeNormal(_Random):
    """Normal with standard deviation 1/2: for comparative layers, whose inputs are near 1.

    A product's weights may have any size, since a factor can be moved from w to the next layer.
    ``c(x, w)`` is homogeneous in x and w *together*, so the size of w must fit that of x. With
    x ~ N(0, r^2) and w ~ N(0, s^2), w is the smaller one, and receives the gradient, in the share
    ``2/pi * atan(r / s)`` of the synapses; x receives it in the others. For r = 1, s = 1/2 that is
    70 % and 30 %: both learn.

    The layers divide their sums by ``sqrt(fan_in * (1 - 2/pi))``, which keeps the variance where x
    and w have one size (`comparative_power`). The signal then holds itself: larger inputs are cut
    at the size of w, smaller ones pass whole. Behind relu, which keeps half of the power, the
    variance of the sums goes to the v of ``v = E[c^2](sqrt(v), 1/2) / (2 - 4/pi)``, to
    sqrt(v) = 0.17, however deep the net is, and there each layer multiplies the variance of the
    gradient by ``P(|x| < |w|) / (2 - 4/pi) = 1.09``. A scale that lets an input of rms 1 leave with
    rms 1 at once, ``1 / sqrt(fan_in * E[c^2](1, 1/2))``, settles at 0.59 and multiplies it by 1.47.
    `benchmarks/comparative.py start` measures all this layer by layer.

    Parameters
    ----------
    stddev : float
    seed : int, optional

    Examples
    --------
    >>> kernel = cnnlib.initializers.ComparativeNormal(seed=1)((300, 100))
    >>> round(float(kernel.std()), 2)
    0.5
    """

    def __init__(self, stddev: float = 0.5, seed: int | None = None):
        self.stddev, self.seed = stddev, seed

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent normal draws."""
        return self.rng().normal(0.0, self.stddev, shape)


def comparative_power(x_rms: float, w_rms: float) -> float:
    """E[c(x, w)^2] for independent normal x and w with mean zero and these standard deviations.

    With x = r R cos(t), w = s R sin(t), where t is uniform and E[R^2] = 2, the smaller of x^2 and
    w^2 is averaged over t: ``2/pi * (s^2 (a - b) + r^2 (pi/2 - a - b))``, a = atan(r / s) the angle
    where the two are equal and b = sin(a) cos(a). For unit normals that is 1 - 2/pi.

    Examples
    --------
    >>> round(cnnlib.initializers.comparative_power(1.0, 1.0), 4), round(1 - 2 / np.pi, 4)
    (0.3634, 0.3634)
    """
    angle = math.atan2(x_rms, w_rms)
    overlap = math.sin(angle) * math.cos(angle)
    w_part, x_part = w_rms**2 * (angle - overlap), x_rms**2 * (math.pi / 2 - angle - overlap)
    return 2 / math.pi * (w_part + x_part)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape.

    Examples
    --------
    >>> cnnlib.initializers.fans((5, 5, 3, 8))
    (75, 200)
    """
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def get(identifier: Any) -> Any:
    """An initializer from its name, its configuration or itself.

    Examples
    --------
    >>> type(cnnlib.initializers.get("he_normal")).__name__
    'HeNormal'
    """
    return registry.get(Initializer, identifier)
