"""The steps that a benchmark measures."""

import functools

import tensorflow as tf

from bit_keras.data.load import rule_for, train_batches
from bit_keras.export.fold import computing_with
from bit_keras.layers.fast_forms import using_fast_forms


def inference_step(model, image_size, compile_args):
    """Returns a function from a batch size to a step of the serving form.

    Args:
        model: A `BiTClassifier`, whose kernels are replaced by standardized ones.
        image_size: Pixels.
        compile_args: Of `model.compile`; it is compiled with XLA if that is.

    Returns:
        A function whose result is called without arguments and returns the logits of
        the first image.
    """
    convolutions = model.backbone.convolutions()
    for conv in convolutions:
        conv.kernel.assign(conv.standardized_kernel())
    compiled = compile_args["jit_compile"]

    def step_of(batch_size):
        @tf.function(jit_compile=compiled, autograph=False)
        def compute(images):
            with computing_with([], convolutions), using_fast_forms(compiled):
                return model(images, training=False)

        images = _images(batch_size, image_size)
        # One row, taken afterwards: all of the logits are computed, and the wait for
        # the device is none for megabytes of them.
        return lambda: compute(images)[0]

    return step_of


def training_step(model, image_size, compile_args):
    """Returns a function from a batch size to a step that updates a model.

    Args:
        model: A `BiTClassifier`.
        image_size: Pixels.
        compile_args: Of `model.compile`.

    Returns:
        A function whose result is called without arguments and returns the loss.
    """
    model.compile(**compile_args)

    def step_of(batch_size):
        images = _images(batch_size, image_size)
        classes = tf.range(batch_size) % model.num_classes
        batch = images, tf.one_hot(classes, model.num_classes)
        return step_on(model, batch, batch)

    return step_of


def step_on(model, batch, of_one_replica):
    """Returns a step that updates a model, always on a batch that is not copied.

    Args:
        model: A compiled `DistributedFit`.
        batch: Images and labels where they are computed with; under a strategy those of
            each replica, as `tf.distribute.DistributedValues`.
        of_one_replica: The same of the first replica, for shapes and dtypes.

    Returns:
        A function that is called without arguments and returns the loss.
    """
    # As `fit` begins: a step that made variables would be traced twice.
    model._maybe_symbolic_build(data_batch=of_one_replica)
    # Made anew, or else Keras would relax the batch size of what it has compiled.
    model.make_train_function(force=True)
    return lambda: model.train_function(iter([batch]))["loss"]


def input_step(source, image_size):
    """Returns a function from a batch size to a step of the input pipeline.

    Args:
        source: A `Source`.
        image_size: Pixels of the crops; the rest is as the HyperRule has it.

    Returns:
        A function whose result is called without arguments and returns labels.
    """

    def labels_of_batches(batch_size):
        recipe = rule_for(source).scaled(batch_size=batch_size, crop=image_size)
        for _, labels in train_batches(source, recipe):
            yield labels

    def step_of(batch_size):
        # A generator begins when it is asked for something: what a set does once, such
        # as decoding images that are kept in memory, is part of the first step.
        return functools.partial(next, labels_of_batches(batch_size))

    return step_of


def _images(batch_size, image_size):
    """Returns random images in [-1, 1], on the device."""
    shape = (batch_size, image_size, image_size, 3)
    return tf.random.stateless_uniform(shape, (0, 0), -1, 1)
