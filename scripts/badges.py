"""Write the badges and the set-up cell of every notebook from the address in pyproject.toml.

    python scripts/badges.py                                   write what the address says
    python scripts/badges.py --repo=owner/name --ref=v1.0      change the address, then write
    python scripts/badges.py --check                           only say what differs (exit 1)

In a notebook the cell tagged `badges` (markdown) and the one tagged `setup` (code) belong to this
script, and so do the badges of the course page, notebooks/README.md. The address is
`[project.urls] Source`, the tag or branch `[tool.cnnlib] ref`.

While the owner is the placeholder nothing is ever installed from it: no GitHub user can have an
underscore in this place, so no stranger can take the name, and still nobody should ask for it.
"""

import argparse
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from clean_notebooks import notebooks_in, read, to_text

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "your_name_here"
DEFAULT_REF = "main"
HOST = "https://github.com/"
# GitHub's own rules: letters, digits, single hyphens inside.
OWNER = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}")
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

BADGES = (
    "**[Open in Colab](https://colab.research.google.com/github/{repo}/blob/{ref}/{file})** · "
    "**[Open in Binder](https://mybinder.org/v2/gh/{repo}/{ref}?labpath={file})**"
)
NO_HOME = (
    "This library has no public home yet: these links work after `make badges REPO=owner/name`."
)

SETUP = """\
# @title Set-up
# In Colab this installs the library; elsewhere it only looks whether it is there.
import importlib.util

library = importlib.util.find_spec("cnnlib")
if library is None or library.origin is None:  # a mere folder of that name has no origin
    if importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"):
        %pip install --quiet "cnnlib[colab] @ git+{address}@{ref}"
    else:
        raise ModuleNotFoundError(
            "cnnlib is not installed: run `pip install .` in a folder that holds it, or "
            '`pip install "cnnlib[lessons] @ git+{address}@{ref}"`.'
        )"""
SETUP_WITHOUT_HOME = """\
# @title Set-up
# This library has no public home yet, so nothing is installed: this only looks whether it is there.
import importlib.util

library = importlib.util.find_spec("cnnlib")
if library is None or library.origin is None:  # a mere folder of that name has no origin
    raise ModuleNotFoundError(
        "cnnlib has no public home yet, so nothing was installed: run `pip install .` in a folder "
        "that holds it."
    )"""


@dataclass(frozen=True)
class Address:
    """Where the repository lives: owner, name, and the tag or branch that learners get."""

    owner: str
    name: str
    ref: str

    def __post_init__(self) -> None:
        """Refuse what is no such name: it is written into links, code and a pip command."""
        if self.owner != PLACEHOLDER and not OWNER.fullmatch(self.owner):
            raise ValueError(
                "REPO: expected a GitHub owner (letters, digits, single hyphens inside, at most "
                f"39), received {self.owner!r}. Write REPO=owner/name"
            )
        if not NAME.fullmatch(self.name) or self.name in (".", "..") or self.name.endswith(".git"):
            raise ValueError(
                "REPO: expected a repository's name (letters, digits, '.', '_', '-', without "
                f".git), received {self.name!r}. Write REPO=owner/name"
            )
        bad_ending = self.ref.endswith((".", ".lock"))
        if not REF.fullmatch(self.ref) or ".." in self.ref or bad_ending:
            raise ValueError(
                "REF: expected a tag or branch (letters, digits, '.', '_', '-'; no slash, which "
                f"Colab's links cannot tell from a folder), received {self.ref!r}. "
                "Write for example REF=v1.0"
            )

    @property
    def is_placeholder(self) -> bool:
        """Whether no public home is known yet."""
        return self.owner == PLACEHOLDER

    @property
    def url(self) -> str:
        """The address that a browser and git take."""
        return f"{HOST}{self.owner}/{self.name}"


def read_address(pyproject: str) -> Address:
    """Return the address that the text of a pyproject.toml holds."""
    table = tomllib.loads(pyproject)
    source = table["project"]["urls"]["Source"]
    owner, slash, name = source.removeprefix(HOST).partition("/")
    if not source.startswith(HOST) or not slash:
        raise ValueError(
            f"pyproject.toml: expected Source = {HOST + 'owner/name'!r}, received {source!r}"
        )
    return Address(owner, name, table.get("tool", {}).get("cnnlib", {}).get("ref", DEFAULT_REF))


def with_address(pyproject: str, address: Address) -> str:
    """Return the text of a pyproject.toml with another address, all else as it was."""
    text = re.sub(r'(?m)^Source = ".*"$', f'Source = "{address.url}"', pyproject)
    line = f'ref = "{address.ref}"'
    if re.search(r"(?m)^\[tool\.cnnlib\]$", text):
        text = re.sub(r'(?m)(?<=^\[tool\.cnnlib\]\n)ref = ".*"$', line, text)
    elif address.ref != DEFAULT_REF:
        text = text.rstrip("\n") + f"\n\n[tool.cnnlib]\n{line}\n"
    if read_address(text) != address:
        raise ValueError(
            'pyproject.toml: expected the lines `Source = "..."` and, directly below '
            '[tool.cnnlib], `ref = "..."`. Write them so, then try again'
        )
    return text


def badges(address: Address, file: str) -> str:
    """Return the source of the badge cell of the notebook at `file`, seen from the root."""
    repo = f"{address.owner}/{address.name}"
    links = BADGES.format(repo=repo, ref=address.ref, file=file)
    return f"{links}\n\n{NO_HOME}" if address.is_placeholder else links


def setup(address: Address) -> str:
    """Return the source of the set-up cell."""
    if address.is_placeholder:
        return SETUP_WITHOUT_HOME
    return SETUP.format(address=address.url, ref=address.ref)


def with_cells(text: str, address: Address, file: str) -> str:
    """Return a notebook's text with both cells filled."""
    notebook = read(text)
    sources = {"badges": ("markdown", badges(address, file)), "setup": ("code", setup(address))}
    for tag, (kind, source) in sources.items():
        found = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
        if [cell.cell_type for cell in found] != [kind]:
            raise ValueError(
                f"{file}: expected one {kind} cell tagged {tag!r}, received "
                f"{[cell.cell_type for cell in found]}"
            )
        if found[0].source != source:
            found[0].source = source
            if kind == "code":
                found[0].outputs = []
        if kind == "code":  # folded, in JupyterLab and in Colab: it is nothing to learn from
            found[0].metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
    return to_text(notebook)


def with_citation(text: str, address: Address) -> str:
    """Return the text of a CITATION.cff with another address."""
    line = f"repository-code: {json.dumps(address.url)}"
    return re.sub(r"(?m)^repository-code: .*$", line, text)


def with_course_page(text: str, address: Address) -> str:
    """Return the text of notebooks/README.md with another address in its badges."""
    repo = f"{address.owner}/{address.name}"
    colab = rf"\g<1>{repo}/blob/{address.ref}/notebooks/"
    text = re.sub(r"(colab\.research\.google\.com/github/)[^)\s]*?/notebooks/", colab, text)
    binder = rf"\g<1>{repo}/{address.ref}?labpath="
    return re.sub(r"(mybinder\.org/v2/gh/)[^)\s]*?\?labpath=", binder, text)


def wanted(root: Path, repo: str | None = None, ref: str | None = None) -> dict[Path, str]:
    """Return what every file that holds the address should hold.

    Parameters
    ----------
    root : Path
        The project's folder.
    repo, ref : str or None
        A new address ``owner/name`` and a new tag or branch; None keeps what pyproject.toml says.

    Returns
    -------
    texts : dict from Path to str
        Complete, so that a mistake in one notebook leaves all files as they were.
    """
    pyproject = root / "pyproject.toml"
    before = pyproject.read_text("utf-8")
    now = read_address(before)
    owner, slash, name = (repo or f"{now.owner}/{now.name}").partition("/")
    if not slash:
        raise ValueError(f"REPO: expected owner/name, received {repo!r}")
    address = Address(owner, name, ref or now.ref)
    texts = {pyproject: with_address(before, address)}
    citation = root / "CITATION.cff"
    texts[citation] = with_citation(citation.read_text("utf-8"), address)
    page = root / "notebooks" / "README.md"
    texts[page] = with_course_page(page.read_text("utf-8"), address)
    for path in notebooks_in([root / "notebooks"]):
        file = path.relative_to(root).as_posix()
        texts[path] = with_cells(path.read_text("utf-8"), address, file)
    return texts


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check all files that hold the address; return the exit status."""
    parser = argparse.ArgumentParser(description="Write badges and set-up cells.")
    parser.add_argument("--repo", help="the repository, as owner/name")
    parser.add_argument("--ref", help="a tag or branch")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if different")
    options = parser.parse_args(arguments)
    try:
        texts = wanted(root, options.repo, options.ref)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    changed = [path for path, text in texts.items() if path.read_text("utf-8") != text]
    for path in changed:
        name = path.relative_to(root).as_posix()
        if options.check:
            print(f"{name}: not what the address in pyproject.toml says; run `make badges`")
        else:
            path.write_text(texts[path], encoding="utf-8", newline="\n")
            print(f"{name}: written")
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
