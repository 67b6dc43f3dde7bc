"""What an exported model computes of images."""

import keras
import tensorflow as tf

from bit_keras.data.preprocess import to_model_range
from bit_keras.errors import InputError
from bit_keras.models.backbone import BiTBackbone
from bit_keras.models.classifier import BiTClassifier

OUTPUTS = ("features", "logits", "all")
# The bounds of float32 images, or the dtype of those from 0 to 255.
INPUT_RANGES = ((0, 1), (-1, 1), "uint8")


def image_spec(input_range):
    """Returns the spec of a batch of images of an input range."""
    dtype = tf.uint8 if input_range == "uint8" else tf.float32
    return tf.TensorSpec([None, None, None, 3], dtype, "images")


def rescale(images, input_range):
    """Maps images of an input range to [-1, 1], what BiT takes."""
    if input_range == "uint8":
        return to_model_range(images)
    return 2 * images - 1 if input_range == (0, 1) else images


def find_backbone(model):
    """Returns the one `BiTBackbone` of a model.

    Raises:
        InputError: If it has none, or several.
    """
    layers = [model, *getattr(model, "layers", ())]
    backbones = [layer for layer in layers if isinstance(layer, BiTBackbone)]
    if not isinstance(model, keras.Model) or len(backbones) != 1:
        raise InputError(
            "`model` must be a BiTClassifier, a BiTBackbone, or a Keras model with one "
            f"BiTBackbone among its layers. Received: {type(model).__name__}"
        )
    return backbones[0]


def check_outputs(model, outputs):
    """Raises `InputError` unless a model has the outputs that are asked for."""
    if outputs not in OUTPUTS:
        raise InputError(f"`outputs` must be one of {OUTPUTS}. Received: {outputs!r}")
    has_logits = not isinstance(model, BiTBackbone) and getattr(
        model, "num_classes", True
    )
    if outputs != "features" and not has_logits:
        raise InputError(
            f'The model has no head; export it with outputs="features". Received: '
            f"outputs={outputs!r}"
        )
    if outputs == "all" and not isinstance(model, BiTClassifier):
        raise InputError(
            'outputs="all" is for a BiTClassifier; export a model with a head of your '
            f'own with outputs="logits". Received: {type(model).__name__}'
        )


def forward_function(model, outputs):
    """Returns what an export computes, so that nothing is computed in vain.

    Args:
        model: A model that `find_backbone` accepts.
        outputs: One of `OUTPUTS`.

    Returns:
        A function from images in [-1, 1] to a dict of tensors, with `"features"` (but
        for the logits of a model with a head of its own), and with `"logits"` and the
        endpoints of the backbone where they are asked for.
    """
    backbone = find_backbone(model)
    if not isinstance(model, BiTClassifier):
        if outputs == "features":
            pool = keras.layers.GlobalAveragePooling2D(dtype="float32")
            return lambda images: {"features": pool(backbone(images))}
        return lambda images: {"logits": model(images)}
    if outputs == "all":
        backbone = keras.Model(backbone.input, backbone.endpoints)

    def compute(images):
        computed = backbone(images)
        endpoints = computed if outputs == "all" else {}
        features = model.pool(endpoints.get("pre_logits_2d", computed))
        logits = {} if outputs == "features" else {"logits": model.head(features)}
        return {**endpoints, "features": features, **logits}

    return compute


def used_variables(model, outputs):
    """Returns {name: Keras variable} of what the outputs depend on.

    The names are the canonical ones of published files; the variables of a head of its
    own are called by their path. The head is no part of features, and would never get
    a gradient.
    """
    backbone = find_backbone(model)
    named = (
        model.named_variables()
        if isinstance(model, BiTClassifier) and outputs != "features"
        else backbone.named_variables()
    )
    if isinstance(model, BiTClassifier) or outputs == "features":
        return named
    known = {id(variable) for variable in named.values()}
    others = {v.path: v for v in model.variables if id(v) not in known}
    return named | others
