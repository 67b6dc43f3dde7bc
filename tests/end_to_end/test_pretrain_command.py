"""Upstream training as a person runs it."""

import json

import keras
import numpy as np
import pytest
from test_finetune_command import bit_keras_command

import bit_keras

SMALL = ("--steps=2", "--batch_size=8", "--resize=36", "--crop=32")


def test_leaves_weights_in_the_published_layout(tmp_path):
    done = bit_keras_command("pretrain", "--recipe=M", *SMALL, cwd=tmp_path)
    assert not done.returncode, done.stderr
    out = tmp_path / "runs" / "bit_t_r26x05-doodles-M"
    names = {path.name for path in out.iterdir()}
    assert {"weights.npz", "model.keras", "history.json", "report.json"} <= names
    assert "checkpoints" not in names
    model = keras.saving.load_model(out / "model.keras")
    again = bit_keras.BiTClassifier.from_checkpoint(out / "weights.npz")
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # The sum over 20 classes that are unlikely at first, one of which is right.
    loss = json.loads((out / "history.json").read_text())["loss"][0]
    assert loss == pytest.approx(10, abs=0.01)
    np.testing.assert_allclose(model.head.bias, -10, atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher=x"], "A recipe of distillation needs --teacher"),
        (["--recipe=distill_pet_fast"], "A recipe of distillation needs --teacher"),
        (["--strategy=multi_worker"], "needs the environment variable TF_CONFIG"),
        (["--examples_per_class=100"], "has 40 training examples"),
        (["--steps=7", "--steps_per_execution=2"], "must divide the 7 steps"),
        (["--batch_size=9", "--batch_split=2"], "must be a multiple of 2"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, arguments, message):
    done = bit_keras_command("pretrain", "--crop=32", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("bit-keras: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
