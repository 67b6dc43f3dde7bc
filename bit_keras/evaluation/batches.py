"""Which rows of a batch are examples."""

import numpy as np

from bit_keras.errors import InputError


def examples_in(batch):
    """Tells the examples of a batch from what fills it up.

    Args:
        batch: (images, labels), or (images, labels, weights `(batch,)` of 1, and of 0
            for what only fills the batch up).

    Returns:
        Images and labels as they are, and a bool array, True for examples.

    Raises:
        InputError: If a weight is neither 1 nor 0.
    """
    if len(batch) == 2:
        return *batch, np.ones(len(batch[0]), bool)
    images, labels, weights = batch
    weights = np.asarray(weights)
    if not np.isin(weights, (0, 1)).all():
        raise InputError(
            "Weights in an evaluation must be 1, or 0 for images that only fill up a "
            f"batch. Received: {weights.min()} to {weights.max()}"
        )
    return images, labels, weights == 1
