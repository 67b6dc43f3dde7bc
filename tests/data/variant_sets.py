"""Small TFDS folders of ImageNet's variants, with the features of TFDS's builders."""

import io
import pathlib

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer


def write_set(data_dir, name, split, images, **facts):
    """Writes the folder of a prepared set, as TFDS itself would.

    Args:
        data_dir: TFDS's folder.
        name: Name of the set, with that of the configuration.
        split: Name of its only split.
        images: uint8 arrays; stored as PNG, which keeps every value.
        **facts: What else an example holds: a list for each feature, in the order of
            the images.

    Returns:
        The folder.
    """
    builder = tfds.builder(name, data_dir=data_dir)
    folder = pathlib.Path(str(builder.data_dir))
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=builder.data_dir,
        dataset_name=builder.name,
        split=split,
        filetype_suffix="tfrecord",
    )
    info, features = builder.info, builder.info.features
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(images)],
            num_bytes=0,
            filename_template=template,
        )
    ]
    info.set_splits(tfds.core.splits.SplitDict(splits))
    serializer = ExampleSerializer(features.get_serialized_info())
    with tf.io.TFRecordWriter(str(info.splits[split].filepaths[0])) as writer:
        for number, image in enumerate(images):
            example = {
                "image": io.BytesIO(tf.io.encode_png(image).numpy()),
                "file_name": f"{number}.JPEG",
                **{key: values[number] for key, values in facts.items()},
            }
            encoded = features.encode_example(example)
            writer.write(serializer.serialize_example(encoded))
    info.write_to_directory(builder.data_dir)
    return folder
