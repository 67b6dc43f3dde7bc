"""Small models to export, in which no weight is without effect."""

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.export import compare


def make_model(dtype=None, num_classes=3, **kwargs):
    """Returns the smallest BiT, with random normalizations and a random head."""
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5, dtype=dtype)
    model = bit_keras.BiTClassifier(backbone, num_classes, **kwargs)
    random = np.random.default_rng(0)
    for name, variable in model.named_variables().items():
        if not name.endswith("standardized_conv2d/kernel"):
            centre = 1 if name.endswith("gamma") else 0
            variable.assign(random.normal(centre, 0.1, variable.shape))
    return model


@pytest.fixture(scope="session")
def named_model():
    """A model with class names and an image size, as fine-tuning leaves it."""
    keras.utils.set_random_seed(0)
    return make_model(class_names=["apple", "übung", "a b"], image_size=48)


@pytest.fixture(autouse=True)
def fewer_comparisons(monkeypatch):
    """Tries each export on two of the six shapes, for the time.

    `test_saved_model.py` holds that there are six.
    """
    monkeypatch.setattr(compare, "SHAPES", compare.SHAPES[2:4])
