"""That the forms for processors compute what plain TensorFlow does."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bit_keras
from bit_keras.layers import GroupNorm, cpu_forms, normalize, std_conv
from bit_keras.layers.convolution import convolve
from bit_keras.layers.cpu_forms import mean_over, using_cpu_forms
from bit_keras.layers.fast_forms import using_fast_forms
from bit_keras.layers.normalize import group_normalize
from bit_keras.layers.std_conv import standardize


def random_tensor(shape, seed=0, dtype="float64"):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


def with_gradients(function, *inputs):
    """Returns a result and the gradients, compiled as a step is."""

    @tf.function(jit_compile=True)
    def compute():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(*inputs)
            loss = tf.reduce_sum(outputs * random_tensor(outputs.shape, seed=9))
        return outputs, *tape.gradient(loss, inputs)

    return compute()


def both_ways(function, *inputs):
    plain = with_gradients(function, *inputs)
    with using_cpu_forms():
        fast = with_gradients(function, *inputs)
    return zip(plain, fast, strict=True)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=4, max_size=4),
    first=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_means_by_products_are_means(lengths, first, seed):
    x = random_tensor(lengths, seed)
    axes = tuple(range(first, 3))
    with using_cpu_forms():
        means = mean_over(x, axes)
    np.testing.assert_allclose(means, np.mean(x, axes, keepdims=True), atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    groups=st.sampled_from([1, 2, 32]),
    per_group=st.integers(1, 3),
    offset=st.sampled_from([0.0, 1.0, -30.0, 1000.0]),
    scale=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
@example(size=(1, 1), groups=32, per_group=1, offset=1e3, scale=1.0, seed=0)
def test_normalization_is_that_of_float64(size, groups, per_group, offset, scale, seed):
    shape = (2, *size, groups * per_group)
    x = np.float32(offset + scale * np.random.default_rng(seed).normal(size=shape))
    expected = GroupNorm(groups, dtype="float64")(x.astype("float64"))
    with using_cpu_forms():
        fast = tf.function(GroupNorm(groups), jit_compile=True)(x)
    # float32 keeps the mean to 1e-7 of itself, and the deviation is no smaller than the
    # root of epsilon.
    tolerance = 2e-5 + 1e-6 * abs(offset) / max(scale, 1e-5**0.5)
    np.testing.assert_allclose(fast, expected, rtol=2e-5, atol=tolerance)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
@pytest.mark.parametrize("relu", [True, False])
def test_gradients_of_normalization_agree(size, relu):
    def normalize(*tensors):
        return group_normalize(*tensors, groups=4, epsilon=1e-5, relu=relu)

    inputs = (random_tensor((3, *size, 8)), random_tensor(8, 1), random_tensor(8, 2))
    for plain, fast in both_ways(normalize, *inputs):
        np.testing.assert_allclose(fast, plain, atol=1e-11)


@pytest.mark.parametrize("shape", [(7, 7, 3, 16), (3, 3, 8, 4), (1, 1, 16, 64)])
def test_standardization_and_its_gradient_agree(shape):
    for plain, fast in both_ways(standardize, 0.1 * random_tensor(shape)):
        np.testing.assert_allclose(fast, plain, atol=1e-11)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("channels", [(4, 6), (6, 4)])
@pytest.mark.parametrize(
    ("taps", "size"),
    [(1, (5, 7)), (1, (1, 1)), (3, (1, 1)), (3, (2, 2)), (3, (3, 4)), (3, (5, 3))],
)
def test_products_are_convolutions(taps, size, strides, channels, monkeypatch):
    multiply, used = cpu_forms.convolve, []
    monkeypatch.setattr(
        cpu_forms, "convolve", lambda *a: used.append(1) or multiply(*a)
    )

    def compute(images, kernel):
        return convolve(images, kernel, strides, padding=(taps - 1) // 2)

    images = random_tensor((2, *size, channels[0]))
    for plain, fast in both_ways(
        compute, images, random_tensor((taps, taps, *channels))
    ):
        np.testing.assert_allclose(fast, plain, atol=1e-12)
    assert used, "both have run the same code"


def trained_weights(monkeypatch, fast):
    """Returns the weights after two steps, and whether forms were used on the way."""
    asked = []
    mean = cpu_forms.mean_over
    monkeypatch.setattr(cpu_forms, "supported", lambda: fast)
    for module in (normalize, std_conv):
        monkeypatch.setattr(
            module,
            "mean_over",
            lambda *a: asked.append(cpu_forms.enabled()) or mean(*a),
        )
    images = random_tensor((4, 32, 32, 3), 3, "float32")
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    for number, variable in enumerate(backbone.trainable_variables):
        variable.assign(random_tensor(variable.shape, number))
    model = bit_keras.BiTClassifier(backbone, 3)
    model.compile(bit_keras.MomentumSGD(0.1, 0.9), loss="mse", jit_compile=True)
    labels = tf.one_hot([0, 1, 2, 0], 3)
    model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return np.concatenate([np.ravel(v) for v in model.get_weights()]), set(asked)


def test_a_train_step_of_fast_forms_is_a_train_step(monkeypatch):
    plain, asked = trained_weights(monkeypatch, fast=False)
    assert asked == {False}
    fast, asked = trained_weights(monkeypatch, fast=True)
    # When the model was made, too, but before it was compiled.
    assert asked == {False, True}
    np.testing.assert_allclose(fast, plain, atol=2e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_only_what_xla_compiles_for_processors_uses_them(compiled, monkeypatch):
    for is_cpu in (True, False):
        monkeypatch.setattr(cpu_forms, "supported", lambda is_cpu=is_cpu: is_cpu)
        with using_fast_forms(compiled, kernels=False):
            assert cpu_forms.enabled() == (compiled and is_cpu)
        assert not cpu_forms.enabled()


@pytest.mark.parametrize("size", [(4, 5), (7, 7), (None, None)])
def test_sums_of_known_sizes_are_products(size):
    @tf.function(input_signature=[tf.TensorSpec((None, *size, 3))])
    def means(x):
        with using_cpu_forms():
            return mean_over(x, (1, 2))

    x = random_tensor((2, *(length or 6 for length in size), 3), dtype="float32")
    np.testing.assert_allclose(means(x), np.mean(x, (1, 2), keepdims=True), atol=1e-6)
    operations = {
        op.type for op in means.get_concrete_function().graph.get_operations()
    }
    assert ("BatchMatMulV2" in operations) == (None not in size)
    assert ("Mean" in operations) == (None in size)


@pytest.mark.parametrize("channels", [(4, 6), (6, 4)])
def test_a_gradient_of_a_gradient_is_that_of_a_convolution(channels):
    images, kernel = (
        random_tensor((2, 3, 3, channels[0])),
        random_tensor((1, 1, *channels)),
    )

    def norm_of_gradient(images, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            loss = tf.reduce_sum(convolve(images, kernel, 1, padding=0) ** 3)
        return tape.gradient(loss, kernel) ** 2

    for plain, fast in both_ways(norm_of_gradient, images, kernel):
        np.testing.assert_allclose(fast, plain, rtol=1e-10)
