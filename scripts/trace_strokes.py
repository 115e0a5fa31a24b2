"""Turn pictures of digits into strokes: thin them to lines, then walk along the lines.

Run once, from the repository's root; the result is committed:

    CNNLIB_DATA_DIR=../shared/data python scripts/trace_strokes.py

It writes tests/data/traced_digits.json: the first 100 digits of MNIST's test set as strokes with
their labels. tests/unit/test_digit_pad.py sends them through the whole path from stroke to answer.
scripts/train_pad.py uses `trace` for the training digits. A second run writes the same bytes.

Thinning: T. Y. Zhang, C. Y. Suen: A fast parallel algorithm for thinning digital patterns,
Communications of the ACM 27(3), 1984. MNIST is by Y. LeCun and C. Cortes, CC BY-SA 3.0; so are the
strokes.
"""

import json
from pathlib import Path

import numpy as np

from cnnlib.datasets import mnist

COUNT = 100
TARGET = Path(__file__).resolve().parents[1] / "tests" / "data" / "traced_digits.json"
INK = 0.45  # of full black: what counts as ink
FINE = 3  # each pixel becomes 3 x 3 before thinning, so that lines are smooth and loops stay open
SPUR = 1.2 * FINE  # steps: a shorter side branch is an artefact of thinning
# Row and column steps to the eight neighbours, clockwise from the one above: P2 .. P9 in the paper.
STEPS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
Node = tuple[int, int]


def thin(ink: np.ndarray) -> np.ndarray:
    """Thin every pattern of a stack to lines one pixel wide: bool (n, height, width), both ways."""
    ink = np.pad(ink.astype(bool), [(0, 0), (1, 1), (1, 1)])
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            around = [np.roll(ink, (-row, -column), (1, 2)) for row, column in STEPS]
            total = sum(p.astype(np.int8) for p in around)
            pairs = zip(around, around[1:] + around[:1], strict=True)
            rises = sum((~p & q).astype(np.int8) for p, q in pairs)
            up, right, down, left = around[0::2]
            if first:
                sides = ~(up & right & down) & ~(right & down & left)
            else:
                sides = ~(up & right & left) & ~(up & down & left)
            gone = ink & (total >= 2) & (total <= 6) & (rises == 1) & sides
            changed |= bool(gone.any())
            ink = ink & ~gone
    return ink[:, 1:-1, 1:-1]


def enlarge(images: np.ndarray, times: int = FINE) -> np.ndarray:
    """Interpolate between pixels: (n, h, w) -> (n, h * times, w * times)."""
    for axis in (1, 2):
        size = images.shape[axis]
        at = np.clip((np.arange(size * times) + 0.5) / times - 0.5, 0, size - 1)
        low = np.minimum(at.astype(int), size - 2)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(3)])
        images = images.take(low, axis) * (1 - share) + images.take(low + 1, axis) * share
    return images


def trace(images: np.ndarray) -> list[list[np.ndarray]]:
    """Strokes of each picture, in its pixels: images (n, h, w) from 0 to 1, 0 is paper."""
    lines = thin(enlarge(images.astype(np.float64)) > INK)
    return [[smooth(way) for way in walks(prune(neighbours(line)))] for line in lines]


def neighbours(line: np.ndarray) -> dict[Node, set[Node]]:
    """The pixels of a line as a graph; a diagonal step only where no two straight ones make it."""
    pixels = {(int(r), int(c)) for r, c in np.argwhere(line)}
    graph: dict[Node, set[Node]] = {pixel: set() for pixel in sorted(pixels)}
    for r, c in graph:
        for dr, dc in STEPS:
            corner = dr != 0 and dc != 0 and ((r + dr, c) in pixels or (r, c + dc) in pixels)
            if (r + dr, c + dc) in pixels and not corner:
                graph[r, c].add((r + dr, c + dc))
    return graph


def prune(graph: dict[Node, set[Node]]) -> dict[Node, set[Node]]:
    """Cut side branches that end after a few steps."""
    for end in [node for node, near in graph.items() if len(near) == 1]:
        branch, node = [end], end
        while len(graph.get(node, ())) <= 2 and len(branch) <= SPUR:
            onward = [other for other in graph[node] if other not in branch]
            if not onward:
                break
            node = onward[0]
            if len(graph[node]) > 2:
                for gone in branch:
                    for other in graph.pop(gone):
                        if other in graph:
                            graph[other].discard(gone)
                break
            branch.append(node)
    return graph


def walks(graph: dict[Node, set[Node]]) -> list[list[Node]]:
    """Walk along every edge once: from ends first, straight on at crossings."""
    left = {node: set(near) for node, near in graph.items()}
    found = [[node] for node, near in graph.items() if not near]
    while any(left.values()):
        # Highest first, as one writes; an end before a crossing before the middle of a loop.
        starts = [node for node, near in left.items() if near]
        node = min(starts, key=lambda n: (len(left[n]) % 2 == 0, n))
        way = [node]
        while left[node]:
            heading = np.subtract(way[-1], way[max(0, len(way) - 2 * FINE)])
            node = max(
                sorted(left[node]), key=lambda n: float(np.dot(np.subtract(n, way[-1]), heading))
            )
            left[way[-1]].discard(node)
            left[node].discard(way[-1])
            way.append(node)
        found.append(way)
    # Crumbs beside the digit are no strokes, unless there is nothing else.
    return [way for way in found if len(way) > SPUR] or found


def smooth(way: list[Node]) -> np.ndarray:
    """Points (x, y) in pixels of the picture, without the stairs of the grid; ends stay."""
    points = (np.array(way, float)[:, ::-1] + 0.5) / FINE - 0.5
    for _ in range(3):
        if len(points) > 2:
            points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    return points[np.union1d(np.arange(0, len(points), 2), [len(points) - 1])]


def main() -> None:
    """Write the first test digits as strokes, in tenths of a pixel."""
    _, (images, labels) = mnist.load_data()
    rows = [
        {"label": int(label), "strokes": [np.rint(10 * s).astype(int).tolist() for s in strokes]}
        for label, strokes in zip(labels[:COUNT], trace(images[:COUNT] / 255), strict=True)
    ]
    TARGET.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    TARGET.write_text(f"[\n{lines}\n]\n", "utf-8")
    print(f"{TARGET.name}: {len(rows)} digits, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
