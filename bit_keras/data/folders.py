"""Labelled images from a folder with a sub-folder for each class."""

import numpy as np
import tensorflow as tf

from bit_keras.data import decode
from bit_keras.data.splits import IndexedSplit, Source, on_host, usual_size
from bit_keras.errors import InputError

TEST_FOLDERS = ("test", "val", "valid", "validation")


def from_folder(folder, test_fraction=0.2, seed=0):
    """Returns the `Source` of a folder; see `open_source`."""
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
    return Source(folder.resolve().name, class_names, train, test, usual_size(train))


def read_test_folder(folder, is_wanted=None, border=0):
    """Returns the `Source` of a folder whose images are all to test on.

    Args:
        folder: A `pathlib.Path` with a sub-folder of images for each class; of one that
            is divided into `train` and `test` (or `val`) the latter is read.
        is_wanted: Tells of the name of a class whether it is read; by default all are.
        border: Pixels that are cut off each side of every image.

    Raises:
        InputError: If there are not two classes, or one has no image.
    """
    subfolders = {path.name: path for path in _visible_folders(folder)}
    test_name = next((name for name in TEST_FOLDERS if name in subfolders), None)
    is_divided = "train" in subfolders and test_name
    files = _files_by_class(subfolders[test_name] if is_divided else folder, is_wanted)
    test = _file_split(files, border)
    name = folder.resolve().name
    return Source(name, tuple(files), None, test, usual_size(test))


def _visible_folders(folder):
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )


def _files_by_class(folder, is_wanted=None):
    """Returns the image files by class name, both sorted."""
    files = {
        path.name: decode.image_files(path)
        for path in _visible_folders(folder)
        if is_wanted is None or is_wanted(path.name)
    }
    if len(files) < 2:
        raise InputError(
            f"{folder} must hold a sub-folder of images for each of two or more "
            "classes, directly or inside `train` and `test`. Received: "
            f"{', '.join(files) or 'no'} sub-folder"
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


def _file_split(files, border=0):
    paths = tuple(str(path) for of_class in files.values() for path in of_class)
    sizes = [len(of_class) for of_class in files.values()]
    on_disk = on_host(paths)

    def load(number):
        image = decode.decode(tf.io.read_file(tf.gather(on_disk, number)))
        return image[border:-border, border:-border] if border else image

    return IndexedSplit(np.repeat(np.arange(len(files)), sizes), load, paths)
