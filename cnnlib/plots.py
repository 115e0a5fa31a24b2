"""Pictures of training, predictions, kernels, feature maps and models, with alternative text.

Every function returns a matplotlib Figure that pyplot does not know, so a notebook shows it once:
where `show` is called. Colours are Okabe and Ito's, cividis or gray, which the colour-blind tell
apart; lines differ in dash and marker too, right and wrong in sign and frame, and every scale
runs from dark to light, so that a black and white print says the same.

The pictures are used from notebooks/01_dense.ipynb on; most of them in 08_mnist_cnn.ipynb.
matplotlib is imported when a picture is drawn, never before.
"""

import base64
import html
import io
import math
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlib.utils import positive_int

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "confusion_counts",
    "confusion_matrix",
    "feature_maps",
    "kernels",
    "mistakes",
    "model_diagram",
    "occlusion",
    "occlusion_maps",
    "saliency",
    "saliency_maps",
    "sample_images",
    "sample_predictions",
    "show",
    "training_history",
    "worst_mistakes",
]

WIDTH = 7.0  # inches: fills a notebook's column, no more
TEXT = 9.0  # points
LINE = 0.19  # inches that one line of text needs
DOTS = 144  # an inch, in what `show` stores; shown at 96 an inch: sharp on fine screens too
INK, FAINT, PALE = "#1a1a1a", "#6b6b6b", "#e4e4e4"
BLUE, VERMILLION = "#0072B2", "#D55E00"  # Okabe and Ito, jfly.uni-koeln.de/color
RIGHT, WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"
TIMES = "\N{MULTIPLICATION SIGN}"


# --- Training -------------------------------------------------------------------------------


def training_history(history: Any) -> "Figure":
    """Loss and metrics by epoch: training solid with dots, validation dashed with squares.

    Parameters
    ----------
    history : History or dict
        What `fit` returned, or its ``.history``: name -> list with one value an epoch. A name
        that begins with ``val_`` goes into the picture of the name without it.

    Returns
    -------
    Figure
        One picture a quantity, the loss first.

    Raises
    ------
    TypeError
        For anything else than a History or a dict.
    ValueError
        Where no epoch was finished.

    Examples
    --------
    >>> from cnnlib import plots
    >>> fig = plots.training_history({"loss": [2.0, 1.0], "val_loss": [2.1, 1.4]})
    >>> [line.get_label() for line in fig.axes[0].lines]
    ['training', 'validation']
    """
    values = getattr(history, "history", history)
    if not isinstance(values, dict):
        raise TypeError(
            "training_history expects what fit returned, or its .history. "
            f"Received: {type(history).__name__}"
        )
    values = {name: list(series) for name, series in values.items() if len(series)}
    if not values:
        raise ValueError("training_history: the history is empty: no epoch was finished")
    names = sorted({name.removeprefix("val_"): None for name in values}, key=lambda n: n != "loss")
    longest = max(len(series) for series in values.values())
    first = getattr(history, "epoch", None) or range(longest)  # counted from 0, as in Keras
    epochs = [epoch + 1 for epoch in first]
    columns = min(len(names), 2)
    rows = math.ceil(len(names) / columns)
    with _style():
        fig = _figure(WIDTH if columns > 1 else 4.8, 2.9 * rows)
        grid = fig.subplots(rows, columns, squeeze=False).ravel()
        for ax, name in zip(grid, names, strict=False):
            _curves(ax, epochs, values.get(name), values.get(f"val_{name}"))
            ax.set(xlabel="epoch", ylabel=name.replace("_", " "))
        for ax in grid[len(names) :]:
            ax.remove()
        return fig


def _curves(ax: Any, epochs: list[int], training: Any, validation: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    looks = (
        ("training", training, {"color": BLUE, "linestyle": "-", "marker": "o"}),
        ("validation", validation, {"color": VERMILLION, "linestyle": "--", "marker": "s"}),
    )
    for label, series, look in looks:
        if series is not None:
            every = max(1, len(series) // 12)
            ax.plot(epochs[: len(series)], series, label=label, markevery=every, **look)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    ax.grid(axis="y", color=PALE)
    ax.legend()


# --- Predictions ----------------------------------------------------------------------------


def sample_images(
    images: Any, labels: Any, class_names: Sequence[str] | None = None, count: int = 24
) -> "Figure":
    """The first images with their labels.

    Parameters
    ----------
    images, labels, class_names, count
        As in `sample_predictions`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For no images, or lengths that differ.

    Examples
    --------
    >>> from cnnlib import plots
    >>> fig = plots.sample_images(np.eye(4).reshape(1, 4, 4), [7])
    >>> fig.axes[0].texts[0].get_text()
    '7'
    """
    images, true = _images(images, "sample_images"), _classes(labels, "labels")
    _same_length("sample_images", images=images, labels=true)
    names = _names(class_names, int(true.max()) + 1)
    count = min(positive_int(count, "count"), len(images))
    limits = {"vmin": images.min(), "vmax": max(images.max(), images.min() + 1e-9)}
    with _style():
        columns = min(count, 8)
        fig, ax, corners = _tile_figure(count, columns, images.shape[1:3], 1, widest=0.8)
        for image, label, (x, y) in zip(images, true, corners, strict=False):
            _tile(ax, image, x, y, frame=True, cmap="gray_r", **limits)
            ax.text(x + 0.5, y - 0.05, names[label], ha="center", va="bottom")
        ax.set_title(f"{_of(count, len(images), 'image')} with their labels", fontsize=TEXT + 1)
        return fig


def sample_predictions(
    images: Any,
    labels: Any,
    probabilities: Any,
    class_names: Sequence[str] | None = None,
    count: int = 12,
) -> "Figure":
    """The first images with what the model says: a tick, or a cross and a dashed frame.

    Parameters
    ----------
    images : array_like (n, height, width), (n, height, width, 1) or (n, height, width, 3)
        With one channel 0 is paper and the largest value ink.
    labels : array_like of int (n,), or one-hot (n, classes)
    probabilities : array_like (n, classes), or (n, 1) where a sigmoid gives class 1
        What `predict` returned.
    class_names : sequence of str, optional
        One a class; the numbers of the classes where it is not given.
    count : int
        How many images, from the first on.

    Returns
    -------
    Figure
        Above each image the predicted class and its probability, and the true class where the
        prediction is wrong.

    Raises
    ------
    ValueError
        For no images, lengths that differ, or rows that are no probabilities.

    Examples
    --------
    >>> from cnnlib import plots
    >>> fig = plots.sample_predictions(np.eye(4).reshape(1, 4, 4), [1], [[0.2, 0.8]])
    >>> fig.axes[0].texts[0].get_text()
    '✓ 1, 80 %'
    """
    images, true, probabilities = _examples(images, labels, probabilities, "sample_predictions")
    count = min(positive_int(count, "count"), len(images))
    names = _names(class_names, probabilities.shape[1])
    shown = slice(0, count)
    right = int((probabilities[shown].argmax(1) == true[shown]).sum())
    title = (
        f"{count} predictions: {right} right ({RIGHT}), "
        f"{count - right} wrong ({WRONG}, dashed frame)"
    )
    return _prediction_grid(images[shown], true[shown], probabilities[shown], names, title)


def worst_mistakes(
    images: Any,
    labels: Any,
    probabilities: Any,
    count: int = 12,
    class_names: Sequence[str] | None = None,
) -> "Figure":
    r"""The wrong predictions that the model is surest of, the surest first.

    Parameters
    ----------
    images, labels, probabilities, class_names
        As in `sample_predictions`.
    count : int
        How many at most.

    Returns
    -------
    Figure
        One that says so where every prediction is right.

    Raises
    ------
    ValueError
        As `sample_predictions` does.

    Examples
    --------
    >>> from cnnlib import plots
    >>> images = np.zeros((2, 4, 4))
    >>> fig = plots.worst_mistakes(images, [0, 1], [[0.4, 0.6], [0.3, 0.7]])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['✗ 1, 60 %\ntrue: 0']
    """
    images, true, probabilities = _examples(images, labels, probabilities, "worst_mistakes")
    names = _names(class_names, probabilities.shape[1])
    wrong = mistakes(true, probabilities)
    shown = wrong[: positive_int(count, "count")]
    if len(shown) == 0:
        with _style():
            fig = _figure(WIDTH, 1.0)
            message = f"{RIGHT} No mistakes: all {len(images):,} predictions are right"
            fig.text(0.5, 0.5, message, ha="center", va="center", fontsize=TEXT + 2)
            return fig
    title = f"{len(shown)} of {len(wrong):,} mistakes among {len(images):,}, the surest first"
    return _prediction_grid(images[shown], true[shown], probabilities[shown], names, title)


def mistakes(labels: Any, probabilities: Any) -> np.ndarray:
    """Which predictions are wrong: indices, sorted by falling confidence in the wrong class.

    Parameters
    ----------
    labels, probabilities
        As in `sample_predictions`.

    Returns
    -------
    ndarray of int (wrong,)

    Raises
    ------
    ValueError
        As `sample_predictions` does.

    Examples
    --------
    >>> from cnnlib import plots
    >>> plots.mistakes([0, 1, 1], [[0.4, 0.6], [0.3, 0.7], [0.9, 0.1]])
    array([2, 0])
    """
    true, probabilities = _answers(labels, probabilities, "mistakes")
    wrong = np.flatnonzero(probabilities.argmax(1) != true)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]


def _prediction_grid(
    images: np.ndarray, true: np.ndarray, probabilities: np.ndarray, names: list[str], title: str
) -> "Figure":
    predicted = probabilities.argmax(1)
    right = predicted == true
    texts = []
    for k, p in enumerate(probabilities.max(1)):
        sign = RIGHT if right[k] else WRONG
        text = f"{sign} {names[predicted[k]]}, {_percent(p)}"
        texts.append(text if right[k] else f"{text}\ntrue: {names[true[k]]}")
    # A character of bold 9 point text is some 0.073 inches wide: tiles as wide as their text.
    wide = 0.073 * max(len(line) for text in texts for line in text.split("\n"))
    columns = min(len(images), int(np.clip((WIDTH - 0.9) / wide, 1, 6)))
    lines = 1 if right.all() else 2
    with _style():
        from matplotlib.patches import Rectangle

        size, wide = images.shape[1:3], max(wide, 1.1)
        fig, ax, corners = _tile_figure(len(images), columns, size, lines + 0.4, widest=wide)
        for image, (x, y), text, good in zip(images, corners, texts, right, strict=True):
            height = images.shape[1] / images.shape[2]
            limits = {"vmin": images.min(), "vmax": max(images.max(), images.min() + 1e-9)}
            _tile(ax, image, x, y, cmap="gray_r", **limits)
            look: dict[str, Any] = {"edgecolor": "#b0b0b0", "linewidth": 0.8}
            if not good:
                look = {"edgecolor": VERMILLION, "linewidth": 2.2, "linestyle": (0, (3, 1.5))}
            ax.add_patch(Rectangle((x, y), 1, height, fill=False, zorder=3, **look))
            colour = INK if good else "#9a4400"  # vermillion, dark enough for small text
            weight = "normal" if good else "bold"
            ax.text(x + 0.5, y - 0.05, text, ha="center", va="bottom", color=colour, weight=weight)
        ax.set_title(title, fontsize=TEXT + 1)
        return fig


# --- Confusion ------------------------------------------------------------------------------


def confusion_counts(labels: Any, predictions: Any, classes: int | None = None) -> np.ndarray:
    """How often each class was taken for each: row = true class, column = predicted class.

    Parameters
    ----------
    labels : array_like of int (n,), or one-hot (n, classes)
    predictions : array_like (n,) of int, or (n, classes) of probabilities or scores
        Of scores the largest counts; of one sigmoid, shape (n, 1), what is above one half.
    classes : int, optional
        The columns of the predictions, or one more than the largest class.

    Returns
    -------
    ndarray of int64 (classes, classes)

    Raises
    ------
    ValueError
        For no predictions, lengths that differ, or a class outside 0 .. classes - 1.

    Examples
    --------
    >>> from cnnlib import plots
    >>> plots.confusion_counts([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    array([[1, 1],
           [0, 1]])
    """
    true, predicted = _classes(labels, "labels"), _classes(predictions, "predictions")
    _same_length("confusion_counts", labels=true, predictions=predicted)
    columns = {np.shape(a)[1] for a in (labels, predictions) if np.ndim(a) == 2} - {1}
    if classes is None:
        classes = max(columns, default=max(true.max(), predicted.max(), 1) + 1)
    classes = positive_int(classes, "classes")
    if columns - {classes}:
        raise ValueError(
            f"confusion_counts: {classes} classes and rows of {columns.pop()} numbers do not go "
            "together: expected one column a class"
        )
    lowest, highest = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"confusion_counts expects classes from 0 to {classes - 1}. "
            f"Received classes from {lowest} to {highest}"
        )
    counts = np.bincount(true * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


def confusion_matrix(
    labels: Any, predictions: Any, class_names: Sequence[str] | None = None
) -> "Figure":
    """Which classes are taken for which: counts, coloured by the share of the true class.

    Only mistakes are coloured, so that the diagonal, which holds nearly all examples, does not
    drown them. At the right stands the share of each class that was recognised.

    Parameters
    ----------
    labels, predictions
        As in `confusion_counts`.
    class_names : sequence of str, optional
        One a class; it also sets the number of classes.

    Returns
    -------
    Figure
        Above 25 classes without the numbers in the cells.

    Raises
    ------
    ValueError
        As `confusion_counts` does, for as many classes as class_names.

    Examples
    --------
    >>> from cnnlib import plots
    >>> fig = plots.confusion_matrix([0, 0, 1], [0, 1, 1], class_names=["cat", "dog"])
    >>> fig.axes[0].get_title()
    '2 of 3 right (66.7 %)'
    """
    given = None if class_names is None else len(class_names)
    counts = confusion_counts(labels, predictions, given)
    classes = len(counts)
    names = _names(class_names, classes)
    totals = counts.sum(1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    wrong = np.ma.masked_where(np.eye(classes, dtype=bool) | (counts == 0), shares)
    largest = float(wrong.max()) if wrong.count() else 1.0
    size = float(np.clip(0.46 * classes, 2.4, 6.0))
    with _style():
        from matplotlib.patches import Rectangle

        fig = _figure(min(size + 1.7, WIDTH + 0.5), size + 0.7)
        ax = fig.subplots()
        picture = ax.imshow(wrong, cmap="Blues", vmin=0, vmax=largest)
        for k in range(classes):
            ax.add_patch(Rectangle((k - 0.5, k - 0.5), 1, 1, facecolor=PALE, edgecolor="none"))
        if classes <= 25:
            _counts(ax, counts, wrong / largest)
        _class_ticks(ax, names)
        recognised = ax.secondary_yaxis("right")
        found = [
            _percent(k) if n else "\N{EN DASH}"
            for k, n in zip(_recall(counts), totals, strict=True)
        ]
        step = math.ceil(classes / 25)
        recognised.set_yticks(range(0, classes, step), found[::step])
        recognised.tick_params(length=0, labelcolor=FAINT, labelsize=TEXT - 1)
        recognised.set_ylabel("recognised", color=FAINT)
        recognised.spines["right"].set_visible(False)
        fig.colorbar(picture, ax=ax, label="mistakes, % of the true class", shrink=0.8)
        right, total = int(np.trace(counts)), int(counts.sum())
        ax.set_title(f"{right:,} of {total:,} right ({right / total:.1%})".replace("%", " %"))
        ax.set(xlabel="predicted class", ylabel="true class")
        return fig


def _recall(counts: np.ndarray) -> np.ndarray:
    return np.diag(counts) / np.maximum(counts.sum(1), 1)


def _counts(ax: Any, counts: np.ndarray, darkness: Any) -> None:
    size = TEXT if len(counts) <= 12 else TEXT - 2.5
    for (i, j), count in np.ndenumerate(counts):
        if i == j:
            look = {"color": INK, "weight": "bold"}
        elif count == 0:
            continue  # an empty cell says it better than ninety pale zeros
        else:
            look = {"color": "white" if darkness[i, j] > 0.6 else INK}
        ax.text(j, i, f"{count}", ha="center", va="center", fontsize=size, **look)


def _class_ticks(ax: Any, names: list[str]) -> None:
    classes = len(names)
    ticks = range(0, classes, math.ceil(classes / 25))
    long = max(map(len, names)) > 2 and classes > 2
    ax.set_xticks(ticks, [names[k] for k in ticks], rotation=90 if long else 0)
    ax.set_yticks(ticks, [names[k] for k in ticks])
    if classes <= 25:
        ax.set_xticks(np.arange(-0.5, classes), minor=True)
        ax.set_yticks(np.arange(-0.5, classes), minor=True)
        ax.grid(which="minor", color=PALE, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set(color=PALE)


# --- Kernels and feature maps ---------------------------------------------------------------


def kernels(layer_or_kernel: Any, max_kernels: int = 32, max_channels: int = 16) -> "Figure":
    """The kernels of a convolution: negative weights dark blue, 0 gray, positive ones yellow.

    Parameters
    ----------
    layer_or_kernel : Conv2D, or array_like (kh, kw, in, out) or (kh, kw)
    max_kernels, max_channels : int
        Draw the first so many kernels, and of each the first so many input channels.

    Returns
    -------
    Figure
        One kernel beside the other where there is one input channel, else one row a kernel and
        one column an input channel. All share one scale, symmetric about 0.

    Raises
    ------
    TypeError
        For a layer that has no kernel.
    ValueError
        For a layer that is not built, or an array of another rank.

    Examples
    --------
    >>> from cnnlib import plots
    >>> fig = plots.kernels(np.ones((3, 3, 1, 4)))
    >>> len(fig.axes[0].images), fig.axes[1].get_ylabel()
    (4, 'weight')
    """
    kernel, title = _kernel_of(layer_or_kernel)
    kh, kw, depth, total = kernel.shape
    shown = min(positive_int(max_kernels, "max_kernels"), total)
    channels = min(positive_int(max_channels, "max_channels"), depth)
    kernel = kernel[:, :, :channels, :shown]
    limit = float(np.abs(kernel).max()) or 1.0
    scale: dict[str, Any] = {"cmap": "cividis", "vmin": -limit, "vmax": limit}
    tiles = kernel.transpose(3, 2, 0, 1).reshape(-1, kh, kw)
    columns = channels if depth > 1 else min(shown, 8)
    title += f"{_of(shown, total, 'kernel')}, {kh} {TIMES} {kw}"
    if depth > 1:
        title += f", {_of(channels, depth, 'input channel')}"
    with _style():
        lines, widest = (1, 0.72 if shown > 8 else 1.1)
        if depth > 1:  # at most some 8 inches high
            lines, widest = 0, float(np.clip(7.4 * kw / (kh * shown), 0.25, 0.72))
        fig, ax, corners = _tile_figure(len(tiles), columns, (kh, kw), lines, widest)
        for k, (tile, (x, y)) in enumerate(zip(tiles, corners, strict=True)):
            picture = _tile(ax, tile, x, y, **scale)
            if depth == 1 < total:
                ax.text(x + 0.5, y - 0.05, str(k), ha="center", va="bottom", color=FAINT)
        if depth > 1:
            ax.set_xticks([corners[k][0] + 0.5 for k in range(channels)], range(channels))
            rows = [corners[k * channels][1] + 0.5 * kh / kw for k in range(shown)]
            ax.set_yticks(rows, range(shown))
            ax.tick_params(length=0)
            ax.set(xlabel="input channel", ylabel="kernel (output channel)")
        elif total > 1:
            ax.set_xlabel("kernel (output channel)")
        else:
            ax.set(xlabel="column", ylabel="row")
        ax.set_title(title)
        fig.colorbar(picture, ax=ax, label="weight", shrink=min(1, 2.2 / fig.get_figheight()))
        return fig


def _kernel_of(layer_or_kernel: Any) -> tuple[np.ndarray, str]:
    title = ""
    kernel = layer_or_kernel
    if hasattr(layer_or_kernel, "params"):
        if "kernel" not in layer_or_kernel.params:
            raise TypeError(
                "kernels expects a layer with kernels, such as Conv2D. "
                f"Received: {layer_or_kernel!r}"
            )
        kernel, title = layer_or_kernel.params["kernel"], f"{layer_or_kernel.name}: "
    kernel = _host(kernel)
    if kernel.ndim == 2 and not title:
        kernel = kernel[:, :, np.newaxis, np.newaxis]
    if kernel.ndim != 4 or kernel.size == 0:
        raise ValueError(
            "kernels expects 4 axes (height, width, input channels, kernels), or 2 for one "
            f"kernel. Received shape {kernel.shape}"
        )
    if not np.isfinite(kernel).all():
        raise ValueError("kernels expects finite weights. Received NaN or infinity")
    return kernel, title


def feature_maps(
    model: Any, image: Any, layer_name_or_index: Any = 0, max_channels: int = 32
) -> "Figure":
    """An image, and what each channel of one layer makes of it.

    Parameters
    ----------
    model : Sequential
    image : array_like (height, width), (height, width, channels) or (1, height, width, channels)
        As the model was trained on: scaled in the same way.
    layer_name_or_index : str or int
        A layer that gives images: (batch, height, width, channels).
    max_channels : int
        Draw the first so many channels.

    Returns
    -------
    Figure
        All channels share one scale. Where nothing is negative, as after relu, it runs from 0,
        white, to black; else it is symmetric about 0, from dark blue over gray to yellow.

    Raises
    ------
    ValueError
        For an unknown layer, a layer that gives no images, or an image that does not fit.

    Examples
    --------
    >>> from cnnlib import plots
    >>> model = cnnlib.Sequential([cnnlib.Input((8, 8, 1)), cnnlib.layers.Conv2D(4, 3)])
    >>> fig = plots.feature_maps(model, np.ones((8, 8)), "conv2d")
    >>> len(fig.axes[1].images)
    4
    """
    index = _layer_index(model, layer_name_or_index)
    layer = model.layers[index]
    x = _one_image(model, image)
    if not model.built:
        model(x)
    maps = _host(model.forward(x.astype(model.dtype), stop=index + 1)[0])
    if maps.ndim != 4:
        raise ValueError(
            f"feature_maps expects a layer that gives images (batch, height, width, channels). "
            f"Received: {layer.name!r}, which gives {layer.compute_output_shape(layer.input_shape)}"
        )
    if not np.isfinite(maps).all():
        raise ValueError(f"the output of layer {layer.name!r} holds NaN or infinity")
    total = maps.shape[-1]
    shown = min(positive_int(max_channels, "max_channels"), total)
    maps = maps[0, :, :, :shown].transpose(2, 0, 1)
    limit = float(np.abs(maps).max()) or 1.0
    signed = maps.min() < 0
    scale: dict[str, Any] = {"vmin": -limit if signed else 0, "vmax": limit}
    scale["cmap"] = "cividis" if signed else "gray_r"
    height, width = maps.shape[1:]
    columns = min(shown, 8 if shown > 8 else 4)
    with _style():
        tile = 4.5 / columns
        rows = math.ceil(shown / columns)
        tall = rows * (tile * height / width + LINE) + 0.8
        fig = _figure(WIDTH, float(np.clip(tall, 2.4, 8.0)))
        left, right = fig.subplots(1, 2, width_ratios=[1, 3.1])
        left.imshow(_picture(x[0]), cmap="gray_r", interpolation="nearest")
        title = "input" if x.shape[-1] in (1, 3) else "input, channel 0"
        left.set(title=title, xlabel="column", ylabel="row")
        left.spines[:].set(visible=True, color="#b0b0b0")
        corners = _corners(shown, columns, height / width, LINE / tile)
        for k, (channel, (x0, y0)) in enumerate(zip(maps, corners, strict=True)):
            picture = _tile(right, channel, x0, y0, frame=True, **scale)
            right.text(x0 + 0.5, y0 - 0.05, str(k), ha="center", va="bottom", color=FAINT)
        _tile_axes(right, corners, height / width, LINE / tile)
        right.set(title=f"{layer.name}: {_of(shown, total, 'channel')}, {height} {TIMES} {width}")
        right.set_xlabel("output channel")
        fig.colorbar(picture, ax=right, label="output", shrink=0.8)
        return fig


def _layer_index(model: Any, wanted: Any) -> int:
    if isinstance(wanted, str):
        return model.layers.index(model.get_layer(wanted))
    layers = len(model.layers)
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer):
        raise ValueError(f"expected a layer's name or index. Received: {wanted!r}")
    if not -layers <= wanted < layers:
        raise ValueError(
            f"the model has {layers} layers, from index 0 to {layers - 1}. Received: {wanted}"
        )
    return int(wanted) % layers


def _one_image(model: Any, image: Any) -> np.ndarray:
    x = np.asarray(image)
    if x.ndim == 4 and len(x) == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[..., np.newaxis]
    expected = model.input_shape[1:] if model.built else (None, None, None)
    if len(expected) != 3:
        raise ValueError(
            "feature_maps expects a model whose input is images (height, width, channels). "
            f"Received one whose input is {expected}"
        )
    sizes = zip(expected, x.shape, strict=False)
    if x.ndim != 3 or x.size == 0 or any(want not in (None, size) for want, size in sizes):
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise ValueError(
            f"feature_maps expects one image (height, width, channels) of shape ({wanted}). "
            f"Received shape {np.shape(image)}. One image of many: images[0]"
        )
    return x[np.newaxis]


# --- Where the answer comes from ------------------------------------------------------------


def saliency(model: Any, images: Any, classes: Any = None) -> np.ndarray:
    """How fast each pixel changes the answer: the slope of a class's log-odds.

    The log-odds ``log(p / (1 - p))`` of the class's probability p grow with p and have a slope
    even where p is nearly 1 and its own slope is lost in rounding.

    Parameters
    ----------
    model : Sequential
        It gives probabilities: (batch, classes), or (batch, 1) where a sigmoid gives class 1.
    images : array_like (n, height, width), (n, height, width, 1) or (n, height, width, 3)
        As the model was trained on: scaled in the same way.
    classes : array_like of int (n,), optional
        Whose probability; what the model answers, where it is not given.

    Returns
    -------
    ndarray (n, height, width)
        At least 0: the size of the slope, the largest of the channels. Large where a little more or
        less ink would change the answer most.

    Raises
    ------
    ValueError
        For images or classes that do not fit the model, or one that gives no probabilities.

    Source
    ------
    K. Simonyan, A. Vedaldi, A. Zisserman: Deep Inside Convolutional Networks, 2013
    (arXiv:1312.6034), section 3; there of the score before softmax.

    Examples
    --------
    >>> from cnnlib import plots
    >>> model = cnnlib.Sequential([cnnlib.Input((8, 8, 1)), cnnlib.layers.Flatten(),
    ...                            cnnlib.layers.Dense(3, activation="softmax")])
    >>> plots.saliency(model, np.ones((5, 8, 8))).shape
    (5, 8, 8)
    """
    x = _model_images(model, images, "saliency")
    y, caches = model.forward(x)
    p = _probabilities(y, "saliency").astype(np.float64)
    chosen = _chosen_classes(p, classes, "saliency")[:, np.newaxis] == np.arange(p.shape[1])
    # Of all other classes together, not 1 - p: that is 0 in float32 where the model is sure.
    others = np.where(chosen, 0, p).sum(1, keepdims=True)
    tiny = np.finfo(np.float32).tiny
    dp = np.where(chosen, 1 / np.maximum(p, tiny), -1 / np.maximum(others, tiny))
    if y.shape[1] == 1:  # both columns of p come from this one number
        dp = dp[:, 1:] - dp[:, :1]
    dx, _ = model.backward(np.asarray(dp, y.dtype, like=y), caches)
    return np.abs(_host(dx)).max(axis=-1)


def occlusion(
    model: Any, images: Any, classes: Any = None, patch: int = 7, fill: float = 0.0
) -> np.ndarray:
    """By how much a class's probability falls when a square patch covers a part of the image.

    Parameters
    ----------
    model, images, classes
        As in `saliency`.
    patch : int
        Side of the square in pixels.
    fill : float
        What the patch shows; 0 is paper.

    Returns
    -------
    ndarray (n, height, width)
        At (i, j) for the patch whose middle lies there: the probability without the patch minus the
        one with it. Below 0 where the patch makes the class likelier.

    Raises
    ------
    ValueError
        As `saliency` does; for a patch that is no positive integer.

    Source
    ------
    M. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, 2013
    (arXiv:1311.2901), section 4.2.

    Examples
    --------
    >>> from cnnlib import plots
    >>> model = cnnlib.Sequential([cnnlib.Input((8, 8, 1)), cnnlib.layers.Flatten(),
    ...                            cnnlib.layers.Dense(3, activation="softmax")])
    >>> plots.occlusion(model, np.ones((2, 8, 8)), patch=3).shape
    (2, 8, 8)
    """
    x = _model_images(model, images, "occlusion")
    patch = positive_int(patch, "patch")
    p = _probabilities(model.forward(x)[0], "occlusion")
    chosen = _chosen_classes(p, classes, "occlusion")
    n, height, width = x.shape[:3]
    falls = np.empty((n, height, width), p.dtype)
    for k in range(n):
        covered = np.repeat(x[k : k + 1], height * width, axis=0)
        for place, (i, j) in enumerate(np.ndindex(height, width)):
            top, left = i - patch // 2, j - patch // 2
            rows, columns = slice(max(top, 0), top + patch), slice(max(left, 0), left + patch)
            covered[place, rows, columns] = fill
        likely = _probabilities(model.predict(covered), "occlusion")[:, chosen[k]]
        falls[k] = p[k, chosen[k]] - likely.reshape(height, width)
    return falls


def saliency_maps(model: Any, images: Any, classes: Any = None) -> "Figure":
    """Images, and below each its `saliency`: dark where a little ink changes the answer most.

    Parameters
    ----------
    model, images, classes
        As in `saliency`; of more than 8 images the first 8 are drawn.

    Returns
    -------
    Figure
        Above each image the class and its probability. Each map has a scale of its own, from 0 to
        its largest slope; the dashed line goes around the ink of the image above.

    Raises
    ------
    ValueError
        As `saliency` does.

    Examples
    --------
    >>> from cnnlib import plots
    >>> model = cnnlib.Sequential([cnnlib.Input((8, 8, 1)), cnnlib.layers.Flatten(),
    ...                            cnnlib.layers.Dense(3, activation="softmax")])
    >>> len(plots.saliency_maps(model, np.ones((5, 8, 8))).axes[0].images)
    10
    """
    images, classes = _first(images, "saliency_maps"), _first_classes(classes)
    maps = saliency(model, images, classes)
    largest = maps.max(axis=(1, 2), keepdims=True)
    maps = maps / np.where(largest > 0, largest, 1)
    return _evidence(model, images, classes, maps, "slope / largest slope")


def occlusion_maps(
    model: Any, images: Any, classes: Any = None, patch: int = 7, fill: float = 0.0
) -> "Figure":
    """Images, and below each its `occlusion`: dark where a patch takes the probability away.

    Parameters
    ----------
    model, images, classes, patch, fill
        As in `occlusion`; of more than 8 images the first 8 are drawn.

    Returns
    -------
    Figure
        Above each image the class and its probability. All maps have one scale from 0 (also where
        a patch makes the class likelier) to 1; the dashed line goes around the ink of the image
        above. A square in the first map is as large as the patch.

    Raises
    ------
    ValueError
        As `occlusion` does.

    Examples
    --------
    >>> from cnnlib import plots
    >>> model = cnnlib.Sequential([cnnlib.Input((8, 8, 1)), cnnlib.layers.Flatten(),
    ...                            cnnlib.layers.Dense(3, activation="softmax")])
    >>> len(plots.occlusion_maps(model, np.ones((2, 8, 8)), patch=3).axes[0].images)
    4
    """
    images, classes = _first(images, "occlusion_maps"), _first_classes(classes)
    maps = occlusion(model, images, classes, patch, fill)
    return _evidence(model, images, classes, maps, "fall of the probability", patch)


def _evidence(
    model: Any, images: np.ndarray, classes: Any, maps: np.ndarray, label: str, patch: int = 0
) -> "Figure":
    """Images in one row, their maps from 0 to 1 in the next."""
    p = _probabilities(model.forward(_model_images(model, images, "plots"))[0], "plots")
    chosen = _chosen_classes(p, classes, "plots")
    count = len(images)
    with _style():
        from matplotlib.patches import Rectangle

        fig, ax, corners = _tile_figure(2 * count, count, images.shape[1:3], 1)
        limits = {"vmin": images.min(), "vmax": max(images.max(), images.min() + 1e-9)}
        ratio = images.shape[1] / images.shape[2]
        for k, (x, y) in enumerate(corners[:count]):
            _tile(ax, images[k], x, y, frame=True, cmap="gray_r", **limits)
            text = f"{chosen[k]}, {_percent(float(p[k, chosen[k]]))}"
            ax.text(x + 0.5, y - 0.05, text, ha="center", va="bottom")
        for k, (x, y) in enumerate(corners[count:]):
            picture = _tile(ax, maps[k], x, y, frame=True, cmap="Blues", vmin=0, vmax=1)
            _outline(ax, images[k], x, y)
            if patch and k == 0:
                side = patch / images.shape[2]
                look: dict[str, Any] = {"fill": False, "edgecolor": INK, "linewidth": 1.2}
                ax.add_patch(Rectangle((x, y + ratio - side), side, side, **look))
        fig.colorbar(picture, ax=ax, label=label, shrink=0.7)
        return fig


def _outline(ax: Any, image: np.ndarray, x: float, y: float) -> None:
    """A line around what is darker than half of the darkest ink."""
    ink = image if image.ndim == 2 else image.mean(-1)
    middle = (float(ink.min()) + float(ink.max())) / 2
    if ink.min() == ink.max():
        return
    height, width = ink.shape
    columns = x + (np.arange(width) + 0.5) / width
    rows = y + (np.arange(height) + 0.5) / width
    look: dict[str, Any] = {"colors": VERMILLION, "linewidths": 0.9, "linestyles": "dashed"}
    ax.contour(columns, rows, ink, [middle], **look)


def _first(images: Any, caller: str) -> np.ndarray:
    return _images(images, caller)[:8]


def _first_classes(classes: Any) -> Any:
    return None if classes is None else _classes(classes, "classes")[:8]


def _model_images(model: Any, images: Any, caller: str) -> np.ndarray:
    """Images as the model takes them: (n, height, width, channels), of its float type."""
    x = _images(images, caller)
    x = x if x.ndim == 4 else x[..., np.newaxis]
    expected = model.input_shape[1:]
    if x.shape[1:] != expected or len(x) == 0:
        raise ValueError(
            f"{caller} expects images of the model's shape, (n, {', '.join(map(str, expected))}). "
            f"Received shape {np.shape(images)}. One image: images[:1]"
        )
    return x.astype(model.dtype)


def _chosen_classes(p: np.ndarray, classes: Any, caller: str) -> np.ndarray:
    """The class to look at in each row of probabilities: given, or the likeliest."""
    if classes is None:
        return p.argmax(1)
    return _answers(classes, p, caller)[0]


# --- The model ------------------------------------------------------------------------------


def model_diagram(model: Any) -> "Figure":
    """The layers from the input down: what each does, its output's shape and its parameters.

    Parameters
    ----------
    model : Sequential
        Built: it begins with ``Input(shape)``, or has seen data.

    Returns
    -------
    Figure
        A bar beside each number of parameters shows its share.

    Raises
    ------
    ValueError
        For a model that has no layers or does not know the shape of its input.

    Examples
    --------
    >>> from cnnlib import plots
    >>> model = cnnlib.Sequential([cnnlib.Input((28, 28, 1)), cnnlib.layers.Flatten()])
    >>> texts = [text.get_text() for text in plots.model_diagram(model).axes[0].texts]
    >>> [text for text in texts if text][3:]
    ['Input', '28 × 28 × 1', 'Flatten', '784', '0', '0 parameters']
    """
    shape = model.input_shape
    rows = [("Input", "", _sizes(shape), None)]
    for layer in model.layers:
        shape = layer.compute_output_shape(shape)
        rows.append((type(layer).__name__, _details(layer), _sizes(shape), layer.count_params()))
    most = max((count or 0 for *_, count in rows), default=0) or 1
    with _style():
        fig = _figure(WIDTH, 0.44 * (len(rows) + 1) + 0.35)
        ax = fig.subplots()
        ax.set(xlim=(0, 10), ylim=(len(rows) + 0.55, -1.0))
        ax.axis("off")
        headings = (
            (0.1, "layer", "left"),
            (5.05, "output shape", "left"),
            (8.25, "parameters", "right"),
        )
        for x, heading, side in headings:
            ax.text(x, -0.72, heading, color=FAINT, ha=side)
        for k, row in enumerate(rows):
            _diagram_row(ax, k, row, most)
        ax.plot([0.1, 9.9], [len(rows) - 0.42] * 2, color="#b0b0b0", linewidth=0.8)
        total = f"{model.count_params():,} parameters"
        ax.text(8.25, len(rows) + 0.05, total, ha="right", va="center", weight="bold")
        return fig


def _diagram_row(ax: Any, k: int, row: tuple[str, str, str, int | None], most: int) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle

    kind, details, sizes, count = row
    learns = bool(count)
    box = FancyBboxPatch(
        (0.15, k - 0.27),
        4.5,
        0.54,
        boxstyle="round,pad=0.03,rounding_size=0.1",
        facecolor="#d9e8f2" if learns else "white",
        edgecolor=BLUE if learns else "#8a8a8a",
        linewidth=1.5 if learns else 0.9,
        linestyle="-" if count is not None else (0, (4, 2)),
    )
    ax.add_patch(box)
    ax.text(0.3, k, kind, va="center", weight="bold" if learns else "normal")
    if details:
        look = {"fontsize": TEXT - 0.5}
        if len(details) > 43 - 1.2 * len(kind):  # characters of this size that fit beside kind
            look = {"fontsize": TEXT - 2, "linespacing": 1.0}
            details = textwrap.fill(details, len(details) // 2 + 6)
        ax.text(4.55, k, details, va="center", ha="right", **look)
    if k:
        arrow = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=(2.4, k - 0.29), xytext=(2.4, k - 0.71), arrowprops=arrow)
    ax.text(5.05, k, sizes, va="center")
    if count is not None:
        colour = INK if learns else "#8a8a8a"
        ax.text(8.25, k, f"{count:,}", va="center", ha="right", color=colour)
        if learns:
            ax.add_patch(Rectangle((8.4, k - 0.14), 1.5 * count / most, 0.28, color=BLUE))


def _sizes(shape: Sequence[int | None]) -> str:
    return f" {TIMES} ".join("any" if size is None else str(size) for size in shape[1:])


def _details(layer: Any) -> str:
    """What distinguishes this layer from others of its class, in a few words."""
    found = []
    if hasattr(layer, "filters"):
        found.append(f"{layer.filters} kernels {_pair(layer.kernel_size)}")
    elif hasattr(layer, "pool_size"):
        found.append(_pair(layer.pool_size))
    elif hasattr(layer, "units"):
        found.append(f"{layer.units} units")
    elif hasattr(layer, "rate"):
        found.append(f"drops {_percent(layer.rate)}")
    strides = getattr(layer, "strides", (1, 1))
    if strides not in ((1, 1), getattr(layer, "pool_size", None)):
        found.append(f"strides {_one_or_pair(strides)}")
    if getattr(layer, "dilation_rate", (1, 1)) != (1, 1):
        found.append(f"dilation {_one_or_pair(layer.dilation_rate)}")
    if getattr(layer, "groups", 1) > 1:
        found.append(f"{layer.groups} groups")
    if getattr(layer, "padding", None) == "same":
        found.append("same padding")
    activation = getattr(getattr(layer, "activation", None), "name", "linear")
    if activation.replace("_", "") not in ("linear", type(layer).__name__.lower()):
        found.append(activation)
    return ", ".join(found)


# --- Showing --------------------------------------------------------------------------------


def show(fig: Any, alt: str = "") -> None:
    """Show a figure in a notebook, together with its description in words.

    Parameters
    ----------
    fig : Figure
    alt : str
        One or two sentences for those who do not see the picture: what it shows and what one
        learns from it. No numbers that change from run to run: a test compares this text.

    Raises
    ------
    ValueError
        For an empty description.
    TypeError
        For anything that is not a figure.

    Notes
    -----
    Two outputs are made. The first is the picture as PNG, with ``alt`` in its metadata, where
    nbconvert's classic and basic pages look for it, and as its plain text, which nbval compares.
    The second is the same description as a line of HTML that only a screen reader meets, because
    JupyterLab 4.6, nbconvert's 'lab' page and myst-nb write ``<img>`` without any ``alt`` (Jupyter
    enhancement proposal 120 asks for it). A page that drops styles shows it as a caption.
    An ``<img alt=...>`` as HTML would be one output, but a page that cleans HTML may lose the
    picture with it, export to PDF does, and nbval would compare its pixels.

    The PNG has 144 dots an inch, is shown at 96 (sharp on fine screens) and takes some 25 kB.
    Its background is white: it reads the same on a dark page. Outside IPython nothing happens.

    Examples
    --------
    >>> from cnnlib import plots
    >>> fig = plots.training_history({"loss": [2.0, 1.0]})
    >>> plots.show(fig, alt="The loss falls from epoch to epoch.")
    >>> plots.show(fig)
    Traceback (most recent call last):
    ...
    ValueError: plots.show needs alt="...": say in a sentence what the picture shows
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError('plots.show needs alt="...": say in a sentence what the picture shows')
    if not callable(getattr(fig, "savefig", None)):
        raise TypeError(f"plots.show expects a matplotlib Figure. Received: {type(fig).__name__}")
    if "matplotlib.pyplot" in sys.modules:  # else the notebook shows its figures a second time
        sys.modules["matplotlib.pyplot"].close(fig)
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return
    from IPython.display import display

    for data, metadata in _outputs(fig, " ".join(alt.split())):
        display(data, metadata=metadata, raw=True)


def _outputs(fig: Any, alt: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """The two mimebundles of `show` with their metadata."""
    png = _png(fig)
    pixels = int.from_bytes(png[16:20], "big")  # a PNG's header holds its width here
    picture = base64.b64encode(png).decode("ascii")
    unseen = "position:absolute;width:1px;height:1px;overflow:hidden;white-space:nowrap"
    description = f'<span style="{unseen}">{html.escape(alt)}</span>'
    shown = {"alt": alt, "width": round(96 * pixels / DOTS)}
    return [
        ({"image/png": picture, "text/plain": alt}, {"image/png": shown}),
        ({"text/html": description}, {}),
    ]


def _png(fig: Any) -> bytes:
    from PIL import Image  # matplotlib depends on it

    full, small = io.BytesIO(), io.BytesIO()
    fig.savefig(full, format="png", dpi=DOTS, bbox_inches="tight")
    # 256 colours take a third of the bytes. In this module's pictures no colour moves by more than
    # 5 of 255 levels; Pillow's default method lost the ends of the colour scales (46 levels).
    colours = Image.open(full).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    colours.save(small, "PNG", optimize=True)
    return small.getvalue()


# --- Drawing --------------------------------------------------------------------------------


@contextmanager
def _style() -> Iterator[None]:
    """Draw the same picture whatever the reader's own settings are."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise ImportError(
            "cnnlib.plots draws with matplotlib, which is not installed. Install the project's "
            "'plots' extra, or: pip install matplotlib"
        ) from error
    own = {
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": TEXT + 1,
        "font.size": TEXT,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "text.color": INK,
        "xtick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.color": FAINT,
        "ytick.labelcolor": INK,
    }
    with style.context(["default", own]):
        yield


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=100, facecolor="white", layout="constrained")


def _tile_figure(
    count: int, columns: int, size: tuple[int, ...], lines: float, widest: float = 1.1
) -> tuple["Figure", Any, list[tuple[float, float]]]:
    """A figure for `count` tiles of one shape with room for lines of text above each."""
    ratio = size[0] / size[1]
    inches = min(widest, (WIDTH - 0.9) / columns)
    gap = max(lines * LINE / inches, 0.08)
    rows = math.ceil(count / columns)
    width = max(columns * inches * 1.08 + 1.3, 4.2)
    fig = _figure(min(width, WIDTH), rows * inches * (ratio + gap) + 0.8)
    ax = fig.subplots()
    corners = _corners(count, columns, ratio, gap)
    _tile_axes(ax, corners, ratio, gap)
    return fig, ax, corners


def _corners(count: int, columns: int, ratio: float, gap: float) -> list[tuple[float, float]]:
    """Upper left corners of tiles that are 1 wide and `ratio` high, row by row."""
    return [(1.08 * (k % columns), (ratio + gap) * (k // columns)) for k in range(count)]


def _tile_axes(ax: Any, corners: list[tuple[float, float]], ratio: float, gap: float) -> None:
    right = max(x for x, _ in corners) + 1
    bottom = max(y for _, y in corners) + ratio
    ax.set(xlim=(-0.04, right + 0.04), ylim=(bottom + 0.04, -gap), aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _tile(ax: Any, image: np.ndarray, x: float, y: float, frame: bool = False, **how: Any) -> Any:
    from matplotlib.patches import Rectangle

    ratio = image.shape[0] / image.shape[1]
    limits = ax.get_xlim(), ax.get_ylim()
    picture = ax.imshow(
        _picture(image), extent=(x, x + 1, y + ratio, y), interpolation="nearest", **how
    )
    ax.set(xlim=limits[0], ylim=limits[1])
    if frame:
        ax.add_patch(Rectangle((x, y), 1, ratio, fill=False, edgecolor="#b0b0b0", linewidth=0.6))
    return picture


def _picture(image: np.ndarray) -> np.ndarray:
    """What imshow takes: (height, width), or colours (height, width, 3) in 0..1."""
    if image.ndim == 2 or image.shape[-1] != 3:
        return image if image.ndim == 2 else image[..., 0]
    low, high = min(image.min(), 0), max(image.max(), 1e-9)
    return (image - low) / (255 if image.dtype == np.uint8 else max(high - low, 1))


# --- Reading arguments ----------------------------------------------------------------------


def _host(array: Any) -> np.ndarray:
    """A NumPy array, also from a GPU."""
    on_gpu = type(array).__module__.partition(".")[0] == "cupy"
    return np.asarray(array.get() if on_gpu else array)


def _images(images: Any, caller: str) -> np.ndarray:
    images = _host(images)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise ValueError(
            f"{caller} expects images (n, height, width) with 1 or 3 channels as a fourth axis. "
            f"Received shape {images.shape}"
        )
    return images


def _examples(
    images: Any, labels: Any, probabilities: Any, caller: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images = _images(images, caller)
    true, probabilities = _answers(labels, probabilities, caller)
    _same_length(caller, images=images, labels=true)
    return images, true, probabilities


def _answers(labels: Any, probabilities: Any, caller: str) -> tuple[np.ndarray, np.ndarray]:
    true, probabilities = _classes(labels, "labels"), _probabilities(probabilities, caller)
    _same_length(caller, labels=true, probabilities=probabilities)
    if true.min() < 0 or true.max() >= probabilities.shape[1]:
        raise ValueError(
            f"{caller} expects labels from 0 to {probabilities.shape[1] - 1}, one a column of "
            f"probabilities. Received labels from {true.min()} to {true.max()}"
        )
    return true, probabilities


def _same_length(caller: str, **arrays: np.ndarray) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        received = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(
            f"{caller} expects at least one example, and as many of each. Received: {received}"
        )


def _probabilities(values: Any, caller: str) -> np.ndarray:
    """(n, classes); one sigmoid becomes two columns."""
    p = _host(values)
    if p.ndim == 1 or (p.ndim == 2 and p.shape[1] == 1):
        p = p.reshape(-1, 1).astype(float)
        p = np.concatenate([1 - p, p], axis=1)
    if p.ndim != 2:
        raise ValueError(
            f"{caller} expects probabilities of shape (n, classes). Received shape {p.shape}"
        )
    # Sums of float32 outputs of softmax are off by some 1e-6; 1e-3 leaves room for float16.
    if not (p >= 0).all() or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise ValueError(
            f"{caller} expects probabilities: each row at least 0, with sum 1. Where the model "
            "gives logits, put them through cnnlib.activations.softmax"
        )
    return p


def _classes(values: Any, name: str) -> np.ndarray:
    """Class numbers (n,) from numbers, one-hot rows, scores (n, classes) or one sigmoid."""
    array = _host(values)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{name}: expected at least one class number (n,), or rows (n, classes). "
            f"Received {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers. Received NaN or infinity")
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(1)
    array = array.reshape(-1)
    if (array == np.floor(array)).all():
        return array.astype(np.int64)
    if array.min() >= 0 and array.max() <= 1:
        return (array > 0.5).astype(np.int64)
    raise ValueError(f"{name}: expected whole class numbers. Received: {array[:5]}")


def _names(class_names: Sequence[str] | None, classes: int) -> list[str]:
    if class_names is None:
        return [str(k) for k in range(classes)]
    if len(class_names) != classes:
        raise ValueError(
            f"class_names: expected {classes} names, one a class. Received {len(class_names)}"
        )
    return [str(name) for name in class_names]


def _percent(share: float) -> str:
    """A share in whole percent; never 100 or 0 where it is not quite that."""
    if 0.995 <= share < 1:
        return "> 99 %"
    if 0 < share < 0.005:
        return "< 1 %"
    return f"{100 * share:.0f} %"


def _of(shown: int, total: int, what: str) -> str:
    """'8 kernels', or 'the first 8 of 32 kernels'.

    Examples
    --------
    >>> _of(8, 32, "kernel")
    'the first 8 of 32 kernels'
    """
    plural = what if total == 1 else f"{what}s"
    return f"{total} {plural}" if shown == total else f"the first {shown} of {total} {plural}"


def _pair(values: tuple[int, int]) -> str:
    return f"{values[0]} {TIMES} {values[1]}"


def _one_or_pair(values: tuple[int, int]) -> str:
    return str(values[0]) if values[0] == values[1] else _pair(values)
