"""How cost grows: time and memory of a training step, and which way to convolve.

    python benchmarks/growth.py run      # a quarter of an hour; writes results/growth/
    python benchmarks/growth.py table    # print the newest result

- growth: seconds and peak memory of one step, with one setting changed at a time, each point in a
  process of its own; the slope in a log-log plot is the power with which the cost grows.
- memory: the three nets beside PyTorch. What is counted is the growth of the process over its
  state after all imports and after the data has been made, at its highest.
- methods: one convolution by the window matrix, by overlapping rows (what `Conv2D` does) and
  through the FFT, for kernels of 3 to 31 cells a side.

Needs Linux, whose /proc tells the peak, and the environment of `make bench`. Let nothing else run
meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import records
from speed import BATCHES, NETS, OfKerasNames, OfTorch, digits

from cnnlib.shards import usable_cores

BASE = {"batch": 128, "size": 32, "channels": 16, "kernel": 3, "depth": 2, "workers": 1}
AXES = {
    "batch": (32, 64, 128, 256, 512),
    "size": (16, 32, 64, 128),
    "channels": (4, 8, 16, 32, 64),
    "kernel": (3, 5, 9, 15, 25),
    "depth": (1, 2, 4, 8),
    "workers": (1, 2),
}
# The power that theory gives to time and to memory, where the axis is long.
THEORY = {
    "batch": (1, 1),
    "size": (2, 2),
    "channels": (2, 1),
    "kernel": (2, 1),
    "depth": (1, 1),
    "workers": (-1, None),
}
KERNELS = (3, 5, 7, 9, 11, 15, 21, 31)
METHODS = ("window matrix", "overlapping rows", "FFT")


# --- Time and memory of this process --------------------------------------------------------------


def resident(key):
    """Bytes: 'VmRSS', what is in memory now, or 'VmHWM', the most since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def forget_peak():
    """Let the highest memory be counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5")


def median_seconds(work, least=1.0):
    """The median time of at least three runs and `least` seconds."""
    times = []
    while sum(times) < least or len(times) < 3:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def step_of_stack(batch, size, channels, kernel, depth, workers):
    """[seconds, bytes] of a step: `depth` convolutions of as many channels, and a small end."""
    from concurrent.futures import ThreadPoolExecutor

    import cnnlib

    layers = cnnlib.layers
    convolutions = [
        layers.Conv2D(channels, kernel, padding="same", activation="relu") for _ in range(depth)
    ]
    end = [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    model = cnnlib.Sequential([cnnlib.Input((size, size, channels)), *convolutions, *end])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((batch, size, size, channels), dtype=np.float32)
    y = np.arange(batch) % 10
    with ThreadPoolExecutor(workers) as pool:
        pool.submit(int).result()
        forget_peak()
        before = resident("VmRSS")
        fit = lambda: model.fit(x, y, batch_size=batch, verbose=0, executor=pool)  # noqa: E731
        fit()
        seconds = median_seconds(fit)
        return [seconds, resident("VmHWM") - before]


def memory_of_net(candidate, net, batch):
    """[bytes] of three training steps of a net."""
    weights = OfKerasNames("cnnlib").build(net)
    kind = OfTorch if candidate == "torch" else OfKerasNames
    one = kind(candidate)
    one.build(net, weights)
    x, y = (array[: 3 * batch].copy() for array in digits())
    forget_peak()
    before = resident("VmRSS")
    one.training(x, y, batch)
    return [resident("VmHWM") - before]


def methods_of_kernel(kernel):
    """Seconds of each way: 32 images of 64 x 64, 8 channels in, 8 out, mode 'valid'."""
    import scipy.fft
    from threadpoolctl import threadpool_limits

    from cnnlib import kernels

    rng = np.random.default_rng(0)
    rows = columns = kernels.axis(64, kernel, 1, "valid")
    x = kernels.from_rows(rng.random((64, 8, 64, 32), dtype=np.float32))
    w = rng.standard_normal((kernel, kernel, 8, 8), dtype=np.float32)
    images = np.ascontiguousarray(x)

    def matrix():
        windows = np.lib.stride_tricks.sliding_window_view(images, (kernel, kernel), (1, 2))
        flat = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * 8)
        return (flat @ w.reshape(-1, 8)).reshape(32, rows.out, columns.out, 8)

    def overlapping():
        return kernels.conv2d(x, w, rows, columns)[0]

    def fourier():
        # Padded to the picture's size alone: what wraps around lies outside the valid part.
        planes = scipy.fft.rfft2(images, axes=(1, 2))
        kernel_planes = scipy.fft.rfft2(w, (64, 64), axes=(0, 1))
        product = np.einsum("nijc,ijco->nijo", planes, kernel_planes.conj(), optimize=True)
        return scipy.fft.irfft2(product, (64, 64), axes=(1, 2))[:, : rows.out, : columns.out]

    with threadpool_limits(1, "blas"):
        results = [way() for way in (matrix, overlapping, fourier)]
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], rtol=0, atol=1e-4 * abs(results[0]).max())
        return [median_seconds(way, 0.5) for way in (matrix, overlapping, fourier)]


POINTS = {"step": step_of_stack, "memory": memory_of_net, "methods": methods_of_kernel}


def point(what, **options):
    """The numbers of one point, from a process of its own."""
    command = [sys.executable, __file__, "point", "--what", what, "--options", json.dumps(options)]
    environment = records.natural() | {"OMP_NUM_THREADS": str(usable_cores())}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    return json.loads(done.stdout)


# --- The run --------------------------------------------------------------------------------------


def run():
    """All points; what is stored."""
    growth = {}
    for axis, values in AXES.items():
        growth[axis] = [[v, *point("step", **BASE | {axis: v})] for v in values]
        print(axis, growth[axis], flush=True)
    memory = [
        [net, batch, *(point("memory", candidate=c, net=net, batch=batch)[0] for c in LIBRARIES)]
        for net in NETS
        for batch in BATCHES
    ]
    methods = [[kernel, *point("methods", kernel=kernel)] for kernel in KERNELS]
    return {
        "growth": growth,
        "memory": memory,
        "methods": methods,
        **records.stamp(),
    }


LIBRARIES = ("cnnlib", "torch")


def slope(points, column):
    """The power of growth between the last two points: earlier ones hold what is constant."""
    (v1, *first), (v2, *last) = points[-2:]
    return float(np.log(last[column] / first[column]) / np.log(v2 / v1))


def table(result):
    """Three tables."""
    print("| what grows | from, to | time, ms | power (theory) | memory, MB | power (theory) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for axis, points in result["growth"].items():
        expected = THEORY[axis]
        ends = points[0], points[-1]
        times = " to ".join(f"{1e3 * seconds:.0f}" for _, seconds, _ in ends)
        peaks = " to ".join(f"{peak / 1e6:.0f}" for _, _, peak in ends)
        of_memory = f"{slope(points, 1):.2f} ({expected[1]})" if expected[1] else ""
        print(
            f"| {axis} | {ends[0][0]}, {ends[1][0]} | {times} | {slope(points, 0):.2f} "
            f"({expected[0]}) | {peaks} | {of_memory} |"
        )
    print("\n| net, batch | cnnlib, MB | PyTorch, MB | ratio |")
    print("| --- | --- | --- | --- |")
    for net, batch, ours, theirs in result["memory"]:
        print(f"| {net}, {batch} | {ours / 1e6:.0f} | {theirs / 1e6:.0f} | {ours / theirs:.2f} |")
    print(f"\n| kernel | {', ms | '.join(METHODS)}, ms |")
    print("| --- | --- | --- | --- |")
    for kernel, *seconds in result["methods"]:
        print(f"| {kernel} x {kernel} | {' | '.join(f'{1e3 * s:.1f}' for s in seconds)} |")
    print(f"\n{result['machine']}, {result['date']}, commit {result['commit']}")


def plot(result, path):
    """Time and memory against what grows, log-log, with the slope that theory gives, dashed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure((10, 5.6), layout="constrained")
    axes = figure.subplots(2, len(AXES), sharey="row")
    for column, (axis, points) in enumerate(result["growth"].items()):
        values = np.array([p[0] for p in points], float)
        for row, (number, unit) in enumerate(((1, "ms a step"), (2, "MB at the peak"))):
            ax, power = axes[row, column], THEORY[axis][row]
            scale = 1e3 if row == 0 else 1e-6
            cost = scale * np.array([p[number] for p in points])
            ax.loglog(values, cost, "o-", color="#0072B2")
            if power is not None:
                line = cost[-1] * (values / values[-1]) ** power
                ax.loglog(values, line, "--", color="#6b6b6b")
                ax.set_title(f"power {slope(points, row):.1f}, theory {power}", fontsize=9)
            ax.set_xticks(values, [f"{v:g}" for v in values], fontsize=8)
            ax.xaxis.set_minor_locator(NullLocator())
            if column == 0:
                ax.set_ylabel(unit)
            if row == 1:
                ax.set_xlabel(axis)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what_to_do", choices=["run", "table", "point"])
    parser.add_argument("--what", choices=POINTS)
    parser.add_argument("--options", type=json.loads)
    options = parser.parse_args()
    if options.what_to_do == "point":
        print(json.dumps(POINTS[options.what](**options.options)))
        return
    if options.what_to_do == "run":
        result = run()
        records.store("growth", result, plot)
    else:
        result = records.newest("growth")
    table(result)


if __name__ == "__main__":
    main()
