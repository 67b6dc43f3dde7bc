"""Seeds of stateless random operations."""

import tensorflow as tf


def two_seeds(seed):
    """Makes two independent seeds out of one.

    Args:
        seed: Two integers of any integer type, as a tuple or tensor.

    Returns:
        Two int64 tensors of shape (2,).
    """
    # Of one type everywhere: TensorFlow draws other numbers for the same seed in int32.
    return tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
