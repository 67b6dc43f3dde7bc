"""The main job as a person runs it: a process of its own, in an empty folder."""

import errno
import json
import os
import pathlib
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import (
    bit_keras_command,
    last_words,
    run_here,
    save_small_model,
    write_two_classes,
)

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.training import fit

RESULTS = {
    "model.keras",
    "saved_model",
    "history.json",
    "report.json",
    "report.md",
    "report.html",
    "learning_curve.png",
    "confusion_matrix.png",
    "calibration.png",
    "predictions.png",
    "examples",
}


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """A run of few steps on the bundled images, and the folder it was started in."""
    folder = tmp_path_factory.mktemp("empty")
    done = bit_keras_command(
        "finetune", "--steps=6", "--crop=32", "--resize=36", cwd=folder
    )
    assert not done.returncode, done.stderr
    return done, folder


def test_says_what_it_does_and_leaves_everything(short_run):
    done, folder = short_run
    out_dir = folder / "runs" / "bit_t_r26x05-doodles"
    assert {path.name for path in out_dir.iterdir()} == RESULTS
    lines = done.stdout.splitlines()
    assert lines[0].endswith("the weights of bit_t_r26x05")
    assert "20 classes, 800 images to train on, 400 to test on" in lines[1]
    assert lines[2].startswith("light setting of the BiT-HyperRule: 6 steps of 64")
    assert lines[-1].startswith("Accuracy: ")
    for name in RESULTS - {"history.json", "report.json"}:
        assert any(str(pathlib.Path("runs", out_dir.name, name)) in x for x in lines)
    assert "training: 100%" in done.stderr
    assert "Traceback" not in done.stderr and "oneDNN" not in done.stderr


def test_the_report_counts_what_the_model_does(short_run):
    out_dir = short_run[1] / "runs" / "bit_t_r26x05-doodles"
    report = json.loads((out_dir / "report.json").read_text())
    model = keras.saving.load_model(out_dir / "model.keras")
    assert model.image_size == 32
    num_images = num_correct = 0
    for label, name in enumerate(model.class_names):
        files = sorted((doodles_folder() / "test" / name).iterdir())
        images = [tf.io.decode_png(path.read_bytes(), channels=3) for path in files]
        pixels = tf.image.resize(images, (32, 32)) / 127.5 - 1
        num_images += len(files)
        num_correct += int(np.sum(np.argmax(model(pixels), axis=1) == label))
    assert report["evaluation"]["num_examples"] == num_images == 400
    # A pair of logits may be as close as the rounding of two batch sizes.
    assert abs(report["evaluation"]["num_correct"] - num_correct) <= 1
    assert report["recipe"]["steps"] == 6
    assert 0 <= report["input_wait"] <= 1
    assert "of 400" in (out_dir / "report.md").read_text()


def test_the_saved_model_is_the_model_on_images_from_0_to_1(short_run):
    out_dir = short_run[1] / "runs" / "bit_t_r26x05-doodles"
    model = keras.saving.load_model(out_dir / "model.keras")
    images = np.random.default_rng(0).uniform(0, 1, (2, 48, 40, 3)).astype(np.float32)
    logits = tf.saved_model.load(str(out_dir / "saved_model"))(images)
    np.testing.assert_allclose(logits, model(2 * images - 1), rtol=1e-3, atol=1e-4)


def test_goes_on_from_a_run_with_the_images_of_a_folder(
    short_run, tmp_path, monkeypatch, capsys
):
    """Two classes in a plain folder, which is divided, and the run's own model."""
    write_two_classes(tmp_path / "mine")
    run = short_run[1] / "runs" / "bit_t_r26x05-doodles"
    arguments = ["finetune", "--model", run, "--dataset", "mine", "--steps=2"]
    arguments += ["--batch_size=4", "--crop=32", "--resize=32", "--out_dir=out"]
    assert run_here(monkeypatch, tmp_path, *arguments, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["data"]["name"] == "mine"
    assert report["evaluation"]["num_examples"] == 4
    before = contents(tmp_path / "out")
    assert run_here(monkeypatch, tmp_path, *arguments) == 2
    assert last_words(capsys).startswith("bit-keras: out is not empty; give another f")
    assert contents(tmp_path / "out") == before


def contents(folder):
    """Returns the bytes of all files below a folder by path."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_is_interrupted_and_goes_on(tmp_path, monkeypatch, capsys):
    """Ctrl-C after the second step; and in between, what is not the same run."""
    save_small_model(tmp_path / "small.keras", num_classes=2)
    write_two_classes(tmp_path / "mine")
    arguments = ["finetune", "--model=small.keras", "--dataset=mine", "--steps=4"]
    arguments += ["--batch_size=4", "--crop=32", "--resize=36", "--out_dir=out"]
    end = fit.SaveCheckpoints.on_epoch_end

    def press_ctrl_c(self, epoch, logs=None):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        end(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(fit.SaveCheckpoints, "on_epoch_end", press_ctrl_c)
        assert run_here(monkeypatch, tmp_path, *arguments) == 130
    assert last_words(capsys) == (
        "bit-keras: interrupted; run the same command again to go on after step 2."
    )
    before = contents(tmp_path / "out")
    assert run_here(monkeypatch, tmp_path, *arguments, "--seed=1") == 2
    assert last_words(capsys).startswith(
        "bit-keras: out holds an unfinished run of another configuration: `seed` was 0 "
        "and is now 1; run the same command as before"
    )
    assert contents(tmp_path / "out") == before
    assert run_here(monkeypatch, tmp_path, *arguments) == 0
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert history["step"] == [1, 2, 3, 4]
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=bit_m_r50x9"], "bit_m_r50x"),
        (["--model=bit_l_r50x1"], "bit_l_r50x1 has no published weights"),
        (["--weights=missing.npz"], "missing.npz"),
        (["--crop=64", "--resize=32"], "`crop` cannot be larger than `resize`"),
        (["--steps=0"], "flag --steps=0"),
        (["--seed=-1"], "flag --seed=-1"),
        (["--weights=none", "--model=a.keras"], "Weights can be chosen for a preset"),
        (["doodles"], "This command takes flags alone. Received: doodles"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    assert run_here(monkeypatch, tmp_path, "finetune", *arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("bit-keras: ") and errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_else_is_said_of_bad_input(tmp_path):
    """Not by the libraries either, while they are imported."""
    done = bit_keras_command("finetune", "--dataset=no_such_set", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("bit-keras: no_such_set is neither a folder nor the")
    assert done.stderr.count("\n") == 1 and not done.stdout
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("mine")
    arguments = ["finetune", "--crop=32", "--resize=36"]

    def run(out_dir):
        return run_here(monkeypatch, tmp_path, *arguments, f"--out_dir={out_dir}")

    assert run("file") == 2
    assert last_words(capsys).startswith("bit-keras: file is a file; give the folder")
    make = pathlib.Path.mkdir

    def read_only(self, *args, **kwargs):
        if "disk" in self.parts:
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        make(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "mkdir", read_only)
        assert run("disk/out") == 1
    assert last_words(capsys) == (
        "bit-keras: Cannot make disk/out (Read-only file system)."
    )
    assert contents(tmp_path) == {tmp_path / "file": b"mine"}


@pytest.mark.slow
def test_the_default_learns_in_ninety_seconds(tmp_path):
    """The promise of the README, for two CPU cores that do nothing else."""

    start = time.perf_counter()
    done = bit_keras_command("finetune", "--out_dir=run", cwd=tmp_path)
    seconds = time.perf_counter() - start
    assert not done.returncode, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    top1 = report["evaluation"]["top1"]
    assert top1 > 0.85
    assert seconds < 90

    # The same steps from random weights.
    recipe = bit_keras.HyperRule.light(28, 28, 800)
    assert report["recipe"]["setting"] == recipe.describe()
    keras.utils.set_random_seed(0)
    model = bit_keras.BiTClassifier.from_preset(
        "bit_t_r26x05", num_classes=20, weights=None
    )
    scratch = bit_keras.finetune(model, "doodles", recipe, tmp_path / "scratch")
    assert top1 - scratch.evaluation.top1 > 0.25
