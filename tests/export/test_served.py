import numpy as np
import pytest
import tensorflow as tf

from bit_keras.assets import doodles_folder
from bit_keras.checkpoints.saved_models import weights_file
from bit_keras.data.decode import read_image
from bit_keras.data.preprocess import eval_image
from bit_keras.errors import InputError
from bit_keras.export.saved_model import export_saved_model
from bit_keras.export.served import ServedModel
from bit_keras.workflows.models import open_predictor
from bit_keras.workflows.predict import predict

FILES = sorted((doodles_folder() / "test" / "cup").iterdir())[:3]


def relative_l2(actual, expected):
    actual, expected = np.float64(actual), np.float64(expected)
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def read_images(size):
    return tf.stack([eval_image(read_image(file), size) for file in FILES])


@pytest.mark.parametrize("outputs", ["logits", "all"])
@pytest.mark.parametrize("input_range", [(0, 1), (-1, 1), "uint8"])
def test_it_gives_the_logits_of_the_model(named_model, tmp_path, outputs, input_range):
    path = export_saved_model(
        named_model, tmp_path / "export", outputs, input_range, "serving"
    )
    served = open_predictor(path)
    assert isinstance(served, ServedModel)
    # As large as the files, so that uint8 rounds nothing.
    images = read_images(read_image(FILES[0]).shape[0])
    assert relative_l2(served(images), named_model(images)) < 1e-5
    facts = (served.num_classes, served.class_names, served.image_size)
    assert facts == (3, named_model.class_names, 48)


def test_its_labels_are_those_of_the_model(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "s", "logits", form="serving")
    expected = predict(named_model, FILES)
    for ours, theirs in zip(
        predict(open_predictor(path), FILES), expected, strict=True
    ):
        assert ours.labels == theirs.labels
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=1e-4)


def test_uint8_images_are_rounded_and_stay_in_their_range(named_model, tmp_path):
    path = export_saved_model(
        named_model, tmp_path / "export", "logits", "uint8", form="serving"
    )
    rough = np.random.default_rng(0).uniform(-1.2, 1.2, (1, 40, 40, 3))
    whole = np.clip(np.round((np.float32(rough) + 1) * 127.5), 0, 255)
    expected = tf.saved_model.load(str(path))(np.uint8(whole))
    assert np.array_equal(ServedModel(path)(np.float32(rough)), expected)


def test_the_trainable_form_becomes_a_model_again(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "export", "logits")
    assert isinstance(open_predictor(path), type(named_model))
    images = read_images(40)
    assert relative_l2(ServedModel(path)(images), named_model(images)) < 1e-5


def test_features_alone_are_no_prediction(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "export", form="serving")
    with pytest.raises(InputError, match="gives features alone; export the model with"):
        open_predictor(path)


def test_what_is_damaged_is_named(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "s", "logits", form="serving")
    weights_file(path).unlink()
    with pytest.raises(InputError, match="is no whole SavedModel. TensorFlow says: "):
        open_predictor(path)
    (path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(InputError, match="is no whole SavedModel. TensorFlow says: "):
        open_predictor(path)
