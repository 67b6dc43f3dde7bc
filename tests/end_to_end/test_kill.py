"""The command, killed again and again at random times, ends as if nothing had been."""

import random
import subprocess
import time

import keras
import numpy as np
import pytest
from commands import (
    PROGRAM,
    bit_keras_command,
    command_environment,
    save_small_model,
)

ARGUMENTS = [
    *("finetune", "--model=small.keras", "--steps=40", "--batch_size=16"),
    *("--crop=32", "--resize=36", "--checkpoint_steps=4", "--mixup_alpha=0.2"),
    "--out_dir=out",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    save_small_model(folder / "small.keras")
    start = time.monotonic()
    done = bit_keras_command(*ARGUMENTS, cwd=folder)
    assert not done.returncode, done.stderr
    return folder / "out", time.monotonic() - start


def test_killed_at_random_times(whole, tmp_path):
    expected, seconds = whole
    save_small_model(tmp_path / "small.keras")
    chance = random.Random(3)
    for _ in range(2):
        process = subprocess.Popen(
            [*PROGRAM, *ARGUMENTS],
            cwd=tmp_path,
            env=command_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:  # Also while modules are imported and while results are written.
            process.wait(timeout=chance.uniform(0.3, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        if (tmp_path / "out").exists() and not any(tmp_path.glob("out/checkpoints/*")):
            break  # It was over already.
    else:
        done = bit_keras_command(*ARGUMENTS, cwd=tmp_path)
        assert not done.returncode, done.stderr
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        path.name for path in expected.iterdir()
    }
    assert (out / "history.json").read_text() == (expected / "history.json").read_text()
    one, other = (
        keras.saving.load_model(folder / "model.keras") for folder in (out, expected)
    )
    for a, b in zip(
        (*one.weights, *one.optimizer.variables),
        (*other.weights, *other.optimizer.variables),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
