"""Whether a model is as sure as it is right."""

import dataclasses
import functools

import numpy as np

from bit_keras.errors import InputError

NUM_BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """The confidences of predictions beside how often they are right, bin by bin.

    Args:
        counts: int64 [M], the number of examples in each of M bins of equal width: in
            bin m those of a confidence above m / M, up to (m + 1) / M.
        confidences: float64 [M], their mean confidence; NaN where there are none.
        accuracies: float64 [M], the share of right ones; NaN where there are none.

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599,
    section 2.
    """

    counts: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray

    @functools.cached_property
    def error(self):
        """Expected calibration error: the mean gap over all examples, 0 to 1."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracies - self.confidences)[filled]
        return float(np.average(gaps, weights=self.counts[filled]))

    def to_dict(self):
        """Returns error and bins in JSON's types; None where a bin is empty."""
        columns = (self.counts, self.confidences, self.accuracies)
        return {
            "error": self.error,
            "bins": [
                {
                    "count": int(count),
                    "confidence": float(confidence) if count else None,
                    "accuracy": float(accuracy) if count else None,
                }
                for count, confidence, accuracy in zip(*columns, strict=True)
            ],
        }


def calibrate(confidences, correct, num_bins=NUM_BINS):
    """Compares how sure predictions are with how often they are right.

    Args:
        confidences: Floats [N], 0 to 1, the probabilities of the predicted classes.
        correct: Booleans [N], whether each prediction is right.
        num_bins: Number of bins, at least 1.

    Returns:
        A `Calibration`.

    Raises:
        InputError: If there is no example, or a confidence beyond 0 and 1.

    Example:

    >>> calibrate([1, 1, 0.5], [True, False, True]).error
    0.5
    """
    confidences = np.asarray(confidences, np.float64)
    correct = np.asarray(correct, bool)
    if not len(confidences) or not ((confidences >= 0) & (confidences <= 1)).all():
        raise InputError(
            "`confidences` must be probabilities, at least one of them. Received: "
            f"{len(confidences)} numbers"
        )
    bins = np.ceil(confidences * num_bins).astype(int) - 1
    bins = np.maximum(bins, 0)  # A confidence of 0 lies in the first one.
    counts = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        return Calibration(
            counts,
            np.bincount(bins, confidences, num_bins) / counts,
            np.bincount(bins, correct, num_bins) / counts,
        )
