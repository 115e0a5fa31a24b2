"""Moving pictures of an operation, step by step: frames for a slider, and a GIF of all of them.

Every function computes all its steps with the library, and returns `Frames`: what each step holds
(``frames.steps[k]``), a picture of it (``frames.frame(k)``), all of them as one GIF
(``frames.save(path)``), and a description in words (``frames.alt``). The drawing code computes
nothing that it shows.

Colours are those of `cnnlib.plots`. None of them says anything alone: where the operation stands is
marked by a thick outline, values are written into the cells wherever they fit, and what is not
computed yet holds a dot.

This module is imported by ``from cnnlib import animations``; ``import cnnlib`` leaves it out. The
lessons 00, 01, 04, 06 and 08 show its pictures; ``scripts/make_images.py`` makes those in
``images/``.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cnnlib import correlation as correlations
from cnnlib import initializers, layers, losses, optimizers, plain, plots
from cnnlib.datasets import digits
from cnnlib.models import Sequential
from cnnlib.plots import BLUE, FAINT, INK, TEXT, TIMES, VERMILLION, WIDTH
from cnnlib.utils import number, positive_int

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DescentStep",
    "Frames",
    "KernelStep",
    "WindowStep",
    "average_pooling",
    "correlation",
    "gradient_descent",
    "kernels_during_training",
    "max_pooling",
]

MARGIN = 0.15  # inches of white around everything: the pictures also stand on dark pages
CELL = 0.42  # inches, the side of a cell where there is room
GLYPH = 100  # points, of the outlines that numbers in cells are scaled from
MINUS, RIGHTWARDS = "\N{MINUS SIGN}", "\N{RIGHTWARDS ARROW}"
LOOPS_FOR_EVER = 0  # a GIF's number of repetitions

# A tree: upright and slanting edges. It is not symmetric, which would hide a kernel that lies the
# wrong way round, and not square, which would hide rows taken for columns.
PICTURE = (
    (0, 0, 0, 2, 0, 0, 0),
    (0, 0, 3, 9, 3, 0, 0),
    (0, 4, 9, 9, 9, 4, 0),
    (0, 0, 0, 9, 0, 0, 0),
    (0, 0, 0, 9, 0, 0, 0),
    (0, 0, 0, 9, 5, 0, 0),
)
EDGE = ((-1, 0, 1), (-1, 0, 1), (-1, 0, 1))
SMALL_PICTURE = (
    (1, 3, 0, 2, 5, 5, 0, 1),
    (4, 2, 1, 0, 7, 5, 2, 0),
    (0, 6, 8, 8, 1, 0, 3, 9),
    (2, 1, 9, 6, 0, 2, 4, 4),
    (5, 0, 2, 3, 6, 1, 0, 0),
    (3, 7, 1, 0, 4, 8, 2, 1),
)


# --- What a frame holds ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowStep:
    """One position of a window on a picture.

    Attributes
    ----------
    text : str
        The sentence above the picture.
    cell : (row, column)
        Which cell of the result is computed.
    window : (row, column, rows, columns)
        Upper left cell and size of the window, in rows and columns of ``picture``.
    seen : array (rows, columns)
        What lies under the window.
    products : array (rows, columns) or None
        `seen` times the kernel, cell by cell; None for a pooling.
    winner : (row, column) or None
        The cell of ``picture`` that is the largest one; None for anything but max pooling.
    output : array
        The result so far, NaN where nothing has been computed yet.
    """

    text: str
    cell: tuple[int, int]
    window: tuple[int, int, int, int]
    seen: np.ndarray
    output: np.ndarray
    products: np.ndarray | None = None
    winner: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DescentStep:
    """One point on the way down.

    Attributes
    ----------
    text : str
        The sentence above the picture.
    step : int
        How many updates were made.
    w, b : float
        The two weights.
    loss : float
        There.
    gradient : (float, float)
        Of the loss by w and by b.
    inside : bool
        Whether the point lies in the part of the surface that is drawn.
    """

    text: str
    step: int
    w: float
    b: float
    loss: float
    gradient: tuple[float, float]
    inside: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelStep:
    """The kernels after one epoch.

    Attributes
    ----------
    text : str
        The sentence above the picture.
    epoch : int
        How many epochs were made: 0 before training.
    kernel : array (kh, kw, 1, filters)
    accuracy : float
        On digits that were not trained on.
    """

    text: str
    epoch: int
    kernel: np.ndarray
    accuracy: float


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of one animation, each drawn when it is asked for.

    Parameters
    ----------
    steps : sequence
        One `WindowStep`, `DescentStep` or `KernelStep` a frame: what it shows, as numbers.
    draw : callable
        ``draw(step)`` returns a Figure; all of one size.
    alt : str
        What the animation shows, in words, for those who do not see it.
    seconds : float
        How long a frame stays. The first stays twice as long and the last four times.

    Raises
    ------
    ValueError
        Without steps, without a description, or for seconds below 0.02 (a browser slows a faster
        GIF down).

    Examples
    --------
    >>> from cnnlib import animations
    >>> frames = animations.max_pooling([[1, 7, 2, 3], [4, 0, 5, 3]])
    >>> len(frames), frames.steps[1].text
    (2, 'y[0, 1] = max(2, 3, 5, 3) = 5')
    >>> picture = frames.frame(1)
    """

    steps: Sequence[Any] = field(repr=False)
    draw: Callable[[Any], "Figure"] = field(repr=False)
    alt: str
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.steps or not self.alt.strip():
            raise ValueError(
                "Frames expects at least one step and a description in words. "
                f"Received: {len(self.steps)} steps, alt={self.alt!r}"
            )
        number(self.seconds, "seconds", low=0.02)

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, k: int) -> "Figure":
        """Draw frame k: what a slider shows, ``widgets.explore(frames.frame, k=(0, n - 1, 1, 0))``.

        Parameters
        ----------
        k : int
            From 0 to ``len(frames) - 1``.

        Returns
        -------
        Figure
            A new one at each call.

        Raises
        ------
        TypeError
            For anything but an integer.
        ValueError
            For a frame that does not exist.
        """
        try:
            k = operator.index(k)
        except TypeError:
            raise TypeError(
                f"frame: expected an integer. Received: k={k!r}. Round it first"
            ) from None
        if not 0 <= k < len(self):
            raise ValueError(
                f"frame: expected a number from 0 to {len(self) - 1}, one of {len(self)} frames. "
                f"Received: k={k}"
            )
        with plots._style():
            return self.draw(self.steps[k])

    def durations(self) -> list[int]:
        """Return how many milliseconds each frame of the GIF stays, in whole hundredths."""
        unit = 10 * round(100 * self.seconds)
        times = [unit] * len(self)
        times[0] *= 2
        times[-1] = 4 * unit
        return times

    def save(self, path: str | Path, dpi: int = plots.DOTS) -> None:
        """Write all frames as a GIF that repeats for ever.

        Parameters
        ----------
        path : str or Path
            Ends in ``.gif``.
        dpi : int
            Dots an inch. A frame is 7 inches wide: 1008 dots, to be shown 700 wide, which is sharp
            on fine screens too.

        Raises
        ------
        ValueError
            For a path that does not end in ``.gif``, or dpi below 1.

        Notes
        -----
        The file holds no date: a second run writes the same bytes. Its comment is ``alt``.
        """
        path, dpi = Path(path), positive_int(dpi, "dpi")
        if path.suffix.lower() != ".gif":
            raise ValueError(f"save: expected a path that ends in .gif. Received: {str(path)!r}")
        pictures = _indexed([_pixels(self.frame(k), dpi) for k in range(len(self))])
        pictures[0].save(
            path,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=self.durations(),
            loop=LOOPS_FOR_EVER,
            comment=self.alt.encode("ascii", "replace"),
        )


def _pixels(fig: "Figure", dpi: int) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _indexed(frames: list[np.ndarray]) -> list[Any]:
    """The pictures with one palette for all: no colour changes from frame to frame by itself."""
    from PIL import Image  # matplotlib depends on it

    # 255, so that Pillow has a colour left for 'as in the frame before', which saves bytes.
    sheet = Image.fromarray(np.concatenate(frames)).quantize(255, Image.Quantize.MAXCOVERAGE)
    height, width = frames[0].shape[:2]
    return [sheet.crop((0, k * height, width, (k + 1) * height)) for k in range(len(frames))]


# --- Correlation ----------------------------------------------------------------------------


def correlation(
    x: ArrayLike = PICTURE, kernel: ArrayLike = EDGE, mode: str = "valid", seconds: float = 0.9
) -> Frames:
    """A kernel moves over a picture: window times kernel, cell by cell, added up.

    Parameters
    ----------
    x : array_like (height, width)
        A small picture. Its numbers are shown where they fit into the cells.
    kernel : array_like (kh, kw)
    mode : {'valid', 'same', 'full'}
        As in `cnnlib.correlation.correlate2d`. The zeros around the picture are drawn too.
    seconds : float
        See `Frames`.

    Returns
    -------
    Frames
        One a cell of the result, row by row, with `WindowStep`; windows are counted in rows and
        columns of the picture with its zeros.

    Raises
    ------
    TypeError, ValueError
        As `correlate2d` does; also for mode 'valid' where the kernel is larger than the picture in
        any direction.

    Examples
    --------
    >>> from cnnlib import animations
    >>> frames = animations.correlation([[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[1, 0], [0, -1]])
    >>> frames.steps[2].window, frames.steps[2].products.tolist()
    ((1, 0, 2, 2), [[4.0, 0.0], [0.0, -8.0]])
    >>> frames.steps[-1].output
    array([[-4., -4.],
           [-4., -4.]])
    """
    y = correlations.correlate2d(x, kernel, mode)
    x, kernel = np.asarray(x), np.asarray(kernel)
    (kh, kw), (rows, columns) = kernel.shape, y.shape
    if mode == "valid" and (kh > x.shape[0] or kw > x.shape[1]):
        raise ValueError(
            "correlation: expected a kernel that fits into the picture. Received: shapes "
            f"{kernel.shape} and {x.shape}. Use a smaller kernel, or mode 'same' or 'full'"
        )
    border = correlations._padding(x, kernel, mode)
    padded = np.pad(x, border)
    windows = correlations.im2col(padded, (kh, kw)).reshape(rows, columns, kh, kw)
    products = np.array(windows * kernel.astype(float))
    steps = [
        WindowStep(
            text=f"y[{i}, {j}] = sum of the {_count(kernel.size, 'product')} = {_show(y[i, j])}",
            cell=(i, j),
            window=(i, j, kh, kw),
            seen=windows[i, j],
            products=products[i, j],
            output=_so_far(y, i, j),
        )
        for i, j in np.ndindex(rows, columns)
    ]

    picture_cell = min(CELL, (WIDTH - 2 * MARGIN - 1.0) / (padded.shape[1] + columns), 3.4 / rows)
    picture_cell = min(picture_cell, 3.4 / len(padded))
    small_cell = min(CELL, (WIDTH - 2 * MARGIN - 2.4) / (3 * kw), 1.8 / kh)
    gray = _Shade(padded, "gray_r")
    weight, product, result = (
        _Shade(values, "cividis", symmetric=True, pale=0.3) for values in (kernel, products, y)
    )
    high = max(padded.shape[0], rows) * picture_cell
    below = 0.85 + high + 0.42
    (top, _), (left, _) = border
    zeros = "" if padded.shape == x.shape else ", zeros around it"

    def draw(step: WindowStep) -> "Figure":
        fig, ax = _sheet(
            below + kh * small_cell + 0.25, step.text, _position(step.cell, y), len(steps)
        )
        # Above: the whole picture and the whole result.
        wide = (padded.shape[1] + columns) * picture_cell + 1.0
        x0 = (WIDTH - wide) / 2
        y0 = 0.85 + (high - len(padded) * picture_cell) / 2
        _label(ax, x0, y0, f"picture x, {_size(x.shape)}{zeros}")
        _cells(ax, padded, x0, y0, picture_cell, gray)
        if zeros:
            corner = (x0 + left * picture_cell, y0 + top * picture_cell)
            _outline(ax, corner, x.shape, picture_cell, INK, 1.6)
        i, j, _, _ = step.window
        corner = (x0 + j * picture_cell, y0 + i * picture_cell)
        _outline(ax, corner, (kh, kw), picture_cell)
        x1 = x0 + padded.shape[1] * picture_cell + 1.0
        y1 = 0.85 + (high - rows * picture_cell) / 2
        _arrow(ax, x1 - 0.75, x1 - 0.25, 0.85 + high / 2)
        _label(ax, x1, y1, f"result y, {_size(y.shape)}")
        _cells(ax, step.output, x1, y1, picture_cell, result)
        i, j = step.cell
        _outline(ax, (x1 + j * picture_cell, y1 + i * picture_cell), (1, 1), picture_cell)
        # Below: what is computed at this place.
        x0 = (WIDTH - 3 * kw * small_cell - 1.5 - max(small_cell, 0.6)) / 2
        middle = below + kh * small_cell / 2
        parts = (("window", step.seen, gray), ("kernel", kernel, weight))
        for (name, values, shade), sign in zip(parts, (TIMES, "="), strict=True):
            _label(ax, x0, below, name)
            _cells(ax, values, x0, below, small_cell, shade)
            if name == "window":
                _outline(ax, (x0, below), (kh, kw), small_cell)
            x0 += kw * small_cell + 0.45
            _sign(ax, x0 - 0.225, middle, sign)
        _label(ax, x0, below, "products")
        _cells(ax, step.products, x0, below, small_cell, product)
        x0 += kw * small_cell + 0.6
        _sign(ax, x0 - 0.3, middle, RIGHTWARDS)
        one = max(small_cell, 0.34)
        _label(ax, x0, middle - one / 2, "sum")
        _cells(ax, y[i : i + 1, j : j + 1], x0, middle - one / 2, one, result)
        _outline(ax, (x0, middle - one / 2), (1, 1), one)
        return fig

    alt = (
        f"A window of {kh} by {kw} cells moves over a picture of {x.shape[0]} by {x.shape[1]} "
        f"cells{' with zeros around it' if zeros else ''}, row by row. At each place the numbers "
        "under it are multiplied with the numbers of the kernel, cell by cell, and the sum of the "
        f"products becomes one cell of the result, which has {rows} by {columns}."
    )
    return Frames(steps, draw, alt, seconds)


# --- Pooling --------------------------------------------------------------------------------


def max_pooling(
    x: ArrayLike = SMALL_PICTURE,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: str = "valid",
    seconds: float = 1.2,
) -> Frames:
    """A window moves over a picture and keeps the largest number that it sees.

    Parameters
    ----------
    x : array_like (height, width)
        One channel of one picture. Its numbers are shown where they fit into the cells.
    pool_size, strides, padding
        As in `cnnlib.layers.MaxPooling2D`, which computes the result.
    seconds : float
        See `Frames`.

    Returns
    -------
    Frames
        One a cell of the result, row by row, with `WindowStep`. Of a window that hangs over the
        border, the part on the picture.

    Raises
    ------
    TypeError
        For numbers that are neither integers nor floats.
    ValueError
        For another rank than two, and whatever the layer refuses.

    Examples
    --------
    >>> from cnnlib import animations
    >>> frames = animations.max_pooling([[1, 7, 2, 3], [4, 0, 5, 3]])
    >>> frames.steps[0].window, frames.steps[0].winner
    ((0, 0, 2, 2), (0, 1))
    >>> frames.steps[-1].output
    array([[7., 5.]])
    """
    layer = layers.MaxPooling2D(pool_size, strides, padding, dtype="float64")
    return _pooling(x, layer, "max", "the largest of them", seconds)


def average_pooling(
    x: ArrayLike = SMALL_PICTURE,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: str = "valid",
    seconds: float = 1.2,
) -> Frames:
    """A window moves over a picture and takes the mean of what it sees.

    Arguments, result and errors are those of `max_pooling`; `cnnlib.layers.AveragePooling2D`
    computes the result.

    Examples
    --------
    >>> from cnnlib import animations
    >>> frames = animations.average_pooling([[1, 7, 2, 3], [4, 0, 5, 3]])
    >>> frames.steps[1].text
    'y[0, 1] = mean(2, 3, 5, 3) = 3.25'
    """
    layer = layers.AveragePooling2D(pool_size, strides, padding, dtype="float64")
    return _pooling(x, layer, "mean", "their mean", seconds)


def _pooling(x: ArrayLike, layer: Any, name: str, keeps: str, seconds: float) -> Frames:
    x = np.asarray(x)
    if x.dtype.kind not in "iuf":
        raise TypeError(f"x: expected integers or floats. Received: dtype {x.dtype}")
    if x.ndim != 2 or x.size == 0:
        raise ValueError(
            f"x: expected one channel of one picture, shape (height, width). Received: shape "
            f"{x.shape}. Pass x[0, :, :, 0] of a batch"
        )
    batch = x[np.newaxis, :, :, np.newaxis].astype("float64")
    y = layer(batch)[0, :, :, 0]
    rows, columns = y.shape
    settings = (layer.pool_size, layer.strides, layer.padding)
    windows = plain._windows(batch, *settings)[2]
    steps = []
    for i, j in np.ndindex(rows, columns):
        cells = windows[i, j]
        (r0, q0), (r1, q1) = cells[0], cells[-1]
        seen = x[r0 : r1 + 1, q0 : q1 + 1]
        winner = None
        if name == "max":
            one = np.zeros((1, rows, columns, 1))
            one[0, i, j] = 1
            gradient = plain.max_pooling2d_backward(one, batch, *settings)[0, :, :, 0]
            row, column = np.argwhere(gradient)[0].tolist()
            winner = (row, column)
        steps.append(
            WindowStep(
                text=f"y[{i}, {j}] = {name}({_list(seen)}) = {_show(y[i, j])}",
                cell=(i, j),
                window=(r0, q0, *seen.shape),
                seen=seen,
                winner=winner,
                output=_so_far(y, i, j),
            )
        )

    ph, pw = max(s.window[2] for s in steps), max(s.window[3] for s in steps)
    seen_cell = min(0.6, 1.8 / pw, 2.4 / ph)
    centre = max(pw * seen_cell, 0.9)
    room = WIDTH - 2 * MARGIN - centre - 2 * 0.8
    cell = min(CELL, room / (x.shape[1] + columns), 3.4 / max(len(x), rows))
    shade, result = _Shade(x, "gray_r"), _Shade(x, "gray_r", numbers=y)
    high = max(len(x) * cell, ph * seen_cell + 0.9)
    wide = (x.shape[1] + columns) * cell + centre + 1.6

    def draw(step: WindowStep) -> "Figure":
        fig, ax = _sheet(0.85 + high + 0.3, step.text, _position(step.cell, y), len(steps))
        middle = 0.85 + high / 2
        x0, y0 = (WIDTH - wide) / 2, middle - len(x) * cell / 2
        _label(ax, x0, y0, f"picture x, {_size(x.shape)}")
        _cells(ax, x, x0, y0, cell, shade)
        r0, q0, wr, wc = step.window
        _outline(ax, (x0 + q0 * cell, y0 + r0 * cell), (wr, wc), cell)
        x0 += x.shape[1] * cell + 0.8
        _arrow(ax, x0 - 0.65, x0 - 0.15, middle)

        left, top = x0 + (centre - wc * seen_cell) / 2, middle - wr * seen_cell / 2
        _label(ax, x0 + centre / 2, top, "the window", ha="center")
        _cells(ax, step.seen, left, top, seen_cell, shade)
        _outline(ax, (left, top), (wr, wc), seen_cell)
        if step.winner is not None:
            a, b = step.winner[0] - r0, step.winner[1] - q0
            corner = (left + (b + 0.14) * seen_cell, top + (a + 0.14) * seen_cell)
            _outline(ax, corner, (1, 1), 0.72 * seen_cell, BLUE, 2.4)
        i, j = step.cell
        below = top + wr * seen_cell + 0.12
        answer = f"{keeps}:\n{_show(y[i, j])}"
        look: dict[str, Any] = {"ha": "center", "va": "top", "linespacing": 1.35}
        ax.text(x0 + centre / 2, below, answer, fontsize=TEXT + 1, **look)
        x0 += centre + 0.8
        _arrow(ax, x0 - 0.65, x0 - 0.15, middle)

        y0 = middle - rows * cell / 2
        _label(ax, x0, y0, f"result y, {_size(y.shape)}")
        _cells(ax, step.output, x0, y0, cell, result)
        _outline(ax, (x0 + j * cell, y0 + i * cell), (1, 1), cell)
        return fig

    height, width = layer.pool_size
    alt = (
        f"On the left a window of {height} by {width} cells moves over a picture of {x.shape[0]} "
        f"by {x.shape[1]} cells in steps of {layer.strides[0]} rows and {layer.strides[1]} "
        f"columns. In the centre stand the numbers that it sees, and {keeps}. On the right this "
        f"number becomes one cell of the result, which has {rows} by {columns}."
    )
    return Frames(steps, draw, alt, seconds)


# --- Gradient descent -----------------------------------------------------------------------


def gradient_descent(
    x: ArrayLike = (-1.0, 0.0, 1.0, 2.0),
    y: ArrayLike = (-1.0, 1.0, 1.0, 3.0),
    learning_rate: float = 0.1,
    steps: int = 20,
    start: tuple[float, float] = (-2.0, 3.0),
    seconds: float = 0.7,
) -> Frames:
    """A ball goes down the loss surface of one neuron, y = w x + b, against the gradient.

    Parameters
    ----------
    x, y : array_like (examples,)
        Points through which the neuron lays a line; the loss is the mean squared error.
    learning_rate : float
    steps : int
        How many updates to make.
    start : (w, b)
        Where the ball lies at first.
    seconds : float
        See `Frames`.

    Returns
    -------
    Frames
        One a point of the way, the start included, with `DescentStep`; fewer than ``steps + 1``
        where the loss gets too large for a float. The surface is drawn around the start and the
        lowest point; an arrow at its edge points to a ball that has left it.

    Raises
    ------
    ValueError
        For x and y that are not two lists of one length, fewer than two different x (the loss has
        no single lowest point then), numbers that are not finite, or settings out of range.

    Examples
    --------
    >>> from cnnlib import animations
    >>> frames = animations.gradient_descent(learning_rate=0.1, steps=3)
    >>> [f"{step.loss:.2f}" for step in frames.steps]
    ['14.00', '9.33', '6.53', '4.72']
    >>> frames = animations.gradient_descent(learning_rate=0.6, steps=10)
    >>> frames.steps[-1].loss > frames.steps[0].loss, frames.steps[-1].inside
    (True, False)
    """
    inputs, targets = np.asarray(x, dtype="float64"), np.asarray(y, dtype="float64")
    if inputs.ndim != 1 or inputs.shape != targets.shape or len(np.unique(inputs)) < 2:
        raise ValueError(
            "gradient_descent: expected x and y of one shape (examples,), with at least two "
            f"different x. Received: x={x!r}, y={y!r}"
        )
    if np.shape(start) != (2,) or not np.isfinite([*inputs, *targets, *start]).all():
        raise ValueError(
            "gradient_descent: expected finite numbers, two of them for start, (w, b). "
            f"Received: x={x!r}, y={y!r}, start={start!r}"
        )
    rate, updates = number(learning_rate, "learning_rate"), positive_int(steps, "steps")
    inputs, targets = inputs[:, np.newaxis], targets[:, np.newaxis]

    # The lowest point solves a linear system: least squares.
    columns = np.concatenate([inputs, np.ones_like(inputs)], axis=1)
    lowest = np.linalg.lstsq(columns, targets, rcond=None)[0][:, 0]
    reach = 1.3 * max(np.abs(np.subtract(start, lowest)).max(), 0.5)
    w_axis, b_axis = (np.linspace(middle - reach, middle + reach, 81) for middle in lowest)
    surface = _surface(inputs, targets, w_axis, b_axis)
    way = _descend(inputs, targets, rate, updates, start, lowest, reach)
    ceiling = 1.8 * way[0].loss

    def draw(step: DescentStep) -> "Figure":
        from matplotlib import colormaps

        fig, _ = _sheet(5.0, step.text, step.step, len(way))
        side = 3.5
        view = _panel(fig, 0.62, 0.75, side, side)
        low = surface.min()
        levels = low + np.geomspace(0.004, 1, 11) * (surface.max() - low)
        bands = colormaps["cividis"](
            np.linspace(0, 1, len(levels))
        )  # one a level, all as far apart
        view.contourf(w_axis, b_axis, surface, [low - 1e-9, *levels], colors=bands)
        view.contour(w_axis, b_axis, surface, levels[:-1], colors="white", linewidths=0.6)
        limits = (w_axis[0], w_axis[-1]), (b_axis[0], b_axis[-1])
        view.set(xlim=limits[0], ylim=limits[1], xlabel="weight w", ylabel="weight b")
        view.set_title(f"loss surface: dark is low, {TIMES} is the lowest point")
        view.plot(*lowest, "x", color="white", markersize=10, markeredgewidth=2.4)
        past = way[: step.step + 1]
        trail = [[s.w for s in past], [s.b for s in past]]
        view.plot(*trail, color="white", linewidth=3.6)
        view.plot(*trail, "o-", color=INK, linewidth=1.4, markersize=3.2)
        ball: dict[str, Any] = {"markeredgecolor": "white", "color": VERMILLION}
        if step.inside:
            view.plot(step.w, step.b, "o", markersize=13, markeredgewidth=1.8, **ball)
        else:
            away = np.subtract((step.w, step.b), lowest)
            away *= reach / np.abs(away).max()
            how = {"facecolor": VERMILLION, "edgecolor": "white", "width": 9, "headwidth": 20}
            view.annotate("", lowest + 0.98 * away, lowest + 0.8 * away, arrowprops=how, zorder=4)

        curve = _panel(fig, 4.75, 0.75, WIDTH - MARGIN - 4.85, side)
        curve.set(xlim=(-0.04 * updates, 1.04 * updates), ylim=(0, ceiling), xlabel="step")
        curve.set_title(f"loss by step, rate {rate:g}")
        curve.spines[["top", "right"]].set_visible(False)
        curve.plot([s.step for s in past], [s.loss for s in past], "o-", color=INK, markersize=3.2)
        height = min(step.loss, 0.97 * ceiling)
        mark = "o" if height == step.loss else "^"
        curve.plot(step.step, height, mark, markersize=11, markeredgewidth=1.5, **ball)
        return fig

    last = way[-1]
    ends = "It comes to rest near the lowest point."
    if last.loss > way[0].loss:
        ends = "Each step is too long, and the loss grows: the rate is too large."
    elif last.loss - surface.min() > 0.01 * (way[0].loss - surface.min()):
        ends = "After the last step it is still on its way to the lowest point."
    alt = (
        "The loss surface of a neuron with the two weights w and b, seen from above: a bowl of "
        "oval contour lines. A ball rolls from its start against the gradient, one step a frame, "
        f"with learning rate {rate:g}; its path stays drawn. Beside it the loss by step. {ends}"
    )
    return Frames(way, draw, alt, seconds)


def _neuron(units: int) -> tuple[Sequential, Any]:
    layer = layers.Dense(units, dtype="float64")
    return Sequential([layers.Input((1,), dtype="float64"), layer]), layer


def _surface(x: np.ndarray, y: np.ndarray, w_axis: np.ndarray, b_axis: np.ndarray) -> np.ndarray:
    """The loss at every (w, b): a layer with one unit for each predicts them all at once."""
    w, b = np.meshgrid(w_axis, b_axis)
    model, layer = _neuron(w.size)
    layer.set_weights([w.reshape(1, -1), b.reshape(-1)])
    predicted = model.forward(x)[0].T
    targets = np.broadcast_to(y.T, predicted.shape)
    values, _ = losses.MeanSquaredError().value_and_gradient(targets, predicted)
    return values.reshape(w.shape)


def _descend(
    x: np.ndarray,
    y: np.ndarray,
    rate: float,
    updates: int,
    start: tuple[float, float],
    lowest: np.ndarray,
    reach: float,
) -> list[DescentStep]:
    model, layer = _neuron(1)
    model.compile(optimizers.SGD(rate), loss="mse")
    layer.set_weights([np.array([[start[0]]]), np.array([start[1]])])
    way: list[DescentStep] = []
    for k in range(updates + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            loss, grads = model.gradients(x, y)
        w, b = (float(array.item()) for array in layer.get_weights())
        dw, db = (float(grad.item()) for grad in grads.values())
        if not np.isfinite([loss, w, b, dw, db]).all():
            break
        inside = bool((np.abs(np.subtract((w, b), lowest)) <= reach).all())
        text = f"step {k}: w = {_show(w)}, b = {_show(b)}, loss {_show(loss)}"
        if not inside:
            text += ": out of the picture"
        way.append(
            DescentStep(text=text, step=k, w=w, b=b, loss=loss, gradient=(dw, db), inside=inside)
        )
        model.optimizer.update(model.params, grads)
    return way


# --- Kernels during training ----------------------------------------------------------------


def kernels_during_training(
    epochs: int = 12,
    filters: int = 8,
    kernel_size: int = 7,
    examples: int = 1000,
    seed: int = 1,
    seconds: float = 1.2,
) -> Frames:
    """The kernels of a first layer, epoch by epoch, while a small network learns to read digits.

    The network is a convolution, a max pooling of 2 x 2 and a dense layer. Its kernels begin near
    zero, so that what shows up in them was learned.

    Parameters
    ----------
    epochs : int
    filters : int
        The number of kernels.
    kernel_size : int
        Their height and width.
    examples : int
        How many of the 4,000 embedded training digits to learn from, at most 3,000; the accuracy is
        that on the last 1,000.
    seed : int
        Of the first weights and of the order of the digits.
    seconds : float
        See `Frames`.

    Returns
    -------
    Frames
        ``epochs + 1`` of them, with `KernelStep`: before training and after each epoch.

    Raises
    ------
    ValueError
        For settings out of range.

    Examples
    --------
    >>> from cnnlib import animations
    >>> frames = animations.kernels_during_training(epochs=1, filters=2, examples=50)
    >>> [step.kernel.shape for step in frames.steps]
    [(7, 7, 1, 2), (7, 7, 1, 2)]
    """
    epochs, filters = positive_int(epochs, "epochs"), positive_int(filters, "filters")
    kernel_size = positive_int(kernel_size, "kernel_size")
    if positive_int(examples, "examples") > 3000 or kernel_size > 27:
        raise ValueError(
            "kernels_during_training: expected at most 3000 examples, and kernels of at most 27 x "
            f"27 for digits of 28 x 28. Received: examples={examples}, kernel_size={kernel_size}"
        )
    (images, labels), _ = digits.load_data()
    images = images[..., np.newaxis].astype("float32") / 255
    model = Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(
                filters,
                kernel_size,
                activation="relu",
                kernel_initializer=initializers.RandomNormal(stddev=0.02, seed=seed),
            ),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(
                10,
                activation="softmax",
                kernel_initializer=initializers.GlorotUniform(seed=seed),
            ),
        ]
    )
    model.seed = seed
    model.compile(
        optimizers.Adam(0.003), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    steps: list[KernelStep] = []
    for epoch in range(epochs + 1):
        if epoch > 0:
            chosen = images[:examples], labels[:examples]
            model.fit(*chosen, epochs=epoch, initial_epoch=epoch - 1, verbose=0)
        accuracy = model.evaluate(images[3000:], labels[3000:], verbose=0)[1]
        when = "before training" if epoch == 0 else f"after epoch {epoch} of {epochs}"
        steps.append(
            KernelStep(
                text=f"{when}: {plots._percent(accuracy)} of the unseen digits are read correctly",
                epoch=epoch,
                kernel=model.layers[0].params["kernel"].copy(),
                accuracy=float(accuracy),
            )
        )

    shade = _Shade(np.stack([step.kernel for step in steps]), "cividis", symmetric=True)
    across = min(filters, 4)
    down = math.ceil(filters / across)
    tile = min(1.0, 4.3 / (across * 1.12), 4.2 / (down * 1.3))
    high = max(down * 1.3 * tile, 2.4)

    def draw(step: KernelStep) -> "Figure":
        fig, ax = _sheet(0.85 + high + 0.55, step.text, step.epoch, len(steps))
        for k in range(filters):
            x0 = MARGIN + 0.1 + (k % across) * 1.12 * tile
            y0 = 0.85 + (k // across) * 1.3 * tile
            _label(ax, x0 + tile / 2, y0, f"kernel {k}" if tile > 0.7 else str(k), ha="center")
            _cells(ax, step.kernel[:, :, 0, k], x0, y0, tile / kernel_size, shade)
        bar = ax.inset_axes(
            (MARGIN + 0.1, 0.85 + high + 0.02, across * 1.12 * tile - 0.12 * tile, 0.12),
            transform=ax.transData,
        )
        ramp = np.linspace(-shade.limit, shade.limit, 64)
        bar.imshow(ramp[np.newaxis], cmap="cividis", aspect="auto")
        names = [_show(-shade.limit), "0", _show(shade.limit)]
        bar.set_xticks([0, 31.5, 63], names)
        bar.set_yticks([])
        left = MARGIN + across * 1.12 * tile + 0.75
        curve = _panel(fig, left, 0.85, WIDTH - MARGIN - left - 0.1, high - 0.15)
        past = steps[: step.epoch + 1]
        percent = [100 * s.accuracy for s in past]
        curve.plot([s.epoch for s in past], percent, "o-", color=BLUE)
        ball: dict[str, Any] = {"markeredgecolor": "white", "color": VERMILLION}
        curve.plot(step.epoch, percent[-1], "o", markersize=11, clip_on=False, zorder=4, **ball)
        curve.set(xlim=(-0.3, epochs + 0.3), ylim=(0, 100), xlabel="epoch")
        curve.set_title("read correctly, %")
        curve.spines[["top", "right"]].set_visible(False)
        curve.grid(axis="y", color=plots.PALE)
        return fig

    alt = (
        f"The {filters} kernels of a network's first layer, {kernel_size} by {kernel_size} each, "
        f"before training and after each of {epochs} epochs. They begin as faint noise; within a "
        "few epochs bright and dark stripes and blobs grow out of it, the parts of strokes to "
        "which they answer. Beside them the share of unseen digits that is read correctly rises "
        "steeply and then levels off."
    )
    return Frames(steps, draw, alt, seconds)


# --- Drawing: the whole figure is one Axes whose units are inches, y downwards --------------


def _sheet(height: float, text: str, k: int, count: int) -> tuple["Figure", Any]:
    """A white figure with the step's sentence above and its number below."""
    from matplotlib.figure import Figure

    fig = Figure((WIDTH, height), dpi=100, facecolor="white")
    ax = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    # Not axis('off'): the Axes keeps its extent, so `plots.show` crops no frame differently.
    ax.set(xlim=(0, WIDTH), ylim=(height, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.text(MARGIN, MARGIN, text, fontsize=TEXT + 2, weight="bold", va="top")
    place: dict[str, Any] = {"ha": "right", "va": "bottom", "color": FAINT, "fontsize": TEXT - 0.5}
    ax.text(WIDTH - MARGIN, height - 0.08, f"{k + 1} of {count}", **place)
    return fig, ax


def _panel(fig: "Figure", x: float, y: float, width: float, height: float) -> Any:
    """Axes for a curve, placed in inches from the upper left corner."""
    w, h = fig.get_size_inches()
    return fig.add_axes((x / w, 1 - (y + height) / h, width / w, height / h))


class _Shade:
    """Colours of one array, the same in all frames, and whether its numbers fit into a cell."""

    def __init__(
        self,
        values: np.ndarray,
        colours: str,
        symmetric: bool = False,
        pale: float = 0.0,
        numbers: np.ndarray | None = None,
    ):
        from matplotlib import colormaps

        low, high = float(np.min(values)), float(np.max(values))
        self.limit = max(abs(low), abs(high)) or 1.0
        self.low, self.high = (-self.limit, self.limit) if symmetric else (min(low, 0.0), high)
        self.colours = colormaps[colours]
        self.pale = pale  # how much white to mix in, for numbers to be read on it
        texts = [_show(value) for value in np.unique(values if numbers is None else numbers)]
        self.longest = max(len(text) + 0.4 * text.count(MINUS) for text in texts)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(rows, columns) -> (rows, columns, 3); what is not known yet is white."""
        share = (np.nan_to_num(values) - self.low) / ((self.high - self.low) or 1.0)
        rgb = self.colours(np.clip(share, 0, 1))[..., :3] * (1 - self.pale) + self.pale
        return np.where(np.isnan(values)[..., np.newaxis], 1.0, rgb)

    def size(self, side: float) -> float:
        """Points, for the longest number in a cell of so many inches; 0 where none fits."""
        # A digit is 0.64 of its size wide, a minus sign 1.4 digits; some of the cell stays free.
        points = min(72 * 0.8 * side / (0.64 * self.longest), 72 * 0.55 * side, TEXT + 3)
        return points if points >= 7 else 0.0


def _cells(ax: Any, values: Any, x: float, y: float, side: float, shade: _Shade) -> None:
    values = np.asarray(values, dtype=float)
    rows, columns = values.shape
    rgb = shade(values)
    edges = x + side * np.arange(columns + 1), y + side * np.arange(rows + 1)
    line = 0.8 if side > 0.2 else 0.0
    ax.pcolormesh(*edges, rgb, edgecolors="#b0b0b0" if line else "face", linewidth=line or 0.2)
    points = shade.size(side)
    unknown = np.isnan(values)
    i, j = unknown.nonzero()
    if side > 0.1 and i.size:
        ax.plot(x + (j + 0.5) * side, y + (i + 0.5) * side, "o", color="#b0b0b0", markersize=3.2)
    i, j = (~unknown).nonzero()
    if points and i.size:
        luminance = rgb[i, j] ** 2.2 @ (0.2126, 0.7152, 0.0722)
        ink = np.where(luminance < 0.18, "white", "black")  # WCAG: both are even at 0.18
        at = np.stack([x + (j + 0.5) * side, y + (i + 0.5) * side], axis=-1)
        _numbers(ax, [_show(value) for value in values[i, j]], at, points, ink)


def _numbers(ax: Any, texts: list[str], at: np.ndarray, points: float, ink: Any) -> None:
    """Texts centred at those places, as one artist: in half the time of a hundred `ax.text`."""
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    inches = Affine2D().scale(points / 72 / GLYPH) + ax.figure.dpi_scale_trans
    shapes = PathCollection(
        [_glyphs(text) for text in texts],
        offsets=at,
        offset_transform=ax.transData,
        facecolors=ink,
        linewidths=0,
        label=" ".join(texts),
    )
    shapes.set_transform(inches)
    ax.add_collection(shapes, autolim=False)


@cache
def _glyphs(text: str) -> Any:
    """The outline of a text, `GLYPH` points high; (0, 0) is its middle, half a digit up."""
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    outline = TextPath((0, 0), text, size=GLYPH)
    extent = outline.get_extents()
    digit = TextPath((0, 0), "0", size=GLYPH).get_extents()
    middle = (extent.x0 + extent.x1) / 2, (digit.y0 + digit.y1) / 2
    return Affine2D().translate(-middle[0], -middle[1]).transform_path(outline)


def _outline(
    ax: Any,
    corner: tuple[float, float],
    size: tuple[int, ...],
    side: float,
    colour: str = VERMILLION,
    width: float = 3.2,
) -> None:
    """A thick frame with a white rim, which shows on dark cells and on light ones."""
    from matplotlib.patches import Rectangle

    for edge, thick in (("white", width + 2.0), (colour, width)):
        box = Rectangle(corner, size[1] * side, size[0] * side, fill=False, zorder=3)
        box.set(edgecolor=edge, linewidth=thick, joinstyle="miter")
        ax.add_patch(box)


def _label(ax: Any, x: float, y: float, text: str, ha: str = "left") -> None:
    ax.text(x, y - 0.09, text, ha=ha, va="bottom", fontsize=TEXT + 0.5)


def _sign(ax: Any, x: float, y: float, sign: str) -> None:
    ax.text(x, y, sign, ha="center", va="center_baseline", fontsize=TEXT + 7)


def _arrow(ax: Any, x0: float, x1: float, y: float) -> None:
    how = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.8, "mutation_scale": 16}
    ax.annotate("", xy=(x1, y), xytext=(x0, y), arrowprops=how)


# --- Words ----------------------------------------------------------------------------------


def _show(value: Any) -> str:
    """A number as it stands in a cell: at most two decimals, a real minus sign.

    Examples
    --------
    >>> _show(3.0), _show(-0.256), _show(12345.6), _show(-0.001)
    ('3', '−0.26', '1.2e+04', '0')
    """
    value = float(value)
    if value == int(value) if abs(value) < 1e5 else False:
        text = str(int(value))
    elif abs(value) >= 1e4:
        text = f"{value:.1e}"
    else:
        text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", MINUS)


def _list(values: np.ndarray) -> str:
    """The numbers with commas, or how many there are where that would be too long."""
    text = ", ".join(_show(value) for value in values.ravel())
    return text if len(text) <= 48 else f"{values.size} numbers"


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} {TIMES} {shape[1]}"


def _count(how_many: int, what: str) -> str:
    return f"{how_many} {what}{'' if how_many == 1 else 's'}"


def _position(cell: tuple[int, int], y: np.ndarray) -> int:
    """Which frame computes this cell: they come row by row."""
    return cell[0] * y.shape[1] + cell[1]


def _so_far(y: np.ndarray, i: int, j: int) -> np.ndarray:
    """The result up to row i, column j; NaN after it."""
    done = np.arange(y.size).reshape(y.shape) <= _position((i, j), y)
    return np.where(done, y, np.nan)
