"""Sets of other images of ILSVRC-2012's classes, and what is right in each of them.

- **ImageNet-V2** (`imagenet_v2`, in three configurations) and **ImageNet-Sketch**
  (`imagenet_sketch`): one right class of 1,000. Sources: Recht et al., arXiv
  1902.10811; Wang et al., arXiv 1905.13549.
- **ImageNet-A** (`imagenet_a`) and **ImageNet-R** (`imagenet_r`): one right class; the
  model chooses among the 200 classes of the set alone, as in the programs of their
  authors. Chosen among all 1,000, the accuracy is told beside it. Sources: Hendrycks et
  al., arXiv 1907.07174 and 2006.16241.
- **ReaL** (`imagenet2012_real`): the validation images of ILSVRC-2012 with every class
  that people saw in them; the model is right if it names one of them. Images in which
  they saw none are left out. Source: Beyer et al., arXiv 2006.07159.
- **ObjectNet** (`objectnet`): of its 313 classes the 113 that are in ILSVRC-2012 too,
  each one to three classes there. The model chooses among all 1,000, and is right if it
  names one of those of the object. The red border of two pixels is cut off. Sources:
  Barbu et al., NeurIPS 2019, and the programs of its authors,
  abarbu/objectnet-template-pytorch and -tensorflow; BiT's section on ObjectNet.

Top-5: a right class is among the five likeliest.
"""

import dataclasses
import operator
import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bit_keras.assets import label_maps
from bit_keras.data.folders import read_test_folder
from bit_keras.data.splits import Source, on_host, usual_size
from bit_keras.data.tfds import stream_split
from bit_keras.data.tfds_folders import open_set
from bit_keras.errors import InputError

NUM_CLASSES = 1000
# Name of the TFDS set: (versions that will do, split, configuration if none is named).
TFDS_SETS = {
    "imagenet_v2": (("3.*.*", "2.*.*"), "test", "matched-frequency"),
    "imagenet_sketch": (("1.*.*",), "test", None),
    "imagenet_a": (("0.*.*",), "test", None),
    "imagenet_r": (("0.*.*",), "test", None),
    "imagenet2012_real": (("1.*.*",), "validation", None),
}
OF_200_CLASSES = ("imagenet_a", "imagenet_r")
OBJECTNET = "objectnet"
OBJECTNET_BORDER = 2
VARIANTS = (*TFDS_SETS, OBJECTNET)


@dataclasses.dataclass(frozen=True)
class VariantSet:
    """A set whose images are judged by ILSVRC-2012's classes.

    Args:
        source: A `Source` without images to train on.
        rows: (name, places in ILSVRC-2012) of each class that images are counted under;
            `None` where these are all of ILSVRC-2012, and an image is of one of them.
        targets: Maps a label of the images to 1 for right classes of ILSVRC-2012 and 0
            for others, float32 `(1000,)`.
        among: Places of the classes that the model chooses among; `None` for all.
    """

    source: Source
    rows: tuple[tuple[str, tuple[int, ...]], ...] | None
    targets: Callable
    among: tuple[int, ...] | None = None


def find_variant(dataset):
    """Returns which of `VARIANTS` a name is of, or `None`.

    Args:
        dataset: What may be the name of a TFDS set, with configuration and version, or
            `"objectnet"`.
    """
    name = dataset.partition(":")[0].partition("/")[0] if _is_name(dataset) else None
    return name if name in VARIANTS else None


def _is_name(dataset):
    return isinstance(dataset, str) and not pathlib.Path(dataset).expanduser().is_dir()


def open_variant(dataset, data_dir=None, manual_dir=None):
    """Opens one of `VARIANTS`.

    Args:
        dataset: Its name, such as `"imagenet_v2/topimages"`.
        data_dir: Folder where TFDS keeps its sets; for ObjectNet the folder of its
            download, `objectnet-1.0`, which holds `images`.
        manual_dir: Folder with what TFDS cannot download by itself; by default
            `downloads/manual` in `data_dir`.

    Returns:
        A `VariantSet`.

    Raises:
        InputError: If there is no such set, or it has to be downloaded by hand.
        RunError: If TFDS cannot download or prepare it.

    Example:

    >>> len(open_variant("imagenet_r").among)
    200
    """
    if dataset == OBJECTNET:
        return _open_objectnet(data_dir)
    variant = find_variant(dataset)
    name, _, version = dataset.partition(":")
    versions, split_name, config = TFDS_SETS[variant]
    if config and "/" not in name:
        name = f"{name}/{config}"
    versions = (version,) if version else versions
    builder = open_set(name, versions, data_dir, manual_dir)
    is_real = variant == "imagenet2012_real"
    _check_classes(builder, "original_label" if is_real else "label")
    label = _right_classes if is_real else operator.itemgetter("label")
    test = stream_split(builder, split_name, label)
    ilsvrc = label_maps.imagenet2012()
    among = None
    if variant in OF_200_CLASSES:
        among = tuple(map(ilsvrc.places.get, label_maps.classes_of(variant)))
    rows = _rows_of(among or range(NUM_CLASSES))
    class_names = tuple(words for words, _ in rows)
    return VariantSet(
        source=Source(name, class_names, None, test, usual_size(test)),
        rows=rows if among or is_real else None,
        targets=_as_they_are if is_real else _one_hot,
        among=among,
    )


def _rows_of(places):
    names = label_maps.imagenet2012().class_names
    return tuple((names[place], (place,)) for place in places)


def _check_classes(builder, feature):
    if tuple(builder.info.features[feature].names) != label_maps.imagenet2012().ids:
        raise InputError(
            f"{builder.data_dir} must have the classes of ILSVRC-2012 in the order of "
            "their WordNet ids; prepare the set anew with TFDS."
        )


def _right_classes(example):
    """Returns 1 for each class of ReaL's list and 0 for others, int64 `(1000,)`."""
    listed = tf.one_hot(example["real_label"], NUM_CLASSES, dtype=tf.int64)
    return tf.minimum(tf.reduce_sum(listed, axis=0), 1)


def _as_they_are(label):
    return tf.cast(label, tf.float32)


def _one_hot(label):
    return tf.one_hot(label, NUM_CLASSES)


def _open_objectnet(data_dir):
    places = label_maps.imagenet2012().places
    known = label_maps.objectnet()
    folder = _objectnet_folder(data_dir, known)
    source = read_test_folder(folder, known.__contains__, OBJECTNET_BORDER)
    rows = tuple(
        (name, tuple(places[synset] for synset in known[name]))
        for name in source.class_names
    )
    if len(rows) < len(known):
        warnings.warn(
            f"Of the {len(known)} classes of ObjectNet that count, {len(rows)} are in "
            f"{folder}.",
            stacklevel=2,
        )
    source = dataclasses.replace(source, name=OBJECTNET)
    return VariantSet(source, rows, right_classes(rows, NUM_CLASSES))


def right_classes(rows, num_classes):
    """Returns the function from a label to its right classes.

    Args:
        rows: (name, places of the right classes) of each label.
        num_classes: Number of the model's classes.

    Returns:
        A function from an int64 scalar to float32 `(num_classes,)` of 1 and 0.
    """
    table = np.zeros((len(rows), num_classes), np.float32)
    for label, (_, places) in enumerate(rows):
        table[label, list(places)] = 1
    table = on_host(table)
    return lambda label: tf.gather(table, label)


def _objectnet_folder(data_dir, known):
    """Returns the folder with ObjectNet's classes, wherever it is in a download."""
    root = pathlib.Path(data_dir or "").expanduser()
    for folder in (root / "images", root / "objectnet-1.0" / "images", root):
        if any((folder / name).is_dir() for name in known):
            return folder
    raise InputError(
        "ObjectNet is not among TFDS's sets; download it from objectnet.dev and give "
        "the folder objectnet-1.0, which holds `images`, as data_dir. Received: "
        f"{data_dir or 'no data_dir'}"
    )
