import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.layers import StdConv2D, std_conv
from bit_keras.layers.cpu_forms import using_cpu_forms
from bit_keras.layers.gpu_kernels import using_gpu_kernels


def convolve(images, kernel, stride, padding):
    """A convolution by its definition, in float64."""
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    images = np.pad(np.float64(images), pads)
    size = kernel.shape[0]
    rows = (images.shape[1] - size) // stride + 1
    columns = (images.shape[2] - size) // stride + 1
    output = np.empty((len(images), rows, columns, kernel.shape[-1]))
    for row in range(rows):
        for column in range(columns):
            patch = images[:, row * stride :, column * stride :][:, :size, :size]
            output[:, row, column] = np.tensordot(patch, kernel, axes=3)
    return output


def standardize(kernel):
    kernel = np.float64(kernel)
    mean = kernel.mean(axis=(0, 1, 2))
    return (kernel - mean) / np.sqrt(kernel.var(axis=(0, 1, 2)) + 1e-10)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    size=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 3),
    scale=st.sampled_from([1e-6, 1e-3, 1.0, 1e3]),
    seed=st.integers(0, 1000),
)
def test_is_a_convolution_with_the_standardized_kernel(
    height, width, size, stride, scale, seed
):
    if min(height, width) + 2 * ((size - 1) // 2) < size:
        return
    random = np.random.default_rng(seed)
    images = random.normal(size=(2, height, width, 4)).astype(np.float32)
    layer = StdConv2D(6, size, stride)
    layer.build(images.shape)
    kernel = scale * (random.normal(size=layer.kernel.shape) + random.normal(size=6))
    layer.kernel.assign(kernel)
    expected = convolve(
        images, standardize(np.float32(kernel)), stride, (size - 1) // 2
    )
    actual = np.float64(layer(images))
    assert layer.compute_output_shape(images.shape) == actual.shape
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected) + 1e-6


def test_an_even_image_is_padded_on_both_sides_under_a_stride():
    """Where "same" would pad on the right and below alone."""
    layer = StdConv2D(1, 3, strides=2)
    layer.build((1, 4, 4, 1))
    layer.kernel.assign(np.arange(9.0).reshape(3, 3, 1, 1))
    corner = np.zeros((1, 4, 4, 1), np.float32)
    corner[0, 0, 0] = 1
    # The first output looks at the corner through the middle of the kernel.
    middle = standardize(np.arange(9.0).reshape(3, 3, 1, 1))[1, 1, 0, 0]
    np.testing.assert_allclose(layer(corner)[0, 0, 0, 0], middle, atol=1e-6)


class InMixedModel(keras.layers.Layer):
    """Asks for the kernel inside a call, where Keras hands variables out rounded."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, images):
        return self.layer.standardized_kernel()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_policy_standardizes_in_float32(policy):
    """1e-10 is 0 in half precision, and small kernels lose their digits there."""
    random = np.random.default_rng(0)
    kernel = np.float32(1e-5 * random.normal(size=(3, 3, 8, 8)) + 1e-3)
    layer = StdConv2D(8, 3, dtype=policy)
    layer.build((1, 8, 8, 8))
    layer.kernel.assign(kernel)
    images = random.normal(size=(1, 8, 8, 8)).astype(np.float32)
    output = layer(images)
    assert layer.kernel.dtype == "float32"
    assert output.dtype == layer.compute_dtype
    actual = np.float64(InMixedModel(layer, dtype=policy)(images))
    np.testing.assert_allclose(actual, standardize(kernel), rtol=1e-3, atol=1e-4)
    expected = convolve(images, standardize(kernel), 1, 1)
    relative = np.linalg.norm(np.float64(tf.cast(output, tf.float64)) - expected)
    assert relative <= 2**-7 * np.linalg.norm(expected)


def test_gradients_reach_kernel_and_images_under_xla_as_without():
    images = tf.random.stateless_normal((2, 9, 8, 3), seed=(1, 2))
    layer = StdConv2D(5, 3, 2)
    layer.build(images.shape)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(tf.square(layer(images) - 1))
        return tape.gradient(loss, [images, layer.kernel.value])

    for eager, compiled in zip(
        gradients(), tf.function(gradients, jit_compile=True)(), strict=True
    ):
        assert float(tf.norm(eager)) > 0.1
        np.testing.assert_allclose(eager, compiled, rtol=1e-4, atol=1e-4)


def test_serves_in_somebody_elses_model_and_survives_saving(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            StdConv2D(4, 3, 2, kernel_initializer="he_normal", kernel_regularizer="l2"),
            keras.layers.GlobalMaxPooling2D(),
        ]
    )
    images = np.random.default_rng(0).normal(size=(2, 17, 10, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images), loaded(images))
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    assert len(loaded.losses) == 1


@pytest.mark.parametrize(
    "sizes", [{"filters": 0}, {"kernel_size": 2.5}, {"strides": -1}]
)
def test_impossible_sizes_are_named(sizes):
    name, value = next(iter(sizes.items()))
    with pytest.raises(InputError, match=f"`{name}`.*Received: {value}"):
        StdConv2D(**({"filters": 4, "kernel_size": 3} | sizes))


@pytest.mark.parametrize("using", [using_cpu_forms, using_gpu_kernels])
@settings(max_examples=20, deadline=None)
@given(
    size=st.sampled_from([1, 3, 7]),
    channels=st.integers(1, 9),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
    seed=st.integers(0, 1000),
)
def test_gradient_of_compiled_steps_is_that_of_the_definition(
    using, size, channels, offset, scale, seed
):
    random = np.random.default_rng(seed)
    shape = (size, size, channels, 4)
    kernel = tf.constant(scale * (offset + random.normal(size=shape)))
    weights = tf.constant(random.normal(size=shape))

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            total = tf.reduce_sum(weights * std_conv.standardize(kernel))
        return tape.gradient(total, kernel).numpy()

    # TensorFlow derives it where no switch is on.
    expected = gradient()
    with using():
        actual = gradient()
    # Of a kernel of one value per channel it is zero, but for the last digits.
    error = np.abs(actual - expected).max()
    assert error <= 1e-9 * max(np.abs(expected).max(), np.abs(weights).max() / scale)
