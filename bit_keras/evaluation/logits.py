"""What a model says of every image of a set."""

import numpy as np
import tensorflow as tf

from bit_keras.errors import InputError, RunError
from bit_keras.evaluation.batches import examples_in
from bit_keras.progress import progress_bar


def run_model(model, batches, progress=True):
    """Yields what a classifier says of each batch.

    Args:
        model: Keras model, images [B, H, W, 3] -> logits [B, K].
        batches: As in `evaluate_model`.
        progress: Whether to show a progress bar.

    Returns:
        An iterator over (logits, labels) of the examples alone: float64 [n, K], and
        the labels as the batches give them.

    Raises:
        InputError: If there are no examples or endlessly many.
        RunError: If a logit is not finite.
    """
    num_batches = _count(batches)
    num_examples = largest = 0
    with progress_bar("evaluating", None, " images", show=progress) as bar:
        for batch in batches:
            images, labels, is_example = examples_in(batch)
            size = len(images)
            largest = max(largest, size)
            # Filled up with zeros, since the network would be compiled anew for the
            # size of the last batch; cut, since each replica of a strategy returns all
            # rows.
            filled = tf.pad(images, [[0, largest - size], [0, 0], [0, 0], [0, 0]])
            logits = np.asarray(model.predict_on_batch(filled), np.float64)
            logits = logits[:size][is_example]
            _check_finite(logits, num_examples)
            yield logits, np.asarray(labels)[is_example]
            num_examples += len(logits)
            # An estimate for the time left, until the last batch tells the number.
            bar.total = num_batches and num_batches * largest
            bar.update(len(logits))
        bar.total = num_examples
    if not num_examples:
        raise InputError(
            "Received: a data set without examples, expected at least one image to "
            "evaluate on; check the split or the folder."
        )


def _count(batches):
    """Returns the number of batches, None where it is not known beforehand."""
    cardinality = batches.cardinality().numpy()
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            "Received: a data set that repeats without end, expected one that ends "
            "after every example was seen once; give it without repeat()."
        )
    return None if cardinality == tf.data.UNKNOWN_CARDINALITY else cardinality


def _check_finite(logits, first_example):
    bad = ~np.isfinite(logits).all(axis=tuple(range(1, logits.ndim)))
    if bad.any():
        raise RunError(
            f"The model's logits for example {first_example + int(bad.argmax())} are "
            "not finite, so that nothing can be counted; check that the weights and "
            "the images hold neither NaN nor infinity."
        )


def score(logits, labels):
    """Returns the columns of `Evaluation` for one batch.

    Args:
        logits: float64 [n, K].
        labels: int64 [n].

    Returns:
        Labels, losses, top classes, top probabilities and probabilities.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_probabilities).astype(np.float32)
    losses = -log_probabilities[np.arange(len(labels)), labels]
    top = top_classes(logits, min(5, logits.shape[1]))
    top_probabilities = np.take_along_axis(probabilities, top, axis=1)
    return labels, losses, top, top_probabilities, probabilities


def top_classes(logits, count):
    """Returns the `count` largest per row, largest first, ties by lowest index."""
    # A few passes of argmax keep its rule for ties and cost less than to sort thousands
    # of classes.
    logits = logits.copy()
    top = np.empty((len(logits), count), np.int64)
    for column in top.T:
        column[:] = logits.argmax(axis=1)
        np.put_along_axis(logits, column[:, None], -np.inf, axis=1)
    return top
