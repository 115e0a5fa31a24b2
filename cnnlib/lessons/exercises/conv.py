"""Lesson 05: many kernels over many channels, the gradient of a kernel, the size of the output."""

import numpy as np

from cnnlib.lessons.exercise import Exercise, Question

LESSON = "05_conv_layer"

TEXTS = {
    # --- conv_forward(x, kernel, bias) ---
    "conv_forward.solved": "This sum is all that a convolution layer computes on the way forward. "
    "Next: read it in the library, as loops and as one matrix product.",
    "conv_forward.hint.1": "How many windows fit: height - kh + 1 rows of them, and width - kw + 1 "
    "columns. Make a y of zeros for them, with `out` channels.",
    "conv_forward.hint.2": "Loop over the kernel's cells a, b. Cell (a, b) meets, at all places at "
    "once, the part `x[:, a : a + rows, b : b + columns]`, shape (batch, rows, columns, in).",
    "conv_forward.hint.3": "`part @ kernel[a, b]` multiplies (..., in) with (in, out) and adds "
    "over the channels. Add that to y for every a, b, and the bias once, at the end.",
    "conv_forward.channels_not_summed": "the channels stay apart. A kernel looks at all channels "
    "of its window, and the products of all of them are added to one number.",
    "conv_forward.one_channel": "only one channel of x is in the result; the sum runs over all "
    "input channels.",
    "conv_forward.channels_averaged": "you take the mean over the channels; they are added.",
    "conv_forward.swapped": "in and out are swapped. kernel[a, b, c, o] leads from channel c of x "
    "to channel o of y: `part @ kernel[a, b]`, without a transpose.",
    "conv_forward.bias_per_pixel": "your bias changes from place to place. That is a different "
    "layer, one with a bias per pixel; in a convolution an output channel has one bias for all "
    "places.",
    "conv_forward.no_bias": "the bias is missing: every output channel adds its own number.",
    "conv_forward.bias_in_loop": "the bias is added once for every product or cell of the kernel. "
    "It belongs outside that sum, once.",
    "conv_forward.bias_negative": "the bias is subtracted; it is added.",
    "conv_forward.flipped": "your kernel is turned by half a turn. A convolution layer correlates: "
    "`kernel[a, b]` meets `x[..., i + a, j + b, ...]`, both counted upwards.",
    "conv_forward.kernel_transposed": "rows and columns of the kernel are exchanged: `a` goes with "
    "the rows of x, `b` with its columns.",
    "conv_forward.off_by_one": "the last row or column of windows is missing: `size - k + 1` fit.",
    "conv_forward.not_added": "only one product or one cell of the kernel is left in y: `=` in the "
    "loop throws away what was there, `+=` adds to it.",
    "conv_forward.one_example": "only one example is worked out; y has a picture for each.",
    "conv_forward.batch_summed": "the examples are added as well. Each picture of the batch keeps "
    "a y of its own: the sum runs over a, b and c, not over n.",
    "conv_forward.padded": "your output has the picture's size. Here nothing is padded: only "
    "windows that lie inside count.",
    "conv_forward.mean": "you take the mean over the window's cells; they are added.",
    # --- kernel_gradient(dy, x, kernel_size, stride) ---
    "kernel_gradient.solved": "This sum is how a kernel learns from the loss alone: dy says at "
    "each place what was wanted. Next: what goes back to the picture.",
    "kernel_gradient.hint.1": "The result has the kernel's shape, (kh, kw, in, out). Begin with "
    "zeros. At place (i, j) the output looked at one window of x: which rows and columns are that?",
    "kernel_gradient.hint.2": "It is `x[:, i * stride : i * stride + kh, j * stride : j * stride + "
    "kw]`, shape (batch, kh, kw, in). Its numbers times `dy[:, i, j]`, shape (batch, out), added "
    "over the batch, go into dkernel.",
    "kernel_gradient.hint.3": '`np.einsum("nabc,no->abco", window, dy[:, i, j])` has a letter for '
    "each axis. It multiplies, and adds over n, which does not stand on the right. Add that to "
    "dkernel at every place, with `+=`.",
    "kernel_gradient.flipped": "your gradient is turned by half a turn. `dkernel[a, b]` belongs to "
    "the weight that met `x[..., i + a, j + b, ...]`: nothing is flipped here. Only dx flips.",
    "kernel_gradient.batch_not_summed": "the examples stay apart. One kernel serves all examples "
    "of the batch, so what they pass back adds up.",
    "kernel_gradient.one_example": "only one example is in the result. The kernel served the whole "
    "batch: add over all examples.",
    "kernel_gradient.batch_averaged": "the result is divided by the batch. dy holds the 1 / batch "
    "of a mean loss already, so over the batch one adds.",
    "kernel_gradient.places_averaged": "you take a mean over the places. A weight serves at every "
    "place, and what it gets back from them is added.",
    "kernel_gradient.stride_ignored": "the stride is ignored. Position (i, j) of dy looked at the "
    "window that begins at row i * stride and column j * stride.",
    "kernel_gradient.stride_on_kernel": "the stride multiplies the wrong index: it is the step "
    "between windows, not between the cells of one window. `i * stride + a`, not "
    "`i + a * stride`.",
    "kernel_gradient.transposed": "the last two axes are exchanged: the kernel is "
    "(kh, kw, in, out), and so is its gradient.",
    "kernel_gradient.kernel_transposed": "rows and columns are exchanged: `a` goes with the rows "
    "of x, `b` with its columns.",
    "kernel_gradient.not_added": "only the last place is left: `=` in the loop throws away what "
    "the places before have passed back, `+=` adds to it.",
    "kernel_gradient.no_dy": "there is no dy in it. What a weight met is only half of the chain "
    "rule: each pixel is multiplied by the dy of its position.",
    "kernel_gradient.no_x": "there is no x in it. Each weight was multiplied by the pixels that it "
    "met, so each dy is multiplied by its pixel.",
    "kernel_gradient.channels_summed": "the channels of x are added. Each input channel has "
    "weights of its own, so their gradients stay apart.",
    # --- output_size(size, kernel_size, stride, padding, dilation) ---
    "output_size.solved": "With this line you can follow the shapes through any network before it "
    "runs. Next: kernels that see only a part of the channels.",
    "output_size.hint.1": "How many cells does the window cover from its first cell to its last? "
    "Between its cells there are kernel_size - 1 steps of length dilation.",
    "output_size.hint.2": "It covers `reach = dilation * (kernel_size - 1) + 1` cells of a row "
    "that is `size + 2 * padding` long. How far can it travel?",
    "output_size.hint.3": "It can travel `size + 2 * padding - reach` cells: that many `// stride` "
    "whole steps, and one more window, the one at the start.",
    "output_size.ceil": "you round up. The last window would stick out of the picture; only whole "
    "windows count: round down, `//`.",
    "output_size.padding_once": "padding is counted once; there are that many zeros on *each* "
    "side.",
    "output_size.no_padding": "padding is missing: the zeros on both sides make room for more "
    "windows.",
    "output_size.dilation_ignored": "dilation is ignored: the cells of the window are that far "
    "apart, so it covers dilation * (kernel_size - 1) + 1 cells.",
    "output_size.reach": "the window covers too many cells: there are only kernel_size - 1 steps "
    "between its cells, so its reach is dilation * (kernel_size - 1) + 1.",
    "output_size.no_one": "one window is missing: the first one stands there before any step.",
    "output_size.one_inside": "the + 1 is divided by the stride as well. Count the steps first, "
    "then add the window at the start.",
    "output_size.stride_ignored": "stride is ignored: the window moves on by that many cells at a "
    "time.",
    "output_size.same": "this is the size under 'same', where the padding follows from the size. "
    "Here padding is given as a number.",
    # --- Quiz ---
    "quiz.conv_shape": "A layer has 16 kernels of 3 x 3, and its input (32, 28, 28, 8) has 8 "
    "channels. What is the shape of its kernel array?",
    "quiz.conv_shape.1": "(3, 3, 8, 16)",
    "quiz.conv_shape.2": "(3, 3, 16)",
    "quiz.conv_shape.3": "(16, 28, 28, 8)",
    "quiz.conv_shape.why": "Each of the 16 kernels has a 3 x 3 slice for each of the 8 input "
    "channels. Neither the batch nor the picture's size is in it.",
    "quiz.conv_parameters": "The same layer gets pictures of 56 x 56 in place of 28 x 28. What "
    "happens to the number of its parameters?",
    "quiz.conv_parameters.1": "It doubles",
    "quiz.conv_parameters.2": "It grows by a factor of four",
    "quiz.conv_parameters.3": "It stays the same",
    "quiz.conv_parameters.why": "The same weights serve at every place. What grows by about four "
    "is the number of multiplications.",
    "quiz.conv_sum": "Why is the gradient of one kernel weight a sum over all places?",
    "quiz.conv_sum.1": "Because the loss is a mean over the places",
    "quiz.conv_sum.2": "Because the same weight is used at every place, and each use passes "
    "something back",
    "quiz.conv_sum.3": "So that dkernel does not depend on the picture's size",
    "quiz.conv_sum.why": "A number that serves many results gets the sum of what they pass back; "
    "the bias of lesson 01 did so over the batch.",
    "quiz.conv_field": "Two layers with 5 x 5 kernels and stride 1 follow each other. How much of "
    "the picture can change one cell of the second feature map?",
    "quiz.conv_field.1": "5 x 5 pixels",
    "quiz.conv_field.2": "9 x 9 pixels",
    "quiz.conv_field.3": "25 x 25 pixels",
    "quiz.conv_field.why": "The cell sees 5 x 5 cells of the first map. The outer ones of these "
    "see two pixels further on each side: 5 + 4 = 9.",
}


# --- Right, and as mistakes would have it -------------------------------------------------------


def _valid(x, kernel):  # type: ignore[no-untyped-def]
    """The correlation without bias, stride 1."""
    rows, columns = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    return sum(
        x[:, a : a + rows, b : b + columns] @ kernel[a, b] for a, b in np.ndindex(kernel.shape[:2])
    )


def _forward(x, kernel, bias):  # type: ignore[no-untyped-def]
    return _valid(x, kernel) + bias


def _part(dy, x, a, b, stride):  # type: ignore[no-untyped-def]
    """What the kernel's cell (a, b) met at every position: (batch, rows, columns, in)."""
    rows, columns = dy.shape[1:3]
    last = a + stride * (rows - 1) + 1, b + stride * (columns - 1) + 1
    return x[:, a : last[0] : stride, b : last[1] : stride]


def _gradient(dy, x, kernel_size, stride):  # type: ignore[no-untyped-def]
    dkernel = np.zeros((*kernel_size, x.shape[-1], dy.shape[-1]))
    for a, b in np.ndindex(*kernel_size):
        dkernel[a, b] = np.einsum("nijc,nijo->co", _part(dy, x, a, b, stride), dy)
    return dkernel


def _each_example(dy, x, kernel_size, stride):  # type: ignore[no-untyped-def]
    pairs = zip(dy, x, strict=True)
    return np.array([_gradient(d[None], e[None], kernel_size, stride) for d, e in pairs])


def _stride_on_kernel(dy, x, kernel_size, stride):  # type: ignore[no-untyped-def]
    dkernel = np.zeros((*kernel_size, x.shape[-1], dy.shape[-1]))
    for a, b in np.ndindex(*kernel_size):
        part = _part(dy, x, a * stride, b * stride, 1)
        dkernel[a, b] = np.einsum("nijc,nijo->co", part, dy)
    return dkernel


def _places(dy):  # type: ignore[no-untyped-def]
    return dy.shape[1] * dy.shape[2]


def _reach(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1) + 1


def _size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - _reach(kernel, dilation)) // stride + 1


# --- Cases --------------------------------------------------------------------------------------

# (batch, height, width, in, kh, kw, out): first unequal sizes, then equal ones, where exchanged
# axes and a bias on the wrong axis leave numbers.
FORWARD_SIZES = [
    (2, 5, 7, 3, 3, 2, 4),
    (3, 4, 6, 2, 2, 3, 5),
    (2, 5, 5, 3, 3, 3, 3),
    (2, 4, 3, 2, 3, 2, 2),
]
# ... and the stride. With stride 2 or 3, the last rows or columns are met by no window.
GRADIENT_SIZES = [
    (2, 6, 7, 3, 3, 2, 4, 1),
    (3, 8, 7, 2, 3, 2, 5, 2),
    (2, 5, 5, 3, 3, 3, 3, 1),
    (3, 8, 10, 2, 2, 3, 2, 3),
]


def _forward_cases() -> list[tuple]:
    rng = np.random.default_rng(5)
    cases = [
        (rng.normal(size=(n, h, w, i)), rng.normal(size=(kh, kw, i, o)), rng.normal(size=o))
        for n, h, w, i, kh, kw, o in FORWARD_SIZES
    ]
    return [*cases, tuple(array.astype("float32") for array in cases[0])]


def _gradient_cases() -> list[tuple]:
    rng = np.random.default_rng(6)
    cases = []
    for n, h, w, i, kh, kw, o, stride in GRADIENT_SIZES:
        dy = rng.normal(size=(n, _size(h, kh, stride, 0, 1), _size(w, kw, stride, 0, 1), o))
        cases.append((dy, rng.normal(size=(n, h, w, i)), (kh, kw), stride))
    dy, x, *rest = cases[1]
    return [*cases, (dy.astype("float32"), x.astype("float32"), *rest)]


EXERCISES = [
    Exercise(
        name="conv_forward",
        section="From one kernel to a layer",
        arguments=("x", "kernel", "bias"),
        results=("y",),
        cases=_forward_cases,
        solution=_forward,
        mistakes={
            "y": [
                ("no_bias", lambda x, k, b: _valid(x, k)),
                ("bias_negative", lambda x, k, b: _valid(x, k) - b),
                ("bias_in_loop", lambda x, k, b: _valid(x, k) + k.shape[0] * k.shape[1] * b),
                ("bias_in_loop", lambda x, k, b: _valid(x, k) + k[..., 0].size * b),
                ("bias_in_loop", lambda x, k, b: _valid(x, k) + k.shape[2] * b),
                ("swapped", lambda x, k, b: _valid(x, k.swapaxes(2, 3)) + b),
                ("swapped", lambda x, k, b: _valid(x, k.swapaxes(2, 3))),
                ("one_channel", lambda x, k, b: _valid(x[..., :1], k[:, :, :1]) + b),
                ("one_channel", lambda x, k, b: _valid(x[..., -1:], k[:, :, -1:]) + b),
                ("channels_averaged", lambda x, k, b: _valid(x, k) / x.shape[-1] + b),
                *[
                    ("channels_not_summed", rule)
                    for rule in (
                        lambda x, k, b: _apart(x, k) + b,
                        lambda x, k, b: _apart(x, k),
                        lambda x, k, b: _apart(x, k).swapaxes(3, 4) + b[:, None],
                        lambda x, k, b: _apart(x, k).swapaxes(3, 4),
                        lambda x, k, b: np.einsum("nijcc->nijc", _apart(x, k)) + b,
                        lambda x, k, b: np.einsum("nijcc->nijc", _apart(x, k)),
                        lambda x, k, b: np.concatenate(list(np.moveaxis(_apart(x, k), 3, 0)), -1),
                    )
                ],
                ("bias_per_pixel", lambda x, k, b: _valid(x, k) + b[:, None]),
                ("bias_per_pixel", lambda x, k, b: _valid(x, k) + b[:, None, None]),
                ("bias_per_pixel", lambda x, k, b: _bias_for_each_pixel(_valid(x, k), b)),
                ("flipped", lambda x, k, b: _forward(x, k[::-1, ::-1], b)),
                ("flipped", lambda x, k, b: _valid(x, k[::-1, ::-1])),
                ("kernel_transposed", lambda x, k, b: _forward(x, k.swapaxes(0, 1), b)),
                ("off_by_one", lambda x, k, b: _forward(x, k, b)[:, :-1, :-1]),
                ("off_by_one", lambda x, k, b: _cut(_forward(x, k, b), b)),
                ("off_by_one", lambda x, k, b: _cut(_forward(x, k, b), 0.0)),
                ("not_added", lambda x, k, b: _last_cell(x, k) + b),
                ("not_added", lambda x, k, b: _last_cell(x, k)),
                ("not_added", lambda x, k, b: _last_cell(x[..., -1:], k[:, :, -1:]) + b),
                ("not_added", lambda x, k, b: _last_cell(x[..., -1:], k[:, :, -1:])),
                ("one_example", lambda x, k, b: _forward(x, k, b)[0]),
                ("one_example", lambda x, k, b: _forward(x, k, b)[:1]),
                ("batch_summed", lambda x, k, b: 0 * _valid(x, k) + _valid(x, k).sum(0) + b),
                ("batch_summed", lambda x, k, b: _valid(x, k).sum(0) + b),
                ("batch_summed", lambda x, k, b: 0 * _valid(x, k) + _valid(x, k).sum(0)),
                ("padded", lambda x, k, b: _forward(_border(x, k, 0), k, b)),
                ("padded", lambda x, k, b: _forward(_border(x, k, 1), k, b)),
                ("mean", lambda x, k, b: _valid(x, k) / (k.shape[0] * k.shape[1]) + b),
                ("mean", lambda x, k, b: _valid(x, k) / k[..., 0].size + b),
            ]
        },
    ),
    Exercise(
        name="kernel_gradient",
        section="The way back",
        arguments=("dy", "x", "kernel_size", "stride"),
        results=("dkernel",),
        cases=_gradient_cases,
        solution=_gradient,
        mistakes={
            "dkernel": [
                ("flipped", lambda dy, x, k, s: _gradient(dy, x, k, s)[::-1, ::-1]),
                ("flipped", lambda dy, x, k, s: _gradient(dy[:, ::-1, ::-1], x, k, s)),
                ("batch_not_summed", _each_example),
                ("one_example", lambda dy, x, k, s: _each_example(dy, x, k, s)[0]),
                ("one_example", lambda dy, x, k, s: _each_example(dy, x, k, s)[-1]),
                ("batch_averaged", lambda dy, x, k, s: _gradient(dy, x, k, s) / len(dy)),
                ("places_averaged", lambda dy, x, k, s: _gradient(dy, x, k, s) / _places(dy)),
                (
                    "places_averaged",
                    lambda dy, x, k, s: _gradient(dy, x, k, s) / _places(dy) / len(dy),
                ),
                ("stride_ignored", lambda dy, x, k, s: _gradient(dy, x, k, 1)),
                ("stride_on_kernel", _stride_on_kernel),
                ("transposed", lambda dy, x, k, s: _gradient(dy, x, k, s).swapaxes(2, 3)),
                ("kernel_transposed", lambda dy, x, k, s: _gradient(dy, x, k, s).swapaxes(0, 1)),
                ("kernel_transposed", lambda dy, x, k, s: _turned(dy, x, k, s)),
                (
                    "not_added",
                    lambda dy, x, k, s: _gradient(_last_only(dy), x, k, s),
                ),
                (
                    "not_added",
                    lambda dy, x, k, s: _each_example(_last_only(dy), x, k, s)[-1],
                ),
                ("no_dy", lambda dy, x, k, s: _gradient(np.ones_like(dy), x, k, s)),
                ("no_x", lambda dy, x, k, s: _gradient(dy, np.ones_like(x), k, s)),
                ("channels_summed", lambda dy, x, k, s: _gradient(dy, x, k, s).sum(axis=2)),
                (
                    "channels_summed",
                    lambda dy, x, k, s: _gradient(dy, x.sum(-1, keepdims=True) + 0 * x, k, s),
                ),
            ]
        },
    ),
    Exercise(
        name="output_size",
        section="Dig deeper",
        arguments=("size", "kernel_size", "stride", "padding", "dilation"),
        results=("out",),
        # Each of them tells some mistakes apart: steps that do not come out even, zeros at both
        # sides, cells that are apart.
        cases=lambda: [
            (8, 3, 2, 0, 1),
            (28, 5, 1, 0, 1),
            (13, 3, 3, 1, 2),
            (32, 4, 5, 3, 3),
            (11, 2, 3, 2, 4),
            (20, 3, 2, 3, 1),
        ],
        solution=_size,
        tolerance=0,
        mistakes={
            "out": [
                ("ceil", lambda n, k, s, p, d: -((_reach(k, d) - n - 2 * p) // s) + 1),
                ("padding_once", lambda n, k, s, p, d: _size(n - p, k, s, p, d)),
                ("no_padding", lambda n, k, s, p, d: _size(n, k, s, 0, d)),
                ("dilation_ignored", lambda n, k, s, p, d: _size(n, k, s, p, 1)),
                ("reach", lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1),
                ("reach", lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s + 1),
                ("no_one", lambda n, k, s, p, d: _size(n, k, s, p, d) - 1),
                ("one_inside", lambda n, k, s, p, d: (n + 2 * p - _reach(k, d) + 1) // s),
                ("stride_ignored", lambda n, k, s, p, d: _size(n, k, 1, p, d)),
                ("same", lambda n, k, s, p, d: -(-n // s)),
            ]
        },
    ),
]


# --- More of what mistakes give -----------------------------------------------------------------


def _apart(x, kernel):  # type: ignore[no-untyped-def]
    """The sums over each channel alone: (batch, rows, columns, in, out)."""
    channels = range(x.shape[-1])
    return np.stack([_valid(x[..., c : c + 1], kernel[:, :, c : c + 1]) for c in channels], axis=3)


def _bias_for_each_pixel(y, bias):  # type: ignore[no-untyped-def]
    """The biases run through the places of a picture, over and over."""
    return y + np.resize(bias, y.shape[1:3])[..., None]


def _cut(y, rest):  # type: ignore[no-untyped-def]
    """The last row and column of windows were never filled."""
    y = y.copy()
    y[:, -1], y[:, :, -1] = rest, rest
    return y


def _last_cell(x, kernel):  # type: ignore[no-untyped-def]
    rows, columns = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    return x[:, -rows:, -columns:] @ kernel[-1, -1]


def _border(x, kernel, before):  # type: ignore[no-untyped-def]
    """Zeros around x for 'same', the odd one behind, or before."""
    sides = [(((k - 1 + before) // 2), (k - before) // 2) for k in kernel.shape[:2]]
    return np.pad(x, [(0, 0), *sides, (0, 0)])


def _turned(dy, x, kernel_size, stride):  # type: ignore[no-untyped-def]
    """Rows of dy against columns of x."""
    return _gradient(dy, x.swapaxes(1, 2), kernel_size, stride)


def _last_only(dy):  # type: ignore[no-untyped-def]
    last = np.zeros_like(dy)
    last[:, -1, -1] = dy[:, -1, -1]
    return last


QUIZ = [
    Question("conv_shape", right=1),
    Question("conv_parameters", right=3),
    Question("conv_sum", right=2),
    Question("conv_field", right=2),
]
