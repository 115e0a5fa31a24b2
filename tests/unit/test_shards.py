"""Who computes the shards changes nothing: workers, threads, processes, memory order."""

import functools
import importlib
import json
import multiprocessing
import os
import pickle
import platform
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - numba would load its BLAS after the first fit counted them
from threadpoolctl import threadpool_info

import cnnlib
from cnnlib import layers, shards, training

_step = shards._step
STEPS = 20
BATCH = 140  # three shards, not all alike: 47 + 47 + 46
EXAMPLES = 495  # the last batch is uneven too: 140 + 140 + 140 + 75, which is 38 + 37


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


class SerialExecutor(Executor):
    """An executor of somebody else: runs in this thread, through pickles as a process would."""

    def __init__(self):
        self.sent = []
        self.returned = []

    def submit(self, function, /, *args):
        call = pickle.dumps((function, args))
        self.sent.append(call)
        function, args = pickle.loads(call)
        result = pickle.dumps(function(*args))
        self.returned.append(result)
        future = Future()
        future.set_result(pickle.loads(result))
        return future


def data(shape=(8, 8, 2), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((EXAMPLES, *shape), dtype=np.float32)
    y = rng.integers(0, 4, EXAMPLES)
    weight = rng.random(EXAMPLES) * 2
    return x, y, weight


def head():
    l2 = cnnlib.regularizers.L2(1e-3)
    return [
        layers.Flatten(),
        layers.Dense(8, activation="tanh", kernel_regularizer=l2),
        layers.Dropout(0.4),
        layers.Dense(4, activation="softmax"),
    ]


NETS = {
    "dropout and L2": lambda: [
        layers.Conv2D(4, 3, activation="relu"),
        layers.Dropout(0.2),
        *head(),
    ],
    "normalized first": lambda: [layers.BatchNormalization(), layers.Conv2D(4, 3), *head()],
    "two in a row": lambda: [
        layers.Conv2D(4, 3, padding="same"),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(momentum=0.9),
        layers.BatchNormalization(momentum=0.5, scale=False),
        layers.ReLU(),
        layers.Dropout(0.1),
        *head(),
    ],
    "comparative": lambda: [
        layers.ComparativeConv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(),
        layers.ComparativeConv2D(6, 2, padding="same", groups=2, activation="relu"),
        layers.Dropout(0.2),
        layers.Flatten(),
        layers.ComparativeDense(4, kernel_regularizer="l2"),
    ],
    "normalized last": lambda: [*head()[:2], layers.Dense(4), layers.BatchNormalization()],
    "first and last": lambda: [
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        *head()[:2],
        layers.Dense(4),
        layers.BatchNormalization(),
    ],
    "alone": lambda: [
        layers.GlobalAveragePooling2D(),
        layers.BatchNormalization(gamma_regularizer="l2"),
    ],
}


def make(net, dtype=None):
    cnnlib.utils.set_random_seed(11)
    shape = (8, 8, 4) if net == "alone" else (8, 8, 2)
    model = cnnlib.Sequential([cnnlib.Input(shape), *NETS[net]()])
    from_logits = net not in ("dropout and L2", "normalized first", "two in a row")
    loss = cnnlib.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(cnnlib.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    return model, shape


def train(net, executor, weighted=True, epochs=STEPS // 4):
    model, shape = make(net)
    x, y, weight = data(shape)
    history = model.fit(
        x,
        y,
        BATCH,
        epochs=epochs,
        verbose=0,
        sample_weight=weight if weighted else None,
        executor=executor,
    )
    assert model.optimizer.iterations == epochs * 4
    return model, history


def assert_same_bits(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    for slot, arrays in one.optimizer.slots.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, other.optimizer.slots[slot][key], strict=True)


# --- The same bits ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def references():
    """Each net after 20 steps with the default executor."""
    return {net: train(net, None) for net in NETS}


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("net", NETS)
def test_any_number_of_threads_gives_the_same_weights(net, workers, references):
    reference, expected = references[net]
    with ThreadPoolExecutor(workers) as pool:
        model, history = train(net, pool)
    assert_same_bits(model, reference)
    assert history.history == expected.history


@pytest.mark.parametrize("net", NETS)
def test_processes_give_the_same_weights(net, processes, references):
    reference, expected = references[net]
    model, history = train(net, processes)
    assert_same_bits(model, reference)
    assert history.history == expected.history


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_any_number_of_processes_gives_the_same_weights(workers, references):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for net, (reference, _) in references.items():
            assert_same_bits(train(net, pool)[0], reference)


@pytest.mark.parametrize("net", NETS)
def test_serial_execution_gives_the_same_weights(net, references, monkeypatch):
    monkeypatch.setattr(shards, "usable_cores", lambda: 1)
    model, _ = train(net, None)
    assert_same_bits(model, references[net][0])


@pytest.mark.parametrize("cores", [2, 5])
def test_any_number_of_cores_gives_the_same_weights(cores, references, monkeypatch):
    monkeypatch.setattr(shards, "usable_cores", lambda: cores)
    model, _ = train("two in a row", None)
    assert_same_bits(model, references["two in a row"][0])


def test_the_caller_works_beside_its_helpers_and_gets_results_in_order(monkeypatch):
    monkeypatch.setattr(shards, "usable_cores", lambda: 3)
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    all_three = threading.Barrier(3)

    def call(k):
        if k < 3:
            all_three.wait(timeout=30)  # returns only if three threads are at work together
        return k, threading.get_ident()

    with shards.Runner(model, None, np.ones((1, 3))) as runner:
        found = list(runner.together([functools.partial(call, k) for k in range(50)]))
    assert [k for k, _ in found] == list(range(50))
    assert threading.get_ident() in {thread for _, thread in found}


@pytest.mark.parametrize("failing", [0, 1, 7])
def test_an_error_in_one_call_ends_all(failing, monkeypatch):
    monkeypatch.setattr(shards, "usable_cores", lambda: 2)
    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2)])
    started = []

    def call(k):
        started.append(k)
        if k == failing:
            raise IndexError(f"in call {k}")
        time.sleep(0.01)

    with shards.Runner(model, None, np.ones((1, 3))) as runner:
        with pytest.raises(IndexError, match=f"in call {failing}"):
            list(runner.together([functools.partial(call, k) for k in range(1000)]))
        assert failing in started
        assert len(started) < 1000  # what nobody had begun was left
        assert list(runner.together([lambda: 1, lambda: 2])) == [1, 2]  # and the runner works on


def test_another_engines_executor_gives_the_same_weights(references):
    net = "two in a row"
    model, _ = train(net, SerialExecutor())
    assert_same_bits(model, references[net][0])


def test_evaluate_and_predict_do_not_depend_on_the_executor(processes, references):
    model, _ = references["two in a row"]
    x, y, weight = data()
    results = []
    for executor in (None, processes, ThreadPoolExecutor(3)):
        predicted = model.predict(x, executor=executor)
        values = model.evaluate(x, y, sample_weight=weight, executor=executor, return_dict=True)
        results.append((predicted, values))
    for predicted, values in results[1:]:
        np.testing.assert_array_equal(predicted, results[0][0], strict=True)
        assert values == results[0][1]


@pytest.mark.parametrize("first", ["dense", "conv"])
def test_memory_order_of_data_and_weights_changes_nothing(first, processes):
    """A pickle turns strided arrays into C order: what a process computes may not depend on it."""
    rng = np.random.default_rng(5)
    x = rng.random((64, 6, 7, 3), dtype=np.float32)
    y = rng.random((64, 2))
    results = []
    for executor in (None, processes):
        cnnlib.utils.set_random_seed(2)
        dense = [layers.Flatten(), layers.Dense(5)]
        begin = dense if first == "dense" else [layers.Conv2D(5, 3)]
        model = cnnlib.Sequential(
            [cnnlib.Input((6, 7, 3)), *begin, layers.Flatten(), layers.Dense(2)]
        )
        # As they come from PyTorch: (out, in, kh, kw), seen through a transpose.
        weights = model.get_weights()
        weights[0] = np.moveaxis(np.ascontiguousarray(np.moveaxis(weights[0], -1, 0)), 0, -1)
        model.set_weights(weights)
        model.compile("sgd", "mse")
        channels_first = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        batch_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
        for layout in (np.moveaxis(channels_first, 1, -1), batch_last, np.asfortranarray(x), x):
            model.fit(layout, y, verbose=0, executor=executor)
        results.append(model)
    assert_same_bits(*results)


@pytest.mark.parametrize("net", NETS)
def test_shards_agree_with_one_whole_batch(net):
    model, shape = make(net)
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0  # shards draw other masks than a whole batch
    x, y, weight = (a[:BATCH] for a in data(shape))
    loss, grads = model.gradients(x, y, weight, rng=0)
    with shards.Runner(model, None, x) as runner:
        step = shards.batch_step(model, x, y, weight, 0, runner)
    sharded_loss, sharded = training.mean_gradients(model, step)
    # float32 sums in another order: about 1e-7 relative, times the length of the sums.
    assert sharded_loss == pytest.approx(loss, rel=1e-5)
    assert sharded.keys() == grads.keys() == model.params.keys()
    # A bias below a normalization has no gradient but rounding: so the largest of all counts too.
    largest = max(np.abs(gradient).max() for gradient in grads.values())
    for key, gradient in grads.items():
        scale = max(np.abs(gradient).max(), largest / 10)
        np.testing.assert_allclose(
            sharded[key], gradient, rtol=1e-5, atol=1e-5 * scale, err_msg=key
        )
    whole = model.shard_step(x, y, weight, rng=0)
    assert step.state.keys() == whole.state.keys() == model.state.keys()
    for key, value in whole.state.items():
        np.testing.assert_allclose(step.state[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    assert step.examples == whole.examples == BATCH
    assert step.metric_sums == whole.metric_sums


def test_the_mean_divides_by_the_number_of_examples_also_with_weights():
    model, shape = make("dropout and L2")
    model.layers[1].rate = model.layers[4].rate = 0
    x, y, _ = (a[:BATCH] for a in data(shape))
    plain, _ = model.gradients(x, y)
    doubled, _ = model.gradients(x, y, np.full(BATCH, 2.0))
    penalty = model.penalty()
    assert penalty > 0
    assert doubled - penalty == pytest.approx(2 * (plain - penalty), rel=1e-9)


def test_dropout_draws_other_numbers_for_every_layer_shard_and_step():
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential([cnnlib.Input((1000,)), layers.Dropout(0.5), layers.Dropout(0.5)])
    x = np.ones((1, 1000), np.float32)
    masks = {}
    for t in range(2):
        for k in range(2):
            rng = np.random.SeedSequence([model.seed, t, k])
            _, caches = model.forward(x, True, rng)
            for layer, mask in enumerate(caches):
                masks[t, k, layer] = mask.tobytes()
    assert len(set(masks.values())) == len(masks) == 8
    again, _ = model.forward(x, True, np.random.SeedSequence([model.seed, 0, 0]))
    first, _ = model.forward(x, True, np.random.SeedSequence([model.seed, 0, 0]))
    np.testing.assert_array_equal(first, again)


def test_every_shard_of_every_step_is_trained_with_a_mask_of_its_own(monkeypatch):
    monkeypatch.setattr(shards, "usable_cores", lambda: 1)
    runs = []
    for _ in range(2):
        cnnlib.utils.set_random_seed(0)
        masks = []

        class Spy(layers.Dropout):
            def forward(self, x, training=False, rng=None, masks=masks):
                y, mask = super().forward(x, training, rng)
                masks.append(mask.tobytes())
                return y, mask

        model = cnnlib.Sequential([cnnlib.Input((50,)), Spy(0.5), layers.Dense(1)])
        model.compile("sgd", "mse")
        x = np.ones((144, 50), np.float32)
        model.fit(x, np.ones((144, 1)), batch_size=144, epochs=2, verbose=0)
        runs.append(masks)
    assert len(set(runs[0])) == len(runs[0]) == 6
    assert runs[0] == runs[1]


def test_a_layer_from_elsewhere_gets_random_numbers_and_those_that_draw_none_do_not(monkeypatch):
    given = {}

    class Noisy(layers.Dense):
        def forward(self, x, training=False, rng=None):
            given[type(self).__name__] = rng
            return super().forward(x, training, rng)

    monkeypatch.setattr(layers.Flatten, "forward", spy := mock.Mock(wraps=layers.Flatten().forward))
    spy.__module__ = "cnnlib.layers.core"
    model = cnnlib.Sequential([cnnlib.Input((3,)), Noisy(2), layers.Flatten()])
    model.forward(np.ones((2, 3), np.float32), True, np.random.SeedSequence(1))
    assert isinstance(given["Noisy"], np.random.Generator)
    assert spy.call_args.args[-1] is None
    assert layers.Dropout(0.5).draws
    assert not layers.Conv2D(2, 3).draws


def test_a_pass_from_the_middle_draws_the_same_numbers():
    cnnlib.utils.set_random_seed(0)
    model = cnnlib.Sequential([cnnlib.Input((50,)), layers.ReLU(), layers.Dropout(0.5)])
    x = np.ones((3, 50), np.float32)
    whole, _ = model.forward(x, True, 7)
    half, _ = model.forward(x, True, 7, 0, 1)
    rest, _ = model.forward(half, True, 7, 1)
    np.testing.assert_array_equal(whole, rest)


# --- What travels -------------------------------------------------------------------------------


def arrays_in(value, found):
    if isinstance(value, np.ndarray):
        found.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            arrays_in(item, found)
    elif isinstance(value, tuple | list):
        for item in value:
            arrays_in(item, found)
    return found


def test_what_travels_to_a_process_is_parameters_and_shard():
    model, shape = make("two in a row")
    executor = SerialExecutor()
    x, y, weight = (a[:BATCH] for a in data(shape))
    model.fit(x, y, BATCH, verbose=0, epochs=2, sample_weight=weight, executor=executor)
    assert model.optimizer.slots
    weights = sum(w.nbytes for w in model.get_weights())
    config = len(json.dumps(model.get_config()))
    for call in executor.sent:
        for forbidden in (b"cnnlib.optimizers", b"velocity", b"cnnlib.models", b"cnnlib.layers"):
            assert forbidden not in call, forbidden
        _, (partial_or_task, *_) = pickle.loads(call)[0], pickle.loads(call)[1]
        # Of the batch no more than a shard of activations, twice on the way back (dy and x).
        largest = 47 * 8 * 8 * 4 * 4
        assert len(call) < weights + config + 2 * largest + 4000
        for array in arrays_in(partial_or_task, []):
            assert len(array) <= 47


def test_what_comes_back_is_a_step_without_caches():
    model, shape = make("normalized first")
    executor = SerialExecutor()
    x, y, _ = (a[:BATCH] for a in data(shape))
    model.fit(x, y, BATCH, verbose=0, executor=executor)
    weights = sum(w.nbytes for w in model.get_weights())
    shard_of_images = 47 * 8 * 8 * 2 * 4
    for result in executor.returned:
        assert len(result) < weights + shard_of_images + 3000


def test_shards_are_few_and_even_whatever_the_workers():
    model, shape = make("dropout and L2")
    x, _, _ = data(shape)
    sizes = {0: [], 1: [1], 32: [32], 64: [64], 65: [33, 32], 140: [47, 47, 46], 256: [64] * 4}
    for workers in (1, 2, 8):
        with ThreadPoolExecutor(workers) as pool, shards.Runner(model, pool, x) as runner:
            for count, expected in sizes.items():
                cut = runner.shards(count)
                assert [s.stop - s.start for s in cut] == expected
                assert [s.start for s in cut] == list(np.cumsum([0, *expected])[: len(cut)])


def heavy():
    """A model that takes 784,000 multiplications an example."""
    cnnlib.utils.set_random_seed(3)
    model = cnnlib.Sequential([cnnlib.Input((784,)), layers.Dense(1000), layers.Dense(4)])
    model.compile("adam", loss=cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, np.random.default_rng(3).random((96, 784), dtype=np.float32)


def test_a_small_batch_of_a_heavy_model_is_halved_whatever_the_workers():
    model, x = heavy()
    sizes = {16: [16], 17: [9, 8], 32: [16, 16], 64: [32, 32], 65: [33, 32], 129: [43, 43, 43]}
    for workers in (1, 2, 8):
        with ThreadPoolExecutor(workers) as pool, shards.Runner(model, pool, x) as runner:
            for count, expected in sizes.items():
                assert [s.stop - s.start for s in runner.shards(count)] == expected
                assert runner.shards(count)[-1].stop == count
    y = np.arange(96) % 4
    weights = []
    for workers in (1, 2):
        model, x = heavy()
        with ThreadPoolExecutor(workers) as pool:
            model.fit(x, y, 32, epochs=2, verbose=0, executor=pool)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_multiplications_are_counted_a_kernel_and_a_position():
    model, _ = make("dropout and L2")
    expected = 3 * 3 * 2 * 4 * 36 + 144 * 8 + 8 * 4  # Conv2D(4, 3) on 8 x 8 x 2, two Dense
    assert shards.multiplications(model, (None, 8, 8, 2)) == expected


FAULTS = """
    import resource, sys, numpy as np, cnnlib
    from cnnlib import layers, shards

    if sys.argv[1] == "given back":
        shards.keep_freed_memory = lambda: None

    model = cnnlib.Sequential(
        [
            cnnlib.Input((28, 28, 32)),
            layers.Conv2D(64, 3),
            layers.Conv2D(64, 3),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", loss=cnnlib.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.zeros((256, 28, 28, 32), "float32"), np.zeros(256, int)
    # A thread that gets its first shard late takes its own memory then, once; so does the helper of
    # a new fit where the last one's has not let go of its memory yet: the least of six.
    pages = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model.fit(x, y, 64, epochs=2, verbose=0)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(min(pages[1:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is told")
def test_the_memory_of_one_step_serves_the_next():
    """Fresh pages of the system in 8 steps: a shard's copies alone take 2,000 pages of 4 kB."""
    pages = {}
    for name in ("kept", "given back"):
        command = [sys.executable, "-c", textwrap.dedent(FAULTS), name]
        pages[name] = int(subprocess.check_output(command, text=True))
    assert pages["kept"] < 2000
    assert pages["given back"] > 2 * pages["kept"], "then it needs no telling any more"


def test_training_leaves_arrays_that_were_given_alone():
    model, shape = make("two in a row")
    x, y, weight = data(shape)
    copies = x.copy(), y.copy(), weight.copy()
    for array in (x, y, weight):
        array.flags.writeable = False
    model.fit(x, y, BATCH, verbose=0, sample_weight=weight)
    model.evaluate(x, y, sample_weight=weight)
    model.predict(x)
    for array, kept in zip((x, y, weight), copies, strict=True):
        np.testing.assert_array_equal(array, kept)


# --- Threads of BLAS ----------------------------------------------------------------------------


def blas_threads():
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_blas_has_one_thread_during_fit_and_its_own_number_after():
    before = blas_threads()
    assert before
    seen = []

    class Look(cnnlib.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(blas_threads())

    model, shape = make("dropout and L2")
    x, y, _ = data(shape)
    model.fit(x, y, BATCH, verbose=0, callbacks=[Look()])
    assert seen == [[1] * len(before)] * 4
    assert blas_threads() == before


def test_two_fits_at_once_restore_the_limits_of_blas():
    before = blas_threads()
    first_runs, second_runs, first_may_end = (threading.Event() for _ in range(3))
    failures, seen = [], []

    class Gate(cnnlib.callbacks.Callback):
        def __init__(self, started, wait_for):
            self.started, self.wait_for = started, wait_for

        def on_train_batch_end(self, batch, logs=None):
            self.started.set()
            if not self.wait_for.wait(30):
                failures.append("the other training never came")
            seen.append(blas_threads())

    def work(started, wait_for, finished=None):
        try:
            model, shape = make("dropout and L2")
            x, y, _ = (a[:20] for a in data(shape))
            model.fit(x, y, verbose=0, callbacks=[Gate(started, wait_for)])
        except BaseException as error:
            failures.append(error)
        finally:
            if finished:
                finished.set()

    # The first begins first; the second begins within it and ends before it.
    first = threading.Thread(target=work, args=(first_runs, first_may_end))
    second = threading.Thread(target=work, args=(second_runs, second_runs, first_may_end))
    first.start()
    assert first_runs.wait(30)
    second.start()
    second.join(60)
    first.join(60)
    assert not failures
    assert seen == [[1] * len(before)] * 2
    assert blas_threads() == before


def test_the_training_that_ends_last_restores_the_limits_of_blas():
    """Begun first and ended first, in the main thread; ended last in another."""
    before = blas_threads()
    inner_runs, outer_ended = threading.Event(), threading.Event()
    failures = []

    class Hold(cnnlib.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            inner_runs.set()
            if not outer_ended.wait(30):
                failures.append("the first training never ended")
            failures.extend(n for n in blas_threads() if n != 1)

    def inner():
        model, shape = make("dropout and L2")
        x, y, _ = (a[:20] for a in data(shape))
        model.fit(x, y, verbose=0, callbacks=[Hold()])

    thread = threading.Thread(target=inner)

    class Start(cnnlib.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            thread.start()
            assert inner_runs.wait(30)

    model, shape = make("dropout and L2")
    x, y, _ = (a[:20] for a in data(shape))
    model.fit(x, y, verbose=0, callbacks=[Start()])
    assert blas_threads() == [1] * len(before)
    outer_ended.set()
    thread.join(60)
    assert not failures
    assert blas_threads() == before


def test_somebody_elses_executor_in_this_process_leaves_blas_as_it_was():
    before = blas_threads()
    train("two in a row", SerialExecutor(), epochs=1)
    assert blas_threads() == before


def blas_threads_of_a_step(model, *task):
    return _step(model, *task)._replace(metric_sums=[float(max(blas_threads()))])


def test_blas_has_one_thread_in_a_worker_process(monkeypatch):
    monkeypatch.setattr(shards, "_step", blas_threads_of_a_step)
    # A fresh process: numba loads SciPy's BLAS, which nothing here calls and nobody limits.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        _, history = train("dropout and L2", pool, epochs=1)
    # Three shards a step report one thread each, two in the last: over all examples.
    assert history.history["accuracy"] == [pytest.approx((3 * 3 + 2) / EXAMPLES)]


def test_blas_is_restored_after_an_error():
    before = blas_threads()

    class Fail(cnnlib.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("of the callback")

    model, shape = make("dropout and L2")
    x, y, _ = data(shape)
    with pytest.raises(RuntimeError, match="of the callback"):
        model.fit(x, y, verbose=0, callbacks=[Fail()])
    assert blas_threads() == before


def test_two_fits_in_two_threads_do_not_disturb_each_other(references):
    results = {}

    def work(net):
        results[net] = train_quietly(net)

    def train_quietly(net):
        # The seed is shared by the process: models are made one after the other.
        model, x, y, weight = prepared[net]
        model.fit(x, y, BATCH, epochs=5, verbose=0, sample_weight=weight)
        return model

    prepared = {}
    for net in ("dropout and L2", "two in a row"):
        model, shape = make(net)
        prepared[net] = (model, *data(shape))
    threads = [threading.Thread(target=work, args=(net,)) for net in prepared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for net, model in results.items():
        assert_same_bits(model, references[net][0])
    assert len(results) == 2


class ThreadsOfAWorker(Executor):
    """A worker of somebody else's engine, as dask's are: one process, several threads."""

    def __init__(self, pool):
        self.submit = pool.submit


def test_one_worker_can_serve_two_models_of_one_shape_at_once():
    x = np.random.default_rng(0).random((640, 100), dtype=np.float32)
    y = np.random.default_rng(1).random((640, 10))

    def models():
        for seed in (1, 2):
            cnnlib.utils.set_random_seed(seed)
            hidden = layers.Dense(100, activation="tanh")
            model = cnnlib.Sequential([cnnlib.Input((100,)), hidden, layers.Dense(10)])
            model.compile(cnnlib.optimizers.Adam(0.01), "mse")
            yield model

    alone, together = list(models()), list(models())
    for model in alone:
        model.fit(x, y, 64, epochs=4, verbose=0)
    with ThreadPoolExecutor(4) as pool:
        options = {"epochs": 4, "verbose": 0, "executor": ThreadsOfAWorker(pool)}
        threads = [
            threading.Thread(target=model.fit, args=(x, y, 64), kwargs=options)
            for model in together
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for one, other in zip(alone, together, strict=True):
        assert_same_bits(one, other)


# --- Where threads or processes fail ------------------------------------------------------------


def test_where_threads_cannot_start_fit_runs_serially(monkeypatch, references):
    asked = []

    def refuse(self, *args, **kwargs):
        asked.append(args)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    monkeypatch.setattr(shards, "usable_cores", lambda: 2)
    model, history = train("two in a row", None)
    assert asked
    assert_same_bits(model, references["two in a row"][0])
    assert history.history == references["two in a row"][1].history


def test_an_error_in_a_worker_reaches_the_caller_and_changes_nothing():
    class Failing(layers.Layer):
        def forward(self, x, training=False, rng=None):
            raise ZeroDivisionError("in a worker")

    model = cnnlib.Sequential([cnnlib.Input((3,)), layers.Dense(2), Failing()])
    model.compile("adam", "mse")
    before = model.get_weights()
    with pytest.raises(ZeroDivisionError, match="in a worker"):
        model.fit(np.ones((100, 3)), np.ones((100, 2)), batch_size=100, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0


def die(model, *task):
    import os

    os._exit(3)


def test_dead_workers_are_an_error_not_a_ctrl_c(monkeypatch):
    from concurrent.futures.process import BrokenProcessPool

    model, shape = make("dropout and L2")
    x, y, _ = data(shape)
    before = model.get_weights()
    monkeypatch.setattr(shards, "_step", die)
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(BrokenProcessPool),
    ):
        model.fit(x, y, BATCH, verbose=0, executor=pool)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_executor_must_be_one():
    model, shape = make("dropout and L2")
    x, y, _ = data(shape)
    with pytest.raises(TypeError, match=r"executor: expected a concurrent.futures.Executor.*4"):
        model.fit(x, y, verbose=0, executor=4)


def test_the_executor_that_was_given_stays_open():
    model, shape = make("dropout and L2")
    x, y, _ = data(shape)
    with ThreadPoolExecutor(2) as pool:
        model.fit(x, y, verbose=0, executor=pool)
        assert pool.submit(lambda: 5).result() == 5


def test_a_layer_from_a_module_of_its_own_works_in_other_processes(tmp_path, monkeypatch):
    (tmp_path / "own_layers.py").write_text(
        "from cnnlib import layers\n\n\nclass Halved(layers.Dense):\n"
        "    def product(self, x):\n        z, cache = super().product(x)\n"
        "        return z / 2, cache\n\n"
        "    def product_gradients(self, dz, cache, need_dx):\n"
        "        return super().product_gradients(dz / 2, cache, need_dx)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    own = importlib.import_module("own_layers")
    weights = []
    for workers in (0, 2):
        cnnlib.utils.set_random_seed(0)
        model = cnnlib.Sequential([cnnlib.Input((3,)), own.Halved(4), layers.Dense(1)])
        model.compile("adam", "mse")
        x, y = np.random.default_rng(0).random((70, 3)), np.ones((70, 1))
        if workers:
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                model.fit(x, y, 70, verbose=0, epochs=2, executor=pool)
        else:
            model.fit(x, y, 70, verbose=0, epochs=2)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("first", ["GlobalAveragePooling2D", "LayerNormalization"])
def test_memory_order_of_the_data_does_not_tell_threads_from_processes(first):
    # Pickle puts a shard into C order, threads see it as it lies: the last bit would differ.
    x = np.moveaxis(np.random.default_rng(0).random((70, 3, 9, 8), np.float32), 1, -1)
    y = np.random.default_rng(1).random((70, 2))
    results = []
    for kind in ("threads", "pickled"):
        cnnlib.utils.set_random_seed(0)
        model = cnnlib.Sequential(
            [cnnlib.Input((9, 8, 3)), getattr(layers, first)(), layers.Flatten(), layers.Dense(2)]
        )
        model.compile("adam", "mse")
        executor = SerialExecutor() if kind == "pickled" else ThreadPoolExecutor(2)
        model.fit(x, y, 70, epochs=2, verbose=0, executor=executor)
        results.append([*model.get_weights(), model.predict(x, executor=executor)])
        executor.shutdown()
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
