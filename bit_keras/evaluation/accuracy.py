"""Exact accuracy of a model over a whole set of images."""

import dataclasses
import functools
import math
import statistics

import numpy as np

from bit_keras.errors import InputError
from bit_keras.evaluation.calibration import calibrate
from bit_keras.evaluation.logits import run_model, score

# Above this number of values (200 MB of float32) only the top five of each example
# are kept.
MAX_PROBABILITIES = 50_000_000
MAX_CONFUSION_CLASSES = 1000


def wilson_interval(correct, total, confidence=0.95):
    """Returns the Wilson score interval of an accuracy.

    Unlike the normal approximation it stays within [0, 1] and keeps its coverage when
    nearly all or nearly no examples are right.

    Args:
        correct: Number of right examples, 0 to `total`.
        total: Number of examples, at least 1.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        A pair of floats, (low, high).

    Raises:
        InputError: If the counts are not those of an accuracy.

    Reference: E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", JASA 22 (1927).

    Example:

    >>> low, high = wilson_interval(8, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.490 0.943
    """
    if total < 1 or not 0 <= correct <= total:
        raise InputError(
            f"Received: {correct} right of {total} examples, expected at least one "
            "example and no more right ones than there are; check the counts."
        )
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    centre = share + z**2 / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    low, high = (centre - half) / scale, (centre + half) / scale
    # Rounding must not put the bounds beyond the accuracy itself, nor beyond 0 and 1.
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model said about every example, and the figures that follow from it.

    Args:
        class_names: Tuple of K strings.
        labels: int64 [N], the true classes.
        losses: float64 [N], softmax cross-entropy of each example in nats.
        top_classes: int64 [N, min(5, K)], the most likely classes, the likeliest
            first; of equal logits the lowest class index comes first, as in argmax.
        top_probabilities: float32 [N, min(5, K)], their probabilities.
        probabilities: float32 [N, K], or None for very large evaluations.
    """

    class_names: tuple
    labels: np.ndarray
    losses: np.ndarray
    top_classes: np.ndarray
    top_probabilities: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def num_examples(self):
        """Number of examples, N."""
        return len(self.labels)

    @property
    def num_classes(self):
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def predictions(self):
        """The predicted classes, int64 [N]."""
        return self.top_classes[:, 0]

    @property
    def confidences(self):
        """The probabilities of the predicted classes, float32 [N]."""
        return self.top_probabilities[:, 0]

    @functools.cached_property
    def correct(self):
        """Whether each example is predicted right, bool [N]."""
        return self.predictions == self.labels

    @functools.cached_property
    def num_correct(self):
        """Number of examples whose likeliest class is the true one."""
        return int(self.correct.sum())

    @functools.cached_property
    def num_correct_top5(self):
        """Number of examples with the true class among the min(5, K) likeliest."""
        return int((self.top_classes == self.labels[:, None]).sum())

    @property
    def top1(self):
        """Share of right examples, 0 to 1."""
        return self.num_correct / self.num_examples

    @property
    def top5(self):
        """Share of examples with the true class among the min(5, K) likeliest."""
        return self.num_correct_top5 / self.num_examples

    @property
    def loss(self):
        """Mean softmax cross-entropy in nats."""
        return float(self.losses.mean())

    @functools.cached_property
    def calibration(self):
        """How sure the predictions are beside how often they are right."""
        return calibrate(self.confidences, self.correct)

    @functools.cached_property
    def class_counts(self):
        """Number of examples of each class, int64 [K]."""
        return np.bincount(self.labels, minlength=self.num_classes)

    @functools.cached_property
    def class_correct(self):
        """Number of right examples of each class, int64 [K]."""
        return np.bincount(self.labels[self.correct], minlength=self.num_classes)

    @property
    def class_accuracy(self):
        """Share of right examples of each class, float64 [K]; NaN without examples."""
        with np.errstate(invalid="ignore"):
            return self.class_correct / self.class_counts

    @functools.cached_property
    def confusion(self):
        """Counts by true (row) and predicted class, int64 [K, K]; None if K > 1000."""
        if self.num_classes > MAX_CONFUSION_CLASSES:
            return None
        shape = (self.num_classes, self.num_classes)
        cells = np.ravel_multi_index((self.labels, self.predictions), shape)
        return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)

    def confusions(self):
        """Lists (true class, predicted class, count) of the errors.

        The most frequent comes first, those of equal count in the order of indices.
        """
        pairs = np.stack([self.labels, self.predictions], axis=1)[~self.correct]
        pairs, counts = np.unique(pairs, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(*map(int, pairs[i]), int(counts[i])) for i in order]

    def to_dict(self):
        """Returns all figures, without the single examples, in JSON's types.

        The accuracy of a class without examples is None. The confusion matrix is given
        by its cells off the diagonal that are not zero.
        """
        names = self.class_names
        return {
            "num_examples": self.num_examples,
            "num_classes": self.num_classes,
            "num_correct": self.num_correct,
            "num_correct_top5": self.num_correct_top5,
            "top1": self.top1,
            "top1_interval": list(wilson_interval(self.num_correct, self.num_examples)),
            "top5": self.top5,
            "loss": self.loss,
            "calibration": self.calibration.to_dict(),
            "classes": [
                {
                    "name": name,
                    "count": int(count),
                    "correct": int(correct),
                    "accuracy": int(correct) / int(count) if count else None,
                }
                for name, count, correct in zip(
                    names, self.class_counts, self.class_correct, strict=True
                )
            ],
            "confusions": [
                {"true": names[true], "predicted": names[predicted], "count": count}
                for true, predicted, count in self.confusions()
            ],
        }


def evaluate_model(model, batches, class_names=None, progress=True):
    """Runs a classifier over a set and counts every example once.

    Logits are compared in float64, whatever the precision of the model; of equal
    logits the lowest class index wins.

    Args:
        model: Keras model, images [B, H, W, 3] -> logits [B, K].
        batches: Finite `tf.data.Dataset` of (images [B, H, W, 3], one-hot labels
            [B, K]) or (images, labels, weights [B]), where rows of weight 0 only fill a
            batch up and are left out; the batches may differ in size.
        class_names: K names in the order of the labels; by default their indices.
        progress: Whether to show a progress bar.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: If there are no examples or endlessly many, if the labels are not
            one-hot or the weights not 1 or 0, or if model, labels and names differ in
            the number of classes.
        RunError: If a logit is not finite.

    Example:

    >>> evaluation = evaluate_model(model, test, ["cat", "dog"])  # doctest: +SKIP
    >>> evaluation.num_correct, evaluation.num_examples  # doctest: +SKIP
    (937, 1000)
    """
    scores, probabilities, num_values = [], [], 0
    for logits, labels in _run(model, batches, class_names, progress):
        *columns, batch_probabilities = score(logits, labels)
        scores.append(columns)
        num_values += logits.size
        if num_values > MAX_PROBABILITIES:
            probabilities = None
        if probabilities is not None:
            probabilities.append(batch_probabilities)
    return Evaluation(
        _names(class_names, logits.shape[1]),
        *map(np.concatenate, zip(*scores, strict=True)),
        None if probabilities is None else np.concatenate(probabilities),
    )


def _run(model, batches, class_names, progress):
    """Yields the checked (float64 logits [B, K], labels [B]) of every batch."""
    num_examples = 0
    for logits, one_hot in run_model(model, batches, progress):
        _check_classes(logits, one_hot, class_names)
        _check_one_hot(one_hot, num_examples)
        yield logits, one_hot.argmax(axis=1)
        num_examples += len(logits)


def _check_classes(logits, one_hot, class_names):
    """Raises unless model, labels and names agree on the number of classes."""
    if logits.ndim != 2 or logits.shape != one_hot.shape:
        raise InputError(
            f"Received: model outputs of shape {logits.shape} for labels of shape "
            f"{one_hot.shape}, expected logits and one-hot labels [batch, classes] of "
            "the same classes; give a model whose head was made for this data set."
        )
    if class_names is not None and len(class_names) != one_hot.shape[1]:
        raise InputError(
            f"Received: {len(class_names)} class names for labels of "
            f"{one_hot.shape[1]} classes, expected one name for each class; check the "
            "list of names."
        )


def _check_one_hot(one_hot, first_example):
    bad = ~((one_hot == 0) | (one_hot == 1)).all(axis=1) | (one_hot.sum(axis=1) != 1)
    if bad.any():
        raise InputError(
            f"Received: the label of example {first_example + int(bad.argmax())}, "
            "which is not a single 1 among zeros, expected one-hot labels; give them "
            "without mixup or smoothing."
        )


def _names(class_names, num_classes):
    """Returns the names as a tuple of strings, by default the indices."""
    return tuple(map(str, range(num_classes) if class_names is None else class_names))
