"""What a run is, and the model that it leaves."""

import zlib

import keras
import numpy as np

from bit_keras.models.classifier import BiTClassifier


def describe_run(model, source, recipe, seed):
    """Returns all that decides the result of a run, as far as a program can tell.

    Args:
        model: The `BiTClassifier` as the run starts from it.
        source: The `Source`.
        recipe: The recipe.
        seed: The seed of order, crops, flips and MixUp.

    Returns:
        A dict of JSON's types. Devices are not part of it: a run can go on on others.
    """
    return {
        "model": {
            "architecture": str(model.architecture),
            "policy": model.backbone.dtype_policy.name,
            "initial weights": fingerprint(model),
        },
        "data": {
            "name": source.name,
            "classes": list(source.class_names),
            "training images": source.train.num_examples,
            "test images": source.test.num_examples,
        },
        "recipe": {"kind": type(recipe).__name__, **recipe.to_dict()},
        "seed": seed,
    }


def fingerprint(model):
    """Returns a checksum of all weights of a model, as text."""
    checksum = 0
    for variable in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        checksum = zlib.crc32(values.tobytes(), checksum)
    return f"{checksum:08x}"


def without_strategy(model):
    """Returns the model, or a copy of it on one device if it has a strategy.

    One process can then evaluate and write it, whatever the others do.
    """
    if not model.has_strategy:
        return model
    copy = BiTClassifier.from_config(model.get_config())
    for variable, trained in zip(copy.weights, model.weights, strict=True):
        variable.assign(keras.ops.convert_to_numpy(trained))
    return copy
