"""Training on the workers of dask.distributed: the same weights, also where a process dies.

A cluster of two worker processes on 127.0.0.1. docs/clusters.md says when one pays.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP

import cnnlib
from cnnlib.shards import SHARD

sys.path.insert(0, str(Path(__file__).parent))
from test_shards import BATCH, STEPS, assert_same_bits, data, make, train

EPOCHS = STEPS // 4


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as connected:
        yield connected


@pytest.mark.parametrize("net", ["dropout and L2", "two in a row", "comparative"])
def test_a_cluster_gives_the_serial_runs_weights_after_20_steps(client, net):
    serial, history = train(net, None)
    spread, spread_history = train(net, client.get_executor())
    assert_same_bits(serial, spread)
    assert history.history == spread_history.history
    x, _, _ = data((8, 8, 2))
    predicted = spread.predict(x, executor=client.get_executor())
    np.testing.assert_array_equal(predicted, serial.predict(x))


class AfterBatch(cnnlib.callbacks.Callback):
    """Do something once, in the middle of an epoch."""

    def __init__(self, number, action):
        self.number, self.action, self.seen = number, action, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.number:
            self.action()


def fit(model, executor, epochs=EPOCHS, **options):
    x, y, weight = data((8, 8, 2))
    return model.fit(
        x, y, BATCH, epochs, verbose=0, sample_weight=weight, executor=executor, **options
    )


def test_a_worker_killed_in_mid_epoch_costs_a_retry_not_the_run(client):
    serial, _ = train("two in a row", None)
    model, _ = make("two in a row")
    before = set(client.run(os.getpid).values())
    assert len(before) == 2

    def kill():
        os.kill(min(before), signal.SIGKILL)

    fit(model, client.get_executor(), callbacks=[AfterBatch(6, kill)])  # the 2nd of the 2nd epoch
    assert_same_bits(serial, model)
    client.wait_for_workers(2, timeout=30)
    after = set(client.run(os.getpid).values())
    assert min(before) not in after, "the worker was not killed: this test shows nothing"


CLIENT = """
    import os, signal, sys
    sys.path.insert(0, sys.argv[1])
    from distributed import Client
    import cnnlib
    from test_cluster import AfterBatch, fit, make

    checkpoint = cnnlib.callbacks.ModelCheckpoint(sys.argv[3])
    die = AfterBatch(4 * 3 + 2, lambda: os.kill(os.getpid(), signal.SIGKILL))  # in the 4th epoch
    with Client(sys.argv[2]) as client:
        model, _ = make("two in a row")
        fit(model, client.get_executor(), callbacks=[checkpoint, die])
"""


def test_training_goes_on_from_the_last_checkpoint_after_the_client_died(client, tmp_path):
    serial, _ = train("two in a row", None)
    path = tmp_path / "checkpoint.keras"
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", textwrap.dedent(CLIENT), here]
    done = subprocess.run(
        [*command, client.scheduler.address, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    model = cnnlib.models.load_model(path)
    assert model.optimizer.iterations == 3 * 4
    fit(model, client.get_executor(), initial_epoch=3)
    assert_same_bits(serial, model)


@pytest.fixture
def sent(monkeypatch):
    """Bytes that this process, where client and scheduler live, writes into sockets."""
    counted = [0]
    write = TCP.write

    async def counting(self, *args, **options):
        number = await write(self, *args, **options)
        counted[0] += number
        return number

    monkeypatch.setattr(TCP, "write", counting)
    return counted


def test_what_travels_are_weights_and_a_shard_there_and_the_gradients_back(client, sent):
    """Bytes of one step, against what the design says: S shards, weights P, images X.

    The client sends P and all of X once to the scheduler, which sends P and a shard to a worker,
    S times; each of the S gradients, as large as P, comes back through the scheduler.
    """
    model, shape = make("dropout and L2")  # one map a step: no layer needs the whole batch
    x, y, weight = (array[:BATCH] for array in data(shape))
    fitting = {"verbose": 0, "sample_weight": weight, "executor": client.get_executor()}
    model.fit(x, y, BATCH, **fitting)
    sent[0] = 0
    model.fit(x, y, BATCH, epochs=4, **fitting)
    shards = -(-BATCH // SHARD)
    weights = sum(array.nbytes for array in model.get_weights())
    examples = x.nbytes + y.nbytes + weight.nbytes
    arrays = (weights + examples) + (shards * weights + examples) + shards * weights
    around = len(json.dumps(model.get_config())) + len(pickle.dumps((model.loss, model.metrics)))
    messages = 2 * shards * (around + 2_000)  # descriptions of tasks, and who does what
    assert arrays < sent[0] / 4 < arrays + messages
