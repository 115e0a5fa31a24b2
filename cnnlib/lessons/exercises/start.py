"""Lesson 00: no exercises, three questions."""

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "00_start_here"

TEXTS = {
    "quiz.start_letter": "You draw the letter A for a network that was trained on digits alone. "
    "What does it answer?",
    "quiz.start_letter.1": "Nothing: it sees that this is no digit",
    "quiz.start_letter.2": "Ten probabilities for ten digits, as always",
    "quiz.start_letter.3": "An error message",
    "quiz.start_letter.why": "It has ten outputs, one a digit, and no other way to answer. That an "
    "answer comes says nothing about whether the question made sense.",
    "quiz.start_window": "A convolution slides a small window of weights over the picture. What "
    "does it compute at each place?",
    "quiz.start_window.1": "The products of pixels and weights, added up",
    "quiz.start_window.2": "The darkest pixel in the window",
    "quiz.start_window.3": "The probability of a digit",
    "quiz.start_window.why": "Each pixel under the window is multiplied by its weight and all "
    "products are added: one number for each place.",
    "quiz.start_learned": "Where do the numbers in that window come from?",
    "quiz.start_learned.1": "Somebody designed them for digits",
    "quiz.start_learned.2": "They stay as random as they began",
    "quiz.start_learned.3": "Training changed them, step by step, from examples",
    "quiz.start_learned.why": "They start random, and each training step moves them a little so "
    "that the answers get better. Lesson 01 begins with how.",
}

EXERCISES: list[Exercise] = []

QUIZ = [
    Question("start_letter", right=2),
    Question("start_window", right=1),
    Question("start_learned", right=3),
]
