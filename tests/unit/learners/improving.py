"""Lesson 09 as learners write it: other right ways, and typical mistakes with their names."""

import numpy as np

# --- Right, in another way ---------------------------------------------------------------------


def moved_by_slices(image, down, right):
    """Return the moved image, cut on one side and filled with zeros on the other."""
    height, width = image.shape
    moved = np.zeros_like(image)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def augment_slices(images, labels, down, right):
    copies = [moved_by_slices(*each) for each in zip(images, down, right, strict=True)]
    return np.concatenate([images, copies]), np.concatenate([labels, labels])


def augment_cells(images, labels, down, right):
    count, height, width = images.shape
    out = np.zeros((2 * count, height, width))
    out[:count] = images
    for n, i, j in np.ndindex(images.shape):
        row, column = i + down[n], j + right[n]
        if 0 <= row < height and 0 <= column < width:
            out[count + n, row, column] = images[n, i, j]
    return out, np.tile(labels, 2)


def augment_padded(images, labels, down, right):
    height, width = images.shape[1:]
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    rows = np.arange(height)[None, :, None] + 2 - down[:, None, None]
    columns = np.arange(width)[None, None, :] + 2 - right[:, None, None]
    moved = padded[np.arange(len(images))[:, None, None], rows, columns]
    return np.vstack([images, moved]), np.hstack([labels, labels])


def adam_paper(w, dw, m, v, step, rate):
    m = 0.9 * m + 0.1 * dw
    v = 0.999 * v + 0.001 * dw * dw
    return m, v, w - rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)


def adam_with_corrected_rate(w, dw, m, v, step, rate):
    m = m + 0.1 * (dw - m)
    v = v + 0.001 * (dw**2 - v)
    rate = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    return m, v, w - rate * m / (np.sqrt(v) + 1e-7)


def adam_cells(w, dw, m, v, step, rate):
    new = [np.zeros(w.shape, "float32") for _ in range(3)]
    for place in np.ndindex(w.shape):
        numbers = adam_paper(w[place], dw[place], m[place], v[place], step, rate)
        for array, number in zip(new, numbers, strict=True):
            array[place] = number
    return new


RIGHT = [
    ("augment", augment_slices),
    ("augment", augment_cells),
    ("augment", augment_padded),
    ("adam_step", adam_paper),
    ("adam_step", adam_with_corrected_rate),
    ("adam_step", adam_cells),
]

# --- Typical mistakes ---------------------------------------------------------------------------


def augment_with(move=moved_by_slices, labels=None, join=None):
    """Return an augmentation that is right but for what is given."""

    def augment(images, labels_, down, right):
        copies = np.stack([move(*each) for each in zip(images, down, right, strict=True)])
        made = join(images, copies) if join else np.concatenate([images, copies])
        return made, labels(labels_) if labels else np.concatenate([labels_, labels_])

    return augment


def rolled(image, down, right):
    return np.roll(np.roll(image, down, axis=0), right, axis=1)


def augment_one_shift(images, labels, down, right):
    copies = [moved_by_slices(image, down[0], right[0]) for image in images]
    return np.concatenate([images, copies]), np.concatenate([labels, labels])


def augment_rolled_at_once(images, labels, down, right):
    copies = np.roll(images, (down[0], right[0]), axis=(1, 2))
    return np.concatenate([images, copies]), np.concatenate([labels, labels])


def from_the_edge(image, down, right):
    height, width = image.shape
    padded = np.pad(image, 2, mode="edge")
    return padded[2 - down : 2 - down + height, 2 - right : 2 - right + width]


def forwards(image, down, right):
    height, width = image.shape
    return np.pad(image, 2)[2 + down : 2 + down + height, 2 + right : 2 + right + width]


def cut_from_both_sides(image, down, right):
    return np.pad(image, 1)[2 - down : -2 - down, 2 - right : -2 - right]


def copies_in_a_list(images, labels, down, right):
    copies = [cut_from_both_sides(*each) for each in zip(images, down, right, strict=True)]
    return np.concatenate([images, np.array(copies)]), np.concatenate([labels, labels])


def copies_in_an_array(images, labels, down, right):
    copies = np.zeros_like(images)
    for n in range(len(images)):
        copies[n] = cut_from_both_sides(images[n], down[n], right[n])
    return np.concatenate([images, copies]), np.concatenate([labels, labels])


def copies_too_small(images, labels, down, right):
    copies = np.pad(images, ((0, 0), (1, 1), (1, 1)))[:, 2:-2, 2:-2]
    return np.concatenate([images, copies]), np.concatenate([labels, labels])


def side_by_side(images, copies):
    made = np.repeat(images, 2, axis=0)
    made[1::2] = copies
    return made


def adam_with(m=None, v=None, w=None):
    """Return a step that is right but for the lines that are given as functions."""

    def adam_step(w_, dw, m_, v_, step, rate):
        new_m = m(m_, dw, step) if m else 0.9 * m_ + 0.1 * dw
        new_v = v(v_, dw, step) if v else 0.999 * v_ + 0.001 * dw**2
        m_hat, v_hat = new_m / (1 - 0.9**step), new_v / (1 - 0.999**step)
        if w:
            return new_m, new_v, w(w_, dw, new_m, new_v, m_hat, v_hat, step, rate)
        return new_m, new_v, w_ - rate * m_hat / (np.sqrt(v_hat) + 1e-7)

    return adam_step


state = {}


def adam_with_a_state_of_its_own(w, dw, m, v, step, rate):
    if step == 1:
        state.update(m=0.0, v=0.0)
    state["m"] = 0.9 * state["m"] + 0.1 * dw
    state["v"] = 0.999 * state["v"] + 0.001 * dw**2
    m_hat, v_hat = state["m"] / (1 - 0.9**step), state["v"] / (1 - 0.999**step)
    return state["m"], state["v"], w - rate * m_hat / (np.sqrt(v_hat) + 1e-7)


def adam_with_a_shared_v(w, dw, m, v, step, rate):
    if step == 1:
        state.update(v=0.0)
    state["v"] = 0.999 * state["v"] + 0.001 * dw**2
    new_m = 0.9 * m + 0.1 * dw
    v_hat = state["v"] / (1 - 0.999**step)
    return new_m, state["v"], w - rate * new_m / (1 - 0.9**step) / (np.sqrt(v_hat) + 1e-7)


MISTAKES = [
    ("augment", "wraps", augment_with(rolled)),
    ("augment", "wraps", augment_with(lambda x, i, j: np.roll(x, (j, i), axis=(0, 1)))),
    ("augment", "one_shift", augment_one_shift),
    ("augment", "one_shift", augment_rolled_at_once),
    ("augment", "swapped", augment_with(lambda x, i, j: moved_by_slices(x, j, i))),
    ("augment", "sign", augment_with(forwards)),
    ("augment", "sign", augment_with(lambda x, i, j: moved_by_slices(x, -i, j))),
    ("augment", "sign", augment_with(lambda x, i, j: moved_by_slices(x, i, -j))),
    ("augment", "edge", augment_with(from_the_edge)),
    ("augment", "only_copies", augment_with(join=lambda x, copies: copies)),
    (
        "augment",
        "only_copies",
        augment_with(join=lambda x, copies: copies, labels=lambda t: t),
    ),
    ("augment", "only_copies", augment_with(rolled, join=lambda x, copies: copies)),
    (
        "augment",
        "originals_last",
        augment_with(join=lambda x, copies: np.concatenate([copies, x])),
    ),
    ("augment", "interleaved", augment_with(join=side_by_side, labels=lambda t: np.repeat(t, 2))),
    ("augment", "small", augment_with(cut_from_both_sides)),
    ("augment", "small", copies_in_a_list),
    ("augment", "small", copies_in_an_array),
    ("augment", "small", copies_too_small),
    ("augment", "unmoved", augment_with(lambda x, i, j: x)),
    ("augment", "labels_repeat", augment_with(labels=lambda t: np.repeat(t, 2))),
    ("augment", "labels_repeat", augment_with(labels=lambda t: np.stack([t, t], 1).ravel())),
    ("augment", "labels_short", augment_with(labels=lambda t: t)),
    ("adam_step", "shared", adam_with_a_state_of_its_own),
    ("adam_step", "shared", adam_with_a_shared_v),
    (
        "adam_step",
        "one_number",
        adam_with(v=lambda v, dw, step: 0.999 * v + 0.001 * np.mean(dw**2)),
    ),
    (
        "adam_step",
        "one_number",
        adam_with(v=lambda v, dw, step: 0.999 * v + 0.001 * np.linalg.norm(dw) ** 2),
    ),
    ("adam_step", "m_swapped", adam_with(m=lambda m, dw, step: 0.1 * m + 0.9 * dw)),
    ("adam_step", "m_summed", adam_with(m=lambda m, dw, step: 0.9 * m + dw)),
    ("adam_step", "m_summed", adam_with(m=lambda m, dw, step: m + dw)),
    ("adam_step", "m_fresh", adam_with(m=lambda m, dw, step: dw)),
    ("adam_step", "m_fresh", adam_with(m=lambda m, dw, step: 0.1 * dw)),
    (
        "adam_step",
        "m_corrected",
        adam_with(m=lambda m, dw, step: (0.9 * m + 0.1 * dw) / (1 - 0.9**step)),
    ),
    ("adam_step", "v_no_square", adam_with(v=lambda v, dw, step: 0.999 * v + 0.001 * dw)),
    ("adam_step", "v_no_square", adam_with(v=lambda v, dw, step: 0.999 * v + 0.001 * abs(dw))),
    ("adam_step", "v_swapped", adam_with(v=lambda v, dw, step: 0.001 * v + 0.999 * dw**2)),
    ("adam_step", "v_beta_1", adam_with(v=lambda v, dw, step: 0.9 * v + 0.1 * dw**2)),
    ("adam_step", "v_summed", adam_with(v=lambda v, dw, step: v + dw**2)),
    ("adam_step", "v_summed", adam_with(v=lambda v, dw, step: 0.999 * v + dw**2)),
    (
        "adam_step",
        "v_corrected",
        adam_with(v=lambda v, dw, step: (0.999 * v + 0.001 * dw**2) / (1 - 0.999**step)),
    ),
    (
        "adam_step",
        "no_correction",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * m / (np.sqrt(v) + 1e-7)),
    ),
    (
        "adam_step",
        "m_uncorrected",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * m / (np.sqrt(c) + 1e-7)),
    ),
    (
        "adam_step",
        "v_uncorrected",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * a / (np.sqrt(v) + 1e-7)),
    ),
    (
        "adam_step",
        "no_power",
        adam_with(
            w=lambda w, dw, m, v, a, c, step, rate: (
                w - rate * (m / (1 - 0.9)) / (np.sqrt(v / (1 - 0.999)) + 1e-7)
            )
        ),
    ),
    (
        "adam_step",
        "no_correction",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * m / np.sqrt(v)),
    ),
    (
        "adam_step",
        "no_correction",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * m / np.sqrt(v + 1e-7)),
    ),
    (
        "adam_step",
        "no_power",
        adam_with(
            w=lambda w, dw, m, v, a, c, step, rate: (
                w - rate * (m / (1 - 0.9 * step)) / (np.sqrt(v / (1 - 0.999 * step)) + 1e-7)
            )
        ),
    ),
    (
        "adam_step",
        "epsilon_inside",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * a / np.sqrt(c + 1e-7)),
    ),
    (
        "adam_step",
        "no_epsilon",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * a / np.sqrt(c)),
    ),
    (
        "adam_step",
        "no_root",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * a / (c + 1e-7)),
    ),
    (
        "adam_step",
        "no_mean",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w - rate * dw / (np.sqrt(c) + 1e-7)),
    ),
    (
        "adam_step",
        "ascent",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: w + rate * a / (np.sqrt(c) + 1e-7)),
    ),
    (
        "adam_step",
        "step_alone",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: -rate * a / (np.sqrt(c) + 1e-7)),
    ),
    (
        "adam_step",
        "step_alone",
        adam_with(w=lambda w, dw, m, v, a, c, step, rate: rate * a / (np.sqrt(c) + 1e-7)),
    ),
]
