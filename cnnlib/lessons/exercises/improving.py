"""Lesson 09: augment a batch, and one step of Adam."""

from typing import Any

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "09_improving"

TEXTS = {
    # --- augment(images, labels, down, right) ---
    "augment.solved": "Twice the digits, none of them written anew. Next: turn them a little, too.",
    "augment.hint.1": "Build the moved copies in an array of their own, image by image, and put "
    "them behind the originals with `np.concatenate`. Which label does each copy need?",
    "augment.hint.2": "Lay two rows and columns of zeros around each image. Every moved copy is "
    "then a window of the old size into the padded image.",
    "augment.hint.3": "With `padded = np.pad(images[n], 2)`, the copy that moved down by down[n] "
    "starts at row `2 - down[n]` of it; the same for the columns with right[n].",
    "augment.wraps": "what leaves the image on one side comes back on the other, as `np.roll` "
    "does. A digit has no ink there: fill with zeros.",
    "augment.one_shift": "all images move by the same shift. Image n moves by down[n] and "
    "right[n].",
    "augment.swapped": "down and right are swapped: down moves along the rows, the axis before "
    "the columns.",
    "augment.sign": "an image moves the wrong way: a positive number moves the ink down, or to the "
    "right, towards larger indices.",
    "augment.edge": "the border is repeated into the gap. Fill it with zeros: there is no ink.",
    "augment.only_copies": "the originals are missing: return them first, and the moved copies "
    "behind them.",
    "augment.originals_last": "the copies stand first. Put the originals before them.",
    "augment.interleaved": "each copy stands beside its original. First come all originals, then "
    "all copies.",
    "augment.unmoved": "the copies did not move: they equal their originals.",
    "augment.small": "a copy is not as large as its image. Each window into the padded image has "
    "the old height and width, wherever it begins.",
    "augment.labels_repeat": "images and labels are not aligned: `np.repeat` gives each label "
    "twice in a row, but the images are all originals, then all copies.",
    "augment.labels_short": "the copies have no labels: there are twice as many images as labels.",
    # --- adam_step(w, dw, m, v, step, rate) ---
    "adam_step.solved": "These few lines train most networks of today. Next: compare them with the "
    "library's.",
    "adam_step.hint.1": "Follow the list: new m and v, then both corrected under other names, then "
    "w. The next step goes on from m and v, so return them as they are before the correction.",
    "adam_step.hint.2": "`m = BETA_1 * m + (1 - BETA_1) * dw`, and v likewise with BETA_2 and the "
    "square of dw. Both stay arrays of the shape of w.",
    "adam_step.hint.3": "`m_hat = m / (1 - BETA_1**step)`, v_hat likewise; then "
    "`w - rate * m_hat / (np.sqrt(v_hat) + EPSILON)`.",
    "adam_step.shared": "your function keeps m and v from an earlier call. Then all parameters "
    "share one state: go on from the m and v that are handed in.",
    "adam_step.one_number": "v is one number for all weights. Each weight has its own: no mean or "
    "sum over dw.",
    "adam_step.m_swapped": "the two parts of m are exchanged: the *old* m keeps the share BETA_1.",
    "adam_step.m_summed": "m adds up dw in full. A running mean adds (1 - BETA_1) of it.",
    "adam_step.m_fresh": "m forgets what was before: it is a mean over many steps.",
    "adam_step.m_corrected": "the m that you return is the corrected one. Correct for the step "
    "alone: what is kept is corrected again next time.",
    "adam_step.v_no_square": "v follows dw. It has to follow dw**2, the size without the sign.",
    "adam_step.v_swapped": "the two parts of v are exchanged: the *old* v keeps the share BETA_2.",
    "adam_step.v_beta_1": "v is made with BETA_1; its own share is BETA_2.",
    "adam_step.v_summed": "v adds up dw**2 in full, as Adagrad does. A running mean adds "
    "(1 - BETA_2) of it.",
    "adam_step.v_corrected": "the v that you return is the corrected one. Correct for the step "
    "alone: what is kept is corrected again next time.",
    "adam_step.no_correction": "m and v start at 0 and are too small at first: divide them by "
    "1 - BETA**step before the step.",
    "adam_step.m_uncorrected": "only v is corrected; m starts at 0 as well.",
    "adam_step.v_uncorrected": "only m is corrected; v starts at 0 as well.",
    "adam_step.no_power": "the correction needs a power, BETA**step: neither BETA alone nor "
    "BETA * step.",
    "adam_step.epsilon_inside": "EPSILON stands under the root. There it outweighs small "
    "gradients and shortens their step: add it after the root.",
    "adam_step.no_epsilon": "EPSILON is missing: a weight whose gradient has always been 0 "
    "divides 0 by 0.",
    "adam_step.no_root": "the root is missing: v_hat is a squared size, and the step is divided by "
    "the size.",
    "adam_step.no_mean": "the step goes along dw, this batch's gradient. It goes along m_hat, the "
    "running mean.",
    "adam_step.ascent": "the step climbs: subtract it from w.",
    "adam_step.step_alone": "this is the step without its start: return the new w.",
    # --- Quiz ---
    "quiz.improving_curves": "For ten epochs the training loss has been falling and the validation "
    "loss rising. What is the best answer?",
    "quiz.improving_curves.1": "Train longer: the validation loss will follow",
    "quiz.improving_curves.2": "A larger network",
    "quiz.improving_curves.3": "More or augmented data, and some dropout",
    "quiz.improving_curves.why": "The network is learning its examples by heart. More steps or "
    "more weights make that easier; other data and dropout make it harder.",
    "quiz.improving_rate": "A program of 2016 says `keep_prob=0.8`. Which layer does the same in "
    "Keras?",
    "quiz.improving_rate.1": "`Dropout(0.8)`",
    "quiz.improving_rate.2": "`Dropout(0.2)`",
    "quiz.improving_rate.3": "`Dropout(1 / 0.8)`",
    "quiz.improving_rate.why": "Keras wants the share that is dropped, and who keeps 80 % drops "
    "20 %. `Dropout(0.8)` raises no error and drops four times as much.",
    "quiz.improving_adam": "At the first step one weight has a gradient of 0.001, another one of "
    "10. How do their steps of Adam compare?",
    "quiz.improving_adam.1": "They have the same length, the learning rate",
    "quiz.improving_adam.2": "The second is 10,000 times longer",
    "quiz.improving_adam.3": "The first is longer",
    "quiz.improving_adam.why": "After the correction, m_hat is the gradient and the root of v_hat "
    "its size: what is left is the sign, times the rate.",
    "quiz.improving_moving": "A network with batch normalization reads a single digit. By which "
    "mean and variance does it normalize?",
    "quiz.improving_moving.1": "By those of the digit's own numbers",
    "quiz.improving_moving.2": "By running means from the training",
    "quiz.improving_moving.3": "By 0 and 1",
    "quiz.improving_moving.why": "A batch of one has itself as its mean, and nothing of it would "
    "be left. So the layer keeps running means while it trains.",
}

# --- Augment ------------------------------------------------------------------------------------

REACH = 2  # the longest shift


def _augment_cases() -> list[tuple]:
    rng = np.random.default_rng(5)
    shifts = [
        ([1, -2, 2], [2, 1, -1]),
        ([-1, 2], [0, -2]),
        ([2, 0, -1, 1], [-2, 1, 2, -1]),
        ([1, 2], [2, 1]),
    ]
    sizes = [(3, 4, 5), (2, 6, 3), (4, 5, 5), (2, 3, 4)]
    cases: list[tuple] = []
    for (down, right), size in zip(shifts, sizes, strict=True):
        images = rng.uniform(0.1, 1, size)
        labels = np.array([3, 0, 7, 4][: len(images)])
        cases.append((images, labels, np.array(down), np.array(right)))
    images, *rest = cases[0]
    return [*cases, (images.astype("float32"), *rest)]


def _moved(images: Any, down: Any, right: Any, mode: str = "constant") -> Any:
    """Each image moved by its own shift; mode as in np.pad says what fills the gap."""
    height, width = images.shape[1:]
    copies = []
    for image, i, j in zip(images, down, right, strict=True):
        padded = np.pad(image, REACH, mode=mode)  # type: ignore[call-overload]
        copies.append(padded[REACH - i : REACH - i + height, REACH - j : REACH - j + width])
    return np.stack(copies)


def _images(mode: str = "constant", move: Any = None) -> Any:
    """A rule: the originals, and behind them the copies that move(down, right) makes of them."""

    def rule(images: Any, labels: Any, down: Any, right: Any) -> Any:
        down, right = move(down, right) if move else (down, right)
        return np.concatenate([images, _moved(images, down, right, mode)])

    return rule


def _copies(images: Any, labels: Any, down: Any, right: Any) -> Any:
    return _moved(images, down, right)


def _interleaved(images: Any, labels: Any, down: Any, right: Any) -> Any:
    pairs = np.stack([images, _moved(images, down, right)], axis=1)
    return pairs.reshape(-1, *images.shape[1:])


# --- Adam ---------------------------------------------------------------------------------------

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


def _adam_cases() -> list[tuple]:
    """First step; an early one; a late one with small gradients, where epsilon's place matters.

    The two ways to write epsilon, of Algorithm 1 and with the corrections in the rate, agree
    within the tolerance in all of them.
    """
    rng = np.random.default_rng(6)
    zero = np.zeros((2, 3))

    def normal(size: float) -> Any:
        return rng.normal(scale=size, size=(2, 3))

    gradient = normal(1.0)
    gradient[1, 2] = 0.0  # a weight that nothing has reached yet
    first = (normal(0.2), gradient, zero, zero, 1, 0.1)
    early = (normal(0.2), normal(0.5), normal(0.2), 0.001 + normal(0.05) ** 2, 3, 0.05)
    late = (normal(0.2), normal(1e-4), normal(1e-4), 1e-8 + normal(1e-4) ** 2, 5000, 0.1)
    single = tuple(a.astype("float32") if isinstance(a, np.ndarray) else a for a in early)
    return [first, early, late, single]


def _new_m(w: Any, dw: Any, m: Any, v: Any, step: int, rate: float) -> Any:
    return BETA_1 * m + (1 - BETA_1) * dw


def _new_v(w: Any, dw: Any, m: Any, v: Any, step: int, rate: float) -> Any:
    return BETA_2 * v + (1 - BETA_2) * dw**2


def _new_w(along: Any, divisor: Any) -> Any:
    """A rule for w: the step goes along(m, step, dw) and is divided by divisor(v, step)."""

    def rule(w: Any, dw: Any, m: Any, v: Any, step: int, rate: float) -> Any:
        case = (w, dw, m, v, step, rate)
        with np.errstate(invalid="ignore"):  # without epsilon 0 / 0 is what a learner gets
            return w - rate * along(_new_m(*case), step, dw) / divisor(_new_v(*case), step)

    return rule


def _m_hat(m: Any, step: int, dw: Any) -> Any:
    return m / (1 - BETA_1**step)


def _v_hat(v: Any, step: int) -> Any:
    return v / (1 - BETA_2**step)


def _size(v: Any, step: int) -> Any:
    return np.sqrt(_v_hat(v, step)) + EPSILON


_right_w = _new_w(_m_hat, _size)


def _adam(w: Any, dw: Any, m: Any, v: Any, step: int, rate: float) -> tuple[Any, Any, Any]:
    case = (w, dw, m, v, step, rate)
    return _new_m(*case), _new_v(*case), _right_w(*case)


def _kept(place: int) -> Any:
    """A rule: m (place 0) or v (1) of a function that goes on from its own call before."""

    def rule(w: Any, dw: Any, m: Any, v: Any, step: int, rate: float) -> Any:
        own_m = own_v = 0.0
        for case in _adam_cases():
            own_m, own_v, _ = _adam(w, case[1], own_m, own_v, case[4], rate)
            if case[1].dtype == dw.dtype and np.array_equal(case[1], dw):
                break
        return (own_m, own_v)[place]

    return rule


EXERCISES = [
    Exercise(
        name="augment",
        section="More digits: augmentation",
        arguments=("images", "labels", "down", "right"),
        results=("new_images", "new_labels"),
        cases=_augment_cases,
        solution=lambda images, labels, down, right: (
            _images()(images, labels, down, right),
            np.concatenate([labels, labels]),
        ),
        # NumPy's words for copies of other sizes: np.array, np.stack, np.concatenate, assignment.
        errors={
            "inhomogeneous": "small",
            "must have the same shape": "small",
            "must match exactly": "small",
            "could not broadcast input array": "small",
        },
        mistakes={
            "new_images": [
                ("wraps", _images("wrap")),
                ("wraps", _images("wrap", lambda down, right: (right, down))),
                ("one_shift", _images(move=lambda i, j: (0 * i + i[0], 0 * j + j[0]))),
                ("one_shift", _images("wrap", lambda i, j: (0 * i + i[0], 0 * j + j[0]))),
                ("swapped", _images(move=lambda down, right: (right, down))),
                ("sign", _images(move=lambda down, right: (-down, -right))),
                ("sign", _images(move=lambda down, right: (-down, right))),
                ("sign", _images(move=lambda down, right: (down, -right))),
                ("edge", _images("edge")),
                ("only_copies", _copies),
                ("only_copies", lambda x, t, i, j: _moved(x, i, j, "wrap")),
                ("originals_last", lambda x, t, i, j: np.concatenate([_moved(x, i, j), x])),
                ("interleaved", _interleaved),
                ("unmoved", lambda x, t, i, j: np.concatenate([x, x])),
            ],
            "new_labels": [
                ("labels_repeat", lambda x, t, i, j: np.repeat(t, 2)),
                ("labels_short", lambda x, t, i, j: t),
            ],
        },
    ),
    Exercise(
        name="adam_step",
        section="Two running means",
        arguments=("w", "dw", "m", "v", "step", "rate"),
        results=("m", "v", "w"),
        cases=_adam_cases,
        solution=_adam,
        mistakes={
            "m": [
                ("shared", _kept(0)),
                ("m_swapped", lambda w, dw, m, v, step, rate: (1 - BETA_1) * m + BETA_1 * dw),
                ("m_summed", lambda w, dw, m, v, step, rate: BETA_1 * m + dw),
                ("m_summed", lambda w, dw, m, v, step, rate: m + dw),
                ("m_fresh", lambda w, dw, m, v, step, rate: (1 - BETA_1) * dw),
                ("m_fresh", lambda w, dw, m, v, step, rate: dw),
                ("m_corrected", lambda *case: _m_hat(_new_m(*case), case[4], case[1])),
            ],
            "v": [
                ("shared", _kept(1)),
                (
                    "one_number",
                    lambda w, dw, m, v, step, rate: BETA_2 * v + (1 - BETA_2) * np.mean(dw**2),
                ),
                (
                    "one_number",
                    lambda w, dw, m, v, step, rate: BETA_2 * v + (1 - BETA_2) * np.sum(dw**2),
                ),
                ("v_no_square", lambda w, dw, m, v, step, rate: BETA_2 * v + (1 - BETA_2) * dw),
                (
                    "v_no_square",
                    lambda w, dw, m, v, step, rate: BETA_2 * v + (1 - BETA_2) * np.abs(dw),
                ),
                ("v_swapped", lambda w, dw, m, v, step, rate: (1 - BETA_2) * v + BETA_2 * dw**2),
                ("v_beta_1", lambda w, dw, m, v, step, rate: BETA_1 * v + (1 - BETA_1) * dw**2),
                ("v_summed", lambda w, dw, m, v, step, rate: BETA_2 * v + dw**2),
                ("v_summed", lambda w, dw, m, v, step, rate: v + dw**2),
                ("v_corrected", lambda *case: _v_hat(_new_v(*case), case[4])),
            ],
            "w": [
                (
                    "no_correction",
                    _new_w(lambda m, step, dw: m, lambda v, step: np.sqrt(v) + EPSILON),
                ),
                ("no_correction", _new_w(lambda m, step, dw: m, lambda v, step: np.sqrt(v))),
                (
                    "no_correction",
                    _new_w(lambda m, step, dw: m, lambda v, step: np.sqrt(v + EPSILON)),
                ),
                ("m_uncorrected", _new_w(lambda m, step, dw: m, _size)),
                ("v_uncorrected", _new_w(_m_hat, lambda v, step: np.sqrt(v) + EPSILON)),
                (
                    "no_power",
                    _new_w(
                        lambda m, step, dw: m / (1 - BETA_1),
                        lambda v, step: np.sqrt(v / (1 - BETA_2)) + EPSILON,
                    ),
                ),
                (
                    "no_power",
                    _new_w(
                        lambda m, step, dw: m / (1 - BETA_1 * step),
                        lambda v, step: np.sqrt(v / (1 - BETA_2 * step)) + EPSILON,
                    ),
                ),
                (
                    "epsilon_inside",
                    _new_w(_m_hat, lambda v, step: np.sqrt(_v_hat(v, step) + EPSILON)),
                ),
                ("no_epsilon", _new_w(_m_hat, lambda v, step: np.sqrt(_v_hat(v, step)))),
                ("no_root", _new_w(_m_hat, lambda v, step: _v_hat(v, step) + EPSILON)),
                ("no_mean", _new_w(lambda m, step, dw: dw, _size)),
                ("ascent", lambda *case: 2 * case[0] - _right_w(*case)),
                ("step_alone", lambda *case: _right_w(*case) - case[0]),
                ("step_alone", lambda *case: case[0] - _right_w(*case)),
            ],
        },
    ),
]

QUIZ = [
    Question("improving_curves", right=3),
    Question("improving_rate", right=2),
    Question("improving_adam", right=1),
    Question("improving_moving", right=2),
]
