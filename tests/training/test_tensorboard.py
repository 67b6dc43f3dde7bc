"""What TensorBoard will read."""

import sys

import numpy as np
import pytest
import tensorflow as tf
from small_runs import Uncompiled, make_network, make_recipe, make_source

from bit_keras.data.load import train_batches
from bit_keras.errors import InputError
from bit_keras.training.fit import train
from bit_keras.training.resume import Progress
from bit_keras.training.tensorboard import WriteSummaries


def test_scalars_are_those_of_the_history_and_images_those_of_the_batch(tmp_path):
    recipe, source = make_recipe(Uncompiled, steps=4), make_source()
    state = train(make_network(), source, recipe, tensorboard=tmp_path, progress=False)
    [path] = tmp_path.iterdir()
    scalars, pictures = {}, None
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            values = tf.make_ndarray(value.tensor)
            if value.tag == "augmented images":
                pictures = values
            else:
                scalars[event.step, value.tag] = float(values)
    expected = {
        (row["step"], name): value
        for row in state.rows
        for name, value in row.items()
        if name != "step"
    }
    assert scalars == pytest.approx(expected)
    images, _ = next(iter(train_batches(source, recipe)))
    first = tf.io.decode_png(pictures[2]).numpy()
    np.testing.assert_allclose(first, (images[0] + 1) * 127.5, atol=1)


def test_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"pip install bit-keras\[tensorboard\]"):
        WriteSummaries(tmp_path, None, Progress())
