"""cnnlib.lessons: checks accept what is right and name what is wrong; hints, quiz, reports."""

import csv
import importlib
import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from cnnlib import lessons
from cnnlib.lessons import asking, checking, exercises, messages
from cnnlib.lessons.exercise import Question
from learners.dense import backward_with, loop_forward

ROOT = Path(__file__).resolve().parents[2]
ALL = [exercise for module in exercises.modules() for exercise in module.EXERCISES]
BY_NAME = {exercise.name: exercise for exercise in ALL}
# Those that are a function of their arguments, tried on cases; the others examine in their own way.
PLAIN = [exercise for exercise in ALL if type(exercise) is exercises.Exercise]

# What learners write, a file a lesson: other right ways, and mistakes with the name of each.
LEARNERS = [
    importlib.import_module(f"learners.{path.stem}")
    for path in sorted((Path(__file__).parent / "learners").glob("*.py"))
]
RIGHT = [entry for learner in LEARNERS for entry in learner.RIGHT]
MISTAKES = [entry for learner in LEARNERS for entry in learner.MISTAKES]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Forget what other tests checked, asked and translated."""
    monkeypatch.setattr(checking, "_results", {})
    monkeypatch.setattr(checking, "_hints", {})
    monkeypatch.setattr(asking, "_predictions", {})
    messages.table()
    monkeypatch.setattr(messages, "_tables", {"en": messages.table("en")})
    monkeypatch.setattr(messages, "_chosen", {"language": "en"})


@pytest.fixture
def said(capsys):
    """Return what a check prints, and its diagnosis."""

    def run(name, *functions):
        lessons.check(name, *functions)
        return capsys.readouterr().out.strip(), lessons.results()[name].diagnosis

    return run


# --- What is right ---------------------------------------------------------------------------


@pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.name)
def test_the_solution_is_accepted_with_what_comes_next(exercise, said):
    text, diagnosis = said(exercise.name, exercise.solution)
    assert diagnosis == "right"
    assert messages.text(f"{exercise.name}.solved") in text


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_other_right_ways_are_accepted(name, function, said):
    text, diagnosis = said(name, function)
    assert diagnosis == "right", text


# --- Stubs -----------------------------------------------------------------------------------


def stub_raises(*arguments):
    raise NotImplementedError("your turn")


def stub_returns_nothing(*arguments): ...


@pytest.mark.parametrize("stub", [stub_raises, stub_returns_nothing])
@pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.name)
def test_a_stub_gets_a_friendly_not_yet(exercise, stub, said):
    text, diagnosis = said(exercise.name, stub)
    assert diagnosis == "not_yet"
    assert text.startswith("Not yet")
    assert "Error" not in text


def test_a_result_that_is_still_none_is_named(said):
    text, diagnosis = said("dense_backward", lambda dy, x, W: (dy @ W.T, None, None))
    assert diagnosis == "not_yet"
    assert "dW is still None" in text


# --- Typical mistakes, written as a learner would --------------------------------------------


@pytest.mark.parametrize(("name", "mistake", "function"), MISTAKES)
def test_a_typical_mistake_is_named(name, mistake, function, said):
    text, diagnosis = said(name, function)
    assert diagnosis == mistake, text
    if mistake != "order":
        assert messages.text(f"{name}.{mistake}") in text
        assert ("Seen with" in text) == (BY_NAME[name] in PLAIN)


def test_every_exercise_is_tried_on_four_mistakes_or_more_and_every_rule_by_one():
    for exercise in ALL:
        tried = {mistake for name, mistake, _ in MISTAKES if name == exercise.name}
        rules = {mistake for rules in exercise.mistakes.values() for mistake, _ in rules}
        rules |= set(exercise.errors.values())
        assert len(tried) >= 4, exercise.name
        assert rules <= tried, f"{exercise.name}: no learner's version of {rules - tried}"


def test_no_mistaken_rule_gives_the_right_results_in_every_case():
    for exercise in PLAIN:
        for index, (result, rules) in enumerate(exercise.mistakes.items()):
            assert result == exercise.results[index]
            for mistake, rule in rules:
                verdicts = []
                for case in exercise.cases():
                    right = exercise.solution(*case)
                    right = right[index] if len(exercise.results) > 1 else right
                    try:
                        wrong = rule(*case)
                    except (ValueError, IndexError, TypeError):
                        continue
                    same = np.shape(wrong) == np.shape(right)
                    verdicts.append(same and np.allclose(wrong, right))
                assert verdicts, f"{exercise.name}.{mistake} never gives numbers"
                assert not all(verdicts), f"{exercise.name}.{mistake} is right"


def test_cases_hide_no_mistake_and_are_the_same_each_time():
    for name in ("dense_forward", "dense_backward"):
        first, second = BY_NAME[name].cases(), BY_NAME[name].cases()
        for one, other in zip(first, second, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
        sizes = {array.shape for case in first for array in case}
        assert any(len(set(shape)) > 1 for shape in sizes)
        assert all(len(case[0]) > 1 for case in first), "a batch above 1"
        assert all(np.all(array != 0) for case in first for array in case), "no zeros"
        assert {array.dtype for case in first for array in case} == {
            np.dtype("float32"),
            np.dtype("float64"),
        }


# --- What all exercises share ----------------------------------------------------------------


def in_place(x, W, b):
    x *= 2
    return x @ W / 2 + b


def in_place_and_back(x, W, b):
    W += 1
    y = x @ (W - 1) + b
    return y


def returns_nan(x, W, b):
    y = x @ W + b
    y[0, 0] = np.nan
    return y


def divides_by_zero(x, W, b):
    return (x @ W + b) / np.zeros(len(b))


def fails_at_a_line(x, W, b):
    y = x @ W
    return y.nonsense + b


@pytest.mark.parametrize(
    ("function", "diagnosis", "words"),
    [
        (in_place, "overwritten", ["overwrites its argument x", "new array"]),
        (in_place_and_back, "overwritten", ["overwrites its argument W"]),
        (returns_nan, "not_finite", ["nan", "x (4, 3), W (3, 2), b (2,)"]),
        (divides_by_zero, "not_finite", ["inf"]),
        (fails_at_a_line, "exception", ["AttributeError", "`return y.nonsense + b`", "x (4, 3)"]),
        (lambda x, W, b: 1 / 0, "exception", ["ZeroDivisionError: division by zero"]),
        (lambda x, W, b: sys.exit("bye"), "exception", ["SystemExit: bye"]),
        (lambda x, W, b: [1][5], "exception", ["IndexError"]),
        (lambda x, W: x @ W, "signature", ["(x, W, b)", "(x, W)"]),
        (lambda: 1, "signature", ["(x, W, b)"]),
        (lambda x, W, b: (x @ W + b).tolist(), "type", ["NumPy array", "list of 4"]),
        (lambda x, W, b: (x @ W + b, None), "type", ["tuple of 2"]),
        (lambda x, W, b: "y", "type", ["NumPy array", "str"]),
        (lambda x, W, b: 3.5, "type", ["float 3.5"]),
        (lambda x, W, b: (x @ W + b) > 0, "type", ["array of bool, shape (4, 2)"]),
        (lambda x, W, b: (x @ W + b).astype(object), "type", ["array of object"]),
        (lambda x, W, b: np.zeros((7, 7)), "shape", ["(4, 2)", "(7, 7)", "x (4, 3)"]),
        (lambda x, W, b: np.sin(x @ W) + b, "numbers", ["y[", "should be"]),
        (lambda x, W, b: np.zeros((len(x), len(b))), "numbers", ["yours is 0"]),
        (lambda x, W, b: -(x @ W + b), "sign", ["wrong sign"]),
        (lambda x, W, b: 3 * (x @ W + b), "factor", ["3 times"]),
        (None, "not_callable", ["without brackets", "NoneType"]),
        (np.zeros(3), "not_callable", ["ndarray"]),
    ],
)
def test_whatever_a_function_does_a_sentence_comes_back(function, diagnosis, words, said):
    text, found = said("dense_forward", function)
    assert found == diagnosis, text
    for word in words:
        assert word in text
    assert "Traceback" not in text
    assert not re.search(r"0x[0-9a-f]{6}|\.py", text), "no address, no path of a machine"


@pytest.mark.parametrize(
    ("name", "function", "diagnosis", "words"),
    [
        ("dense_backward", lambda dy, x, W: dy @ W.T, "results", "3 results, (dx, dW, db)"),
        ("dense_backward", lambda dy, x, W: (dy @ W.T, x.T @ dy), "results", "tuple of 2"),
        ("dense_backward", lambda dy, x, W: (dy @ W.T, 1, 2), "type", "dW as a NumPy array"),
        ("parameter_count", lambda i, o: i * o + float(o), "type", "a whole number"),
        ("parameter_count", lambda i, o: True, "type", "bool True"),
        ("parameter_count", lambda i, o: 10**400, "numbers", "should be 8"),
        ("parameter_count", lambda i, o: (i, o), "type", "tuple of 2"),
        ("mse_slope", lambda w, x, t: "steep", "type", "one number"),
        ("mse_slope", lambda w, x, t: np.zeros(3), "shape", "slope"),
        ("gradient_step", lambda w, slope, rate: float("nan"), "not_finite", "nan"),
        ("gradient_step", lambda w, slope, rate: 1j, "type", "complex"),
        # A fixed margin is no mistake with a name: the numbers of the rule stand in the text.
        (
            "choose",
            lambda s, v, t: s[(v.mean(axis=1) >= v.mean(axis=1).max() - 0.4).argmax()],
            "numbers",
            "means = (89.27, 92.00), best mean - std = 89.00, size should be 7; yours is 14",
        ),
    ],
)
def test_results_of_other_kinds(name, function, diagnosis, words, said):
    text, found = said(name, function)
    assert found == diagnosis, text
    assert words in text


def test_a_message_is_one_or_two_sentences_and_the_same_each_time(said):
    for name, _, function in MISTAKES:
        first, second = said(name, function)[0], said(name, function)[0]
        assert first == second
        assert len(first) < 330, first
        assert "\n" not in first


def test_learners_keep_their_ctrl_c():
    def endless(x, W, b):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lessons.check("dense_forward", endless)


def test_a_mistake_in_the_notebook_is_an_error():
    with pytest.raises(ValueError, match="unknown exercise: 'dense_foward'.*'dense_forward'"):
        lessons.check("dense_foward", loop_forward)
    with pytest.raises(TypeError, match=r"expects 1 function.*Received: 0"):
        lessons.check("dense_forward")


def test_an_exercise_may_take_several_functions():
    exercise = exercises.Exercise(
        name="parameter_count",
        section="",
        arguments=("fan_in", "units"),
        results=("count",),
        cases=lambda: [(3, 2)],
        solution=lambda i, o: i * o + o,
        combine=lambda weights, biases: lambda i, o: weights(i, o) + biases(o),
    )
    assert exercise.examine(lambda i, o: i * o, lambda o: o).passed
    assert exercise.examine(lambda i, o: i * o, lambda o: 1).diagnosis == "numbers"
    assert exercise.examine(lambda i, o: i * o, 3).diagnosis == "not_callable"


# --- Hints, texts, translations --------------------------------------------------------------


def test_hints_come_one_at_a_time_and_say_when_there_are_no_more(capsys):
    shown = []
    for _ in range(5):
        lessons.hint("dense_forward")
        shown.append(capsys.readouterr().out)
    assert [text.split(":")[0] for text in shown[:3]] == [f"Hint {i} of 3" for i in (1, 2, 3)]
    assert shown[3] == shown[4]
    assert "the last of 3 hints" in shown[3]
    assert all("Read again: From a neuron to a layer" in text for text in shown)
    with pytest.raises(ValueError, match="unknown exercise"):
        lessons.hint("nothing")


def test_every_text_that_an_exercise_or_a_quiz_needs_is_there():
    table = messages.table("en")
    needed = set(messages.ENGLISH)
    for module in exercises.modules():
        for exercise in module.EXERCISES:
            assert messages.count(f"{exercise.name}.hint") >= 2
            needed |= {key for key in table if key.startswith(f"{exercise.name}.hint.")}
            needed.add(f"{exercise.name}.solved")
            needed |= {
                f"{exercise.name}.{mistake}"
                for rules in exercise.mistakes.values()
                for mistake, _ in rules
            }
            needed |= {f"{exercise.name}.{mistake}" for mistake in exercise.errors.values()}
        for question in module.QUIZ:
            count = messages.count(f"quiz.{question.key}")
            assert 1 <= question.right <= count >= 2
            answers = {f"quiz.{question.key}.{i}" for i in range(1, count + 1)}
            needed |= {f"quiz.{question.key}", f"quiz.{question.key}.why", *answers}
    assert needed <= set(table)
    assert set(table) - needed == set(), "texts that nothing shows"


def test_a_partial_translation_speaks_and_falls_back_to_english(said, capsys):
    messages.add(
        "de",
        {
            "check.right": "Richtig: {name} stimmt in allen {count} Fällen. {why}",
            "check.mistake": "Noch nicht: {mistake} (Gesehen bei {case}.)",
            "dense_forward.no_bias": "der Bias fehlt.",
            "hint.numbered": "Hinweis {number} von {count}: {text}",
        },
    )
    messages.use("de")
    solution = BY_NAME["dense_forward"].solution
    english = messages.table("en")["dense_forward.solved"]
    right = f"Richtig: dense_forward stimmt in allen 6 Fällen. {english}"
    assert said("dense_forward", solution)[0] == right
    text, diagnosis = said("dense_forward", lambda x, W, b: x @ W)
    assert text.startswith("Noch nicht: der Bias fehlt. (Gesehen bei x (4, 3)")
    assert diagnosis == "no_bias"  # a teacher's report stays comparable
    assert said("dense_forward", stub_raises)[0].startswith("Not yet")
    lessons.hint("dense_forward")
    assert capsys.readouterr().out.startswith("Hinweis 1 von 3: Write the three shapes")


def test_no_text_stands_outside_the_table(said, capsys, tmp_path):
    """With every text replaced by its key, nothing else is left to read."""
    english = messages.table("en")
    fields = {key: re.findall(r"{\w+}", text) for key, text in english.items()}
    messages.add("xx", {key: " ".join([f"<{key}>", *fields[key]]) for key in english})
    messages.use("xx")
    assert said("dense_forward", stub_raises)[0] == "<check.not_yet> dense_forward"
    text, _ = said("dense_forward", lambda x, W, b: x @ W)
    expected = "<check.mistake> <dense_forward.no_bias> x (4, 3), W (3, 2), b (2,)"
    assert text == expected
    lessons.hint("dense_forward")
    lessons.predict("any")
    lessons.revealed("any", 1)
    lessons.quiz("01")
    lessons.report(tmp_path / "report.csv")
    shown = capsys.readouterr().out.replace(str(tmp_path.as_posix()), "")
    words = re.sub(r"<[\w.]+>", "", shown)
    left = set(re.findall(r"[A-Za-z]{2,}", words))
    assert left <= {"From", "neuron", "to", "layer", "dense", "report", "csv"}


def test_a_translation_with_wrong_keys_or_words_is_refused():
    with pytest.raises(ValueError, match="unknown text: 'check.rigth'.*'check.right'"):
        messages.add("de", {"check.rigth": "ja"})
    with pytest.raises(ValueError, match=r"check.right: expected no other words.*\['nombre'\]"):
        messages.add("fr", {"check.right": "{nombre}"})
    with pytest.raises(ValueError, match="unknown language: 'tlh'"):
        messages.use("tlh")
    with pytest.raises(ValueError, match="unknown text"):
        messages.text("no.such.text")


# --- Results for a teacher -------------------------------------------------------------------


def checked(capsys):
    lessons.check("dense_forward", BY_NAME["dense_forward"].solution)
    lessons.check("dense_backward", backward_with(db=lambda dy, x, W: dy))
    lessons.check("dense_backward", backward_with(db=lambda dy, x, W: dy.mean(axis=0)))
    capsys.readouterr()


def test_results_hold_the_last_check_and_the_number_of_attempts(capsys):
    checked(capsys)
    found = lessons.results()
    assert {name: (r.passed, r.attempts) for name, r in found.items()} == {
        "dense_forward": (True, 1),
        "dense_backward": (False, 2),
    }
    assert found["dense_backward"].diagnosis == "db_averaged"
    found.clear()
    assert lessons.results(), "a caller cannot change what is kept"


def test_what_works_is_the_learners_own_and_else_the_solution_and_counts_as_no_attempt(capsys):
    mine = loop_forward
    assert lessons.working("dense_forward", mine) is mine
    assert capsys.readouterr().out == ""
    for wrong in (stub_raises, None, lambda x, W, b: x @ W):
        assert lessons.working("dense_forward", wrong) is BY_NAME["dense_forward"].solution
        assert "dense_forward is not solved yet" in capsys.readouterr().out
    assert lessons.results() == {}


def test_a_report_counts_every_exercise_of_the_lesson(capsys, tmp_path):
    checked(capsys)
    lessons.report(tmp_path / "sub" / "me.csv", lesson="01")
    assert "1 of 5 exercises solved" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "sub" / "me.csv").read_text("utf-8"))))
    assert {row["exercise"]: (row["solved"], row["diagnosis"]) for row in rows} == {
        "mse_slope": ("0", "not_tried"),
        "gradient_step": ("0", "not_tried"),
        "dense_forward": ("1", "right"),
        "dense_backward": ("0", "db_averaged"),
        "parameter_count": ("0", "not_tried"),
    }


def test_a_junit_report_can_be_read_back(capsys, tmp_path):
    checked(capsys)
    lessons.report(tmp_path / "me.xml", lesson="01_dense")
    suite = ElementTree.parse(tmp_path / "me.xml").getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "1", "3")
    failure = suite.find("testcase[@name='dense_backward']/failure")
    assert failure.get("type") == "db_averaged"
    assert failure.get("message") == lessons.results()["dense_backward"].message


def test_a_report_without_a_lesson_holds_what_was_checked(capsys, tmp_path):
    checked(capsys)
    lessons.report(str(tmp_path / "me.csv"))
    assert "1 of 2 exercises" in capsys.readouterr().out


def test_a_report_refuses_another_suffix_and_an_unknown_lesson(tmp_path):
    with pytest.raises(ValueError, match=r"unknown suffix of a report: '.pdf'.*Known: .csv, .xml"):
        lessons.report(tmp_path / "me.pdf")
    with pytest.raises(ValueError, match="unknown lesson: '77'"):
        lessons.report(tmp_path / "me.csv", lesson="77")


# --- A teacher's own exercises ---------------------------------------------------------------


def own_lesson(**changes):
    """A lesson as a teacher's file holds it."""
    texts = {
        "doubled.solved": "It is twice as much.",
        "doubled.hint.1": "Add it to itself.",
        "doubled.squared": "it is squared.",
        "quiz.twice": "Twice 3?",
        "quiz.twice.1": "6",
        "quiz.twice.2": "9",
        "quiz.twice.why": "3 + 3.",
    }
    exercise = exercises.Exercise(
        name="doubled",
        section="Twice",
        arguments=("x",),
        results=("y",),
        cases=lambda: [(3.0,), (-0.5,)],
        solution=lambda x: 2 * x,
        mistakes={"y": [("squared", lambda x: x * x)]},
    )
    question = Question("twice", right=1)
    holds = {"LESSON": "X1_mine", "TEXTS": texts, "EXERCISES": [exercise], "QUIZ": [question]}
    return SimpleNamespace(**(holds | changes))


@pytest.fixture
def registry(monkeypatch):
    """Forget afterwards what a test registers."""
    monkeypatch.setattr(exercises, "_registered", [])
    exercises.modules.cache_clear()
    yield
    exercises.modules.cache_clear()


def test_a_teachers_own_lesson_is_checked_asked_and_reported(registry, said, capsys, tmp_path):
    lessons.register(own_lesson())
    lessons.register(own_lesson())  # a cell that is run twice
    assert said("doubled", lambda x: x + x)[0].endswith("It is twice as much.")
    assert said("doubled", lambda x: x * x)[1] == "squared"
    lessons.hint("doubled")
    assert "Add it to itself." in capsys.readouterr().out
    lessons.quiz("X1")
    assert "Twice 3?" in capsys.readouterr().out
    lessons.report(tmp_path / "r.csv", lesson="X1_mine")
    assert "0 of 1 exercises" in capsys.readouterr().out
    assert said("dense_forward", loop_forward)[1] == "right"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"EXERCISES": [BY_NAME["dense_forward"]]},
            r"taken by another lesson: \['dense_forward'\]",
        ),
        ({"TEXTS": {"doubled.solved": "yes"}}, r"lacks these texts: \['doubled.squared', 'quiz"),
    ],
)
def test_a_lesson_that_is_not_complete_is_refused(registry, changes, words):
    with pytest.raises(ValueError, match=words):
        lessons.register(own_lesson(**changes))
    with pytest.raises(ValueError, match=r"Missing: \['LESSON', 'TEXTS', 'EXERCISES', 'QUIZ'\]"):
        lessons.register(3)
    assert lessons.check is not None and "X1_mine" not in [m.LESSON for m in exercises.modules()]


# --- Quiz and predictions --------------------------------------------------------------------


class Shown(list):
    """What a notebook would display."""

    def display(self, data, raw):
        assert raw
        self.append(data)


@pytest.fixture
def notebook(monkeypatch):
    """Make the views believe that they run in a kernel; return what they display."""
    import IPython.display

    shown = Shown()
    monkeypatch.setattr(checking, "in_notebook", lambda: True)
    monkeypatch.setattr(asking, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", shown.display)
    return shown


def widget_of(data):
    import ipywidgets

    view = data["application/vnd.jupyter.widget-view+json"]
    # ipywidgets 7, which Colab has, keeps them in the class.
    kept = getattr(ipywidgets.widgets.widget, "_instances", None) or ipywidgets.Widget.widgets
    return kept[view["model_id"]]


def test_a_quiz_explains_right_and_wrong_answers(notebook):
    lessons.quiz("01_dense")
    box = widget_of(notebook[0])
    title, *questions = box.children
    assert "01_dense" in title.value
    assert len(questions) == 4
    for view, question in zip(questions, exercises.lesson("01").QUIZ, strict=True):
        asked, choice, button, explanation = view.children
        assert messages.text(f"quiz.{question.key}") in asked.value.replace("&lt;", "<")
        assert choice.value is None, "nothing is chosen beforehand"
        button.click()
        assert "Choose an answer first" in explanation.value
        for number, option in enumerate(choice.options, start=1):
            choice.value = option
            button.click()
            beginning = "Right." if number == question.right else "Not this one."
            assert beginning in explanation.value
            assert 'role="status"' in explanation.value


def test_a_reader_without_a_kernel_finds_questions_and_folded_answers(notebook):
    lessons.quiz("01")
    lessons.quiz("01")
    page = notebook[0]["text/html"]
    assert page.count("<details>") == page.count("</details>") == 4
    unfolded = re.sub(r"<details>.*?</details>", "", page, flags=re.S)
    for question in exercises.lesson("01").QUIZ:
        assert messages.text(f"quiz.{question.key}") in unfolded
        assert messages.text(f"quiz.{question.key}.1") in unfolded
        why = messages.text(f"quiz.{question.key}.why")
        assert why not in unfolded
        assert why in page
    assert page == notebook[1]["text/html"], "what nbval compares is the same each time"
    assert notebook[0]["text/plain"] == notebook[1]["text/plain"]


def test_a_page_shows_signs_as_signs_and_backticks_as_code():
    assert asking._markup("`a < b` & c") == "<code>a &lt; b</code> &amp; c"


def test_every_lesson_has_a_quiz_that_prints_outside_a_notebook(capsys):
    for module in exercises.modules():
        lessons.quiz(module.LESSON)
        text = capsys.readouterr().out
        assert module.LESSON in text
        assert text.count("Answer:") == len(module.QUIZ) >= 3
    with pytest.raises(ValueError, match="unknown lesson"):
        lessons.quiz("77")


def test_quiz_and_predict_go_on_without_ipywidgets(notebook, monkeypatch):
    monkeypatch.setattr(asking, "_has_widgets", lambda: False)
    lessons.quiz("01")
    lessons.predict("loss")
    assert [set(data) for data in notebook] == [{"text/plain", "text/html"}, {"text/plain"}]


def test_a_hint_links_to_its_section(notebook):
    lessons.hint("dense_forward")
    assert "[From a neuron to a layer](#From-a-neuron-to-a-layer)" in notebook[0]["text/markdown"]


@pytest.mark.parametrize(
    ("typed", "value", "words"),
    [
        ("", 25, "It is 25. (You typed no prediction, which costs nothing.)"),
        ("   ", 25, "It is 25. (You typed no prediction, which costs nothing.)"),
        ("25", 25, "You predicted 25, and so it is."),
        (" 0,5", 0.5, "You predicted 0,5, and so it is."),
        ("96 %", "97 %", "You predicted 96 %; it is 97 %: close."),
        ("10", 25.0, "You predicted 10; it is 25, which is more."),
        ("-10", -25.123456, "You predicted -10; it is -25.12, which is less."),
        ("7,850", 7850, "You predicted 7,850, and so it is."),
        ("7 850", 7850, "You predicted 7 850, and so it is."),
        ("many", 25, "You predicted many; it is 25."),
        ("Left", "left", "You predicted Left, and so it is."),
        ("right", "left", "You predicted right; it is left."),
        ("nan", 25, "You predicted nan; it is 25."),
        ("1", float("inf"), "You predicted 1; it is inf."),
        ("{value}", 3, "You predicted {value}; it is 3."),
        ("true", True, "You predicted true, and so it is."),
    ],
)
def test_a_prediction_is_answered(typed, value, words, notebook, capsys):
    lessons.predict("loss")
    widget_of(notebook[0]).value = typed
    lessons.revealed("loss", value)
    assert capsys.readouterr().out.strip() == words


def test_revealed_needs_no_field(capsys):
    lessons.revealed("never asked", "3")
    assert capsys.readouterr().out.startswith("It is 3.")


# --- The package -----------------------------------------------------------------------------


def loaded_by(code):
    command = f"import sys; sys.path[:0] = {sys.path!r}; {code}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    return set(io.TextIOWrapper(io.BytesIO(result.stdout), "utf-8").read().split())


def test_the_package_is_loaded_by_who_asks_for_it_and_brings_no_widgets():
    assert "cnnlib.lessons" not in loaded_by("import cnnlib")
    heavy = {"ipywidgets", "IPython", "matplotlib", "traitlets"}
    code = "from cnnlib import lessons; lessons.hint('dense_forward')"
    assert not loaded_by(code) & heavy


def test_a_section_to_read_again_is_a_heading_of_the_lesson():
    for module in exercises.modules():
        path = ROOT / "notebooks" / f"{module.LESSON}.ipynb"
        if not path.exists():
            continue  # the lesson is not written yet
        import nbformat

        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings = {heading.strip() for heading in re.findall(r"^#+ (.*)$", text, re.M)}
        for exercise in module.EXERCISES:
            assert exercise.section in headings, exercise.name
