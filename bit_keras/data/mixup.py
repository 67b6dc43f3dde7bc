"""MixUp, as big_transfer does it: one weight for the whole batch."""

import numpy as np
import tensorflow as tf

from bit_keras.data.seeds import permutation, two_seeds
from bit_keras.errors import InputError

PARTNERS = ("reversal", "roll", "permutation")


def mixup(images, labels, alpha, seed, partner="reversal", batch_size=None, part=None):
    """Mixes each example of a batch with another one, all in the same proportion.

    Args:
        images: float `(rows, height, width, 3)`, the whole batch, or the rows that
            `rows_for_part` names.
        labels: One-hot or otherwise weighted `(rows, classes)`.
        alpha: Parameter of the Beta distribution of the proportion, positive.
        seed: Two integers; equal ones give equal results.
        partner: Which example each one is mixed with: by `"reversal"`, as published,
            the one at the same place from the end (in an even batch each pair is so
            used twice, once in either proportion); by `"roll"` the one before it; by
            `"permutation"` the one at its place in a random order.
        batch_size: Number of examples in the whole batch, for a part of it.
        part: (index, count): the `index`-th of `count` equal slices of the mixed batch
            is made, of the same numbers that it has in the whole.

    Returns:
        Images and labels of the same shapes, or those of the part.

    Source: Zhang et al., "mixup", arXiv 1710.09412; big_transfer's
    `input_pipeline_tf2_or_jax.py` (reversal) and `bit_pytorch` (permutation);
    big_vision's `utils.get_mixup` (roll).
    """
    batch_size = batch_size or images.shape[0]
    rows = rows_for_part(batch_size, part, partner)
    own = rows_for_part(batch_size, part)
    proportion, partners = draw_mixing(alpha, seed, partner, batch_size)
    # Where each row of the whole batch is among those that are here.
    place = np.cumsum(np.isin(np.arange(batch_size), rows)) - 1
    first, second = place[own], tf.gather(place, partners[own[0] : own[-1] + 1])

    def mix(values):
        ours = values if len(own) == len(rows) else tf.gather(values, first)
        return weighted(ours, tf.gather(values, second), proportion)

    return mix(images), mix(labels)


def draw_mixing(alpha, seed, partner, batch_size):
    """Draws how a whole batch is mixed.

    Args:
        alpha: As in `mixup`.
        seed: As in `mixup`.
        partner: As in `mixup`.
        batch_size: Number of examples in the batch.

    Returns:
        The proportion, a float32 scalar in [0, 1], and the row that each row is mixed
        with, int32 `(batch_size,)`.
    """
    proportion_seed, order_seed = two_seeds(seed)
    partners = _partners(partner, batch_size, order_seed)
    return sample_beta(alpha, proportion_seed), tf.cast(partners, tf.int32)


def mixed(values, proportion, partners):
    """Mixes the rows of a whole batch as `draw_mixing` has drawn.

    Args:
        values: float `(batch, ...)`.
        proportion: Share of each row itself.
        partners: The row that each row is mixed with.
    """
    return weighted(values, tf.gather(values, partners), proportion)


def weighted(first, second, proportion):
    """Returns a sum of two batches, in which the first has the share `proportion`."""
    weight = tf.cast(proportion, first.dtype)
    return weight * first + (1 - weight) * second


def rows_for_part(batch_size, part=None, partner=None):
    """Returns which rows of a batch are needed to make a part of the mixed batch.

    Args:
        batch_size: Number of examples in the whole batch.
        part: (index, count) as in `mixup`; `None` for the whole batch.
        partner: As in `mixup`; `None` where nothing is mixed.

    Returns:
        Integer array in increasing order.

    Raises:
        InputError: If there is no such part, or parts are not equal.
    """
    index, count = part or (0, 1)
    if count < 1 or not 0 <= index < count or batch_size % count:
        raise InputError(
            f"A batch of {batch_size} examples can be divided into parts numbered from "
            f"0 whose number divides it. Received: part {index} of {count}"
        )
    size = batch_size // count
    own = np.arange(index * size, (index + 1) * size)
    if partner == "permutation":
        return np.arange(batch_size)
    if partner is None:
        return own
    return np.union1d(own, _partners(partner, batch_size)[own])


def _partners(partner, batch_size, seed=None):
    """Returns the row that each row is mixed with."""
    rows = np.arange(batch_size)
    if partner == "reversal":
        return rows[::-1].copy()
    if partner == "roll":
        return np.roll(rows, 1)
    if partner == "permutation":
        return permutation(batch_size, seed)
    raise InputError(f"`partner` must be one of {PARTNERS}. Received: {partner!r}")


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
