"""Batches for training and for evaluation."""

import math

import tensorflow as tf

from bit_keras.data import preprocess
from bit_keras.data.mixup import mixup
from bit_keras.data.sources import open_source
from bit_keras.recipes.hyperrule import HyperRule

# Decoded images of a set are kept in memory up to this size.
MAX_CACHED_BYTES = 1 << 30
# Above this number of examples they are shuffled within a window of as many.
SHUFFLE_BUFFER = 50_000


def load_dataset(dataset, recipe=None, *, data_dir=None, seed=0, **kwargs):
    """Returns the batches of a recipe on a set of labelled images.

    Args:
        dataset: As in `open_source`: the name of a TFDS set, a folder of classes,
            arrays, `"doodles"`, or a `Source`.
        recipe: A `HyperRule`, or `None` for the rule of this set.
        data_dir: Folder where TFDS keeps its sets.
        seed: Seed of order, crops, flips and MixUp. It does not change which images
            are tested on.
        **kwargs: Of `open_source`, but for its seed.

    Returns:
        Two `tf.data.Dataset` of (images float32 `(batch, crop, crop, 3)` in [-1, 1],
        one-hot labels float32 `(batch, classes)`): the training batches, without end,
        and the test batches, each example once. They are the same ones for a seed,
        each time and whatever the number of threads.

    Raises:
        InputError: If there is no such set or one cannot learn from it.
        RunError: If TFDS cannot download or prepare the set.

    Example:

    >>> train, test = load_dataset("cifar10", data_dir="~/tensorflow_datasets")
    """
    source = open_source(dataset, data_dir, **kwargs)
    recipe = recipe or rule_for(source)
    train = train_batches(source, recipe, seed)
    return train, eval_batches(source, source.test, recipe.crop)


def rule_for(source, rule=HyperRule):
    """Returns the recipe for a `Source`; `rule` can be `HyperRule.light`."""
    return rule(*source.image_size, source.train.num_examples)


def train_batches(source, recipe, seed=0):
    """Returns the endless training batches of a recipe; see `load_dataset`."""

    def augment(index, example):
        image, label = example
        image = preprocess.train_image(
            image, recipe.resize, recipe.crop, tf.stack([seed, index])
        )
        return image, tf.one_hot(label, source.num_classes)

    def mix(index, batch):
        # Apart from the seeds of crops and flips: no count of examples is negative.
        return mixup(*batch, recipe.mixup_alpha, tf.stack([seed, -1 - index]))

    examples = _shuffled_examples(source.train, source.image_size, seed)
    batches = (
        examples.enumerate()
        .map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(recipe.batch_size, drop_remainder=True)
    )
    if recipe.mixup_alpha:
        batches = batches.enumerate().map(
            mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
    return batches.prefetch(tf.data.AUTOTUNE)


def _shuffled_examples(split, image_size, seed):
    """Shuffles pixels where they fit into memory, and else what they are read from."""
    if 3 * split.num_examples * image_size[0] * image_size[1] <= MAX_CACHED_BYTES:
        return _epochs(split.images().cache(), split.num_examples, seed)
    return _epochs(split.records(), split.num_examples, seed).map(
        split.decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _epochs(examples, num_examples, seed):
    """Repeats examples without end, in an order that seed and epoch alone decide."""

    def one_epoch(number):
        # The seed of this function's own graph; else `tf.random.set_seed` mattered.
        # Not 0, beside which TensorFlow takes no tensor for the other seed.
        tf.compat.v1.set_random_seed(1)
        order = tf.random.stateless_uniform([], (seed, number), 1, 2**62, tf.int64)
        window = min(num_examples, SHUFFLE_BUFFER)
        return examples.shuffle(window, seed=order, reshuffle_each_iteration=False)

    epochs = tf.data.Dataset.counter().flat_map(one_epoch)
    # Known to Keras, which asks for `steps_per_epoch` then.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return epochs.apply(endless)


def eval_batches(source, split, crop, max_batch_size=128):
    """Returns every example of a split once, in a fixed order.

    Args:
        source: A `Source`.
        split: `source.train` or `source.test`.
        crop: Height and width of the images in pixels.
        max_batch_size: Number of examples in a batch, at most.

    Returns:
        A finite `tf.data.Dataset` as the second one of `load_dataset`.
    """

    def prepare(image, label):
        return preprocess.eval_image(image, crop), tf.one_hot(label, source.num_classes)

    examples = split.images().map(
        prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    # Known beforehand, for progress bars.
    known_count = tf.data.experimental.assert_cardinality(split.num_examples)
    examples = examples.apply(known_count)
    # All of one size where that is possible: XLA compiles the network for each size.
    num_batches = math.ceil(split.num_examples / max_batch_size)
    batch_size = math.ceil(split.num_examples / num_batches)
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)
