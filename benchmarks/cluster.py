"""What a step costs on a cluster: constants measured, a model of them, and the model held to a run.

    python benchmarks/cluster.py run     # half a minute of measuring; writes results/cluster/
    python benchmarks/cluster.py table   # print the newest result

Needs the extra `cluster`. Two worker processes of dask.distributed on this machine stand for two
machines: their network is the loopback, so a real one has a lower rate, which belongs into the
model in place of ours. docs/clusters.md explains the formula. Let nothing else run meanwhile.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import records
from distributed import Client, LocalCluster

import cnnlib
from cnnlib import layers
from cnnlib.shards import SHARD, Runner, batch_step

BATCH = 256
SHARDS = BATCH // SHARD
WORKERS = (1, 2)
ROUNDS = 7


def dense_net():
    """Net A: few operations a weight."""
    return (28, 28, 1), [
        layers.Conv2D(32, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


def convolutional_net():
    """Three convolutions and no wide dense layer: many operations a weight."""
    same = {"padding": "same", "activation": "relu"}
    return (32, 32, 3), [
        layers.Conv2D(64, 3, **same),
        layers.Conv2D(64, 3, **same),
        layers.Conv2D(64, 3, **same),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10, activation="softmax"),
    ]


NETS = {"net A": dense_net, "three convolutions": convolutional_net}


def make(net):
    """A compiled model, one batch of noise for it, and labels."""
    cnnlib.utils.set_random_seed(1)
    shape, stack = NETS[net]()
    model = cnnlib.Sequential([cnnlib.Input(shape), *stack])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(1)
    return model, rng.random((BATCH, *shape), dtype=np.float32), rng.integers(0, 10, BATCH)


def seconds(work, rounds=ROUNDS):
    """The median time of several runs, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


# --- Constants ------------------------------------------------------------------------------------


def step_of(model, x, y, runner):
    return batch_step(model, x, y, None, model.optimizer.iterations, runner)


def at_home(model, x, y):
    """Seconds of a shard on one thread; and of what the client does besides, once a step."""
    with Runner(model, None, x) as runner:
        runner.executor.shutdown()
        runner.executor, runner.own = None, False  # one shard after the other
        shard = seconds(lambda: step_of(model, x[:SHARD], y[:SHARD], runner))
    gradients = model.shard_step(x[:SHARD], y[:SHARD]).grads

    def rest():
        total = {key: value.copy() for key, value in gradients.items()}
        for _ in range(SHARDS - 1):
            for key, value in gradients.items():
                total[key] += value
        model.optimizer.update(model.params, {k: v / BATCH for k, v in total.items()})

    return shard, seconds(rest)


def hand_back(arrays, task):
    return arrays


def of_the_cluster(executor):
    """Seconds that a task costs by itself, and bytes of weights a second, there and back."""
    small, large = np.zeros(1, "float32"), np.zeros(600_000, "float32")

    def send(array):
        return lambda: list(executor.map(partial(hand_back, array), range(SHARDS)))

    nothing, much = (seconds(send(array)) / SHARDS for array in (small, large))
    return nothing, large.nbytes / (much - nothing)


def model_of(constants, workers):
    """The formula of docs/clusters.md: seconds a step."""
    c = constants
    travel = c["task"] + c["weights"] / c["rate"]
    return c["home"] + SHARDS * travel + -(-SHARDS // workers) * c["shard"]


# --- The run --------------------------------------------------------------------------------------


def run():
    """Constants, predictions and measured steps of every net with one and two workers."""
    options = {"threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    found = {}
    for net in NETS:
        model, x, y = make(net)
        shard, home = at_home(model, x, y)
        weights = sum(array.nbytes for array in model.get_weights())
        found[net] = {"shard": shard, "home": home, "weights": weights, "steps": {}}
    for workers in WORKERS:
        with LocalCluster(n_workers=workers, **options) as cluster, Client(cluster) as client:
            executor = client.get_executor()
            for net, constants in found.items():
                model, x, y = make(net)
                constants["task"], constants["rate"] = of_the_cluster(executor)
                with Runner(model, executor, x) as runner:
                    measured = seconds(lambda: step_of(model, x, y, runner), 5)  # noqa: B023
                predicted = model_of(constants, workers)
                constants["steps"][str(workers)] = [predicted, measured + constants["home"]]
    return {
        "nets": found,
        "batch": BATCH,
        **records.stamp(),
    }


def table(result):
    """Constants and steps, for docs/clusters.md."""
    print("| net | weights | a shard | client's own | a task | there and back | workers: step |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for net, c in result["nets"].items():
        steps = "; ".join(
            f"{workers}: {1e3 * predicted:.0f} ms predicted, {1e3 * measured:.0f} measured"
            for workers, (predicted, measured) in c["steps"].items()
        )
        print(
            f"| {net} | {c['weights'] / 1e6:.2f} MB | {1e3 * c['shard']:.1f} ms | "
            f"{1e3 * c['home']:.1f} ms | {1e3 * c['task']:.1f} ms | {c['rate'] / 1e6:.0f} MB/s | "
            f"{steps} |"
        )
    print(f"{result['machine']}, {result['date']}, commit {result['commit']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table"])
    if parser.parse_args().what == "run":
        records.start_naturally()
        result = run()
        records.store("cluster", result)
    else:
        result = records.newest("cluster")
    table(result)


if __name__ == "__main__":
    main()
