"""A SavedModel as a layer of TensorFlow Hub, in tf_keras: features, then fine-tuning.

    python examples/hub_layer.py [SAVED_MODEL]

SAVED_MODEL is the folder of an export with outputs="features", the default, or the
address of one as a .tar.gz; without it a small one with random weights is made. Where a
program has used https://tfhub.dev/google/bit/..., nothing but the address changes.
"""

import sys

import tensorflow_hub as hub
import tf_keras
from doodles import batches, small_saved_model


def main(path=None, steps=20):
    path = str(path or small_saved_model("features"))

    # Features: the network stays as it is, and each image becomes a vector.
    images, _ = next(iter(batches(1)))
    features = hub.KerasLayer(path)(images)
    print(f"Features of {len(images)} images: {features.shape}")

    # Fine-tuning: `trainable=True` hands all of the weights to the optimizer.
    model = tf_keras.Sequential(
        [hub.KerasLayer(path, trainable=True), tf_keras.layers.Dense(20)]
    )
    model.compile(
        tf_keras.optimizers.SGD(0.003, momentum=0.9),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = model.fit(batches(steps), verbose=2).history["loss"]
    print(f"{len(model.trainable_weights)} weights learned; loss {losses[-1]:.3f}")
    return features, model


if __name__ == "__main__":
    main(*sys.argv[1:2])
