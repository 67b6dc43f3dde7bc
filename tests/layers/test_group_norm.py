import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.layers import GroupNorm


def group_norm(x, gamma, beta, groups):
    """Group normalization by its definition, in float64."""
    x = np.float64(x)
    batch, height, width, channels = x.shape
    grouped = x.reshape(batch, height, width, groups, channels // groups)
    mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
    variance = grouped.var(axis=(1, 2, 4), keepdims=True)
    normalized = (grouped - mean) / np.sqrt(variance + 1e-5)
    return normalized.reshape(x.shape) * np.float64(gamma) + np.float64(beta)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    groups=st.sampled_from([1, 2, 32]),
    per_group=st.integers(1, 3),
    offset=st.sampled_from([0.0, 1.0, -30.0, 1000.0]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    relu=st.booleans(),
    seed=st.integers(0, 1000),
)
# Groups of a single value: the least deviation, and a mean far from zero.
@example(
    size=(1, 1), groups=32, per_group=1, offset=0.0, scale=100.0, relu=False, seed=0
)
def test_is_group_normalization(size, groups, per_group, offset, scale, relu, seed):
    random = np.random.default_rng(seed)
    channels = groups * per_group
    x = np.float32(offset + scale * random.normal(size=(2, *size, channels)))
    layer = GroupNorm(groups, activation="relu" if relu else None)
    layer.build(x.shape)
    layer.gamma.assign(random.normal(size=channels))
    layer.beta.assign(random.normal(size=channels))
    expected = group_norm(x, layer.gamma, layer.beta, groups)
    expected = np.maximum(expected, 0) if relu else expected
    # float32 keeps the mean to 1e-7 of itself, and the deviation is no smaller than the
    # root of epsilon.
    deviation = max(scale, 1e-5**0.5)
    tolerance = 2e-5 + 1e-6 * abs(offset) / deviation
    np.testing.assert_allclose(layer(x), expected, rtol=2e-5, atol=tolerance)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("inputs_dtype", ["float32", "compute"])
def test_a_mixed_policy_rounds_the_result_alone(policy, inputs_dtype):
    """Squares of large inputs overflow float16, and its epsilon is coarse."""
    layer = GroupNorm(activation="relu", dtype=policy)
    x = 3000 + 300 * np.random.default_rng(0).normal(size=(2, 5, 5, 64))
    dtype = layer.compute_dtype if inputs_dtype == "compute" else inputs_dtype
    x = tf.cast(x, dtype)
    y = layer(x)
    assert y.dtype == layer.compute_dtype
    assert layer.gamma.dtype == layer.beta.dtype == "float32"
    expected = np.maximum(group_norm(tf.cast(x, tf.float64), 1, 0, 32), 0)
    digits = {"bfloat16": 2**-8, "float16": 2**-11}[layer.compute_dtype]
    np.testing.assert_allclose(
        tf.cast(y, tf.float64), expected, rtol=1.01 * digits, atol=1e-4
    )


def test_float64_is_kept_throughout():
    x = 1e6 + np.random.default_rng(0).normal(size=(1, 4, 4, 32))
    y = GroupNorm(dtype="float64")(x)
    np.testing.assert_allclose(y, group_norm(x, 1, 0, 32), atol=1e-9)


def test_gradient_is_that_of_the_definition():
    """By central differences of the float64 definition, in a drawn direction."""
    random = np.random.default_rng(3)
    x, direction, weight = random.normal(size=(3, 2, 3, 4, 64))
    layer = GroupNorm(dtype="float64")
    x_tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x_tensor)
        loss = tf.reduce_sum(layer(x_tensor) * weight)
    gradient = tape.gradient(loss, x_tensor).numpy()
    step = 1e-5
    ahead, behind = (
        (group_norm(x + sign * step * direction, 1, 0, 32) * weight).sum()
        for sign in (1, -1)
    )
    np.testing.assert_allclose(
        (gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-7
    )


def test_xla_and_dynamic_sizes_agree_with_eager():
    layer = GroupNorm(activation="relu")

    @tf.function(
        jit_compile=True,
        input_signature=[tf.TensorSpec([None, None, None, 64], tf.float32)],
    )
    def compiled(x):
        return layer(x)

    for shape in ((1, 3, 5, 64), (2, 8, 2, 64)):
        x = tf.random.stateless_normal(shape, seed=(5, 6))
        np.testing.assert_allclose(compiled(x), layer(x), atol=1e-5)


def test_serves_in_somebody_elses_model_and_survives_saving(tmp_path):
    model = keras.Sequential(
        [keras.Input((None, None, 6)), GroupNorm(3, epsilon=1e-3, activation="relu")]
    )
    model.layers[0].beta.assign(np.arange(6))
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].get_config() == model.layers[0].get_config()


def test_wrong_arguments_are_named():
    with pytest.raises(InputError, match='"relu" or None. Received: .gelu'):
        GroupNorm(activation="gelu")
    with pytest.raises(InputError, match="`groups`.*Received: 0"):
        GroupNorm(0)
    with pytest.raises(InputError, match="groups=32, channels=48"):
        GroupNorm().build((None, None, None, 48))
