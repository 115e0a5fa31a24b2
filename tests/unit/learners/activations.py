"""Lesson 02 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np

from cnnlib import activations, plain

# --- Right, in another way ---------------------------------------------------------------------


def loop_leaky(dy, z, negative_slope):
    dz = np.zeros_like(dy)
    for n in range(len(z)):
        for i in range(z.shape[1]):
            dz[n, i] = dy[n, i] if z[n, i] > 0 else negative_slope * dy[n, i]
    return dz


def copied_leaky(dy, z, negative_slope):
    dz = dy.copy()
    dz[z <= 0] *= negative_slope
    return dz


def library_leaky(dy, z, negative_slope):
    function = activations.leaky_relu.with_options(negative_slope=negative_slope)
    return function.backward(dy, function.forward(z)[1])


def einsum_two(dy2, x, y1, W2):
    dy1 = np.einsum("no,ho->nh", dy2, W2)
    dz1 = activations.tanh.backward(dy1, y1)
    return np.einsum("nh,no->ho", y1, dy2), dz1, np.einsum("ni,nh->ih", x, dz1)


def loop_two(dy2, x, y1, W2):
    dW2, dW1 = np.zeros(W2.shape), np.zeros((x.shape[1], len(W2)))
    dz1 = np.zeros(y1.shape)
    for n in range(len(x)):
        dW2 += np.outer(y1[n], dy2[n])
        dz1[n] = (W2 @ dy2[n]) * (1 - y1[n]) * (1 + y1[n])
        dW1 += np.outer(x[n], dz1[n])
    return dW2, dz1, dW1


def through_dense(dy2, x, y1, W2):
    dy1, dW2, _ = plain.dense_backward(dy2, y1, W2)
    dz1 = plain.tanh_backward(dy1, y1)
    return [dW2, dz1, x.T @ dz1]


RIGHT = [
    ("leaky_relu_backward", loop_leaky),
    ("leaky_relu_backward", copied_leaky),
    ("leaky_relu_backward", library_leaky),
    ("leaky_relu_backward", plain.relu_backward),
    ("leaky_relu_backward", lambda dy, z, a: dy * np.where(z > 0, 1, a)),
    ("leaky_relu_backward", lambda dy, z, a: dy * ((z > 0) + a * (z <= 0))),
    ("leaky_relu_backward", lambda dy, z, a: np.where(z < 0, a * dy, dy).astype("float32")),
    ("two_layer_gradients", einsum_two),
    ("two_layer_gradients", loop_two),
    ("two_layer_gradients", through_dense),
    (
        "two_layer_gradients",
        lambda dy2, x, y1, W2: tuple(
            result.astype("float32") for result in einsum_two(dy2, x, y1, W2)
        ),
    ),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def slope_from_y(dy, z, negative_slope):
    y = np.where(z > 0, z, negative_slope * z)
    dz = dy.copy()
    dz[y <= 0] *= negative_slope
    return dz


def slope_from_y_alone(dy, z, negative_slope):
    y = np.maximum(z, 0) + negative_slope * np.minimum(z, 0)
    return (y > 0) + negative_slope * (y <= 0)


def two_with(dW2=None, dz1=None, dW1=None):
    """Return a way back that is right but for what is given as a rule.

    A mistaken dz1 goes on into dW1, as it would.
    """

    def gradients(dy2, x, y1, W2):
        z = dz1(dy2, x, y1, W2) if dz1 else (dy2 @ W2.T) * (1 - y1**2)
        return (
            dW2(dy2, x, y1, W2) if dW2 else y1.T @ dy2,
            z,
            dW1(z, dy2, x, y1, W2) if dW1 else x.T @ z,
        )

    return gradients


LEAKY = [
    ("at_y", slope_from_y),
    ("at_dy", lambda dy, z, a: np.where(dy > 0, dy, a * dy)),
    ("at_dy", lambda dy, z, a: np.maximum(dy, a * dy)),
    ("no_dy", lambda dy, z, a: np.where(z > 0, 1, a)),
    ("no_dy", lambda dy, z, a: np.ones_like(z) * (z > 0) + a * (z <= 0)),
    ("no_dy", slope_from_y_alone),
    ("zero_for_negatives", lambda dy, z, a: np.where(z > 0, dy, 0)),
    ("value_for_slope", lambda dy, z, a: np.where(z > 0, z, a * z) * dy),
    ("value_for_slope", lambda dy, z, a: dy * np.where(z > 0, z, a)),
    ("value_for_slope", lambda dy, z, a: dy * np.where(z > 0, 1, a * z)),
    ("forward", lambda dy, z, a: np.maximum(z, 0) + a * np.minimum(z, 0)),
    ("forward", lambda dy, z, a: np.maximum(a * z, z)),
    ("sides", lambda dy, z, a: np.where(z < 0, dy, a * dy)),
    ("minus", lambda dy, z, a: dy * np.where(z > 0, 1, -a)),
    ("added", lambda dy, z, a: dy + np.where(z > 0, 1, a)),
    ("added", lambda dy, z, a: np.where(z > 0, dy, a + dy)),
    ("averaged", lambda dy, z, a: dy * np.where(z > 0, 1, a) / dy.shape[0]),
    ("summed", lambda dy, z, a: (dy * np.where(z > 0, 1, a)).sum(axis=0)),
    ("summed", lambda dy, z, a: np.sum(dy * np.where(z > 0, 1, a))),
]

TWO = [
    ("dW2_wrong_cache", two_with(dW2=lambda dy2, x, y1, W2: x.T @ dy2)),
    ("dW2_transposed", two_with(dW2=lambda dy2, x, y1, W2: dy2.T @ y1)),
    ("dW2_averaged", two_with(dW2=lambda dy2, x, y1, W2: y1.T @ dy2 / len(dy2))),
    ("dW2_sloped", two_with(dW2=lambda dy2, x, y1, W2: (y1 - y1**3).T @ dy2)),
    ("dW2_sloped", two_with(dW2=lambda dy2, x, y1, W2: (1 - y1**2).T @ dy2)),
    ("dW2_sloped", two_with(dW2=lambda dy2, x, y1, W2: y1.T @ (dy2 * (1 - y1**2)))),
    ("dW2_sloped", two_with(dW2=lambda dy2, x, y1, W2: y1.T @ (dy2 * (1 - (y1 @ W2) ** 2)))),
    ("slope_skipped", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T)),
    ("brackets", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * 1 - y1**2)),
    ("order_reversed", two_with(dz1=lambda dy2, x, y1, W2: (dy2 * (1 - y1**2)) @ W2.T)),
    ("slope_of_wrong_layer", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - x**2))),
    (
        "slope_of_wrong_layer",
        two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - (y1 @ W2) ** 2)),
    ),
    (
        "slope_of_wrong_layer",
        two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - np.tanh(y1 @ W2) ** 2)),
    ),
    ("slope_of_wrong_layer", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - dy2**2))),
    (
        "slope_of_wrong_layer",
        two_with(dz1=lambda dy2, x, y1, W2: (dy2 * (1 - (y1 @ W2) ** 2)) @ W2.T),
    ),
    ("slope_at_y", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - np.tanh(y1) ** 2))),
    ("slope_not_squared", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (1 - y1))),
    ("slope_of_sigmoid", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2.T * (y1 - y1**2))),
    ("W2_not_transposed", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2 * (1 - y1**2))),
    ("W2_not_transposed", two_with(dz1=lambda dy2, x, y1, W2: dy2 @ W2)),
    ("dz1_no_dy", two_with(dz1=lambda dy2, x, y1, W2: 1 - y1**2)),
    ("dz1_no_dy", two_with(dz1=lambda dy2, x, y1, W2: W2.sum(axis=1) * (1 - y1**2))),
    ("dW1_wrong_cache", two_with(dW1=lambda dz1, dy2, x, y1, W2: y1.T @ dz1)),
    ("dW1_from_dy1", two_with(dW1=lambda dz1, dy2, x, y1, W2: x.T @ (dy2 @ W2.T))),
    ("dW1_from_dy2", two_with(dW1=lambda dz1, dy2, x, y1, W2: x.T @ dy2)),
    ("dW1_transposed", two_with(dW1=lambda dz1, dy2, x, y1, W2: dz1.T @ x)),
    ("dW1_averaged", two_with(dW1=lambda dz1, dy2, x, y1, W2: x.T @ dz1 / len(x))),
    ("order", lambda dy2, x, y1, W2: einsum_two(dy2, x, y1, W2)[::-1]),
]

MISTAKES = [
    *(("leaky_relu_backward", *mistake) for mistake in LEAKY),
    *(("two_layer_gradients", *mistake) for mistake in TWO),
]
