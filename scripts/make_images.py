"""Make the animations in images/: one GIF each, and one still of it as PNG.

    make images
    .venv/bin/python scripts/make_images.py FOLDER    # into another folder

The stills are for readers who switched motion off, and for print. images/README.md gets the
descriptions, so that whoever shows a picture can copy its alternative text. A second run on one
machine writes the same bytes. (Another version of matplotlib or Pillow may draw other pixels.)
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from cnnlib import animations, plots

TARGET = Path(__file__).resolve().parents[1] / "images"
LARGEST = 1_000_000  # bytes of one GIF
# What to draw, and which frame says most when it stands still.
IMAGES: dict[str, tuple[Callable[[], animations.Frames], int]] = {
    "correlation": (animations.correlation, 11),
    "max_pooling": (animations.max_pooling, 5),
    "average_pooling": (animations.average_pooling, 5),
    "gradient_descent": (animations.gradient_descent, 8),
    "kernels": (animations.kernels_during_training, 12),
}
README_HEAD = """# Pictures

Made by `make images`, with their descriptions. Every animation has a still of the same name.
Licence: CC BY 4.0; `kernels` is trained on digits of MNIST (Y. LeCun and C. Cortes, CC BY-SA 3.0).
"""


def make(name: str, folder: Path) -> animations.Frames:
    """Write NAME.gif and NAME.png; return the frames."""
    function, still = IMAGES[name]
    frames = function()
    gif = folder / f"{name}.gif"
    frames.save(gif)
    if gif.stat().st_size >= LARGEST:
        raise SystemExit(f"{gif.name}: {gif.stat().st_size:,} bytes; allowed are {LARGEST:,}")
    (folder / f"{name}.png").write_bytes(plots._png(frames.frame(still)))
    return frames


def main() -> None:
    """Make all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    folder.mkdir(parents=True, exist_ok=True)
    parts = [README_HEAD]
    for name in IMAGES:
        start = time.perf_counter()
        frames = make(name, folder)
        size = (folder / f"{name}.gif").stat().st_size
        seconds = time.perf_counter() - start
        print(f"{name}.gif: {len(frames)} frames, {size:,} bytes, {seconds:.1f} s", flush=True)
        parts.append(f"![{frames.alt}]({name}.gif)\n\n{frames.alt}\n")
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
