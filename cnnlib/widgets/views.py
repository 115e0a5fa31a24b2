"""A picture with sliders: move one, and the picture is drawn anew.

Used in the lessons from notebooks/01_dense.ipynb on. ipywidgets is imported when a view is made.
"""

import asyncio
import html
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DOTS = 120  # an inch, as drawn; shown at 96: sharp enough, and a third less to draw than at 144
# Seconds between the first change and the drawing: values that arrive meanwhile replace older ones.
# With 0.02 every picture of the lessons came 10 to 15 ms later (make test-long).
PAUSE = 0.005


def explore(draw: Callable[..., Any], **sliders: Sequence[Any]) -> Any:
    """Sliders, a number field beside each, and the picture that `draw` makes of their values.

    While a picture is being drawn, new values wait, and only the newest of them is drawn then. An
    error in `draw` is shown under the sliders in place of a new picture; the last picture stays.

    Parameters
    ----------
    draw : callable
        ``draw(**values)`` gives a matplotlib Figure. It is closed after it was shown. The first
        line of its docstring describes the picture to those who do not see it.
    **sliders : (low, high, step, start), or a list of choices
        One control a name: a tuple of four numbers makes a slider, of whole numbers where all four
        are int; a list makes a menu, whose first choice is the start. ``learning_rate`` is shown
        as 'learning rate'.

    Returns
    -------
    ipywidgets.VBox
        Show it as a cell's last line. Its ``controls`` are the sliders and menus by name, its
        ``fields`` the number fields, its ``picture`` the ipywidgets.Image.

    Raises
    ------
    TypeError
        If `draw` cannot be called, or gives no Figure for the first values.
    ValueError
        For a control that is neither four numbers nor a list of choices, for no control, and for
        whatever reason `draw` has at the first values.
    ImportError
        Where ipywidgets is not installed.

    Examples
    --------
    >>> from cnnlib import plots, widgets
    >>> def falling(rate, epochs):
    ...     "The loss by epoch."
    ...     return plots.training_history({"loss": [rate**k for k in range(epochs)]})
    >>> view = widgets.explore(falling, rate=(0.1, 0.9, 0.1, 0.5), epochs=(2, 20, 1, 8))
    >>> view.controls["rate"].value = 0.7
    >>> view.fields["rate"].value
    0.7
    """
    widgets = _ipywidgets()
    if not callable(draw):
        raise TypeError(
            "explore expects a function draw(**values) that gives a Figure. "
            f"Received: {type(draw).__name__}"
        )
    if not sliders:
        raise ValueError("explore expects at least one control, such as rate=(0.0, 1.0, 0.1, 0.5)")
    controls, fields, rows = {}, {}, []
    for name, choice in sliders.items():
        controls[name], field = _control(widgets, name, choice)
        if field is not None:
            fields[name] = field
            widgets.link((controls[name], "value"), (field, "value"), transform=(_clean, _clean))
        rows.append(widgets.HBox([controls[name], field] if field else [controls[name]]))

    description = (draw.__doc__ or "").strip().partition("\n")[0] or "The picture of these values"
    png, width = _drawn(draw, _values(controls))
    picture = widgets.Image(value=png, format="png", width=width, layout={"max_width": "100%"})
    # ipywidgets has no alternative text for an Image, and with a tooltip it shows an error instead.
    unseen = "position:absolute;width:1px;height:1px;overflow:hidden;white-space:nowrap"
    words = widgets.HTML(f'<span style="{unseen}">Picture: {html.escape(description)}</span>')
    message = widgets.HTML()

    def redraw() -> None:
        try:
            picture.value, picture.width = _drawn(draw, _values(controls))
            message.value = ""
        except Exception as error:  # a learner's function may fail in any way
            text = html.escape(f"{type(error).__name__}: {error}")
            message.value = f'<span role="alert">No picture for these values. {text}</span>'

    newest = _Newest(redraw)
    for control in controls.values():
        control.observe(lambda change: newest.ask(), "value")
    view = widgets.VBox([*rows, picture, words, message])
    view.controls, view.fields, view.picture = controls, fields, picture
    view.words, view.message = words, message
    return view


class _Newest:
    """Do some work soon after it was asked for: once, however often it is asked for meanwhile.

    In a kernel the requests are messages, and those that arrive while a picture is drawn are all
    handled before the event loop begins the next one. Without a loop the work is done at once.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.waiting = work, False

    def ask(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.work()
            return
        if not self.waiting:
            self.waiting = True
            loop.call_later(PAUSE, self._do)

    def _do(self) -> None:
        self.waiting = False
        self.work()


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError(
            "Interactive views need ipywidgets, which is not installed. Install the project's "
            "'lessons' extra, or: pip install ipywidgets"
        ) from error
    return ipywidgets


def _values(controls: dict[str, Any]) -> dict[str, Any]:
    return {name: _clean(control.value) for name, control in controls.items()}


def _clean(value: Any) -> Any:
    """A float without the dust of steps: a slider gives 0.7999999999999999 for 0.8."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _control(widgets: Any, name: str, choice: Any) -> tuple[Any, Any]:
    """The slider and its number field, or a menu and None."""
    label = name.replace("_", " ")
    look: dict[str, Any] = {"description": label, "style": {"description_width": "8em"}}
    if isinstance(choice, list) and choice:
        return widgets.Dropdown(options=choice, value=choice[0], **look), None
    numbers = isinstance(choice, tuple) and all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in choice
    )
    if not numbers or len(choice) != 4 or not np.isfinite(choice).all():
        raise ValueError(
            f"{name}: expected four numbers (low, high, step, start), or a list of choices. "
            f"Received: {choice!r}"
        )
    low, high, step, start = choice
    if not (low < high and low <= start <= high and 0 < step <= high - low):
        raise ValueError(
            f"{name}: expected low < high, start between them and a step above 0 that fits. "
            f"Received: (low, high, step, start) = {choice}"
        )
    whole = all(isinstance(v, int | np.integer) for v in choice)
    kind, cast = ("Int", int) if whole else ("Float", float)
    limits = {
        "min": cast(low),
        "max": cast(high),
        "step": cast(step),
        "value": cast(start),
    }
    slider = getattr(widgets, f"{kind}Slider")(
        **limits, **look, readout=False, layout={"width": "28em", "max_width": "70%"}
    )
    field = getattr(widgets, f"Bounded{kind}Text")(**limits, layout={"width": "7em"})
    if field.has_trait("tooltip"):  # Colab's ipywidgets 7 has none
        field.tooltip = f"{label} as a number"
    return slider, field


def _drawn(draw: Callable[..., Any], values: dict[str, Any]) -> tuple[bytes, str]:
    """What `draw` makes of values, as PNG, and its width on the screen in pixels."""
    try:
        from matplotlib import rc_context
    except ImportError:  # then `draw` says so, or makes its figure in another way
        return _png(draw(**values))
    # With a fixed height for titles matplotlib does not lay out every tick a second time to find
    # one: a picture with two titles takes a third less time. Letters that are not fitted to the
    # dots, of which there are many, take a tenth less.
    with rc_context({"axes.titley": 1.0, "text.hinting": "none"}):
        return _png(draw(**values))


def _png(fig: Any) -> tuple[bytes, str]:
    """A figure as PNG, and its width on the screen in pixels; the figure is closed."""
    if not callable(getattr(fig, "savefig", None)):
        raise TypeError(
            f"explore: draw must give a matplotlib Figure. Received: {type(fig).__name__}"
        )
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image  # matplotlib depends on it

        # savefig would arrange the figure twice: this takes a quarter less time.
        fig.dpi = DOTS
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        buffer = io.BytesIO()
        # Little compression: the picture goes no further than the next window.
        pixels = np.asarray(canvas.buffer_rgba())
        Image.fromarray(pixels).convert("RGB").save(buffer, "PNG", compress_level=1)
        width = round(96 * fig.get_figwidth())
    finally:
        if "matplotlib.pyplot" in sys.modules:  # else pyplot keeps every figure it made
            sys.modules["matplotlib.pyplot"].close(fig)
    return buffer.getvalue(), str(width)
