"""Small TFDS folders with the feature specs and the sizes of VTAB's sets.

The features are those of TFDS's own builders, the files are written with TFDS's own
serializer, and their numbers of examples are the real ones. Most examples lie in files
that nobody writes, since VTAB-1k takes a thousand from known places.
"""

import functools
import io
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

# Number of examples of each split, as TFDS's catalog gives them.
TOTALS = {
    "caltech101": {"train": 3060, "test": 6084},
    "cifar100": {"train": 50_000, "test": 10_000},
    "dtd": {"train": 1880, "validation": 1880, "test": 1880},
    "oxford_flowers102": {"train": 1020, "validation": 1020, "test": 6149},
    "oxford_iiit_pet": {"train": 3680, "test": 3669},
    "sun397/tfds": {"train": 76_128, "validation": 10_875, "test": 21_750},
    "svhn_cropped": {"train": 73_257, "test": 26_032, "extra": 531_131},
    "patch_camelyon": {"train": 262_144, "validation": 32_768, "test": 32_768},
    "eurosat/rgb": {"train": 27_000},
    "resisc45": {"train": 31_500},
    "diabetic_retinopathy_detection/btgraham-300": {
        "sample": 10,
        "train": 35_126,
        "validation": 10_906,
        "test": 42_670,
    },
    "clevr": {"train": 70_000, "validation": 15_000, "test": 15_000},
    "dmlab": {"train": 65_550, "validation": 22_628, "test": 22_735},
    "kitti": {"train": 6347, "validation": 423, "test": 711},
    "dsprites": {"train": 737_280},
    "smallnorb": {"train": 24_300, "test": 24_300},
}
# Where the 200 examples to choose by begin, and those to test on: per cent of a split,
# as task_adaptation's programs compute them.
PLACES = {
    "caltech101": (("train", 90), ("test", 0)),
    "cifar100": (("train", 90), ("test", 0)),
    "oxford_iiit_pet": (("train", 80), ("test", 0)),
    "svhn_cropped": (("train", 90), ("test", 0)),
    "eurosat/rgb": (("train", 60), ("train", 80)),
    "resisc45": (("train", 60), ("train", 80)),
    "clevr": (("train", 90), ("validation", 0)),
    "dsprites": (("train", 80), ("train", 90)),
    "smallnorb": (("test", 0), ("test", 50)),
}
OTHERS = (("validation", 0), ("test", 0))
# What there is of the test images, unless all of them are asked for.
NUM_TEST = 3
NUM_PATTERNS = 5


def start_of(name, which):
    """Returns (split, number of the first example) of val200, 0, or the test, 1."""
    split, percent = PLACES.get(name, OTHERS)[which]
    return split, TOTALS[name][split] * percent // 100


def scramble(number, count):
    """Returns a number below `count` in which neighbours have nothing in common."""
    return (number * 2_654_435_761 % 2**32 >> 8) % count


@functools.cache
def pixels(name, number):
    """Returns the pixels of one of a few images: uint8, or zeros and ones."""
    shape = tfds.builder(name).info.features["image"].shape
    shape = [side or (9, 12, 3)[axis] for axis, side in enumerate(shape)]
    highest = 2 if name == "dsprites" else 256
    return np.random.default_rng(number).integers(0, highest, shape).astype(np.uint8)


@functools.cache
def encoded(name, number):
    """Returns the bytes of that image, in the format that TFDS writes for the set."""
    feature = tfds.builder(name).info.features["image"]
    is_jpeg = feature._encoding_format == "jpeg"
    encode = tf.io.encode_jpeg if is_jpeg else tf.io.encode_png
    return encode(pixels(name, number)).numpy()


def pattern(split, number):
    """Returns the number of the image of an example."""
    return scramble(number + len(split), NUM_PATTERNS)


def blank(feature):
    """Returns an example of a feature that has nothing to say."""
    if isinstance(feature, tfds.features.FeaturesDict):
        return {key: blank(inner) for key, inner in feature.items()}
    if isinstance(feature, tfds.features.Sequence):
        return []
    if isinstance(feature, tfds.features.Text):
        return ""
    if isinstance(feature, tfds.features.ClassLabel):
        return 0
    if isinstance(feature, tfds.features.BBoxFeature):
        return tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
    shape = [side or 2 for side in feature.shape]
    return np.zeros(shape, feature.np_dtype)


def objects(feature, values):
    """Returns the objects of an example: blank ones, but for columns of values."""
    rows = zip(*values.values(), strict=True)
    keys = list(values)
    return [
        {**blank(feature.feature), **dict(zip(keys, row, strict=True))} for row in rows
    ]


def write_set(data_dir, name, facts_of, version=None, whole_test=False):
    """Writes the folder of a prepared set.

    Args:
        data_dir: TFDS's folder.
        name: Name of the set.
        facts_of: Maps (split, number, features) to what an example holds, beside its
            image and blanks.
        version: In place of the one that TFDS makes today.
        whole_test: Whether to write all of the test images.

    Returns:
        The folder.
    """
    builder = tfds.builder(f"{name}:{version}" if version else name, data_dir=data_dir)
    folder = pathlib.Path(str(builder.data_dir))
    folder.mkdir(parents=True)
    info, features = builder.info, builder.info.features
    base = blank(features)
    serializer = ExampleSerializer(features.get_serialized_info())
    wanted = _wanted(name, whole_test)
    splits = []
    for split, total in TOTALS[name].items():
        cuts = sorted(
            {0, total, *(c for s, a, b, _ in wanted if s == split for c in (a, b))}
        )
        template = tfds.core.ShardedFileTemplate(
            data_dir=builder.data_dir,
            dataset_name=builder.name,
            split=split,
            filetype_suffix="tfrecord",
        )
        lengths = [b - a for a, b in zip(cuts, cuts[1:], strict=False)]
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=0,
                filename_template=template,
            )
        )
    info.set_splits(tfds.core.splits.SplitDict(splits))
    for split, start, stop, count in wanted:
        shards = info.splits[split].shard_lengths
        place = np.flatnonzero(np.cumsum([0, *shards]) == start)[0]
        assert shards[place] == stop - start
        with tf.io.TFRecordWriter(str(info.splits[split].filepaths[place])) as writer:
            for number in range(start, start + count):
                image = encoded(name, pattern(split, number))
                facts = facts_of(split, number, features)
                example = {**base, **facts, "image": io.BytesIO(image)}
                writer.write(
                    serializer.serialize_example(features.encode_example(example))
                )
    info.write_to_directory(builder.data_dir)
    return folder


def _wanted(name, whole_test):
    """Returns (split, start, stop, number of examples to write) of all parts."""
    split, start = start_of(name, 0)
    test, test_start = start_of(name, 1)
    end = TOTALS[name][test]
    return [
        ("train", 0, 800, 800),
        (split, start, start + 200, 200),
        (test, test_start, end, end - test_start if whole_test else NUM_TEST),
    ]
