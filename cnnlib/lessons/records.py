"""`measured`: what the committed benchmarks found, for lessons that quote what takes hours."""

import json
from typing import Any

from cnnlib.utils import shipped_file, unknown_name

FILE = "records.json"


def measured(kind: str) -> list[dict[str, Any]]:
    """The committed results of one kind, as `scripts/make_records.py` collected them.

    Parameters
    ----------
    kind : str
        'accuracy' (a record for each phase, recipe and seed, in percent; 'phase' is 'test' for
        MNIST's test set, 'validate' for 5,000 training digits that were held back, 'ablate' for
        one change each on those), 'quantization' (accuracy by bits, keys are text), 'speed'
        (images a second of net A, ordinary and comparative) or 'energy' (one image).

    Returns
    -------
    list of dict
        Fresh copies, with the command that made them under 'command', and 'date' and 'machine'.

    Raises
    ------
    ValueError
        For an unknown kind.

    Examples
    --------
    >>> from cnnlib import lessons
    >>> runs = lessons.measured("accuracy")
    >>> [r["accuracy"] for r in runs if (r["phase"], r["recipe"]) == ("test", "net_a")]
    [99.18, 99.21, 99.16]
    """
    records = json.loads(shipped_file(FILE).read_text("utf-8"))
    if kind not in records:
        raise unknown_name("kind of record", kind, records)
    return list(records[kind])
