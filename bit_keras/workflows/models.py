"""Models by what a person calls them: a preset, a file, or the folder of a run."""

import pathlib

import keras

from bit_keras.checkpoints.saved_models import is_saved_model, read_metadata
from bit_keras.errors import InputError, first_line
from bit_keras.export.served import ServedModel
from bit_keras.models.classifier import BiTClassifier
from bit_keras.models.presets import get_preset
from bit_keras.workflows.folders import MODEL_FILE

SUFFIXES = (".keras", ".npz", ".h5", ".safetensors")


def open_model(model, num_classes=None, weights="published"):
    """Opens a model by name or path.

    Args:
        model: The name of a preset; or the path of a `.keras` file, of the folder of a
            fine-tuning run or of a SavedModel in the trainable form, or of a published
            weight file.
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
    if is_path(path) and weights != "published":
        raise InputError(
            f"Weights can be chosen for a preset alone; {model} has its own. Received: "
            f"weights {weights}"
        )
    if is_saved_model(path):
        return _with_classes(BiTClassifier.from_saved_model(path), num_classes)
    if path.is_dir():
        path /= MODEL_FILE
    if path.suffix == ".keras":
        return _with_classes(_load_keras_model(path), num_classes)
    if is_path(path):
        if not path.is_file():
            raise _missing(path)
        return BiTClassifier.from_checkpoint(path, num_classes)
    return BiTClassifier.from_preset(
        model, num_classes, weights=None if weights == "none" else weights
    )


def open_predictor(model):
    """Opens a model that is only to predict.

    Args:
        model: As in `open_model`, or the folder of a SavedModel in the serving form.

    Returns:
        A `BiTClassifier`, or a `ServedModel`.

    Raises:
        InputError: As `open_model`.
        RunError: As `open_model`.
    """
    if is_saved_model(model) and read_metadata(model)["form"] == "serving":
        return ServedModel(model)
    return open_model(model)


def check_is_there(model):
    """Raises `InputError` if there is neither such a file nor such a preset.

    Before other work, for a model that is only opened after it.

    Args:
        model: As in `open_model`.
    """
    path = pathlib.Path(model)
    if not is_path(path):
        get_preset(model)
    elif not path.exists():
        raise _missing(path)


def is_path(model):
    """Tells the path of a model, even one of nothing, from the name of a preset."""
    path = pathlib.Path(model)
    return path.exists() or len(path.parts) > 1 or path.suffix in SUFFIXES


def open_teacher(model):
    """Opens a model to learn from.

    Args:
        model: As in `open_model`, or the path of any other `.keras` file.

    Returns:
        A Keras model.

    Raises:
        InputError: As `open_model`.
        RunError: As `open_model`.
    """
    path = pathlib.Path(model)
    return _load_keras(path) if path.suffix == ".keras" else open_model(model)


def open_start_model(model, num_classes, weights=None):
    """Opens the model that fine-tuning starts from.

    Args:
        model: As in `open_model`.
        num_classes: Number of classes of the new head.
        weights: For a preset: the path of a weight file, or `"none"`; by default its
            own, bundled or downloaded once.

    Returns:
        The `BiTClassifier`, and whether its weights are random.

    Raises:
        InputError: As `open_model`.
        RunError: As `open_model`.
    """
    weights = weights or "published"
    return open_model(model, num_classes, weights), weights == "none"


def check_model(model):
    """Raises `InputError` unless it is a `BiTClassifier`."""
    if not isinstance(model, BiTClassifier):
        raise InputError(
            f"`model` must be a BiTClassifier. Received: {type(model).__name__}"
        )


def check_fit(model, source, advice):
    """Raises `InputError` unless a model has the classes of a set of images.

    Args:
        model: What should be a `BiTClassifier`.
        source: A `Source`.
        advice: What to do if it has another number of classes.
    """
    check_model(model)
    if model.num_classes != source.num_classes:
        raise InputError(
            f"The model has {model.num_classes} classes, but {source.name} has "
            f"{source.num_classes}; {advice}."
        )


def _missing(path):
    return InputError(
        f"{path} is not there; give a preset, a .keras file, the folder of a run or of "
        "a SavedModel, or a weight file."
    )


def _with_classes(model, num_classes):
    if num_classes not in (None, model.num_classes):
        model.reset_head(num_classes)
    return model


def _load_keras_model(path):
    model = _load_keras(path)
    if not isinstance(model, BiTClassifier):
        raise InputError(
            f"{path} must hold a BiTClassifier. Received: {type(model).__name__}"
        )
    return model


def _load_keras(path):
    if not path.is_file():
        raise _missing(path)
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is not a whole .keras file. Keras says: {first_line(error)}"
        ) from error
