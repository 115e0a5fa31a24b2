"""The fast array routines behind the layers (explained in notebooks/10_speed.ipynb).

Every function has a plain twin, the same operation as loops, in `cnnlib.plain`, and a test that
the two agree. Images come and go as (batch, height, width, channels). In memory they lie as
*rows*: (height, channels, width, batch), the batch innermost, so that a whole line of numbers is
added, compared or copied at once where a channel count of 1 or 6 innermost would leave short
runs. `to_rows` restores that order where an array has lost it (a pickle drops it).
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def contiguous(x: np.ndarray) -> np.ndarray:
    """`x` itself where its memory is in C order, else a copy that is."""
    return x if x.flags.c_contiguous else x.copy()


def to_rows(x: np.ndarray) -> np.ndarray:
    """(batch, height, width, channels) -> contiguous (height, channels, width, batch)."""
    return contiguous(x.transpose(1, 3, 2, 0))


def from_rows(rows: np.ndarray) -> np.ndarray:
    """(height, channels, width, batch) -> a view (batch, height, width, channels)."""
    return rows.transpose(3, 0, 2, 1)


@dataclass(frozen=True)
class Axis:
    """How a window moves along one axis: everything that output size and padding follow from."""

    size: int
    window: int
    stride: int
    dilation: int
    before: int
    after: int

    @functools.cached_property
    def out(self) -> int:
        """Number of window positions."""
        reach = self.dilation * (self.window - 1) + 1
        return (self.size + self.before + self.after - reach) // self.stride + 1

    def cell(self, k: int) -> slice:
        """Which places of the padded axis the window's k-th cell meets, one per position."""
        start = k * self.dilation
        return slice(start, start + self.stride * (self.out - 1) + 1, self.stride)

    def met(self, k: int) -> tuple[slice, slice]:
        """Which places of the axis itself the k-th cell meets, and at which window positions."""
        start = k * self.dilation - self.before
        first = max(0, -(start // self.stride))
        last = max(first, min(self.out, -((start - self.size) // self.stride)))
        places = slice(start + first * self.stride, start + last * self.stride, self.stride)
        return places, slice(first, last)

    @property
    def inside(self) -> slice:
        """Where the unpadded axis lies within the padded one."""
        return slice(self.before, self.before + self.size)

    @property
    def padded(self) -> int:
        """Size with the padding."""
        return self.before + self.size + self.after

    def part(self, positions: slice) -> tuple["Axis", slice]:
        """The axis of these window positions alone, and which places of the whole axis it covers.

        Examples
        --------
        >>> cnnlib.kernels.axis(9, 3, 2, "same").part(slice(0, 2))
        (Axis(size=4, window=3, stride=2, dilation=1, before=1, after=0), slice(0, 4, None))
        """
        first = positions.start * self.stride - self.before
        last = first + (positions.stop - positions.start - 1) * self.stride
        end = last + self.dilation * (self.window - 1) + 1
        start, stop = (min(max(place, 0), self.size) for place in (first, end))
        before = max(0, min(end, 0) - first)
        after = end - first - before - (stop - start)
        part = Axis(stop - start, self.window, self.stride, self.dilation, before, after)
        return part, slice(start, stop)


@functools.lru_cache(maxsize=1024)
def axis(size: int, window: int, stride: int, padding: str, dilation: int = 1) -> Axis:
    """The `Axis` for 'valid' or 'same'.

    'same' gives ceil(size / stride) positions and puts the odd cell of padding at the end, as
    TensorFlow and Keras do.

    Raises
    ------
    ValueError
        Where the window does not fit ('valid' only).

    Examples
    --------
    >>> from cnnlib.kernels import axis
    >>> axis(28, 5, 1, "valid").out, axis(28, 5, 2, "same").out, axis(7, 3, 2, "valid").out
    (24, 14, 3)
    """
    reach = dilation * (window - 1) + 1
    if padding == "same":
        needed = max(0, (math.ceil(size / stride) - 1) * stride + reach - size)
        return Axis(size, window, stride, dilation, needed // 2, needed - needed // 2)
    if reach > size:
        apart = f" (dilation {dilation}: {reach} wide)" if dilation > 1 else ""
        raise ValueError(
            f"a window of {window} cells{apart} does not fit into {size}. "
            "Use padding='same', a smaller window or a larger input"
        )
    return Axis(size, window, stride, dilation, 0, 0)


def pad(x: np.ndarray, rows: Axis, columns: Axis, fill: float = 0.0) -> np.ndarray:
    """Contiguous (height + padding, channels, width + padding, batch) from an image batch."""
    if not (rows.before or rows.after or columns.before or columns.after):
        return to_rows(x)
    batch, _, _, channels = x.shape
    shape = (rows.padded, channels, columns.padded, batch)
    padded = np.full_like(x, fill, order="C", shape=shape)
    padded[rows.inside, :, columns.inside] = x.transpose(1, 3, 2, 0)
    return padded


# --- Convolution by overlapping rows ------------------------------------------------------------
# The matrix of all windows (im2col) is kh * kw times the image. Here the image is copied only once
# per kernel *column*, into (height, kw, channels, out_width, batch): the rows of the window matrix
# of one output row then lie equally spaced, and those of the next output row begin a little
# further on and overlap them. One strided view is therefore a stack of matrices for BLAS.


def columns_of(x: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """The image once per kernel column: (padded height, kw, channels, out_width, batch)."""
    padded = pad(x, rows, columns)
    height, channels, width, batch = padded.shape
    shape = (height, columns.window, channels, columns.out, batch)
    if isinstance(padded, np.ndarray):  # in one go: 15 in place of 27 us for a shard of LeNet-5
        line = width * batch
        steps = (channels * line, columns.dilation * batch, line, columns.stride * batch, 1)
        return strided(padded, shape, steps).copy()
    places = np.add.outer(
        columns.dilation * np.arange(columns.window), columns.stride * np.arange(columns.out)
    )
    return contiguous(padded[:, :, places].swapaxes(1, 2))


def windows_of(copies: np.ndarray, rows: Axis) -> np.ndarray:
    """The window matrices (out_height, kh * kw * channels, out_width * batch)."""
    _, kw, channels, out_width, batch = copies.shape
    depth, line = rows.window * kw * channels, out_width * batch
    if rows.dilation > 1:  # the kernel's rows are apart: gather them
        first = np.arange(rows.out)[:, None] * rows.stride
        gathered = copies[first + np.arange(rows.window) * rows.dilation]
        return gathered.reshape(rows.out, depth, line)
    step = rows.stride * kw * channels
    if isinstance(copies, np.ndarray):  # the same view as below, in 0.2 in place of 7 us
        return strided(copies, (rows.out, depth, line), (step * line, line, 1))
    flat = copies.reshape(-1, line)
    return sliding_window_view(flat, depth, axis=0)[::step][: rows.out].swapaxes(1, 2)


def strided(x: np.ndarray, shape: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    """A view of a contiguous array; one place on along axis k is steps[k] numbers on in memory."""
    return np.ndarray(shape, x.dtype, x, 0, tuple(step * x.itemsize for step in steps))


def conv2d(
    x: np.ndarray, kernel: np.ndarray, rows: Axis, columns: Axis
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate images with kernels; `y` and the copies that the gradients reuse.

    Parameters
    ----------
    x : (batch, height, width, in)
    kernel : (kh, kw, in, out)
    rows, columns : Axis
        From `axis`, for the image's height and width.

    Returns
    -------
    y : (batch, out_height, out_width, out)
        ``y[n, i, j, o] = sum over a, b, c of x[n, i*s + a*d, j*s + b*d, c] * kernel[a, b, c, o]``
        on the padded image.
    copies : ndarray
        What `columns_of` gave.
    """
    copies = columns_of(x, rows, columns)
    flat_kernel = kernel.reshape(-1, kernel.shape[-1])
    y = np.matmul(flat_kernel.T, windows_of(copies, rows))
    return from_rows(y.reshape(rows.out, kernel.shape[-1], columns.out, x.shape[0])), copies


def conv2d_kernel_gradient(
    dy: np.ndarray, copies: np.ndarray, kernel_shape: tuple[int, ...], rows: Axis
) -> np.ndarray:
    """Return dL/dkernel: the correlation of the input with dy, summed over the batch.

    Parameters
    ----------
    dy : (batch, out_height, out_width, out)
    copies : ndarray
        What `conv2d` gave.
    kernel_shape : (kh, kw, in, out)
    rows : Axis

    Returns
    -------
    ndarray of shape kernel_shape
    """
    filters, batch = kernel_shape[-1], dy.shape[0]
    flat_dy = to_rows(dy).reshape(rows.out, filters, dy.shape[2] * batch)
    products = np.matmul(windows_of(copies, rows), flat_dy.swapaxes(1, 2))
    return products.sum(axis=0).reshape(kernel_shape)


def conv2d_input_gradient(
    dy: np.ndarray, kernel: np.ndarray, rows: Axis, columns: Axis
) -> np.ndarray:
    """Return dL/dx: every dy goes back through its window's weights, and overlaps add up.

    Down the image by overlapping rows again: what row r receives is one product, of the kernel
    with its rows reversed and the kh lines of dy around r. Only the kernel's columns are added one
    by one. Adding up windows instead took 3.0 for 2.7 ms (net C, 16 images), in LeNet-5 as long on
    one thread and 1.4 times as long on two, and twice as long from 16 to 16 channels.

    Parameters
    ----------
    dy : (batch, out_height, out_width, out)
    kernel : (kh, kw, in, out)
    rows, columns : Axis

    Returns
    -------
    dx : (batch, height, width, in)
    """
    kh, kw, channels, filters = kernel.shape
    reach, span = rows.dilation * (kh - 1), rows.stride * (rows.out - 1) + 1
    before, after = reach - rows.before, rows.size + rows.before - span
    back = Axis(span, kh, 1, rows.dilation, before, after)
    shape = (back.padded, 1, filters, columns.out, dy.shape[0])
    lines = np.zeros_like(dy, order="C", shape=shape)
    lines[back.inside, 0][:: rows.stride] = dy.transpose(1, 3, 2, 0)
    flipped = kernel[::-1].transpose(1, 2, 0, 3).reshape(kw * channels, kh * filters)
    copies = np.matmul(flipped, windows_of(lines, back))
    return add_columns(copies.reshape(rows.size, kw, channels, *shape[3:]), columns)


def add_columns(copies: np.ndarray, columns: Axis) -> np.ndarray:
    """Back from `columns_of`: the copies added into one image batch, as far as they meet it."""
    height, _, channels, _, batch = copies.shape
    image = np.zeros_like(copies, order="C", shape=(height, channels, columns.size, batch))
    for j in range(columns.window):
        places, positions = columns.met(j)
        image[:, :, places] += copies[:, j, :, positions]
    return from_rows(image)


# --- Pooling ------------------------------------------------------------------------------------


def cells_of(padded: np.ndarray, rows: Axis, columns: Axis) -> list[np.ndarray]:
    """One view per cell of the window, row by row: what that cell sees at every position."""
    return [
        padded[rows.cell(i), :, columns.cell(j)]
        for i in range(rows.window)
        for j in range(columns.window)
    ]


def largest(x: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """The largest of each window, for whoever need not know which cell held it.

    Whole lines are compared before single columns: a window of k * k takes 2 k - 2 comparisons, and
    a third of the time of `max_pool`.
    """
    padded = pad(x, rows, columns, fill=-np.inf)
    tallest = functools.reduce(np.maximum, [padded[rows.cell(i)] for i in range(rows.window)])
    cells = [tallest[:, :, columns.cell(j)] for j in range(columns.window)]
    return from_rows(functools.reduce(np.maximum, cells))


def max_pool(x: np.ndarray, rows: Axis, columns: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest of each window, and which of its cells held it (the first, on a tie).

    Parameters
    ----------
    x : (batch, height, width, channels)
    rows, columns : Axis

    Returns
    -------
    y : (batch, out_height, out_width, channels)
    winner : integers (out_height, channels, out_width, batch), in the order of memory
        Number of the cell, counted row by row within the window.
    """
    cells = cells_of(pad(x, rows, columns, fill=-np.inf), rows, columns)
    first, second, *others = cells if len(cells) > 1 else cells * 2
    best = np.maximum(first, second)
    counts = np.uint8 if len(cells) <= 256 else np.uint32
    winner = (second > first).view(np.uint8).astype(counts, copy=False)
    for index, cell in enumerate(others, start=2):
        # Indices grow, so the latest strict improvement is the maximum of the flags times index:
        # two byte-wide passes in place of a masked write.
        flags = (cell > best).view(np.uint8)
        np.maximum(winner, np.multiply(flags, index, dtype=counts), out=winner)
        np.maximum(best, cell, out=best)
    return from_rows(best), winner


def spread(shares: Iterable[Any], dy: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Hand dy, times share k, to the places that the window's k-th cell saw; overlaps add up.

    Parameters
    ----------
    shares : arrays that go with dy, one a cell of the window
    dy : (out_height, channels, out_width, batch), in the order of memory
    rows, columns : Axis

    Returns
    -------
    ndarray (batch, height, width, channels)
    """
    _, channels, _, batch = dy.shape
    shape = (rows.padded, channels, columns.padded, batch)
    tiled = all(a.stride == a.window and a.out * a.window == a.padded for a in (rows, columns))
    padded = (np.empty_like if tiled else np.zeros_like)(dy, order="C", shape=shape)
    overlap = rows.stride < rows.window or columns.stride < columns.window
    for cell, share in zip(cells_of(padded, rows, columns), shares, strict=True):
        if overlap:
            cell += dy * share
        else:  # nothing is there yet, and writing takes half the time of adding
            np.multiply(dy, share, out=cell)
    return from_rows(padded[rows.inside, :, columns.inside])


def max_pool_gradient(dy: np.ndarray, winner: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Return dx: dy goes to the cell that won; where windows overlap, gradients add up.

    Parameters
    ----------
    dy : (batch, out_height, out_width, channels)
    winner : ndarray
        What `max_pool` gave.
    rows, columns : Axis

    Returns
    -------
    dx : (batch, height, width, channels)
    """
    shares = (winner == k for k in range(rows.window * columns.window))
    return spread(shares, to_rows(dy), rows, columns)


def real_cells(rows: Axis, columns: Axis, like: np.ndarray) -> np.ndarray:
    """How many cells of each window lie on the image: (out_height, 1, out_width, 1)."""
    ones = np.ones_like(like, shape=(1, rows.size, columns.size, 1))
    return sum(cells_of(pad(ones, rows, columns), rows, columns))  # type: ignore[return-value]


def average_pool(x: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Return the mean over each window's real cells, of the shape that `max_pool` gives."""
    first, *others = cells_of(pad(x, rows, columns), rows, columns)
    total = first.copy()
    for cell in others:
        total += cell
    total /= real_cells(rows, columns, x)
    return from_rows(total)


def average_pool_gradient(dy: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Return dx (batch, height, width, channels): each cell receives an equal share of its dy."""
    share = 1 / real_cells(rows, columns, dy)
    return spread([share] * (rows.window * columns.window), to_rows(dy), rows, columns)


# --- Between images and vectors -----------------------------------------------------------------


def flatten(x: np.ndarray) -> np.ndarray:
    """(batch, ...) -> (batch, features) in Keras's order, in memory with the batch innermost."""
    features_first = contiguous(np.moveaxis(x, 0, -1))
    return features_first.reshape(-1, x.shape[0]).T


def unflatten(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The way back: (batch, features) -> (batch, ...), the batch innermost in memory."""
    return np.moveaxis(contiguous(x.T).reshape(*shape, x.shape[0]), -1, 0)


def dense(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``x @ kernel`` over the last axis; for (batch, features) with the batch innermost."""
    return (kernel.T @ x.T).T if x.ndim == 2 else x @ kernel


def dense_kernel_gradient(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """(batch, ..., in) and (batch, ..., out) -> ``x.T @ dy`` (in, out), summed over all between."""
    return x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])


def channel_sum(x: np.ndarray) -> np.ndarray:
    """The sum over all axes but the last, one axis after the other.

    A float32 sum that runs through a million numbers in one go loses three digits; sums of sums
    do not. The height goes first: it is outermost in memory, and whole rows are added to each
    other, in a fifth of the time that adding up the batch first takes.
    """
    while x.ndim > 2:
        x = x.sum(axis=1)
    return x.sum(axis=0)


def channel_mean(x: np.ndarray) -> np.ndarray:
    """The mean over all axes but the last, one axis after the other."""
    while x.ndim > 2:
        x = x.mean(axis=1)
    return x.mean(axis=0)
