"""What happens between epochs: stopping, keeping, logging, changing the rate."""

import csv

import numpy as np
import pytest

import cnnlib
from cnnlib import callbacks, layers, optimizers
from cnnlib.callbacks import CSVLogger, EarlyStopping, LearningRateScheduler, ModelCheckpoint


def model_for(optimizer=None):
    cnnlib.utils.set_random_seed(1)
    model = cnnlib.Sequential([cnnlib.Input((2,)), layers.Dense(1)])
    model.compile(optimizer or optimizers.SGD(0.05), "mse", metrics=["mse"])
    return model


def data(count=20):
    x = np.random.default_rng(0).random((count, 2))
    return x, x.sum(axis=1, keepdims=True)


class Script(callbacks.Callback):
    """Writes given values into the logs, as if the training had reported them."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name, self.weights = values, name, []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())
        logs[self.name] = self.values[epoch]


def run(values, callback, name="val_loss", epochs=None, model=None):
    """Train with scripted values; epochs that ran, the model, and the weights of each epoch."""
    model, script = model or model_for(), Script(values, name)
    history = model.fit(
        *data(), epochs=epochs or len(values), verbose=0, callbacks=[script, callback]
    )
    return history.epoch, model, script.weights


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# --- EarlyStopping ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [5, 4, 3, 4, 2], 4),
        ({"patience": 1}, [5, 4, 3, 4, 2], 4),
        ({"patience": 2}, [5, 4, 3, 4, 2, 3, 3], 7),
        ({"patience": 2}, [5, 6, 6, 1], 3),
        ({"patience": 3}, [5, 4, 4, 4, 1], 5),
        ({"min_delta": 0.5}, [5, 4.4, 4.0, 1], 3),
        ({"min_delta": -0.5}, [5, 4.4, 4.0, 1], 3),
        ({"min_delta": 0.5, "patience": 2}, [5, 4.7, 4.4, 4.2, 3.8, 4, 4], 7),
        ({"mode": "max"}, [1, 2, 3, 2], 4),
        ({"mode": "max"}, [3, 2, 4], 2),
        ({"baseline": 2.0, "patience": 2}, [5, 4, 3.5, 3], 4),
        ({"baseline": 2.0, "patience": 2}, [5, 6, 7, 1], 2),
        ({"start_from_epoch": 3}, [1, 2, 3, 4, 5, 1], 5),
        ({}, [float("nan"), float("nan"), 1], 2),
    ],
)
def test_early_stopping(options, values, epochs):
    ran, _, _ = run(values, EarlyStopping(**options))
    assert len(ran) == epochs


def test_mode_auto_knows_that_accuracy_rises():
    callback = EarlyStopping(monitor="val_accuracy", patience=1)
    assert len(run([0.1, 0.2, 0.3, 0.4], callback, "val_accuracy")[0]) == 4
    callback = EarlyStopping(monitor="val_accuracy", patience=1)
    assert len(run([0.4, 0.3, 0.2, 0.1], callback, "val_accuracy")[0]) == 2


def test_early_stopping_watches_real_values():
    model = model_for(optimizers.SGD(0.0))  # never improves
    x, y = data()
    history = model.fit(
        x, y, epochs=9, verbose=0, validation_data=(x, y), callbacks=[EarlyStopping(patience=2)]
    )
    assert history.epoch == [0, 1, 2]


@pytest.mark.parametrize("values", [[5, 2, 3, 4], [5, 4, 2, 3]])
def test_restore_best_weights(values):
    callback = EarlyStopping(patience=2, restore_best_weights=True)
    _, model, weights = run(values, callback)
    best = int(np.argmin(values))
    assert callback.best_epoch == best
    assert same(model.get_weights(), weights[best])
    assert not same(weights[best], weights[-1])


def test_without_restore_the_last_weights_stand():
    _, model, weights = run([5, 2, 3, 4], EarlyStopping(patience=2))
    assert same(model.get_weights(), weights[-1])


def test_early_stopping_can_be_used_again():
    callback = EarlyStopping(restore_best_weights=True)
    run([1, 2, 3], callback)
    ran, model, weights = run([9, 8, 7], callback)
    assert len(ran) == 3
    assert same(model.get_weights(), weights[-1])


def test_early_stopping_says_so(capsys):
    run([1, 2, 3], EarlyStopping(verbose=1))
    assert capsys.readouterr().out == "epoch 2: early stopping\n"


def test_a_value_that_is_not_reported_warns_and_names_what_is():
    model = model_for()
    with pytest.warns(UserWarning, match="EarlyStopping watches 'val_loss'.*It reports: loss, mse"):
        model.fit(*data(), verbose=0, callbacks=[EarlyStopping()])


# --- ModelCheckpoint ----------------------------------------------------------------------------


def test_a_checkpoint_is_saved_after_each_epoch_under_its_name(tmp_path):
    path = tmp_path / "model-{epoch:02d}-{val_loss:.2f}.keras"
    _, _, weights = run([3, 1.5, 2], ModelCheckpoint(path))
    names = ["model-01-3.00.keras", "model-02-1.50.keras", "model-03-2.00.keras"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    for name, expected in zip(names, weights, strict=True):
        assert same(cnnlib.load_model(tmp_path / name).get_weights(), expected)


def test_save_best_only_keeps_the_best(tmp_path):
    path = tmp_path / "best.keras"
    values = [3, 1.5, 2, 1.6]
    _, _, weights = run(values, ModelCheckpoint(path, save_best_only=True))
    assert same(cnnlib.load_model(path).get_weights(), weights[1])
    path = tmp_path / "best-{epoch}.keras"
    run([3, 1.5, 2, 1.4], ModelCheckpoint(path, save_best_only=True))
    assert sorted(p.name for p in tmp_path.glob("best-*")) == [f"best-{k}.keras" for k in (1, 2, 4)]


def test_save_best_only_of_an_accuracy_and_of_a_mode(tmp_path):
    path = tmp_path / "a{epoch}.keras"
    callback = ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)
    run([0.5, 0.4, 0.6], callback, "val_accuracy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a1.keras", "a3.keras"]
    path = tmp_path / "b{epoch}.keras"
    callback = ModelCheckpoint(path, monitor="score", mode="max", save_best_only=True)
    run([5, 6, 4], callback, "score")
    assert sorted(p.name for p in tmp_path.glob("b*")) == ["b1.keras", "b2.keras"]


def test_a_threshold_must_be_beaten(tmp_path):
    path = tmp_path / "{epoch}.keras"
    callback = ModelCheckpoint(path, save_best_only=True, initial_value_threshold=2)
    run([3, 1.5, 2], callback)
    assert [p.name for p in tmp_path.iterdir()] == ["2.keras"]


def test_save_freq_counts_batches_over_epochs(tmp_path):
    path = tmp_path / "{epoch}-{batch}.keras"
    model = model_for()
    callback = ModelCheckpoint(path, save_freq=2)
    model.fit(*data(12), batch_size=4, epochs=2, verbose=0, callbacks=[callback])  # 3 steps each
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-2.keras", "2-1.keras", "2-3.keras"]


def test_save_weights_only(tmp_path):
    path = tmp_path / "{epoch}.weights.h5"
    _, _, weights = run([1, 2], ModelCheckpoint(path, save_weights_only=True))
    model = model_for()
    model.load_weights(tmp_path / "1.weights.h5")
    assert same(model.get_weights(), weights[0])


def test_folders_are_made(tmp_path):
    run([1], ModelCheckpoint(tmp_path / "a" / "b" / "m.keras"))
    assert (tmp_path / "a" / "b" / "m.keras").exists()


def test_a_checkpoint_says_so(tmp_path, capsys):
    run([1], ModelCheckpoint(tmp_path / "m.keras", verbose=1))
    assert capsys.readouterr().out == f"epoch 1: saved {tmp_path / 'm.keras'}\n"


def test_initial_epoch_goes_into_the_name(tmp_path):
    callback = ModelCheckpoint(tmp_path / "{epoch}.keras")
    model_for().fit(*data(), epochs=5, initial_epoch=3, verbose=0, callbacks=[callback])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4.keras", "5.keras"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filepath": "m.h5"}, r"ends in \.keras\. Received: m\.h5"),
        ({"filepath": "m.keras", "save_weights_only": True}, r"ends in \.weights\.h5"),
        ({"filepath": "m.keras", "save_freq": 0}, "save_freq: expected 'epoch' or a positive"),
        ({"filepath": "m.keras", "save_freq": "batch"}, "Received: save_freq='batch'"),
        ({"filepath": "m.keras", "mode": "up"}, "mode: expected 'auto', 'min' or 'max'.*'up'"),
    ],
)
def test_bad_arguments_of_a_checkpoint(options, message):
    with pytest.raises(ValueError, match=message):
        ModelCheckpoint(**options)


def test_a_name_that_is_not_reported(tmp_path):
    callback = ModelCheckpoint(tmp_path / "{val_acc:.2f}.keras")
    with pytest.raises(ValueError, match="names 'val_acc', which this training does not report. "):
        model_for().fit(*data(), verbose=0, callbacks=[callback])


def test_best_only_without_the_value_warns(tmp_path):
    callback = ModelCheckpoint(tmp_path / "m.keras", save_best_only=True)
    with pytest.warns(UserWarning, match="ModelCheckpoint watches 'val_loss'"):
        model_for().fit(*data(), verbose=0, callbacks=[callback])
    assert list(tmp_path.iterdir()) == []


# --- LearningRateScheduler ----------------------------------------------------------------------


def test_the_rate_is_set_at_the_start_of_each_epoch():
    asked = []

    def schedule(epoch, rate):
        asked.append((epoch, rate))
        return rate / 2

    model = model_for(optimizers.SGD(0.5))
    model.fit(*data(), epochs=3, verbose=0, callbacks=[LearningRateScheduler(schedule)])
    assert asked == [(0, 0.5), (1, 0.25), (2, 0.125)]
    assert model.optimizer.learning_rate == 0.0625


def test_the_rate_of_an_epoch_is_used_in_that_epoch():
    frozen = model_for()
    before = frozen.get_weights()
    frozen.fit(*data(), verbose=0, callbacks=[LearningRateScheduler(lambda epoch, rate: 0.0)])
    assert same(before, frozen.get_weights())


def test_the_rate_is_said(capsys):
    callback = LearningRateScheduler(lambda epoch, rate: 0.125, verbose=1)
    model_for().fit(*data(), verbose=0, callbacks=[callback])
    assert capsys.readouterr().out == "epoch 1: learning rate 0.125\n"


@pytest.mark.parametrize("bad", [None, "0.1", [0.1]])
def test_a_schedule_must_give_a_number(bad):
    model = model_for()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"schedule\(0, rate\) must give a number. Received"):
        model.fit(*data(), verbose=0, callbacks=[LearningRateScheduler(lambda epoch, rate: bad)])
    assert same(before, model.get_weights())
    assert model.optimizer.learning_rate == 0.05


def test_two_schedules_do_not_go_together():
    decay = optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model = model_for(optimizers.SGD(decay))
    with pytest.raises(ValueError, match="a number as learning_rate"):
        model.fit(*data(), verbose=0, callbacks=[LearningRateScheduler(lambda e, rate: rate)])


# --- CSVLogger ----------------------------------------------------------------------------------


def rows(path, separator=","):
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter=separator))


def test_one_line_an_epoch(tmp_path):
    path = tmp_path / "log.csv"
    x, y = data()
    history = model_for().fit(
        x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=[CSVLogger(path)]
    )
    header, *lines = rows(path)
    assert header == ["epoch", "loss", "mse", "val_loss", "val_mse"]
    assert [int(line[0]) for line in lines] == [0, 1, 2]
    for column, name in enumerate(header[1:], start=1):
        assert [float(line[column]) for line in lines] == history.history[name]


def test_append_goes_on_and_the_default_begins_anew(tmp_path):
    path = tmp_path / "log.csv"
    model = model_for()
    model.fit(*data(), epochs=2, verbose=0, callbacks=[CSVLogger(path, append=True)])
    more = CSVLogger(path, append=True)
    model.fit(*data(), epochs=4, initial_epoch=2, verbose=0, callbacks=[more])
    assert [row[0] for row in rows(path)] == ["epoch", "0", "1", "2", "3"]
    model.fit(*data(), epochs=1, verbose=0, callbacks=[CSVLogger(str(path))])
    assert [row[0] for row in rows(path)] == ["epoch", "0"]


def test_separator(tmp_path):
    path = tmp_path / "log.tsv"
    model_for().fit(*data(), verbose=0, callbacks=[CSVLogger(path, separator=";")])
    assert rows(path, ";")[0] == ["epoch", "loss", "mse"]


def test_the_file_can_be_read_while_training(tmp_path):
    path = tmp_path / "log.csv"
    seen = []

    class Read(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(len(rows(path)))

    model_for().fit(*data(), epochs=3, verbose=0, callbacks=[CSVLogger(path), Read()])
    assert seen == [2, 3, 4]


def test_a_log_of_a_training_that_was_cut_off_is_whole(tmp_path):
    path = tmp_path / "log.csv"

    class Stop(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    model_for().fit(*data(), epochs=9, verbose=0, callbacks=[CSVLogger(path), Stop()])
    assert [row[0] for row in rows(path)] == ["epoch", "0", "1"]


# --- Together -----------------------------------------------------------------------------------


def test_early_stopping_and_checkpoint_agree_on_the_best(tmp_path):
    x, y = data(40)
    model = model_for(optimizers.SGD(0.3))
    best = ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    stop = EarlyStopping(patience=3, restore_best_weights=True)
    history = model.fit(x, y, epochs=60, verbose=0, validation_split=0.5, callbacks=[best, stop])
    loaded = cnnlib.load_model(tmp_path / "best.keras")
    assert same(loaded.get_weights(), model.get_weights())
    assert stop.best == min(history.history["val_loss"])


def test_the_base_class_does_nothing():
    quiet, plain = model_for(), model_for()
    quiet.fit(*data(), verbose=0, callbacks=[callbacks.Callback()])
    plain.fit(*data(), verbose=0)
    assert same(quiet.get_weights(), plain.get_weights())
