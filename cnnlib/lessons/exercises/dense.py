"""Lesson 01: a slope, a step, and the dense layer forward and backward."""

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "01_dense"

TEXTS = {
    # --- mse_slope(w, x, t) ---
    "mse_slope.solved": "This one number tells which way, and how steeply, the loss rises with w. "
    "Next: step against it.",
    "mse_slope.hint.1": "The error of one point is `w * x - t`. How does its square change "
    "when w grows a little?",
    "mse_slope.hint.2": "By the chain rule the square's slope is 2 times the error, times what the "
    "error changes by when w does: x.",
    "mse_slope.hint.3": "The loss is a mean over the points, so its slope is the mean of their "
    "slopes: `np.mean(2 * (w * x - t) * x)`.",
    "mse_slope.no_two": "the 2 is missing: the slope of a square e**2 is 2 * e.",
    "mse_slope.summed": "you add over the points; the loss is their mean, so its slope is one too.",
    "mse_slope.sign": "the error is turned round: take `w * x - t`, or the step will climb.",
    "mse_slope.no_x": "the inner slope is missing: when w grows by 1, the error grows by x, so "
    "each term is multiplied by x.",
    "mse_slope.not_averaged": "this is a slope for each point. The loss is the mean over the "
    "points, so its slope is one number, their mean.",
    "mse_slope.loss": "this is the loss itself, not how fast it changes with w.",
    # --- gradient_step(w, slope, rate) ---
    "gradient_step.solved": "This line is all that any network does with its gradients: repeat it, "
    "and the loss goes down. Next: which rates are too large?",
    "gradient_step.hint.1": "A positive slope says that the loss grows with w. Which way should w "
    "go?",
    "gradient_step.hint.2": "Go against the slope, by rate times slope, starting from w.",
    "gradient_step.ascent": "this step climbs: with a positive slope the loss grows with w, so w "
    "must get smaller.",
    "gradient_step.no_rate": "the learning rate is missing: the step is rate * slope.",
    "gradient_step.step_alone": "this is the step without its start: return the new w.",
    "gradient_step.scaled_w": "the rate multiplies the slope, not w.",
    # --- dense_forward(x, W, b) ---
    "dense_forward.solved": "Every dense layer of every network is this one line, for a whole "
    "batch at once. Next: the way back.",
    "dense_forward.hint.1": "Write the three shapes side by side: x (batch, fan_in), "
    "W (fan_in, units), b (units,). Which shape must y have?",
    "dense_forward.hint.2": "Row n of y holds, for each unit, the sum over i of "
    "x[n, i] * W[i, unit]: that is a matrix product.",
    "dense_forward.hint.3": "`x @ W` has the shape (batch, units), and adding b (units,) to it "
    "gives every row the same biases.",
    "dense_forward.transposed": "W is transposed. It is (fan_in, units): its rows belong to the "
    "inputs, just as the columns of x do, so it goes into the product as it is.",
    "dense_forward.no_bias": "the bias is missing: every unit adds its own number b[unit] to its "
    "sum.",
    "dense_forward.bias_on_batch": "the bias runs along the batch. It belongs to the units, y's "
    "last axis: each example gets the same b.",
    "dense_forward.elementwise": "`*` multiplies cell by cell. The sum over the inputs needs `@`.",
    "dense_forward.swapped": "the factors are swapped: `x @ W`, not `W @ x`, since an example is a "
    "row of x.",
    "dense_forward.y_transposed": "y is transposed: examples are rows, (batch, units).",
    "dense_forward.one_example": "only the first example is worked out; y has a row for each.",
    "dense_forward.bias_inside": "the bias is multiplied by weights as well; add it after the "
    "product.",
    "dense_forward.bias_negative": "the bias is subtracted; it is added.",
    # --- dense_backward(dy, x, W) ---
    "dense_backward.solved": "These three lines are backpropagation: dW and db train this layer, "
    "and dx is the dy of the layer before. Next: finite differences say whether to trust them.",
    "dense_backward.hint.1": "A gradient has the shape of what it belongs to: dx like x, dW like "
    "W, db like b. Which products of dy (batch, units) with W and x have those shapes?",
    "dense_backward.hint.2": "x[n, i] reaches every unit through W[i, unit], so dx[n, i] adds "
    "dy[n, unit] * W[i, unit] over the units: `dy @ W.T`.",
    "dense_backward.hint.3": "W[i, unit] serves every example, so dW adds x[n, i] * dy[n, unit] "
    "over the batch, `x.T @ dy`; b serves every example too, with a factor of 1.",
    "dense_backward.dx_not_transposed": "in dx, W must be transposed: dy ends with the units, and "
    "so they must be the first axis of what follows the `@`.",
    "dense_backward.dx_elementwise": "dx adds over the units, so it needs `@`, not `*`.",
    "dense_backward.dx_no_dy": "dx has no dy in it. The slope of y with respect to x is only half "
    "of the chain rule: multiply by dy.",
    "dense_backward.dx_averaged": "dx is divided by the batch. Each row of dx belongs to one "
    "example, and dy holds the 1 / batch of a mean loss already.",
    "dense_backward.dW_transposed": "dW is transposed. It has the shape of W, (fan_in, units): "
    "`x.T` comes first.",
    "dense_backward.dW_not_transposed": "in dW, x must be transposed, so that the product adds "
    "over the batch.",
    "dense_backward.dW_averaged": "dW is divided by the batch. dy holds the 1 / batch of a mean "
    "loss already, so over the batch one adds.",
    "dense_backward.dW_no_dy": "dW has no dy in it. The slope of y with respect to W is only half "
    "of the chain rule: multiply by dy.",
    "dense_backward.db_not_summed": "db is not summed over the batch. One bias serves every "
    "example, so what they pass back adds up.",
    "dense_backward.db_averaged": "db is averaged twice. dy holds the 1 / batch of a mean loss "
    "already, so over the batch one adds.",
    "dense_backward.db_wrong_axis": "db adds along the wrong axis: over the batch (axis 0), so "
    "that one number a unit is left.",
    "dense_backward.db_total": "db adds over everything. Each unit has its own bias: add over the "
    "batch alone.",
    "dense_backward.db_keepdims": "db has an axis of length 1 too many: its shape is that of b, "
    "(units,).",
    "dense_backward.db_no_dy": "db counts the examples. What reaches a bias is dy: add it over the "
    "batch.",
    # --- parameter_count(fan_in, units) ---
    "parameter_count.solved": "Counting by hand is how one sees where a network is large.",
    "parameter_count.hint.1": "How many numbers are in W (fan_in, units)? And in b (units,)?",
    "parameter_count.hint.2": "A weight for every pair of input and unit, and one bias a unit.",
    "parameter_count.no_bias": "the biases are missing: there is one for each unit.",
    "parameter_count.bias_per_input": "there is a bias for each unit, not for each input.",
    "parameter_count.one_bias": "you add a single bias; every unit has its own.",
    "parameter_count.batch": "something is counted once an example. All examples of a batch go "
    "through the same weights and biases: the batch is no part of the count.",
    "parameter_count.wrong_product": "the product takes the wrong numbers: W has fan_in rows and "
    "units columns.",
    "parameter_count.summed": "every input has a weight to *every* unit: their numbers are "
    "multiplied, not added.",
    "parameter_count.off_by_one": "the count is off by one. W and b are all there is: nothing is "
    "added or left out.",
    # --- Quiz ---
    "quiz.dense_shape": "x has the shape (32, 784) and a dense layer has 10 units. What is the "
    "shape of y?",
    "quiz.dense_shape.1": "(784, 10)",
    "quiz.dense_shape.2": "(32, 10)",
    "quiz.dense_shape.3": "(10, 32)",
    "quiz.dense_shape.why": "Examples stay rows: 32 of them, each with one number a unit. "
    "(784, 10) is the shape of W.",
    "quiz.dense_rate": "After each step the loss is larger than before, and soon it is huge. What "
    "is the likely cause?",
    "quiz.dense_rate.1": "Too few steps",
    "quiz.dense_rate.2": "The learning rate is too small",
    "quiz.dense_rate.3": "The learning rate is too large",
    "quiz.dense_rate.why": "Each step jumps over the lowest point and lands further up on the "
    "other side. A rate that is too small is slow, but the loss falls.",
    "quiz.dense_bias": "Why is db a sum over the batch?",
    "quiz.dense_bias.1": "The same b is added to every example, so each one passes something back",
    "quiz.dense_bias.2": "To make up for the mean in the loss",
    "quiz.dense_bias.3": "So that db has the same size as dW",
    "quiz.dense_bias.why": "A number that serves many results gets the sum of what they pass back. "
    "The mean's 1 / batch is in dy already.",
    "quiz.dense_dx": "A layer's own update uses dW and db. What is dx for?",
    "quiz.dense_dx.1": "It changes the data so that the loss falls",
    "quiz.dense_dx.2": "It checks that dW is right",
    "quiz.dense_dx.3": "It is the dy of the layer before",
    "quiz.dense_dx.why": "What this layer takes in is what the layer before gave out, so that "
    "layer starts its own way back with dx.",
}

# (batch, fan_in, units): first unequal sizes, then equal ones, where mistakes leave numbers.
SIZES = [(4, 3, 2), (2, 5, 6), (5, 3, 3), (3, 5, 3), (4, 4, 4)]


def _forward_cases() -> list[tuple]:
    rng = np.random.default_rng(1)
    cases = [
        (rng.normal(size=(n, i)), rng.normal(size=(i, o)), rng.normal(size=o)) for n, i, o in SIZES
    ]
    return [*cases, tuple(array.astype("float32") for array in cases[0])]


def _backward_cases() -> list[tuple]:
    rng = np.random.default_rng(2)
    cases = [
        (rng.normal(size=(n, o)), rng.normal(size=(n, i)), rng.normal(size=(i, o)))
        for n, i, o in SIZES
    ]
    return [*cases, tuple(array.astype("float32") for array in cases[0])]


def _slope_cases() -> list[tuple]:
    rng = np.random.default_rng(3)
    return [(w, rng.normal(size=n), rng.normal(size=n)) for w, n in [(0.5, 4), (-2.0, 7), (0.0, 5)]]


def _forward(x, W, b):  # type: ignore[no-untyped-def]
    return x @ W + b


def _backward(dy, x, W):  # type: ignore[no-untyped-def]
    return dy @ W.T, x.T @ dy, dy.sum(axis=0)


def _slope(w, x, t):  # type: ignore[no-untyped-def]
    return np.mean(2 * (w * x - t) * x)


def _count(fan_in: int, units: int) -> int:
    return fan_in * units + units


# Which batch a learner may have counted is not known: any one number that fits all cases.
_BATCHES = range(2, 257)

EXERCISES = [
    Exercise(
        name="mse_slope",
        section="The chain rule: all slopes at once",
        arguments=("w", "x", "t"),
        results=("slope",),
        cases=_slope_cases,
        solution=_slope,
        mistakes={
            "slope": [
                ("no_two", lambda w, x, t: np.mean((w * x - t) * x)),
                ("summed", lambda w, x, t: np.sum(2 * (w * x - t) * x)),
                ("sign", lambda w, x, t: np.mean(2 * (t - w * x) * x)),
                ("no_x", lambda w, x, t: np.mean(2 * (w * x - t))),
                ("not_averaged", lambda w, x, t: 2 * (w * x - t) * x),
                ("not_averaged", lambda w, x, t: (w * x - t) * x),
                ("loss", lambda w, x, t: np.mean((w * x - t) ** 2)),
            ]
        },
    ),
    Exercise(
        name="gradient_step",
        section="Gradient descent",
        arguments=("w", "slope", "rate"),
        results=("new w",),
        cases=lambda: [(1.0, 4.0, 0.1), (-2.0, 0.5, 0.03), (0.3, -6.0, 0.25)],
        solution=lambda w, slope, rate: w - rate * slope,
        mistakes={
            "new w": [
                ("ascent", lambda w, slope, rate: w + rate * slope),
                ("no_rate", lambda w, slope, rate: w - slope),
                ("step_alone", lambda w, slope, rate: -rate * slope),
                ("step_alone", lambda w, slope, rate: rate * slope),
                ("scaled_w", lambda w, slope, rate: rate * w - slope),
                ("scaled_w", lambda w, slope, rate: rate * (w - slope)),
            ]
        },
    ),
    Exercise(
        name="dense_forward",
        section="From a neuron to a layer",
        arguments=("x", "W", "b"),
        results=("y",),
        cases=_forward_cases,
        solution=_forward,
        mistakes={
            "y": [
                ("no_bias", lambda x, W, b: x @ W),
                ("transposed", lambda x, W, b: x @ W.T + b),
                ("transposed", lambda x, W, b: x @ W.T),
                ("bias_on_batch", lambda x, W, b: x @ W + b[:, None]),
                ("bias_on_batch", lambda x, W, b: x @ W + b[np.arange(len(x)), None]),
                ("elementwise", lambda x, W, b: x * W + b),
                ("elementwise", lambda x, W, b: x * W),
                ("swapped", lambda x, W, b: W @ x + b),
                ("swapped", lambda x, W, b: W @ x),
                ("y_transposed", lambda x, W, b: (x @ W + b).T),
                ("one_example", lambda x, W, b: x[0] @ W + b),
                ("bias_inside", lambda x, W, b: (x + b) @ W),
                ("bias_negative", lambda x, W, b: x @ W - b),
            ]
        },
    ),
    Exercise(
        name="dense_backward",
        section="The way back",
        arguments=("dy", "x", "W"),
        results=("dx", "dW", "db"),
        cases=_backward_cases,
        solution=_backward,
        mistakes={
            "dx": [
                ("dx_not_transposed", lambda dy, x, W: dy @ W),
                ("dx_elementwise", lambda dy, x, W: dy * W),
                ("dx_elementwise", lambda dy, x, W: dy * W.T),
                ("dx_no_dy", lambda dy, x, W: np.ones_like(dy) @ W.T),
                ("dx_no_dy", lambda dy, x, W: W),
                ("dx_no_dy", lambda dy, x, W: W.T),
                ("dx_averaged", lambda dy, x, W: dy @ W.T / len(dy)),
            ],
            "dW": [
                ("dW_transposed", lambda dy, x, W: dy.T @ x),
                ("dW_not_transposed", lambda dy, x, W: x @ dy),
                ("dW_not_transposed", lambda dy, x, W: dy @ x),
                ("dW_averaged", lambda dy, x, W: x.T @ dy / len(dy)),
                ("dW_no_dy", lambda dy, x, W: x.T @ np.ones_like(dy)),
                ("dW_no_dy", lambda dy, x, W: x),
                ("dW_no_dy", lambda dy, x, W: x.T),
            ],
            "db": [
                ("db_not_summed", lambda dy, x, W: dy),
                ("db_averaged", lambda dy, x, W: dy.mean(axis=0)),
                ("db_wrong_axis", lambda dy, x, W: dy.sum(axis=1)),
                ("db_wrong_axis", lambda dy, x, W: dy.mean(axis=1)),
                ("db_total", lambda dy, x, W: dy.sum()),
                ("db_keepdims", lambda dy, x, W: dy.sum(axis=0, keepdims=True)),
                ("db_no_dy", lambda dy, x, W: np.full(dy.shape[1], float(len(dy)))),
                ("db_no_dy", lambda dy, x, W: np.ones(dy.shape[1])),
            ],
        },
    ),
    Exercise(
        name="parameter_count",
        section="How many parameters?",
        arguments=("fan_in", "units"),
        results=("count",),
        # No two products of these agree, so that each mistake has numbers of its own.
        cases=lambda: [(3, 2), (784, 10), (5, 11), (7, 7)],
        solution=_count,
        tolerance=0,
        mistakes={
            "count": [
                ("no_bias", lambda fan_in, units: fan_in * units),
                ("bias_per_input", lambda fan_in, units: fan_in * units + fan_in),
                ("one_bias", lambda fan_in, units: fan_in * units + 1),
                ("summed", lambda fan_in, units: fan_in + units),
                ("summed", lambda fan_in, units: fan_in + units + units),
                ("wrong_product", lambda fan_in, units: fan_in * fan_in + units),
                ("wrong_product", lambda fan_in, units: units * units + units),
                ("wrong_product", lambda fan_in, units: fan_in * units * units),
                ("off_by_one", lambda fan_in, units: fan_in * units + units + 1),
                ("off_by_one", lambda fan_in, units: fan_in * units + units - 1),
                *[("batch", lambda i, o, k=k: k * (i * o + o)) for k in _BATCHES],
                *[("batch", lambda i, o, k=k: k * i * o + o) for k in _BATCHES],
                *[("batch", lambda i, o, k=k: k * i * o) for k in _BATCHES],
                *[("batch", lambda i, o, k=k: i * o + k * o) for k in _BATCHES],
                *[("batch", lambda i, o, k=k: i * o + k) for k in _BATCHES],
            ]
        },
    ),
]

QUIZ = [
    Question("dense_shape", right=2),
    Question("dense_rate", right=3),
    Question("dense_bias", right=1),
    Question("dense_dx", right=3),
]
