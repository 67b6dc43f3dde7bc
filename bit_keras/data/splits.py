"""What a set of labelled images is, wherever it comes from."""

import abc
import contextlib
import dataclasses
import functools
import pathlib
import statistics
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bit_keras.data import decode
from bit_keras.data.seeds import permutation
from bit_keras.errors import InputError

# What is read one after another is shuffled within a window of as many examples, or of
# as many bytes if those are fewer.
SHUFFLE_WINDOW = 50_000
SHUFFLE_BYTES = 4 << 30
# Records of a subset are kept in memory up to this size, for they lie far apart.
MAX_KEPT_BYTES = 1 << 30
LABELS_AT_ONCE = 4096
# What reading and decoding of a bad file raise.
BAD_FILE_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
)


class Split(abc.ABC):
    """The labelled images of a set that serve for training, or for testing.

    A *record* is what an example is read from; there is a fixed order of them.

    Attributes:
        num_examples: How many there are.
        paths: The files, in the order of the records, where there is one for each.
        is_encoded: Whether `encoded` yields anything.
        is_in_memory: Whether the images are kept as pixels.
        image_size: (height, width) of every image in pixels, where it is known to be
            that of all.
    """

    num_examples: int
    paths: tuple[str, ...]
    is_encoded: bool
    is_in_memory: bool
    image_size: tuple[int, int] | None

    @abc.abstractmethod
    def ordered(self):
        """Returns a `tf.data.Dataset` of all records, in their order."""

    @abc.abstractmethod
    def shuffled(self, seed):
        """Returns all records in an order that the seed, two integers, decides."""

    @abc.abstractmethod
    def decode(self, record):
        """Maps a record to (uint8 image `(height, width, 3)`, int64 label)."""

    @abc.abstractmethod
    def read_labels(self):
        """Returns the labels, an int64 array, without decoding an image."""

    @abc.abstractmethod
    def subset(self, numbers):
        """Returns the `Split` of those records alone, counted from 0, increasing."""

    @abc.abstractmethod
    def encoded(self):
        """Yields (name, function that returns the bytes, label) of each image file.

        Nothing where the images are pixels already.
        """

    def images(self):
        """Returns a data set of (uint8 image, int64 label) in a fixed order."""
        return self.ordered().map(self.decode, num_parallel_calls=tf.data.AUTOTUNE)

    @functools.cached_property
    def in_memory(self):
        """The `Split` of the same images, decoded and kept."""
        rows = self.images().map(
            lambda image, label: (tf.reshape(image, [-1]), tf.shape(image), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        with naming_unreadable(self), tf.init_scope(), tf.device("CPU"):
            batches = list(rows.ragged_batch(LABELS_AT_ONCE))
            images, shapes, labels = zip(*batches, strict=True)
            # One after another, whatever their sizes.
            pixels = tf.concat([_flat(batch) for batch in images], 0)
            shapes = tf.concat(shapes, 0)
            ends = tf.cumsum(tf.reduce_prod(tf.cast(shapes, tf.int64), 1))
        labels = np.concatenate([batch.numpy() for batch in labels])
        sizes = np.unique(shapes, axis=0)
        if len(sizes) == 1:
            return split_of_arrays(tf.reshape(pixels, (-1, *sizes[0])), labels)

        def load(number):
            shape = shapes[number]
            size = tf.reduce_prod(tf.cast(shape, tf.int64))
            image = tf.slice(pixels, [ends[number] - size], [size])
            return tf.ensure_shape(tf.reshape(image, shape), (None, None, 3))

        return IndexedSplit(labels, load, is_in_memory=True)


@dataclasses.dataclass(frozen=True, eq=False)
class IndexedSplit(Split):
    """Images of which any one can be read by its number, which is the record.

    Args:
        labels: int64 array.
        load: Maps a number to a uint8 image `(height, width, 3)`.
        paths: The files, where there is one for each.
        is_in_memory: Whether `load` has nothing to decode.
        image_size: (height, width) of every image, where it is that of all. Then `load`
            takes several numbers, too, `(batch,)`.
    """

    labels: np.ndarray
    load: Callable
    paths: tuple[str, ...] = ()
    is_in_memory: bool = False
    image_size: tuple[int, int] | None = None

    @property
    def num_examples(self):
        """How many there are."""
        return len(self.labels)

    @property
    def is_encoded(self):
        """Whether the images are in files."""
        return bool(self.paths)

    def ordered(self):
        """Returns a `tf.data.Dataset` of all records, in their order."""
        return tf.data.Dataset.range(self.num_examples)

    def shuffled(self, seed):
        """Returns all records in an order that the seed, two integers, decides."""
        order = permutation(self.num_examples, seed)
        return tf.data.Dataset.from_tensor_slices(tf.cast(order, tf.int64))

    def decode(self, record):
        """Maps a record to (uint8 image `(height, width, 3)`, int64 label)."""
        return self.load(record), tf.gather(self._labels_on_host, record)

    @functools.cached_property
    def _labels_on_host(self):
        return on_host(self.labels)

    def read_labels(self):
        """Returns the labels, an int64 array."""
        return self.labels

    def subset(self, numbers):
        """Returns the `Split` of those records alone."""
        chosen = on_host(np.asarray(numbers, np.int64))
        return dataclasses.replace(
            self,
            labels=self.labels[numbers],
            load=lambda number: self.load(tf.gather(chosen, number)),
            paths=tuple(self.paths[number] for number in numbers if self.paths),
        )

    def encoded(self):
        """Yields (name, function that returns the bytes, label) of each file."""
        for path, label in zip(self.paths, self.labels, strict=False):
            yield path, pathlib.Path(path).read_bytes, int(label)


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedSplit(Split):
    """Images that can only be read one after another.

    Args:
        num_examples: How many there are.
        records: `tf.data.Dataset` of dicts with `content`, `label` (int64) and
            `number`, by which an image is called.
        load: Maps a content to a uint8 image `(height, width, 3)`.
        name: What a person calls the part of the set.
        record_bytes: Usual size of a record.
        is_encoded: Whether a content is the bytes of an image file.
    """

    num_examples: int
    records: tf.data.Dataset
    load: Callable
    name: str
    record_bytes: int
    is_encoded: bool
    paths = ()
    is_in_memory = False
    image_size = None

    def ordered(self):
        """Returns a `tf.data.Dataset` of all records, in their order."""
        return self.records

    def shuffled(self, seed):
        """Returns all records in an order that the seed, two integers, decides."""
        # The seed of this function's own graph; else `tf.random.set_seed` mattered.
        # Not 0, beside which TensorFlow takes no tensor for the other seed.
        tf.compat.v1.set_random_seed(1)
        order = tf.random.stateless_uniform([], seed, 1, 2**62, tf.int64)
        fitting = SHUFFLE_BYTES // self.record_bytes
        window = max(1, min(self.num_examples, SHUFFLE_WINDOW, fitting))
        return self.records.shuffle(window, order, reshuffle_each_iteration=False)

    def decode(self, record):
        """Maps a record to (uint8 image `(height, width, 3)`, int64 label)."""
        return self.load(record["content"]), record["label"]

    def read_labels(self):
        """Returns the labels, an int64 array."""
        labels = self.records.map(lambda record: record["label"]).batch(LABELS_AT_ONCE)
        return np.concatenate([[], *labels.as_numpy_iterator()]).astype(np.int64)

    def subset(self, numbers):
        """Returns the `Split` of those records alone."""
        wanted = np.zeros(self.num_examples, bool)
        wanted[numbers] = True
        wanted = on_host(wanted)
        records = (
            self.records.enumerate()
            .filter(lambda place, record: tf.gather(wanted, place))
            .map(lambda place, record: record)
        )
        if len(numbers) * self.record_bytes <= MAX_KEPT_BYTES:
            records = records.cache()
        return dataclasses.replace(self, num_examples=len(numbers), records=records)

    def encoded(self):
        """Yields (name, function that returns the bytes, label) of each file."""
        if not self.is_encoded:
            return
        for record in self.records.as_numpy_iterator():
            name = f"example {record['number']} of {self.name}"
            yield (
                name,
                functools.partial(bytes, record["content"]),
                record["label"],
            )


@dataclasses.dataclass(frozen=True)
class Source:
    """A set of labelled images, made by `open_source`.

    Args:
        name: What a person calls it.
        class_names: The name of each class, in the order of the labels.
        train: The `Split` to train on; `None` for a set to test on alone.
        test: The `Split` to test on.
        image_size: Usual (height, width) in pixels.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split | None
    test: Split
    image_size: tuple[int, int]

    @property
    def num_classes(self):
        """Number of classes."""
        return len(self.class_names)


def split_of_arrays(images, labels):
    """Returns the `Split` of images that are in memory.

    Args:
        images: uint8 `(examples, height, width, 3)`, or with one channel of grey.
        labels: int64 `(examples,)`, a NumPy array.
    """
    size = tuple(map(int, images.shape[1:3]))
    images = on_host(images)

    def load(number):
        return tf.broadcast_to(tf.gather(images, number), (*number.shape, *size, 3))

    return IndexedSplit(labels, load, is_in_memory=True, image_size=size)


def on_host(array):
    """Returns an array as a tensor that no graph copies, in the memory of the CPU."""
    with tf.init_scope(), tf.device("CPU"):
        return tf.constant(array)


def _flat(batch):
    """Returns the values of a batch of vectors, which need not be of one length."""
    if isinstance(batch, tf.RaggedTensor):
        return batch.flat_values
    return tf.reshape(batch, [-1])


def usual_size(split, sample=64):
    """Returns the median height and width of a sample of the images.

    Images that cannot be read are left out, as long as there are others.
    """
    sizes = [image.shape[:2] for image in sample_images(split, sample)]
    if not sizes:
        with naming_unreadable(split):
            next(iter(split.images()))
    return tuple(int(statistics.median(sides)) for sides in zip(*sizes, strict=True))


def sample_images(split, count=64):
    """Yields at most as many uint8 images as are asked for, always the same ones.

    Images that cannot be read are left out.
    """
    records = split.ordered()
    if isinstance(split, IndexedSplit):  # Often sorted by class, and cheap to skip.
        records = records.shard(max(1, split.num_examples // count), 0)
    images = records.take(count).map(split.decode).ignore_errors()
    yield from (image.numpy() for image, _ in images)


@contextlib.contextmanager
def naming_unreadable(*splits):
    """Words the failure of a pipeline in its body by the image that caused it, if any.

    A pipeline does not tell which image it could not decode; so they are all looked at
    once one has failed.

    Args:
        *splits: Each `Split` that the body reads.

    Raises:
        InputError: In place of TensorFlow's error, naming the first bad image.
    """
    try:
        yield
    except BAD_FILE_ERRORS as error:
        for split in splits:
            for name, read, _ in split.encoded():
                reason = decode.problem_of(read)
                if reason:
                    raise InputError(decode.unreadable(name, reason)) from error
        raise
