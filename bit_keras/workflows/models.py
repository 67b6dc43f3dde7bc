"""Models by what a person calls them: a preset, a file, or the folder of a run."""

import pathlib

import keras

from bit_keras.errors import InputError
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.presets import get_preset
from bit_keras.workflows.folders import MODEL_FILE

RANDOM_WEIGHTS = "random weights"


def open_model(model, num_classes=None, weights="published"):
    """Opens a model by name or path.

    Args:
        model: The name of a preset; or the path of a `.keras` file, of the folder of a
            fine-tuning run, or of a published weight file.
        num_classes: If given and not the model's, it gets a head of zeros for as many.
        weights: For a preset: `"published"`, the path of a weight file, or `"none"`.

    Returns:
        A `BiTClassifier`.

    Raises:
        InputError: If there is neither such a file nor such a preset, or if a file is
            damaged or no BiT model.
        RunError: If a download fails.
    """
    path = pathlib.Path(model)
    if path.is_dir():
        path /= MODEL_FILE
    if path.suffix == ".keras":
        return _load_keras_model(path, num_classes)
    if path.is_file():
        return BiTClassifier.from_checkpoint(path, num_classes)
    if len(path.parts) > 1:
        raise _missing(path)
    return BiTClassifier.from_preset(
        model, num_classes, weights=None if weights == "none" else weights
    )


def open_start_model(model, num_classes, weights=None):
    """Opens the model that fine-tuning starts from.

    Args:
        model: As in `open_model`.
        num_classes: Number of classes of the new head.
        weights: For a preset: the path of a weight file, or `"none"`; by default the
            published weights. A preset whose weights are to come with the package
            starts from random ones while they do not.

    Returns:
        The `BiTClassifier`, and where its weights are from, in words.

    Raises:
        InputError: As `open_model`.
        RunError: As `open_model`.
    """
    if weights is None:
        weights = "published"
        if _awaits_bundled_weights(model):
            weights = "none"
    opened = open_model(model, num_classes, weights)
    if weights == "none":
        return opened, RANDOM_WEIGHTS
    return opened, f"the weights of {model if weights == 'published' else weights}"


def _awaits_bundled_weights(model):
    if pathlib.Path(model).exists():
        return False
    preset = get_preset(model)
    return preset.asset is not None and not preset.has_weights


def _missing(path):
    return InputError(
        f"{path} is not there; give a preset, a .keras file, the folder of a run, or a "
        "weight file."
    )


def _load_keras_model(path, num_classes):
    if not path.is_file():
        raise _missing(path)
    try:
        model = keras.saving.load_model(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{path} is not a whole .keras file. Keras says: {reason}"
        ) from error
    if not isinstance(model, BiTClassifier):
        raise InputError(
            f"{path} must hold a BiTClassifier. Received: {type(model).__name__}"
        )
    if num_classes not in (None, model.num_classes):
        model.reset_head(num_classes)
    return model
