"""One batch in shards: where they run, and how their sums come together.

Explained in notebooks/10_speed.ipynb. A batch is cut into shards in the same way whatever the
number of workers; each shard is one pure `Sequential.shard_step`, and the sums are added in order.
So the weights are the same to the last bit for any number of workers and any executor. Layers that
must see the whole batch (BatchNormalization) cut the model: what lies between them runs in shards.
"""

import copy
import ctypes
import functools
import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from cnnlib.kernels import contiguous

# The most examples in a shard: small enough for the cache, large enough that Python's share stays
# small. With 32 LeNet-5 trained at two thirds of the speed, net A and net C as fast.
SHARD = 64
# A batch that is one shard is halved, so that a second core has work too, where an example takes so
# many multiplications: at batch 32 net C (16 million) gains 60 %, net A (1 million) 14 %, while
# LeNet-5 (0.4 million) would lose 33 % to Python's share.
HEAVY = 700_000
LEAST = 16  # a smaller batch is never halved


class Step(NamedTuple):
    """What one shard of a batch contributes: sums over its examples, without penalties."""

    loss_sum: float
    grads: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    metric_sums: list[float]
    examples: int
    dx: np.ndarray | None = None  # for the layer below, where the model was cut


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
        self.heavy = not self.on_device and multiplications(model, x.shape) > HEAVY
        if executor is not None and not hasattr(executor, "map"):
            raise TypeError(
                "executor: expected a concurrent.futures.Executor, such as ThreadPoolExecutor(4). "
                f"Received: {executor!r}"
            )

    def __enter__(self) -> "Runner":
        keep_freed_memory()
        self.blas = _OneBlasThread()
        self.blas.__enter__()
        if self.executor is None and not self.on_device and (workers := usable_cores()) > 1:
            # One fewer than cores: the caller works too.
            self.executor, self.own = ThreadPoolExecutor(workers - 1, "cnnlib"), True
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
        """Slices of consecutive examples, as few and as even as SHARD allows; on a GPU, one of all.

        Their number depends on the model and on the batch, never on the workers.
        """
        parts = 1 if self.on_device else -(-count // SHARD)
        if parts == 1 and self.heavy and count > LEAST:
            parts = 2
        size = max(1, -(-count // max(1, parts)))
        return [slice(k, min(k + size, count)) for k in range(0, count, size)]

    def map(self, function: Callable, tasks: Iterable[tuple]) -> Iterable[Any]:
        """``function(model, *task)`` for each task, in order: to be used up inside ``with``."""
        if self.local:
            return self.together([functools.partial(function, self.model, *t) for t in tasks])
        assert self.executor is not None
        model = self.model
        description = json.dumps(model.get_config())
        arrays = ([layer.params for layer in model.layers], [layer.state for layer in model.layers])
        # Where a class is defined outside cnnlib, naming it imports its module over there.
        kinds = {type(layer) for layer in model.layers}
        own = [kind for kind in kinds if not kind.__module__.startswith("cnnlib.")]
        parts = (own, model.loss, model.metrics)
        call = functools.partial(_remote, function, description, arrays, parts)
        return self.executor.map(call, tasks)

    def together(self, calls: list[Callable[[], Any]]) -> Iterable[Any]:
        """What each call returns, in order, on threads of this process: to be used up."""
        if self.executor is None or not self.local or len(calls) == 1:
            return (call() for call in calls)
        if not self.own:
            return self.executor.map(lambda call: call(), calls)
        return self._beside(calls)

    def _beside(self, calls: list[Callable[[], Any]]) -> Iterator[Any]:
        """The same on threads of our own, and on the caller's: one fewer has to be woken."""
        todo, results = enumerate(calls), {}  # taking the next of `todo` is one step: no lock

        def work(until: int | None = None) -> None:
            while until not in results and (task := next(todo, None)):
                results[task[0]] = task[1]()

        assert self.executor is not None
        count = min(usable_cores(), len(calls)) - 1
        helpers = [self.executor.submit(work) for _ in range(count)]
        for helper in helpers:  # after an error nobody takes another
            helper.add_done_callback(lambda done: done.exception() and list(todo))
        try:
            for k in range(len(calls)):
                work(until=k)  # who waits works
                if k not in results:  # a helper has it, or failed over it
                    for helper in helpers:
                        helper.result()
                yield results.pop(k)
        finally:
            list(todo)
            wait(helpers)


def multiplications(model: Any, shape: tuple[int, ...]) -> int:
    """About how many one example of a batch of this shape takes: a kernel's size, a position."""
    total, shape = 0, tuple(shape)
    for layer in model.layers:
        shape = layer.compute_output_shape(shape)
        if "kernel" in layer.params:
            total += layer.params["kernel"].size * math.prod(shape[1:-1])
    return total


@functools.cache
def keep_freed_memory() -> None:
    """Have the memory of one step serve the next, where malloc is glibc's (Linux).

    By itself it hands back to the system what a shard's large arrays free, and the next shard's
    come as fresh pages, which the system fills with zeros first: a sixth of net C's time. Set once
    in a process, whatever its environment says (Dask has its workers hand back at once): arrays up
    to 32 MB come from what malloc keeps, and it keeps up to 256 MB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another system, another malloc
        return
    trim_threshold, mmap_threshold = -1, -3  # their numbers in malloc.h
    mallopt(mmap_threshold, 32 * 2**20)
    mallopt(trim_threshold, 256 * 2**20)


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.lru_cache(maxsize=4)
def _bare_model(description: str) -> Any:
    from cnnlib.models import Sequential

    return Sequential.from_config(json.loads(description))


def _remote(function: Callable, description: str, arrays: Any, parts: Any, task: tuple) -> Any:
    """In a worker process: a bare model from its description, the arrays that came along, go."""
    # Copies without their arrays: the threads of one worker may serve several models at once.
    model = copy.copy(_bare_model(description))
    model.layers = [copy.copy(layer) for layer in model.layers]
    for layer, params, state in zip(model.layers, *arrays, strict=True):
        layer._params, layer.state = params, state
    _, model.loss, model.metrics = parts
    # Caches stay here: who needs one again computes it again.
    options = {"keep": False} if function is _forward else {}
    keep_freed_memory()
    with _OneBlasThread():
        return function(model, *task, **options)


# Between processes an array may lose its memory order, and with it the order of a sum. So all
# arrays are put into C order where the model is cut, and every executor computes alike.


def _forward(model: Any, x: Any, rng: Any, start: int, stop: int, keep: bool = True) -> Any:
    y, caches = model.forward(x, True, rng, start, stop)
    return contiguous(y), caches if keep else None


def _backward(model: Any, dy: Any, caches: Any, x: Any, rng: Any, start: int, stop: int) -> Any:
    if caches is None:
        _, caches = model.forward(x, True, rng, start, stop)
    dx, grads = model.backward(dy, caches, start, need_dx=start > 0)
    return (None if dx is None else contiguous(dx)), grads


def _step(model: Any, x: Any, y: Any, weight: Any, rng: Any, start: int) -> Any:
    step = model.shard_step(x, y, weight, rng, start)
    return step if step.dx is None else step._replace(dx=contiguous(step.dx))


def evaluate_shard(model: Any, x: Any, y: Any, weight: Any) -> tuple[float, list[float]]:
    """The sums of loss and metrics over these examples, outside training."""
    y_pred = predict_shard(model, x)
    values, _ = model.loss.value_and_gradient(y, y_pred)
    if weight is not None:
        values = values * weight
    return float(values.sum()), [float(metric.values(y, y_pred).sum()) for metric in model.metrics]


def predict_shard(model: Any, x: Any) -> np.ndarray:
    """The outputs for these examples."""
    x = contiguous(x).astype(model.dtype, copy=False)
    for layer in model.layers:  # as `forward`, but no cache outlives the layer above
        x, _ = layer.forward(x)
    return x


# --- A whole batch --------------------------------------------------------------------------------


def batch_step(model: Any, x: Any, y: Any, weight: Any, step: int, runner: Runner) -> Any:
    """Return the `Step` of a whole batch: shards of it, added in order.

    Shard k of step t draws its random numbers from ``SeedSequence([model.seed, t, k])``.

    Parameters
    ----------
    model : Sequential, compiled and built
    x, y : arrays (batch, ...)
    weight : array (batch,) or None
        A factor of each example's loss.
    step : int
        Number of updates so far.
    runner : Runner, opened with ``with``

    Returns
    -------
    Step
        Sums over the batch, not yet divided by its size.
    """
    shards = runner.shards(len(x))
    x = x.astype(model.dtype, copy=False)
    xs = [contiguous(x[s]) for s in shards]
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
            xs = [contiguous(whole[s]) for s in shards]
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
        dys = [contiguous(dx[s]) for s in shards]
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
    for key, value in part.items():  # never in place: a layer may have given its own array
        total[key] = total[key] + value if key in total else value
