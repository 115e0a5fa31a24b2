"""The wheel, the sdist's wheel and an editable install: each finds the digits, none has litter.

Nothing is downloaded: the build back end and NumPy are those of the environment that tests.
"""

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import build
import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["wheel", "wheel of the sdist", "editable"]
LOAD_DIGITS = """
import cnnlib
from cnnlib.datasets import digits
(x_train, y_train), (x_test, y_test) = digits.load_data()
assert x_train.shape == (4000, 28, 28) and x_test.shape == (1000, 28, 28)
assert sorted(set(y_test.tolist())) == list(range(10))
print(cnnlib.__file__)
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Return the paths of the four archives that a build can make, by name."""
    folder = tmp_path_factory.mktemp("archives")

    def make(kind, source, name):
        builder = build.ProjectBuilder(source, runner=quiet)
        return Path(builder.build(kind, folder / name))

    def quiet(command, cwd=None, extra_environ=None):
        environment = dict(os.environ, **(extra_environ or {}))
        result = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr

    sdist = make("sdist", ROOT, "sdist")
    with tarfile.open(sdist) as archive:
        # The argument `filter` is younger than Debian 12's Python 3.11.2; this it only ignores.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return {
        "sdist": sdist,
        "wheel": make("wheel", ROOT, "wheel"),
        "wheel of the sdist": make("wheel", unpacked, "sdist-wheel"),
        "editable": make("editable", ROOT, "editable"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_package_finds_the_digits(kind, archives, tmp_path):
    venv.create(tmp_path / "venv", symlinks=os.name != "nt")
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = tmp_path / "venv" / scripts / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", archives[kind]], check=True)
    # NumPy comes from the environment that runs the tests. A line in a .pth file adds its folder
    # last and reads no .pth file in it: the cnnlib installed there stays out of sight.
    purelib = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    printed = subprocess.run(
        [python, "-c", LOAD_DIGITS],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    home = ROOT if kind == "editable" else tmp_path
    assert Path(printed).resolve().is_relative_to(home.resolve())


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_names_both_licences_and_the_floor_of_numpy(kind, archives):
    with zipfile.ZipFile(archives[kind]) as archive:
        (name,) = (entry for entry in archive.namelist() if entry.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        licences = [entry for entry in archive.namelist() if "dist-info/licenses/" in entry]
    assert metadata["License-Expression"] == "MIT AND CC-BY-SA-3.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "numpy>=2.0" in metadata.get_all("Requires-Dist")
    assert {Path(entry).name for entry in licences} >= {"LICENSE", "LICENSE-CC-BY-SA-3.0.txt"}
    # An index refuses a package with this line, so nothing is published by mistake.
    assert "Private :: Do Not Upload" in metadata.get_all("Classifier")


def test_both_wheels_hold_the_same_files(archives):
    def contents(kind):
        with zipfile.ZipFile(archives[kind]) as archive:
            return {entry.filename: entry.CRC for entry in archive.infolist()}

    assert contents("wheel") == contents("wheel of the sdist")


def test_the_wheel_holds_the_package_and_the_data_and_nothing_else(archives):
    def litter(path):
        return "__pycache__" in path.parts or path.name.startswith(".")

    package = [path for path in (ROOT / "cnnlib").rglob("*") if path.is_file()]
    expected = {path.relative_to(ROOT).as_posix() for path in package if not litter(path)}
    data = [path for path in (ROOT / "data").rglob("*") if path.is_file()]
    expected |= {"cnnlib/" + path.relative_to(ROOT).as_posix() for path in data}
    with zipfile.ZipFile(archives["wheel"]) as archive:
        names = archive.namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"cnnlib/__init__.py", "cnnlib/py.typed", "cnnlib/data/digits.npz"} <= expected
    suffixes = {Path(name).suffix for name in expected}
    assert suffixes <= {".css", ".js", ".json", ".md", ".npz", ".py", ".txt", ".typed"}


def test_the_sdist_holds_what_a_build_and_its_tests_need_and_no_litter(archives):
    with tarfile.open(archives["sdist"]) as archive:
        entries = [Path(name).parts[1:] for name in archive.getnames()]
    top = {entry[0] for entry in entries if entry}
    needed = {"LICENSE", "README.md", "cnnlib", "data", "pyproject.toml", "tests"}
    assert needed <= top
    allowed = {
        # hatchling adds the last two by itself.
        *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile", "conftest.py"),
        *("requirements.txt", "scripts", "images", ".gitignore", "PKG-INFO"),
    }
    assert top - needed <= allowed
    assert not [entry for entry in entries if "__pycache__" in entry]
    # The digits are 0.8 MB; more than this would mean that something slipped in.
    assert archives["sdist"].stat().st_size < 3_000_000
