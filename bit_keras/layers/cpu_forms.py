"""Forms of what BiT computes that XLA makes fast programs of on processors.

XLA makes loops of a sum. On a processor these take one value after the other and make
anew what each of them is computed from, where a product with ones is a call of a
library. And it turns activations round for the gradient of a kernel, even of a 1 x 1
kernel, which is a product of matrices. So steps that XLA compiles for processors use
products. Nothing else does: GPUs would round their factors, and are fast at sums.
"""

import contextlib
import contextvars
import math

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

# Sums are products of so many parts: of a single part XLA would make a loop again.
_PARTS = 8

_enabled = contextvars.ContextVar("cpu_forms", default=False)


@contextlib.contextmanager
def using_cpu_forms(enabled=True):
    """Lets layers use these forms, inside of a function that XLA compiles for a CPU.

    Args:
        enabled: Whether they do.
    """
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)


def enabled():
    """Returns whether layers use these forms now."""
    return _enabled.get()


def supported():
    """Returns whether all that is computed here is computed by processors."""
    return {device.device_type for device in tf.config.list_logical_devices()} == {
        "CPU"
    }


def mean_over(x, axes):
    """Returns means over axes, which are kept, with a length of 1.

    Args:
        x: Tensor whose last axis is that of channels.
        axes: All axes before that of channels, from some one on, such as `(1, 2)`.
    """
    averaged = x.shape[axes[0] : -1]
    if not enabled() or not averaged.is_fully_defined():
        return tf.reduce_mean(x, axes, keepdims=True)
    others, channels = tf.shape(x)[: axes[0]], x.shape[-1]
    count = averaged.num_elements()
    parts = math.gcd(count, _PARTS)

    def reshape(values, *shape):
        return tf.reshape(values, tf.concat([others, shape], 0))

    ones = tf.ones(tf.concat([others, [parts, 1, count // parts]], 0), x.dtype)
    sums = ones @ reshape(x, parts, count // parts, channels)
    means = tf.reduce_sum(sums, axis=-3) / tf.cast(count, x.dtype)
    return reshape(means, *(1 for _ in axes), channels)


def convolve_pixels(images, kernel, strides):
    """Convolves with a 1 x 1 kernel: a product of matrices, and so are its gradients.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(1, 1, channels, new_channels)`, of the same dtype.
        strides: Step in pixels along both sides.

    Returns:
        `(batch, new_height, new_width, new_channels)`.
    """
    images = images[:, ::strides, ::strides]
    channels, new_channels = kernel.shape[2:]
    rows = tf.reshape(images, (-1, channels))
    products = _multiply(rows, tf.reshape(kernel, (channels, new_channels)))
    shape = tf.concat([tf.shape(images)[:3], [new_channels]], 0)
    return tf.reshape(products, shape)


@tf.custom_gradient
def _multiply(rows, matrix):
    def gradient(d_products):
        d_rows = tf.matmul(d_products, matrix, transpose_b=True)
        if matrix.shape[0] <= matrix.shape[1]:
            return d_rows, tf.matmul(rows, d_products, transpose_a=True)
        # The library takes twice as long for a tall result as for a wide one. Without
        # the barrier XLA would undo this.
        wide = tf.matmul(d_products, rows, transpose_a=True)
        return d_rows, tf.transpose(xla.optimization_barrier(wide)[0])

    return tf.matmul(rows, matrix), gradient
