"""What the README and the pages under docs/ promise: code that runs, links that lead somewhere."""

import contextlib
import doctest
import io
import re
import subprocess
import tomllib
import types
from pathlib import Path

import pytest

import cnnlib
from cnnlib.lessons import exercises, messages

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "notebooks" / "README.md"]


def test_the_first_program_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    program = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["model"].history.history["val_accuracy"][-1] > 0.9
    twin = cnnlib.load_model(tmp_path / "digits.keras")
    assert twin.evaluate(names["x_test"], names["y_test"])[1] > 0.9
    assert "epoch 5/5" in capsys.readouterr().out


def run_examples(page, count, **names):
    """Run the lines of a page that begin with >>>."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    text = (ROOT / "docs" / page).read_text("utf-8").replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, names, page, page, 0)
    assert len(test.examples) >= count
    failures, _ = doctest.DocTestRunner(optionflags=flags).run(test)
    assert failures == 0


def test_the_shapes_on_the_page_are_those_of_the_library():
    run_examples("shapes.md", 10)


def test_the_check_of_a_teachers_own_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exercises, "_registered", [])
    page = (ROOT / "docs" / "teaching.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    my_checks = types.ModuleType("my_checks")
    exec(next(block for block in blocks if "LESSON =" in block), my_checks.__dict__)
    run_examples("teaching.md", 4, my_checks=my_checks)
    (tmp_path / "handed-in").mkdir()
    (tmp_path / "results.csv").rename(tmp_path / "handed-in" / "one.csv")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(next(block for block in blocks if "Counter" in block), {})
    assert printed.getvalue() == "   1  standardize: no_spread\n"
    exercises.modules.cache_clear()
    messages.forget_english()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
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
