"""How long from `fit` to 99.06 % of MNIST's test set, beside the same recipe in PyTorch.

    CNNLIB_DATA_DIR=../shared/data python benchmarks/time_to_accuracy.py validate
    CNNLIB_DATA_DIR=../shared/data python benchmarks/time_to_accuracy.py run
    python benchmarks/time_to_accuracy.py table

`validate` tries recipes on the last 5,000 training digits, with three seeds. RECIPE was chosen
there: the shortest of those that reach 99.15 % in the mean, a tenth of a percent over the target.
`run` trains on all 60,000, library by library and seed by seed in turn, each in a process of its
own, and looks at the test set once, at the end. The time is that of the training alone: data is
loaded, imports are done. Needs the environment of `make bench`. Let nothing else run meanwhile.

LeNet-5 with dropout before the last layer; Adam, the rate rises to its peak over a tenth of the
steps and falls along a cosine to zero. PyTorch starts from the same weights, with the same
schedule, in the faster of its memory formats for this net and batch (benchmarks/speed.py), and
fused Adam; as it comes, and where malloc is told to keep freed memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
import records
from speed import OfTorch, layers_of

TARGET = 99.06
SEEDS = (1, 2, 3)
DROPOUT = 0.3
TRIED = [(batch, peak, n) for batch, peak in ((128, 3e-3), (256, 4e-3)) for n in (5, 6, 8)]
RECIPE = (256, 4e-3, 6)  # batch size, peak of the rate, epochs
LIBRARIES = ("cnnlib", "torch", "torch, memory kept")


def schedule(steps, peak):
    """One cycle."""
    import cnnlib

    warm_up = steps // 10
    return cnnlib.optimizers.schedules.CosineDecay(
        peak / 25, steps - warm_up, warmup_target=peak, warmup_steps=warm_up
    )


def model_of(seed):
    """LeNet-5 with dropout, in cnnlib."""
    import cnnlib

    cnnlib.utils.set_random_seed(seed)
    *stack, last = layers_of("LeNet-5", cnnlib)
    return cnnlib.Sequential(
        [cnnlib.Input((28, 28, 1)), *stack, cnnlib.layers.Dropout(DROPOUT), last]
    )


def train(library, seed, x, y, recipe):
    """Seconds of the training, and a function that gives the answers for images."""
    batch, peak, epochs = recipe
    rates = schedule(epochs * -(-len(x) // batch), peak)
    model = model_of(seed)
    if library == "cnnlib":
        import cnnlib

        optimizer = cnnlib.optimizers.Adam(rates)
        model.compile(optimizer, loss="sparse_categorical_crossentropy")
        model.fit(x[:batch], y[:batch], batch, verbose=0)  # nothing is set up while it is timed
        model = model_of(seed)
        model.compile(cnnlib.optimizers.Adam(rates), loss="sparse_categorical_crossentropy")
        began = time.perf_counter()
        model.fit(x, y, batch, epochs, verbose=0)
        return time.perf_counter() - began, lambda images: model.predict(images).argmax(axis=1)
    model.build((None, 28, 28, 1))
    return train_torch(seed, model.get_weights(), rates, x, y, batch, epochs)


def train_torch(seed, weights, rates, x, y, batch, epochs):
    """The same in PyTorch."""
    import torch

    one = OfTorch("torch")
    one.build("LeNet-5", weights)
    torch.manual_seed(seed)
    *parts, last = one.model
    model = torch.nn.Sequential(*parts, torch.nn.Dropout(DROPOUT), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, eps=1e-7, fused=True)
    steps = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(rates(step)))
    images, labels = one.images(x), torch.from_numpy(y.astype("int64"))

    def epoch(count):
        order = torch.randperm(count)
        for at in range(0, count, batch):
            places = order[at : at + batch]
            optimizer.zero_grad(set_to_none=True)
            one.criterion(model(images[places]), labels[places]).backward()
            optimizer.step()
            steps.step()

    kept = {key: value.clone() for key, value in model.state_dict().items()}
    empty = optimizer.state_dict()
    epoch(batch)
    model.load_state_dict(kept)
    optimizer.load_state_dict(empty)
    steps = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(rates(step)))
    model.train()
    began = time.perf_counter()
    for _ in range(epochs):
        epoch(len(x))
    seconds = time.perf_counter() - began
    model.eval()

    def answers(pictures):
        with torch.inference_mode():
            return model(one.images(pictures)).argmax(dim=1).numpy()

    return seconds, answers


def one(library, seed, phase, recipe):
    """[seconds, accuracy in percent] of one training in this process."""
    import cnnlib

    (x, y), (x_test, y_test) = cnnlib.datasets.mnist.load_data()
    if phase == "validate":
        x, y, x_test, y_test = x[:55_000], y[:55_000], x[55_000:], y[55_000:]
    scaled = [(part[..., np.newaxis] / np.float32(255)) for part in (x, x_test)]
    seconds, answers = train(library, seed, scaled[0], y, recipe)
    return [seconds, float(100 * np.mean(answers(scaled[1]) == y_test))]


def process(library, seed, phase, recipe):
    """The same in a process of its own."""
    command = [sys.executable, __file__, "one", json.dumps([library, seed, phase, recipe])]
    environment = records.natural() | (records.KEPT_MEMORY if library.endswith("kept") else {})
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    return json.loads(done.stdout)


def validate():
    """Recipes, on validation digits."""
    for recipe in TRIED:
        found = [process("cnnlib", seed, "validate", recipe) for seed in SEEDS]
        accuracies = [accuracy for _, accuracy in found]
        print(
            "batch {}, peak {}, {} epochs: ".format(*recipe)
            + f"{', '.join(f'{a:.2f}' for a in accuracies)}, mean "
            f"{statistics.mean(accuracies):.2f} %; {statistics.mean(s for s, _ in found):.0f} s",
            flush=True,
        )


def run():
    """Three seeds, the libraries in turn."""
    runs = {library: [] for library in LIBRARIES}
    for seed in SEEDS:
        for library in LIBRARIES:
            runs[library].append(process(library, seed, "test", RECIPE))
            print(library, seed, runs[library][-1], flush=True)
    return {
        "runs": runs,
        **dict(zip(("batch_size", "peak", "epochs"), RECIPE, strict=True)),
        "dropout": DROPOUT,
        **records.stamp(),
    }


def table(result):
    """A row a library, and the ratio pair by pair."""
    print("| LeNet-5 to its last epoch | seconds of each seed | accuracy (%) | mean (%) |")
    print("| --- | --- | --- | --- |")
    for library, runs in result["runs"].items():
        times = ", ".join(f"{seconds:.1f}" for seconds, _ in runs)
        accuracies = [accuracy for _, accuracy in runs]
        print(
            f"| {library}, {result['epochs']} epochs | {times} | "
            f"{', '.join(f'{a:.2f}' for a in accuracies)} | {statistics.mean(accuracies):.2f} |"
        )
    ours, *others = ([seconds for seconds, _ in result["runs"][name]] for name in LIBRARIES)
    for name, theirs in zip(LIBRARIES[1:], others, strict=True):
        pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
        shown = ", ".join(f"{ratio:.2f}" for ratio in pairs)
        print(
            f"\ntime of cnnlib over that of {name}: {shown}; median {statistics.median(pairs):.2f}"
        )
    print(f"{result['machine']}, {result['date']}, commit {result['commit']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["validate", "run", "table", "one"])
    parser.add_argument("details", nargs="?", type=json.loads)
    options = parser.parse_args()
    if options.what == "one":
        print(json.dumps(one(*options.details)))
    elif options.what == "validate":
        validate()
    else:
        if options.what == "run":
            result = run()
            records.store("time_to_accuracy", result)
        else:
            result = records.newest("time_to_accuracy")
        table(result)


if __name__ == "__main__":
    main()
