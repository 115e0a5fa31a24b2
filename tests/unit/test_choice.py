"""lessons, the exercise `choose`: its tables leave no doubt, and it sees what a choice rests on."""

import numpy as np
import pytest

from cnnlib.lessons import exercises

CHOOSE, _ = exercises.find("choose")


def noises(validation):
    """Measures of noise that a learner may take, in points."""
    best = validation.mean(axis=1).argmax()
    root = validation.shape[1] ** 0.5
    for ddof in (0, 1):
        each = validation.std(axis=1, ddof=ddof)
        yield from (each[best], 2 * each[best], each[best] / root, 2 * each[best] / root)
        yield from (np.median(each), each.mean())
    yield np.ptp(validation[best])


def test_any_measure_of_noise_leads_to_the_same_size_and_the_test_set_to_another():
    for sizes, validation, test in CHOOSE.cases():
        assert list(sizes) == sorted(sizes)
        chosen = CHOOSE.solution(sizes, validation, test)
        means = validation.mean(axis=1)
        for noise in noises(validation):
            assert sizes[(means >= means.max() - noise).argmax()] == chosen
        assert sizes[test.mean(axis=1).argmax()] != chosen
        assert not set(sizes) & set(range(len(sizes)))  # a place is never taken for a size


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda sizes, validation, test: 1000, "numbers"),
        (lambda sizes, validation, test: validation.mean(axis=1).max(), "type"),
        (lambda sizes, validation, test: sizes[validation.argmax()], "exception"),
        (lambda sizes, validation: sizes[0], "signature"),
    ],
)
def test_what_is_no_choice_gets_the_words_of_all_exercises(function, diagnosis):
    assert CHOOSE.examine(function).diagnosis == diagnosis


def test_a_choice_that_overwrites_a_table_is_told_so():
    def sorts(sizes, validation, test):
        validation.sort(axis=1)
        return sizes[0]

    assert CHOOSE.examine(sorts).diagnosis == "overwritten"
