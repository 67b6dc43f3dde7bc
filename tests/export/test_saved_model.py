import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.errors import InputError, RunError
from bit_keras.export import saved_model
from bit_keras.export.compare import SHAPES as ALL_SHAPES
from bit_keras.export.saved_model import export_saved_model


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    model = bit_keras.BiTClassifier(backbone, num_classes=3)
    model.head.kernel.assign(np.random.default_rng(0).normal(0, 0.1, (1024, 3)))
    return model


@pytest.fixture(scope="module")
def features_folder(model, tmp_path_factory):
    return export_saved_model(model, tmp_path_factory.mktemp("export") / "features")


IMAGES = np.random.default_rng(1).uniform(0, 1, (2, 40, 65, 3)).astype(np.float32)


def assert_close(actual, expected):
    actual, expected = np.array(actual), np.array(expected)
    assert actual.shape == expected.shape
    difference = np.linalg.norm(actual - expected)
    assert difference <= 1e-5 * np.linalg.norm(expected)


def test_features_of_images_from_0_to_1(model, features_folder):
    loaded = tf.saved_model.load(str(features_folder))
    expected = model.features(2 * IMAGES - 1)
    assert_close(loaded(IMAGES), expected)
    assert_close(loaded(IMAGES, training=True), expected)
    serve = loaded.signatures["serving_default"]
    assert_close(serve(images=tf.constant(IMAGES))["outputs"], expected)
    assert len(loaded.variables) == len(model.backbone.variables)
    assert len(loaded.trainable_variables) == len(model.backbone.variables)


@pytest.mark.parametrize(
    ("input_range", "images"),
    [((-1, 1), 2 * IMAGES - 1), ("uint8", np.uint8(255 * IMAGES))],
)
def test_logits_of_images_in_other_ranges(model, tmp_path, input_range, images):
    path = export_saved_model(model, tmp_path / "new" / "logits", "logits", input_range)
    expected = images / 127.5 - 1 if input_range == "uint8" else images
    assert_close(tf.saved_model.load(str(path))(images), model(expected))


def test_all_outputs_by_name(model, tmp_path):
    path = export_saved_model(model, tmp_path / "all", outputs="all")
    outputs = tf.saved_model.load(str(path))(IMAGES)
    images = 2 * IMAGES - 1
    expected = keras.Model(model.backbone.input, model.backbone.endpoints)(images)
    expected |= {"features": model.features(images), "logits": model(images)}
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(outputs[name], value)


def test_a_mixed_precision_model_takes_and_gives_float32(tmp_path):
    backbone = bit_keras.BiTBackbone(
        units=(1, 1, 1, 1), width=0.5, dtype="mixed_bfloat16"
    )
    model = bit_keras.BiTClassifier(backbone, num_classes=0)
    path = export_saved_model(model, tmp_path / "mixed")
    features = tf.saved_model.load(str(path))(IMAGES)
    assert features.dtype == "float32"
    expected = model.features(2 * IMAGES - 1)
    difference = np.linalg.norm(features - expected) / np.linalg.norm(expected)
    assert difference < 1e-2


def test_three_sizes_and_two_batches_are_tried():
    from bit_keras.export.compare import _random_images

    assert len(ALL_SHAPES) == 6
    assert len({shape[0] for shape in ALL_SHAPES}) == 2
    assert len({shape[1:3] for shape in ALL_SHAPES}) == 3
    images = _random_images(ALL_SHAPES[0], (-1, 1))
    assert images.shape == ALL_SHAPES[0] and images.min() < -0.9 < 0.9 < images.max()


def test_an_existing_folder_is_kept_unless_told(model, tmp_path):
    path = tmp_path / "exists"
    export_saved_model(model, path, "logits")
    with pytest.raises(InputError, match="exists exists; choose another"):
        export_saved_model(model, path)
    assert_close(tf.saved_model.load(str(path))(IMAGES), model(2 * IMAGES - 1))
    export_saved_model(model, path, overwrite=True)
    assert_close(tf.saved_model.load(str(path))(IMAGES), model.features(2 * IMAGES - 1))
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_cleared_away(model, tmp_path):
    draft = tmp_path / ".new-draft" / "saved_model"
    draft.mkdir(parents=True)
    (draft / "saved_model.pb").write_text("half of it")
    path = export_saved_model(model, tmp_path / "new", "logits")
    assert_close(tf.saved_model.load(str(path))(IMAGES), model(2 * IMAGES - 1))
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_saved_model_is_never_replaced(model, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    for name in ("precious", "precious/thesis.txt"):
        with pytest.raises(InputError, match="is not a SavedModel, and only such a"):
            export_saved_model(model, tmp_path / name, overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "mine"


def test_a_wrong_export_is_not_kept(model, tmp_path, monkeypatch):
    def off_by_a_little(folder, reusable):
        return lambda images: 1.0001 * model.features(2 * images - 1)

    monkeypatch.setattr(saved_model, "_load_sharing", off_by_a_little)
    with pytest.raises(RunError, match="was not kept: relative deviation 1.0e-04"):
        export_saved_model(model, tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outputs": "probabilities"}, "`outputs`.*Received: 'probabilities'"),
        ({"input_range": (0, 2)}, r"`input_range`.*Received: \(0, 2\)"),
        ({"input_range": 1}, r"`input_range`.*Received: 1"),
    ],
)
def test_impossible_arguments_are_named(model, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        export_saved_model(model, tmp_path / "never", **arguments)


def test_a_model_without_head_has_no_logits(tmp_path, model):
    headless = bit_keras.BiTClassifier(model.backbone, num_classes=0)
    with pytest.raises(InputError, match='no head; export it with outputs="features"'):
        export_saved_model(headless, tmp_path / "never", outputs="logits")
