"""Labelled images from arrays."""

import numpy as np
import tensorflow as tf

from bit_keras.data.splits import Source, Split
from bit_keras.errors import InputError


def from_arrays(arrays):
    """Returns the `Source` of a pair of pairs of arrays; see `open_source`."""
    try:
        (train_images, train_labels), (test_images, test_labels) = arrays
    except (TypeError, ValueError) as error:
        raise InputError(
            "Arrays must be given as ((train images, train labels), (test images, test "
            f"labels)). Received: a {type(arrays).__name__} of {len(arrays)} parts "
            "that are not such pairs"
        ) from error
    train_images, train_labels = _checked_arrays(train_images, train_labels)
    test_images, test_labels = _checked_arrays(test_images, test_labels)
    num_classes = _count_classes(train_labels, test_labels)
    return Source(
        name="arrays",
        class_names=tuple(str(label) for label in range(num_classes)),
        train=_array_split(train_images, train_labels),
        test=_array_split(test_images, test_labels),
        image_size=train_images.shape[1:3],
    )


def _checked_arrays(images, labels):
    """Returns NumPy arrays of one shape from those that `keras.datasets` gives.

    There, labels can be a column, and grey images can have no channel.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            "Images must be uint8 of shape (examples, height, width[, 1 or 3]). "
            f"Received: {images.dtype} {images.shape}"
        )
    if not images.size:
        raise InputError(f"There are no images. Received: shape {images.shape}")
    if labels.shape == (len(images), 1):
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"Labels must be an integer for each of {len(images)} images. Received: "
            f"{labels.dtype} {labels.shape}"
        )
    return images, labels.astype(np.int64)


def _count_classes(train_labels, test_labels):
    """Raises unless the labels are 0, 1, ... and each has a training image."""
    labels = np.concatenate([train_labels, test_labels])
    if labels.min() < 0 or labels.max() < 1:
        raise InputError(
            "Labels must be 0, 1, ... for two or more classes. Received: "
            f"{labels.min()} to {labels.max()}"
        )
    present = np.unique(train_labels)
    # The first label that is not where it would be if there were no gap.
    label = int(np.argmin(np.append(present, -1) == np.arange(len(present) + 1)))
    if label <= labels.max():
        raise InputError(
            f"Class {label} has no training image, though labels go up to "
            f"{labels.max()}; add some, or number the classes without gaps."
        )
    return label


def _array_split(images, labels):
    def records():
        return tf.data.Dataset.from_tensor_slices((images, labels))

    def decode_record(image, label):
        return tf.broadcast_to(image, (*images.shape[1:3], 3)), label

    return Split(len(images), records, decode_record)
