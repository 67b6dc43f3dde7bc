"""Reusable SavedModels, as TensorFlow Hub's consumers expect them."""

import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from bit_keras.errors import InputError, RunError
from bit_keras.files import make_folder
from bit_keras.models.classifier import BiTClassifier

OUTPUTS = ("features", "logits", "all")
INPUT_RANGES = ((0, 1), (-1, 1), (0, 255))
# What float32 leaves between one run of a graph and another one of the same weights.
TOLERANCE = 1e-6


def export_saved_model(
    model, path, outputs="features", input_range=(0, 1), overwrite=False
):
    """Writes a model as a reusable SavedModel, checked before it is kept.

    `hub.KerasLayer(path, trainable=True)` in tf_keras, `keras.layers.TFSMLayer(path,
    call_endpoint="serving_default")` in Keras 3 and `tf.saved_model.load(path)` all
    accept it, and can train it: weight standardization is part of the graph.

    Args:
        model: A `BiTClassifier`.
        path: The folder to write. It appears when it is whole and has given the same
            outputs as the model.
        outputs: `"features"`, pooled, `(batch, 2048 * width)`; `"logits"`; or `"all"`,
            a dict of these two and every endpoint of the backbone.
        input_range: Range of the float32 images that the SavedModel takes: `(0, 1)` as
            is the convention of TensorFlow Hub, `(-1, 1)` or `(0, 255)`.
        overwrite: Whether an existing folder is replaced.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        InputError: If an argument is not possible, or if the folder exists.
        RunError: If the SavedModel does not give the model's outputs; nothing is kept.

    Example:

    >>> export_saved_model(model, "exports/pets", outputs="logits")
    >>> probabilities = tf.nn.softmax(tf.saved_model.load("exports/pets")(images))

    Source: the interface of https://www.tensorflow.org/hub/reusable_saved_models and
    https://www.tensorflow.org/hub/common_saved_model_apis/images.
    """
    path = pathlib.Path(path)
    _check_arguments(model, path, outputs, input_range, overwrite)
    make_folder(path.parent)
    # Beside the target, so that the last step is a rename on one disk.
    prefix = f".{path.name}-"
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as folder:
        draft = pathlib.Path(folder, "saved_model")
        reusable = reusable_model(model, outputs, input_range)
        tf.saved_model.save(
            reusable,
            str(draft),
            signatures={"serving_default": _serving_signature(reusable)},
        )
        _check_outputs(reusable, draft, input_range)
        if path.exists():
            shutil.move(path, pathlib.Path(folder, "replaced"))
        draft.rename(path)
    return path


def _check_arguments(model, path, outputs, input_range, overwrite):
    if not isinstance(model, BiTClassifier):
        raise InputError(
            f"`model` must be a BiTClassifier. Received: {type(model).__name__}"
        )
    if outputs not in OUTPUTS:
        raise InputError(f"`outputs` must be one of {OUTPUTS}. Received: {outputs!r}")
    if input_range not in INPUT_RANGES:
        raise InputError(
            f"`input_range` must be one of {INPUT_RANGES}. Received: {input_range!r}"
        )
    if outputs != "features" and not model.num_classes:
        raise InputError(
            f'The model has no head; export it with outputs="features". Received: '
            f"outputs={outputs!r}"
        )
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists; choose another folder, or allow it to be replaced with "
            "`overwrite`."
        )
    if path.exists() and not (path / "saved_model.pb").is_file():
        raise InputError(
            f"{path} is not a SavedModel, and only such a folder is ever replaced; "
            "choose another one."
        )


def reusable_model(model, outputs, input_range):
    """Returns an object with the interface of a reusable SavedModel, not yet saved.

    Args:
        model: A `BiTClassifier`.
        outputs: As in `export_saved_model`.
        input_range: As in `export_saved_model`.

    Returns:
        A trackable object, callable on images, with `variables`, `trainable_variables`
        and `regularization_losses`.
    """
    compute = _forward_function(model, outputs)
    low, high = input_range

    @tf.function(autograph=False)
    def call(images, training=False):
        del training  # BiT computes the same; consumers pass it all the same.
        return compute((images - low) * (2 / (high - low)) - 1)

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    for training in (False, True):
        call.get_concrete_function(images, training=training)
    root = tf.train.Checkpoint()
    root.__call__ = call
    # The head is no part of the features, and would never get a gradient.
    used = model.backbone if outputs == "features" else model
    root.variables = [variable.value for variable in used.variables]
    root.trainable_variables = [variable.value for variable in used.trainable_variables]
    root.regularization_losses = []
    return root


def _forward_function(model, outputs):
    """Returns the function from images in [-1, 1] to the chosen outputs."""
    if outputs == "logits":
        return model
    if outputs == "features":
        return model.features
    with_endpoints = keras.Model(model.backbone.input, model.backbone.endpoints)

    def compute_all(images):
        endpoints = with_endpoints(images)
        features = model.pool(endpoints["pre_logits_2d"])
        return {**endpoints, "features": features, "logits": model.head(features)}

    return compute_all


def _serving_signature(reusable):
    """Returns the default signature, whose outputs have names."""

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "images")],
    )
    def serve(images):
        outputs = reusable.__call__(images)
        return outputs if isinstance(outputs, dict) else {"outputs": outputs}

    return serve


def _check_outputs(reusable, folder, input_range):
    """Raises `RunError` unless the saved model computes what the live one does."""
    loaded = tf.saved_model.load(str(folder))
    random = np.random.default_rng(0)
    for shape in ((1, 64, 64, 3), (2, 97, 65, 3)):
        images = random.uniform(*input_range, size=shape).astype(np.float32)
        outputs = map(tf.nest.flatten, (reusable.__call__(images), loaded(images)))
        for expected, actual in zip(*outputs, strict=True):
            deviation = _relative_deviation(actual, expected)
            if not deviation <= TOLERANCE:  # so that NaN fails
                raise RunError(
                    "The SavedModel does not give the model's outputs and was not "
                    f"kept: relative deviation {deviation:.1e} on images of shape "
                    f"{shape}, expected at most {TOLERANCE:.0e}."
                )


def _relative_deviation(actual, expected):
    """Returns the norm of the difference over the norm of what is expected."""
    difference = np.linalg.norm(np.float64(actual) - np.float64(expected))
    # The logits of a new head are all zero.
    return difference and difference / np.linalg.norm(np.float64(expected))
