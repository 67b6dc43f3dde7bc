import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.errors import InputError


def make_model(num_classes=3, units=(1, 1, 1, 1), width=0.5, dtype=None, **kwargs):
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=units, width=width, dtype=dtype)
    model = bit_keras.BiTClassifier(backbone, num_classes, **kwargs)
    if num_classes:
        shape = (round(2048 * width), num_classes)
        kernel = np.random.default_rng(0).normal(0, 0.01, shape)
        model.head.kernel.assign(kernel)
    return model


def some_images(*shape):
    return np.random.default_rng(1).uniform(-1, 1, (*shape, 3)).astype(np.float32)


def test_a_new_head_says_nothing_yet():
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    logits = bit_keras.BiTClassifier(backbone, num_classes=7)(some_images(2, 40, 33))
    np.testing.assert_array_equal(logits, np.zeros((2, 7)))


def test_logits_are_the_head_on_the_mean_of_the_backbone():
    model = make_model()
    images = some_images(2, 40, 64)
    features = np.mean(model.backbone(images), axis=(1, 2))
    np.testing.assert_allclose(model.features(images), features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model(images), features @ np.array(model.head.kernel), rtol=1e-4, atol=1e-4
    )
    without_head = bit_keras.BiTClassifier(model.backbone, num_classes=0)
    np.testing.assert_array_equal(without_head(images), model.features(images))


def test_reset_head_starts_anew_and_keeps_the_backbone():
    model = make_model()
    images = some_images(2, 32, 32)
    features = model.features(images)
    model.compile("sgd", "mse")
    model.fit(images, np.ones((2, 3)), verbose=0)
    for num_classes in (0, 5):
        model.reset_head(num_classes)
        model.compile(keras.optimizers.SGD(0.0), "mse")
        assert len(model.weights) == 43 + 2 * bool(num_classes)
        if num_classes:
            model.fit(images, np.ones((2, num_classes)), verbose=0)
            np.testing.assert_array_equal(model(images), np.zeros((2, num_classes)))
    assert not np.allclose(features, model.features(images))  # by the first fit alone


def test_reset_head_changes_what_was_compiled_before():
    model, images = make_model(), some_images(2, 32, 32)
    assert model.predict(images, verbose=0).shape == (2, 3)
    model.reset_head(5)
    np.testing.assert_array_equal(model.predict(images, verbose=0), np.zeros((2, 5)))


def test_a_frozen_backbone_stays_frozen(tmp_path):
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5, trainable=False)
    model = bit_keras.BiTClassifier(backbone, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        assert [weight.name for weight in each.trainable_weights] == ["kernel", "bias"]
        each.backbone.trainable = True
        assert len(each.trainable_weights) == len(each.weights) == 45


def test_numpy_numbers_and_names_are_as_good():
    backbone = bit_keras.BiTBackbone(units=np.array([1, 1, 1, 1]), width=0.5)
    names = np.array(["a", "b"])
    model = bit_keras.BiTClassifier(backbone, np.int64(2), class_names=names)
    assert model.get_config()["class_names"] == ["a", "b"]
    assert bit_keras.BiTClassifier.from_config(model.get_config()).num_classes == 2


def test_reset_head_asks_for_a_new_compile():
    model = make_model()
    model.compile("sgd", "mse")
    model.reset_head(4)
    with pytest.raises(ValueError, match="compile"):
        model.fit(some_images(1, 32, 32), np.ones((1, 4)), verbose=0)


LOAD = """
import sys
import keras, numpy as np, bit_keras
images = np.load("images.npy")
for dtype in sys.argv[1:]:
    model = keras.saving.load_model(f"{dtype}.keras")
    assert model.class_names == ["a", "b", "c"] and model.image_size == 64
    np.save(f"{dtype}.npy", model(images))
    model.load_weights(f"{dtype}.weights.h5")
    np.save(f"{dtype}-other.npy", model(images))
"""


def test_keras_files_load_in_a_fresh_process(tmp_path):
    images = some_images(2, 40, 33)
    np.save(tmp_path / "images.npy", images)
    dtypes, expected = ("float32", "mixed_bfloat16", "float64"), {}
    for dtype in dtypes:
        model = make_model(dtype=dtype, class_names=("a", "b", "c"), image_size=64)
        model.save(tmp_path / f"{dtype}.keras")
        expected[dtype] = model(images)
        model.reset_head(3, ["a", "b", "c"])
        model.head.bias.assign([1, 2, 3])
        model.save_weights(tmp_path / f"{dtype}.weights.h5")
        expected[f"{dtype}-other"] = model(images)
    subprocess.run([sys.executable, "-c", LOAD, *dtypes], cwd=tmp_path, check=True)
    for name, logits in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), logits)


def test_head_and_pooling_compute_in_float32_under_a_mixed_policy():
    model = make_model(dtype="mixed_float16")
    images = some_images(2, 64, 64)
    assert model.backbone(images).dtype == "float16"
    assert model.features(images).dtype == model(images).dtype == "float32"
    pooled = np.mean(np.float32(model.backbone(images)), axis=(1, 2))
    np.testing.assert_allclose(model.features(images), pooled, rtol=1e-6, atol=1e-6)


def test_is_a_layer_in_a_functional_model():
    model = make_model()
    inputs = keras.Input((48, 48, 3))
    outer = keras.Model(inputs, keras.layers.Softmax()(model(inputs)))
    assert outer.output_shape == (None, 3)
    images = some_images(2, 48, 48)
    np.testing.assert_allclose(
        outer(images), tf.nn.softmax(model(images)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": -1}, "`num_classes`.*Received: -1"),
        ({"num_classes": 2.0}, "`num_classes`.*Received: 2.0"),
        ({"num_classes": 2, "class_names": ["a"]}, "each of 2 classes. Received: 1"),
        ({"num_classes": 2, "backbone": "R50"}, "BiTBackbone. Received: str"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    with pytest.raises(InputError, match=message):
        bit_keras.BiTClassifier(**({"backbone": backbone} | arguments))
