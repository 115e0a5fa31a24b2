"""Lesson 04 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlib import correlation, plain

# --- Right, in another way ---------------------------------------------------------------------


def four_loops(x, kernel):
    x, (kh, kw) = x.astype("float64"), kernel.shape
    y = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            for a in range(kh):
                for b in range(kw):
                    y[i, j] += x[i + a, j + b] * kernel[a, b]
    return y


def weight_by_weight(x, kernel):
    (height, width), (kh, kw) = x.shape, kernel.shape
    y = np.zeros((height - kh + 1, width - kw + 1), "float32")
    for a, b in np.ndindex(kh, kw):
        y += x[a : a + len(y), b : b + y.shape[1]] * np.float64(kernel[a, b])
    return y


def in_whole_numbers(x, kernel):
    kind = "int64" if x.dtype == np.uint8 else "float64"
    windows = sliding_window_view(x.astype(kind), kernel.shape)
    return (windows * kernel.astype(kind)).sum(axis=(2, 3))


RIGHT = [
    ("correlate", four_loops),
    ("correlate", weight_by_weight),
    ("correlate", in_whole_numbers),
    ("correlate", correlation.correlate2d),
    ("correlate", lambda x, kernel: plain.correlate2d(x.astype("float64"), kernel)),
    ("edge_kernel", [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    ("edge_kernel", np.array([[0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]], "float32")),
    ("edge_kernel", np.array([[-1, -1, 2]] * 3)),
    ("edge_kernel", np.outer([3, 10, 3], [-1, 0, 1]) / 16),
    ("edge_kernel", lambda: np.array([[-1, 0, 1], [-1, 0, 1], [0, 0, 0]])),
    ("correlate_full", lambda x, kernel: correlation.correlate2d(x, kernel, mode="full")),
    ("correlate_full", lambda x, kernel: plain.correlate2d(x, kernel, "full")),
    (
        "correlate_full",
        lambda x, kernel: four_loops(
            np.pad(x, [(len(kernel) - 1,) * 2, (kernel.shape[1] - 1,) * 2]), kernel
        ),
    ),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def sliding(size=None, sum_of=None, dtype="float64", convert=True):
    """Return the two loops with other sizes, another sum, another type or without conversion."""

    def correlate(x, kernel):
        x = x.astype("float64") if convert else x
        rows, columns = (size or places)(x.shape, kernel.shape)
        y = np.zeros((rows, columns), dtype or x.dtype)
        kh, kw = kernel.shape
        for i in range(rows):
            for j in range(columns):
                window = x[i : i + kh, j : j + kw]
                y[i, j] = sum_of(window, kernel) if sum_of else np.sum(window * kernel)
        return y

    return correlate


def places(x, kernel):
    return x[0] - kernel[0] + 1, x[1] - kernel[1] + 1


def one_less(x, kernel):
    return x[0] - kernel[0], x[1] - kernel[1]


def exchanged(x, kernel):
    return x[1] - kernel[0] + 1, x[0] - kernel[1] + 1


def loops_end_early(x, kernel):
    x, (kh, kw) = x.astype("float64"), kernel.shape
    y = np.zeros(places(x.shape, kernel.shape))
    for i in range(x.shape[0] - kh):
        for j in range(x.shape[1] - kw):
            y[i, j] = np.sum(x[i : i + kh, j : j + kw] * kernel)
    return y


def kernel_sides_exchanged(x, kernel):
    x, (kw, kh) = x.astype("float64"), kernel.shape
    y = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for i, j in np.ndindex(*y.shape):
        y[i, j] = (x[i : i + kh, j : j + kw] * kernel).sum()
    return y


def byte_loops(x, kernel):
    y = np.zeros(places(x.shape, kernel.shape))
    for i, j in np.ndindex(*y.shape):
        total = 0
        for a, b in np.ndindex(*kernel.shape):
            total += x[i + a, j + b] * kernel[a, b]
        y[i, j] = total
    return y


def kernel_one_short(x, kernel):
    x, (kh, kw) = x.astype("float64"), kernel.shape
    y = np.zeros(places(x.shape, kernel.shape))
    for i, j in np.ndindex(*y.shape):
        for a in range(kh - 1):
            for b in range(kw - 1):
                y[i, j] += x[i + a, j + b] * kernel[a, b]
    return y


def kernel_from_one(x, kernel):
    x, (kh, kw) = x.astype("float64"), kernel.shape
    y = np.zeros(places(x.shape, kernel.shape))
    for i, j in np.ndindex(*y.shape):
        for a in range(1, kh):
            for b in range(1, kw):
                y[i, j] += x[i + a, j + b] * kernel[a, b]
    return y


def into_a_copy_of_x(x, kernel):
    x = x.astype("float64")
    y = np.zeros_like(x)
    for i, j in np.ndindex(*places(x.shape, kernel.shape)):
        y[i, j] = np.sum(x[i : i + len(kernel), j : j + kernel.shape[1]] * kernel)
    return y


def replaced(x, kernel):
    x = x.astype("float64")
    y = np.zeros(places(x.shape, kernel.shape))
    for i, j in np.ndindex(*y.shape):
        for a, b in np.ndindex(*kernel.shape):
            y[i, j] = x[i + a, j + b] * kernel[a, b]
    return y


def return_in_the_outer_loop(x, kernel):
    x = x.astype("float64")
    y = np.zeros(places(x.shape, kernel.shape))
    for i in range(len(y)):
        for j in range(y.shape[1]):
            y[i, j] = np.sum(x[i : i + len(kernel), j : j + kernel.shape[1]] * kernel)
        return y


def return_in_the_inner_loop(x, kernel):
    x = x.astype("float64")
    y = np.zeros(places(x.shape, kernel.shape))
    for i in range(len(y)):
        for j in range(y.shape[1]):
            y[i, j] = np.sum(x[i : i + len(kernel), j : j + kernel.shape[1]] * kernel)
            return y


def full_with(rows, columns, turn=False, **how):
    """Return 'full' with other numbers of zeros: each rule takes kh and kw, and gives a pair."""

    def correlate_full(x, kernel):
        x_padded = np.pad(x, [rows(*kernel.shape), columns(*kernel.shape)], **how)
        return four_loops(x_padded, kernel[::-1, ::-1] if turn else kernel)

    return correlate_full


BY_ROWS, BY_COLUMNS = (lambda kh, kw: (kh - 1, kh - 1)), (lambda kh, kw: (kw - 1, kw - 1))

MISTAKES = [
    ("correlate", "flipped", lambda x, kernel: four_loops(x, kernel[::-1, ::-1])),
    ("correlate", "flipped", correlation.convolve2d),
    ("correlate", "kernel_transposed", lambda x, kernel: four_loops(x, kernel.T)),
    ("correlate", "off_by_one", sliding(one_less)),
    ("correlate", "off_by_one", loops_end_early),
    ("correlate", "starts_late", lambda x, kernel: four_loops(x[1:, 1:], kernel)),
    ("correlate", "kernel_cut", kernel_one_short),
    ("correlate", "kernel_cut", kernel_from_one),
    ("correlate", "swapped", lambda x, kernel: four_loops(x, kernel).T),
    ("correlate", "swapped", sliding(exchanged)),
    ("correlate", "swapped", kernel_sides_exchanged),
    ("correlate", "as_large_as_x", into_a_copy_of_x),
    ("correlate", "as_large_as_x", lambda x, k: correlation.correlate2d(x, k, mode="same")),
    ("correlate", "uint8", sliding(convert=False)),
    ("correlate", "uint8", sliding(dtype=None, convert=False)),
    ("correlate", "uint8", byte_loops),
    ("correlate", "first_row", return_in_the_outer_loop),
    ("correlate", "first_cell", return_in_the_inner_loop),
    ("correlate", "last_product", replaced),
    ("correlate", "mean", sliding(sum_of=lambda window, kernel: np.mean(window * kernel))),
    ("correlate", "matmul", sliding(sum_of=lambda window, kernel: np.sum(window @ kernel))),
    ("correlate", "kernel_alone", sliding(sum_of=lambda window, kernel: kernel.sum())),
    ("edge_kernel", "size", np.array([-1, 0, 1])),
    ("edge_kernel", "size", [[-1, 0, 1], [-1, 0]]),
    ("edge_kernel", "size", "edge"),
    ("edge_kernel", "size", lambda x: x),
    ("edge_kernel", "size", np.full((3, 3), np.nan)),
    ("edge_kernel", "zero", np.zeros((3, 3))),
    ("edge_kernel", "sum", np.array([[0, 0, 1]] * 3)),
    ("edge_kernel", "sum", np.array([[-1, 1, 1]] * 3)),
    ("edge_kernel", "transposed", np.array([[-1, 0, 1]] * 3).T),
    ("edge_kernel", "sign", np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])),
    ("edge_kernel", "slanted", np.array([[-1, 0, 0], [0, 0, 0], [0, 0, 1]])),
    ("edge_kernel", "line", np.array([[-1, 2, -1]] * 3)),
    ("edge_kernel", "one_edge", [[0, -1, 1]] * 3),
    ("edge_kernel", "one_edge", [[-1, 1, 0]] * 3),
    ("edge_kernel", "upright", np.array([[-1, 0, 1]] * 3)),
    ("edge_kernel", "upright", lambda: np.array([[-2.5, 0, 2.5]] * 3)),
    ("edge_kernel", "cancels", np.array([[-1, 0, 1], [0, 0, 0], [1, 0, -1]])),
    (
        "correlate_full",
        "k_for_k_minus_1",
        full_with(lambda kh, kw: (kh, kh), lambda kh, kw: (kw, kw)),
    ),
    (
        "correlate_full",
        "one_side",
        full_with(lambda kh, kw: (kh - 1, 0), lambda kh, kw: (kw - 1, 0)),
    ),
    (
        "correlate_full",
        "one_side",
        full_with(lambda kh, kw: (0, kh - 1), lambda kh, kw: (0, kw - 1)),
    ),
    (
        "correlate_full",
        "half",
        full_with(lambda kh, kw: (kh // 2, kh // 2), lambda kh, kw: (kw // 2, kw // 2)),
    ),
    ("correlate_full", "half", lambda x, k: plain.correlate2d(x, k, mode="same")),
    ("correlate_full", "swapped", full_with(BY_COLUMNS, BY_ROWS)),
    ("correlate_full", "one_number", full_with(BY_ROWS, BY_ROWS)),
    ("correlate_full", "one_number", full_with(BY_COLUMNS, BY_COLUMNS)),
    ("correlate_full", "not_zeros", full_with(BY_ROWS, BY_COLUMNS, mode="edge")),
    ("correlate_full", "not_zeros", full_with(BY_ROWS, BY_COLUMNS, constant_values=1)),
    ("correlate_full", "not_padded", plain.correlate2d),
    ("correlate_full", "flipped", full_with(BY_ROWS, BY_COLUMNS, turn=True)),
    ("correlate_full", "flipped", lambda x, k: correlation.convolve2d(x, k, mode="full")),
]
