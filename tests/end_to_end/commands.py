"""The command, in a process of its own or in this one, and small things to give it."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.cli.main import main
from bit_keras.recipes.recipe import Recipe

ROOT = pathlib.Path(bit_keras.__file__).parents[1]
PROGRAM = (sys.executable, "-m", "bit_keras_command")


def command_environment():
    """Returns the environment for a process that runs this source tree on the CPU."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def bit_keras_command(*arguments, cwd):
    """Runs the command of this source tree; returns the finished process."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=command_environment(),
        capture_output=True,
        text=True,
    )


def run_here(monkeypatch, folder, *arguments):
    """Runs the command in this process and without XLA; returns its exit status."""
    compile_args = Recipe.compile_args

    def without_xla(self):
        return compile_args(self) | {"jit_compile": False}

    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Recipe, "compile_args", without_xla)
        return main(list(map(str, arguments)))


def last_words(capsys):
    """Returns the last line on standard error, after progress bars."""
    return capsys.readouterr().err.splitlines()[-1]


def save_small_model(path, num_classes=20):
    """Saves the smallest BiT, which XLA compiles twice as fast as the bundled one."""
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    model = bit_keras.BiTClassifier(backbone, num_classes)
    kernel = np.random.default_rng(0).normal(0, 0.1, model.head.kernel.shape)
    model.head.kernel.assign(kernel)
    model.save(path)


def write_two_classes(folder):
    """Writes a plain folder of two classes of ten images."""
    for name in ("apple", "eye"):
        (folder / name).mkdir(parents=True)
        for path in sorted((doodles_folder() / "train" / name).iterdir())[:10]:
            (folder / name / path.name).write_bytes(path.read_bytes())
