"""MixUp, as big_transfer does it: one weight for the whole batch."""

import tensorflow as tf

from bit_keras.data.seeds import two_seeds


def mixup(images, labels, alpha, seed):
    """Mixes each example of a batch with another one, all in the same proportion.

    The partner is the example at the same place from the end. (In an even batch each
    pair is so used twice, once in either proportion.)

    Args:
        images: float `(batch, height, width, 3)`.
        labels: One-hot or otherwise weighted `(batch, classes)`.
        alpha: Parameter of the Beta distribution of the proportion, positive.
        seed: Two integers; equal ones give equal results.

    Returns:
        Images and labels of the same shapes.

    Source: Zhang et al., "mixup", arXiv 1710.09412; big_transfer's
    `input_pipeline_tf2_or_jax.py`.
    """
    proportion = sample_beta(alpha, seed)

    def mix(values):
        weight = tf.cast(proportion, values.dtype)
        return weight * values + (1 - weight) * tf.reverse(values, axis=[0])

    return mix(images), mix(labels)


def sample_beta(alpha, seed):
    """Draws one float32 number in [0, 1] from Beta(alpha, alpha).

    For a small `alpha` both of the gamma variables that make a Beta variable can
    underflow, so that their ratio is 0 / 0. So they are drawn as logarithms: if G is
    Gamma(alpha + 1) and U uniform, G * U ** (1 / alpha) is Gamma(alpha).

    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM
    TOMS 26 (2000), section 6.
    """
    gamma_seed, uniform_seed = two_seeds(seed)
    gammas = tf.random.stateless_gamma([2], gamma_seed, alpha + 1.0)
    uniforms = tf.random.stateless_uniform([2], uniform_seed)
    # 1 - U is never 0.
    logarithms = tf.math.log(gammas) + tf.math.log1p(-uniforms) / alpha
    return tf.sigmoid(logarithms[0] - logarithms[1])
