"""Labelled images from `tf.data.Dataset`s."""

import dataclasses
import math

import tensorflow as tf

from bit_keras.data.labels import check_labels
from bit_keras.data.splits import Source, StreamedSplit, usual_size
from bit_keras.errors import InputError


def from_datasets(datasets, class_names=None):
    """Returns the `Source` of a pair of `tf.data.Dataset`; see `open_source`."""
    train, test = map(_as_split, ("train", "test"), datasets)
    class_names = check_labels(train.read_labels(), test.read_labels(), class_names)
    size = usual_size(train)
    record_bytes = max(1, 3 * math.prod(size))
    return Source(
        name="tf.data",
        class_names=class_names,
        train=dataclasses.replace(train, record_bytes=record_bytes),
        test=dataclasses.replace(test, record_bytes=record_bytes),
        image_size=size,
    )


def _as_split(name, dataset):
    _check_elements(name, dataset.element_spec)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            f"The {name} set repeats without end; give it without repeat()."
        )

    def as_record(number, example):
        content, label = example
        return {
            "content": content,
            "label": tf.cast(label, tf.int64),
            "number": number,
        }

    def load(content):
        size = tf.shape(content)[:2]
        image = tf.broadcast_to(content, tf.concat([size, [3]], 0))
        return tf.ensure_shape(image, (None, None, 3))

    split = StreamedSplit(
        num_examples=0,
        records=dataset.enumerate().map(as_record),
        load=load,
        name=f"the {name} set",
        record_bytes=1,
        is_encoded=False,
    )
    # Read through, for it need not be known how many there are.
    num_examples = len(split.read_labels())
    if not num_examples:
        raise InputError(f"The {name} set has no examples; give at least one.")
    return dataclasses.replace(split, num_examples=num_examples)


def _check_elements(name, spec):
    """Raises unless elements are an image and the number of its class."""
    expected = (
        f"the {name} set must give (image, label), an image of uint8 (height, width, "
        "1 or 3) with values from 0 to 255 and the number of its class as an integer"
    )
    is_pair = isinstance(spec, tuple) and len(spec) == 2
    if not is_pair or not all(isinstance(part, tf.TensorSpec) for part in spec):
        raise InputError(f"Elements of {expected}. Received: {spec}")
    image, label = spec
    received = f"Received: {image.dtype.name} {image.shape}, {label.dtype.name} "
    received += str(label.shape)
    if image.shape.rank == 4:
        raise InputError(
            f"Examples of {expected}, one by one; call unbatch(). {received}"
        )
    if image.dtype != tf.uint8:
        raise InputError(
            f"Images of {expected}; convert them with tf.cast(image, tf.uint8), after "
            f"multiplying by 255 if they are in [0, 1]. {received}"
        )
    if image.shape.rank is None:
        raise InputError(
            f"Elements of {expected}; say so with tf.ensure_shape(image, (None, None, "
            f"3)). {received}"
        )
    if image.shape.rank != 3 or image.shape[-1] not in (None, 1, 3):
        raise InputError(f"Images of {expected}. {received}")
    if not label.dtype.is_integer or label.shape.rank != 0:
        raise InputError(
            f"Labels of {expected}; take tf.argmax of one-hot labels. {received}"
        )
