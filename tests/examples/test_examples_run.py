"""Each example does what it says, with few steps."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import bit_keras

ROOT = pathlib.Path(bit_keras.__file__).parents[1]


def run_python(program, cwd, *arguments):
    path = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_finetune_folder(tmp_path):
    program = "import finetune_folder; finetune_folder.main(steps=2)"
    output = run_python(program, tmp_path)
    assert "of the test images are right" in output
    assert "A picture of `" in output
    [folder] = (tmp_path / "runs").iterdir()
    model = keras.saving.load_model(folder / "model.keras")
    assert len(model.class_names) == 20


def test_custom_loop_lowers_the_loss(tmp_path):
    program = "import custom_loop, json; print(json.dumps(custom_loop.main()[1]))"
    losses = json.loads(run_python(program, tmp_path).splitlines()[-1])
    assert len(losses) == 20
    assert losses[0] == pytest.approx(np.log(20))  # The head is zero.
    assert min(losses) < losses[0] - 0.01


@pytest.mark.slow
def test_two_workers(tmp_path):
    program = "import sys, two_workers; print(two_workers.main(*sys.argv[1:]))"
    flags = ["--steps=2", "--batch_size=8", "--crop=32", "--resize=36"]
    output = run_python(program, tmp_path, *flags, "--out_dir=out")
    assert output.splitlines()[-1] == "[0, 0]"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["evaluation"]["num_examples"] == 400
    assert report["recipe"]["steps"] == 2
