"""A lesson cut down to its views: the cells tagged `setup` and `widget`, and what those need.

A whole lesson trains networks, which `make check-notebooks` runs anyway. Which cells a view needs
is read off the names: the cells that define, fill or train something that a kept cell uses.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

# Printed by a cell that is added at the end: then everything has run.
FINISHED = "all cells have run"


def views_of(path: Path) -> int:
    """How many sliders-and-picture views or pads a lesson has."""
    return sum(len(re.findall(r"\b(?:explore|DigitPad)\(", text)) for text, _ in widgets(path))


def widgets(path: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of the cells tagged `widget`."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    found = [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]
    return [(text, tags) for text, tags in found if "widget" in tags]


def cut(path: Path, target: Path) -> None:
    """Write a copy of the notebook at `path` with its views alone."""
    notebook = json.loads(path.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kept: list[dict[str, Any]] = []
    needed: set[str] = set()
    for cell in reversed(code):
        tags = cell["metadata"].get("tags", [])
        tree = ast.parse(re.sub(r"(?m)^([%!].*)$", "", "".join(cell["source"])))
        always = bool({"setup", "widget"} & set(tags))
        if not always and ("exercise" in tags or not makes(tree) & needed):
            continue
        needed |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        kept.insert(0, cell | {"outputs": [], "execution_count": None})
    end = {"cell_type": "code", "id": "finished", "metadata": {}, "outputs": []}
    kept.append(end | {"execution_count": None, "source": f'print("{FINISHED}")'})
    target.write_text(json.dumps(notebook | {"cells": kept}), "utf-8")


def makes(tree: ast.Module) -> set[str]:
    """The names that a cell defines, or changes by a statement such as `model.fit(...)`."""
    found: set[str] = set()
    for statement in tree.body:
        for node in ast.walk(statement):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case ast.alias(name=name, asname=other):
                    found.add(other or name.split(".")[0])
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store()):
                    found.add(name)
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="fit" | "compile")):
                    found.add(name)
    return found
