"""The fast array routines behind the layers (explained in notebooks/10_speed.ipynb).

Every function has a plain twin, the same operation as loops, in `cnnlib.plain`, and a test that
the two agree. Images come and go as (batch, height, width, channels). In memory they lie as
*rows*: (height, channels, width, batch), the batch innermost, so that a whole line of numbers is
added, compared or copied at once where a channel count of 1 or 6 innermost would leave short
runs. `to_rows` restores that order where an array has lost it (a pickle drops it).
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

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


class Axis(NamedTuple):
    """How a window moves along one axis: everything that output size and padding follow from."""

    size: int
    window: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def out(self) -> int:
        """Number of window positions."""
        reach = self.dilation * (self.window - 1) + 1
        return (self.size + self.before + self.after - reach) // self.stride + 1

    def cell(self, k: int) -> slice:
        """Which places of the padded axis the window's k-th cell meets, one per position."""
        start = k * self.dilation
        return slice(start, start + self.stride * (self.out - 1) + 1, self.stride)

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
    height, channels, _, batch = padded.shape
    shape = (height, columns.window, channels, columns.out, batch)
    copies = np.empty_like(padded, order="C", shape=shape)
    for j in range(columns.window):
        copies[:, j] = padded[:, :, columns.cell(j)]
    return copies


def windows_of(copies: np.ndarray, rows: Axis) -> np.ndarray:
    """The window matrices (out_height, kh * kw * channels, out_width * batch)."""
    height, kw, channels, out_width, batch = copies.shape
    depth = rows.window * kw * channels
    if rows.dilation > 1:  # the kernel's rows are apart: gather them
        first = np.arange(rows.out)[:, None] * rows.stride
        gathered = copies[first + np.arange(rows.window) * rows.dilation]
        return gathered.reshape(rows.out, depth, out_width * batch)
    flat = copies.reshape(height * kw * channels, out_width * batch)
    views = sliding_window_view(flat, depth, axis=0)[:: rows.stride * kw * channels]
    return views[: rows.out].swapaxes(1, 2)


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

    Parameters
    ----------
    dy : (batch, out_height, out_width, out)
    kernel : (kh, kw, in, out)
    rows, columns : Axis

    Returns
    -------
    dx : (batch, height, width, in)
    """
    filters = kernel.shape[-1]
    flat_kernel = kernel.reshape(-1, filters)
    flat_dy = to_rows(dy).reshape(rows.out, filters, columns.out * dy.shape[0])
    parts = (flat_kernel @ part for part in flat_dy)
    shape = (rows.padded, columns.window, kernel.shape[2], columns.out, dy.shape[0])
    copies = np.zeros_like(dy, order="C", shape=shape)
    add_windows(parts, copies, rows)
    return add_columns(copies, rows, columns)


def add_windows(parts: Iterable[np.ndarray], copies: np.ndarray, rows: Axis) -> None:
    """Back from `windows_of`: add a part (kh * kw * channels, out_width * batch) an output row."""
    for i, part in enumerate(parts):
        start = i * rows.stride
        window = copies[start : start + rows.dilation * (rows.window - 1) + 1 : rows.dilation]
        window += part.reshape(window.shape)


def add_columns(copies: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Back from `columns_of`: the copies added into one image batch, without its padding."""
    height, _, channels, _, batch = copies.shape
    shape = (height, channels, columns.padded, batch)
    padded = np.zeros_like(copies, order="C", shape=shape)
    for j in range(columns.window):
        padded[:, :, columns.cell(j)] += copies[:, j]
    return from_rows(padded[rows.inside, :, columns.inside])


# --- Pooling ------------------------------------------------------------------------------------


def cells_of(padded: np.ndarray, rows: Axis, columns: Axis) -> list[np.ndarray]:
    """One view per cell of the window, row by row: what that cell sees at every position."""
    return [
        padded[rows.cell(i), :, columns.cell(j)]
        for i in range(rows.window)
        for j in range(columns.window)
    ]


def largest(x: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """The largest of each window: `max_pool` without the winners, in half the time."""
    first, *others = cells_of(pad(x, rows, columns, fill=-np.inf), rows, columns)
    best = first.copy()
    for cell in others:
        np.maximum(best, cell, out=best)
    return from_rows(best)


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
    first, *others = cells_of(pad(x, rows, columns, fill=-np.inf), rows, columns)
    best = first.copy()
    counts = np.uint8 if len(others) < 256 else np.uint32
    winner = np.zeros_like(best, dtype=counts)
    for index, cell in enumerate(others, start=1):
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
    padded = np.zeros_like(dy, order="C", shape=shape)
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
    dy = to_rows(dy)
    shares = (winner == k for k in range(rows.window * columns.window))
    return spread(shares, dy, rows, columns)


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
