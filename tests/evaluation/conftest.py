import numpy as np
import pytest
from identity_model import as_batches, identity_model

from bit_keras.evaluation import evaluate_model


@pytest.fixture(scope="session")
def evaluate():
    """Returns a function (logits, labels, class_names, batch_size) -> Evaluation."""

    def run(logits, labels, class_names=None, batch_size=64):
        model = identity_model(len(logits[0]))
        batches = as_batches(logits, labels, batch_size)
        return evaluate_model(model, batches, class_names, progress=False)

    return run


@pytest.fixture
def fruit(evaluate):
    """Returns an evaluation of 8 images, 5 of them right, in 4 classes.

    apple 2 of 3, pear 1 of 3, plum 2 of 2, quince without an image.
    """
    predictions = [0, 0, 1, 1, 0, 0, 2, 2]
    margins = [1, 2, 3, 4, 5, 6, 7, 8]
    logits = np.eye(4)[predictions] * np.array(margins)[:, None]
    return evaluate(
        logits, [0, 0, 0, 1, 1, 1, 2, 2], ["apple", "pear", "plum", "quince"]
    )
