"""Upstream training as a person runs it."""

import json
import subprocess
import time

import keras
import numpy as np
import pytest
from commands import (
    PROGRAM,
    bit_keras_command,
    command_environment,
    last_words,
    run_here,
    save_small_model,
    write_two_classes,
)

import bit_keras

SMALL = ("--batch_size=8", "--resize=36", "--crop=32")


def terminated_after_a_step(arguments, cwd):
    """Sends SIGTERM once there is a checkpoint; returns status and standard error."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env=command_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if any(cwd.glob("runs/*/checkpoints/step-*.npz")):
                process.terminate()
                break
            time.sleep(0.05)
        return process.communicate(timeout=200)[1], process.returncode
    finally:
        process.kill()


def test_is_stopped_goes_on_and_leaves_weights_in_the_published_layout(tmp_path):
    arguments = ["pretrain", "--recipe=M", "--steps=20", "--checkpoint_steps=1", *SMALL]
    errors, status = terminated_after_a_step(arguments, tmp_path)
    assert status == 143, errors
    assert "interrupted; run the same command again to go on after step" in errors
    assert "Traceback" not in errors
    # It has to find the same random weights to go on.
    done = bit_keras_command(*arguments, cwd=tmp_path)
    assert not done.returncode, done.stderr
    [out] = (tmp_path / "runs").iterdir()
    assert out.name == "bit_t_r26x05-doodles-M"
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


def save_teacher(path, num_classes):
    """Saves a Keras model that is no BiT."""
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(num_classes)]
    keras.Sequential([keras.Input((None, None, 3)), *layers]).save(path)


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A folder with images of two classes, and teachers of all kinds."""
    folder = tmp_path_factory.mktemp("classroom")
    write_two_classes(folder / "mine")
    (folder / "earlier").mkdir()
    save_small_model(folder / "earlier" / "model.keras", num_classes=2)
    save_teacher(folder / "plain.keras", 2)
    save_teacher(folder / "other.keras", 3)
    return folder


DISTIL = ("pretrain", "--recipe=distill_pet_fast", "--dataset=mine", "--steps=2")


@pytest.mark.parametrize("teacher", ["earlier", "plain.keras"])
def test_learns_from_a_teacher(classroom, monkeypatch, teacher):
    out = classroom / f"taught-by-{teacher}"
    arguments = [*DISTIL, *SMALL, f"--teacher={teacher}", f"--out_dir={out.name}"]
    assert run_here(monkeypatch, classroom, *arguments) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["notes"] == [f"Started from random weights, taught by {teacher}."]
    assert report["recipe"]["steps"] == 2
    student = keras.saving.load_model(out / "model.keras")
    again = bit_keras.BiTClassifier.from_checkpoint(out / "weights.npz")
    for one, other in zip(student.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.any(student.head.kernel)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("other.keras", "a student of 2 and a teacher of 3"),
        ("nobody.keras", "nobody.keras is not there"),
    ],
)
def test_an_unfit_teacher_is_refused(classroom, monkeypatch, capsys, teacher, message):
    arguments = [*DISTIL, *SMALL, f"--teacher={teacher}", "--out_dir=refused"]
    assert run_here(monkeypatch, classroom, *arguments) == 2
    last = last_words(capsys)
    assert last.startswith("bit-keras: ") and message in last


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
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    arguments = ["pretrain", "--crop=32", *arguments]
    assert run_here(monkeypatch, tmp_path, *arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("bit-keras: ") and errors.count("\n") == 1
    assert not list(tmp_path.iterdir())
