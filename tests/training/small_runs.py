"""Small models, a set and a recipe, for tests of runs."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

import bit_keras
from bit_keras.data.sources import open_source
from bit_keras.models.distributed_fit import DistributedFit
from bit_keras.models.train_step import ReplicaTrainStep
from bit_keras.training.strategies import mirrored_cpus


def mirrored(replicas):
    """Returns a strategy of so many logical CPUs; of one, TensorFlow's default."""
    if replicas == 1:
        return tf.distribute.get_strategy()
    return mirrored_cpus(replicas)


def make_model(strategy=None, num_classes=3):
    """Returns the smallest BiT, with the same weights each time."""
    keras.utils.set_random_seed(0)
    with strategy.scope() if strategy else contextlib.nullcontext():
        backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
        return bit_keras.BiTClassifier(backbone, num_classes)


class SmallNetwork(ReplicaTrainStep, keras.Sequential):
    """What trains as a `BiTClassifier` does, and is ready in a fraction of its time."""


def make_network(strategy=None, num_classes=3, seed=0, kind=None):
    """Returns a network of two layers, where a test is not about BiT."""
    keras.utils.set_random_seed(seed)
    with strategy.scope() if strategy else contextlib.nullcontext():
        layers = [keras.layers.Conv2D(8, 5, 4), keras.layers.GlobalMaxPooling2D()]
        head = keras.layers.Dense(num_classes, name="head")
        return (kind or SmallNetwork)([keras.Input((None, None, 3)), *layers, head])


def make_source(num_examples=20, num_test=7, num_classes=3):
    """Returns a `Source` of random images, one pattern for each class."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (num_classes, 36, 36, 3))

    def images(number):
        labels = np.arange(number) % num_classes
        noise = random.integers(-20, 21, (number, 36, 36, 3))
        return np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels

    return open_source((images(num_examples), images(num_test)))


def make_recipe(kind=bit_keras.HyperRule, **changes):
    """Returns ten steps of eight images, with MixUp."""
    given = {"batch_size": 8, "resize": 36, "crop": 32, "steps": 10, "warmup_steps": 2}
    given |= {"base_learning_rate": 0.003, "decay_steps": (6, 8), "mixup_alpha": 0.5}
    return kind(36, 36, 20, **given | changes)


@dataclasses.dataclass(frozen=True)
class Uncompiled(bit_keras.HyperRule):
    """A HyperRule without XLA, where a run has to begin quickly."""

    def compile_args(self):
        return super().compile_args() | {"jit_compile": False}


def all_weights(model):
    """Returns the weights in one vector, in float64."""
    return np.concatenate([np.ravel(w) for w in model.get_weights()]).astype(float)


def relative_l2(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


class Linear(DistributedFit, keras.Model):
    """The smallest model whose `fit` is the repaired one: the sum of two numbers."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1, kernel_initializer="ones")
        self.layer.build((None, 2))
        self.built = True

    def call(self, inputs):
        return self.layer(inputs)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)
