"""What every docstring example may use: `np` and `cnnlib`."""

from typing import Any

import numpy as np
import pytest

import cnnlib


@pytest.fixture(autouse=True)
def _names_for_docstring_examples(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace["np"] = np
    doctest_namespace["cnnlib"] = cnnlib
