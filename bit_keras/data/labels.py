"""Which labels a set may have."""

import numpy as np

from bit_keras.errors import InputError


def check_labels(train, test, class_names=None):
    """Raises unless a classifier can be trained and tested with these labels.

    Args:
        train: Labels of the training examples, an integer array.
        test: Labels of the test examples.
        class_names: A name for each class. Without them the labels must be 0, 1, ...,
            each with a training example, and are called by their numbers.

    Returns:
        The class names, a tuple of strings.

    Raises:
        InputError: If labels are out of range, or there is a single class.
    """
    labels = np.concatenate([train, test])
    lowest, highest = int(labels.min()), int(labels.max())
    if class_names is None:
        _check_numbering(train, lowest, highest)
        return tuple(str(label) for label in range(highest + 1))
    class_names = tuple(map(str, class_names))
    if len(set(class_names)) != len(class_names):
        raise InputError(
            f"Each class needs a name of its own. Received: {', '.join(class_names)}"
        )
    if lowest < 0 or highest >= len(class_names):
        raise InputError(
            f"Labels must be 0 to {len(class_names) - 1} for {len(class_names)} "
            f"classes. Received: {lowest} to {highest}"
        )
    if len(np.unique(train)) < 2:
        raise InputError(
            "Training needs examples of two or more classes. Received: only "
            f"`{class_names[train[0]]}`"
        )
    return class_names


def _check_numbering(train, lowest, highest):
    if lowest < 0 or highest < 1:
        raise InputError(
            "Labels must be 0, 1, ... for two or more classes. Received: "
            f"{lowest} to {highest}"
        )
    present = np.unique(train)
    # The first label that is not where it would be if there were no gap.
    label = int(np.argmin(np.append(present, -1) == np.arange(len(present) + 1)))
    if label <= highest:
        raise InputError(
            f"Class {label} has no training image, though labels go up to {highest}; "
            "add some, number the classes without gaps, or give their names."
        )
