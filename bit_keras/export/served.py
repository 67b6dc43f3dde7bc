"""Exports that are run, and not trained or changed."""

import tensorflow as tf

from bit_keras.checkpoints.saved_models import read_class_names, read_metadata
from bit_keras.errors import InputError, first_line


class ServedModel:
    """A SavedModel of this package in use, in either form.

    It is called as a `BiTClassifier` is, without the time that one takes to be made.

    Args:
        path: Folder of a SavedModel with the outputs `"logits"` or `"all"`.

    Raises:
        InputError: If there is none, if it is damaged, or if it has no logits.

    Example:

    >>> served = ServedModel("exports/pets/saved_model_serving")
    >>> logits = served(images)  # In [-1, 1].

    Attributes: `class_names`, a list or `None`; `num_classes`; `image_size` in pixels,
    or `None`.
    """

    def __init__(self, path):
        metadata = read_metadata(path)
        if metadata["outputs"] == "features":
            raise InputError(
                f"{path} gives features alone; export the model with "
                "outputs=`logits` to predict with it."
            )
        self.image_size = metadata["image_size"]
        self.class_names = read_class_names(path)
        self._input_range = metadata["input_range"]
        self._outputs = "logits" if metadata["outputs"] == "all" else "outputs"
        self._serve = _load(path).signatures["serving_default"]
        # Not from the metadata, which know nothing of a head of another kind.
        self.num_classes = self._serve.structured_outputs[self._outputs].shape[-1]

    def __call__(self, images):
        """Returns the logits `(batch, classes)` of images in [-1, 1]."""
        images = _from_model_range(images, self._input_range)
        return self._serve(images=images)[self._outputs]


def _load(path):
    try:
        return tf.saved_model.load(str(path))
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"{path} is no whole SavedModel. TensorFlow says: {first_line(error)}"
        ) from error


def _from_model_range(images, input_range):
    """Maps images in [-1, 1] to the input range of an export."""
    if input_range == "uint8":
        return tf.saturate_cast(tf.round((images + 1) * 127.5), tf.uint8)
    return (images + 1) / 2 if input_range == [0, 1] else images
