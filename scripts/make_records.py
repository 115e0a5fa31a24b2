"""Collect the committed results of benchmarks/ into data/records.json, which lessons quote.

    python scripts/make_records.py            write the file
    python scripts/make_records.py --check    exit 1 if it is not what the results say

The results lie in the repository; the collection travels with the package, so that a lesson that
was opened alone, in Colab for instance, reads the same figures.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TARGET = ROOT / "data" / "records.json"

# What a lesson may quote of each kind of record.
KEPT = {
    "accuracy": (
        *("phase", "recipe", "seed", "accuracy", "examples", "training_loss", "fit_seconds"),
        *("settings", "commit", "date", "machine"),
    ),
    "quantization": ("net", "normalization", "set", "float_accuracy", "accuracy", "commit", "date"),
}
COMMANDS = {
    "accuracy": "python benchmarks/accuracy.py {phase}",
    "quantization": "python benchmarks/quantization.py {set}",
    "speed": "python benchmarks/comparative.py speed",
    "energy": "python benchmarks/comparative.py energy",
}


def collect() -> dict[str, list[dict[str, Any]]]:
    """Return kind -> records, in the order of their files."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, kept in KEPT.items():
        found[kind] = []
        for path in sorted((RESULTS / kind).glob("*.json")):
            record = json.loads(path.read_text("utf-8"))
            found[kind].append({key: record[key] for key in kept if key in record})
    for kind in ("speed", "energy"):
        found[kind] = [json.loads((RESULTS / "comparative" / f"{kind}.json").read_text("utf-8"))]
    for kind, records in found.items():
        for record in records:
            record["command"] = COMMANDS[kind].format(**record)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write or check the file; return the exit status."""
    parser = argparse.ArgumentParser(description="Collect committed results for the lessons.")
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    options = parser.parse_args(arguments)
    text = json.dumps(collect(), indent=1) + "\n"
    if options.check:
        if not TARGET.exists() or TARGET.read_text("utf-8") != text:
            print(
                "data/records.json is not what benchmarks/results/ says: "
                "run python scripts/make_records.py",
                file=sys.stderr,
            )
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8", newline="\n")
    print(f"{TARGET.relative_to(ROOT)}: {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
