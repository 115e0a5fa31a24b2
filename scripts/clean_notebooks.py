"""Clean executed notebooks, so that running and cleaning them again changes nothing.

    python scripts/clean_notebooks.py notebooks            clean in place
    python scripts/clean_notebooks.py --check notebooks    only say what is not clean (exit 1)
    python scripts/clean_notebooks.py --ignored notebooks  list what nbval does not compare, and why

Outputs stay: a reader on GitHub sees the pictures. What goes: the state of widgets (GitHub refuses
a notebook whose widget state is incomplete), times of execution, metadata of editors and users,
versions in the kernel's metadata, and paths of this machine in tracebacks.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# Tags steer nbval and the site, `reason` says why a tag is there, `jupyter` and `cellView` fold
# cells (JupyterLab and Colab).
KEPT_CELL_METADATA = ("tags", "reason", "jupyter", "cellView")
# What nbval leaves uncompared. Its comments do what its tags do, but have no place for a reason.
IGNORE_TAGS = ("nbval-ignore-output", "nbval-skip")
IGNORE_COMMENT = re.compile(
    r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP|PYTEST_VALIDATE_IGNORE_OUTPUT)\b", re.M
)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# What a tqdm bar shows where widgets cannot live, such as "  0%|          | 0/25 [00:00<?, ?it/s]".
PROGRESS_BAR = re.compile(r"^.*\d+%\|.*\[.*\]$")
# What stands for a widget: "VBox(children=(...))", "<cnnlib.widgets... object at 0x7fa9ea41a0d0>".
WIDGET_REPR = re.compile(
    r"^(\w*Box\(children=.*\)|<cnnlib\.widgets\.[\w.]+ object at 0x[0-9a-f]+>)$"
)
# The part of a path that differs from machine to machine.
MACHINE_PATH = re.compile(r"[^\s'\"\x1b]*/(?=site-packages/|lib/python3)")

NO_REASON = 'no reason: use the tag and write "reason": "..." into the cell\'s metadata'


def read(text: str) -> NotebookNode:
    """Return the notebook that a file's text holds; old ones get cell ids by their place."""
    raw = json.loads(text)
    if raw.get("nbformat") != 4:
        raise ValueError(
            f"expected a notebook of nbformat 4, received {raw.get('nbformat')!r}: "
            "open it in JupyterLab and save it"
        )
    raw["nbformat_minor"] = 5
    for index, cell in enumerate(raw["cells"]):
        cell.setdefault("id", f"cell-{index:03d}")
    return nbformat.reads(json.dumps(raw), as_version=4)


def to_text(notebook: NotebookNode) -> str:
    """Return the text of a notebook's file."""
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def clean(notebook: NotebookNode) -> NotebookNode:
    """Clean a notebook in place and return it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        cell.outputs = [clean_output(output, count) for output in joined_streams(cell.outputs)]
    return notebook


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return outputs where what one stream printed in several pieces is one output."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def clean_output(output: NotebookNode, count: int) -> NotebookNode:
    """Clean one output of the cell that ran as number `count`, in place, and return it."""
    if output.output_type == "execute_result":
        output.execution_count = count
    if output.output_type == "error":
        output.traceback = [without_paths(line) for line in output.traceback]
    data = output.get("data", {})
    if WIDGET_VIEW in data:
        # The view names a model that is gone, at random. The text of a progress bar or a widget is
        # as useless; it becomes empty and is not removed, since nbval counts outputs.
        del data[WIDGET_VIEW]
        text = data.get("text/plain", "")
        if PROGRESS_BAR.match(text) or WIDGET_REPR.match(text):
            data["text/plain"] = ""
    return output


def without_paths(text: str) -> str:
    """Return text without the folders above the project and above Python's library."""
    # IPython writes ~ for the user's folder.
    for root in (str(ROOT), str(ROOT).replace(str(Path.home()), "~", 1)):
        text = text.replace(root + "/.venv/", "").replace(root + "/", "")
    return MACHINE_PATH.sub("", text)


def unrun_cells(notebook: NotebookNode) -> list[int]:
    """Return the places of code cells that were never run: nbval compares nothing in them."""
    return [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and cell.source.strip()
        and cell.execution_count is None
        and "nbval-skip" not in cell.metadata.get("tags", [])
    ]


def ignored_cells(notebook: NotebookNode) -> list[tuple[int, str, str]]:
    """Return place, tag and reason ("" where none stands) of cells that nbval does not compare."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        reason = str(cell.metadata.get("reason", "")).strip()
        tags = [tag for tag in cell.metadata.get("tags", []) if tag in IGNORE_TAGS]
        found += [(index, tag, reason) for tag in tags]
        found += [(index, f"# {name}", "") for name in IGNORE_COMMENT.findall(cell.source)]
    return found


def list_ignored(paths: list[Path]) -> int:
    """Print every ignored cell with its reason, and their number; exit status 1 if one has none."""
    total = missing = 0
    for path in paths:
        for index, tag, reason in ignored_cells(read(path.read_text(encoding="utf-8"))):
            total += 1
            missing += not reason
            print(f"{path}: cell {index}, {tag}: {reason or NO_REASON}")
    print(f"{total} cells are not compared by nbval")
    return int(missing > 0)


def notebooks_in(paths: list[Path]) -> list[Path]:
    """Return the notebooks among files and, at any depth, in folders."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob("*.ipynb"))
            found += [file for file in inside if ".ipynb_checkpoints" not in file.parts]
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"expected a notebook or a folder, received {str(path)!r}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Clean or check the notebooks named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Clean executed notebooks.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if not clean")
    parser.add_argument("--ignored", action="store_true", help="list what nbval does not compare")
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    options = parser.parse_args(arguments)
    if options.ignored:
        return list_ignored(notebooks_in(options.paths))
    found_problem = False
    for path in notebooks_in(options.paths):
        before = path.read_text(encoding="utf-8")
        notebook = clean(read(before))
        after = to_text(notebook)
        if options.check:
            if unrun := unrun_cells(notebook):
                print(f"{path}: cells {unrun} were never run; `make notebooks` runs them")
                found_problem = True
            if after != before:
                print(f"{path}: not clean; run `python scripts/clean_notebooks.py {path}`")
                found_problem = True
        elif after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(f"{path}: cleaned")
    return int(found_problem)


if __name__ == "__main__":
    sys.exit(main())
