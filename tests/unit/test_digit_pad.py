"""The path from strokes to an answer: the picture, the network, the pad and its messages."""

import importlib.util
import io
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import traitlets

import cnnlib
from cnnlib import plots, widgets
from cnnlib.widgets import pad_view, strokes
from cnnlib.widgets.digit_pad import MOST_POINTS

ROOT = Path(__file__).resolve().parents[2]
INDEX = np.arange(28)


@pytest.fixture(scope="module")
def model():
    return widgets.load_pad_model()


@pytest.fixture
def pad(model):
    return widgets.DigitPad(model)


def centre(picture):
    """Row and column of the centre of mass."""
    return np.array([picture.sum(1) @ INDEX, picture.sum(0) @ INDEX]) / picture.sum()


def box(picture):
    """Height and width of the ink."""
    return [int(np.ptp(np.flatnonzero(picture.any(axis)))) + 1 for axis in (1, 0)]


def random_strokes(rng):
    return [
        rng.normal(0, 30, (rng.integers(1, 30), 2)).cumsum(0) for _ in range(rng.integers(1, 4))
    ]


# --- Strokes to picture ---------------------------------------------------------------------


def test_the_traced_digits_of_mnist_are_recognised(model):
    rows = json.loads((ROOT / "tests/data/traced_digits.json").read_text("utf-8"))
    assert len(rows) == 100 and len({row["label"] for row in rows}) == 10
    right = [
        widgets.read_digit(model, row["strokes"], threshold=0).digit == row["label"] for row in rows
    ]
    assert sum(right) >= 90


@pytest.mark.parametrize("digit", range(10))
def test_the_drawn_examples_are_recognised_and_the_network_is_sure(digit, model):
    assert widgets.read_digit(model, widgets.EXAMPLES[digit]).digit == digit


def test_ink_fills_the_box_of_20_and_its_centre_of_mass_is_where_mnist_has_it():
    rng = np.random.default_rng(1)
    for _ in range(50):
        drawing = random_strokes(rng)
        picture = widgets.to_picture(drawing)
        assert picture.dtype == np.float32 and picture.min() == 0 and picture.max() == 1
        # Off the grid of pixels, ink that is 20 wide touches 21 of them, rarely 22.
        assert 20 <= max(box(picture)) <= 22
        # Half a pixel is what MNIST itself keeps to; the shift here is not rounded.
        assert np.abs(centre(picture) - strokes.MIDDLE).max() < 0.1


def test_mnist_keeps_to_the_same_middle_and_box():
    (_, _), (images, _) = cnnlib.datasets.digits.load_data()
    centres = np.array([centre(image / 255) for image in images])
    assert np.abs(centres.mean(0) - strokes.MIDDLE).max() < 0.05
    assert np.abs(centres - strokes.MIDDLE).max() <= 0.501
    assert np.median([max(box(image)) for image in images]) == strokes.BOX


def test_place_and_size_of_a_drawing_do_not_matter():
    rng = np.random.default_rng(2)
    for _ in range(10):
        drawing = random_strokes(rng)
        picture = widgets.to_picture(drawing)
        for scale, shift in [(1e-3, 0), (1, -700), (40, 1e5), (1e150, 0), (-1e-150, 0)]:
            moved = widgets.to_picture([abs(scale) * stroke + shift for stroke in drawing])
            np.testing.assert_allclose(moved, picture, atol=1e-5)  # float32 and rounded sums


def test_proportions_are_kept():
    picture = widgets.to_picture([[(0, 0), (40, 0), (40, 80), (0, 80), (0, 0)]])
    height, width = box(picture)
    # The pen's width comes on top of both sides: (20 - 2.6) / 2 + 2.6 = 11.3.
    assert height in (20, 21) and width in (11, 12, 13)


@pytest.mark.parametrize(
    "drawing",
    [[[(3, 4)]], [[(3, 4), (3, 4)]], [[(0.1, 0.3)], [(0.1, 0.1 + 0.2)]], [[(0, 0)]], [[(-9, 5)]]],
)
def test_points_in_one_place_are_a_dot_in_the_middle(drawing):
    picture = widgets.to_picture(drawing)
    assert 4 < picture.sum() < 9 and max(box(picture)) <= 5
    np.testing.assert_allclose(centre(picture), strokes.MIDDLE, atol=0.01)


@pytest.mark.parametrize("end", [(0, 9), (9, 0)])
def test_a_straight_line_is_20_long_and_as_thick_as_the_pen(end):
    for pen in (0.5, 1.0, 2.6, 4.0):
        picture = widgets.to_picture([[(0, 0), end]], pen=pen)
        assert max(box(picture)) in (20, 21, 22)
        thickness = picture.sum(axis=1 if end[1] else 0).max()
        assert thickness == pytest.approx(pen, abs=0.15)


def test_nothing_drawn_is_empty_paper():
    for drawing in ([], [[]], [[], np.zeros((0, 2))]):
        assert not widgets.to_picture(drawing).any()
    with pytest.raises(ValueError, match="at least one point"):
        strokes.place([])


def test_huge_coordinates_do_not_overflow():
    line = [(-1.7e308, -1.7e308), (1.7e308, 1.7e308)]
    expected = widgets.to_picture([[(-1, -1), (1, 1)]])
    np.testing.assert_allclose(widgets.to_picture([line]), expected, atol=1e-5)


def test_no_ink_leaves_the_picture_even_if_the_drawing_is_one_sided():
    rng = np.random.default_rng(3)
    blot = np.concatenate([rng.uniform(0, 3, (2000, 2)), [[0, 100]]])
    picture = widgets.to_picture([blot])
    assert max(box(picture)) >= 20


def test_a_tiny_drawing_stays_tiny_where_that_is_asked_for():
    dot = [[(0.5, 0.5), (0.51, 0.5)]]
    assert max(box(widgets.to_picture(dot, smallest=0.2))) <= 6
    assert max(box(widgets.to_picture(dot))) >= 20


def test_more_points_on_the_same_line_change_nothing():
    t = np.linspace(0, 1, 3000)[:, np.newaxis]
    line = np.array([[2.0, 1.0]]) * (1 - t) + np.array([[30.0, 55.0]]) * t
    np.testing.assert_allclose(
        widgets.to_picture([line]), widgets.to_picture([line[[0, -1]]]), atol=1e-5
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad):
    with pytest.raises(ValueError, match=r"strokes\[1\]: expected finite coordinates"):
        widgets.to_picture([[(0, 0)], [(0, 1), (bad, 2)]])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (7, TypeError, "expected a list of strokes"),
        ("abc", TypeError, "expected a list of strokes"),
        ({"x": 1}, TypeError, "expected a list of strokes"),
        ([[(1, 2, 3)]], ValueError, "shape (points, 2). Received shape (1, 3)"),
        ([(1, 2)], ValueError, "Received shape (2,)"),
        ([[(1, 2), (3,)]], ValueError, "expected points (x, y)"),
        ([[("a", 1)]], ValueError, "expected points (x, y)"),
        ([[(10**400, 1)]], ValueError, "expected points (x, y)"),
    ],
)
def test_what_is_no_drawing_is_refused(bad, error, message):
    with pytest.raises(error, match=re.escape(message)):
        widgets.to_picture(bad)


@pytest.mark.parametrize("pen", [0, -1, 20, float("nan")])
def test_a_pen_must_fit_the_box(pen):
    with pytest.raises(ValueError, match="^pen: expected a width above 0 and below 20"):
        widgets.to_picture([[(0, 0)]], pen=pen)


# --- The patch ------------------------------------------------------------------------------


def test_the_patch_hides_what_lies_under_it_and_moves_nothing_else():
    line = [[(0, 0), (0, 100)]]
    whole = widgets.to_picture(line)
    lower = widgets.to_picture(line, patch=(-50, 50, 100))
    row = int(np.rint(strokes.place(line).scale * 50 + strokes.place(line).y))
    np.testing.assert_array_equal(lower[:row], whole[:row])
    assert not lower[row + 1 :].any()
    assert lower.sum() == pytest.approx(whole.sum() / 2, rel=0.02)  # also of the row it cuts


def test_a_patch_beside_the_drawing_and_one_without_size_hide_nothing():
    line = [[(0, 0), (0, 100)]]
    for patch in [(500, 500, 80), (0, 50, 0)]:
        np.testing.assert_array_equal(
            widgets.to_picture(line, patch=patch), widgets.to_picture(line)
        )


@pytest.mark.parametrize("patch", [(1, 2), (1, 2, -1), (1, np.nan, 1), 5, "abc"])
def test_what_is_no_patch_is_refused(patch):
    with pytest.raises(ValueError):
        widgets.to_picture([[(0, 0)]], patch=patch)


# --- The answer -----------------------------------------------------------------------------


def test_the_answer_in_words(model):
    assert widgets.read_digit(model, []).text == "Draw a digit."
    three = widgets.EXAMPLES[3]
    assert re.fullmatch(r"Answer: 3 \(.+ %\)\.", widgets.read_digit(model, three).text)
    hidden = widgets.read_digit(model, three, patch=(0, 0, 1))
    assert hidden.text == "The patch hides the whole drawing."
    assert hidden.digit is None and not hidden.probabilities.any()
    unsure = widgets.read_digit(model, [[(0, 0), (0.5, 0.5)]], threshold=1)
    assert unsure.digit is None
    assert re.fullmatch(r"Not sure: \d \(.+ %\) or \d \(.+ %\)\?", unsure.text)


def test_probabilities_are_those_of_the_model_for_that_picture(model):
    answer = widgets.read_digit(model, widgets.EXAMPLES[5])
    expected = model.predict(answer.picture[np.newaxis, :, :, np.newaxis])[0]
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)


def test_the_shipped_weights_are_small_and_good():
    path = ROOT / "data" / "pad.npz"
    assert path.stat().st_size < 300_000
    (_, _), (images, labels) = cnnlib.datasets.digits.load_data()
    predicted = widgets.load_pad_model().predict(images[..., np.newaxis] / np.float32(255))
    # 98.9 % when they were made: python scripts/train_pad.py
    assert (predicted.argmax(1) == labels).mean() > 0.98


def test_damaged_weights_are_refused_with_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("cnnlib.utils.__file__", str(tmp_path / "package" / "utils.py"))
    with pytest.raises(FileNotFoundError, match="Install the library again"):
        widgets.load_pad_model()
    (tmp_path / "data" / "pad.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="does not hold the weights"):
        widgets.load_pad_model()
    np.savez(tmp_path / "data" / "pad.npz", **{"0": np.zeros(3)})
    with pytest.raises(ValueError, match="does not hold the weights"):
        widgets.load_pad_model()


def test_a_model_of_another_shape_is_refused():
    other = cnnlib.Sequential([cnnlib.Input((8, 8, 1)), cnnlib.layers.Flatten()])
    for call in (lambda: widgets.read_digit(other, []), lambda: widgets.DigitPad(other)):
        with pytest.raises(ValueError, match=r"takes pictures \(28, 28, 1\)"):
            call()
    with pytest.raises(ValueError, match="threshold: expected a number from 0 to 1"):
        widgets.read_digit(widgets.build_pad_model(), [], threshold=70)


# --- The still picture ----------------------------------------------------------------------


@pytest.mark.parametrize("layer", [None, "second_pooling"])
@pytest.mark.parametrize("drawing", [[], widgets.EXAMPLES[8]], ids=["empty", "eight"])
@pytest.mark.parametrize("patch", [None, (0.1, 0.5, 0.4)], ids=["open", "patch"])
def test_the_still_picture_shows_what_the_pad_shows(model, layer, drawing, patch):
    fig = widgets.pad_figure(model, drawing, layer, patch)
    fig.savefig(io.BytesIO(), format="png", dpi=40)  # layout warnings are errors
    answer = widgets.read_digit(model, drawing, patch)
    left, right, *maps = fig.axes
    np.testing.assert_array_equal(left.images[0].get_array(), answer.picture)
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], answer.probabilities)
    assert sum(len(ax.images) for ax in maps) == (8 if layer is None else 16)
    assert fig.subfigs[0].get_suptitle() == answer.text
    assert fig.subfigs[0].get_supxlabel() == pad_view.TEXTS["warning"]


def test_the_description_names_the_digit_and_no_percentage(model):
    text = widgets.describe(model, widgets.EXAMPLES[3], patch=(0.9, 0.9, 0.1))
    assert "is that of 3" in text and "hidden by a patch" in text and "%" not in text
    assert "no bar rises" in widgets.describe(model, [])
    plots.show(widgets.pad_figure(model, widgets.EXAMPLES[3]), alt=text)


def test_a_layer_that_gives_no_images_is_refused(model):
    for name in ("hidden", "nothing"):
        with pytest.raises(ValueError, match="unknown layer that gives images"):
            widgets.pad_figure(model, [], layer=name)


def test_a_model_without_images_inside_has_no_feature_maps():
    plain = cnnlib.Sequential(
        [
            cnnlib.Input((28, 28, 1)),
            cnnlib.layers.Flatten(),
            cnnlib.layers.Dense(10, activation="softmax"),
        ]
    )
    fig = widgets.pad_figure(plain, widgets.EXAMPLES[1])
    assert len(fig.axes) == 2
    assert "feature maps" not in widgets.describe(plain, widgets.EXAMPLES[1])
    assert widgets.DigitPad(plain, strokes=widgets.EXAMPLES[1]).maps == b""


# --- The pad --------------------------------------------------------------------------------


def test_the_pad_answers_as_strokes_come_and_go(pad):
    assert pad.answer == "Draw a digit." and pad.digit is None
    for digit in (3, 7):
        pad.strokes = widgets.EXAMPLES[digit]
        assert pad.digit == digit and max(pad.probabilities) == pad.probabilities[digit]
    pad.strokes = widgets.EXAMPLES[4]
    pad.undo()
    assert pad.strokes == [widgets.EXAMPLES[4][0].tolist()]
    pad.undo()
    pad.undo()  # nothing left: nothing happens
    assert pad.strokes == [] and pad.answer == "Draw a digit."
    pad.strokes = widgets.EXAMPLES[4]
    pad.clear()
    assert pad.strokes == [] and pad.probabilities == [0.0] * 10
    pad.clear()  # nothing to clear: what was cleared before is kept
    pad.undo()
    assert pad.digit == 4, "undo brings back what clear took away"


def test_the_patch_hides_ink_from_the_network(model, pad):
    pad.strokes = widgets.EXAMPLES[8]
    assert pad.digit == 8
    pad.patch = (0.2, 0.5, 0.3)
    expected = widgets.read_digit(model, widgets.EXAMPLES[8], (0.2, 0.5, 0.3))
    assert pad.answer == expected.text and pad.digit != 8
    seen = np.frombuffer(pad.picture, np.uint8).reshape(28, 28)
    np.testing.assert_array_equal(seen, np.rint(255 * expected.picture))
    pad.patch = []
    assert pad.digit == 8


def test_the_chosen_layer_decides_which_maps_are_sent(model, pad):
    assert pad.layers == [
        "first_convolution",
        "first_pooling",
        "second_convolution",
        "second_pooling",
    ]
    pad.strokes = widgets.EXAMPLES[3]
    for name, shape in (("second_convolution", [16, 8, 8]), ("first_pooling", [8, 12, 12])):
        pad.layer = name
        assert pad.maps_shape == shape and len(pad.maps) == np.prod(shape)
        picture = widgets.to_picture(widgets.EXAMPLES[3], smallest=pad_view.SMALLEST)
        largest = pad_view.maps_of(model, picture, name).argmax()
        assert pad.maps[largest] == 255  # the strongest answer is the darkest
    with pytest.raises(ValueError, match="Did you mean 'first_pooling'"):
        pad.layer = "first_poolin"
    pad.threshold = 1
    assert pad.digit is None and pad.answer.startswith("Not sure")


def test_wrong_values_from_python_are_refused(pad, model):
    with pytest.raises(ValueError, match="finite"):
        pad.strokes = [[(0, float("nan"))]]
    with pytest.raises(ValueError, match="patch: expected three finite numbers"):
        pad.patch = [1, 2]
    with pytest.raises(traitlets.TraitError):
        widgets.DigitPad(model, threshold=2)


# --- Messages from a page -------------------------------------------------------------------


def message(**state):
    """What a page sends when it changes something."""
    return {"content": {"data": {"method": "update", "state": state, "buffer_paths": []}}}


def test_a_page_sets_strokes_patch_and_layer(pad):
    drawing = [stroke.tolist() for stroke in widgets.EXAMPLES[7]]
    pad._handle_msg(message(strokes=drawing, patch=[0, 0, 0.1]) | {"buffers": []})
    assert pad.digit == 7 and pad.strokes == drawing and pad.patch == [0, 0, 0.1]
    pad._handle_msg(message(layer="second_pooling") | {"buffers": []})
    assert pad.maps_shape == [16, 4, 4]
    pad._handle_msg(message(strokes=[], patch=None) | {"buffers": []})
    assert pad.answer == "Draw a digit."


@pytest.mark.parametrize(
    "state",
    [
        {"strokes": None},
        {"strokes": 3},
        {"strokes": "abc"},
        {"strokes": {"0": [[1, 2]]}},
        {"strokes": [1, 2]},
        {"strokes": [None]},
        {"strokes": [[[0.1, None]]]},
        {"strokes": [[[0.1, "a"]]]},
        {"strokes": [[[0.1]]]},
        {"strokes": [[[0.1, 0.2, 0.3]]]},
        {"strokes": [[[0.1, 10**400]]]},
        {"strokes": [[[0.1, float("inf")]]]},
        {"strokes": [[[[]]]]},
        {"strokes": [[[0.1, 0.2]] * (MOST_POINTS + 1)]},
        {"patch": [1, 2, -3]},
        {"patch": [1, None, 3]},
        {"patch": "abc"},
        {"patch": [[1, 2, 3]]},
        {"layer": "nothing"},
        {"layer": None},
        {"layer": ["hidden"]},
        {"digit": 4},
        {"digit": "x"},
        {"answer": "Answer: 4", "probabilities": [1], "picture": b"x", "maps": 3, "maps_shape": {}},
        {"threshold": "high"},
        {"texts": 3, "layers": None, "start_patch": "x"},
        {"unknown": 1},
    ],
    ids=lambda state: str(state)[:40],
)
def test_a_malformed_message_changes_nothing(state, model):
    pad = widgets.DigitPad(model, strokes=widgets.EXAMPLES[3], patch=(0.8, 0.8, 0.1))
    before = {name: getattr(pad, name) for name in pad.keys if not name.startswith("_")}
    pad.set_state(state)  # what _handle_msg calls, which would swallow an error
    after = {name: getattr(pad, name) for name in before}
    assert after == before


# --- The page's half ------------------------------------------------------------------------


def test_the_script_asks_no_server_and_names_no_address():
    for name in ("digit_pad.js", "digit_pad.css"):
        text = (ROOT / "cnnlib" / "widgets" / name).read_text("utf-8")
        assert not re.search(
            r"https?:|fetch\(|XMLHttp|WebSocket|import\s|import\(|@import|url\(", text
        )


def test_the_page_and_python_agree_on_names():
    script = (ROOT / "cnnlib" / "widgets" / "digit_pad.js").read_text("utf-8")
    named = set(re.findall(r'model\.(?:get|set)\("(\w+)"', script))
    named |= set(re.findall(r"change:(\w+)", script))
    assert {"strokes", "patch", "layer", "answer"} <= named <= set(widgets.DigitPad.class_traits())
    texts = set(re.findall(r"texts\.(\w+)", script)) | {"undo", "clear", "patch"}
    assert texts <= set(pad_view.TEXTS)


def test_the_pad_is_labelled_and_its_answer_is_live():
    script = (ROOT / "cnnlib" / "widgets" / "digit_pad.js").read_text("utf-8")
    for needed in ('"aria-label", texts.pad', '"aria-live", "polite"', "tabIndex = 0", "Shift"):
        assert needed.lower() in script.lower()


def test_the_widgets_travel_in_the_wheel():
    # test_packaging.py builds the wheel and compares its files with the folders; this says that
    # the folders hold them and that the build takes both.
    for name in ("digit_pad.js", "digit_pad.css", "digit_pad.py", "strokes.py", "views.py"):
        assert (ROOT / "cnnlib" / "widgets" / name).is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["cnnlib"] and wheel["force-include"]["data"] == "cnnlib/data"
    extras = settings["project"]["optional-dependencies"]
    assert any(line.startswith("anywidget>=") for line in extras["colab"])
    assert "cnnlib[colab]" in extras["lessons"]


# --- The script that traces -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tracer():
    spec = importlib.util.spec_from_file_location(
        "trace_strokes", ROOT / "scripts/trace_strokes.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_thinning_leaves_one_line_and_keeps_the_holes(tracer):
    ring = np.zeros((1, 30, 30), bool)
    ring[0, 5:25, 5:25] = True
    ring[0, 11:19, 11:19] = False
    thinned = tracer.thin(ring)[0]
    assert (thinned & ~ring[0]).sum() == 0
    graph = tracer.neighbours(thinned)
    assert all(len(near) == 2 for near in graph.values())  # a closed loop, one pixel wide
    (way,) = tracer.walks(graph)
    assert way[0] == way[-1] and len(way) == len(graph) + 1


def test_a_traced_digit_drawn_again_looks_like_itself(tracer):
    (_, _), (images, _) = cnnlib.datasets.digits.load_data()
    images = images[:40] / 255
    drawn = np.stack([widgets.to_picture(s) for s in tracer.trace(images)])
    # Nearer to its own picture than to nearly all others: cosines of pixels.
    a, b = (
        x.reshape(40, -1) / np.linalg.norm(x.reshape(40, -1), axis=1)[:, None]
        for x in (drawn, images)
    )
    assert (np.argmax(a @ b.T, axis=1) == np.arange(40)).mean() > 0.9
