"""How fast: training and inference beside Keras on JAX and PyTorch, in one run, in turn.

    python benchmarks/speed.py run            all cases; writes results/speed/
    python benchmarks/speed.py run --quick    one round, to see that it works
    python benchmarks/speed.py table          print the tables of the newest result

`make bench` sets up an environment with PyTorch and runs it. Let nothing else run meanwhile.

Each candidate lives in a process of its own, with the same number of threads, and waits while the
others work: a turn takes about a second, and the turns of one round follow each other, so what the
machine does to one candidate it does to the next. What is compared is the ratio within a round.
Before anything is timed, all candidates compute the loss of the same batch from the same weights.

PyTorch is taken in its fastest eager form, the better of its two memory formats in each case, with
the fused Adam and inference_mode: as it comes, and once more where the environment tells malloc to
keep freed memory, which cnnlib does for itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records

from cnnlib.shards import usable_cores

NETS = ("net A", "LeNet-5", "net C")
BATCHES = (32, 128, 256)
MODES = ("training", "inference")
TORCH = ("torch", "torch, channels_last")
KEPT = tuple(f"{name}, memory kept" for name in TORCH)
CANDIDATES = ("cnnlib", *TORCH, *KEPT, "keras")
ROUNDS = 5
SECONDS = 1.0  # a turn
MOST_IMAGES = 32_768
LOOPS = 154  # images a second of a NumPy CNN with loops over pixels on net A: shared/peers.md


# --- The nets -------------------------------------------------------------------------------------


def layers_of(net, keras):
    """The layers of a net, for a library with Keras's names."""
    layers = keras.layers
    conv, pool = layers.Conv2D, layers.MaxPooling2D
    first = {
        "net A": [conv(32, 5, activation="relu"), pool(2)],
        "LeNet-5": [
            conv(6, 5, padding="same", activation="relu"),
            pool(2),
            conv(16, 5, activation="relu"),
            pool(2),
        ],
        "net C": [
            conv(32, 3, padding="same", activation="relu"),
            conv(64, 3, padding="same", activation="relu"),
            pool(2),
        ],
    }[net]
    units = {"net A": [128], "LeNet-5": [120, 84], "net C": [128]}[net]
    dense = [layers.Dense(count, activation="relu") for count in units]
    return [*first, layers.Flatten(), *dense, layers.Dense(10, activation="softmax")]


def digits():
    """Real digits, repeated to MOST_IMAGES: images (n, 28, 28, 1) float32 and labels (n,)."""
    from cnnlib import datasets

    (x, y), _ = datasets.digits.load_data()
    places = np.arange(MOST_IMAGES) % len(x)
    return x[places, ..., np.newaxis].astype("float32") / 255, y[places].astype("int64")


class OfKerasNames:
    """cnnlib, or Keras on JAX: the same code."""

    def __init__(self, name):
        if name == "keras":
            os.environ["KERAS_BACKEND"] = "jax"
            import keras
        else:
            import cnnlib as keras
        self.keras = keras

    def build(self, net, weights=None):
        self.keras.utils.set_random_seed(1)
        self.model = self.keras.Sequential(
            [self.keras.Input((28, 28, 1)), *layers_of(net, self.keras)]
        )
        self.model.compile("adam", loss="sparse_categorical_crossentropy")
        if weights is not None:
            self.model.set_weights(weights)
        return self.model.get_weights()

    def loss(self, x, y):
        return float(self.model.evaluate(x, y, batch_size=len(x), verbose=0))

    def training(self, x, y, batch):
        self.model.fit(x, y, batch_size=batch, verbose=0)

    def inference(self, x, batch):
        self.model.predict(x, batch_size=batch, verbose=0)


class OfTorch:
    """PyTorch, eager, in one of its two memory formats."""

    def __init__(self, name):
        import torch

        torch.set_num_threads(usable_cores())
        self.torch, self.last = torch, "channels_last" in name

    def build(self, net, weights):
        torch, nn = self.torch, self.torch.nn
        torch.manual_seed(1)
        kernels = [np.asarray(w) for w in weights]
        parts, channels, size = [], 1, 28
        for layer in layers_of(net, self.keras_names()):
            kind = type(layer).__name__
            if kind == "Conv2D":
                padding = layer.kernel_size[0] // 2 if layer.padding == "same" else 0
                parts += [nn.Conv2d(channels, layer.filters, layer.kernel_size, padding=padding)]
                size += 2 * padding - layer.kernel_size[0] + 1
                channels = layer.filters
                parts += [nn.ReLU()]
            elif kind == "MaxPooling2D":
                parts += [nn.MaxPool2d(2)]
                size //= 2
            elif kind == "Flatten":
                parts += [nn.Flatten()]
                flat = (size, size, channels)
            else:
                fan_in, units = kernels[len([p for p in parts if hasattr(p, "weight")]) * 2].shape
                parts += [nn.Linear(fan_in, units), nn.ReLU()]
        self.model = nn.Sequential(*parts[:-1])  # no relu behind the last layer
        with torch.no_grad():
            first_dense = True
            for part in (p for p in self.model if hasattr(p, "weight")):
                kernel, bias = kernels.pop(0), kernels.pop(0)
                if kernel.ndim == 4:
                    kernel = kernel.transpose(3, 2, 0, 1)
                elif (
                    first_dense
                ):  # Keras flattens (height, width, channels), PyTorch channels first
                    units = kernel.shape[1]
                    kernel = kernel.reshape(*flat, units).transpose(3, 2, 0, 1).reshape(units, -1)
                    first_dense = False
                else:
                    kernel = kernel.T
                part.weight.copy_(torch.from_numpy(kernel.copy()))
                part.bias.copy_(torch.from_numpy(bias))
        if self.last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), eps=1e-7, fused=True)
        self.criterion = nn.CrossEntropyLoss()
        return None

    def keras_names(self):
        import cnnlib

        return cnnlib

    def images(self, x):
        tensor = self.torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return tensor.to(memory_format=self.torch.channels_last) if self.last else tensor

    def loss(self, x, y):
        with self.torch.inference_mode():
            return float(self.criterion(self.model(self.images(x)), self.torch.from_numpy(y)))

    def training(self, x, y, batch):
        x, y = self.images(x), self.torch.from_numpy(y)
        order = self.torch.randperm(len(x))
        for at in range(0, len(x), batch):
            places = order[at : at + batch]
            self.optimizer.zero_grad(set_to_none=True)
            self.criterion(self.model(x[places]), y[places]).backward()
            self.optimizer.step()

    def inference(self, x, batch):
        x = self.images(x)
        with self.torch.inference_mode():
            for at in range(0, len(x), batch):
                self.torch.softmax(self.model(x[at : at + batch]), dim=1)


class OfPlain:
    """cnnlib's plain twins: every operation as loops over single numbers."""

    def __init__(self, name):
        import cnnlib
        from cnnlib import plain

        self.keras, self.plain = cnnlib, plain

    def build(self, net, weights):
        self.layers, self.weights = layers_of(net, self.keras), [np.array(w) for w in weights]
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in self.weights]
        self.steps = 0

    def forward(self, x):
        """Return logits, and what the way back needs: (kind, input, place of the kernel) a step."""
        plain, seen, at = self.plain, [], 0
        for layer in self.layers:
            kind = type(layer).__name__
            seen.append((kind, x, at, getattr(layer, "padding", None)))
            if kind == "MaxPooling2D":
                x = plain.max_pooling2d_forward(x)
            elif kind == "Flatten":
                x = x.reshape(len(x), -1)
            else:
                kernel, bias = self.weights[at : at + 2]
                if kind == "Conv2D":
                    x = plain.conv2d_forward(x, kernel, bias, padding=layer.padding)
                else:
                    x = plain.dense_forward(x, kernel, bias)
                at += 2
                if layer is not self.layers[-1]:
                    seen.append(("relu", x, at, None))
                    x = plain.relu_forward(x)
        return x, seen

    def loss(self, x, y):
        return float(self.plain.softmax_cross_entropy_forward(self.forward(x)[0], y))

    def inference(self, x, batch):
        self.plain.softmax(self.forward(x)[0])

    def training(self, x, y, batch):
        plain, grads = self.plain, [None] * len(self.weights)
        logits, seen = self.forward(x)
        dy = plain.softmax_cross_entropy_backward(logits, y)
        for kind, x, at, padding in reversed(seen):
            if kind == "relu":
                dy = plain.relu_backward(dy, x)
            elif kind == "MaxPooling2D":
                dy = plain.max_pooling2d_backward(dy, x)
            elif kind == "Flatten":
                dy = dy.reshape(x.shape)
            elif kind == "Conv2D":
                dy, *grads[at : at + 2] = plain.conv2d_backward(
                    dy, x, self.weights[at], padding=padding
                )
            else:
                dy, *grads[at : at + 2] = plain.dense_backward(dy, x, self.weights[at])
        self.steps += 1
        for w, g, (m, v) in zip(self.weights, grads, self.moments, strict=True):  # Adam
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            rate = 1e-3 * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
            w -= rate * m / (np.sqrt(v) + 1e-7)


# --- One candidate's process: commands come in, a line of JSON each -------------------------------


def work(name):
    kinds = {"torch": OfTorch, "plain": OfPlain}
    candidate = kinds.get(name.split(",")[0], OfKerasNames)(name)
    x, y = digits()
    for line in sys.stdin:
        ask = json.loads(line)
        print(json.dumps(answer(candidate, ask, x, y)), flush=True)


def answer(candidate, ask, x, y):
    if ask["do"] == "build":
        path = ask["weights"]
        given = None
        if Path(path).exists():
            with np.load(path) as archive:
                given = [archive[str(k)] for k in range(len(archive.files))]
        weights = candidate.build(ask["net"], given)
        if given is None:
            np.savez(path, **{str(k): w for k, w in enumerate(weights)})
        count = ask["examples"]
        return candidate.loss(x[:count], y[:count])
    images, batch = ask["images"], ask["batch"]
    if ask["do"] == "training":
        run = lambda: candidate.training(x[:images], y[:images], batch)  # noqa: E731
    else:
        run = lambda: candidate.inference(x[:images], batch)  # noqa: E731
    began = time.perf_counter()
    run()
    return images / (time.perf_counter() - began)


class Process:
    """A candidate in a process of its own; it waits on its input while others work."""

    def __init__(self, name, threads):
        environment = records.natural()
        environment |= {"OMP_NUM_THREADS": str(threads)}
        environment |= records.KEPT_MEMORY if name in KEPT else {}
        command = [sys.executable, __file__, "work", "--candidate", name]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended: run it by hand to see why")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- The run --------------------------------------------------------------------------------------


def run(rounds, nets, batches, modes):
    """Time all cases; return the result as it is stored."""
    processes = {name: Process(name, usable_cores()) for name in CANDIDATES}
    plain = Process("plain", 1)
    cases, loops = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for net in nets:
            weights = str(Path(folder) / f"{net}.npz")
            build(processes, net, weights, 256)
            both = {"cnnlib": processes["cnnlib"], "plain": plain}
            build(both, net, weights, 1)
            loops[net] = {mode: plain.ask(do=mode, images=1, batch=1) for mode in modes}
            for mode in modes:
                for batch in batches:
                    cases.append(measure(processes, net, mode, batch, rounds))
                    print(line_of(cases[-1]), flush=True)
    for process in (*processes.values(), plain):
        process.close()
    return {
        "cases": cases,
        "plain": loops,
        "rounds": rounds,
        "threads": usable_cores(),
        **records.stamp(),
        "versions": versions(),
        "command": "make bench",
    }


def build(processes, net, weights, examples):
    """The same net with the same weights in all; they must compute the same loss."""
    losses = {
        name: process.ask(do="build", net=net, weights=weights, examples=examples)
        for name, process in processes.items()
    }
    if max(losses.values()) - min(losses.values()) > 1e-4 * max(losses.values()):
        raise RuntimeError(f"{net}: the candidates do not compute the same: {losses}")
    print(f"{net}: loss {losses['cnnlib']:.5f} in {', '.join(losses)}", flush=True)


def measure(processes, net, mode, batch, rounds):
    """Images a second of every candidate in every round."""
    images = {}
    for name, process in processes.items():  # compiles, fills caches, finds how many fit a turn
        process.ask(do=mode, images=4 * batch, batch=batch)
        rate = process.ask(do=mode, images=8 * batch, batch=batch)
        whole = round(min(rate * SECONDS, MOST_IMAGES) / batch) * batch
        images[name] = max(whole, 8 * batch)
    rates = {name: [] for name in processes}
    for _ in range(rounds):
        for name, process in processes.items():
            rates[name].append(process.ask(do=mode, images=images[name], batch=batch))
    return {"net": net, "mode": mode, "batch": batch, "rates": rates}


def versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "keras", "jax", "torch")}


# --- What it says ---------------------------------------------------------------------------------


def best(case, forms):
    """The rates of the form that is faster in this case."""
    return max((case["rates"][name] for name in forms), key=statistics.median)


def ratios(case):
    """cnnlib over PyTorch and over Keras, round by round: the medians."""
    ours = case["rates"]["cnnlib"]
    others = {
        "torch": best(case, TORCH),
        "kept": best(case, KEPT),
        "keras": case["rates"]["keras"],
    }
    return {
        name: statistics.median(a / b for a, b in zip(ours, rates, strict=True))
        for name, rates in others.items()
    }


def line_of(case):
    """A row of the table: medians, spread of ours, ratios."""
    ours, found = case["rates"]["cnnlib"], ratios(case)
    middle = [statistics.median(r) for r in (ours, best(case, TORCH), case["rates"]["keras"])]
    return (
        f"| {case['net']}, {case['mode']}, {case['batch']} | "
        f"{middle[0]:,.0f} ({min(ours):,.0f} to {max(ours):,.0f}) | {middle[1]:,.0f} | "
        f"{middle[2]:,.0f} | {found['torch']:.2f} | {found['kept']:.2f} | {found['keras']:.2f} |"
    )


def table(result):
    """The rows and the geometric means."""
    print(
        "| net, what, batch | cnnlib, images/s (spread) | PyTorch | Keras | of PyTorch | "
        "the same, memory kept | of Keras |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for mode in MODES:
        cases = [case for case in result["cases"] if case["mode"] == mode]
        for case in cases:
            print(line_of(case))
        if cases:
            means = {
                name: statistics.geometric_mean(ratios(case)[name] for case in cases)
                for name in ("torch", "kept", "keras")
            }
            print(
                f"| {mode}, geometric mean of {len(cases)} | | | | {means['torch']:.2f} | "
                f"{means['kept']:.2f} | {means['keras']:.2f} |"
            )

    for net, rates in result["plain"].items():
        found = ", ".join(f"{mode} {rate:.2g}" for mode, rate in rates.items())
        print(f"plain, {net}, images/s on one thread: {found}")
    net_a = [case for case in result["cases"] if (case["net"], case["mode"]) == ("net A", MODES[0])]
    if net_a:
        most = max(statistics.median(case["rates"]["cnnlib"]) for case in net_a)
        print(
            f"net A, training: {most / LOOPS:.0f} times a NumPy CNN with loops ({LOOPS} images/s)"
        )
    print(f"{result['machine']}, {result['date']}, commit {result['commit']}, {result['versions']}")


def plot(result, path):
    """Ratios to PyTorch and to Keras, case by case, as dots on a logarithmic axis."""
    from matplotlib.figure import Figure

    cases = result["cases"]
    figure = Figure((8, 0.32 * len(cases) + 1.2), layout="constrained")
    ax = figure.subplots()
    for name, marker, color in (
        ("torch", "o", "#0072B2"),
        ("kept", "x", "#56B4E9"),
        ("keras", "s", "#D55E00"),
    ):
        values = [ratios(case)[name] for case in cases]
        label = {
            "torch": "PyTorch, fastest eager form",
            "kept": "PyTorch, memory kept",
            "keras": "Keras on JAX",
        }[name]
        ax.plot(values, range(len(cases)), marker, color=color, label=f"times {label}")
    ax.axvline(1, color="#6b6b6b", linewidth=1)
    ax.set_xscale("log")
    ticks = [0.5, 1, 2, 4, 8]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    labels = [f"{case['net']}, {case['mode']}, {case['batch']}" for case in cases]
    ax.set_yticks(range(len(cases)), labels)
    ax.invert_yaxis()
    ax.set_xlabel("images a second of cnnlib, over those of the other in the same round")
    ax.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table", "work"])
    parser.add_argument("--candidate", choices=[*CANDIDATES, "plain"])
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--net", choices=NETS, action="append")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--batch", type=int, choices=BATCHES, action="append")
    options = parser.parse_args()
    if options.what == "work":
        work(options.candidate)
    elif options.what == "table":
        table(records.newest("speed"))
    else:
        rounds = 1 if options.quick else options.rounds
        result = run(rounds, options.net or NETS, options.batch or BATCHES, options.mode or MODES)
        table(result)
        if not (options.quick or options.net or options.batch or options.mode):
            records.store("speed", result, plot)


if __name__ == "__main__":
    main()
