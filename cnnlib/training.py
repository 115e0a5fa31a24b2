"""fit, evaluate and predict: the loop around the gradients.

Explained in notebooks/03_training.ipynb. Each batch is one `shards.batch_step`; what comes in is
held against the model in `checks`.
"""

import signal
import threading
from concurrent.futures import BrokenExecutor, Executor
from contextlib import nullcontext
from typing import Any

import numpy as np

from cnnlib import callbacks as callback_module
from cnnlib import checks
from cnnlib.callbacks import Callback, History
from cnnlib.shards import Runner, batch_step, evaluate_shard, predict_shard
from cnnlib.utils import positive_int

_SHUFFLE = 2**32 - 1  # keeps the shuffle's random numbers apart from every layer's


def mean_gradients(model: Any, step: Any) -> tuple[float, dict[str, np.ndarray]]:
    """From sums to what is trained on: divided by the number of examples once, penalties added.

    As in Keras the divisor is the number of examples also where they are weighted.
    """
    grads = {key: value / step.examples for key, value in step.grads.items()}
    for key, gradient in model.penalty_gradients().items():
        grads[key] = grads[key] + gradient
    return step.loss_sum / step.examples + model.penalty(), grads


def _refuse_non_finite(model: Any, loss: float, grads: dict, epoch: int, batch: int) -> None:
    where = "the loss" if not np.isfinite(loss) else None
    for key, gradient in grads.items():
        # The sum of squares: what Adam could not square would be lost in its slots for good.
        if where is None and not np.isfinite(np.vdot(gradient, gradient)):
            where = f"the gradient of {key} (or its square)"
    if where is not None:
        raise FloatingPointError(
            f"{where} is not finite at epoch {epoch + 1}, step {batch + 1} (loss {loss}, learning "
            f"rate {model.optimizer.current_learning_rate:g}). The weights of the step before "
            "stand. Try a lower learning rate, inputs scaled to 0..1, or a loss with "
            "from_logits=True on a last layer without softmax"
        )


class _Interrupt:
    """Ctrl-C ends the training after the step that is running; pressed twice, at once.

    While weights are being changed even the second one waits: they are whole in any case.
    """

    pressed = False
    updating = False
    previous: Any = None

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        if self.pressed and not self.updating:
            raise KeyboardInterrupt
        self.pressed = True

    def __exit__(self, *error: Any) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)


# --- fit, evaluate, predict ---------------------------------------------------------------------


def fit(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: Any = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: dict[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    executor: Executor | None = None,
) -> History:
    """Train the model.

    Parameters
    ----------
    x : array (examples, ...)
        Integers are converted batch by batch; images should lie in 0..1.
    y : array (examples, ...)
        Labels in the form that the loss expects.
    batch_size : int
        Examples an update; 32 unless given. BatchNormalization sees them all together.
    epochs : int
        Number of the last epoch, counted from 1.
    verbose : {'auto', 0, 1, 2}
        1 ('auto'): a progress bar; 2: one line an epoch; 0: nothing.
    callbacks : list of Callback, optional
    validation_split : float
        The share at the end of x and y that is held back for validation.
    validation_data : (x, y) or (x, y, sample_weight), optional
    shuffle : bool
        Another order each epoch, from the model's seed and the number of steps so far.
    class_weight : dict, optional
        Class -> factor of its examples' loss; not together with sample_weight.
    sample_weight : array (examples,), optional
        A factor of each example's loss. The mean still divides by the number of examples.
    initial_epoch : int
        Where to go on after `load_model`: then the result equals the uninterrupted run.
    executor : concurrent.futures.Executor, optional
        Who computes the shards; threads on all cores unless given. The result does not depend on
        it.

    Returns
    -------
    History
        ``history.history["loss"]`` and so on: one value an epoch. Ctrl-C returns what there is.

    Raises
    ------
    ValueError, TypeError
        Where the data does not fit the model, the loss or itself.
    FloatingPointError
        Where a loss or gradient is not finite: the last finite weights stand.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = cnnlib.Sequential([cnnlib.Input((1,)), cnnlib.layers.Dense(1)])
    >>> model.compile(cnnlib.optimizers.SGD(0.5), loss="mse")
    >>> history = model.fit(x, 3 * x + 1, epochs=40, verbose=0)
    >>> history.history["loss"][-1] < 1e-3
    True
    """
    model._require_compiled()
    batch_size = positive_int(32 if batch_size is None else batch_size, "batch_size")
    positive_int(epochs, "epochs")
    if not isinstance(initial_epoch, int | np.integer) or initial_epoch < 0:
        raise ValueError(
            f"initial_epoch: expected an integer of at least 0. Received: {initial_epoch!r}"
        )
    number = isinstance(validation_split, int | float | np.number)
    if not number or not 0 <= validation_split < 1:
        raise ValueError(
            f"validation_split: expected 0 or more, under 1. Received: {validation_split!r}"
        )
    callbacks = callbacks or []
    if not isinstance(callbacks, list | tuple):
        callbacks = [callbacks]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(
                "callbacks: expected objects of cnnlib.callbacks, or of your own subclass of "
                f"Callback. Received: {callback!r}"
            )
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight and sample_weight do not go together: multiply them first")
    x, y, sample_weight = checks.as_arrays(model, x, y, sample_weight)
    if class_weight is not None:
        sample_weight = checks.class_weights(y, class_weight, model.output_shape[-1])
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise ValueError("validation_data: expected (x, y) or (x, y, sample_weight)")
        checks.as_arrays(model, *validation_data)
    elif validation_split:
        kept = int(len(x) * (1 - validation_split))
        if kept == 0:
            raise ValueError(
                f"validation_split={validation_split} leaves none of {len(x)} examples to train on"
            )
        held = None if sample_weight is None else sample_weight[kept:]
        validation_data = (x[kept:], y[kept:], held)
        sample_weight = None if sample_weight is None else sample_weight[:kept]
        x, y = x[:kept], y[:kept]

    history = model.history = History()
    chain: list[Callback] = [history, *callbacks]
    if verbose:
        chain.append(callback_module.ProgressBar())
    steps = -(-len(x) // batch_size)
    params = {"epochs": epochs, "steps": steps, "initial_epoch": initial_epoch}
    for callback in chain:
        callback.set_params({**params, "verbose": 1 if verbose == "auto" else verbose})
        callback.set_model(model)
    model.stop_training = False

    def tell(event: str, *args: Any) -> None:
        for callback in chain:
            getattr(callback, event)(*args)

    interrupt = _Interrupt()
    tell("on_train_begin")
    try:
        with Runner(model, executor, x) as runner, interrupt:
            for epoch in range(initial_epoch, epochs):
                tell("on_epoch_begin", epoch)
                order = _order(model, len(x), shuffle)
                loss_sum, metric_sums, seen = 0.0, [0.0] * len(model.metrics), 0
                logs: dict[str, float] = {}
                for batch in range(steps):
                    tell("on_train_batch_begin", batch)
                    chosen = order[batch * batch_size : (batch + 1) * batch_size]
                    weight = None if sample_weight is None else sample_weight[chosen]
                    t = model.optimizer.iterations
                    step = batch_step(model, x[chosen], y[chosen], weight, t, runner)
                    loss, grads = mean_gradients(model, step)
                    _refuse_non_finite(model, loss, grads, epoch, batch)
                    interrupt.updating = True
                    model.optimizer.update(model.params, grads, runner.together)
                    model.replace_state(step.state)
                    interrupt.updating = False
                    seen += step.examples
                    loss_sum += loss * step.examples
                    metric_sums = [
                        a + b for a, b in zip(metric_sums, step.metric_sums, strict=True)
                    ]
                    logs = _report(model, loss_sum / seen, [s / seen for s in metric_sums])
                    tell("on_train_batch_end", batch, logs)
                    if interrupt.pressed:
                        raise KeyboardInterrupt
                if validation_data is not None:
                    options: dict[str, Any] = {"return_dict": True, "executor": runner}
                    held_x, held_y, *rest = validation_data
                    options["sample_weight"] = rest[0] if rest else None
                    found = evaluate(model, held_x, held_y, **options)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                tell("on_epoch_end", epoch, logs)
                if interrupt.pressed:
                    raise KeyboardInterrupt
                if model.stop_training:
                    break
    except (KeyboardInterrupt, BrokenExecutor) as error:
        if isinstance(error, BrokenExecutor) and not interrupt.pressed:
            raise  # workers died of something other than the same Ctrl-C
        print(f"stopped by Ctrl-C after {len(history.epoch)} whole epochs: the weights stand")
    finally:
        tell("on_train_end")
    return history


def _order(model: Any, count: int, shuffle: bool) -> np.ndarray:
    if not shuffle:
        return np.arange(count)
    entropy = [model.seed, model.optimizer.iterations]
    seed = np.random.SeedSequence(entropy, spawn_key=(_SHUFFLE,))
    return np.random.default_rng(seed).permutation(count)


def _report(model: Any, loss: float, values: list[float]) -> dict[str, float]:
    names = [metric.name for metric in model.metrics]
    return {"loss": loss, **dict(zip(names, values, strict=True))}


def evaluate(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    verbose: Any = "auto",
    sample_weight: Any = None,
    return_dict: bool = False,
    executor: Any = None,
) -> Any:
    """Loss (penalties included) and metrics over all examples.

    Parameters
    ----------
    x, y, sample_weight : as in `fit`
    batch_size, verbose
        Accepted because Keras has them; they change nothing.
    return_dict : bool
        A dict by name; otherwise a list [loss, metric, ...], or the loss alone without metrics.
    executor : as in `fit`

    Raises
    ------
    ValueError, TypeError
        For a model without a loss, or data that does not fit.

    Examples
    --------
    >>> model = cnnlib.Sequential([cnnlib.Input((1,)), cnnlib.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> model.evaluate(np.zeros((4, 1)), np.ones((4, 1)))
    1.0
    """
    model._require_compiled()
    positive_int(1 if batch_size is None else batch_size, "batch_size")
    x, y, sample_weight = checks.as_arrays(model, x, y, sample_weight)
    loss_sum, metric_sums = 0.0, [0.0] * len(model.metrics)
    with _runner(model, executor, x) as runner:
        tasks = (
            (x[s], y[s], None if sample_weight is None else sample_weight[s])
            for s in runner.shards(len(x))
        )
        for part_loss, part_metrics in runner.map(evaluate_shard, tasks):
            loss_sum += part_loss
            metric_sums = [a + b for a, b in zip(metric_sums, part_metrics, strict=True)]
    report = _report(
        model, loss_sum / len(x) + model.penalty(), [value / len(x) for value in metric_sums]
    )
    if return_dict:
        return report
    return list(report.values()) if model.metrics else report["loss"]


def predict(
    model: Any, x: Any, batch_size: int | None = None, verbose: Any = "auto", executor: Any = None
) -> np.ndarray:
    """Outputs of the model for all examples, in order.

    Parameters
    ----------
    x : array (examples, ...)
    batch_size, verbose
        Accepted because Keras has them; they change nothing.
    executor : as in `fit`

    Returns
    -------
    ndarray (examples, ...)

    Raises
    ------
    ValueError, TypeError
        For data that does not fit the model.

    Examples
    --------
    >>> model = cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(2)])
    >>> model.predict(np.ones((100, 3))).shape
    (100, 2)
    """
    x = checks.inputs(model, x)
    with _runner(model, executor, x) as runner:
        tasks = [(x[s],) for s in runner.shards(len(x))]
        return np.concatenate(list(runner.map(predict_shard, tasks)))


def _runner(model: Any, executor: Any, x: Any) -> Any:
    """The runner that a training has opened already, or a new one."""
    return nullcontext(executor) if isinstance(executor, Runner) else Runner(model, executor, x)
