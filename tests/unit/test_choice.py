"""lessons, the exercise `choose`: its tables leave no doubt, and it sees what a choice rests on."""

import pytest

from cnnlib.lessons import exercises

CHOOSE, _ = exercises.find("choose")


def test_either_divisor_of_the_std_leads_to_the_same_size_and_the_test_set_often_to_another():
    misled = 0
    for sizes, validation, test in CHOOSE.cases():
        assert list(sizes) == sorted(sizes)
        chosen = CHOOSE.solution(sizes, validation, test)
        means = validation.mean(axis=1)
        for ddof in (0, 1):  # the text names the std of the best row, and not its divisor
            noise = validation.std(axis=1, ddof=ddof)[means.argmax()]
            assert sizes[(means >= means.max() - noise).argmax()] == chosen
        misled += sizes[test.mean(axis=1).argmax()] != chosen
    assert misled > 1


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda sizes, validation, test: 1000, "numbers"),
        (lambda sizes, validation, test: validation.mean(axis=1).max(), "type"),
        (lambda sizes, validation, test: sizes[validation], "exception"),
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
