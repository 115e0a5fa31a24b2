"""What the notebooks ask of a learner: exercises that answer back, hints, quizzes, predictions.

``from cnnlib import lessons`` in a notebook; ``import cnnlib`` does not load this package.

`check` tries a learner's function and says in one or two sentences what it found, `hint` gives one
hint at a time, and `working` stands in for what is not solved yet. `quiz` asks the questions of a
lesson, `predict` shows a field for a prediction that `revealed` answers. `report` writes for a
teacher how many exercises are solved, `register` takes a teacher's own exercises, and `measured`
reads what the committed benchmarks found.

The exercises of a lesson, its quiz and their texts stand in one file of
`cnnlib/lessons/exercises/`; a file that is put there is found. `messages` joins all texts into one
table, which a translation follows.
"""

from cnnlib.lessons.asking import predict, quiz, revealed
from cnnlib.lessons.checking import check, hint, report, results, working
from cnnlib.lessons.exercises import register
from cnnlib.lessons.records import measured

__all__ = [
    "check",
    "hint",
    "measured",
    "predict",
    "quiz",
    "register",
    "report",
    "results",
    "revealed",
    "working",
]
