"""A linear probe on frozen features, by least squares."""

import numpy as np

from bit_keras.errors import InputError

# Of big_vision's few-shot evaluation.
EPSILON = 1e-5
BIAS = 100.0
L2 = 2.0**10
# Features are made float64 in so many rows at a time.
ROWS_AT_ONCE = 4096


class LinearProbe:
    """A linear classifier by least squares, for any strength of regularization.

    Features are whitened with mean and standard deviation of the training examples, and
    a constant of 100 is appended, so large that the bias it brings is hardly
    regularized. The targets are 1 for the class and -1 for the others. All is computed
    in float64. One factorization serves for all strengths.

    Args:
        features: Float [N, D], those of the training examples.
        labels: Integers [N], their classes.
        num_classes: K, the number of classes.

    Raises:
        InputError: If features and labels do not fit each other.

    Example:

    >>> probe = LinearProbe(np.eye(3), [0, 1, 2], num_classes=3)
    >>> probe.predict(np.eye(3)).tolist()
    [0, 1, 2]

    Source: big_vision's `evaluators/fewshot_lsr.py`.
    """

    def __init__(self, features, labels, num_classes):
        features, labels = np.asarray(features, np.float64), np.asarray(labels)
        _check(features, labels, num_classes)
        self._mean = features.mean(axis=0)
        self._deviation = features.std(axis=0) + EPSILON
        inputs = self._whitened(features)
        targets = 2 * np.eye(num_classes)[labels] - 1
        num_examples, dimensions = inputs.shape
        # (x'x + l2)^-1 x'y is x'(xx' + l2)^-1 y: the smaller of both is factorized.
        if num_examples >= dimensions:
            self._eigenvalues, vectors = np.linalg.eigh(inputs.T @ inputs)
            self._left, self._right = vectors, vectors.T @ (inputs.T @ targets)
        else:
            self._eigenvalues, vectors = np.linalg.eigh(inputs @ inputs.T)
            self._left, self._right = inputs.T @ vectors, vectors.T @ targets

    def weights(self, l2=L2):
        """Returns the solution, float64 [D + 1, K], for whitened features and constant.

        Args:
            l2: Strength of the regularization, positive.
        """
        if not l2 > 0:
            raise InputError(f"`l2` must be positive. Received: {l2}")
        return (self._left / (self._eigenvalues + l2)) @ self._right

    def scores(self, features, l2=L2):
        """Returns what is predicted for the targets, float64 [n, K].

        Args:
            features: Float [n, D].
            l2: Strength of the regularization, positive.
        """
        weights = self.weights(l2)
        parts = range(0, len(features), ROWS_AT_ONCE)
        rows = (features[start : start + ROWS_AT_ONCE] for start in parts)
        return np.concatenate([self._whitened(part) @ weights for part in rows])

    def predict(self, features, l2=L2):
        """Returns the classes of the highest scores, int64 [n]; ties by lowest index.

        Args:
            features: Float [n, D].
            l2: Strength of the regularization, positive.
        """
        return self.scores(features, l2).argmax(axis=1)

    def _whitened(self, features):
        """Returns what the solution is multiplied with, the constant in the end."""
        whitened = (np.asarray(features, np.float64) - self._mean) / self._deviation
        return np.pad(whitened, [(0, 0), (0, 1)], constant_values=BIAS)


def _check(features, labels, num_classes):
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise InputError(
            "A probe takes features (examples, dimensions) and a label for each. "
            f"Received: features {features.shape}, labels {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InputError(
            f"Labels must be 0 to {num_classes - 1}. Received: {labels.min()} to "
            f"{labels.max()}"
        )
