"""Lesson 10: a copy of the rows for each kernel column, and a gradient added up over shards."""

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "10_speed"

TEXTS = {
    # --- copy_columns(rows, kw) ---
    "copy_columns.solved": "All window matrices lie in these copies, overlapping, and none has to "
    "be copied again. Next: time it.",
    "copy_columns.hint.1": "A window of kw columns fits `width - kw + 1` times. Make an empty "
    "array of the result's shape and type, and fill one `copies[:, j]` after the other.",
    "copy_columns.hint.2": "Cell j of a window lies j columns to the right of its first cell. So "
    "`copies[:, j]` is the whole of rows, begun at column j and as wide as the output.",
    "copy_columns.hint.3": "`copies[:, j] = rows[:, :, j : j + out_width]` for each j from 0 to "
    "kw - 1. The columns are axis 2 of rows.",
    "copy_columns.flipped": "the copies stand in reverse order: `copies[:, 0]` begins at column 0, "
    "and each copy begins one column later than the one before.",
    "copy_columns.unshifted": "all copies are alike. Copy j begins at column j: it holds what the "
    "window's cell j meets.",
    "copy_columns.one_short": "the last window is missing: `width - kw + 1` of them fit side by "
    "side.",
    "copy_columns.axis_order": "the numbers are right, but the axis of the copies stands in the "
    "wrong place: (height, kw, channels, out_width, batch), kw between height and channels.",
    "copy_columns.rows_cut": "you shift along the height. Here only the columns are shifted: the "
    "rows are never copied twice, that is the gain.",
    "copy_columns.wraps": "what leaves the picture on the left comes back on the right, as "
    "`np.roll` does. Each copy has only `width - kw + 1` columns, and all lie inside.",
    "copy_columns.not_kept": "only one of the copies is left: each j has a place of its own, "
    "`copies[:, j]`.",
    "copy_columns.wrong_slice": "a slice does not have the shape of `copies[:, j]`, "
    "(height, channels, out_width, batch). Cut axis 2 of rows, to `out_width` columns.",
    # --- batch_gradient(gradient_sum, x, dy, size) ---
    "batch_gradient.solved": "The gradient is that of the whole batch, wherever each shard was "
    "computed. Next: give the shards to threads.",
    "batch_gradient.hint.1": "`range(0, len(x), size)` gives where each shard starts. A slice that "
    "reaches past the end stops there by itself, so the last shard may be short.",
    "batch_gradient.hint.2": "Begin with `total = 0` and add "
    "`gradient_sum(x[start : start + size], dy[start : start + size])` for each shard.",
    "batch_gradient.hint.3": "The results are sums, so they add up to the sum over the batch. "
    "Divide once, at the end: by the number of examples, `len(x)`.",
    "batch_gradient.mean_of_means": "you take the mean of the shards' means. The last shard is "
    "shorter, and its examples count for more than the others: add sums, divide once.",
    "batch_gradient.sum_of_means": "each shard is divided by its own size, and then all are added: "
    "the result grows with the number of shards. Add sums, divide once, by len(x).",
    "batch_gradient.by_shards": "you divide by the number of shards. The mean is over examples: "
    "divide by len(x).",
    "batch_gradient.by_size": "you divide by the size of one shard. The sum is over the whole "
    "batch: divide by len(x).",
    "batch_gradient.by_full_shards": "you divide by shards times size, which counts examples that "
    "the last, shorter shard does not have. Divide by len(x).",
    "batch_gradient.not_divided": "this is the sum over the batch; the mean is asked for: divide "
    "by len(x), once, at the end.",
    "batch_gradient.last_dropped": "the last shard is missing where the batch does not come out "
    "even: `len(x) // size` counts only the full ones.",
    "batch_gradient.not_added": "only one shard is in the result: `=` in the loop throws away what "
    "was there, `+=` adds to it.",
    "batch_gradient.whole_batch": "gradient_sum got more than `size` examples at once. Hand it one "
    "shard at a time.",
    "batch_gradient.dy_not_cut": "x and dy of one call do not belong together: cut both at the "
    "same places.",
    # --- Quiz ---
    "quiz.speed_limit": "A layer does 1 operation for each 8 bytes that it moves. Memory stays as "
    "it is, and the processor gets twice as many operations a second. How much faster is the "
    "layer at best?",
    "quiz.speed_limit.1": "Twice as fast",
    "quiz.speed_limit.2": "As fast as before",
    "quiz.speed_limit.3": "Eight times as fast",
    "quiz.speed_limit.why": "A processor that is idle for lack of numbers is no faster for being "
    "idle in larger numbers. Fewer bytes would help: shards that stay in the cache, or two steps "
    "in one pass.",
    "quiz.speed_copies": "A 3 x 3 kernel, stride 1. About how many times does each pixel get "
    "copied by im2col, and by overlapping rows?",
    "quiz.speed_copies.1": "9 and 3 times",
    "quiz.speed_copies.2": "9 and 9 times",
    "quiz.speed_copies.3": "3 times and never",
    "quiz.speed_copies.why": "im2col has a copy for each cell of the kernel, overlapping rows one "
    "for each of its columns: the window below begins a few rows later in the same memory.",
    "quiz.speed_bits": "Eight shards run on three cores and finish in an order that changes from "
    "run to run. Why are the weights the same to the last bit all the same?",
    "quiz.speed_bits.1": "Sums of numbers do not depend on their order",
    "quiz.speed_bits.2": "Float32 rounds small differences away",
    "quiz.speed_bits.3": "The shards are always cut alike and added by their number, whoever "
    "finishes first",
    "quiz.speed_bits.why": "Rounding makes a sum depend on its order. So the cut and the order are "
    "fixed, and only the places where shards are computed may change.",
    "quiz.speed_worth": "Which training gains most from ten machines in a network?",
    "quiz.speed_worth.1": "A small dense net on batches of 32",
    "quiz.speed_worth.2": "Many convolutions with few weights, on large batches",
    "quiz.speed_worth.3": "A net with one huge dense layer, on batches of 32",
    "quiz.speed_worth.why": "All weights travel out and all gradients travel back in each step. "
    "That pays where each weight stands for many operations.",
}


# --- Copies of rows -----------------------------------------------------------------------------


def _shifted(rows, kw, out):  # type: ignore[no-untyped-def]
    return [rows[:, :, j : j + out] for j in range(kw)]


def _copies(rows, kw):  # type: ignore[no-untyped-def]
    return np.stack(_shifted(rows, kw, rows.shape[2] - kw + 1), axis=1)


def _unfilled(rows, kw):  # type: ignore[no-untyped-def]
    """The last window's place is there, and stays 0."""
    copies = _copies(rows, kw)
    copies[:, :, :, -1] = 0
    return copies


def _along_height(rows, kw):  # type: ignore[no-untyped-def]
    out = rows.shape[0] - kw + 1
    return np.stack([rows[j : j + out] for j in range(kw)], axis=1)


def _rolled(rows, kw):  # type: ignore[no-untyped-def]
    return np.stack([np.roll(rows, -j, axis=2) for j in range(kw)], axis=1)


def _copy_cases() -> list[tuple]:
    rng = np.random.default_rng(10)
    sizes = [((4, 2, 5, 3), 2), ((3, 3, 7, 2), 3), ((4, 4, 4, 4), 2), ((5, 1, 6, 2), 4)]
    cases: list[tuple] = [(rng.normal(size=shape), kw) for shape, kw in sizes]
    rows, kw = cases[1]
    return [*cases, (rows.astype("float32"), kw)]


# --- A gradient over shards ---------------------------------------------------------------------


def _sum_of(size: int):  # type: ignore[no-untyped-def]
    """The gradient of a dense layer's W, summed over at most `size` examples."""

    def gradient_sum(x, dy):  # type: ignore[no-untyped-def]
        if len(x) > size:
            raise ValueError(f"{len(x)} examples are more than one shard")
        return x.T @ dy

    return gradient_sum


def _shard_cases() -> list[tuple]:
    rng = np.random.default_rng(11)
    cases: list[tuple] = []
    for batch, fan_in, units, size in [(7, 3, 2, 3), (10, 4, 4, 4), (5, 2, 3, 2), (8, 3, 3, 4)]:
        x, dy = rng.normal(size=(batch, fan_in)), rng.normal(size=(batch, units))
        cases.append((_sum_of(size), x, dy, size))
    gradient_sum, x, dy, size = cases[0]
    return [*cases, (gradient_sum, x.astype("float32"), dy.astype("float32"), size)]


def _parts(gradient_sum, x, dy, size):  # type: ignore[no-untyped-def]
    """The sum over each shard, and how many examples it has."""
    cuts = [slice(k, k + size) for k in range(0, len(x), size)]
    return [(gradient_sum(x[cut], dy[cut]), len(x[cut])) for cut in cuts]


def _total(*case):  # type: ignore[no-untyped-def]
    return sum(part for part, _ in _parts(*case))


def _gradient(gradient_sum, x, dy, size):  # type: ignore[no-untyped-def]
    return _total(gradient_sum, x, dy, size) / len(x)


def _means(*case):  # type: ignore[no-untyped-def]
    return [part / count for part, count in _parts(*case)]


def _shards(x, size):  # type: ignore[no-untyped-def]
    return -(-len(x) // size)


def _full_only(g, x, dy, size):  # type: ignore[no-untyped-def]
    """The sum over the full shards, and how many examples they hold."""
    used = len(x) // size * size
    return _total(g, x[:used], dy[:used], size), used


EXERCISES = [
    Exercise(
        name="copy_columns",
        section="Step 4: overlapping rows",
        arguments=("rows", "kw"),
        results=("copies",),
        cases=_copy_cases,
        solution=_copies,
        errors={"could not broadcast": "wrong_slice"},
        mistakes={
            "copies": [
                ("flipped", lambda rows, kw: _copies(rows, kw)[:, ::-1]),
                (
                    "unshifted",
                    lambda rows, kw: np.stack([rows[:, :, : rows.shape[2] - kw + 1]] * kw, axis=1),
                ),
                (
                    "one_short",
                    lambda rows, kw: np.stack(_shifted(rows, kw, rows.shape[2] - kw), axis=1),
                ),
                ("one_short", _unfilled),
                ("axis_order", lambda rows, kw: np.moveaxis(_copies(rows, kw), 1, 0)),
                ("axis_order", lambda rows, kw: np.moveaxis(_copies(rows, kw), 1, 2)),
                ("axis_order", lambda rows, kw: np.moveaxis(_copies(rows, kw), 1, -1)),
                ("rows_cut", _along_height),
                ("wraps", _rolled),
                ("not_kept", lambda rows, kw: _copies(rows, kw)[:, -1]),
                ("not_kept", lambda rows, kw: _copies(rows, kw)[:, 0]),
            ]
        },
    ),
    Exercise(
        name="batch_gradient",
        section="The way back: a batch in shards",
        arguments=("gradient_sum", "x", "dy", "size"),
        results=("gradient",),
        cases=_shard_cases,
        solution=_gradient,
        errors={"more than one shard": "whole_batch", "matmul": "dy_not_cut"},
        mistakes={
            "gradient": [
                ("mean_of_means", lambda *case: np.mean(_means(*case), axis=0)),
                ("sum_of_means", lambda *case: np.sum(_means(*case), axis=0)),
                ("by_shards", lambda g, x, dy, n: _total(g, x, dy, n) / _shards(x, n)),
                ("by_size", lambda g, x, dy, n: _total(g, x, dy, n) / n),
                ("by_full_shards", lambda g, x, dy, n: _total(g, x, dy, n) / (_shards(x, n) * n)),
                ("not_divided", _total),
                ("last_dropped", lambda g, x, dy, n: _full_only(g, x, dy, n)[0] / len(x)),
                ("last_dropped", lambda g, x, dy, n: np.divide(*_full_only(g, x, dy, n))),
                ("last_dropped", lambda g, x, dy, n: _full_only(g, x, dy, n)[0]),
                ("last_dropped", lambda g, x, dy, n: _full_only(g, x, dy, n)[0] / (len(x) // n)),
                ("not_added", lambda g, x, dy, n: _parts(g, x, dy, n)[-1][0] / len(x)),
                ("not_added", lambda g, x, dy, n: _parts(g, x, dy, n)[-1][0]),
                ("not_added", lambda *case: _means(*case)[-1]),
                ("not_added", lambda g, x, dy, n: _parts(g, x, dy, n)[0][0] / len(x)),
            ]
        },
    ),
]

QUIZ = [
    Question("speed_limit", right=2),
    Question("speed_copies", right=1),
    Question("speed_bits", right=3),
    Question("speed_worth", right=2),
]
