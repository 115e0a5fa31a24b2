"""scripts/badges.py: every badge and set-up cell says what pyproject.toml says, and only that.

The expected addresses are put together here once more, not taken from the script.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/"
BINDER = "https://mybinder.org/v2/gh/"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location("badges", ROOT / "scripts" / "badges.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["badges"] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        sys.modules.pop("badges", None)


@pytest.fixture
def project(script, tmp_path, capsys):
    """A copy of the files that hold the address, all of them in order, which a test may change."""
    for name in ("pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    for path in [*NOTEBOOKS, ROOT / "notebooks" / "README.md"]:
        shutil.copy(path, tmp_path / "notebooks")
    assert script.main([], tmp_path) == 0, capsys.readouterr().err
    capsys.readouterr()
    return tmp_path


def address(root):
    table = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    return table["project"]["urls"]["Source"], table.get("tool", {}).get("cnnlib", {}).get(
        "ref", "main"
    )


def cell(root, name, tag):
    notebook = json.loads((root / "notebooks" / name).read_text("utf-8"))
    (found,) = (c for c in notebook["cells"] if tag in c["metadata"].get("tags", []))
    return "".join(found["source"])


def assert_consistent(root, source, ref):
    """Assert that all copies of the address in a project are this one."""
    assert address(root) == (source, ref)
    repo = source.removeprefix("https://github.com/")
    page = (root / "notebooks" / "README.md").read_text("utf-8")
    assert re.findall(r"\((https://(?:colab|mybinder)[^)]*)\)", page) == [
        link
        for name in re.findall(r"(?m)^\| \[[^]]*\]\((\w+\.ipynb)\)", page)
        for link in (
            f"{COLAB}{repo}/blob/{ref}/notebooks/{name}",
            f"{BINDER}{repo}/{ref}?labpath=notebooks/{name}",
        )
    ]
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        file = f"notebooks/{path.name}"
        links = re.findall(r"\]\((\S+?)\)", cell(root, path.name, "badges"))
        assert links == [
            f"{COLAB}{repo}/blob/{ref}/{file}",
            f"{BINDER}{repo}/{ref}?labpath={file}",
        ]
        installed = re.findall(r"git\+([^\"`\s]+)", cell(root, path.name, "setup"))
        if "your_name_here" in source:
            assert installed == []
            assert "%pip" not in cell(root, path.name, "setup")
            assert "no public home yet" in cell(root, path.name, "setup")
            assert "no public home yet" in cell(root, path.name, "badges")
        else:
            assert set(installed) == {f"{source}@{ref}"}
            assert "no public home" not in cell(root, path.name, "setup")
            assert "no public home" not in cell(root, path.name, "badges")
    assert f'repository-code: "{source}"\n' in (root / "CITATION.cff").read_text("utf-8")


def test_every_copy_of_the_address_is_that_of_pyproject(script, capsys):
    assert_consistent(ROOT, *address(ROOT))
    assert script.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_the_owner_is_a_name_that_no_stranger_can_have_or_a_real_one():
    owner = address(ROOT)[0].split("/")[3]
    assert owner == "your_name_here" or "_" not in owner


def test_a_new_address_reaches_every_copy_and_comes_back_to_the_byte(script, project):
    old = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    source, ref = address(project)
    assert script.main(["--repo=some-school/my.cnn_lib", "--ref=autumn-2026.1"], project) == 0
    assert_consistent(project, "https://github.com/some-school/my.cnn_lib", "autumn-2026.1")
    assert script.main(["--check"], project) == 0
    assert (
        script.main([f"--repo={source.removeprefix('https://github.com/')}", "--ref", ref], project)
        == 0
    )
    assert_consistent(project, source, ref)
    for path in old:
        if path.name != "pyproject.toml":  # it may have gained the section [tool.cnnlib]
            assert path.read_bytes() == old[path], path.name


def test_a_tag_alone_keeps_the_repository_and_the_other_way_round(script, project):
    script.main(["--repo=some-school/cnnlib"], project)
    script.main(["--ref=v2"], project)
    assert_consistent(project, "https://github.com/some-school/cnnlib", "v2")
    script.main(["--repo=other-school/cnnlib"], project)
    assert_consistent(project, "https://github.com/other-school/cnnlib", "v2")


@pytest.mark.parametrize("broken", ["badges", "setup", "CITATION.cff"])
def test_check_finds_a_copy_that_was_changed_by_hand(script, project, broken, capsys):
    path = project / "CITATION.cff"
    if broken == "CITATION.cff":
        path.write_text(path.read_text("utf-8").replace("your_name_here", "my-name"), "utf-8")
    else:
        path = project / "notebooks" / NOTEBOOKS[0].name
        text = cell(project, path.name, broken).split("\n")[0]
        assert json.dumps(text, ensure_ascii=False)[1:-1] in path.read_text("utf-8")
        path.write_text(
            path.read_text("utf-8").replace(json.dumps(text, ensure_ascii=False)[1:-1], "x"),
            "utf-8",
        )
    before = path.read_bytes()
    assert script.main(["--check"], project) == 1
    assert path.name in capsys.readouterr().out
    assert path.read_bytes() == before
    assert script.main([], project) == 0
    assert script.main(["--check"], project) == 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--repo=cnnlib", "expected owner/name, received 'cnnlib'"),
        ("--repo=https://github.com/a/b", "expected a GitHub owner"),
        ("--repo=a_b/cnnlib", "expected a GitHub owner"),
        ("--repo=-a/cnnlib", "expected a GitHub owner"),
        ("--repo=a--b/cnnlib", "expected a GitHub owner"),
        ("--repo=" + "a" * 40 + "/cnnlib", "expected a GitHub owner"),
        ("--repo=a;id/cnnlib", "expected a GitHub owner"),
        ("--repo=a\n/cnnlib", "expected a GitHub owner"),
        ("--repo=a/b/c", "expected a repository's name"),
        ("--repo=a/b.git", "expected a repository's name"),
        ("--repo=a/..", "expected a repository's name"),
        ('--repo=a/b"; import os', "expected a repository's name"),
        ("--repo=a/b)](x", "expected a repository's name"),
        ("--repo=a/b\n", "expected a repository's name"),
        ("--ref=-v1", "expected a tag or branch"),
        ("--ref=feature/x", "no slash"),
        ("--ref=a..b", "expected a tag or branch"),
        ("--ref=$(id)", "expected a tag or branch"),
        ("--ref={address}", "expected a tag or branch"),
        ("--ref=v1)](x", "expected a tag or branch"),
        ("--ref=v1\n", "expected a tag or branch"),
        ("--ref=v1.lock", "expected a tag or branch"),
    ],
)
def test_what_is_no_address_is_refused_and_changes_nothing(
    script, project, argument, message, capsys
):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert script.main([argument], project) == 1
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("count", [0, 2])
def test_a_notebook_with_no_or_two_setup_cells_is_named_and_nothing_is_written(
    script, project, count, capsys
):
    path = project / "notebooks" / NOTEBOOKS[-1].name
    notebook = json.loads(path.read_text("utf-8"))
    (index,) = (
        k for k, c in enumerate(notebook["cells"]) if "setup" in c["metadata"].get("tags", [])
    )
    copies = [dict(notebook["cells"][index], id=f"copy-{k}") for k in range(count)]
    notebook["cells"][index : index + 1] = copies
    path.write_text(json.dumps(notebook), "utf-8")
    before = (project / "pyproject.toml").read_bytes()
    assert script.main(["--repo=some-school/cnnlib"], project) == 1
    assert f"{path.name}: expected one code cell tagged 'setup'" in capsys.readouterr().err
    assert (project / "pyproject.toml").read_bytes() == before


def test_both_forms_of_the_setup_cell_are_formatted_and_lint_free(script, project):
    for path in (project / "notebooks").glob("*.ipynb"):  # these two cells alone are judged here
        notebook = json.loads(path.read_text("utf-8"))
        kept = [
            c for c in notebook["cells"] if {"badges", "setup"} & set(c["metadata"].get("tags", []))
        ]
        path.write_text(json.dumps(dict(notebook, cells=kept)), "utf-8")
    for argument in ("--repo=your_name_here/cnnlib", "--repo=some-school/cnnlib"):
        script.main([argument], project)
        for command in (["check"], ["format", "--check"]):
            result = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "notebooks"],
                cwd=project,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stdout


def test_colab_keeps_its_own_versions_because_requirements_are_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for requirement in project["dependencies"]:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement
    for path in NOTEBOOKS:
        # An extra could ask for more than Colab has; nothing is upgraded by force.
        source = cell(ROOT, path.name, "setup")
        assert "cnnlib[" not in source
        assert not re.search(r"pip.*(-U\b|--upgrade|--force|--pre|--(extra-)?index-url)", source)


@pytest.mark.skipif(os.name == "nt", reason="make is not there")
def test_make_hands_over_repo_and_ref_without_running_what_is_in_them(tmp_path):
    dry = ["make", "--no-print-directory", "-n", "-f", str(ROOT / "Makefile"), "badges"]
    values = ["REPO=a/b;touch ran", "REF=`touch ran`"]
    printed = subprocess.run(
        [*dry, *values], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    last = [line for line in printed.splitlines() if "badges.py" in line][-1]
    assert last.endswith('scripts/badges.py --repo="$REPO" --ref="$REF"')
    # What the shell makes of that line, with echo in the place of Python.
    environment = dict(os.environ, REPO="a/b;touch ran", REF="`touch ran`")
    line = last.replace(".venv/bin/python", "printf '%s|'")
    said = subprocess.run(
        ["sh", "-c", line],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said == "scripts/badges.py|--repo=a/b;touch ran|--ref=`touch ran`|"
    assert not (tmp_path / "ran").exists()
