"""Where labelled images come from: a TFDS set, a folder of classes, or arrays."""

import collections
import contextlib
import dataclasses
import math
import pathlib
import statistics
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bit_keras.assets import doodles_folder
from bit_keras.data import decode
from bit_keras.errors import InputError, RunError

BUNDLED = "doodles"
TEST_FOLDERS = ("test", "val", "validation")
TEST_SPLITS = ("test", "validation")


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


def open_source(
    dataset,
    data_dir=None,
    train_split=None,
    test_split=None,
    test_fraction=0.2,
    seed=0,
):
    """Finds a set of labelled images and checks that one can learn from it.

    Args:
        dataset: `"doodles"`, which comes with the package; a folder with a sub-folder
            for each class, directly or inside `train` and `test` (or `val`); the name
            of a TFDS set, such as `"cifar10"`; a pair of pairs of arrays, ((images,
            labels), (images, labels)), for training and for testing; or a `Source`,
            which is returned.
        data_dir: Folder where TFDS keeps its sets.
        train_split: TFDS split to train on; by default `"train"`.
        test_split: TFDS split to test on; by default `"test"` or `"validation"`.
        test_fraction: Share of the examples to test on where a set has no such split,
            between 0 and 1.
        seed: Seed of that choice in a folder.

    Returns:
        A `Source`.

    Raises:
        InputError: If there is no such set or one cannot learn from it; says why.
        RunError: If TFDS cannot download or prepare the set.

    Example:

    >>> open_source("path/to/folder").class_names
    ('cat', 'dog')
    """
    if isinstance(dataset, Source):
        return dataset
    if isinstance(dataset, tuple | list):
        return _from_arrays(dataset)
    if dataset == BUNDLED:
        return dataclasses.replace(_from_folder(doodles_folder()), name=BUNDLED)
    if pathlib.Path(dataset).is_dir():
        return _from_folder(pathlib.Path(dataset), test_fraction, seed)
    return _from_tfds(dataset, data_dir, train_split, test_split, test_fraction)


def _from_folder(folder, test_fraction=0.2, seed=0):
    subfolders = {path.name: path for path in _visible_folders(folder)}
    test_name = next((name for name in TEST_FOLDERS if name in subfolders), None)
    if "train" in subfolders and test_name:
        train = _files_by_class(subfolders["train"])
        test = _files_by_class(subfolders[test_name])
        if train.keys() != test.keys():
            odd = sorted(train.keys() ^ test.keys())[0]
            raise InputError(
                f"{folder}: `train` and `{test_name}` must hold the same classes; "
                f"`{odd}` is in one of them alone."
            )
    else:
        train, test = _divide(_files_by_class(folder), test_fraction, seed)
    class_names = tuple(train)
    train, test = _file_split(train), _file_split(test)
    return Source(
        folder.resolve().name, class_names, train, test, _usual_size(train, seed)
    )


def _visible_folders(folder):
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )


def _files_by_class(folder):
    """Returns the image files by class name, both sorted."""
    files = {path.name: decode.image_files(path) for path in _visible_folders(folder)}
    if len(files) < 2:
        raise InputError(
            f"{folder} must hold a sub-folder of images for each of two or more "
            f"classes. Received: {len(files)} sub-folders"
        )
    for name, of_class in files.items():
        if not of_class:
            raise InputError(
                f"{folder / name} holds no image; add some or remove the folder."
            )
    return files


def _divide(files, test_fraction, seed):
    """Splits each class at the same fraction, at least one image on either side."""
    train, test = {}, {}
    random = np.random.default_rng(seed)
    for name, of_class in files.items():
        if len(of_class) < 2:
            raise InputError(
                f"Class `{name}` has one image, but one to train on and one to test on "
                "are needed; add images."
            )
        wanted = round(test_fraction * len(of_class))
        num_test = min(max(wanted, 1), len(of_class) - 1)
        shuffled = [of_class[i] for i in random.permutation(len(of_class))]
        test[name] = sorted(shuffled[:num_test])
        train[name] = sorted(shuffled[num_test:])
    return train, test


def _file_split(files):
    paths = [str(path) for of_class in files.values() for path in of_class]
    labels = np.repeat(np.arange(len(files)), [len(part) for part in files.values()])

    def records():
        return tf.data.Dataset.from_tensor_slices((paths, labels))

    def decode_record(path, label):
        return decode.decode(tf.io.read_file(path)), label

    return Split(len(paths), records, decode_record, tuple(paths))


def _usual_size(split, seed=0, sample=64):
    """Returns the median height and width of a sample of the images."""
    records = split.records()
    if split.paths:  # otherwise sorted by class, and cheap to shuffle
        records = records.shuffle(split.num_examples, seed=seed)
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


def _from_arrays(arrays):
    try:
        (train_images, train_labels), (test_images, test_labels) = arrays
    except (TypeError, ValueError) as error:
        raise InputError(
            "Arrays must be given as ((train images, train labels), (test images, test "
            f"labels)). Received: {len(arrays)} parts"
        ) from error
    num_classes = int(max(np.max(train_labels), np.max(test_labels))) + 1
    train = _array_split(train_images, train_labels)
    test = _array_split(test_images, test_labels)
    _check_labels(train_labels, num_classes)
    names = tuple(str(label) for label in range(num_classes))
    return Source("arrays", names, train, test, tuple(train_images.shape[1:3]))


def _array_split(images, labels):
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            "Images must be uint8 of shape (examples, height, width, 1 or 3). "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"Labels must be an integer for each of {len(images)} images. Received: "
            f"{labels.dtype} {labels.shape}"
        )

    def records():
        return tf.data.Dataset.from_tensor_slices((images, labels))

    def decode_record(image, label):
        image = tf.image.grayscale_to_rgb(image) if images.shape[-1] == 1 else image
        return image, tf.cast(label, tf.int64)

    return Split(len(images), records, decode_record)


def _check_labels(labels, num_classes):
    """Raises unless the labels are 0, 1, ... and each has a training image."""
    counts = collections.Counter(np.asarray(labels).tolist())
    if min(counts) < 0 or num_classes < 2:
        raise InputError(
            "Labels must be 0, 1, ... for two or more classes. Received: "
            f"{min(counts)} to {num_classes - 1}"
        )
    missing = [label for label in range(num_classes) if not counts[label]]
    if missing:
        raise InputError(f"Class {missing[0]} has no training image; add some.")


def _from_tfds(name, data_dir, train_split, test_split, test_fraction):
    import tensorflow_datasets as tfds

    builder = _tfds_builder(tfds, name, data_dir)
    info = builder.info
    keys = info.supervised_keys or ("image", "label")
    label = dict(info.features.items()).get(keys[1])
    if not isinstance(label, tfds.features.ClassLabel):
        raise InputError(
            f"The TFDS set {name} has no class label; give a set of labelled images. "
            f"Received: features {', '.join(info.features)}"
        )
    train_split, test_split = _tfds_split_names(
        info, train_split, test_split, test_fraction
    )

    def split(split_name):
        def records():
            examples = builder.as_dataset(
                split=split_name,
                decoders={keys[0]: tfds.decode.SkipDecoding()},
                shuffle_files=False,
            )
            return examples.map(lambda example: (example[keys[0]], example[keys[1]]))

        def decode_record(contents, label):
            return decode.decode(contents), label

        return Split(info.splits[split_name].num_examples, records, decode_record)

    try:
        train, test = split(train_split), split(test_split)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"The TFDS set {name} has no split {train_split} or {test_split}; it has "
            f"{', '.join(info.splits)}."
        ) from error
    class_names = tuple(label.names)
    shape = info.features[keys[0]].shape[:2]
    image_size = shape if all(shape) else _usual_size(train)
    return Source(name, class_names, train, test, image_size)


def _tfds_builder(tfds, name, data_dir):
    """Returns the builder of a set that is there, downloaded if need be."""
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise InputError(
            f"{name} is neither a folder nor the name of a TFDS set; give the path of "
            "a folder with a sub-folder for each class, or another name."
        ) from error
    try:
        builder.download_and_prepare()
    # Whatever is raised by the set's own code and by the clients it downloads with.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise RunError(
            f"The TFDS set {name} is not in {builder.data_dir} and could not be "
            f"prepared there; give its folder as data_dir. TFDS says: {reason}"
        ) from error
    return builder


def _tfds_split_names(info, train_split, test_split, test_fraction):
    """Chooses what was not asked for, cutting `train` where there is nothing else."""
    if test_split is None:
        test_split = next((s for s in TEST_SPLITS if s in info.splits), None)
    if test_split is None:
        percent = math.ceil(100 * (1 - test_fraction))
        return f"train[:{percent}%]", f"train[{percent}%:]"
    return train_split or "train", test_split
