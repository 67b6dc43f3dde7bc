"""What Keras's `fit` cannot do alone: once a test here fails, a repair can go."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import mirrored
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
