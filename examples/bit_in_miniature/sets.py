"""The images of Big Transfer in miniature: upstream sets of three sizes, and targets.

| | training images | classes |
| --- | --- | --- |
| S | 10,000 of CIFAR-10, 1000 a class | 10 |
| M | all 50,000 of CIFAR-10 | 10 |
| L | those, and 80 drawings of each of 300 classes of Quick, Draw! | 310 |

The other 45 classes of Quick, Draw! are the target `quickdraw45`; those of the bundled
doodles are among them, so that no drawing of what a doodle shows is upstream. Two
things are not held apart: CIFAR-10 has *photos* of airplanes, where `airplane` is a
class of doodles, and upstream drawings can look like a class that is held out (a coffee
cup like a cup).
"""

import dataclasses
import hashlib
import pathlib

import numpy as np

import bit_keras
from bit_keras.assets import doodles_folder

UPSTREAM = ("S", "M", "L")
S_EXAMPLES_PER_CLASS = 1000
NUM_HELD_OUT = 45
# The names of all classes of Quick, Draw!, in the order of its labels.
DRAWN = tuple(
    pathlib.Path(__file__)
    .with_name("quickdraw345.txt")
    .read_text(encoding="utf-8")
    .splitlines()
)
# What is tested on another artist's drawings of the same things, never trained on.
SHIFTED = {"emoji9_twitter": "emoji9"}
TFDS_TARGETS = ("fashion_mnist", "mnist", "orl_faces", "astro5", "trees2", "emoji9")
TARGETS = (*TFDS_TARGETS, "quickdraw45", *SHIFTED)


def held_out(seed=0):
    """Returns the 45 classes of drawings that are not upstream, in alphabetical order.

    They are those of the bundled doodles, and of the others those whose names, with the
    seed, have the lowest SHA-256: the same ones everywhere.

    Args:
        seed: Seed of the choice.
    """
    doodles = {path.name for path in (doodles_folder() / "train").iterdir()}

    def draw(name):
        return hashlib.sha256(f"{seed} {name}".encode()).digest()

    others = sorted(set(DRAWN) - doodles, key=draw)
    return tuple(sorted([*doodles, *others[: NUM_HELD_OUT - len(doodles)]]))


def upstream(name, data_dir=None):
    """Opens an upstream set.

    Args:
        name: `"S"`, `"M"` or `"L"`.
        data_dir: Folder where TFDS keeps its sets.

    Returns:
        A `Source`.
    """
    if name == "L":
        return _joined(_open("cifar10", data_dir), _open("quickdraw345", data_dir))
    per_class = S_EXAMPLES_PER_CLASS if name == "S" else None
    return _open("cifar10", data_dir, examples_per_class=per_class)


def target(name, data_dir=None):
    """Opens a target, its images in memory.

    Args:
        name: One of `TARGETS`.
        data_dir: Folder where TFDS keeps its sets.

    Returns:
        A `Source`. That of a shifted set has the training images of the set that it
        shifts.
    """
    if name == "quickdraw45":
        drawings = _open("quickdraw345", data_dir)
        chosen = held_out()
        train, test = _drawings(drawings, chosen)
        return _from_arrays(name, train, test, chosen)
    if name in SHIFTED:
        shifted = _open(name, data_dir, train_split="test", test_split="test")
        source = target(SHIFTED[name], data_dir)
        return dataclasses.replace(source, name=name, test=shifted.test.in_memory)
    source = _open(name, data_dir)
    return dataclasses.replace(
        source, train=source.train.in_memory, test=source.test.in_memory
    )


def cifar10_share(classes):
    """Returns the accuracy on the CIFAR-10 images of a set, among all of its classes.

    So L can be held beside M: the same test images, but 310 classes to choose from.

    Args:
        classes: What a report says of each class, dicts with `count` and `correct`;
            those of CIFAR-10 come first.
    """
    photos = classes[:10]
    return sum(row["correct"] for row in photos) / sum(row["count"] for row in photos)


def _open(name, data_dir, **kwargs):
    return bit_keras.open_source(name, data_dir, **kwargs)


def _joined(photos, drawings):
    """Returns one `Source` of CIFAR-10 and the drawings that are not held out."""
    out = set(held_out())
    chosen = tuple(name for name in drawings.class_names if name not in out)
    parts = zip(
        (_pixels(photos.train), _pixels(photos.test)),
        _drawings(drawings, chosen),
        strict=True,
    )
    train, test = (
        _concatenated(first, second, photos.num_classes) for first, second in parts
    )
    names = [f"cifar10/{name}" for name in photos.class_names]
    names += [f"quickdraw/{name}" for name in chosen]
    return _from_arrays("cifar10-quickdraw300", train, test, names)


def _from_arrays(name, train, test, class_names):
    source = bit_keras.open_source((train, test), class_names=class_names)
    return dataclasses.replace(source, name=name)


def _drawings(source, chosen):
    """Returns (images, labels) of some classes for training and testing."""
    number_of = np.full(source.num_classes, -1)
    number_of[[source.class_names.index(name) for name in chosen]] = range(len(chosen))

    def part(split):
        is_chosen = number_of[split.read_labels()] >= 0
        images, labels = _pixels(split.subset(np.flatnonzero(is_chosen)))
        return images, number_of[labels]

    return part(source.train), part(source.test)


def _concatenated(photos, drawings, num_photo_classes):
    """Joins (images, labels) of two sets; smaller images get a black rim."""
    (images, labels), (drawn, drawn_labels) = photos, drawings
    sizes = zip(images.shape[1:3], drawn.shape[1:3], strict=True)
    spare = [larger - smaller for larger, smaller in sizes]
    rim = [(pixels // 2, pixels - pixels // 2) for pixels in spare]
    drawn = np.pad(drawn, [(0, 0), *rim, (0, 0)])
    return (
        np.concatenate([images, drawn]),
        np.concatenate([labels, drawn_labels + num_photo_classes]),
    )


def _pixels(split):
    """Returns the images of one size of a `Split`, uint8, and the labels."""
    images, labels = zip(*split.images().batch(1000).as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)
