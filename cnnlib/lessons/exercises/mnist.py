"""Lesson 08: counting which class is taken for which, and a choice that chance did not make."""

from typing import Any

import numpy as np

from cnnlib.lessons import messages
from cnnlib.lessons.exercise import Exercise, Question, Verdict

LESSON = "08_mnist_cnn"

TEXTS = {
    # --- confusion(y_true, y_answer, classes) ---
    "confusion.solved": "The diagonal holds what is right; everything beside it says which digit "
    "was taken for which. Next: the matrix of your own network.",
    "confusion.hint.1": "Start from `np.zeros((classes, classes), int)`, whatever digits occur. "
    "Which cell does one example belong to?",
    "confusion.hint.2": "Example n belongs to row `y_true[n]` and column `y_answer[n]`: add 1 "
    "there, for each example in a loop.",
    "confusion.hint.3": "`for true, answer in zip(y_true, y_answer): counts[true, answer] += 1`",
    "confusion.swapped": "rows and columns are swapped: a row is a true class, a column an answer.",
    "confusion.by_column": "each column is divided by its sum. That is the share of each "
    "*answer*; here plain counts are asked for.",
    "confusion.by_row": "each row is divided by its sum. That is the share of each true class; "
    "here plain counts are asked for.",
    "confusion.shares": "the counts are divided by the number of examples; return the counts.",
    "confusion.repeats": "a pair that occurs several times is counted once: `counts[a, b] += 1` "
    "with whole arrays adds 1 to each cell that is named, however often it is named.",
    "confusion.only_mistakes": "the diagonal is empty. Right answers are counted too, where row "
    "and column are the same class.",
    "confusion.only_right": "only right answers are counted; each mistake has a cell beside the "
    "diagonal.",
    "confusion.size": "the size comes from the classes that occur. A class may be absent: the "
    "shape is always (classes, classes).",
    "confusion.overflow": "uint8 labels overflow: 20 * 13 is 4 in uint8. Turn the labels into int "
    "before you compute with them.",
    # --- choose(sizes, validation, test) ---
    "choose.solved": "Validation digits choose, several seeds show the noise, and the test digits "
    "were not looked at: so what they say later is honest. Next: open the test set, once.",
    "choose.hint.1": "Only one of the two tables may take part in a choice. Which? What is the "
    "other one still worth if it takes part too?",
    "choose.hint.2": "A row holds the seeds of one size: `validation.mean(axis=1)` gives a mean "
    "for each size, and the row's `std()` says how far chance alone moves it.",
    "choose.hint.3": "Take the best mean, and that row's std as noise. Every size whose mean is at "
    "least best minus noise is as good. Return the first of them: `argmax()` of an array of True "
    "and False is the first True.",
    "choose.test_set": "Not quite: with other test accuracies you choose another size, so the test "
    "set took part in the choice. It would praise what it chose itself: leave it closed.",
    "choose.one_seed": "Not quite: with the same seeds in another order you choose another size, "
    "so a single seed decides. Chance made that one good: take the mean over all seeds.",
    "choose.best_run": "Not quite: you compare the best run of each size. The luckiest seed says "
    "most about luck: compare means over the seeds.",
    "choose.noise": "Not quite: you take the highest mean, also where it leads by less than the "
    "seeds differ among themselves. Such a lead is noise: then the smallest size wins.",
    "choose.largest": "Not quite: of the sizes that are equally good you take the largest. What "
    "speaks for the larger network, if it is not better?",
    "choose.smallest": "Not quite: you always take the smallest size, also where another one leads "
    "by far more than noise.",
    "choose.worst": "Not quite: you choose the lowest mean; these numbers are accuracies, where "
    "more is better.",
    "choose.wrong_axis": "Not quite: the mean runs over the sizes. Axis 1 holds the seeds: average "
    "along it, so that each size keeps one number.",
    "choose.all_runs": "Not quite: the std of the whole table also holds how the sizes differ. "
    "Noise is what the seeds of *one* size do among themselves: the std of the best row.",
    "choose.other_rows": "Not quite: your margin comes from other rows than the best one, alone or "
    "mixed with it. That can be sensible, too; the rule here is the std of the best row alone, so "
    "that all choose alike.",
    "choose.wider": "Not quite: your margin is wider than the std of the best row. Twice the std, "
    "or the row's whole range, can be sensible, too; the rule here is one std, so that all choose "
    "alike.",
    "choose.narrower": "Not quite: your margin is narrower than the std of the best row. Divided "
    "by the root of the number of seeds it says how sure a *mean* is. That can be sensible, too; "
    "the rule here is the plain std, so that all choose alike.",
    "choose.median": "Not quite: you compare medians, which overlook a run that went badly. The "
    "rule here compares means: every seed counts.",
    "choose.border": "Not quite: `>` leaves out a size exactly at the border, and where all seeds "
    "agree (a std of 0) even the best size itself. 'At least' is `>=`.",
    "choose.chain": "Not quite: you go from size to size and compare each with the one that leads "
    "so far. Small leads add up on that way: compare every size with the best one.",
    "choose.many": "Not quite: these are all the sizes that are as good. Return one number, the "
    "smallest of them (`sizes` is a tuple, which takes one index and no array).",
    "choose.index": "Not quite: this is the place in the list. Return the size that stands there.",
    # --- Quiz ---
    "quiz.mnist_row": "In a confusion matrix (rows: true classes) the cell in row 4, column 9 "
    "holds 6. What does it say?",
    "quiz.mnist_row.1": "Six nines were read as fours",
    "quiz.mnist_row.2": "Six fours were read as nines",
    "quiz.mnist_row.3": "Six digits were either a four or a nine",
    "quiz.mnist_row.why": "The row is what the digit is, the column what the network said. The "
    "nines that were read as fours stand in row 9, column 4.",
    "quiz.mnist_lead": "Five seeds each: the small network has a mean of 97.1 % on validation, one "
    "ten times as large 97.2 %, each with a std of 0.3. Which do you take?",
    "quiz.mnist_lead.1": "The small one: the lead of the other is within the noise",
    "quiz.mnist_lead.2": "The large one: it has the higher mean",
    "quiz.mnist_lead.3": "The one that reads the test digits better",
    "quiz.mnist_lead.why": "The seeds of one network differ by more than the two means do. And if "
    "the test digits chose, what they say later would be too good.",
    "quiz.mnist_threshold": "You raise the confidence threshold. What happens?",
    "quiz.mnist_threshold.1": "Coverage rises, and mistakes get rarer",
    "quiz.mnist_threshold.2": "Coverage falls, and all digits are now read correctly",
    "quiz.mnist_threshold.3": "Coverage falls, and the answers that remain are more often right",
    "quiz.mnist_threshold.why": "Fewer digits are answered, and those left out are mostly the "
    "doubtful ones. A few mistakes are made with a probability near 1: no threshold stops them.",
    "quiz.mnist_saliency": "What does a saliency map show at a pixel?",
    "quiz.mnist_saliency.1": "How dark this pixel is",
    "quiz.mnist_saliency.2": "How fast the answer changes when this pixel does",
    "quiz.mnist_saliency.3": "How much a weight has to change there",
    "quiz.mnist_saliency.why": "It is the size of dx at the first layer: a gradient by the image, "
    "while the weights stay as they are.",
}

# --- confusion ----------------------------------------------------------------------------------

# (examples, classes, highest class that occurs)
SIZES = [(30, 3, 2), (40, 5, 4), (25, 4, 2), (60, 20, 19)]


def _confusion_cases() -> list[tuple]:
    rng = np.random.default_rng(8)
    cases = []
    for n, classes, highest in SIZES:
        kind = "uint8" if classes == 20 else "int64"
        true = rng.integers(0, highest + 1, size=n).astype(kind)
        answer = np.where(rng.random(n) < 0.6, true, (true + 1) % (highest + 1)).astype(kind)
        true[:2], answer[:2] = highest, (highest, 0)  # the highest class does occur
        cases.append((true, answer, classes))
    return cases


def _confusion(y_true, y_answer, classes):  # type: ignore[no-untyped-def]
    counts = np.zeros((classes, classes), int)
    for true, answer in zip(y_true, y_answer, strict=True):
        counts[true, answer] += 1
    return counts


def _repeats(y_true, y_answer, classes):  # type: ignore[no-untyped-def]
    counts = np.zeros((classes, classes), int)
    counts[y_true, y_answer] += 1
    return counts


def _overflow(y_true, y_answer, classes):  # type: ignore[no-untyped-def]
    places = (y_true * y_true.dtype.type(classes) + y_answer).astype(int)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def _beside(y_true, y_answer, classes):  # type: ignore[no-untyped-def]
    counts = _confusion(y_true, y_answer, classes)
    return counts - np.diag(np.diag(counts))


def _shares(axis):  # type: ignore[no-untyped-def]
    def shares(*case):  # type: ignore[no-untyped-def]
        counts = _confusion(*case)
        with np.errstate(invalid="ignore"):  # a class that is absent: 0 / 0
            return counts / counts.sum(axis, keepdims=True)

    return shares


# --- choose -------------------------------------------------------------------------------------

# Per table: sizes, mean and std of the validation accuracies of each size (or all its runs), mean
# test accuracies, and how many seeds; in percent. In the first three, sizes are apart by many times
# what the seeds do, and the test set would choose another one. In each of the others a margin that
# is not the std of the best row leads to another size. That std may be taken with Bessel's
# correction (ddof=1) or without: the size is the same. Leads are no round numbers, so that none is
# exactly a margin by accident, where rounding would decide.
_SPREAD = {3: (1, -5, 4), 4: (3, -6, 5, -2), 8: (3, -6, 5, -2, 1, 4, -5, 0)}
_LUCKY = ((95.3, 95.2, 90.1), (94.6, 95.0, 95.4), (97.0, 88.0, 88.5))
TABLES: list[tuple] = [
    ((4, 8, 16, 32), ((91.03, 0.4), (95, 0.4), (92.04, 0.4), (90.02, 0.4)), (95.5, 92, 91, 93), 3),
    ((3, 5, 20), _LUCKY, (96, 93, 92), 3),
    ((10, 20, 40), ((94, 0.4), (96.53, 0.4), (80, 0.4)), (95, 92, 93), 3),
    # within the std: 12 is as good as 24
    (
        (6, 8, 12, 24, 48),
        ((88, 0.5), (92, 0.5), (95.16, 0.5), (95.31, 0.5), (95.22, 0.5)),
        (90, 96, 93, 93, 93.5),
        4,
    ),
    # 1.28 of the std: within twice the std, and above the worst run of the best size
    ((5, 9, 30), ((94.488, 0.4), (95, 0.4), (94.9, 0.4)), (96, 94, 95), 3),
    # 0.9 of a large std: beyond the std of a mean, and twice that
    ((7, 14), ((89.27, 3), (92, 3)), (90, 93), 8),
    # the best row has a small std, then a large one
    ((2, 6, 18), ((94.47, 0.8), (95, 0.2), (93, 0.8)), (95, 93, 94), 4),
    ((2, 6, 18), ((94.47, 0.1), (95, 0.8), (93, 0.1)), (93, 95, 94), 4),
    # exactly at the border
    ((20, 50), ((93.5, 94.5, 93.5, 94.5), (94.0, 96.0, 94.0, 96.0)), (93, 95), 4),
    # all seeds agree, and so do two sizes
    ((4, 12, 36), ((90, 0.2), (95, 0), (95, 0)), (93, 94, 95), 3),
    # the second is as good as the third, and the first as the second, but not as the third
    ((8, 16, 32), ((95, 0.4), (95.31, 0.4), (95.62, 0.4)), (94, 93, 95), 4),
]


def _choose_cases() -> list[tuple]:
    cases = []
    for sizes, validation, test, seeds in TABLES:
        spread = np.array(_SPREAD[seeds], float)
        spread = (spread - spread.mean()) / spread.std()
        rows = np.array(validation, float)
        if rows.shape[1] == 2:
            rows = rows[:, :1] + rows[:, 1:] * spread
        cases.append((sizes, rows, np.array(test, float)[:, None] + 0.4 * spread[::-1]))
    return cases


def _choose(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    best = means.argmax()
    as_good = means >= means[best] - validation[best].std()
    return sizes[as_good.argmax()]


def _all_that_are_good(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    return np.array(sizes)[means >= means.max() - validation[means.argmax()].std()]


def _all_runs(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    return sizes[(means >= means.max() - validation.std()).argmax()]


def _largest(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    best = means.argmax()
    return sizes[np.flatnonzero(means >= means[best] - validation[best].std())[-1]]


def _margin(of, center=np.mean):  # type: ignore[no-untyped-def]
    """A choice with a margin of its own: a number, or one for each size."""

    def choose(sizes, validation, test):  # type: ignore[no-untyped-def]
        centers = center(validation, axis=1)
        best = centers.argmax()
        return sizes[(centers >= centers[best] - of(validation, best)).argmax()]

    return choose


def _of_a_mean(factor, ddof):  # type: ignore[no-untyped-def]
    return _margin(lambda v, best: factor * v[best].std(ddof=ddof) / v.shape[1] ** 0.5)


def _above(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    best = means.argmax()
    return sizes[(means > means[best] - validation[best].std()).argmax()]


def _above_or_nothing(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    best = means.argmax()
    return sizes[np.flatnonzero(means > means[best] - validation[best].std())[0]]


def _above_or_best(sizes, validation, test):  # type: ignore[no-untyped-def]
    means = validation.mean(axis=1)
    best = means.argmax()
    above = means > means[best] - validation[best].std()
    return sizes[above.argmax() if above.any() else best]


def _upwards(larger):  # type: ignore[no-untyped-def]
    """A choice that goes on to a larger size where that leads by more than the noise of both."""

    def choose(sizes, validation, test):  # type: ignore[no-untyped-def]
        at = 0
        for k in range(1, len(sizes)):
            noise = larger(validation[at].std(), validation[k].std())
            if validation[k].mean() > validation[at].mean() + noise:
                at = k
        return sizes[at]

    return choose


def _downwards(sizes, validation, test):  # type: ignore[no-untyped-def]
    at = validation.mean(axis=1).argmax()
    while at and validation[at - 1].mean() >= validation[at].mean() - validation[at].std():
        at -= 1
    return sizes[at]


class Choice(Exercise):
    """A choice that must not depend on the test set, on one seed or on noise.

    What it depends on is found by asking again: with other test accuracies, and with the seeds in
    another order. Other margins than the one asked for are recognised by what they choose.
    """

    def examine(self, *functions: Any) -> Verdict:
        """Try the learner's function on all tables, and on changed ones where it chose wrongly."""
        verdict = super().examine(*functions)
        if verdict.diagnosis in ("type", "exception") and self._chooses_many(functions[0]):
            return Verdict("many", messages.text(f"{self.name}.many"))
        if verdict.diagnosis not in ("numbers", "exception", "not_yet"):
            return verdict
        mistake = self._mistake(functions[0])
        if mistake is None:
            return verdict
        return Verdict(mistake, messages.text(f"{self.name}.{mistake}"))

    def _describe(self, case: tuple) -> str:
        """What the rule looks at: sizes, their means, and where 'as good' begins."""
        sizes, validation, _ = case
        means = validation.mean(axis=1)
        best = means.argmax()
        border = means[best] - validation[best].std()
        listed = ", ".join(f"{mean:.2f}" for mean in means)
        return f"sizes = {sizes}, means = ({listed}), best mean - std = {border:.2f}"

    def _recognised(self, trials: list) -> None:
        """Nothing: `examine` asks again instead."""

    def _mistake(self, function: Any) -> str | None:
        cases = self.cases()
        chosen = [self._answer(function, case) for case in cases]
        if all(c == -1 for c in chosen):
            return None  # it never answers
        if all(0 <= c < len(case[0]) for c, case in zip(chosen, cases, strict=True)):
            return "index"
        for (sizes, validation, test), choice in zip(cases, chosen, strict=True):
            for k in range(1, len(sizes)):
                if self._answer(function, (sizes, validation, np.roll(test, k, axis=0))) != choice:
                    return "test_set"
        for (sizes, validation, test), choice in zip(cases, chosen, strict=True):
            for k in range(1, validation.shape[1]):
                moved = (sizes, np.roll(validation, k, axis=1), np.roll(test, k, axis=1))
                if self._answer(function, moved) != choice:
                    # A mean over the wrong axis depends on the order as well.
                    wrong_axis = dict(self.mistakes["size"])["wrong_axis"]
                    same = [self._answer(wrong_axis, case) for case in cases] == chosen
                    return "wrong_axis" if same else "one_seed"
        for mistake, rule in self.mistakes["size"]:
            asked = mistake in ("test_set", "one_seed", "many")  # above, in a better way
            if not asked and [self._answer(rule, case) for case in cases] == chosen:
                return mistake
        return None

    def _chooses_many(self, function: Any) -> bool:
        """Whether an array or a list comes back, at least where `sizes` is an array itself."""
        sizes, validation, test = self.cases()[0]
        for given in (sizes, np.array(sizes)):
            try:
                chosen = function(given, validation.copy(), test.copy())
            except Exception:  # as below
                continue
            if isinstance(chosen, np.ndarray | list | tuple) and set(np.ravel(chosen)) <= set(
                sizes
            ):
                return True
        return False

    @staticmethod
    def _answer(function: Any, case: tuple) -> int:
        """What the function chooses, -1 for an error."""
        sizes, validation, test = case
        try:
            return int(function(sizes, validation.copy(), test.copy()))
        except Exception:  # a learner's function may fail in any way
            return -1


EXERCISES = [
    Exercise(
        name="confusion",
        section="The test set, once",
        arguments=("y_true", "y_answer", "classes"),
        results=("counts",),
        cases=_confusion_cases,
        solution=_confusion,
        mistakes={
            "counts": [
                ("swapped", lambda t, a, classes: _confusion(a, t, classes)),
                ("repeats", _repeats),
                ("overflow", _overflow),
                ("by_column", _shares(0)),
                ("by_column", lambda *case: np.nan_to_num(_shares(0)(*case))),
                ("by_row", _shares(1)),
                ("by_row", lambda *case: np.nan_to_num(_shares(1)(*case))),
                ("shares", lambda *case: _confusion(*case) / len(case[0])),
                ("only_mistakes", _beside),
                ("only_right", lambda *case: np.diag(np.diag(_confusion(*case)))),
                ("only_right", lambda *case: np.diag(_confusion(*case))),
                ("size", lambda t, a, classes: _confusion(t, a, int(max(t.max(), a.max())) + 1)),
            ]
        },
    ),
    Choice(
        name="choose",
        section="Choose first, test last",
        arguments=("sizes", "validation", "test"),
        results=("size",),
        cases=_choose_cases,
        solution=_choose,
        mistakes={
            "size": [
                ("index", lambda s, v, t: s.index(_choose(s, v, t))),
                ("test_set", lambda s, v, t: s[t.mean(axis=1).argmax()]),
                ("one_seed", lambda s, v, t: s[v[:, 0].argmax()]),
                ("wrong_axis", lambda s, v, t: s[v.mean(axis=0).argmax() % len(s)]),
                ("best_run", lambda s, v, t: s[v.max(axis=1).argmax()]),
                ("noise", lambda s, v, t: s[v.mean(axis=1).argmax()]),
                ("many", _all_that_are_good),
                ("all_runs", _all_runs),
                ("largest", _largest),
                ("border", _above),
                ("border", _above_or_nothing),
                ("border", _above_or_best),
                ("other_rows", _margin(lambda v, best: v.std(axis=1))),
                ("other_rows", _margin(lambda v, best: v.std(axis=1).max())),
                ("other_rows", _margin(lambda v, best: v.std(axis=1).mean())),
                ("other_rows", _margin(lambda v, best: np.median(v.std(axis=1)))),
                ("other_rows", _margin(lambda v, best: v.std(axis=1).min())),
                ("other_rows", _margin(lambda v, best: np.hypot(v.std(axis=1), v[best].std()))),
                ("other_rows", _margin(lambda v, best: v.std(axis=1) + v[best].std())),
                ("wider", _margin(lambda v, best: 2 * v[best].std())),
                ("wider", _margin(lambda v, best: 3 * v[best].std())),
                ("wider", _margin(lambda v, best: np.ptp(v[best]))),
                ("wider", _margin(lambda v, best: v[best].mean() - v[best].min())),
                ("narrower", _of_a_mean(1, 0)),
                ("narrower", _of_a_mean(1, 1)),
                ("narrower", _of_a_mean(2, 0)),
                ("narrower", _of_a_mean(2, 1)),
                ("narrower", _margin(lambda v, best: v[best].std() / 2)),
                ("median", _margin(lambda v, best: v[best].std(), center=np.median)),
                ("median", _margin(lambda v, best: 0, center=np.median)),
                ("chain", _upwards(max)),
                ("chain", _upwards(lambda here, there: here)),
                ("chain", _upwards(lambda here, there: there)),
                ("chain", _downwards),
                ("smallest", lambda s, v, t: s[0]),
                ("worst", lambda s, v, t: s[v.mean(axis=1).argmin()]),
            ]
        },
    ),
]

QUIZ = [
    Question("mnist_row", right=2),
    Question("mnist_lead", right=1),
    Question("mnist_threshold", right=3),
    Question("mnist_saliency", right=2),
]
