"""Accuracy on MNIST: train the recipes, keep a record of each run, print the table.

    CNNLIB_DATA_DIR=../shared/data python benchmarks/accuracy.py validate
    CNNLIB_DATA_DIR=../shared/data python benchmarks/accuracy.py test
    CNNLIB_DATA_DIR=../shared/data python benchmarks/accuracy.py ablate
    python benchmarks/accuracy.py table

`validate` trains on 55,000 digits and looks at the last 5,000 of the training set: recipes are
chosen there. `test` trains the committed recipes on all 60,000 and looks at the test set once, at
the last epoch. `ablate` changes one thing of the comparative recipe at a time, one seed and 6
epochs each, on the validation digits. Each run is a process of its own and leaves one JSON file per
recipe, seed and commit in benchmarks/results/accuracy/. What has a record is not run again; an
interrupted run goes on from its last epoch.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "results" / "accuracy"
SEEDS = (1, 2, 3)

# One cycle: the rate rises in a line to `peak` over a tenth of the steps and falls along a cosine
# to zero. Fixed on the 5,000 validation digits, before the test set was read. In the comparative
# recipes every weight but the biases (and the normalization's scale and shift) acts through a
# comparative synapse; `width` multiplies LeNet-5's channels and units; `shift` moves each image by
# up to so many pixels, anew in each epoch.
PRODUCTS = {"comparative": [], "normalization": False, "width": 1, "shift": 0, "dropout": 0}
COMPARATIVE = PRODUCTS | {
    "net": "lenet5",
    "comparative": [1, 2, 3, 4, 5],
    "width": 2,
    "shift": 1,
    "batch_size": 64,
    "epochs": 20,
    "peak": 1e-2,
}
RECIPES = {
    "net_a": PRODUCTS
    | {"net": "net_a", "batch_size": 128, "epochs": 10, "peak": 2e-3}
    | {"dropout": 0.4, "target": 99.06},
    "lenet5": PRODUCTS
    | {"net": "lenet5", "batch_size": 64, "epochs": 10, "peak": 2e-3}
    | {"dropout": 0.3, "target": 99.2},
    "comparative": COMPARATIVE | {"target": 99.0},
    "comparative_bn": COMPARATIVE | {"normalization": True, "peak": 5e-2, "target": 99.0},
    # The same networks with products, for comparison: their rate is that of the recipes above.
    "products": COMPARATIVE | {"comparative": [], "peak": 2e-3},
    "products_bn": COMPARATIVE | {"comparative": [], "normalization": True, "peak": 2e-3},
}
# The rate of products was tried at 2e-3, theirs in the recipes above, and at the comparative 1e-2.
ABLATIONS = {
    "all five layers comparative": {},
    "products": {"comparative": []},
    "products, peak rate 2e-3": {"comparative": [], "peak": 2e-3},
    "product gradient": {"gradient": "product"},
    "product gradient, peak rate 2e-3": {"gradient": "product", "peak": 2e-3},
    "He initialisation": {"kernel_initializer": "he_normal"},
    "only convolution 1 comparative": {"comparative": [1]},
    "only convolution 2 comparative": {"comparative": [2]},
    "only dense 1 comparative": {"comparative": [3]},
    "only dense 2 comparative": {"comparative": [4]},
    "only dense 3 comparative": {"comparative": [5]},
}


def build(recipe):
    """The network of a recipe; layers with weights are numbered from 1 in `comparative`."""
    import cnnlib as keras

    layers, numbers = keras.layers, itertools.count(1)

    def weights(kind, size, *args, activation="relu", **options):
        normalized = recipe["normalization"]
        if next(numbers) in recipe["comparative"]:
            kind = getattr(layers, f"Comparative{kind}")
            own = ("gradient", "kernel_initializer")
            options |= {key: recipe[key] for key in own if key in recipe}
        else:
            kind = getattr(layers, kind)
        if normalized:
            yield kind(size, *args, use_bias=False, **options)
            yield layers.BatchNormalization(momentum=0.9)
            yield layers.Activation(activation)
        else:
            yield kind(size, *args, activation=activation, **options)

    if recipe["net"] == "net_a":
        convolutions = [*weights("Conv2D", 32, 5), layers.MaxPooling2D(2)]
        units = [128]
    else:
        convolutions = [
            *weights("Conv2D", 6 * recipe["width"], 5, padding="same"),
            layers.MaxPooling2D(2),
            *weights("Conv2D", 16 * recipe["width"], 5),
            layers.MaxPooling2D(2),
        ]
        units = [120 * recipe["width"], 84 * recipe["width"]]
    dense = [layer for size in units for layer in weights("Dense", size)]
    dropout = [layers.Dropout(recipe["dropout"])] if recipe["dropout"] else []
    last = weights("Dense", 10, activation="softmax")
    return keras.Sequential(
        [keras.Input((28, 28, 1)), *convolutions, layers.Flatten(), *dense, *dropout, *last]
    )


def run(name, seed, phase, recipe, keep=None):
    """Train one network in this process; the record as a dict. `keep` is a file for the model."""
    import cnnlib as keras

    keras.utils.set_random_seed(seed)
    before = peak_memory()
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    if phase != "test":
        x_test, y_test = x_train[55_000:], y_train[55_000:]
        x_train, y_train = x_train[:55_000], y_train[:55_000]
    epochs, batch_size = recipe["epochs"], recipe["batch_size"]
    steps = epochs * -(-len(x_train) // batch_size)
    warm_up = steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe["peak"] / 25,
        steps - warm_up,
        warmup_target=recipe["peak"],
        warmup_steps=warm_up,
    )
    checkpoint = Path(tempfile.gettempdir()) / f"cnnlib-{phase}-{name}-{seed}-{commit()}.keras"
    model, done = build(recipe), 0
    model.compile(
        keras.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    if checkpoint.exists():
        model = keras.models.load_model(checkpoint)
        done = model.optimizer.iterations * epochs // steps
    began, losses = time.perf_counter(), []
    for epoch in range(done, epochs):
        history = model.fit(
            pixels(shifted(x_train, recipe["shift"], [seed, epoch])),
            y_train,
            batch_size=batch_size,
            epochs=epoch + 1,
            initial_epoch=epoch,
            verbose=0,
            callbacks=[keras.callbacks.ModelCheckpoint(checkpoint)],
        )
        losses += history.history["loss"]
    seconds = time.perf_counter() - began
    loss, accuracy = model.evaluate(pixels(x_test), y_test)
    checkpoint.unlink()
    if keep is not None:
        model.save(keep)
    return {
        "recipe": name,
        "settings": recipe,
        "phase": phase,
        "seed": seed,
        "commit": commit(),
        "accuracy": round(100 * accuracy, 2),
        "loss": round(loss, 5),
        "examples": len(y_test),
        "training_loss": [round(value, 5) for value in losses],
        "fit_seconds": round(seconds, 1),
        "resumed_at_epoch": done,
        "memory_growth_mb": round(peak_memory() - before),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def shifted(images, reach, seed):
    """Each image moved by up to `reach` rows and columns, zeros behind it; drawn from `seed`."""
    if reach == 0:
        return images
    height, width = images.shape[1:]
    framed = np.pad(images, [(0, 0), (reach, reach), (reach, reach)])
    moves = np.random.default_rng(seed).integers(0, 2 * reach + 1, size=(len(images), 2))
    moved = np.empty_like(images)
    for row, column in np.ndindex(2 * reach + 1, 2 * reach + 1):
        some = (moves == (row, column)).all(axis=1)
        moved[some] = framed[some, row : row + height, column : column + width]
    return moved


def pixels(images):
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in 0..1, without a float64 copy."""
    scaled = images[..., None].astype("float32")
    scaled /= 255
    return scaled


def peak_memory():
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def commit(script="accuracy"):
    """The last commit that touched the library or the script."""
    command = ["git", "log", "-1", "--format=%h", "--", "cnnlib", f"benchmarks/{script}.py"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=True)
    return found.stdout.strip() or "uncommitted"


def run_all(phase, recipes, seeds, keep):
    """Train what has no record yet, each run in a process of its own."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    for name, recipe in recipes.items():
        for seed in seeds:
            run_name = f"{phase}-{re.sub('[^a-z0-9_]+', '_', name.lower())}-seed{seed}"
            path = RECORDS / f"{run_name}-{commit()}.json"
            if path.exists():
                continue
            model = keep and str(Path(keep) / f"{run_name}.keras")
            order = {"name": name, "seed": seed, "phase": phase, "recipe": recipe, "keep": model}
            command = [sys.executable, __file__, "one", "--order", json.dumps(order)]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            path.write_text(output)
            print(path.name, json.loads(output)["accuracy"], flush=True)


def newest_records():
    """{(phase, recipe): records} of the commit that ran last."""
    groups = {}
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text())
        commits = groups.setdefault((record["phase"], record["recipe"]), {})
        commits.setdefault(record["commit"], []).append(record)
    return {
        key: max(commits.values(), key=lambda records: max(r["date"] for r in records))
        for key, commits in groups.items()
    }


def table():
    """Print one table a phase, one line a recipe, from the records of the commit that ran last."""
    titles = {
        "test": "MNIST's test set, last epoch",
        "validate": "The last 5,000 digits of MNIST's training set",
        "ablate": "The same digits, one change each, 6 epochs, one seed",
    }
    records = newest_records()
    for phase, title in titles.items():
        names = [name for kind, name in records if kind == phase]
        order = list(ABLATIONS if phase == "ablate" else RECIPES)
        print(f"\n{title}:\n")
        print("| recipe | accuracy of each seed (%) | mean (%) | commit |")
        print("| --- | --- | --- | --- |")
        for name in sorted(names, key=order.index):
            runs = records[phase, name]
            values = [run["accuracy"] for run in runs]
            print(
                f"| {name} | {', '.join(f'{v:.2f}' for v in values)} | "
                f"{statistics.mean(values):.2f} | {runs[0]['commit']} |"
            )
    memory = max(run["memory_growth_mb"] for runs in records.values() for run in runs)
    print(f"\nLargest growth of memory in a run, data included: {memory} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["validate", "test", "ablate", "table", "one"])
    parser.add_argument("--recipe", choices=list(RECIPES), action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--keep", metavar="FOLDER", help="save the trained models there")
    parser.add_argument("--order", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "one":  # in a process of its own: prints the record
        print(json.dumps(run(**options.order), indent=1))
        return
    if options.what == "ablate":
        recipes = {name: COMPARATIVE | {"epochs": 6} | c for name, c in ABLATIONS.items()}
        run_all("ablate", recipes, options.seed or SEEDS[:1], options.keep)
    elif options.what != "table":
        recipes = {name: RECIPES[name] for name in options.recipe or RECIPES}
        run_all(options.what, recipes, options.seed or SEEDS, options.keep)
    table()


if __name__ == "__main__":
    main()
