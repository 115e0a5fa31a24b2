"""fit, evaluate, predict: what goes in, what comes out, in which order, and how it may end."""

import os
import signal
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import cnnlib
from cnnlib import callbacks, layers, losses, optimizers


def regression(count=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((count, 3))
    return x, x @ [[1.0], [2.0], [3.0]] + 0.5


def small(loss="mse", optimizer=None, outputs=1, activation=None, metrics=None, seed=3):
    cnnlib.utils.set_random_seed(seed)
    model = cnnlib.Sequential(
        [
            cnnlib.Input((3,)),
            layers.Dense(6, activation="tanh"),
            layers.Dropout(0.1),
            layers.Dense(outputs, activation=activation),
        ]
    )
    model.compile(optimizer or optimizers.SGD(0.1, momentum=0.9), loss=loss, metrics=metrics)
    return model


def classifier(metrics=("accuracy",), loss="sparse_categorical_crossentropy"):
    return small(loss, outputs=4, activation="softmax", metrics=list(metrics))


def same_weights(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


class Recorder(callbacks.Callback):
    """Keeps what `fit` tells it, and what the model saw."""

    def __init__(self):
        self.events = []

    def set_model(self, model):
        super().set_model(model)
        self.events.append("set_model")

    def set_params(self, params):
        super().set_params(params)
        self.events.append("set_params")

    def on_train_begin(self, logs=None):
        self.events.append("train begins")

    def on_train_end(self, logs=None):
        self.events.append("train ends")

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(f"epoch {epoch} begins")

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(f"epoch {epoch} ends: {' '.join(logs)}")

    def on_train_batch_begin(self, batch, logs=None):
        self.events.append(f"batch {batch} begins")

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(f"batch {batch} ends: {' '.join(logs)}")


class SeesLabels(losses.MeanSquaredError):
    """A loss that remembers which examples were trained on, in order."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def value_and_gradient(self, y_true, y_pred):
        self.seen.append(y_true.ravel().tolist())
        return super().value_and_gradient(y_true, y_pred)


# --- History ------------------------------------------------------------------------------------


def test_fit_returns_a_history_with_one_value_an_epoch():
    x, y = regression()
    model = small(metrics=["mse"])
    history = model.fit(x, y, epochs=4, verbose=0, validation_data=(x, y))
    assert isinstance(history, callbacks.History)
    assert model.history is history
    assert history.epoch == [0, 1, 2, 3]
    assert list(history.history) == ["loss", "mse", "val_loss", "val_mse"]
    assert all(len(values) == 4 for values in history.history.values())
    assert all(isinstance(value, float) for value in history.history["loss"])
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


def test_the_loss_of_an_epoch_is_the_mean_over_its_examples():
    x, y = regression(50)
    model = small(optimizer=optimizers.SGD(0.0))
    model.layers[1].rate = 0
    history = model.fit(x, y, batch_size=48, epochs=1, verbose=0)  # 48 examples, then 2
    expected = np.mean((model.predict(x) - y) ** 2)
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-6)


def test_the_values_of_an_epoch_include_penalties_and_metrics():
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential(
        [
            cnnlib.Input((3,)),
            layers.Dense(4, activation="softmax", kernel_regularizer=cnnlib.regularizers.L2(0.1)),
        ]
    )
    model.compile(optimizers.SGD(0.0), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    x, _ = regression(50)
    y = np.arange(50) % 4
    history = model.fit(x, y, verbose=0, validation_data=(x, y)).history
    predicted = model.predict(x)
    loss = -np.log(predicted[np.arange(50), y].astype(float)).mean()
    penalty = 0.1 * (model.get_weights()[0] ** 2).sum()
    assert history["loss"][0] == pytest.approx(loss + penalty, rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(loss + penalty, rel=1e-5)
    assert history["accuracy"][0] == history["val_accuracy"][0] == (predicted.argmax(1) == y).mean()
    assert model.evaluate(x, y) == [history["val_loss"][0], history["val_accuracy"][0]]


def test_evaluate_returns_a_number_a_list_or_a_dict():
    x, y = regression()
    model = small()
    value = model.evaluate(x, y)
    assert isinstance(value, float)
    assert model.evaluate(x, y, return_dict=True) == {"loss": value}
    model = small(metrics=["mse"])
    assert model.evaluate(x, y) == [value, value]
    assert model.evaluate(x, y, sample_weight=np.zeros(50)) == [0.0, value]


def test_predict_gives_all_examples_in_order():
    x, _ = regression(100)
    model = small()
    whole = model.predict(x)
    assert whole.shape == (100, 1)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, model(x), rtol=1e-6)
    np.testing.assert_allclose(model.predict(x[::-1]), whole[::-1], rtol=1e-5, atol=1e-6)
    assert model.predict(x[:1]).shape == (1, 1)


def test_the_model_learns():
    (x, y), _ = cnnlib.datasets.digits.load_data()
    x, y = x[:500, ..., None] / 255, y[:500]
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential(
        [
            cnnlib.Input((28, 28, 1)),
            layers.Conv2D(4, 5, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=5, verbose=0)
    assert history.history["accuracy"][-1] > 0.9


# --- Order of examples --------------------------------------------------------------------------


def orders(model, x, y, **options):
    """The labels of each epoch in the order of training, where the batch is one shard."""
    model.loss = loss = SeesLabels()
    model.fit(x, y, batch_size=10, verbose=0, **options)
    flat = [label for shard in loss.seen for label in shard]
    return [flat[k : k + len(x)] for k in range(0, len(flat), len(x))]


def test_shuffling_is_repeatable_and_differs_between_epochs():
    x, y = regression(40)[0], np.arange(40.0)[:, None]
    first = orders(small(), x, y, epochs=3)
    assert all(sorted(epoch) == list(range(40)) for epoch in first)
    assert first[0] != first[1] != first[2] != first[0]
    assert all(epoch != sorted(epoch) for epoch in first)
    assert orders(small(), x, y, epochs=3) == first
    assert orders(small(seed=4), x, y, epochs=3) != first


def test_a_second_fit_shuffles_anew():
    x, y = regression(40)[0], np.arange(40.0)[:, None]
    model = small()
    first = orders(model, x, y)
    assert orders(model, x, y) != first


def test_without_shuffling_examples_come_as_they_stand():
    x, y = regression(40)[0], np.arange(40.0)[:, None]
    for epoch in orders(small(), x, y, epochs=2, shuffle=False):
        assert epoch == list(range(40))


def test_x_y_and_weights_are_shuffled_together():
    x = np.arange(60.0)[:, None] / 60
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential([cnnlib.Input((1,)), layers.Dense(1)])
    model.compile(optimizers.Adam(0.1), "mse")
    wrong = np.where(np.arange(60) % 3 == 0, 100.0, 2 * x[:, 0])[:, None]
    weight = np.where(np.arange(60) % 3 == 0, 0.0, 1.0)
    history = model.fit(x, wrong, epochs=200, verbose=0, sample_weight=weight)
    assert history.history["loss"][-1] < 1e-4


def test_training_is_repeatable_from_the_seed():
    x, y = regression()
    one, two = small(), small()
    histories = [m.fit(x, y, epochs=3, verbose=0).history for m in (one, two)]
    assert histories[0] == histories[1]
    assert same_weights(one, two)
    # What else draws random numbers in between does not matter.
    three = small()
    np.random.default_rng().random(5)
    cnnlib.initializers.get("he_normal")((3, 3))
    three.fit(x, y, epochs=3, verbose=0)
    assert same_weights(one, three)


def test_batch_size_may_exceed_the_number_of_examples():
    x, y = regression(10)
    model = small()
    history = model.fit(x, y, batch_size=1000, epochs=2, verbose=0)
    assert model.optimizer.iterations == 2
    assert len(history.epoch) == 2


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 10), (3, 4), (10, 1), (None, 1)])
def test_the_number_of_steps_follows_from_the_batch_size(batch_size, steps):
    x, y = regression(10)
    model = small()
    model.fit(x, y, batch_size=batch_size, verbose=0)
    assert model.optimizer.iterations == steps


# --- Validation ---------------------------------------------------------------------------------


def test_validation_split_takes_the_end():
    x, y = regression(50)
    split, parts = small(), small()
    a = split.fit(x, y, epochs=2, verbose=0, validation_split=0.2)
    b = parts.fit(x[:40], y[:40], epochs=2, verbose=0, validation_data=(x[40:], y[40:]))
    assert same_weights(split, parts)
    assert a.history == b.history
    assert "val_loss" in a.history


def test_validation_split_splits_weights_too():
    x, y = regression(50)
    weight = np.linspace(0, 2, 50)
    split, parts = small(), small()
    a = split.fit(x, y, verbose=0, validation_split=0.1, sample_weight=weight)
    held = (x[45:], y[45:], weight[45:])
    b = parts.fit(x[:45], y[:45], verbose=0, sample_weight=weight[:45], validation_data=held)
    assert same_weights(split, parts)
    assert a.history == b.history


def test_weights_of_validation_data_count_in_the_loss_alone():
    x, y = regression(50)
    model = small(metrics=["mse"])
    held = (x[:9], y[:9], np.zeros(9))
    history = model.fit(x, y, verbose=0, validation_data=held).history
    assert history["val_loss"] == [0.0]
    assert history["val_mse"][0] > 0


def test_validation_data_goes_before_validation_split():
    x, y = regression(50)
    one, two = small(), small()
    a = one.fit(x, y, verbose=0, validation_split=0.5, validation_data=(x[:5], y[:5]))
    b = two.fit(x, y, verbose=0, validation_data=[x[:5], y[:5]])
    assert a.history == b.history
    assert same_weights(one, two)


def test_validation_changes_no_weights():
    x, y = regression()
    with_it, without = small(), small()
    with_it.fit(x, y, epochs=3, verbose=0, validation_data=(x + 1, y))
    without.fit(x, y, epochs=3, verbose=0)
    assert same_weights(with_it, without)


def test_dropout_is_off_in_validation_and_prediction():
    x, y = regression()
    model = small()
    model.layers[1].rate = 0.9
    np.testing.assert_array_equal(model.predict(x), model.predict(x))
    expected = float(np.mean((model.predict(x).astype(float) - y) ** 2))
    assert model.evaluate(x, y) == pytest.approx(expected, rel=1e-12)


# --- initial_epoch ------------------------------------------------------------------------------


def test_epochs_is_the_number_of_the_last_epoch():
    x, y = regression()
    whole, parts = small(), small()
    whole.fit(x, y, epochs=5, verbose=0)
    first = parts.fit(x, y, epochs=2, verbose=0)
    second = parts.fit(x, y, epochs=5, initial_epoch=2, verbose=0)
    assert first.epoch == [0, 1]
    assert second.epoch == [2, 3, 4]
    assert same_weights(whole, parts)


def test_nothing_is_left_to_train_after_the_last_epoch():
    x, y = regression()
    model = small()
    before = model.get_weights()
    history = model.fit(x, y, epochs=2, initial_epoch=2, verbose=1)
    assert history.epoch == []
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


# --- Weights of classes and examples ------------------------------------------------------------


def test_class_weights_are_sample_weights_by_label():
    x, _ = regression(60)
    y = np.arange(60) % 4
    table = {0: 0.5, 1: 2.0, 3: 0.0}  # class 2: 1
    by_class, by_sample, one_hot = classifier(), classifier(), classifier()
    by_class.fit(x, y, epochs=2, verbose=0, class_weight=table)
    weight = np.array([table.get(int(label), 1.0) for label in y])
    by_sample.fit(x, y, epochs=2, verbose=0, sample_weight=weight)
    assert same_weights(by_class, by_sample)
    one_hot.compile(optimizers.SGD(0.1, momentum=0.9), "categorical_crossentropy")
    one_hot.fit(x, np.eye(4)[y], epochs=2, verbose=0, class_weight=table)
    assert same_weights(by_class, one_hot)
    column = classifier()
    column.fit(x, y[:, None], epochs=2, verbose=0, class_weight=table)
    assert same_weights(by_class, column)


def test_class_weights_change_something():
    x, _ = regression(60)
    y = np.arange(60) % 4
    plain, weighted = classifier(), classifier()
    plain.fit(x, y, verbose=0)
    weighted.fit(x, y, verbose=0, class_weight={0: 3.0})
    assert not same_weights(plain, weighted)


def test_class_weights_may_name_classes_without_examples():
    x, _ = regression(60)
    y = np.arange(60) % 3  # of 4 outputs
    model = classifier()
    model.fit(x, y, verbose=0, class_weight={0: 1.0, 3: 2.0})


def test_binary_class_weights():
    x, _ = regression(60)
    y = (np.arange(60) % 2).astype(float)
    one = small("binary_crossentropy", activation="sigmoid")
    two = small("binary_crossentropy", activation="sigmoid")
    one.fit(x, y, verbose=0, class_weight={1: 5.0})
    two.fit(x, y, verbose=0, sample_weight=np.where(y == 1, 5.0, 1.0))
    assert same_weights(one, two)


def test_an_example_of_weight_zero_teaches_nothing():
    x, y = regression(64)
    keep = np.arange(64) < 32
    weighted, short = small(optimizer=optimizers.SGD(0.1)), small(optimizer=optimizers.SGD(0.05))
    for model in (weighted, short):
        model.layers[1].rate = 0
    weight = keep.astype(float)
    weighted.fit(x, y, 64, verbose=0, sample_weight=weight, shuffle=False)
    # Half of the batch counts and the mean is over all of it: like half the learning rate.
    short.fit(x[:32], y[:32], 64, verbose=0, shuffle=False)
    for a, b in zip(weighted.get_weights(), short.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # float32 sums in another order


# --- Events -------------------------------------------------------------------------------------


def test_callbacks_hear_everything_in_order():
    x, y = regression(10)
    recorder = Recorder()
    small(metrics=["mse"]).fit(
        x, y, batch_size=6, epochs=2, verbose=0, callbacks=[recorder], validation_data=(x, y)
    )
    batches = [
        "batch 0 begins",
        "batch 0 ends: loss mse",
        "batch 1 begins",
        "batch 1 ends: loss mse",
    ]
    epoch = "ends: loss mse val_loss val_mse"
    assert recorder.events == [
        "set_params",
        "set_model",
        "train begins",
        "epoch 0 begins",
        *batches,
        f"epoch 0 {epoch}",
        "epoch 1 begins",
        *batches,
        f"epoch 1 {epoch}",
        "train ends",
    ]
    assert recorder.params == {"epochs": 2, "steps": 2, "initial_epoch": 0, "verbose": 0}


def test_a_single_callback_needs_no_list():
    x, y = regression(10)
    recorder = Recorder()
    small().fit(x, y, verbose=0, callbacks=recorder)
    assert recorder.events[-1] == "train ends"


def test_callbacks_may_evaluate_predict_and_even_train():
    x, y = regression(40)
    found = []

    class Look(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append(self.model.evaluate(x, y))
            self.model.predict(x)

    quiet, looking = small(), small()
    quiet.fit(x, y, epochs=2, verbose=0)
    looking.fit(x, y, epochs=2, verbose=0, callbacks=[Look()])
    assert same_weights(quiet, looking)
    assert len(found) == 2


def test_a_callback_can_stop_the_training():
    x, y = regression()

    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    model = small()
    assert model.fit(x, y, epochs=9, verbose=0, callbacks=[Stop()]).epoch == [0, 1]
    assert model.fit(x, y, epochs=1, verbose=0).epoch == [0]  # the wish is forgotten


def test_an_error_in_a_callback_passes_and_the_others_hear_the_end():
    x, y = regression()
    recorder = Recorder()

    class Fail(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise LookupError("own mistake")

    with pytest.raises(LookupError, match="own mistake"):
        small().fit(x, y, epochs=3, verbose=1, callbacks=[recorder, Fail()])
    assert recorder.events[-1] == "train ends"


# --- Output -------------------------------------------------------------------------------------


def test_verbose_0_prints_nothing(capfd):
    x, y = regression()
    model = small()
    model.fit(x, y, epochs=2, verbose=0, validation_data=(x, y))
    model.evaluate(x, y)
    model.predict(x)
    assert capfd.readouterr() == ("", "")


def test_verbose_2_prints_one_line_an_epoch(capfd):
    x, y = regression()
    small().fit(x, y, epochs=2, verbose=2, validation_data=(x, y))
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2 - ")
    assert lines[1].startswith("epoch 2/2 - ")
    assert all(" loss " in line and " val_loss " in line for line in lines)


@pytest.mark.parametrize("verbose", ["auto", 1, True])
def test_the_bar_is_on_stdout_and_ends_whole(capsys, verbose):
    x, y = regression(70)
    small().fit(x, y, epochs=2, verbose=verbose, validation_data=(x, y))
    out, err = capsys.readouterr()
    assert err == ""
    last = out.rstrip("\n").split("\r")[-1]
    assert "epoch 2/2" in last
    assert "100%" in last
    assert "6/6" in last  # two epochs of three steps
    assert "loss=" in last
    assert "val_loss=" in last
    assert out.endswith("\n")


def test_bars_leave_nothing_behind(capsys):
    from tqdm import tqdm

    x, y = regression()

    class Fail(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise LookupError

    small().fit(x, y, verbose=1)
    with pytest.raises(LookupError):
        small().fit(x, y, verbose=1, callbacks=[Fail()])
    assert len(getattr(tqdm, "_instances", [])) == 0


def test_the_bar_starts_at_initial_epoch(capsys):
    x, y = regression(30)
    small().fit(x, y, epochs=5, initial_epoch=3, verbose=1)
    last = capsys.readouterr().out.rstrip("\n").split("\r")[-1]
    assert "2/2" in last


# --- Data that comes in -------------------------------------------------------------------------


def images(dtype, high):
    rng = np.random.default_rng(0)
    return rng.integers(0, high, (40, 6, 6, 1)).astype(dtype)


def image_model(first=()):
    cnnlib.utils.set_random_seed(1)
    model = cnnlib.Sequential([cnnlib.Input((6, 6, 1)), *first, layers.Flatten(), layers.Dense(2)])
    model.compile(optimizers.SGD(1e-6), "mse")
    return model


@pytest.mark.parametrize("dtype", ["uint8", "int64", "int8", "float64", "float16", "bool"])
def test_other_types_are_converted(dtype):
    x, y = images(dtype, 2), np.zeros((40, 2))
    one, two = image_model(), image_model()
    one.fit(x, y, verbose=0)
    two.fit(x.astype("float32"), y, verbose=0)
    assert same_weights(one, two)
    np.testing.assert_array_equal(one.predict(x), two.predict(x.astype("float32")))
    assert one.predict(x).dtype == np.float32


def test_images_beyond_0_to_1_warn_once():
    x, y = images("uint8", 256), np.zeros((40, 2))
    model = image_model()
    with pytest.warns(UserWarning, match=r"values from 0 to 25\d, where 0..1 is usual: divide"):
        model.fit(x, y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, y, verbose=0, validation_data=(x, y))
        model.predict(x)
        model.evaluate(x, y)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_negative_images_warn_and_vectors_do_not():
    with pytest.warns(UserWarning, match="values from -0.5 to 0.5"):
        image_model().predict(np.linspace(-0.5, 0.5, 36).reshape(1, 6, 6, 1))
    x, y = regression()
    small().fit(100 * x - 50, y, verbose=0)


def test_the_warning_points_at_the_users_line():
    x = images("uint8", 256)
    with pytest.warns(UserWarning) as caught:
        image_model().fit(x, np.zeros((40, 2)), verbose=0)
    assert caught[0].filename == __file__


def test_lists_and_tuples_are_arrays_too():
    x, y = regression(8)
    lists, arrays = small(), small()
    lists.fit(x.tolist(), [tuple(row) for row in y], verbose=0, sample_weight=[1] * 8)
    arrays.fit(x, y, verbose=0)
    assert same_weights(lists, arrays)
    np.testing.assert_array_equal(lists.predict(x.tolist()), arrays.predict(x))


class Column:
    """What a pandas Series is to us: a dtype, looked up by label, converted by NumPy only."""

    def __init__(self, values):
        self.values, self.dtype, self.shape = values, values.dtype, values.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, label):
        raise KeyError("labels of the index are not positions")


def test_what_only_converts_to_arrays_is_converted():
    x, y = regression(8)
    one, two = small(), small()
    one.fit(Column(x), Column(y), verbose=0, sample_weight=Column(np.ones(8)))
    two.fit(x, y, verbose=0)
    assert same_weights(one, two)
    assert one.evaluate(Column(x), Column(y)) == two.evaluate(x, y)
    np.testing.assert_array_equal(one.predict(Column(x)), two.predict(x))


def test_the_first_data_builds_the_model():
    x, y = regression()
    cnnlib.utils.set_random_seed(3)
    model = cnnlib.Sequential([layers.Dense(4, activation="relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    assert not model.built
    model.fit(x, y, verbose=0)
    assert model.built
    assert model.input_shape == (None, 3)


def test_one_label_an_example_may_lie_flat():
    x, y = regression()
    flat, column = small(), small()
    flat.fit(x, y[:, 0], verbose=0)
    column.fit(x, y, verbose=0)
    assert same_weights(flat, column)


# --- Ctrl-C -------------------------------------------------------------------------------------


class Press(callbacks.Callback):
    """Sends a real SIGINT to this process at one place of the training."""

    def __init__(self, event, at, kill=True):
        self.event, self.at, self.kill, self.count = event, at, kill, 0
        self.weights = None

    def _maybe(self, event):
        if event != self.event:
            return
        self.count += 1
        if self.count == self.at:
            if not self.kill:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)

    def on_epoch_begin(self, epoch, logs=None):
        self._maybe("epoch begins")

    def on_epoch_end(self, epoch, logs=None):
        self._maybe("epoch ends")

    def on_train_batch_begin(self, batch, logs=None):
        self._maybe("batch begins")

    def on_train_batch_end(self, batch, logs=None):
        self._maybe("batch ends")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no os.kill(SIGINT) for one process")
@pytest.mark.parametrize("event", ["batch begins", "batch ends", "epoch begins", "epoch ends"])
@pytest.mark.parametrize("kill", [True, False], ids=["signal", "raised"])
def test_ctrl_c_keeps_whole_weights_and_the_history_so_far(event, kill, capsys):
    x, y = regression(40)
    at = 6 if event.startswith("batch") else 2
    model, recorder = small(), Recorder()
    handler = signal.getsignal(signal.SIGINT)
    history = model.fit(
        x, y, batch_size=10, epochs=50, verbose=0, callbacks=[Press(event, at, kill), recorder]
    )
    assert signal.getsignal(signal.SIGINT) is handler
    assert history.epoch in ([0], [0, 1])
    assert len(history.history["loss"]) == len(history.epoch)
    assert recorder.events[-1] == "train ends"
    said = capsys.readouterr().out
    assert f"stopped by Ctrl-C after {len(history.epoch)} whole epochs" in said
    # Whole weights: those of a training of as many steps.
    steps = model.optimizer.iterations
    assert 4 <= steps <= 9
    twin = small()

    class StopAfter(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == steps:
                raise KeyboardInterrupt

    twin.fit(x, y, batch_size=10, epochs=50, verbose=0, callbacks=[StopAfter()])
    assert twin.optimizer.iterations == steps
    assert same_weights(model, twin)
    for key, slot in model.optimizer.slots["momentum"].items():
        np.testing.assert_array_equal(slot, twin.optimizer.slots["momentum"][key])
    # And the model is as good as before: it can go on.
    assert model.fit(x, y, epochs=1, verbose=0).epoch == [0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no os.kill(SIGINT) for one process")
def test_ctrl_c_at_any_moment_leaves_whole_weights():
    (x, y), _ = cnnlib.datasets.digits.load_data()
    x = (x[:512, ..., None] / 255).astype(np.float32)
    y = y[:512]

    def model_and(stop_at=None):
        cnnlib.utils.set_random_seed(5)
        model = cnnlib.Sequential(
            [
                cnnlib.Input((28, 28, 1)),
                layers.Conv2D(4, 5, activation="relu"),
                layers.MaxPooling2D(4),
                layers.BatchNormalization(),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")

        class Stop(callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if model.optimizer.iterations == stop_at:
                    raise KeyboardInterrupt

        return model, [Stop()]

    for delay in (0.03, 0.07, 0.15, 0.3):
        model, _ = model_and()
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            model.fit(x, y, batch_size=64, epochs=10**6, verbose=0)
        finally:
            timer.join()
        steps = model.optimizer.iterations
        twin, stop = model_and(steps)
        if steps:
            twin.fit(x, y, batch_size=64, epochs=10**6, verbose=0, callbacks=stop)
        assert same_weights(model, twin)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no os.kill(SIGINT) for one process")
def test_a_second_ctrl_c_stops_at_once(capsys):
    x, y = regression()

    class Stuck(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second Ctrl-C was not heard")

    model = small()
    assert model.fit(x, y, verbose=0, callbacks=[Stuck()]).epoch == []
    assert "stopped by Ctrl-C" in capsys.readouterr().out


def test_the_signal_handler_is_restored_after_an_error_too():
    x, y = regression()
    mine = signal.getsignal(signal.SIGINT)

    class Fail(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert signal.getsignal(signal.SIGINT) is not mine
            raise LookupError

    with pytest.raises(LookupError):
        small().fit(x, y, verbose=0, callbacks=[Fail()])
    assert signal.getsignal(signal.SIGINT) is mine


def test_fit_works_in_another_thread():
    x, y = regression()
    here, there = small(), small()
    here.fit(x, y, epochs=2, verbose=0)
    handler = signal.getsignal(signal.SIGINT)
    results = []

    def work():
        try:
            results.append(there.fit(x, y, epochs=2, verbose=0).epoch)
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert results == [[0, 1]]
    assert same_weights(here, there)
    assert signal.getsignal(signal.SIGINT) is handler


# --- Numbers that explode -----------------------------------------------------------------------


def finite(model):
    slots = [a for arrays in model.optimizer.slots.values() for a in arrays.values()]
    return all(np.isfinite(a).all() for a in [*model.get_weights(), *slots])


class NanAt(losses.MeanSquaredError):
    """A loss that turns NaN (or infinite, or only its gradient) at one step."""

    def __init__(self, at, what="loss"):
        super().__init__()
        self.calls, self.at, self.what = 0, at, what

    def value_and_gradient(self, y_true, y_pred):
        self.calls += 1
        values, dy = super().value_and_gradient(y_true, y_pred)
        if self.calls == self.at:
            if self.what == "gradient":
                dy[0] = np.nan
            else:
                values[0] = {"loss": np.nan, "infinite loss": np.inf}[self.what]
        return values, dy


@pytest.mark.parametrize("what", ["loss", "infinite loss", "gradient"])
def test_a_loss_that_turns_nan_stops_with_epoch_step_and_learning_rate(what):
    x, y = regression(40)
    model, twin = small(), small()
    for each in (model, twin):
        each.compile(optimizers.Adam(0.0125), NanAt(7, what))
    recorder = Recorder()
    word = "gradient of dense_1/kernel" if what == "gradient" else "loss"
    pattern = rf"(?s)the {word}.* is not finite at epoch 2, step 3 .*learning rate 0.0125"
    with pytest.raises(FloatingPointError, match=pattern) as caught:
        model.fit(x, y, batch_size=10, epochs=5, verbose=0, callbacks=[recorder])
    assert "Try a lower learning rate" in str(caught.value)
    assert model.optimizer.iterations == 6
    assert model.history.epoch == [0]
    assert recorder.events[-1] == "train ends"

    class StopAfter6(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 6:
                raise KeyboardInterrupt

    twin.fit(x, y, batch_size=10, epochs=5, verbose=0, callbacks=[StopAfter6()])
    assert same_weights(model, twin)
    for slot, arrays in model.optimizer.slots.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, twin.optimizer.slots[slot][key])


def test_moving_averages_stay_as_they_were_where_a_step_is_refused():
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.BatchNormalization(), layers.Dense(1)])
    model.compile("sgd", NanAt(1))
    before = model.get_weights()
    x, y = regression(20)
    with pytest.raises(FloatingPointError):
        model.fit(x, y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own words on overflow
@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.SGD(10.0),
        optimizers.SGD(100.0),
        optimizers.SGD(1e10),
        optimizers.SGD(50.0, momentum=0.9, nesterov=True),
        optimizers.Adam(1e10),
        optimizers.RMSprop(1e10),
        optimizers.Adagrad(1e12),
    ],
    ids=lambda o: f"{type(o).__name__} {o.learning_rate:g}",
)
def test_a_training_that_explodes_leaves_finite_weights_and_slots(optimizer):
    rng = np.random.default_rng(0)
    x, y = rng.random((64, 10)), rng.random((64, 1))
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential(
        [cnnlib.Input((10,)), layers.Dense(8, activation="relu"), layers.Dense(1)]
    )
    model.compile(optimizer, loss="mse")
    with pytest.raises(FloatingPointError, match=r"is not finite at epoch \d+, step [12] "):
        model.fit(x, y, epochs=300, verbose=0)
    assert finite(model)


def test_a_schedules_learning_rate_stands_in_the_message():
    x, y = regression(40)
    model = small()
    schedule = optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.25])
    model.compile(optimizers.SGD(schedule), NanAt(3))
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 3 .*learning rate 0.25"):
        model.fit(x, y, batch_size=10, verbose=0)


# --- Freezing, changing -------------------------------------------------------------------------


def test_a_frozen_layer_does_not_learn():
    x, y = regression()
    model = small()
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])
    for layer in model.layers:
        layer.trainable = False
    model.fit(x, y, verbose=0)
    for a, b in zip(after, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_parameter_may_be_one_number_and_its_gradient_a_scalar():
    class Scale(layers.Layer):
        def create(self, input_shape):
            self.add_param("factor", (), "ones")

        def forward(self, x, training=False, rng=None):
            return x * self.params["factor"], x

        def backward(self, dy, x):
            return dy * self.params["factor"], {"factor": (dy * x).sum()}

    model = cnnlib.Sequential([cnnlib.Input((1,)), Scale()])
    model.compile(optimizers.SGD(0.5), "mse")
    x = np.full((100, 1), 2.0)  # two shards
    model.fit(x, 4 * x, batch_size=100, verbose=0)
    # factor 1: loss (2 f - 8)^2, gradient 2 * (2 - 8) * 2 = -24
    np.testing.assert_allclose(model.get_weights()[0], 1 + 0.5 * 24)


@pytest.mark.parametrize("count", [40, 100])  # one shard, two
def test_a_layer_may_give_its_own_parameter_as_the_gradient(count):
    class Pulled(layers.Layer):  # dL/dw is w itself, as of a penalty of w**2 / 2
        def create(self, input_shape):
            self.add_param("w", (3,), "ones")

        def forward(self, x, training=False, rng=None):
            return x, None

        def backward(self, dy, cache):
            return dy, {"w": self.params["w"]}

    model = cnnlib.Sequential([cnnlib.Input((3,)), Pulled()])
    model.compile(optimizers.SGD(0.0), "mse")
    model.fit(np.ones((count, 3)), np.ones((count, 3)), batch_size=count, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], 1)  # a rate of 0 changes nothing


def test_a_new_top_layer_can_be_trained_without_compiling_again():
    x, y = regression()
    model = small(optimizer=optimizers.Adam(0.01))
    model.fit(x, y, verbose=0)
    model.pop()
    model.add(layers.Dense(5))
    before = model.get_weights()
    model.fit(x, np.zeros((50, 5)), verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


def test_compile_again_starts_the_optimizer_anew():
    x, y = regression()
    model = small()
    model.fit(x, y, verbose=0)
    model.compile(optimizers.SGD(0.1, momentum=0.9), "mse")
    assert model.optimizer.iterations == 0
    assert model.optimizer.slots == {}


def test_a_float64_model_trains_in_float64():
    x, y = regression()
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(1, dtype="float64")])
    model.compile(optimizers.SGD(0.5), "mse")
    history = model.fit(x, y, epochs=400, verbose=0)
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float64")}
    assert model.predict(x).dtype == np.float64
    # Below what float32 can reach: rounding of its weights alone gives 1e-14.
    assert history.history["loss"][-1] < 1e-15


def test_set_random_seed_makes_the_dropout_of_a_single_call_repeatable():
    masks = []
    for _ in range(2):
        cnnlib.utils.set_random_seed(1)
        masks.append(layers.Dropout(0.5)(np.ones((4, 50)), training=True))
    np.testing.assert_array_equal(*masks)


def test_integer_labels_are_not_made_one_hot_all_at_once():
    # 40 pictures of 64 x 64 pixels in 20 classes: one-hot in float64 they are 26 MB.
    model = cnnlib.Sequential([cnnlib.Input((64, 64, 1)), layers.Conv2D(20, 1)])
    model.compile("sgd", cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.zeros((40, 64, 64), np.uint8)
    tracemalloc.start()
    model.loss.check(labels, (None, 64, 64, 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_ctrl_c_in_the_validation_of_the_last_epoch_is_not_lost(capsys):
    class Press(cnnlib.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)

    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 3)), np.ones((8, 1))
    history = model.fit(x, y, epochs=1, verbose=0, callbacks=[Press()])
    assert history.epoch == [0]
    assert "stopped by Ctrl-C after 1 whole epoch" in capsys.readouterr().out


def test_even_a_second_ctrl_c_waits_for_the_update_to_end(capsys):
    class Impatient(optimizers.SGD):
        def step(self, p, g, rate, slot):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
            super().step(p, g, rate, slot)

    def make(optimizer):
        cnnlib.utils.set_random_seed(0)
        model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2), layers.Dense(1)])
        model.compile(optimizer, "mse")
        return model

    x, y = np.ones((64, 3)), np.ones((64, 1))
    calm, pressed = make(optimizers.SGD()), make(Impatient())
    calm.fit(x[:32], y[:32], verbose=0)
    pressed.fit(x, y, epochs=5, verbose=0, shuffle=False)
    assert pressed.optimizer.iterations == 1
    assert "the weights stand" in capsys.readouterr().out
    for one, other in zip(calm.get_weights(), pressed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
