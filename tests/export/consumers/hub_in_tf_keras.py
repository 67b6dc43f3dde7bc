"""TensorFlow Hub's layer in tf_keras, as users of tfhub.dev/google/bit have it."""

import sys

import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

import tensorflow_hub as hub  # noqa: E402
import tf_keras  # noqa: E402

exports, data, out = sys.argv[1:]
images, labels = np.load(data).values()
results = {}


def compiled(*layers):
    model = tf_keras.Sequential(layers)
    model.compile(
        tf_keras.optimizers.SGD(0.005),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def fit(model):
    model.fit(images, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)


logits = f"{exports}/logits"
layer = hub.KerasLayer(logits, trainable=True)
results["logits"] = layer(images[:3])
fit(compiled(layer))
results |= {f"tuned {i}": w for i, w in enumerate(layer.get_weights())}
assert len(layer.trainable_weights) == len(layer.weights)

strategy = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
)
with strategy.scope():
    mirrored_layer = hub.KerasLayer(logits, trainable=True)
    mirrored = compiled(mirrored_layer)
fit(mirrored)
results |= {f"mirrored {i}": w for i, w in enumerate(mirrored_layer.get_weights())}

frozen = hub.KerasLayer(
    f"{exports}/features", input_shape=(40, 40, 3), output_shape=[1024]
)
before = frozen.get_weights()
combined = compiled(frozen, tf_keras.layers.Dense(3))
assert combined.output_shape == (None, 3), combined.output_shape
fit(combined)
assert not frozen.trainable_weights
assert all(map(np.array_equal, before, frozen.get_weights()))
results["combined"] = combined.predict(images[:3], verbose=0)
combined.save(f"{out}-combined")
results["combined, loaded"] = tf_keras.models.load_model(f"{out}-combined").predict(
    images[:3], verbose=0
)
combined.save(f"{out}-combined.h5")
results["combined, from h5"] = tf_keras.models.load_model(
    f"{out}-combined.h5", custom_objects={"KerasLayer": hub.KerasLayer}
).predict(images[:3], verbose=0)

local = tf.saved_model.LoadOptions(experimental_io_device="/job:localhost")
results["io device"] = hub.KerasLayer(logits, load_options=local)(images[:3])
results["hub.load"] = hub.load(logits)(images[:3])
vectors = hub.KerasLayer(
    logits, signature="image_feature_vector", signature_outputs_as_dict=True
)
results["vectors"] = vectors(images[:3])["default"]

decayed = hub.KerasLayer(f"{exports}/decayed", trainable=True)
results["penalty"] = decayed.losses

serving = hub.KerasLayer(f"{exports}/serving", trainable=True)
results["serving"] = serving(images[:3])
assert not serving.trainable_weights

np.savez(out, **{name: np.array(value) for name, value in results.items()})
