"""Lesson 06: max, average and global pooling, and where their gradients go."""

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "06_pooling"

TEXTS = {
    # --- max_pool_backward(dy, x, ph, pw, stride) ---
    "max_pool_backward.solved": "Max pooling learns nothing itself and still decides who learns: "
    "only the winner of a window hears what the loss says. Next: read how the library does it.",
    "max_pool_backward.hint.1": "Begin with a dx of zeros, and go through dy as the forward loop "
    "goes through y. Which one cell of the window does `dy[n, i, j, c]` belong to?",
    "max_pool_backward.hint.2": "With `seen`, the window cut out of x, `divmod(seen.argmax(), pw)` "
    "gives the winner's row and column within the window. Its place in x adds the window's corner.",
    "max_pool_backward.hint.3": "A cell may win in several windows: "
    "`dx[n, top + row, left + column, c] += dy[n, i, j, c]`, with `+=`.",
    "max_pool_backward.all_ties": "where a window's largest number stands in several cells, each "
    "of them gets all of dy. One of them is enough to make the maximum: the first, row by row, "
    "gets dy.",
    "max_pool_backward.shared_tie": "equal winners share dy here. A fair rule, and Keras has "
    "it for global pooling; the windows of a max pooling give all of dy to the first, row by row.",
    "max_pool_backward.last_tie": "of equal winners the last one gets dy. The first one, row by "
    "row, should: `argmax` finds it.",
    "max_pool_backward.every_cell": "every cell of the window gets dy. A cell that is not the "
    "largest may change a little without any effect on y, so its gradient is 0.",
    "max_pool_backward.shared": "each cell gets an equal share, which is right for a mean. A "
    "maximum depends on its winner alone.",
    "max_pool_backward.overlaps": "a cell that wins in several windows keeps only what the last "
    "one brought. What several outputs pass back adds up: `+=`, not `=`.",
    "max_pool_backward.no_dy": "the winners get 1. That is only the slope of y; the chain rule "
    "multiplies it by dy.",
    "max_pool_backward.times_x": "dy is multiplied by the winner's number. y *is* that number, so "
    "its slope is 1, whatever the number.",
    "max_pool_backward.x_kept": "this keeps the winning numbers of x. What travels back is dy.",
    "max_pool_backward.no_stride": "your windows begin at i, j. The window of `dy[n, i, j, c]` "
    "begins at row i * stride and column j * stride.",
    "max_pool_backward.size_for_stride": "your windows lie side by side. They begin every stride "
    "cells, which need not be their own height or width.",
    "max_pool_backward.no_corner": "the winner's row and column count from the window's corner: "
    "add where that corner lies in x.",
    "max_pool_backward.divided_by_ph": "`argmax` counts row by row, and a row of the window has pw "
    "cells, not ph: divide by pw.",
    "max_pool_backward.absolute": "the winner is the largest number, not the one that is farthest "
    "from 0: 1 wins over -3.",
    "max_pool_backward.across_channels": "all channels share one winner. Each channel is pooled "
    "alone and has its own.",
    "max_pool_backward.averaged": "dx is divided by the batch. A mean loss has put its 1 / batch "
    "into dy already.",
    # --- average_pool_backward(dy, x, ph, pw, stride) ---
    "average_pool_backward.solved": "Everyone hears a little: the shares of a window add up to its "
    "dy again. Next: both gradients against finite differences.",
    "average_pool_backward.hint.1": "y is the sum of ph * pw cells, each times 1 / (ph * pw). By "
    "how much does y rise when one of them rises by 1?",
    "average_pool_backward.hint.2": "Go through dy as before. Each `dy[n, i, j, c]` adds the same "
    "share to all cells of its window, and windows may share cells.",
    "average_pool_backward.hint.3": "`dx[n, top : top + ph, left : left + pw, c] += "
    "dy[n, i, j, c] / (ph * pw)`: one line adds to the whole window.",
    "average_pool_backward.not_shared": "every cell gets all of dy. It enters the mean with a "
    "factor of 1 / (ph * pw), and so does its gradient.",
    "average_pool_backward.batch": "dy is divided by the batch. The mean here runs over the "
    "ph * pw cells of one window, never over examples.",
    "average_pool_backward.batch_too": "beside the cells of the window, you also divide by the "
    "batch. A mean loss has put its 1 / batch into dy already.",
    "average_pool_backward.one_side": "the share counts one side of the window. It has "
    "ph * pw cells.",
    "average_pool_backward.sides_added": "ph + pw are two sides. The window has ph * pw cells.",
    "average_pool_backward.outputs": "you divide by the number of outputs. The mean of one output "
    "runs over the ph * pw cells of its window.",
    "average_pool_backward.whole_picture": "you divide by the cells of the whole picture. The mean "
    "runs over one window, of ph * pw cells.",
    "average_pool_backward.overlaps": "a cell in several windows keeps only what the last one "
    "brought. What several outputs pass back adds up: `+=`, not `=`.",
    "average_pool_backward.overlaps_averaged": "what a cell gets from several windows is averaged "
    "here. A cell that serves several outputs gets the sum.",
    "average_pool_backward.winner": "only the largest cell gets something, which is right for a "
    "maximum. In a mean every cell counts, large or small.",
    "average_pool_backward.corner": "only the first cell of each window gets its share: the whole "
    "slice of the window should.",
    "average_pool_backward.times_x": "the share is multiplied by x. In a mean each cell has the "
    "fixed factor 1 / (ph * pw); its own value plays no part.",
    "average_pool_backward.no_dy": "there is no dy in it. 1 / (ph * pw) is only the slope of y; "
    "the chain rule multiplies it by dy.",
    "average_pool_backward.no_stride": "your windows begin at i, j. The window of `dy[n, i, j, c]` "
    "begins at row i * stride and column j * stride.",
    # --- global_average(x) ---
    "global_average.solved": "One number a channel is left, whatever the size of the picture. "
    "Many large networks end like this.",
    "global_average.hint.1": "x has the shape (batch, height, width, channels) and y "
    "(batch, channels). Which axes must go?",
    "global_average.hint.2": "`mean` takes several axes at once: `x.mean(axis=(..., ...))`. Axes "
    "are counted from 0.",
    "global_average.over_the_batch": "examples are mixed: the mean runs over the batch as well. "
    "Every example keeps its own row.",
    "global_average.over_channels": "channels are mixed: the mean runs over the last axis as well. "
    "Every channel keeps its own number.",
    "global_average.wrong_axes": "the mean runs over the wrong axes. Height and width are axes 1 "
    "and 2; batch and channels stay.",
    "global_average.channels_first": "axes 2 and 3 are height and width where channels come "
    "second. Here they come last: height and width are axes 1 and 2.",
    "global_average.one_axis": "only one of height and width is gone. Both have to go.",
    "global_average.summed": "this is the sum. Divide by height * width.",
    "global_average.largest": "this is the largest number of each channel: global *max* pooling.",
    "global_average.keepdims": "two axes of length 1 are left over: y has the shape (batch, "
    "channels).",
    "global_average.transposed": "y is transposed: examples are rows, (batch, channels).",
    # --- Quiz ---
    "quiz.pooling_tie": "A window of 2 x 2 holds 3, 8, 8, 1, row by row, and dy = 6. What do its "
    "cells get from max pooling?",
    "quiz.pooling_tie.1": "0, 3, 3, 0",
    "quiz.pooling_tie.2": "0, 6, 0, 0",
    "quiz.pooling_tie.3": "1.5, 1.5, 1.5, 1.5",
    "quiz.pooling_tie.4": "0, 6, 6, 0",
    "quiz.pooling_tie.why": "Of equal numbers the first wins and gets all of dy. Shares of a "
    "quarter are what average pooling gives; 6 and 6 would pass back twice what came.",
    "quiz.pooling_parameters": "What does `MaxPooling2D(2)` behind maps of the shape "
    "(32, 24, 24, 8) give, and how many parameters does it have?",
    "quiz.pooling_parameters.1": "(32, 12, 12, 8), none",
    "quiz.pooling_parameters.2": "(32, 12, 12, 4), none",
    "quiz.pooling_parameters.3": "(16, 12, 12, 8), none",
    "quiz.pooling_parameters.4": "(32, 12, 12, 8), four for each channel",
    "quiz.pooling_parameters.why": "Height and width shrink; examples and channels stay. There "
    "is nothing in it to learn.",
    "quiz.pooling_strided": "A strided convolution leaves a map just as small as max pooling. Why "
    "does a shift of one pixel change it more?",
    "quiz.pooling_strided.1": "Its kernels have more weights",
    "quiz.pooling_strided.2": "It sends its gradient to every cell",
    "quiz.pooling_strided.3": "It looks at one place in each window, and a stroke that moves off "
    "this place is not seen there any more",
    "quiz.pooling_strided.why": "Max pooling asks for the strongest answer anywhere in the window, "
    "so an answer may move within it. The strided layer never computes the other places.",
    "quiz.pooling_limit": "Why does the network with max pooling still give other answers once the "
    "digit has moved far enough?",
    "quiz.pooling_limit.1": "Its pooled maps move too, by whole cells, and the dense layer ties "
    "each weight to one cell",
    "quiz.pooling_limit.2": "The ink leaves the picture",
    "quiz.pooling_limit.3": "Max pooling forgets what it learned",
    "quiz.pooling_limit.why": "Pooling tolerates moves within a window. Beyond that the map is a "
    "moved map, and what reads it was trained on centred digits.",
}

# --- Cases ------------------------------------------------------------------------------------

# Shape of x, then ph, pw, stride: windows that share cells, lie side by side (with a row and a
# column left over), or leave gaps.
SIZES = [
    ((2, 5, 7, 3), 2, 3, 2),
    ((3, 4, 6, 2), 3, 2, 1),
    ((2, 5, 9, 3), 2, 2, 2),
    ((2, 6, 5, 2), 3, 3, 2),
    ((3, 8, 7, 2), 2, 2, 3),
    ((2, 4, 4, 2), 2, 2, 2),
]


def _window_cases() -> list[tuple]:
    rng = np.random.default_rng(6)
    cases = []
    for shape, ph, pw, stride in SIZES:
        x = rng.integers(-4, 4, size=shape).astype("float64")  # few values: ties
        batch, rows, columns, channels = _out(x, ph, pw, stride)
        dy = rng.normal(size=(batch, rows, columns, channels))
        cases.append((dy, x, ph, pw, stride))
    dy, x, *sizes = cases[0]
    return [*cases, (dy.astype("float32"), x.astype("float32"), *sizes)]


def _global_cases() -> list[tuple]:
    rng = np.random.default_rng(7)
    shapes = [(2, 4, 5, 3), (5, 3, 2, 4), (3, 3, 3, 3)]
    cases = [(rng.normal(size=shape),) for shape in shapes]
    return [*cases, (cases[0][0].astype("float32"),)]


def _out(x, ph, pw, stride):  # type: ignore[no-untyped-def]
    batch, height, width, channels = x.shape
    return batch, (height - ph) // stride + 1, (width - pw) // stride + 1, channels


# --- What is right, and what is not ------------------------------------------------------------


def _max_backward(dy, x, ph, pw, stride, place=None, add=None):  # type: ignore[no-untyped-def]
    """The right way, with room for one mistake.

    place(seen) gives the winner's row and column in the window; add(dx, index, dy, seen) adds.
    """
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        top, left = i * stride, j * stride
        seen = x[n, top : top + ph, left : left + pw, c]
        row, column = place(seen) if place else divmod(int(seen.argmax()), pw)
        if add:
            add(dx, (n, top + row, left + column, c), dy[n, i, j, c], seen)
        else:
            dx[n, top + row, left + column, c] += dy[n, i, j, c]
    return dx


def _max_with(place=None, add=None):  # type: ignore[no-untyped-def]
    return lambda dy, x, ph, pw, stride: _max_backward(dy, x, ph, pw, stride, place, add)


def _set(dx, index, dy, seen):  # type: ignore[no-untyped-def]
    dx[index] = dy


def _add_one(dx, index, dy, seen):  # type: ignore[no-untyped-def]
    dx[index] += 1


def _set_one(dx, index, dy, seen):  # type: ignore[no-untyped-def]
    dx[index] = 1


def _add_times_x(dx, index, dy, seen):  # type: ignore[no-untyped-def]
    dx[index] += dy * seen.max()


def _set_x(dx, index, dy, seen):  # type: ignore[no-untyped-def]
    dx[index] = seen.max()


def _last(seen):  # type: ignore[no-untyped-def]
    return divmod(seen.size - 1 - int(seen[::-1, ::-1].argmax()), seen.shape[1])


def _farthest_from_zero(seen):  # type: ignore[no-untyped-def]
    return divmod(int(np.abs(seen).argmax()), seen.shape[1])


def _by_height(seen):  # type: ignore[no-untyped-def]
    return divmod(int(seen.argmax()), seen.shape[0])


def _slices(part, row_step=None, column_step=None, operation="add"):  # type: ignore[no-untyped-def]
    """A rule that adds (or sets) part(dy, seen) in whole windows, which may begin elsewhere."""

    def rule(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
        down = stride if row_step is None else row_step(ph)
        across = stride if column_step is None else column_step(pw)
        dx = np.zeros(x.shape)
        for n, i, j, c in np.ndindex(dy.shape):
            top, left = i * down, j * across
            seen = x[n, top : top + ph, left : left + pw, c]
            here = dx[n, top : top + ph, left : left + pw, c]
            if operation == "add":
                here += part(dy[n, i, j, c], seen)
            else:
                here[...] = part(dy[n, i, j, c], seen)
        return dx

    return rule


def _winner_only(dy, seen):  # type: ignore[no-untyped-def]
    part = np.zeros(seen.shape)
    part[np.unravel_index(seen.argmax(), seen.shape)] = dy
    return part


def _all_winners(dy, seen):  # type: ignore[no-untyped-def]
    return dy * (seen == seen.max())


def _winners_share(dy, seen):  # type: ignore[no-untyped-def]
    return dy * (seen == seen.max()) / np.sum(seen == seen.max())


def _mean_share(dy, seen):  # type: ignore[no-untyped-def]
    return np.full(seen.shape, dy / seen.size)


def _all(dy, seen):  # type: ignore[no-untyped-def]
    return np.full(seen.shape, dy)


def _set_all_winners(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        top, left = i * stride, j * stride
        seen = x[n, top : top + ph, left : left + pw, c]
        dx[n, top : top + ph, left : left + pw, c][seen == seen.max()] = dy[n, i, j, c]
    return dx


def _no_corner(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        top, left = i * stride, j * stride
        seen = x[n, top : top + ph, left : left + pw, c]
        row, column = divmod(int(seen.argmax()), pw)
        dx[n, row, column, c] += dy[n, i, j, c]
    return dx


def _across_channels(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
    dx = np.zeros(x.shape)
    for n, i, j in np.ndindex(dy.shape[:3]):
        top, left = i * stride, j * stride
        seen = x[n, top : top + ph, left : left + pw]
        row, column, _ = np.unravel_index(seen.argmax(), seen.shape)
        dx[n, top + row, left + column] += dy[n, i, j]
    return dx


def _mean_backward(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
    return _slices(_mean_share)(dy, x, ph, pw, stride)


def _scaled(factor):  # type: ignore[no-untyped-def]
    """The sum of dy over the windows of each cell, times factor(dy, x, ph, pw)."""
    return lambda dy, x, ph, pw, stride: (
        _slices(_all)(dy, x, ph, pw, stride) * factor(dy, x, ph, pw)
    )


def _overlaps_averaged(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
    windows = _slices(_all)(np.ones(dy.shape), np.zeros(x.shape), ph, pw, stride)
    return _mean_backward(dy, x, ph, pw, stride) / np.maximum(windows, 1)


def _corner(dy, x, ph, pw, stride):  # type: ignore[no-untyped-def]
    dx = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(dy.shape):
        dx[n, i * stride, j * stride, c] += dy[n, i, j, c] / (ph * pw)
    return dx


_ARGUMENTS = ("dy", "x", "ph", "pw", "stride")

EXERCISES = [
    Exercise(
        name="max_pool_backward",
        section="Who gets the gradient?",
        arguments=_ARGUMENTS,
        results=("dx",),
        cases=_window_cases,
        solution=_max_backward,
        mistakes={
            "dx": [
                ("all_ties", _slices(_all_winners)),
                ("all_ties", _set_all_winners),
                ("shared_tie", _slices(_winners_share)),
                ("last_tie", _max_with(place=_last)),
                ("every_cell", _slices(_all)),
                ("every_cell", _slices(_all, operation="set")),
                ("shared", _mean_backward),
                ("overlaps", _max_with(add=_set)),
                ("overlaps", _slices(_winner_only, operation="set")),
                ("no_dy", _max_with(add=_add_one)),
                ("no_dy", _max_with(add=_set_one)),
                ("no_dy", _slices(lambda dy, seen: seen == seen.max())),
                ("times_x", _max_with(add=_add_times_x)),
                ("x_kept", _max_with(add=_set_x)),
                ("no_stride", _slices(_winner_only, lambda ph: 1, lambda pw: 1)),
                ("size_for_stride", _slices(_winner_only, lambda ph: ph, lambda pw: pw)),
                ("no_corner", _no_corner),
                ("divided_by_ph", _max_with(place=_by_height)),
                ("absolute", _max_with(place=_farthest_from_zero)),
                ("across_channels", _across_channels),
                ("averaged", lambda dy, x, *sizes: _max_backward(dy, x, *sizes) / len(dy)),
            ]
        },
    ),
    Exercise(
        name="average_pool_backward",
        section="Average pooling: the way back",
        arguments=_ARGUMENTS,
        results=("dx",),
        cases=_window_cases,
        solution=_mean_backward,
        mistakes={
            "dx": [
                ("not_shared", _slices(_all)),
                ("not_shared", _slices(_all, operation="set")),
                ("batch", _scaled(lambda dy, x, ph, pw: 1 / len(dy))),
                ("batch_too", _scaled(lambda dy, x, ph, pw: 1 / (ph * pw * len(dy)))),
                ("one_side", _scaled(lambda dy, x, ph, pw: 1 / ph)),
                ("one_side", _scaled(lambda dy, x, ph, pw: 1 / pw)),
                ("sides_added", _scaled(lambda dy, x, ph, pw: 1 / (ph + pw))),
                ("outputs", _scaled(lambda dy, x, ph, pw: 1 / (dy.shape[1] * dy.shape[2]))),
                ("outputs", _scaled(lambda dy, x, ph, pw: 1 / dy.size)),
                ("whole_picture", _scaled(lambda dy, x, ph, pw: 1 / (x.shape[1] * x.shape[2]))),
                ("whole_picture", _scaled(lambda dy, x, ph, pw: 1 / x.size)),
                ("overlaps", _slices(_mean_share, operation="set")),
                ("overlaps_averaged", _overlaps_averaged),
                ("winner", _slices(_winner_only)),
                ("winner", _slices(lambda dy, seen: _winner_only(dy / seen.size, seen))),
                ("corner", _corner),
                ("times_x", _slices(lambda dy, seen: dy * seen / seen.size)),
                ("times_x", _slices(lambda dy, seen: np.full(seen.shape, dy * seen.mean()))),
                ("no_dy", _slices(lambda dy, seen: 1 / seen.size)),
                ("no_stride", _slices(_mean_share, lambda ph: 1, lambda pw: 1)),
            ]
        },
    ),
    Exercise(
        name="global_average",
        section="One window for the whole picture",
        arguments=("x",),
        results=("y",),
        cases=_global_cases,
        solution=lambda x: x.mean(axis=(1, 2)),
        mistakes={
            "y": [
                ("over_the_batch", lambda x: x.mean(axis=(0, 1, 2))),
                ("over_the_batch", lambda x: x.mean(axis=(0, 1))),
                ("over_channels", lambda x: x.mean(axis=(1, 2, 3))),
                ("over_channels", lambda x: x.mean(axis=3)),
                ("over_channels", lambda x: x.mean()),
                ("channels_first", lambda x: x.mean(axis=(2, 3))),
                ("wrong_axes", lambda x: x.mean(axis=(0, 2))),
                ("wrong_axes", lambda x: x.mean(axis=(0, 3))),
                ("wrong_axes", lambda x: x.mean(axis=(1, 3))),
                ("wrong_axes", lambda x: x.mean(axis=0)),
                ("one_axis", lambda x: x.mean(axis=1)),
                ("one_axis", lambda x: x.mean(axis=2)),
                ("summed", lambda x: x.sum(axis=(1, 2))),
                ("largest", lambda x: x.max(axis=(1, 2))),
                ("keepdims", lambda x: x.mean(axis=(1, 2), keepdims=True)),
                ("transposed", lambda x: x.mean(axis=(1, 2)).T),
            ]
        },
    ),
]

QUIZ = [
    Question("pooling_tie", right=2),
    Question("pooling_parameters", right=1),
    Question("pooling_strided", right=3),
    Question("pooling_limit", right=1),
]
