"""Labelled images from TensorFlow Datasets."""

import contextlib
import pathlib
import sys

from bit_keras.data import decode
from bit_keras.data.splits import Source, Split, usual_size
from bit_keras.errors import InputError, RunError

TEST_SPLITS = ("test", "validation")


def from_tfds(name, data_dir, train_split, test_split, test_fraction):
    """Returns the `Source` of a TFDS set; see `open_source`."""
    builder = _tfds_builder(name, data_dir)
    info = builder.info
    keys = _tfds_keys(name, info)
    train_split, test_split = _tfds_split_names(
        name, info, train_split, test_split, test_fraction
    )
    train = _tfds_split(builder, keys, train_split)
    test = _tfds_split(builder, keys, test_split)
    shape = info.features[keys[0]].shape[:2]
    return Source(
        name=name,
        class_names=tuple(info.features[keys[1]].names),
        train=train,
        test=test,
        image_size=shape if all(shape) else usual_size(train),
    )


def _tfds_builder(name, data_dir):
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
                f"The TFDS set {name} cannot be opened. TFDS says: {_reason(error)}"
            ) from error
        raise InputError(
            f"{name} is neither a folder nor the name of a TFDS set; give the path of "
            "a folder with a sub-folder for each class, or another name."
        ) from error
    try:
        # TFDS prints what it does; standard output is for results.
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare()
    # Whatever is raised by the set's own code and by the clients it downloads with.
    except Exception as error:
        raise RunError(
            f"The TFDS set {name} is not in {builder.data_dir} and could not be "
            "prepared there; give the folder that holds it as data_dir. TFDS says: "
            f"{_reason(error)}"
        ) from error
    return builder


def _reason(error):
    """Returns the first line of an error's message, or else its kind."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]


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


def _tfds_split(builder, keys, split_name):
    import tensorflow_datasets as tfds

    image_key, label_key = keys

    def records():
        examples = builder.as_dataset(
            split=split_name,
            decoders={image_key: tfds.decode.SkipDecoding()},
            shuffle_files=False,
        )
        return examples.map(lambda example: (example[image_key], example[label_key]))

    def decode_record(contents, label):
        return decode.decode(contents), label

    _, label = next(iter(records()))
    if label < 0:
        raise InputError(
            f"Split {split_name} of the TFDS set {builder.name} has no labels; choose "
            f"another: {', '.join(builder.info.splits)}."
        )
    return Split(builder.info.splits[split_name].num_examples, records, decode_record)
