"""fit, evaluate and predict: the loop, and shards over an executor.

Explained in notebooks/03_training.ipynb, the shards in notebooks/10_speed.ipynb. A batch is cut
into shards of a fixed size, whatever the number of workers; each shard is one pure
`Sequential.shard_step`, and the sums are added in order. So the weights are the same to the last
bit for any number of workers and any executor. Layers that must see the whole batch
(BatchNormalization) cut the model: what lies between them runs in shards.
"""

import copy
import functools
import json
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from cnnlib import callbacks as callback_module
from cnnlib.callbacks import Callback, History
from cnnlib.utils import positive_int

# Examples in a shard. Small enough for the cache, large enough that Python's share stays small.
SHARD = 32
_SHUFFLE = 2**32 - 1  # keeps the shuffle's random numbers apart from every layer's


# --- Where shards run ---------------------------------------------------------------------------


class _OneBlasThread:
    """BLAS on one thread while anybody trains: the workers are the parallelism.

    Counted, so that the last of several simultaneous trainings restores what was there.
    """

    lock = threading.Lock()
    users = 0
    limiter: Any = None
    controller: Any = None

    def __enter__(self) -> None:
        cls = _OneBlasThread
        with cls.lock:
            cls.controller = cls.controller or ThreadpoolController()
            if cls.users == 0:
                self._free_control()
                cls.limiter = cls.controller.limit(limits=1, user_api="blas")
            cls.users += 1

    def __exit__(self, *error: Any) -> None:
        cls = _OneBlasThread
        with cls.lock:
            cls.users -= 1
            if cls.users == 0:
                self._free_control()
                cls.limiter.restore_original_limits()
                self._free_control()

    def _free_control(self) -> None:
        # From 3.8 on threadpoolctl obeys one thread alone, the first that set a limit. Here the
        # last training restores what the first one limited, whatever threads they run in.
        for library in self.controller.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


class Runner:
    """Maps pure functions of the model over shards: here, on threads, or by any executor."""

    def __init__(self, model: Any, executor: Executor | None, x: Any = None):
        self.model, self.executor, self.own = model, executor, False
        self.on_device = not isinstance(x, np.ndarray)  # a GPU array: no shards, no threads
        if executor is not None and not hasattr(executor, "map"):
            raise TypeError(
                "executor: expected a concurrent.futures.Executor, such as ThreadPoolExecutor(4). "
                f"Received: {executor!r}"
            )

    def __enter__(self) -> "Runner":
        self.blas = _OneBlasThread()
        self.blas.__enter__()
        if self.executor is None and not self.on_device and (workers := usable_cores()) > 1:
            self.executor, self.own = ThreadPoolExecutor(workers, "cnnlib"), True
            try:
                self.executor.submit(int).result()
            except RuntimeError:  # threads cannot start, in a browser for example: run serially
                self.executor = None
        self.local = self.executor is None or isinstance(self.executor, ThreadPoolExecutor)
        return self

    def __exit__(self, *error: Any) -> None:
        if self.own and self.executor is not None:
            self.executor.shutdown(cancel_futures=True)
        self.blas.__exit__()

    def shards(self, count: int) -> list[slice]:
        """Slices of SHARD consecutive examples; one slice of all on a GPU."""
        size = max(count, 1) if self.on_device else SHARD
        return [slice(k, min(k + size, count)) for k in range(0, count, size)]

    def map(self, function: Callable, tasks: Iterable[tuple]) -> Iterable[Any]:
        """``function(model, *task)`` for each task, in order."""
        tasks = list(tasks)
        if self.local and (self.executor is None or len(tasks) == 1):
            return (function(self.model, *task) for task in tasks)
        assert self.executor is not None
        if self.local:
            return self.executor.map(lambda task: function(self.model, *task), tasks)
        model = self.model
        description = json.dumps(model.get_config())
        arrays = ([layer.params for layer in model.layers], [layer.state for layer in model.layers])
        call = functools.partial(_remote, function, description, arrays, model.loss, model.metrics)
        return self.executor.map(call, tasks)


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.lru_cache(maxsize=4)
def _bare_model(description: str) -> Any:
    from cnnlib.models import Sequential

    return Sequential.from_config(json.loads(description))


def _remote(
    function: Callable, description: str, arrays: Any, loss: Any, metrics: Any, task: tuple
) -> Any:
    """In a worker process: a bare model from its description, the arrays that came along, go."""
    # Copies without their arrays: the threads of one worker may serve several models at once.
    model = copy.copy(_bare_model(description))
    model.layers = [copy.copy(layer) for layer in model.layers]
    for layer, params, state in zip(model.layers, *arrays, strict=True):
        layer._params, layer.state = params, state
    model.loss, model.metrics = loss, metrics
    # Caches stay here: who needs one again computes it again.
    options = {"keep": False} if function is _forward else {}
    with _OneBlasThread():
        return function(model, *task, **options)


def _c_order(x: np.ndarray) -> np.ndarray:
    # Between processes an array may lose its memory order, and with it the order of a sum. Where
    # the model is cut all arrays are put into C order, so that every executor computes alike.
    return x if x.flags.c_contiguous else x.copy()


def _forward(model: Any, x: Any, rng: Any, start: int, stop: int, keep: bool = True) -> Any:
    y, caches = model.forward(x, True, rng, start, stop)
    return _c_order(y), caches if keep else None


def _backward(model: Any, dy: Any, caches: Any, x: Any, rng: Any, start: int, stop: int) -> Any:
    if caches is None:
        _, caches = model.forward(x, True, rng, start, stop)
    dx, grads = model.backward(dy, caches, start, need_dx=start > 0)
    return (None if dx is None else _c_order(dx)), grads


def _step(model: Any, x: Any, y: Any, weight: Any, rng: Any, start: int) -> Any:
    step = model.shard_step(x, y, weight, rng, start)
    return step if step.dx is None else step._replace(dx=_c_order(step.dx))


def _test(model: Any, x: Any, y: Any, weight: Any) -> tuple[float, list[float]]:
    y_pred = _predict(model, x)
    values, _ = model.loss.value_and_gradient(y, y_pred)
    if weight is not None:
        values = values * weight
    return float(values.sum()), [float(metric.values(y, y_pred).sum()) for metric in model.metrics]


def _predict(model: Any, x: Any) -> np.ndarray:
    return model.forward(x.astype(model.dtype, copy=False))[0]


# --- One step -----------------------------------------------------------------------------------


def batch_step(model: Any, x: Any, y: Any, weight: Any, step: int, runner: Runner) -> Any:
    """The `Step` of a whole batch: shards of it, added in order.

    Shard k of step t draws its random numbers from ``SeedSequence([model.seed, t, k])``.
    """
    from cnnlib.models import Step

    shards = runner.shards(len(x))
    x = x.astype(model.dtype, copy=False)
    xs = [x[s] for s in shards]
    rngs = [np.random.SeedSequence([model.seed, step, k]) for k in range(len(shards))]
    grads: dict[str, np.ndarray] = {}
    state: dict[str, np.ndarray] = {}
    below = []  # what the way back needs, one entry a cut
    start = 0
    for cut, layer in enumerate(model.layers):
        if layer.whole_batch:
            tasks: list[tuple] = [
                (part, rng, start, cut) for part, rng in zip(xs, rngs, strict=True)
            ]
            pieces = list(runner.map(_forward, tasks))
            whole, cache = layer.forward(np.concatenate([y for y, _ in pieces]), training=True)
            below.append((layer, cache, [caches for _, caches in pieces], xs, start, cut))
            state |= {f"{layer.name}/{k}": v for k, v in layer.updated_state(cache).items()}
            xs = [_c_order(whole[s]) for s in shards]
            start = cut + 1
    tasks = [
        (part, y[s], None if weight is None else weight[s], rng, start)
        for part, s, rng in zip(xs, shards, rngs, strict=True)
    ]
    loss_sum, metric_sums, dys = 0.0, [0.0] * len(model.metrics), []
    for part in runner.map(_step, tasks):
        loss_sum += part.loss_sum
        metric_sums = [a + b for a, b in zip(metric_sums, part.metric_sums, strict=True)]
        _add(grads, part.grads)
        dys.append(part.dx)
    for layer, cache, caches, xs, start, cut in reversed(below):
        dx, layer_grads = layer.backward(np.concatenate(dys), cache)
        _add(grads, {f"{layer.name}/{key}": value for key, value in layer_grads.items()})
        dys = [_c_order(dx[s]) for s in shards]
        tasks = [
            (part, kept, x_part, rng, start, cut)
            for part, kept, x_part, rng in zip(dys, caches, xs, rngs, strict=True)
        ]
        dys = []
        for part_dx, part_grads in runner.map(_backward, tasks):
            _add(grads, part_grads)
            dys.append(part_dx)
    return Step(loss_sum, grads, state, metric_sums, len(x))


def _add(total: dict[str, np.ndarray], part: dict[str, np.ndarray]) -> None:
    for key, value in part.items():
        if key in total:
            total[key] += value
        else:
            total[key] = value


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


# --- Data that comes in -------------------------------------------------------------------------


def as_arrays(model: Any, x: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """Arrays that fit the model and each other.

    Raises
    ------
    TypeError, ValueError
        In one sentence: what was expected, what was received, what to do.
    """
    x, y = _inputs(model, x), _numbers("y", y)
    if len(y) != len(x):
        raise ValueError(
            f"x and y must have the same length. Received {len(x)} examples and {len(y)} labels"
        )
    if sample_weight is not None:
        sample_weight = _numbers("sample_weight", sample_weight)
        if sample_weight.shape != (len(x),):
            raise ValueError(
                f"sample_weight: expected one number an example, shape ({len(x)},). "
                f"Received shape {sample_weight.shape}"
            )
    if model.loss is not None:
        model.loss.check(y, model.output_shape)
    return x, y, sample_weight


def _numbers(name: str, array: Any) -> Any:
    """An array of at least one example, all of it finite numbers."""
    if array is None:
        raise ValueError(f"{name}: expected an array. Received: None")
    if not hasattr(array, "__array_function__"):  # lists, and what pandas or PyTorch hold
        try:
            array = np.asarray(array)
        except ValueError:
            raise ValueError(
                f"{name}: expected examples of one shape. Received parts of unequal length: make "
                "them equal"
            ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected an array of numbers. Received type {array.dtype}: convert it, and "
            "make examples of unequal length equal"
        )
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name}: expected at least one example. Received shape {array.shape}")
    # The sum is finite nearly always, and half as dear as looking at every number.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = array.dtype.kind == "f" and not np.isfinite(array.sum())
    if suspect:
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} holds NaN or infinity in {int(bad.sum())} of {len(array)} examples, "
                f"first in example {int(bad.argmax())}. Repair or remove them"
            )
    return array


def _inputs(model: Any, x: Any) -> Any:
    """Examples that the model can take; builds the model at the first data."""
    x = _numbers("x", x)
    if not model.built and model.layers:
        model.build((None, *x.shape[1:]))
    expected = model.input_shape
    if x.shape[1:] != expected[1:]:
        model.layers[0].check_rank(x.ndim)
        raise model.layers[0].wrong_shape(x.shape)
    if x.ndim == 4 and not model.warned and (x.min() < 0 or x.max() > 1):
        model.warned = True
        warnings.warn(
            f"the images hold values from {x.min():g} to {x.max():g}, where 0..1 is usual: divide "
            "8-bit images by 255. Where this is meant (standardized images), silence this "
            "warning with warnings.filterwarnings",
            stacklevel=4,
        )
    return x


def _class_weights(y: Any, class_weight: dict[int, float], outputs: int) -> np.ndarray:
    if not isinstance(class_weight, dict):
        raise TypeError(
            f"class_weight: expected a dict {{class: weight}}. Received: {class_weight!r}"
        )
    labels = y.argmax(axis=-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
    classes = max(outputs, int(labels.max()) + 1)
    unknown = set(class_weight) - set(range(classes))
    if unknown:
        raise ValueError(
            f"class_weight: expected classes from 0 to {classes - 1}. "
            f"Received: {sorted(unknown, key=str)}"
        )
    weights = [class_weight.get(int(label), 1.0) for label in labels]
    return _numbers("class_weight", np.asarray(weights, like=y))


class _Interrupt:
    """Ctrl-C ends the training after the step that is running, with whole weights."""

    pressed = False
    previous: Any = None

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        if self.pressed:  # pressed twice: at once
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
        Examples an update; 32 unless given.
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
    x, y, sample_weight = as_arrays(model, x, y, sample_weight)
    if class_weight is not None:
        sample_weight = _class_weights(y, class_weight, model.output_shape[-1])
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise ValueError("validation_data: expected (x, y) or (x, y, sample_weight)")
        as_arrays(model, *validation_data)
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
                    model.optimizer.update(model.params, grads)
                    model.replace_state(step.state)
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

    Examples
    --------
    >>> model = cnnlib.Sequential([cnnlib.Input((1,)), cnnlib.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> model.evaluate(np.zeros((4, 1)), np.ones((4, 1)))
    1.0
    """
    model._require_compiled()
    positive_int(1 if batch_size is None else batch_size, "batch_size")
    x, y, sample_weight = as_arrays(model, x, y, sample_weight)
    loss_sum, metric_sums = 0.0, [0.0] * len(model.metrics)
    with _runner(model, executor, x) as runner:
        tasks = (
            (x[s], y[s], None if sample_weight is None else sample_weight[s])
            for s in runner.shards(len(x))
        )
        for part_loss, part_metrics in runner.map(_test, tasks):
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

    Examples
    --------
    >>> model = cnnlib.Sequential([cnnlib.Input((3,)), cnnlib.layers.Dense(2)])
    >>> model.predict(np.ones((100, 3))).shape
    (100, 2)
    """
    x = _inputs(model, x)
    with _runner(model, executor, x) as runner:
        tasks = [(x[s],) for s in runner.shards(len(x))]
        return np.concatenate(list(runner.map(_predict, tasks)))


def _runner(model: Any, executor: Any, x: Any) -> Any:
    """The runner that a training has opened already, or a new one."""
    return nullcontext(executor) if isinstance(executor, Runner) else Runner(model, executor, x)
