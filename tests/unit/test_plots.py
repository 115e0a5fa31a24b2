"""What cnnlib.plots draws and says: facts about figures, not pixels."""
# ruff: noqa: RUF001 - the multiplication sign is meant

import base64
import io
import json
import subprocess
import sys
import types

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import cnnlib
from cnnlib import layers, plots


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.fixture(autouse=True)
def every_figure_can_be_drawn(monkeypatch):
    """Draw each figure that a test makes: layout warnings and missing glyphs are errors."""
    made = []
    original = plots._figure
    monkeypatch.setattr(plots, "_figure", lambda *size: made.append(original(*size)) or made[-1])
    yield
    for fig in made:
        fig.savefig(io.BytesIO(), format="png", dpi=30)


@pytest.fixture(scope="module")
def digits():
    (_, _), (x, y) = cnnlib.datasets.digits.load_data()
    return x[:40, ..., np.newaxis] / np.float32(255), y[:40]


@pytest.fixture(scope="module")
def lenet():
    cnnlib.utils.set_random_seed(3)
    return cnnlib.Sequential(
        [
            cnnlib.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.fixture
def answers(digits):
    """Probabilities for the digits: all right and sure, but for numbers 3, 8 and 30."""
    _, y = digits
    p = np.full((len(y), 10), 0.1 / 9)
    p[np.arange(len(y)), y] = 0.9
    for k, confidence in ((3, 0.7), (8, 0.95), (30, 0.8)):
        p[k] = (1 - confidence) / 9
        p[k, (y[k] + 1) % 10] = confidence
    return p


# --- Training -------------------------------------------------------------------------------


def test_training_and_validation_differ_in_more_than_colour():
    history = {"loss": [2, 1.5, 1], "accuracy": [0.2, 0.5, 0.8], "val_loss": [2, 1.7, 1.6]}
    loss, accuracy = plots.training_history(history).axes
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == (
        "epoch",
        "loss",
        "accuracy",
    )
    training, validation = loss.lines
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(validation.get_ydata(), [2, 1.7, 1.6])
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["training", "validation"]
    assert len(accuracy.lines) == 1


@pytest.mark.parametrize("epochs", [1, 2, 7, 200])
def test_epochs_are_whole_numbers(epochs):
    (ax,) = plots.training_history({"loss": [1.0] * epochs}).axes
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_a_history_that_goes_on_begins_where_the_first_one_ended():
    history = cnnlib.callbacks.History()
    for epoch in (5, 6):
        history.on_epoch_end(epoch, {"val_mse": 1.0, "loss": 2.0})
    fig = plots.training_history(history)
    assert [ax.get_ylabel() for ax in fig.axes] == ["loss", "mse"]
    np.testing.assert_array_equal(fig.axes[0].lines[0].get_xdata(), [6, 7])


def test_training_history_refuses_what_is_none():
    with pytest.raises(TypeError, match=r"expects what fit returned.*Received: NoneType"):
        plots.training_history(None)
    for empty in ({}, {"loss": []}):
        with pytest.raises(ValueError, match="no epoch was finished"):
            plots.training_history(empty)


# --- Predictions ----------------------------------------------------------------------------


def test_samples_mark_right_and_wrong_by_sign_text_and_frame(digits, answers):
    x, y = digits
    (ax,) = plots.sample_predictions(x, y, answers, count=5).axes
    assert len(ax.images) == len(ax.patches) == 5
    found = texts(ax)
    assert found[0] == f"✓ {y[0]}, 90 %"
    assert found[3] == f"✗ {(y[3] + 1) % 10}, 70 %\ntrue: {y[3]}"
    right, wrong = ax.patches[0], ax.patches[3]
    assert right.get_linestyle() != wrong.get_linestyle()
    assert right.get_linewidth() < wrong.get_linewidth()
    assert ax.get_title() == "5 predictions: 4 right (✓), 1 wrong (✗, dashed frame)"
    np.testing.assert_array_equal(ax.images[2].get_array(), x[2, ..., 0])


def test_samples_take_names_one_hot_labels_colours_and_a_lone_sigmoid():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)
    fig = plots.sample_predictions(
        images, [[0, 1], [1, 0]], [[0.999], [0.6]], ["an ankle boot", "bag"], count=99
    )
    assert texts(fig.axes[0]) == ["✓ bag, > 99 %", "✗ bag, 60 %\ntrue: an ankle boot"]
    np.testing.assert_allclose(fig.axes[0].images[0].get_array(), images[0] / 255)


def test_worst_mistakes_come_surest_first(digits, answers):
    x, y = digits
    np.testing.assert_array_equal(plots.mistakes(y, answers), [8, 30, 3])
    (ax,) = plots.worst_mistakes(x, y, answers, count=2).axes
    for image, k in zip(ax.images, (8, 30), strict=True):
        np.testing.assert_array_equal(image.get_array(), x[k, ..., 0])
    assert ax.get_title() == "2 of 3 mistakes among 40, the surest first"
    assert all(text.startswith("✗") for text in texts(ax))


def test_a_model_without_mistakes_gets_a_sentence(digits):
    x, y = digits
    fig = plots.worst_mistakes(x, y, np.eye(10)[y])
    assert [text.get_text() for text in fig.texts] == [
        "✓ No mistakes: all 40 predictions are right"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((3, 4, 4))}, "as many of each. Received: 3 images, 2 labels"),
        ({"images": np.zeros((2, 16))}, r"Received shape \(2, 16\)"),
        ({"images": np.zeros((2, 4, 4, 2))}, "1 or 3 channels"),
        ({"labels": [0, 2]}, "labels from 0 to 1.*Received labels from 0 to 2"),
        ({"labels": [0.5, 3.5]}, "expected whole class numbers"),
        ({"labels": ["a", "b"]}, "expected at least one class number"),
        ({"labels": [0, np.nan]}, "Received NaN"),
        ({"probabilities": [[3.0, -2.0], [1, 0]]}, "expects probabilities.*softmax"),
        ({"probabilities": [[np.nan, 0.5], [1, 0]]}, "expects probabilities"),
        ({"class_names": ["one"]}, "expected 2 names, one a class. Received 1"),
        ({"count": 0}, "count: expected a positive integer"),
        (
            {"images": np.zeros((0, 4, 4)), "labels": np.zeros(0, int)},
            "expected at least one class number",
        ),
    ],
)
def test_wrong_examples_are_refused(change, message):
    arguments = {
        "images": np.zeros((2, 4, 4)),
        "labels": [0, 1],
        "probabilities": [[0.4, 0.6], [0.3, 0.7]],
        **change,
    }
    for draw in (plots.sample_predictions, plots.worst_mistakes):
        with pytest.raises(ValueError, match=message):
            draw(**arguments)


# --- Confusion ------------------------------------------------------------------------------


def test_confusion_counts_agree_with_counting_by_hand():
    rng = np.random.default_rng(5)
    true, predicted = rng.integers(0, 7, (2, 500))
    expected = np.zeros((7, 7), int)
    for t, p in zip(true, predicted, strict=True):
        expected[t, p] += 1
    np.testing.assert_array_equal(plots.confusion_counts(true, predicted), expected)
    scores = rng.normal(size=(500, 7))
    scores[np.arange(500), predicted] = 9
    one_hot = np.eye(7)[true]
    np.testing.assert_array_equal(plots.confusion_counts(one_hot, scores), expected)
    np.testing.assert_array_equal(plots.confusion_counts(true[:, None], scores, 7), expected)


def test_confusion_counts_read_one_sigmoid():
    counts = plots.confusion_counts([0, 1, 1], [[0.2], [0.4], [0.9]])
    np.testing.assert_array_equal(counts, [[1, 0], [1, 1]])


def test_confusion_matrix_says_row_true_column_predicted():
    fig = plots.confusion_matrix([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 1, 1], ["a", "b", "c"])
    ax, bar = fig.axes
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true class", "predicted class")
    assert bar.get_ylabel() == "mistakes, % of the true class"
    assert tick_labels(ax.xaxis) == tick_labels(ax.yaxis) == ["a", "b", "c"]
    assert texts(ax) == ["3", "1", "2", "1", "0"]  # a cell without mistakes is empty
    shares = ax.images[0].get_array()
    assert shares[0, 1] == 25 and shares[2, 1] == 100
    assert shares.mask.diagonal().all(), "the diagonal takes no part in the colour scale"
    assert ax.get_title() == "5 of 7 right (71.4 %)"
    assert tick_labels(ax.child_axes[0].yaxis) == ["75 %", "100 %", "0 %"]


def test_confusion_matrix_text_contrasts_with_its_cell():
    fig = plots.confusion_matrix([0] * 10 + [1] * 10, [1] * 10 + [0] + [1] * 9)
    dark, light = fig.axes[0].texts[1], fig.axes[0].texts[2]
    assert dark.get_color() == "white" and light.get_color() != "white"


def test_confusion_matrix_of_many_classes_and_of_none_wrong():
    many = plots.confusion_matrix(np.arange(100), np.roll(np.arange(100), 1))
    assert not texts(many.axes[0])
    perfect = plots.confusion_matrix([0, 1], [0, 1])
    assert perfect.axes[0].get_title() == "2 of 2 right (100.0 %)"
    absent = plots.confusion_matrix([0, 0], [0, 1])
    assert tick_labels(absent.axes[0].child_axes[0].yaxis)[1] == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0]), "Received: 2 labels, 1 predictions"),
        (([0, 3], [0, 1], 3), "classes from 0 to 2. Received classes from 0 to 3"),
        (([0, -1], [0, 1]), "Received classes from -1 to 1"),
        (([0, 5], np.eye(3)[:2]), "classes from 0 to 2. Received classes from 0 to 5"),
        (([0, 1], np.eye(3)[:2], 4), "4 classes and rows of 3 numbers"),
        (([], []), "at least one class number"),
    ],
)
def test_confusion_counts_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_counts(*arguments)


# --- Kernels and feature maps ---------------------------------------------------------------


def test_kernels_share_a_scale_symmetric_about_zero(lenet):
    fig = plots.kernels(lenet.layers[0])
    ax, bar = fig.axes
    kernel = lenet.layers[0].params["kernel"]
    assert len(ax.images) == 6
    for k, image in enumerate(ax.images):
        np.testing.assert_array_equal(image.get_array(), kernel[:, :, 0, k])
        low, high = image.get_clim()
        assert -low == high == np.abs(kernel).max()
    assert ax.get_title() == "conv2d: 6 kernels, 5 × 5"
    assert texts(ax) == list("012345")
    assert bar.get_ylabel() == "weight"


def test_the_scale_of_kernels_rises_in_lightness_too():
    from matplotlib import colormaps

    rgb = colormaps["cividis"](np.linspace(0, 1, 64))[:, :3]
    assert (np.diff(rgb @ [0.299, 0.587, 0.114]) > 0).all()


def test_kernels_of_several_channels_have_a_row_each(lenet):
    kernel = lenet.layers[2].params["kernel"]
    ax = plots.kernels(lenet.layers[2], max_kernels=3, max_channels=4).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input channel", "kernel (output channel)")
    assert tick_labels(ax.xaxis) == list("0123") and tick_labels(ax.yaxis) == list("012")
    assert len(ax.images) == 12
    np.testing.assert_array_equal(ax.images[1 * 4 + 2].get_array(), kernel[:, :, 2, 1])
    title = "conv2d_1: the first 3 of 16 kernels, 5 × 5, the first 4 of 6 input channels"
    assert ax.get_title() == title


def test_kernels_take_one_kernel_or_zeros():
    ax = plots.kernels([[1, 0], [0, -2], [3, 4]]).axes[0]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (
        "1 kernel, 3 × 2",
        "column",
        "row",
    )
    assert plots.kernels(np.zeros((1, 1, 1, 2))).axes[0].images[0].get_clim() == (-1, 1)


def test_kernels_refuse(lenet):
    with pytest.raises(TypeError, match="a layer with kernels, such as Conv2D.*MaxPooling2D"):
        plots.kernels(lenet.layers[1])
    with pytest.raises(ValueError, match="not built"):
        plots.kernels(layers.Conv2D(2, 3))
    with pytest.raises(ValueError, match=r"expects 4 axes.*Received shape \(784, 10\)"):
        dense = layers.Dense(10)
        dense.build((None, 784))
        plots.kernels(dense)
    with pytest.raises(ValueError, match=r"Received shape \(3, 3, 4\)"):
        plots.kernels(np.zeros((3, 3, 4)))
    with pytest.raises(ValueError, match="finite"):
        plots.kernels([[np.nan]])


@pytest.mark.parametrize("image_axes", [(28, 28), (28, 28, 1), (1, 28, 28, 1)])
def test_feature_maps_are_what_the_layer_gives(lenet, digits, image_axes):
    x = digits[0][3:4]
    fig = plots.feature_maps(lenet, x.reshape(image_axes), "max_pooling2d")
    source, maps, bar = fig.axes
    expected = lenet.forward(x, stop=2)[0]
    np.testing.assert_array_equal(source.images[0].get_array(), x[0, ..., 0])
    assert len(maps.images) == 6
    for k, image in enumerate(maps.images):
        np.testing.assert_array_equal(image.get_array(), expected[0, ..., k])
        assert image.get_clim() == (0, expected.max())
    assert maps.get_title() == "max_pooling2d: 6 channels, 14 × 14"
    assert (source.get_xlabel(), source.get_ylabel()) == ("column", "row")
    assert bar.get_ylabel() == "output"


def test_feature_maps_with_negative_values_are_symmetric_about_zero(lenet, digits):
    maps = plots.feature_maps(lenet, digits[0][0], -6, max_channels=5).axes[1]
    assert maps.get_title() == "conv2d_1: the first 5 of 16 channels, 10 × 10"
    low, high = maps.images[0].get_clim()
    assert low == -high < 0


def test_feature_maps_build_a_model_that_has_seen_nothing():
    model = cnnlib.Sequential([layers.Conv2D(2, 3)])
    assert plots.feature_maps(model, np.ones((5, 7, 4))).axes[0].get_title() == "input, channel 0"
    assert model.input_shape == (None, 5, 7, 4)


def test_feature_maps_refuse(lenet):
    image = np.zeros((28, 28))
    with pytest.raises(ValueError, match="Did you mean 'conv2d'"):
        plots.feature_maps(lenet, image, "conv2")
    for index in (8, -9):
        with pytest.raises(ValueError, match=f"from index 0 to 7. Received: {index}"):
            plots.feature_maps(lenet, image, index)
    with pytest.raises(ValueError, match="name or index. Received: 1.5"):
        plots.feature_maps(lenet, image, 1.5)
    with pytest.raises(ValueError, match=r"Received: 'dense', which gives \(None, 120\)"):
        plots.feature_maps(lenet, image, "dense")
    for wrong in ((27, 28), (2, 28, 28, 1), (28, 28, 3), (784,)):
        with pytest.raises(ValueError, match=r"of shape \(28, 28, 1\). Received shape"):
            plots.feature_maps(lenet, np.zeros(wrong))
    with pytest.raises(ValueError, match="NaN or infinity"):
        plots.feature_maps(lenet, np.full((28, 28), np.nan))
    flat = cnnlib.Sequential([cnnlib.Input((784,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"Received one whose input is \(784,\)"):
        plots.feature_maps(flat, image)


# --- Where the answer comes from ------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """A network for 6 x 5 images with random biases too, in float64 for differences."""
    cnnlib.utils.set_random_seed(4)
    model = cnnlib.Sequential(
        [
            cnnlib.Input((6, 5, 1)),
            layers.Conv2D(3, 3, activation="tanh", dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(4, activation="softmax", dtype="float64"),
        ]
    )
    rng = np.random.default_rng(4)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def log_odds(model, x, k):
    p = model(x)[0]
    return np.log(p[k] / (p.sum() - p[k]))


@pytest.mark.parametrize("given", [None, [2, 0]])
def test_saliency_is_the_slope_of_the_log_odds(small, given):
    images = np.random.default_rng(5).uniform(size=(2, 6, 5))
    found = plots.saliency(small, images, given)
    assert found.shape == (2, 6, 5)
    classes = small(images[..., None]).argmax(1) if given is None else given
    h = 1e-5
    for (n, i, j), slope in np.ndenumerate(found):
        step = np.zeros((1, 6, 5, 1))
        step[0, i, j] = h
        x = images[n : n + 1, ..., None]
        above, below = (log_odds(small, x + sign * step, classes[n]) for sign in (1, -1))
        assert slope == pytest.approx(abs(above - below) / (2 * h), abs=1e-6)


def test_saliency_of_a_sigmoid_is_that_of_two_softmax_outputs():
    """One output z with a sigmoid is a softmax over (0, z)."""
    one = cnnlib.Sequential(
        [cnnlib.Input((3, 4, 1)), layers.Flatten(), layers.Dense(1, activation="sigmoid")]
    )
    two = cnnlib.Sequential(
        [cnnlib.Input((3, 4, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    kernel, bias = np.random.default_rng(6).normal(size=(12, 1)), np.ones(1)
    one.set_weights([kernel, bias])
    two.set_weights([np.hstack([0 * kernel, kernel]), np.append(0, bias)])
    images = np.random.default_rng(7).uniform(size=(3, 3, 4))
    for classes in (None, [0, 1, 0]):
        ours, theirs = (plots.saliency(model, images, classes) for model in (one, two))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    np.testing.assert_allclose(ours[0], np.abs(kernel).reshape(3, 4), rtol=1e-4)


def test_saliency_does_not_vanish_where_the_model_is_sure():
    model = cnnlib.Sequential(
        [cnnlib.Input((3, 4, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")]
    )
    model.set_weights([np.random.default_rng(6).normal(size=(12, 3)), np.array([40.0, 0, 0])])
    image = np.ones((1, 3, 4))
    assert model(image[..., None])[0, 0] == 1, "rounded to 1: its own slope is 0"
    assert (plots.saliency(model, image) > 0.01).all()


def test_saliency_takes_the_largest_of_three_channels(lenet):
    model = cnnlib.Sequential(
        [cnnlib.Input((3, 4, 3)), layers.Flatten(), layers.Dense(1, activation="sigmoid")]
    )
    weights = np.random.default_rng(6).normal(size=(36, 1))
    model.set_weights([weights, np.zeros(1)])
    found = plots.saliency(model, np.ones((1, 3, 4, 3)), [1])
    np.testing.assert_allclose(found[0], np.abs(weights).reshape(3, 4, 3).max(-1), rtol=1e-4)


@pytest.mark.parametrize("patch", [1, 2, 3, 20])
def test_occlusion_is_what_covering_by_hand_gives(small, patch):
    images = np.random.default_rng(8).uniform(size=(2, 6, 5))
    kept = images.copy()
    found = plots.occlusion(small, images, [1, 3], patch, fill=0.5)
    np.testing.assert_array_equal(images, kept)
    for n, k in enumerate([1, 3]):
        before = small(images[n : n + 1, ..., None])[0, k]
        for i, j in np.ndindex(6, 5):
            covered = images[n].copy()
            for row, column in np.ndindex(6, 5):
                down, right = row - (i - patch // 2), column - (j - patch // 2)
                if 0 <= down < patch and 0 <= right < patch:
                    covered[row, column] = 0.5
            after = small(covered[None, ..., None])[0, k]
            assert found[n, i, j] == pytest.approx(before - after, abs=1e-12)


@pytest.mark.parametrize("draw", [plots.saliency_maps, plots.occlusion_maps])
def test_maps_stand_below_their_images_with_class_and_probability(lenet, digits, draw):
    x, y = digits
    fig = draw(lenet, x[:3], y[:3])
    ax, bar = fig.axes
    assert len(ax.images) == 6
    p = lenet.predict(x[:3])
    for k in range(3):
        np.testing.assert_array_equal(ax.images[k].get_array(), x[k, ..., 0])
        assert texts(ax)[k] == f"{y[k]}, {100 * p[k, y[k]]:.0f} %"
        assert ax.images[3 + k].get_clim() == (0, 1)
    maps = plots.saliency if draw is plots.saliency_maps else plots.occlusion
    expected = maps(lenet, x[:3], y[:3])[1]
    if draw is plots.saliency_maps:
        expected = expected / expected.max()
        assert bar.get_ylabel() == "slope / largest slope"
    np.testing.assert_allclose(ax.images[4].get_array(), expected, atol=1e-7)


def test_maps_of_many_images_of_empty_paper_and_of_colours():
    model = cnnlib.Sequential(
        [cnnlib.Input((6, 9, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    images = np.random.default_rng(3).uniform(size=(10, 6, 9, 3))
    images[0] = 0
    for draw in (plots.saliency_maps, plots.occlusion_maps):
        assert len(draw(model, images, np.zeros(10, int)).axes[0].images) == 16


def test_maps_refuse(lenet, digits):
    x, y = digits
    flat = cnnlib.Sequential([cnnlib.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    for maps in (plots.saliency, plots.occlusion, plots.saliency_maps, plots.occlusion_maps):
        with pytest.raises(ValueError, match=r"model's shape, \(n, 28, 28, 1\).*\(2, 27, 28\)"):
            maps(lenet, np.zeros((2, 27, 28)))
        with pytest.raises(ValueError, match="One image: images"):
            maps(lenet, x[:0])
        with pytest.raises(ValueError, match=r"expects images \(n, height, width\)"):
            maps(lenet, x[0, ..., 0])
        with pytest.raises(ValueError, match="logits, put them through"):
            maps(flat, x[:2] - 5)
        with pytest.raises(ValueError, match="labels from 0 to 9.*Received labels from 3 to 10"):
            maps(lenet, x[:2], [3, 10])
        with pytest.raises(ValueError, match="1 labels, 2 probabilities"):
            maps(lenet, x[:2], y[:1])
    with pytest.raises(ValueError, match="patch: expected a positive integer"):
        plots.occlusion(lenet, x[:2], patch=0)


# --- The model ------------------------------------------------------------------------------


def test_model_diagram_holds_what_summary_prints(lenet):
    (ax,) = plots.model_diagram(lenet).axes
    found = texts(ax)
    printed = []
    lenet.summary(print_fn=printed.append)
    for layer in lenet.layers:
        assert type(layer).__name__ in found
        assert f"{layer.count_params():,}" in found
        assert f"{layer.count_params():,}" in printed[0]
    for wanted in (
        "28 × 28 × 1",
        "6 kernels 5 × 5, same padding, relu",
        "28 × 28 × 6",
        "16 kernels 5 × 5, tanh",
        "10 × 10 × 16",
        "84 units, relu",
        "61,706 parameters",
    ):
        assert wanted in found


def test_model_diagram_keeps_long_descriptions_in_their_box():
    model = cnnlib.Sequential(
        [
            layers.Conv2D(128, 3, 2, "same", groups=4, activation="leaky_relu"),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.AveragePooling2D(3, strides=2, padding="same"),
            layers.Conv2D(64, (3, 5), dilation_rate=2, use_bias=False),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.25),
        ]
    )
    model.build((None, None, None, 4))
    fig = plots.model_diagram(model)
    (ax,) = fig.axes
    found = texts(ax)
    assert "any × any × 128" in found and "drops 25 %" in found
    fig.draw_without_rendering()
    boxes = [patch for patch in ax.patches if patch.get_width() == 4.5]
    assert len(boxes) == 8
    for text in ax.texts:
        inside = text.get_window_extent()
        for box in boxes:
            frame = box.get_window_extent()
            if text.get_text() and frame.y0 < (inside.y0 + inside.y1) / 2 < frame.y1:
                assert inside.x1 < frame.x1 or inside.x0 > frame.x1
                assert frame.y0 <= inside.y0 and inside.y1 <= frame.y1
    names = {text.get_text(): text.get_window_extent() for text in ax.texts}
    for k, kind in ((1, "Conv2D"), (4, "AveragePooling2D")):
        details = next(
            name for name in names if f"{(0, 128, 0, 0, 3)[k]}" in name and "same" in name
        )
        assert names[kind].x1 < names[details].x0


def test_model_diagram_needs_a_built_model():
    with pytest.raises(ValueError, match="begin it with Input"):
        plots.model_diagram(cnnlib.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="no layers yet"):
        plots.model_diagram(cnnlib.Sequential())


# --- Showing --------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would receive: a list of (data, metadata)."""
    import IPython
    import IPython.display

    received = []

    def display(data, metadata=None, raw=False):
        assert raw
        received.append((data, metadata))

    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace())
    monkeypatch.setattr(IPython.display, "display", display)
    return received


def test_show_gives_a_picture_and_its_description(shown, lenet):
    alt = 'Six kernels, "bright" & dark,\n    each 5 < 6 wide.'
    flat = 'Six kernels, "bright" & dark, each 5 < 6 wide.'
    assert plots.show(plots.kernels(lenet.layers[0]), alt=alt) is None
    (picture, metadata), (description, _) = shown
    assert set(picture) == {"image/png", "text/plain"}
    assert picture["text/plain"] == metadata["image/png"]["alt"] == flat
    png = base64.b64decode(picture["image/png"])
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG" and "A" not in image.getbands()
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255), "white on any page"
    # Stored at 144 dots an inch, shown at 96.
    assert metadata["image/png"]["width"] == round(image.width * 96 / 144)
    assert len(png) < 60_000
    assert set(description) == {"text/html"}
    assert "&quot;bright&quot; &amp; dark, each 5 &lt; 6 wide.</span>" in description["text/html"]


def test_show_twice_gives_the_same_bytes(shown):
    for _ in range(2):
        plots.show(plots.training_history({"loss": [3, 2, 1]}), alt="The loss falls.")
    assert shown[:2] == shown[2:]


def test_colours_of_the_stored_picture_are_close_to_those_drawn(lenet):
    exact = io.BytesIO()
    fig = plots.kernels(lenet.layers[0])
    fig.savefig(exact, format="png", dpi=plots.DOTS, bbox_inches="tight")
    # Of another figure: drawn a second time, a figure's layout moves by a pixel.
    small = io.BytesIO(plots._png(plots.kernels(lenet.layers[0])))
    drawn, stored = (np.asarray(Image.open(f).convert("RGB"), int) for f in (exact, small))
    assert np.abs(drawn - stored).max() <= 5  # as the comment beside the code says


@pytest.mark.parametrize("alt", ["", "  \n", None, 5])
def test_show_refuses_a_picture_without_words(shown, alt):
    with pytest.raises(ValueError, match="say in a sentence what the picture shows"):
        plots.show(Figure(), alt=alt)
    assert not shown


def test_show_refuses_what_is_no_figure():
    with pytest.raises(TypeError, match="expects a matplotlib Figure. Received: list"):
        plots.show([], alt="nothing")


def test_show_does_nothing_outside_a_notebook(capsys):
    assert plots.show(plots.training_history({"loss": [1.0]}), alt="One dot.") is None
    assert capsys.readouterr() == ("", "")


def test_show_closes_a_figure_of_pyplot_so_that_it_is_shown_once():
    from matplotlib import pyplot

    fig = pyplot.figure()
    plots.show(fig, alt="An empty figure.")
    assert not pyplot.fignum_exists(fig.number)


NOTEBOOK = """
import asyncio, json, sys, warnings
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
source = '''
from matplotlib import pyplot
from cnnlib import plots
fig = plots.training_history({"loss": [2.0, 1.0]})
plots.show(fig, alt="The loss falls.")
pyplot.subplots()[0].number
plots.show(pyplot.gcf(), alt="Empty axes.")
'''
cells = [nbformat.v4.new_code_cell(source)]
notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), kernel_name="python3").execute()
nbformat.validate(notebook)
pages = {name: HTMLExporter(template_name=name).from_notebook_node(notebook)[0]
         for name in ("lab", "classic")}
outputs = [(list(o["data"]), o["metadata"]) for o in notebook.cells[0].outputs]
print(json.dumps([outputs, pages["lab"].count(">The loss falls.</span>"),
                  pages["classic"].count('alt="The loss falls."')]))
"""


def test_a_real_kernel_stores_each_picture_once_with_its_description():
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=True
    )
    outputs, hidden_lines, alt_attributes = json.loads(done.stdout.splitlines()[-1])
    assert [sorted(kinds) for kinds, _ in outputs] == [
        ["image/png", "text/plain"],
        ["text/html"],
    ] * 2
    assert [metadata["image/png"]["alt"] for _, metadata in outputs[::2]] == [
        "The loss falls.",
        "Empty axes.",
    ]
    assert hidden_lines == alt_attributes == 1


# --- matplotlib -----------------------------------------------------------------------------


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys; from cnnlib import plots; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_missing_matplotlib_is_named(monkeypatch, lenet):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    eye = np.eye(2)
    for draw in (
        lambda: plots.training_history({"loss": [1]}),
        lambda: plots.sample_predictions(np.zeros((2, 3, 3)), [0, 1], eye),
        lambda: plots.worst_mistakes(np.zeros((2, 3, 3)), [0, 1], eye),
        lambda: plots.worst_mistakes(np.zeros((2, 3, 3)), [1, 0], eye),
        lambda: plots.confusion_matrix([0, 1], eye),
        lambda: plots.kernels(np.ones((3, 3, 1, 2))),
        lambda: plots.feature_maps(lenet, np.zeros((28, 28))),
        lambda: plots.model_diagram(lenet),
    ):
        with pytest.raises(ImportError, match="not installed. Install the project's 'plots' extra"):
            draw()
    assert plots.confusion_counts([0, 1], eye).trace() == 2


def test_figures_do_not_depend_on_the_readers_style():
    from matplotlib import rc_context, rcParams

    before = dict(rcParams)
    with rc_context({"axes.facecolor": "black", "text.color": "white", "font.size": 30}):
        (ax,) = plots.training_history({"loss": [2, 1]}).axes
    assert ax.get_facecolor() == (1, 1, 1, 1)
    assert ax.xaxis.label.get_color() == plots.INK and ax.xaxis.label.get_size() == plots.TEXT
    assert dict(rcParams) == before, "and the reader's style stays as it was"


def test_sample_images_writes_the_label_above_each_image():
    images, labels = np.random.default_rng(0).random((30, 6, 5)), np.arange(30) % 3
    fig = plots.sample_images(images, labels, class_names=["a", "b", "c"], count=10)
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.texts] == list("abcabcabca")
    assert len(ax.images) == 10
    np.testing.assert_array_equal(ax.images[4].get_array(), images[4])


def test_sample_images_refuses_lengths_that_differ():
    with pytest.raises(ValueError, match="sample_images expects .* 3 images, 2 labels"):
        plots.sample_images(np.zeros((3, 4, 4)), [0, 1])
