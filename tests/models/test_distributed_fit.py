"""What Keras's `fit` cannot do alone: once a test here fails, a repair can go."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import mirrored
from workers import finish, start_workers

from bit_keras.models.distributed_fit import DistributedFit

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


class Counting(DistributedFit, keras.Model):
    """Counts how often its steps are traced."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1, kernel_initializer="ones")
        self.layer.build((None, 2))
        self.built = True
        self.traced = []

    def call(self, inputs):
        return self.layer(inputs)

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
    assert sorted(model.traced) == ["test", "train"]
    assert model.train_on_batch(*next(iter(batches(5)))) == 1.0
