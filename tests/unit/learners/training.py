"""Lesson 03 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np

from cnnlib import losses, plain
from cnnlib.activations import softmax

# --- Right, in another way ---------------------------------------------------------------------


def loop_loss(z, labels):
    total = 0.0
    for row, label in zip(z, labels, strict=True):
        row = row - max(row)
        total += np.log(sum(np.exp(v) for v in row)) - row[label]
    return total / len(z)


def one_hot_loss(z, labels):
    t = np.eye(z.shape[1])[labels]
    shifted = z - np.max(z, 1)[:, None]
    return -(t * (shifted - np.log(np.exp(shifted).sum(1))[:, None])).sum() / len(z)


def logaddexp_loss(z, labels):
    return np.mean(np.logaddexp.reduce(z, axis=1) - np.take_along_axis(z, labels[:, None], 1)[:, 0])


def forward(layers, x):
    caches = []
    for layer in layers:
        x, cache = layer.forward(x)
        caches.append(cache)
    return x, caches


def loss_and_gradient(z, labels):
    t = (labels[:, None] == np.arange(z.shape[1])).astype(float)
    return loop_loss(z, labels), (softmax(z) - t) / len(z)


def short_step(layers, x, labels, rate):
    z, caches = forward(layers, x)
    loss, dy = loss_and_gradient(z, labels)
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dy, grads = layer.backward(dy, cache)
        for name in grads:
            layer.params[name] -= rate * grads[name]
    return loss


def two_phase_step(layers, x, labels, rate):
    z, caches = forward(layers, x)
    loss, dy = loss_and_gradient(z, labels)
    all_grads = []
    for k in range(len(layers) - 1, -1, -1):
        dy, grads = layers[k].backward(dy, caches[k])
        all_grads.insert(0, grads)
    for layer, grads in zip(layers, all_grads, strict=True):
        for name, gradient in grads.items():
            layer.params[name] = layer.params[name] - rate * gradient
    return np.array(loss)


def split_with_shuffle(x, labels, held_back, batch_size, rng):
    order = np.arange(len(x))
    rng.shuffle(order)
    x, labels = x[order], labels[order]
    held = x[-held_back:], labels[-held_back:]
    x, labels = x[:-held_back], labels[:-held_back]
    steps = -(-len(x) // batch_size)
    cuts = [slice(k * batch_size, (k + 1) * batch_size) for k in range(steps)]
    return held, [(x[cut], labels[cut]) for cut in cuts]


RIGHT = [
    ("cross_entropy", loop_loss),
    ("cross_entropy", one_hot_loss),
    ("cross_entropy", logaddexp_loss),
    ("cross_entropy", plain.softmax_cross_entropy_forward),
    (
        "cross_entropy",
        lambda z, t: losses.SparseCategoricalCrossentropy(from_logits=True)(t, z),
    ),
    ("cross_entropy", lambda z, labels: np.float32(loop_loss(z, labels))),
    ("training_step", short_step),
    ("training_step", two_phase_step),
    ("training_step", lambda layers, x, t, rate: float(short_step(layers, x, t, rate))),
    ("split_and_epoch", split_with_shuffle),
    ("split_and_epoch", lambda *given: [*split_with_shuffle(*given)]),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def stable(z, axis=1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def of(p, labels):
    return -np.log(p[np.arange(len(p)), labels]).mean()


def naive(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def loop_all_classes(z, labels):
    z = z - z.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(z).sum(axis=1))
    return np.mean([(log_sum[n] - z[n]).sum() for n in range(len(z))])


def sum_of_all(z, labels):
    return np.mean(np.log(np.exp(z).sum()) - z[np.arange(len(z)), labels])


def sum_without_log(z, labels):
    z = z - z.max(axis=1, keepdims=True)
    return np.mean(np.exp(z).sum(axis=1) - z[np.arange(len(z)), labels])


def ascending(layers, x, labels, rate):
    return short_step(layers, x, labels, -rate)


def collecting():
    summed = {}

    def step(layers, x, labels, rate):
        z, caches = forward(layers, x)
        loss, dy = loss_and_gradient(z, labels)
        for k in reversed(range(len(layers))):
            dy, grads = layers[k].backward(dy, caches[k])
            for name in grads:
                key = (layers[k], name)
                summed[key] = summed.get(key, 0) + grads[name]
                layers[k].params[name] -= rate * summed[key]
        return loss

    return step


def too_early(layers, x, labels, rate):
    z, caches = forward(layers, x)
    loss, dy = loss_and_gradient(z, labels)
    for layer, cache in zip(layers[::-1], caches[::-1], strict=True):
        for name, gradient in layer.backward(dy, cache)[1].items():
            layer.params[name] -= rate * gradient
        dy = layer.backward(dy, cache)[0]
    return loss


def image_back(layers, x, labels, rate):
    z, _ = forward(layers, x)
    loss, dy = loss_and_gradient(z, labels)
    for layer in reversed(layers):
        dy, grads = layer.backward(dy, x)
        for name in grads:
            layer.params[name] -= rate * grads[name]
    return loss


def last_cache(layers, x, labels, rate):
    z = x
    for layer in layers:
        z, cache = layer.forward(z)
    loss, dy = loss_and_gradient(z, labels)
    for layer in reversed(layers):
        dy, grads = layer.backward(dy, cache)
        for name in grads:
            layer.params[name] -= rate * grads[name]
    return loss


def step_with(forward=forward, loss_and_gradient=loss_and_gradient, order=reversed, keep_dy=False):
    """Return a step that is right but for what is replaced."""

    def step(layers, x, labels, rate):
        z, caches = forward(layers, x)
        loss, dy = loss_and_gradient(z, labels)
        for k in order(range(len(layers))):
            dx, grads = layers[k].backward(dy, caches[k])
            dy = dy if keep_dy else dx
            for name in grads:
                layers[k].params[name] -= rate * grads[name]
        return loss

    return step


def image_forward(layers, x):
    made = [layer.forward(x) for layer in layers]
    return made[-1][0], [cache for _, cache in made]


def only_last(layers, x, labels, rate):
    z, caches = forward(layers, x)
    loss, dy = loss_and_gradient(z, labels)
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dy, grads = layer.backward(dy, cache)
        if layer is layers[-1]:
            for name in grads:
                layer.params[name] -= rate * grads[name]
    return loss


def not_in_place(layers, x, labels, rate):
    z, caches = forward(layers, x)
    loss, dy = loss_and_gradient(z, labels)
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dy, grads = layer.backward(dy, cache)
        for name, p in layer.params.items():
            p = p - rate * grads[name]
    return loss


def returns_nothing(layers, x, labels, rate):
    short_step(layers, x, labels, rate)


def loss_of_the_new(layers, x, labels, rate):
    short_step(layers, x, labels, rate)
    return loop_loss(forward(layers, x)[0], labels)


def split_with(
    orders=None, drop=False, overlap=False, again=False, sort=False, held=None, size=None
):
    """Return a split that is right but for one thing."""

    def split(x, labels, held_back, batch_size, rng):
        order = rng.permutation(len(x))
        other = rng.permutation(len(x)) if orders == "two" else order
        if orders == "end":
            order = other = np.arange(len(x))
        kept = held_back + (held or 0)
        first = 0 if overlap else kept
        rest, others = order[first:], other[first:]
        if again:
            rest = others = rng.choice(order[kept:], size=len(x) - kept)
        if sort:
            rest = others = np.sort(rest)
        size_of = batch_size + (size or 0)
        stop = len(rest) - (len(rest) % size_of if drop else 0)
        cuts = [slice(k, k + size_of) for k in range(0, stop, size_of)]
        batches = [(x[rest[cut]], labels[others[cut]]) for cut in cuts]
        return (x[order[:kept]], labels[other[:kept]]), batches

    return split


def same_order(x, labels, held_back, batch_size, rng):
    return split_with()(x, labels, held_back, batch_size, np.random.default_rng(0))


MISTAKES = [
    ("cross_entropy", "batch_axis", lambda z, t: of(np.exp(z) / np.exp(z).sum(axis=0), t)),
    ("cross_entropy", "batch_axis", lambda z, t: of(stable(z, axis=0), t)),
    ("cross_entropy", "no_maximum", lambda z, t: of(naive(z), t)),
    (
        "cross_entropy",
        "no_maximum",
        lambda z, t: np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), t]),
    ),
    (
        "cross_entropy",
        "global_max",
        lambda z, t: of(naive(z - z.max()), t),
    ),
    ("cross_entropy", "column_max", lambda z, t: loop_loss(z - z.max(axis=0), t)),
    ("cross_entropy", "log_of_zero", lambda z, t: of(stable(z), t)),
    ("cross_entropy", "epsilon", lambda z, t: of(stable(z) + 1e-9, t)),
    ("cross_entropy", "epsilon", lambda z, t: of(np.maximum(stable(z), 1e-12), t)),
    ("cross_entropy", "epsilon", lambda z, t: of(np.clip(stable(z), 1e-7, 1 - 1e-7), t)),
    ("cross_entropy", "summed", lambda z, t: loop_loss(z, t) * len(t)),
    ("cross_entropy", "summed", lambda z, t: -np.log(stable(z)[np.arange(len(z)), t]).sum()),
    (
        "cross_entropy",
        "over_classes",
        lambda z, t: (
            -np.mean(np.eye(z.shape[1])[t] * np.log(stable(z) + 1e-300))
            if np.abs(z).max() < 99
            else loop_loss(z, t) / z.shape[1]
        ),
    ),
    (
        "cross_entropy",
        "not_averaged",
        lambda z, t: np.array([loop_loss(z[n : n + 1], t[n : n + 1]) for n in range(len(z))]),
    ),
    ("cross_entropy", "negative", lambda z, t: -loop_loss(z, t)),
    ("cross_entropy", "no_log", lambda z, t: -stable(z)[np.arange(len(z)), t].mean()),
    ("cross_entropy", "all_classes", loop_all_classes),
    (
        "cross_entropy",
        "picked",
        lambda z, t: (np.logaddexp.reduce(z, axis=1)[:, None] - z[:, t]).mean(),
    ),
    (
        "cross_entropy",
        "largest",
        lambda z, t: np.mean(np.logaddexp.reduce(z, axis=1) - z.max(axis=1)),
    ),
    (
        "cross_entropy",
        "half_shifted",
        lambda z, t: np.mean(
            np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) - z[np.arange(len(z)), t]
        ),
    ),
    (
        "cross_entropy",
        "half_shifted",
        lambda z, t: np.mean(
            np.log(np.exp(z).sum(axis=1)) - (z[np.arange(len(z)), t] - z.max(axis=1))
        ),
    ),
    ("cross_entropy", "one_sum", lambda z, t: sum_of_all(z, t)),
    ("cross_entropy", "one_sum", lambda z, t: sum_of_all(z - z.max(axis=1, keepdims=True), t)),
    (
        "cross_entropy",
        "sum_without_log",
        lambda z, t: np.mean(np.exp(z).sum(axis=1) - z[np.arange(len(z)), t]),
    ),
    ("cross_entropy", "sum_without_log", sum_without_log),
    ("cross_entropy", "no_softmax", lambda z, t: -z[np.arange(len(z)), t].mean()),
    ("training_step", "ascent", ascending),
    ("training_step", "accumulating", collecting()),
    ("training_step", "early", too_early),
    ("training_step", "image", image_back),
    ("training_step", "other_cache", last_cache),
    ("training_step", "forward_image", step_with(forward=image_forward)),
    ("training_step", "same_dy", step_with(keep_dy=True)),
    ("training_step", "not_reversed", step_with(order=list)),
    ("training_step", "last_only", only_last),
    (
        "training_step",
        "no_mean",
        step_with(
            loss_and_gradient=lambda z, t: (
                loop_loss(z, t),
                softmax(z) - np.eye(4)[:, : z.shape[1]][t],
            )
        ),
    ),
    (
        "training_step",
        "divided_twice",
        step_with(
            loss_and_gradient=lambda z, t: (loop_loss(z, t), loss_and_gradient(z, t)[1] / len(t))
        ),
    ),
    (
        "training_step",
        "divided_twice",
        lambda layers, x, t, rate: short_step(layers, x, t, rate / len(x)),
    ),
    (
        "training_step",
        "loss_as_dy",
        step_with(loss_and_gradient=lambda z, t: (loop_loss(z, t), loop_loss(z, t))),
    ),
    (
        "training_step",
        "no_target",
        step_with(loss_and_gradient=lambda z, t: (loop_loss(z, t), softmax(z) / len(z))),
    ),
    ("training_step", "no_rate", lambda layers, x, t, rate: short_step(layers, x, t, 1)),
    ("training_step", "no_update", not_in_place),
    ("training_step", "no_loss", returns_nothing),
    ("training_step", "late_loss", loss_of_the_new),
    ("split_and_epoch", "apart", split_with(orders="two")),
    ("split_and_epoch", "last_dropped", split_with(drop=True)),
    ("split_and_epoch", "overlap", split_with(overlap=True)),
    ("split_and_epoch", "repeated", split_with(again=True)),
    ("split_and_epoch", "not_shuffled", split_with(sort=True)),
    ("split_and_epoch", "end_held_back", split_with(orders="end")),
    ("split_and_epoch", "held_count", split_with(held=1)),
    ("split_and_epoch", "batch_count", split_with(size=1)),
    ("split_and_epoch", "own_seed", same_order),
    ("split_and_epoch", "form", lambda x, t, held, size, rng: (x[:held], x[held:])),
    ("split_and_epoch", "form", lambda x, t, held, size, rng: 3),
]
