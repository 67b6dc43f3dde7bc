"""Labelled images from TensorFlow Datasets."""

import contextlib
import operator
import pathlib
import sys

import tensorflow as tf

from bit_keras.data import decode
from bit_keras.data.splits import Source, StreamedSplit, usual_size
from bit_keras.errors import InputError, RunError, first_line

TEST_SPLITS = ("test", "validation")
# What is raised where a file that one has to download by hand is not there.
MISSING_FILES = (AssertionError, OSError, tf.errors.NotFoundError)


def from_tfds(name, data_dir, manual_dir, train_split, test_split, test_fraction):
    """Returns the `Source` of a TFDS set; see `open_source`."""
    builder = _tfds_builder(name, data_dir, manual_dir)
    info = builder.info
    keys = _tfds_keys(name, info)
    train_split, test_split = _tfds_split_names(
        name, info, train_split, test_split, test_fraction
    )
    image, label = keys[0], operator.itemgetter(keys[1])
    train = stream_split(builder, train_split, label, image=image)
    test = stream_split(builder, test_split, label, image=image)
    shape = info.features[keys[0]].shape[:2]
    class_names = tuple(info.features[keys[1]].names)
    if len(class_names) < 2:
        raise InputError(
            f"The TFDS set {name} has a single class; give one of two or more. "
            f"Received: {', '.join(class_names)}"
        )
    return Source(
        name=name,
        class_names=class_names,
        train=train,
        test=test,
        image_size=shape if all(shape) else usual_size(train),
    )


def is_prepared(name, data_dir):
    """Tells whether a TFDS set is there, ready to be read.

    Args:
        name: Name of the set.
        data_dir: Folder where TFDS keeps its sets; by default TFDS's own.
    """
    import tensorflow_datasets as tfds

    data_dir = data_dir and pathlib.Path(data_dir).expanduser()
    return tfds.builder(name, data_dir=data_dir).is_prepared()


def _tfds_builder(name, data_dir, manual_dir):
    """Returns the builder of a set that is there, downloaded if need be."""
    import tensorflow_datasets as tfds

    # TFDS takes a leading ~ for the name of a folder.
    data_dir = data_dir and pathlib.Path(data_dir).expanduser()
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    # An AssertionError tells of a version that there is not.
    except (ValueError, AssertionError) as error:
        if name.split("/")[0].split(":")[0] in tfds.list_builders():
            raise InputError(
                f"The TFDS set {name} cannot be opened. TFDS says: {first_line(error)}"
            ) from error
        raise InputError(
            f"{name} is neither a folder nor the name of a TFDS set; give the path of "
            "a folder with a sub-folder for each class, or another name."
        ) from error
    return prepare(name, builder, manual_dir)


def prepare(name, builder, manual_dir=None):
    """Downloads and prepares a TFDS set, unless it is there already.

    Args:
        name: What a person calls it.
        builder: Its builder.
        manual_dir: As in `open_source`.

    Returns:
        The builder.

    Raises:
        InputError: If something has to be downloaded by hand first; says what.
        RunError: If it cannot be downloaded or prepared.
    """
    import tensorflow_datasets as tfds

    manual_dir = manual_dir and pathlib.Path(manual_dir).expanduser()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        # TFDS prints what it does; standard output is for results.
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(download_config=config)
    # Whatever is raised by the set's own code and by the clients it downloads with.
    except Exception as error:
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and isinstance(error, MISSING_FILES):
            raise _by_hand(name, builder, error) from error
        raise RunError(
            f"The TFDS set {name} is not in {builder.data_dir} and could not be "
            "prepared there; give the folder that holds it as data_dir. TFDS says: "
            f"{first_line(error)}"
        ) from error
    return builder


def _by_hand(name, builder, error):
    """Returns what to do where TFDS cannot download all of a set by itself."""
    # In one line.
    said = " ".join(str(error).split())
    instructions = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
    if instructions not in said:
        said = f"{said} {instructions}"
    return InputError(
        f"The TFDS set {name} has to be downloaded by hand; give the folder that holds "
        f"its files as manual_dir. TFDS says: {said}"
    )


def _tfds_keys(name, info):
    """Returns the names of the image and of the label in the set's examples."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys or ("image", "label")
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    features = dict(info.features.items())
    for key, kind in zip(keys, kinds, strict=False):
        if not (isinstance(key, str) and isinstance(features.get(key), kind)):
            raise InputError(
                f"The TFDS set {name} is not one of images with a class label each; "
                f"give one that is. Received: features {', '.join(features)}"
            )
    return keys[:2]


def _tfds_split_names(name, info, train_split, test_split, test_fraction):
    """Chooses what was not asked for, cutting `train` where there is nothing else."""
    there = f"it has {', '.join(info.splits)}"
    own_test = next((split for split in TEST_SPLITS if split in info.splits), None)
    if train_split is None and "train" not in info.splits:
        raise InputError(
            f"The TFDS set {name} has no split to train on; give train_split and "
            f"test_split, as parts of what there is; {there}."
        )
    if test_split is None and own_test is None:
        if train_split:
            raise InputError(
                f"The TFDS set {name} has no split of its own to test on; give "
                f"test_split beside train_split; {there}."
            )
        percent = min(max(round(100 * (1 - test_fraction)), 1), 99)
        train_split, test_split = f"train[:{percent}%]", f"train[{percent}%:]"
    if train_split is None and (test_split or "").startswith("train"):
        raise InputError(
            f"Give train_split beside test_split={test_split!r}, so that no image of "
            f"{name} serves for both."
        )
    chosen = train_split or "train", test_split or own_test
    for split in chosen:
        try:
            num_examples = info.splits[split].num_examples
        except (ValueError, KeyError) as error:
            raise InputError(
                f"The TFDS set {name} has no split {split}; {there}."
            ) from error
        if num_examples < 1:
            raise InputError(f"Split {split} of the TFDS set {name} is empty; {there}.")
    return chosen


def stream_split(
    builder,
    split_name,
    label,
    *,
    image="image",
    pixels=None,
    fields=None,
    in_file_order=False,
):
    """Returns a part of a TFDS set.

    Args:
        builder: The builder of a set that is there.
        split_name: Name of the part, such as `"train[:800]+test[:200]"`.
        label: Maps an example to its label: an int64 scalar, or numbers of one shape.
        image: Name of the image in an example.
        pixels: If given, maps the decoded image, uint8 `(height, width, 3)`, to the one
            to learn from.
        fields: If given, what `label` reads of an example, as
            `tfds.decode.PartialDecoding` takes it; nothing else is decoded then.
        in_file_order: Whether the files are read one after another, which gives the
            same order however the set was divided into files. By default several are
            read at once.

    Returns:
        A `Split`.

    Raises:
        InputError: If the part has no labels.
    """
    import tensorflow_datasets as tfds

    decoders = {image: tfds.decode.SkipDecoding()}
    if fields is not None:
        decoders = tfds.decode.PartialDecoding({image: True, **fields}, decoders)
    # What is worth keeping in memory is kept as pixels.
    config = tfds.ReadConfig(try_autocache=False)
    if in_file_order:
        config.interleave_cycle_length = 1
    examples = builder.as_dataset(
        split=split_name, decoders=decoders, shuffle_files=False, read_config=config
    )

    def as_record(number, example):
        return {"content": example[image], "label": label(example), "number": number}

    def load(content):
        # The published code does not look at EXIF orientations in these sets.
        decoded = decode.decode(content, exif=False)
        return decoded if pixels is None else pixels(decoded)

    info = builder.info
    split = StreamedSplit(
        num_examples=info.splits[split_name].num_examples,
        records=examples.enumerate().map(as_record),
        load=load,
        name=f"split {split_name}",
        record_bytes=max(1, info.dataset_size // info.splits.total_num_examples),
        is_encoded=True,
    )
    if tf.reduce_any(next(iter(split.records))["label"] < 0):
        raise InputError(
            f"Split {split_name} of the TFDS set {builder.name} has no labels; choose "
            f"another: {', '.join(info.splits)}."
        )
    return split
