"""Models on disk: Keras 3's own container, a zip of JSON and HDF5.

Explained in notebooks/08_mnist_cnn.ipynb. A ``.keras`` file holds ``metadata.json``,
``config.json`` and ``model.weights.h5``; Keras opens what cnnlib writes and the other way round.
Classes come from the registry, nothing is unpickled, and writing is atomic.
"""

import datetime
import io
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cnnlib import registry
from cnnlib.optimizers import Optimizer
from cnnlib.schedules import LearningRateSchedule

FORMAT = 1  # of what cnnlib adds to Keras's metadata
KERAS_VERSION = "3.15.0"  # whose file layout this module writes


def save_model(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write weights, configuration, optimizer, step and seed into a ``.keras`` file.

    The file appears whole or not at all: a crash leaves the old file as it was.

    Parameters
    ----------
    model : Sequential
    filepath : str or path, ending in ``.keras``
    overwrite : bool
        False refuses to replace a file.

    Raises
    ------
    ValueError
        For another ending, or a layer that could not be read back.
    FileExistsError
        Where the file exists and overwrite is False.
    """
    path = _target(filepath, ".keras", overwrite)
    model._require_built()
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": model.get_config(),
        "registered_name": None,
        "build_config": {"input_shape": list(model.input_shape)},
    }
    if model.optimizer is not None:
        chosen = {key: registry.serialize(v) for key, v in model.compile_arguments.items()}
        config["compile_config"] = {
            "loss_weights": None,
            "weighted_metrics": None,
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": "auto",
            **chosen,
        }
    metadata = {
        "keras_version": KERAS_VERSION,
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "cnnlib": {"format": FORMAT, "seed": model.seed},
    }

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("metadata.json", json.dumps(metadata))
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", _weights_bytes(model))

    _write_atomically(path, write)


def load_model(filepath: Any, custom_objects: dict[str, type] | None = None) -> Any:
    """Read a model that cnnlib or Keras saved.

    Parameters
    ----------
    filepath : str or path
    custom_objects : dict, optional
        Classes of your own by name; a class that is defined when the file is read is found
        without.

    Raises
    ------
    FileNotFoundError
    ValueError
        For a file that is damaged, of another kind or of a newer version, or that holds a class
        that cnnlib does not have.

    Examples
    --------
    >>> model = cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(2)])
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/small.keras"
    >>> model.save(path)
    >>> twin = cnnlib.models.load_model(path)
    >>> bool((twin.predict(np.ones((1, 3))) == model.predict(np.ones((1, 3)))).all())
    True
    """
    from cnnlib.models import Sequential

    path = Path(filepath)
    for name, cls in (custom_objects or {}).items():
        if not isinstance(cls, type) or not issubclass(cls, registry.Configurable):
            raise TypeError(
                f"custom_objects: expected classes of layers and so on. Received: {cls!r}"
            )
        cls.classes.setdefault(name, cls)  # never in place of ours
    metadata, config, weights = _read(path)
    _check_version(path, metadata)
    if config.get("class_name") != "Sequential":
        raise ValueError(
            f"{path}: expected a Sequential model. Received: {config.get('class_name')!r}. Keras's "
            "functional and subclassed models are not supported"
        )
    try:
        model = Sequential.from_config(config["config"])
        compile_config = config.get("compile_config") or {}
        if compile_config.get("loss"):
            names = ("optimizer", "loss", "metrics")
            model.compile(**{key: _plain(compile_config.get(key)) for key in names})
    except Exception as error:  # a file may hold anything
        raise ValueError(f"{path} cannot be read: {error}") from error
    seed = _own(metadata).get("seed")
    model.seed = seed if isinstance(seed, int) and seed >= 0 else model.seed
    _fill(model, io.BytesIO(weights), path)
    return model


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write the weights alone into a ``.weights.h5`` file, as Keras does."""
    path = _target(filepath, ".weights.h5", overwrite)
    _write_atomically(path, lambda file: file.write(_weights_bytes(model)))


def load_weights(model: Any, filepath: Any) -> None:
    """Read weights that `save_weights` wrote, here or in Keras, into a model of the same layers.

    Raises
    ------
    ValueError
        Where they do not fit; then the model is as before.
    """
    path = Path(filepath)
    _fill(model, io.BytesIO(path.read_bytes()), path)


# --- Files --------------------------------------------------------------------------------------


def _target(filepath: Any, ending: str, overwrite: bool) -> Path:
    path = Path(filepath)
    if not path.name.endswith(ending):
        raise ValueError(f"the file's name must end in {ending}. Received: {path}")
    if not overwrite and path.exists():
        raise FileExistsError(f"{path} exists, and overwrite=False was asked for")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: make the folder {path.parent} first")
    return path


def _write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Into a new file beside the old one, then renamed: readers see either, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read(path: Path) -> tuple[dict, dict, bytes]:
    with path.open("rb") as file:
        start = file.read(8)
    kinds = {b"\x80": "a pickle, which is never loaded", b"\x89HDF": "an HDF5 file"}
    if start[:2] != b"PK":
        kind = next((text for sign, text in kinds.items() if start.startswith(sign)), "no zip file")
        raise ValueError(
            f"{path} is not a .keras file: it is {kind}. Expected a file that model.save wrote"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > 100 * path.stat().st_size:  # a bomb: no weights are compressed like that
                raise ValueError(f"its parts claim to be {size:,} bytes long")
            metadata = json.loads(archive.read("metadata.json"))
            config = json.loads(archive.read("config.json"))
            if not isinstance(metadata, dict) or not isinstance(config, dict):
                raise ValueError("metadata.json and config.json must each hold an object")
            return metadata, config, archive.read("model.weights.h5")
    except Exception as error:  # damage shows in many ways: zlib.error, NotImplementedError, ...
        raise ValueError(
            f"{path} is damaged or incomplete ({error}). Save the model again, or use a copy"
        ) from error


def _check_version(path: Path, metadata: dict) -> None:
    own = _own(metadata).get("format", FORMAT)
    keras = str(metadata.get("keras_version", "3"))
    if not isinstance(own, int) or own > FORMAT or not keras.startswith("3."):
        raise ValueError(
            f"{path} was written by another version (cnnlib format {own}, Keras {keras}). "
            f"Expected cnnlib format {FORMAT} or lower and Keras 3: update cnnlib"
        )


def _own(metadata: dict) -> dict:
    """What cnnlib adds to Keras's metadata; empty in a file of Keras."""
    own = metadata.get("cnnlib")
    return own if isinstance(own, dict) else {}


def _plain(value: Any) -> Any:
    """Strings, lists and configurations as `compile` takes them."""
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        return value["items"]
    return value


# --- Weights in HDF5, laid out as Keras does ----------------------------------------------------


def _paths(model: Any) -> list[tuple[str, Any]]:
    """Each layer's group: its class in snake case, numbered from the second of a kind on."""
    seen: dict[str, int] = {}
    paths = []
    for layer in model.layers:
        base = registry.snake_case(type(layer).__name__)
        count = seen[base] = seen.get(base, -1) + 1
        paths.append((f"layers/{base}_{count}" if count else f"layers/{base}", layer))
    return paths


def _slot_order(model: Any) -> list[tuple[str, str]]:
    """(slot, parameter key) in Keras's order."""
    keys = list(model.params)
    return [(slot, key) for group in model.optimizer.slot_groups for key in keys for slot in group]


def _weights_bytes(model: Any) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:

        def group(path: str, name: str, arrays: list) -> None:
            home = file.create_group(f"{path}/vars".lstrip("/"))
            home.attrs["name"] = name
            for index, array in enumerate(arrays):
                home[str(index)] = array

        for path, layer in _paths(model):
            group(path, layer.name, [_numpy(w) for w in layer.get_weights()])
        optimizer = model.optimizer
        if optimizer is not None:
            arrays: list[Any] = [np.int32(optimizer.iterations)]
            if not isinstance(optimizer.learning_rate, LearningRateSchedule):
                arrays.append(np.float32(optimizer.learning_rate))
            if optimizer.slots:
                optimizer.build(model.params)  # a layer may have been added or freed since
                arrays += [_numpy(optimizer.slots[slot][key]) for slot, key in _slot_order(model)]
            group("optimizer", optimizer.name, arrays)
        group("", model.name, [])
    return buffer.getvalue()


def _numpy(array: Any) -> np.ndarray:
    return array.get() if hasattr(array, "get") else array  # CuPy converts only by this name


def _fill(model: Any, buffer: BinaryIO, path: Path) -> None:
    """Put the file's weights into the model: all of them, or none."""
    import h5py

    try:
        with h5py.File(buffer, "r") as file:
            found: dict[str, Any] = {}
            file.visititems(found.__setitem__)  # follows no link, so none to another file either
            largest = max((w.size for w in model.get_weights()), default=1)
            stored = [_arrays(found, layer_path, largest) for layer_path, _ in _paths(model)]
            slots = _arrays(found, "optimizer", largest)
    except Exception as error:  # HDF5 has many ways to be wrong
        raise ValueError(f"{path} holds damaged weights ({error}). Save the model again") from error
    before = model.get_weights()
    try:
        model.set_weights([array for arrays in stored for array in arrays])
        if model.optimizer is not None and slots:
            _fill_optimizer(model, model.optimizer, slots)
    except Exception as error:
        model.set_weights(before)
        raise ValueError(f"{path} does not fit this model: {error}") from error


def _arrays(found: dict[str, Any], path: str, largest: int) -> list[np.ndarray]:
    home = found.get(f"{path}/vars", {})
    items = [found[f"{path}/vars/{index}"] for index in range(len(home))]
    if any(item.external or item.is_virtual for item in items):
        raise ValueError("weights that lie in another file are not read")
    if any(item.size > 100 * largest for item in items):  # a few bytes can claim to be terabytes
        raise ValueError(f"expected arrays of about {largest} numbers at most. Received {items}")
    return [item[()] for item in items]


def _fill_optimizer(model: Any, optimizer: Optimizer, arrays: list[Any]) -> None:
    iterations, rate = int(arrays.pop(0)), optimizer.learning_rate
    order = _slot_order(model)
    shapes = [model.params[key].shape for _, key in order]
    # Stored as float32: where the configuration's number is the same one, it has all digits.
    if not isinstance(rate, LearningRateSchedule) and np.float32(rate) != (stored := arrays.pop(0)):
        rate = float(f"{float(stored):.7g}")
    optimizer.iterations, optimizer.learning_rate = iterations, rate
    if [array.shape for array in arrays] == shapes:
        for (slot, key), array in zip(order, arrays, strict=True):
            optimizer.slots.setdefault(slot, {})[key] = array.astype(model.params[key].dtype)
    elif arrays:
        warnings.warn(
            "the file's optimizer does not fit this model's: it starts anew", stacklevel=5
        )
