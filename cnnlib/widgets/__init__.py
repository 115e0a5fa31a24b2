"""Views that answer while you play: sliders beside a picture, and a pad to draw digits on.

The lessons import it by `from cnnlib import widgets`; notebooks/00_start_here.ipynb draws on the
pad. ipywidgets and anywidget (the project's 'lessons' extra) are imported when a view is made, so
`pad_figure`, `to_picture` and `load_pad_model` work without them.
"""

from typing import TYPE_CHECKING, Any

from cnnlib.widgets.pad_model import build_pad_model, load_pad_model
from cnnlib.widgets.pad_view import describe, pad_figure, read_digit
from cnnlib.widgets.strokes import EXAMPLES, to_picture
from cnnlib.widgets.views import explore

if TYPE_CHECKING:
    from cnnlib.widgets.digit_pad import DigitPad

__all__ = [
    "EXAMPLES",
    "DigitPad",
    "build_pad_model",
    "describe",
    "explore",
    "load_pad_model",
    "pad_figure",
    "read_digit",
    "to_picture",
]


def __getattr__(name: str) -> Any:
    # The class is made from anywidget's, so it can only be imported where that is installed.
    if name == "DigitPad":
        from cnnlib.widgets.digit_pad import DigitPad

        return DigitPad
    raise AttributeError(f"module 'cnnlib.widgets' has no attribute {name!r}")
