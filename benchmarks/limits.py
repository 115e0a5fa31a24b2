"""How far each layer is from what the machine can do: its time, against arithmetic and bytes.

    python benchmarks/limits.py run      # a minute; writes results/limits/
    python benchmarks/limits.py table

For each layer of the three nets, one shard of 64 images on one thread, forward and backward. The
limit is the larger of two times: multiplications and additions at the rate of a large product, and
the bytes that have to be read and written at least once at the rate of a large copy. A shard fits
the cache, which is faster than the memory that the copy measures: a layer may beat its byte limit.

Then, what two shards at a time cost each other: on two threads, which share Python's lock, and in
two processes, which share nothing but the machine. And what follows the shards: the gradients of
two are added, divided, and looked through for what is not finite; Adam changes the parameters. Let
nothing else run meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import records
from speed import NETS, layers_of
from threadpoolctl import threadpool_limits

import cnnlib
from cnnlib.shards import SHARD, Runner, _add, keep_freed_memory
from cnnlib.training import _refuse_non_finite, mean_gradients

ROUNDS = 41
SHARDS = {"net A": (16, 64), "LeNet-5": (32, 64), "net C": (16, 64)}  # images
SIDE_BY_SIDE = 2.0  # seconds


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


# --- Two at a time --------------------------------------------------------------------------------


def steps(net, images, threads, start):
    """Milliseconds of a shard's step while so many threads of this process do the same."""
    keep_freed_memory()
    cnnlib.utils.set_random_seed(1)
    model = cnnlib.Sequential([cnnlib.Input((28, 28, 1)), *layers_of(net, cnnlib)])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((images, 28, 28, 1), dtype=np.float32)
    y, found = np.arange(images) % 10, []

    def work():
        for _ in range(3):
            model.shard_step(x, y)
        time.sleep(max(0, start - time.time()))
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < SIDE_BY_SIDE:
            model.shard_step(x, y)
            count += 1
        found.append(1e3 * took / count)

    with threadpool_limits(1, "blas"):
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return statistics.mean(found)


def at_once(net, images, processes, threads):
    """The same in so many processes that begin together."""
    what = json.dumps([net, images, threads, time.time() + 4])
    command = [sys.executable, __file__, "steps", what]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return statistics.mean(json.loads(process.communicate()[0]) for process in running)


def side_by_side():
    """A row a net and size of shard: alone, beside another thread, beside another process."""
    return [
        [net, images, *(at_once(net, images, *way) for way in ((1, 1), (1, 2), (2, 1)))]
        for net, sizes in SHARDS.items()
        for images in sizes
    ]


# --- After the shards -----------------------------------------------------------------------------


def afterwards(net):
    """Milliseconds of what follows two shards: their sum, the mean, a look, Adam."""
    model = cnnlib.Sequential([cnnlib.Input((28, 28, 1)), *layers_of(net, cnnlib)])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((16, 28, 28, 1), dtype=np.float32)
    parts = [model.shard_step(x, np.arange(16) % 10)._replace(examples=1) for _ in range(2)]
    with Runner(model, None, x) as runner:
        passes = {
            "sum": lambda: _add(parts[0].grads, parts[1].grads),
            "mean": lambda: mean_gradients(model, parts[1]),
            "look": lambda: _refuse_non_finite(model, 1.0, parts[1].grads, 0, 0),
            "Adam, one thread": lambda: model.optimizer.update(model.params, parts[1].grads),
            "Adam, all cores": lambda: model.optimizer.update(
                model.params, parts[1].grads, runner.together
            ),
        }
        return {name: 1e3 * seconds(work) for name, work in passes.items()}


def run():
    """All nets, on one thread, and then two shards at a time."""
    keep_freed_memory()
    with threadpool_limits(1, "blas"):
        product, copied = rates()
        nets = {net: of_net(net, product, copied) for net in NETS}
    return {
        "GFLOP/s": product / 1e9,
        "GB/s": copied / 1e9,
        "nets": nets,
        "images": SHARD,
        "side_by_side": side_by_side(),
        "afterwards": {net: afterwards(net) for net in NETS},
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
    print("\n| a shard's step | alone, ms | beside another thread | beside another process |")
    print("| --- | --- | --- | --- |")
    for net, images, alone, thread, process in result["side_by_side"]:
        print(
            f"| {net}, {images} images | {alone:.2f} | {thread:.2f} ({thread / alone:.2f} times) | "
            f"{process:.2f} ({process / alone:.2f} times) |"
        )
    print("\n| after the shards, ms | sum | mean | look | Adam, one thread | Adam, all cores |")
    print("| --- | --- | --- | --- | --- | --- |")
    for net, passes in result["afterwards"].items():
        print(f"| {net} | " + " | ".join(f"{took:.2f}" for took in passes.values()) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table", "steps"])
    parser.add_argument("details", nargs="?", type=json.loads)
    options = parser.parse_args()
    if options.what == "steps":
        print(json.dumps(steps(*options.details)))
        return
    if options.what == "run":
        records.start_naturally()
        result = run()
        records.store("limits", result)
    else:
        result = records.newest("limits")
    table(result)


if __name__ == "__main__":
    main()
