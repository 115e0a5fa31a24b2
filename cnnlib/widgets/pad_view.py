"""What a network says to a drawing: the answer in words, and all of it as a still picture.

Used in notebooks/00_start_here.ipynb. matplotlib is imported when a picture is drawn, never before.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnlib.plots import BLUE, FAINT, TEXT, WIDTH, _figure, _percent, _style
from cnnlib.utils import unknown_name
from cnnlib.widgets.strokes import SIDE, place, to_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLD = 0.7
SMALLEST = 0.12  # of the pad's side: what is drawn smaller stays small, so a dot is a dot
# Every word that the pad and its still picture show.
TEXTS = {
    "empty": "Draw a digit.",
    "hidden": "The patch hides the whole drawing.",
    "sure": "Answer: {first} ({p_first}).",
    "unsure": "Not sure: {first} ({p_first}) or {second} ({p_second})?",
    "warning": "The network knows digits alone: a letter gets an answer too.",
    "pad": "Pad for drawing a digit. Draw with mouse, pen or finger; or move the pen with the "
    "arrow keys and lift it or set it down with space. U takes back a stroke, or what C cleared. P "
    "puts a patch over the drawing or takes it off, shift and arrow keys move the patch.",
    "hint": "Keys: arrows move the pen, space sets it down or lifts it, u undo, c clear, p patch, "
    "shift and arrows move the patch.",
    "undo": "Undo",
    "clear": "Clear",
    "patch": "Patch",
    "seen": "What the network sees",
    "bars": "Probability of each digit",
    "probability": "probability",
    "sure_from": "sure from",
    "maps": "Feature maps of",
    "pen_down": "Pen down",
    "pen_up": "Pen up",
    "undone": "Stroke taken back",
    "restored": "Drawing brought back",
    "cleared": "Cleared",
    "patch_on": "Patch on",
    "patch_off": "Patch off",
}


class Answer(NamedTuple):
    """What a network says to a drawing.

    picture : ndarray of float32 (28, 28), what it sees
    probabilities : ndarray of float32 (10,); all 0 where there is nothing to see
    digit : the likeliest one, or None where nothing is to see or none reaches the threshold
    text : the same as a sentence
    """

    picture: np.ndarray
    probabilities: np.ndarray
    digit: int | None
    text: str


def read_digit(
    model: Any,
    strokes: Any,
    patch: Sequence[float] | None = None,
    threshold: float = THRESHOLD,
) -> Answer:
    """Ask a network which digit a drawing is.

    Parameters
    ----------
    model : Sequential
        Takes (batch, 28, 28, 1), 0 paper and 1 ink; gives ten probabilities.
    strokes : sequence of array_like (points, 2)
        In units of the pad: 0 to 1, x to the right and y down.
    patch : (x, y, side), optional
        A square of the pad that hides what lies under it.
    threshold : float
        Below this probability the answer is 'not sure'.

    Returns
    -------
    Answer

    Raises
    ------
    ValueError, TypeError
        As `to_picture` does; for a model of another shape or a threshold outside 0..1.

    Examples
    --------
    >>> from cnnlib import widgets
    >>> widgets.read_digit(widgets.load_pad_model(), widgets.EXAMPLES[3]).digit
    3
    >>> widgets.read_digit(widgets.load_pad_model(), []).text
    'Draw a digit.'
    """
    check_model(model)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a number from 0 to 1. Received: {threshold!r}")
    picture = to_picture(strokes, patch=patch, smallest=SMALLEST)
    if not picture.any():
        drawn = any(len(stroke) for stroke in strokes)
        nothing = np.zeros(10, np.float32)
        return Answer(picture, nothing, None, TEXTS["hidden" if drawn else "empty"])
    y, _ = model.forward(picture[np.newaxis, :, :, np.newaxis].astype(model.dtype))
    probabilities = np.asarray(y[0], np.float32)
    second, first = (int(k) for k in np.argsort(probabilities, kind="stable")[-2:])
    sure = bool(probabilities[first] >= threshold)
    text = TEXTS["sure" if sure else "unsure"].format(
        first=first,
        second=second,
        p_first=_percent(float(probabilities[first])),
        p_second=_percent(float(probabilities[second])),
    )
    return Answer(picture, probabilities, first if sure else None, text)


def check_model(model: Any) -> None:
    """Refuse a model that does not read pictures (28, 28, 1) or does not give ten numbers.

    Raises
    ------
    ValueError
    """
    shapes = (model.input_shape[1:], model.output_shape[1:])
    if shapes != ((SIDE, SIDE, 1), (10,)):
        raise ValueError(
            "the pad expects a model that takes pictures (28, 28, 1) and gives 10 probabilities. "
            f"Received one that takes {shapes[0]} and gives {shapes[1]}"
        )


def image_layers(model: Any) -> list[str]:
    """Names of the layers that give images (batch, height, width, channels), in order."""
    shapes = [(layer.name, layer.compute_output_shape(layer.input_shape)) for layer in model.layers]
    return [name for name, shape in shapes if len(shape) == 4]


def chosen_layer(model: Any, layer: str | None) -> str:
    """The name of the layer to show: the one that is asked for, else the first that gives images.

    Raises
    ------
    ValueError
        For a name that is not among `image_layers`; '' is returned where there is none at all.
    """
    names = image_layers(model)
    if layer is None:
        return names[0] if names else ""
    if layer not in names:
        raise unknown_name("layer that gives images", layer, names)
    return layer


def maps_of(model: Any, picture: np.ndarray, layer: str) -> np.ndarray:
    """Feature maps (channels, height, width) of a picture (28, 28); all 0 for empty paper.

    (On empty paper a layer answers with nothing but its biases, which says nothing of a drawing.)
    """
    stop = model.layers.index(model.get_layer(layer)) + 1
    x = picture[np.newaxis, :, :, np.newaxis].astype(model.dtype)
    maps = np.asarray(model.forward(x, stop=stop)[0])[0].transpose(2, 0, 1)
    return maps if picture.any() else np.zeros_like(maps)


def describe(
    model: Any,
    strokes: Any,
    layer: str | None = None,
    patch: Sequence[float] | None = None,
    threshold: float = THRESHOLD,
) -> str:
    """The description of `pad_figure` for those who do not see it, without percentages.

    Parameters
    ----------
    model, strokes, layer, patch, threshold
        As in `pad_figure`.

    Returns
    -------
    str
        For ``plots.show(fig, alt=...)``.

    Raises
    ------
    ValueError, TypeError
        As `pad_figure` does.

    Examples
    --------
    >>> from cnnlib import widgets
    >>> widgets.describe(widgets.load_pad_model(), widgets.EXAMPLES[7]).split(". ")[1]
    'The longest of the ten bars is that of 7'
    """
    answer = read_digit(model, strokes, patch, threshold)
    layer = chosen_layer(model, layer)
    if not answer.picture.any():
        said = "Nothing is drawn and no bar rises"
    else:
        said = f"The longest of the ten bars is that of {answer.probabilities.argmax()}"
        said += "" if answer.digit is not None else ", but the network is not sure"
    covered = ", part of it hidden by a patch" if patch is not None else ""
    below = (
        f" Below, the feature maps of the layer {layer}, dark where they answer." if layer else ""
    )
    return f"A drawing as the network sees it, 28 by 28 pixels{covered}. {said}.{below}"


def pad_figure(
    model: Any,
    strokes: Any,
    layer: str | None = None,
    patch: Sequence[float] | None = None,
    threshold: float = THRESHOLD,
) -> "Figure":
    """What the DigitPad shows for these strokes, as a still picture.

    Parameters
    ----------
    model, strokes, patch, threshold
        As in `read_digit`.
    layer : str, optional
        The layer whose feature maps are shown; the first that gives images where it is not given.

    Returns
    -------
    Figure
        The picture that the network sees, ten bars, and feature maps on one scale from white, 0,
        to black. `describe` gives the words for ``plots.show(fig, alt=...)``.

    Raises
    ------
    ValueError, TypeError
        As `read_digit` does; for a layer that does not give images.

    Examples
    --------
    >>> from cnnlib import plots, widgets
    >>> model = widgets.load_pad_model()
    >>> fig = widgets.pad_figure(model, widgets.EXAMPLES[3])
    >>> plots.show(fig, alt=widgets.describe(model, widgets.EXAMPLES[3]))
    """
    answer = read_digit(model, strokes, patch, threshold)
    layer = chosen_layer(model, layer)
    maps = maps_of(model, answer.picture, layer) if layer else np.zeros((0, 1, 1))
    columns = min(8, len(maps)) or 1
    rows = -(-len(maps) // columns)
    with _style():
        from matplotlib.patches import Rectangle

        fig = _figure(WIDTH, 2.9 + 0.85 * rows + (0.4 if rows else 0))
        parts: Any = fig.subfigures(2, 1, height_ratios=[2.9, 0.85 * rows + 0.4]) if rows else [fig]
        parts[0].suptitle(answer.text, fontsize=TEXT + 3, weight="bold")
        left, right = parts[0].subplots(1, 2, width_ratios=[1, 1.7])
        left.imshow(answer.picture, cmap="gray_r", vmin=0, vmax=1)
        left.set(xticks=[], yticks=[], xlabel=TEXTS["seen"])
        left.spines[:].set(visible=True, color="#b0b0b0")
        if patch is not None and any(len(stroke) for stroke in strokes):
            scale, x, y = place(strokes, smallest=SMALLEST)
            corner, side = (scale * patch[0] + x, scale * patch[1] + y), scale * patch[2]
            look: dict[str, Any] = {
                "fill": False,
                "edgecolor": "#9a4400",
                "linestyle": "--",
                "linewidth": 1.5,
            }
            left.add_patch(Rectangle(corner, side, side, **look))
        bars = right.barh(range(10), answer.probabilities, color="#9a9a9a", height=0.7)
        if answer.probabilities.any():
            bars[int(answer.probabilities.argmax())].set(color=BLUE, hatch="//", edgecolor="white")
        right.axvline(threshold, color=FAINT, linestyle=":", linewidth=1)
        right.set(xlim=(0, 1), ylim=(9.6, -0.6), xlabel=TEXTS["probability"])
        mark = f"{TEXTS['sure_from']} {_percent(threshold)}"
        right.text(threshold, -0.7, mark, ha="center", va="bottom", color=FAINT, fontsize=TEXT - 1)
        parts[0].supxlabel(TEXTS["warning"], fontsize=TEXT, color=FAINT)
        right.set_yticks(range(10))
        right.tick_params(length=0)
        if rows:
            parts[1].suptitle(f"{TEXTS['maps']} {layer}", fontsize=TEXT + 1)
            limits = {"vmin": min(0.0, float(maps.min())), "vmax": float(maps.max()) or 1.0}
            for ax, one in zip(
                parts[1].subplots(rows, columns, squeeze=False).ravel(),
                [*maps, *[None] * (rows * columns - len(maps))],
                strict=True,
            ):
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set(visible=one is not None, color="#b0b0b0")
                if one is not None:
                    ax.imshow(one, cmap="gray_r", **limits)
        return fig
