"""The convolution of BiT: explicit zeros on all four sides."""

import tensorflow as tf

from bit_keras.layers import cpu_forms, gpu_kernels


def convolve(images, kernel, strides, padding):
    """Convolves with the same number of zeros on each side, whatever the stride.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(height, width, channels, new_channels)`, of the same dtype.
        strides: Step in pixels along both sides.
        padding: Zeros on each side, in pixels.

    Returns:
        `(batch, new_height, new_width, new_channels)`.
    """
    if gpu_kernels.enabled() and _suits_blocks(images, strides):
        return _convolve_blocks(images, kernel, padding)
    if cpu_forms.enabled() and cpu_forms.can_multiply(images, kernel, strides):
        return cpu_forms.convolve(images, kernel, strides, padding)
    # Not `keras.ops.conv`, which can only pad unevenly or not at all.
    sides = [padding, padding]
    return tf.nn.conv2d(images, kernel, strides, [[0, 0], sides, sides, [0, 0]])


def _suits_blocks(images, strides):
    """Returns whether the matrix units of a GPU would idle for want of channels."""
    sizes_are_known = None not in images.shape[1:]
    return strides == 2 and images.shape[-1] <= 4 and sizes_are_known


def _convolve_blocks(images, kernel, padding):
    """Convolves with a stride of 2 as if blocks of 2 x 2 pixels were pixels.

    The products and their sum are the same, but there are four times the channels,
    half the kernel's size and no stride: matrix units of GPUs take 8 or 16 channels at
    once, so that three colours leave most of them idle.
    """
    size = kernel.shape[0]
    taps = -(-size // 2)
    heights = _padded_sides(images.shape[1], size, padding)
    widths = _padded_sides(images.shape[2], size, padding)
    blocks = tf.pad(images, [[0, 0], heights, widths, [0, 0]])
    blocks = tf.nn.space_to_depth(blocks, 2)
    channels = blocks.shape[-1]
    filling = -channels % 8

    even = 2 * taps - size
    kernel = tf.pad(kernel, [[0, even], [0, even], [0, 0], [0, 0]])
    kernel = tf.reshape(kernel, (taps, 2, taps, 2, *kernel.shape[2:]))
    kernel = tf.transpose(kernel, (0, 2, 1, 3, 4, 5))
    kernel = tf.reshape(kernel, (taps, taps, channels, kernel.shape[-1]))
    kernel = tf.pad(kernel, [[0, 0], [0, 0], [0, filling], [0, 0]])
    blocks = tf.pad(blocks, [[0, 0], [0, 0], [0, 0], [0, filling]])
    return tf.nn.conv2d(blocks, kernel, 1, "VALID")


def _padded_sides(length, size, padding):
    """Returns the zeros before and behind, so that whole blocks are covered."""
    outputs = (length + 2 * padding - size) // 2 + 1
    blocks = outputs + -(-size // 2) - 1
    return [padding, 2 * blocks - length - padding]
