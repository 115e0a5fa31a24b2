"""What happens between epochs (explained in notebooks/09_improving.ipynb)."""

import csv
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.schedules import LearningRateSchedule

Logs = dict[str, float]


class Callback:
    """Base of all callbacks: `fit` calls these methods, each of which does nothing here.

    Attributes
    ----------
    model : Sequential
        Set ``model.stop_training = True`` to end the training after this epoch.
    params : dict
        epochs, initial_epoch, steps (batches an epoch), verbose.
    """

    model: Any = None
    params: dict[str, Any]

    def set_model(self, model: Any) -> None:
        """Called by `fit` before anything else."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called by `fit` before anything else."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Once, before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Once, at the end, also after Ctrl-C or an error."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before each epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After each epoch; logs hold loss, metrics and their ``val_`` twins."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before each batch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After each batch; logs hold the means of this epoch so far."""


class History(Callback):
    """What `fit` returns: ``history[name]`` is a list with one value an epoch."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append this epoch's values."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class _Monitor(Callback):
    """What callbacks share that watch one value."""

    def __init__(self, monitor: str, mode: str, best: float | None, min_delta: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode: expected 'auto', 'min' or 'max'. Received: mode={mode!r}")
        self.monitor, self.mode, self.best = monitor, mode, best
        self.min_delta = abs(min_delta)

    def value(self, logs: Logs | None) -> float | None:
        """The watched value; a warning where `fit` does not produce it."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} watches {self.monitor!r}, which this training does not "
                f"report. It reports: {', '.join(logs or {})}",
                stacklevel=3,
            )
        return value

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` is an improvement: down for losses, up for accuracies."""
        if than is None:
            return True
        rising = self.mode == "max" or (self.mode == "auto" and "acc" in self.monitor)
        return value - self.min_delta > than if rising else value + self.min_delta < than


class EarlyStopping(_Monitor):
    """Stop when the watched value has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
    min_delta : float
        Smallest change that counts as an improvement.
    patience : int
        Epochs to wait.
    verbose : int
        1 prints a line on stopping.
    mode : {'auto', 'min', 'max'}
    baseline : float, optional
        A value that must be beaten.
    restore_best_weights : bool
        End with the weights of the best epoch.
    start_from_epoch : int
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, None, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget what an earlier training left."""
        self.best, self.best_weights, self.best_epoch = None, None, 0
        self.wait, self.stopped_epoch = 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, count, stop."""
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Bring the best weights back where that was asked for."""
        if self.stopped_epoch and self.verbose:
            print(f"epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Save the model after each epoch, or only when the watched value improves.

    Parameters
    ----------
    filepath : str or path
        Ends in ``.keras`` (``.weights.h5`` with save_weights_only); may hold ``{epoch}`` and the
        names of logs: ``"model-{epoch:02d}-{val_loss:.2f}.keras"``.
    monitor, mode, verbose : as in `EarlyStopping`
    save_best_only, save_weights_only : bool
    save_freq : 'epoch' or int
        After each epoch, or after so many batches.
    initial_value_threshold : float, optional
        A value that must be beaten before anything is saved.
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq, self._batches, self._epoch = save_freq, 0, 0
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not self.filepath.endswith(ending):
            raise ValueError(
                f"ModelCheckpoint expects a filepath that ends in {ending}. "
                f"Received: {self.filepath}"
            )
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(
                "save_freq: expected 'epoch' or a positive number of batches. "
                f"Received: save_freq={save_freq!r}"
            )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remember the epoch for the file's name."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save every `save_freq` batches, where that is a number."""
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % self.save_freq == 0:
            self._save({**(logs or {}), "batch": batch + 1})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save after the epoch."""
        if self.save_freq == "epoch":
            self._save(logs or {})

    def _save(self, logs: Logs) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value, self.best):
                return
            self.best = value
        try:
            path = self.filepath.format(**{"epoch": self._epoch + 1, **logs})
        except KeyError as error:
            raise ValueError(
                f"ModelCheckpoint: filepath {self.filepath!r} names {error}, which this training "
                f"does not report. It reports: epoch, {', '.join(logs)}"
            ) from None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path)
        if self.verbose:
            print(f"epoch {self._epoch + 1}: saved {path}")


class LearningRateScheduler(Callback):
    """Set the learning rate at the start of each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate) -> learning_rate``.
    verbose : int
    """

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Ask the schedule."""
        if isinstance(self.model.optimizer.learning_rate, LearningRateSchedule):
            raise ValueError(
                "LearningRateScheduler needs an optimizer with a number as learning_rate. "
                f"Received: {self.model.optimizer.learning_rate!r}"
            )
        rate = self.schedule(epoch, self.model.optimizer.learning_rate)
        if not isinstance(rate, int | float | np.number):
            raise ValueError(
                f"LearningRateScheduler: schedule({epoch}, rate) must give a number. "
                f"Received: {rate!r}"
            )
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"epoch {epoch + 1}: learning rate {rate:g}")


class CSVLogger(Callback):
    """Write one line an epoch into a CSV file.

    Parameters
    ----------
    filename : str or path
    separator : str
    append : bool
        Go on at the end of a file that exists.
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        self.filename, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin the file."""
        goes_on = self.append and self.filename.exists() and self.filename.stat().st_size > 0
        self._header = not goes_on
        if not self.append:
            self.filename.write_text("", encoding="utf-8")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """One line; the file is closed in between, so it can be read at any time."""
        row = {"epoch": epoch, **(logs or {})}
        with self.filename.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if self._header:
                writer.writerow(row)
            writer.writerow(row.values())
        self._header = False


class ProgressBar(Callback):
    """The bar that ``verbose=1`` shows, or the lines of ``verbose=2``."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin the bar: tqdm's, as a widget in a notebook."""
        self._bar: Any = None
        self._last: Logs = {}
        if self.params["verbose"] == 1:
            from tqdm.auto import tqdm

            todo = (self.params["epochs"] - self.params["initial_epoch"]) * self.params["steps"]
            self._bar = tqdm(total=todo, unit="batch", file=sys.stdout, dynamic_ncols=True)
            # In a notebook the bar goes when it is done: a page should hold no timings.
            self._bar.leave = not hasattr(self._bar, "container")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Say which epoch it is."""
        self._began = time.perf_counter()
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch + 1}/{self.params['epochs']}", refresh=False)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """One step further."""
        if self._bar is not None:
            self._last = {**self._last, **(logs or {})}
            self._bar.set_postfix({k: f"{v:.4f}" for k, v in self._last.items()}, refresh=False)
            self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """The epoch's values, validation included."""
        self._last = logs or {}
        text = " - ".join(f"{name} {value:.4f}" for name, value in self._last.items())
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.4f}" for k, v in self._last.items()})
        elif self.params["verbose"] == 2:
            seconds = time.perf_counter() - self._began
            print(f"epoch {epoch + 1}/{self.params['epochs']} - {seconds:.1f} s - {text}")

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
