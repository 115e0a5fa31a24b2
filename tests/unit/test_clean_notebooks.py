"""scripts/clean_notebooks.py: what goes, what stays, and that a second run changes nothing."""

import importlib.util
import json
from pathlib import Path

import nbformat
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "clean_notebooks.py"
PNG = "iVBORw0KGgo="


def run_script(*arguments):
    """Return the exit status of the script; it runs in this process, which is quicker."""
    spec = importlib.util.spec_from_file_location("clean_notebooks", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main([str(argument) for argument in arguments])


def code(source, *outputs, count=None, **metadata):
    return {
        "cell_type": "code",
        "execution_count": count,
        "id": f"id-{len(source)}",
        "metadata": metadata,
        "outputs": list(outputs),
        "source": source,
    }


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def bar(model_id, text="Epoch 1:   0%|          | 0/25 [00:00<?, ?it/s]"):
    view = {"model_id": model_id, "version_major": 2, "version_minor": 0}
    return {
        "output_type": "display_data",
        "data": {"application/vnd.jupyter.widget-view+json": view, "text/plain": text},
        "metadata": {},
    }


@pytest.fixture
def dirty(tmp_path):
    """Return the path of a notebook with everything that should go."""
    root = SCRIPT.parents[1]
    cells = [
        {
            "cell_type": "markdown",
            "id": "head",
            "metadata": {"editable": True, "tags": []},
            "source": ["# A title\n", "and text"],
        },
        code(
            "print(1)",
            stream("one\n"),
            stream("two\n"),
            stream("careful\n", "stderr"),
            count=7,
            execution={"iopub.execute_input": "2025-01-01T00:00:00Z"},
            tags=["nbval-ignore-output"],
            trusted=True,
        ),
        code("fit()", bar("5f2c"), count=9, jupyter={"source_hidden": True}),
        code(
            "figure",
            {
                "output_type": "execute_result",
                "execution_count": 12,
                "data": {"image/png": PNG, "text/plain": "<Figure>"},
                "metadata": {"image/png": {"alt": "a digit"}},
            },
            count=12,
        ),
        code(
            "cnnlib.break_it()",
            {
                "output_type": "error",
                "ename": "ValueError",
                "evalue": "expected 4 axes, received 3",
                "traceback": [
                    f"File \x1b[32m{root}/cnnlib/models.py:12\x1b[39m, in build",
                    f"File {root}/.venv/lib/python3.11/site-packages/numpy/core.py:3",
                    "File /somewhere/else/lib/python3.12/site-packages/numpy/core.py:3",
                ],
            },
            count=13,
            tags=["raises-exception"],
        ),
    ]
    notebook = {
        "cells": cells,
        "metadata": {
            "authors": [{"name": "me"}],
            "kernelspec": {"display_name": "my env", "language": "python", "name": "my-env"},
            "language_info": {"name": "python", "version": "3.11.7"},
            "widgets": {"application/vnd.jupyter.widget-state+json": {"version_major": 2}},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = tmp_path / "lesson.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def test_cleaning_removes_what_differs_from_run_to_run(dirty):
    assert run_script(dirty) == 0
    text = dirty.read_text(encoding="utf-8")
    for gone in ("2025-01-01", "5f2c", "widget", "trusted", "editable", "my-env", "3.11.7", "0/25"):
        assert gone not in text
    assert str(SCRIPT.parents[1]) not in text
    assert "/somewhere" not in text
    notebook = nbformat.read(dirty, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4]
    assert notebook.cells[3].outputs[0].execution_count == 3


def test_cleaning_keeps_sources_outputs_tags_and_folds(dirty):
    run_script(dirty)
    cells = nbformat.read(dirty, as_version=4).cells
    assert cells[0].source == "# A title\nand text"
    assert [output.text for output in cells[1].outputs] == ["one\ntwo\n", "careful\n"]
    assert cells[1].metadata == {"tags": ["nbval-ignore-output"]}
    assert cells[2].metadata == {"jupyter": {"source_hidden": True}}
    # nbval counts outputs, so the bar's place stays.
    assert cells[2].outputs[0].data == {"text/plain": ""}
    assert cells[3].outputs[0].data["image/png"] == PNG
    assert cells[3].outputs[0].metadata["image/png"]["alt"] == "a digit"
    assert cells[4].outputs[0].evalue == "expected 4 axes, received 3"
    assert "cnnlib/models.py:12" in cells[4].outputs[0].traceback[0]


def test_a_second_cleaning_changes_nothing(dirty, capsys):
    run_script(dirty)
    once = dirty.read_bytes()
    assert "cleaned" in capsys.readouterr().out
    run_script(dirty)
    assert capsys.readouterr().out == ""
    assert dirty.read_bytes() == once


def test_check_fails_on_a_dirty_notebook_and_leaves_it(dirty, capsys):
    before = dirty.read_bytes()
    assert run_script("--check", dirty) == 1
    assert "not clean" in capsys.readouterr().out
    assert dirty.read_bytes() == before
    run_script(dirty)
    assert run_script("--check", dirty.parent) == 0


def test_check_names_cells_that_were_never_run(dirty, capsys):
    notebook = json.loads(dirty.read_text(encoding="utf-8"))
    notebook["cells"].append(code("forgotten()"))
    notebook["cells"].append(code("skipped_on_purpose()", tags=["nbval-skip"]))
    dirty.write_text(json.dumps(notebook), encoding="utf-8")
    run_script(dirty)
    assert run_script("--check", dirty) == 1
    assert "cells [5] were never run" in capsys.readouterr().out


def test_a_notebook_without_cell_ids_gets_the_same_ones_each_time(dirty):
    notebook = json.loads(dirty.read_text(encoding="utf-8"))
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        del cell["id"]
    text = json.dumps(notebook)
    results = []
    for _ in range(2):
        dirty.write_text(text, encoding="utf-8")
        run_script(dirty)
        results.append(dirty.read_bytes())
    assert results[0] == results[1]


def test_an_old_format_and_a_missing_path_are_refused(dirty, tmp_path):
    dirty.write_text('{"nbformat": 3, "worksheets": []}', encoding="utf-8")
    with pytest.raises(ValueError, match="expected a notebook of nbformat 4, received 3"):
        run_script(dirty)
    with pytest.raises(FileNotFoundError, match="expected a notebook or a folder"):
        run_script(tmp_path / "missing")
