"""What the README and the pages under docs/ promise: code that runs, links that lead somewhere."""

import doctest
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import cnnlib

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))


def test_the_first_program_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    program = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["model"].history.history["val_accuracy"][-1] > 0.9
    twin = cnnlib.load_model(tmp_path / "digits.keras")
    assert twin.evaluate(names["x_test"], names["y_test"])[1] > 0.9
    assert "epoch 5/5" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["shapes.md"])
def test_examples_of_a_page_run(page):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    text = (ROOT / "docs" / page).read_text("utf-8").replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    assert len(test.examples) > 5
    failures, _ = doctest.DocTestRunner(optionflags=flags).run(test)
    assert failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_to_files_of_the_repository(page):
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            path = (page.parent / target).resolve()
            assert path.exists(), target
            name = path.relative_to(ROOT).as_posix()
            assert any(file == name or file.startswith(name + "/") for file in tracked), target


def test_every_make_target_that_a_page_names_exists():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8")):
            assert target in targets, f"{page.name}: make {target}"


def test_the_glossary_has_every_word_that_a_lesson_introduces_with_its_lesson():
    tables = tomllib.loads((ROOT / "notebooks" / "terms.toml").read_text("utf-8"))
    introduced = {
        (term.casefold(), lesson)
        for lesson, terms in tables.items()
        for term in terms
        if term != "symbols"
    }
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    entries = re.findall(r"(?m)^- \*\*(.+?)\*\*: .+\(\.\./notebooks/(\w+)\.ipynb\)$", text)
    assert {(term.casefold(), lesson) for term, lesson in entries} == introduced
    assert [term.casefold() for term, _ in entries] == sorted(t.casefold() for t, _ in entries)
