"""Lesson 07: the comparative synapse, its exact gradient, and what a layer of them computes."""

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "07_comparative_synapse"

TEXTS = {
    # --- synapse(x, w) ---
    "synapse.solved": "This comparison stands where every other network multiplies. Next: read it "
    "in the library.",
    "synapse.hint.1": "c is the smaller of the two magnitudes, with the sign of the product. "
    "`np.abs` gives the magnitude of every number of an array.",
    "synapse.hint.2": "`np.minimum(np.abs(x), np.abs(w))` is the smaller magnitude. Which sign "
    "does it need?",
    "synapse.hint.3": "The sign is that of the product: `np.sign(x) * np.sign(w)` is 1 where x and "
    "w agree and -1 where they do not.",
    "synapse.no_sign": "the sign is missing: this is the smaller magnitude, never below 0. Where x "
    "and w have opposite signs, c is negative.",
    "synapse.no_half": "the half is missing. With x = w = 1 the two magnitudes are 2 and 0, and c "
    "has to be 1.",
    "synapse.plain_min": "this is the smaller *number*. c compares magnitudes: of -3 and 0.5 it "
    "takes the 0.5, and gives it the product's sign.",
    "synapse.one_sign": "only one sign counts in yours. The product's sign is that of x times that "
    "of w: two negative numbers make a positive c.",
    "synapse.larger": "this has the larger magnitude. The smaller one passes.",
    "synapse.swapped": "the two magnitudes are exchanged, which turns the sign of c: |x + w| comes "
    "first.",
    "synapse.product": "this is the product. c is no larger in magnitude than either of the two.",
    "synapse.one_bound": "the bound holds on one side only. It has to stop at -|w| as well as at "
    "|w|.",
    "synapse.summed": "you add up all the synapses. Here each pair has a result of its own, in the "
    "shape of x.",
    # --- synapse_gradient(dy, x, w) ---
    "synapse_gradient.solved": "Each synapse passes all of dy to its smaller number and nothing "
    "to the other. Next: trust it by finite differences.",
    "synapse_gradient.hint.1": "Two cases: where |x| < |w|, and where |w| < |x|. What is c in "
    "each, and which of the two numbers is not in it?",
    "synapse_gradient.hint.2": "Where |x| < |w|, c is `x * np.sign(w)`. When x grows a little, c "
    "changes by sgn(w) times as much; w does nothing.",
    "synapse_gradient.hint.3": "`np.where(np.abs(x) < np.abs(w), np.sign(w) * dy, 0)` is dx. In dw "
    "the two numbers change places.",
    "synapse_gradient.product": "this is the gradient of a product. In a comparison the other "
    "number's size is of no account: only its sign, and which of the two is the smaller.",
    "synapse_gradient.gated_product": "the cases are right, but in each you pass the other "
    "*number*, as a product would. Only its sign counts: c has the slope 1 or -1.",
    "synapse_gradient.swapped": "the two cases are exchanged. The smaller magnitude is what c is "
    "made of, so the smaller one gets the gradient.",
    "synapse_gradient.sign_lost": "the sign is lost. Where the other number is negative, c falls "
    "when this one grows.",
    "synapse_gradient.own_sign": "this is the number's own sign, or both signs. What turns c round "
    "is the sign of the *other* number.",
    "synapse_gradient.dy_lost": "there is no dy in it. The slope of c is only half of the chain "
    "rule: multiply by dy.",
    "synapse_gradient.no_case": "each of the two gets the gradient everywhere. It goes only to the "
    "one whose magnitude is smaller.",
    "synapse_gradient.no_magnitude": "you compare the numbers themselves. What counts is which "
    "*magnitude* is smaller: -3 is larger than 0.5 in this sense.",
    "synapse_gradient.no_half": "the half is missing: sgn(x + w) and sgn(x - w) add up to 2 or -2 "
    "where they agree, and the slope of c is 1 or -1.",
    # --- comparative_count(height, width, channels, size, filters) ---
    "comparative_count.solved": "As many comparisons as another layer has products, and one "
    "product for each number that leaves. Next: what they cost.",
    "comparative_count.hint.1": "How many numbers leave the layer? Windows times filters, and of "
    "windows there are (height - size + 1) * (width - size + 1).",
    "comparative_count.hint.2": "Each of these numbers compares a whole window, size * size * "
    "channels cells, with its kernel: a comparison and an addition for each cell.",
    "comparative_count.hint.3": "To add n terms takes n - 1 additions, and the bias takes one "
    "more. The output scale multiplies each number that leaves once.",
    "comparative_count.positions_forgotten": "the output positions are missing. The same kernel "
    "works at every place of the picture, and each place costs as much again.",
    "comparative_count.input_positions": "you count a window for each cell of the input. Nothing "
    "is padded here, so fewer windows fit.",
    "comparative_count.off_by_one": "the number of windows is off by one in each direction: "
    "size - 1 rows are lost, not size.",
    "comparative_count.filters_forgotten": "the filters are missing: each of them works on every "
    "window.",
    "comparative_count.channels_forgotten": "the channels are missing: a window holds size * size "
    "cells of *every* channel.",
    "comparative_count.size_once": "a window has size rows *and* size columns.",
    "comparative_count.bias_omitted": "the bias is left out of the additions. n terms need n - 1 "
    "additions, and the bias is one more.",
    "comparative_count.bias_twice": "there is one addition too many for each number: n terms need "
    "n - 1, so that with the bias it is n.",
    "comparative_count.scale_omitted": "the output scale is left out: it multiplies each number "
    "that leaves the layer, once.",
    "comparative_count.scale_once": "you count the output scale once. It is one number, but it "
    "multiplies every number that leaves the layer.",
    "comparative_count.synapses_multiply": "you count a multiplication for each synapse. A synapse "
    "compares; only the output scale multiplies, once for each number that leaves.",
    # --- Quiz ---
    "quiz.comparative_value": "What is c(4, -0.25)?",
    "quiz.comparative_value.1": "-1",
    "quiz.comparative_value.2": "0.25",
    "quiz.comparative_value.3": "-0.25",
    "quiz.comparative_value.why": "The smaller magnitude is 0.25, and a product of 4 and -0.25 "
    "would be negative. -1 is that product.",
    "quiz.comparative_dead_end": "In a synapse x = 2 and w = 0.1. What does it pass to the layer "
    "before?",
    "quiz.comparative_dead_end.1": "0.1 times dy",
    "quiz.comparative_dead_end.2": "dy, with the sign of w",
    "quiz.comparative_dead_end.3": "Nothing",
    "quiz.comparative_dead_end.why": "The smaller one is w, and it gets all of dy. As long as x is "
    "larger, c does not depend on x. 0.1 times dy is what a product passes.",
    "quiz.comparative_surrogate": "At the start the product gradient points downhill in every "
    "layer. Why does a network that uses it in all five stay so far behind?",
    "quiz.comparative_surrogate.1": "It does not see that weights outgrow their inputs, and in the "
    "first layers little of the true direction is left",
    "quiz.comparative_surrogate.2": "Its learning rate was too small",
    "quiz.comparative_surrogate.3": "A gradient that is a little off is never of any use",
    "quiz.comparative_surrogate.why": "With it in one layer the network learned well, so a little "
    "off does no great harm. In all five, weights and inputs grew apart, and at other rates it "
    "stays behind as well.",
    "quiz.comparative_worth": "Where can a comparative network save something?",
    "quiz.comparative_worth.1": "On any computer, as comparing is simpler than multiplying",
    "quiz.comparative_worth.2": "On a chip of its own, with small whole numbers and its "
    "memory close by",
    "quiz.comparative_worth.3": "Wherever accuracy counts most",
    "quiz.comparative_worth.why": "A processor multiplies and adds in one instruction, so there "
    "comparing is slower. On a chip each multiplier costs area and energy; but fetching numbers "
    "from far away costs more than either.",
}

# Unequal sizes; every sign and both cases occur in each, ties and zeros in none.
SIZES = [(4, 3), (2, 5), (3, 3), (1, 6)]


def _pairs(seed: int, count: int) -> list[tuple]:
    rng = np.random.default_rng(seed)
    cases = [tuple(rng.normal(size=size) for _ in range(count)) for size in SIZES]
    return [*cases, tuple(array.astype("float32") for array in cases[0])]


def _synapse(x, w):  # type: ignore[no-untyped-def]
    return (np.abs(x + w) - np.abs(x - w)) / 2


def _gradient(dy, x, w):  # type: ignore[no-untyped-def]
    plus, minus = np.sign(x + w), np.sign(x - w)
    return (plus - minus) / 2 * dy, (plus + minus) / 2 * dy


def _mistakes(first: str) -> list:
    """Mistaken rules for dx ('x') or dw ('w'): `own` is that number, `other` the other one."""

    def rule(function):  # type: ignore[no-untyped-def]
        if first == "x":
            return lambda dy, x, w: function(dy, x, w)
        return lambda dy, x, w: function(dy, w, x)

    def where_smaller(value):  # type: ignore[no-untyped-def]
        return rule(
            lambda dy, own, other: np.where(abs(own) < abs(other), value(dy, own, other), 0.0)
        )

    def where_larger(value):  # type: ignore[no-untyped-def]
        return rule(
            lambda dy, own, other: np.where(abs(own) > abs(other), value(dy, own, other), 0.0)
        )

    sign = np.sign
    return [
        ("product", rule(lambda dy, own, other: other * dy)),
        ("swapped", where_larger(lambda dy, own, other: sign(other) * dy)),
        ("swapped", where_larger(lambda dy, own, other: sign(own) * dy)),
        ("sign_lost", where_smaller(lambda dy, own, other: dy)),
        ("own_sign", where_smaller(lambda dy, own, other: sign(own) * dy)),
        ("own_sign", where_smaller(lambda dy, own, other: sign(own * other) * dy)),
        ("dy_lost", where_smaller(lambda dy, own, other: sign(other))),
        ("dy_lost", where_smaller(lambda dy, own, other: np.ones_like(other))),
        ("gated_product", where_smaller(lambda dy, own, other: other * dy)),
        ("no_case", rule(lambda dy, own, other: sign(other) * dy)),
        (
            "no_magnitude",
            rule(lambda dy, own, other: np.where(own < other, sign(other) * dy, 0.0)),
        ),
        (
            "no_half",
            rule(lambda dy, own, other: (sign(own + other) + sign(other - own)) * dy),
        ),
    ]


def _count(height: int, width: int, channels: int, size: int, filters: int) -> tuple[int, int, int]:
    values = (height - size + 1) * (width - size + 1) * filters
    synapses = values * size * size * channels
    return synapses, synapses, values


def _windows(h: int, w: int, s: int) -> int:
    return (h - s + 1) * (w - s + 1)


EXERCISES = [
    Exercise(
        name="synapse",
        section="A question: can a network do without multiplication?",
        arguments=("x", "w"),
        results=("c",),
        cases=lambda: _pairs(1, 2),
        solution=_synapse,
        mistakes={
            "c": [
                ("no_sign", lambda x, w: np.minimum(abs(x), abs(w))),
                ("no_half", lambda x, w: abs(x + w) - abs(x - w)),
                ("plain_min", lambda x, w: np.minimum(x, w)),
                ("one_sign", lambda x, w: np.sign(w) * np.minimum(abs(x), abs(w))),
                ("one_sign", lambda x, w: np.sign(x) * np.minimum(abs(x), abs(w))),
                ("one_sign", lambda x, w: np.clip(x, -abs(w), abs(w))),
                ("one_sign", lambda x, w: np.where(abs(x) < abs(w), x, w)),
                ("larger", lambda x, w: (abs(x + w) + abs(x - w)) / 2),
                ("larger", lambda x, w: np.sign(x * w) * np.maximum(abs(x), abs(w))),
                ("larger", lambda x, w: np.maximum(abs(x), abs(w))),
                ("swapped", lambda x, w: (abs(x - w) - abs(x + w)) / 2),
                ("product", lambda x, w: x * w),
                ("one_bound", lambda x, w: np.sign(w) * np.minimum(x, abs(w))),
                ("one_bound", lambda x, w: np.sign(w) * np.maximum(x, -abs(w))),
                ("summed", lambda x, w: np.sum((abs(x + w) - abs(x - w)) / 2)),
                ("summed", lambda x, w: np.sum((abs(x + w) - abs(x - w)) / 2, axis=0)),
                ("summed", lambda x, w: np.sum((abs(x + w) - abs(x - w)) / 2, axis=1)),
            ]
        },
    ),
    Exercise(
        name="synapse_gradient",
        section="The way back: the exact gradient",
        arguments=("dy", "x", "w"),
        results=("dx", "dw"),
        cases=lambda: _pairs(2, 3),
        solution=_gradient,
        mistakes={"dx": _mistakes("x"), "dw": _mistakes("w")},
    ),
    Exercise(
        name="comparative_count",
        section="Dig deeper",
        arguments=("height", "width", "channels", "size", "filters"),
        results=("comparisons", "additions", "multiplications"),
        cases=lambda: [(7, 9, 2, 3, 4), (28, 28, 1, 5, 6), (14, 11, 6, 4, 16), (8, 6, 3, 2, 5)],
        solution=_count,
        tolerance=0,
        mistakes={
            "comparisons": [
                ("positions_forgotten", lambda h, w, c, s, f: s * s * c * f),
                ("input_positions", lambda h, w, c, s, f: h * w * s * s * c * f),
                ("off_by_one", lambda h, w, c, s, f: (h - s) * (w - s) * s * s * c * f),
                ("filters_forgotten", lambda h, w, c, s, f: _windows(h, w, s) * s * s * c),
                ("channels_forgotten", lambda h, w, c, s, f: _windows(h, w, s) * s * s * f),
                ("size_once", lambda h, w, c, s, f: _windows(h, w, s) * s * c * f),
            ],
            "additions": [
                ("bias_omitted", lambda h, w, c, s, f: _windows(h, w, s) * (s * s * c - 1) * f),
                ("bias_twice", lambda h, w, c, s, f: _windows(h, w, s) * (s * s * c + 1) * f),
                ("positions_forgotten", lambda h, w, c, s, f: s * s * c * f),
                ("positions_forgotten", lambda h, w, c, s, f: s * s * c * f - f),
            ],
            "multiplications": [
                ("scale_omitted", lambda h, w, c, s, f: 0),
                ("scale_once", lambda h, w, c, s, f: 1),
                ("positions_forgotten", lambda h, w, c, s, f: f),
                ("filters_forgotten", lambda h, w, c, s, f: _windows(h, w, s)),
                (
                    "synapses_multiply",
                    lambda h, w, c, s, f: _windows(h, w, s) * s * s * c * f,
                ),
                (
                    "synapses_multiply",
                    lambda h, w, c, s, f: _windows(h, w, s) * (s * s * c + 1) * f,
                ),
            ],
        },
    ),
]

QUIZ = [
    Question("comparative_value", right=3),
    Question("comparative_dead_end", right=3),
    Question("comparative_surrogate", right=1),
    Question("comparative_worth", right=2),
]
