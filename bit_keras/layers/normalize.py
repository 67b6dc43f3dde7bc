"""Group normalization as a function, with a gradient written by hand.

What TensorFlow derives by itself keeps and passes over several tensors of the size of
the activations. Here the forward pass reads them twice, for the statistics and for the
result; so does the backward pass, and between the two nothing is kept but the input.
(On processors XLA's products write what they sum, which is still several times faster;
see `cpu_forms`.)
"""

import math

import tensorflow as tf

from bit_keras.layers.cpu_forms import mean_over
from bit_keras.layers.gradients import custom_gradient
from bit_keras.layers.shapes import sizes


def group_normalize(x, gamma, beta, groups, epsilon, relu):
    """Normalizes groups of channels of each image; scales, shifts and rectifies.

    Args:
        x: `(batch, height, width, channels)`, of any floating dtype.
        gamma: Scales `(channels,)`; their dtype is that of the computation.
        beta: Shifts `(channels,)`, of the dtype of `gamma`.
        groups: Number of groups; divides the number of channels.
        epsilon: Added to the variance.
        relu: Whether negative results become zero.

    Returns:
        A tensor like `x`, but of the dtype of `gamma`.

    Source: Wu and He, "Group Normalization", arXiv 1803.08494.
    """

    @custom_gradient
    def normalized(x, gamma, beta):
        mean, inverse = _statistics(tf.cast(x, gamma.dtype), groups, epsilon)
        scale = gamma * inverse
        # Not `x * scale + (beta - mean * scale)`, which would be one pass less on a CPU
        # but rounds what cancels: a constant group has a large scale.
        y = (tf.cast(x, gamma.dtype) - mean) * scale + beta
        y = tf.nn.relu(y) if relu else y

        def gradient(dy):
            centred = tf.cast(x, gamma.dtype) - mean
            if relu:
                # Computed anew, which costs less than to keep and read `y`.
                dy = tf.where(centred * scale + beta > 0, dy, tf.zeros_like(dy))
            standard = centred * inverse
            mean_dy = mean_over(dy, _SPACE)
            mean_along = mean_over(dy * standard, _SPACE)
            # The derivative of mean and deviation: without what lies along the
            # constant and along the normalized values of the group.
            constant = _group_mean(mean_dy * gamma, groups)
            along = _group_mean(mean_along * gamma, groups)
            dx = (dy * gamma - constant - standard * along) * inverse
            # The parameters' gradients are sums over the pixels of all images.
            pixels = tf.cast(math.prod(sizes(x)[1:3]), gamma.dtype)
            every_image = (0, 1, 2)
            return (
                tf.cast(dx, x.dtype),
                tf.reduce_sum(mean_along, every_image) * pixels,
                tf.reduce_sum(mean_dy, every_image) * pixels,
            )

        return y, gradient

    return normalized(x, gamma, beta)


_SPACE = (1, 2)


def _statistics(x, groups, epsilon):
    """Returns mean and 1 / deviation of each channel's group: (batch, 1, 1, C)."""
    # E[x^2] - E[x]^2 loses all digits where the mean is much larger than the deviation.
    # Counted from one of the values themselves it cannot: such a value is so many
    # deviations from the mean, at most, as the root of the number of values.
    origin = x[:, :1, :1, :]
    centred = x - origin
    mean = mean_over(centred, _SPACE)
    variance = mean_over(tf.square(centred), _SPACE)
    variance = tf.nn.relu(variance - tf.square(mean))
    mean += origin
    # Of each channel so far; those of the group follow exactly.
    group_mean = _group_mean(mean, groups)
    spread = variance + tf.square(mean - group_mean)
    return group_mean, 1 / tf.sqrt(_group_mean(spread, groups) + epsilon)


def _group_mean(values, groups):
    """Returns the mean over its group for each channel of (batch, 1, 1, C)."""
    batch, *_, channels = sizes(values)
    shape = batch, groups, channels // groups
    means = tf.reduce_mean(tf.reshape(values, shape), axis=2, keepdims=True)
    return tf.reshape(tf.broadcast_to(means, shape), (batch, 1, 1, channels))
