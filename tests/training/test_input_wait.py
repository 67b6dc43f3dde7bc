"""The share of the time for which a run waits for its images."""

import collections
import pickle
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    SmallNetwork,
    Uncompiled,
    make_network,
    make_recipe,
    mirrored,
)

from bit_keras.training import input_wait
from bit_keras.training.fit import compile_for
from bit_keras.training.input_wait import InputWait
from bit_keras.training.resume import Progress

# Seconds before each batch of a slow set.
PAUSE = 0.05


def make_batches(pause=0):
    """Returns endless batches of one kind, from memory, each after a pause."""
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3))
    batch = tf.constant(images, tf.float32), tf.one_hot(np.arange(8) % 3, 3)

    def wait(number):
        time.sleep(pause)
        return number

    def after_a_pause(number):
        with tf.control_dependencies([tf.numpy_function(wait, [number], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    if not pause:
        return tf.data.Dataset.from_tensors(batch).repeat()
    return tf.data.Dataset.range(10**6).map(after_a_pause)


def fit(batches, model, **options):
    """Returns the `InputWait` of two epochs of six steps."""
    compile_for(model, make_recipe(Uncompiled), **options)
    watch = InputWait(Progress())
    epochs = {"epochs": 2, "steps_per_epoch": 6, "shuffle": False}
    model.fit(batches, **epochs, callbacks=[watch], verbose=0)
    return watch


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_slow_set_is_waited_for(replicas):
    watch = fit(make_batches(PAUSE), make_network(mirrored(replicas)))
    # But for the first step, which is compiled while batches are prepared.
    assert watch.progress.waited > 0.5 * 11 * PAUSE
    assert 0.5 < watch.progress.input_wait <= 1
    assert 0.5 < watch.share <= 1


def test_a_set_in_memory_is_hardly_waited_for():
    layers = [keras.layers.Conv2D(64, 7), keras.layers.Conv2D(64, 7)]
    ends = [keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3)]
    model = SmallNetwork([keras.Input((32, 32, 3)), *layers, *ends])
    watch = fit(make_batches(), model)
    assert 0 <= watch.progress.input_wait < 0.2
    assert 0 <= watch.share < 0.2


@pytest.mark.parametrize("options", [{"steps_per_execution": 3}, {"run_eagerly": True}])
@pytest.mark.parametrize("replicas", [1, 2])
def test_there_is_no_share_where_it_is_not_measured(replicas, options):
    watch = fit(make_batches(PAUSE / 10), make_network(mirrored(replicas)), **options)
    assert watch.share is watch.progress.input_wait is None


def test_the_model_keeps_nothing_of_it(tmp_path):
    model = make_network()
    before = model.variables
    assert fit(make_batches(), model).share is not None
    metrics = {id(variable) for variable in model.metrics_variables}
    added = [v for v in model.variables[len(before) :] if id(v) not in metrics]
    assert added == []
    images = np.ones((2, 32, 32, 3), np.float32)
    model.save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope(
        {"SmallNetwork": SmallNetwork, "Uncompiled": Uncompiled}
    ):
        copies = [
            keras.saving.load_model(tmp_path / "model.keras"),
            pickle.loads(pickle.dumps(model)),
        ]
    for copy in copies:
        assert not copy.fetches
        np.testing.assert_array_equal(copy(images), model(images))


def share_of(monkeypatch, *steps):
    """Returns the share after steps that asked, had their batches and ended."""
    clock = iter([0, *(ended for _, _, ended in steps)])
    monkeypatch.setattr(
        input_wait, "time", types.SimpleNamespace(perf_counter=lambda: next(clock))
    )
    fetches = collections.deque([(99, 99)])
    watch = InputWait(Progress())
    watch.set_model(types.SimpleNamespace(fetches=fetches, step_ended=None))
    watch.on_train_begin()
    watch.on_epoch_begin(0)
    # All of them may be asked for before the first one has ended.
    fetches.extend(step[:2] for step in steps)
    for number in range(len(steps)):
        watch.on_train_batch_end(number)
    assert watch.share == watch.progress.input_wait
    return watch.share


def test_the_first_step_does_not_count(monkeypatch):
    assert share_of(monkeypatch, (0, 5, 10)) is None


@pytest.mark.parametrize(
    ("asked", "had", "share"),
    [
        (10, 12, 0.5),  # A processor: asked for once the step before has ended.
        (7, 12, 0.5),  # A GPU, which has ended the step before meanwhile.
        (7, 9, 0),  # A GPU that was at work all the time.
        (10, 10, 0),
    ],
)
def test_a_step_waits_from_the_end_of_the_one_before(monkeypatch, asked, had, share):
    assert share_of(monkeypatch, (0, 5, 10), (asked, had, 14)) == share


def test_shares_add_up_by_time(monkeypatch):
    steps = (0, 1, 2), (2, 5, 6), (6, 6, 14)
    assert share_of(monkeypatch, *steps) == 3 / 12
