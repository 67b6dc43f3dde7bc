"""Reusable SavedModels, as TensorFlow Hub's consumers expect them."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import tempfile

import tensorflow as tf

from bit_keras.checkpoints import saved_models
from bit_keras.errors import InputError, RunError
from bit_keras.export.compare import largest_deviation
from bit_keras.export.fold import STORED_DTYPES
from bit_keras.export.forward import INPUT_RANGES, check_outputs, find_backbone
from bit_keras.export.reusable import FORMS, reusable_model
from bit_keras.files import make_folder
from bit_keras.versions import versions

# What is left between two runs of one network, by the coarsest dtype in it.
TOLERANCES = {"float64": 1e-6, "float32": 1e-6, "float16": 0.05, "bfloat16": 0.2}


def export_saved_model(
    model,
    path,
    outputs="features",
    input_range=(0, 1),
    form="trainable",
    *,
    variables="float32",
    weight_decay=0.0,
    recipe=None,
    overwrite=False,
):
    """Writes a model as a reusable SavedModel, checked before it is kept.

    `hub.KerasLayer(path, trainable=True)` in tf_keras, `keras.layers.TFSMLayer(path,
    call_endpoint="serving_default")` in Keras 3 and `tf.saved_model.load(path)` all
    accept it, and can train its trainable form.

    Args:
        model: A `BiTClassifier`; a `BiTBackbone`; or a Keras model with a head of its
            own, from images in [-1, 1] to logits, that has one `BiTBackbone` among its
            layers.
        path: The folder to write. It appears when it is whole and has given the same
            outputs as the model.
        outputs: `"features"`, pooled, `(batch, 2048 * width)`; `"logits"`; or `"all"`,
            a dict of these two and every endpoint of the backbone.
        input_range: Range of the float32 images that the SavedModel takes: `(0, 1)` as
            is the convention of TensorFlow Hub, or `(-1, 1)`; or `"uint8"` for images
            of that dtype, from 0 to 255.
        form: `"trainable"`, with weight standardization in the graph, so that it is
            fine-tuned as the model is; or `"serving"`, whose kernels are standardized
            once: the same outputs, less to compute, nothing to train.
        variables: What the serving form stores its kernels in: `"float32"`, or
            `"bfloat16"` or `"float16"` for half the size. It computes in the dtype of
            the model.
        weight_decay: If not 0, `regularization_losses` holds this, times half the sum
            of the squares of all kernels.
        recipe: What the model was trained by, a recipe or a dict; kept with it.
        overwrite: Whether an existing SavedModel is replaced.

    Returns:
        The path, as `pathlib.Path`. Beside the outputs of `__call__` there are the
        signatures `serving_default`; `image_feature_vector`, the pooled features as
        `default`; and, for a model with an `image_size`, `image_bytes`: from encoded
        images to `labels`, `top_probabilities` and `probabilities`, or to `features`.
        The class names are in `assets/class_names.txt`, and what else is known about
        the model in `assets.extra/bit_keras.json`.

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
    input_range = tuple(input_range) if isinstance(input_range, list) else input_range
    settings = {
        "outputs": outputs,
        "input_range": input_range,
        "form": form,
        "variables": variables,
        "weight_decay": weight_decay,
    }
    _check_arguments(model, settings)
    check_target(path, overwrite)
    make_folder(path.parent)
    with _workplace(path) as folder:
        draft = folder / "saved_model"
        reusable, metadata = _write(model, draft, settings)
        metadata["fingerprint"] = _check_values(draft, reusable)
        metadata["deviation"] = _check_outputs(draft, reusable, model, settings)
        metadata["recipe"] = _as_dict(recipe)
        _write_metadata(draft, metadata)
        if path.exists():
            shutil.move(path, folder / "replaced")
        draft.rename(path)
    return path


@contextlib.contextmanager
def _workplace(path):
    """Makes a folder beside a path, on the same disk, until the block ends."""
    # Of one name, so that the next writer clears away what a killed one has left.
    folder = path.with_name(f".{path.name}-draft")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_arguments(model, settings):
    find_backbone(model)
    check_outputs(model, settings["outputs"])
    choices = {"input_range": INPUT_RANGES, "form": FORMS, "variables": STORED_DTYPES}
    for name, allowed in choices.items():
        if settings[name] not in allowed:
            raise InputError(
                f"`{name}` must be one of {allowed}. Received: {settings[name]!r}"
            )
    if settings["form"] == "trainable" and settings["variables"] != "float32":
        raise InputError(
            'Only the serving form can be stored in half precision; give form="serving"'
            f", or leave `variables`. Received: variables={settings['variables']!r}"
        )
    if settings["form"] == "serving" and settings["weight_decay"]:
        raise InputError(
            "The serving form is not trained, so that it has no `weight_decay`. "
            f"Received: {settings['weight_decay']}"
        )
    if any("\n" in name for name in getattr(model, "class_names", None) or ()):
        raise InputError("A class name of the model has more than one line; rename it.")


def check_target(path, overwrite):
    """Raises `InputError` unless a SavedModel may be written to a path."""
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists; choose another folder, or allow it to be replaced with "
            "`overwrite`."
        )
    if path.exists() and not saved_models.is_saved_model(path):
        raise InputError(
            f"{path} is not a SavedModel, and only such a folder is ever replaced; "
            "choose another one."
        )


def _write(model, folder, settings):
    """Writes a SavedModel; returns what was written and what is known about it."""
    reusable, signatures = reusable_model(model, **settings)
    names = getattr(model, "class_names", None)
    with tempfile.TemporaryDirectory() as assets:
        if names and settings["outputs"] != "features":
            file = pathlib.Path(
                assets, pathlib.Path(saved_models.CLASS_NAMES_FILE).name
            )
            file.write_text("\n".join(names) + "\n", encoding="utf-8")
            reusable.class_names = tf.saved_model.Asset(str(file))
        tf.saved_model.save(reusable, str(folder), signatures=signatures)
    return reusable, _describe(model, signatures, settings)


def _describe(model, signatures, settings):
    backbone = find_backbone(model)
    return {
        **versions(),
        **settings,
        "signatures": sorted(signatures),
        "architecture": {
            "name": backbone.architecture.name,
            "units": list(backbone.units),
            "width": backbone.width,
            "num_classes": getattr(model, "num_classes", None),
        },
        "image_size": getattr(model, "image_size", None),
        "policy": backbone.dtype_policy.name,
        "origin": backbone.origin,
    }


def _as_dict(recipe):
    return recipe.to_dict() if hasattr(recipe, "to_dict") else recipe


def _write_metadata(folder, metadata):
    file = folder / saved_models.METADATA_FILE
    file.parent.mkdir()
    file.write_text(json.dumps(metadata, indent=1), encoding="utf-8")


def _check_values(folder, reusable):
    """Compares what lies on the disk with the variables, one tensor at a time.

    Returns:
        A checksum of names and values.

    Raises:
        RunError: If a single bit differs.
    """
    digest = hashlib.sha256()
    stored = saved_models.stored_tensors(folder)
    for name, variable in reusable.weights.items():
        value = variable.numpy().tobytes()
        if stored[name].read().tobytes() != value:
            raise RunError(
                f"The SavedModel was not kept: `{name}` was not written as it is; look "
                "at the disk and try again."
            )
        digest.update(name.encode())
        digest.update(value)
    return digest.hexdigest()


def _load_sharing(folder, reusable):
    """Loads a SavedModel that shares the memory of the variables it was written from.

    A second copy of the weights of the largest networks would not fit everywhere; what
    is on the disk is compared by itself.
    """
    options = tf.saved_model.LoadOptions(experimental_skip_checkpoint=True)
    loaded = tf.saved_model.load(str(folder), options=options)
    for name, variable in reusable.weights.items():
        loaded.weights[name].assign(tf.convert_to_tensor(variable))
    return loaded


def _check_outputs(folder, reusable, model, settings):
    """Returns the largest deviation of a SavedModel from its model."""
    loaded = _load_sharing(folder, reusable)
    outputs, input_range = settings["outputs"], settings["input_range"]

    def run(images):
        computed = loaded(images)
        return computed if outputs == "all" else {outputs: computed}

    compute_dtype = find_backbone(model).compute_dtype
    tolerance = max(TOLERANCES[d] for d in (compute_dtype, settings["variables"]))
    return largest_deviation(run, model, outputs, input_range, tolerance)
