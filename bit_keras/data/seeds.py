"""Seeds of stateless random operations."""

import tensorflow as tf

# What the number of an epoch, of an example and of a batch is used for.
ORDER, AUGMENT, MIX = USES = range(3)


def numbered_seed(seed, use, number):
    """Makes the seed of one of many random choices of the same kind.

    Args:
        seed: Integer, the seed of the whole.
        use: `ORDER`, `AUGMENT` or `MIX`.
        number: Integer tensor, not negative, such as the position of an example, or of
            each example of a batch.

    Returns:
        int64 tensor of shape `(*number.shape, 2)`, another one for each use and number.
    """
    number = tf.cast(number, tf.int64)
    seed = tf.fill(tf.shape(number), tf.cast(seed, tf.int64))
    return tf.stack([seed, len(USES) * number + use], axis=-1)


def two_seeds(seed):
    """Makes two independent seeds out of one.

    Args:
        seed: Two integers of any integer type, as a tuple or tensor.

    Returns:
        Two int64 tensors of shape (2,).
    """
    # Of one type everywhere: TensorFlow draws other numbers for the same seed in int32.
    return tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))


def permutation(size, seed):
    """Draws an order of `size` things, of which each is equally likely.

    Args:
        size: How many there are.
        seed: Two integers; equal ones give equal results.

    Returns:
        int32 tensor of shape (size,) with the numbers below `size`.
    """
    keys = tf.random.stateless_uniform(
        [size], tf.cast(seed, tf.int64), None, None, tf.int64
    )
    return tf.argsort(keys, stable=True)
