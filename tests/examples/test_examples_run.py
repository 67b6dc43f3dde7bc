"""Each example does what it says, with few steps."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import custom_loop
import doodles
import finetune_folder
import keras
import keras_3_layer
import numpy as np
import pytest
import serving_bytes
import two_workers
from small_runs import all_weights, relative_l2

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.recipes.recipe import Recipe
from bit_keras.training.fit import train
from bit_keras.workflows.predict import predict

EXAMPLES = pathlib.Path(two_workers.__file__).parent


@pytest.fixture
def without_xla(monkeypatch):
    compile_args = Recipe.compile_args
    monkeypatch.setattr(
        Recipe, "compile_args", lambda self: compile_args(self) | {"jit_compile": False}
    )


def test_finetune_folder(tmp_path, monkeypatch, capsys, without_xla):
    monkeypatch.chdir(tmp_path)
    result = finetune_folder.main(steps=2)
    output = capsys.readouterr().out
    assert f"{100 * result.evaluation.top1:.1f} % of the test images are" in output
    assert "A picture of `" in output
    [folder] = (tmp_path / "runs").iterdir()
    model = keras.saving.load_model(folder / "model.keras")
    assert len(model.class_names) == 20
    assert model.backbone.origin["file"] == "bit_t_r26x05.npz"


def test_custom_loop_does_what_train_does(monkeypatch, without_xla):
    """For four steps: at its rate roundings grow tenfold with each further one."""
    backbone = functools.partial(bit_keras.BiTBackbone, units=(1, 1, 1, 1), width=0.5)
    monkeypatch.setattr(bit_keras, "BiTBackbone", lambda **_: backbone())
    looped, losses = custom_loop.main(bit_keras.make_strategy("one_device"), steps=4)
    source = bit_keras.open_source("doodles")
    recipe = bit_keras.HyperRule.light(28, 28, 800, from_scratch=True).scaled(steps=4)
    keras.utils.set_random_seed(0)
    model = bit_keras.BiTClassifier(backbone(), source.num_classes)
    rows = train(model, source, recipe, progress=False).rows
    np.testing.assert_allclose(losses, [row["loss"] for row in rows], rtol=1e-4)
    assert relative_l2(all_weights(looped), all_weights(model)) <= 5e-5
    # It began at zero.
    assert relative_l2(np.array(looped.head.kernel), np.array(model.head.kernel)) < 1e-3


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder where the examples find SavedModels, of the smallest network."""
    folder = tmp_path_factory.mktemp("exports")
    small = functools.partial(bit_keras.BiTBackbone, units=(1, 1, 1, 1), width=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(bit_keras, "BiTBackbone", lambda **_: small())
        for outputs in ("features", "logits"):
            doodles.small_saved_model(outputs)
    return folder


def read_features(exports):
    return bit_keras.BiTClassifier.from_saved_model(
        exports / "exports" / "bit_t_r26x05-features"
    )


def test_hub_layer(exports):
    """In a process of its own: its libraries warn."""
    program = (
        "import hub_layer, numpy; features, model = hub_layer.main(steps=2); "
        "numpy.savez('hub', features, *model.layers[0].get_weights())"
    )
    paths = [str(EXAMPLES), str(EXAMPLES.parent)]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=exports,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert "weights learned; loss" in done.stdout
    features, *weights = np.load(exports / "hub.npz").values()
    model = read_features(exports)
    images, _ = next(iter(doodles.batches(1)))
    assert relative_l2(features, np.array(model(2 * images - 1))) < 1e-5
    before = [np.array(variable) for variable in model.named_variables().values()]
    for old, new in zip(before, weights, strict=True):
        assert 0 < np.abs(new - old).max() < 0.1


def test_keras_3_layer(exports, monkeypatch):
    monkeypatch.chdir(exports)
    model = keras_3_layer.main(steps=2)
    trained = {str(w.shape): np.array(w) for w in model.layers[1].trainable_weights}
    before = read_features(exports)
    assert len(model.layers[1].trainable_weights) == len(before.trainable_weights)
    root = before.backbone.get_layer("root_conv").kernel
    moved = relative_l2(trained[str(root.shape)], np.array(root))
    assert 1e-6 < moved < 1e-1


def test_keras_still_needs_names_without_colons(exports, monkeypatch):
    """Once this fails, the optimizer of the example can be Keras's own."""
    monkeypatch.chdir(exports)
    monkeypatch.setattr(keras_3_layer, "SGD", keras.optimizers.SGD)
    with pytest.raises(ValueError, match="not a valid scope name"):
        keras_3_layer.main(steps=1)


def test_serving_bytes(exports, monkeypatch, capsys):
    monkeypatch.chdir(exports)
    outputs = serving_bytes.main()
    assert '{"signature_name": "image_bytes"' in capsys.readouterr().out
    model = bit_keras.BiTClassifier.from_saved_model("exports/bit_t_r26x05-logits")
    files = sorted(doodles_folder().glob("test/*/*.png"))[:3]
    expected = predict(model, files)
    for row, labels, shares in zip(
        expected, outputs["labels"], outputs["top_probabilities"], strict=True
    ):
        assert tuple(label.decode() for label in labels) == row.labels
        np.testing.assert_allclose(shares, row.probabilities, rtol=1e-5)


@pytest.mark.slow
def test_two_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(bit_keras.__file__).parents[1]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    flags = ["--steps=2", "--batch_size=8", "--crop=32", "--resize=36"]
    assert two_workers.main(*flags, "--out_dir=out") == [0, 0]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["evaluation"]["num_examples"] == 400
    assert report["recipe"]["steps"] == 2
