"""How far each layer is from what the machine can do: its time, against arithmetic and bytes.

    python benchmarks/limits.py run      # a minute; writes results/limits/
    python benchmarks/limits.py table

For each layer of the three nets, one shard of 32 images on one thread, forward and backward. The
limit is the larger of two times: multiplications and additions at the rate of a large product, and
the bytes that have to be read and written at least once at the rate of a large copy. A shard fits
the cache, which is faster than the memory that the copy measures: a layer may beat its byte limit.
Let nothing else run meanwhile.
"""

import argparse
import statistics
import time

import numpy as np
import records
from speed import NETS, layers_of
from threadpoolctl import threadpool_limits

import cnnlib
from cnnlib.shards import SHARD, keep_freed_memory

ROUNDS = 41


def seconds(work, rounds=ROUNDS):
    """The median of several runs, after three that do not count."""
    times = []
    for _ in range(rounds + 3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times[3:])


def rates():
    """Operations a second of a large float32 product, bytes a second of a large copy."""
    size = 2048
    a, b = (np.random.default_rng(k).random((size, size), dtype=np.float32) for k in range(2))
    product = 2 * size**3 / seconds(lambda: a @ b, 5)
    source, target = np.ones(50_000_000, np.float32), np.ones(50_000_000, np.float32)
    copied = 2 * source.nbytes / seconds(lambda: np.copyto(target, source), 5)
    return product, copied


def count(layer, x, y, backward, first):
    """Operations and bytes of one pass through a layer, at least."""
    kernel = layer.params.get("kernel") if layer.params else None
    products = 0 if kernel is None else 2 * y.size * int(np.prod(kernel.shape[:-1]))
    weights = sum(w.nbytes for w in layer.params.values())
    if not backward:
        return products, x.nbytes + y.nbytes + weights
    # dy and what forward kept are read; dx (not for the first layer) and dW are written.
    moved = y.nbytes + x.nbytes + weights
    if not first:
        products, moved = 2 * products, moved + x.nbytes + weights
    return products, moved


def of_net(net, speed_of_products, speed_of_copies):
    """A row a layer and direction: milliseconds measured, and both limits."""
    cnnlib.utils.set_random_seed(1)
    model = cnnlib.Sequential([cnnlib.Input((28, 28, 1)), *layers_of(net, cnnlib)])
    model.build((None, 28, 28, 1))
    x = np.random.default_rng(0).random((SHARD, 28, 28, 1), dtype=np.float32)
    rows, passed = [], []
    for layer in model.layers:
        y, cache = layer.forward(x, True)
        passed.append((layer, x, y, cache))
        took = seconds(lambda: layer.forward(x, True))  # noqa: B023
        rows.append((layer.name, "forward", took, *count(layer, x, y, False, False)))
        x = y
    dy = np.random.default_rng(1).standard_normal(x.shape, dtype=np.float32)
    for layer, x, y, cache in reversed(passed):
        first = layer is passed[0][0]
        if first:
            took = seconds(lambda: layer.parameter_gradients(dy, cache))  # noqa: B023
        else:
            took = seconds(lambda: layer.backward(dy, cache))  # noqa: B023
        rows.append((layer.name, "backward", took, *count(layer, x, y, True, first)))
        dy = None if first else layer.backward(dy, cache)[0]
    return [
        {
            "layer": name,
            "pass": way,
            "ms": 1e3 * took,
            "arithmetic_ms": 1e3 * products / speed_of_products,
            "bytes_ms": 1e3 * moved / speed_of_copies,
        }
        for name, way, took, products, moved in rows
    ]


def run():
    """All nets, on one thread."""
    keep_freed_memory()
    with threadpool_limits(1, "blas"):
        product, copied = rates()
        nets = {net: of_net(net, product, copied) for net in NETS}
    return {
        "GFLOP/s": product / 1e9,
        "GB/s": copied / 1e9,
        "nets": nets,
        "images": SHARD,
        **records.stamp(),
    }


def table(result):
    """A line a layer: what it takes, what it must take, and how many times that is."""
    print(
        f"one thread, {result['images']} images: {result['GFLOP/s']:.0f} GFLOP/s, "
        f"{result['GB/s']:.1f} GB/s; {result['machine']}, {result['date']}, {result['commit']}\n"
    )
    print("| net, layer, pass | ms | arithmetic, ms | bytes, ms | times the limit |")
    print("| --- | --- | --- | --- | --- |")
    for net, rows in result["nets"].items():
        for row in rows:
            limit = max(row["arithmetic_ms"], row["bytes_ms"])
            print(
                f"| {net}, {row['layer']}, {row['pass']} | {row['ms']:.2f} | "
                f"{row['arithmetic_ms']:.2f} | {row['bytes_ms']:.2f} | {row['ms'] / limit:.1f} |"
            )
        total = sum(row["ms"] for row in rows)
        limit = sum(max(row["arithmetic_ms"], row["bytes_ms"]) for row in rows)
        print(f"| **{net}, all** | {total:.2f} | | | {total / limit:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table"])
    if parser.parse_args().what == "run":
        records.start_naturally()
        result = run()
        records.store("limits", result)
    else:
        result = records.newest("limits")
    table(result)


if __name__ == "__main__":
    main()
