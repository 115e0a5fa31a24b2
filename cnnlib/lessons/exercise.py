"""What an exercise is, and how it looks at a learner's function.

The function is tried on every case. Where a result is wrong, each mistaken rule of the exercise is
computed as well: the one that gives the learner's numbers in every case is the diagnosis. Cases of
unequal sizes make a mistake fail, and cases of equal sizes let it come through with numbers that
can be recognised (a transposed W stops with an error unless W is square), so an exercise has both.
"""

import copy
import inspect
import itertools
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnlib.lessons import messages

Rule = Callable[..., Any]


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Parameters
    ----------
    diagnosis : str
        'right', 'not_yet', the name of a mistake, or what all exercises share: 'exception',
        'shape', 'numbers', ...
    message : str
        What the learner reads.
    """

    diagnosis: str
    message: str

    @property
    def passed(self) -> bool:
        """Whether the exercise is solved."""
        return self.diagnosis == "right"


@dataclass(frozen=True)
class Question:
    """A question with one right answer; its texts are ``quiz.KEY``, ``quiz.KEY.1``, ....

    Parameters
    ----------
    key : str
    right : int
        The number of the right answer, from 1.
    """

    key: str
    right: int


@dataclass(frozen=True)
class Exercise:
    """A function that a learner writes.

    An exercise that is not a function of its arguments (a kernel to design, a choice to make) is a
    subclass with an `examine` of its own.

    Parameters
    ----------
    name : str
        The function's name, and where its texts begin: ``NAME.solved``, ``NAME.hint.1``.
    section : str
        The heading in the lesson's notebook to read again.
    arguments : tuple of str
        Names of the arguments, in order.
    results : tuple of str
        Names of what it returns; a tuple is expected where there are several.
    cases : callable
        Returns a list of tuples of arguments, the same each time.
    solution : callable
        What is right. Its results' types say what is expected: array, whole number, number.
    mistakes : mapping of result to a sequence of (mistake, rule)
        A rule takes the arguments and returns that result as the mistake would have it; its
        text is ``NAME.MISTAKE``. Several rules may stand for one mistake, and a rule may raise
        an error.
    errors : mapping of words to a mistake
        Where the function stops with an error that says these words, that mistake is named.
    tolerance : float
        How far a number may be off, as a part of the largest; 1e-4 accepts float32. Whole numbers
        are compared exactly.
    combine : callable, optional
        Where `check` takes several functions: makes one out of them.
    """

    name: str
    section: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    cases: Callable[[], list[tuple]]
    solution: Rule
    mistakes: Mapping[str, Sequence[tuple[str, Rule]]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 1e-4
    combine: Callable[..., Rule] | None = None

    def examine(self, *functions: Any) -> Verdict:
        """Try a learner's function; whatever it does, a verdict comes back.

        Parameters
        ----------
        *functions : callable
            One, or as many as `combine` takes.

        Returns
        -------
        Verdict

        Raises
        ------
        TypeError
            Where the number of functions is wrong: a mistake in the notebook, not the learner's.
        """
        wanted = len(inspect.signature(self.combine).parameters) if self.combine else 1
        if len(functions) != wanted:
            raise TypeError(
                f"check({self.name!r}, ...) expects {wanted} function(s) after the name. "
                f"Received: {len(functions)}"
            )
        for function in functions:
            if not callable(function):
                return self._verdict("not_callable", type=type(function).__name__)
        function = self.combine(*functions) if self.combine else functions[0]
        if not _accepts(function, len(self.arguments)):
            taken = ", ".join(inspect.signature(function).parameters)
            return self._verdict(
                "signature",
                name=self.name,
                expected=f"({', '.join(self.arguments)})",
                received=taken,
            )
        trials = []
        for case in self.cases():
            trial = _try(function, case, self.solution)
            trials.append(trial)
            if isinstance(trial.error, NotImplementedError) or (
                trial.error is None and trial.received is None
            ):
                return self._verdict("not_yet", name=self.name)
        problems = [self._problem(trial) for trial in trials]
        first = next((problem for problem in problems if problem), None)
        if first is None:
            why = messages.text(f"{self.name}.solved")
            return self._verdict("right", name=self.name, count=len(trials), why=why)
        if first.diagnosis in ("exception", "shape", "not_finite", "numbers"):
            return self._recognised(trials) or first
        return first

    # --- One case -------------------------------------------------------------------------------

    def _problem(self, trial: "_Trial") -> Verdict | None:
        """What is wrong in one case, if anything."""
        case = self._describe(trial.case)
        for argument, before, after in zip(
            self.arguments, trial.case, trial.case_after, strict=True
        ):
            if isinstance(before, np.ndarray) and not _unchanged(before, after):
                return self._verdict("overwritten", argument=argument)
        if trial.error is not None:
            for words, mistake in self.errors.items():
                if words in str(trial.error):
                    return self._mistaken(mistake, case)
            return self._verdict("exception", case=case, error=trial.error_text, line=trial.line)
        received = self._received(trial)
        if received is None:
            described = _kind(trial.received)
            return self._verdict(
                "results",
                count=len(self.results),
                expected=f"({', '.join(self.results)})",
                received=described,
            )
        for result, value, expected in zip(
            self.results, received, self._expected(trial), strict=True
        ):
            if value is None:
                return self._verdict("not_yet_result", diagnosis="not_yet", result=result)
            wanted = _wrong_type(value, expected)
            if wanted:
                return self._verdict(
                    "type", result=result, expected=messages.text(wanted), received=_kind(value)
                )
            if np.shape(value) != np.shape(expected):
                shapes = {"expected": np.shape(expected), "received": np.shape(value)}
                return self._verdict("shape", case=case, result=result, **shapes)
            if not isinstance(expected, int):
                bad = np.isfinite(expected) & ~np.isfinite(value)
                if bad.any():
                    worst = str(np.asarray(value)[bad].ravel()[0])
                    return self._verdict("not_finite", case=case, result=result, received=worst)
            if not _same(value, expected, self.tolerance):
                place, mine, theirs = _largest_difference(result, value, expected)
                return self._verdict(
                    "numbers", case=case, place=place, expected=theirs, received=mine
                )
        return None

    # --- All cases: what mistake gives just these numbers? --------------------------------------

    def _recognised(self, trials: list["_Trial"]) -> Verdict | None:
        """The verdict that names the mistake, or None."""
        done = []
        for trial in trials:
            received = None if trial.error is not None else self._received(trial)
            if received is not None and not any(
                value is None or _wrong_type(value, expected)
                for value, expected in zip(received, self._expected(trial), strict=True)
            ):
                done.append((trial, received, self._expected(trial)))
        if len(self.results) > 1 and done:
            for order in itertools.permutations(range(len(self.results))):
                if list(order) != sorted(order) and all(
                    _same(received[place], value, self.tolerance)
                    for _, received, expected in done
                    for place, value in zip(order, expected, strict=True)
                ):
                    return self._verdict("order", expected=f"({', '.join(self.results)})")
        for index, result in enumerate(self.results):
            pairs = [(t, received[index], expected[index]) for t, received, expected in done]
            wrong = [pair for pair in pairs if not _same(pair[1], pair[2], self.tolerance)]
            if not wrong:
                continue
            for mistake, rule in self.mistakes.get(result, ()):
                if all(self._gives(rule, trial.case, value) for trial, value, _ in pairs):
                    return self._mistaken(mistake, self._describe(wrong[0][0].case))
            return self._scaled(result, wrong)
        return None

    def _gives(self, rule: Rule, case: tuple, value: Any) -> bool:
        """Whether the mistaken rule gives the learner's result in this case."""
        mistaken = _try(rule, case, self.solution)
        return mistaken.error is None and _same(value, mistaken.received, self.tolerance)

    def _scaled(self, result: str, wrong: list[tuple["_Trial", Any, Any]]) -> Verdict | None:
        """The verdict on a result that is right but for a factor in every case."""
        if self.tolerance == 0:
            return None  # counts: any two whole numbers differ by a factor
        factors = []
        for _, value, expected in wrong:
            largest = np.argmax(np.abs(expected))
            divisor = np.ravel(expected)[largest]
            if np.shape(value) != np.shape(expected) or np.size(value) < 2 or divisor == 0:
                return None
            factors.append(float(np.ravel(value)[largest] / divisor))
            if factors[-1] == 0 or not np.isfinite(factors[-1]):
                return None
            if not _same(value, factors[-1] * expected, self.tolerance):
                return None
        case = self._describe(wrong[0][0].case)
        if np.allclose(factors, -1, atol=1e-3):
            return self._verdict("sign", case=case, result=result)
        return self._verdict("factor", case=case, result=result, factor=f"{factors[0]:.3g}")

    # --- Small things ---------------------------------------------------------------------------

    def _verdict(self, key: str, diagnosis: str | None = None, **values: object) -> Verdict:
        return Verdict(diagnosis or key, messages.text(f"check.{key}", **values))

    def _mistaken(self, mistake: str, case: str) -> Verdict:
        text = messages.text(f"{self.name}.{mistake}")
        return self._verdict("mistake", diagnosis=mistake, mistake=text, case=case)

    def _describe(self, case: tuple) -> str:
        """The arguments of a case: 'x (4, 3), W (3, 2), b (2,)' or 'fan_in = 3, units = 2'."""
        parts = []
        for name, value in zip(self.arguments, case, strict=True):
            if isinstance(value, np.ndarray):
                parts.append(f"{name} {value.shape}")
            elif isinstance(value, int | float | str | tuple):
                parts.append(f"{name} = {value}")
        return ", ".join(parts)

    def _received(self, trial: "_Trial") -> list[Any] | None:
        """What came back as a list of results, or None where their number is wrong."""
        if len(self.results) == 1:
            return [trial.received]
        if isinstance(trial.received, tuple | list) and len(trial.received) == len(self.results):
            return list(trial.received)
        return None

    def _expected(self, trial: "_Trial") -> list[Any]:
        return [trial.expected] if len(self.results) == 1 else list(trial.expected)


@dataclass
class _Trial:
    """One case: its arguments before and after, what came back and what should have."""

    case: tuple
    case_after: tuple
    expected: Any
    received: Any = None
    error: BaseException | None = None
    line: str = ""

    @property
    def error_text(self) -> str:
        """Type and first line of the error."""
        first = next(iter(str(self.error).strip().splitlines()), "").rstrip(". ")
        name = type(self.error).__name__
        return f"{name}: {first[:160]}" if first else name


def _try(function: Rule, case: tuple, solution: Rule) -> _Trial:
    """Call a function with copies of the arguments; an error is kept, not raised."""
    trial = _Trial(case, copy.deepcopy(case), solution(*copy.deepcopy(case)))
    # The verdict says what a warning would, without a path of this machine.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            trial.received = function(*trial.case_after)
        except (Exception, SystemExit) as error:  # all but the learner's own Ctrl-C
            trial.error, trial.line = error, _line_of(error, function)
    if not isinstance(trial.received, np.ndarray | tuple | list):
        return trial
    # A function may return its own argument, or one array every time.
    trial.received = copy.deepcopy(trial.received)
    return trial


def _line_of(error: BaseException, function: Rule) -> str:
    """The line of the learner's function that failed, where its source can be had."""
    code = getattr(function, "__code__", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if code is not None and frame.filename == code.co_filename and frame.line:
            return messages.text("check.line", code=frame.line)
    return ""


def _accepts(function: Rule, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        pass  # some functions written in C have no signature: calling them will tell
    return True


def _unchanged(before: np.ndarray, after: np.ndarray) -> bool:
    same = before.shape == after.shape and before.dtype == after.dtype
    return same and np.array_equal(before, after, equal_nan=before.dtype.kind in "fc")


def _wrong_type(value: Any, expected: Any) -> str:
    """Key of the text that says what type was expected; empty where the type is right."""
    if isinstance(expected, np.ndarray) and expected.ndim:
        # np.sum over everything gives a number of NumPy's: the shape is what is wrong with it.
        good = isinstance(value, np.ndarray | np.number) and value.dtype.kind in "fiu"
        return "" if good else "check.array"
    if isinstance(expected, int | np.integer):
        good = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return "" if good else "check.whole"
    good = isinstance(value, int | float | np.number | np.ndarray) and not isinstance(value, bool)
    return "" if good and np.asarray(value).dtype.kind in "fiu" else "check.number"


def _kind(value: Any) -> str:
    """A type in the learner's words: 'list', 'array of bool, shape (2, 3)', 'tuple of 2'."""
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype}, shape {value.shape}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int | float | np.number):
        return f"{type(value).__name__} {value}"
    return type(value).__name__


def _same(value: Any, expected: Any, tolerance: float) -> bool:
    """Equal shapes, and no number further off than that part of the largest."""
    if value is None or np.shape(value) != np.shape(expected):
        return False
    if tolerance == 0 or isinstance(expected, int):
        return bool(np.array_equal(value, expected))
    with np.errstate(all="ignore"):
        finite = np.abs(expected)[np.isfinite(expected)]
        scale = float(np.max(finite, initial=0.0)) or 1.0
        close = np.isclose(value, expected, rtol=0, atol=tolerance * scale, equal_nan=True)
    return bool(close.all())


def _largest_difference(result: str, value: Any, expected: Any) -> tuple[str, str, str]:
    """Where two results differ most: 'y[0, 1]' and both numbers."""
    if isinstance(expected, int):  # Python's integers have no largest one
        return result, str(value)[:40], str(expected)
    mine, theirs = np.asarray(value), np.asarray(expected)
    place = np.unravel_index(np.argmax(np.abs(mine - theirs.astype("float64"))), theirs.shape)
    index = ", ".join(str(int(i)) for i in place)
    name = f"{result}[{index}]" if place else result
    form = "d" if theirs.dtype.kind in "iu" and mine.dtype.kind in "iu" else ".4g"
    return name, f"{mine[place]:{form}}", f"{theirs[place]:{form}}"
