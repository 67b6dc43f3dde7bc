"""Forms of what BiT computes that XLA makes fast programs of on processors.

XLA makes loops of a sum. On a processor these take one value after the other and make
anew what each of them is computed from, where a product with ones is a call of a
library. It turns activations round for the gradient of a kernel, even of a 1 x 1
kernel, which is a product of matrices. And where an image has fewer pixels than a
kernel it calls no library at all: 2 x 2 pixels of 512 channels took 47 ms, and a
product takes 1. So steps that XLA compiles for processors use products. Nothing else
does: GPUs would round their factors, and are fast at sums.
"""

import itertools
import math

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from bit_keras.layers.gradients import custom_gradient
from bit_keras.layers.shapes import sizes
from bit_keras.layers.switch import Switch

# Sums are products of up to so many parts: of a single one XLA would make a loop again.
_PARTS = 8
# Up to so many pixels of the result, the products of a kernel of 3 x 3 pixels were
# faster than XLA's convolution and its gradients.
_FEW_PIXELS = 16

_switch = Switch("cpu_forms")


def using_cpu_forms(enabled=True):
    """Lets layers use these forms, inside of a function that XLA compiles for a CPU.

    Args:
        enabled: Whether they do.
    """
    return _switch.turned(enabled)


def enabled():
    """Returns whether layers use these forms now."""
    return _switch.is_on()


def supported():
    """Returns whether all that is computed here is computed by processors."""
    devices = tf.config.list_logical_devices()
    return all(device.device_type == "CPU" for device in devices)


def mean_over(x, axes):
    """Returns means over axes, which are kept, with a length of 1.

    Args:
        x: Tensor of float32 or float64, so that a sum cannot overflow, whose last axis
            is that of channels.
        axes: All axes before that of channels, from some one on, such as `(1, 2)`.
    """
    averaged = x.shape[axes[0] : -1]
    if not enabled() or not averaged.is_fully_defined():
        return tf.reduce_mean(x, axes, keepdims=True)
    others, channels = sizes(x)[: axes[0]], x.shape[-1]
    count = averaged.num_elements()
    parts = next(parts for parts in range(_PARTS, 0, -1) if count % parts == 0)
    # Not `tf.ones`, which would write a small matrix into the graph value by value.
    ones = tf.fill([*others, parts, 1, count // parts], tf.ones([], x.dtype))
    sums = ones @ tf.reshape(x, [*others, parts, count // parts, channels])
    means = tf.reduce_sum(sums, axis=-3) / count
    return tf.reshape(means, [*others, *(1 for _ in axes), channels])


def can_multiply(images, kernel, strides):
    """Returns whether a product is the fastest form of a convolution.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(height, width, channels, new_channels)`.
        strides: Step in pixels along both sides.
    """
    if kernel.shape[0] == 1:
        return True
    sizes_are_known = None not in images.shape[1:3]
    pixels = (-(-size // strides) for size in images.shape[1:3])
    return sizes_are_known and math.prod(pixels) <= _FEW_PIXELS


def convolve(images, kernel, strides, padding):
    """Convolves by a product of matrices, and so are its gradients.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(height, width, channels, new_channels)`, of the same dtype.
        strides: Step in pixels along both sides.
        padding: Zeros on each side, in pixels.

    Returns:
        `(batch, new_height, new_width, new_channels)`.
    """
    taps, new_channels = kernel.shape[:2], kernel.shape[3]
    patches = _patches(images, taps, strides, padding)
    rows = tf.reshape(patches, (-1, patches.shape[-1]))
    products = _multiply(rows, tf.reshape(kernel, (-1, new_channels)))
    return tf.reshape(products, [*sizes(patches)[:3], new_channels])


def _patches(images, taps, strides, padding):
    """Returns the pixels below each place of a kernel, side by side as channels."""
    if padding:
        sides = [padding, padding]
        images = tf.pad(images, [[0, 0], sides, sides, [0, 0]])
    # Places that a kernel's first pixel can be at.
    rows, columns = (
        size - tap + 1 for size, tap in zip(sizes(images)[1:3], taps, strict=True)
    )
    return tf.concat(
        [
            images[:, i : i + rows : strides, j : j + columns : strides]
            for i, j in itertools.product(*map(range, taps))
        ],
        axis=-1,
    )


@custom_gradient
def _multiply(rows, matrix):
    def gradient(d_products):
        d_rows = tf.matmul(d_products, matrix, transpose_b=True)
        if matrix.shape[0] <= matrix.shape[1]:
            return d_rows, tf.matmul(rows, d_products, transpose_a=True)
        # The library takes twice as long for a tall result as for a wide one.
        wide = tf.matmul(d_products, rows, transpose_a=True)
        return d_rows, tf.transpose(_kept_as_it_is(wide))

    return tf.matmul(rows, matrix), gradient


@tf.custom_gradient
def _kept_as_it_is(values):
    """Keeps XLA from merging a product with what follows; has a gradient, too."""
    return xla.optimization_barrier(values)[0], tf.identity
