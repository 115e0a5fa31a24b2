"""Train the small network of the DigitPad and write its weights to data/pad.npz.

Run once, from the repository's root; the result is committed:

    python scripts/train_pad.py

It learns from the 4,000 embedded training digits alone (MNIST, Y. LeCun and C. Cortes, CC BY-SA
3.0), each in two forms, both new in every epoch: the picture, turned, sheared, scaled and shifted a
little; and its strokes (scripts/trace_strokes.py), turned, sheared, stretched, bent a little and
drawn again with a pen of another width, as the DigitPad draws what a hand draws.

Seeds are fixed. The 1,000 embedded test digits are looked at once, at the end; MNIST's test set,
from which the strokes of tests/data/ come, is never read here.
"""

import hashlib
import math
import time
from pathlib import Path

import numpy as np
from make_digits import write_npz
from trace_strokes import trace

import cnnlib
from cnnlib.datasets import digits
from cnnlib.schedules import CosineDecay
from cnnlib.widgets.pad_model import build_pad_model
from cnnlib.widgets.strokes import to_picture

SEED, EPOCHS, BATCH = 2026, 24, 64
TARGET = Path(__file__).resolve().parents[1] / "data" / "pad.npz"


def small_maps(rng: np.random.Generator, count: int) -> np.ndarray:
    """Matrices (count, 2, 2): a little turn, shear and stretch in both directions."""
    turn, shear = rng.normal(0, 0.12, count), rng.normal(0, 0.15, count)
    wide, high = rng.uniform(0.85, 1.12, (2, count))
    turns = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    one, zero = np.ones(count), np.zeros(count)
    shapes = np.array([[wide, shear], [zero, high * one]])
    return np.einsum("ijn,jkn->nik", turns, shapes)


def warped(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures (n, 28, 28) under small maps about their middle and shifts of some pixels."""
    count, size = len(images), images.shape[1]
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2) - 14.0
    shift = rng.normal(0, 0.8, (count, 1, 2))
    source = np.einsum("nij,pj->npi", small_maps(rng, count), grid) + 14.0 + shift
    x, y = np.clip(source, 0, size - 1.001).transpose(2, 0, 1)
    column, row = x.astype(int), y.astype(int)
    x, y = x - column, y - row
    flat, corner = images.reshape(count, -1), row * size + column

    def pixel(step: int) -> np.ndarray:
        return np.take_along_axis(flat, corner + step, axis=1)

    above = pixel(0) * (1 - x) + pixel(1) * x
    below = pixel(size) * (1 - x) + pixel(size + 1) * x
    return (above * (1 - y) + below * y).reshape(images.shape)


def redrawn(drawings: list[list[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Pictures (n, 28, 28) of strokes in MNIST's pixels, in another hand and with another pen."""
    pictures = []
    for strokes, shape in zip(drawings, small_maps(rng, len(drawings)), strict=True):
        # A slow wave across the sheet bends every stroke by about half a pixel.
        wave, phase = rng.normal(0, 0.15, (2, 2)), rng.uniform(0, 2 * np.pi, 2)
        size = rng.normal(0, 0.6, 2)
        bent = [(s - 14) @ shape.T + size * np.sin(s @ wave + phase) for s in strokes]
        pictures.append(to_picture(bent, pen=rng.uniform(1.7, 4.0)))
    return np.stack(pictures)


def accuracy(model: cnnlib.Sequential, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of pictures (n, 28, 28) that are recognised."""
    return float((model.predict(images[..., None]).argmax(1) == labels).mean())


def main() -> None:
    """Train, write the file and print how good it is."""
    begin = time.perf_counter()
    cnnlib.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    (x, y), (x_test, y_test) = digits.load_data()
    images, images_test = (a.astype(np.float32) / 255 for a in (x, x_test))
    drawings = trace(images)

    model = build_pad_model()
    steps = EPOCHS * math.ceil(2 * len(x) / BATCH)
    schedule = CosineDecay(2e-4, steps - steps // 10, warmup_target=2e-3, warmup_steps=steps // 10)
    model.compile(
        cnnlib.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    for epoch in range(EPOCHS):
        pictures = np.concatenate([warped(images, rng), redrawn(drawings, rng)])[..., None]
        history = model.fit(
            pictures.astype(np.float32),
            np.concatenate([y, y]),
            batch_size=BATCH,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
        )
        loss, right = (history.history[name][-1] for name in ("loss", "accuracy"))
        print(f"epoch {epoch + 1:2}: loss {loss:.3f}, {right:.1%} right", flush=True)

    weights = {str(k): w.astype(np.float32) for k, w in enumerate(model.get_weights())}
    write_npz(TARGET, weights)
    raw = TARGET.read_bytes()
    print(f"{TARGET.name}: {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")
    traced = np.stack([to_picture(strokes) for strokes in trace(images_test)])
    print(f"the 1,000 embedded test digits: {accuracy(model, images_test, y_test):.1%} right")
    print(f"the same, traced and drawn again: {accuracy(model, traced, y_test):.1%} right")
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
