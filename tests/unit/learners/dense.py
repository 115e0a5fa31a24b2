"""Lesson 01 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np

from cnnlib import plain

# --- Right, in another way ---------------------------------------------------------------------


def loop_forward(x, W, b):
    y = np.zeros((len(x), W.shape[1]))
    for n in range(len(x)):
        for o in range(W.shape[1]):
            y[n, o] = b[o] + sum(x[n, i] * W[i, o] for i in range(W.shape[0]))
    return y


def einsum_backward(dy, x, W):
    return np.einsum("no,io->ni", dy, W), np.einsum("ni,no->io", x, dy), np.einsum("no->o", dy)


RIGHT = [
    ("dense_forward", loop_forward),
    ("dense_forward", plain.dense_forward),
    ("dense_forward", lambda x, W, b: np.einsum("ni,io->no", x, W) + b),
    ("dense_forward", lambda x, W, b: (W.T @ x.T).T + b[None, :]),
    ("dense_forward", lambda x, W, b: (x @ W + b).astype("float32")),
    ("dense_forward", lambda a, c, d, extra=1: a @ c + d),
    ("dense_forward", lambda *arguments: arguments[0] @ arguments[1] + arguments[2]),
    ("dense_backward", plain.dense_backward),
    ("dense_backward", einsum_backward),
    ("dense_backward", lambda dy, x, W: list(einsum_backward(dy, x, W))),
    ("dense_backward", lambda dy, x, W: ((W @ dy.T).T, (dy.T @ x).T, np.ones(len(dy)) @ dy)),
    ("mse_slope", lambda w, x, t: float(2 * ((w * x - t) * x).mean())),
    (
        "mse_slope",
        lambda w, x, t: sum(2 * (w * x[i] - t[i]) * x[i] for i in range(len(x))) / len(x),
    ),
    ("mse_slope", lambda w, x, t: np.array(np.mean(2 * (w * x - t) * x))),
    ("gradient_step", lambda w, slope, rate: w - slope * rate),
    ("parameter_count", lambda fan_in, units: np.int64((fan_in + 1) * units)),
    ("parameter_count", lambda fan_in, units: np.zeros((fan_in, units)).size + units),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def loop_transposed(x, W, b):
    y = np.zeros((len(x), W.shape[1]))
    for n, o in np.ndindex(*y.shape):
        y[n, o] = b[o] + sum(x[n, i] * W[o, i] for i in range(W.shape[0]))
    return y


def loop_bias_on_batch(x, W, b):
    y = np.zeros((len(x), W.shape[1]))
    for n, o in np.ndindex(*y.shape):
        y[n, o] = b[n] + x[n] @ W[:, o]
    return y


def backward_with(dx=None, dW=None, db=None):
    """Return a backward pass that is right but for the results that are given as rules."""

    def backward(dy, x, W):
        return (
            dx(dy, x, W) if dx else dy @ W.T,
            dW(dy, x, W) if dW else x.T @ dy,
            db(dy, x, W) if db else dy.sum(axis=0),
        )

    return backward


MISTAKES = [
    ("dense_forward", "transposed", lambda x, W, b: x @ W.T + b),
    ("dense_forward", "transposed", lambda x, W, b: x @ W.T),
    ("dense_forward", "transposed", loop_transposed),
    ("dense_forward", "no_bias", lambda x, W, b: np.dot(x, W)),
    ("dense_forward", "bias_on_batch", lambda x, W, b: x @ W + b.reshape(-1, 1)),
    ("dense_forward", "bias_on_batch", loop_bias_on_batch),
    ("dense_forward", "elementwise", lambda x, W, b: x * W + b),
    ("dense_forward", "swapped", lambda x, W, b: W @ x + b),
    ("dense_forward", "y_transposed", lambda x, W, b: W.T @ x.T + b[:, None]),
    ("dense_forward", "one_example", lambda x, W, b: W.T @ x[0] + b),
    ("dense_forward", "bias_inside", lambda x, W, b: (x + b) @ W),
    ("dense_forward", "bias_negative", lambda x, W, b: x @ W - b),
    ("dense_backward", "dW_transposed", backward_with(dW=lambda dy, x, W: dy.T @ x)),
    ("dense_backward", "dW_not_transposed", backward_with(dW=lambda dy, x, W: x @ dy)),
    ("dense_backward", "dW_averaged", backward_with(dW=lambda dy, x, W: x.T @ dy / len(x))),
    ("dense_backward", "dW_no_dy", backward_with(dW=lambda dy, x, W: x.T)),
    ("dense_backward", "db_not_summed", backward_with(db=lambda dy, x, W: dy)),
    ("dense_backward", "db_averaged", backward_with(db=lambda dy, x, W: np.mean(dy, 0))),
    ("dense_backward", "db_wrong_axis", backward_with(db=lambda dy, x, W: dy.sum(axis=1))),
    (
        "dense_backward",
        "db_keepdims",
        backward_with(db=lambda dy, x, W: np.ones((1, len(dy))) @ dy),
    ),
    ("dense_backward", "db_total", backward_with(db=lambda dy, x, W: np.sum(dy))),
    ("dense_backward", "db_no_dy", backward_with(db=lambda dy, x, W: np.ones(W.shape[1]))),
    ("dense_backward", "dx_not_transposed", backward_with(dx=lambda dy, x, W: dy @ W)),
    ("dense_backward", "dx_elementwise", backward_with(dx=lambda dy, x, W: dy * W)),
    ("dense_backward", "dx_no_dy", backward_with(dx=lambda dy, x, W: W.T)),
    ("dense_backward", "dx_averaged", backward_with(dx=lambda dy, x, W: dy @ W.T / len(x))),
    ("dense_backward", "order", lambda dy, x, W: (x.T @ dy, dy.sum(axis=0), dy @ W.T)),
    (
        "dense_backward",
        "dW_averaged",  # several are wrong: the first of dx, dW, db is named
        backward_with(dW=lambda dy, x, W: x.T @ dy / len(x), db=lambda dy, x, W: dy.mean(axis=0)),
    ),
    ("mse_slope", "no_two", lambda w, x, t: np.mean((w * x - t) * x)),
    ("mse_slope", "summed", lambda w, x, t: 2 * np.dot(w * x - t, x)),
    ("mse_slope", "sign", lambda w, x, t: np.mean(2 * (t - w * x) * x)),
    ("mse_slope", "no_x", lambda w, x, t: np.mean(2 * (w * x - t))),
    ("mse_slope", "loss", lambda w, x, t: np.mean((w * x - t) ** 2)),
    ("mse_slope", "not_averaged", lambda w, x, t: 2 * (w * x - t) * x),
    ("gradient_step", "ascent", lambda w, slope, rate: w + rate * slope),
    ("gradient_step", "no_rate", lambda w, slope, rate: w - slope),
    ("gradient_step", "step_alone", lambda w, slope, rate: -rate * slope),
    ("gradient_step", "scaled_w", lambda w, slope, rate: rate * (w - slope)),
    ("parameter_count", "no_bias", lambda fan_in, units: fan_in * units),
    ("parameter_count", "bias_per_input", lambda fan_in, units: fan_in * (units + 1)),
    ("parameter_count", "one_bias", lambda fan_in, units: fan_in * units + 1),
    ("parameter_count", "batch", lambda fan_in, units: 32 * fan_in * units + units),
    ("parameter_count", "batch", lambda fan_in, units: 4 * (fan_in + 1) * units),
    ("parameter_count", "batch", lambda fan_in, units: fan_in * units + 5 * units),
    ("parameter_count", "wrong_product", lambda fan_in, units: units * units + units),
    ("parameter_count", "wrong_product", lambda fan_in, units: fan_in**2 + units),
    ("parameter_count", "summed", lambda fan_in, units: fan_in + units),
    ("parameter_count", "off_by_one", lambda fan_in, units: fan_in * units + units - 1),
]
