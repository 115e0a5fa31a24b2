"""Lesson 03: the loss of ten answers, a training step through all layers, split and epoch."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlib.lessons import messages
from cnnlib.lessons.exercise import Exercise, Question, Verdict

LESSON = "03_training"

TEXTS = {
    # --- cross_entropy(z, labels) ---
    "cross_entropy.solved": "This is the number that nearly every network that tells classes apart "
    "is trained on. Next: its gradient, which is shorter than the loss itself.",
    "cross_entropy.hint.1": "Subtract the largest logit of each row first: `z.max(axis=1, "
    "keepdims=True)`. The probabilities stay as they are, and no exp overflows.",
    "cross_entropy.hint.2": "Do not compute p and then its logarithm. For each row take `log(sum "
    "of exp(z))` minus the logit of the label.",
    "cross_entropy.hint.3": "`z[np.arange(len(z)), labels]` picks one logit from each row. The "
    "loss is the mean over the rows.",
    "cross_entropy.batch_axis": "you normalise over the batch. The probabilities of one example "
    "add up to 1 over its classes, so the sum runs along axis 1.",
    "cross_entropy.no_maximum": "exp overflows where a logit is large, or all become 0 where all "
    "are far below 0. Subtract the largest logit of each row first.",
    "cross_entropy.global_max": "you subtract the largest logit of the whole batch, so a row far "
    "below it becomes all zeros. Each row needs its own maximum.",
    "cross_entropy.column_max": "you subtract the largest logit of each column, which changes the "
    "probabilities. The same number has to go off a whole row: take its maximum.",
    "cross_entropy.log_of_zero": "a probability rounds to 0, and its logarithm is -inf. Take the "
    "logarithm of the sum of exp minus the label's logit, without computing p.",
    "cross_entropy.epsilon": "a small number keeps the logarithm from -inf, and caps the loss "
    "where the network is most wrong. With log of the sum minus the label's logit you need none.",
    "cross_entropy.summed": "you add over the batch; the loss is the mean over the examples.",
    "cross_entropy.over_classes": "you divide by batch times classes. Each example has one loss, "
    "so divide by the number of examples.",
    "cross_entropy.not_averaged": "this is one loss for each example. Take their mean: one number.",
    "cross_entropy.negative": "the sign is turned: probabilities are under 1, their logarithms "
    "below 0, and the loss is minus that.",
    "cross_entropy.no_log": "the logarithm is missing: the loss is the mean of -log(p), where p is "
    "what the right class got.",
    "cross_entropy.all_classes": "you add -log(p) over all classes. Only the right class counts: "
    "one number from each row.",
    "cross_entropy.picked": "`[:, labels]` takes all these columns from every row. Pair rows with "
    "labels: `[np.arange(len(z)), labels]`.",
    "cross_entropy.largest": "you take each row's largest logit. The loss asks what the row's "
    "*label* got.",
    "cross_entropy.half_shifted": "one logit is shifted and the other is not. Subtract the row's "
    "largest logit in both places: inside the sum of exp, and from the label's logit.",
    "cross_entropy.one_sum": "one sum runs over the whole batch. Each example has its own: sum "
    "over the classes alone, with `axis=1`.",
    "cross_entropy.sum_without_log": "the sum of exp stands there without its logarithm: it is "
    "log(sum) minus the label's logit.",
    "cross_entropy.no_softmax": "the sum over the classes is missing: a logit becomes a "
    "probability only when it is compared with the others of its row.",
    # --- training_step(layers, x, labels, rate) ---
    "training_step.solved": "These few lines train any network whose layers have a forward and a "
    "backward. Next: put a loop around them.",
    "training_step.hint.1": "The walk forward is there, and its last y is z. Two parts are left: "
    "the loss and its gradient by z; backward through all layers in reverse, with a step for each.",
    "training_step.hint.2": "After the walk forward: `loss = cross_entropy(y, labels)` and `dy = "
    "loss_gradient(y, labels)`. This dy is what the last layer's backward gets.",
    "training_step.hint.3": "Backward: `for layer, cache in zip(reversed(layers), "
    "reversed(caches))`, and inside it `dy, grads = layer.backward(dy, cache)`.",
    "training_step.hint.4": "Change the arrays themselves: `layer.params[name] -= rate * "
    "grads[name]` for each name in grads.",
    "training_step.ascent": "This step climbs: the weights move along their gradients, and the "
    "loss grows. Subtract rate times gradient.",
    "training_step.accumulating": "The first step is right, and the second adds the first one's "
    "gradients once more. Each step begins with new gradients.",
    "training_step.early": "A layer's weights change before its dx is computed, so the layers "
    "below get a gradient of weights that the loss never saw. First dx, then the step.",
    "training_step.image": "A layer's backward gets the input image. It needs the cache of *its "
    "own* forward pass: keep the caches in a list and walk both lists in reverse.",
    "training_step.other_cache": "A layer's backward gets the cache of another layer. Walk through "
    "layers and caches in the same order: reverse both.",
    "training_step.forward_image": "Every layer's forward gets the input image. Each layer takes "
    "the answer of the one before: `y, cache = layer.forward(y)`.",
    "training_step.same_dy": "Every layer's backward gets the gradient of the loss by the logits. "
    "The dx of one layer is the dy of the layer before: hand it on.",
    "training_step.not_reversed": "The way back begins at the first layer. The gradient is known "
    "at the end, so go through the layers in reverse.",
    "training_step.last_only": "Only the last layer learns. Every layer on the way back gives "
    "grads, and each of them is a step.",
    "training_step.no_mean": "The gradient is that of the sum over the batch, so the step is as "
    "many times too long. The loss is a mean: divide by the number of examples.",
    "training_step.divided_twice": "The step is too short by the number of examples: "
    "`loss_gradient` has divided by it already, so divide nothing again.",
    "training_step.loss_as_dy": "A layer's backward gets the loss, one number, as its dy. It needs "
    "the gradient of the loss by the logits, which is as large as they are: `loss_gradient`.",
    "training_step.no_target": "dy is made of p alone. It is p minus t: the probabilities minus "
    "the one-hot labels.",
    "training_step.no_rate": "The learning rate is missing: the step is rate * gradient.",
    "training_step.no_update": "The weights are what they were. `p = p - ...` only gives a new "
    "array a name; change the one in the layer: `layer.params[name] -= ...`.",
    "training_step.no_loss": "The step is right, and no loss comes back: return the one that "
    "belongs to the weights before the step.",
    "training_step.late_loss": "The step is right, and the loss is that of the new weights. Return "
    "the one that the gradients belong to, from before the step.",
    # --- split_and_epoch(x, labels, held_back, batch_size, rng) ---
    "split_and_epoch.solved": "No example is lost, none is met twice, and none of those held back "
    "was learned from. (`fit` with `validation_split` holds back the last part without shuffling.)",
    "split_and_epoch.hint.1": "Draw one order of all examples, `rng.permutation(len(x))`, and use "
    "it for x and for labels.",
    "split_and_epoch.hint.2": "The first `held_back` places of that order are held back. Cut the "
    "others with `range(held_back, len(x), batch_size)`; a slice may end beyond the last one.",
    "split_and_epoch.apart": "x and labels are shuffled apart, so pictures get the labels of "
    "others. Draw one order and index both with it.",
    "split_and_epoch.last_dropped": "The last batch is missing, as it is shorter than the others. "
    "Its examples would never be learned from.",
    "split_and_epoch.overlap": "Some examples are held back and in a batch as well, so the network "
    "would be judged on what it learned from.",
    "split_and_epoch.repeated": "Some examples are met twice in one epoch and others never. Draw "
    "an order of all of them, without putting any back.",
    "split_and_epoch.not_shuffled": "The batches come in the order of the data. Shuffle: the data "
    "may be sorted by class.",
    "split_and_epoch.end_held_back": "Held back are the first or the last examples as they lie "
    "there. In sorted data these are all of one class: shuffle before the split.",
    "split_and_epoch.held_count": "The number of examples that are held back is wrong: it is "
    "held_back.",
    "split_and_epoch.batch_count": "The batches have wrong sizes: each has batch_size examples, "
    "but for the last one, which has what is left.",
    "split_and_epoch.own_seed": "Every call gives the same order. Draw it from `rng`, the "
    "generator that is passed, so that each epoch has another one.",
    "split_and_epoch.form": "Expected two results: the pair (x, labels) held back, and a list of "
    "pairs (x, labels), one for each batch, all NumPy arrays.",
    # --- Quiz ---
    "quiz.training_max": "Softmax subtracts the largest logit of a row first. What does that "
    "change?",
    "quiz.training_max.1": "The largest probability becomes 1",
    "quiz.training_max.2": "The probabilities get more alike",
    "quiz.training_max.3": "Nothing but that exp cannot overflow",
    "quiz.training_max.why": "Taking the same number off all logits of a row leaves its "
    "probabilities as they are. With the largest at 0, no exp is above 1.",
    "quiz.training_dz": "p is (0.7, 0.2, 0.1), and the second class is right. What is the gradient "
    "of this example's loss by the logits?",
    "quiz.training_dz.1": "(0.7, -0.8, 0.1)",
    "quiz.training_dz.2": "(0, -0.8, 0)",
    "quiz.training_dz.3": "(-0.7, 0.8, -0.1)",
    "quiz.training_dz.why": "It is p - t with t = (0, 1, 0). A step against it raises the second "
    "logit and lowers the others, each as far as it was wrong.",
    "quiz.training_dy": "On the way back, what does a layer in the middle receive as its dy?",
    "quiz.training_dy.1": "The loss of the batch",
    "quiz.training_dy.2": "The dx of the layer that follows it",
    "quiz.training_dy.3": "The input image",
    "quiz.training_dy.why": "What the layer gave out is what the next one took in, so that one's "
    "dx is this one's dy. Its own input lies in its cache.",
    "quiz.training_split": "You train with ten learning rates and keep the one with the best "
    "accuracy on the test set. What is wrong?",
    "quiz.training_split.1": "Nothing: the network never learned from the test set",
    "quiz.training_split.2": "You chose by it, so its number is now too good",
    "quiz.training_split.3": "Ten rates are too few",
    "quiz.training_split.why": "The best of ten was partly lucky on just these examples. Choose by "
    "the validation set, and ask the test set once, at the end.",
}


# --- cross_entropy --------------------------------------------------------------------------------


def _shifted(z: Any) -> Any:
    return z - z.max(axis=1, keepdims=True)


def _log_p(z: Any) -> Any:
    z = _shifted(z)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _right(values: Any, labels: Any) -> Any:
    """One value of each row: the label's."""
    return values[np.arange(len(values)), labels]


def _cross_entropy(z: Any, labels: Any) -> Any:
    return -np.mean(_right(_log_p(z), labels))


def _p(z: Any, axis: int = 1, top: Any = 0.0) -> Any:
    e = np.exp(z - top)
    return e / e.sum(axis=axis, keepdims=True)


def _stable_p(z: Any) -> Any:
    return _p(z, top=z.max(axis=1, keepdims=True))


def _of_p(p: Any, labels: Any) -> Any:
    return -np.mean(np.log(_right(p, labels)))


def _log_sum(z: Any, axis: int | None = 1) -> Any:
    return np.log(np.exp(z).sum(axis=axis))


def _loss_cases() -> list[tuple]:
    rng = np.random.default_rng(4)
    cases = [
        (rng.normal(size=(n, k)) * 2, rng.integers(0, k, size=n))
        for n, k in [(4, 3), (2, 5), (3, 3), (6, 4)]
    ]
    far = np.array([[1000.0, 998.0, 999.5], [-1000.0, -1001.0, -999.0]])
    wrong = np.array([[0.0, 900.0, 1.0], [2.0, 1.0, -800.0], [1.0, 2.0, 0.5]])
    cases += [(far, np.array([2, 0])), (wrong, np.array([0, 2, 1]))]
    return [*cases, (cases[0][0].astype("float32"), cases[0][1].astype("uint8"))]


_SMALL = [10.0**-k for k in range(5, 17)] + [1e-20, 1e-30]

LOSS_MISTAKES: list[tuple[str, Callable[..., Any]]] = [
    ("batch_axis", lambda z, labels: _of_p(_p(z, 0), labels)),
    ("batch_axis", lambda z, labels: _of_p(_p(z, 0, z.max(axis=0)), labels)),
    (
        "batch_axis",
        lambda z, labels: _of_p(_p(z, 0, z.max(axis=1, keepdims=True)), labels),
    ),
    (
        "batch_axis",
        lambda z, labels: np.mean(
            _log_sum(z - z.max(axis=0), 0)[labels] - _right(z - z.max(axis=0), labels)
        ),
    ),
    ("no_maximum", lambda z, labels: _of_p(_p(z), labels)),
    (
        "no_maximum",
        lambda z, labels: np.mean(_log_sum(z) - _right(z, labels)),
    ),
    ("global_max", lambda z, labels: _of_p(_p(z, top=z.max()), labels)),
    (
        "global_max",
        lambda z, labels: np.mean(_log_sum(z - z.max()) - _right(z - z.max(), labels)),
    ),
    ("column_max", lambda z, labels: _cross_entropy(z - z.max(axis=0), labels)),
    ("column_max", lambda z, labels: _of_p(_p(z, top=z.max(axis=0)), labels)),
    ("log_of_zero", lambda z, labels: _of_p(_stable_p(z), labels)),
    *[("epsilon", lambda z, y, e=e: _of_p(_stable_p(z) + e, y)) for e in _SMALL],
    *[("epsilon", lambda z, y, e=e: _of_p(np.clip(_stable_p(z), e, 1), y)) for e in _SMALL],
    *[("epsilon", lambda z, y, e=e: _of_p(np.clip(_stable_p(z), e, 1 - e), y)) for e in _SMALL],
    ("summed", lambda z, labels: len(z) * _cross_entropy(z, labels)),
    ("summed", lambda z, labels: len(z) * _of_p(_stable_p(z), labels)),
    ("summed", lambda z, labels: len(z) * _of_p(_p(z), labels)),
    ("over_classes", lambda z, labels: _cross_entropy(z, labels) / z.shape[1]),
    ("over_classes", lambda z, labels: _of_p(_stable_p(z), labels) / z.shape[1]),
    ("not_averaged", lambda z, labels: -_right(_log_p(z), labels)),
    ("not_averaged", lambda z, labels: -_log_p(z)),
    ("negative", lambda z, labels: -_cross_entropy(z, labels)),
    ("negative", lambda z, labels: -_of_p(_stable_p(z), labels)),
    ("no_log", lambda z, labels: -np.mean(_right(_stable_p(z), labels))),
    ("no_log", lambda z, labels: 1 - np.mean(_right(_stable_p(z), labels))),
    ("no_log", lambda z, labels: np.mean(_right(_stable_p(z), labels))),
    ("all_classes", lambda z, labels: -np.mean(_log_p(z).sum(axis=1))),
    ("all_classes", lambda z, labels: -np.mean(_log_p(z))),
    ("picked", lambda z, labels: -np.mean(_log_p(z)[:, labels])),
    (
        "picked",
        lambda z, labels: np.mean(_log_sum(_shifted(z))[:, None] - _shifted(z)[:, labels]),
    ),
    ("half_shifted", lambda z, labels: np.mean(_log_sum(_shifted(z)) - _right(z, labels))),
    ("half_shifted", lambda z, labels: np.mean(_log_sum(z) - _right(_shifted(z), labels))),
    ("one_sum", lambda z, labels: np.mean(_log_sum(z, None) - _right(z, labels))),
    (
        "one_sum",
        lambda z, labels: np.mean(_log_sum(_shifted(z), None) - _right(_shifted(z), labels)),
    ),
    (
        "sum_without_log",
        lambda z, labels: np.mean(np.exp(_shifted(z)).sum(axis=1) - _right(_shifted(z), labels)),
    ),
    (
        "sum_without_log",
        lambda z, labels: np.mean(np.exp(z).sum(axis=1) - _right(z, labels)),
    ),
    ("largest", lambda z, labels: -np.mean(_log_p(z).max(axis=1))),
    ("no_softmax", lambda z, labels: -np.mean(_right(z, labels))),
    ("no_softmax", lambda z, labels: -np.mean(_right(_shifted(z), labels))),
]


def _quiet(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The same rule without warnings, as a learner's function is called."""

    def quietly(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return rule(*arguments)

    return quietly


# --- training_step --------------------------------------------------------------------------------


class _Watched:
    """A layer that notes which caches come back to it; all else is the layer's."""

    def __init__(self, layer: Any, notes: list[str]):
        self.layer, self.notes = layer, notes
        self.cache: Any = None

    def __getattr__(self, name: str) -> Any:
        if name == "layer":  # a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.layer, name)

    def forward(self, x: Any, *more: Any, **named: Any) -> Any:
        y, self.cache = self.layer.forward(x, *more, **named)
        return y, self.cache

    def backward(self, dy: Any, cache: Any) -> Any:
        if np.ndim(dy) == 0:
            self.notes.append("loss_as_dy")
        if cache is not self.cache:
            self.notes.append("image" if isinstance(cache, np.ndarray) else "other_cache")
        return self.layer.backward(dy, cache)

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


@dataclass
class _Steps:
    """What two steps gave: the weights after each, the losses, the error, what was noted."""

    weights: list[list[np.ndarray]]
    losses: list[Any]
    notes: list[str]
    overwritten: bool = False
    error: BaseException | None = None


RATE = 0.5
# (shape of an example, units of the layers): unequal sizes, then equal ones for the recognition.
NETWORKS = [((2, 3), (5, 4)), ((4,), (4, 4, 4))]


def _network(shape: tuple[int, ...], units: tuple[int, ...]) -> list[Any]:
    """Layers with the same weights at each call, the biases not zero."""
    from cnnlib import layers

    rng = np.random.default_rng(5)
    *hidden, last = units
    made: list[Any] = [layers.Flatten(dtype="float64")] if len(shape) > 1 else []
    made += [layers.Dense(size, activation="tanh", dtype="float64") for size in hidden]
    made.append(layers.Dense(last, dtype="float64"))
    size: tuple[int | None, ...] = (None, *shape)
    for layer in made:
        layer.build(size)
        size = layer.compute_output_shape(size)
        layer.set_weights([0.8 * rng.normal(size=w.shape) for w in layer.get_weights()])
    return made


def _two_batches(shape: tuple[int, ...], classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(6)
    return [(rng.normal(size=(n, *shape)), rng.integers(0, classes, size=n)) for n in (5, 3)]


def _weights(layers: Sequence[Any]) -> list[np.ndarray]:
    return [w for layer in layers for w in layer.get_weights()]


def _two_steps(step: Callable[..., Any], network: tuple) -> _Steps:
    """Run a learner's function on two batches, one after the other."""
    shape, units = network
    found = _Steps([], [], [])
    watched = [_Watched(layer, found.notes) for layer in _network(shape, units)]
    found.weights.append(_weights(watched))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for x, labels in _two_batches(shape, units[-1]):
            given = x.copy(), labels.copy()
            try:
                found.losses.append(step(list(watched), *given, RATE))
            except (Exception, SystemExit) as error:  # all but the learner's own Ctrl-C
                found.error = error
                return found
            found.overwritten |= not np.array_equal(given[0], x)
            found.weights.append(_weights(watched))
    return found


def _step(
    layers: Any,
    x: Any,
    labels: Any,
    rate: float,
    *,
    sign: int = -1,
    mistake: str = "",
) -> Any:
    """The right step, or with one mistake in it."""
    image, caches, z = x, [], x
    for layer in layers:
        z, cache = layer.forward(image if mistake == "forward_image" else z)
        caches.append(cache)
    loss = _cross_entropy(z, labels)
    dz = _stable_p(z)
    if mistake != "no_target":
        dz[np.arange(len(z)), labels] -= 1
    if mistake != "no_mean":
        dz /= len(z)
    if mistake == "divided_twice":
        dz /= len(z)
    dy = dz
    pairs = list(zip(layers, caches, strict=True))
    for layer, cache in pairs if mistake == "not_reversed" else reversed(pairs):
        dx, grads = layer.backward(dy, cache)
        for name, gradient in grads.items():
            if mistake == "accumulating":
                summed = layer.__dict__.setdefault("summed", {})
                gradient = summed[name] = summed.get(name, 0) + gradient
            if mistake == "no_update" or (mistake == "last_only" and layer is not layers[-1]):
                continue
            layer.params[name] += sign * (1 if mistake == "no_rate" else rate) * gradient
        if mistake == "early":
            dx, _ = layer.backward(dy, cache)
        dy = dz if mistake == "same_dy" else dx
    if mistake == "late_loss":
        z = image
        for layer in layers:
            z, _ = layer.forward(z)
        return _cross_entropy(z, labels)
    return None if mistake == "no_loss" else loss


def _wrong_step(mistake: str) -> tuple[str, Callable[..., Any]]:
    def rule(layers: Any, x: Any, labels: Any, rate: float) -> Any:
        sign = 1 if mistake == "ascent" else -1
        return _step(layers, x, labels, rate, sign=sign, mistake=mistake)

    return mistake, rule


def _close(value: Any, expected: Any, size: float) -> bool:
    return np.shape(value) == np.shape(expected) and bool(
        np.allclose(value, expected, rtol=0, atol=1e-4 * size)
    )


def _moves(found: _Steps) -> list[np.ndarray]:
    """How far each weight went from the first to the last."""
    return [b - a for a, b in zip(found.weights[0], found.weights[-1], strict=True)]


def _same_moves(found: _Steps, other: _Steps) -> bool:
    pairs = zip(_moves(found), _moves(other), strict=True)
    return all(_close(a, b, float(np.abs(b).max()) or 1e-6) for a, b in pairs)


def _same_losses(found: _Steps, other: _Steps) -> bool:
    pairs = zip(found.losses, other.losses, strict=True)
    return all(_is_number(a) and b is not None and _close(a, b, 1.0) for a, b in pairs)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.ndarray) and np.ndim(value) == 0


def _say(name: str, key: str) -> Verdict:
    return Verdict(key, messages.text(f"{name}.{key}"))


def _common(exercise: Exercise, functions: tuple) -> Verdict | None:
    """What is wrong with the function before it is called."""
    if len(functions) != 1:
        raise TypeError(
            f"check({exercise.name!r}, ...) expects 1 function(s) after the name. "
            f"Received: {len(functions)}"
        )
    function = functions[0]
    if not callable(function):
        text = messages.text("check.not_callable", type=type(function).__name__)
        return Verdict("not_callable", text)
    try:
        inspect.signature(function).bind(*exercise.arguments)
    except TypeError:
        text = messages.text(
            "check.signature",
            name=exercise.name,
            expected=f"({', '.join(exercise.arguments)})",
            received=", ".join(inspect.signature(function).parameters),
        )
        return Verdict("signature", text)
    except ValueError:
        pass  # without a signature: calling it will tell
    return None


def _stopped(exercise: Exercise, error: BaseException, case: str) -> Verdict:
    if isinstance(error, NotImplementedError):
        return Verdict("not_yet", messages.text("check.not_yet", name=exercise.name))
    first = next(iter(str(error).strip().splitlines()), "").rstrip(". ")[:100]
    name = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return Verdict("exception", messages.text("check.exception", case=case, error=name, line=""))


class StepExercise(Exercise):
    """Two training steps on each of two networks: the weights and the losses after them."""

    def examine(self, *functions: Any) -> Verdict:
        """Try a learner's step; whatever it does, a verdict comes back."""
        if wrong := _common(self, functions):
            return wrong
        runs = [(net, _two_steps(functions[0], net)) for net in NETWORKS]
        for _, found in runs:
            if found.overwritten:
                text = messages.text("check.overwritten", argument="x")
                return Verdict("overwritten", text)
        verdicts = [self._verdict_on(net, found) for net, found in runs]
        first = next((verdict for verdict in verdicts if verdict), None)
        if first is None:
            why = messages.text(f"{self.name}.solved")
            text = messages.text("check.right", name=self.name, count=len(runs), why=why)
            return Verdict("right", text)
        if first.diagnosis in ("exception", "numbers"):
            return self._mistake_in(runs) or first
        return first

    def _verdict_on(self, network: tuple, found: _Steps) -> Verdict | None:
        shape, units = network
        right = _two_steps(self.solution, network)
        if found.error is not None:
            case = f"x {(5, *shape)}, units {units}"
            return _stopped(self, found.error, case)
        if not any(np.any(move) for move in _moves(found)):
            if all(loss is None for loss in found.losses):
                return Verdict("not_yet", messages.text("check.not_yet", name=self.name))
            return _say(self.name, "no_update")
        if _same_moves(found, right):
            if _same_losses(found, right):
                return None
            late = _two_steps(dict(self.mistakes["weights"])["late_loss"], network)
            key = "late_loss" if _same_losses(found, late) else "no_loss"
            if key == "late_loss" or all(loss is None for loss in found.losses):
                return _say(self.name, key)
            loss, expected = found.losses[0], f"{right.losses[0]:.4g}"
            received = f"{float(loss):.4g}" if _is_number(loss) else type(loss).__name__
            return self._numbers(network, "the loss", expected, received)
        after, before = right.weights[-1], found.weights[-1]
        for k, (expected_w, w) in enumerate(zip(after, before, strict=True)):
            if not _close(w, expected_w, float(np.abs(_moves(right)[k]).max())):
                place = np.unravel_index(np.argmax(np.abs(w - expected_w)), w.shape)
                layer = [name for made in _network(*network) for name in _names(made)][k]
                index = ", ".join(str(int(i)) for i in place)
                name = f"{layer}[{index}] after two steps"
                return self._numbers(network, name, f"{expected_w[place]:.4g}", f"{w[place]:.4g}")
        return None

    def _numbers(self, network: tuple, place: str, expected: str, received: str) -> Verdict:
        shape, units = network
        text = messages.text(
            "check.numbers",
            case=f"x {(5, *shape)}, units {units}",
            place=place,
            expected=expected,
            received=received,
        )
        return Verdict("numbers", text)

    def _mistake_in(self, runs: list[tuple[tuple, _Steps]]) -> Verdict | None:
        """The mistake that gives just these weights, wherever there are any."""
        notes = {note for _, found in runs for note in found.notes}
        for key in ("loss_as_dy", "image", "other_cache"):
            if key in notes:
                return _say(self.name, key)
        done = [(net, found) for net, found in runs if found.error is None]
        for key, rule in self.mistakes["weights"]:
            if done and all(_same_moves(found, _two_steps(rule, net)) for net, found in done):
                return _say(self.name, key)
        return None


def _names(layer: Any) -> list[str]:
    return [f"{type(layer).__name__}({layer.units}) {name}" for name in layer.params]


# --- split_and_epoch ------------------------------------------------------------------------------


def _split_and_epoch(x: Any, labels: Any, held_back: int, batch_size: int, rng: Any) -> Any:
    order = rng.permutation(len(x))
    held = order[:held_back]
    batches = []
    for start in range(held_back, len(x), batch_size):
        chosen = order[start : start + batch_size]
        batches.append((x[chosen], labels[chosen]))
    return (x[held], labels[held]), batches


class SplitExercise(Exercise):
    """What has to hold for any order: who is held back, and who is met in which batch."""

    def examine(self, *functions: Any) -> Verdict:
        """Try a learner's function; whatever it does, a verdict comes back."""
        if wrong := _common(self, functions):
            return wrong
        seen = []
        for x, labels, held_back, batch_size, seed in self.cases():
            case = f"x {x.shape}, held_back = {held_back}, batch_size = {batch_size}"
            rng = np.random.default_rng(seed)
            try:
                made = functions[0](x.copy(), labels.copy(), held_back, batch_size, rng)
            except (Exception, SystemExit) as error:  # all but the learner's own Ctrl-C
                return _stopped(self, error, case)
            if made is None or (isinstance(made, tuple | list) and any(m is None for m in made)):
                return Verdict("not_yet", messages.text("check.not_yet", name=self.name))
            pairs = _pairs(made)
            if pairs is None:
                return _say(self.name, "form")
            if key := _split_mistake(pairs, x, labels, held_back, batch_size):
                return _say(self.name, key)
            seen.append(tuple(np.concatenate([images[:, 0] for images, _ in pairs])))
        if seen[0] == seen[1]:  # the same case with another generator
            return _say(self.name, "own_seed")
        why = messages.text(f"{self.name}.solved")
        text = messages.text("check.right", name=self.name, count=len(seen), why=why)
        return Verdict("right", text)


def _pairs(made: Any) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """The pair held back, then those of the batches; None where the form is another."""
    try:
        held, batches = made
        pairs = [held, *batches]
        ok = all(
            len(pair) == 2
            and all(isinstance(part, np.ndarray) for part in pair)
            and pair[0].ndim == 2
            and len(pair[0]) == len(pair[1])
            for pair in pairs
        )
    except (TypeError, ValueError, AttributeError):
        return None
    return [tuple(pair) for pair in pairs] if ok and len(pairs) > 1 else None


def _split_mistake(
    pairs: list[tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    labels: np.ndarray,
    held_back: int,
    batch_size: int,
) -> str:
    """The name of what is wrong; empty where nothing is. Column 0 of x numbers the examples."""
    count = len(x)
    for images, given in pairs:
        if not np.array_equal(labels[images[:, 0].astype(int)], given):
            return "apart"
    held, *batches = [list(images[:, 0].astype(int)) for images, _ in pairs]
    met = [k for batch in batches for k in batch]
    if len(held) != held_back:
        return "held_count"
    if set(held) & set(met):
        return "overlap"
    if len(set(met)) < len(met) or len(set(held)) < len(held):
        return "repeated"
    if len(met) < count - held_back and all(len(batch) == batch_size for batch in batches):
        return "last_dropped"
    sizes = [len(batch) for batch in batches]
    left = (count - held_back) % batch_size
    if sizes != [batch_size] * ((count - held_back) // batch_size) + [left] * (left > 0):
        return "batch_count"
    if sorted(held) in (list(range(held_back)), list(range(count - held_back, count))):
        return "end_held_back"
    if met == sorted(met):
        return "not_shuffled"
    return ""


def _split_cases() -> list[tuple]:
    cases = []
    for count, held_back, batch_size, seed in [(23, 5, 4, 1), (23, 5, 4, 2), (17, 6, 3, 3)]:
        x = np.stack([np.arange(count), np.arange(count) % 7 + 0.5], axis=1)
        labels = np.arange(count) * 3 + 100  # each has its own, so that none fits another
        cases.append((x, labels, held_back, batch_size, seed))
    return cases


EXERCISES = [
    Exercise(
        name="cross_entropy",
        section="From logits straight to the loss",
        arguments=("z", "labels"),
        results=("loss",),
        cases=_loss_cases,
        solution=_cross_entropy,
        mistakes={"loss": [(mistake, _quiet(rule)) for mistake, rule in LOSS_MISTAKES]},
    ),
    StepExercise(
        name="training_step",
        section="Many layers at once",
        arguments=("layers", "x", "labels", "rate"),
        results=("loss",),
        cases=list,
        solution=_step,
        mistakes={
            "weights": [
                _wrong_step(mistake)
                for mistake in (
                    "ascent",
                    "accumulating",
                    "early",
                    "forward_image",
                    "same_dy",
                    "not_reversed",
                    "last_only",
                    "no_mean",
                    "divided_twice",
                    "no_target",
                    "no_rate",
                    "no_update",
                    "no_loss",
                    "late_loss",
                    "image",
                    "other_cache",
                    "loss_as_dy",
                )
            ]
        },
    ),
    SplitExercise(
        name="split_and_epoch",
        section="A loop around the step",
        arguments=("x", "labels", "held_back", "batch_size", "rng"),
        results=("held back", "batches"),
        cases=_split_cases,
        solution=_split_and_epoch,
        mistakes={
            "batches": [
                (key, _split_and_epoch)
                for key in (
                    "apart",
                    "last_dropped",
                    "overlap",
                    "repeated",
                    "not_shuffled",
                    "end_held_back",
                    "held_count",
                    "batch_count",
                    "own_seed",
                    "form",
                )
            ]
        },
    ),
]

QUIZ = [
    Question("training_max", right=3),
    Question("training_dz", right=1),
    Question("training_dy", right=2),
    Question("training_split", right=2),
]
