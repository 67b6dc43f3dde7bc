"""Sizes of tensors, as far as they are known before anything is computed."""

import tensorflow as tf


def sizes(x):
    """Returns the length of each axis of a tensor: a number, or else a scalar tensor.

    Numbers make one constant of a whole shape. Slices of `tf.shape`, put together
    again, were a third of all operations of a training step on processors: two cores
    took 4.8 s to trace R50x1 with them, and take 2.9 s without.

    Args:
        x: A tensor of known rank.

    Returns:
        A list, as it is or in parts a shape for TensorFlow's functions.
    """
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    lengths = tf.unstack(tf.shape(x))
    pairs = zip(x.shape, lengths, strict=True)
    return [length if size is None else size for size, length in pairs]
