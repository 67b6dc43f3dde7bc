"""Keras 3's layer for SavedModels: inference, and fine-tuning by `fit`."""

import sys

import keras
import numpy as np

exports, data, out = sys.argv[1:]
images, labels = np.load(data).values()

layer = keras.layers.TFSMLayer(f"{exports}/logits", call_endpoint="serving_default")
results = {"logits": layer(images[:3])["outputs"]}

inputs = keras.Input((None, None, 3))
model = keras.Model(inputs, layer(inputs)["outputs"])
model.compile(
    keras.optimizers.SGD(0.005),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    jit_compile=False,
)
model.fit(images, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)
results |= {f"tuned {weight.name}": weight for weight in layer.trainable_weights}

serving = keras.layers.TFSMLayer(f"{exports}/serving", call_endpoint="serving_default")
results["serving"] = serving(images[:3])["outputs"]
assert not serving.trainable_weights

np.savez(out, **{name: np.array(value) for name, value in results.items()})
