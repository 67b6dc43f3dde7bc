import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.checkpoints.saved_models import METADATA_FILE, read_metadata
from bit_keras.cli.main import main
from bit_keras.errors import InputError, RunError
from bit_keras.export import saved_model
from bit_keras.export.saved_model import export_saved_model


@pytest.fixture(scope="module")
def logits_folder(named_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "logits"
    return export_saved_model(named_model, path, "logits", recipe={"steps": 5})


def assert_same_weights(model, expected):
    pairs = zip(model.weights, expected.weights, strict=True)
    assert all(np.array_equal(actual, wanted) for actual, wanted in pairs)


def test_a_model_comes_back_bit_by_bit(named_model, logits_folder):
    model = bit_keras.BiTClassifier.from_saved_model(logits_folder)
    assert_same_weights(model, named_model)
    assert model.class_names == ["apple", "übung", "a b"]
    assert model.image_size == 48
    assert len(model.trainable_variables) == len(named_model.trainable_variables)


def test_features_come_back_without_a_head(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "features")
    model = bit_keras.BiTClassifier.from_saved_model(path)
    assert model.num_classes == 0
    assert_same_weights(model.backbone, named_model.backbone)
    model = bit_keras.BiTClassifier.from_checkpoint(path, num_classes=7)
    assert model.num_classes == 7


def test_the_policy_of_the_export_comes_back_unless_another_is_given(tmp_path):
    backbone = bit_keras.BiTBackbone(
        units=(1, 1, 1, 1), width=0.5, dtype="mixed_bfloat16"
    )
    model = bit_keras.BiTClassifier(backbone, 2)
    path = export_saved_model(model, tmp_path / "mixed")
    read = bit_keras.BiTClassifier.from_saved_model
    assert read(path).backbone.dtype_policy.name == "mixed_bfloat16"
    assert read(path, dtype="float32").backbone.dtype_policy.name == "float32"


def test_convert_makes_it_an_npz_again(named_model, logits_folder, tmp_path):
    npz = tmp_path / "again.npz"
    assert main(["convert", str(logits_folder), str(npz)]) == 0
    assert_same_weights(bit_keras.BiTClassifier.from_checkpoint(npz), named_model)
    again = tmp_path / "again.keras"
    assert main(["convert", str(logits_folder), str(again)]) == 0
    model = keras.saving.load_model(again)
    assert_same_weights(model, named_model)
    assert model.class_names == named_model.class_names


def test_what_is_known_about_the_model_is_kept(named_model, logits_folder, tmp_path):
    metadata = read_metadata(logits_folder)
    assert metadata["origin"] is None
    assert metadata["recipe"] == {"steps": 5}
    assert metadata["outputs"] == "logits"
    assert metadata["input_range"] == [0, 1]
    assert metadata["deviation"] <= 1e-6
    npz = tmp_path / "weights.npz"
    bit_keras.save_npz(named_model, npz)
    model = bit_keras.BiTClassifier.from_checkpoint(npz)
    # Through a `.keras` file, too.
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    again = read_metadata(export_saved_model(model, tmp_path / "again", "logits"))
    expected = {"file": "weights.npz", "sha256": sha256(npz)}
    assert again["origin"] == expected
    # The same weights, so the same fingerprint; another form has others.
    assert again["fingerprint"] == metadata["fingerprint"]
    serving = export_saved_model(model, tmp_path / "s", "logits", form="serving")
    assert read_metadata(serving)["fingerprint"] != metadata["fingerprint"]
    read = bit_keras.BiTClassifier.from_saved_model(logits_folder)
    assert read.backbone.origin == {
        "file": "logits",
        "sha256": sha256(logits_folder / "variables/variables.data-00000-of-00001"),
    }


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_serving_form_cannot_be_read_back(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "serving", form="serving")
    with pytest.raises(InputError, match="serving form, whose kernels.*export"):
        bit_keras.BiTClassifier.from_saved_model(path)


def test_other_folders_are_refused_in_one_sentence(logits_folder, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(InputError, match="foreign is no SavedModel of bit_keras"):
        bit_keras.BiTClassifier.from_saved_model(tmp_path / "foreign")
    damaged = tmp_path / "damaged"
    shutil.copytree(logits_folder, damaged)
    (damaged / METADATA_FILE).write_text("{")
    with pytest.raises(InputError, match="damaged is no SavedModel of bit_keras"):
        bit_keras.BiTClassifier.from_saved_model(damaged)


def test_damaged_variables_are_refused(logits_folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(logits_folder, damaged)
    data = damaged / "variables/variables.data-00000-of-00001"
    contents = bytearray(data.read_bytes())
    contents[len(contents) // 2] ^= 1
    data.write_bytes(contents)
    with pytest.raises(InputError, match="truncated, damaged"):
        bit_keras.BiTClassifier.from_saved_model(damaged)


def test_a_model_that_was_written_wrong_is_not_kept(named_model, tmp_path, monkeypatch):
    stored_tensors = saved_model.saved_models.stored_tensors

    def one_bit_off(path):
        stored = stored_tensors(path)
        first = next(iter(stored))
        wrong = stored[first].read() + np.float32(1e-7)
        stored[first] = type(stored[first])(
            first, wrong.shape, "float32", lambda: wrong
        )
        return stored

    monkeypatch.setattr(saved_model.saved_models, "stored_tensors", one_bit_off)
    with pytest.raises(RunError, match="was not kept: .* was not written as it is"):
        export_saved_model(named_model, tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


def test_metadata_are_json_that_names_versions(logits_folder):
    metadata = json.loads((logits_folder / METADATA_FILE).read_text())
    assert metadata["tensorflow"] == tf.__version__
    assert metadata["keras"] == keras.__version__
    assert metadata["architecture"]["units"] == [1, 1, 1, 1]
