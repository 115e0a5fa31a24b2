"""`check`, `hint`, `working`, `results` and `report`: what a notebook calls around an exercise."""

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cnnlib.lessons import exercises, messages
from cnnlib.utils import unknown_name


@dataclass(frozen=True)
class Result:
    """The last check of one exercise.

    Parameters
    ----------
    lesson, name : str
    passed : bool
    diagnosis : str
        See `cnnlib.lessons.exercise.Verdict`; 'not_tried' in a report.
    message : str
    attempts : int
        How many times it was checked.
    """

    lesson: str
    name: str
    passed: bool
    diagnosis: str
    message: str
    attempts: int


_results: dict[str, Result] = {}
_hints: dict[str, int] = {}


def check(name: str, *functions: Any) -> None:
    """Try the learner's function on several cases and print what was found, in a sentence or two.

    Parameters
    ----------
    name : str
        The exercise, such as 'dense_forward'.
    *functions : callable
        The learner's function (some exercises take more than one).

    Raises
    ------
    ValueError
        For an unknown exercise.
    TypeError
        Where the number of functions is wrong. What the learner's function raises is caught.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> lessons.check("parameter_count", lambda fan_in, units: fan_in * units)
    Not quite: the biases are missing: ... (Seen with fan_in = 3, units = 2.)
    """
    exercise, lesson = exercises.find(name)
    verdict = exercise.examine(*functions)
    before = _results.get(name)
    attempts = before.attempts + 1 if before else 1
    _results[name] = Result(
        lesson, name, verdict.passed, verdict.diagnosis, verdict.message, attempts
    )
    print(verdict.message)


def hint(name: str) -> None:
    """Show the next hint for an exercise, with a link to the section to read again.

    Parameters
    ----------
    name : str
        The exercise.

    Raises
    ------
    ValueError
        For an unknown exercise.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> lessons.hint("gradient_step")
    Hint 1 of 2: ...
    """
    exercise, _ = exercises.find(name)
    count = messages.count(f"{name}.hint")
    number = _hints[name] = min(_hints.get(name, 0) + 1, count + 1)
    if number > count:
        line = messages.text("hint.no_more", name=name, count=count)
    else:
        words = messages.text(f"{name}.hint.{number}")
        line = messages.text("hint.numbered", number=number, count=count, text=words)
    # The anchor that JupyterLab and Notebook 7 give a heading.
    link = f"[{exercise.section}](#{exercise.section.replace(' ', '-')})"
    show(
        f"{line}\n{messages.text('hint.read', section=exercise.section)}",
        markdown=f"{line}\n\n{messages.text('hint.read', section=link)}",
    )


def working(name: str, mine: Any) -> Any:
    """The learner's own where it is right, else the course's, so that a lesson goes on.

    A student's copy of a lesson (`make assignment`) has this in the place of a solution. It counts
    as no attempt.

    Parameters
    ----------
    name : str
        The exercise.
    mine : callable
        What the learner wrote.

    Raises
    ------
    ValueError
        For an unknown exercise.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> count = lessons.working("parameter_count", lambda fan_in, units: None)
    parameter_count is not solved yet: the cells below go on with the course's own version.
    >>> count(2, 3)
    9
    """
    exercise, _ = exercises.find(name)
    if exercise.examine(mine).passed:
        return mine
    print(messages.text("working.stands_in", name=name))
    return exercise.solution


def results() -> dict[str, Result]:
    """What was checked so far: the exercise's name -> its last result.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> lessons.check("parameter_count", lambda fan_in, units: (fan_in + 1) * units)
    Right: ...
    >>> lessons.results()["parameter_count"].passed
    True
    """
    return dict(_results)


def report(path: str | Path, lesson: str | None = None) -> None:
    """Write for a teacher which exercises are solved, and print how many.

    Parameters
    ----------
    path : str or Path
        Ends in ``.xml`` (JUnit, which test tools and course platforms read) or ``.csv``.
    lesson : str, optional
        Count every exercise of this lesson, tried or not, such as '01_dense' or '01'; without it,
        those that were checked.

    Raises
    ------
    ValueError
        For another suffix or an unknown lesson.
    """
    path = Path(path)
    writers = {".csv": _write_csv, ".xml": _write_junit}
    if path.suffix.lower() not in writers:
        raise unknown_name("suffix of a report", path.suffix, writers)
    found = list(_results.values())
    if lesson is not None:
        module = exercises.lesson(lesson)
        not_tried = messages.text("report.not_tried")
        found = [
            _results.get(
                exercise.name,
                Result(module.LESSON, exercise.name, False, "not_tried", not_tried, 0),
            )
            for exercise in module.EXERCISES
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[path.suffix.lower()](path, found)
    solved = sum(result.passed for result in found)
    print(messages.text("report.summary", solved=solved, count=len(found), path=path.as_posix()))


def _write_csv(path: Path, found: list[Result]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["lesson", "exercise", "solved", "diagnosis", "attempts", "message"])
        for r in found:
            row = [r.lesson, r.name, int(r.passed), r.diagnosis, r.attempts, r.message]
            rows.writerow(row)


def _write_junit(path: Path, found: list[Result]) -> None:
    suite = ElementTree.Element(
        "testsuite",
        name="cnnlib.lessons",
        tests=str(len(found)),
        failures=str(sum(not r.passed and r.attempts > 0 for r in found)),
        errors="0",
        skipped=str(sum(r.attempts == 0 for r in found)),
    )
    for r in found:
        case = ElementTree.SubElement(suite, "testcase", classname=r.lesson, name=r.name)
        if r.attempts == 0:
            ElementTree.SubElement(case, "skipped", message=r.message)
        elif not r.passed:
            ElementTree.SubElement(case, "failure", type=r.diagnosis, message=r.message)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def show(plain: str, markdown: str = "", page: str = "", view: Mapping | None = None) -> None:
    """Show text in a notebook in the best form that the reader has; outside one, print it.

    Parameters
    ----------
    plain : str
    markdown, page : str
        The same as Markdown or HTML, for a page without a kernel as well.
    view : mapping, optional
        The MIME type and reference of a widget.
    """
    if not in_notebook():
        print(plain)
        return
    from IPython.display import display

    forms = {"text/markdown": markdown, "text/html": page}
    data = {"text/plain": plain, **{kind: form for kind, form in forms.items() if form}}
    display({**data, **(view or {})}, raw=True)


def in_notebook() -> bool:
    """Whether this runs in a kernel; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
