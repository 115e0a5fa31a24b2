"""One file for each lesson that has exercises; a file that is put here is found.

A file holds

- ``LESSON``, the notebook's name, such as ``"01_dense"``;
- ``TEXTS``, key -> English text: ``NAME.solved`` (why it matters and what comes next),
  ``NAME.hint.1``, ``NAME.hint.2``, ... and ``NAME.MISTAKE`` for each exercise, and for each
  question ``quiz.KEY``, ``quiz.KEY.1``, ``quiz.KEY.2``, ... (the answers) and ``quiz.KEY.why``;
- ``EXERCISES``, a list of `Exercise`;
- ``QUIZ``, a list of `Question`.

A teacher's own file, anywhere, holds the same and is made known by `register`.
"""

import functools
import importlib
import pkgutil
from typing import Any

from cnnlib.lessons import messages
from cnnlib.lessons.exercise import Exercise
from cnnlib.utils import unknown_name


@functools.cache
def modules() -> tuple[Any, ...]:
    """The files of this folder as modules, in the order of their lessons."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(sorted([*found, *_registered], key=lambda module: module.LESSON))


def register(module: Any) -> None:
    """Make a lesson of your own known: its exercises, hints, quiz and texts.

    Parameters
    ----------
    module : module
        Holds LESSON, TEXTS, EXERCISES and QUIZ, as a file of `cnnlib/lessons/exercises/` does.
        Registering a lesson of the same name again replaces it, so a cell can be run twice.

    Raises
    ------
    ValueError
        Where one of the four is missing, a text is missing, or a name is taken already.

    Examples
    --------
    See docs/teaching.md, 'A check of your own'.
    """
    missing = [
        name for name in ("LESSON", "TEXTS", "EXERCISES", "QUIZ") if not hasattr(module, name)
    ]
    if missing:
        raise ValueError(
            f"register expects a module with LESSON, TEXTS, EXERCISES and QUIZ. Missing: {missing}"
        )
    others = [m for m in modules() if m not in _registered or m.LESSON != module.LESSON]
    taken = {exercise.name for m in others for exercise in m.EXERCISES}
    texts = {key for m in others for key in m.TEXTS}
    if clash := sorted({e.name for e in module.EXERCISES} & taken | module.TEXTS.keys() & texts):
        raise ValueError(
            f"register: these names are taken by another lesson: {clash}. Choose others"
        )
    needed = {f"{e.name}.solved" for e in module.EXERCISES}
    needed |= {
        f"{e.name}.{mistake}"
        for e in module.EXERCISES
        for rules in e.mistakes.values()
        for mistake, _ in rules
    }
    needed |= {f"{e.name}.{mistake}" for e in module.EXERCISES for mistake in e.errors.values()}
    needed |= {f"quiz.{q.key}{end}" for q in module.QUIZ for end in ("", ".1", ".2", ".why")}
    if absent := sorted(needed - module.TEXTS.keys()):
        raise ValueError(f"register: {module.LESSON} lacks these texts: {absent}")
    _registered[:] = [m for m in _registered if m.LESSON != module.LESSON] + [module]
    modules.cache_clear()
    messages.forget_english()


_registered: list[Any] = []


def find(name: str) -> tuple[Exercise, str]:
    """The exercise of this name and its lesson; a ValueError for a name that there is not."""
    known = {exercise.name: (exercise, m.LESSON) for m in modules() for exercise in m.EXERCISES}
    if name not in known:
        raise unknown_name("exercise", name, known)
    return known[name]


def lesson(name: str) -> Any:
    """The module of a lesson, from its notebook's name or number: '01_dense', '01' or 1."""
    known = {module.LESSON: module for module in modules()}
    number = f"{name:02d}" if isinstance(name, int) else str(name).removesuffix(".ipynb")
    for full, module in known.items():
        if number in (full, full.split("_")[0]):
            return module
    raise unknown_name("lesson", name, known)
