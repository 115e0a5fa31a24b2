"""Accuracy on MNIST against the number of bits, for trained comparative and ordinary networks.

    export CNNLIB_DATA_DIR=../shared/data
    python benchmarks/quantization.py validation comparative=a.keras ordinary=b.keras
    python benchmarks/quantization.py test comparative=a.keras ordinary=b.keras
    python benchmarks/quantization.py table
    python benchmarks/quantization.py plot

Each NAME=FILE is a model that `model.save` wrote, for images (28, 28, 1) of 0..1. `validation`
looks at the last 5,000 digits of the training set, `test` at the 10,000 of the test set. Steps are
chosen on the first 500 training digits without their labels. With --normalization shift, batch
normalization scales by powers of two. Each net leaves one JSON record in
benchmarks/results/quantization/; `table` and `plot` (into images/quantization.png) read these.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
from pathlib import Path

from accuracy import commit, pixels

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "results" / "quantization"
PICTURE = HERE.parent / "images" / "quantization.png"
BITS = (8, 7, 6, 5, 4, 3, 2)
SAMPLE = 500


def run(name, path, phase, normalization):
    """Evaluate one network at every number of bits; the record as a dict."""
    import cnnlib
    from cnnlib import hardware

    (x_train, y_train), (x, y) = cnnlib.datasets.mnist.load_data()
    if phase == "validation":
        x, y = x_train[55_000:], y_train[55_000:]
    x, sample = pixels(x), pixels(x_train[:SAMPLE])
    model = cnnlib.models.load_model(path)
    correct = model.predict(x).argmax(axis=-1) == y
    accuracy, accumulator = {}, {}
    for bits in BITS:
        quantized = hardware.quantize(model, bits, sample, normalization=normalization)
        accuracy[bits] = round(100 * quantized.evaluate(x, y), 2)
        accumulator[bits] = max(stage.bits or 0 for stage in quantized.stages)
        print(f"{name}: {bits} bits {accuracy[bits]:.2f} %", flush=True)
    return {
        "net": name,
        "kind": kind_of(model),
        "normalization": normalization if normalizes(model) else None,
        "set": phase,
        "examples": len(y),
        "calibration_examples": SAMPLE,
        "float_accuracy": round(100 * float(correct.mean()), 2),
        "accuracy": accuracy,
        "accumulator_bits_needed": accumulator,
        "multiplications": quantized.counts.total.multiplications,
        "comparisons": quantized.counts.total.comparisons,
        "parameters": model.count_params(),
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "commit": commit("quantization"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def kind_of(model):
    """'comparative' or 'ordinary' where all layers with weights are, else 'mixed'."""
    from cnnlib.layers import ComparativeConv2D, ComparativeDense, Conv2D, Dense

    with_weights = [layer for layer in model.layers if isinstance(layer, Dense | Conv2D)]
    comparative = [isinstance(e, ComparativeDense | ComparativeConv2D) for e in with_weights]
    return "comparative" if all(comparative) else "mixed" if any(comparative) else "ordinary"


def normalizes(model):
    from cnnlib.layers import BatchNormalization

    return any(isinstance(layer, BatchNormalization) for layer in model.layers)


def records():
    """The newest record of each set, net and normalization."""
    found = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]
    found.sort(key=lambda record: record["date"])
    newest = {(r["set"], r["net"], r["normalization"]): r for r in found}
    return sorted(newest.values(), key=lambda r: (r["set"], r["kind"], r["net"], title(r)))


def title(record):
    return record["net"] + (", shifts" if record["normalization"] == "shift" else "")


def table():
    """Print the records as a table in Markdown."""
    print(
        "| set | net | synapses | commit | float | " + " | ".join(f"{b} bits" for b in BITS), end=""
    )
    print(" | accumulator, bits at 8 |")
    print("| --- | --- | --- | --- | " + "--- | " * (len(BITS) + 1) + "--- |")
    for record in records():
        cells = [record["set"], title(record), record["kind"], record["commit"]]
        cells.append(f"{record['float_accuracy']:.2f}")
        cells += [f"{record['accuracy'][str(bits)]:.2f}" for bits in BITS]
        cells.append(str(record["accumulator_bits_needed"]["8"]))
        print("| " + " | ".join(cells) + " |")


def plot(phase):
    """Draw accuracy against bits, the errors on a logarithmic scale, each line with its name."""
    from matplotlib.figure import Figure

    chosen = [record for record in records() if record["set"] == phase]
    if not chosen:
        raise SystemExit(f"no records of the {phase} set in {RECORDS}: run the benchmark first")
    # Okabe and Ito's colours; marks and dashes say the same without colour.
    looks = {
        "comparative": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
        "ordinary": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
        "mixed": {"color": "#009E73", "linestyle": ":", "marker": "^"},
    }
    fig = Figure((7, 4.4), dpi=144, facecolor="white", layout="constrained")
    ax = fig.subplots()
    places = [1, 2, 3, 4, 5, 6, 7, 8]  # float, then 8 to 2 bits
    ends = []
    for record in chosen:
        accuracy = [record["float_accuracy"], *(record["accuracy"][str(b)] for b in BITS)]
        error = [max(100 - value, 0.05) for value in accuracy]
        hollow = "white" if record["normalization"] == "shift" else None
        look = {**looks[record["kind"]], "linewidth": 1.8, "markersize": 5.5}
        ax.plot(places, error, markerfacecolor=hollow, **look)
        ends.append([error[-1], title(record), look["color"]])
    lowest = None
    for error, text, color in sorted(ends):  # names at the right ends, none over another
        place = error if lowest is None else max(error, lowest * 1.22)
        ax.annotate(
            text, (8.12, place), va="center", color=color, annotation_clip=False, fontsize=10
        )
        lowest = place
    ax.set_yscale("log")
    ax.set_ylim(max(1.15 * lowest, ax.get_ylim()[1]), ax.get_ylim()[0])  # small errors on top
    shown = [value for value in (20, 50, 80, 90, 95, 98, 99, 99.5) if 100 - value > 0.3]
    ax.set_yticks([100 - value for value in shown], [f"{value:g} %" for value in shown])
    ax.minorticks_off()
    ax.set_xticks(places, ["float", *map(str, BITS)])
    ax.set_xlim(0.8, 10.3)
    ax.set_xlabel("bits of inputs and weights", fontsize=10, x=0.4)
    ax.set_ylabel(f"accuracy, {phase} digits", fontsize=10)
    ax.tick_params(labelsize=10)
    ax.grid(axis="y", color="#e4e4e4")
    ax.spines[["top", "right"]].set_visible(False)
    PICTURE.parent.mkdir(exist_ok=True)
    fig.savefig(PICTURE, metadata={"Software": None})
    print(PICTURE.relative_to(HERE.parent))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["validation", "test", "table", "plot"])
    parser.add_argument("nets", nargs="*", metavar="NAME=FILE")
    parser.add_argument("--normalization", choices=["multiply", "shift"], default="multiply")
    parser.add_argument("--set", choices=["validation", "test"], default="test", help="of plot")
    options = parser.parse_intermixed_args()
    if options.what == "table":
        table()
        return
    if options.what == "plot":
        plot(options.set)
        return
    if not options.nets or not all("=" in net for net in options.nets):
        parser.error("expected trained networks as NAME=FILE, such as lenet5=lenet5.keras")
    RECORDS.mkdir(parents=True, exist_ok=True)
    for name, path in (net.split("=", 1) for net in options.nets):
        record = run(name, path, options.what, options.normalization)
        mode = "-shift" if record["normalization"] == "shift" else ""
        path = RECORDS / f"{options.what}-{name}{mode}-{record['commit']}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
    table()


if __name__ == "__main__":
    main()
