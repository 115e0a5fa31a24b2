"""Dropout (explained in notebooks/09_improving.ipynb)."""

from typing import Any

import numpy as np

from cnnlib.layers.base import Array, Grads, Layer, Rng


class Dropout(Layer):
    """In training, set a random share of the numbers to zero and scale up the others.

    Parameters
    ----------
    rate : float
        The share that is *dropped*, from 0 to just under 1. What stays is divided by (1 - rate),
        so that the expected value does not change. Outside training nothing happens.
    seed : int, optional
        Accepted for Keras's sake; `fit` draws its masks from the model's seed and the step.

    Notes
    -----
    Source: Srivastava et al., JMLR 15, 2014.

    Examples
    --------
    >>> layer = cnnlib.layers.Dropout(0.5)
    >>> layer(np.ones((1, 3)))
    array([[1., 1., 1.]], dtype=float32)
    """

    draws = True

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if not isinstance(rate, int | float | np.number) or not 0 <= rate < 1:
            raise ValueError(
                "Dropout expects rate, the share that is dropped, from 0 to under 1. "
                f"Received: rate={rate!r}"
            )
        if noise_shape is not None:
            raise ValueError(
                f"Dropout does not support noise_shape. Received: noise_shape={noise_shape!r}"
            )
        self.rate, self.noise_shape, self.seed = float(rate), noise_shape, seed

    def forward(self, x: Array, training: bool = False, rng: Rng = None) -> tuple[Array, Any]:
        """Return x times a mask of 0 and 1 / (1 - rate)."""
        if not training or self.rate == 0:
            return x, None
        if rng is None:
            raise ValueError(
                f"layer {self.name!r} (Dropout) needs random numbers in training: "
                "forward(x, training=True, rng=np.random.default_rng(seed))"
            )
        # Drawn in the image's own order, whatever its memory order, and moved to where x lives.
        keep = rng.random(x.shape, dtype=np.float32) >= self.rate
        mask = np.empty_like(x)
        mask[...] = np.asarray(keep, like=x)
        mask /= 1 - self.rate
        return x * mask, mask

    def backward(self, dy: Array, cache: Any) -> tuple[Array, Grads]:
        """Return dy times the same mask."""
        return (dy if cache is None else dy * cache), {}
