"""Lesson 10 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlib import kernels

# --- Right, in another way ---------------------------------------------------------------------


def filled_copies(rows, kw):
    height, channels, width, batch = rows.shape
    copies = np.empty((height, kw, channels, width - kw + 1, batch), rows.dtype)
    for j in range(kw):
        copies[:, j] = rows[:, :, j : j + width - kw + 1]
    return copies


def stacked_copies(rows, kw):
    end = rows.shape[2] - kw + 1
    return np.stack([rows[:, :, j : end + j] for j in range(kw)], axis=1)


def number_by_number(rows, kw):
    height, channels, width, batch = rows.shape
    copies = np.zeros((height, kw, channels, width - kw + 1, batch))
    for h, j, c, w, n in np.ndindex(copies.shape):
        copies[h, j, c, w, n] = rows[h, c, w + j, n]
    return copies


def rolled_and_cut(rows, kw):
    out = rows.shape[2] - kw + 1
    return np.stack([np.roll(rows, -j, axis=2)[:, :, :out] for j in range(kw)], axis=1)


def library_copies(rows, kw):
    height, _, width, _ = rows.shape
    both = kernels.axis(height, 1, 1, "valid"), kernels.axis(width, kw, 1, "valid")
    return kernels.columns_of(kernels.from_rows(rows), *both)


def starts(x, size):
    return range(0, len(x), size)


def added(gradient_sum, x, dy, size):
    total = 0
    for k in starts(x, size):
        total = total + gradient_sum(x[k : k + size], dy[k : k + size])
    return total / len(x)


def listed(gradient_sum, x, dy, size):
    parts = [gradient_sum(x[k : k + size], dy[k : k + size]) for k in starts(x, size)]
    return np.sum(parts, axis=0) / len(x)


def weighted_means(gradient_sum, x, dy, size):
    """A mean of means is right where each counts as many times as it has examples."""
    gradient = 0
    for k in starts(x, size):
        part = x[k : k + size]
        gradient += gradient_sum(part, dy[k : k + size]) / len(part) * (len(part) / len(x))
    return gradient


def counted(gradient_sum, x, dy, size):
    """One shard too many where the batch comes out even: it is empty and adds nothing."""
    total = np.zeros((x.shape[1], dy.shape[1]))
    for k in range(len(x) // size + 1):
        total += gradient_sum(x[k * size : (k + 1) * size], dy[k * size : (k + 1) * size])
    return total / len(x)


def from_the_end(gradient_sum, x, dy, size):
    """Another order, other last bits: no difference that a check may complain about."""
    total = 0
    for k in reversed(starts(x, size)):
        total = total + gradient_sum(x[k : k + size], dy[k : k + size])
    return total / len(x)


RIGHT = [
    ("copy_columns", filled_copies),
    ("copy_columns", stacked_copies),
    ("copy_columns", number_by_number),
    ("copy_columns", rolled_and_cut),
    ("copy_columns", library_copies),
    (
        "copy_columns",
        lambda rows, kw: np.moveaxis(sliding_window_view(rows, kw, axis=2), -1, 1),
    ),
    ("batch_gradient", added),
    ("batch_gradient", listed),
    ("batch_gradient", weighted_means),
    ("batch_gradient", counted),
    ("batch_gradient", from_the_end),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def copies_with(start, short=0):
    """Copy j begins at column start(j, kw)."""

    def copy(rows, kw):
        out = rows.shape[2] - kw + 1 - short
        parts = [rows[:, :, start(j, kw) : start(j, kw) + out] for j in range(kw)]
        return np.stack(parts, axis=1)

    return copy


def unfilled_copies(rows, kw):
    height, channels, width, batch = rows.shape
    copies = np.zeros((height, kw, channels, width - kw + 1, batch))
    for j in range(kw):
        for w in range(width - kw):
            copies[:, j, :, w] = rows[:, :, w + j]
    return copies


def copies_in_front(rows, kw):
    height, channels, width, batch = rows.shape
    copies = np.zeros((kw, height, channels, width - kw + 1, batch))
    for j in range(kw):
        copies[j] = rows[:, :, j : j + width - kw + 1]
    return copies


def copies_of_height(rows, kw):
    out = rows.shape[0] - kw + 1
    copies = np.zeros((out, kw, *rows.shape[1:]))
    for j in range(kw):
        copies[:, j] = rows[j : j + out]
    return copies


def overwritten_copies(rows, kw):
    for j in range(kw):
        copies = rows[:, :, j : j + rows.shape[2] - kw + 1]
    return copies


def returned_at_once(rows, kw):
    for j in range(kw):
        copies = rows[:, :, j : j + rows.shape[2] - kw + 1]
        return copies
    return None


def channels_cut(rows, kw):
    height, channels, width, batch = rows.shape
    copies = np.empty((height, kw, channels, width - kw + 1, batch))
    for j in range(kw):
        copies[:, j] = rows[:, j : j + width - kw + 1]
    return copies


def to_the_end(rows, kw):
    height, channels, width, batch = rows.shape
    copies = np.empty((height, kw, channels, width - kw + 1, batch))
    for j in range(kw):
        copies[:, j] = rows[:, :, j:]
    return copies


def divided_by(divisor):
    def gradient(gradient_sum, x, dy, size):
        return added(gradient_sum, x, dy, size) * len(x) / divisor(x, size)

    return gradient


def means(gradient_sum, x, dy, size):
    found = []
    for k in starts(x, size):
        part = x[k : k + size]
        found.append(gradient_sum(part, dy[k : k + size]) / len(part))
    return found


def without_the_rest(divisor):
    def gradient(gradient_sum, x, dy, size):
        total = 0
        for k in range(len(x) // size):
            part = slice(k * size, (k + 1) * size)
            total = total + gradient_sum(x[part], dy[part])
        return total / divisor(x, size)

    return gradient


def overwritten(gradient_sum, x, dy, size):
    for k in starts(x, size):
        total = gradient_sum(x[k : k + size], dy[k : k + size])
    return total / len(x)


def returned_in_the_loop(gradient_sum, x, dy, size):
    total = 0
    for k in starts(x, size):
        total += gradient_sum(x[k : k + size], dy[k : k + size])
        return total / len(x)
    return None


MISTAKES = [
    ("copy_columns", "flipped", copies_with(lambda j, kw: kw - 1 - j)),
    ("copy_columns", "unshifted", copies_with(lambda j, kw: 0)),
    ("copy_columns", "one_short", copies_with(lambda j, kw: j, short=1)),
    ("copy_columns", "one_short", unfilled_copies),
    ("copy_columns", "axis_order", copies_in_front),
    ("copy_columns", "axis_order", lambda rows, kw: np.stack(stacked_copies(rows, kw), axis=1)),
    ("copy_columns", "axis_order", lambda rows, kw: stacked_copies(rows, kw).swapaxes(1, 2)),
    ("copy_columns", "axis_order", lambda rows, kw: sliding_window_view(rows, kw, axis=2)),
    ("copy_columns", "rows_cut", copies_of_height),
    (
        "copy_columns",
        "wraps",
        lambda rows, kw: np.stack([np.roll(rows, -j, axis=2) for j in range(kw)], axis=1),
    ),
    ("copy_columns", "not_kept", overwritten_copies),
    ("copy_columns", "not_kept", returned_at_once),
    ("copy_columns", "wrong_slice", channels_cut),
    ("copy_columns", "wrong_slice", to_the_end),
    ("batch_gradient", "mean_of_means", lambda *case: np.mean(means(*case), axis=0)),
    ("batch_gradient", "sum_of_means", lambda *case: sum(means(*case))),
    ("batch_gradient", "by_shards", divided_by(lambda x, size: len(starts(x, size)))),
    ("batch_gradient", "by_size", divided_by(lambda x, size: size)),
    (
        "batch_gradient",
        "by_full_shards",
        divided_by(lambda x, size: size * len(starts(x, size))),
    ),
    ("batch_gradient", "not_divided", divided_by(lambda x, size: 1)),
    ("batch_gradient", "last_dropped", without_the_rest(lambda x, size: len(x))),
    ("batch_gradient", "last_dropped", without_the_rest(lambda x, size: len(x) // size * size)),
    ("batch_gradient", "last_dropped", without_the_rest(lambda x, size: 1)),
    ("batch_gradient", "last_dropped", without_the_rest(lambda x, size: len(x) // size)),
    ("batch_gradient", "not_added", overwritten),
    ("batch_gradient", "not_added", lambda *case: means(*case)[-1]),
    ("batch_gradient", "not_added", returned_in_the_loop),
    ("batch_gradient", "whole_batch", lambda g, x, dy, size: g(x, dy) / len(x)),
    (
        "batch_gradient",
        "dy_not_cut",
        lambda g, x, dy, size: sum(g(x[k : k + size], dy) for k in starts(x, size)) / len(x),
    ),
]
