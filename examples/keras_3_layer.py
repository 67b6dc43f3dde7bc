"""A SavedModel as a layer of Keras 3, fine-tuned by `fit`.

    python examples/keras_3_layer.py [SAVED_MODEL]

SAVED_MODEL is the folder of an export with outputs="features", the default; without it
a small one with random weights is made. Its weights are trained inside the new model.
"""

import sys

import keras
from doodles import batches, small_saved_model


class SGD(keras.optimizers.SGD):
    """Momentum for the weights of a `TFSMLayer`.

    Their names end in `:0`, which Keras 3.15 takes over into the names of the
    optimizer's own variables, where TensorFlow allows no colon.
    """

    def add_variable_from_reference(
        self, reference_variable, name=None, initializer="zeros"
    ):
        shape, dtype = reference_variable.shape, reference_variable.dtype
        return self.add_variable(shape, initializer, dtype, name=name)


def main(path=None, steps=20):
    path = path or small_saved_model("features")
    images = keras.Input((None, None, 3))
    bit = keras.layers.TFSMLayer(path, call_endpoint="serving_default")
    outputs = keras.layers.Dense(20)(bit(images)["outputs"])
    model = keras.Model(images, outputs)
    model.compile(
        SGD(0.003, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    losses = model.fit(batches(steps), shuffle=False, verbose=2).history["loss"]
    print(f"{len(model.trainable_weights)} weights learned; loss {losses[-1]:.3f}")
    return model


if __name__ == "__main__":
    main(*sys.argv[1:2])
