"""One worker of a plain Keras `fit`, without any repair."""

import keras
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
values = np.ones((8, 4), np.float32), np.ones((8, 1), np.float32)
model.fit(tf.data.Dataset.from_tensor_slices(values).batch(4), verbose=0)
print("Keras can do it.")
