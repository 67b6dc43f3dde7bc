"""A fake model whose logits are its images, so that every outcome can be set."""

import functools

import keras
import numpy as np
import tensorflow as tf


@functools.cache
def identity_model(num_classes, dtype="float32"):
    """Makes a model that returns images [B, 1, 1, K] as logits [B, K]."""
    model = keras.Sequential(
        [keras.Input((1, 1, num_classes)), keras.layers.Flatten(dtype=dtype)]
    )
    model.compile(jit_compile=False)
    return model


def as_batches(logits, labels, batch_size=4):
    """Makes the data set from which `identity_model` gives these logits."""
    images = np.asarray(logits, np.float32)[:, None, None, :]
    one_hot = np.eye(images.shape[-1], dtype=np.float32)[np.asarray(labels)]
    return tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(batch_size)
