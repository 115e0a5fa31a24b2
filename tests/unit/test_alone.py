"""A lesson alone in an empty folder, with the library from its wheel and nothing of this checkout.

This is what a badge opens: Colab has NumPy, matplotlib and Jupyter, one notebook, and no files
beside it. Nothing is downloaded: what Colab brings is lent by the environment that tests.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import build
import pytest

ROOT = Path(__file__).resolve().parents[2]
# The first lesson there is: what a stranger opens first.
LESSON = min((ROOT / "notebooks").glob("[0-9]*_*.ipynb"))

RUN_ALL = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
# One more cell in the same kernel: where did the lesson's library come from?
where = "import cnnlib, os; print(os.path.abspath(cnnlib.__file__)); print(sorted(os.listdir()))"
notebook.cells.append(nbformat.v4.new_code_cell("import sys; print(sys.prefix); " + where))
NotebookClient(notebook, kernel_name="python3", timeout=55).execute()
print(notebook.cells[-1].outputs[0].text)
"""
RUN_SETUP = """
import sys
from IPython.core.interactiveshell import InteractiveShell
result = InteractiveShell.instance().run_cell(open(sys.argv[1], encoding="utf-8").read())
if result.error_in_exec:
    print("ERROR", type(result.error_in_exec).__name__, result.error_in_exec)
if result.error_before_exec:
    print("ERROR", result.error_before_exec)
"""
# Stands where pip would be: says what it was asked for, and installs the wheel in its place.
FAKE_PIP = """
import json, os, sys, zipfile
with open(os.environ["ASKED"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
zipfile.ZipFile(os.environ["WHEEL"]).extractall(os.environ["PLACE"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")

    def quiet(command, cwd=None, extra_environ=None):
        environment = dict(os.environ, **(extra_environ or {}))
        subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=True)

    return Path(build.ProjectBuilder(ROOT, runner=quiet).build("wheel", folder))


class Place:
    """An empty virtual environment and an empty folder."""

    def __init__(self, folder):
        self.folder, self.venv = folder / "empty", folder / "venv"
        self.folder.mkdir()
        venv.create(self.venv, symlinks=os.name != "nt")
        self.python = self.venv / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.purelib = Path(sysconfig.get_path("purelib", vars={"base": str(self.venv)}))
        # A folder that a .pth file adds comes last, and .pth files in it are not read: the
        # editable cnnlib of this checkout stays out of sight.
        lent = sysconfig.get_path("purelib")
        (self.purelib / "what_colab_brings.pth").write_text(lent, "utf-8")

    def run(self, code, *arguments, **extra):
        """Return what a program prints here; Jupyter finds no settings or kernels of the user."""
        gone = ("PYTHONPATH", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "VIRTUAL_ENV")
        environment = {key: value for key, value in os.environ.items() if key not in gone}
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            environment[name] = str(self.venv / name.lower())
        # As on any machine where nobody set a screen: the kernel chooses for itself.
        environment.pop("MPLBACKEND", None)
        result = subprocess.run(
            [self.python, "-c", code, *arguments],
            cwd=self.folder,
            env=environment | {key: str(value) for key, value in extra.items()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def install(wheel, place):
    """Install with pip, with its dependencies: all but cnnlib has to be there already."""
    pip = [sys.executable, "-m", "pip", "--python", place.python, "install", "--no-index"]
    said = subprocess.run([*pip, wheel], capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in said.splitlines() if line.startswith("Successfully installed"))
    assert [name.rpartition("-")[0] for name in line.split()[2:]] == ["cnnlib"]


def setup_cell(text):
    (found,) = (
        cell
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == "code" and "setup" in cell["metadata"].get("tags", [])
    )
    return "".join(found["source"])


def setup_of(repo, folder):
    """The set-up cell after `make badges REPO=... REF=v1.0`, which runs on a copy."""
    (folder / "notebooks").mkdir(parents=True)
    for name in ("pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "notebooks" / "README.md", folder / "notebooks")
    copy = shutil.copy(LESSON, folder / "notebooks")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location("badges", ROOT / "scripts" / "badges.py")
        script = importlib.util.module_from_spec(spec)
        sys.modules["badges"] = script  # dataclasses look their module up
        spec.loader.exec_module(script)
        assert script.main([f"--repo={repo}", "--ref=v1.0"], folder) == 0
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        sys.modules.pop("badges", None)
    path = folder / "setup.py"
    path.write_text(setup_cell(Path(copy).read_text("utf-8")), "utf-8")
    return path


def stand_ins(folder, colab):
    """A folder for PYTHONPATH with a pip that only writes down, and Colab's own module."""
    (folder / "pip").mkdir(parents=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(FAKE_PIP, "utf-8")
    if colab:
        (folder / "google" / "colab").mkdir(parents=True)
        (folder / "google" / "colab" / "__init__.py").touch()
    return folder


def test_a_lesson_alone_runs_to_its_end_with_the_library_of_the_wheel(wheel, place):
    install(wheel, place)
    shutil.copy(LESSON, place.folder)
    before = sorted(path.name for path in place.folder.iterdir())
    assert before == [LESSON.name]
    prefix, library, files = place.run(RUN_ALL, LESSON.name).split("\n")[:3]
    assert Path(prefix).resolve() == place.venv.resolve()
    assert Path(library).resolve().is_relative_to(place.venv.resolve())
    assert files == str(before)  # a lesson leaves nothing behind


def test_in_colab_the_setup_cell_installs_from_the_address_and_nothing_else(wheel, place, tmp_path):
    source = setup_of("some-school/cnnlib", tmp_path / "project")
    asked = tmp_path / "asked"
    extra = {
        "PYTHONPATH": stand_ins(tmp_path / "stand-ins", colab=True),
        "ASKED": asked,
        "WHEEL": wheel,
        "PLACE": place.purelib,
    }
    assert "ERROR" not in place.run(RUN_SETUP, source, **extra)
    address = "cnnlib[colab] @ git+https://github.com/some-school/cnnlib@v1.0"
    assert [json.loads(line) for line in asked.read_text("utf-8").splitlines()] == [
        ["install", "--quiet", address]
    ]
    assert "ERROR" not in place.run(RUN_SETUP, source, **extra)
    assert len(asked.read_text("utf-8").splitlines()) == 1, "it is there: nothing to install"


@pytest.mark.parametrize("colab", [True, False], ids=["colab", "elsewhere"])
def test_while_there_is_no_home_nothing_is_installed_and_one_sentence_says_so(
    wheel, place, tmp_path, colab
):
    source = setup_of("your_name_here/cnnlib", tmp_path / "project")
    stand_in = stand_ins(tmp_path / "stand-ins", colab)
    asked = tmp_path / "asked"
    said = place.run(RUN_SETUP, source, PYTHONPATH=stand_in, ASKED=asked)
    assert (
        "ERROR ModuleNotFoundError cnnlib has no public home yet, so nothing was installed" in said
    )
    assert not asked.exists()


def test_a_clone_in_the_folder_is_not_taken_for_the_library(place, tmp_path):
    (place.folder / "cnnlib" / "notebooks").mkdir(parents=True)  # to Python: a namespace package
    source = setup_of("your_name_here/cnnlib", tmp_path / "project")
    assert "ERROR ModuleNotFoundError cnnlib has no public home" in place.run(RUN_SETUP, source)


def test_elsewhere_nothing_is_installed_and_one_sentence_says_how(place, tmp_path):
    source = setup_of("some-school/cnnlib", tmp_path / "project")
    asked = tmp_path / "asked"
    stand_in = stand_ins(tmp_path / "stand-ins", colab=False)
    said = place.run(RUN_SETUP, source, PYTHONPATH=stand_in, ASKED=asked)
    assert (
        "ERROR ModuleNotFoundError cnnlib is not installed: run `pip install .` in a folder" in said
    )
    assert 'pip install "cnnlib[lessons] @ git+https://github.com/some-school/cnnlib@v1.0"' in said
    assert not asked.exists()


def test_the_stored_setup_cell_says_nothing_where_the_library_is(wheel, place, tmp_path):
    install(wheel, place)
    source = tmp_path / "setup.py"
    source.write_text(setup_cell(LESSON.read_text("utf-8")), "utf-8")
    asked = tmp_path / "asked"
    stand_in = stand_ins(tmp_path / "stand-ins", colab=True)
    assert place.run(RUN_SETUP, source, PYTHONPATH=stand_in, ASKED=asked) == ""
    assert not asked.exists()
