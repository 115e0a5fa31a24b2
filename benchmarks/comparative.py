"""The comparative layers: how fast they are, what bounds them, and how their signal starts.

    python benchmarks/comparative.py speed     # net A beside Conv2D and Dense, in turn
    python benchmarks/comparative.py synapse   # synapses a second and instructions a synapse
    python benchmarks/comparative.py start     # variance and reach of gradients, layer by layer
    python benchmarks/comparative.py energy    # operations and energy of one image
    python benchmarks/comparative.py table

Each writes one JSON file into benchmarks/results/comparative/, with machine and date; `table`
prints them. Let nothing else run meanwhile.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "results" / "comparative"
ROUNDS = 5
IMAGES = 8192  # a run; as many again come before it, so that nothing is counted that runs once


# --- Images a second: net A ---------------------------------------------------------------------


def train(candidate):
    """Images a second of one training in this process: net A, batch 256, Adam."""
    if candidate == "comparative, NumPy":
        sys.modules["numba"] = None  # as if it were not installed
        warnings.simplefilter("ignore")
    import cnnlib as keras

    layers = keras.layers
    convolution, dense = layers.Conv2D, layers.Dense
    if candidate != "products":
        convolution, dense = layers.ComparativeConv2D, layers.ComparativeDense
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            convolution(32, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", loss="sparse_categorical_crossentropy")
    (x, y), _ = keras.datasets.digits.load_data()
    images = IMAGES if candidate != "comparative, NumPy" else IMAGES // 8
    places = np.arange(images) % len(x)
    x, y = x[places, ..., np.newaxis].astype("float32") / 255, y[places]
    model.fit(x, y, batch_size=256, verbose=0)
    began = time.perf_counter()
    model.fit(x, y, batch_size=256, verbose=0)
    return images / (time.perf_counter() - began)


def speed():
    """The three candidates in turn, each in a process of its own, for some rounds."""
    candidates = ["products", "comparative, numba", "comparative, NumPy"]
    rates = {name: [] for name in candidates}
    for _, name in itertools.product(range(ROUNDS), candidates):
        command = [sys.executable, __file__, "one", "--candidate", name]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        rates[name].append(float(output))
        print(f"{name}: {rates[name][-1]:.0f}", flush=True)
    return {
        name: {
            "images_per_second": [round(rate) for rate in values],
            "ratio_to_products": [
                round(rate / product, 3)
                for rate, product in zip(values, rates["products"], strict=True)
            ],
        }
        for name, values in rates.items()
    }


# --- Synapses a second: what bounds them --------------------------------------------------------

SHAPES = {  # of one shard of 32 images in net A: out_height, step, depth, filters, places
    "convolution": (24, 5, 25, 32, 24 * 32),
    "dense": (1, 4608, 4608, 128, 32),
}


def synapse():
    """Each routine on one thread, in turn with the product of the same size; its instructions."""
    # Code that comes out of numba's cache cannot be looked at.
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()
    from threadpoolctl import threadpool_limits

    from cnnlib import comparative_kernels, compiled

    rng = np.random.default_rng(0)
    result = {}
    with threadpool_limits(1):
        for name, (rows, step, depth, filters, places) in SHAPES.items():
            flat = rng.normal(size=((rows - 1) * step + depth, places)).astype("float32")
            weights = rng.normal(size=(depth, filters)).astype("float32")
            dz = rng.normal(size=(rows, filters, places)).astype("float32")
            z, dweights, dflat = (np.zeros_like(a) for a in (dz, weights, flat))
            windows = [flat[i * step : i * step + depth] for i in range(rows)]

            def product(windows=windows, weights=weights, z=z):
                for window, out in zip(windows, z, strict=True):
                    np.matmul(weights.T, window, out=out)

            first = (flat, step, weights)
            calls = {
                "product (BLAS)": product,
                "forward, numba": lambda a=(*first, z): compiled.add_synapses(*a),
                "dx and dw, numba": lambda a=(*first, dz, dweights, dflat): compiled.add_gradients(
                    *a
                ),
                "dw alone, numba": lambda a=(*first, dz, dweights): compiled.add_kernel_gradient(
                    *a
                ),
                "forward, NumPy": lambda a=(*first, z): comparative_kernels.add_synapses(*a),
                "dx and dw, NumPy": lambda a=(*first, dz, dweights, dflat): (
                    comparative_kernels.add_gradients(*a)
                ),
            }
            rates = {call: [] for call in calls}
            for _ in range(15):
                for call, run in calls.items():
                    began = time.perf_counter()
                    run()
                    rates[call].append(
                        rows * depth * filters * places / (time.perf_counter() - began) / 1e9
                    )
            result[name] = {
                call: round(statistics.median(values[1:]), 2) for call, values in rates.items()
            }
    result["instructions"] = {
        function.__name__: instructions(function)
        for function in (
            compiled.add_synapses,
            compiled.add_gradients,
            compiled.add_kernel_gradient,
        )
    }
    return result


def instructions(function):
    """Vector instructions of the innermost loop, per vector of synapses.

    The loop is the part of the assembler code between two labels that takes most minima (forward)
    or comparisons (gradients); four weights are worked on in one pass.
    """
    mark = r"\tvminps\t.*[yz]mm" if function.__name__ == "add_synapses" else r"\tvcmpeqps\t.*[yz]mm"
    (code,) = function.inspect_asm().values()
    parts = re.split(r"^\S+:\s*$", code, flags=re.MULTILINE)
    loop = max(parts, key=lambda part: len(re.findall(mark, part)))
    vectors = len(re.findall(mark, loop))  # one minimum, or one test for a tie, a synapse
    found = re.findall(r"^\t(v\w+)\t.*([yz])mm", loop, flags=re.MULTILINE)
    counts = Counter(name for name, _ in found)
    return {
        "numbers_per_vector": {"y": 8, "z": 16}[found[0][1]] if found else None,
        "per_synapse": round(sum(counts.values()) / max(vectors, 1), 2),
        "kinds": {name: round(count / max(vectors, 1), 2) for name, count in counts.most_common()},
    }


# --- The start: variance and reach ----------------------------------------------------------------


def start():
    """LeNet-5 on digits, dense layers on normal numbers, untrained: three initializers."""
    import cnnlib as keras

    (x, _), _ = keras.datasets.digits.load_data()
    digits = x[:256, ..., np.newaxis].astype("float32") / 255
    normal = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")
    result = {}
    for name in ("comparative_normal", "he_normal", "glorot_uniform"):
        keras.utils.set_random_seed(1)
        options = {"activation": "relu", "kernel_initializer": name}
        layers = keras.layers
        lenet = [
            layers.ComparativeConv2D(6, 5, padding="same", **options),
            layers.MaxPooling2D(2),
            layers.ComparativeConv2D(16, 5, **options),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.ComparativeDense(120, **options),
            layers.ComparativeDense(84, **options),
            layers.ComparativeDense(10, kernel_initializer=name),
        ]
        result[f"LeNet-5, {name}"] = look(lenet, digits)
        deep = [layers.ComparativeDense(256, **options) for _ in range(8)]
        result[f"8 dense layers, {name}"] = look(deep, normal)
    return result


def look(layers, x):
    """Layer by layer: rms of x, std of the sum z, shares of synapses that reach w and x, rms of dx.

    The gradient that enters above is drawn at random, with rms 1.
    """
    rng = np.random.default_rng(0)
    rows, caches = [], []
    for layer in layers:
        layer.build((None, *x.shape[1:]))
        if "kernel" in layer.params:
            # Pairs of a value and a weight, both drawn at random.
            size = np.abs(rng.choice(x.ravel(), 200_000))
            other = np.abs(rng.choice(layer.params["kernel"].ravel(), 200_000))
            alive = size > 0
            rows.append(
                {
                    "layer": type(layer).__name__,
                    "rms_x": rms(x),
                    "std_z": round(float(layer.product(x)[0].std()), 3),
                    "reach_w": round(float((other < size).mean()), 3),
                    "reach_x": round(float((size < other).mean()), 3),
                    "reach_w_of_x_not_0": round(float((other < size)[alive].mean()), 3),
                }
            )
        x, cache = layer.forward(x)
        caches.append(cache)
    dx, backwards = rng.normal(size=x.shape).astype(x.dtype), iter(reversed(rows))
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dx = layer.backward(dx, cache)[0]
        if "kernel" in layer.params:
            next(backwards)["rms_dx"] = rms(dx)
    return rows


def rms(x):
    """The root of the mean square."""
    return round(float(np.sqrt(np.mean(np.square(x, dtype="float64")))), 3)


# --- Operations and energy ------------------------------------------------------------------------


def energy():
    """One image through the networks of `accuracy.py`, as they are and in 8-bit integers."""
    import accuracy

    import cnnlib as keras
    from cnnlib import hardware

    (x, _), _ = keras.datasets.digits.load_data()
    sample = accuracy.pixels(x[:64])
    result = {}
    for name in ("comparative", "products", "comparative_bn", "products_bn"):
        keras.utils.set_random_seed(1)
        model = accuracy.build(accuracy.RECIPES[name])
        integers = hardware.quantize(model, 8, sample).counts
        result[name] = {
            "multiplications": integers.total.multiplications,
            "additions": integers.total.additions,
            "comparisons": integers.total.comparisons,
            "int8, 32-bit sums": nanojoules(hardware.energy(integers)),
            "float32": nanojoules(hardware.energy(hardware.count_operations(model), "float")),
        }
    return result


def nanojoules(table):
    """Arithmetic and memory of a whole image, in nJ."""
    return [round(table.total.arithmetic / 1000), round(table.total.memory / 1000)]


# --- Records --------------------------------------------------------------------------------------


def write(name, result):
    """Keep the result with machine and date."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    record = {
        "result": result,
        "machine": f"{platform.machine()}, {processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": datetime.date.today().isoformat(),
    }
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def processor():
    """The processor's name and its widest vectors."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return f"{name[1] if name else '?'}, {'AVX-512' if 'avx512f' in text else 'no AVX-512'}"


def table():
    """Print what the records hold."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
    for name, record in records.items():
        result = record["result"]
        print(f"\n{name}: {record['machine']}, NumPy {record['numpy']}, {record['date']}\n")
        if name == "speed":
            print("| net A, batch 256 | images a second, median (spread) | of products |")
            print("| --- | --- | --- |")
            for candidate, found in result.items():
                rates = found["images_per_second"]
                print(
                    f"| {candidate} | {statistics.median(rates):.0f} ({min(rates)} to "
                    f"{max(rates)}) | {statistics.median(found['ratio_to_products']):.2f} |"
                )
        elif name == "synapse":
            print("| 10^9 synapses a second, one thread | " + " | ".join(SHAPES) + " |")
            print("| --- | --- | --- |")
            for call in result["dense"]:
                print(f"| {call} | " + " | ".join(str(result[s][call]) for s in SHAPES) + " |")
            print("\n| vector instructions a synapse | all | numbers a vector | kinds |")
            print("| --- | --- | --- | --- |")
            for function, found in result["instructions"].items():
                kinds = ", ".join(f"{kind} {share:g}" for kind, share in found["kinds"].items())
                print(
                    f"| {function} | {found['per_synapse']} | {found['numbers_per_vector']} | "
                    f"{kinds} |"
                )
        elif name == "energy":
            print("| one image | multiply | add | compare | int8: + memory, nJ | float: + memory |")
            print("| --- | --- | --- | --- | --- | --- |")
            for net, found in result.items():
                counts = (f"{found[key]:,}" for key in list(found)[:3])
                costs = (f"{a} + {m} = {a + m}" for a, m in list(found.values())[3:])
                print(f"| {net} | " + " | ".join([*counts, *costs]) + " |")
        else:
            names = ("std_z", "reach_w", "reach_x", "rms_dx")
            print("| net, start; layer by layer: | " + " | ".join(names) + " |")
            print("| --- | --- | --- | --- | --- |")
            for net, rows in result.items():
                columns = (" ".join(f"{row[name]:.2f}" for row in rows) for name in names)
                print(f"| {net} | " + " | ".join(columns) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "synapse", "start", "energy", "table", "one"])
    parser.add_argument("--candidate", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "one":
        print(train(options.candidate))
    elif options.what == "table":
        table()
    else:
        measure = {"speed": speed, "synapse": synapse, "start": start, "energy": energy}
        write(options.what, measure[options.what]())
        table()


if __name__ == "__main__":
    main()
