import pathlib
import re

import keras
import numpy as np
import pytest
from parity.make_checkpoint import STYLES, make_checkpoint

import bit_keras
from bit_keras.checkpoints.names import HEAD_BIAS, HEAD_KERNEL
from bit_keras.errors import InputError
from bit_keras.models.weights import save_safetensors

UNITS = (1, 2, 1, 1)


def write_checkpoint(path, style="big_transfer", units=UNITS, num_classes=5, seed=1):
    np.savez(path, **make_checkpoint(units, 1, num_classes, seed, style))
    return path


def make_model(num_classes=5, units=UNITS):
    backbone = bit_keras.BiTBackbone(units=units)
    return bit_keras.BiTClassifier(backbone, num_classes)


def values(model):
    return {
        name: np.array(variable) for name, variable in model.named_variables().items()
    }


def assert_equal(actual, expected):
    assert list(actual) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


@pytest.mark.parametrize("style", STYLES)
def test_all_styles_give_the_same_model_bit_for_bit(tmp_path, style):
    path = write_checkpoint(tmp_path / "some.npz", style)
    model = bit_keras.BiTClassifier.from_checkpoint(path)
    assert model.architecture == make_model().architecture
    tensors = make_checkpoint(UNITS, 1, 5, seed=1)
    shapes = {name: value.shape for name, value in values(model).items()}
    expected = {name: tensors[name].reshape(shape) for name, shape in shapes.items()}
    assert len(expected) == len(tensors)
    assert_equal(values(model), expected)


@pytest.mark.parametrize("save", [bit_keras.save_npz, save_safetensors])
def test_saving_and_loading_keeps_every_bit(tmp_path, save):
    model = bit_keras.BiTClassifier.from_checkpoint(
        write_checkpoint(tmp_path / "a.npz")
    )
    path = tmp_path / ("b.npz" if save is bit_keras.save_npz else "b.safetensors")
    save(model, path)
    other = make_model()
    bit_keras.load_weights(other, path)
    assert_equal(values(other), values(model))


def test_saved_npz_has_the_published_names_and_shapes(tmp_path):
    tensors = make_checkpoint(UNITS, 1, 5, seed=1)
    model = bit_keras.BiTClassifier.from_checkpoint(
        write_checkpoint(tmp_path / "a.npz")
    )
    bit_keras.save_npz(model, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as saved:
        assert_equal(dict(saved), tensors)


def test_a_head_for_other_classes_stays_zero(tmp_path):
    path = write_checkpoint(tmp_path / "five.npz")
    model = bit_keras.BiTClassifier.from_checkpoint(path, num_classes=3)
    expected = values(bit_keras.BiTClassifier.from_checkpoint(path))
    expected[HEAD_KERNEL] = np.zeros((2048, 3))
    expected[HEAD_BIAS] = np.zeros(3)
    assert_equal(values(model), expected)


def test_a_head_that_does_not_fit_is_told_of(tmp_path):
    path = write_checkpoint(tmp_path / "five.npz")
    model = bit_keras.BiTClassifier(bit_keras.BiTBackbone(units=UNITS), 3)
    with pytest.warns(UserWarning, match="with 5 classes: its head is left out.* 3 cl"):
        bit_keras.load_weights(model, path)
    expected = values(bit_keras.BiTClassifier.from_checkpoint(path, num_classes=3))
    assert_equal(values(model), expected)


def test_a_backbone_takes_no_head(tmp_path):
    path = write_checkpoint(tmp_path / "five.npz")
    backbone = bit_keras.BiTBackbone(units=UNITS)
    bit_keras.load_weights(backbone, path)
    expected = values(bit_keras.BiTClassifier.from_checkpoint(path).backbone)
    assert_equal(values(backbone), expected)


def test_another_network_is_named_and_nothing_is_assigned(tmp_path):
    path = write_checkpoint(tmp_path / "other.npz", units=(1, 1, 1, 1))
    model = make_model()
    before = values(model)
    message = (
        r"other.npz holds R\[1,1,1,1\]x1 with 5 classes, but the model is "
        r"R\[1,2,1,1\]x1"
        r".*resnet/block2/unit02/a/group_norm/gamma has shape none in the file and "
        r"\(512,\) in the model"
    )
    with pytest.raises(InputError, match=message):
        bit_keras.load_weights(model, path)
    assert_equal(values(model), before)


def damaged(tmp_path, change):
    tensors = make_checkpoint(UNITS, 1, 5, seed=1)
    change(tensors)
    np.savez(tmp_path / "damaged.npz", **tensors)
    return tmp_path / "damaged.npz"


LATE_TENSOR = "resnet/block4/unit01/c/group_norm/beta"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop(LATE_TENSOR),
        lambda tensors: tensors.update({LATE_TENSOR: np.zeros(7, np.float32)}),
        lambda tensors: tensors[LATE_TENSOR].fill(np.nan),
    ],
    ids=["missing", "shape", "nan"],
)
def test_a_damaged_file_leaves_the_model_as_it_was(tmp_path, change):
    model = make_model()
    before = values(model)
    with pytest.raises(InputError, match=re.escape(LATE_TENSOR)):
        bit_keras.load_weights(model, damaged(tmp_path, change))
    assert_equal(values(model), before)


def test_keras_weights_of_the_same_model_load(tmp_path):
    model = bit_keras.BiTClassifier.from_checkpoint(
        write_checkpoint(tmp_path / "a.npz")
    )
    model.save_weights(tmp_path / "a.weights.h5")
    other = make_model()
    bit_keras.load_weights(other, tmp_path / "a.weights.h5")
    assert_equal(values(other), values(model))


@pytest.mark.parametrize("fault", ["cut", "missing", "network"])
def test_unusable_keras_weights_leave_the_model_as_it_was(tmp_path, fault):
    path = pathlib.Path(tmp_path / "a.weights.h5")
    units = (1, 1, 1, 1) if fault == "network" else UNITS
    make_model(units=units).save_weights(path)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:50_000])
    if fault == "missing":
        path.unlink()
    keras.utils.set_random_seed(1)
    model = make_model()
    before = values(model)
    message = "a.weights.h5 is not (there|a whole weight file)"
    with pytest.raises(InputError, match=message):
        bit_keras.load_weights(model, path)
    assert_equal(values(model), before)
