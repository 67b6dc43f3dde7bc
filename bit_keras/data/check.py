"""Bad images, found before training rather than in the middle of it."""

import collections
import concurrent.futures
import dataclasses
import os
import warnings

import numpy as np

from bit_keras.data import decode
from bit_keras.data.labels import check_labels
from bit_keras.errors import InputError
from bit_keras.progress import progress_bar

# How many bad images a message names.
NUM_NAMED = 3


def check_images(source, max_bad_images=0, progress=True):
    """Reads and decodes every image file of a set once, in threads.

    Of a TFDS set, which was checked when it was prepared, images are looked at only
    where `max_bad_images` allows for bad ones; else its labels alone.

    An image is bad if it cannot be read, is empty, cut off or of no known format, an
    animated WebP, or larger than `decode.MAX_PIXELS`. The labels are looked at on the
    way.

    Args:
        source: A `Source`.
        max_bad_images: Number of bad images, in training and test images together, up
            to which they are left out with a warning.
        progress: Whether to show a progress bar.

    Returns:
        The `Source` without the bad images; the same one if there are none, or if its
        images are pixels already (arrays and `tf.data`).

    Raises:
        InputError: If there are more bad images, if a class loses all its training or
            all its test images, or if labels are out of range.
    """
    if not isinstance(max_bad_images, int) or max_bad_images < 0:
        raise InputError(
            "`max_bad_images` must be a whole number of at least 0. "
            f"Received: {max_bad_images!r}"
        )
    splits = {"train": source.train, "test": source.test}
    if not any(split.is_encoded for split in splits.values()):
        return source
    if not max_bad_images and not (source.train.paths or source.test.paths):
        # TFDS has checked what it prepared: its labels alone are worth a look.
        labels = [split.read_labels() for split in splits.values()]
        check_labels(*labels, source.class_names)
        return source
    total = sum(split.num_examples for split in splits.values())
    with progress_bar("checking images", total, " images", show=progress) as bar:
        found = {name: list(_look_at(split, bar)) for name, split in splits.items()}
    labels = {
        name: np.array([label for _, label, _ in rows], np.int64)
        for name, rows in found.items()
    }
    check_labels(labels["train"], labels["test"], source.class_names)
    bad = [(name, why) for rows in found.values() for name, _, why in rows if why]
    if not bad:
        return source
    _warn_or_raise(bad, total, max_bad_images)
    changes = {}
    for name, split in splits.items():
        is_good = np.array([why is None for _, _, why in found[name]], bool)
        _check_classes(name, labels[name], is_good, source.class_names)
        if not is_good.all():
            changes[name] = split.subset(np.flatnonzero(is_good))
    return dataclasses.replace(source, **changes)


def _look_at(split, bar):
    """Yields (name, label, what is bad about it or `None`) of each image in order."""
    num_threads = os.cpu_count() or 1
    waiting = collections.deque()

    def next_done():
        name, label, future = waiting.popleft()
        bar.update(1)
        return name, label, future.result()

    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        for name, read, label in split.encoded():
            waiting.append((name, label, pool.submit(decode.problem_of, read)))
            # Not all at once, for the sake of memory.
            if len(waiting) > 8 * num_threads:
                yield next_done()
        while waiting:
            yield next_done()


def _warn_or_raise(bad, total, max_bad_images):
    named = ", ".join(f"{name} ({why})" for name, why in bad[:NUM_NAMED])
    more = ", ..." if len(bad) > NUM_NAMED else ""
    sentence = f"{len(bad)} of {total} images cannot be used: {named}{more}"
    if len(bad) > max_bad_images:
        raise InputError(
            f"{sentence}; repair or remove them, or leave so many out with "
            f"`max_bad_images`. Received: {max_bad_images}"
        )
    warnings.warn(f"{sentence}; they are left out.", stacklevel=3)


def _check_classes(split_name, labels, is_good, class_names):
    lost = np.setdiff1d(labels, labels[is_good])
    if lost.size:
        raise InputError(
            f"All {split_name} images of class `{class_names[lost[0]]}` are bad; "
            "repair some, or remove the class."
        )
