"""What every lesson keeps to. Each check is a function from a lesson to a list of complaints.

`test_lessons_keep_to` asks all of them about all lessons; the tests below it break a good lesson in
one way each and see the check complain. What a lesson does not do yet stands in KNOWN_GAPS, with
the reason; a gap that is closed has to be taken out, so the table only shrinks.
"""

import ast
import functools
import html
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9A]*_*.ipynb"))
TERMS = tomllib.loads((FOLDER / "terms.toml").read_text("utf-8"))

# Ten sections in this order: a tag, a heading or some code marks where each begins.
SECTIONS = {
    "1 opening": ("heading", r"# (\d\d|A) · "),
    "2 set-up": ("tag", "setup"),
    "3 question": ("heading", r"##.*\b(question|predict|guess)\b"),
    "3 prediction": ("code", r"\blessons\.predict\("),
    "3 view": ("code", r"\b(explore|DigitPad)\("),
    "4 by hand": ("code", r"^\s*assert\b"),
    "5 exercise": ("code", r"\blessons\.check\("),
    "5 source": ("code", r"\bgetsource\("),
    "6 the way back": ("heading", r"##.*\b(way back|backward|gradient)"),
    "6 finite differences": ("text", r"finite difference"),
    "7 break it": ("heading", r"##.*\bbreak it\b"),
    "8 real run": ("heading", r"##.*\brun\b"),
    "9 Keras": ("heading", r"##.*\bKeras\b"),
    "10 dig deeper": ("heading", r"## Dig deeper"),
    "10 quiz": ("code", r"\blessons\.quiz\("),
    "10 summary": ("heading", r"## Summary"),
    "10 reading": ("text", r"Further reading"),
    "10 next": ("text", r"\*\*Next"),
}
# These two teach no module of the library, so they have no operation to write.
FREE_FORM = {"00_start_here", "A_numpy"}
FREE_FORM_SECTIONS = ("1 opening", "2 set-up", "10 summary", "10 next")
MINUTES = {"03": 50, "05": 50}  # the others: 45
MOST_WORDS, MOST_BYTES = 2000, 1_500_000
VIEWS, EXERCISES, QUESTIONS = 2, 2, 4
MOST_IGNORED = 3  # cells of a lesson that nbval may leave uncompared

# lesson -> check -> reason. `make test` fails when a gap is closed and still stands here.
KNOWN_GAPS: dict[str, dict[str, str]] = {}


def script(name):
    """Return a module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEANING = script("clean_notebooks")


class Lesson:
    """A notebook and the few things that checks ask of it."""

    def __init__(self, name, text):
        self.name, self.text = name, text
        self.cells = json.loads(text)["cells"]
        for cell in self.cells:
            cell["source"] = "".join(cell["source"])

    @classmethod
    def of(cls, path):
        return cls(path.stem, path.read_text("utf-8"))

    @functools.cached_property
    def core(self):
        """The cells outside 'Dig deeper'."""
        found, outside = [], True
        for cell in self.cells:
            if headings := re.findall(r"(?m)^## .*", prose(cell)):
                outside = headings[-1] != "## Dig deeper"
            if outside:
                found.append(cell)
        return found


def tags(cell):
    return cell["metadata"].get("tags", [])


def code(cell):
    return cell["source"] if cell["cell_type"] == "code" else ""


def prose(cell):
    """The markdown of a cell without blocks of code."""
    if cell["cell_type"] != "markdown":
        return ""
    return re.sub(r"(?ms)^```.*?^```", "", cell["source"])


def outputs(cell):
    for output in cell.get("outputs", []):
        data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
        yield output, data


# --- Checks ---------------------------------------------------------------------------------


def sections(lesson):
    wanted = FREE_FORM_SECTIONS if lesson.name in FREE_FORM else SECTIONS
    place = 0
    for section in wanted:
        kind, pattern = SECTIONS[section]
        for index in range(place, len(lesson.cells)):
            if begins(lesson.cells[index], kind, pattern):
                place = index
                break
        else:
            yield f"section {section!r} ({kind}: {pattern}) is missing from cell {place} on"


def begins(cell, kind, pattern):
    if kind == "tag":
        return pattern in tags(cell)
    if kind == "heading":
        return bool(re.search(rf"(?im)^#*{pattern}", prose(cell)))
    text = code(cell) if kind == "code" else cell["source"]
    return bool(re.search(rf"(?im){pattern}", text))


def opening(lesson):
    first = "\n".join(prose(cell) for cell in lesson.cells[:3])
    minutes = re.search(r"(\d+) minutes", first)
    if not minutes or int(minutes[1]) > MINUTES.get(lesson.name[:2], 45):
        yield f"say how many minutes it takes, at most {MINUTES.get(lesson.name[:2], 45)}"
    for words in ("**You will**", "**You need**"):
        if words not in first:
            yield f"{words} is missing from the opening"
    for tag in ("badges", "setup"):
        if [tag in tags(cell) for cell in lesson.cells].count(True) != 1:
            yield f"expected one cell tagged {tag!r}"


def length(lesson):
    words = 0
    for cell in lesson.core:
        text = re.sub(r"(?s)<details.*?</details>", "", prose(cell))
        text = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)
        words += len(re.findall(r"[^\W\d_][\w'-]*", text))
    if words > MOST_WORDS:
        yield f"{words} words outside 'Dig deeper', at most {MOST_WORDS}"


def size(lesson):
    if len(lesson.text.encode()) >= MOST_BYTES:
        yield f"{len(lesson.text.encode()):,} bytes, fewer than {MOST_BYTES:,} are allowed"


def views(lesson):
    """Two interactive views; each has its still picture in the next code cell with an output."""
    asks = r"\blessons\.(predict|quiz)\("
    found = [cell for cell in lesson.core if "widget" in tags(cell)]
    found = [cell for cell in found if not re.search(asks, code(cell))]
    if len(found) > VIEWS:
        yield f"{len(found)} cells tagged 'widget' that are views, at most {VIEWS}"
    for cell in lesson.cells:
        if re.search(r"\b(explore|DigitPad)\(", code(cell)):
            if "widget" not in tags(cell):
                yield f"cell {cell['id']}: an interactive view has the tag 'widget'"
            after = [c for c in lesson.cells[lesson.cells.index(cell) + 1 :] if code(c)][:1]
            if not any("image/png" in data for c in after for _, data in outputs(c)):
                yield f"cell {cell['id']}: its still picture is missing from the next code cell"


def exercises(lesson):
    found = [cell for cell in lesson.core if "exercise" in tags(cell)]
    if lesson.name not in FREE_FORM and not 1 <= len(found) <= EXERCISES:
        yield f"{len(found)} exercises outside 'Dig deeper', expected 1 to {EXERCISES}"
    for kind in ("exercise", "solution"):
        for cell in lesson.cells:
            if kind in tags(cell) and cell["cell_type"] != "code":
                yield f"cell {cell['id']}: the tag {kind!r} belongs to code"
    count = {kind: sum(kind in tags(cell) for cell in lesson.cells) for kind in KINDS}
    if count["exercise"] != count["solution"]:
        yield f"each exercise needs its solution: {count}"
    for cell in lesson.cells:
        if "solution" in tags(cell) and not cell["metadata"].get("jupyter", {}).get(
            "source_hidden"
        ):
            yield f"cell {cell['id']}: a solution is folded (jupyter.source_hidden)"


KINDS = ("exercise", "solution")


def answers(lesson):
    """A stub is met with 'Not yet', a solution with 'Right'; nbval runs both and compares."""
    for kind, begin in zip(KINDS, ("Not yet", "Right"), strict=True):
        for cell in lesson.cells:
            if kind in tags(cell) and "lessons.check(" in code(cell):
                said = "".join("".join(o.get("text", "")) for o, _ in outputs(cell))
                if not said.startswith(begin):
                    yield f"cell {cell['id']}: a {kind} is answered by {said[:80]!r}"
            elif kind == "solution" and kind in tags(cell) and lesson.name not in FREE_FORM:
                yield f"cell {cell['id']}: a solution that no check tries"


def quiz(lesson):
    cells = [cell for cell in lesson.core if re.search(r"\blessons\.quiz\(", code(cell))]
    printed = [data.get("text/plain", "") for cell in cells for _, data in outputs(cell)]
    count = sum(len(re.findall(r"(?m)^\d+\. ", text)) for text in printed)
    if lesson.name in FREE_FORM:
        if count > QUESTIONS:
            yield f"{count} quiz questions, at most {QUESTIONS}"
    elif count != QUESTIONS:
        yield f"{count} quiz questions in the stored output, expected {QUESTIONS}"


def pictures(lesson):
    """Alt text on every picture: in the PNG's metadata, as its plain text, and on the page."""
    for cell in lesson.cells:
        page = "".join(data.get("text/html", "") for _, data in outputs(cell))
        for output, data in outputs(cell):
            for kind in (kind for kind in data if kind.startswith("image/")):
                alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
                if len(alt.split()) < 3:
                    yield f"cell {cell['id']}: {kind} without a description; use plots.show"
                elif html.escape(alt) not in page:
                    yield f"cell {cell['id']}: a screen reader does not meet {kind}'s description"
                elif data.get("text/plain") != alt:
                    yield f"cell {cell['id']}: {kind} without its description as plain text"
            for image in re.findall(r"<img\b[^>]*>", data.get("text/html", "")):
                if not re.search(r"""\balt=(["'])\s*\S.*?\1""", image):
                    yield f"cell {cell['id']}: <img> without alt in an output"
        for alt in re.findall(r"!\[([^\]]*)\]\(", prose(cell)):
            if not alt.strip():
                yield f"cell {cell['id']}: ![]() without alt text"
        for image in re.findall(r"<img\b[^>]*>", prose(cell)):
            if not re.search(r"""\balt=(["'])\s*\S.*?\1""", image):
                yield f"cell {cell['id']}: <img> without alt in the text"


def accuracies(lesson):
    """A share of right answers may stand in the text only where a cell asserts the same number."""
    asserted = set()
    for cell in lesson.cells:
        if code(cell):
            asserted |= asserted_numbers(code(cell))
    about = re.compile(r"\b(accura|right|correct|wrong|mistake)", re.I)
    share = re.compile(r"(\d+(?:\.\d+)?) ?(?:%|percent\b|(?:of|in|out of) (?:100|a hundred)\b)")
    for cell in lesson.cells:
        alts = [o.get("metadata", {}).get("image/png", {}).get("alt", "") for o, _ in outputs(cell)]
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\s*\n", "\n\n".join([prose(cell), *alts])):
            if not about.search(sentence):
                continue
            for number in share.findall(sentence):
                if not {float(number), round(float(number) / 100, 6)} & asserted:
                    yield f"cell {cell['id']}: no cell asserts the {number} % of {sentence!r}"


def asserted_numbers(source):
    source = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)  # IPython's own lines
    try:
        tree = ast.parse(source)
    except SyntaxError:  # broken on purpose
        return set()
    return {
        float(node.value)
        for statement in ast.walk(tree)
        if isinstance(statement, ast.Assert)
        for node in ast.walk(statement.test)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    }


def links(lesson):
    for cell in lesson.cells:
        text = re.sub(r"`[^`\n]*`", "", prose(cell))
        found = re.findall(r"\]\(<?([^)\s>]*)", text)
        found += re.findall(r"""\b(?:href|src)=["']([^"']*)""", text)
        found += re.findall(r"<(https?://[^>]*)>", text)
        for target in found:
            if complaint := bad_link(lesson, target):
                yield f"cell {cell['id']}: {target!r}: {complaint}"


def bad_link(lesson, target):
    parts = urlsplit(target)
    if parts.scheme in ("http", "https"):
        return "" if re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc) else "no address"
    if parts.scheme:
        return "" if parts.scheme in ("mailto", "attachment") else "neither a file nor http"
    there = lesson
    if parts.path:
        path = FOLDER / unquote(parts.path)
        if not path.exists():
            return "no such file"
        if not path.resolve().is_relative_to(ROOT):
            return "outside the project"
        there = Lesson.of(path) if path.suffix == ".ipynb" else None
    elif not parts.fragment:
        return "an empty link"
    if parts.fragment and there and unquote(parts.fragment) not in anchors(there):
        return f"no such heading in {there.name}; there are {sorted(anchors(there))}"
    return ""


def anchors(lesson):
    """What Jupyter and GitHub's view of notebooks make of headings: spaces become hyphens."""
    found = set()
    for cell in lesson.cells:
        for heading in re.findall(r"(?m)^#+ +(.*?)\s*$", prose(cell)):
            found.add(re.sub(r"[`*]", "", heading).replace(" ", "-"))
        found.update(re.findall(r"""<a (?:id|name)=["']([^"']+)""", prose(cell)))
    return found


def results(lesson):
    """No error but those that are shown on purpose; nothing that differs from run to run."""
    for cell in lesson.cells:
        for output, data in outputs(cell):
            if output["output_type"] == "error" and "raises-exception" not in tags(cell):
                yield f"cell {cell['id']}: {output['ename']} without the tag 'raises-exception'"
            if output.get("name") == "stderr" and "nbval-ignore-output" not in tags(cell):
                yield f"cell {cell['id']}: a warning: {''.join(output['text'])[:200]}"
            text = "".join(output.get("text", "")) + data.get("text/plain", "")
            if re.search(r"\bat 0x[0-9a-f]{6,}", text):
                yield f"cell {cell['id']}: an address in memory, new in each run: {text[:80]}"


def ignored(lesson):
    found = CLEANING.ignored_cells(CLEANING.read(lesson.text))
    for index, tag, reason in found:
        if len(reason.split()) < 3:
            yield f'cell {index}: {tag} without a "reason" of three words in its metadata'
    if len(found) > MOST_IGNORED:
        yield f"nbval compares nothing in {len(found)} cells, at most {MOST_IGNORED} are allowed"


def clean(lesson):
    notebook = CLEANING.clean(CLEANING.read(lesson.text))
    if CLEANING.to_text(notebook) != lesson.text:
        yield "not as clean_notebooks.py leaves it: run `make notebooks`"
    if unrun := CLEANING.unrun_cells(notebook):
        yield f"cells {unrun} were never run: run `make notebooks`"


def terms(lesson, earlier=()):
    """Each term of notebooks/terms.toml stands *emphasized* where, or before, it is first used."""
    if lesson.name not in TERMS:
        yield "notebooks/terms.toml has no table for this lesson"
        return
    for term, pattern in TERMS[lesson.name].items():
        if term == "symbols":
            continue
        introduced = introduction(lesson, term)
        if introduced is None:
            yield f"{term!r} is in terms.toml, but the text nowhere says **{term}**"
            continue
        for before in earlier:
            if (found := first_use(before, pattern)) is not None:
                yield f"{term!r} is used before, in {before.name}, cell {found[0]}"
        used = first_use(lesson, pattern)
        if used is not None and used < introduced:
            yield f"{term!r} is used in cell {used[0]}, introduced in cell {introduced[0]}"


def symbols(lesson, earlier=()):
    """Each symbol (x, dW, b2) in the text is introduced in the cell of its first use or before it.

    In terms.toml, the table [LESSON.symbols] holds for each the words that say what it is; what an
    earlier lesson introduced may be used without.
    """
    own = TERMS.get(lesson.name, {}).get("symbols", {})
    used = symbol_uses(lesson)
    for symbol, words in own.items():
        place = first_place(lesson, words)
        if place is None:
            yield f"the text nowhere introduces `{symbol}` by {words!r}, as terms.toml says"
        elif symbol not in used:
            yield f"`{symbol}` is in terms.toml, but the text never uses it"
        elif used[symbol] < place:
            yield f"`{symbol}` is used in cell {used[symbol]}, introduced in cell {place}"
    known = set(own).union(*(TERMS.get(before.name, {}).get("symbols", {}) for before in earlier))
    for symbol in sorted(used.keys() - known):
        yield f"`{symbol}` (cell {used[symbol]}) is in no list of symbols of terms.toml"


# One letter, perhaps with d in front and a digit behind: x, W, b2, dx, dW1.
SYMBOL = re.compile(r"(?<![\w.\\'\"])d?[A-Za-z]\d?(?![\w'\"=])")


def symbol_uses(lesson):
    """The cell where each symbol first stands as inline code or in a formula of the text."""
    found = {}
    for index, kind, text in taught(lesson, tables=True):
        if kind == "markdown":
            for span in re.finditer(r"`[^`\n]+`|\$[^$]+\$", text):
                for match in SYMBOL.finditer(span[0]):
                    found.setdefault(match[0], index)
    return found


def first_place(lesson, words):
    """The cell where words (any space between them may be a new line) first stand in the text."""
    pattern = r"\s+".join(re.escape(word) for word in words.split())
    for index, kind, text in taught(lesson, tables=True):
        if kind == "markdown" and re.search(pattern, text):
            return index
    return None


def taught(lesson, tables=False):
    """What is read from top to bottom, from the set-up cell on.

    Headings, tables (such as the map of the lessons) and what comes next announce; they do not use.
    Tables explain symbols, though.
    """
    announced = r"(?m)^#+ .*$|\]\([^)]*\)|^\*\*Next(?s:.*)" + ("" if tables else r"|^\|.*$")
    start = next((k for k, c in enumerate(lesson.cells) if "setup" in tags(c)), -1)
    for index, cell in enumerate(lesson.cells[start + 1 :], start + 1):
        if cell["cell_type"] == "markdown":
            text = re.sub(announced, lambda match: " " * len(match[0]), prose(cell))
        else:
            text = "\n".join(re.findall(r"(?m)(?:^|\s)# (.*)$", code(cell)))
        yield index, cell["cell_type"], text


def introduction(lesson, term):
    words = r"\s+".join(re.escape(word) for word in term.split())
    emphasized = re.compile(rf"(?<!\*)(\*\*?)(?=\S)[^*]*{words}[^*]*(?<=\S)\1(?!\*)", re.I)
    for index, kind, text in taught(lesson):
        if kind == "markdown" and (match := emphasized.search(text)):
            return index, match.start()
    return None


def first_use(lesson, pattern):
    for index, _, text in taught(lesson):
        if match := re.search(rf"(?i){pattern}", text):
            return index, match.start()
    return None


CHECKS = [
    *(sections, opening, length, size, views, exercises, answers, quiz, pictures),
    *(accuracies, links, results, ignored, clean, terms, symbols),
]


# --- All lessons ----------------------------------------------------------------------------


def earlier_than(path):
    """The lessons whose words a lesson may rely on; A_numpy is beside the path, not on it."""
    numbered = [p for p in LESSONS if p.stem != "A_numpy"]
    if path.stem == "A_numpy":
        return []
    return [Lesson.of(p) for p in numbered if p.stem < path.stem]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lessons_keep_to(path, check):
    lesson = Lesson.of(path)
    more = (earlier_than(path),) if check in (terms, symbols) else ()
    complaints = list(check(lesson, *more))
    if reason := KNOWN_GAPS.get(lesson.name, {}).get(check.__name__):
        assert complaints, f"closed: take {check.__name__!r} ({reason}) out of KNOWN_GAPS"
    else:
        assert not complaints, "\n".join(complaints)


def test_there_are_lessons_and_gaps_and_terms_name_them():
    names = {path.stem for path in LESSONS}
    assert "08_mnist_cnn" in names
    assert set(KNOWN_GAPS) <= names
    assert set(TERMS) <= names
    checks = {check.__name__ for check in CHECKS}
    assert all(set(gaps) <= checks for gaps in KNOWN_GAPS.values())


def test_what_nbval_does_not_compare_is_listed_with_reasons(capsys):
    """`make check-notebooks` prints this list."""
    status = CLEANING.main(["--ignored", str(FOLDER)])
    *listed, total = capsys.readouterr().out.splitlines()
    assert total == f"{len(listed)} cells are not compared by nbval"
    assert status == 0, listed


# --- The checks see what they are for -------------------------------------------------------


def cell_of(kind, name, source, *made, **metadata):
    cell = {"cell_type": kind, "id": name, "metadata": metadata, "source": source}
    return cell | ({"outputs": list(made), "execution_count": 1} if kind == "code" else {})


def shown(data, **metadata):
    return {"output_type": "display_data", "data": data, "metadata": metadata}


ALT = "The loss falls from epoch to epoch."
PICTURE = (
    shown({"image/png": "iVBORw0KGgo=", "text/plain": ALT}, **{"image/png": {"alt": ALT}}),
    shown({"text/html": f"<span>{ALT}</span>"}),
)
QUIZ = shown({"text/plain": "Quiz\n1. One?\n2. Two?\n3. Three?\n4. Four?"})
FOLD = {"jupyter": {"source_hidden": True}}
NOT_YET = {"output_type": "stream", "name": "stdout", "text": "Not yet: f returns nothing."}
SOLVED = {"output_type": "stream", "name": "stdout", "text": "Right: f agrees in all 3 cases."}


def good():
    """A short lesson about which no check complains; a test changes one thing in it."""
    text, run = functools.partial(cell_of, "markdown"), functools.partial(cell_of, "code")
    start = "# 05 · Layers\n\n**30 minutes.**\n\n**You will** learn.\n\n**You need** nothing."
    cells = [
        text("opening", start),
        text("badges", "[Colab](https://example.org/x)", tags=["badges"]),
        run("setup", "import cnnlib", tags=["setup"]),
        text("question", "## A question"),
        run("predict", 'lessons.predict("x")', tags=["widget"]),
        run("view", "explore(draw)", tags=["widget"]),
        run("still", "plots.show(draw())", *PICTURE),
        text(
            "idea",
            "## The idea\n\nA **residual** is a difference, see [above](#A-question). `q` is a\n"
            "number, and so is `2 * q`.",
        ),
        run("hand", "accuracy = 0.97\nassert accuracy > 0.96"),
        run("exercise", 'lessons.check("f", f)', NOT_YET, tags=["exercise"]),
        run("solution", 'lessons.check("f", g)', SOLVED, tags=["solution"], **FOLD),
        run("source", "inspect.getsource(f)"),
        text("back", "## The way back\n\nBy finite differences: each residual. 96 % are right."),
        text("break", "## Break it on purpose"),
        text("run", "## A real run"),
        text("keras", "## The same in Keras"),
        text("deeper", "## Dig deeper\n\n<details>more</details>"),
        text("quiz-title", "## Quiz"),
        run("quiz", 'lessons.quiz("05")', QUIZ),
        text(
            "end",
            "## Summary\n\n**Further reading**: [a book](https://example.org).\n\n**Next**: 06.",
        ),
    ]
    return {name["id"]: name for name in cells}


def complaints_about(cells, check, monkeypatch):
    table = {"residual": r"\bresiduals?\b", "symbols": {"q": "`q` is a number"}}
    monkeypatch.setitem(TERMS, "05_layers", table)
    notebook = {"cells": list(cells.values()), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    text = json.dumps(notebook)
    if check is clean and "dirty" not in cells["setup"]["metadata"]:
        text = CLEANING.to_text(CLEANING.clean(CLEANING.read(text)))
    return list(check(Lesson("05_layers", text)))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_lesson_gets_no_complaint(check, monkeypatch):
    assert complaints_about(good(), check, monkeypatch) == []


def change(name, old, new):
    """Replace text in one cell's source."""

    def apply(cells):
        assert old in cells[name]["source"]
        cells[name]["source"] = cells[name]["source"].replace(old, new)

    return apply


def put(name, **items):
    """Change items of one cell."""
    return lambda cells: cells[name].update(items)


def drop(*names):
    """Take cells out."""

    def apply(cells):
        for name in names:
            del cells[name]

    return apply


def error(*kinds):
    made = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    return put("hand", outputs=[made], metadata={"tags": list(kinds)})


def last_to_front(cells):
    cells["first"] = cells.pop("opening")
    rest = {name: cell for name, cell in cells.items() if name != "back"}
    back = cells["back"]
    cells.clear()
    cells.update({"first": rest.pop("first"), "back": back, **rest})


def more(*names, **metadata):
    """Add cells like `view` before the section 'Dig deeper'."""

    def apply(cells):
        rest = dict(cells)
        cells.clear()
        for name, cell in rest.items():
            if name == "deeper":
                cells.update({new: dict(rest["view"], id=new, metadata=metadata) for new in names})
            cells[name] = cell

    return apply


STREAM = {"output_type": "stream", "name": "stderr", "text": "UserWarning: careful"}
ADDRESS = {"output_type": "stream", "name": "stdout", "text": "<A object at 0x7fa9ea41a0d0>"}
WRONG = shown({"image/png": "iVBORw0KGgo=", "text/plain": ALT})
UNSEEN = PICTURE[:1]
IGNORE = ["nbval-ignore-output"]
BREAKS = [
    *(
        (sections, drop(name))
        for name in ("setup", "question", "predict", "view", "source", "quiz")
    ),
    *((sections, drop(name)) for name in ("back", "break", "run", "keras", "deeper", "end")),
    (sections, drop("exercise", "solution")),
    (sections, last_to_front),
    (sections, change("end", "**Next**", "Then")),
    (opening, change("opening", "30 minutes", "60 minutes")),
    (opening, change("opening", "30 minutes", "a while")),
    (opening, change("opening", "**You need**", "Bring")),
    (opening, drop("badges")),
    (opening, drop("setup")),
    (length, change("idea", "A **", "word " * 2000 + "A **")),
    (size, change("idea", "A **", "word " * 400_000 + "A **")),
    (views, more("a", "b", tags=["widget"])),
    (views, drop("still")),
    (views, put("view", metadata={})),
    (exercises, drop("exercise", "solution")),
    (exercises, drop("solution")),
    (exercises, put("solution", metadata={"tags": ["solution"]})),
    (answers, put("solution", outputs=[NOT_YET])),
    (answers, put("solution", outputs=[])),
    (answers, put("exercise", outputs=[SOLVED])),
    (answers, change("solution", "lessons.check", "print")),
    (quiz, put("quiz", outputs=[])),
    (quiz, put("quiz", outputs=[QUIZ, QUIZ])),
    (pictures, put("still", outputs=[WRONG, PICTURE[1]])),
    (pictures, put("still", outputs=UNSEEN)),
    (pictures, put("still", outputs=[shown({"text/html": "<img src='x'>"})])),
    (pictures, change("idea", "A **", "![](../data/README.md) A **")),
    (pictures, change("idea", "A **", '<img src="../data/README.md"> A **')),
    (accuracies, change("back", "96 % are right", "97.5 % are right")),
    (accuracies, change("back", "96 % are right", "98 of 100 are read correctly")),
    (accuracies, change("hand", "assert accuracy > 0.96", "accuracy > 0.96")),
    (links, change("idea", "#A-question", "#No-question")),
    (links, change("idea", "#A-question", "99_missing.ipynb")),
    (links, change("idea", "#A-question", "08_mnist_cnn.ipynb#No-such-heading")),
    (links, change("idea", "#A-question", "http:/nowhere")),
    (links, change("idea", "#A-question", "javascript:alert(1)")),
    (links, change("idea", "#A-question", "")),
    (results, error()),
    (results, put("hand", outputs=[STREAM])),
    (results, put("hand", outputs=[ADDRESS])),
    (ignored, put("hand", metadata={"tags": IGNORE})),
    (ignored, put("hand", metadata={"tags": ["nbval-skip"], "reason": "it"})),
    (ignored, change("hand", "assert", "# NBVAL_IGNORE_OUTPUT\nassert")),
    (ignored, more(*"abcd", tags=IGNORE, reason="times differ from run to run")),
    (clean, put("setup", metadata={"tags": ["setup"], "dirty": True})),
    (clean, put("source", execution_count=None)),
    (terms, change("idea", "A **residual** is", "A residual is")),
    (terms, change("question", "A question", "A question\n\nHow large is a residual?")),
    (symbols, change("idea", "`q` is a\nnumber", "a number is `q`")),
    (symbols, change("idea", "`q` is a\nnumber, and so is `2 * q`", "no symbol")),
    (symbols, change("idea", "`2 * q`", "`2 * dq1`")),
    (symbols, change("idea", "`2 * q`", "$2\\,p$")),
    (symbols, change("question", "A question", "A question\n\nHow large is `q`?")),
]


@pytest.mark.parametrize(
    ("check", "damage"),
    BREAKS,
    ids=[f"{check.__name__}-{k}" for k, (check, _) in enumerate(BREAKS)],
)
def test_a_check_complains_about_what_is_broken(check, damage, monkeypatch):
    cells = good()
    damage(cells)
    assert complaints_about(cells, check, monkeypatch)


def test_what_is_tagged_or_explained_is_allowed(monkeypatch):
    cells = good()
    error("raises-exception")(cells)
    assert complaints_about(cells, results, monkeypatch) == []
    put("hand", metadata={"tags": IGNORE, "reason": "it prints how long it took"})(cells)
    assert complaints_about(cells, ignored, monkeypatch) == []


def test_a_comment_counts_as_a_use_of_a_term_and_so_does_an_earlier_lesson(monkeypatch):
    cells = good()
    cells["predict"]["source"] += "  # one residual each"
    assert complaints_about(cells, terms, monkeypatch)
    before = Lesson("04_before", json.dumps({"cells": [cell_of("markdown", "a", "a residual")]}))
    after = Lesson("05_layers", json.dumps({"cells": list(good().values())}))
    assert list(terms(after, (before,)))
    assert list(terms(before))  # no table in terms.toml


def test_a_symbol_of_an_earlier_lesson_needs_no_second_introduction(monkeypatch):
    monkeypatch.setitem(TERMS, "04_before", {"symbols": {"p": "`p` is"}})
    later = Lesson("05_later", json.dumps({"cells": [cell_of("markdown", "a", "`p + 1`")]}))
    before = Lesson("04_before", json.dumps({"cells": [cell_of("markdown", "a", "`p` is")]}))
    assert list(symbols(later))
    assert not list(symbols(later, (before,)))
    assert list(symbols(Lesson("04_before", json.dumps({"cells": []}))))


# --- Running and cleaning -------------------------------------------------------------------

WIDGET = "application/vnd.jupyter.widget-view+json"
REPORT = """<testsuites><testsuite time="{whole}">
<testcase classname="notebooks.one" name="cell 0" time="20"/>
<testcase classname="notebooks.one" name="cell 1" time="{seconds}"/>
<testcase classname="notebooks.two" name="cell 0" time="1"/>
</testsuite></testsuites>"""


@pytest.fixture
def running(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return script("run_notebooks")


@pytest.fixture
def small(tmp_path):
    """A function that writes a notebook of one cell and returns its path."""

    def write(source, *made):
        cells = [cell_of("code", "only", source, *made)]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path = tmp_path / "small.ipynb"
        path.write_text(CLEANING.to_text(CLEANING.clean(CLEANING.read(json.dumps(notebook)))))
        return path

    return write


def test_running_stores_outputs_and_a_second_run_changes_no_byte(running, small, capsys):
    path = small("print(6 * 7)")
    assert running.main([str(path)]) == 0
    assert "text outputs of cells [0] changed" in capsys.readouterr().out
    once = path.read_bytes()
    assert b"42" in once
    assert running.main([str(path)]) == 0
    assert "changed" not in capsys.readouterr().out
    assert path.read_bytes() == once


def test_a_check_run_finds_what_differs_and_stores_nothing(running, small, capsys):
    path = small("import time\nprint(time.time())", dict(STREAM, name="stdout"))
    before = path.read_bytes()
    assert running.main(["--check", str(path)]) == 1
    assert "text outputs of cells [0] changed" in capsys.readouterr().out
    assert path.read_bytes() == before


def test_a_lesson_that_takes_too_long_is_left_as_it_was(running, small, capsys):
    path = small("print(1)")
    before = path.read_bytes()
    assert running.main(["--limit", "0.001", str(path)]) == 1
    assert "left as it was" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("seconds", "whole", "status"), [(9, 40, 0), (41, 70, 1), (9, 301, 1)], ids=str
)
def test_times_are_judged_by_lesson_and_together(running, tmp_path, seconds, whole, status):
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(seconds=seconds, whole=whole), "utf-8")
    assert running.main(["--times", str(report)]) == status


def test_what_stands_for_a_widget_becomes_empty_and_its_own_words_stay():
    texts = {
        "VBox(children=(IntSlider(value=0), Output()))": "",
        "<cnnlib.widgets.digit_pad.DigitPad object at 0x7fa9ea41a0d0>": "",
        "A pad to draw on; press Tab to reach it.": "A pad to draw on; press Tab to reach it.",
    }
    for text, left in texts.items():
        output = shown({"text/plain": text, WIDGET: {"model_id": "5f2c"}})
        cells = [cell_of("code", "only", "view", output)]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        cleaned = CLEANING.clean(CLEANING.read(json.dumps(notebook)))
        assert cleaned.cells[0].outputs[0].data == {"text/plain": left}
