import numpy as np
import pytest
import tensorflow as tf
from conftest import make_model

from bit_keras.checkpoints.saved_models import read_metadata
from bit_keras.errors import InputError
from bit_keras.export.saved_model import export_saved_model

IMAGES = np.random.default_rng(1).uniform(0, 1, (2, 40, 65, 3)).astype(np.float32)


def deviation(actual, expected):
    actual, expected = np.float64(actual), np.float64(expected)
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def test_its_kernels_are_those_of_the_network_to_the_last_bit(named_model, tmp_path):
    trainable = export_saved_model(named_model, tmp_path / "trainable", "all")
    serving = export_saved_model(named_model, tmp_path / "s", "all", form="serving")
    expected = tf.saved_model.load(str(trainable))(IMAGES)
    outputs = tf.saved_model.load(str(serving))(IMAGES)
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(outputs[name], value), name
    assert deviation(outputs["logits"], named_model(2 * IMAGES - 1)) < 1e-5


def test_the_graph_standardizes_nothing(named_model, tmp_path):
    def operations(form):
        path = export_saved_model(named_model, tmp_path / form, form=form)
        loaded = tf.saved_model.load(str(path))
        graph = loaded.signatures["serving_default"].graph.as_graph_def()
        return sum(len(function.node_def) for function in graph.library.function)

    trainable, serving = operations("trainable"), operations("serving")
    # At least a mean, a difference, a square, a mean, a sum, a root and a division.
    assert trainable - serving >= 7 * len(named_model.backbone.convolutions())


def test_nothing_of_it_can_be_trained_by_mistake(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "serving", form="serving")
    loaded = tf.saved_model.load(str(path))
    assert not loaded.trainable_variables
    with tf.GradientTape() as tape:
        loaded(IMAGES)
    assert not tape.watched_variables()


def test_gradients_are_kept_by_the_form_that_is_trained_alone(named_model, tmp_path):
    def gradients(form):
        path = export_saved_model(named_model, tmp_path / form, form=form)
        names = path.joinpath("saved_model.pb").read_bytes()
        return names.count(b"_gradient_op_type")

    assert gradients("trainable")
    assert not gradients("serving")


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 3e-2), ("float16", 4e-3)])
def test_half_precision_halves_the_file(named_model, tmp_path, dtype, most):
    sizes, outputs = {}, {}
    for stored in ("float32", dtype):
        path = export_saved_model(
            named_model, tmp_path / stored, "logits", form="serving", variables=stored
        )
        data = path / "variables/variables.data-00000-of-00001"
        sizes[stored] = data.stat().st_size
        outputs[stored] = tf.saved_model.load(str(path))(IMAGES)
    assert sizes[dtype] < 0.51 * sizes["float32"]
    measured = deviation(outputs[dtype], outputs["float32"])
    assert 0 < measured < most
    assert read_metadata(tmp_path / dtype)["deviation"] > 1e-4


def test_the_model_is_left_as_it_was(tmp_path):
    model = make_model()
    model.backbone.remat = True
    before = [np.array(weight) for weight in model.weights]
    expected = model(IMAGES)
    export_saved_model(model, tmp_path / "serving", form="serving")
    assert all(map(np.array_equal, before, model.weights))
    assert all(conv.standardizes for conv in model.backbone.convolutions())
    assert model.backbone.remat
    assert np.array_equal(model(IMAGES), expected)


def test_weight_decay_is_half_the_squares_of_all_kernels(named_model, tmp_path):
    path = export_saved_model(named_model, tmp_path / "wd", "logits", weight_decay=0.1)
    loaded = tf.saved_model.load(str(path))
    (penalty,) = loaded.regularization_losses
    kernels = [
        np.float64(variable)
        for name, variable in named_model.named_variables().items()
        if name.endswith("kernel")
    ]
    expected = 0.1 * sum((kernel**2).sum() / 2 for kernel in kernels)
    assert np.isclose(penalty(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "frozen"}, r"`form`.*Received: 'frozen'"),
        ({"variables": "int8", "form": "serving"}, "`variables`.*Received: 'int8'"),
        ({"variables": "float16"}, 'Only the serving form.*form="serving"'),
        ({"form": "serving", "weight_decay": 1e-4}, "is not trained.*0.0001"),
    ],
)
def test_what_does_not_fit_is_named(named_model, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        export_saved_model(named_model, tmp_path / "never", **arguments)
    assert not list(tmp_path.iterdir())
