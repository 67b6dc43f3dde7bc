"""Batches for training and for evaluation."""

import functools
import math

import numpy as np
import tensorflow as tf

from bit_keras.data import preprocess, raw, seeds
from bit_keras.data.mixup import mixup, rows_for_part
from bit_keras.data.sources import open_source
from bit_keras.errors import InputError
from bit_keras.recipes.hyperrule import HyperRule

# Decoded images of a set are kept in memory up to this size.
MAX_CACHED_BYTES = 1 << 30
IN_PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def load_dataset(dataset, recipe=None, *, data_dir=None, seed=0, **kwargs):
    """Returns the batches of a recipe on a set of labelled images.

    Args:
        dataset: As in `open_source`: the name of a TFDS set, a folder of classes,
            arrays, `tf.data` sets, `"doodles"`, or a `Source`.
        recipe: A recipe, such as a `HyperRule`, or `None` for the rule of this set.
        data_dir: Folder where TFDS keeps its sets.
        seed: Seed of order, crops, flips and MixUp. It does not change which images
            are tested on.
        **kwargs: Of `open_source`, but for its seed.

    Returns:
        Two `tf.data.Dataset`. The training batches, without end: (images float32
        `(batch, crop, crop, 3)` in [-1, 1], one-hot labels float32
        `(batch, classes)`). The test batches, each example once: (images, one-hot
        labels, weights float32 `(batch,)`), all of one size, the last one filled up
        with examples of weight 0. They are the same ones for a seed, each time and
        whatever the number of threads.

    Raises:
        InputError: If there is no such set or one cannot learn from it.
        RunError: If TFDS cannot download or prepare the set.

    Example:

    >>> train, test = load_dataset("cifar10", data_dir="~/tensorflow_datasets")
    """
    source = open_source(dataset, data_dir, **kwargs)
    recipe = recipe or rule_for(source)
    train = train_batches(source, recipe, seed)
    return train, eval_batches(source, source.test, recipe.crop, recipe.eval_resize)


def rule_for(source, rule=HyperRule):
    """Returns the recipe for a `Source`; `rule` can be `HyperRule.light`."""
    return rule(*source.image_size, source.train.num_examples)


def train_batches(source, recipe, seed=0, first_step=0, part=(0, 1), *, as_raw=False):
    """Returns the endless training batches of a recipe.

    Every random choice follows from the seed and from the place of an example in the
    whole stream, so that the stream can be entered anywhere and shared out.

    Args:
        source: A `Source`.
        recipe: A recipe.
        seed: Seed of order, crops, flips and MixUp.
        first_step: Number of batches to leave out at the beginning. Their images are
            not decoded; a set that is read one after another is read from the
            beginning of the epoch.
        part: (index, count): of each batch only the `index`-th of `count` equal slices
            is made, of the same numbers that it has in the whole batch. Images that it
            does not need are not decoded, unless all are kept in memory.
        as_raw: Whether the images are `RawImages`, which a device renders. Only where
            `can_be_raw`, and for whole batches.

    Returns:
        A `tf.data.Dataset` of (images, labels) as the first one of `load_dataset`.

    Raises:
        InputError: If batches cannot be divided so.
    """
    batch_size = recipe.batch_size
    partner = recipe.mixup_partner if recipe.mixup_alpha else None
    rows = rows_for_part(batch_size, part, partner)
    if first_step < 0:
        raise InputError(f"`first_step` must not be negative. Received: {first_step}")
    split = in_memory(source.train, source)
    train_image = raw.train_images if as_raw else preprocess.train_image
    mix_images = raw.mixup if as_raw else mixup

    def augment(place, record):
        image, label = split.decode(record)
        image = train_image(
            image,
            recipe.resize,
            recipe.crop,
            seeds.numbered_seed(seed, seeds.AUGMENT, place),
            recipe.cropping,
            recipe.flip,
        )
        return image, tf.one_hot(label, source.num_classes)

    def mix(step, batch):
        mix_seed = seeds.numbered_seed(seed, seeds.MIX, step)
        choices = (recipe.mixup_alpha, mix_seed, partner, batch_size, part)
        return mix_images(*batch, *choices)

    records = _placed_records(split, seed, first_step * batch_size)
    records = _of_rows(records, rows, batch_size)
    batch = {"batch_size": len(rows), "drop_remainder": True, **IN_PARALLEL}
    if as_raw:  # To gather a whole batch at once is a fraction of the work.
        batches = records.batch(**batch).map(augment, **IN_PARALLEL)
    else:
        batches = records.map(augment, **IN_PARALLEL).batch(**batch)
    if partner:
        batches = batches.enumerate(first_step).map(mix, **IN_PARALLEL)
    # Known to Keras, which asks for `steps_per_epoch` then.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return batches.apply(endless).prefetch(tf.data.AUTOTUNE)


def can_be_raw(source, split, crop, eval_resize=None):
    """Returns whether batches of a split can be of `RawImages`, and are smaller so.

    Args:
        source: A `Source`.
        split: `source.train` or `source.test`.
        crop: Height and width in pixels of what a network sees.
        eval_resize: As in `eval_batches`.
    """
    size = in_memory(split, source).image_size
    if size is None or eval_resize is not None:
        return False
    # A pixel of what a network sees has two bytes in half precision for each one here.
    return math.prod(size) <= 2 * crop**2


def in_memory(split, source):
    """Returns a split, its images in memory if they are few or small enough.

    Args:
        split: A `Split` of the source.
        source: The `Source`.
    """
    num_bytes = 3 * split.num_examples * math.prod(source.image_size)
    if split.is_in_memory or num_bytes > MAX_CACHED_BYTES:
        return split
    return split.in_memory


def _placed_records(split, seed, first):
    """Returns (place in the stream, record) without end, from place `first` on.

    Each epoch has its own order, which seed and epoch alone decide.
    """
    first_epoch, first_in_epoch = divmod(first, split.num_examples)

    def one_epoch(number):
        records = split.shuffled(seeds.numbered_seed(seed, seeds.ORDER, number))
        is_entered_late = tf.cast(number == first_epoch, tf.int64)
        return records.skip(is_entered_late * first_in_epoch)

    epochs = tf.data.Dataset.counter(first_epoch).flat_map(one_epoch)
    return epochs.enumerate(first)


def _of_rows(placed, rows, batch_size):
    """Leaves those (place, ...) that come into the given rows of batches."""
    if len(rows) == batch_size:
        return placed
    is_needed = np.isin(np.arange(batch_size), rows)
    return placed.filter(lambda place, _: tf.gather(is_needed, place % batch_size))


def eval_batches(
    source,
    split,
    crop,
    eval_resize=None,
    *,
    max_batch_size=128,
    multiple=1,
    part=(0, 1),
    targets=None,
    as_raw=False,
    in_few_sizes=False,
):
    """Returns every example of a split once, in a fixed order.

    Args:
        source: A `Source`.
        split: `source.train` or `source.test`.
        crop: Height and width of the images in pixels.
        eval_resize: If given, pixels of the shorter side before the middle is cut out;
            see `preprocess.eval_image`.
        max_batch_size: Number of examples in a batch, at most, unless `multiple` is
            larger.
        multiple: The number of examples in a batch is a multiple of this, such as the
            number of replicas.
        part: (index, count) as in `train_batches`.
        targets: Maps a label to the values that the batches give for it; by default it
            becomes one-hot.
        as_raw: As in `train_batches`; then the images are kept in memory.
        in_few_sizes: Whether the size of the batches is the largest one, or for fewer
            examples `multiple` times a power of two, in place of the one that needs
            least to fill up. For a network that sees many sets: on a GPU it takes
            longer to compile it for each size than to compute some images in vain.

    Returns:
        A finite `tf.data.Dataset` as the second one of `load_dataset`: all batches are
        of one size, and only examples of weight 1 are to be counted.

    Raises:
        InputError: If batches cannot be divided so.
    """
    batch_size, num_batches = _even_batches(
        split.num_examples, max_batch_size, multiple, in_few_sizes
    )
    rows = rows_for_part(batch_size, part)
    num_in_last = split.num_examples - (num_batches - 1) * batch_size
    num_filling = int(np.sum(rows >= num_in_last))
    split = in_memory(split, source) if as_raw else split
    eval_image = raw.eval_image if as_raw else preprocess.eval_image
    targets = targets or functools.partial(tf.one_hot, depth=source.num_classes)

    def prepare(_, record):
        image, label = split.decode(record)
        image = eval_image(image, crop, eval_resize)
        return image, targets(label), 1.0

    placed = _of_rows(split.ordered().enumerate(), rows, batch_size)
    examples = placed.map(prepare, **IN_PARALLEL)
    zeros = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), examples.element_spec
    )
    filling = tf.data.Dataset.from_tensors(zeros).repeat(num_filling)
    batches = examples.concatenate(filling).batch(
        len(rows), drop_remainder=True, **IN_PARALLEL
    )
    # Known beforehand, for progress bars.
    known_count = tf.data.experimental.assert_cardinality(num_batches)
    return batches.apply(known_count).prefetch(tf.data.AUTOTUNE)


def _even_batches(num_examples, max_batch_size, multiple, in_few_sizes):
    """Returns the size of batches and their number, with as few to fill up as can be.

    All are of one size, for XLA compiles the network for each size.
    """
    largest = max(max_batch_size // multiple, 1) * multiple
    if in_few_sizes:
        parts = math.ceil(num_examples / multiple)
        batch_size = min(largest, multiple << (parts - 1).bit_length())
        return batch_size, math.ceil(num_examples / batch_size)
    num_batches = math.ceil(num_examples / largest)
    batch_size = math.ceil(num_examples / num_batches / multiple) * multiple
    return batch_size, num_batches
