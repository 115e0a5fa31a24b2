"""Lesson 05 as learners write it: other right ways, and typical mistakes with their names."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnnlib import correlation, plain

# --- Right, in another way ---------------------------------------------------------------------


def sizes(x, kernel):
    return x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1


def loop_forward(x, kernel, bias, into=lambda y, place, value: np.add.at(y, place, value)):
    kh, kw, channels, out = kernel.shape
    y = np.zeros((len(x), *sizes(x, kernel), out))
    for n, i, j, o in np.ndindex(y.shape):
        for a, b, c in np.ndindex(kh, kw, channels):
            into(y, (n, i, j, o), x[n, i + a, j + b, c] * kernel[a, b, c, o])
        y[n, i, j, o] += bias[o]
    return y


def window_forward(x, kernel, bias):
    windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))  # (n, i, j, c, a, b)
    return np.einsum("nijcab,abco->nijo", windows, kernel) + bias


def place_forward(x, kernel, bias):
    """One place of y at a time, all channels at once."""
    rows, columns = sizes(x, kernel)
    y = np.zeros((len(x), rows, columns, len(bias)), dtype="float32")
    for i in range(rows):
        for j in range(columns):
            window = x[:, i : i + kernel.shape[0], j : j + kernel.shape[1]]
            y[:, i, j] = np.tensordot(window, kernel, axes=3) + bias
    return y


def matrix_forward(x, kernel, bias):
    flat = kernel.reshape(-1, kernel.shape[-1])
    shape = (*sizes(x, kernel), len(bias))
    columns = [correlation.im2col(image, kernel.shape[:2]) for image in x]
    return np.array([(matrix @ flat + bias).reshape(shape) for matrix in columns])


def channel_forward(x, kernel, bias):
    """Kernel by kernel and channel by channel, with the function of lesson 04."""
    y = np.zeros((len(x), *sizes(x, kernel), len(bias))) + bias
    for n, c, o in np.ndindex(len(x), x.shape[3], len(bias)):
        y[n, :, :, o] += correlation.correlate2d(x[n, :, :, c], kernel[:, :, c, o])
    return y


def loop_gradient(dy, x, kernel_size, stride):
    kh, kw = kernel_size
    dkernel = np.zeros((kh, kw, x.shape[3], dy.shape[3]))
    for n, i, j, o in np.ndindex(dy.shape):
        for a in range(kh):
            for b in range(kw):
                dkernel[a, b, :, o] += x[n, i * stride + a, j * stride + b] * dy[n, i, j, o]
    return dkernel


def window_gradient(dy, x, kernel_size, stride):
    windows = sliding_window_view(x, kernel_size, axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nijcab,nijo->abco", windows, dy)


def place_gradient(dy, x, kernel_size, stride):
    """One place of dy at a time, as in the stepper."""
    kh, kw = kernel_size
    dkernel = np.zeros((kh, kw, x.shape[3], dy.shape[3]), dtype=x.dtype)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            dkernel += np.tensordot(window, dy[:, i, j], axes=(0, 0))
    return dkernel


def einsum_gradient(dy, x, kernel_size, stride):
    """As the lesson's solution."""
    kh, kw = kernel_size
    dkernel = np.zeros((kh, kw, x.shape[3], dy.shape[3]))
    for i, j in np.ndindex(dy.shape[1:3]):
        window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
        dkernel += np.einsum("nabc,no->abco", window, dy[:, i, j])
    return dkernel


def plain_gradient(dy, x, kernel_size, stride):
    kernel = np.zeros((*kernel_size, x.shape[3], dy.shape[3]))
    return plain.conv2d_backward(dy, x, kernel, stride)[1]


RIGHT = [
    ("conv_forward", loop_forward),
    ("conv_forward", window_forward),
    ("conv_forward", place_forward),
    ("conv_forward", matrix_forward),
    ("conv_forward", channel_forward),
    ("conv_forward", plain.conv2d_forward),
    ("conv_forward", lambda x, kernel, bias: window_forward(x, kernel, bias).astype("float32")),
    ("conv_forward", lambda x, kernel, bias: window_forward(x, kernel, bias[None, None, None])),
    ("kernel_gradient", loop_gradient),
    ("kernel_gradient", window_gradient),
    ("kernel_gradient", place_gradient),
    ("kernel_gradient", einsum_gradient),
    ("kernel_gradient", plain_gradient),
    ("kernel_gradient", lambda dy, x, size, s: window_gradient(dy, x, size, s).astype("float32")),
    ("output_size", lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s + 1),
    ("output_size", lambda n, k, s, p, d: math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1),
    ("output_size", lambda n, k, s, p, d: int((n + 2 * p - d * (k - 1) - 1) / s + 1)),
    ("output_size", lambda n, k, s, p, d: len(range(0, n + 2 * p - d * (k - 1), s))),
    ("output_size", lambda n, k, s, p, d: np.arange(n + 2 * p)[: n + 2 * p - d * (k - 1) : s].size),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def overwrite(y, place, value):
    y[place] = value


def forward_by_cells(x, kernel, bias, start=0.0, each=0.0):
    rows, columns = sizes(x, kernel)
    y = np.zeros((len(x), rows, columns, kernel.shape[3])) + start
    for a, b in np.ndindex(kernel.shape[:2]):
        y = y + x[:, a : a + rows, b : b + columns] @ kernel[a, b] + each
    return y


def loop_swapped(x, kernel, bias):
    kh, kw, channels, out = kernel.shape
    y = np.zeros((len(x), *sizes(x, kernel), out)) + bias
    for n, i, j, o in np.ndindex(y.shape):
        for a, b, c in np.ndindex(kh, kw, channels):
            y[n, i, j, o] += x[n, i + a, j + b, c] * kernel[a, b, o, c]
    return y


def forward_too_few(x, kernel, bias):
    rows, columns = x.shape[1] - kernel.shape[0], x.shape[2] - kernel.shape[1]
    y = np.zeros((len(x), rows, columns, len(bias)))
    for i, j in np.ndindex(rows, columns):
        window = x[:, i : i + kernel.shape[0], j : j + kernel.shape[1]]
        y[:, i, j] = np.tensordot(window, kernel, axes=3) + bias
    return y


def forward_unfilled(x, kernel, bias):
    y = np.zeros((len(x), *sizes(x, kernel), len(bias)))
    for i in range(y.shape[1] - 1):
        for j in range(y.shape[2] - 1):
            window = x[:, i : i + kernel.shape[0], j : j + kernel.shape[1]]
            y[:, i, j] = np.tensordot(window, kernel, axes=3) + bias
    return y


def forward_same(x, kernel, bias):
    return plain.conv2d_forward(x, kernel, bias, padding="same")


def forward_all_examples(x, kernel, bias):
    """np.sum without an axis adds the examples of the batch as well."""
    (rows, columns), (kh, kw, _, out) = sizes(x, kernel), kernel.shape
    y = np.zeros((len(x), rows, columns, out))
    for i, j, o in np.ndindex(rows, columns, out):
        y[:, i, j, o] = np.sum(x[:, i : i + kh, j : j + kw] * kernel[..., o]) + bias[o]
    return y


def forward_depthwise(x, kernel, bias):
    """Channel by channel, into an output of as many channels."""
    windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nijcab,abcc->nijc", windows, kernel) + bias


def bias_for_each_pixel(x, kernel, bias):
    """As in code that keeps a bias of the output's height and width."""
    y = window_forward(x, kernel, np.zeros(len(bias)))
    biases = np.resize(bias, y.shape[1:3])
    for i, j in np.ndindex(biases.shape):
        y[:, i, j] += biases[i, j]
    return y


def gradient_with(start, step):
    """Return a gradient by loops where the pixel of cell (a, b) at (i, j) is found by a rule."""

    def gradient(dy, x, kernel_size, stride):
        kh, kw = kernel_size
        dkernel = np.zeros((kh, kw, x.shape[3], dy.shape[3]))
        for n, i, j in np.ndindex(dy.shape[:3]):
            for a, b in np.ndindex(kh, kw):
                row, column = start(i, stride) + step(a, stride), start(j, stride) + step(b, stride)
                dkernel[a, b] += np.outer(x[n, row, column], dy[n, i, j])
        return dkernel

    return gradient


def gradient_overwritten(dy, x, kernel_size, stride):
    kh, kw = kernel_size
    for i, j in np.ndindex(dy.shape[1:3]):
        window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
        dkernel = np.tensordot(window, dy[:, i, j], axes=(0, 0))
    return dkernel


def gradient_overwritten_everywhere(dy, x, kernel_size, stride):
    kh, kw = kernel_size
    dkernel = np.zeros((kh, kw, x.shape[3], dy.shape[3]))
    for n, i, j, o in np.ndindex(dy.shape):
        for a, b, c in np.ndindex(kh, kw, x.shape[3]):
            pixel = x[n, i * stride + a, j * stride + b, c]
            dkernel[a, b, c, o] = pixel * dy[n, i, j, o]
    return dkernel


MISTAKES = [
    ("conv_forward", "no_bias", lambda x, kernel, bias: window_forward(x, kernel, 0)),
    ("conv_forward", "bias_negative", lambda x, kernel, bias: window_forward(x, kernel, -bias)),
    (
        "conv_forward",
        "bias_in_loop",
        lambda x, kernel, bias: forward_by_cells(x, kernel, bias, each=bias),
    ),
    (
        "conv_forward",
        "bias_in_loop",
        lambda x, kernel, bias: forward_by_cells(x, kernel, bias) + kernel[:, :, :, 0].size * bias,
    ),
    ("conv_forward", "swapped", loop_swapped),
    (
        "conv_forward",
        "swapped",
        lambda x, kernel, bias: window_forward(x, kernel.transpose(0, 1, 3, 2), bias),
    ),
    (
        "conv_forward",
        "one_channel",
        lambda x, kernel, bias: window_forward(x[..., 0:1], kernel[:, :, 0:1], bias),
    ),
    (
        "conv_forward",
        "channels_averaged",
        lambda x, kernel, bias: window_forward(x, kernel / x.shape[-1], bias),
    ),
    (
        "conv_forward",
        "channels_not_summed",
        lambda x, kernel, bias: (
            np.einsum(
                "nijcab,abco->nijco", sliding_window_view(x, kernel.shape[:2], (1, 2)), kernel
            )
            + bias
        ),
    ),
    ("conv_forward", "channels_not_summed", forward_depthwise),
    (
        "conv_forward",
        "bias_per_pixel",
        lambda x, kernel, bias: window_forward(x, kernel, 0) + bias[:, None],
    ),
    (
        "conv_forward",
        "bias_per_pixel",
        lambda x, kernel, bias: window_forward(x, kernel, 0) + bias.reshape(1, -1, 1, 1),
    ),
    ("conv_forward", "bias_per_pixel", bias_for_each_pixel),
    (
        "conv_forward",
        "flipped",
        lambda x, kernel, bias: window_forward(x, kernel[::-1, ::-1], bias),
    ),
    (
        "conv_forward",
        "kernel_transposed",
        lambda x, kernel, bias: window_forward(x, kernel.swapaxes(0, 1), bias),
    ),
    ("conv_forward", "off_by_one", forward_too_few),
    ("conv_forward", "off_by_one", forward_unfilled),
    ("conv_forward", "not_added", lambda x, kernel, bias: loop_forward(x, kernel, bias, overwrite)),
    ("conv_forward", "one_example", lambda x, kernel, bias: window_forward(x, kernel, bias)[0]),
    ("conv_forward", "one_example", lambda x, kernel, bias: window_forward(x[:1], kernel, bias)),
    ("conv_forward", "batch_summed", forward_all_examples),
    (
        "conv_forward",
        "batch_summed",
        lambda x, kernel, bias: window_forward(x, kernel, bias * 0).sum(0) + bias,
    ),
    ("conv_forward", "padded", forward_same),
    (
        "conv_forward",
        "mean",
        lambda x, kernel, bias: window_forward(x, kernel, 0) / np.prod(kernel.shape[:2]) + bias,
    ),
    (
        "kernel_gradient",
        "flipped",
        lambda dy, x, size, s: window_gradient(dy, x, size, s)[::-1, ::-1],
    ),
    (
        "kernel_gradient",
        "flipped",
        lambda dy, x, size, s: window_gradient(dy[:, ::-1, ::-1], x, size, s),
    ),
    (
        "kernel_gradient",
        "batch_not_summed",
        lambda dy, x, size, s: np.array(
            [window_gradient(dy[n : n + 1], x[n : n + 1], size, s) for n in range(len(x))]
        ),
    ),
    ("kernel_gradient", "one_example", lambda dy, x, k, s: window_gradient(dy[:1], x[:1], k, s)),
    (
        "kernel_gradient",
        "batch_averaged",
        lambda dy, x, size, s: window_gradient(dy, x, size, s) / len(x),
    ),
    (
        "kernel_gradient",
        "places_averaged",
        lambda dy, x, size, s: window_gradient(dy, x, size, s) / dy[0, :, :, 0].size,
    ),
    ("kernel_gradient", "stride_ignored", gradient_with(lambda i, s: i, lambda a, s: a)),
    ("kernel_gradient", "stride_on_kernel", gradient_with(lambda i, s: i, lambda a, s: a * s)),
    (
        "kernel_gradient",
        "transposed",
        lambda dy, x, size, s: np.moveaxis(window_gradient(dy, x, size, s), 2, 3),
    ),
    (
        "kernel_gradient",
        "kernel_transposed",
        lambda dy, x, size, s: window_gradient(dy, x, size, s).transpose(1, 0, 2, 3),
    ),
    ("kernel_gradient", "not_added", gradient_overwritten),
    ("kernel_gradient", "not_added", gradient_overwritten_everywhere),
    (
        "kernel_gradient",
        "no_dy",
        lambda dy, x, size, s: window_gradient(np.ones(dy.shape), x, size, s),
    ),
    (
        "kernel_gradient",
        "no_x",
        lambda dy, x, size, s: window_gradient(dy, np.ones(x.shape), size, s),
    ),
    (
        "kernel_gradient",
        "channels_summed",
        lambda dy, x, size, s: window_gradient(dy, x, size, s).sum(axis=2),
    ),
    ("output_size", "ceil", lambda n, k, s, p, d: math.ceil((n + 2 * p - d * (k - 1) - 1) / s) + 1),
    ("output_size", "padding_once", lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1),
    ("output_size", "no_padding", lambda n, k, s, p, d: (n - d * (k - 1) - 1) // s + 1),
    ("output_size", "dilation_ignored", lambda n, k, s, p, d: (n + 2 * p - k) // s + 1),
    ("output_size", "reach", lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1),
    ("output_size", "no_one", lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s),
    ("output_size", "one_inside", lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s),
    ("output_size", "stride_ignored", lambda n, k, s, p, d: n + 2 * p - d * (k - 1)),
    ("output_size", "same", lambda n, k, s, p, d: math.ceil(n / s)),
]
