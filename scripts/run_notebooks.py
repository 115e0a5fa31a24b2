"""Run notebooks from top to bottom, clean them and store them in place.

    python scripts/run_notebooks.py notebooks                   run, clean and store
    python scripts/run_notebooks.py --check notebooks           store nothing, exit 1 if a text
                                                                output would change
    python scripts/run_notebooks.py --times build/notebooks.xml judge the times of nbval's run

A notebook that fails or takes too long is left as it was. After a run that changes text outputs of
a notebook, the cells are named: where their code was not touched, something in them is not fixed.
"""

import argparse
import sys
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import Any

from clean_notebooks import IGNORE_TAGS, clean, notebooks_in, read, to_text
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

# Seconds on 2 cores that one lesson may take, and all of them in `make test`.
LIMIT = 30.0
LIMIT_OF_ALL = 300.0
# In `make test` two lessons share the cores, and CI is shared as well: it sees what has got out of
# hand. The limit itself is held by `make notebooks`, which runs one lesson at a time.
SHARED = 2.0


def run(path: Path) -> NotebookNode:
    """Run one notebook in its own folder, in a fresh kernel, and return it cleaned."""
    notebook = read(path.read_text(encoding="utf-8"))
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", resources=folder).execute()
    return clean(notebook)


def text_outputs(cell: NotebookNode) -> list[Any]:
    """Return everything in a cell's outputs but pictures: what has to stay the same to the byte."""
    outputs = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = {kind: value for kind, value in data.items() if not kind.startswith("image/")}
        rest = {key: value for key, value in output.items() if key != "data"}
        outputs.append((rest, text))
    return outputs


def changed_cells(before: NotebookNode, after: NotebookNode) -> list[int]:
    """Return the places of cells, but those that nbval ignores, whose text outputs differ."""
    return [
        index
        for index, (old, new) in enumerate(zip(before.cells, after.cells, strict=True))
        if not set(IGNORE_TAGS) & set(new.metadata.get("tags", []))
        and text_outputs(old) != text_outputs(new)
    ]


def run_all(paths: list[Path], check: bool, limit: float) -> int:
    """Run notebooks in order, store what is good; return the exit status."""
    failed = False
    for path in paths:
        start = time.perf_counter()
        try:
            notebook = run(path)
        except CellExecutionError as error:
            failed = True
            print(f"{path}: failed and left as it was\n{error}", file=sys.stderr)
            continue
        seconds = time.perf_counter() - start
        print(f"{path}: {seconds:.0f} s", flush=True)
        if seconds > limit:
            failed = True
            print(
                f"{path}: left as it was: a lesson may take {limit:.0f} s on 2 cores. Shorten it, "
                "or, where the machine is busy or slow, give ARGS='--limit 60 notebooks'",
                file=sys.stderr,
            )
            continue
        if changed := changed_cells(clean(read(path.read_text(encoding="utf-8"))), notebook):
            print(f"{path}: text outputs of cells {changed} changed", flush=True)
            failed |= check
        if not check:
            path.write_text(to_text(notebook), encoding="utf-8", newline="\n")
    return int(failed)


def judge_times(report: Path, limit: float) -> int:
    """Print the seconds of each notebook in a JUnit report of nbval; exit status 1 past a limit."""
    suite = next(ET.parse(report).getroot().iter("testsuite"))
    seconds: dict[str, float] = defaultdict(float)
    for case in suite.iter("testcase"):
        # nbval's cases are named cell by cell; what they share is the notebook.
        seconds[case.get("classname") or "?"] += float(case.get("time", 0))
    if not seconds:
        print(f"{report}: expected at least one cell, received none", file=sys.stderr)
        return 1
    for name, spent in sorted(seconds.items()):
        print(f"{name}: {spent:.0f} s")
    whole = float(suite.get("time", 0))
    print(f"all lessons together: {whole:.0f} s")
    late = [name for name, spent in seconds.items() if spent > SHARED * limit]
    if late:
        print(f"over {SHARED * limit:.0f} s: {', '.join(sorted(late))}", file=sys.stderr)
    if whole > LIMIT_OF_ALL:
        print(f"all lessons together: over {LIMIT_OF_ALL:.0f} s", file=sys.stderr)
    return int(bool(late) or whole > LIMIT_OF_ALL)


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Run and clean notebooks in place.")
    parser.add_argument("--check", action="store_true", help="store nothing, only compare")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a lesson may take")
    parser.add_argument("--times", action="store_true", help="judge a JUnit report of nbval")
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    options = parser.parse_args(arguments)
    if options.times:
        return max(judge_times(path, options.limit) for path in options.paths)
    return run_all(notebooks_in(options.paths), options.check, options.limit)


if __name__ == "__main__":
    sys.exit(main())
