"""Lesson 07 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np

from cnnlib import plain

# --- Right, in another way ---------------------------------------------------------------------


def loop_synapse(x, w):
    c = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        smaller = min(abs(x[place]), abs(w[place]))
        c[place] = smaller if x[place] * w[place] > 0 else -smaller
    return c


def loop_gradient(dy, x, w):
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for place in np.ndindex(x.shape):
        if abs(x[place]) < abs(w[place]):
            dx[place] = dy[place] if w[place] > 0 else -dy[place]
        else:
            dw[place] = dy[place] if x[place] > 0 else -dy[place]
    return dx, dw


def masked_gradient(dy, x, w):
    to_x = np.abs(x) < np.abs(w)
    return to_x * np.sign(w) * dy, ~to_x * np.sign(x) * dy


def plain_gradient(dy, x, w):
    slope_x, slope_w = plain.synapse_slopes(x, w)
    return [slope_x * dy, slope_w * dy]


def loop_count(height, width, channels, size, filters):
    comparisons = additions = multiplications = 0
    for _ in range((height - size + 1) * (width - size + 1) * filters):
        comparisons += size**2 * channels
        additions += size**2 * channels - 1 + 1  # the sum, and the bias
        multiplications += 1
    return comparisons, additions, multiplications


RIGHT = [
    ("synapse", loop_synapse),
    ("synapse", plain.synapse),
    ("synapse", lambda x, w: np.sign(w) * np.clip(x, -np.abs(w), np.abs(w))),
    ("synapse", lambda x, w: np.sign(x * w) * np.minimum(np.abs(x), np.abs(w))),
    ("synapse", lambda x, w: np.where(abs(x) < abs(w), x * np.sign(w), w * np.sign(x))),
    ("synapse", lambda a, b: (0.5 * np.abs(a + b) - 0.5 * np.abs(b - a)).astype("float32")),
    ("synapse_gradient", loop_gradient),
    ("synapse_gradient", masked_gradient),
    ("synapse_gradient", plain_gradient),
    (
        "synapse_gradient",
        lambda dy, x, w: (
            np.where(x**2 < w**2, np.sign(w) * dy, 0).astype("float32"),
            np.where(x**2 >= w**2, np.sign(x) * dy, 0).astype("float32"),
        ),
    ),
    ("comparative_count", loop_count),
    (
        "comparative_count",
        lambda h, w, c, s, f: (
            np.int64((h - s + 1) * (w - s + 1) * f * s**2 * c),
            (h - s + 1) * (w - s + 1) * f * s**2 * c,
            np.zeros((h - s + 1, w - s + 1, f)).size,
        ),
    ),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def gradient_with(dx=None, dw=None):
    """Return a gradient that is right but for the results that are given as rules."""

    def gradient(dy, x, w):
        right_dx, right_dw = masked_gradient(dy, x, w)
        return (
            dx(dy, x, w) if dx else right_dx,
            dw(dy, x, w) if dw else right_dw,
        )

    return gradient


def loop_no_sign(x, w):
    c = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        c[place] = min(abs(x[place]), abs(w[place]))
    return c


def smaller_as_it_is(x, w):
    c = x.copy()
    c[np.abs(w) < np.abs(x)] = w[np.abs(w) < np.abs(x)]
    return c


def count_with(comparisons=None, additions=None, multiplications=None):
    """Return a count that is right but for the results that are given as rules."""

    def count(*sizes):
        rules = (comparisons, additions, multiplications)
        right = loop_count(*sizes)
        return tuple(
            rule(*sizes) if rule else value for rule, value in zip(rules, right, strict=True)
        )

    return count


def windows(h, w, s):
    return (h - s + 1) * (w - s + 1)


MISTAKES = [
    ("synapse", "no_sign", loop_no_sign),
    ("synapse", "no_half", lambda x, w: np.abs(x + w) - np.abs(x - w)),
    ("synapse", "plain_min", lambda x, w: np.where(x < w, x, w)),
    ("synapse", "one_sign", lambda x, w: np.minimum(np.abs(x), np.abs(w)) * np.sign(w)),
    ("synapse", "one_sign", lambda x, w: np.clip(x, -np.abs(w), np.abs(w))),
    ("synapse", "one_sign", smaller_as_it_is),
    ("synapse", "larger", lambda x, w: (np.abs(x + w) + np.abs(x - w)) / 2),
    (
        "synapse",
        "larger",
        lambda x, w: np.sign(x) * np.sign(w) * np.maximum(np.abs(x), np.abs(w)),
    ),
    ("synapse", "swapped", lambda x, w: 0.5 * (np.abs(x - w) - np.abs(x + w))),
    ("synapse", "product", lambda x, w: x * w),
    ("synapse", "one_bound", lambda x, w: np.sign(w) * np.where(x > abs(w), abs(w), x)),
    ("synapse", "summed", lambda x, w: plain.synapse(x, w).sum(axis=1)),
    ("synapse", "summed", lambda x, w: np.sum(plain.synapse(x, w))),
    ("synapse_gradient", "product", lambda dy, x, w: (w * dy, x * dy)),
    ("synapse_gradient", "product", gradient_with(dw=lambda dy, x, w: dy * x)),
    (
        "synapse_gradient",
        "swapped",
        lambda dy, x, w: (
            np.where(np.abs(x) > np.abs(w), np.sign(w) * dy, 0),
            np.where(np.abs(x) < np.abs(w), np.sign(x) * dy, 0),
        ),
    ),
    (
        "synapse_gradient",
        "sign_lost",
        lambda dy, x, w: ((np.abs(x) < np.abs(w)) * dy, (np.abs(w) < np.abs(x)) * dy),
    ),
    (
        "synapse_gradient",
        "own_sign",
        gradient_with(dx=lambda dy, x, w: np.where(abs(x) < abs(w), np.sign(x * w), 0) * dy),
    ),
    (
        "synapse_gradient",
        "own_sign",
        gradient_with(dw=lambda dy, x, w: np.where(abs(w) < abs(x), np.sign(w) * dy, 0)),
    ),
    (
        "synapse_gradient",
        "dy_lost",
        lambda dy, x, w: plain.synapse_slopes(x, w),
    ),
    (
        "synapse_gradient",
        "gated_product",
        lambda dy, x, w: (
            np.where(abs(x) < abs(w), w * dy, 0),
            np.where(abs(w) < abs(x), x * dy, 0),
        ),
    ),
    ("synapse_gradient", "no_case", lambda dy, x, w: (np.sign(w) * dy, np.sign(x) * dy)),
    (
        "synapse_gradient",
        "no_magnitude",
        lambda dy, x, w: (np.where(x < w, np.sign(w) * dy, 0), np.where(w < x, np.sign(x) * dy, 0)),
    ),
    (
        "synapse_gradient",
        "no_half",
        lambda dy, x, w: (
            (np.sign(x + w) - np.sign(x - w)) * dy,
            (np.sign(x + w) + np.sign(x - w)) * dy,
        ),
    ),
    (
        "synapse_gradient",
        "swapped",
        gradient_with(dx=lambda dy, x, w: (np.sign(x + w) + np.sign(x - w)) / 2 * dy),
    ),
    ("synapse_gradient", "order", lambda dy, x, w: masked_gradient(dy, x, w)[::-1]),
    (
        "comparative_count",
        "positions_forgotten",
        lambda h, w, c, s, f: (f * s * s * c, f * s * s * c, f),
    ),
    (
        "comparative_count",
        "positions_forgotten",
        count_with(multiplications=lambda h, w, c, s, f: f),
    ),
    (
        "comparative_count",
        "input_positions",
        count_with(comparisons=lambda h, w, c, s, f: h * w * s * s * c * f),
    ),
    (
        "comparative_count",
        "off_by_one",
        count_with(comparisons=lambda h, w, c, s, f: (h - s) * (w - s) * s * s * c * f),
    ),
    (
        "comparative_count",
        "filters_forgotten",
        count_with(comparisons=lambda h, w, c, s, f: windows(h, w, s) * s * s * c),
    ),
    (
        "comparative_count",
        "channels_forgotten",
        count_with(comparisons=lambda h, w, c, s, f: windows(h, w, s) * s * s * f),
    ),
    (
        "comparative_count",
        "size_once",
        count_with(comparisons=lambda h, w, c, s, f: windows(h, w, s) * s * c * f),
    ),
    (
        "comparative_count",
        "bias_omitted",
        count_with(additions=lambda h, w, c, s, f: windows(h, w, s) * f * (s * s * c - 1)),
    ),
    (
        "comparative_count",
        "bias_twice",
        count_with(additions=lambda h, w, c, s, f: windows(h, w, s) * f * (s * s * c + 1)),
    ),
    (
        "comparative_count",
        "scale_omitted",
        count_with(multiplications=lambda h, w, c, s, f: 0),
    ),
    ("comparative_count", "scale_once", count_with(multiplications=lambda h, w, c, s, f: 1)),
    (
        "comparative_count",
        "synapses_multiply",
        count_with(multiplications=lambda h, w, c, s, f: windows(h, w, s) * f * s * s * c),
    ),
]
