import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.recipes.schedules import RateTable, WarmupCosine, WarmupStaircase


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


@settings(max_examples=100, deadline=None)
@given(
    warmup_steps=st.integers(0, 1000),
    others=st.integers(1, 10**6),
    share=st.floats(0, 1.2),
)
def test_the_cosine_is_that_of_big_vision(warmup_steps, others, share):
    steps = warmup_steps + others
    step = round(share * steps)
    progress = np.clip((step - warmup_steps) / (steps - warmup_steps), 0, 1)
    expected = 0.3 * 0.5 * (1 + np.cos(np.pi * progress))
    if warmup_steps:
        expected *= min(1, step / warmup_steps)
    actual = float(WarmupCosine(0.3, warmup_steps, steps)(step))
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_cosine_at_its_ends(jit_compile):
    rate = tf.function(WarmupCosine(0.48, 4, 12), jit_compile=jit_compile)
    rates = [float(rate(tf.constant(step, tf.int64))) for step in (0, 2, 4, 8, 12, 13)]
    np.testing.assert_allclose(rates, [0, 0.24, 0.48, 0.24, 0, 0], atol=1e-7)


def test_the_cosine_is_saved():
    optimizer = keras.optimizers.SGD(WarmupCosine(0.5, 2, 10))
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    np.testing.assert_array_equal(rates_used(copy, 10), rates_used(optimizer, 10))


def test_a_cosine_without_steps_after_the_warm_up_is_refused():
    with pytest.raises(InputError, match="warmup_steps=5, steps=5"):
        WarmupCosine(0.1, 5, 5)


@given(st.integers(1, 60), st.integers(0, 20), st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_table_has_the_rates_of_any_schedule(steps, warmup_steps, is_cosine):
    warmup_steps = min(warmup_steps, steps - 1)
    if is_cosine:
        schedule = WarmupCosine(0.3, warmup_steps, steps)
    else:
        schedule = WarmupStaircase(0.3, warmup_steps, (steps // 2, steps - 1))
    table = RateTable(60)
    table.fill(WarmupStaircase(7.0, 0, ()), 60)
    table.fill(schedule, steps)
    for step in range(steps):
        assert float(table(step)) == pytest.approx(float(schedule(step)), rel=1e-6)
    assert steps == 60 or float(table(steps)) == 0
