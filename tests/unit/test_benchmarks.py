"""Tables in the README are what the benchmarks print from committed records."""

import subprocess
import sys
from pathlib import Path

import pytest

from cnnlib import lessons

ROOT = Path(__file__).resolve().parents[2]


def printed(script):
    """The lines of the tables that the script prints."""
    command = [sys.executable, f"benchmarks/{script}.py", "table"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("script", ["accuracy", "comparative", "quantization"])
def test_every_line_of_the_table_stands_in_the_readme(script):
    lines, readme = printed(script), (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) > 4
    missing = [line for line in lines if line not in readme]
    assert not missing, f"run python benchmarks/{script}.py table and copy: {missing}"


PAGES = {"speed": "speed", "time_to_accuracy": "speed", "limits": "speed", "growth": "speed"}


@pytest.mark.parametrize(("script", "page"), [*PAGES.items(), ("cluster", "clusters")])
def test_every_line_of_the_table_stands_on_its_page(script, page):
    lines = printed(script)
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8").splitlines()
    assert len(lines) > 3
    missing = [line for line in lines if line not in text]
    assert not missing, f"run python benchmarks/{script}.py table and copy: {missing}"


def test_lessons_quote_what_the_committed_records_say():
    command = [sys.executable, "scripts/make_records.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    runs = lessons.measured("accuracy")
    found = {(r["phase"], r["recipe"], r["seed"]): r["accuracy"] for r in runs}
    assert found["test", "comparative", 1] == 99.52
    assert all(record["command"].startswith("python benchmarks/") for record in runs)
    with pytest.raises(ValueError, match="unknown kind of record: 'sped'.*'speed'"):
        lessons.measured("sped")
