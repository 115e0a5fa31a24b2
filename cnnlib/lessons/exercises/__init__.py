"""One file for each lesson that has exercises; a file that is put here is found.

A file holds

- ``LESSON``, the notebook's name, such as ``"01_dense"``;
- ``TEXTS``, key -> English text: ``NAME.solved`` (why it matters and what comes next),
  ``NAME.hint.1``, ``NAME.hint.2``, ... and ``NAME.MISTAKE`` for each exercise, and for each
  question ``quiz.KEY``, ``quiz.KEY.1``, ``quiz.KEY.2``, ... (the answers) and ``quiz.KEY.why``;
- ``EXERCISES``, a list of `Exercise`;
- ``QUIZ``, a list of `Question`.
"""

import functools
import importlib
import pkgutil
from typing import Any

from cnnlib.lessons.exercise import Exercise
from cnnlib.utils import unknown_name


@functools.cache
def modules() -> tuple[Any, ...]:
    """The files of this folder as modules, in the order of their lessons."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(sorted(found, key=lambda module: module.LESSON))


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
