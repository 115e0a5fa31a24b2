"""Run notebooks from top to bottom, clean them and store them in place.

    python scripts/run_notebooks.py notebooks

A notebook that fails is left as it was.
"""

import argparse
import sys
import time
from pathlib import Path

from clean_notebooks import clean, notebooks_in, read, to_text
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def run(path: Path) -> None:
    """Run one notebook in its own folder and replace its file."""
    notebook = read(path.read_text(encoding="utf-8"))
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", resources=folder).execute()
    path.write_text(to_text(clean(notebook)), encoding="utf-8", newline="\n")


def main() -> int:
    """Run the notebooks named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Run and clean notebooks in place.")
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    failed = False
    for path in notebooks_in(parser.parse_args().paths):
        start = time.perf_counter()
        try:
            run(path)
        except CellExecutionError as error:
            failed = True
            print(f"{path}: failed and left as it was\n{error}", file=sys.stderr)
        else:
            print(f"{path}: {time.perf_counter() - start:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
