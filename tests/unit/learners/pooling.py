"""Lesson 06 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import cnnlib
from cnnlib import plain

# --- Right, in another way ---------------------------------------------------------------------


def max_loops(dy, x, ph, pw, stride):
    batch, rows, columns, channels = dy.shape
    dx = np.zeros(x.shape)
    for n in range(batch):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    best = (i * stride, j * stride)
                    for row in range(i * stride, i * stride + ph):
                        for column in range(j * stride, j * stride + pw):
                            if x[n, row, column, c] > x[n, best[0], best[1], c]:
                                best = (row, column)
                    dx[n, best[0], best[1], c] += dy[n, i, j, c]
    return dx


def max_at_once(dy, x, ph, pw, stride):
    seen = sliding_window_view(x, (ph, pw), axis=(1, 2))[:, ::stride, ::stride]
    row, column = np.divmod(seen.reshape(*dy.shape, ph * pw).argmax(axis=-1), pw)
    n, i, j, c = np.indices(dy.shape)
    dx = np.zeros_like(x)
    np.add.at(dx, (n, i * stride + row, j * stride + column, c), dy)
    return dx


def of_the_layer(kind):
    def backward(dy, x, ph, pw, stride):
        layer = kind((ph, pw), stride, dtype="float64")
        _, cache = layer.forward(x)
        return layer.backward(dy, cache)[0]

    return backward


def average_by_cells(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    rows, columns = dy.shape[1:3]
    for a, b in np.ndindex(ph, pw):
        last = a + (rows - 1) * stride + 1, b + (columns - 1) * stride + 1
        dx[:, a : last[0] : stride, b : last[1] : stride] += dy / ph / pw
    return dx


RIGHT = [
    ("max_pool_backward", max_loops),
    ("max_pool_backward", max_at_once),
    ("max_pool_backward", of_the_layer(cnnlib.layers.MaxPooling2D)),
    (
        "max_pool_backward",
        lambda dy, x, ph, pw, stride: plain.max_pooling2d_backward(dy, x, (ph, pw), stride),
    ),
    ("average_pool_backward", average_by_cells),
    ("average_pool_backward", of_the_layer(cnnlib.layers.AveragePooling2D)),
    (
        "average_pool_backward",
        lambda dy, x, ph, pw, s: average_by_cells(dy, x, ph, pw, s).astype("float32"),
    ),
    ("global_average", lambda x: np.einsum("nijc->nc", x) / (x.shape[1] * x.shape[2])),
    ("global_average", lambda x: x.reshape(len(x), -1, x.shape[-1]).mean(axis=1)),
    ("global_average", lambda x: x.mean(axis=1).mean(axis=1).astype("float32")),
    ("global_average", lambda x: cnnlib.layers.GlobalAveragePooling2D(dtype="float64")(x)),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def windows(x, dy, ph, pw, stride):
    """Yield the index of each output, its window as an index of x, and what lies there."""
    for n, i, j, c in np.ndindex(dy.shape):
        rows = slice(i * stride, i * stride + ph)
        columns = slice(j * stride, j * stride + pw)
        yield (n, i, j, c), (n, rows, columns, c), x[n, rows, columns, c]


def all_ties(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for out, place, seen in windows(x, dy, ph, pw, stride):
        dx[place] += (seen == seen.max()) * dy[out]
    return dx


def all_ties_overwriting(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for out, place, seen in windows(x, dy, ph, pw, stride):
        dx[place][seen == seen.max()] = dy[out]
    return dx


def shared_tie(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for out, place, seen in windows(x, dy, ph, pw, stride):
        winners = seen == seen.max()
        dx[place] += winners * dy[out] / winners.sum()
    return dx


def last_tie(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        best = (i * stride, j * stride)
        for a, b in np.ndindex(ph, pw):
            row, column = i * stride + a, j * stride + b
            if x[n, row, column, c] >= x[n, best[0], best[1], c]:
                best = (row, column)
        dx[n, best[0], best[1], c] += dy[n, i, j, c]
    return dx


def to_every_cell(operation, value=lambda dy, seen, out: dy[out]):
    def backward(dy, x, ph, pw, stride):
        dx = np.zeros(x.shape)
        for out, place, seen in windows(x, dy, ph, pw, stride):
            if operation == "+=":
                dx[place] += value(dy, seen, out)
            else:
                dx[place] = value(dy, seen, out)
        return dx

    return backward


def mean_share(dy, seen, out):
    return dy[out] / seen.size


def to_the_winner(operation="+=", value=lambda dy, seen, out: dy[out], absolute=False):
    def backward(dy, x, ph, pw, stride):
        dx = np.zeros(x.shape)
        for out, place, seen in windows(x, dy, ph, pw, stride):
            judged = np.abs(seen) if absolute else seen
            winner = np.unravel_index(judged.argmax(), seen.shape)
            if operation == "+=":
                dx[place][winner] += value(dy, seen, out)
            else:
                dx[place][winner] = value(dy, seen, out)
        return dx

    return backward


def a_window_of_zeros_set(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for out, place, seen in windows(x, dy, ph, pw, stride):
        part = np.zeros((ph, pw))
        part[divmod(seen.argmax(), pw)] = dy[out]
        dx[place] = part
    return dx


def winner_with(start, divisor="pw"):
    """Windows that begin at start(i, j, ph, pw), the winner's place from a division."""

    def backward(dy, x, ph, pw, stride):
        dx = np.zeros(x.shape)
        for n, i, j, c in np.ndindex(dy.shape):
            top, left = start(i, j, ph, pw, stride)
            seen = x[n, top : top + ph, left : left + pw, c]
            winner = np.unravel_index(seen.argmax(), seen.shape)
            if divisor == "ph":
                winner = divmod(seen.argmax(), ph)
            dx[n, top + winner[0], left + winner[1], c] += dy[n, i, j, c]
        return dx

    return backward


def without_the_corner(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for (n, i, j, c), _, seen in windows(x, dy, ph, pw, stride):
        a, b = np.unravel_index(seen.argmax(), seen.shape)
        dx[n, a, b, c] += dy[n, i, j, c]
    return dx


def across_channels(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    for n, i, j in np.ndindex(dy.shape[:3]):
        seen = x[n, i * stride : i * stride + ph, j * stride : j * stride + pw]
        a, b, _ = np.unravel_index(seen.argmax(), seen.shape)
        dx[n, i * stride + a, j * stride + b] += dy[n, i, j]
    return dx


def overlaps_averaged(dy, x, ph, pw, stride):
    dx, count = np.zeros(x.shape), np.zeros(x.shape)
    for out, place, seen in windows(x, dy, ph, pw, stride):
        dx[place] += dy[out] / seen.size
        count[place] += 1
    return dx / np.maximum(count, 1)


def first_cell_only(dy, x, ph, pw, stride):
    dx = np.zeros(x.shape)
    rows, columns = dy.shape[1:3]
    dx[:, : rows * stride : stride, : columns * stride : stride] = dy / (ph * pw)
    return dx


def shared_by(divisor):
    def backward(dy, x, ph, pw, stride):
        return to_every_cell("+=")(dy / divisor(dy, x, ph, pw), x, ph, pw, stride)

    return backward


def average_from(start):
    def backward(dy, x, ph, pw, stride):
        dx = np.zeros(x.shape)
        for n, i, j, c in np.ndindex(dy.shape):
            top, left = start(i, j)
            dx[n, top : top + ph, left : left + pw, c] += dy[n, i, j, c] / (ph * pw)
        return dx

    return backward


MISTAKES = [
    ("max_pool_backward", "all_ties", all_ties),
    ("max_pool_backward", "all_ties", all_ties_overwriting),
    ("max_pool_backward", "shared_tie", shared_tie),
    ("max_pool_backward", "last_tie", last_tie),
    ("max_pool_backward", "every_cell", to_every_cell("+=")),
    ("max_pool_backward", "every_cell", to_every_cell("=")),
    ("max_pool_backward", "shared", to_every_cell("+=", mean_share)),
    ("max_pool_backward", "overlaps", to_the_winner("=")),
    ("max_pool_backward", "overlaps", a_window_of_zeros_set),
    ("max_pool_backward", "no_dy", to_the_winner(value=lambda dy, seen, out: 1)),
    ("max_pool_backward", "no_dy", to_the_winner("=", lambda dy, seen, out: 1)),
    (
        "max_pool_backward",
        "no_dy",
        to_every_cell("+=", lambda dy, seen, out: seen == seen.max()),
    ),
    ("max_pool_backward", "times_x", to_the_winner(value=lambda dy, s, o: dy[o] * s.max())),
    ("max_pool_backward", "x_kept", to_the_winner("=", lambda dy, seen, out: seen.max())),
    ("max_pool_backward", "no_stride", winner_with(lambda i, j, ph, pw, stride: (i, j))),
    (
        "max_pool_backward",
        "size_for_stride",
        winner_with(lambda i, j, ph, pw, stride: (i * ph, j * pw)),
    ),
    ("max_pool_backward", "no_corner", without_the_corner),
    (
        "max_pool_backward",
        "divided_by_ph",
        winner_with(lambda i, j, ph, pw, stride: (i * stride, j * stride), divisor="ph"),
    ),
    ("max_pool_backward", "absolute", to_the_winner(absolute=True)),
    ("max_pool_backward", "across_channels", across_channels),
    ("max_pool_backward", "averaged", lambda dy, x, *sizes: max_loops(dy / len(x), x, *sizes)),
    ("average_pool_backward", "not_shared", to_every_cell("+=")),
    ("average_pool_backward", "not_shared", to_every_cell("=")),
    ("average_pool_backward", "batch", shared_by(lambda dy, x, ph, pw: len(x))),
    ("average_pool_backward", "batch_too", shared_by(lambda dy, x, ph, pw: ph * pw * len(x))),
    ("average_pool_backward", "one_side", shared_by(lambda dy, x, ph, pw: ph)),
    ("average_pool_backward", "one_side", shared_by(lambda dy, x, ph, pw: pw)),
    ("average_pool_backward", "sides_added", shared_by(lambda dy, x, ph, pw: ph + pw)),
    ("average_pool_backward", "outputs", shared_by(lambda dy, x, ph, pw: dy[0, ..., 0].size)),
    ("average_pool_backward", "outputs", shared_by(lambda dy, x, ph, pw: dy.size)),
    (
        "average_pool_backward",
        "whole_picture",
        shared_by(lambda dy, x, ph, pw: x.shape[1] * x.shape[2]),
    ),
    ("average_pool_backward", "whole_picture", shared_by(lambda dy, x, ph, pw: x.size)),
    ("average_pool_backward", "overlaps", to_every_cell("=", mean_share)),
    ("average_pool_backward", "overlaps_averaged", overlaps_averaged),
    ("average_pool_backward", "winner", to_the_winner()),
    ("average_pool_backward", "winner", to_the_winner(value=mean_share)),
    ("average_pool_backward", "corner", first_cell_only),
    (
        "average_pool_backward",
        "times_x",
        to_every_cell("+=", lambda dy, seen, out: dy[out] * seen / seen.size),
    ),
    (
        "average_pool_backward",
        "times_x",
        to_every_cell("+=", lambda dy, seen, out: dy[out] * seen.mean()),
    ),
    (
        "average_pool_backward",
        "no_dy",
        to_every_cell("+=", lambda dy, seen, out: 1 / seen.size),
    ),
    ("average_pool_backward", "no_stride", average_from(lambda i, j: (i, j))),
    ("global_average", "over_the_batch", lambda x: x.mean((0, 1, 2))),
    ("global_average", "over_the_batch", lambda x: x.mean((0, 1))),
    ("global_average", "over_channels", lambda x: x.reshape(len(x), -1).mean(1)),
    ("global_average", "over_channels", lambda x: x.mean(-1)),
    ("global_average", "over_channels", lambda x: np.mean(x)),
    ("global_average", "channels_first", lambda x: x.mean((2, 3))),
    ("global_average", "channels_first", lambda x: x.mean((-1, -2))),
    ("global_average", "wrong_axes", lambda x: x.mean((0, 2))),
    ("global_average", "wrong_axes", lambda x: x.mean((1, 3))),
    ("global_average", "wrong_axes", lambda x: x.mean(0)),
    ("global_average", "one_axis", lambda x: x.mean(1)),
    ("global_average", "one_axis", lambda x: x.mean(2)),
    ("global_average", "summed", lambda x: x.sum((1, 2))),
    ("global_average", "largest", lambda x: x.max((1, 2))),
    ("global_average", "keepdims", lambda x: x.mean((1, 2), keepdims=True)),
    ("global_average", "transposed", lambda x: x.mean((1, 2)).T),
]
