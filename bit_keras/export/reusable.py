"""The object that becomes a reusable SavedModel."""

import contextlib
import functools

import tensorflow as tf

from bit_keras.export import fold
from bit_keras.export.forward import (
    find_backbone,
    forward_function,
    image_spec,
    rescale,
    used_variables,
)
from bit_keras.export.signatures import classes_of, decode_batch

FORMS = ("trainable", "serving")


def reusable_model(
    model,
    outputs="features",
    input_range=(0, 1),
    form="trainable",
    variables="float32",
    weight_decay=0.0,
):
    """Returns an object with the interface of a reusable SavedModel, not yet saved.

    Args:
        model: As in `export_saved_model`; so are the other arguments.
        outputs: What it returns.
        input_range: Of the images.
        form: `"trainable"`, which shares the variables of the model, or `"serving"`.
        variables: What the serving form stores kernels in.
        weight_decay: Of the regularization loss.

    Returns:
        A trackable object, callable on images, with `variables`, `trainable_variables`
        and `regularization_losses`; and a dict of its signatures.

    Source: https://www.tensorflow.org/hub/reusable_saved_models.
    """
    root = tf.train.Checkpoint()
    stored, in_place = _weights(model, outputs, form, variables)
    # First, so that a checkpoint calls them by these names.
    root.weights = stored
    root.variables = list(stored.values())
    root.trainable_variables = [v for v in stored.values() if v.trainable]
    root.regularization_losses = _penalties(stored, weight_decay)
    compute = _compute(model, outputs, in_place)
    root.__call__ = _call(compute, outputs, input_range)
    return root, _signatures(compute, model, outputs, input_range)


def _weights(model, outputs, form, dtype):
    """Returns the variables by name, and a context in which the model uses them."""
    named = used_variables(model, outputs)
    if form == "trainable":
        stored = {name: variable.value for name, variable in named.items()}
        return stored, contextlib.nullcontext
    convolutions = find_backbone(model).convolutions()
    stored = fold.folded_variables(named, convolutions, dtype)
    pairs = list(zip(named.values(), stored.values(), strict=True))
    return stored, functools.partial(fold.computing_with, pairs, convolutions)


def _compute(model, outputs, in_place):
    """Returns the one graph that all functions of an export share."""
    forward = forward_function(model, outputs)
    backbone = find_backbone(model)

    @tf.function(autograph=False, input_signature=[image_spec((-1, 1))])
    def compute(images):
        # Whoever trains the export decides on that, and needs a plain graph for it.
        remat, backbone.remat = backbone.remat, False
        try:
            with in_place():
                return forward(images)
        finally:
            backbone.remat = remat

    return compute


def _call(compute, outputs, input_range):
    @tf.function(autograph=False)
    def call(images, training=False):
        del training  # BiT computes the same; consumers pass it all the same.
        computed = compute(rescale(images, input_range))
        return computed if outputs == "all" else computed[outputs]

    for training in (False, True):
        call.get_concrete_function(image_spec(input_range), training=training)
    return call


def _penalties(stored, weight_decay):
    """Returns the functions without arguments that consumers add to their loss."""
    if not weight_decay:
        return []
    kernels = [v for name, v in stored.items() if name.endswith("kernel")]

    @tf.function(input_signature=[])
    def penalty():
        return weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    return [penalty]


def _signatures(compute, model, outputs, input_range):
    """Returns {name: tf.function} of what is called by name."""

    @tf.function(autograph=False, input_signature=[image_spec(input_range)])
    def serve(images):
        computed = compute(rescale(images, input_range))
        return computed if outputs == "all" else {"outputs": computed[outputs]}

    @tf.function(autograph=False, input_signature=[image_spec(input_range)])
    def vectors(images):
        return {"default": compute(rescale(images, input_range))["features"]}

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")],
    )
    def serve_bytes(image_bytes):
        computed = compute(decode_batch(image_bytes, model.image_size))
        if outputs == "features":
            return {"features": computed["features"]}
        return classes_of(computed["logits"], model.class_names)

    signatures = {"serving_default": serve}
    if "features" in compute.get_concrete_function().structured_outputs:
        signatures["image_feature_vector"] = vectors
    if getattr(model, "image_size", None):
        signatures["image_bytes"] = serve_bytes
    return signatures
