"""What the examples on SavedModels share: a small one to begin with, and images."""

import pathlib

import keras

import bit_keras

PIXELS = 64


def small_saved_model(outputs):
    """Returns the folder of a small SavedModel, exported on the first call.

    It has random weights; `bit-keras export bit_t_r26x05` writes one that has learned.
    """
    folder = pathlib.Path("exports", f"bit_t_r26x05-{outputs}")
    if not folder.exists():
        keras.utils.set_random_seed(0)
        source = bit_keras.open_source("doodles")
        backbone = bit_keras.BiTBackbone(depth=26, width=0.5)
        model = bit_keras.BiTClassifier(
            backbone, source.num_classes, source.class_names, image_size=PIXELS
        )
        bit_keras.export_saved_model(model, folder, outputs)
    return folder


def batches(steps, batch_size=32):
    """Returns training batches of images in [0, 1], and class numbers."""
    recipe = bit_keras.HyperRule.light(28, 28, 800, from_scratch=True).scaled(
        batch_size=batch_size, resize=72, crop=PIXELS
    )
    train, _ = bit_keras.load_dataset("doodles", recipe)
    return train.take(steps).map(
        lambda images, labels: ((images + 1) / 2, keras.ops.argmax(labels, axis=-1))
    )
