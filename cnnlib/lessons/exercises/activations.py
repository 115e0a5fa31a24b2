"""Lesson 02: the way back through an activation, and through two layers."""

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "02_activations"

TEXTS = {
    # --- leaky_relu_backward(dy, z, negative_slope) ---
    "leaky_relu_backward.solved": "Every activation goes back like this: dy times its slope at z. "
    "Next: see how the library writes it.",
    "leaky_relu_backward.hint.1": "Each z[n, i] enters one answer alone, y[n, i]. So dz[n, i] is "
    "dy[n, i] times one slope. Which two slopes are there, and what decides between them?",
    "leaky_relu_backward.hint.2": "The sign of z decides: the slope is 1 where z > 0 and "
    "negative_slope elsewhere.",
    "leaky_relu_backward.hint.3": "`np.where(condition, a, b)` takes a where the condition holds "
    "and b elsewhere, and makes a new array: here dy, and negative_slope times dy.",
    "leaky_relu_backward.at_y": "the slope is chosen by the sign of y, the result. It belongs to "
    "z: where negative_slope is below zero, y is positive on both sides.",
    "leaky_relu_backward.at_dy": "the slope is chosen by the sign of dy. What comes back knows "
    "nothing of the bend: z says on which side of it we were.",
    "leaky_relu_backward.no_dy": "dy is forgotten: this is the slope alone, half of the chain "
    "rule.",
    "leaky_relu_backward.zero_for_negatives": "this is a plain relu, which sends nothing back "
    "where z < 0. A leaky one sends negative_slope * dy.",
    "leaky_relu_backward.value_for_slope": "dy is multiplied by y. The chain rule takes the slope "
    "of the curve at z, not its height.",
    "leaky_relu_backward.forward": "this is y, the way forward. The way back begins with dy.",
    "leaky_relu_backward.sides": "the two sides are swapped: where z > 0 the curve is steep, with "
    "a slope of 1.",
    "leaky_relu_backward.minus": "the slope on the left is negative_slope as it is. It is the "
    "slope for negative z, not a slope to be negated.",
    "leaky_relu_backward.added": "negative_slope is added where it should multiply: the chain rule "
    "multiplies.",
    "leaky_relu_backward.averaged": "this is divided by the batch. dy holds the 1 / batch of a "
    "mean loss already.",
    "leaky_relu_backward.summed": "this adds over the batch. Nothing is shared here: each z has "
    "its own y, so dz has the shape of z.",
    # --- two_layer_gradients(dy2, x, y1, W2) ---
    "two_layer_gradients.solved": "Dense, slope, dense: a network with a hundred layers repeats "
    "just this. Next: finite differences agree.",
    "two_layer_gradients.hint.1": "Walk back from the loss. Layer 2 took in y1 and is given dy2: "
    "which two lines of lesson 01 give dW2 and dy1?",
    "two_layer_gradients.hint.2": "dy1 is `dy2 @ W2.T`. Then comes the activation: dz1 is dy1 "
    "times the slope of tanh, which is `1 - y1**2`.",
    "two_layer_gradients.hint.3": "Layer 1 took in x and is given dz1: "
    "`dW1 = x.T @ dz1`, just as `dW2 = y1.T @ dy2`.",
    "two_layer_gradients.dW2_wrong_cache": "dW2 is made of x. Each layer needs what *it* took in, "
    "and layer 2 took in y1.",
    "two_layer_gradients.dW2_transposed": "dW2 is transposed: it has the shape of W2, so `y1.T` "
    "comes first.",
    "two_layer_gradients.dW2_averaged": "dW2 is divided by the batch. dy2 holds the 1 / batch of a "
    "mean loss already.",
    "two_layer_gradients.dW2_sloped": "dW2 has a slope of tanh in it. That slope lies between the "
    "layers; layer 2 comes after it and never meets it.",
    "two_layer_gradients.slope_skipped": "the slope of the activation is skipped: this is dy1. "
    "Multiply it by `1 - y1**2`, place by place.",
    "two_layer_gradients.brackets": "y1**2 is taken off the product, since Python multiplies "
    "before it subtracts. The whole slope is one factor: it needs brackets.",
    "two_layer_gradients.order_reversed": "the order is reversed: the slope is applied before W2. "
    "On the way back layer 2 comes first, then the activation.",
    "two_layer_gradients.slope_of_wrong_layer": "the slope is that of another place. The "
    "activation gave y1, so its slope is `1 - y1**2`.",
    "two_layer_gradients.slope_at_y": "the slope is taken at y1 instead of z1: y1 is already the "
    "tanh of z1, so no second tanh is needed.",
    "two_layer_gradients.slope_not_squared": "the slope of tanh is 1 minus the *square* of y1.",
    "two_layer_gradients.slope_of_sigmoid": "this is the slope of a sigmoid, y * (1 - y). The "
    "activation here is tanh.",
    "two_layer_gradients.W2_not_transposed": "W2 must be transposed: dy2 ends with layer 2's "
    "units, and so they must be the first axis of what follows the `@`.",
    "two_layer_gradients.dz1_no_dy": "dz1 has no dy2 in it: what comes from the loss must go "
    "through W2 first.",
    "two_layer_gradients.dW1_wrong_cache": "dW1 is made of y1. Each layer needs what *it* took in, "
    "and layer 1 took in x.",
    "two_layer_gradients.dW1_from_dy1": "dW1 skips the slope: layer 1 is given dz1, not dy1.",
    "two_layer_gradients.dW1_from_dy2": "dW1 is made of dy2, which belongs to layer 2. Layer 1 is "
    "given dz1.",
    "two_layer_gradients.dW1_transposed": "dW1 is transposed: it has the shape of W1, so `x.T` "
    "comes first.",
    "two_layer_gradients.dW1_averaged": "dW1 is divided by the batch. dy2 holds the 1 / batch of a "
    "mean loss already.",
    # --- Quiz ---
    "quiz.activations_stack": "Ten dense layers in a row, with no activation between them. What "
    "can they compute that one dense layer cannot?",
    "quiz.activations_stack.1": "Nothing",
    "quiz.activations_stack.2": "Curved borders",
    "quiz.activations_stack.3": "More with every layer",
    "quiz.activations_stack.why": "The product of ten matrices is one matrix. Only a bend between "
    "them makes the row more than one layer.",
    "quiz.activations_back": "dy reaches a relu. Where is dz zero?",
    "quiz.activations_back.1": "Where dy is negative",
    "quiz.activations_back.2": "Where z is not above 0",
    "quiz.activations_back.3": "Nowhere, unless the unit is dead",
    "quiz.activations_back.why": "The slope belongs to z, and it is 0 on the left of the bend. dy "
    "may have any sign. A dead unit has such a z for every example.",
    "quiz.activations_explode": "With weights of standard deviation 1, the activations of a deep "
    "network grow from layer to layer. What is the cure?",
    "quiz.activations_explode.1": "tanh, because its answers stay between -1 and 1",
    "quiz.activations_explode.2": "A smaller learning rate",
    "quiz.activations_explode.3": "Smaller weights where a neuron has more inputs",
    "quiz.activations_explode.why": "A sum of fan_in products grows with fan_in, so the weights "
    "shrink with its root. tanh bounds y, but the gradient still explodes on the way back; a small "
    "rate leaves the answers as large as they were.",
    "quiz.activations_vanish": "By what does one layer multiply the gradient on its way back?",
    "quiz.activations_vanish.1": "By slopes and weights",
    "quiz.activations_vanish.2": "By slopes alone",
    "quiz.activations_vanish.3": "By the learning rate",
    "quiz.activations_vanish.why": "dz is (dz of the next layer @ its W.T) times the slope. Small "
    "slopes and small weights both let it vanish; the rate comes in only at the step.",
}

# (batch, units) of an activation, and the slope on the left. A negative one tells z from y.
ACTIVATIONS = [((4, 3), 0.2), ((2, 5), 0.01), ((3, 3), -0.5), ((5, 2), 1.5)]
# (batch, fan_in, hidden, units): unequal sizes, then equal ones, where mistakes leave numbers.
NETWORKS = [(4, 3, 5, 2), (2, 4, 3, 6), (5, 4, 4, 2), (3, 2, 4, 4), (6, 3, 3, 3), (4, 4, 4, 4)]


def _activation_cases() -> list[tuple]:
    rng = np.random.default_rng(4)
    cases = [(rng.normal(size=s), rng.normal(size=s), slope) for s, slope in ACTIVATIONS]
    dy, z, slope = cases[0]
    return [*cases, (dy.astype("float32"), z.astype("float32"), slope)]


def _network_cases() -> list[tuple]:
    rng = np.random.default_rng(5)
    cases = [
        (
            rng.normal(size=(n, o)),
            rng.normal(size=(n, i)),
            np.tanh(rng.normal(size=(n, h))),
            rng.normal(size=(h, o)),
        )
        for n, i, h, o in NETWORKS
    ]
    return [*cases, tuple(array.astype("float32") for array in cases[0])]


def _leaky(z, slope):  # type: ignore[no-untyped-def]
    return np.where(z > 0, z, slope * z)


def _back(dy, z, slope):  # type: ignore[no-untyped-def]
    return np.where(z > 0, dy, slope * dy)


def _gradients(dy2, x, y1, W2):  # type: ignore[no-untyped-def]
    dz1 = (dy2 @ W2.T) * (1 - y1**2)
    return y1.T @ dy2, dz1, x.T @ dz1


def _dz1(dy2, y1, W2):  # type: ignore[no-untyped-def]
    return (dy2 @ W2.T) * (1 - y1**2)


EXERCISES = [
    Exercise(
        name="leaky_relu_backward",
        section="By hand",
        arguments=("dy", "z", "negative_slope"),
        results=("dz",),
        cases=_activation_cases,
        solution=_back,
        mistakes={
            "dz": [
                ("zero_for_negatives", lambda dy, z, a: dy * (z > 0)),
                ("no_dy", lambda dy, z, a: np.where(z > 0, 1.0, a)),
                ("no_dy", lambda dy, z, a: np.where(_leaky(z, a) > 0, 1.0, a)),
                ("at_y", lambda dy, z, a: _back(dy, _leaky(z, a), a)),
                ("at_dy", lambda dy, z, a: _back(dy, dy, a)),
                ("at_dy", lambda dy, z, a: np.maximum(dy, a * dy)),
                ("value_for_slope", lambda dy, z, a: dy * _leaky(z, a)),
                ("value_for_slope", lambda dy, z, a: np.where(z > 0, dy * z, dy * a)),
                ("value_for_slope", lambda dy, z, a: np.where(z > 0, dy, dy * a * z)),
                ("forward", lambda dy, z, a: _leaky(z, a)),
                ("forward", lambda dy, z, a: np.maximum(z, a * z)),
                ("sides", lambda dy, z, a: np.where(z > 0, a * dy, dy)),
                ("minus", lambda dy, z, a: np.where(z > 0, dy, -a * dy)),
                ("added", lambda dy, z, a: np.where(z > 0, dy, dy + a)),
                ("added", lambda dy, z, a: dy + np.where(z > 0, 1.0, a)),
                ("averaged", lambda dy, z, a: _back(dy, z, a) / len(dy)),
                ("summed", lambda dy, z, a: _back(dy, z, a).sum(axis=0)),
                ("summed", lambda dy, z, a: _back(dy, z, a).sum()),
            ]
        },
    ),
    Exercise(
        name="two_layer_gradients",
        section="The way back through two layers",
        arguments=("dy2", "x", "y1", "W2"),
        results=("dW2", "dz1", "dW1"),
        cases=_network_cases,
        solution=_gradients,
        mistakes={
            "dW2": [
                ("dW2_wrong_cache", lambda dy2, x, y1, W2: x.T @ dy2),
                ("dW2_transposed", lambda dy2, x, y1, W2: dy2.T @ y1),
                ("dW2_averaged", lambda dy2, x, y1, W2: y1.T @ dy2 / len(x)),
                ("dW2_sloped", lambda dy2, x, y1, W2: (y1 * (1 - y1**2)).T @ dy2),
                ("dW2_sloped", lambda dy2, x, y1, W2: (1 - y1**2).T @ dy2),
                ("dW2_sloped", lambda dy2, x, y1, W2: y1.T @ (dy2 * (1 - y1**2))),
                ("dW2_sloped", lambda dy2, x, y1, W2: y1.T @ (dy2 * (1 - (y1 @ W2) ** 2))),
            ],
            "dz1": [
                ("slope_skipped", lambda dy2, x, y1, W2: dy2 @ W2.T),
                ("brackets", lambda dy2, x, y1, W2: dy2 @ W2.T * 1 - y1**2),
                ("order_reversed", lambda dy2, x, y1, W2: (dy2 * (1 - y1**2)) @ W2.T),
                ("slope_of_wrong_layer", lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - x**2)),
                ("slope_of_wrong_layer", lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - (y1 @ W2) ** 2)),
                (
                    "slope_of_wrong_layer",
                    lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - np.tanh(y1 @ W2) ** 2),
                ),
                ("slope_of_wrong_layer", lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - dy2**2)),
                (
                    "slope_of_wrong_layer",
                    lambda dy2, x, y1, W2: (dy2 * (1 - (y1 @ W2) ** 2)) @ W2.T,
                ),
                ("slope_at_y", lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - np.tanh(y1) ** 2)),
                ("slope_not_squared", lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - y1)),
                ("slope_of_sigmoid", lambda dy2, x, y1, W2: dy2 @ W2.T * y1 * (1 - y1)),
                ("W2_not_transposed", lambda dy2, x, y1, W2: dy2 @ W2 * (1 - y1**2)),
                ("W2_not_transposed", lambda dy2, x, y1, W2: dy2 @ W2),
                ("dz1_no_dy", lambda dy2, x, y1, W2: np.ones_like(dy2) @ W2.T * (1 - y1**2)),
                ("dz1_no_dy", lambda dy2, x, y1, W2: 1 - y1**2),
            ],
            "dW1": [
                ("dW1_wrong_cache", lambda dy2, x, y1, W2: y1.T @ _dz1(dy2, y1, W2)),
                ("dW1_from_dy1", lambda dy2, x, y1, W2: x.T @ (dy2 @ W2.T)),
                ("dW1_from_dy2", lambda dy2, x, y1, W2: x.T @ dy2),
                ("dW1_transposed", lambda dy2, x, y1, W2: _dz1(dy2, y1, W2).T @ x),
                ("dW1_averaged", lambda dy2, x, y1, W2: x.T @ _dz1(dy2, y1, W2) / len(x)),
            ],
        },
    ),
]

QUIZ = [
    Question("activations_stack", right=1),
    Question("activations_back", right=2),
    Question("activations_explode", right=3),
    Question("activations_vanish", right=1),
]
