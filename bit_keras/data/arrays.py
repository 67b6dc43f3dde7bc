"""Labelled images from arrays."""

import numpy as np

from bit_keras.data.labels import check_labels
from bit_keras.data.splits import Source, split_of_arrays
from bit_keras.errors import InputError


def from_arrays(arrays, class_names=None):
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
    return Source(
        name="arrays",
        class_names=check_labels(train_labels, test_labels, class_names),
        train=split_of_arrays(train_images, train_labels),
        test=split_of_arrays(test_images, test_labels),
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
