"""Holds what was exported to the model that it was made of."""

import numpy as np
import tensorflow as tf

from bit_keras.errors import RunError
from bit_keras.export.forward import forward_function, image_spec, rescale

# Two sizes of batches and three of images.
SHAPES = tuple(
    (batch, *size, 3) for size in ((64, 64), (97, 65), (48, 128)) for batch in (1, 3)
)


def largest_deviation(run, model, outputs, input_range, tolerance):
    """Compares an export with its model on random images.

    Args:
        run: Computes the export: from a batch of images, a NumPy array, to a dict of
            arrays by the names of the outputs.
        model: The Keras model.
        outputs: As in `export_saved_model`.
        input_range: As in `export_saved_model`.
        tolerance: The largest relative L2 deviation that is only rounding.

    Returns:
        The largest relative L2 deviation of any output for any images, a float.

    Raises:
        RunError: If it is more than the tolerance.
    """
    forward = forward_function(model, outputs)
    # A graph, as the export is one: TensorFlow rounds single operations otherwise.
    expect = tf.function(
        lambda images: forward(rescale(images, input_range)),
        autograph=False,
        input_signature=[image_spec(input_range)],
    )
    largest = 0.0
    for shape in SHAPES:
        images = _random_images(shape, input_range)
        expected, actual = expect(images), run(images)
        names = expected if outputs == "all" else [outputs]
        for name in names:
            deviation = relative_l2(actual[name], expected[name])
            if not deviation <= tolerance:  # so that NaN fails
                raise RunError(
                    f"The export does not give the model's {name} and was not kept: "
                    f"relative deviation {deviation:.1e} on images of shape {shape}, "
                    f"expected at most {tolerance:.0e}."
                )
            largest = max(largest, deviation)
    return largest


def _random_images(shape, input_range):
    random = np.random.default_rng(0)
    if input_range == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.uniform(*input_range, size=shape).astype(np.float32)


def relative_l2(actual, expected):
    """Returns the norm of the difference over the norm of what is expected."""
    actual, expected = np.float64(actual), np.float64(expected)
    difference = np.linalg.norm(actual - expected)
    # The logits of a new head are all zero.
    return float(difference and difference / np.linalg.norm(expected))
