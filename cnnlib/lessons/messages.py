"""Every text that a learner reads from `cnnlib.lessons`, in one table: language -> key -> text.

What all exercises say stands here. What one lesson says stands beside its rules, in the ``TEXTS``
of its file in `cnnlib/lessons/exercises/`, and `table` joins both. A translation is a dict with the
same keys: `add` it, then `use` it. A text that it lacks appears in English.

Words in braces are filled in; a translation may move them or leave them out. Backticks mark code.
"""

import string
from collections.abc import Mapping

from cnnlib.utils import unknown_name

ENGLISH = {
    # --- check: one or two sentences; {case} names the arguments with their shapes ---
    "check.right": "Right: {name} agrees in all {count} cases. {why}",
    "check.not_yet": "Not yet: {name} returns nothing so far. Write it in place of the stub, "
    "end with `return`, and run this cell again.",
    "check.not_yet_result": "Not yet: {result} is still None. The rest is looked at when it is "
    "there.",
    "check.not_callable": "Pass the function itself, without brackets behind it. Received: {type}.",
    "check.signature": "{name} is called with {expected}, but yours takes ({received}).",
    "check.exception": "With {case}, your function stopped with {error}{line}.",
    "check.line": " at `{code}`",
    "check.overwritten": "Your function overwrites its argument {argument}. The caller still needs "
    "it: compute a new array, without +=, *= or [...] = on {argument}.",
    "check.results": "Expected {count} results, {expected}. Received: {received}.",
    "check.type": "Expected {result} as {expected}. Received: {received}.",
    "check.array": "a NumPy array of numbers",
    "check.whole": "a whole number",
    "check.number": "one number",
    "check.shape": "With {case}, the shape of {result} should be {expected}; yours is {received}.",
    "check.not_finite": "With {case}, {result} holds {received} where a number should be: look for "
    "a division by zero, a logarithm of zero or a cell that was never filled.",
    "check.numbers": "With {case}, {place} should be {expected}; yours is {received}.",
    "check.sign": "With {case}, {result} has the right size and the wrong sign.",
    "check.factor": "With {case}, {result} is {factor} times what it should be: every number by "
    "the same factor.",
    "check.order": "The results are right and in another order: return {expected}.",
    "check.mistake": "Not quite: {mistake} (Seen with {case}.)",
    # --- hint ---
    "hint.numbered": "Hint {number} of {count}: {text}",
    "hint.read": "Read again: {section}",
    "hint.no_more": "That was the last of {count} hints for {name}. The solution is folded below "
    "the exercise, unless this copy is a teacher's assignment.",
    "working.stands_in": "{name} is not solved yet: the cells below go on with the course's own "
    "version.",
    # --- quiz ---
    "quiz.title": "Quiz of lesson {lesson}",
    "quiz.question": "{number}. {question}",
    "quiz.answer_button": "Check my answer",
    "quiz.choose": "Choose an answer first.",
    "quiz.right": "Right. {why}",
    "quiz.wrong": "Not this one. {why}",
    "quiz.fold": "Answer",
    "quiz.answer": "{answer}. {why}",
    # --- predict ---
    "predict.label": "Your prediction:",
    "predict.placeholder": "a number or a word, then run the next cell",
    "predict.still": "Your prediction: (a field appears here when the cell is run; it may stay "
    "empty)",
    "predict.none": "It is {value}. (You typed no prediction, which costs nothing.)",
    "predict.right": "You predicted {prediction}, and so it is.",
    "predict.near": "You predicted {prediction}; it is {value}: close.",
    "predict.low": "You predicted {prediction}; it is {value}, which is more.",
    "predict.high": "You predicted {prediction}; it is {value}, which is less.",
    "predict.other": "You predicted {prediction}; it is {value}.",
    # --- report and assignment ---
    "report.summary": "{solved} of {count} exercises solved: written to {path}.",
    "report.not_tried": "not tried",
    "assignment.stand_in": "Nothing to do here: it goes on where yours is not right yet.",
    "assignment.heading": "## Hand in\n\nRun the cells above, then the cell below. Hand in the "
    "file that it writes, with this notebook.",
}

_tables: dict[str, dict[str, str]] = {}
_chosen = {"language": "en"}


def table(language: str = "en") -> dict[str, str]:
    """All texts of a language: for English every key there is, a pattern for a translation.

    Examples
    --------
    >>> from cnnlib.lessons import messages
    >>> messages.table()["quiz.fold"]
    'Answer'
    """
    if "en" not in _tables:
        from cnnlib.lessons import exercises  # they need this module first

        _tables["en"] = dict(ENGLISH)
        for module in exercises.modules():
            twice = sorted(_tables["en"].keys() & module.TEXTS.keys())
            if twice:
                raise ValueError(f"{module.__name__}: expected new keys. Received: {twice}")
            _tables["en"].update(module.TEXTS)
    if language not in _tables:
        raise unknown_name("language", language, _tables)
    return dict(_tables[language])


def forget_english() -> None:
    """Collect the English texts anew when they are next asked for: a lesson was registered."""
    _tables.pop("en", None)


def add(language: str, texts: Mapping[str, str]) -> None:
    """Add or extend a translation, which may be partial.

    Parameters
    ----------
    language : str
        Such as 'de'.
    texts : mapping of key to text
        Keys of ``table()``.

    Raises
    ------
    ValueError
        For a key that English lacks, or a word in braces that the English text lacks.

    Examples
    --------
    >>> from cnnlib.lessons import messages
    >>> messages.add("eo", {"quiz.fold": "Respondo"})
    >>> messages.table("eo")
    {'quiz.fold': 'Respondo'}
    """
    english = table("en")
    for key, text in texts.items():
        if key not in english:
            raise unknown_name("text", key, english)
        extra = _fields(text) - _fields(english[key])
        if extra:
            raise ValueError(
                f"{key}: expected no other words in braces than {sorted(_fields(english[key]))}. "
                f"Received: {sorted(extra)}"
            )
    _tables.setdefault(language, {}).update(texts)


def use(language: str) -> None:
    """Speak this language from now on; what it lacks appears in English.

    Raises
    ------
    ValueError
        For a language that was not added.

    Examples
    --------
    >>> from cnnlib.lessons import messages
    >>> messages.use("en")
    """
    table(language)
    _chosen["language"] = language


def text(key: str, **values: object) -> str:
    """The text of a key in the chosen language, with the words in braces filled in.

    Examples
    --------
    >>> from cnnlib.lessons import messages
    >>> messages.text("hint.read", section="The layer")
    'Read again: The layer'
    """
    english = table("en")
    if key not in english:
        raise unknown_name("text", key, english)
    return _tables[_chosen["language"]].get(key, english[key]).format(**values)


def count(prefix: str) -> int:
    """How many of prefix.1, prefix.2, ... there are.

    Examples
    --------
    >>> from cnnlib.lessons import messages
    >>> messages.count("no.such.text")
    0
    """
    english, number = table("en"), 0
    while f"{prefix}.{number + 1}" in english:
        number += 1
    return number


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
