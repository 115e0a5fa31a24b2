"""Write a student's copy of a lesson: without the solutions, and with a cell that reports.

    python scripts/assignment.py 01            build/assignments/01_dense.ipynb
    python scripts/assignment.py 01_dense --out somewhere --report xml

Cells tagged `solution` go; in the place of each stands a cell that lets the lesson go on where its
exercise is not solved yet. Outputs of the code cells after the first of them go too, since they may
show what it computed. The last cell writes how many exercises are solved, for a teacher.
Pictures that lie beside the lesson are put into the copy, which travels alone.
"""

import argparse
import ast
import base64
import mimetypes
import re
import sys
from pathlib import Path

import nbformat
from clean_notebooks import ROOT, read, to_text
from nbformat import NotebookNode

from cnnlib.lessons import exercises, messages
from cnnlib.utils import unknown_name

# ![alt](path) with a path beside the notebook, not an address or an attachment.
PICTURE = re.compile(r"(!\[[^\]]*\]\()(?!\w+:)([^)\s]+)(\))")


def find(lesson: str, folder: Path) -> Path:
    """Return the notebook with this number or name; a ValueError names those that there are."""
    known = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    for stem, path in known.items():
        if lesson.removesuffix(".ipynb") in (stem, stem.split("_")[0]):
            return path
    raise unknown_name("lesson", lesson, known)


def without_solutions(notebook: NotebookNode) -> int:
    """Remove the solutions and the outputs after them, in place; return how many there were."""
    kept, removed = [], 0
    asked: list[tuple[str, str]] = []
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            removed += 1
            if cell.cell_type == "code" and asked:
                kept.append(stand_in(asked, cell.id))
                asked = []
            continue
        if cell.cell_type == "code":
            asked += checked_names(cell.source)
            if removed:
                cell.outputs, cell.execution_count = [], None
        kept.append(cell)
    notebook.cells = kept
    return removed


def checked_names(source: str) -> list[tuple[str, str]]:
    """Return what a cell checks: (exercise, name of the learner's function)."""
    found = []
    for node in ast.walk(ast.parse(re.sub(r"(?m)^[%!].*", "", source))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lessons.check":
            match node.args:
                case [ast.Constant(str(exercise)), ast.Name(function)]:
                    found.append((exercise, function))
    return found


def stand_in(asked: list[tuple[str, str]], cell_id: str) -> NotebookNode:
    """Return the cell that goes on with the course's own version where a learner's is not right."""
    lines = [f'{function} = lessons.working("{name}", {function})' for name, function in asked]
    source = "\n".join([f"# {messages.text('assignment.stand_in')}", *lines])
    return nbformat.v4.new_code_cell(source, id=cell_id)


def attach_pictures(notebook: NotebookNode, folder: Path) -> None:
    """Put pictures that Markdown cells show from a file into the cells themselves."""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for match in PICTURE.finditer(cell.source):
            file = folder / match[2]
            kind = mimetypes.guess_type(file.name)[0]
            if file.is_file() and kind:
                content = base64.b64encode(file.read_bytes()).decode()
                cell.setdefault("attachments", {})[file.name] = {kind: content}
                attached = f"{match[1]}attachment:{file.name}{match[3]}"
                cell.source = cell.source.replace(match[0], attached)


def add_report(notebook: NotebookNode, lesson: str, suffix: str) -> None:
    """Append the cells with which a student hands in."""
    code = (
        "from cnnlib import lessons\n\n"
        f'lessons.report("{lesson}-results.{suffix}", lesson="{lesson}")'
    )
    heading = nbformat.v4.new_markdown_cell(messages.text("assignment.heading"), id="hand-in")
    notebook.cells += [heading, nbformat.v4.new_code_cell(code, id="hand-in-report")]


def make(lesson: str, notebooks: Path, out: Path, suffix: str = "csv") -> tuple[Path, int]:
    """Write the copy; return its path and the number of solutions that were left out."""
    source = find(lesson, notebooks)
    with_exercises = {module.LESSON for module in exercises.modules() if module.EXERCISES}
    if source.stem not in with_exercises:
        raise ValueError(
            f"{source.stem} has no exercises to hand in. Lessons with exercises: "
            + ", ".join(sorted(with_exercises))
        )
    notebook = read(source.read_text(encoding="utf-8"))
    removed = without_solutions(notebook)
    if not removed:
        raise ValueError(
            f"{source.name}: expected cells tagged 'solution'. Received: none. Tag the cells that "
            "a student must not see"
        )
    attach_pictures(notebook, source.parent)
    add_report(notebook, source.stem, suffix)
    nbformat.validate(notebook)
    out.mkdir(parents=True, exist_ok=True)
    path = out / source.name
    path.write_text(to_text(notebook), encoding="utf-8", newline="\n")
    return path, removed


def main(arguments: list[str] | None = None) -> int:
    """Write the copy of the lesson on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Write a student's copy of a lesson.")
    parser.add_argument("lesson", help="number or name, such as 02 or 02_activations")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "assignments")
    parser.add_argument(
        "--report", choices=["csv", "xml"], default="csv", help="form of the report"
    )
    options = parser.parse_args(arguments)
    try:
        path, removed = make(options.lesson, options.notebooks, options.out, options.report)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    print(f"{shown.as_posix()}: {removed} cells with solutions left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
