"""What a set of labelled images is, wherever it comes from."""

import contextlib
import dataclasses
import statistics
from collections.abc import Callable

import tensorflow as tf

from bit_keras.data import decode


@dataclasses.dataclass(frozen=True)
class Split:
    """The labelled images of a set that serve for training, or for testing.

    Args:
        num_examples: How many there are.
        records: Returns a `tf.data.Dataset` of what `decode` takes, in a fixed order.
        decode: Maps a record to (uint8 image `(height, width, 3)`, int64 label).
        paths: The files, in the order of the records, where there is one for each.
    """

    num_examples: int
    records: Callable[[], tf.data.Dataset]
    decode: Callable
    paths: tuple[str, ...] = ()

    def images(self):
        """Returns a data set of (uint8 image, int64 label) in a fixed order."""
        return self.records().map(self.decode, num_parallel_calls=tf.data.AUTOTUNE)


@dataclasses.dataclass(frozen=True)
class Source:
    """A set of labelled images, made by `open_source`.

    Args:
        name: What a person calls it.
        class_names: The name of each class, in the order of the labels.
        train: The `Split` to train on.
        test: The `Split` to test on.
        image_size: Usual (height, width) in pixels.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    image_size: tuple[int, int]

    @property
    def num_classes(self):
        """Number of classes."""
        return len(self.class_names)


def usual_size(split, sample=64):
    """Returns the median height and width of a sample of the images."""
    records = split.records()
    if split.paths:  # Files are sorted by class, and cheap to skip.
        records = records.shard(max(1, split.num_examples // sample), 0)
    with naming_unreadable(split):
        sizes = [image.shape[:2] for image, _ in records.take(sample).map(split.decode)]
    return tuple(int(statistics.median(sides)) for sides in zip(*sizes, strict=True))


@contextlib.contextmanager
def naming_unreadable(*splits):
    """Words the failure of a pipeline in its body by the file that caused it, if any.

    A pipeline does not tell which file it could not decode; so they are all looked at
    once one has failed.

    Args:
        *splits: Each `Split` that the body reads.

    Raises:
        InputError: In place of TensorFlow's error, naming the first damaged file.
    """
    try:
        yield
    except tf.errors.OpError:
        for split in splits:
            for path in split.paths:
                decode.read_image(path)
        raise
