"""The table of data sets, and how a set gets from its published files into four arrays.

`load` is the whole way: `locate` each file (in a folder, in Keras's cache, by a download), `read`
them with the parser of their format, check the arrays against the table. Nothing is ever unpickled.

Lesson: notebooks/08_mnist_cnn.ipynb.
"""

import bz2
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

Split = tuple[np.ndarray, np.ndarray]
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


# --- One parser for each format: an open file in, arrays out -------------------------------------


def parse_npz(file: BinaryIO) -> list[np.ndarray]:
    """Read the four arrays of an npz archive with the keys of Keras's `mnist.npz`."""
    archive = np.load(file, allow_pickle=False)
    return [archive[name] for name in ARRAYS]


def parse_idx(file: BinaryIO) -> list[np.ndarray]:
    """Read one array from a gzipped IDX file, the format of the original MNIST.

    Two zero bytes, 8 for uint8, the number of axes, each axis as a big-endian int32, the values.
    """
    with gzip.open(file) as unpacked:
        raw = unpacked.read()
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"an IDX file of uint8 begins with 000008, this one with {raw[:3].hex()}")
    axes = raw[3]
    shape = np.frombuffer(raw, ">i4", count=axes, offset=4)
    # frombuffer alone would give a read-only view of the bytes.
    return [np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()]


def parse_cifar(file: BinaryIO, label_bytes: int) -> list[np.ndarray]:
    """Read the tar.gz archive of CIFAR's binary version without writing any of it to the disk.

    A record is the label's one or two bytes, then 1,024 red, 1,024 green and 1,024 blue pixels.
    Test images lie in `test.bin` or `test_batch.bin`, the others in one file or five.
    """
    with gzip.open(file) as unpacked:
        with tarfile.open(fileobj=unpacked, mode="r|") as archive:
            binaries = {
                member.name: content.read()
                for member in archive
                if member.name.endswith(".bin") and (content := archive.extractfile(member))
            }
        unpacked.read()  # up to its end, where gzip compares its checksum
    arrays = []
    for is_test in (False, True):
        names = [name for name in sorted(binaries) if ("test" in name) == is_test]
        raw = b"".join(binaries[name] for name in names)
        records = np.frombuffer(raw, np.uint8).reshape(-1, label_bytes + 3 * 32 * 32)
        images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays += [np.ascontiguousarray(images), records[:, :label_bytes].copy()]
    return arrays


def parse_libsvm(file: BinaryIO) -> list[np.ndarray]:
    """Read images and labels from bzipped lines 'label 1:value ... 256:value'.

    Values lie in -1..1 and labels in 1..10; like torchvision's `USPS`, return them as uint8 pixels
    (cut, not rounded) and labels 0..9.
    """
    with bz2.open(file) as unpacked:
        numbers = io.BytesIO(unpacked.read().replace(b":", b" "))
    table = np.loadtxt(numbers, dtype=np.float32, ndmin=2)
    labels, indices, values = table[:, 0], table[:, 1::2], table[:, 2::2]
    if not np.array_equal(indices, np.broadcast_to(np.arange(1, 257), (len(table), 256))):
        raise ValueError("a line does not hold the pixels 1 to 256 in order")
    # 1.001, not 1: room for rounding, which the cut to uint8 then removes.
    if not (np.abs(values).max() <= 1.001 and labels.min() >= 1):
        raise ValueError("a pixel lies outside -1..1 or a label below 1")
    images = ((values + 1) / 2 * 255).astype(np.uint8)
    return [images.reshape(-1, 16, 16), (labels - 1).astype(np.uint8)]


# --- The table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSet:
    """One row of the table: where a set comes from and what must come out of it.

    parse : turns one open file into one, two or four arrays; the files in order give x_train,
        y_train, x_test, y_test
    counts : number of training and of test images
    image : shape of one image
    classes : labels are below it; a tuple where a label has an axis of columns
    url, files : address up to the file's name; each name with its published hash
    folder : where in a data folder the files lie, as in Keras's cache
    sha256 : of the bytes of the four arrays in order, where it is known
    """

    parse: Callable[[BinaryIO], list[np.ndarray]]
    counts: tuple[int, int]
    image: tuple[int, ...]
    classes: int | tuple[int, ...]
    url: str
    files: dict[str, str]
    folder: str = ""
    sha256: str = ""


SETS = {
    # Made by scripts/make_digits.py and shipped with the library, so nothing to download.
    "digits": DataSet(
        parse_npz,
        counts=(4_000, 1_000),
        image=(28, 28),
        classes=10,
        url="",
        files={},
        sha256="e3a20bc1bf301c8afc830efaed1740b0102b2b85a452a2a3e4cc937fb5f280d6",
    ),
    # Hash of the file: keras/src/datasets/mnist.py. Of the arrays: taken from arrays that, written
    # as IDX files, have the MD5 sums of the original distribution. An npz of the same arrays that
    # someone else wrote is as good as Keras's.
    "mnist": DataSet(
        parse_npz,
        counts=(60_000, 10_000),
        image=(28, 28),
        classes=10,
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        files={
            "mnist.npz": "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
        },
        sha256="06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
    ),
    # Hashes: README of github.com/zalandoresearch/fashion-mnist; torchvision/datasets/mnist.py.
    "fashion_mnist": DataSet(
        parse_idx,
        counts=(60_000, 10_000),
        image=(28, 28),
        classes=10,
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        files={
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
        folder="fashion-mnist",
    ),
    # Hashes of both CIFARs: www.cs.toronto.edu/~kriz/cifar.html, "binary version".
    "cifar10": DataSet(
        partial(parse_cifar, label_bytes=1),
        counts=(50_000, 10_000),
        image=(32, 32, 3),
        classes=(10,),
        url="https://www.cs.toronto.edu/~kriz/",
        files={"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "cifar100": DataSet(
        partial(parse_cifar, label_bytes=2),
        counts=(50_000, 10_000),
        image=(32, 32, 3),
        classes=(20, 100),  # coarse, fine
        url="https://www.cs.toronto.edu/~kriz/",
        files={"cifar-100-binary.tar.gz": "md5:03b5dce01913d631647c71ecec9e9cb8"},
    ),
    # Hashes: torchvision/datasets/usps.py.
    "usps": DataSet(
        parse_libsvm,
        counts=(7_291, 2_007),
        image=(16, 16),
        classes=10,
        url="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        files={
            "usps.bz2": "md5:ec16c51db3855ca6c91edd34d0e9b197",
            "usps.t.bz2": "md5:8ea070ee2aca1ac39742fdd1ef5ed118",
        },
    ),
}


# --- From the table to arrays --------------------------------------------------------------------


def load(name: str, path: str | None = None) -> tuple[Split, Split]:
    """Find or download the files of the set `name` and read them; `path` renames its one file."""
    entry = SETS[name]
    paths = [
        locate(f"{entry.folder}/{path or file}".lstrip("/"), entry.url + file, known_hash)
        for file, known_hash in entry.files.items()
    ]
    return read(entry, paths)


def data_folders() -> list[Path]:
    """Folders that are searched before anything is downloaded, first one first."""
    own = os.environ.get("CNNLIB_DATA_DIR")
    keras_home = os.environ.get("KERAS_HOME") or "~/.keras"
    folders = [Path(own)] if own else []
    return [folder.expanduser() for folder in [*folders, Path(keras_home) / "datasets"]]


def locate(name: str, url: str, known_hash: str) -> Path:
    """Path of the first copy among the data folders, else of a download kept in the user's cache.

    pooch downloads to a temporary file and renames it once its hash is right, so a failure leaves
    nothing behind; a copy already in the cache is used if its hash is right.

    Raises
    ------
    ConnectionError
        If there is no network, the address does not answer or the cache cannot be written.
    ValueError
        If what arrives is not the published file.
    """
    for folder in data_folders():
        if (folder / name).is_file():
            return folder / name

    import pooch

    cache = pooch.os_cache("cnnlib")
    try:
        return Path(pooch.retrieve(url, known_hash, fname=name, path=cache, progressbar=True))
    except (OSError, ValueError) as error:
        # What requests raises is an OSError, like a full disk; pooch's ValueError is a wrong hash.
        kind = ConnectionError if isinstance(error, OSError) else ValueError
        searched = " or ".join(str(folder.absolute()) for folder in data_folders())
        raise kind(
            f"{name} was not found in {searched}, and the download failed; nothing was kept. "
            f"From: {url}. To: {cache}. Received: {error} What to do: try again later; or get that "
            f"file by other means, save it as FOLDER/{name} and set the environment variable "
            "CNNLIB_DATA_DIR to FOLDER; or go on with cnnlib.datasets.digits.load_data(), 5,000 "
            "real digits that need no network."
        ) from error


def read(entry: DataSet, paths: list[Path]) -> tuple[Split, Split]:
    """Parse the files of a set and check the arrays against its row in the table.

    Raises
    ------
    ValueError
        If a file is damaged, of another format, or holds other arrays than the set's.
    """
    arrays: list[np.ndarray] = []
    for path in paths:
        with path.open("rb") as file:
            try:
                arrays += entry.parse(file)
            except Exception as error:  # damaged bytes make a parser raise nearly anything
                expected = f"an intact file in the format of the original {path.name}"
                raise wrong_content(path, expected, f"{type(error).__name__}: {error}") from error

    labels = np.shape(entry.classes)
    shapes = [(n, *axes) for n in entry.counts for axes in (entry.image, labels)]
    for k, (name, array, shape) in enumerate(zip(ARRAYS, arrays, shapes, strict=True)):
        path = paths[k * len(paths) // 4]  # every file of a set holds equally many of the four
        if array.shape != shape or array.dtype != np.uint8:
            received = f"{array.dtype} of shape {array.shape}"
            raise wrong_content(path, f"{name} as uint8 of shape {shape}", received)
        if name.startswith("y") and (array >= entry.classes).any():
            expected = f"labels {name} below {entry.classes}"
            raise wrong_content(path, expected, f"a label of {array.max()}")
    if entry.sha256:
        received = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
        if received != entry.sha256:
            expected = f"arrays with the sha256 sum {entry.sha256}"
            raise wrong_content(paths[0], expected, received)
    x_train, y_train, x_test, y_test = arrays
    return (x_train, y_train), (x_test, y_test)


def wrong_content(path: Path, expected: str, received: str) -> ValueError:
    """Make the error for a file whose content is not what its name says."""
    return ValueError(
        f"{path} has the wrong content. Expected: {expected}. Received: {received}. "
        "What to do: delete this file, or put the right one in its place, and load the set again."
    )
