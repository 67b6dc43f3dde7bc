"""Labels for loose images."""

import contextlib
import dataclasses

import tensorflow as tf

from bit_keras.data import decode
from bit_keras.data.preprocess import eval_image
from bit_keras.errors import InputError
from bit_keras.workflows.evaluate import choose_image_size


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Args:
        path: The image file.
        labels: Class names, the likeliest first.
        probabilities: Their probabilities, 0 to 1.
    """

    path: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict(model, paths, top_k=5, image_size=None, batch_size=32):
    """Classifies image files.

    Args:
        model: A `BiTClassifier` with a head, or a `ServedModel`.
        paths: Image files, and folders whose images are taken.
        top_k: Number of classes to return for each, at least 1.
        image_size: Pixels that images are resized to; by default the model's.
        batch_size: Number of images at once.

    Returns:
        A list with a `Prediction` for each image, in the order of the paths. Classes
        without a name are called by their index.

    Raises:
        InputError: If there is no image, a file is none, or the model has no head.
    """
    if not model.num_classes:
        raise InputError("The model has no head; fine-tune it before it can predict.")
    if top_k < 1:
        raise InputError(f"`top_k` must be at least 1. Received: {top_k}")
    size = choose_image_size(model, image_size)
    names = model.class_names or [f"class {i}" for i in range(model.num_classes)]
    count = min(top_k, model.num_classes)
    files = decode.expand(paths)
    batches = [files[i : i + batch_size] for i in range(0, len(files), batch_size)]
    predictions = []
    with _unoptimized_graphs() if len(batches) == 1 else contextlib.nullcontext():
        for batch in batches:
            images = [eval_image(decode.read_image(file), size) for file in batch]
            probabilities = tf.nn.softmax(model(tf.stack(images)))
            top = tf.math.top_k(probabilities, count)
            for file, values, indices in zip(
                batch, top.values.numpy(), top.indices.numpy(), strict=True
            ):
                labels = tuple(names[index] for index in indices)
                shares = tuple(map(float, values))
                predictions.append(Prediction(str(file), labels, shares))
    return predictions


@contextlib.contextmanager
def _unoptimized_graphs():
    """Runs graphs as they are.

    To optimize R50x1 in the serving form took 0.34 s on two CPU cores, and saved 10 ms
    of one image and 40 ms of a batch of 32.
    """
    name, options = "disable_meta_optimizer", tf.config.optimizer
    before = options.get_experimental_options().get(name, False)
    options.set_experimental_options({name: True})
    try:
        yield
    finally:
        options.set_experimental_options({name: before})
