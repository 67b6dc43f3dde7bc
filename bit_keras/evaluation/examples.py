"""Examples to look at: which ones, and their images."""

import numpy as np

from bit_keras.errors import InputError
from bit_keras.evaluation.batches import examples_in


def choose_examples(evaluation, count=30, seed=0):
    """Chooses examples to show: half of them wrong ones, if there are so many.

    The wrong ones are those of which the model was most sure, the right ones are drawn
    at random. Where either kind is short, the other one fills up.

    Args:
        evaluation: `Evaluation` of N examples.
        count: Number of examples wanted, at least 1.
        seed: Seed of the draw; the same arguments give the same examples.

    Returns:
        int64 array of min(count, N) indices, the wrong ones first, surest first, then
        the right ones in the order of the set.
    """
    wrong = np.flatnonzero(~evaluation.correct)
    right = np.flatnonzero(evaluation.correct)
    num_right = min(len(right), max(count - count // 2, count - len(wrong)))
    surest = np.argsort(-evaluation.confidences[wrong], kind="stable")
    drawn = np.random.default_rng(seed).choice(right, num_right, replace=False)
    return np.concatenate([wrong[surest[: count - num_right]], np.sort(drawn)])


def choose_confused(evaluation, num_pairs=10, count=6):
    """Chooses examples of the most frequent confusions.

    Args:
        evaluation: `Evaluation` of N examples.
        num_pairs: Number of pairs of classes wanted.
        count: Number of examples wanted of each.

    Returns:
        A list of int64 arrays of indices, for the first pairs of
        `evaluation.confusions()`; those of which the model was most sure come first.
    """
    chosen = []
    for true, predicted, _ in evaluation.confusions()[:num_pairs]:
        is_confused = (evaluation.labels == true) & (
            evaluation.predictions == predicted
        )
        found = np.flatnonzero(is_confused)
        surest = np.argsort(-evaluation.confidences[found], kind="stable")
        chosen.append(found[surest[:count]])
    return chosen


def pick_images(batches, indices):
    """Fetches the images of the given examples, in one pass.

    Args:
        batches: `tf.data.Dataset` of (images [B, H, W, 3], labels) or (images, labels,
            weights), which gives the same order each time.
        indices: n positions in the set, counted from 0, in any order; rows of weight 0
            are not counted.

    Returns:
        Array [n, H, W, 3] in the order of `indices`.

    Raises:
        InputError: If the set has fewer examples.
    """
    found, start = {}, 0
    for batch in batches:
        images, _, is_example = examples_in(batch)
        rows = np.flatnonzero(is_example)
        for index in {int(i) for i in indices if start <= i < start + len(rows)}:
            found[index] = np.asarray(images[rows[index - start]])
        start += len(rows)
        if len(found) == len(set(map(int, indices))):
            return np.stack([found[int(index)] for index in indices])
    raise InputError(
        f"Received: example {max(indices)} of a data set with {start} examples, "
        "expected positions inside it; give the data set that was evaluated."
    )
