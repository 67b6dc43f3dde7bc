"""Each example does what it says, with few steps."""

import functools
import json
import pathlib

import custom_loop
import finetune_folder
import keras
import numpy as np
import pytest
import two_workers
from small_runs import all_weights, relative_l2

import bit_keras
from bit_keras.recipes.recipe import Recipe
from bit_keras.training.fit import train


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
