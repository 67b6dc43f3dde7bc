"""Where labelled images come from: a TFDS set, a folder of classes, or arrays."""

import dataclasses
import os
import pathlib

from bit_keras.assets import doodles_folder
from bit_keras.data.arrays import from_arrays
from bit_keras.data.folders import from_folder
from bit_keras.data.splits import Source, Split, naming_unreadable
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
            between 0 and 1; in a folder, of each class.
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
    if not 0 < test_fraction < 1:
        raise InputError(
            f"`test_fraction` must lie between 0 and 1. Received: {test_fraction}"
        )
    if isinstance(dataset, Source):
        return dataset
    if isinstance(dataset, tuple | list):
        return from_arrays(dataset)
    if not isinstance(dataset, str | os.PathLike) or not str(dataset):
        raise InputError(
            "A data set must be the name of a TFDS set, a folder, a pair of pairs of "
            f"arrays, or a `Source`. Received: {type(dataset).__name__} {dataset!r:.80}"
        )
    if dataset == BUNDLED:
        return dataclasses.replace(from_folder(doodles_folder()), name=BUNDLED)
    folder = pathlib.Path(dataset).expanduser()
    if folder.is_dir():
        return from_folder(folder, test_fraction, seed)
    return from_tfds(str(dataset), data_dir, train_split, test_split, test_fraction)
