"""What the benchmarks of speed share: where and when they ran, and the files they leave."""

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from cnnlib.shards import usable_cores

HERE = Path(__file__).resolve().parent


def stamp():
    """Machine, Python, commit and date of a run."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    return {
        "machine": machine(),
        "python": platform.python_version(),
        "commit": done.stdout.strip() or "unknown",
        "date": datetime.date.today().isoformat(),
    }


def machine():
    """The processor's name and the cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {usable_cores()} cores"


def store(name, result, plot=None):
    """Write results/NAME/DATE-COMMIT.json, and the picture beside it."""
    folder = HERE / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{result['date']}-{result['commit']}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if plot is not None:
        plot(result, stem.with_suffix(".png"))


def newest(name):
    """The result in results/NAME/ that ran last."""
    return json.loads(max((HERE / "results" / name).glob("*.json")).read_text("utf-8"))


# What `cnnlib.shards.keep_freed_memory` asks of malloc, as an environment. PyTorch does not ask, so
# its large arrays come as fresh pages, step by step.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**28)}


def natural():
    """The environment without what holds a BLAS to other instructions than the processor has.

    Where results have to be alike on many machines, OPENBLAS_CORETYPE may name an older processor.
    """
    pinned = ("OPENBLAS_", "MKL_", "NVPL_", "ONEDNN_", "DNNL_", "XLA_", "MALLOC_")
    return {key: value for key, value in os.environ.items() if not key.startswith(pinned)}


def start_naturally():
    """Start this script anew in the `natural` environment, which BLAS reads once, at its start."""
    if natural() != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], natural())
