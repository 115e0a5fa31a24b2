"""Lesson 08 as learners write it: other right ways, and typical mistakes with their names."""

from collections import Counter

import numpy as np

from cnnlib import plots

# --- Right, in another way ---------------------------------------------------------------------


def by_comparison(y_true, y_answer, classes):
    counts = np.zeros((classes, classes))
    for true in range(classes):
        for answer in range(classes):
            counts[true, answer] = np.sum((y_true == true) & (y_answer == answer))
    return counts


def by_counter(y_true, y_answer, classes):
    found = Counter(zip(y_true.tolist(), y_answer.tolist(), strict=True))
    return np.array([[found[i, j] for j in range(classes)] for i in range(classes)])


def by_add_at(y_true, y_answer, classes):
    counts = np.zeros((classes, classes), np.float32)
    np.add.at(counts, (y_true, y_answer), 1)
    return counts


def by_one_hot(y_true, y_answer, classes):
    return np.eye(classes)[y_true].T @ np.eye(classes)[y_answer]


def choose_with(noise_of):
    """Return a choice that measures noise in its own way."""

    def choose(sizes, validation, test):
        means = validation.mean(axis=1)
        best = means.max()
        for size, mean in zip(sizes, means, strict=True):
            if mean >= best - noise_of(validation, means.argmax()):
                return size

    return choose


def choose_by_loops(sizes, validation, test):
    means = [sum(row) / len(row) for row in validation]
    best = means.index(max(means))
    for k in range(best):
        if means[k] >= means[best] - np.std(validation[best]):
            return sizes[k]
    return sizes[best]


def as_good(sizes, validation):
    means = validation.mean(axis=1)
    return means >= means.max() - validation[means.argmax()].std()


RIGHT = [
    ("confusion", by_comparison),
    ("confusion", by_counter),
    ("confusion", by_add_at),
    ("confusion", by_one_hot),
    ("confusion", plots.confusion_counts),
    ("choose", choose_with(lambda v, best: v[best].std())),
    ("choose", choose_with(lambda v, best: v[best].std(ddof=1))),
    ("choose", choose_with(lambda v, best: np.sqrt(np.mean((v[best] - v[best].mean()) ** 2)))),
    ("choose", choose_by_loops),
    ("choose", lambda s, v, t: min(np.array(s)[as_good(s, v)])),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def loop_swapped(y_true, y_answer, classes):
    counts = np.zeros((classes, classes), int)
    for n in range(len(y_true)):
        counts[y_answer[n], y_true[n]] += 1
    return counts


def fancy(y_true, y_answer, classes):
    counts = np.zeros((classes, classes))
    counts[y_true, y_answer] = counts[y_true, y_answer] + 1
    return counts


def only_right(y_true, y_answer, classes):
    counts = np.zeros((classes, classes), int)
    for true, answer in zip(y_true, y_answer, strict=True):
        if true == answer:
            counts[true, answer] += 1
    return counts


def only_mistakes(y_true, y_answer, classes):
    return by_counter(y_true, y_answer, classes) - only_right(y_true, y_answer, classes)


def by_bincount(y_true, y_answer, classes):
    return np.bincount(y_true * classes + y_answer, minlength=classes**2)[: classes**2].reshape(
        classes, classes
    )


def classes_that_occur(y_true, y_answer, classes):
    return by_counter(y_true, y_answer, len(np.unique([y_true, y_answer])))


def normalised(axis, **options):
    return lambda *case: by_counter(*case) / by_counter(*case).sum(axis=axis, **options)


def choose_largest(sizes, validation, test):
    means = validation.mean(axis=1)
    noise = validation[means.argmax()].std()
    return max(s for s, m in zip(sizes, means, strict=True) if m >= means.max() - noise)


def tie_by_test(sizes, validation, test):
    means = validation.mean(axis=1)
    good = means >= means.max() - 0.5
    return sizes[np.where(good, test.mean(axis=1), 0).argmax()]


def is_above(validation):
    means = validation.mean(axis=1)
    return means > means.max() - validation[means.argmax()].std()


def first_above(sizes, validation, test):
    for size, above in zip(sizes, is_above(validation), strict=True):
        if above:
            return size


def above_or_best(sizes, validation, test):
    above = is_above(validation)
    return sizes[above.argmax() if any(above) else validation.mean(axis=1).argmax()]


def by_medians(sizes, validation, test):
    medians = np.median(validation, axis=1)
    best = medians.argmax()
    return sizes[(medians >= medians[best] - validation[best].std()).argmax()]


def step_by_step(sizes, validation, test):
    best, best_mean, noise = None, -1.0, 0.0
    for size, row in zip(sizes, validation, strict=True):
        mean = sum(row) / len(row)
        if best is None or mean > best_mean + max(noise, np.std(row)):
            best, best_mean, noise = size, mean, np.std(row)
    return best


def wrong_axis(sizes, validation, test):
    return sizes[np.mean(validation, axis=0).argmax() % len(sizes)]


MISTAKES = [
    ("confusion", "swapped", loop_swapped),
    ("confusion", "swapped", lambda *case: by_one_hot(*case).T),
    ("confusion", "repeats", fancy),
    ("confusion", "overflow", by_bincount),
    ("confusion", "by_column", normalised(0)),
    ("confusion", "by_column", lambda *case: by_add_at(*case) / (by_add_at(*case).sum(0) + 1e-12)),
    ("confusion", "by_row", normalised(1, keepdims=True)),
    ("confusion", "by_row", lambda *c: np.nan_to_num(normalised(1, keepdims=True)(*c))),
    ("confusion", "shares", lambda *case: by_comparison(*case) / len(case[0])),
    ("confusion", "only_right", only_right),
    ("confusion", "only_right", lambda *case: np.diag(by_counter(*case))),
    ("confusion", "only_mistakes", only_mistakes),
    ("confusion", "size", classes_that_occur),
    ("choose", "test_set", lambda s, v, t: s[np.argmax(t.mean(axis=1))]),
    ("choose", "test_set", lambda s, v, t: s[np.argmax((v + t).mean(axis=1))]),
    ("choose", "test_set", lambda s, v, t: s[np.argmax(t[:, 0])]),
    ("choose", "test_set", tie_by_test),
    ("choose", "one_seed", lambda s, v, t: s[v[:, 0].argmax()]),
    ("choose", "one_seed", lambda s, v, t: s[int(np.argmax(v[:, -1]))]),
    ("choose", "best_run", lambda s, v, t: s[v.max(axis=1).argmax()]),
    ("choose", "best_run", lambda s, v, t: s[np.unravel_index(v.argmax(), v.shape)[0]]),
    ("choose", "noise", lambda s, v, t: s[v.mean(axis=1).argmax()]),
    ("choose", "median", lambda s, v, t: s[np.median(v, axis=1).argmax()]),
    ("choose", "median", by_medians),
    ("choose", "border", first_above),
    ("choose", "border", above_or_best),
    ("choose", "border", lambda s, v, t: s[is_above(v).argmax()]),
    ("choose", "border", lambda s, v, t: s[np.flatnonzero(is_above(v))[0]]),
    ("choose", "wider", choose_with(lambda v, best: 2 * v[best].std())),
    ("choose", "wider", choose_with(lambda v, best: v[best].max() - v[best].min())),
    ("choose", "wider", lambda s, v, t: s[(v.mean(1) >= v[v.mean(1).argmax()].min()).argmax()]),
    ("choose", "narrower", choose_with(lambda v, best: v[best].std(ddof=1) / v.shape[1] ** 0.5)),
    ("choose", "narrower", choose_with(lambda v, best: 2 * v[best].std() / v.shape[1] ** 0.5)),
    (
        "choose",
        "narrower",
        choose_with(lambda v, best: 2 * v[best].std(ddof=1) / v.shape[1] ** 0.5),
    ),
    ("choose", "other_rows", choose_with(lambda v, best: v.std(axis=1).max())),
    ("choose", "other_rows", choose_with(lambda v, best: np.median(v.std(axis=1)))),
    ("choose", "other_rows", choose_with(lambda v, best: v.std(axis=1).min())),
    ("choose", "other_rows", lambda s, v, t: s[(v.mean(1) + v.std(1) >= v.mean(1).max()).argmax()]),
    ("choose", "chain", step_by_step),
    ("choose", "all_runs", choose_with(lambda v, best: v.std())),
    ("choose", "many", lambda s, v, t: s[as_good(s, v)]),
    ("choose", "many", lambda s, v, t: np.array(s)[as_good(s, v)]),
    ("choose", "many", lambda s, v, t: [s[k] for k in np.flatnonzero(as_good(s, v))]),
    ("choose", "largest", choose_largest),
    ("choose", "smallest", lambda s, v, t: min(s)),
    ("choose", "worst", lambda s, v, t: s[v.mean(axis=1).argmin()]),
    ("choose", "wrong_axis", wrong_axis),
    ("choose", "index", lambda s, v, t: int(v.mean(axis=1).argmax())),
]
