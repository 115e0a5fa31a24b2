"""From the strokes of a pen to the picture that MNIST would have made of them.

MNIST's digits were scaled into a box of 20 x 20 pixels with their proportions kept and with grey
edges, and laid into 28 x 28 so that the centre of mass of the ink is in the middle (Y. LeCun,
C. Cortes, C. Burges: The MNIST database of handwritten digits; Y. LeCun, L. Bottou, Y. Bengio,
P. Haffner, Proceedings of the IEEE 86, 1998). A network that learned from such pictures wants to
see a drawing in the same form, wherever and however large it was drawn.

A stroke is a sequence of points (x, y): x to the right, y down, in any unit. Used in
notebooks/00_start_here.ipynb. Only NumPy is needed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

SIDE, BOX = 28, 20  # pixels: the picture, and the box that the ink fills
# The pixel at which MNIST puts the centre of mass: the mean over the embedded digits is 14.00 in
# both directions, and each digit lies within half a pixel, because MNIST shifts by whole pixels.
MIDDLE = 14.0
PEN = 2.6  # pixels: strokes that scripts/trace_strokes.py finds have about MNIST's mean ink with it
NEAR = 0.2  # pixels: a point nearer than this to the last one says nothing new


class Placement(NamedTuple):
    """Where a drawing lands in the picture: ``picture = scale * drawing + (x, y)``, in pixels."""

    scale: float
    x: float
    y: float


def as_strokes(strokes: Any) -> list[np.ndarray]:
    """Strokes as float64 arrays, without those that have no point.

    Parameters
    ----------
    strokes : sequence of array_like (points, 2)
        One array of points (x, y) for each time the pen was down.

    Returns
    -------
    list of ndarray (points, 2)

    Raises
    ------
    TypeError, ValueError
        For anything else, and for a coordinate that is NaN or infinite.

    Examples
    --------
    >>> [stroke.shape for stroke in as_strokes([[(0, 0), (1, 2)], []])]
    [(2, 2)]
    """
    if isinstance(strokes, str | bytes | dict) or not hasattr(strokes, "__iter__"):
        raise TypeError(
            "strokes: expected a list of strokes, each a list of points (x, y). "
            f"Received: {type(strokes).__name__}"
        )
    found = []
    for k, stroke in enumerate(strokes):
        try:
            points = np.asarray(stroke, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"strokes[{k}]: expected points (x, y), all of them numbers. Received: {error}"
            ) from None
        if points.size == 0 and points.ndim <= 2:
            continue
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f"strokes[{k}]: expected an array of points (x, y), of shape (points, 2). "
                f"Received shape {points.shape}"
            )
        if not np.isfinite(points).all():
            raise ValueError(
                f"strokes[{k}]: expected finite coordinates. Received NaN or infinity: leave out "
                "points that the pen did not give"
            )
        found.append(points)
    return found


def place(strokes: Any, pen: float = PEN, smallest: float = 0.0) -> Placement:
    """How a drawing is scaled and shifted so that it lies in the picture as MNIST's digits do.

    The longer side of the drawing, the pen's width included, fills the box of 20 pixels; then the
    centre of mass of the ink goes to pixel (14, 14). (Ink that this would push over the edge of
    the picture stays in it: only for a drawing that is very one-sided.)

    Parameters
    ----------
    strokes : sequence of array_like (points, 2)
        At least one point.
    pen : float
        The pen's width in pixels of the picture.
    smallest : float
        A drawing with a longer side below this, in units of the drawing, is scaled as one of this
        size: a dot stays a dot.

    Returns
    -------
    Placement

    Raises
    ------
    ValueError, TypeError
        As `as_strokes` does; for no points, and for a pen that is not above 0 and below 20.
    """
    return _place(as_strokes(strokes), pen, smallest)[0]


def to_picture(
    strokes: Any,
    pen: float = PEN,
    patch: Sequence[float] | None = None,
    smallest: float = 0.0,
) -> np.ndarray:
    """The picture of a drawing, as MNIST's digits are: 0 paper, 1 ink.

    Parameters
    ----------
    strokes : sequence of array_like (points, 2)
        None at all gives empty paper. One point gives a dot, and so do points in one place.
    pen : float
        The pen's width in pixels of the picture. It does not grow with the drawing.
    patch : (x, y, side), optional
        A square, its upper left corner first, in units of the drawing, whose ink is left out. It
        does not change where the rest lies.
    smallest : float
        As in `place`.

    Returns
    -------
    ndarray of float32 (28, 28)
        Coverage of each pixel by the pen: ``clip(pen / 2 + 1 / 2 - distance to the stroke, 0, 1)``.

    Raises
    ------
    ValueError, TypeError
        As `place` does; for a patch that is not three finite numbers, the side at least 0.

    Examples
    --------
    >>> picture = to_picture([[(0, 0), (0, 90)]])
    >>> picture.shape, np.flatnonzero(picture.any(axis=1)).tolist() == list(range(4, 25))
    ((28, 28), True)
    """
    arrays = as_strokes(strokes)
    corner = None if patch is None else _patch(patch)
    _positive_pen(pen)
    if not arrays:
        return np.zeros((SIDE, SIDE), np.float32)
    placement, picture = _place(arrays, pen, smallest)
    if corner is not None:
        x, y, side = corner
        scale, left, top = placement
        columns = _covered(scale * x + left, scale * side)
        rows = _covered(scale * y + top, scale * side)
        picture = picture * (1 - np.outer(rows, columns))
    return picture.astype(np.float32)


def _positive_pen(pen: float) -> None:
    if not 0 < pen < BOX:
        raise ValueError(f"pen: expected a width above 0 and below {BOX} pixels. Received: {pen}")


def _place(strokes: list[np.ndarray], pen: float, smallest: float) -> tuple[Placement, np.ndarray]:
    """The placement, and the picture that was made to find it."""
    _positive_pen(pen)
    if not strokes:
        raise ValueError("strokes: expected at least one point. Received: none")
    points = np.concatenate(strokes)
    # Divided before any difference is taken: coordinates of 1e308 must not overflow.
    unit = max(np.abs(points).max(), smallest) or 1.0
    points = points / unit
    low, high = points.min(0), points.max(0)
    longest = float(max((high - low).max(), smallest / unit))
    # Points that differ by rounding alone are one point: a dot.
    scale = (BOX - pen) / longest if longest > 1e-12 else 1.0
    middle = (low + high) / 2
    lines = _segments([(stroke / unit - middle) * scale + MIDDLE for stroke in strokes])
    picture = _draw(lines, pen)
    rows, columns = picture.sum(1), picture.sum(0)
    index = np.arange(SIDE)
    mass = picture.sum()
    shift = MIDDLE - np.array([columns @ index, rows @ index]) / mass
    half = (high - low) / 2 * scale + pen / 2
    shift = np.clip(shift, -0.5 - MIDDLE + half, SIDE - 0.5 - MIDDLE - half)
    origin = MIDDLE + shift - middle * scale
    placement = Placement(float(scale / unit), float(origin[0]), float(origin[1]))
    return placement, _draw(lines + np.tile(shift, 2), pen)


def _segments(strokes: list[np.ndarray]) -> np.ndarray:
    """Lines (n, 4) from point to point: x and y of both ends; a dot has a line without length."""
    lines = []
    for stroke in strokes:
        # A mouse gives hundreds of points: keep one where the way so far enters a new step.
        way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
        _, kept = np.unique(np.floor(way / NEAR), return_index=True)
        stroke = stroke[np.union1d(kept, [len(stroke) - 1])]
        ends = stroke[1:] if len(stroke) > 1 else stroke
        lines.append(np.concatenate([stroke[: len(ends)], ends], axis=1))
    return np.concatenate(lines)


def _draw(lines: np.ndarray, pen: float) -> np.ndarray:
    """Coverage (28, 28) by a round pen that goes along these lines."""
    start, way = lines[:, :2, None], lines[:, 2:, None] - lines[:, :2, None]
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    dx, dy = x - start[:, 0], y - start[:, 1]  # (lines, pixels)
    length2 = np.maximum((way**2).sum(1), 1e-12)
    t = np.clip((dx * way[:, 0] + dy * way[:, 1]) / length2, 0, 1)  # the line's nearest point
    distance2 = ((dx - t * way[:, 0]) ** 2 + (dy - t * way[:, 1]) ** 2).min(0)
    coverage = np.clip(pen / 2 + 0.5 - np.sqrt(distance2), 0, min(pen, 1))
    return coverage.reshape(SIDE, SIDE)


def _patch(patch: Any) -> tuple[float, float, float]:
    values = np.asarray(patch, np.float64)
    if values.shape != (3,) or not np.isfinite(values).all() or values[2] < 0:
        raise ValueError(
            "patch: expected three finite numbers (x, y, side), the side at least 0. "
            f"Received: {patch!r}"
        )
    return float(values[0]), float(values[1]), float(values[2])


def _covered(low: float, side: float) -> np.ndarray:
    """Which share of each of the 28 pixels (k - 1/2, k + 1/2) lies between low and low + side."""
    edges = np.arange(SIDE + 1) - 0.5
    return np.diff(np.clip(edges, low, low + side))


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
    """Points on an ellipse; angles in degrees, 0 to the right, 90 down."""
    angle = np.radians(np.linspace(start, stop, 24))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


def _join(*pieces: np.ndarray) -> np.ndarray:
    return np.concatenate(pieces)


# One drawing of each digit, in units of the pad (0 to 1): for still pictures and for trying things.
EXAMPLES: dict[int, list[np.ndarray]] = {
    0: [_arc(0.50, 0.50, 0.20, 0.33, -90, 270)],
    1: [_line((0.52, 0.17), (0.48, 0.83))],
    2: [_join(_arc(0.50, 0.35, 0.20, 0.18, -170, 45), _line((0.30, 0.82), (0.72, 0.80)))],
    3: [_join(_arc(0.47, 0.33, 0.19, 0.16, -150, 90), _arc(0.47, 0.66, 0.22, 0.17, -90, 150))],
    4: [
        _line((0.36, 0.18), (0.28, 0.52), (0.72, 0.52)),
        _line((0.66, 0.20), (0.62, 0.84)),
    ],
    5: [
        _join(_line((0.36, 0.18), (0.32, 0.47)), _arc(0.46, 0.63, 0.21, 0.20, -130, 140)),
        _line((0.36, 0.18), (0.68, 0.17)),
    ],
    6: [
        _join(_line((0.60, 0.15), (0.42, 0.38)), _arc(0.49, 0.65, 0.17, 0.18, -160, 210)),
    ],
    7: [_line((0.27, 0.22), (0.72, 0.20), (0.58, 0.46), (0.46, 0.84))],
    8: [
        _join(_arc(0.50, 0.33, 0.15, 0.16, 90, -270), _arc(0.50, 0.67, 0.19, 0.18, -90, 270)),
    ],
    9: [_join(_arc(0.48, 0.35, 0.17, 0.17, -20, 340), _line((0.64, 0.36), (0.58, 0.84)))],
}
