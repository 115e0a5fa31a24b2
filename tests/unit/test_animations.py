"""What cnnlib.animations shows: the library's own numbers, at the right places, in a sound GIF."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cnnlib import animations, plain, plots

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import make_images

MINUS = "\N{MINUS SIGN}"
ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(4)
PICTURE = RNG.integers(-9, 10, (5, 7))  # not square: rows taken for columns would show
KERNEL = RNG.integers(-3, 4, (2, 3))


def texts(fig):
    ax = fig.axes[0]
    found = [text.get_text() for text in ax.texts if text.get_text()]
    for shapes in ax.collections:
        if isinstance(shapes, PathCollection):  # the numbers of cells: an outline each
            numbers = shapes.get_label().split()
            assert len(numbers) == len(shapes.get_paths())
            found += numbers
    return found


def meshes(fig):
    return [part for part in fig.axes[0].collections if isinstance(part, QuadMesh)]


def outlines(fig, colour=animations.VERMILLION):
    """Return (x, y, width, height) in inches of the thick frames of one colour."""
    return [
        (*patch.get_xy(), patch.get_width(), patch.get_height())
        for patch in fig.axes[0].patches
        if isinstance(patch, Rectangle) and to_hex(patch.get_edgecolor()) == colour.lower()
    ]


def grids(fig):
    """Return for each table of cells its edges in inches, (x, y)."""
    found = []
    for mesh in meshes(fig):
        points = mesh.get_coordinates()
        found.append((points[0, :, 0], points[:, 0, 1]))
    return found


# --- Correlation ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
def test_correlation_shows_each_cell_of_the_librarys_result_once(mode):
    frames = animations.correlation(PICTURE, KERNEL, mode)
    expected = plain.correlate2d(PICTURE.astype(float), KERNEL.astype(float), mode)
    assert [step.cell for step in frames.steps] == list(np.ndindex(expected.shape))
    for k, step in enumerate(frames.steps):
        assert np.isfinite(step.output).sum() == k + 1
        assert step.output[step.cell] == expected[step.cell] == step.products.sum()
    np.testing.assert_array_equal(frames.steps[-1].output, expected)


def test_the_window_of_a_correlation_moves_row_by_row():
    frames = animations.correlation(PICTURE, KERNEL)
    assert len(frames) == 4 * 5
    assert frames.steps[7].window == (1, 2, 2, 3)
    np.testing.assert_array_equal(frames.steps[7].seen, PICTURE[1:3, 2:5])
    np.testing.assert_array_equal(frames.steps[7].products, PICTURE[1:3, 2:5] * KERNEL)


def test_windows_of_mode_same_count_the_zeros_around_the_picture():
    frames = animations.correlation(PICTURE, np.ones((3, 3), int), "same")
    padded = np.pad(PICTURE, 1)
    for step in frames.steps:
        i, j, rows, columns = step.window
        np.testing.assert_array_equal(step.seen, padded[i : i + rows, j : j + columns])
    assert "zeros" in " ".join(texts(frames.frame(0)))


def test_outlines_lie_on_the_window_and_on_the_current_cell():
    frames = animations.correlation(PICTURE, KERNEL)
    step, fig = frames.steps[7], frames.frame(7)
    picture, result, *_ = grids(fig)
    window, cell, *_ = outlines(fig)
    i, j, rows, columns = step.window
    x, y = picture
    assert window == pytest.approx((x[j], y[i], x[j + columns] - x[j], y[i + rows] - y[i]))
    (i, j), (x, y) = step.cell, result
    assert cell == pytest.approx((x[j], y[i], x[j + 1] - x[j], y[i + 1] - y[i]))


def test_numbers_of_the_result_fill_up_and_dots_stand_for_the_rest():
    frames = animations.correlation([[1, 2, 3], [4, 5, 6]], [[0, 10]])
    first, last = texts(frames.frame(0)), texts(frames.frame(3))
    assert {"20", "60"} & set(first) == {"20"}
    assert {"20", "30", "50", "60"} <= set(last)
    assert [len(line.get_xdata()) for line in frames.frame(0).axes[0].lines] == [3]
    assert not frames.frame(3).axes[0].lines
    assert first[0] == "y[0, 0] = sum of the 2 products = 20"


def test_numbers_that_do_not_fit_are_left_out_of_the_picture_alone():
    frames = animations.correlation(np.full((28, 28), 88), np.eye(3))
    shown = texts(frames.frame(0))
    assert shown.count("88") == 9 + 3  # the window, and the diagonal of the products
    assert "264" in shown  # the sum has its own cell


def test_all_frames_use_the_same_colours_for_the_same_numbers():
    frames = animations.correlation(PICTURE, KERNEL)
    first, last = frames.frame(0), frames.frame(len(frames) - 1)
    results = [meshes(fig)[1].get_array() for fig in (first, last)]
    np.testing.assert_array_equal(results[0][0, 0], results[1][0, 0])
    np.testing.assert_array_equal(results[0][0, 1], [1, 1, 1])  # white: not computed yet
    assert (results[1][0, 1] < 1).any()


# --- Pooling --------------------------------------------------------------------------------


POOLINGS = [
    (animations.max_pooling, plain.max_pooling2d_forward, np.max),
    (animations.average_pooling, plain.average_pooling2d_forward, np.mean),
]


@pytest.mark.parametrize(("animate", "forward", "reduce"), POOLINGS)
@pytest.mark.parametrize(
    "settings", [(2, None, "valid"), ((2, 3), (1, 2), "valid"), ((3, 2), 2, "same")]
)
def test_pooling_shows_each_cell_of_the_librarys_result_once(animate, forward, reduce, settings):
    frames = animate(PICTURE, *settings)
    expected = forward(PICTURE[np.newaxis, ..., np.newaxis].astype(float), *settings)[0, ..., 0]
    assert [step.cell for step in frames.steps] == list(np.ndindex(expected.shape))
    for k, step in enumerate(frames.steps):
        i, j, rows, columns = step.window
        np.testing.assert_array_equal(step.seen, PICTURE[i : i + rows, j : j + columns])
        assert np.isfinite(step.output).sum() == k + 1
        assert step.output[step.cell] == pytest.approx(reduce(step.seen), abs=1e-12)
        assert step.products is None
    # Sums of a window in another order differ by rounding alone.
    np.testing.assert_allclose(frames.steps[-1].output, expected, rtol=1e-12)


def test_the_winner_of_max_pooling_is_the_first_of_the_largest():
    steps = animations.max_pooling(
        [[1, 7, 2, 3], [4, 7, 0, 0], [0, 0, -5, -6], [0, 0, -7, -5]]
    ).steps
    assert [step.winner for step in steps] == [(0, 1), (0, 3), (2, 0), (2, 2)]
    assert {step.winner for step in animations.average_pooling(PICTURE).steps} == {None}


def test_pooling_marks_window_seen_cells_winner_and_result():
    x = np.zeros((4, 6))
    x[2, 5] = 9  # off the diagonal of its window: row and column taken for each other would show
    frames = animations.max_pooling(x, 2)
    fig, step = frames.frame(5), frames.steps[5]
    picture, centre, result = grids(fig)
    window, seen, cell = outlines(fig)
    i, j, _, _ = step.window
    assert window[:2] == pytest.approx((picture[0][j], picture[1][i]))
    assert seen[:2] == pytest.approx((centre[0][0], centre[1][0]))
    assert cell[:2] == pytest.approx((result[0][step.cell[1]], result[1][step.cell[0]]))
    assert picture[0][-1] < centre[0][0] < centre[0][-1] < result[0][0]  # left, centre, right
    ((x, y, wide, high),) = outlines(fig, animations.BLUE)
    a, b = step.winner[0] - i, step.winner[1] - j
    assert centre[0][b] < x < x + wide < centre[0][b + 1]
    assert centre[1][a] < y < y + high < centre[1][a + 1]


def test_a_window_of_many_numbers_is_not_written_out():
    text = animations.average_pooling(np.arange(25.0).reshape(5, 5), 5).steps[0].text
    assert text == "y[0, 0] = mean(25 numbers) = 12"


# --- Gradient descent -----------------------------------------------------------------------


X, Y = np.array([0.0, 1.0, 3.0]), np.array([1.0, -2.0, 2.0])


def test_the_ball_goes_against_the_gradient_of_the_loss():
    steps = animations.gradient_descent(X, Y, learning_rate=0.05, steps=6, start=(-1, 2)).steps
    w, b = -1.0, 2.0
    for k, step in enumerate(steps):
        error = w * X + b - Y
        dw, db = 2 * (error * X).mean(), 2 * error.mean()
        seen = (step.step, step.w, step.b, step.loss, *step.gradient)
        assert seen == pytest.approx((k, w, b, (error**2).mean(), dw, db), rel=1e-12)
        w, b = w - 0.05 * dw, b - 0.05 * db
    assert len(steps) == 7


def test_the_surface_is_the_loss_at_each_point():
    w_axis, b_axis = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 3.0])
    surface = animations._surface(X[:, None], Y[:, None], w_axis, b_axis)
    for i, j in np.ndindex(2, 3):
        expected = ((w_axis[j] * X + b_axis[i] - Y) ** 2).mean()
        assert surface[i, j] == pytest.approx(expected, rel=1e-12)


def test_the_path_grows_and_ends_at_the_ball():
    frames = animations.gradient_descent(steps=5)
    view = frames.frame(3).axes[1]
    trail, ball = view.lines[2], view.lines[3]
    np.testing.assert_array_equal(trail.get_xdata(), [step.w for step in frames.steps[:4]])
    assert (ball.get_xdata()[0], ball.get_ydata()[0]) == (frames.steps[3].w, frames.steps[3].b)


def test_a_rate_that_is_too_large_is_said_to_be():
    frames = animations.gradient_descent(learning_rate=0.6, steps=15)
    assert not frames.steps[-1].inside
    assert frames.steps[-1].text.endswith("out of the picture")
    assert "too large" in frames.alt
    assert "lowest point" in animations.gradient_descent(steps=40).alt
    assert "still on its way" in animations.gradient_descent(steps=2).alt


def test_the_way_ends_where_numbers_do():
    frames = animations.gradient_descent(learning_rate=1e100, steps=9)
    assert 1 < len(frames) < 10
    assert all(np.isfinite(step.loss) for step in frames.steps)
    frames.frame(len(frames) - 1).savefig(io.BytesIO())


# --- Kernels --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels():
    return animations.kernels_during_training(epochs=2, filters=3, kernel_size=5, examples=500)


def test_kernels_change_from_epoch_to_epoch_and_the_network_learns(kernels):
    steps = kernels.steps
    assert [step.epoch for step in steps] == [0, 1, 2]
    assert [step.kernel.shape for step in steps] == [(5, 5, 1, 3)] * 3
    assert not np.array_equal(steps[0].kernel, steps[1].kernel)
    assert not np.array_equal(steps[1].kernel, steps[2].kernel)
    assert steps[0].accuracy < 0.3 < steps[2].accuracy  # chance is 0.1
    assert "before training" in texts(kernels.frame(0))[0]


def test_the_same_seed_trains_the_same_kernels(kernels):
    twin = animations.kernels_during_training(epochs=2, filters=3, kernel_size=5, examples=500)
    for a, b in zip(kernels.steps, twin.steps, strict=True):
        np.testing.assert_array_equal(a.kernel, b.kernel)


def test_the_tiles_are_the_kernels(kernels):
    step, tiles = kernels.steps[2], kernels.frame(2).axes[0].collections
    assert len(tiles) == 3
    limit = max(np.abs(step.kernel).max() for step in kernels.steps)
    expected = colormaps["cividis"]((step.kernel[:, :, 0, 1] + limit) / (2 * limit))[..., :3]
    np.testing.assert_allclose(tiles[1].get_array(), expected, atol=1e-6)


# --- Frames and files -----------------------------------------------------------------------


ALL = {
    "correlation": lambda: animations.correlation(PICTURE, KERNEL),
    "max_pooling": lambda: animations.max_pooling(PICTURE),
    "average_pooling": lambda: animations.average_pooling(PICTURE),
    "gradient_descent": lambda: animations.gradient_descent(steps=3),
}


@pytest.fixture(params=[*ALL, "kernels"])
def any_frames(request):
    name = request.param
    return request.getfixturevalue("kernels") if name == "kernels" else ALL[name]()


def test_every_frame_is_a_new_white_figure_of_one_size_with_its_sentence(any_frames):
    figures = [any_frames.frame(k) for k in range(len(any_frames))]
    assert any_frames.frame(0) is not figures[0]
    assert all(isinstance(fig, Figure) for fig in figures)
    assert len({tuple(fig.get_size_inches()) for fig in figures}) == 1
    assert {fig.get_facecolor() for fig in figures} == {(1.0, 1.0, 1.0, 1.0)}
    for k, fig in enumerate(figures):
        assert texts(fig)[0] == any_frames.steps[k].text
        assert f"{k + 1} of {len(figures)}" in texts(fig)
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_nothing_is_cut_off_at_the_edges(any_frames):
    for k in (0, len(any_frames) - 1):
        pixels = animations._pixels(any_frames.frame(k), 60)
        for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
            assert (edge == 255).all()


def test_frames_shown_as_stills_keep_one_size(any_frames):
    sizes = {plots._png(any_frames.frame(k))[16:24] for k in (0, len(any_frames) - 1)}
    assert len(sizes) == 1


def test_alt_text_is_there_and_says_what_moves(any_frames):
    assert len(any_frames.alt.split()) > 20
    assert any_frames.alt.endswith(".")
    assert any_frames.alt.isascii()  # it also stands in the GIF, whose comments are bytes


def test_a_gif_has_all_frames_loops_and_takes_its_time(any_frames, tmp_path):
    path = tmp_path / "a.gif"
    any_frames.save(path, dpi=60)
    with Image.open(path) as gif:
        assert gif.n_frames == len(any_frames)
        assert gif.info["loop"] == 0  # for ever
        assert gif.size[0] == 420  # 7 inches
        assert gif.info["comment"] == any_frames.alt.encode("ascii")
        durations = []
        for k in range(gif.n_frames):
            gif.seek(k)
            durations.append(gif.info["duration"])
    assert durations == any_frames.durations()
    middle = round(1000 * any_frames.seconds)
    assert durations[1:-1] == [middle] * (len(durations) - 2)
    assert durations[-1] == 4 * middle


def test_a_gif_shows_the_frames_as_drawn(tmp_path):
    frames = animations.correlation(PICTURE, KERNEL)
    frames.save(tmp_path / "a.gif", dpi=80)
    with Image.open(tmp_path / "a.gif") as gif:
        for k in (0, 9, 19):
            gif.seek(k)
            stored = np.asarray(gif.convert("RGB")).astype(int)
            drawn = animations._pixels(frames.frame(k), 80)
            # 255 colours for all frames: no eye sees 16 levels of 255 at the rim of a letter.
            assert np.abs(stored - drawn).max() <= 16


def test_a_second_run_writes_the_same_bytes(tmp_path):
    for name in "ab":
        animations.max_pooling().save(tmp_path / f"{name}.gif", dpi=60)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_a_readers_own_settings_change_nothing(tmp_path):
    from matplotlib import rc_context

    animations.max_pooling().save(tmp_path / "a.gif", dpi=60)
    with rc_context({"font.size": 20, "figure.facecolor": "black", "text.color": "red"}):
        animations.max_pooling().save(tmp_path / "b.gif", dpi=60)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


# --- Wrong input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: a.correlation(np.ones((3, 4)), np.ones((4, 2))), ValueError, "mode 'same'"),
        (lambda a: a.correlation(np.ones((2, 2)), np.ones((3, 3))), ValueError, "fits into"),
        (lambda a: a.correlation(np.ones((1, 3, 4)), np.ones((2, 2))), ValueError, "(1, 3, 4)"),
        (lambda a: a.correlation(np.ones((3, 4)), np.ones(2)), ValueError, "kernel"),
        (lambda a: a.correlation(PICTURE, KERNEL, "sane"), ValueError, "Did you mean 'same'"),
        (lambda a: a.correlation(PICTURE * 1j, KERNEL), TypeError, "complex128"),
        (lambda a: a.max_pooling(np.ones((1, 4, 4, 1))), ValueError, "x[0, :, :, 0]"),
        (lambda a: a.max_pooling(np.ones(4)), ValueError, "(height, width)"),
        (lambda a: a.max_pooling([["a"]]), TypeError, "integers or floats"),
        (lambda a: a.average_pooling(np.ones((3, 3)), 4), ValueError, "4"),
        (lambda a: a.average_pooling(PICTURE, 0), ValueError, "pool_size"),
        (lambda a: a.gradient_descent([1, 2], [1, 2, 3]), ValueError, "one shape"),
        (lambda a: a.gradient_descent([2, 2], [1, 3]), ValueError, "different x"),
        (lambda a: a.gradient_descent([1, np.nan], [1, 3]), ValueError, "finite"),
        (lambda a: a.gradient_descent(start=(1, 2, 3)), ValueError, "(w, b)"),
        (lambda a: a.gradient_descent(learning_rate=-1), ValueError, "learning_rate"),
        (lambda a: a.gradient_descent(steps=0), ValueError, "steps"),
        (lambda a: a.kernels_during_training(epochs=0), ValueError, "epochs"),
        (lambda a: a.kernels_during_training(examples=3001), ValueError, "3000"),
        (lambda a: a.kernels_during_training(kernel_size=28), ValueError, "27"),
        (lambda a: a.max_pooling().frame(12), ValueError, "from 0 to 11"),
        (lambda a: a.max_pooling().frame(-1), ValueError, "from 0 to 11"),
        (lambda a: a.max_pooling().frame(1.5), TypeError, "integer"),
        (lambda a: a.max_pooling().save("pool.png"), ValueError, ".gif"),
        (lambda a: a.max_pooling().save("pool.gif", dpi=0), ValueError, "dpi"),
        (lambda a: a.max_pooling(seconds=0), ValueError, "seconds"),
        (lambda a: a.Frames([], None, "Something moves."), ValueError, "at least one step"),
        (lambda a: a.Frames([1], None, " "), ValueError, "in words"),
    ],
)
def test_wrong_input_is_refused_with_what_was_expected(call, error, message):
    with pytest.raises(error) as caught:
        call(animations)
    assert message in str(caught.value)


def test_arguments_are_not_written_to():
    x, kernel = PICTURE.astype(float), KERNEL.astype(float)
    for call in (lambda: animations.correlation(x, kernel), lambda: animations.max_pooling(x)):
        before = x.copy()
        call().frame(0)
        np.testing.assert_array_equal(x, before)


def test_numbers_stand_in_cells_in_a_short_form():
    numbers = [0, -0.0, 7, -12, 0.5, 1 / 3, -0.004, 9999, 99999, 123456, -1.5e7]
    expected = ["0", "0", "7", "-12", "0.5", "0.33", "0", "9999", "99999", "1.2e+05", "-1.5e+07"]
    assert [animations._show(n) for n in numbers] == [e.replace("-", MINUS) for e in expected]


def test_importing_cnnlib_leaves_animations_and_matplotlib_out():
    code = "import sys, cnnlib; print('cnnlib.animations' in sys.modules); "
    code += "from cnnlib import animations; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# --- images/ --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", make_images.IMAGES)
def test_every_committed_gif_is_small_and_described(name):
    path = ROOT / "images" / f"{name}.gif"
    assert path.stat().st_size < make_images.LARGEST
    with Image.open(path) as gif:
        assert gif.n_frames > 10
        assert gif.size[0] == 1008  # shown 700 wide, and sharp on fine screens
        assert gif.info["loop"] == 0
        alt = gif.info["comment"].decode("ascii")
    assert f"![{alt}]({name}.gif)" in (ROOT / "images" / "README.md").read_text("utf-8")
    with Image.open(path.with_suffix(".png")) as still:
        assert still.size[0] >= 700


def test_the_script_writes_gif_and_still(tmp_path, monkeypatch):
    monkeypatch.setitem(make_images.IMAGES, "max_pooling", (lambda: ALL["max_pooling"](), 1))
    frames = make_images.make("max_pooling", tmp_path)
    assert frames.alt == ALL["max_pooling"]().alt
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "max_pooling.gif",
        "max_pooling.png",
    ]
    monkeypatch.setattr(make_images, "LARGEST", 1000)
    with pytest.raises(SystemExit, match="allowed are 1,000"):
        make_images.make("max_pooling", tmp_path)
