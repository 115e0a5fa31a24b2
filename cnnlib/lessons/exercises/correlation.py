"""Lesson 04: correlate a picture with a kernel, design one for edges, and pad for 'full'."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlib.lessons import messages
from cnnlib.lessons.exercise import Exercise, Question, Verdict

LESSON = "04_correlation_and_convolution"

TEXTS = {
    # --- correlate(x, kernel) ---
    "correlate.solved": "This is what every 'convolution' layer computes at every place. Next: "
    "move the picture, and see what moves with it.",
    "correlate.hint.1": "How many places are there? The window's first row can be any from 0 to "
    "height - kh, so y has height - kh + 1 rows; columns likewise.",
    "correlate.hint.2": "Two loops go through all i and j of y. At each place the window is "
    "`x[i : i + kh, j : j + kw]`, as large as the kernel.",
    "correlate.hint.3": "Begin with `y = np.zeros((height - kh + 1, width - kw + 1))` and fill "
    "`y[i, j] = np.sum(window * kernel)`; convert x to float64 before that.",
    "correlate.flipped": "the kernel is turned by half a turn, which is convolution. Here the "
    "weight kernel[a, b] lies on x[i + a, j + b].",
    "correlate.kernel_transposed": "the kernel's rows and columns are exchanged: the row a of the "
    "kernel belongs to the row i + a of the picture.",
    "correlate.off_by_one": "the last places are missing. The window fits at height - kh + 1 rows "
    "and width - kw + 1 columns, counted from 0, and range(n) already stops before n.",
    "correlate.starts_late": "the first places are missing: i and j begin at 0, where the window "
    "lies in the upper left corner.",
    "correlate.kernel_cut": "a row and a column of the kernel are never used: a runs from 0 to "
    "kh - 1 and b from 0 to kw - 1, and range(n) already stops before n.",
    "correlate.swapped": "height and width are exchanged somewhere. A shape is (rows, columns): "
    "height and kh belong to i and a, width and kw to j and b.",
    "correlate.as_large_as_x": "y is as large as the picture. The window stays inside it here, so "
    "there are only height - kh + 1 by width - kw + 1 places.",
    "correlate.uint8": "8-bit numbers overflow: above 255 or below 0 they start again from the "
    "other end, without a warning. Convert x to float64 first, and let y hold floats.",
    "correlate.first_row": "only the first row is filled. Does `return` stand inside the "
    "outer loop?",
    "correlate.first_cell": "only y[0, 0] is filled. Does `return` stand inside the loops?",
    "correlate.last_product": "each product replaces the one before, so only the last is left. "
    "Add them up.",
    "correlate.mean": "this is the mean of the products. A correlation adds them up.",
    "correlate.matmul": "`@` multiplies rows by columns. Here each pixel meets the one weight that "
    "lies on it: `*`, then the sum.",
    "correlate.kernel_alone": "the picture is missing from the products: multiply each weight by "
    "the pixel under it.",
    # --- edge_kernel ---
    "edge_kernel.solved": "Columns that differ find upright edges, and weights that add up to 0 "
    "ignore a patch of one single grey. Next: how a kernel is found without a designer.",
    "edge_kernel.hint.1": "On a patch of one single grey all nine pixels are alike, so the "
    "answer is that grey value times the sum of all weights. What must the sum be?",
    "edge_kernel.hint.2": "Brighter to the right: the right column of the window has the larger "
    "pixels. Which sign do its weights need, and which the left column's?",
    "edge_kernel.hint.3": "Level edges must give 0: in each row the weights add up to 0. *upright* "
    "has the same row three times; let one of the rows count more than the others.",
    "edge_kernel.size": "Expected a 3 x 3 array of finite numbers, such as "
    "`np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])`.",
    "edge_kernel.zero": "Not quite: all weights are 0, so it answers 0 to everything.",
    "edge_kernel.sum": "Not quite: on a patch of one single grey it does not answer 0. There "
    "the answer is the grey value times the sum of all weights, so the sum has to be 0.",
    "edge_kernel.transposed": "Not quite: this kernel finds level edges and is blind to upright "
    "ones. Rows differ in it; columns should.",
    "edge_kernel.sign": "Not quite: it finds upright edges, but with the wrong sign. Where the "
    "picture gets brighter to the right the answer should be above 0.",
    "edge_kernel.slanted": "Not quite: it answers to upright edges, and to level ones as well. For "
    "a level edge to give 0, the weights of each row have to add up to 0.",
    "edge_kernel.line": "Not quite: it answers to one and the same edge with both signs, first one "
    "and then the other. So it finds thin lines; an edge needs one sign on each side.",
    "edge_kernel.cancels": "Not quite: at an upright edge its rows cancel one another. Each row "
    "should say the same, or at least none the opposite.",
    "edge_kernel.one_edge": "Not quite: it answers to one of the two upright edges alone, the "
    "one after the window's first column or the one after its second. Left and right column count.",
    "edge_kernel.upright": "This is *upright* itself, or a multiple of it, and it does find "
    "upright edges. Design another one: the rows need not all count alike.",
    # --- correlate_full(x, kernel) ---
    "correlate_full.solved": "Padding turns every mode into 'valid', which is just how the library "
    "does it. And 'full' is what the way back needs for dx.",
    "correlate_full.hint.1": "At its outermost place the kernel touches the picture with one row. "
    "How many of its kh rows hang over the border then?",
    "correlate_full.hint.2": "`np.pad(x, [(above, below), (left, right)])` puts zeros around x. "
    "All four numbers are needed.",
    "correlate_full.hint.3": "kh - 1 rows above and below, kw - 1 columns left and right; then "
    "correlate as before.",
    "correlate_full.k_for_k_minus_1": "you pad with kh rows and kw columns. At the outermost "
    "places the kernel then misses the picture: one row less hangs over.",
    "correlate_full.one_side": "the zeros are on one side only. The kernel may hang over the "
    "border on all four.",
    "correlate_full.half": "this is the mode 'same': with half of the padding, y is as large as "
    "the picture.",
    "correlate_full.swapped": "kh and kw are exchanged: rows of zeros go with kh, columns with kw.",
    "correlate_full.one_number": "you pad all sides alike. A kernel that is not square needs "
    "kh - 1 rows, but kw - 1 columns.",
    "correlate_full.not_zeros": "the padding is not zero. Outside the picture there is nothing, "
    "and it adds nothing.",
    "correlate_full.not_padded": "this is the mode 'valid': no zeros were put around the picture.",
    "correlate_full.flipped": "the kernel is turned by half a turn: a convolution. Pad in the same "
    "way, and correlate.",
    # --- Quiz ---
    "quiz.correlation_size": "A kernel of 3 x 5 moves over a picture of 28 x 28 in mode 'valid'. "
    "What is the shape of the result?",
    "quiz.correlation_size.1": "(26, 24)",
    "quiz.correlation_size.2": "(24, 26)",
    "quiz.correlation_size.3": "(25, 23)",
    "quiz.correlation_size.why": "28 - 3 + 1 = 26 rows and 28 - 5 + 1 = 24 columns. Rows come "
    "first, and from 0 to 25 there are 26 places.",
    "quiz.correlation_sign": "Each row of a kernel is -1, 0, 1, and 0 is black. Its answer at a "
    "place is far below 0. What lies under the window?",
    "quiz.correlation_sign.1": "A dark patch",
    "quiz.correlation_sign.2": "An edge, bright on the left and dark on the right",
    "quiz.correlation_sign.3": "An edge, dark on the left and bright on the right",
    "quiz.correlation_sign.why": "The answer is the right column minus the left one. It says how "
    "the picture changes; a patch of one single grey, dark or bright, gives 0.",
    "quiz.correlation_layer": "Layers called 'convolution' do not turn the kernel. Why does that "
    "do no harm?",
    "quiz.correlation_layer.1": "Their kernels are symmetric",
    "quiz.correlation_layer.2": "Their kernels are learned, and training finds the turned one",
    "quiz.correlation_layer.3": "They turn the picture in its place",
    "quiz.correlation_layer.why": "Whatever a convolution can compute, a correlation computes "
    "with the kernel turned by half a turn. The black box was found in just this way.",
    "quiz.correlation_gradient": "A kernel of 3 x 3 moves over a picture of 120 x 128. What is the "
    "gradient of one of its weights made of?",
    "quiz.correlation_gradient.1": "One product, at the place where the weight matters most",
    "quiz.correlation_gradient.2": "The nine pixels of one window",
    "quiz.correlation_gradient.3": "A sum over all places: dy there, times the pixel under the "
    "weight",
    "quiz.correlation_gradient.why": "One weight serves every place, so what all of them pass "
    "back adds up: 118 * 126 products for each of the nine weights.",
}


def _correlate(x, kernel):  # type: ignore[no-untyped-def]
    windows = sliding_window_view(x.astype("float64"), kernel.shape)
    return np.einsum("ijab,ab->ij", windows, kernel.astype("float64"))


def _with_zeros(x, kernel, before, after, **how):  # type: ignore[no-untyped-def]
    """The correlation with `before` rows and columns around the picture, and `after`."""
    padding = list(zip(before, after, strict=True))
    return _correlate(np.pad(x.astype("float64"), padding, **how), kernel)


def _full(x, kernel, **how):  # type: ignore[no-untyped-def]
    border = [k - 1 for k in kernel.shape]
    return _with_zeros(x, kernel, border, border, **how)


# --- correlate: mistaken rules --------------------------------------------------------------------


def _cases() -> list[tuple]:
    rng = np.random.default_rng(4)
    # Unequal sizes; a square kernel, which a transposed one fits; and kernels of one row, which
    # broadcast where their sides are exchanged.
    shapes = [
        ((5, 7), (3, 2)),
        ((6, 4), (2, 3)),
        ((6, 6), (3, 3)),
        ((5, 6), (1, 3)),
        ((4, 5), (1, 1)),
    ]
    cases: list[tuple] = [(rng.normal(size=x), rng.normal(size=kernel)) for x, kernel in shapes]
    cases.append(tuple(array.astype("float32") for array in cases[0]))
    pixels = rng.integers(90, 256, (6, 5)).astype("uint8")
    cases.append((pixels, np.array([[-1, 0, 2], [-3, 1, 1], [-2, 0, 1]])))
    cases.append((pixels, rng.integers(2, 6, (2, 3)).astype("uint8")))
    return cases


def _zero_at_the_end(x, kernel):  # type: ignore[no-untyped-def]
    y = _correlate(x, kernel)
    y[-1], y[:, -1] = 0, 0
    return y


def _first(x, kernel, part):  # type: ignore[no-untyped-def]
    """Zeros but for a part of the result: what a loop has filled when it is left early."""
    right = _correlate(x, kernel)
    y = np.zeros_like(right)
    y[part] = right[part]
    return y


def _without(kernel, place):  # type: ignore[no-untyped-def]
    left = kernel.astype("float64")
    left[place], left[:, place] = 0, 0
    return left


def _only_last(kernel: np.ndarray) -> np.ndarray:
    """The kernel with all weights 0 but the last one."""
    last = np.zeros(kernel.shape)
    last[-1, -1] = kernel[-1, -1]
    return last


def _in_the_corner(x, kernel):  # type: ignore[no-untyped-def]
    y = np.zeros(x.shape)
    inner = _correlate(x, kernel)
    y[: inner.shape[0], : inner.shape[1]] = inner
    return y


def _same(x, kernel):  # type: ignore[no-untyped-def]
    return _with_zeros(
        x, kernel, [(k - 1) // 2 for k in kernel.shape], [k // 2 for k in kernel.shape]
    )


def _size_swapped(x, kernel):  # type: ignore[no-untyped-def]
    """The places counted with height and width exchanged; windows end at the border."""
    (height, width), (kh, kw) = x.shape[::-1], kernel.shape
    y = np.zeros((height - kh + 1, width - kw + 1))
    for i, j in np.ndindex(*y.shape):
        y[i, j] = np.sum(x[i : i + kh, j : j + kw] * kernel)
    return y


def _kernel_size_swapped(x, kernel):  # type: ignore[no-untyped-def]
    kw, kh = kernel.shape
    y = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for i, j in np.ndindex(*y.shape):
        y[i, j] = np.sum(x[i : i + kh, j : j + kw].astype("float64") * kernel)
    return y


def _bytes(x: np.ndarray, kernel: np.ndarray) -> bool:
    return x.dtype == kernel.dtype == np.uint8


def _byte_result(x, kernel):  # type: ignore[no-untyped-def]
    y = _correlate(x, kernel)
    return y.astype("int64").astype("uint8") if x.dtype == np.uint8 else y


def _byte_products(x, kernel):  # type: ignore[no-untyped-def]
    if not _bytes(x, kernel):
        return _correlate(x, kernel)
    return (sliding_window_view(x, kernel.shape) * kernel).sum(axis=(2, 3)).astype("float64")


def _byte_sums(x, kernel):  # type: ignore[no-untyped-def]
    y = _correlate(x, kernel)
    return y % 256 if _bytes(x, kernel) else y


# --- edge_kernel: what to say to a kernel ---------------------------------------------------------

# A window can see an upright edge at two places: after its first column, and after its second.
# There the answer is the edge's height times the sum of the columns to the right of the edge.


def _edge_answers(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The answers to edges of height 1, upright and level, at both places."""
    columns, rows = kernel.sum(axis=0), kernel.sum(axis=1)
    return np.array([columns[1:].sum(), columns[2]]), np.array([rows[1:].sum(), rows[2]])


def _upright(kernel: np.ndarray) -> bool:
    return bool(np.any(np.abs(_edge_answers(kernel)[0]) > 1e-6))


def _level(kernel: np.ndarray) -> bool:
    return bool(np.any(np.abs(_edge_answers(kernel)[1]) > 1e-6))


@dataclass(frozen=True)
class KernelDesign(Exercise):
    """A kernel to design: an array, or a function without arguments that gives it."""

    def examine(self, *functions: Any) -> Verdict:
        """Say the first thing that is wrong with the kernel."""
        if len(functions) != 1:
            raise TypeError(
                f"check({self.name!r}, ...) expects one kernel after the name. "
                f"Received: {len(functions)} arguments"
            )
        (kernel,) = functions
        if callable(kernel):
            try:
                kernel = kernel()
            except NotImplementedError:
                kernel = None
            except Exception:  # a learner's function may fail in any way
                kernel = "no kernel"
        if kernel is None:
            return self._verdict("not_yet_result", diagnosis="not_yet", result=self.name)
        array = _as_kernel(kernel)
        if array is None:
            return Verdict("size", messages.text(f"{self.name}.size"))
        for mistake, holds in self.mistakes["kernel"]:
            if holds(array):
                return Verdict(mistake, messages.text(f"{self.name}.{mistake}"))
        why = messages.text(f"{self.name}.solved")
        return self._verdict("right", name=self.name, count=len(self.cases()), why=why)


def _as_kernel(kernel: Any) -> np.ndarray | None:
    """The kernel in float64, its largest weight made 1; None where it is no 3 x 3 of numbers."""
    try:
        array = np.asarray(kernel)
    except ValueError:  # rows of unequal length
        return None
    if array.shape != (3, 3) or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        return None
    return array.astype("float64") / (np.abs(array.astype("float64")).max() or 1.0)


# --- correlate_full ------------------------------------------------------------------------------


def _full_cases() -> list[tuple]:
    rng = np.random.default_rng(5)
    shapes = [((4, 6), (3, 2)), ((5, 4), (2, 3)), ((5, 5), (3, 3)), ((4, 7), (2, 5))]
    cases = [(rng.normal(size=x), rng.normal(size=kernel)) for x, kernel in shapes]
    return [*cases, tuple(array.astype("float32") for array in cases[0])]


EXERCISES = [
    Exercise(
        name="correlate",
        section="A window that moves",
        arguments=("x", "kernel"),
        results=("y",),
        cases=_cases,
        solution=_correlate,
        mistakes={
            "y": [
                ("uint8", _byte_result),
                ("uint8", _byte_products),
                ("uint8", _byte_sums),
                ("flipped", lambda x, kernel: _correlate(x, kernel[::-1, ::-1])),
                ("kernel_transposed", lambda x, kernel: _correlate(x, kernel.T)),
                ("off_by_one", lambda x, kernel: _correlate(x, kernel)[:-1, :-1]),
                ("off_by_one", _zero_at_the_end),
                ("starts_late", lambda x, kernel: _correlate(x, kernel)[1:, 1:]),
                ("kernel_cut", lambda x, kernel: _correlate(x, _without(kernel, -1))),
                ("kernel_cut", lambda x, kernel: _correlate(x, _without(kernel, 0))),
                ("swapped", lambda x, kernel: _correlate(x, kernel).T),
                ("swapped", _size_swapped),
                ("swapped", _kernel_size_swapped),
                ("as_large_as_x", _in_the_corner),
                ("as_large_as_x", _same),
                ("first_row", lambda x, kernel: _first(x, kernel, slice(1))),
                ("first_cell", lambda x, kernel: _first(x, kernel, (0, 0))),
                ("last_product", lambda x, k: _correlate(x, _only_last(k))),
                ("mean", lambda x, kernel: _correlate(x, kernel) / kernel.size),
                ("matmul", lambda x, k: (sliding_window_view(x, k.shape) @ k).sum(axis=(2, 3))),
                ("kernel_alone", lambda x, k: np.full_like(_correlate(x, k), k.sum())),
            ]
        },
    ),
    KernelDesign(
        name="edge_kernel",
        section="A kernel editor",
        arguments=(),
        results=("kernel",),
        # One single grey, and an upright and a level edge at two places each.
        cases=lambda: [(place,) for place in range(5)],
        solution=lambda: np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
        mistakes={
            "kernel": [
                ("size", lambda kernel: kernel.shape != (3, 3)),
                ("zero", lambda kernel: not kernel.any()),
                ("sum", lambda kernel: abs(kernel.sum()) > 1e-6),
                ("transposed", lambda kernel: _level(kernel) and not _upright(kernel)),
                ("cancels", lambda kernel: not _upright(kernel)),
                ("slanted", _level),
                ("sign", lambda kernel: _edge_answers(kernel)[0].max() < 1e-6),
                ("line", lambda kernel: _edge_answers(kernel)[0].min() < -1e-6),
                ("one_edge", lambda kernel: _edge_answers(kernel)[0].min() < 1e-6),
                ("upright", lambda kernel: bool(np.allclose(kernel, [[-1, 0, 1]] * 3))),
            ]
        },
    ),
    Exercise(
        name="correlate_full",
        section="At the border",
        arguments=("x", "kernel"),
        results=("y",),
        cases=_full_cases,
        solution=_full,
        mistakes={
            "y": [
                (
                    "k_for_k_minus_1",
                    lambda x, kernel: _with_zeros(x, kernel, kernel.shape, kernel.shape),
                ),
                ("one_side", lambda x, k: _with_zeros(x, k, [n - 1 for n in k.shape], (0, 0))),
                ("one_side", lambda x, k: _with_zeros(x, k, (0, 0), [n - 1 for n in k.shape])),
                ("half", _same),
                (
                    "half",
                    lambda x, k: _with_zeros(
                        x, k, [n // 2 for n in k.shape], [n // 2 for n in k.shape]
                    ),
                ),
                (
                    "swapped",
                    lambda x, k: _with_zeros(
                        x, k, [n - 1 for n in k.shape[::-1]], [n - 1 for n in k.shape[::-1]]
                    ),
                ),
                (
                    "one_number",
                    lambda x, k: _with_zeros(x, k, [len(k) - 1] * 2, [len(k) - 1] * 2),
                ),
                (
                    "one_number",
                    lambda x, k: _with_zeros(x, k, [k.shape[1] - 1] * 2, [k.shape[1] - 1] * 2),
                ),
                ("not_zeros", lambda x, kernel: _full(x, kernel, mode="edge")),
                ("not_zeros", lambda x, kernel: _full(x, kernel, constant_values=1)),
                ("not_padded", _correlate),
                ("flipped", lambda x, kernel: _full(x, kernel[::-1, ::-1])),
            ]
        },
    ),
]


QUIZ = [
    Question("correlation_size", right=1),
    Question("correlation_sign", right=2),
    Question("correlation_layer", right=2),
    Question("correlation_gradient", right=3),
]
