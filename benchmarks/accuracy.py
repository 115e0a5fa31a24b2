"""Accuracy on MNIST: train the recipes, keep a record of each run, print the table.

    CNNLIB_DATA_DIR=../shared/data python benchmarks/accuracy.py validate
    CNNLIB_DATA_DIR=../shared/data python benchmarks/accuracy.py test
    python benchmarks/accuracy.py table

`validate` trains on 55,000 digits and looks at the last 5,000 of the training set: recipes are
chosen there. `test` trains the committed recipes on all 60,000 and looks at the test set once, at
the last epoch. Each run is a process of its own and leaves one JSON file per recipe, seed and
commit in benchmarks/results/accuracy/. What has a record is not run again; an interrupted run
goes on from its last epoch.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "results" / "accuracy"
SEEDS = (1, 2, 3)

# One cycle: the rate rises in a line to `peak` over a tenth of the steps and falls along a cosine
# to zero. Fixed on the 5,000 validation digits, before the test set was read.
RECIPES = {
    "net_a": {"batch_size": 128, "epochs": 10, "peak": 2e-3, "dropout": 0.4, "target": 99.06},
    "lenet5": {"batch_size": 64, "epochs": 10, "peak": 2e-3, "dropout": 0.3, "target": 99.2},
}


def build(name, dropout):
    """The two networks; dropout stands before the last layer."""
    import cnnlib as keras

    layers = keras.layers
    last = [layers.Dropout(dropout)] if dropout else []
    last.append(layers.Dense(10, activation="softmax"))
    if name == "net_a":
        body = [
            layers.Conv2D(32, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
        ]
    else:
        body = [
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
        ]
    return keras.Sequential([keras.Input((28, 28, 1)), *body, *last])


def run(name, seed, phase, recipe):
    """Train one network in this process; the record as a dict."""
    import cnnlib as keras

    keras.utils.set_random_seed(seed)
    before = peak_memory()
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    x_train, x_test = (pixels(x) for x in (x_train, x_test))
    if phase == "validate":
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
    model, done = build(name, recipe["dropout"]), 0
    model.compile(
        keras.optimizers.Adam(schedule),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    if checkpoint.exists():
        model = keras.models.load_model(checkpoint)
        done = model.optimizer.iterations * epochs // steps
    began = time.perf_counter()
    history = model.fit(
        x_train,
        y_train,
        batch_size=batch_size,
        epochs=epochs,
        initial_epoch=done,
        verbose=0,
        callbacks=[keras.callbacks.ModelCheckpoint(checkpoint)],
    )
    seconds = time.perf_counter() - began
    loss, accuracy = model.evaluate(x_test, y_test)
    checkpoint.unlink()
    return {
        "recipe": name,
        "settings": recipe,
        "phase": phase,
        "seed": seed,
        "commit": commit(),
        "accuracy": round(100 * accuracy, 2),
        "loss": round(loss, 5),
        "examples": len(y_test),
        "training_loss": [round(value, 5) for value in history.history["loss"]],
        "fit_seconds": round(seconds, 1),
        "resumed_at_epoch": done,
        "memory_growth_mb": round(peak_memory() - before),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def pixels(images):
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in 0..1, without a float64 copy."""
    scaled = images[..., None].astype("float32")
    scaled /= 255
    return scaled


def peak_memory():
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def commit():
    """The last commit that touched the library or this script."""
    command = ["git", "log", "-1", "--format=%h", "--", "cnnlib", "benchmarks/accuracy.py"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=True)
    return found.stdout.strip() or "uncommitted"


def record_path(name, seed, phase):
    """Where the record of this run belongs."""
    return RECORDS / f"{phase}-{name}-seed{seed}-{commit()}.json"


def table():
    """Print one line a recipe and phase from the newest commit's records."""
    groups = {}
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text())
        groups.setdefault((record["phase"], record["recipe"], record["commit"]), []).append(record)
    print("| set | recipe | commit | seeds | accuracy, last epoch (%) | mean | fit, s | MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (phase, name, revision), records in sorted(groups.items()):
        values = [record["accuracy"] for record in records]
        seconds = statistics.mean(record["fit_seconds"] for record in records)
        memory = max(record["memory_growth_mb"] for record in records)
        print(
            f"| {'test' if phase == 'test' else 'validation'} | {name} | {revision} | "
            f"{len(records)} | {', '.join(f'{v:.2f}' for v in values)} | "
            f"{statistics.mean(values):.2f} | {seconds:.0f} | {memory} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["validate", "test", "table", "one"])
    parser.add_argument("--recipe", choices=list(RECIPES), action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--phase", choices=["validate", "test"], default="validate")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    changes = {key: json.loads(value) for key, value in (s.split("=") for s in options.set)}
    if options.what == "one":  # in a process of its own: prints the record
        (name,), (seed,) = options.recipe, options.seed
        print(json.dumps(run(name, seed, options.phase, RECIPES[name] | changes), indent=1))
        return
    if options.what == "table":
        table()
        return
    RECORDS.mkdir(parents=True, exist_ok=True)
    for name in options.recipe or RECIPES:
        for seed in options.seed or SEEDS:
            path = record_path(name, seed, options.what)
            if not path.exists():
                command = [sys.executable, __file__, "one", "--recipe", name, "--seed", str(seed)]
                command += ["--phase", options.what]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                path.write_text(output)
                print(path.name, json.loads(output)["accuracy"], flush=True)
    table()


if __name__ == "__main__":
    main()
