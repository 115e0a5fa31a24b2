"""scripts/assignment.py: a student's copy holds no solution and reports."""

import importlib.util
import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
PNG = b"\x89PNG\r\n\x1a\n"
OUTPUT = nbformat.v4.new_output("stream", text="6\n")


@pytest.fixture
def script(monkeypatch):
    """Return the script as a module; it runs in this process, which is quicker."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("assignment", SCRIPTS / "assignment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("clean_notebooks", None)


def code(source, *tags):
    cell = nbformat.v4.new_code_cell(source, outputs=[OUTPUT], execution_count=1)
    cell.metadata["tags"] = list(tags)
    return cell


def write(folder, name, cells):
    folder.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=cells)
    (folder / name).write_text(nbformat.writes(notebook), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a lesson 01 of a few cells, and lessons that cannot be handed in."""
    markdown = nbformat.v4.new_markdown_cell
    solution_text = markdown("The secret is `fan_in * units + units`.")
    solution_text.metadata["tags"] = ["solution"]
    secret = "def solution(fan_in, units):\n    return fan_in * units + units"
    cells = [
        markdown("# 01\n\n![one](../images/one.png) ![away](https://example.org/two.png)"),
        code("print(6)"),
        code("def parameter_count(fan_in, units):\n    raise NotImplementedError", "exercise"),
        code(
            "from cnnlib import lessons\n\nlessons.check('parameter_count', parameter_count)",
        ),
        solution_text,
        code(secret, "solution"),
        code("print(2 * 3)"),
    ]
    notebooks = tmp_path / "notebooks"
    write(notebooks, "01_dense.ipynb", cells)
    write(notebooks, "00_start_here.ipynb", cells)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(PNG)
    return notebooks


def make(script, folder, lesson="01", *more):
    out = folder.parent / "out"
    arguments = [lesson, "--notebooks", str(folder), "--out", str(out), *more]
    return script.main(arguments), out / "01_dense.ipynb"


@pytest.mark.parametrize("lesson", ["01", "01_dense", "01_dense.ipynb"])
def test_the_copy_holds_no_solution_and_nothing_that_it_computed(script, folder, lesson, capsys):
    before = (folder / "01_dense.ipynb").read_bytes()
    status, path = make(script, folder, lesson)
    assert status == 0
    assert "2 cells with solutions left out" in capsys.readouterr().out
    assert "fan_in * units + units" not in path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any("solution" in cell["metadata"].get("tags", []) for cell in cells)
    outputs = [len(cell["outputs"]) for cell in cells if cell["cell_type"] == "code"]
    assert outputs == [1, 1, 1, 0, 0, 0], "outputs after the first solution are cleared"
    assert (folder / "01_dense.ipynb").read_bytes() == before
    nbformat.validate(nbformat.read(path, as_version=4))


def test_what_is_not_solved_does_not_stop_the_rest(script, folder):
    path = folder / "01_dense.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(code("assert parameter_count(2, 3) == 9"))
    nbformat.write(notebook, path)
    _, copy = make(script, folder)
    executed = run(copy)
    stand_in = next(cell for cell in executed.cells if "lessons.working(" in cell.source)
    assert stand_in.outputs[0].text.startswith("parameter_count is not solved yet")


LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(path.stem, marks=[] if path.stem == "01_dense" else pytest.mark.long)
        for path in LESSONS
        if '"solution"' in path.read_text("utf-8") and path.stem != "A_numpy"
    ],
)
def test_a_copy_of_a_lesson_runs_to_its_end_with_nothing_solved(script, tmp_path, lesson):
    path, removed = script.make(lesson, ROOT / "notebooks", tmp_path)
    executed = run(path)
    count = len(script.exercises.lesson(lesson).EXERCISES)
    assert removed == count
    said = executed.cells[-1].outputs[0].text
    assert said.startswith(f"0 of {count} exercises solved")


def run(path):
    """Run a notebook in its folder; an error in a cell fails the test."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    return NotebookClient(notebook, kernel_name="python3", resources=place).execute()


def test_the_copy_travels_alone(script, folder):
    _, path = make(script, folder)
    cell = nbformat.read(path, as_version=4).cells[0]
    assert "![one](attachment:one.png) ![away](https://example.org/two.png)" in cell.source
    assert list(cell.attachments) == ["one.png"]


@pytest.mark.parametrize("suffix", ["csv", "xml"])
def test_the_last_cell_reports_for_the_teacher(script, folder, suffix):
    _, path = make(script, folder, "01", "--report", suffix)
    said = run(path).cells[-1].outputs[0].text
    assert said == f"0 of 5 exercises solved: written to 01_dense-results.{suffix}.\n"
    report = (path.parent / f"01_dense-results.{suffix}").read_text(encoding="utf-8")
    assert "not_yet" in report
    assert "not tried" in report


def test_an_unknown_lesson_is_named_with_those_there_are(script, folder, capsys):
    status, _ = make(script, folder, "77")
    assert status == 1
    error = capsys.readouterr().err
    assert "unknown lesson: '77'. Known: 00_start_here, 01_dense" in " ".join(error.split())


def test_a_lesson_without_exercises_is_refused(script, folder, capsys):
    status, _ = make(script, folder, "00")
    assert status == 1
    assert "00_start_here has no exercises to hand in" in capsys.readouterr().err


def test_a_lesson_whose_solutions_are_not_tagged_is_refused(script, folder, capsys):
    write(folder, "01_dense.ipynb", [code("solution = 1")])
    status, path = make(script, folder)
    assert status == 1
    assert "expected cells tagged 'solution'" in capsys.readouterr().err
    assert not path.exists(), "nothing is written where solutions may be left in"
