"""What Keras's `fit` cannot do alone: once a test here fails, a repair can go."""

import itertools
import pathlib
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import Linear, mirrored
from workers import finish, start_workers

PLAIN_WORKER = pathlib.Path(__file__).parents[1] / "training" / "keras_worker.py"


def plain_fit(batch_size, strategy=None, **compile_args):
    """Fits a plain Keras model under two replicas."""
    with (strategy or mirrored(2)).scope():
        layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()]
        model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
        model.compile("sgd", "mse", jit_compile=False, **compile_args)
    images = np.ones((20, 8, 8, 3), np.float32), np.ones((20, 4), np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).repeat().batch(batch_size)
    model.fit(data, steps_per_epoch=4, verbose=0, shuffle=False)


def test_keras_does_without_repair_what_needs_none():
    plain_fit(4)


def test_keras_cannot_make_several_steps_at_once():
    with_collectives = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="placeholder"):
        plain_fit(4, with_collectives, steps_per_execution=2)


def test_keras_cannot_take_shares_of_unequal_size():
    with pytest.raises(tf.errors.InvalidArgumentError, match="same size and shape"):
        plain_fit(5)


def test_keras_cannot_fit_with_several_workers():
    statuses, outputs = finish(start_workers(PLAIN_WORKER))
    assert all(statuses)
    assert not any("Keras can do it." in output for output in outputs)


class Counting(Linear):
    """Counts how often its steps are traced, and how often it is called."""

    def __init__(self):
        super().__init__()
        self.traced = []

    def call(self, inputs):
        self.traced.append("call")
        return super().call(inputs)

    def train_step(self, data):
        self.traced.append("train")
        return super().train_step(data)

    def test_step(self, data):
        self.traced.append("test")
        return super().test_step(data)


def test_batches_are_prepared_apart_from_the_step():
    """So that the step is compiled once for all kinds of batches."""

    def batches(width):
        data = np.full((4, width), 3.0, np.float32), np.ones((4, 1), np.float32)
        return tf.data.Dataset.from_tensor_slices(data).batch(4)

    model = Counting()
    model.compile("sgd", "mse", jit_compile=True)
    model.optimizer.learning_rate = 0.0
    model.prepare = lambda batch: (batch[0][:, :2] / 3, batch[1])
    for width in (2, 5):
        history = model.fit(
            batches(width), validation_data=batches(width), shuffle=False, verbose=0
        ).history
        # The sum of two ones, and the square of its distance from one.
        assert history == {"loss": [1.0], "val_loss": [1.0]}
    assert (model.traced.count("train"), model.traced.count("test")) == (1, 1)
    assert model.train_on_batch(*next(iter(batches(5)))) == 1.0


def ones(number, batch_size):
    data = np.ones((number, 2), np.float32), np.ones((number, 1), np.float32)
    return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)


def test_batches_of_all_sizes_are_one_step():
    model = Counting()
    model.compile("sgd", "mse", jit_compile=True)
    model.fit(ones(6, 4), epochs=2, verbose=0, shuffle=False)
    assert model.traced.count("train") == 1


BATCH = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)


def test_keras_runs_the_network_to_make_metrics():
    model = Counting()
    model.compile("sgd", "mse", metrics=["accuracy"])
    model._symbolic_build(data_batch=BATCH)
    assert model.traced == ["call"]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("weights", [(), (np.ones(4, np.float32),)])
def test_metrics_are_made_without_the_network(replicas, weights):
    strategy = mirrored(replicas)
    made = []
    for build in (Counting._symbolic_build, Counting._maybe_symbolic_build):
        with strategy.scope():
            model = Counting()
            metrics = {"metrics": ["accuracy"], "weighted_metrics": ["mse"]}
            model.compile("sgd", "mse", **metrics)
            build(model, data_batch=(*BATCH, *weights))
        made.append([(v.path, v.shape, v.dtype) for v in model.metrics_variables])
        made.append([type(metric).__name__ for metric in model.metrics])
        values = [keras.ops.convert_to_numpy(v) for v in model.metrics_variables]
        assert not np.any(values)
    assert made[:2] == made[2:]
    assert model.traced == []
    assert model.optimizer.built
    model.fit(*BATCH, batch_size=4, verbose=0)
    assert model.traced.count("train") == replicas


def test_what_is_compiled_without_metrics_or_loss_is_built_too():
    model = Counting()
    model.compile("sgd", "mse")
    model._maybe_symbolic_build(data_batch=BATCH)
    assert model.optimizer.built
    model.compile("sgd", metrics=["mse"])
    model._maybe_symbolic_build(data_batch=BATCH)
    assert [metric.built for metric in model.metrics if metric.name != "loss"] == [True]


@pytest.mark.parametrize("replicas", [1, 2])
def test_steps_tell_when_they_had_their_batches(replicas):
    with mirrored(replicas).scope():
        model = Counting()
        model.compile("sgd", "mse", jit_compile=False)
    start = time.perf_counter()
    batches = {"x": ones(12, 4), "validation_data": ones(4, 4), "shuffle": False}
    model.fit(**batches, epochs=2, verbose=0)
    times = list(itertools.chain(*model.fetches))
    # Two times of each of three steps, in both epochs.
    assert len(times) == 12
    assert times == sorted(times)
    assert start < times[0] and times[-1] < time.perf_counter()
    model.train_on_batch(*BATCH)
    assert len(model.fetches) == 6


@pytest.mark.parametrize("options", [{"steps_per_execution": 3}, {"run_eagerly": True}])
@pytest.mark.parametrize("replicas", [1, 2])
def test_steps_that_cannot_tell_are_made_all_the_same(replicas, options):
    with mirrored(replicas).scope():
        model = Counting()
        model.compile("sgd", "mse", jit_compile=False, **options)
    model.fit(ones(12, 4), verbose=0, shuffle=False)
    assert not model.fetches
    assert int(model.optimizer.iterations.numpy()) == 3
