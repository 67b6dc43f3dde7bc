import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras.recipes.schedules import WarmupStaircase


def rates_used(optimizer, num_steps):
    """How far each step moves a variable whose gradient is -1."""
    variable = keras.Variable(0.0)
    optimizer.build([variable])

    @tf.function(jit_compile=True)
    def step():
        optimizer.apply([tf.constant(-1.0)], [variable])

    values = [0.0]
    for _ in range(num_steps):
        step()
        values.append(float(variable))
    return np.diff(values)


def test_the_schedule_follows_the_optimizers_own_steps_and_is_saved():
    optimizer = keras.optimizers.SGD(WarmupStaircase(1.0, 2, (3,)), momentum=0.0)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for each in (optimizer, copy):
        np.testing.assert_allclose(
            rates_used(each, 6), [0, 0.5, 1, 1, 0.1, 0.1], atol=1e-6
        )


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert float(WarmupStaircase(0.5, 0, (10,))(0)) == 0.5


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_of_any_type_give_the_same_rates(dtype, jit_compile):
    rate = tf.function(WarmupStaircase(0.003, 4, (6, 8)), jit_compile=jit_compile)
    rates = [float(rate(tf.constant(step, dtype))) for step in range(11)]
    expected = [0, 0.75, 1.5, 2.25, 3, 3, 3, 0.3, 0.3, 0.03, 0.03]
    np.testing.assert_allclose(rates, np.array(expected) / 1000, rtol=1e-6)


def test_steps_beyond_the_whole_numbers_of_float32_are_told_apart():
    boundary = 2**24
    rate = WarmupStaircase(1.0, 0, (boundary,))
    steps = tf.constant([boundary, boundary + 1], tf.int64)
    rates = [float(rate(step)) for step in steps]
    np.testing.assert_allclose(rates, [1, 0.1], rtol=1e-6)
