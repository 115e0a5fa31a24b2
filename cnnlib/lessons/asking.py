"""`quiz`, `predict` and `revealed`: questions to a learner.

Both views are ipywidgets, which bring their JavaScript with Jupyter and can be used with the
keyboard: Tab to an answer, Space, Tab to the button, Space (tried in JupyterLab, which keeps the
arrow keys for itself). jupyterquiz 2.9.6 would fetch MathJax from a content delivery network where
the page has none. Beside the view, the cell's output holds the same as HTML with folded answers,
for readers who have no kernel: GitHub, a static page.
"""

import html
import importlib.util
import math
import re
from typing import Any

from cnnlib.lessons import exercises, messages
from cnnlib.lessons.checking import in_notebook, show
from cnnlib.lessons.exercise import Question

_predictions: dict[str, str] = {}
NEAR = 0.1  # a number is 'close' when it is off by at most this part of the true one


def quiz(lesson: str) -> None:
    """Ask the questions of a lesson, with an explanation for every answer.

    Parameters
    ----------
    lesson : str
        The notebook's name or number: '01_dense' or '01'.

    Raises
    ------
    ValueError
        For an unknown lesson.

    Examples
    --------
    Outside a notebook, questions and answers are printed.

    >>> from cnnlib import lessons
    >>> lessons.quiz("01")
    Quiz of lesson 01_dense
    <BLANKLINE>
    1. x has the shape (32, 784) ...
    """
    module = exercises.lesson(lesson)
    title = messages.text("quiz.title", lesson=module.LESSON)
    numbered = list(enumerate(module.QUIZ, start=1))
    plain = "\n\n".join([title, *(_as_text(number, q) for number, q in numbered)])
    heading = f"<strong>{_markup(title)}</strong>"
    page = "\n".join([heading, *(_as_html(number, q) for number, q in numbered)])
    view = None
    if _has_widgets():
        from ipywidgets import HTML, VBox

        parts = [_as_widget(number, question) for number, question in numbered]
        view = _reference(VBox([HTML(heading), *parts]))
    show(plain, page=page, view=view)


def predict(name: str) -> None:
    """Show a field for a prediction, a number or a word; leaving it empty is harmless.

    Parameters
    ----------
    name : str
        Any name; `revealed` finds the prediction by it. A cell that is run again forgets what was
        typed before.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> lessons.predict("steps until the loss is under 0.1")
    Your prediction: ...
    """
    _predictions[name] = ""
    still = messages.text("predict.still")
    if not _has_widgets():
        show(still)
        return
    from ipywidgets import Text

    box = Text(
        description=messages.text("predict.label"),
        placeholder=messages.text("predict.placeholder"),
        style={"description_width": "initial"},
        layout={"width": "32em", "max_width": "100%"},
    )
    box.observe(lambda change: _predictions.update({name: change["new"]}), names="value")
    show(still, page=f"<p>{_markup(still)}</p>", view=_reference(box))


def revealed(name: str, value: Any) -> None:
    """Print how a prediction compares with what came out.

    Parameters
    ----------
    name : str
        As in `predict`; where nothing was typed, only the value is said.
    value : float, int, bool or str
        Numbers are shown with four digits, and 'close' means within a tenth of the value. Give a
        text, such as ``f"{loss:.2f}"``, to show it as it is.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> lessons.revealed("steps until the loss is under 0.1", 25)
    It is 25. (You typed no prediction, which costs nothing.)
    """
    shown = value if isinstance(value, str) else _number_text(value)
    typed = _predictions.get(name, "").strip()
    if not typed:
        print(messages.text("predict.none", value=shown))
        return
    true = _as_number(shown)
    # 7,850 is a whole number to some readers and 7.85 to others: take the reading that is nearer.
    readings = [r for r in map(_as_number, (typed, typed.replace(",", ""))) if r is not None]
    mine = min(readings, key=lambda r: abs(r - (true or 0.0)), default=None)
    if typed.casefold() == shown.strip().casefold() or (mine is not None and mine == true):
        key = "predict.right"
    elif mine is None or true is None:
        key = "predict.other"
    elif abs(mine - true) <= NEAR * abs(true):
        key = "predict.near"
    else:
        key = "predict.low" if mine < true else "predict.high"
    print(messages.text(key, prediction=typed, value=shown))


# --- The three forms of a question ----------------------------------------------------------------


def _options(question: Question) -> list[str]:
    key = f"quiz.{question.key}"
    return [messages.text(f"{key}.{i}") for i in range(1, messages.count(key) + 1)]


def _parts(number: int, question: Question) -> tuple[str, list[str], str, str]:
    """The numbered question, its answers, the right one and why."""
    words = messages.text(f"quiz.{question.key}")
    options = _options(question)
    why = messages.text(f"quiz.{question.key}.why")
    asked = messages.text("quiz.question", number=number, question=words)
    return asked, options, options[question.right - 1], why


def _as_text(number: int, question: Question) -> str:
    asked, options, answer, why = _parts(number, question)
    lines = [asked, *(f"   - {option}" for option in options)]
    explained = messages.text("quiz.answer", answer=answer, why=why)
    return "\n".join([*lines, f"   {messages.text('quiz.fold')}: {explained}"])


def _as_html(number: int, question: Question) -> str:
    asked, options, answer, why = _parts(number, question)
    items = "".join(f"<li>{_markup(option)}</li>" for option in options)
    explained = messages.text("quiz.answer", answer=answer, why=why)
    return (
        f"<p>{_markup(asked)}</p>\n<ul>{items}</ul>\n<details><summary>"
        f"{_markup(messages.text('quiz.fold'))}</summary><p>{_markup(explained)}</p></details>"
    )


def _as_widget(number: int, question: Question) -> Any:
    from ipywidgets import HTML, Button, RadioButtons, VBox

    asked, options, answer, why = _parts(number, question)
    choice = RadioButtons(options=options, value=None, layout={"width": "auto"})
    label = messages.text("quiz.answer_button")
    button = Button(description=label, layout={"width": "max-content"})
    explanation = HTML()

    def explain(_: Any) -> None:
        if choice.value is None:
            words = messages.text("quiz.choose")
        else:
            right = choice.value == answer
            words = messages.text("quiz.right" if right else "quiz.wrong", why=why)
        # A screen reader reads a status aloud when it changes.
        explanation.value = f'<p role="status">{_markup(words)}</p>'

    button.on_click(explain)
    return VBox([HTML(f"<p>{_markup(asked)}</p>"), choice, button, explanation])


# --- Small things ---------------------------------------------------------------------------------


def _markup(text: str) -> str:
    """Text as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))


def _has_widgets() -> bool:
    """Whether a widget can be shown; where it cannot, the page form is."""
    return in_notebook() and importlib.util.find_spec("ipywidgets") is not None


def _reference(widget: Any) -> dict[str, Any]:
    """The part of a widget's output that names its view."""
    # Colab has ipywidgets 7, whose widgets only know how to display themselves alone.
    return {"application/vnd.jupyter.widget-view+json": widget.get_view_spec()}


def _number_text(value: Any) -> str:
    return str(value) if isinstance(value, bool | int) else f"{value:.4g}"


def _as_number(text: str) -> float | None:
    """The number that a text is, with a point or a comma, perhaps with %; else None."""
    try:
        number = float(re.sub(r"\s|%\s*$", "", text).replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
