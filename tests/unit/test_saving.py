"""Files: the same bits come back, a crash loses nothing, and a bad file is refused by name."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import cnnlib
from cnnlib import callbacks, layers, optimizers, saving


def data(count=70):
    rng = np.random.default_rng(0)
    return rng.random((count, 8, 8, 2), dtype=np.float32), rng.integers(0, 3, count)


def make(optimizer="adam", seed=9):
    cnnlib.utils.set_random_seed(seed)
    model = cnnlib.Sequential(
        [
            cnnlib.Input((8, 8, 2)),
            layers.Conv2D(3, 3, activation="relu", kernel_regularizer=cnnlib.regularizers.L2(1e-3)),
            layers.BatchNormalization(momentum=0.8),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3),
        ],
        name="net",
    )
    loss = cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss, metrics=["accuracy"])
    return model


def assert_same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.fixture(scope="module")
def trained():
    model = make()
    x, y = data()
    model.fit(x, y, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def good(trained, tmp_path_factory):
    """The bytes of a file that is whole."""
    path = tmp_path_factory.mktemp("good") / "net.keras"
    trained.save(path)
    return path.read_bytes()


# --- The same comes back ------------------------------------------------------------------------


def test_a_loaded_model_predicts_bit_for_bit_the_same(trained, tmp_path):
    trained.save(tmp_path / "net.keras")
    loaded = cnnlib.load_model(tmp_path / "net.keras")
    x, y = data()
    np.testing.assert_array_equal(loaded.predict(x), trained.predict(x), strict=True)
    assert loaded.evaluate(x, y) == trained.evaluate(x, y)
    assert_same(loaded, trained)
    assert loaded.name == "net"
    assert loaded.seed == trained.seed
    assert loaded.get_config() == trained.get_config()
    assert loaded.optimizer.iterations == trained.optimizer.iterations == 6
    assert loaded.loss.from_logits
    assert [m.name for m in loaded.metrics] == ["accuracy"]


def test_memory_order_of_weights_does_not_survive_to_make_a_difference(tmp_path):
    model = make()
    weights = model.get_weights()
    weights[0] = np.moveaxis(np.ascontiguousarray(np.moveaxis(weights[0], -1, 0)), 0, -1)
    weights[-2] = np.asfortranarray(weights[-2])
    model.set_weights(weights)
    model.save(tmp_path / "net.keras")
    x, _ = data()
    loaded = cnnlib.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x), strict=True)


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "rmsprop": lambda: optimizers.RMSprop(0.003, momentum=0.5, centered=True),
    "adam": lambda: optimizers.Adam(1 / 300),  # not a number of seven digits
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "cosine": lambda: optimizers.Adam(
        optimizers.schedules.CosineDecay(0.001, 12, warmup_target=0.02, warmup_steps=3)
    ),
    "steps": lambda: optimizers.SGD(
        optimizers.schedules.PiecewiseConstantDecay([4, 8], [0.1, 0.05, 0.01]), momentum=0.9
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("k", [1, 3])
def test_interrupted_training_equals_the_uninterrupted_run(name, k, tmp_path):
    x, y = data()
    whole, first = make(OPTIMIZERS[name]()), make(OPTIMIZERS[name]())
    expected = whole.fit(x, y, epochs=5, verbose=0, validation_split=0.2).history
    first.fit(x, y, epochs=k, verbose=0, validation_split=0.2)
    first.save(tmp_path / "half.keras")
    cnnlib.utils.set_random_seed(12345)  # another session
    second = cnnlib.load_model(tmp_path / "half.keras")
    history = second.fit(x, y, epochs=5, initial_epoch=k, verbose=0, validation_split=0.2).history
    assert_same(second, whole)
    assert history == {name: values[k:] for name, values in expected.items()}
    assert second.optimizer.iterations == whole.optimizer.iterations
    assert second.optimizer.slots.keys() == whole.optimizer.slots.keys()
    for slot, arrays in whole.optimizer.slots.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(second.optimizer.slots[slot][key], array, strict=True)


def test_a_rate_that_a_callback_changed_survives_with_all_digits(tmp_path):
    def shrink(epoch, rate):
        return rate / 1.3

    x, y = data()
    whole, first = make(), make()
    scheduler = callbacks.LearningRateScheduler(shrink)
    whole.fit(x, y, epochs=4, verbose=0, callbacks=[scheduler])
    first.fit(x, y, epochs=2, verbose=0, callbacks=[scheduler])
    first.save(tmp_path / "half.keras")
    second = cnnlib.load_model(tmp_path / "half.keras")
    assert second.optimizer.learning_rate == first.optimizer.learning_rate
    second.fit(x, y, epochs=4, initial_epoch=2, verbose=0, callbacks=[scheduler])
    assert_same(second, whole)


def test_a_checkpoint_continues_after_ctrl_c(tmp_path):
    x, y = data()
    whole, cut = make(), make()
    whole.fit(x, y, epochs=4, verbose=0)

    class Stop(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 7:  # in the third epoch
                raise KeyboardInterrupt

    keep = callbacks.ModelCheckpoint(tmp_path / "last.keras")
    done = cut.fit(x, y, epochs=4, verbose=0, callbacks=[keep, Stop()])
    assert done.epoch == [0, 1]
    again = cnnlib.load_model(tmp_path / "last.keras")
    again.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert_same(again, whole)


def test_models_without_compile_training_or_input_layer_can_be_saved(tmp_path):
    bare = cnnlib.Sequential([layers.Dense(4, activation="gelu"), layers.LayerNormalization()])
    with pytest.raises(ValueError, match="does not know the shape of its input"):
        bare.save(tmp_path / "bare.keras")
    assert list(tmp_path.iterdir()) == []
    x = np.ones((2, 3), np.float32)
    expected = bare(x)
    bare.save(tmp_path / "bare.keras")
    loaded = cnnlib.load_model(tmp_path / "bare.keras")
    np.testing.assert_array_equal(loaded(x), expected)
    assert loaded.loss is None
    fresh = make()
    fresh.save(tmp_path / "fresh.keras")
    assert cnnlib.load_model(tmp_path / "fresh.keras").optimizer.iterations == 0


def test_float64_and_frozen_layers_come_back(tmp_path):
    model = cnnlib.Sequential(
        [
            cnnlib.Input((3,)),
            layers.Dense(2, dtype="float64", trainable=False, name="first"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    model.compile("adam", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = cnnlib.load_model(tmp_path / "m.keras")
    assert_same(loaded, model)
    assert [layer.trainable for layer in loaded.layers] == [False, True]
    assert loaded.layers[0].name == "first"
    assert loaded.get_weights()[0].dtype == np.float64


class Doubled(layers.Dense):
    """A learner's own layer."""

    def forward(self, x, training=False, rng=None):
        y, cache = super().forward(x, training, rng)
        return 2 * y, cache


def test_an_own_layer_comes_back(tmp_path):
    model = cnnlib.Sequential([cnnlib.Input((3,)), Doubled(2)])
    model.save(tmp_path / "own.keras")
    loaded = cnnlib.load_model(tmp_path / "own.keras", custom_objects={"Doubled": Doubled})
    assert type(loaded.layers[0]) is Doubled
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_weights_alone_come_back(trained, tmp_path):
    trained.save_weights(tmp_path / "net.weights.h5")
    other = make(seed=1)
    other.load_weights(tmp_path / "net.weights.h5")
    assert_same(other, trained)


def test_paths_may_be_strings(trained, tmp_path):
    trained.save(str(tmp_path / "a b é.keras"))
    assert_same(cnnlib.models.load_model(str(tmp_path / "a b é.keras")), trained)


def test_saving_changes_nothing(trained, tmp_path):
    before = trained.get_weights()
    steps = trained.optimizer.iterations
    trained.save(tmp_path / "net.keras")
    for a, b in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trained.optimizer.iterations == steps


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_has_ordinary_permissions(trained, tmp_path):
    (tmp_path / "plain").write_text("")
    trained.save(tmp_path / "net.keras")
    assert (tmp_path / "net.keras").stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- Refusing to write --------------------------------------------------------------------------


def test_the_ending_is_demanded(trained, tmp_path):
    for name in ("net.h5", "net", "net.pkl", "net.weights.h5"):
        with pytest.raises(ValueError, match=r"must end in \.keras.*net"):
            trained.save(tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in \.weights\.h5.*net\.keras"):
        trained.save_weights(tmp_path / "net.keras")
    assert list(tmp_path.iterdir()) == []


def test_overwrite_false_refuses(trained, tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="net.keras exists, and overwrite=False"):
        trained.save(path, overwrite=False)
    assert path.read_bytes() == b"precious"


def test_a_missing_folder_is_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"net\.keras cannot be written: make the folder"):
        trained.save(tmp_path / "nowhere" / "net.keras")


def test_a_class_that_could_not_be_read_back_is_refused(tmp_path):
    class Dense(layers.Layer):  # the library's name: never takes its place
        def forward(self, x, training=False, rng=None):
            return x, None

    model = cnnlib.Sequential([cnnlib.Input((3,)), Dense()])
    with pytest.raises(ValueError, match="Dense cannot be described"):
        model.save(tmp_path / "net.keras")
    assert list(tmp_path.iterdir()) == []
    assert type(cnnlib.Sequential([layers.Dense(2)]).layers[0]) is layers.Dense


# --- A crash during save ------------------------------------------------------------------------


class Crash(Exception):
    pass


def crash(*args, **kwargs):
    raise Crash("power cut")


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (os, "fsync"),
        (os, "fdopen"),
        (Path, "replace"),
        (Path, "chmod"),
        (zipfile.ZipFile, "writestr"),
        (saving, "_weights_bytes"),
        (json, "dumps"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_error_during_save_leaves_the_old_file_and_nothing_else(
    owner, name, exists, trained, good, tmp_path, monkeypatch
):
    path = tmp_path / "net.keras"
    if exists:
        path.write_bytes(good)
    monkeypatch.setattr(owner, name, crash)
    with pytest.raises(Crash):
        trained.save(path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["net.keras"] if exists else [])
    if exists:
        assert path.read_bytes() == good


def test_ctrl_c_during_save_leaves_the_old_file(trained, good, tmp_path, monkeypatch):
    path = tmp_path / "net.keras"
    path.write_bytes(good)

    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", press)
    with pytest.raises(KeyboardInterrupt):
        trained.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.keras"]
    assert path.read_bytes() == good


SAVE_IN_A_LOOP = """
import sys, numpy as np, cnnlib
model = cnnlib.Sequential([cnnlib.Input((1000,)), cnnlib.layers.Dense(2000)])
for k in range(10**6):
    model.set_weights([np.full(w.shape, k, np.float32) for w in model.get_weights()])
    model.save(sys.argv[1])
    if k == 0:
        print("saved", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "delay", [0.0, 0.013, 0.031, *(pytest.param(d / 97, marks=pytest.mark.long) for d in range(40))]
)
def test_a_killed_process_leaves_a_whole_file(delay, tmp_path):
    path = tmp_path / "big.keras"
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_IN_A_LOOP, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(cnnlib.__file__).parents[1],
    )
    try:
        assert process.stdout.readline() == b"saved\n"
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    kernel, bias = cnnlib.load_model(path).get_weights()
    assert np.all(kernel == kernel[0, 0])
    assert np.all(bias == kernel[0, 0])


# --- Bad files ----------------------------------------------------------------------------------


def refused(path, match=None):
    """Load `path`; the one ValueError that names the file."""
    with pytest.raises(ValueError, match=match) as caught:
        cnnlib.load_model(path)
    assert type(caught.value) is ValueError
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_truncated_file_is_refused_at_any_length(good, tmp_path):
    path = tmp_path / "cut.keras"
    lengths = sorted({0, 1, 2, 3, 4, 30, len(good) - 1, *range(5, len(good), len(good) // 60)})
    for length in lengths:
        path.write_bytes(good[:length])
        text = refused(path)
        assert "damaged or incomplete" in text or "is not a .keras file" in text


def test_a_damaged_file_is_refused_or_read_as_it_was(good, trained, tmp_path):
    """One byte changed anywhere: a ValueError that names the file, or no harm done."""
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.keras"
    headers = [k for k in range(len(good)) if good[k : k + 2] == b"PK"]
    places = [k + j for k in headers for j in range(46)]
    places += list(rng.integers(0, len(good), 60))
    loaded = 0
    for place in places:
        if place >= len(good):
            continue
        broken = bytearray(good)
        broken[place] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        try:
            model = cnnlib.load_model(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            loaded += 1
            assert_same(model, trained)
    assert loaded < len(places)


class Bomb:
    """A pickle with a side effect."""

    def __reduce__(self):
        return (Path.touch, (Path(os.environ["CNNLIB_TEST_BOMB"]),))


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    place = tmp_path / "the bomb went off"
    monkeypatch.setenv("CNNLIB_TEST_BOMB", str(place))
    payload = pickle.dumps(Bomb())
    pickle.loads(payload)
    assert place.exists()
    place.unlink()
    yield payload
    assert not place.exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no zip file"),
        (b"just some text\n" * 100, "no zip file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "an HDF5 file"),
        (b"PK", "damaged or incomplete"),
        (b"PK\x03\x04" + bytes(200), "damaged or incomplete"),
        (b"PK\x05\x06" + bytes(18), "damaged or incomplete"),
        (np.random.default_rng(0).bytes(5000), "no zip file"),
        (b"\x93NUMPY" + bytes(100), "no zip file"),
        (b"\x1f\x8b" + bytes(100), "no zip file"),
    ],
)
def test_another_kind_of_file_is_refused(content, what, tmp_path):
    path = tmp_path / "other.keras"
    path.write_bytes(content)
    refused(path, what)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded(bomb, protocol, tmp_path):
    path = tmp_path / "bomb.keras"
    path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    text = refused(path, "is not a .keras file")
    if protocol >= 2:
        assert "a pickle, which is never loaded" in text
    weights = tmp_path / "bomb.weights.h5"
    weights.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    with pytest.raises(ValueError, match="bomb.weights.h5 holds damaged weights"):
        make().load_weights(weights)


def parts(good):
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", ["metadata.json", "config.json", "model.weights.h5"])
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"null", b'"text"', b"5", b"\xff\xfe", b"[" * 20000]
)
def test_a_zip_of_something_else_is_refused(name, content, good, tmp_path):
    path = tmp_path / "zip.keras"
    contents = parts(good)
    if content is None:
        del contents[name]
    else:
        contents[name] = content
    write(path, contents)
    refused(path)


@pytest.mark.parametrize("name", ["metadata.json", "config.json", "model.weights.h5"])
def test_a_pickle_within_the_zip_is_never_loaded(name, bomb, good, tmp_path):
    path = tmp_path / "zip.keras"
    write(path, {**parts(good), name: bomb})
    refused(path)


def test_pickled_objects_as_weights_are_never_loaded(bomb, good, tmp_path):
    contents = parts(good)
    buffer = io.BytesIO(contents["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        del file["layers/dense/vars/0"]
        kind = h5py.special_dtype(vlen=np.dtype("uint8"))
        dataset = file.create_dataset("layers/dense/vars/0", (27, 3), dtype=kind)
        dataset[0, 0] = np.frombuffer(bomb, np.uint8)
    path = tmp_path / "objects.keras"
    write(path, {**contents, "model.weights.h5": buffer.getvalue()})
    refused(path, "expects numbers")
    other = io.BytesIO()
    np.savez(other, a=np.array([Bomb()], dtype=object))
    path.write_bytes(other.getvalue())  # .npz is a zip too
    refused(path, "damaged or incomplete")


def test_a_compressed_file_can_be_read(good, trained, tmp_path):
    path = tmp_path / "deflated.keras"
    write(path, parts(good), zipfile.ZIP_DEFLATED)
    assert_same(cnnlib.load_model(path), trained)


def changed(good, path, change, name="config.json"):
    contents = parts(good)
    value = json.loads(contents[name])
    change(value)
    contents[name] = json.dumps(value)
    write(path, contents)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["cnnlib"].update(format=2),
        lambda m: m["cnnlib"].update(format=10**9),
        lambda m: m["cnnlib"].update(format="two"),
        lambda m: m.update(keras_version="4.0.0"),
        lambda m: m.update(keras_version="2.15.0"),
        lambda m: m.update(keras_version=None),
    ],
)
def test_a_newer_version_is_refused(change, good, tmp_path):
    path = tmp_path / "newer.keras"
    changed(good, path, change, "metadata.json")
    refused(path, "another version .*update cnnlib")


def test_an_unknown_class_is_refused(good, tmp_path):
    path = tmp_path / "unknown.keras"
    changed(good, path, lambda c: c["config"]["layers"][1].update(class_name="Conv3D"))
    refused(path, "unknown layer: 'Conv3D'. Did you mean 'Conv2D'")
    changed(good, path, lambda c: c.update(class_name="Functional"))
    refused(path, "expected a Sequential model. Received: 'Functional'")


MODULES = [
    {"module": "os", "class_name": "system", "config": {"command": "exit 1"}},
    {"module": "os", "class_name": "system", "config": "exit 1", "registered_name": "os.system"},
    {"module": "builtins", "class_name": "eval", "config": {"source": "1/0"}},
    {"module": "cnnlib.saving", "class_name": "save_model", "config": {}},
    {"class_name": "__lambda__", "config": {"value": "4wAAAA"}},
    {"module": "subprocess", "class_name": "Popen", "config": {"args": "false"}},
    {"class_name": "os.system", "config": {}},
]


@pytest.mark.parametrize("evil", MODULES)
def test_no_module_in_a_file_is_ever_imported(evil, good, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", crash)
    monkeypatch.setattr(subprocess, "Popen", crash)
    path = tmp_path / "evil.keras"

    def in_initializer(config):
        config["config"]["layers"][1]["config"]["kernel_initializer"] = evil

    def in_activation(config):
        config["config"]["layers"][1]["config"]["activation"] = evil

    def as_layer(config):
        config["config"]["layers"][1] = evil

    def as_model(config):
        config.update(evil)

    def as_loss(config):
        config["compile_config"]["loss"] = evil

    def as_optimizer(config):
        config["compile_config"]["optimizer"] = evil

    def as_metric(config):
        config["compile_config"]["metrics"] = [evil]

    for place in (
        in_initializer, in_activation, as_layer, as_model, as_loss, as_optimizer, as_metric
    ):  # fmt: skip
        changed(good, path, place)
        refused(path)


def test_a_module_beside_a_known_class_is_not_looked_at(good, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", crash)
    path = tmp_path / "module.keras"
    changed(good, path, lambda c: c["config"]["layers"][1].update(module="os", fn_name="system"))
    assert_same(cnnlib.load_model(path), trained)


NASTY = (None, True, -1, 2.5, 10**30, "", "text", [], [1], {}, {"a": 1}, [[]], {"class_name": 5})


def places_in(value, path=()):
    """Every place in a piece of JSON."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(item, (*path, key))


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_a_configuration_with_anything_in_any_place_is_refused_or_read(name, good, tmp_path):
    """Wrong values all over the JSON: a ValueError that names the file, never anything else."""
    path = tmp_path / "fuzzed.keras"
    contents = parts(good)
    original = json.loads(contents[name])
    rng = np.random.default_rng(0)
    places = [place for place in places_in(original) if place]
    refusals = 0
    for place in places:
        for index in rng.permutation(len(NASTY))[:3]:
            value = json.loads(contents[name])
            home = value
            for key in place[:-1]:
                home = home[key]
            home[place[-1]] = NASTY[index]
            write(path, {**contents, name: json.dumps(value)})
            try:
                cnnlib.load_model(path)
            except ValueError as error:
                refusals += 1
                assert str(path) in str(error), (place, NASTY[index])
            except Exception as error:
                raise AssertionError(f"{place} = {NASTY[index]!r}") from error
    assert refusals > 0


def test_missing_keys_of_a_configuration_are_refused_or_read(good, tmp_path):
    path = tmp_path / "missing.keras"
    contents = parts(good)
    for place in places_in(json.loads(contents["config.json"])):
        if not place:
            continue
        value = json.loads(contents["config.json"])
        home = value
        for key in place[:-1]:
            home = home[key]
        del home[place[-1]]
        write(path, {**contents, "config.json": json.dumps(value)})
        try:
            cnnlib.load_model(path)
        except ValueError as error:
            assert str(path) in str(error), place


# --- Weights that do not fit --------------------------------------------------------------------


def h5(path, change, model):
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        change(file)


def other_shape(file):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = np.zeros((4, 4), np.float32)


def transposed(file):
    kernel = file["layers/dense/vars/0"][()]
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = kernel.T


def one_less(file):
    del file["layers/dense/vars/1"]


def no_layer(file):
    del file["layers/conv2d"]


def strings(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = [b"a", b"b", b"c"]


def words(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = ["a", "b", "c"]


def group_for_array(file):
    del file["layers/dense/vars/1"]
    file.create_group("layers/dense/vars/1")


def array_for_group(file):
    del file["layers/dense/vars"]
    file["layers/dense/vars"] = np.zeros(3)


def renamed(file):
    file.move("layers/dense/vars/1", "layers/dense/vars/7")


def wrong_step(file):
    del file["optimizer/vars/0"]
    file["optimizer/vars/0"] = np.zeros(3)


def step_in_words(file):
    del file["optimizer/vars/0"]
    file["optimizer/vars/0"] = "soon"


def no_rate(file):
    for key in list(file["optimizer/vars"])[1:]:
        del file[f"optimizer/vars/{key}"]


CHANGES = [
    other_shape, transposed, one_less, no_layer, strings, words, group_for_array, array_for_group,
    renamed, wrong_step, step_in_words, no_rate,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_change_nothing(change, trained, tmp_path):
    path = tmp_path / "bad.weights.h5"
    h5(path, change, trained)
    model = make(seed=1)
    before = model.get_weights()
    with pytest.raises(ValueError) as caught:
        model.load_weights(path)
    assert str(path) in str(caught.value)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0
    assert model.optimizer.slots == {}


def test_weights_of_another_model_say_both_shapes(trained, tmp_path):
    path = tmp_path / "net.weights.h5"
    trained.save_weights(path)
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    before = model.get_weights()
    with pytest.raises(
        ValueError, match=r"does not fit this model.*\[\(3, 2\), \(2,\)\].*\(27, 3\)"
    ):
        model.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_truncated_weights_change_nothing(trained, tmp_path):
    path = tmp_path / "cut.weights.h5"
    trained.save_weights(path)
    whole = path.read_bytes()
    model = make(seed=1)
    before = model.get_weights()
    for length in [0, 1, 8, 100, *range(500, len(whole), len(whole) // 25), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut.weights.h5"):
            model.load_weights(path)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="nothing-here.keras"):
        cnnlib.load_model("nothing-here.keras")
    with pytest.raises(FileNotFoundError, match="nothing-here.weights.h5"):
        make().load_weights("nothing-here.weights.h5")


# --- Weights that point elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual"])
def test_weights_in_another_file_are_not_read(tmp_path, kind):
    secret = tmp_path / "secret.h5"
    values = np.full((3, 2), 7.0, np.float32)
    with h5py.File(secret, "w") as file:
        file["stolen"] = values
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        home = file["layers/dense/vars"]
        del home["0"]
        if kind == "external link":
            home["0"] = h5py.ExternalLink(secret, "/stolen")
        elif kind == "soft link":
            file["elsewhere"] = values
            home["0"] = h5py.SoftLink("/elsewhere")
        elif kind == "external storage":
            values.tofile(tmp_path / "raw")
            raw = [(str(tmp_path / "raw"), 0, values.nbytes)]
            home.create_dataset("0", (3, 2), "float32", external=raw)
        else:
            layout = h5py.VirtualLayout((3, 2), "float32")
            layout[...] = h5py.VirtualSource(secret, "stolen", (3, 2))
            home.create_virtual_dataset("0", layout)
    before = model.get_weights()
    with pytest.raises(ValueError, match="m.weights.h5 holds damaged weights"):
        model.load_weights(path)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_custom_objects_never_replace_a_layer_of_the_library(tmp_path):
    class Sneaky(layers.Dense):
        pass

    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    loaded = cnnlib.load_model(tmp_path / "m.keras", custom_objects={"Dense": Sneaky})
    assert type(loaded.layers[0]) is layers.Dense
    assert layers.Layer.classes["Dense"] is layers.Dense


def test_numbers_of_numpy_do_not_break_exact_resuming(tmp_path):
    def make():
        cnnlib.utils.set_random_seed(3)
        schedule = optimizers.schedules.ExponentialDecay(np.float64(0.01), 10, np.float64(0.9))
        model = cnnlib.Sequential(
            [
                cnnlib.Input((3,)),
                layers.Dense(4, activation="relu"),
                layers.BatchNormalization(momentum=np.float64(0.9)),
                layers.LeakyReLU(np.float64(0.1)),
                layers.Dense(1),
            ]
        )
        model.compile(optimizers.SGD(schedule, momentum=np.float64(0.9)), "mse")
        return model

    x = np.random.default_rng(0).random((64, 3))
    y = x.sum(axis=1, keepdims=True)
    whole, part = make(), make()
    assert whole.seed == part.seed
    whole.fit(x, y, epochs=4, verbose=0)
    part.fit(x, y, epochs=2, verbose=0)
    part.save(tmp_path / "part.keras")
    part = cnnlib.load_model(tmp_path / "part.keras")
    part.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert all(w.dtype == np.float32 for w in whole.get_weights())
    for one, other in zip(whole.get_weights(), part.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_can_be_saved_after_a_layer_was_freed(tmp_path):
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(4), layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0)
    model.layers[0].trainable = True
    model.save(tmp_path / "freed.keras")
    assert cnnlib.load_model(tmp_path / "freed.keras").optimizer.iterations == 1


def test_an_optimizer_of_another_kind_in_the_file_is_said_to_start_anew(tmp_path):
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0)
    model.save_weights(tmp_path / "m.weights.h5")
    other = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(1)])
    other.compile(optimizers.Adam(amsgrad=True), "mse")
    with pytest.warns(UserWarning, match="it starts anew"):
        other.load_weights(tmp_path / "m.weights.h5")


def test_weights_that_claim_to_be_huge_are_refused_before_they_are_read(tmp_path):
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (10**12,), "float32", chunks=(1024,))
    with pytest.raises(ValueError, match="expected arrays of about 6 numbers at most"):
        model.load_weights(path)


def test_a_loss_given_as_a_class_is_saved(tmp_path):
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    model.compile("adam", cnnlib.losses.MeanSquaredError)
    model.save(tmp_path / "m.keras")
    assert type(cnnlib.load_model(tmp_path / "m.keras").loss) is cnnlib.losses.MeanSquaredError


def test_a_zip_that_unpacks_to_far_more_than_it_is_gets_refused(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(30_000_000))
    with pytest.raises(
        ValueError, match="bomb.keras is damaged .*its parts claim to be 30,000,004"
    ):
        cnnlib.load_model(path)


def test_custom_objects_are_classes_of_the_library_s_kind(tmp_path):
    with pytest.raises(TypeError, match="custom_objects: expected classes .*Received: <built-in"):
        cnnlib.load_model(tmp_path / "m.keras", custom_objects={"f": len})
