"""Sums of comparative synapses over windows (explained in notebooks/07_comparative_synapse.ipynb).

The synapse of Dogaru and Chua (UCB/ERL M97/5 and M97/40, 1997) takes the place of a product::

    c(x, w) = (|x + w| - |x - w|) / 2 = sgn(w) * clip(x, -|w|, |w|)

No library of linear algebra adds up such sums. Here NumPy does, one row of the window matrix
after the other, or compiled loops where numba is installed (`cnnlib.compiled`). Both work on
blocks of a few megabytes, whatever the shape.

With the gate ``g = sgn(|x| - |w|)`` the derivatives are

    dc/dx = sgn(w) * (1 - g) / 2        dc/dw = sgn(x) * (1 + g) / 2

so the factor of smaller magnitude receives the whole gradient, and on a tie each receives half.
"""

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from cnnlib.kernels import (
    Axis,
    add_columns,
    columns_of,
    contiguous,
    from_rows,
    to_rows,
    windows_of,
)

# Bytes that one block may fill with windows, weights and sums together. The temporary arrays of a
# block take up to three times as much.
BLOCK = 4 * 2**20
# Numbers in a temporary array where NumPy takes several weights at once.
CACHED = 2**16


def conv2d(x: np.ndarray, kernel: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Slide comparative kernels over images.

    Parameters
    ----------
    x : (batch, height, width, in)
    kernel : (kh, kw, in / groups, out)
        Groups of channels and filters that do not see each other follow from these shapes.
    rows, columns : Axis
        From `kernels.axis`, for the image's height and width.

    Returns
    -------
    y : (batch, out_height, out_width, out)
        ``y[n, i, j, o] = sum over a, b, c of c(x[n, i*s + a*d, j*s + b*d, c], kernel[a, b, c, o])``
        on the padded image.
    """
    run = _routines(x)
    like = np.result_type(x.dtype, kernel.dtype)
    shape = (rows.out, kernel.shape[-1], columns.out, x.shape[0])
    y = np.zeros_like(x, dtype=like, order="C", shape=shape)
    for block in blocks(x, kernel, rows, columns):
        flat, step = block.windows(x)
        weights = block.weights(kernel)
        z = np.zeros_like(y, order="C", shape=(block.rows.out, weights.shape[1], flat.shape[1]))
        run.add_synapses(flat.astype(like, copy=False), step, weights.astype(like, copy=False), z)
        target = y[block.out]
        target += z.reshape(target.shape)
    return from_rows(y)


def conv2d_gradients(
    dy: np.ndarray,
    x: np.ndarray,
    kernel: np.ndarray,
    rows: Axis,
    columns: Axis,
    need_dx: bool = True,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return dL/dx and dL/dkernel of `conv2d`; dx is None where nobody needs it.

    Parameters
    ----------
    dy : (batch, out_height, out_width, out)
    x : (batch, height, width, in)
    kernel : (kh, kw, in / groups, out)
    rows, columns : Axis
    need_dx : bool

    Returns
    -------
    dx : (batch, height, width, in) or None
    dkernel : (kh, kw, in / groups, out)
    """
    run = _routines(x)
    like = np.result_type(x.dtype, kernel.dtype, dy.dtype)
    dx = None
    if need_dx:
        batch, height, width, channels = x.shape
        shape = (height, channels, width, batch)
        dx = from_rows(np.zeros_like(x, dtype=like, order="C", shape=shape))
    dkernel = np.zeros_like(kernel, dtype=like, order="C")
    for block in blocks(x, kernel, rows, columns):
        flat, step = block.windows(x)
        flat = flat.astype(like, copy=False)
        weights = block.weights(kernel).astype(like, copy=False)
        dz = to_rows(dy[block.images]).astype(like, copy=False)
        dz = dz.reshape(block.rows.out, weights.shape[1], flat.shape[1])
        dweights = np.zeros_like(weights)
        if dx is None:
            run.add_kernel_gradient(flat, step, weights, dz, dweights)
        else:
            dflat = np.zeros_like(flat)
            run.add_gradients(flat, step, weights, dz, dweights, dflat)
            dx[block.input] += block.image_gradient(dflat)
        target = dkernel[block.kernel]
        target += dweights.reshape(target.shape)
    return dx, dkernel


# --- Blocks ---------------------------------------------------------------------------------------


class Block:
    """A part of a convolution: some images, output places, channels and filters of one group."""

    def __init__(
        self,
        rows: Axis,
        columns: Axis,
        group: tuple[int, int],
        n: slice,
        i: slice,
        j: slice,
        c: slice,
        o: slice,
    ):
        self.rows, height = rows.part(i)
        self.columns, width = columns.part(j)
        channels, filters = (
            slice(first + s.start, first + s.stop) for first, s in zip(group, (c, o), strict=True)
        )
        self.input = (n, height, width, channels)  # in images (batch, height, width, channels)
        self.images = (n, i, j, filters)  # in the output, as images
        self.out = (i, filters, j, n)  # in the output, as rows
        self.kernel = (slice(None), slice(None), c, filters)

    def weights(self, kernel: np.ndarray) -> np.ndarray:
        """The block's part of the kernel: (kh * kw * channels, filters)."""
        part = kernel[self.kernel]
        return contiguous(part.reshape(-1, part.shape[-1]))

    def windows(self, x: np.ndarray) -> tuple[np.ndarray, int]:
        """The block's windows as ``flat, step``: those of output row i begin at ``i * step``.

        Row ``i * step + k`` of flat (..., out_width * images) holds what the k-th weight of the
        kernel meets in output row i.
        """
        copies = columns_of(x[self.input], self.rows, self.columns)
        if self.rows.dilation > 1:
            gathered = windows_of(copies, self.rows)
            return gathered.reshape(-1, gathered.shape[2]), gathered.shape[1]
        per_row = copies.shape[1] * copies.shape[2]
        return copies.reshape(copies.shape[0] * per_row, -1), self.rows.stride * per_row

    def image_gradient(self, dflat: np.ndarray) -> np.ndarray:
        """Back from `windows`: dL/dx of the block's part of the images."""
        n, _, _, c = self.input
        sizes = (self.columns.window, c.stop - c.start, self.columns.out, n.stop - n.start)
        if self.rows.dilation == 1:
            copies = dflat.reshape(-1, *sizes)
        else:
            copies = np.zeros_like(dflat, shape=(self.rows.padded, *sizes))
            parts = dflat.reshape(self.rows.out, self.rows.window, *sizes)
            for a in range(self.rows.window):
                copies[self.rows.cell(a)] += parts[:, a]
        return add_columns(copies[self.rows.inside], self.columns)


def blocks(x: np.ndarray, kernel: np.ndarray, rows: Axis, columns: Axis) -> Iterator[Block]:
    """Cut a convolution, in halves of its longest side that help, until a block fits into BLOCK."""
    kh, kw, channels, filters = kernel.shape
    groups = x.shape[-1] // channels
    filters //= groups
    itemsize = np.result_type(x.dtype, kernel.dtype).itemsize
    sizes = [x.shape[0], rows.out, columns.out, channels, filters]
    lengths = list(sizes)

    def cost(n: int, i: int, j: int, c: int, o: int) -> int:
        height = (i - 1) * rows.stride + rows.dilation * (kh - 1) + 1
        width = (j - 1) * columns.stride + columns.dilation * (kw - 1) + 1
        copied = max(height, i * kh) if rows.dilation > 1 else height
        windows = max(height * width, copied * kw * j)  # wide steps: the image is the larger
        return itemsize * (windows * c * n + kh * kw * c * o + i * o * j * n)

    def halved(side: int) -> list[int]:
        return [-(-n // 2) if k == side else n for k, n in enumerate(lengths)]

    while cost(*lengths) > BLOCK:
        # Where the cells of one window are far apart, fewer windows need no less of the image.
        helps = [k for k in range(5) if cost(*halved(k)) < 0.9 * cost(*lengths)]
        if not helps:
            break
        lengths = halved(max(helps, key=lengths.__getitem__))
    cuts = (
        [slice(start, min(start + length, size)) for start in range(0, size, max(length, 1))]
        for size, length in zip(sizes, lengths, strict=True)
    )
    firsts = [(k * channels, k * filters) for k in range(groups)]
    for first, *slices in itertools.product(firsts, *cuts):
        yield Block(rows, columns, first, *slices)


# --- NumPy ----------------------------------------------------------------------------------------


def add_synapses(flat: np.ndarray, step: int, weights: np.ndarray, z: np.ndarray) -> None:
    """``z[i, o, p] += sum over k of c(flat[i * step + k, p], weights[k, o])``.

    Parameters
    ----------
    flat : (rows, places)
        Windows, as `Block.windows` lays them out.
    step : int
    weights : (depth, filters)
    z : (out_height, filters, places)
        Written to.
    """
    bound, sign = np.abs(weights)[:, :, np.newaxis], np.sign(weights)[:, :, np.newaxis]
    for i, total in enumerate(z):
        window = flat[i * step : i * step + len(weights), np.newaxis]
        for some in _slices(len(weights), total.size):
            term = np.minimum(window[some], bound[some])
            np.maximum(term, -bound[some], out=term)
            term *= sign[some]
            total += term.sum(axis=0)


def add_gradients(
    flat: np.ndarray,
    step: int,
    weights: np.ndarray,
    dz: np.ndarray,
    dweights: np.ndarray,
    dflat: np.ndarray | None,
) -> None:
    """Add the gradients of `add_synapses` into dweights and, where it is given, dflat.

    The two halves of ``dc/dw = (sgn(x) + sgn(x) * g) / 2`` are added apart, and those of dc/dx
    likewise: the first half is a product of matrices, for the whole window at once.

    Parameters
    ----------
    flat, step, weights
        As there.
    dz : (out_height, filters, places)
    dweights : (depth, filters)
    dflat : shape of flat, or None
    """
    bound, sign = np.abs(weights)[:, :, np.newaxis], np.sign(weights)
    for i, dz_row in enumerate(dz):
        inside = slice(i * step, i * step + len(weights))
        size, side = np.abs(flat[inside, np.newaxis]), np.sign(flat[inside])
        dweights += 0.5 * (side @ dz_row.T)
        dwindow = sign @ dz_row
        for some in _slices(len(weights), dz_row.size):
            gated = np.sign(size[some] - bound[some])
            gated *= dz_row
            dweights[some] += 0.5 * (gated @ side[some, :, np.newaxis])[:, :, 0]
            if dflat is not None:
                dwindow[some] -= (sign[some, np.newaxis] @ gated)[:, 0]
        if dflat is not None:
            dwindow *= 0.5
            dflat[inside] += dwindow


def add_kernel_gradient(
    flat: np.ndarray, step: int, weights: np.ndarray, dz: np.ndarray, dweights: np.ndarray
) -> None:
    """`add_gradients` without dflat."""
    add_gradients(flat, step, weights, dz, dweights, None)


def _slices(depth: int, size: int) -> Iterator[slice]:
    """So many weights at a time that a temporary array, `size` numbers a weight, fits the cache."""
    some = max(1, CACHED // max(size, 1))
    return (slice(start, start + some) for start in range(0, depth, some))


# --- Which of the two -----------------------------------------------------------------------------

_compiled: Any = None


def _routines(x: Any) -> Any:
    """`cnnlib.compiled` for NumPy's arrays where numba is installed, else this module."""
    global _compiled
    if _compiled is None:
        try:
            from cnnlib import compiled
        except ImportError as error:
            _compiled = _NumPy
            warnings.warn(
                "comparative layers run ten times as fast with numba: pip install numba "
                f"(they work without it; importing it said: {error})",
                stacklevel=2,
            )
        else:
            _compiled = compiled
    return _compiled if isinstance(x, np.ndarray) else _NumPy


class _NumPy:
    """The three routines above, under the names that `cnnlib.compiled` gives its own."""

    add_synapses = staticmethod(add_synapses)
    add_gradients = staticmethod(add_gradients)
    add_kernel_gradient = staticmethod(add_kernel_gradient)
