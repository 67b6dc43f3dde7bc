"""Where labelled images come from: TFDS, a folder of classes, arrays, `tf.data`."""

import dataclasses
import os
import pathlib

import tensorflow as tf

from bit_keras.assets import doodles_folder
from bit_keras.data.arrays import from_arrays
from bit_keras.data.datasets import from_datasets
from bit_keras.data.folders import from_folder
from bit_keras.data.splits import Source, Split, naming_unreadable
from bit_keras.data.subsets import few_examples
from bit_keras.data.tfds import from_tfds
from bit_keras.errors import InputError

__all__ = ["Source", "Split", "naming_unreadable", "open_source"]

BUNDLED = "doodles"


def open_source(
    dataset,
    data_dir=None,
    train_split=None,
    test_split=None,
    test_fraction=0.2,
    seed=0,
    *,
    manual_dir=None,
    class_names=None,
    examples_per_class=None,
    subset_seed=0,
):
    """Finds a set of labelled images and checks that one can learn from it.

    Args:
        dataset: `"doodles"`, which comes with the package; a folder with a sub-folder
            for each class, directly or inside `train` and `test` (or `val`); the name
            of a TFDS set, such as `"cifar10"`; a pair of pairs of arrays, ((images,
            labels), (images, labels)), for training and for testing; a pair of
            `tf.data.Dataset` of single examples (uint8 image `(height, width, 1 or 3)`,
            integer label), each in the same order whenever it is read; or a `Source`,
            which is returned.
        data_dir: Folder where TFDS keeps its sets.
        train_split: TFDS split to train on; by default `"train"`.
        test_split: TFDS split to test on; by default `"test"` or `"validation"`.
        test_fraction: Share of the examples to test on where a set has no such split,
            between 0 and 1; in a folder, of each class.
        seed: Seed of that choice in a folder.
        manual_dir: Folder with what TFDS cannot download by itself; by default
            `downloads/manual` in `data_dir`.
        class_names: Names of the classes of arrays or `tf.data` sets; by default their
            numbers.
        examples_per_class: If given, so many training examples of each class are drawn
            from all, and the others left out.
        subset_seed: Seed of that draw; fewer examples are among more of the same seed.

    Returns:
        A `Source`.

    Raises:
        InputError: If there is no such set or one cannot learn from it; says why.
        RunError: If TFDS cannot download or prepare the set.

    Example:

    >>> open_source("path/to/folder").class_names
    ('cat', 'dog')
    """
    if not 0 < test_fraction < 1:
        raise InputError(
            f"`test_fraction` must lie between 0 and 1. Received: {test_fraction}"
        )
    if isinstance(dataset, Source):
        source = dataset
    elif isinstance(dataset, tuple | list):
        source = _from_pair(dataset, class_names)
    elif isinstance(dataset, str | os.PathLike) and str(dataset):
        source = _from_name(
            dataset, data_dir, manual_dir, train_split, test_split, test_fraction, seed
        )
    else:
        raise InputError(
            "A data set must be the name of a TFDS set, a folder, a pair of pairs of "
            "arrays, a pair of tf.data.Dataset, or a `Source`. Received: "
            f"{type(dataset).__name__} {dataset!r:.80}"
        )
    if class_names is not None and not isinstance(dataset, tuple | list):
        raise InputError(
            "`class_names` are for arrays and tf.data sets; others bring their own. "
            f"Received: names for {source.name}"
        )
    if examples_per_class is None:
        return source
    return few_examples(source, examples_per_class, subset_seed)


def _from_pair(pair, class_names):
    are_datasets = [isinstance(part, tf.data.Dataset) for part in pair]
    if are_datasets == [True, True]:
        return from_datasets(pair, class_names)
    return from_arrays(pair, class_names)


def _from_name(dataset, data_dir, manual_dir, train_split, test_split, fraction, seed):
    if dataset == BUNDLED:
        return dataclasses.replace(from_folder(doodles_folder()), name=BUNDLED)
    folder = pathlib.Path(dataset).expanduser()
    if folder.is_dir():
        return from_folder(folder, fraction, seed)
    return from_tfds(
        str(dataset), data_dir, manual_dir, train_split, test_split, fraction
    )
