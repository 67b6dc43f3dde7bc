"""Of kernels for GPUs: what can be seen without one, and their results where one is.

That every fast path gives what plain TensorFlow gives is tested on the CPU, but for
the normalization, whose code only a GPU can run.
"""

import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.layers import (
    GroupNorm,
    StdConv2D,
    ZeroPaddedMaxPool2D,
    cpu_forms,
    gpu_kernels,
)
from bit_keras.layers.gpu_kernels import using_gpu_kernels
from bit_keras.layers.normalize import group_normalize

needs_gpu = pytest.mark.skipif(
    not gpu_kernels.supported(), reason="needs a GPU that can run the kernels"
)
KERNELS = ("group_norm_forward", "group_norm_backward")
# Pixels and channels: of R50x1, R152x4 and a network of half the width.
SHAPES = [
    (3136, 256),
    (784, 512),
    (196, 1024),
    (49, 2048),
    (225, 8192),
    (9, 32),
    (1, 64),
]


def random_tensor(shape, seed, dtype="float64"):
    values = np.random.default_rng(seed).normal(size=shape)
    # Rounded, so that there are equal ones among them.
    return tf.constant(np.round(8 * values) / 8, dtype)


def with_gradient(function, inputs):
    weights = random_tensor(function(inputs).shape, seed=9)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(inputs)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float64) * weights)
    return outputs, tape.gradient(loss, inputs)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 1), (2, 3)])
def test_pooling_by_place_is_pooling(size):
    x = random_tensor((2, *size, 5), seed=1)
    pool = ZeroPaddedMaxPool2D(dtype="float64")
    expected = with_gradient(pool, x)
    with using_gpu_kernels():
        fast = with_gradient(pool, x)
    for one, other in zip(expected, fast, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)


@pytest.mark.parametrize("size", [(16, 16), (15, 18), (33, 7)])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_convolving_blocks_is_convolving(size, kernel_size):
    x = random_tensor((2, *size, 3), seed=2)
    conv = StdConv2D(6, kernel_size, strides=2, dtype="float64")
    conv.build(x.shape)
    expected = with_gradient(conv, x)
    with using_gpu_kernels():
        fast = with_gradient(conv, x)
    for one, other in zip(expected, fast, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.usefixtures("all_digits")
def test_a_train_step_of_fast_paths_is_a_train_step(monkeypatch):
    """All but the normalization, for which a CPU has no kernel."""
    monkeypatch.setattr(gpu_kernels, "can_normalize", lambda *_: False)
    monkeypatch.setattr(cpu_forms, "supported", lambda: False)
    images = random_tensor((4, 32, 32, 3), seed=3, dtype="float32")
    labels = tf.one_hot([0, 1, 2, 0], 3)
    weights = []
    for fast in (False, True):
        backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
        for number, variable in enumerate(backbone.trainable_variables):
            variable.assign(random_tensor(variable.shape, number, "float32"))
        model = bit_keras.BiTClassifier(backbone, 3)
        model.compile(
            optimizer=bit_keras.MomentumSGD(0.1, 0.9),
            loss="mse",
            jit_compile=True,
            gpu_kernels=fast,
        )
        model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
        weights.append(np.concatenate([np.ravel(v) for v in model.get_weights()]))
    np.testing.assert_allclose(*weights, atol=2e-5)
    assert np.ptp(weights[0] - weights[1]) > 0, "both have run the same code"


def test_only_steps_that_xla_compiles_may_use_them(monkeypatch):
    seen = []
    monkeypatch.setattr(gpu_kernels, "supported", lambda: True)
    monkeypatch.setattr(gpu_kernels, "can_normalize", lambda *_: seen.append(1))
    model = bit_keras.BiTClassifier(bit_keras.BiTBackbone(units=(1, 1, 1, 1)), 3)
    images = np.zeros((2, 32, 32, 3), np.float32)
    for arguments, uses in (
        ({"jit_compile": True}, True),
        ({"jit_compile": False}, False),
        ({"jit_compile": True, "gpu_kernels": False}, False),
    ):
        model.compile(loss="mse", **arguments)
        seen.clear()
        model.predict_on_batch(images)
        assert bool(seen) == uses
        seen.clear()
        model.train_on_batch(images, np.zeros((2, 3)))
        assert bool(seen) == uses
    assert not gpu_kernels.enabled()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", KERNELS)
def test_tiles_hold_whole_groups_and_powers_of_two(name, shape):
    pixels, channels = shape
    group_size = channels // 32
    columns, rows, warps = gpu_kernels.choose_tile(name, pixels, channels, group_size)
    assert columns % group_size == 0 and channels % columns == 0
    for number in (columns, rows, warps):
        assert number & (number - 1) == 0
    assert columns * rows <= 16384


def test_widths_without_powers_of_two_are_left_to_xla():
    parameters = tf.ones(192), tf.zeros(192)
    assert not gpu_kernels.can_normalize(tf.ones((1, 2, 2, 192)), *parameters, 32)
    parameters = tf.ones(128), tf.zeros(128)
    assert gpu_kernels.can_normalize(tf.ones((1, 2, 2, 128)), *parameters, 32)
    wide = tf.ones((1, 2, 2, 128), tf.float64)
    assert not gpu_kernels.can_normalize(wide, *parameters, 32)


def codes(name, dtype):
    for pixels, channels in SHAPES:
        *tile, _ = gpu_kernels.choose_tile(name, pixels, channels, channels // 32)
        for residual in (False, True):
            code = gpu_kernels.group_norm_code(
                name, dtype, pixels, channels, 32, 1e-5, True, residual, tuple(tile)
            )
            yield residual, code


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", KERNELS)
def test_code_has_its_arguments_and_no_gaps(name, dtype):
    for residual, code in codes(name, dtype):
        assert "$" not in code
        # One pointer more: to the gradient of the residual connection.
        expected = 6 if name == "group_norm_forward" else 8 + residual
        assert code.count("tt.divisibility") == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", KERNELS)
def test_triton_compiles_the_code(name, dtype, tmp_path):
    compiler = pytest.importorskip("triton.compiler")
    target = pytest.importorskip("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    path = tmp_path / "kernel.ttir"
    for _, code in codes(name, dtype):
        path.write_text(code)
        assert "cubin" in compiler.compile(str(path), target=target).asm


@needs_gpu
@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("size", [(7, 7), (15, 14), (56, 56), (1, 1)])
def test_kernels_normalize(size, dtype, relu, offset):
    channels = 128
    shape = (3, *size, channels)
    x, dy, residual = (random_tensor(shape, seed, dtype) for seed in (1, 2, 3))
    x += tf.cast(offset, dtype)
    gamma, beta = (random_tensor((channels,), seed, "float32") for seed in (4, 5))

    def everything(function, *values):
        x, gamma, beta, dy, residual = values
        with tf.GradientTape() as tape:
            tape.watch((x, gamma, beta))
            y, handed_on = function(x, gamma, beta)
        outer = [tf.cast(dy, y.dtype), tf.cast(residual, handed_on.dtype)]
        return y, *tape.gradient([y, handed_on], (x, gamma, beta), outer)

    def plain(x, gamma, beta):
        return group_normalize(x, gamma, beta, 32, 1e-5, relu), x

    def kernels(x, gamma, beta):
        return gpu_kernels.group_normalize(
            x, gamma, beta, 32, 1e-5, relu, hands_on=True
        )

    values = x, gamma, beta, dy, residual
    expected = everything(plain, *(tf.cast(v, tf.float64) for v in values))
    compiled = tf.function(lambda: everything(kernels, *values), jit_compile=True)
    tolerance = {"bfloat16": 4e-3, "float16": 1e-3, "float32": 2e-6}[dtype]
    for one, other in zip(compiled(), expected, strict=True):
        error = tf.norm(tf.cast(one, tf.float64) - other) / tf.norm(other)
        assert error < tolerance + 1e-5 * offset


@needs_gpu
@pytest.mark.parametrize("value", [0.1, 1000.1])
def test_constant_groups_become_beta(value):
    """Their large scale must not multiply a rounding."""
    beta = random_tensor((64,), seed=7, dtype="float32")

    @tf.function(jit_compile=True)
    def normalized():
        x = tf.fill((2, 7, 5, 64), tf.constant(value, "float32"))
        return gpu_kernels.group_normalize(x, tf.ones(64), beta, 32, 1e-5, False, False)

    expected = np.broadcast_to(beta, (2, 7, 5, 64))
    np.testing.assert_allclose(normalized(), expected, rtol=0, atol=1e-6)


@needs_gpu
def test_a_layer_uses_them_in_compiled_functions():
    layer = GroupNorm(activation="relu")
    x = random_tensor((2, 6, 6, 64), seed=6, dtype="float32")
    expected = layer(x)

    def fast():
        with using_gpu_kernels():
            return layer(x)

    compiled = tf.function(fast, jit_compile=True)
    assert gpu_kernels.TARGET in compiled.experimental_get_compiler_ir()(stage="hlo")
    np.testing.assert_allclose(compiled(), expected, atol=1e-5)
