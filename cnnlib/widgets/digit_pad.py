"""DigitPad: draw a digit, and a network says what it sees, as you draw.

Used in notebooks/00_start_here.ipynb. The pad itself is digit_pad.js beside this file; it sends
strokes to Python and shows what comes back. Nothing leaves the machine.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError(
        "The DigitPad needs anywidget, which is not installed. Install the project's 'lessons' "
        "extra, or: pip install anywidget. widgets.pad_figure(model, strokes) draws a still "
        "picture without it"
    ) from error

from cnnlib.widgets.pad_model import load_pad_model
from cnnlib.widgets.pad_view import (
    TEXTS,
    THRESHOLD,
    check_model,
    chosen_layer,
    image_layers,
    maps_of,
    read_digit,
)
from cnnlib.widgets.strokes import as_strokes

FOLDER = Path(__file__).resolve().parent
MOST_POINTS = 5_000  # of a drawing that comes from a page: a hand draws a few hundred
PATCH = (0.35, 0.35, 0.3)  # where the patch lies when it is put on


def _strokes_from_page(value: Any, pad: "DigitPad") -> Any:
    """What a page sent, if it is a drawing; else the drawing as it was."""
    try:
        if sum(len(stroke) for stroke in value) > MOST_POINTS:
            return pad.strokes
        return _plain(value)
    except (TypeError, ValueError, OverflowError):
        return pad.strokes


def _patch_from_page(value: Any, pad: "DigitPad") -> Any:
    try:
        return _plain_patch(value)
    except (TypeError, ValueError, OverflowError):
        return pad.patch


def _layer_from_page(value: Any, pad: "DigitPad") -> str:
    return value if isinstance(value, str) and value in pad.layers else pad.layer


def _answer(trait: Any, name: str) -> Any:
    """A trait that Python sends to the page and that no message from a page changes."""
    return trait.tag(sync=True, from_json=lambda value, pad: getattr(pad, name))


def _plain(strokes: Any) -> list[list[list[float]]]:
    """Strokes as lists of lists, which JSON knows."""
    return [stroke.tolist() for stroke in as_strokes(strokes)]


def _plain_patch(patch: Any) -> list[float]:
    values = np.asarray([] if patch is None else patch, np.float64)
    if values.shape not in ((0,), (3,)) or not np.isfinite(values).all() or (values[2:] < 0).any():
        raise ValueError(
            "patch: expected three finite numbers (x, y, side), the side at least 0, or () for "
            f"none. Received: {patch!r}"
        )
    return list(map(float, values))


class DigitPad(anywidget.AnyWidget):
    """A pad to draw a digit on, and what a network says to it, as you draw.

    Drawn on with mouse, pen or finger, or with the keyboard: arrow keys move the pen, space sets it
    down or lifts it, u takes back a stroke or a clear, c clears, p puts a patch on or takes it off,
    shift and arrow keys move it. The answer is also spoken by screen readers. The patch can be
    dragged over the drawing; the network does not see what lies under it.

    Parameters
    ----------
    model : Sequential, optional
        Takes pictures (batch, 28, 28, 1), 0 paper and 1 ink, and gives ten probabilities; the
        network of `load_pad_model` where it is not given.
    layer : str, optional
        The layer whose feature maps are shown; it can be changed on the pad.
    threshold : float
        Below this probability the answer is 'not sure'.
    strokes : sequence of array_like (points, 2), optional
        What is drawn already, in units of the pad: 0 to 1, x to the right and y down.
    patch : (x, y, side), optional
        A square that hides part of the drawing, in the same units.

    Attributes
    ----------
    strokes, patch, layer, threshold
        As above; they may be set. ``patch`` is an empty list where there is none.
    probabilities : list of 10 floats
    digit : int or None
        None where nothing is drawn or the network is not sure.
    answer : str

    Raises
    ------
    ValueError, TypeError, traitlets.TraitError
        For a model of another shape, an unknown layer, or strokes that are no drawing.

    Examples
    --------
    >>> from cnnlib import widgets
    >>> pad = widgets.DigitPad(strokes=widgets.EXAMPLES[7])
    >>> pad.digit
    7
    >>> pad.clear()
    >>> pad.answer
    'Draw a digit.'
    """

    _esm = FOLDER / "digit_pad.js"
    _css = FOLDER / "digit_pad.css"

    strokes: Any = traitlets.List().tag(sync=True, from_json=_strokes_from_page)
    patch: Any = traitlets.List().tag(sync=True, from_json=_patch_from_page)
    layer = traitlets.Unicode().tag(sync=True, from_json=_layer_from_page)
    threshold = _answer(traitlets.Float(THRESHOLD, min=0, max=1), "threshold")

    layers = _answer(traitlets.List(), "layers")
    probabilities = _answer(traitlets.List(), "probabilities")
    answer = _answer(traitlets.Unicode(), "answer")
    digit = _answer(traitlets.Int(None, allow_none=True), "digit")
    # Bytes arrive from a page as memoryviews, which a plain Bytes refuses: no page may send these.
    picture = _answer(traitlets.Bytes(b""), "picture")  # 28 * 28 bytes, 255 is ink
    maps = _answer(traitlets.Bytes(b""), "maps")  # channels * height * width bytes
    maps_shape = _answer(traitlets.List(), "maps_shape")
    texts = _answer(traitlets.Dict(TEXTS), "texts")
    start_patch = _answer(traitlets.List(list(PATCH)), "start_patch")

    def __init__(
        self,
        model: Any = None,
        layer: str | None = None,
        threshold: float = THRESHOLD,
        strokes: Any = (),
        patch: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        self.model = load_pad_model() if model is None else model
        check_model(self.model)
        self._cleared: list[Any] = []
        super().__init__(
            layers=image_layers(self.model),
            layer=chosen_layer(self.model, layer),
            threshold=threshold,
            strokes=_plain(strokes),
            patch=_plain_patch(patch),
            **options,
        )
        self._look()
        self.observe(self._look, ["strokes", "patch", "layer", "threshold"])

    @traitlets.validate("strokes")
    def _valid_strokes(self, proposal: Any) -> Any:
        return _plain(proposal["value"])

    @traitlets.validate("patch")
    def _valid_patch(self, proposal: Any) -> Any:
        return _plain_patch(proposal["value"])

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: Any) -> Any:
        return chosen_layer(self.model, proposal["value"] or None)

    def undo(self) -> None:
        """Take back the last stroke, or, on an empty pad, the last `clear`."""
        if self.strokes:
            self.strokes = self.strokes[:-1]
        else:
            self.strokes, self._cleared = self._cleared, []

    def clear(self) -> None:
        """Take away all strokes; the patch stays. `undo` brings them back."""
        self._cleared = self.strokes or self._cleared
        self.strokes = []

    def _look(self, change: Any = None) -> None:
        """Send the drawing through the network, and what comes out to the page, in one message."""
        answer = read_digit(self.model, self.strokes, self.patch or None, self.threshold)
        with self.hold_sync():
            self.picture = np.rint(255 * answer.picture).astype(np.uint8).tobytes()
            self.probabilities = [round(float(p), 4) for p in answer.probabilities]
            self.digit = answer.digit
            self.answer = answer.text
            if self.layer:
                maps = maps_of(self.model, answer.picture, self.layer)
                low, high = min(0.0, float(maps.min())), float(maps.max())
                grey = (maps - low) / ((high - low) or 1.0)
                self.maps_shape = list(maps.shape)
                self.maps = np.rint(255 * grey).astype(np.uint8).tobytes()
