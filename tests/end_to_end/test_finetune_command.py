"""The main job as a person runs it: a process of its own, in an empty folder."""

import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.assets import doodles_folder

ROOT = pathlib.Path(bit_keras.__file__).parents[1]
RESULTS = {
    "model.keras",
    "saved_model",
    "history.json",
    "report.json",
    "report.md",
    "learning_curve.png",
    "confusion_matrix.png",
    "predictions.png",
}


def command_environment():
    """Returns the environment for a process that runs this source tree on the CPU."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def bit_keras_command(*arguments, cwd):
    """Runs the command of this source tree; returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "bit_keras_command", *map(str, arguments)],
        cwd=cwd,
        env=command_environment(),
        capture_output=True,
        text=True,
    )


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
    assert lines[0].endswith("random weights")
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
    assert "of 400" in (out_dir / "report.md").read_text()


def test_the_saved_model_is_the_model_on_images_from_0_to_1(short_run):
    out_dir = short_run[1] / "runs" / "bit_t_r26x05-doodles"
    model = keras.saving.load_model(out_dir / "model.keras")
    images = np.random.default_rng(0).uniform(0, 1, (2, 48, 40, 3)).astype(np.float32)
    logits = tf.saved_model.load(str(out_dir / "saved_model"))(images)
    np.testing.assert_allclose(logits, model(2 * images - 1), rtol=1e-3, atol=1e-4)


def test_the_same_command_gives_the_same_weights_in_a_new_folder(short_run):
    folder = short_run[1]
    done = bit_keras_command(
        "finetune", "--steps=6", "--crop=32", "--resize=36", cwd=folder
    )
    assert not done.returncode, done.stderr
    first, second = (
        keras.saving.load_model(folder / "runs" / name / "model.keras")
        for name in ("bit_t_r26x05-doodles", "bit_t_r26x05-doodles-2")
    )
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_goes_on_from_a_run_with_the_images_of_a_folder(short_run, tmp_path):
    """Two classes in a plain folder, which is divided, and the run's own model."""
    for name in ("apple", "eye"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for path in sorted((doodles_folder() / "train" / name).iterdir())[:10]:
            (tmp_path / "mine" / name / path.name).write_bytes(path.read_bytes())
    run = short_run[1] / "runs" / "bit_t_r26x05-doodles"
    arguments = ["finetune", "--model", run, "--dataset", "mine", "--steps=2"]
    arguments += ["--batch_size=4", "--crop=32", "--resize=32", "--out_dir=out"]
    done = bit_keras_command(*arguments, "--json", cwd=tmp_path)
    assert not done.returncode, done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["name"] == "mine"
    assert report["evaluation"]["num_examples"] == 4
    again = bit_keras_command(*arguments, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("bit-keras: out is not empty; give another folder")
    assert not again.stdout.splitlines()[3:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=no_such_set"], "no_such_set is neither a folder nor the name"),
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
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, arguments, message):
    done = bit_keras_command("finetune", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("bit-keras: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_default_learns_in_ninety_seconds(tmp_path):
    """The promise of the README, for two CPU cores that do nothing else."""
    start = time.perf_counter()
    done = bit_keras_command("finetune", cwd=tmp_path)
    seconds = time.perf_counter() - start
    assert not done.returncode, done.stderr
    report = tmp_path / "runs" / "bit_t_r26x05-doodles" / "report.json"
    # 1 in 20 is right by chance.
    assert json.loads(report.read_text())["evaluation"]["top1"] > 0.5
    assert seconds < 90
