"""Which software has made a result."""

import importlib.metadata

import keras
import tensorflow as tf


def versions():
    """Returns {name: version} of this package, Keras and TensorFlow."""
    try:
        own = importlib.metadata.version("bit-keras")
    except importlib.metadata.PackageNotFoundError:
        # Run from a source tree that was not installed.
        own = "unknown"
    return {"bit_keras": own, "keras": keras.__version__, "tensorflow": tf.__version__}
