"""explore: controls, number fields, the newest value alone, errors, and nothing left behind."""

import asyncio
import gc
import importlib
import inspect
import io
import subprocess
import sys
import weakref
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cnnlib import widgets
from cnnlib.widgets import views

ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """A draw function that keeps the values it was called with."""

    def __init__(self, draw=None):
        self.calls = []
        self.draw = draw or (lambda **values: Figure((2, 1)))

    def __call__(self, **values):
        """A white sheet."""
        self.calls.append(values)
        return self.draw(**values)


def picture(view):
    return np.asarray(Image.open(io.BytesIO(view.picture.value)).convert("L"))


# --- Controls -------------------------------------------------------------------------------


def test_the_first_picture_is_drawn_from_the_start_values_at_once():
    draw = Recorder()
    view = widgets.explore(draw, rate=(0.0, 1.0, 0.1, 0.3), steps=(1, 9, 2, 5), kind=["sum", "max"])
    assert draw.calls == [{"rate": 0.3, "steps": 5, "kind": "sum"}]
    assert bytes(view.picture.value[:4]) == b"\x89PNG" and view.picture.width == "192"
    assert picture(view).shape == (views.DOTS, 2 * views.DOTS)


def test_whole_numbers_stay_whole_and_others_are_floats():
    draw = Recorder()
    view = widgets.explore(draw, count=(1, 9, 1, 5), rate=(0, 1, 0.5, 0))
    view.controls["count"].value = 7
    assert type(draw.calls[-1]["count"]) is int
    assert type(draw.calls[-1]["rate"]) is float


def test_a_slider_and_its_number_field_follow_each_other():
    draw = Recorder()
    view = widgets.explore(draw, learning_rate=(0.0, 1.0, 0.1, 0.3))
    slider, field = view.controls["learning_rate"], view.fields["learning_rate"]
    slider.value = 0.8
    assert field.value == 0.8
    field.value = 0.25
    assert slider.value == 0.25
    assert [call["learning_rate"] for call in draw.calls] == [0.3, 0.8, 0.25]
    field.value = 77  # beyond the end: the field stops there
    assert (field.value, slider.value) == (1.0, 1.0)


def test_the_dust_of_a_sliders_steps_reaches_neither_the_field_nor_the_picture():
    draw = Recorder()
    view = widgets.explore(draw, rate=(0.1, 0.9, 0.1, 0.5))
    view.controls["rate"].value = 0.7999999999999999  # what the page sends for 0.8
    assert view.fields["rate"].value == 0.8 and draw.calls[-1] == {"rate": 0.8}
    assert len(draw.calls) == 2


def test_every_control_has_a_label_and_the_picture_a_description():
    view = widgets.explore(Recorder(), learning_rate=(0.0, 1.0, 0.1, 0.3), kind=["a"])
    assert view.controls["learning_rate"].description == "learning rate"
    field = view.fields["learning_rate"]
    if field.has_trait("tooltip"):  # not in ipywidgets 7, which Colab has
        assert field.tooltip == "learning rate as a number"
    assert view.controls["kind"].description == "kind"

    def draw(kind):
        """The loss by epoch.

        More.
        """
        return Figure((1, 1))

    view = widgets.explore(draw, kind=["a"])
    assert ">Picture: The loss by epoch.</span>" in view.words.value
    # With a tooltip, JupyterLab shows an error in place of such a picture.
    assert getattr(view.picture, "tooltip", None) is None


@pytest.mark.parametrize(
    "choice", [(0, 1, 0.1), (0, 1, 0.1, None), 3, [], "abcd", (0, 1, float("nan"), 0), {1: 2}]
)
def test_what_is_no_control_is_refused_with_an_example(choice):
    with pytest.raises(ValueError, match=r"^x: expected four numbers \(low, high, step, start\)"):
        widgets.explore(Recorder(), x=choice)


@pytest.mark.parametrize("choice", [(1, 0, 0.1, 0.5), (0, 1, 0.1, 2), (0, 1, 0, 0), (0, 1, 3, 0)])
def test_numbers_that_make_no_slider_are_refused(choice):
    with pytest.raises(ValueError, match="^x: expected low < high, start between them"):
        widgets.explore(Recorder(), x=choice)


def test_explore_says_what_it_needs():
    with pytest.raises(TypeError, match="expects a function draw"):
        widgets.explore("draw", x=(0, 1, 1, 0))
    with pytest.raises(ValueError, match="at least one control"):
        widgets.explore(Recorder())
    with pytest.raises(TypeError, match="must give a matplotlib Figure. Received: NoneType"):
        widgets.explore(lambda x: None, x=(0, 1, 1, 0))


# --- Drawing --------------------------------------------------------------------------------


def test_only_the_newest_of_many_values_is_drawn():
    draw = Recorder()
    view = widgets.explore(draw, x=(0, 1000, 1, 0))

    async def drag():
        for value in range(1, 400):
            view.controls["x"].value = value
        await asyncio.sleep(10 * views.PAUSE)
        view.controls["x"].value = 500  # and the next change is drawn again
        await asyncio.sleep(10 * views.PAUSE)

    asyncio.run(drag())
    assert [call["x"] for call in draw.calls] == [0, 399, 500]


def test_values_that_arrive_during_a_drawing_wait_and_the_newest_is_drawn_after_it():
    draw = Recorder()
    view = widgets.explore(draw, x=(0, 1000, 1, 0))

    def slow(x):
        if x == 1:  # as if messages came in while this picture was drawn
            for value in (2, 3, 4):
                view.controls["x"].value = value
        return Figure((1, 1))

    draw.draw = slow

    async def drag():
        view.controls["x"].value = 1
        await asyncio.sleep(20 * views.PAUSE)

    asyncio.run(drag())
    assert [call["x"] for call in draw.calls] == [0, 1, 4]


def test_an_error_is_shown_as_text_and_the_last_picture_stays():
    def draw(x):
        if x == 3:
            raise ValueError("no <three>")
        return Figure((1, 1), facecolor=str(x / 10))

    view = widgets.explore(draw, x=(0, 9, 1, 0))
    before = view.picture.value
    view.controls["x"].value = 3
    assert "ValueError: no &lt;three&gt;" in view.message.value
    assert view.picture.value == before
    view.controls["x"].value = 9
    assert view.message.value == "" and view.picture.value != before


def test_figures_are_closed_and_forgotten():
    kept = []

    def draw(x):
        fig = plt.figure(figsize=(1, 1))
        kept.append(weakref.ref(fig))
        return fig

    view = widgets.explore(draw, x=(0, 9, 1, 0))
    for x in range(1, 10):
        view.controls["x"].value = x
    assert plt.get_fignums() == []
    gc.collect()
    assert len(kept) == 10 and not any(fig() for fig in kept)


def test_a_figure_that_cannot_be_drawn_is_closed_too():
    def draw(x):
        fig = plt.figure(figsize=(1, 1))
        fig.text(0.5, 0.5, "$\\nonsense$")
        return fig

    with pytest.raises(ValueError, match="nonsense"):
        widgets.explore(draw, x=(0, 9, 1, 0))
    assert plt.get_fignums() == []


# --- The package ----------------------------------------------------------------------------


def test_the_package_loads_no_widget_library_before_a_view_is_made():
    code = (
        "import sys; from cnnlib import widgets; widgets.load_pad_model(); "
        "print([n for n in ('ipywidgets', 'anywidget', 'matplotlib', 'h5py') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_widget_libraries_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "cnnlib.widgets.digit_pad", raising=False)
    with pytest.raises(ImportError, match="need ipywidgets.*pip install ipywidgets"):
        widgets.explore(Recorder(), x=(0, 1, 1, 0))
    with pytest.raises(ImportError, match="needs anywidget.*pip install anywidget"):
        importlib.import_module("cnnlib.widgets.digit_pad")


def test_all_public_names_exist_and_unknown_ones_are_attribute_errors():
    for name in widgets.__all__:
        assert inspect.getdoc(getattr(widgets, name))
    with pytest.raises(AttributeError, match="no attribute 'digitpad'"):
        _ = widgets.digitpad
