"""A student learns its teacher's logits, on the very images that it sees."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    all_weights,
    make_model,
    make_network,
    make_source,
    mirrored,
    relative_l2,
)

import bit_keras
from bit_keras.data.load import train_batches
from bit_keras.errors import InputError
from bit_keras.recipes.losses import DistillationLoss
from bit_keras.training.distill import Distiller
from bit_keras.training.fit import train


@dataclasses.dataclass(frozen=True)
class Uncompiled(bit_keras.Distillation):
    def compile_args(self):
        return super().compile_args() | {"jit_compile": False}


SETTING = {"batch_size": 8, "steps": 3, "warmup_steps": 1, "resize": 36, "crop": 32}
RECIPE = Uncompiled("pet_fast", 20, **SETTING)


def make_teacher():
    return make_network(seed=5)


def test_the_loss_is_that_of_the_very_batch():
    source, teacher, student = make_source(), make_teacher(), make_model()
    taught = [np.array(weight) for weight in teacher.weights]
    before = all_weights(student)
    images, _ = next(iter(train_batches(source, RECIPE)))
    expected = DistillationLoss(RECIPE.temperature)(teacher(images), student(images))
    rows = train(Distiller(student, teacher), source, RECIPE, progress=False).rows
    assert rows[0]["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert np.any(all_weights(student) != before)
    for weight, value in zip(teacher.weights, taught, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_split": 2, "steps_per_execution": 3}],
    ids=["plain", "parts"],
)
def test_two_replicas_learn_what_one_does(options):
    results = []
    for replicas in (1, 2):
        strategy = mirrored(replicas)
        student = make_network(strategy)
        with strategy.scope():
            distiller = Distiller(student, make_teacher())
        train(distiller, make_source(), RECIPE, progress=False, **options)
        results.append(all_weights(student))
    one, two = results
    assert relative_l2(two, one) <= 1e-6
    assert relative_l2(all_weights(make_network()), one) > 1e-3


def test_the_teacher_is_no_part_of_the_student():
    student = make_model()
    distiller = Distiller(student, make_teacher())
    assert len(distiller.weights) == len(student.weights)
    images = tf.random.stateless_normal((2, 32, 32, 3), (0, 1))
    np.testing.assert_array_equal(distiller(images), student(images))


def test_other_classes_are_refused():
    with pytest.raises(InputError, match="a student of 5 and a teacher of 3"):
        Distiller(make_model(num_classes=5), make_teacher())
