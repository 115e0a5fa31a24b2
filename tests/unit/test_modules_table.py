"""One module, one lesson: docs/modules.md, the docstrings and the modules agree."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUMBING = {"checks", "config", "plain", "registry", "utils"}
BESIDE_THE_CORE = {"animations", "hardware", "lessons", "plots", "widgets"}
LESSONS = {
    "01_dense",
    "02_activations",
    "03_training",
    "04_correlation_and_convolution",
    "05_conv_layer",
    "06_pooling",
    "07_comparative_synapse",
    "08_mnist_cnn",
    "09_improving",
    "10_speed",
}


def modules():
    """Return {name: docstring} of the core's modules, packages of plumbing as one entry."""
    found = {}
    for path in sorted((ROOT / "cnnlib").rglob("*.py")):
        name = path.relative_to(ROOT / "cnnlib").with_suffix("").as_posix()
        if name.startswith("datasets/"):
            if name != "datasets/__init__":
                continue
            name = "datasets"
        if not name.endswith("__init__") and name.split("/")[0] not in BESIDE_THE_CORE:
            found[name] = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return found


def table():
    """Return {module: set of lessons} as docs/modules.md has it."""
    rows = re.findall(
        r"^\| `(\S+)` \|.*\| ([^|]+) \|$", (ROOT / "docs/modules.md").read_text(), re.M
    )
    return {module: set(lessons.split(", ")) for module, lessons in rows}


def test_every_module_of_the_core_has_a_row_or_is_plumbing():
    assert set(table()) | PLUMBING == set(modules())
    assert not set(table()) & PLUMBING


def test_rows_name_lessons_of_the_course():
    for module, lessons in table().items():
        assert lessons <= LESSONS, module


def test_docstrings_name_the_same_lessons_as_the_table():
    for module, lessons in table().items():
        assert set(re.findall(r"notebooks/(\w+)\.ipynb", modules()[module])) == lessons, module
